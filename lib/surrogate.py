"""A stand-in for a network, in which what depends on what can be read off: nothing cancels, and nothing is stuck.

Enters: a model. Leaves: a copy with random positive weights, and a context in which activation functions are lines that
bend with the value, and maxima are sums. There a value is 0 only where it always is, and so is a derivative.
"""

import zlib
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from lib import models
from lib.activations import ACTIVATIONS, GATES, plain_name, straightened
from lib.uses import NO_TENSOR, Uses, bound

_LINES = ACTIVATIONS | {"clamp", "clamp_max", "clamp_min", "clip", "rrelu", "softsign", "threshold"}
_MAXIMA = {"amax", "amin", "fmax", "fmin", "max", "maximum", "median", "min", "minimum"}


@torch.no_grad()
def with_random_weights(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """A copy in single precision, whose weights are positive and whose BatchNorms shift upwards, so that no ReLU is
    silent."""
    network = models.copied(model).float()
    for parameter in network.parameters():
        inputs = parameter[0].numel() if parameter.ndim > 1 else 1  # so that values stay in range through many layers
        parameter.copy_(positive(parameter.shape, generator) / inputs)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.copy_(-positive(module.running_mean.shape, generator))
            module.running_var.fill_(1)
    return network.requires_grad_()


def positive(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Numbers from 0.5 to 1.5."""
    return torch.empty(shape).uniform_(0.5, 1.5, generator=generator)


class Straightened(Uses):
    """While open, activation functions are bent lines and maxima sums; notes every use of weights."""

    @torch.enable_grad()  # in what the model runs without, too
    def call(self, function: Callable, args: tuple, kwargs: dict) -> object:
        name = plain_name(function)
        if name in _LINES and args:
            return self._line(function, args, kwargs)
        if name in _MAXIMA and args:
            return _sum(function, args, kwargs)
        if name in NO_TENSOR:
            raise ValueError("the network turns values into something else than tensors, where nobody can follow them")
        if name == "detach":
            return args[0] * 1
        if name == "softmax":  # whose derivative may be too small for numbers
            value, dim = bound(args, kwargs, "input", "dim")
            return 1 + value / (2 + 2 * value.abs().amax(dim, keepdim=True))
        if function is functional.normalize:  # which of a single value leaves nothing but the sign
            value, _, dim = bound(args, {"dim": 1} | kwargs, "input", "p", "dim")
            return value / (1 + value.norm(dim=dim, keepdim=True))
        made = function(*args, **kwargs)  # a view would have another history as soon as something overwrites it
        return made.clone() if function is functional.linear and made._is_view() else made

    def _line(self, function: Callable, args: tuple, kwargs: dict) -> Tensor:
        """Through what the function makes of 0, with a slope that depends on the function and the value: what is not
        always the same must not cancel, and what is always the same must."""
        if plain_name(function) == "prelu":
            above = 1 + args[1].reshape(-1, *[1] * (args[0].ndim - 2 if args[1].numel() > 1 else 0))
            return args[0] * above
        with models.attempted():  # bounds may be of another shape
            at_zero = float(function(args[0].detach().new_zeros(1), *args[1:], **kwargs))
            if plain_name(function) in GATES:  # bounded, or products of them would leave the range of numbers
                return at_zero + args[0] / (10 + 10 * args[0].abs())
            return straightened(function, args, kwargs, slope=_slope(function, args, kwargs), shift=at_zero)
        return straightened(function, args, kwargs, slope=_slope(function, args, kwargs))


def _slope(function: Callable, args: tuple, kwargs: dict) -> Tensor:
    settings = [value for value in (*args[1:], *kwargs.values()) if type(value) in (int, float)]
    seed = zlib.crc32(repr((plain_name(function), settings)).encode())
    above, below = positive((2,), torch.Generator().manual_seed(seed)).tolist()
    value = args[0].detach()
    return torch.where(value > 0, above, below) * (1 + value.sin() / 4)


def _sum(function: Callable, args: tuple, kwargs: dict) -> object:
    """Instead of a maximum, of two values or along axes, their sum, which depends on all of them."""
    value, second, *_ = bound(args, kwargs, "input", "other" if "other" in kwargs else "dim", "keepdim")
    made = function(*args, **kwargs)
    if isinstance(second, Tensor):
        return value + second
    if second is None:  # over all examples, too
        return made
    total = value.sum(second, keepdim=bound(args, kwargs, "input", "dim", "keepdim")[2] or False)
    return total if isinstance(made, Tensor) else type(made)((total, made.indices))


def mixed(logits: Tensor) -> Tensor:
    """A sum of all logits in which they do not cancel."""
    return (logits * positive(logits.shape[1:], torch.Generator().manual_seed(1)).to(logits)).sum()
