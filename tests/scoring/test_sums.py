"""lib.sums: means over examples and probes, and sums that are gone on from."""

import pytest
import torch

from lib.scoring.demands import Demands, by_name
from lib.scoring.sums import Sums


def sums(*names, others=None):
    """Sums for these criteria and two units, and the criteria."""
    criteria = by_name(names).values()
    return Sums(Demands(criteria), 2, torch.device("cpu"), others or {}), *criteria


def test_means_are_over_examples_then_over_probes():
    found, taylor, both = sums("taylorfo", "taylorfo:rand@2")
    found.count = 2
    found.add(taylor, 0, torch.tensor([1.0, -2]))
    found.add(taylor, 0, torch.tensor([1.0, -2]))
    for probe, row in enumerate(([2.0, 4], [-6.0, 4])):
        found.add(both, probe, torch.tensor(row))
    assert found.mean(taylor).tolist() == [1, 2]  # without the sign
    assert found.mean(both).tolist() == [(1 + 3) / 2, 2]


def test_probes_of_a_joint_source_have_one_sum():
    found, _ = sums("sq:exact")
    assert found.state().tolist() == [0, 0, 0, 0]  # of how many, whether not finite, two units


def test_a_state_is_gone_on_from():
    others = {"apoz": torch.tensor([3.0, 4], dtype=torch.float64)}
    found, criterion = sums("sq:rand", others=others)
    found.count, found.finite = 7, torch.tensor(False)
    found.add(criterion, 0, torch.tensor([1.0, 2]))
    state = found.state()
    assert state.tolist() == [7, 1, 1, 2, 3, 4] and state.dtype == torch.float64
    fresh, _ = sums("sq:rand", others={"apoz": torch.zeros(2, dtype=torch.float64)})
    fresh.load(state)
    assert fresh.count == 7 and not fresh.finite and torch.equal(fresh.state(), state)


@pytest.mark.parametrize("state", [torch.zeros(3, dtype=torch.float64), torch.zeros(4)])
def test_a_state_of_something_else_is_refused(state):
    found, _ = sums("sq:rand")
    with pytest.raises(
        ValueError, match=r"a state of torch.float\d\d \(\d,\) is not of this scoring, which has 4 float64"
    ):
        found.load(state)
