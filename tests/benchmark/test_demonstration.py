"""lib.benchmark.demonstration: what is finished is not run again, and is gathered in one table."""

import pandas
import pytest
from torch import nn

from lib import slim_files
from lib.benchmark import demonstration
from lib.images import folders
from lib.prune import exporting
from lib.prune.__main__ import PAGE, parser


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Of one trial that is finished, and another that is not."""
    monkeypatch.chdir(tmp_path)
    folders.write_digits("digits", "train", 8, 12)
    given = "resnet8 digits/train --weights w.pt"
    monkeypatch.setattr(demonstration, "TRIALS", {"one": given, "two": f"{given} --budget 0.2"})
    out = demonstration.FOLDER / "one"
    out.mkdir(parents=True)
    pandas.DataFrame({"done": ["whole", "shrunk"], "accuracy": [1.0, 0.5], "changed": [None, 0.5]}).to_csv(
        out / "steps.csv", index=False
    )
    costs = {"variant": ["before", "after"], "parameters": [8, 4], "multiply_adds": [10, 8]}
    pandas.DataFrame(costs).to_csv(out / "costs.csv", index=False)
    slim_files.save(nn.Linear(2, 2), out / exporting.WEIGHTS, {"epochs": 7})
    (out / PAGE).touch()
    return tmp_path


def test_a_finished_trial_is_gathered_and_not_run_again(folder, monkeypatch, capsys):
    monkeypatch.setattr(demonstration.subprocess, "run", lambda *_: pytest.fail("it is finished"))
    assert demonstration.main(["--only", "one"]) == 0
    assert capsys.readouterr().out == f"{demonstration.TABLE}\n"
    table = pandas.read_csv(demonstration.TABLE)
    assert list(table["done"]) == ["whole", "shrunk"] and list(table["trial"]) == ["one", "one"]
    last = table.iloc[1]
    assert (last["network"], last["images"], last["accuracy"], last["epochs"]) == ("resnet8", 12, 0.5, 7)
    assert (last["multiply_adds"], last["parameters"]) == (0.8, 0.5) and last["per_cost"]
    assert last["command"] == "python -m lib.prune resnet8 digits/train --weights w.pt --out results/trials/one"


def test_trials_that_are_not_here_keep_their_rows_in_their_place_unless_the_command_is_another(folder, monkeypatch):
    monkeypatch.setattr(demonstration, "TRIALS", {"none": "a b", "other": "c d"} | demonstration.TRIALS)
    there = {"trial": ["one", "none", "other"], "accuracy": [0.125, 0.25, 0.75]}
    there |= {"command": ["", "python -m lib.prune a b --out results/trials/none", "python -m lib.prune c"]}
    table = demonstration.gathered(pandas.DataFrame(there))
    assert list(table["trial"]) == ["none", "one", "one"] and list(table["accuracy"]) == [0.25, 1.0, 0.5]
    pandas.testing.assert_frame_equal(demonstration.gathered(table), table)


def test_one_that_fails_ends_it(folder, monkeypatch):
    class Failed:
        returncode = 3

    monkeypatch.setattr(demonstration.subprocess, "run", lambda words: Failed() if words[3] == "resnet8" else None)
    assert demonstration.main(["--only", "two"]) == 3 and not demonstration.TABLE.exists()


def test_every_trial_is_a_command_that_the_tool_takes():
    for name in demonstration.TRIALS:
        asked = parser().parse_args(demonstration.command(name))
        assert asked.out == demonstration.FOLDER / name and asked.test is not None
        assert (asked.minutes or asked.epochs or 0) > 0 or not (asked.distil or asked.fine_tune)
