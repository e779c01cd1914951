"""Forward passes that remember less for the backward pass, with the same values and derivatives.

Enters: a forward pass through a network whose weights need no gradient. Leaves: the same, in which a convolution does
not keep what it takes in, as only the gradient of its weights would need that; and in which a ReLU keeps what it takes
in, which scoring holds anyway, instead of what it makes. That halves what the pass holds.
"""

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_RELUS = (functional.relu, torch.relu, Tensor.relu)


class Lean(TorchFunctionMode):
    """While open, convolutions and ReLUs keep no more than the gradient of their input needs."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in _RELUS and len(args) == 1 and not any(kwargs.values()):  # in place as it was
            return functional.threshold(*args, 0.0, 0.0)
        if function is torch.conv2d and len(args) == 7 and not kwargs and _needs_only_input(*args):
            return _Convolution.apply(*args)
        return function(*args, **kwargs)


def _needs_only_input(taken: Tensor, weight: Tensor, bias: Tensor | None, *settings) -> bool:
    frozen = not weight.requires_grad and (bias is None or not bias.requires_grad)
    spelt_out = all(isinstance(setting, tuple) for setting in settings[:3])  # as modules do; not 1 or "same"
    as_is = spelt_out and not torch.is_autocast_enabled(taken.device.type)  # that would cast weights
    return taken.requires_grad and taken.ndim == 4 and frozen and as_is


class _Convolution(Function):
    @staticmethod
    def forward(ctx, taken, weight, bias, *settings):
        ctx.weight, ctx.settings, ctx.shape = weight, settings, taken.shape
        last = taken.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        return torch.conv2d(taken, weight, bias, *settings)

    @staticmethod
    def backward(ctx, delta):
        stride, padding, dilation, groups = ctx.settings
        any_values = torch.empty(ctx.shape, dtype=delta.dtype, device=delta.device, memory_format=ctx.layout)
        settings = None, stride, padding, dilation, False, [0, 0], groups, [True, False, False]
        found, _, _ = torch.ops.aten.convolution_backward(delta, any_values, ctx.weight, *settings)
        return found, *[None] * 6
