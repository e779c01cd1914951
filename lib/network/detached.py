"""Whether gradients get through a network: what `detach()` or `no_grad()` cuts off would silently be missing in scores.

Enters: a forward pass, run while a `Detached` is open, of values that require gradients. Leaves: whether the logits
depend on values behind such a cut, made anew or written over others. What is cut off and used for nothing, such as a
copy that is kept, does not matter, but for numbers of Python's, which nobody can follow; nor do whole numbers and truth
values of tensors, which are steps and so without a slope that could be missing. A custom `autograd.Function` is judged
by what it hands back.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from lib.network import models
from lib.network.functions import makes_numbers, name_of
from lib.network.taps import Tap, Unit, tapped

_OF_A_SHAPE_ALONE = ("_like", "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor")
_AS_ANOTHER = ("expand_as", "reshape_as", "to", "type_as", "view_as")  # of which no more than shape or type is used
_SEVERAL = ("broadcast_tensors", "meshgrid")  # that each have the values of one given
_NOT, _UNLESS_HANDED_BACK, _SURELY = range(3)  # behind a cut; the second as long as the value requires no gradient


def refuse_cut_gradients(model: nn.Module, layers: Sequence[Unit], images: Tensor) -> None:
    """Raises ValueError where the logits for `images` (M, ...) depend on units by a way that gradients do not go."""

    def watch(number: int, tap: Tap, value: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            raise ValueError(cut(model))
        return value if value.requires_grad else value.detach().requires_grad_().clone()

    with tapped(model, layers, watch), Detached() as detached:
        output = models.answers(model, images)
    if detached.reaches(output) or detached.lost:
        raise ValueError(cut(model))


def cut(model: nn.Module) -> str:
    """What is said of such a network."""
    return (
        f"{type(model).__name__} cuts gradients off on the way to its logits, by detach(), no_grad(), .data, or item()"
        f" and the like: scores by gradients would miss what goes through there"
    )


class Detached(TorchFunctionMode):
    """While open, follows what comes behind a function whose result requires no gradient although its input does, and
    what is written where autograd does not see it."""

    def __init__(self):
        super().__init__()
        self._behind: dict[int, tuple[Tensor, int]] = {}  # held, so that no other takes their ids
        self._written: dict[int, torch.UntypedStorage] = {}  # over others, with values that something is known of
        self._unseen: set[int] = set()  # those of them that autograd does not know of
        self.lost = False  # whether values were made something else than tensors, where nobody can follow them

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if name_of(function) in _SEVERAL:
            return self._one_by_one(function, args, kwargs)
        taken = _looked_at(function, args, kwargs)
        behind = max(map(self._how, taken), default=_NOT)
        if not behind and not any(tensor.requires_grad for tensor in taken):
            return function(*args, **kwargs)
        versions = [_version(tensor) for tensor in taken]
        made = function(*args, **kwargs)
        self.lost |= makes_numbers(function)
        changed = [tensor for tensor, before in zip(taken, versions, strict=True) if _version(tensor) != before]
        self._note_written(changed, unseen=bool(behind) or not torch.is_grad_enabled())
        if function == Tensor.data.__set__:
            self._note_written(taken[:1], unseen=True)
        self._note(taken[:1] if function == Tensor.requires_grad.__set__ else [*_tensors(made), *changed], behind)
        return made

    def _one_by_one(self, function: Callable, args: tuple, kwargs: dict) -> Sequence[Tensor]:
        made = function(*args, **kwargs)
        for given, tensor in zip(tree_leaves(args), made, strict=True):
            if given.requires_grad or self.reaches(given):
                self._note([tensor], self._how(given))
        return made

    def reaches(self, value: Tensor) -> bool:
        """Whether `value` depends on something without a gradient of its own."""
        return self._how(value) != _NOT

    def _how(self, value: Tensor) -> int:
        """What a custom function makes requires a gradient only when it is handed back."""
        _, how = self._behind.get(id(value), (None, _NOT))
        if self._written and how != _SURELY:
            storage = value.untyped_storage()._cdata
            if storage in self._unseen:
                return _SURELY
            how = how or (_UNLESS_HANDED_BACK if storage in self._written else _NOT)
        return how if how == _SURELY or not value.requires_grad else _NOT

    def _note(self, made: Sequence[Tensor], behind: int) -> None:
        for tensor in made:
            if behind or not tensor.requires_grad:
                how = _SURELY if tensor.requires_grad else behind or _UNLESS_HANDED_BACK
                self._behind[id(tensor)] = tensor, how

    def _note_written(self, changed: Sequence[Tensor], unseen: bool) -> None:
        """For all tensors that share what these are kept in."""
        if not changed or (unseen and _is_in_a_custom_function()):
            return
        for storage in (tensor.untyped_storage() for tensor in changed):
            self._written[storage._cdata] = storage  # held, so that no other takes its address
            if unseen:
                self._unseen.add(storage._cdata)


def _looked_at(function: Callable, args: tuple, kwargs: dict) -> list[Tensor]:
    """The tensors whose values a function depends on."""
    name = name_of(function)
    if name in _AS_ANOTHER:
        return _tensors(args[:1])
    if name.endswith(_OF_A_SHAPE_ALONE):
        args, kwargs = args[1:], {name: value for name, value in kwargs.items() if name != "input"}
    return _tensors((args, kwargs))


def _tensors(values: object) -> list[Tensor]:
    return [
        value
        for value in tree_leaves(values)
        if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())
    ]


def _version(tensor: Tensor) -> int:
    """How often it has been written over; what is made in inference mode does not count that."""
    return 0 if tensor.is_inference() else tensor._version


def _is_in_a_custom_function() -> bool:
    """Whether what runs is a `forward` of a custom `autograd.Function`, which is always without gradients."""
    codes = {getattr(inspect.unwrap(kind.forward), "__code__", None) for kind in _kinds(Function)}
    frame = sys._getframe()
    while frame is not None and frame.f_code not in codes:
        frame = frame.f_back
    return frame is not None


def _kinds(kind: type) -> Iterator[type]:
    for below in kind.__subclasses__():
        yield below
        yield from _kinds(below)
