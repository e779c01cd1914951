"""Budgets that are found by trying: as much as may go for an accuracy, as little as must go for a latency.

Enters: a network, scores of its units, an `Aim`, and what a budget leads to. Leaves: the plan with the budget found, in
steps of 1/128.
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from lib import cost, structure
from lib.prune import keeping
from lib.prune.asking import Aim
from lib.shrinking.slimming import Slimming

STEPS = 128
ROUNDS = 15  # of taking turns, of which the median counts
QUICK = "budget.part"  # a file with the budget that a latency has led to, for a run that goes on from a stopped one


def found(
    whole: nn.Module,
    scores: Tensor,
    example: Tensor,
    aim: Aim,
    left: Callable[[Slimming], float],
    *,
    name: str,
    kept: Path | None,
) -> Slimming:
    """The plan with the largest budget that leaves the accuracy aimed at, or the smallest that leaves the latency.

    Arguments:
        example: (1, C, H, W).
        left: which share of the whole network's accuracy a plan leaves; `name` is what that is called.
        kept: a file where the budget for a latency is kept, and from which it is taken for the same network, scores and
            aim, since times are never the same again.

    Raises ValueError where the target cannot be met, and as `structure.plan` does.
    """
    traced, of = structure.trace(whole, example), "macs" if aim.of == "latency" else aim.of
    path, given = kept if aim.of == "latency" else None, [aim.share, repr(aim.limits)]
    identity = "" if path is None else keeping.identity(given, whole, [scores, example], [Path(__file__)])

    def plan(share: float) -> Slimming | None:
        try:
            return traced.plan(scores, budget=share, of=of, **aim.limits)
        except structure.OutOfReach:
            return None

    def quick(share: float) -> bool:
        slimming = plan(share)
        return slimming is None or latency_left(slimming.apply(whole), whole, example) <= 1 - aim.share

    def good(share: float) -> bool:
        return (slimming := plan(share)) is not None and left(slimming) >= aim.target_accuracy

    if known := keeping.kept(path, identity):
        share = known["share"]
    else:
        share = smallest(quick) if aim.of == "latency" else largest(good)
    best = plan(share or 1 / STEPS) if share < 1 else None
    if best is None:
        traced.plan(scores, budget=1 / STEPS, of=of, **aim.limits)  # tells why even that cannot be
        limited = aim.keep or aim.at_most != 1 or aim.multiple_of != 1
        more = ", or keep, at_most and multiple_of let too little go" if limited else ""
        raise ValueError(
            f"a budget of {aim.share:g} of the latency cannot be reached: multiply-adds hardly change it{more}"
        )
    if not share:
        raise ValueError(f"target_accuracy={aim.target_accuracy:g} cannot be met: {left(best):.3f} of the {name} is"
                         f" left when {best.reached:.1%} of the {of} is gone")  # fmt: skip
    keeping.keep(path, identity, {"share": share})
    return best


def largest(works: Callable[[float], bool]) -> float:
    """The largest budget that works, where all that are smaller than one that works do so, too; 0 where none does."""
    low, high = 0, STEPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if works(middle / STEPS) else (low, middle)
    return low / STEPS


def smallest(works: Callable[[float], bool]) -> float:
    """The smallest budget that works, where all that are larger than one that works do so, too; 1 where none does."""
    return 1 / STEPS + largest(lambda budget: not works(budget))


def latency_left(small: nn.Module, whole: nn.Module, example: Tensor) -> float:
    """How long `small` takes for one example (1, ...), as a share of what `whole` does, both in turns."""
    seconds = cost.latencies({"small": small, "whole": whole}, example, repeats=ROUNDS).median()
    return seconds["small"] / seconds["whole"]
