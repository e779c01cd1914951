"""benchmark.outcome: tables name tasks with their numbers of criteria, and stand beside their targets."""

import json

import pandas

from lib.benchmark import outcome
from lib.benchmark.command import BENCHMARKS


def test_shares_name_tasks_with_their_numbers_of_criteria(tmp_path):
    columns = {"network": "resnet20", "share": [1.0, 0.5], "share_low": [1, 0.4], "share_high": [1, 0.6]}
    scoring = pandas.DataFrame({"task": ["plain pass", "one cotangent"], "criteria": [0, 8], **columns})
    scoring.to_csv(tmp_path / "scoring.csv", index=False)
    pandas.DataFrame({"task": ["a", "b"], **columns}).to_csv(tmp_path / "curves.csv", index=False)
    pandas.DataFrame({"task": ["a"], "peak_mb": [1.0]}).to_csv(tmp_path / "memory.csv", index=False)
    found = outcome.shares(tmp_path, BENCHMARKS)
    assert json.loads(found[["benchmark", "task"]].to_json(orient="values")) == [
        ["scoring", "plain pass"], ["scoring", "one cotangent (8)"], ["curves", "a"], ["curves", "b"],
    ]  # fmt: skip
    outcome.sum_up(tmp_path, BENCHMARKS)
    assert (tmp_path / "shares.png").stat().st_size > 1000 and (tmp_path / "shares.svg").exists()


def test_targets_stand_beside_what_they_are_for():
    table = pandas.DataFrame(
        {"network": ["resnet20", "resnet20", "vgg19"], "task": ["plain pass", *["one cotangent"] * 2]}
    )
    found = outcome.with_targets("scoring", table)["target"]
    assert found.isna().tolist() == [True, False, False] and found[1:].tolist() == [0.65, 0.55]
    memory = pandas.DataFrame({"network": "resnet18", "task": ["plain pass", "sq, 64 examples", "sq, 256 examples"]})
    assert outcome.with_targets("memory", memory)["target"][1:].tolist() == [1, 1]
    assert "target" not in outcome.with_targets("growth-images", table)
    assert set(outcome.TARGETS) <= set(BENCHMARKS)
