"""benchmark.measuring: times and memory of calls are what was worked out by hand."""

import itertools
import math
import os

import pytest
import torch

from lib.benchmark import measuring
from lib.benchmark.measuring import Effort, measure, peak


def test_medians_and_quartiles_of_turns_by_hand(monkeypatch):
    # one round that does not count, then three: the yardstick takes 2, 4, 8 s; the other 1, 4, 2 s of half the work
    clock = itertools.accumulate([0, 9, 0, 9, *(0, 1, 0, 2), *(0, 4, 0, 4), *(0, 2, 0, 8)])
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: next(clock))
    order = []
    calls = {"yardstick": lambda: order.append("yardstick"), "other": lambda: order.append("other")}
    table = measure(calls, Effort(rounds=3), times={"other": 2})
    assert order == ["yardstick", "other", "other", "yardstick"] * 2  # each comes first as often
    assert table["task"].tolist() == ["yardstick", "other"]
    assert table["seconds"].tolist() == [4, 4] and table["share"].tolist() == [1, 1]  # 1, 2 and 0.5 of the yardstick
    assert table["seconds_low"].tolist() == [3, 3] and table["share_low"].tolist() == [1, 0.75]
    assert table["seconds_high"].tolist() == [6, 6] and table["share_high"].tolist() == [1, 1.5]


def test_peak_memory_is_that_of_tensors_that_live_at_once():
    def call():
        first = torch.ones(2**20)  # 4 MB
        first = first + 1  # both for a while
        del first
        torch.ones(2**19)

    assert peak(call, []) == pytest.approx(8, abs=0.1)


def test_what_is_there_before_does_not_count():
    there = torch.ones(2**20)  # 4 MB, which the view below shares
    assert peak(lambda: there.view(2, -1)[0].add_(1), [there, there[:5]]) == 0
    assert peak(lambda: there + 1, [there]) == 4


def test_exponents_by_hand():
    assert measuring.exponent([1, 10, 100], [2, 200, 20_000]) == pytest.approx(2)
    assert measuring.exponent([1, 2, 4], [8, 4, 2]) == pytest.approx(-1)
    assert math.isnan(measuring.exponent([1, 2], [1, 2]))  # any line fits two
    # logarithms 0, 1, 2 and 0, 0, 3 in units of log 2: the slope is (-1 x -1 + 1 x 2) / 2
    assert measuring.exponent([1, 2, 4], [1, 1, 8]) == pytest.approx(1.5)


def test_a_new_process_computes_with_as_many_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert measuring.apart(torch.get_num_threads) == before + 1
    finally:
        torch.set_num_threads(before)
    assert measuring.apart(os.getpid) != os.getpid()
    with pytest.raises(ZeroDivisionError):
        measuring.apart(divmod, 1, 0)
