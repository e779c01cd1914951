"""One example followed through a network: which layers run, how often, and which BatchNorms take in what they give.

Enters: a network in eval mode and one example. Leaves: a `Trace` of its pass. The tensors themselves are followed, so
that the order in which modules are registered does not matter. Refused is what draws random numbers in eval mode, and
what changes in every pass; layers that hooks do not reach (where a layer's `forward` is called instead of the layer, or
a function is given its weight) are named.
"""

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib.network import contexts, models
from lib.network.flow import Flow
from lib.network.layers import LAYERS, layers_of, widths
from lib.network.taps import Tap, ahead
from lib.network.uses import Use, Uses


@torch.inference_mode(False)  # whatever the caller's: tensors of inference mode do not count their versions
@torch.no_grad()
def follow(model: nn.Module, example: Tensor) -> "Trace":
    """The trace of a pass of `example`, one input as the model takes it, twice. The model is left as it was, but for
    buffers that it makes or keeps for a size, such as a table.

    Raises ValueError where the network is random or changes in every pass.
    """
    pair = models.ready(model, example, 1).repeat_interleave(2, 0)  # for some models do not take a single image
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with contexts.random_state_kept() as is_untouched:
        trace = Trace(model, pair)
        if trace.flow.draws_for(trace.logits):
            raise ValueError(_random(model))
        if trace.logits.isfinite().all():
            refuse_randomness(model, trace, again=0 if is_untouched() else 16)
    changed = [name for name, value in model.named_buffers() if name in before and not _same(value, before[name])]
    if changed and not _is_kept(model, trace, changed):
        now = dict(model.named_buffers())
        for name in changed:
            now[name].data = before[name]  # which may be of another shape
        raise ValueError(f"{changed[0]} changes in every pass although in eval mode: logits must depend on"
                         " images alone")  # fmt: skip
    return trace


def _is_kept(model: nn.Module, trace: "Trace", changed: list[str]) -> bool:
    """Whether these buffers are what a network keeps between passes, such as a table of a size, on which nothing but
    time depends: after another example all is as it was after this one."""
    now = {name: value.clone() for name, value in model.named_buffers() if name in changed}
    with contexts.as_written():
        model(_other(trace.example))
        logits = model(trace.example)
    after = dict(model.named_buffers())
    return models.alike(logits, trace.logits) and all(_same(after[name], now[name]) for name in changed)


def _other(example: Tensor) -> Tensor:
    return 3 * example.flip(-1) + 7


def _same(one: Tensor, other: Tensor) -> bool:
    """Number by number, and NaN where the other is."""
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def refuse_randomness(model: nn.Module, trace: "Trace", again: int) -> None:
    """Raises ValueError where the example of the trace gets other logits in one of so many passes again."""
    with contexts.as_written():
        if not all(models.alike(model(trace.example), trace.logits) for _ in range(again)):
            raise ValueError(_random(model))


def _random(model: nn.Module) -> str:
    return (
        f"{type(model).__name__} is random although in eval mode, one example gets different logits: give"
        f" functional.dropout and the like training=self.training"
    )


@dataclass(eq=False)
class Run:
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


