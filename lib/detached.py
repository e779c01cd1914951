"""Whether gradients get through a network: what `detach()` or `no_grad()` cuts off would silently be missing in scores.

Enters: a forward pass, run while a `Detached` is open, of images that require gradients. Leaves: whether the logits
depend on values behind such a cut. What is cut off and used for nothing, such as a copy that is kept, does not matter.
"""

from torch import Tensor, nn
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
        self._behind: dict[int, tuple[Tensor, bool]] = {}  # held, so that no other takes their ids

    def __torch_function__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        taken, name = _tensors((args, kwargs)), getattr(function, "__name__", "")
        behind = any(self.reaches(tensor) for tensor in taken)
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
