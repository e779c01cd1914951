"""analyses.headroom: how far criteria go from chance to orders that are known only afterwards, worked out by hand."""

import pandas
import pytest
from by_hand import curve, rows

from lib.study import loading, profiles
from lib.study.analyses import headroom


def summary(values, **more):
    return rows("criterion examples auc_relative", *((name, 10, value) for name, value in values.items()), **more)


def test_a_way_is_the_share_from_chance_to_a_ceiling_and_to_the_best_of_them():
    values = {"random": 0.2, "sq": 0.5, "l2": 0.1, "oracle:loss": 0.6, "oracle:output": 0.1, "greedy": 0.8}
    drawn = summary({"random": 0.3}).assign(draw=1)  # chance: .25 in the mean
    found = headroom.ways(pandas.concat([summary(values), drawn])).set_index("criterion")
    assert list(found) == ["dataset", "network", "seed", "auc_relative", *headroom.CEILINGS, "furthest"]
    assert found.loc["sq", "oracle:loss"] == pytest.approx(0.25 / 0.35)
    assert found.loc["sq", ["greedy", "furthest"]].tolist() == pytest.approx([0.25 / 0.55] * 2)
    assert found.loc["random", "furthest"] == 0 and found.loc["greedy", "furthest"] == 1
    assert found.loc["l2", "furthest"] == pytest.approx(-0.15 / 0.55)
    assert found["oracle:output"].isna().all()  # no better than chance


def test_means_are_shares_of_means_over_runs_the_furthest_first():
    one, other = summary({"random": 0.0, "sq": 0.5, "greedy": 1.8}), summary({"random": 0.0, "sq": 0.7, "greedy": 0.2})
    found = headroom.means(headroom.ways(pandas.concat([one, other.assign(seed=1)])))
    assert found["criterion"].tolist() == ["greedy", "sq", "random"]
    assert found["auc_relative"].tolist() == pytest.approx([1, 0.6, 0])
    assert found["furthest"].tolist() == pytest.approx([1, 0.6, 0])


def test_a_run_that_lacks_one_of_the_three_is_in_no_share():
    one = {"random": 0.2, "sq": 0.5, "l2": 0.3, "greedy": 0.8, "oracle:loss": 0.6}
    other = {"random": 0.0, "sq": 0.9, "greedy": 1.0}  # no weights, and no oracle
    found = headroom.means(headroom.ways(pandas.concat([summary(one), summary(other).assign(seed=1)])))
    found = found.set_index("criterion")
    assert found.loc["l2"].drop(["dataset", "network"]).tolist() == pytest.approx([0.3, 0.25, 1 / 6, 1 / 6])
    assert found.loc["sq", "auc_relative"] == pytest.approx(0.7)
    assert found.loc["sq", "greedy"] == pytest.approx(0.6 / 0.8)  # .7 - .1 of .9 - .1
    assert found.loc["sq", ["oracle:loss", "furthest"]].tolist() == pytest.approx([0.75, 0.5])  # of the first alone


def test_the_best_ceiling_is_that_of_each_run():
    one, other = {"random": 0, "sq": 0.5, "greedy": 1.0, "oracle:loss": 0.5}, {"random": 0, "sq": 0.5, "greedy": 0.5}
    both = pandas.concat([summary(one), summary(other | {"oracle:loss": 2.0}).assign(seed=1)])
    found = headroom.means(headroom.ways(both)).set_index("criterion")
    assert found.loc["sq", ["oracle:loss", "greedy", "furthest"]].tolist() == pytest.approx([0.4, 2 / 3, 1 / 3])


def test_criteria_are_taken_on_their_most_examples_and_ceilings_from_their_own_images(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "complete", lambda run: None)
    plan = profiles.load("smoke", results=tmp_path)
    (run,) = plan.runs
    run.folder.mkdir(parents=True)
    tables = [
        curve([1, 0.5], [1, 0.5], criterion=name, examples=n) for name in ("sq:rand:norm", "abs") for n in (9, 99)
    ]
    tables += [curve([1, 0.2], [1, 0.5], criterion="random", examples=0, draw=n) for n in (0, 1)]
    tables += [curve([1, 0.9], [1, 0.5], criterion=n, examples=32, sample="oracle") for n in ("greedy", "sq:rand:norm")]
    tables += [curve([1, 0.9], [1, 0.5], criterion="sq:rand:norm", examples=999, sample="long-tailed")]
    pandas.concat(tables).to_parquet(run.curves)
    found = headroom.summaries(plan, ["sq:rand:norm"])
    cells = list(found[["criterion", "examples", "draw"]].itertuples(index=False, name=None))
    assert sorted(cells) == [
        *[("greedy", 32, 0), ("random", 0, 0), ("random", 0, 1), ("sq:rand:norm", 99, 0), (headroom.ONCE, 32, 0)]
    ]
