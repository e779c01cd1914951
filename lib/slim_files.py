"""Slimmed networks in files: weights, and the width of every layer, from which the smaller network is built again.

Enters: a slimmed network; or a file and a freshly built network of the same architecture at its full width. Leaves: a
safetensors file, which holds no code; or the slimmed network.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from lib.network import checks, copies, models, saving
from lib.network.layers import all_widths, narrow


def save(model: nn.Module, path: Path, metadata: Mapping[str, object] | None = None) -> None:
    """Writes a slimmed network to a safetensors file: its weights, and the width of every layer as JSON.

    Arguments:
        metadata: whatever else is worth keeping, as JSON; not under "widths".

    Raises ValueError for a model or a path that is none, and for metadata that cannot be kept.
    """
    model, path, metadata = models.inside(model), checks.path(path), {} if metadata is None else metadata
    if isinstance(metadata, Mapping):
        if "widths" in metadata:
            raise ValueError('metadata has "widths" already, where those of layers are kept: give it another name')
        metadata = {**metadata, "widths": all_widths(model)}
    saving.save(model, path, metadata)


def load(model: nn.Module, path: Path) -> nn.Module:
    """The network in `path`, made from `model`, a freshly built one of the same architecture at its full width.

    `model` is left as it was; the result is on its device, in eval mode. Raises ValueError naming the file where it is
    damaged or no slimmed network of this architecture, and for a model or a path that is none.
    """
    model, path = models.inside(model), checks.path(path)
    full, result = all_widths(model), copies.copied(model)
    widths = _recipe(path)
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
    saving.restore(result, path)
    return result


def _recipe(path: Path) -> dict[str, tuple[int, int]]:
    _, metadata = saving.read(path)
    try:
        widths = json.loads(metadata["study"])["widths"]
        return {name: (int(outputs), int(inputs)) for name, (outputs, inputs) in widths.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no slimmed network: it lists no widths of layers") from error
