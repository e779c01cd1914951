"""Whether gradients get through a network: what `detach()` or `no_grad()` cuts off would silently be missing in scores.

Enters: a forward pass, run while a `Detached` is open, of images that require gradients. Leaves: whether the logits
depend on values behind such a cut. What is cut off and used for nothing, such as a copy that is kept, does not matter.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from lib import models

_OF_A_SHAPE_ALONE = ("_like", "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor")
_CHANGES_ITS_FIRST = ("__setitem__", "copy_")


def refuse_cut_gradients(model: nn.Module, images: Tensor) -> None:
    """Raises ValueError where the logits for `images` (M, ...) depend on something without a gradient of its own."""
    with Detached() as detached, models.as_written():
        output = model(images.clone().requires_grad_().clone())
    if detached.reaches(output):
        raise ValueError(
            f"{type(model).__name__} cuts gradients off on the way to its logits, by detach() or no_grad(): scores by"
            f" gradients would miss what goes through there"
        )


class Detached(TorchFunctionMode):
    """While open, follows what comes behind a function whose result requires no gradient although its input does."""

    def __init__(self):
        super().__init__()
        self._behind: dict[int, Tensor] = {}  # held, so that no other takes their ids
        self._apply = Function.__dict__["apply"]

    def __enter__(self):
        Function.apply = classmethod(lambda cls, *args, **kwargs: _unseen(self._apply.__get__(None, cls), args, kwargs))
        return super().__enter__()

    def __exit__(self, *error):
        Function.apply = self._apply
        return super().__exit__(*error)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        made = _unseen(function, args, kwargs or {})
        taken, name = _tensors((args, kwargs)), getattr(function, "__name__", "")
        behind = any(id(tensor) in self._behind for tensor in taken)
        cuts = any(tensor.requires_grad for tensor in taken) and not name.endswith(_OF_A_SHAPE_ALONE)
        changed = args[:1] if name in _CHANGES_ITS_FIRST else ()
        for tensor in (*_tensors(made), *_tensors(changed)):
            if behind or (cuts and not tensor.requires_grad):
                self._behind[id(tensor)] = tensor
        return made

    def reaches(self, output: Tensor) -> bool:
        """Whether `output` depends on something without a gradient of its own."""
        return id(output) in self._behind


def _unseen(function: Callable, args: tuple, kwargs: dict) -> object:
    """Calls it as one: what a custom `autograd.Function` does inside it does without gradients, for instance."""
    with torch._C.DisableTorchFunction():
        return function(*args, **kwargs)


def _tensors(values: object) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor) and value.is_floating_point()]
