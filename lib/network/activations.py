"""Activation functions by name, and straight lines instead of them.

Enters: a call of one, a module's or by itself, as a `TorchFunctionMode` sees it. Leaves: what a line, bent at 0, makes
of the same values, for copies of networks in which nothing is to be silent or saturated.
"""

from collections.abc import Callable

from torch import Tensor

from lib.network.functions import overwrites

GATES = {"hardsigmoid", "sigmoid"}
ACTIVATIONS = GATES | {
    "celu", "elu", "gelu", "hardswish", "hardtanh", "leaky_relu", "mish", "prelu", "relu", "relu6", "selu", "silu",
    "softplus", "tanh",
}  # fmt: skip


def straightened(
    function: Callable, args: tuple, kwargs: dict, *, slope: float | Tensor = 1.0, shift: float = 0.0
) -> Tensor:
    """What an activation function is called for times `slope`, one for all values or one for each, plus `shift`: in
    place where the function would be."""
    value = args[0]
    return value.mul_(slope).add_(shift) if overwrites(function, args, kwargs) else value * slope + shift
