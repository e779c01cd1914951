"""A network becomes smaller, in one step or in several, and is repaired and measured after each.

Enters: the whole network, and what is aimed at. Leaves: the smaller one, and a plan for each step.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from lib import structure
from lib.prune import searching
from lib.prune.along import Along, leads
from lib.prune.asking import Aim
from lib.prune.mending import Mending
from lib.prune.ranking import Ranking
from lib.prune.testing import Quality
from lib.repair import Reference
from lib.shrinking.slimming import Slimming


@dataclass(frozen=True, eq=False)
class Narrowing:
    """What it takes to make networks smaller."""

    aim: Aim
    ranking: Ranking
    mending: Mending
    quality: Quality
    along: Along

    def shrink(
        self, whole: nn.Module, scores: Tensor | None = None
    ) -> tuple[nn.Module, tuple[Slimming, ...], Tensor] | None:
        """The smaller network, a plan for each step, and the scores (N,) of the first one, which may be there already.

        None, once nothing is left to be ranked, for all processes but the first. Raises ValueError where the aim cannot
        be met, and as `structure.plan` and `importance.score` do.
        """
        aim, small, plans, first = self.aim, whole, [], scores
        for step in range(aim.steps):
            scores = self.ranking.scores(small) if scores is None or step else scores
            first = scores if first is None else first
            if not leads() and step == aim.steps - 1:
                return None
            reference = self.mending.reference(small)
            plan = self._found(whole, scores, reference) if aim.is_searched else self._next(small, scores, plans)
            number = f" {step + 1} of {aim.steps}" if aim.steps > 1 else ""
            plans.append(plan)
            small = plan.apply(small)
            self.quality.measure(f"shrunk{number}", small)
            if reference is not None:
                reference.repair(small, plan.kept)
                self.quality.measure(f"repaired{number}", small)
        return small, tuple(plans), first

    def _next(self, small: nn.Module, scores: Tensor, plans: list[Slimming]) -> Slimming:
        """The plan of the next step, after so many."""
        aim, example = self.aim, self.quality.images[:1]
        share = _share(plans, aim.share, aim.of, aim.steps - len(plans))
        return structure.plan(small, scores, example, budget=share, of=aim.of, **aim.limits)

    def _found(self, whole: nn.Module, scores: Tensor, reference: Reference | None) -> Slimming:
        """The plan of the budget that is found by trying, which is told."""

        def left(plan: Slimming) -> float:
            small = plan.apply(whole)
            if reference is not None:
                reference.repair(small, plan.kept)
            return self.quality.left(small)

        kept = self.along.file(searching.QUICK)
        plan = searching.found(
            whole, scores, self.quality.images[:1], self.aim, left, name=self.quality.name, kept=kept
        )
        instead = "--of latency" if self.aim.of == "latency" else "--target-accuracy"
        self.along.tell(f"budget found: {plan.reached:.1%} of all {plan.of}; --budget {plan.budget:.7g} --of {plan.of}"
                        f" in place of {instead} makes the same network again")  # fmt: skip
        return plan


def _share(plans: list[Slimming], budget: float, of: str, steps: int) -> float:
    """How much of what is left goes in the next of so many `steps`, for `budget` of all in the end."""
    if not plans:
        return budget if steps == 1 else 1 - (1 - budget) ** (1 / steps)
    left = (1 - budget) * plans[0].before[of] / plans[-1].after[of]
    return max(1 - left ** (1 / steps), 1e-9) if left < 1 else 1e-9