class Trace:
    """One pass of `example`: the runs of layers, the BatchNorms that alone take in what one of them gave, and the names
    of layers that only run `in_functions`, or `on_tables` of the network's own, whatever the example."""

    def __init__(self, model: nn.Module, example: Tensor):
        self.example, self.runs, self.calls = example, [], {}
        self.flow, self._producers, self._norms = Flow(), {}, []
        with ExitStack() as stack:
            stack.enter_context(contexts.as_written())
            for name, module in model.named_modules():
                for handle in self._watch(name, module):
                    stack.callback(handle.remove)
            with self.flow, _Unseen(model, self.flow) as unseen:
                self.logits = models.answers(model, example)
        self._assign_norms()
        self.in_functions, self.on_tables = self._only_in_functions(unseen), self._on_tables(model)
        self.runs = [run for run in self.runs if run.layer not in self.on_tables]

    def tap(self, run: Run) -> Tap:
        """Where this use of a layer is tapped."""
        if run.norm is None:
            module, call, axis, value, version = run.layer, run.call, run.axis, run.value, run.version
        else:
            module, call, axis, value, version = run.norm, run.norm_call, 1, run.norm_value, run.norm_version
        several, rest = divmod(len(value), len(self.example))
        folded = value.ndim > 1 and several > 1 and not rest
        return Tap(module, call, self.calls[module], axis + (folded and axis > 0), value._version != version, folded)

    def _watch(self, name: str, module: nn.Module) -> list:
        if isinstance(module, LAYERS):
            return [ahead(module, lambda m, taken, made: self._layer(name, m, made))]
        if isinstance(module, _BatchNorm):
            began = []
            before = module.register_forward_pre_hook(lambda *_: began.append(len(self.flow)))
            see = lambda m, x, named, made: self._norm(name, *x, *named.values(), made, began.pop())  # noqa: E731
            return [before, ahead(module, see, with_kwargs=True)]
        return []

    def _layer(self, name: str, module: nn.Module, made: Tensor) -> None:
        axis, width = -1 if isinstance(module, nn.Linear) else 1, widths(module)[0]
        if not isinstance(made, Tensor):
            raise ValueError(f"{name} gives a {type(made).__name__}, not a tensor: have another module take that apart")
        if (axis == 1 and made.ndim != len(module.kernel_size) + 2) or made.shape[axis] != width:
            raise ValueError(
                f"{name} gives values of shape {tuple(made.shape)}, not its {width} channels along axis {axis}"
                " for each example: have another module bring them into another form"
            )
        if made.is_complex():
            raise ValueError(f"{name} gives complex numbers, of which it is not defined what a unit contributes")
        if made.is_inference():
            raise ValueError(f"{name} runs in inference mode within the network: have it run under no_grad() instead")
        run = Run(name, self._count(name), made, made._version, len(self.flow), axis)
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

    def _only_in_functions(self, unseen: "_Unseen") -> tuple[str, ...]:
        """The layers whose weights functions take, while they do not run as modules; but for classifiers."""
        found = [use for use in unseen.uses if self.calls.keys().isdisjoint(use[0])]
        straight = self.flow.unmixed([(value, done) for _, value, done in found], self.logits)
        names = [name for ((name, *_), *_), classifies in zip(found, straight, strict=True) if not classifies]
        return tuple(dict.fromkeys(names))

    def _on_tables(self, model: nn.Module) -> tuple[str, ...]:
        """Layers of which nothing depends on the example: as it flows, and as another one shows, since a network may
        take values out of tensors on the way. A table that the network has kept by then is not made again."""
        depends = self.flow.led_from(self.example, [run.value for run in self.runs])
        of_examples = {run.layer for run, does in zip(self.runs, depends, strict=True) if does}
        found = [run for run in self.runs if run.layer not in of_examples]
        if not found:
            return ()
        others: dict[str, list[Tensor]] = {run.layer: [] for run in found}
        with ExitStack() as stack:
            stack.enter_context(contexts.as_written())
            for name, made in others.items():
                keep = lambda module, taken, value, made=made: made.append(value)  # noqa: E731
                stack.callback(ahead(model.get_submodule(name), keep).remove)
            model(_other(self.example))
        again = {(run.layer, run.call): run for run in found if run.call < len(others[run.layer])}
        changed = {name for (name, call), run in again.items() if not torch.equal(others[name][call], run.value)}
        return tuple(name for name in others if name not in changed)

    def _count(self, name: str) -> int:
        self.calls[name] = self.calls.get(name, 0) + 1
        return self.calls[name] - 1


class _Unseen(Uses):
    """While open, notes what is made with the weights of layers, or with what is computed from these, and how many
    operations there were by then."""

    def __init__(self, model: nn.Module, flow: Flow):
        self.uses: list[tuple[list[str], Tensor, int]] = []
        self._names, self._flow = {}, flow  # of the layers that have a weight, by its id
        for name, module in layers_of(model):
            if module._parameters.get("weight") is not None:
                self._names.setdefault(id(module.weight), []).append(name)
        super().__init__(parameter for parameter in model.parameters() if id(parameter) in self._names)

    def use(self, use: Use) -> None:
        if names := self._names.get(id(self.origin(use.weight))):
            self.uses.append((names, use.made, len(self._flow)))
