"""Slimmed networks in files: weights, the width of every layer, how many heads modules count and how long tensors of
their own are, from which the smaller network is built again.

What was not made smaller must be as wide in both: the file has the widths before for what was.

Enters: a slimmed network; or a file and a freshly built network of the same architecture at its full width. Leaves: a
safetensors file, which holds no code; or the slimmed network.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from lib.network import checks, copies, models, saving
from lib.network.layers import all_widths, at_full_width, narrow, renumber, resized, shorten


def save(model: nn.Module, path: Path, metadata: Mapping[str, object] | None = None) -> None:
    """Writes a slimmed network to a safetensors file: its weights, and as JSON the width of every layer and the
    attributes by which modules count heads, and the lengths of their own tensors, as far as these have changed; and
    what all that has changed was before.

    Arguments:
        metadata: whatever else is worth keeping, as JSON; not under "widths", "numbers" or "full".

    Raises ValueError for a model or a path that is none, and for metadata that cannot be kept.
    """
    model, path, metadata = models.inside(model), checks.path(path), {} if metadata is None else metadata
    if isinstance(metadata, Mapping):
        kept = {"widths": "those of layers", "numbers": "those of heads and tensors", "full": "those before"}
        for name, what in kept.items():
            if name in metadata:
                raise ValueError(f'metadata has "{name}" already, where {what} are kept: give it another name')
        more = {"numbers": resized(model), "full": at_full_width(model)}
        metadata = {**metadata, "widths": all_widths(model), **{name: some for name, some in more.items() if some}}
    saving.save(model, path, metadata)


def load(model: nn.Module, path: Path) -> nn.Module:
    """The network in `path`, made from `model`, a freshly built one of the same architecture at its full width.

    `model` is left as it was; the result is on its device, in eval mode. Raises ValueError naming the file where it is
    damaged or no slimmed network of this architecture and width, and for a model or a path that is none, or a model
    without values.
    """
    model, path = models.inside(model), checks.path(path)
    models.require_values(model)
    full, result = all_widths(model), copies.copied(model)
    widths, numbers, before = _recipe(path)
    if widths.keys() != full.keys():
        name = min(widths.keys() ^ full.keys())
        raise ValueError(f"{path} cannot be used: {name} is a layer only {'there' if name in widths else 'here'}")
    for name, (outputs, inputs) in widths.items():
        if not (0 < outputs <= full[name][0] and 0 < inputs <= full[name][1]):
            raise ValueError(
                f"{path} cannot be used: {name} has {inputs} inputs and {outputs} outputs there, {full[name][1]} and"
                f" {full[name][0]} here"
            )
        wide = tuple(before.get(name, {}).get("", (outputs, inputs))) if before else full[name]
        if wide != full[name]:
            raise ValueError(
                f"{path} cannot be used: at full width {name} has {wide[1]} inputs and {wide[0]} outputs there,"
                f" {full[name][1]} and {full[name][0]} here"
            )
        narrow(result.get_submodule(name), torch.arange(outputs), torch.arange(inputs))
    for name, own in numbers.items():
        _set(result, name, own, before.get(name, {}), path)
    saving.restore(result, path)
    return result


def _set(model: nn.Module, name: str, sizes: Mapping[str, int | list[int]], before: Mapping, path: Path) -> None:
    """Sets numbers of a module and makes tensors of its own shorter, if it has such as they were `before`, if that is
    known, and else no smaller ones."""
    module = dict(model.named_modules()).get(name)
    for each, size in sizes.items():
        axis, wanted = size[0] if isinstance(size, list) else None, _length(size)
        here = _size(module, each, axis)
        full, along = f"{name}.{each}".lstrip("."), "" if axis is None else f" along axis {axis}"
        if here is None or not 0 < wanted <= here:
            has = "missing" if here is None else here
            raise ValueError(f"{path} cannot be used: {full} is {wanted}{along} there, {has} here")
        wide = _length(before.get(each, here))
        if wide != here:
            raise ValueError(f"{path} cannot be used: at full width {full} is {wide}{along} there, {here} here")
        if axis is None:
            renumber(module, {each: wanted})
        else:
            shorten(module, each, axis, torch.arange(wanted))


def _length(size: int | list[int]) -> int:
    return size[1] if isinstance(size, list) else size


def _size(module: nn.Module | None, name: str, axis: int | None) -> int | None:
    """The number that an attribute is, or the length of a parameter or buffer along an axis, if there is such."""
    if module is None or axis is None:
        value = None if module is None else vars(module).get(name)
        return value if type(value) is int else None
    value = {**dict(module.named_parameters("", False)), **dict(module.named_buffers("", False))}.get(name)
    return value.shape[axis] if value is not None and 0 <= axis < value.ndim else None


def _recipe(path: Path) -> tuple[dict[str, tuple[int, int]], dict[str, dict[str, int | list[int]]], dict]:
    """Layer -> outputs and inputs; module -> name -> number, or axis and length; and what all that was before, as
    `at_full_width` has it: empty in files of a time when that was not kept."""
    _, metadata = saving.read(path)
    try:
        kept = json.loads(metadata["study"])
        widths = {name: (int(outputs), int(inputs)) for name, (outputs, inputs) in kept["widths"].items()}
        sizes, before = (
            {name: {each: _sizes(size) for each, size in own.items()} for name, own in kept.get(key, {}).items()}
            for key in ("numbers", "full")
        )
        return widths, sizes, before
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no slimmed network: it lists no widths of layers") from error


def _sizes(size: object) -> int | list[int]:
    if isinstance(size, list):
        axis, length = size
        return [int(axis), int(length)]
    return int(size)
