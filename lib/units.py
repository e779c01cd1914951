"""The units of a network, and the taps at which their values are read, replaced or silenced.

Enters: any `nn.Module` of convolutions, linear layers and BatchNorm, in eval mode. Leaves: its units, layer by layer
in the order in which the layers run, and a way to see every unit's value during a forward pass. A unit is one
output channel of a convolution or one output of a linear layer; classifiers have none: layers whose channels are those
of the logits, since nothing mixes them on the way. A unit is tapped at the output of the BatchNorm that directly
consumes the layer, if there is one and nothing else consumes it, else at the layer's own output, as in arXiv
2310.20203. What feeds what is found by running one example and following the tensors themselves.

What cannot be vouched for is refused: a network that draws random numbers in eval mode, one whose layers hooks do not
reach (as in TorchScript, or where a layer's `forward` is called instead of the layer), one that runs a layer more often
than it did for the example, or one that did not run then.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib import models
from lib.flow import Flow
from lib.uses import Use, Uses

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_TRIED_SIZES = (32, 64, 8, 28, 96, 224, 299)
_PARALLEL = 0.999  # cosine: logits that change by other channels than their own do so in proportion, in a softmax say


@dataclass(frozen=True)
class Unit:
    """The units of one layer: `size` of them, the first at index `start` of all N; `norm` names its BatchNorm, if
    any; `idle` the layers of the network that did not run for the example and so have no units."""

    name: str
    size: int
    start: int
    norm: str | None
    taps: tuple["Tap", ...] = field(repr=False)
    idle: tuple[str, ...] = field(default=(), repr=False)

    @property
    def slice(self) -> slice:
        """Where these units lie in a vector of all N."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Tap:
    """Where one use of a layer is read: the output of the `call`-th run of `module`, of `calls` within a forward pass.

    `axis` is the one along which the units lie; `overwritten` says that a later in-place operation destroys the value.
    """

    module: str
    call: int
    calls: int
    axis: int
    overwritten: bool


@models.random_state_kept()  # a model may draw numbers that it has no use for
def units(model: nn.Module, example: Tensor | None = None) -> list[Unit]:
    """The units of `model`, in the order in which their layers first run; their sizes add up to N.

    Only layers that run as modules have units: one that is run as `conv.forward(x)` instead of `conv(x)`, or whose
    weights a function is given, as they are or scaled, would go unseen, and is refused unless it is the classifier. Of
    a layer that runs as a module as well, the units are what it gives there: masks, scores and the oracle leave alone
    what else is made with its weights, as they do a layer of another kind; only shares left count that, too.

    Arguments:
        example: one input, (1, C, H, W) or whatever the model takes; without it, images of the usual sizes are tried.

    Raises ValueError where the model is no nn.Module, is in training mode, has no values yet, has nothing to prune,
    takes none of the usual inputs or not the example, gives something else than logits (1, K), is random although in
    eval mode, or has layers that hooks do not reach.
    """
    model = models.inside(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(_without_units(model))
    models.require_eval_mode(model)
    models.require_values(model)
    _refuse_statistics_of_batches(model)
    trace = _trace(model, example) if example is not None else _trace_usual_sizes(model)
    found = _with_units(trace, _classifiers(model, trace))
    if not found:
        raise ValueError(_without_units(model))
    result, start, idle = [], 0, tuple(name for name, _ in _layers(model) if name not in trace.calls)
    for name, uses in found.items():
        size = _width(model.get_submodule(name))
        result.append(Unit(name, size, start, uses[0].norm, tuple(trace.tap(use) for use in uses), idle))
        start += size
    _refuse_hooks_without_effect(model, trace, result)
    _refuse_what_mixes_examples(model, trace, result)
    return result


@contextmanager
def tapped(
    model: nn.Module, layers: Sequence[Unit], see: Callable[[int, Tap, Tensor], Tensor | None]
) -> Iterator[None]:
    """While open, every tap's value passes through `see(position in layers, tap, value)`; what it returns replaces
    the value.

    A pass that runs a tapped module more often than the example's did raises ValueError, since what that would be a
    use of is not known, or, in eval mode, a layer that did not run then and so has no units; so do layers that are
    called by themselves, but for once, between passes of the model.
    """
    model = models.inside(model)
    points = {(tap.module, tap.call): (number, tap) for number, unit in enumerate(layers) for tap in unit.taps}
    known = {tap.module: tap.calls for _, tap in points.values()}
    calls: dict[str, int] = {}

    def restart(*_):
        calls.clear()

    def hook(name: str):
        def run(module, inputs, output):
            call = calls[name] = calls.get(name, -1) + 1
            if call >= known[name] or torch._C._current_graph_task_id() >= 0:  # that is, during a backward pass
                raise ValueError(_again(name, known[name]))
            return see(*points[name, call], output) if (name, call) in points else None

        return run

    def refuse(name: str):
        def run(module, inputs):
            if not module.training:  # as heads do that are for training alone
                raise ValueError(_for_some_inputs(name))

        return run

    with ExitStack() as stack:
        stack.enter_context(models.as_written())
        for name in layers[0].idle if layers else ():
            stack.callback(model.get_submodule(name).register_forward_pre_hook(refuse(name)).remove)
        stack.callback(model.register_forward_pre_hook(restart).remove)
        stack.callback(model.register_forward_hook(restart, always_call=True).remove)
        for name in known:
            stack.callback(model.get_submodule(name).register_forward_hook(hook(name)).remove)
        yield


def before_norms(layers: Sequence[Unit]) -> list[Unit]:
    """The same units, tapped at their layers' own outputs: in front of BatchNorm, which makes a constant of zero."""
    return [replace(unit, taps=tuple(_own_taps(unit))) for unit in layers]


def _own_taps(unit: Unit) -> Iterator["Tap"]:
    for call, tap in enumerate(unit.taps):
        yield replace(tap, module=unit.name, call=call, calls=len(unit.taps))


def along(values: Tensor, axis: int, like: Tensor) -> Tensor:
    """Reshapes one value per unit, (size,), so that it broadcasts against `like` along `axis`."""
    shape = [1] * like.ndim
    shape[axis] = -1
    return values.view(shape)


def _again(name: str, calls: int) -> str:
    return (
        f"{name} runs more often than the {calls} time{'s' * (calls != 1)} it did for the example: call the model"
        " itself, which must run the same layers in every pass, and none again during the backward pass to save memory"
    )


def _for_some_inputs(name: str) -> str:
    return (
        f"{name} runs for some inputs only: not for the example, so that it has no units; have the model run the same"
        " layers for every input"
    )


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LAYERS))


