"""Where weights are used in a forward pass: by convolutions, transposed ones, linear layers and BatchNorm.

Enters: a forward pass, run while a `Uses` is open. Leaves: every use, whether a module made it or the model called the
function itself. What modules' own hooks would not see, such as a cosine classifier's product, is seen here.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from lib.network.functions import bound

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


def uses_weights(function: Callable) -> bool:
    """Whether it takes weights, or what has their place."""
    return function in _CONVOLUTIONS | _TRANSPOSED | {functional.linear, functional.batch_norm}


class Uses(TorchFunctionMode):
    """While open, `use` is called with every use of weights. A subclass may have functions do something else, by
    `call`.

    Arguments:
        parameters: which are followed through functions that keep their shape, as those that normalise weights do.
    """

    def __init__(self, parameters: Iterable[Tensor]):
        super().__init__()
        self.parameters = {id(parameter): parameter for parameter in parameters}
        self.elsewhere: set[int] = set()  # ids of parameters that something else than a use of weights takes in
        self._origins = {name: (parameter, parameter) for name, parameter in self.parameters.items()}

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
        elif any(isinstance(value, Tensor) for value in tree_leaves(made)):  # and not a size, say
            self._follow(tree_leaves((args, kwargs)), made)
        return made

    def origin(self, weight: Tensor | None) -> Tensor | None:
        """The parameter that a weight is or is computed from, if any."""
        return self._origins.get(id(weight), (None, None))[0]

    def _follow(self, taken: list, made: object) -> None:
        for value in taken:
            self.elsewhere |= self.parameters.keys() & {id(value)}
            origin = self.origin(value)
            if origin is not None and isinstance(made, Tensor) and made.shape == value.shape:
                self._origins[id(made)] = origin, made  # held, so that no other takes its id

    def call(self, function: Callable, args: tuple, kwargs: dict) -> object:
        return function(*args, **kwargs)

    def use(self, use: Use) -> None:
        pass


def _present(*vectors: Tensor | None) -> tuple[Tensor, ...]:
    return tuple(vector for vector in vectors if vector is not None)
