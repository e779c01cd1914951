"""analyses.given_back: curves with repair beside those without, worked out by hand."""

import pandas
import pytest
from by_hand import rows

from lib.study.analyses import given_back

COLUMNS = "criterion examples accuracy_unpruned auc_relative accuracy_10pct accuracy_25pct accuracy_50pct"


def summary(*values):
    return rows(COLUMNS, *values)


PLAIN = [("sq", 10, 0.8, 0.5, 0.8, 0.4, 0.2), ("sq", 40, 0.8, 0.6, 0.7, 0.4, 0.1), ("l2", 40, 0.8, 0.3, 0.4, 0.2, 0.1)]
FIXED = [("sq", 10, 0.8, 0.6, 0.8, 0.6, 0.1), ("sq", 40, 0.8, 0.7, 0.8, 0.6, 0.1), ("l2", 40, 0.8, 0.8, 0.8, 0.6, 0.1)]


@pytest.fixture
def both():
    elsewhere = summary(("random", 40, 0.8, 0.1, 0.1, 0.1, 0.1))  # was not repaired
    drawn = [summary(*FIXED), summary(("l2", 40, 0.8, 0.6, 0.6, 0.4, 0.1)).assign(draw=1)]
    plain = [summary(*PLAIN), elsewhere, summary(("l2", 40, 0.8, 0.1, 0.2, 0.2, 0.1)).assign(draw=1)]
    return given_back.both(pandas.concat(plain), pandas.concat(drawn))


def test_draws_are_averaged_and_what_was_not_repaired_is_left_out(both):
    found = both.set_index(["criterion", "examples"])[["auc_relative", "auc_relative_repaired", "accuracy_25pct"]]
    assert list(found.index) == [("sq", 10), ("sq", 40), ("l2", 40)]
    assert found.loc[("l2", 40)].tolist() == pytest.approx([0.2, 0.7, 0.2])


def test_the_best_with_repair_is_first_at_each_number_of_examples(both):
    means = given_back.by_criterion(pandas.concat([both, both.assign(seed=1, auc_relative_repaired=0.65)]))
    assert means[["examples", "criterion"]].to_numpy().tolist() == [[10, "sq"], [40, "sq"], [40, "l2"]]
    assert means["auc_relative_repaired"].tolist() == pytest.approx([0.625, 0.675, 0.675])
    assert "seed" not in means


def test_with_and_without_are_below_each_other_on_the_most_examples(both):
    found = given_back.beside(both)
    assert found[["criterion", "repair"]].to_numpy().tolist() == [
        *(["sq", "without"], ["l2", "without"], ["sq", "with"], ["l2", "with"])
    ]
    assert found["auc_relative"].tolist() == pytest.approx([0.6, 0.2, 0.7, 0.7])


def test_what_comes_back_is_a_share_of_what_was_lost(both):
    found = given_back.shares(both).set_index(["criterion", "examples", "share"])
    assert found.loc[("sq", 40, 25)].loc[["lost", "given_back"]].tolist() == pytest.approx([0.4, 0.5])
    assert found.loc[("sq", 40, 50), "given_back"] == 0
    assert found.loc[("sq", 10, 50), "given_back"] == pytest.approx(-1 / 6)  # worse with repair
    assert found.loc[("sq", 10, 10), "lost"] == 0 and pandas.isna(found.loc[("sq", 10, 10), "given_back"])


def test_where_nothing_was_repaired_all_tables_are_empty():
    none = given_back.both(summary(*PLAIN), pandas.DataFrame(columns=["dataset", "criterion"]))
    for table in (none, given_back.by_criterion(none), given_back.beside(none), given_back.shares(none)):
        assert table.empty and {"dataset", "criterion"} <= set(table)
