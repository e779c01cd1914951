"""Where weights are used in a forward pass: by convolutions, transposed ones, linear layers and BatchNorm.

Enters: a forward pass, run while a `Uses` is open. Leaves: every use, whether a module made it or the model called the
function itself. What modules' own hooks would not see, such as a cosine classifier's product, is seen here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = {torch.conv1d, torch.conv2d, torch.conv3d}
_TRANSPOSED = {torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d}


@dataclass(frozen=True, eq=False)
class Use:
    """One use of `weight`, and of `vectors`, with an entry per output; BatchNorm has vectors alone."""

    taken: Tensor
    made: Tensor
    axis: int  # of channels
    weight: Tensor | None
    vectors: tuple[Tensor, ...]
    transposed: bool = False

    @property
    def positions(self) -> int:
        """At which the weight is applied, over all examples."""
        where = self.taken if self.transposed else self.made
        return where.numel() // where.shape[self.axis]

    @property
    def multiply_adds(self) -> int:
        """Over all examples."""
        return 0 if self.weight is None else self.positions * self.weight.numel()


class Uses(TorchFunctionMode):
    """While open, `use` is called with every use, and `other` with what every other function takes in and gives.

    A subclass may have functions do something else, by `call`.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        made = self.call(function, args, kwargs)
        if function in _CONVOLUTIONS or function in _TRANSPOSED:
            taken, weight, bias = bound(args, kwargs, "input", "weight", "bias")
            self.use(Use(taken, made, 1, weight, _present(bias), function in _TRANSPOSED))
        elif function is functional.linear:
            taken, weight, bias = bound(args, kwargs, "input", "weight", "bias")
            self.use(Use(taken, made, -1, weight, _present(bias)))
        elif function is functional.batch_norm:
            taken, _, _, gamma, beta = bound(args, kwargs, "input", "running_mean", "running_var", "weight", "bias")
            self.use(Use(taken, made, 1, None, _present(gamma, beta)))
        else:
            self.other(chain(args, kwargs.values()), made)
        return made

    def call(self, function: Callable, args: tuple, kwargs: dict) -> object:
        return function(*args, **kwargs)

    def use(self, use: Use) -> None:
        pass

    def other(self, taken, made: object) -> None:
        pass


def linear(
    function: Callable, args: tuple, kwargs: dict, *, above: float = 1.0, below: float = 1.0, shift: float = 0.0
) -> Tensor:
    """What an activation function is called for times `above`, or `below` where it is negative, plus `shift`: in place
    where the function would be."""
    value = args[0]
    in_place = function.__name__.endswith("_") or kwargs.get("inplace") is True or any(arg is True for arg in args[1:])
    slope = above if above == below else torch.where(value.detach() > 0, above, below)
    return value.mul_(slope).add_(shift) if in_place else value * slope + shift


def bound(args: tuple, kwargs: dict, *names: str) -> list:
    """What a function is given for its first arguments `names`, by position or by name; None where it is not."""
    return [args[place] if len(args) > place else kwargs.get(name) for place, name in enumerate(names)]


def _present(*vectors: Tensor | None) -> tuple[Tensor, ...]:
    return tuple(vector for vector in vectors if vector is not None)
