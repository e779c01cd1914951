"""The same network, faster: each BatchNorm merged into the convolution before it, in the layout that convolutions like.

Enters: a model in eval mode. Leaves: a private copy of it with the same logits and the same values at every tap; the
model itself where such a copy cannot be had, or a check of the logits of an example says that it is another network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from lib.network import contexts
from lib.network.copies import copied
from lib.network.models import alike, attempted, channels_last
from lib.network.taps import Tap, Unit, tapped

_SMALL_MAP = 16  # pixels, below which the weights are most of what a convolution reads, and the default layout wins


def folded(model: nn.Module, layers: Sequence[Unit], example: Tensor) -> tuple[nn.Module, Sequence[Unit]]:
    """A copy of `model` in which a BatchNorm that takes in a convolution does nothing, and the convolution its work;
    and its units.

    Taps stay where they are: the output of what was the BatchNorm, now that of the convolution, is the same value,
    with the same derivatives. Modules that overwrite what they take in, as a ReLU may, do so no more, so that fewer
    taps are `overwritten`. What is not merged the copy shares with the model.

    Arguments:
        layers: `units(model)`.
        example: one input, (1, C, H, W), on which both must give the same logits, and the same values at every tap.

    Returns the model itself where it has hooks, which may do anything, or where the copy does not give the same.
    """
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return model, layers
    with attempted():  # copying and running a stranger's model in another layout
        pair = example.repeat_interleave(2, 0)  # one alone would fit views that more do not
        with torch.no_grad(), contexts.full_precision():
            truth, shapes = _seen(model, layers, pair)
            copy = copied(model, sharing=True)
            for unit in layers:
                _fold(copy, unit, shapes)
            for module in copy.modules():
                if getattr(module, "inplace", False) is True:
                    module.inplace = False
            found, overwritten = _values(copy, layers, channels_last(pair))
            if all(alike(*both) for both in zip(found, truth, strict=True)):
                return copy, _with_overwritten(layers, overwritten)
    return model, layers


def _values(model: nn.Module, layers: Sequence[Unit], images: Tensor) -> tuple[list[Tensor], dict[Tap, bool]]:
    """The value at every tap, and last the logits; and which of the taps something overwrites later."""
    found, seen = [], {}

    def see(_: int, tap: Tap, value: Tensor) -> None:
        found.append(value.clone())
        seen[tap] = value, value._version

    with tapped(model, layers, see):
        found.append(model(images))
    return found, {tap: value._version != version for tap, (value, version) in seen.items()}


def _with_overwritten(layers: Sequence[Unit], overwritten: Mapping[Tap, bool]) -> list[Unit]:
    """The units, with their taps as `units.Tap.overwritten` is to say."""
    return [
        replace(unit, taps=tuple(replace(tap, overwritten=overwritten[tap]) for tap in unit.taps)) for unit in layers
    ]


def _seen(model: nn.Module, layers: Sequence[Unit], images: Tensor) -> tuple[list[Tensor], dict[str, torch.Size]]:
    """What `_values` finds, and the shapes of what convolutions make, by name."""
    shapes, handles = {}, []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            see = lambda _, taken, made, name=name: shapes.update({name: made.shape})  # noqa: E731
            handles.append(module.register_forward_hook(see))
    try:
        return _values(model, layers, images)[0], shapes
    finally:
        for handle in handles:
            handle.remove()


def _fold(model: nn.Module, unit: Unit, shapes: dict[str, torch.Size]) -> None:
    layer, norm = model.get_submodule(unit.name), model.get_submodule(unit.norm) if unit.norm else None
    if can_merge(layer, norm) and all(tap.module == unit.norm for tap in unit.taps):
        both, liked = merged(layer, norm), layout(shapes[unit.name], layer.weight.device)
        both.weight.data = both.weight.contiguous(memory_format=liked)
        if liked == torch.contiguous_format:  # and so is what comes after, until someone asks for another one
            both.register_forward_pre_hook(lambda _, taken: (taken[0].contiguous(),))
        model.set_submodule(unit.name, both)
        model.set_submodule(unit.norm, nn.Identity())


def layout(shape: torch.Size, device: torch.device) -> torch.memory_format:
    """In which layout a convolution is fastest that makes values of this shape (M, C, H, W)."""
    small = device.type == "cpu" and shape[2:].numel() <= _SMALL_MAP
    return torch.contiguous_format if small else torch.channels_last


def can_merge(layer: nn.Module | None, norm: nn.Module | None) -> bool:
    """Whether the two are a plain convolution and a plain BatchNorm, without hooks, which may do anything."""
    plain = type(layer) is nn.Conv2d and type(norm) is nn.BatchNorm2d
    return plain and not any(module._forward_hooks or module._forward_pre_hooks for module in (layer, norm))


def merged(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that does what the two do in eval mode, one after the other."""
    moments = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    weight, bias = fuse_conv_bn_weights(layer.weight.detach(), layer.bias, *moments)
    both = copied(layer, sharing=True)
    both.weight = nn.Parameter(weight.detach().contiguous(memory_format=torch.channels_last), requires_grad=False)
    both.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return both
