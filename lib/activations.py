"""Activation functions by name, and straight lines instead of them.

Enters: a call of a function as a `TorchFunctionMode` sees it. Leaves: whether it is one of an activation function, a
module's or called by itself; and what a line, bent at 0, makes of the same values, for copies of networks in which
nothing is to be silent or saturated.
"""

from collections.abc import Callable

from torch import Tensor

GATES = {"hardsigmoid", "sigmoid"}
ACTIVATIONS = GATES | {
    "celu", "elu", "gelu", "hardswish", "hardtanh", "leaky_relu", "mish", "prelu", "relu", "relu6", "selu", "silu",
    "softplus", "tanh",
}  # fmt: skip


def plain_name(function: Callable) -> str:
    """The name without the underscore of what works in place."""
    return getattr(function, "__name__", "").rstrip("_")


def straightened(
    function: Callable, args: tuple, kwargs: dict, *, slope: float | Tensor = 1.0, shift: float = 0.0
) -> Tensor:
    """What an activation function is called for times `slope`, one for all values or one for each, plus `shift`: in
    place where the function would be."""
    value = args[0]
    return value.mul_(slope).add_(shift) if overwrites(function, args, kwargs) else value * slope + shift


def overwrites(function: Callable, args: tuple, kwargs: dict) -> bool:
    """Whether the function works in place."""
    by_name = function.__name__.endswith("_") and not function.__name__.startswith("__")
    return by_name or kwargs.get("inplace") is True or args[-1] is True
