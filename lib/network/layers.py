"""Layers: which modules of a network have channels, how many, and the same modules with some of them alone.

Enters: a network or a module of it. Leaves: the numbers of its output and input channels; or the module itself, made
narrower in place. Modules of other kinds may have numbers of heads among their attributes, or tensors with an axis of
heads or channels, which become smaller besides.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, _ConvTransposeNd, nn.Linear)  # whose outputs may be units
WITH_CHANNELS = (*LAYERS, _BatchNorm)
_ON_CHANNELS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.PReLU)  # whose outputs are their inputs, scaled or bent
_FULL, _RESIZED = "_full_width_before_shrinking", "_resized_by_shrinking"  # what modules note of themselves
_SIZES = {side: [f"{side}_{what}" for what in ("features", "channels", "parameters")] for side in ("num", "out", "in")}


def layers_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The convolutions, transposed ones too, and linear layers of the model, with their names."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LAYERS))


def by_output(layer: nn.Module, weights: Tensor) -> Tensor:
    """`weights`, or whatever has their shape, with a row for each output: (O, I / groups, ...). A transposed
    convolution's are (I, O / groups, ...)."""
    if not isinstance(layer, _ConvTransposeNd):
        return weights
    return weights.unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(0, 1)


def can_narrow(module: nn.Module) -> bool:
    """Whether `narrow` takes it: a module `WITH_CHANNELS`, or one that works on channels or groups of them."""
    return isinstance(module, (*WITH_CHANNELS, *_ON_CHANNELS))


def works_on_channels(module: nn.Module) -> bool:
    """Whether what it gives are the channels that it takes in, as BatchNorm does."""
    return isinstance(module, _ON_CHANNELS)


def has_one_for_all(module: nn.Module) -> bool:
    """Whether its one parameter is that of all channels, however many."""
    return isinstance(module, nn.PReLU) and module.num_parameters == 1


def groups_of(module: nn.Module) -> int:
    """Into how many groups the channels fall that only see each other."""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups
    return widths(module)[0] if works_on_channels(module) else getattr(module, "groups", 1)


def widths(module: nn.Module) -> tuple[int, int]:
    """Output and input channels of a module that `can_narrow`."""
    if works_on_channels(module):
        width = next(getattr(module, name) for name in _SIZES["num"] if hasattr(module, name))
        return width, width
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    return module.out_channels, module.in_channels


def all_widths(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Output and input channels of all that has channels, by name."""
    return {name: widths(module) for name, module in model.named_modules() if can_narrow(module)}


def narrow(module: nn.Module, outputs: Tensor | None, inputs: Tensor | None) -> None:
    """Keeps only these channels, by number, of a module that `can_narrow`, in place; None keeps all. Of groups of
    channels whole ones go. `at_full_width` tells how many there were."""
    _note_full(module, {"": list(widths(module))})
    if isinstance(module, nn.GroupNorm) and outputs is not None:
        module.num_groups = module.num_groups * len(outputs) // module.num_channels
    for name in ("bias", "running_mean", "running_var"):
        _select(module, name, outputs, 0)
    rows, columns = (inputs, outputs) if isinstance(module, _ConvTransposeNd) else (outputs, inputs)
    _select(module, "weight", rows, 0)
    if columns is not None and not works_on_channels(module):
        if getattr(module, "groups", 1) > 1:  # of which only whole ones go, and what is left sees as much as before
            each = module.weight.shape[1]
            module.groups = max(1, len(columns) // each)
            if len(columns) < each:  # of the last one a part, as of a layer that has shrunk twice
                _select(module, "weight", columns % each, 1)
        else:
            _select(module, "weight", columns, 1)
    for side, kept in (("num", outputs), ("out", outputs), ("in", inputs)):
        for size in _SIZES[side]:
            if kept is not None and hasattr(module, size):
                setattr(module, size, len(kept))


def renumber(module: nn.Module, numbers: Mapping[str, int]) -> None:
    """Sets attributes of a module by which its code counts heads or channels; `resized` tells of them."""
    _note_full(module, {name: getattr(module, name) for name in numbers})
    for name, value in numbers.items():
        setattr(module, name, value)
    _note_resized(module, dict.fromkeys(numbers))


def shorten(module: nn.Module, name: str, axis: int, kept: Tensor) -> None:
    """Keeps only these entries, by number, of one axis of a module's own parameter or buffer; `resized` tells of it."""
    _note_full(module, {name: [axis, getattr(module, name).shape[axis]]})
    _select(module, name, kept, axis)
    _note_resized(module, {name: axis})


def _note_resized(module: nn.Module, axes: Mapping[str, int | None]) -> None:
    setattr(module, _RESIZED, vars(module).get(_RESIZED, {}) | axes)


def _note_full(module: nn.Module, sizes: Mapping[str, int | list[int]]) -> None:
    setattr(module, _FULL, {**sizes, **vars(module).get(_FULL, {})})  # what was noted first is what was there at first


def at_full_width(model: nn.Module) -> dict[str, dict[str, int | list[int]]]:
    """Module -> name -> what it was before anything was made smaller: under "" output and input channels, and besides
    as `resized` has them; of all modules that `narrow`, `renumber` and `shorten` have been given."""
    full = ((name, vars(module).get(_FULL)) for name, module in model.named_modules())
    return {name: {**sizes} for name, sizes in full if sizes}


def resized(model: nn.Module) -> dict[str, dict[str, int | list[int]]]:
    """Module -> name -> the number that an attribute is now, or [axis, length] of a tensor, of all that has been made
    smaller besides what has channels."""
    found = {}
    for name, module in model.named_modules():
        if axes := vars(module).get(_RESIZED):
            values = {each: getattr(module, each) for each in axes}
            found[name] = {each: values[each] if axis is None else [axis, values[each].shape[axis]]
                           for each, axis in axes.items()}  # fmt: skip
    return found


def _select(module: nn.Module, name: str, kept: Tensor | None, axis: int) -> None:
    value = getattr(module, name, None)
    if value is None or kept is None:
        return
    fewer = value.detach().index_select(axis, kept.to(value.device))
    if _is_channels_last(value):  # which index_select does not keep, and a layer would be slower without
        fewer = fewer.to(memory_format=torch.channels_last)
    is_parameter = isinstance(value, nn.Parameter)
    setattr(module, name, nn.Parameter(fewer, value.requires_grad) if is_parameter else fewer)


def _is_channels_last(value: Tensor) -> bool:
    """By strides, which tell it of 1 x 1 kernels too; in the usual layout they never rise."""
    strides = list(value.stride())
    return value.ndim == 4 and strides != sorted(strides, reverse=True)
