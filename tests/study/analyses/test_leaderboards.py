"""analyses.leaderboards: which rows are compared, and in which order."""

import pandas
import pytest
from by_hand import curve, rows

from lib.study import measurements, profiles
from lib.study.analyses import leaderboards


def test_a_leaderboard_says_how_many_examples_were_used():
    best = rows("criterion used auc_relative", ("chip", 500, 0.6), ("sq", 1000, 0.8), ("l2", 0, 0.7))
    board = leaderboards.leaderboard(best)
    assert board["criterion"].tolist() == ["sq", "l2", "chip"]
    assert board["used"].tolist() == [1000, 0, 500] and board["place"].tolist() == [1, 2, 3]
    (row,) = leaderboards.standing(board, "l2").to_dict("records")
    expected = {"criterion": "l2", "auc_relative": 0.7, "place": 2, "among": 3, "best": "sq", "best_auc_relative": 0.8}
    assert row == pytest.approx(expected, nan_ok=False)


def test_label_free_curves_of_other_notebooks_join_those_on_the_most_examples(tmp_path):
    plan = profiles.load("smoke", results=tmp_path)
    (run,) = plan.runs
    run.folder.mkdir(parents=True)
    elsewhere = [curve([1, 0.9], [1, 0.8], criterion=name, examples=40) for name in ("sq:rand", "sq:rand:norm", "sq")]
    elsewhere += [curve([1, 0.9], [1, 0.8], criterion="abs:rand", examples=10)]
    pandas.concat(elsewhere).to_parquet(run.curves)
    asked = [curve([1, 0.9], [1, 0.8], criterion="sq:rand", examples=n) for n in (10, 40)]
    asked += [curve([1, 0.7], [1, 0.8], criterion="random", examples=40, draw=n) for n in (0, 1)]
    found = leaderboards.label_free(plan, pandas.concat(asked))
    cells = list(found[["criterion", "examples", "draw"]].drop_duplicates().itertuples(index=False, name=None))
    assert cells == [("sq:rand", 40, 0), ("random", 40, 0), ("random", 40, 1), ("sq:rand:norm", 40, 0)]
    assert len(found) == 2 * len(cells)  # points of each curve once


def test_criteria_that_need_labels_are_taken_on_as_many_examples_as_those_that_need_none(monkeypatch):
    curves = rows("examples criterion", (10, "sq"), (100, "sq"), (100, "sq:rand"), (100, "l2"), (1000, "abs"))
    monkeypatch.setattr(measurements, "measured", lambda plan: curves)
    found = leaderboards.labelled(None, rows("examples criterion", (10, "sq:rand"), (100, "sq:rand")))
    assert found[["examples", "criterion"]].to_numpy().tolist() == [[100, "sq"]]


@pytest.mark.parametrize(("networks", "tested"), [(5, False), (6, True)])
def test_ranks_are_tested_where_networks_are_enough_for_any_test(networks, tested):
    values = [("a", 0.1), ("b", 0.2), ("c", 0.3)]
    table = pandas.concat(rows("criterion auc_relative", *values, seed=seed, examples=10) for seed in range(networks))
    ranks, p_values, facts = leaderboards.ranks(table, ["a", "b", "c"])
    assert (len(ranks), len(p_values)) == ((3, 3) if tested else (0, 0))
    assert facts["blocks"].tolist() == [networks] and ("chi2_p" in facts) == tested


def test_what_a_criterion_has_with_repair_stands_beside_it_where_it_was_measured():
    best = rows("criterion used auc_relative", ("sq", 1000, 0.8), ("l2", 0, 0.7), ("chip", 500, 0.6))
    board = leaderboards.leaderboard(best)
    repaired = rows("criterion examples auc_relative", ("sq", 10, 0.1), ("sq", 40, 0.9), ("chip", 40, 0.7))
    found = leaderboards.with_repair(board, repaired)
    assert list(found)[:3] == ["criterion", "auc_relative", "auc_relative_repaired"]
    assert found["auc_relative_repaired"].fillna(-1).tolist() == [0.9, -1, 0.7]
    assert found.drop(columns="auc_relative_repaired").equals(board)
    assert leaderboards.with_repair(board, pandas.DataFrame()) is board


def test_equal_criteria_share_a_place_whatever_rounding_says():
    table = pandas.concat(
        rows("criterion used auc_relative", ("sq", 9, a), ("l2", 0, b), ("abs", 9, 0.1), seed=seed)
        for seed, (a, b) in enumerate([(0.3, 0.2), (0.1, 0.2), (0.2, 0.2)])
    )
    board = leaderboards.leaderboard(table)
    assert dict(zip(board["criterion"], board["place"], strict=True)) == {"sq": 1, "l2": 1, "abs": 3}
