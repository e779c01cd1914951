"""Criteria by contributions: for every example and unit, the sum over space of activation x derivative.

Enters: a pass, and its batch as answered. Leaves: what comes back; and of what came back for the parts of a batch, or
of a minibatch, the sums over examples behind each criterion (N,), theirs added.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lib.network.taps import Unit
from lib.scoring.batches import minibatches
from lib.scoring.cotangents import Answered
from lib.scoring.criteria import REDUCTIONS, Criterion, Reduction
from lib.scoring.normalising import factors
from lib.scoring.passes import Pass
from lib.scoring.sums import Sums


class SentBack(NamedTuple):
    """The contributions `rows`, by form, each (M, N), of cotangents that had these lengths (M,) and were sent back with
    length one, and which criteria they are for: the `probe`-th of those that share a source."""

    criteria: Sequence[Criterion]
    probe: int
    rows: Mapping[str, Tensor]
    lengths: Tensor


def sent_back(groups: Sequence[Sequence[Criterion]], passed: Pass, batch: Answered) -> Iterator[SentBack]:
    """Sends back what each of the `groups`, which share a source, asks for, one after the other."""
    *_, final = groups
    for criteria in groups:
        drawn, probes = batch.cotangents(criteria), max(c.probes for c in criteria)
        if criteria[0].source.joint:
            ones = torch.ones(len(batch.logits), device=batch.logits.device)
            yield SentBack(criteria, 0, _root_of_squares(passed, drawn), ones)
            continue
        for probe, vectors in enumerate(drawn):
            lengths = vectors.norm(dim=1)
            directions = vectors / lengths.where(lengths > 0, 1.0)[:, None]  # so that float32 never underflows
            rows = passed.send_back(directions, last=criteria is final and probe + 1 == probes)
            yield SentBack([c for c in criteria if c.probes > probe], probe, rows, lengths)


def _root_of_squares(passed: Pass, vectors: Iterable[Tensor]) -> dict[str, Tensor]:
    return {"sum": sum(passed.send_back(vector)["sum"].square() for vector in vectors).sqrt()}


def add(sums: Sums, layers: Sequence[Unit], parts: Sequence[Iterable[SentBack]]) -> None:
    """Adds what came back for each part of a batch to `sums`; parts are of one minibatch where there are several and
    criteria average over it. What comes back for a single part is let go at once."""
    parts = parts if len(parts) == 1 else [list(part) for part in parts]  # or all their passes would be held
    for same in zip(*parts, strict=True):
        rows = {kind: torch.cat([part.rows[kind] for part in same]) for kind in same[0].rows}
        _add(sums, layers, same[0]._replace(rows=rows, lengths=torch.cat([part.lengths for part in same])))


def _add(sums: Sums, layers: Sequence[Unit], back: SentBack) -> None:
    normalisations = {c.normalisation for c in back.criteria}
    scales = {name: factors(name, back.rows["sum"], back.lengths, layers) for name in normalisations}
    scaled = {}
    for criterion in back.criteria:
        reduction = REDUCTIONS[criterion.reduction]
        key = reduction.rows, criterion.normalisation
        if key not in scaled:
            scaled[key] = back.rows[reduction.rows] * scales[criterion.normalisation]
        sums.add(criterion, back.probe, _reduced(reduction, scaled[key]))


def _reduced(reduction: Reduction, rows: Tensor) -> Tensor:
    """The sum (N,) over examples; of what a minibatch has in the mean, for each of its examples."""
    if not reduction.per_minibatch:
        return reduction.term(rows).sum(0)
    return sum(len(part) * reduction.term(part.mean(0)) for part in minibatches(rows))
