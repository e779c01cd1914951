"""What of a network an example does not reach: of its layers and tensors then nobody can tell what they take in.

Enters: a network and an example. Leaves: the parameters and buffers that no operation takes, by name.
"""

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lib.network import contexts, models


class Taken(TorchDispatchMode):
    """While open, notes which tensors operations take, whether modules or functions do so."""

    def __init__(self):
        super().__init__()
        self._places: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # see `flow.Flow`

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        named = named or {}
        self._places.update(_place(value) for value in tree_leaves((arguments, named)) if isinstance(value, Tensor))
        return operation(*arguments, **named)

    def left(self, model: nn.Module) -> set[str]:
        """The names of the model's parameters and buffers of which none has taken any number."""
        tensors = (*model.named_parameters(), *model.named_buffers())
        return {name for name, value in tensors if value.numel() and _place(value) not in self._places}


def _place(value: Tensor) -> int:
    return value.untyped_storage()._cdata if value.layout == torch.strided else id(value)


@torch.no_grad()
def left_by(model: nn.Module, images: Tensor) -> tuple[set[str], Tensor]:
    """The names of the parameters and buffers that a pass of these images does not take, and the logits (M, K)."""
    with contexts.as_written(), Taken() as taken:
        logits = models.answers(model, images)
    return taken.left(model), logits
