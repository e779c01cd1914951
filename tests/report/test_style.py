"""report.style: colours."""

import pytest

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
