"""lib.prune.searching: budgets found by trying are the last that works, or the first."""

import pytest
import torch
from torch import nn

from lib.prune import searching


@pytest.mark.parametrize("limit", [0.004, 0.1, 0.5, 0.777, 0.999])
def test_the_largest_that_works_and_the_smallest_that_does(limit):
    most = searching.largest(lambda budget: budget <= limit)
    least = searching.smallest(lambda budget: budget >= limit)
    assert most <= limit < most + 1 / 128 and most * 128 == int(most * 128)
    assert least - 1 / 128 < limit <= least


def test_where_none_works_and_where_all_do():
    assert searching.largest(lambda _: False) == 0 and searching.largest(lambda _: True) == 127 / 128
    assert searching.smallest(lambda _: False) == 1 and searching.smallest(lambda _: True) == 1 / 128


def test_few_budgets_are_tried():
    tried = []
    searching.largest(lambda budget: tried.append(budget) or budget < 0.3)
    assert len(tried) == len(set(tried)) == 7


def test_a_network_of_a_hundredth_of_the_work_is_faster():
    whole, small = (nn.Sequential(nn.Conv2d(3, width, 5), nn.Conv2d(width, width, 5)).eval() for width in (200, 2))
    assert searching.latency_left(small, whole, torch.zeros(1, 3, 40, 40)) < 1
