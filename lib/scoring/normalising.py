"""Divisions by lengths: of cotangents, of each example's contributions, and of the scores of a layer.

Enters: what is divided, or its lengths, and a normalisation of `criteria.NORMALISATIONS`. Leaves: what it becomes, or
is to be multiplied by; what is zero stays zero.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lib.network.taps import Unit
from lib.scoring.batches import minibatches


def lengths_after(normalisation: str, lengths: Tensor) -> Tensor:
    """The lengths (M,) that cotangents of these lengths have after normalisation."""
    if normalisation == "norm":
        return (lengths > 0).to(lengths)
    if normalisation == "batch":
        return torch.cat([part * inverse(part.mean()) for part in minibatches(lengths)])
    return lengths


def factors(normalisation: str, s: Tensor, lengths: Tensor, layers: Sequence[Unit]) -> Tensor:
    """What the contributions `s` (M, N) of cotangents of length one are multiplied by: (M, 1) or (M, N).

    Arguments:
        lengths: (M,), those that the cotangents have.
    """
    if normalisation == "score":
        return inverse(s.norm(dim=1, keepdim=True))
    if normalisation == "score-layer":
        return torch.cat([inverse(s[:, u.slice].norm(dim=1, keepdim=True)).expand(-1, u.size) for u in layers], 1)
    return lengths_after(normalisation, lengths)[:, None]


def within_layers(layers: Sequence[Unit], scores: Tensor) -> Tensor:
    """The scores (N,), divided by their L2 norm within each layer."""
    parts = [scores[unit.slice] * inverse(scores[unit.slice].abs().max()) for unit in layers]  # squares could overflow
    return torch.cat([part * inverse(part.norm()) for part in parts])


def inverse(values: Tensor) -> Tensor:
    """One divided by values that are not negative; of zero it is zero."""
    return values.where(values > 0, torch.inf).reciprocal()
