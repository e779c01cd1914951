"""report.style: colours."""

import pytest
from matplotlib import pyplot

from lib.report import style


@pytest.mark.parametrize(
    ("criterion", "family"),
    [
        ("sq:rand:norm", "gradients without labels"),
        ("sq:mas", "gradients without labels"),
        ("taylorfo", "gradients with labels"),
        ("sq:rand-length", "gradients with labels"),
        ("l2:layer", "weights"),
        ("synflow", "weights"),
        ("apoz", "activations"),
        ("random:layer", "chance"),
        ("greedy", "known afterwards"),
        ("oracle:loss", "known afterwards"),
    ],
)
def test_every_criterion_is_of_a_family(criterion, family):
    assert style.family(criterion) == family


def test_a_criterion_has_the_colour_of_its_family_and_no_two_of_a_figure_the_same():
    first, second = ["l2", "abs", "sq:rand:norm"], ["sq:rand:norm", "sq", "taylorfo", "l2", "l1", "hrank", "random"]
    one, two = (dict(zip(names, style.colours(names), strict=True)) for names in (first, second))
    assert all(len(set(found.values())) == len(found) for found in (one, two))
    assert one["l2"] == two["l2"] and one["sq:rand:norm"] == two["sq:rand:norm"]
    assert one["abs"] == two["sq"] != two["taylorfo"]  # the first of its family, and the second
    assert style.colours(["taylorfo", "sq:norm"])[::-1] == style.colours(["sq:norm", "taylorfo"])


@pytest.mark.parametrize(
    ("ends", "ticks"),
    [([7.2, 9.5], [8, 9]), ([3, 9], [3, 5, 7]), ([1, 1.5], [1, 1.2, 1.4]),
     ([1, 5000], [1, 10, 100, 1000])],
)  # fmt: skip
def test_a_logarithmic_axis_has_ticks_however_little_it_spans(ends, ticks):
    axes = pyplot.figure().add_subplot()
    axes.plot(ends, [0, 1])
    style.make_logarithmic(axes)
    assert axes.get_xticks().tolist() == pytest.approx(ticks)
