"""Budgets that are found by trying: as much as may go for an accuracy, as little as must go for a latency.

Enters: what a budget leads to. Leaves: the budget, in steps of 1/128.
"""

from collections.abc import Callable

from torch import Tensor, nn

from lib import cost

STEPS = 128
ROUNDS = 15  # of taking turns, of which the median counts


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
