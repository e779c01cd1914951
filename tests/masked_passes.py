"""The oracle, the obvious way: a masked pass for each unit."""

from math import nan

import torch
from torch.nn import functional

from lib.network.units import units
from lib.pruning import masked


def one_by_one(model, images, labels=None, sample=None):
    """The specification: for each unit (of `sample`), a pass with it off; compared in float64."""
    layers = units(model, images[:1])
    total = sum(unit.size for unit in layers)

    def loss(logits):
        return nan if labels is None else functional.cross_entropy(logits.double(), labels).item()

    found = {"output": [], "loss": []}
    with torch.no_grad():
        intact = model(images)
        for unit in range(total) if sample is None else sample:
            order = torch.cat([torch.tensor([unit]), torch.arange(unit), torch.arange(unit + 1, total)])
            with masked(model, order, 1, layers):
                changed = model(images)
            found["output"].append((changed.double() - intact.double()).square().sum(1).mean().item())
            found["loss"].append(abs(loss(changed) - loss(intact)))
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}


def whole_passes(model, run, count):
    """How often `run()` sends at least `count` examples through the model as a whole, and what it returns; without the
    pass of four by which `units` sees whether they mix."""
    seen, kind, forward = [], type(model), type(model).forward

    def counted(self, images):  # and no hook, with which a network is not traced
        if self is model:
            seen.append(len(images))
        return forward(self, images)

    kind.forward = counted
    try:
        result = run()
    finally:
        kind.forward = forward
    seen.remove(4)
    return sum(size >= count for size in seen), result
