"""Whether gradients get through a network: what `detach()` or `no_grad()` cuts off would silently be missing in scores.

Enters: a forward pass, run while a `Detached` is open, of images that require gradients. Leaves: whether the logits
depend on values behind such a cut. What is cut off and used for nothing, such as a copy that is kept, does not matter.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from lib import models
from lib.units import Tap, Unit, tapped
from lib.uses import NO_TENSOR

_OF_A_SHAPE_ALONE = ("_like", "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor")
_CHANGES_ITS_FIRST = ("__setitem__", "copy_")


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
        f"{type(model).__name__} cuts gradients off on the way to its logits, by detach() or no_grad(): scores by"
        f" gradients would miss what goes through there"
    )


class Detached(TorchFunctionMode):
    """While open, follows what comes behind a function whose result requires no gradient although its input does."""

    def __init__(self):
        super().__init__()
        self._behind: dict[int, tuple[Tensor, bool]] = {}  # held, so that no other takes their ids
        self.lost = False  # whether values were made something else than tensors, where nobody can follow them

    def __torch_function__(self, function, types, args=(), kwargs=None):
        taken, name = _tensors((args, kwargs)), getattr(function, "__name__", "")
        behind = any(self.reaches(tensor) for tensor in taken)
        made = function(*args, **(kwargs or {}))
        self.lost |= name in NO_TENSOR and any(tensor.requires_grad or self.reaches(tensor) for tensor in taken)
        cuts = any(tensor.requires_grad for tensor in taken) and not name.endswith(_OF_A_SHAPE_ALONE)
        changed = args[:1] if name in _CHANGES_ITS_FIRST else ()
        for tensor in (*_tensors(made), *_tensors(changed)):
            if behind or (cuts and not tensor.requires_grad):
                self._behind[id(tensor)] = tensor, tensor.requires_grad
        return made

    def reaches(self, value: Tensor) -> bool:
        """Whether `value` depends on something without a gradient of its own.

        What a custom `autograd.Function` makes requires one only when it is handed back.
        """
        tensor, required = self._behind.get(id(value), (None, False))
        return tensor is not None and tensor.requires_grad == required


def _tensors(values: object) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor) and value.is_floating_point()]
