"""Taps: where every unit's value is read, replaced or silenced during a forward pass.

Enters: a network, its units as `units.units` finds them, and what is to become of each value. Leaves: a context within
which the network's forward passes do that. A pass that runs what the example's did not is refused, since it is not
known what that would be a use of.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lib.network import contexts, models


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
    `folded` says that each example has several rows, one after the other, as of windows or tokens: they are seen along
    an axis of their own, behind that of the examples.
    """

    module: str
    call: int
    calls: int
    axis: int
    overwritten: bool
    folded: bool = False

    @property
    def axis_of_rows(self) -> int:
        """The axis of the units in the layer's own output, where examples have none of their own if it is folded."""
        return self.axis - (self.folded and self.axis > 0)


def units_in(layers: Iterable[Unit]) -> int:
    """N, the number of all units."""
    return sum(unit.size for unit in layers)


@contextmanager
def tapped(
    model: nn.Module, layers: Sequence[Unit], see: Callable[[int, Tap, Tensor], Tensor | None]
) -> Iterator[None]:
    """While open, every tap's value passes through `see(position in layers, tap, value)`; what it returns replaces
    the value.

    A pass that runs a tapped module more often than the example's did raises ValueError, since what that would be a
    use of is not known, or, in eval mode, a layer that did not run then and so has no units, or a layer without the
    BatchNorm at which its units are tapped; so do layers that are called by themselves, but for once, between passes of
    the model.
    """
    model, passing = models.inside(model), _Pass(layers, see)
    with ExitStack() as stack:
        stack.enter_context(contexts.as_written())
        for name in layers[0].idle if layers else ():
            hook = partial(_refuse, name)
            stack.callback(model.get_submodule(name).register_forward_pre_hook(hook).remove)
        stack.callback(model.register_forward_pre_hook(passing.begin).remove)
        stack.callback(model.register_forward_hook(passing.require_norms).remove)
        stack.callback(model.register_forward_hook(passing.end, always_call=True).remove)
        for name in passing.with_norms:
            hook = partial(passing.note, name)
            stack.callback(model.get_submodule(name).register_forward_pre_hook(hook).remove)
        for name in passing.known:
            stack.callback(ahead(model.get_submodule(name), partial(passing.value, name)).remove)
        yield


class _Pass:
    """What has run so far of a forward pass, and what becomes of the values at its taps; its methods are hooks."""

    def __init__(self, layers: Sequence[Unit], see: Callable[[int, Tap, Tensor], Tensor | None]):
        self._layers, self._see = layers, see
        self._points = {(tap.module, tap.call): (n, tap) for n, unit in enumerate(layers) for tap in unit.taps}
        self.known = {tap.module: tap.calls for _, tap in self._points.values()}
        self.with_norms = {unit.name: unit for unit in layers if any(tap.module != unit.name for tap in unit.taps)}
        self._calls: dict[str, int] = {}  # the last one of each module
        self._ran: set[str] = set()  # of the layers with norms
        self._examples: list[int] = []  # of the pass, and of those that a model runs of itself within

    def __deepcopy__(self, known: dict) -> "_Pass":  # with a copy of the network, of which the same is to become
        return _Pass(self._layers, self._see)

    def begin(self, module: nn.Module, taken: tuple) -> None:
        if not self._examples:
            self._calls.clear()
            self._ran.clear()
        self._examples.append(len(taken[0]) if taken and isinstance(taken[0], Tensor) else 0)

    def end(self, *_: object) -> None:  # be it by an error
        self._examples.pop()
        if not self._examples:
            self._calls.clear()
            self._ran.clear()

    def note(self, name: str, *_: object) -> None:
        self._ran.add(name)

    def value(self, name: str, module: nn.Module, taken: tuple, made: Tensor) -> Tensor | None:
        call = self._calls[name] = self._calls.get(name, -1) + 1
        if call >= self.known[name] or torch._C._current_graph_task_id() >= 0:  # that is, during a backward pass
            raise ValueError(_again(name, self.known[name]))
        if (name, call) not in self._points:
            return None
        number, tap = self._points[name, call]
        if not tap.folded:
            return self._see(number, tap, made)
        examples = self._examples[-1] if self._examples else 0
        if not examples or len(made) % examples:
            raise ValueError(on_other_rows(name))
        changed = self._see(number, tap, made.unflatten(0, (examples, -1)))
        return None if changed is None else changed.flatten(0, 1)

    def require_norms(self, *_: object) -> None:
        if len(self._examples) > 1:
            return
        for name, unit in self.with_norms.items():
            if name in self._ran and any(self._calls.get(tap.module, -1) < tap.call for tap in unit.taps):
                raise ValueError(_without_norm(name, unit.norm))


def _refuse(name: str, module: nn.Module, *_: object) -> None:
    if not module.training:  # as heads do that are for training alone
        raise ValueError(_for_some_inputs(name))


class _Ahead:
    """A hook that `ahead` has registered."""

    def __init__(self, run: Callable):
        self._run = run

    def __call__(self, *given: object) -> object:
        return self._run(*given)


def ahead(module: nn.Module, run: Callable, **how: bool) -> RemovableHandle:
    """Registers a forward hook in front of the network's own ones, which may change what the module gives, or keep it
    for another layer; but behind those that were registered so before, such as those of a mask."""
    handle = module.register_forward_hook(_Ahead(run), **how)
    for number, hook in list(module._forward_hooks.items()):
        if not isinstance(hook, _Ahead):
            module._forward_hooks.move_to_end(number)
    return handle


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


def on_other_rows(name: str) -> str:
    """What is said of a layer of whose rows it is not known to which example they belong."""
    return (
        f"{name} runs on something else than rows of one example after the other, in their order, such as frames or"
        f" positions along the first axis: what of it belongs to which example cannot be told"
    )


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


def _without_norm(name: str, norm: str | None) -> str:
    return (
        f"{name} runs without {norm}, at which its units were found: have the model run the same layers for every"
        " input, or give images of one kind alone, such as those of one size"
    )
