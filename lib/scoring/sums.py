"""The sums over examples behind every criterion, which can be saved and gone on from.

Enters: what the criteria ask for (`demands`), and what each batch adds. Leaves: for each criterion its mean over
examples and probes, or all sums as one vector.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lib.scoring.criteria import REDUCTIONS, Criterion
from lib.scoring.demands import Demands


class Sums:
    """Sums in float64, one for each criterion and probe, beside `others` that somebody else adds up.

    `count` says of how many examples, `finite` whether all logits were, a tensor () of bool.

    Arguments:
        size: N, the number of units.
        others: by name, such as those of `rivals.Activations`.
    """

    def __init__(self, demands: Demands, size: int, device: torch.device, others: Mapping[str, Tensor]):
        self.count, self.finite = 0, torch.ones((), dtype=torch.bool, device=device)
        self._own = {
            (criterion, probe): torch.zeros(size, dtype=torch.float64, device=device)
            for criterion in demands.gradients
            for probe in range(_probes(criterion))
        }
        self._others = others

    def add(self, criterion: Criterion, probe: int, row: Tensor) -> None:
        """Adds the sum (N,) over a batch to that of a criterion and its probe."""
        self._own[criterion, probe] += row

    def mean(self, criterion: Criterion) -> Tensor:
        """The scores (N,) by the criterion: of the means over examples, the mean over probes."""
        final, count = REDUCTIONS[criterion.reduction].final, _probes(criterion)
        return sum(final(self._own[criterion, probe] / self.count) for probe in range(count)) / count

    def state(self) -> Tensor:
        """All of them: (S,) float64 on the CPU."""
        counts = torch.stack([torch.tensor(self.count, device=self.finite.device), ~self.finite]).double()
        return torch.cat([counts, *(total.flatten() for total in self._all())]).cpu()

    def load(self, state: Tensor) -> None:
        """Goes on from such a `state`. Raises ValueError where it cannot be one."""
        totals = self._all()
        sizes = [total.numel() for total in totals]
        if state.shape != (2 + sum(sizes),) or state.dtype != torch.float64:
            raise ValueError(f"a state of {state.dtype} {tuple(state.shape)} is not of this scoring, which has "
                             f"{2 + sum(sizes)} float64 sums")  # fmt: skip
        self.count, self.finite = int(state[0]), (state[1] == 0).to(self.finite.device)
        for total, values in zip(totals, state[2:].split(sizes), strict=True):
            total.copy_(values.view_as(total))

    def _all(self) -> list[Tensor]:
        return [*self._own.values(), *self._others.values()]


def _probes(criterion: Criterion) -> int:
    """How many sums a criterion is the mean of: one for each probe, but for those that count together."""
    return 1 if criterion.source.joint else criterion.probes
