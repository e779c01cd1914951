"""The units of a network: what can be ranked, and switched off, one by one.

Enters: any `nn.Module` of convolutions, linear layers and BatchNorm, in eval mode. Leaves: its units, layer by layer
in the order in which the layers run. A unit is one output channel of a convolution, transposed ones too, or one output
of a linear layer; classifiers have none: layers whose channels are those of the logits, since nothing mixes them on the
way. A unit is tapped at the output of the BatchNorm that directly consumes the layer, if there is one and nothing else
consumes it, else at the layer's own output, as in arXiv 2310.20203. What feeds what is found by running one example
(`tracing`).

Layers that hooks do not reach have none, and a warning names them. What cannot be vouched for is refused: a network
that draws random numbers in eval mode, one none of whose layers hooks reach (as in TorchScript), one that does not
answer otherwise when its units do, or that lets examples influence each other.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib.network import contexts, models
from lib.network.layers import layers_of, widths
from lib.network.taps import Tap, Unit, along, on_other_rows, tapped
from lib.network.tracing import Run, Trace, follow, refuse_randomness

_TRIED_SIZES = (32, 64, 8, 28, 96, 224, 299)
_ONE, _MANY = "one", "many"  # logits that a channel of a classifier changes
_PARALLEL = 0.999  # cosine: logits that change by other channels than their own do so in proportion, in a softmax say


@contexts.random_state_kept()  # a model may draw numbers that it has no use for
def units(model: nn.Module, example: Tensor | None = None) -> list[Unit]:
    """The units of `model`, in the order in which their layers first run; their sizes add up to N.

    Only layers that run as modules, on what depends on the example, have units. Without are, as a warning says, those
    that are run as `conv.forward(x)` instead of `conv(x)`, or whose weights a function is given, as they are or scaled;
    and those that run on a table of the network's own. Of a layer that runs as a module as well, the units are what it
    gives there: masks, scores and the oracle leave alone what else is made with its weights, as they do a layer of
    another kind; only shares left count that, too.

    Arguments:
        example: one input, (1, C, H, W) or whatever the model takes; without it, images of the usual sizes are tried.

    Raises ValueError where the model is no nn.Module, is in training mode, has no values yet, has nothing to prune,
    takes none of the usual inputs or not the example, gives something else than logits (1, K), or is random although in
    eval mode.
    """
    model = models.inside(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(_without_units(model))
    models.require_eval_mode(model)
    models.require_values(model)
    _refuse_statistics_of_batches(model)
    trace = follow(model, _usual_example(model) if example is None else example)
    classifiers, doubtful = _classifiers(model, trace)
    _tell_what_has_none(trace, doubtful)
    found = _with_units(trace, classifiers)
    if not found:
        raise ValueError(_without_units(model))
    result, start, idle = [], 0, tuple(name for name, _ in layers_of(model) if name not in trace.calls)
    for name, uses in found.items():
        size, _ = widths(model.get_submodule(name))
        result.append(Unit(name, size, start, uses[0].norm, tuple(trace.tap(use) for use in uses), idle))
        start += size
    _refuse_hooks_without_effect(model, trace, result)
    _refuse_what_mixes_examples(model, trace, result)
    return result


def _usual_example(model: nn.Module) -> Tensor:
    _, first = next(layers_of(model), (None, None))
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
            with torch.no_grad(), contexts.as_written():
                models.run(model, example)
        except ValueError as error:
            last = models.first_line(error)
            continue
        return example
    raise ValueError(f"{type(model).__name__} takes none of the usual inputs ({last}): give one as `example`")


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


def _tell_what_has_none(trace: Trace, doubtful: Sequence[str]) -> None:
    """Warns of layers without units, but for classifiers that are not `doubtful`."""
    reasons = {
        "used without being run as a module, as by {}.forward(x), so hooks do not see it: have the network call {}(x)"
        " if it is to have some": trace.in_functions,
        "run on a table of the network's own, whatever the example": trace.on_tables,
        "taken for classifiers, since each of their channels changes all logits in proportion": doubtful,
    }
    for reason, names in reasons.items():
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            said = reason.format(names[0], names[0])
            warnings.warn(f"{', '.join(names[:3])}{more} without units: {said}", stacklevel=4)


def _with_units(trace: Trace, classifiers: set[str]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in trace.runs:
        if run.layer not in classifiers:
            found.setdefault(run.layer, []).append(run)
    return found


def _classifiers(model: nn.Module, trace: Trace) -> tuple[set[str], list[str]]:
    """The layers whose channels are those of the logits; and those of them that may be hidden layers, as their channels
    are not as many as the logits, and change more than one."""
    unmixed = trace.flow.unmixed([(run.value, run.done) for run in trace.runs], trace.logits)
    candidates = [run for run, straight in zip(trace.runs, unmixed, strict=True) if straight]
    tied = {run: _ONE if run.value is trace.logits else _tie(model, trace, run) for run in candidates}
    doubtful = [run.layer for run, how in tied.items() if how == _MANY and not _has_width_of_logits(trace, run)]
    names = {run.layer for run, how in tied.items() if how}
    if not names and trace.logits.shape[1] == 2:  # both made of one number, as by sigmoid(z) and 1 - sigmoid(z)
        names = {run.layer for run in candidates if run.value.shape[run.axis] == 1}
    return names, [*dict.fromkeys(doubtful)]


def _has_width_of_logits(trace: Trace, run: Run) -> bool:
    return run.value.shape[run.axis] == trace.logits.shape[1]


@torch.inference_mode(False)
@torch.no_grad()
def _tie(model: nn.Module, trace: Trace, run: Run) -> str:
    """Whether each channel of this layer changes one logit alone, or many in proportion, whichever channel it is, as in
    front of a softmax; or neither."""
    width, classes = run.value.shape[run.axis], trace.logits.shape[1]
    channels = sorted({0, width // 2, width - 1})
    changes = [_changed(model, trace, run, channel) for channel in channels]
    noise = 0.02 * max(float(change.abs().max()) for change in changes)
    if all(int((change.abs() > noise).sum()) <= 1 for change in changes):
        return _ONE
    same = _MANY if width == classes else ""
    if min(width, classes) < 4:  # too few others to tell
        return same
    own = set(channels if width == classes else (int(change.abs().argmax()) for change in changes))
    if classes - len(own) < 2:
        return same
    rest = [change[[k for k in range(classes) if k not in own]] for change in changes]
    rest = [part / part.norm() for part in rest if part.norm() > noise]
    return _MANY if all(float((a @ b).abs()) >= _PARALLEL for a, b in combinations(rest, 2)) else ""


def _changed(model: nn.Module, trace: Trace, run: Run, channel: int) -> Tensor:
    """What the logits (K,) of the example become with more of this channel, less what they are."""
    step = torch.zeros(run.value.shape[run.axis], dtype=run.value.dtype, device=run.value.device)
    step[channel] = run.value.abs().max() + 1
    tap = Tap(run.layer, run.call, trace.calls[run.layer], run.axis, False)
    layer = Unit(run.layer, len(step), 0, None, (tap,))
    with tapped(model, [layer], lambda number, tap, value: value + along(step, tap.axis, value)):
        return (model(trace.example)[0] - trace.logits[0]).double()


@torch.inference_mode(False)
@torch.no_grad()
def _refuse_hooks_without_effect(model: nn.Module, trace: Trace, layers: list[Unit]) -> None:
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
def _refuse_what_mixes_examples(model: nn.Module, trace: Trace, layers: list[Unit]) -> None:
    """With other examples beside it, an example must get the same logits, from values in rows of its own: elsewhere
    what belongs to which example cannot be told."""
    if not trace.logits.isfinite().all():
        return
    own, wrong = trace.example[0], []
    rows = torch.stack([1 - 2 * own, own, 3 * own.flip(-1) + 7, own])
    beside_itself: dict[Tap, Tensor] = {}  # of folded values, whose rows could be alike since all are of each example

    def keep(number: int, tap: Tap, value: Tensor) -> None:
        beside_itself[tap] = value[:1].clone()

    def see(number: int, tap: Tap, value: Tensor) -> None:
        others = [value[3:4], *([beside_itself[tap]] if tap.folded else [])]
        if len(value) != len(rows) or not all(models.alike(value[1:2], other) for other in others):
            wrong.append(layers[number].name)

    folded = [replace(layer, taps=tuple(tap for tap in layer.taps if tap.folded)) for layer in layers]
    if any(layer.taps for layer in folded):
        with tapped(model, folded, keep):
            models.answers(model, trace.example)
    with tapped(model, layers, see):
        logits = models.answers(model, rows)
    if not models.alike(logits[1::2], trace.logits, beside=logits[::2]):
        refuse_randomness(model, trace, again=1)
        raise ValueError(
            f"{type(model).__name__} lets examples influence each other, as statistics of a batch do: the logits of an"
            f" example must depend on it alone"
        )
    if wrong:
        raise ValueError(on_other_rows(wrong[0]))
