"""report.provenance: what was run on what, and whether it belongs together."""

import made_up
import pandas
import pytest

from lib.report import provenance, results
from lib.study import profiles


def test_runs_says_what_was_run_on_what(plan):
    row = {"dataset": "digits", "network": "resnet8", "seed": 0, "trained_by": "this study"}
    row |= {"accuracy": 0.5, "test_images": 450}
    row |= {"epochs": 3, "device": "A Processor"}
    row |= {"torch": "2.14.1", "training_seconds": 1.5, "measuring_seconds": 20.25, "peak_memory_mb": 900.0}
    row |= {"commit": "0123456+"}
    expected = pandas.DataFrame([row, row | {"seed": 1, "accuracy": 0.6}])
    pandas.testing.assert_frame_equal(provenance.runs(plan), expected)


def test_runs_without_git_have_no_commit(plan):
    made_up.change(plan.runs[0].record("10-measure"), git=None)
    assert list(provenance.runs(plan)["commit"]) == ["none", "0123456+"]


def test_measurements_taken_up_name_the_commits_that_measured_and_the_one_that_checked(plan):
    told = [
        {"seconds": 100.0, "git": git}
        for git in ({"commit": "a" * 40, "dirty": False}, {"commit": "b" * 40, "dirty": True}, None)
    ]
    made_up.change(plan.runs[0].record("10-measure"), taken_up=told)
    first = provenance.runs(plan).iloc[0]
    assert first["commit"] == "aaaaaaa, bbbbbbb+, none, checked and completed by 0123456+"
    assert first["measuring_seconds"] == 3 * 100 + 20.25


@pytest.mark.parametrize("notebook", ["00-train", "10-measure"])
@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"code": "xyz"}, "code of {}"),
        ({"data": ["d2"]}, "data of {}"),
        ({"settings": {"training": {"epochs": 9}, "measuring": {"points": 9}}}, "settings of {}"),
        ({"checkpoint": "other"}, "checkpoint"),
    ],
    ids=["code", "data", "settings", "checkpoint"],
)
def test_runs_that_do_not_belong_together_are_refused(plan, notebook, fields, what):
    made_up.change(plan.runs[1].record(notebook), **fields)
    with pytest.raises(
        ValueError, match=rf"digits-resnet8 seed 1.* differ in the {what.format(notebook)}: make"
    ) as error:
        provenance.check_consistent(plan)
    assert "\n" not in str(error.value)


def test_settings_of_the_other_notebook_do_not_matter(plan):
    settings = plan.runs[0].settings
    made_up.change(plan.runs[1].record("00-train"), settings=settings | {"measuring": {"points": 99}})
    assert provenance.check_consistent(plan).empty


def test_networks_of_others_name_them_and_each_may_have_weights_of_its_own(plan, monkeypatch):
    monkeypatch.setattr(profiles.Run, "is_given", True)
    for run, sha256 in zip(plan.runs, "ab", strict=True):
        settings = run.settings | {"training": {"sha256": sha256}}
        given = {"source": "somebody", "licence": "MIT"}
        made_up.change(run.record("00-train"), settings=settings, given=given)
        pandas.DataFrame({"epoch": [0], "seconds": [0.0]}).to_parquet(run.training)
    assert provenance.check_consistent(plan).empty
    found = provenance.runs(plan)
    assert list(found["trained_by"]) == ["somebody (MIT)"] * 2 and list(found["epochs"]) == [0, 0]


def test_an_ablation_over_other_seeds_is_refused(plan):
    made_up.change(plan.record("30-sign"), parameters=plan.parameters | {"seeds": [0]})
    with pytest.raises(ValueError, match="the report against 30-sign differ in the seeds"):
        provenance.check_consistent(plan)


def test_other_differences_are_listed(plan):
    assert provenance.check_consistent(plan).empty
    made_up.change(plan.runs[1].record("10-measure"), device={"type": "cuda", "name": "A GPU"}, threads=4)
    found = provenance.check_consistent(plan)
    all_but_one = "digits-resnet8 seed 0 00-train, digits-resnet8 seed 1 00-train, digits-resnet8 seed 0 10-measure"
    assert found.to_dict("records") == [
        {"field": "device", "value": "A Processor", "runs": all_but_one},
        {"field": "device", "value": "A GPU", "runs": "digits-resnet8 seed 1 10-measure"},
        {"field": "threads", "value": "1", "runs": all_but_one},
        {"field": "threads", "value": "4", "runs": "digits-resnet8 seed 1 10-measure"},
    ]


def test_all_processors_are_named_that_had_a_part_in_it(plan):
    there = {"code": "c", "git": None, "begun": "", "seconds": 1.0, "devices": ["Old", "A Processor"]}
    made_up.change(plan.runs[1].record("10-measure"), devices=["New", "Old"], taken_up=[there])
    assert list(provenance.runs(plan)["device"]) == ["A Processor", "Old, A Processor, New"]
    assert "Old, A Processor, New" in set(provenance.check_consistent(plan)["value"])


def test_data_sets_may_differ_in_data_and_settings(tmp_path):
    plan = profiles.load("paper", [0], results=tmp_path)
    for run in plan.runs:
        for notebook in results.PER_RUN:
            run.folder.mkdir(parents=True, exist_ok=True)
            fields = made_up.run_record(run, notebook) | {"data": run.dataset}
            made_up.write_record(run.record(notebook), fields)
    plan.executed("x").parent.mkdir()
    for notebook in plan.notebooks:
        made_up.write_record(plan.record(notebook), made_up.ablation_record(plan))
    assert provenance.check_consistent(plan).empty


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_a_damaged_record_is_named(plan, content):
    plan.runs[0].record("00-train").write_text(content)
    with pytest.raises(ValueError, match=r"seed-0/00-train\.json is no whole record"):
        provenance.runs(plan)


@pytest.mark.parametrize(
    ("device", "threads", "said"),
    [
        (("cpu", "AMD EPYC"), 1, "one core of a server processor (AMD EPYC)"),
        (("cpu", "Intel(R) Xeon(R) CPU @ 2.20GHz"), 8, "8 cores of a server processor (Intel Xeon CPU @ 2.20GHz)"),
        (("cpu", "Apple M2"), 1, "one core of a processor (Apple M2)"),
        (("cuda", "NVIDIA H200"), 1, "a GPU (NVIDIA H200)"),
    ],
)
def test_a_machine_is_told_to_those_who_do_not_know_it(device, threads, said):
    kind, name = device
    assert provenance.machine({"device": {"type": kind, "name": name}, "threads": threads}) == said


def test_machines_of_several_profiles_are_named_once_each(plan):
    assert provenance.machines([plan, plan], "30-sign") == "one core of a processor (A Processor)"
    assert provenance.machines([plan], "unknown") == provenance.machines([], "30-sign") == ""
    made_up.change(plan.record("30-sign"), devices=["A", "B"])
    said = "one core of a processor (A) and one core of a processor (B)"
    assert provenance.machines([plan], "30-sign") == said
