"""analyses.label_scarcity: where curves cross, worked out by hand."""

import pandas
import pytest
from by_hand import rows

from lib.study.analyses import label_scarcity


def crossing(labelled, free=(0.5, 0.5, 0.5)):
    """Of a labelled criterion at 10, 100 and 1,000 examples with a label-free one: on as many, on all."""
    table = [(n, "label", a) for n, a in zip((10, 100, 1000), labelled, strict=True)]
    table += [(n, "free", b) for n, b in zip((10, 100, 1000), free, strict=True)]
    found = label_scarcity.crossings(rows("examples criterion auc_relative", *table), "free", ["label"])
    assert found["against"].tolist() == ["free on as many", "free on all"]
    return found["overtakes_at"].tolist()


@pytest.mark.parametrize(
    ("labelled", "at"),
    [
        ((0.4, 0.6, 0.7), "32"),  # half way between 10 and 100 in logarithms: 10^1.5
        ((0.3, 0.4, 0.5), "1000"),
        ((0.5, 0.6, 0.7), "always"),
        ((0.6, 0.7, 0.4), "never"),  # ahead where examples are few, behind where there are many
        ((0.6, 0.4, 0.6), "316"),  # from there on for good
    ],
)
def test_a_crossing_is_on_a_line_over_the_logarithm(labelled, at):
    assert crossing(labelled) == [at, at]


def test_all_examples_are_another_opponent_than_as_many():
    assert crossing((0.4, 0.5, 0.6), free=(0.3, 0.4, 0.6)) == ["always", "1000"]


def test_crossings_average_draws_and_leave_stratified_ones_out():
    table = rows(
        "examples criterion auc_relative", (10, "label", 0.3), (10, "free", 0.5), (90, "label", 0.9), (90, "free", 0.5)
    )
    more = rows("examples criterion auc_relative", (10, "label", 0.9), draw=1)  # .6 with the other
    by_class = rows("examples criterion auc_relative", (10, "label", 0.0), sample="stratified")
    found = label_scarcity.crossings(pandas.concat([table, more, by_class]), "free", ["label"])
    assert found["overtakes_at"].tolist() == ["always"] * 2


def test_draws_differ_by_their_standard_deviation_within_each_run():
    table = rows("examples criterion draw auc_relative", (10, "sq", 0, 0.3), (10, "sq", 1, 0.5), (99, "sq", 0, 0.7))
    other = rows("examples criterion draw auc_relative", (10, "sq", 0, 0.4), (10, "sq", 1, 0.4), seed=1)
    (row,) = label_scarcity.draw_differences(pandas.concat([table, other])).to_dict("records")
    assert (row["examples"], row["sample"], row["criterion"]) == (10, "random", "sq")
    assert row["draw_sd"] == pytest.approx(((0.02 + 0) / 2) ** 0.5)  # variances of .02 and of 0
