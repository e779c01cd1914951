"""What was measured before, by other code: taken up where it comes out again, and only there."""

import json
import shutil
from dataclasses import replace

import pandas
import pytest

from lib.images import networks
from lib.network import saving
from lib.study import earlier, finetuning, measurements, profiles, records, reuse
from lib.study.columns import Cell

CELLS = [Cell("l2", 0), Cell("sq:rand:norm", 40), Cell("taylorfo", 40)]
MORE = [Cell("sq", 40), Cell("sq:norm", 10)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of which all that 10-measure leaves has been measured, of three cells."""
    (run,) = profiles.load("smoke", device="cpu", results=tmp_path_factory.mktemp("results")).runs
    saving.save(networks.build("resnet8", 10, 1, seed=0), run.checkpoint, {})
    record = records.begin("10-measure", run)
    curves, scores = measurements.measure(run, CELLS, "cpu")
    tables = {run.curves: curves, run.scores: scores, run.oracle: measurements.measure_oracle(run, "cpu")}
    tables |= {run.repaired: curves[:0], run.silenced: curves[:0], run.finetuning: finetuning.measure(run, "cpu")}
    for path, table in tables.items():
        records.save_table(table, path)
    images = measurements.datasets.load(run.dataset, "train", run.data_folder)
    record.finish(data=images.digest, checkpoint=records.digest(run.checkpoint))
    run.executed("10-measure").touch()
    return run


@pytest.fixture
def run(whole, tmp_path):
    """The same run when its code is another than that which measured it."""
    shutil.copytree(whole.folder, tmp_path / "smoke/digits-resnet8/seed-0")
    run = replace(whole, results=str(tmp_path))
    change(run.record("10-measure"), code="old", seconds=7)
    reuse.set_aside(run)
    return run


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def tamper(run, table, edit):
    path = run.earlier / table.name
    records.save_table(edit(pandas.read_parquet(path)), path)


def test_without_earlier_measurements_everything_is_lacking(whole):
    found = earlier.found(whole, CELLS, "cpu")
    assert found.lacking(CELLS) == CELLS and found.told == () and found.oracle.empty


def test_the_same_numbers_are_taken_up_and_it_is_told_which_code_measured_and_on_how_many_that_was_checked(run):
    said = []
    found = earlier.found(run, CELLS, "cpu", said.append)
    assert found.lacking(CELLS) == []
    (told,) = found.told
    assert {name: told[name] for name in ("code", "seconds", "cells")} == {"code": "old", "seconds": 7, "cells": 3}
    assert (told["rescored"], told["evaluated"], told["criteria"], told["not_rescored"]) == (3, 3, 3, [])
    assert told["retrained"] == 1
    assert said == [
        "3 cells are there already, last by code old; 3 of them scored again and the curves of 3 evaluated again agree"
    ]
    measured = measurements.measure(run, [], "cpu")
    for table, path in zip(found.completed(run, CELLS, "cpu", *measured), (run.curves, run.scores), strict=True):
        pandas.testing.assert_frame_equal(table, pandas.read_parquet(path), check_exact=True)


def test_what_is_lacking_is_measured_in_addition_and_what_is_no_longer_asked_for_is_left_out(run):
    wanted = sorted([*MORE, *CELLS[1:]], key=lambda cell: cell[1:])
    found = earlier.found(run, wanted, "cpu")
    assert sorted(found.lacking(wanted)) == sorted(MORE)
    measured = measurements.measure(run, found.lacking(wanted), "cpu")
    both = found.completed(run, wanted, "cpu", *measured)
    for table, alone in zip(both, measurements.measure(run, wanted, "cpu"), strict=True):
        pandas.testing.assert_frame_equal(table, alone, check_exact=True)


def test_what_is_measured_anew_anyway_need_not_be_there(run):
    for path in (run.repaired, run.silenced):
        (run.folder / path.name).unlink()
    shutil.rmtree(run.earlier)
    reuse.set_aside(run)
    assert earlier.found(run, CELLS, "cpu").lacking(CELLS) == []


def test_who_measured_first_is_told_after_many_edits(run):
    change(run.earlier / "10-measure.json", taken_up=[{"code": "older"}])
    assert [told["code"] for told in earlier.found(run, CELLS, "cpu").told] == ["older", "old"]


@pytest.mark.parametrize(
    ("table", "edit", "said"),
    [
        (
            "curves",
            lambda table: table.assign(accuracy=0.5),
            "l2 on 0 images, draw 0 (random): relative auc was 1.0000",
        ),
        ("scores", lambda table: table.assign(score=table["score"] + 1), "scores differ by "),
        ("oracle", lambda table: table.assign(output=0.0), ": the change of the output was 0, is "),
        (
            "finetuning",
            lambda table: table.assign(parameters=1),
            "shrunk by sq:rand:norm by 50 % of multiply-adds and fine-tuned: parameters was 1, is ",
        ),
        (
            "finetuning",
            lambda table: table.assign(accuracy=table["accuracy"].where(table["epoch"] == 0, 0.0)),
            ": accuracy after epoch ",
        ),
    ],
)
def test_other_numbers_of_ones_own_are_measured_anew_and_of_others_refused(run, table, edit, said):
    tamper(run, getattr(run, table), edit)
    lines = []
    assert earlier.found(run, CELLS, "cpu", lines.append).lacking(CELLS) == CELLS
    (line,) = lines
    assert line.startswith("everything is measured anew: ") and said in line and "\n" not in line
    run.earlier.rename(run.offered)
    with pytest.raises(ValueError, match=r"does not come out again: .*: start again without MEASURED") as refused:
        earlier.found(run, CELLS, "cpu")
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("fields", [{"data": "other"}, {"checkpoint": "other"}, {"threads": 7}, {"settings": {}}])
def test_what_was_measured_of_something_else_is_measured_anew(run, fields):
    change(run.earlier / "10-measure.json", **fields)
    assert earlier.found(run, CELLS, "cpu", print).lacking(CELLS) == CELLS


def test_fine_tuned_networks_are_taken_up_if_the_recipe_is_the_same(run, monkeypatch):
    there = earlier.found(run, CELLS, "cpu").finetuning
    monkeypatch.setattr(finetuning, "_tune", lambda *_: pytest.fail("tuned again"))
    pandas.testing.assert_frame_equal(finetuning.measure(run, "cpu", there=there), there)
    settings = json.loads(run.record("10-measure").read_text())["settings"]
    settings["measuring"]["tuning_rate"] = 0.5
    change(run.earlier / "10-measure.json", settings=settings)
    found = earlier.found(run, CELLS, "cpu")
    assert found.finetuning.empty and found.lacking(CELLS) == []
