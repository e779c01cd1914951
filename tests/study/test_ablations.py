"""study.ablations: which curves an ablation asks for, each once."""

from collections import Counter

import pytest
import torch

from lib import importance
from lib.study import ablations, profiles
from lib.study.ablations import ABLATIONS, cells
from lib.study.columns import Cell

LABELS = torch.arange(10).repeat(40)  # 400 training images, as many of each of ten classes
SETTINGS = profiles.load("quick").settings("digits", "resnet8")["measuring"]


def asked(notebook, **settings):
    return cells(notebook, SETTINGS | settings, LABELS)


def test_a_criterion_without_examples_is_measured_once_and_chance_several_times():
    found = asked("15-replication", panels=[10, "all"], chance=4)
    assert [cell for cell in found if cell.criterion == "l2"] == [Cell("l2", 0)]
    assert [cell for cell in found if cell.criterion == "random"] == [Cell("random", 0, draw) for draw in range(4)]
    assert [cell for cell in found if cell.criterion == "sq:norm"] == [Cell("sq:norm", 10), Cell("sq:norm", 400)]


def test_examples_are_drawn_again_and_by_class_where_there_are_some_for_every_class():
    found = asked("40-label-scarcity", scarcity=[2, 10, "all"], draws=2)
    kinds = Counter((cell.examples, cell.sample) for cell in found if cell.criterion == "taylorfo")
    assert kinds == {(2, "random"): 2, (10, "random"): 2, (10, "stratified"): 2, (400, "random"): 1}


def test_the_best_of_the_leaderboard_are_repaired_on_the_most_examples_alone():
    found = asked("65-repair", ablations=[103, "all"], chance=2)
    assert Counter(cell.examples for cell in found) == {103: 4, 400: 12, 0: 5}
    assert {cell.criterion for cell in found if cell.examples == 103} == set(ablations.HEADLINE)
    free = [*ablations.LEADING, "sq:rand:norm", "abs:rand:norm"]
    assert len(free) == 10 and not any(importance.parse(name).needs_labels for name in free)


def test_sources_of_gradients_see_as_many_examples_as_the_slowest_may():
    numbers = {cell.examples for cell in asked("50-gradient-source", ablations=[10, 103, "all"], exact=100)}
    assert numbers == {10, 100}
    assert {cell.examples for cell in asked("50-gradient-source", ablations=["all"], exact="all")} == {400}


def test_the_first_experiments_are_in_order():
    assert ABLATIONS["12-first-experiments"].criteria == (
        *("taylorfo", "abs", "sq", "taylorfo:rand-length", "abs:rand-length", "sq:rand-length"),
        *("taylorfo:norm", "abs:norm", "sq:norm", "taylorfo:rand:norm", "abs:rand:norm", "sq:rand:norm"),
        *("random", "l2"),
    )
    assert profiles.load("first").notebooks[0] == "12-first-experiments"


def test_rivals_are_all_free_of_labels_raw_and_by_layer():
    criteria = ABLATIONS["60-rivals"].criteria
    assert not any(importance.parse(name).needs_labels for name in criteria)
    raw = [name for name in criteria if not name.endswith(":layer")]
    assert sorted(criteria) == sorted([*raw, *(f"{name}:layer" for name in raw)])
    assert set(importance.RIVALS) <= set(raw)


def test_no_criterion_that_needs_no_labels_is_kept_from_the_rivals():
    there = set(ABLATIONS["60-rivals"].criteria)
    for ablation in ABLATIONS.values():
        for name in ablation.criteria:
            criterion = importance.parse(name)
            plain = criterion.normalisation in ("", "norm") and criterion.probes == 1  # not a refinement of another
            assert criterion.needs_labels or name in there or not plain, name


def test_curves_to_compare_come_from_a_notebook_that_has_them_all():
    compared = ["sq:rand:norm", "sq:norm", "taylorfo", "l2", "random"]
    order = ("85-larger-networks", "30-sign", "60-rivals", "40-label-scarcity", "15-replication")
    assert ablations.comparing(order, compared) == "40-label-scarcity"
    assert ablations.comparing(["80-cost", "30-sign"], compared) is None
    assert ablations.comparing(["30-sign"], ["taylorfo", "pos"]) == "30-sign"


def test_more_examples_than_there_are_cannot_be_asked_for():
    with pytest.raises(ValueError, match="15-replication: 401 examples asked for, but there are only 400"):
        asked("15-replication", panels=[401])


def test_no_cell_is_asked_for_twice_and_quick_stays_within_its_limit():
    for run in profiles.load("quick").runs[::3]:
        wanted = ablations.wanted(run)
        assert len(wanted) == len(set(wanted)) <= 180
