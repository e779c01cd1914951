"""BatchNorm and InstanceNorm of a single example, whose gradients PyTorch gets wrong in silence.

Enters: a pass. Leaves: the same, in which both take in and are sent back what is laid out plainly. Otherwise, where
the values of one example are strided as views of tokens or of images channels last are, and its gradients are not, or
the other way round, they mix up channels (torch 2.14, on the CPU).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lib.network.functions import bound

_NORMS = {functional.batch_norm, functional.instance_norm, torch.batch_norm, torch.instance_norm}


class Plain(TorchFunctionMode):
    """While open, norms of a single example are laid out plainly."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return called(function, args, kwargs or {})


def called(function: Callable, args: tuple, kwargs: dict) -> object:
    """What the function makes of its arguments; of the norm of a single example the right gradients, too."""
    value = bound(args, kwargs, "input")[0] if function in _NORMS else None
    if value is None or len(value) != 1:
        return function(*args, **kwargs)
    args, kwargs = (_plain(value), *args[1:]), {name: given for name, given in kwargs.items() if name != "input"}
    made = function(*args, **kwargs)
    if made.requires_grad:
        made.register_hook(_plain)
    return made


def _plain(value: Tensor) -> Tensor:
    return value.clone(memory_format=torch.contiguous_format)
