"""benchmark.outcome: tables name tasks with their numbers of criteria, and stand beside their targets."""

import json

import pandas

from lib.benchmark import outcome
from lib.benchmark.command import BENCHMARKS
from lib.benchmark.comparisons import FLOOR


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
    tasks = [
        "plain pass",
        FLOOR,
        "one cotangent",
        "one cotangent, in the long run",
        "label and random, in the long run",
    ]
    table = pandas.DataFrame({"network": ["a"] * 5 + ["b"] * 5, "task": tasks * 2, "share": [1, 0.5] * 5})
    table.loc[6, "share"] = 0.4  # of its floor
    found = outcome.with_targets("scoring", table)["target"].fillna(0)
    assert found.tolist() == [0, 0, 0, 1.15 * 0.5, 1.75 * 0.5, 0, 0, 0, 1.15 * 0.4, 1.75 * 0.4]
    curves = pandas.DataFrame({"network": "vgg19", "task": ["plain evaluations", "pruning curve, l2"], "share": 1.0})
    assert outcome.with_targets("curves", curves)["target"].fillna(0).tolist() == [0, 0.45]
    memory = pandas.DataFrame({"network": "resnet18", "task": ["plain pass", "sq, 64 examples", "sq, 256 examples"]})
    assert outcome.with_targets("memory", memory)["target"][1:].tolist() == [1, 1]
    assert "target" not in outcome.with_targets("growth-images", table)
    assert set(outcome.TARGETS) <= set(BENCHMARKS)


def test_peers_stand_beside_this_library_where_they_were_there(tmp_path):
    assert outcome.beside_peers(tmp_path) == ""
    about = {"threads": 2, "device_name": "CPU"}
    tasks = {"plain pass": 1.0, "one cotangent": 0.5, "captum": 0.75, "torch-pruning": 1.25}
    rows = [{"network": "a", "task": task, "seconds": seconds} | about for task, seconds in tasks.items()]
    alone = {"network": "b", "task": "plain pass", "seconds": 3.0} | about
    pandas.DataFrame([*rows, alone]).to_csv(tmp_path / "scoring.csv", index=False)
    said = outcome.beside_peers(tmp_path)
    assert "| a | 1 | 0.500 | 1.250 | 0.750 |" in said and "| b |" not in said and "8 criteria" in said
