"""The units of a network, and the taps at which their values are read, replaced or silenced.

Enters: any `nn.Module` of convolutions, linear layers and BatchNorm, in eval mode. Leaves: its units, layer by layer
in the order in which the layers run, and a way to see every unit's value during a forward pass. A unit is one
output channel of a convolution or one output of a linear layer; the last layer to run (the classifier) has none.
It is tapped at the output of the BatchNorm that directly consumes the layer, if there is one, else at the layer's
own output, as in arXiv 2310.20203. What feeds what is found by running one example and following the tensors
themselves.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_TRIED_SIZES = (32, 64, 8, 28, 96, 224, 299)


@dataclass(frozen=True)
class Unit:
    """The units of one layer: `size` of them, the first at index `start` of all N; `norm` names its BatchNorm, if
    any."""

    name: str
    size: int
    start: int
    norm: str | None
    taps: tuple["Tap", ...] = field(repr=False)

    @property
    def slice(self) -> slice:
        """Where these units lie in a vector of all N."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Tap:
    """Where one use of a layer is read: the output of the `call`-th run of `module` within a forward pass.

    `axis` is the one along which the units lie; `overwritten` says that a later in-place operation destroys the value.
    """

    module: str
    call: int
    axis: int
    overwritten: bool


def units(model: nn.Module, example: Tensor | None = None) -> list[Unit]:
    """The units of `model`, in the order in which their layers first run; their sizes add up to N.

    Arguments:
        example: one input, (1, C, H, W) or whatever the model takes; without it, images of the usual sizes are tried.

    Raises ValueError where the model is in training mode, has nothing to prune or takes none of the usual inputs.
    """
    _refuse_training_mode(model)
    trace = _trace(model, example) if example is not None else _trace_usual_sizes(model)
    runs = trace.layer_runs[:-1]
    classifier = trace.layer_runs[-1][0] if trace.layer_runs else None
    found: dict[str, list[_Run]] = {}
    for name, run in runs:
        if name != classifier:
            found.setdefault(name, []).append(run)
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no units: it needs a convolution or linear layer before its last one"
        )
    result, start = [], 0
    for name, uses in found.items():
        size = _width(model.get_submodule(name))
        result.append(Unit(name, size, start, uses[0].norm, tuple(use.tap() for use in uses)))
        start += size
    return result


@contextmanager
def tapped(model: nn.Module, layers: list[Unit], see: Callable[[int, Tap, Tensor], Tensor | None]) -> Iterator[None]:
    """While open, every tap's value passes through `see(position in layers, tap, value)`; what it returns replaces
    the value."""
    points = {(tap.module, tap.call): (number, tap) for number, unit in enumerate(layers) for tap in unit.taps}
    calls: dict[str, int] = {}

    def restart(*_):
        calls.clear()

    def hook(name: str):
        def run(module, inputs, output):
            call = calls[name] = calls.get(name, -1) + 1
            return see(*points[name, call], output) if (name, call) in points else None

        return run

    handles = [model.register_forward_pre_hook(restart)]
    handles += [model.get_submodule(name).register_forward_hook(hook(name)) for name in {name for name, _ in points}]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def along(values: Tensor, axis: int, like: Tensor) -> Tensor:
    """Reshapes one value per unit, (size,), so that it broadcasts against `like` along `axis`."""
    shape = [1] * like.ndim
    shape[axis] = -1
    return values.view(shape)


def _refuse_training_mode(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if module.training:
            raise ValueError(f"{name or type(model).__name__} is in training mode: call model.eval() first")
        if isinstance(module, _BatchNorm) and not module.track_running_stats:
            raise ValueError(f"{name} has no running statistics, so examples would influence each other: keep them")


def _width(layer: nn.Module) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


@dataclass
class _Run:
    """One use of a layer in the traced pass: the tensor that is tapped and where it came from."""

    module: str
    call: int
    axis: int
    value: Tensor
    version: int
    norm: str | None = None

    def tap(self) -> Tap:
        return Tap(self.module, self.call, self.axis, overwritten=self.value._version != self.version)


class _Tracer:
    """Follows the outputs of layers into the BatchNorms that take them."""

    def __init__(self):
        self.layer_runs: list[tuple[str, _Run]] = []
        self._calls: dict[str, int] = {}
        self._producers: dict[int, _Run] = {}

    def layer(self, name: str, module: nn.Module, output: Tensor) -> None:
        axis = -1 if isinstance(module, nn.Linear) else 1
        run = _Run(name, self._count(name), axis, output, output._version)
        self.layer_runs.append((name, run))
        self._producers[id(output)] = run  # the run keeps the tensor, so its id stays taken

    def norm(self, name: str, value: Tensor, output: Tensor) -> None:
        call = self._count(name)
        run = self._producers.get(id(value))
        if run is not None and run.norm is None and value._version == run.version:
            run.module, run.call, run.axis, run.norm = name, call, 1, name
            run.value, run.version = output, output._version

    def _count(self, name: str) -> int:
        self._calls[name] = self._calls.get(name, -1) + 1
        return self._calls[name]


@torch.inference_mode(False)  # whatever the caller's: tensors of inference mode do not count their versions
@torch.no_grad()
def _trace(model: nn.Module, example: Tensor) -> _Tracer:
    tracer, handles = _Tracer(), []
    for name, module in model.named_modules():
        if isinstance(module, LAYERS):
            handles.append(module.register_forward_hook(lambda m, i, out, name=name: tracer.layer(name, m, out)))
        elif isinstance(module, _BatchNorm):
            handles.append(module.register_forward_hook(lambda m, i, out, name=name: tracer.norm(name, i[0], out)))
    try:
        model(example)
    finally:
        for handle in handles:
            handle.remove()
    return tracer


def _trace_usual_sizes(model: nn.Module) -> _Tracer:
    first = next((module for module in model.modules() if isinstance(module, LAYERS)), None)
    if first is None:
        return _Tracer()
    like = first.weight
    if isinstance(first, nn.Linear):
        shapes = [(1, first.in_features)]
    else:
        shapes = [(1, first.in_channels, *[size] * (like.ndim - 2)) for size in _TRIED_SIZES]
    for shape in shapes:
        try:
            return _trace(model, torch.zeros(shape, dtype=like.dtype, device=like.device))
        except (RuntimeError, ValueError, AssertionError) as error:
            last = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise ValueError(f"{type(model).__name__} takes none of the usual inputs ({last}): give one as `example`")
