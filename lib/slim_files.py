"""Slimmed networks in files: weights, the width of every layer and how many heads modules count, from which the smaller
network is built again.

Enters: a slimmed network; or a file and a freshly built network of the same architecture at its full width. Leaves: a
safetensors file, which holds no code; or the slimmed network.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from lib.network import checks, copies, models, saving
from lib.network.layers import all_widths, narrow, renumber, renumbered


def save(model: nn.Module, path: Path, metadata: Mapping[str, object] | None = None) -> None:
    """Writes a slimmed network to a safetensors file: its weights, and as JSON the width of every layer and the
    attributes that modules count heads by, as far as these have changed.

    Arguments:
        metadata: whatever else is worth keeping, as JSON; not under "widths" or "numbers".

    Raises ValueError for a model or a path that is none, and for metadata that cannot be kept.
    """
    model, path, metadata = models.inside(model), checks.path(path), {} if metadata is None else metadata
    if isinstance(metadata, Mapping):
        for name, what in {"widths": "those of layers", "numbers": "those of heads"}.items():
            if name in metadata:
                raise ValueError(f'metadata has "{name}" already, where {what} are kept: give it another name')
        numbers = renumbered(model)
        metadata = {**metadata, "widths": all_widths(model), **({"numbers": numbers} if numbers else {})}
    saving.save(model, path, metadata)


def load(model: nn.Module, path: Path) -> nn.Module:
    """The network in `path`, made from `model`, a freshly built one of the same architecture at its full width.

    `model` is left as it was; the result is on its device, in eval mode. Raises ValueError naming the file where it is
    damaged or no slimmed network of this architecture, and for a model or a path that is none.
    """
    model, path = models.inside(model), checks.path(path)
    full, result = all_widths(model), copies.copied(model)
    widths, numbers = _recipe(path)
    if widths.keys() != full.keys():
        name = min(widths.keys() ^ full.keys())
        raise ValueError(f"{path} cannot be used: {name} is a layer only {'there' if name in widths else 'here'}")
    for name, (outputs, inputs) in widths.items():
        if not (0 < outputs <= full[name][0] and 0 < inputs <= full[name][1]):
            raise ValueError(
                f"{path} cannot be used: {name} has {inputs} inputs and {outputs} outputs there, {full[name][1]} and"
                f" {full[name][0]} here"
            )
        narrow(result.get_submodule(name), torch.arange(outputs), torch.arange(inputs))
    for name, own in numbers.items():
        _set(result, name, own, path)
    saving.restore(result, path)
    return result


def _set(model: nn.Module, name: str, numbers: Mapping[str, int], path: Path) -> None:
    """Sets numbers of a module, if it has such, and no smaller ones."""
    module = dict(model.named_modules()).get(name)
    for attribute, value in numbers.items():
        here = vars(module).get(attribute) if module is not None else None
        if type(here) is not int or not 0 < value <= here:
            full = f"{name}.{attribute}".lstrip(".")
            raise ValueError(
                f"{path} cannot be used: {full} is {value} there, {'missing' if here is None else here} here"
            )
    renumber(module, numbers)


def _recipe(path: Path) -> tuple[dict[str, tuple[int, int]], dict[str, dict[str, int]]]:
    """Layer -> outputs and inputs; module -> attribute -> number."""
    _, metadata = saving.read(path)
    try:
        kept = json.loads(metadata["study"])
        widths = {name: (int(outputs), int(inputs)) for name, (outputs, inputs) in kept["widths"].items()}
        numbers = kept.get("numbers", {})
        return widths, {name: {each: int(n) for each, n in own.items()} for name, own in numbers.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no slimmed network: it lists no widths of layers") from error
