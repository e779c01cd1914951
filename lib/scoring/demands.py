"""What a list of criteria asks for together, so that nothing is computed twice for them.

Enters: criteria, or their names. Leaves: the same by name; and what passes have to give for all of them: each cotangent
is sent back once, whatever the number of criteria that share it.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from lib.scoring.criteria import REDUCTIONS, Criterion, parse
from lib.scoring.rivals import RIVALS, WEIGHT_RIVALS


def by_name(criteria: str | Criterion | Iterable[str | Criterion]) -> dict[str, Criterion]:
    """The criteria by the names that they are given by, in their order.

    Raises ValueError for none, for what is no criterion, and for two different ones of the same name.
    """
    found, example = {}, "give a name such as 'sq:rand:norm', a Criterion, or several"
    if not isinstance(criteria, Iterable | Criterion):
        raise ValueError(f"criteria={criteria!r} are none: {example}")
    for given in [criteria] if isinstance(criteria, (str, Criterion)) else criteria:
        criterion = given if isinstance(given, Criterion) else parse(given)
        if found.setdefault(str(given), criterion) != criterion:
            raise ValueError(f"two different criteria are named {given}: give their cotangents different __name__s")
    if not found:
        raise ValueError(f"there are no criteria to score by: {example}")
    return found


class Demands:
    """What some criteria ask for.

    `gradients` are those that need gradients, each once, without `:layer`. `by_contributions` and `by_weights` are the
    same in groups that share a cotangent, by what is summed up for them; `kinds` are the forms in which contributions
    are wanted, as `criteria.Reduction.rows` names them; `several` says whether more than one cotangent is sent back for
    them. `activations` names those that look at activations. `labelled` is the first that needs labels, if any does.
    """

    def __init__(self, criteria: Iterable[Criterion]):
        criteria = list(criteria)
        self.gradients = list(dict.fromkeys(replace(c, layer=False) for c in criteria if c.reduction not in RIVALS))
        self.by_contributions = _by_cotangent(c for c in self.gradients if _kind(c) != "weights")
        self.by_weights = _by_cotangent(c for c in self.gradients if _kind(c) == "weights")
        self.kinds = {_kind(c) for group in self.by_contributions for c in group} | {"sum"}
        first = [c for group in self.by_contributions[:1] for c in group]
        self.several = len(self.by_contributions) > 1 or any(c.probes > 1 or c.source.joint for c in first)
        seen = [c.reduction for c in criteria if c.reduction in RIVALS]
        self.activations = [name for name in seen if name not in WEIGHT_RIVALS]
        self.labelled = next((c for c in self.gradients if c.needs_labels), None)
        self.by_minibatch = any(map(_works_on_minibatches, self.gradients))
        self.needs_examples = bool(self.gradients or self.activations)


def _kind(criterion: Criterion) -> str:
    return REDUCTIONS[criterion.reduction].rows


def _by_cotangent(criteria: Iterable[Criterion]) -> list[list[Criterion]]:
    groups = defaultdict(list)
    for criterion in criteria:
        groups[criterion.cotangent].append(criterion)
    return list(groups.values())


def _works_on_minibatches(criterion: Criterion) -> bool:
    return REDUCTIONS[criterion.reduction].per_minibatch or criterion.normalisation == "batch"