def _without_units(model: nn.Module) -> str:
    scripted = any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())
    remedy = "; hooks cannot see into TorchScript: give the module that it was made from" if scripted else ""
    return (
        f"{type(model).__name__} has no units: it needs a convolution or linear layer before its last one, run as a"
        f" module{remedy}"
    )


def _refuse_statistics_of_batches(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and not module.track_running_stats:
            raise ValueError(f"{name} has no running statistics, so examples would influence each other: keep them")


def _width(layer: nn.Module) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


# ---- one example, followed ------------------------------------------------------------------------------------------


@dataclass
class _Run:
    """One use of a layer in the traced pass: the tensor that is tapped and where it came from."""

    layer: str
    call: int  # of the layer
    value: Tensor  # that the layer gave
    version: int
    done: int  # operations when it was given
    axis: int
    norm: str | None = None
    norm_call: int = 0
    norm_value: Tensor | None = None
    norm_version: int = 0


class _Trace:
    """One pass of `example`: the runs of layers, and the BatchNorms that alone take in what one of them gave."""

    def __init__(self, model: nn.Module, example: Tensor):
        self.example, self.runs, self.calls = example, [], {}
        self.flow, self._producers, self._norms = Flow(), {}, []
        with ExitStack() as stack:
            stack.enter_context(models.as_written())
            for name, module in model.named_modules():
                for handle in self._watch(name, module):
                    stack.callback(handle.remove)
            with self.flow, _Unseen(model, self.flow) as unseen:
                self.logits = models.answers(model, example)
        self._assign_norms()
        self._refuse_unseen(model, unseen)

    def tap(self, run: _Run) -> Tap:
        """Where this use of a layer is tapped."""
        if run.norm is None:
            overwritten = run.value._version != run.version
            return Tap(run.layer, run.call, self.calls[run.layer], run.axis, overwritten)
        return Tap(run.norm, run.norm_call, self.calls[run.norm], 1, run.norm_value._version != run.norm_version)

    def _watch(self, name: str, module: nn.Module) -> list:
        if isinstance(module, LAYERS):
            return [module.register_forward_hook(lambda m, taken, made: self._layer(name, m, made))]
        if isinstance(module, _BatchNorm):
            began = []
            before = module.register_forward_pre_hook(lambda *_: began.append(len(self.flow)))
            see = lambda m, x, named, made: self._norm(name, *x, *named.values(), made, began.pop())  # noqa: E731
            return [before, module.register_forward_hook(see, with_kwargs=True)]
        return []

    def _layer(self, name: str, module: nn.Module, made: Tensor) -> None:
        axis = -1 if isinstance(module, nn.Linear) else 1
        if not isinstance(made, Tensor):
            raise ValueError(f"{name} gives a {type(made).__name__}, not a tensor: have another module take that apart")
        if (axis == 1 and made.ndim != len(module.kernel_size) + 2) or made.shape[axis] != _width(module):
            raise ValueError(
                f"{name} gives values of shape {tuple(made.shape)}, not its {_width(module)} channels along axis {axis}"
                " for each example: have another module bring them into another form"
            )
        if made.is_complex():
            raise ValueError(f"{name} gives complex numbers, of which it is not defined what a unit contributes")
        if made.is_inference():
            raise ValueError(f"{name} runs in inference mode within the network: have it run under no_grad() instead")
        run = _Run(name, self._count(name), made, made._version, len(self.flow), axis)
        self.runs.append(run)
        self._producers[id(made)] = run  # the run keeps the tensor, so its id stays taken

    def _norm(self, name: str, taken: Tensor, made: Tensor, began: int) -> None:
        call, run = self._count(name), self._producers.get(id(taken))
        if run is not None and run.axis % taken.ndim == 1 and taken._version == run.version:
            self._norms.append((run, name, call, made, made._version, range(began, len(self.flow))))

    def _assign_norms(self) -> None:
        relevant = self.flow.leading_to(self.logits)
        for run, name, call, made, version, within in self._norms:
            readers = self.flow.readers(run.value, run.done)
            if all(number in within for number in relevant.intersection(readers) or readers):
                run.norm, run.norm_call, run.norm_value, run.norm_version = name, call, made, version

    def _refuse_unseen(self, model: nn.Module, unseen: "_Unseen") -> None:
        found = [use for use in unseen.uses if self.calls.keys().isdisjoint(use[0])]
        straight = self.flow.unmixed([(value, done) for _, value, done in found], self.logits)
        for ((name, *_), *_), classifies in zip(found, straight, strict=True):
            if not classifies:
                raise ValueError(
                    f"{name} is used without being run as a module, as by {name}.forward(x), so hooks do not see it and"
                    f" it would have no units: have {type(model).__name__} call {name}(x)"
                )

    def _count(self, name: str) -> int:
        self.calls[name] = self.calls.get(name, 0) + 1
        return self.calls[name] - 1


class _Unseen(Uses):
    """While open, notes what is made with the weights of layers, or with what is computed from these, and how many
    operations there were by then."""

    def __init__(self, model: nn.Module, flow: Flow):
        self.uses: list[tuple[list[str], Tensor, int]] = []
        self._names, self._flow = {}, flow  # of the layers that have a weight, by its id
        for name, module in _layers(model):
            if module._parameters.get("weight") is not None:
                self._names.setdefault(id(module.weight), []).append(name)
        super().__init__(parameter for parameter in model.parameters() if id(parameter) in self._names)

    def use(self, use: Use) -> None:
        if names := self._names.get(id(self.origin(use.weight))):
            self.uses.append((names, use.made, len(self._flow)))


@torch.inference_mode(False)  # whatever the caller's: tensors of inference mode do not count their versions
@torch.no_grad()
def _trace(model: nn.Module, example: Tensor) -> _Trace:
    pair = models.ready(model, example, 1).repeat_interleave(2, 0)  # for some models do not take a single image
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with models.random_state_kept() as is_untouched:
        trace = _Trace(model, pair)
        if trace.flow.draws_for(trace.logits):
            raise ValueError(_random(model))
        if trace.logits.isfinite().all():
            _refuse_randomness(model, trace, again=0 if is_untouched() else 16)
    for name, buffer in model.named_buffers():
        if not torch.equal(buffer, before[name]) and not buffer.isnan().any():
            buffer.copy_(before[name])
            raise ValueError(f"{name} changes in every pass although in eval mode: logits must depend on images alone")
    return trace


def _random(model: nn.Module) -> str:
    return (
        f"{type(model).__name__} is random although in eval mode, one example gets different logits: give"
        f" functional.dropout and the like training=self.training"
    )


def _refuse_randomness(model: nn.Module, trace: _Trace, again: int) -> None:
    with models.as_written():
        if not all(models.alike(model(trace.example), trace.logits) for _ in range(again)):
            raise ValueError(_random(model))


def _trace_usual_sizes(model: nn.Module) -> _Trace:
    _, first = next(_layers(model), (None, None))
    if first is None:
        raise ValueError(_without_units(model))
    like = first.weight
    if isinstance(first, nn.Linear):
        shapes = [(1, first.in_features)]
    else:
        shapes = [(1, first.in_channels, *[size] * (like.ndim - 2)) for size in _TRIED_SIZES]
    for shape in shapes:
        example = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(like)
        try:
            with torch.no_grad(), models.as_written():
                models.run(model, example)
        except ValueError as error:
            last = models.first_line(error)
            continue
        return _trace(model, example)
    raise ValueError(f"{type(model).__name__} takes none of the usual inputs ({last}): give one as `example`")


# ---- what has units -------------------------------------------------------------------------------------------------


def _with_units(trace: _Trace, classifiers: set[str]) -> dict[str, list[_Run]]:
    found: dict[str, list[_Run]] = {}
    for run in trace.runs:
        if run.layer not in classifiers:
            found.setdefault(run.layer, []).append(run)
    return found


def _classifiers(model: nn.Module, trace: _Trace) -> set[str]:
    """The layers whose channels are those of the logits."""
    unmixed = trace.flow.unmixed([(run.value, run.done) for run in trace.runs], trace.logits)
    candidates = [run for run, straight in zip(trace.runs, unmixed, strict=True) if straight]
    tied = {run.layer for run in candidates if run.value is trace.logits or _is_tied(model, trace, run)}
    if not tied and trace.logits.shape[1] == 2:  # both made of one number, as by sigmoid(z) and 1 - sigmoid(z)
        tied = {run.layer for run in candidates if run.value.shape[run.axis] == 1}
    return tied


@torch.inference_mode(False)
@torch.no_grad()
def _is_tied(model: nn.Module, trace: _Trace, run: _Run) -> bool:
    """Whether each channel of this layer changes one logit alone, or others in proportion, whichever channel it is, as
    in front of a softmax."""
    width, classes = run.value.shape[run.axis], trace.logits.shape[1]
    channels = sorted({0, width // 2, width - 1})
    changes = [_changed(model, trace, run, channel) for channel in channels]
    noise = 0.02 * max(float(change.abs().max()) for change in changes)
    if all(int((change.abs() > noise).sum()) <= 1 for change in changes):
        return True
    if min(width, classes) < 4:  # too few others to tell
        return width == classes
    own = set(channels if width == classes else (int(change.abs().argmax()) for change in changes))
    if classes - len(own) < 2:
        return width == classes
    rest = [change[[k for k in range(classes) if k not in own]] for change in changes]
    rest = [part / part.norm() for part in rest if part.norm() > noise]
    return all(float((a @ b).abs()) >= _PARALLEL for a, b in combinations(rest, 2))


def _changed(model: nn.Module, trace: _Trace, run: _Run, channel: int) -> Tensor:
    """What the logits (K,) of the example become with more of this channel, less what they are."""
    step = torch.zeros(run.value.shape[run.axis], dtype=run.value.dtype, device=run.value.device)
    step[channel] = run.value.abs().max() + 1
    tap = Tap(run.layer, run.call, trace.calls[run.layer], run.axis, False)
    layer = Unit(run.layer, len(step), 0, None, (tap,))
    with tapped(model, [layer], lambda number, tap, value: value + along(step, tap.axis, value)):
        return (model(trace.example)[0] - trace.logits[0]).double()


@torch.inference_mode(False)
@torch.no_grad()
def _refuse_hooks_without_effect(model: nn.Module, trace: _Trace, layers: list[Unit]) -> None:
    """Masks, scores and the oracle rest on taps: with other values there a network must answer otherwise."""
    for instead in (0, 10, -10, torch.nan):  # no ReLU is silent for all of them, no weight of zero hides the last one
        with tapped(model, layers, lambda number, tap, value, instead=instead: torch.full_like(value, instead)):
            if not torch.equal(models.answers(model, trace.example), trace.logits):
                return
    raise ValueError(
        f"{type(model).__name__} gives the same logits whatever its units do: they do not depend on any, or hooks on"
        f" modules have no effect in it"
    )


@torch.inference_mode(False)
@torch.no_grad()
def _refuse_what_mixes_examples(model: nn.Module, trace: _Trace, layers: list[Unit]) -> None:
    """With other examples beside it, an example must get the same logits, from values in a row of its own: elsewhere
    what belongs to which example cannot be told."""
    if not trace.logits.isfinite().all():
        return
    own, wrong = trace.example[0], []
    rows = torch.stack([1 - 2 * own, own, 3 * own.flip(-1) + 7, own])

    def see(number: int, tap: Tap, value: Tensor) -> None:
        if len(value) != len(rows) or not models.alike(value[1:2], value[3:4]):
            wrong.append(layers[number].name)

    with tapped(model, layers, see):
        logits = models.answers(model, rows)
    if not models.alike(logits[1::2], trace.logits):
        _refuse_randomness(model, trace, again=1)
        raise ValueError(
            f"{type(model).__name__} lets examples influence each other, as statistics of a batch do: the logits of an"
            f" example must depend on it alone"
        )
    if wrong:
        raise ValueError(
            f"{wrong[0]} runs on something else than one row for each example, in their order, such as frames, tokens"
            f" along the first axis or a table of its own: what of it belongs to which example cannot be told"
        )
