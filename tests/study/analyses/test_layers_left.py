"""analyses.layers_left: what a ranking leaves of each layer, worked out by hand."""

import pandas
import pytest
from by_hand import rows

from lib.study import loading, profiles
from lib.study.analyses import layers_left


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Two runs with four units in layer "b", which runs first, and six in "a"."""
    monkeypatch.setattr(loading, "complete", lambda run: None)
    plan = profiles.load("smoke", [0, 1], results=tmp_path)
    for run in plan.runs:
        run.folder.mkdir(parents=True)
        pandas.DataFrame({"unit": range(10), "layer": ["b"] * 4 + ["a"] * 6}).to_parquet(run.oracle)
        up = [9 - unit for unit in range(10)] if run.seed else list(range(10))
        values = [("sq", 100, unit, score) for unit, score in enumerate(up)]
        values += [("sq", 10, unit, -score) for unit, score in enumerate(up)]  # on fewer examples: does not count
        values += [("l2", 0, unit, 0.0) for unit in range(10)]
        scores = rows("criterion examples unit score", *values, seed=run.seed)
        scores.sample(frac=1, random_state=0).to_parquet(run.scores)
    return plan


def test_the_share_of_each_layer_that_is_left_is_a_mean_over_runs(plan):
    found = layers_left.by_layer(plan, ["sq", "l2"], shares=(0.2, 0.5))
    table = found.set_index(["criterion", "share", "layer"])["left"]
    assert table.loc[("l2", 20)].to_dict() == {"b": 0.5, "a": 1}  # ties: the first units go
    assert table.loc[("l2", 50)].to_dict() == pytest.approx({"b": 0, "a": 5 / 6})
    assert table.loc[("sq", 20)].to_dict() == pytest.approx({"b": (2 / 4 + 1) / 2, "a": (1 + 4 / 6) / 2})
    assert list(found[found["share"] == 20]["layer"].unique()) == ["b", "a"]  # as they run


def test_draws_are_averaged_first(plan):
    for run in plan.runs:
        values = [("random", 0, unit, float(unit)) for unit in range(10)]
        up = rows("criterion examples unit score", *values, seed=run.seed)
        down = up.assign(score=-up["score"], draw=1)
        pandas.concat([up, down]).to_parquet(run.scores)
    found = layers_left.by_layer(plan, ["random"], shares=(0.2,))
    assert found["left"].tolist() == pytest.approx([(0.5 + 1) / 2, (1 + 4 / 6) / 2])


def test_evenness_names_the_layer_of_which_least_is_left(plan):
    found = layers_left.evenness(layers_left.by_layer(plan, ["sq", "l2"], shares=(0.2,)))
    assert found["criterion"].tolist() == ["sq", "l2"]  # the more even first
    assert found["least"].tolist() == pytest.approx([0.75, 0.5])
    assert found["layer"].tolist() == ["b", "b"]
    assert found["spread"].tolist() == pytest.approx([(5 / 6 - 0.75) / 2, 0.25])
