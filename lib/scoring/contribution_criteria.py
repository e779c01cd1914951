"""Criteria by contributions: for every example and unit, the sum over space of activation x derivative.

Enters: a pass, and its batch as answered. Leaves: the sums over examples behind each criterion (N,), a batch's added.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lib.scoring.batches import minibatches
from lib.scoring.cotangents import Answered
from lib.scoring.criteria import REDUCTIONS, Criterion, Reduction
from lib.scoring.normalising import factors
from lib.scoring.passes import Pass
from lib.scoring.sums import Sums


def add(sums: Sums, groups: Sequence[Sequence[Criterion]], passed: Pass, batch: Answered) -> None:
    """Sends back what each of the `groups`, which share a source, asks for, and adds what comes of it to `sums`."""
    *_, final = groups
    for criteria in groups:
        drawn, probes = batch.cotangents(criteria), max(c.probes for c in criteria)
        if criteria[0].source.joint:
            ones = torch.ones(len(batch.logits), device=batch.logits.device)
            _add(sums, criteria, 0, passed, _root_of_squares(passed, drawn), ones)
            continue
        for probe, vectors in enumerate(drawn):
            lengths = vectors.norm(dim=1)
            directions = vectors / lengths.where(lengths > 0, 1.0)[:, None]  # so that float32 never underflows
            rows = passed.send_back(directions, last=criteria is final and probe + 1 == probes)
            _add(sums, [c for c in criteria if c.probes > probe], probe, passed, rows, lengths)


def _root_of_squares(passed: Pass, vectors: Iterable[Tensor]) -> dict[str, Tensor]:
    return {"sum": sum(passed.send_back(vector)["sum"].square() for vector in vectors).sqrt()}


def _add(
    sums: Sums,
    criteria: Sequence[Criterion],
    probe: int,
    passed: Pass,
    rows: Mapping[str, Tensor],
    lengths: Tensor,
) -> None:
    """Adds the contributions `rows`, each (M, N), of cotangents that had these lengths (M,) and were sent back with
    length one."""
    normalisations = {c.normalisation for c in criteria}
    scales = {name: factors(name, rows["sum"], lengths, passed.layers) for name in normalisations}
    scaled = {}
    for criterion in criteria:
        reduction = REDUCTIONS[criterion.reduction]
        key = reduction.rows, criterion.normalisation
        if key not in scaled:
            scaled[key] = rows[reduction.rows] * scales[criterion.normalisation]
        sums.add(criterion, probe, _reduced(reduction, scaled[key]))


def _reduced(reduction: Reduction, rows: Tensor) -> Tensor:
    """The sum (N,) over examples; of what a minibatch has in the mean, for each of its examples."""
    if not reduction.per_minibatch:
        return reduction.term(rows).sum(0)
    return sum(len(part) * reduction.term(part.mean(0)) for part in minibatches(rows))
