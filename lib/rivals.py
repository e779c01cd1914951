"""The criteria that need no gradient: from weights alone, or from activations on unlabelled images.

Enters: a model with its units (and, for activations, their values batch by batch). Leaves: one score per unit, float64.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib.units import Unit


def _random(model: nn.Module, layers: list[Unit], seed: int) -> Tensor:
    total = sum(unit.size for unit in layers)
    return torch.rand(total, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _weight_norm(order: float) -> Callable[[nn.Module, list[Unit], int], Tensor]:
    def norms(model: nn.Module, layers: list[Unit], seed: int) -> Tensor:
        flat = [model.get_submodule(unit.name).weight.detach().double().flatten(1) for unit in layers]
        return torch.cat([rows.norm(order, dim=1).cpu() for rows in flat])

    return norms


# name -> function of (model, units, seed) giving (N,) float64 on the CPU
WEIGHT_RIVALS: dict[str, Callable[[nn.Module, list[Unit], int], Tensor]] = {
    "random": _random,
    "l2": _weight_norm(2),  # Li et al. 2017, arXiv 1608.08710 (there L1; L2 as in torch-pruning)
}
