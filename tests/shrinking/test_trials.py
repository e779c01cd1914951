"""lib.trials: whoever makes a network wrong is found by halves."""

import pytest

from lib.shrinking.trials import culprits


@pytest.mark.parametrize("wrong", [[], [0], [7], [3, 4], [0, 1, 2], list(range(9))])
def test_exactly_the_culprits_are_found(wrong):
    trials = []

    def is_right(parts):
        trials.append(parts)
        return not set(parts) & set(wrong)

    assert culprits(range(9), is_right) == wrong
    assert len(trials) <= 1 + 2 * 4 * len(wrong)


def test_what_is_not_cleared_in_time_counts_as_wrong():
    trials = []

    def is_right(parts):
        trials.append([*parts])
        return 0 not in parts

    assert culprits(range(8), is_right, most=3) == [0, 1, 2, 3]
    assert trials == [[*range(8)], [0, 1, 2, 3], [4, 5, 6, 7]]


def test_no_trial_of_nothing():
    assert culprits([], lambda parts: pytest.fail("tried")) == []
