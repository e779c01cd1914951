"""study.panels: what is published as one, from the published files alone."""

import json
import shutil

import made_up_panels
import pytest

from lib.study import panels, profiles


@pytest.fixture
def results(root):
    made_up_panels.study(root)
    return root / "results"


def test_the_panels_that_are_published_and_those_that_are_missing(results):
    made_up_panels.publish(results, "one", "three", "demo")
    plans, missing = panels.published(results)
    assert [plan.name for plan in plans] == ["one", "three"] and missing == ["two"]
    assert plans[0].seeds == (0, 1, 2) and plans[0].notebooks == ("15-replication",)
    assert plans[0].tables.resolve() == (results / "published/one/tables").resolve()


def test_a_demonstration_counts_where_it_is_asked_for(results):
    made_up_panels.publish(results, "one", "demo")
    plans, missing = panels.published(results, ["demo", "two"])
    assert [plan.name for plan in plans] == ["demo"] and missing == ["two"]


def test_the_seeds_are_those_that_the_published_report_covers(results):
    made_up_panels.publish(results, "one")
    record = results / "published/one/notebooks/90-report.json"
    record.write_text(json.dumps({"parameters": {"seeds": [0, 2]}}))
    plans, _ = panels.published(results)
    assert plans[0].seeds == (0, 2) and list(panels.runs(plans)["seed"]) == [0, 2]


def test_where_nothing_is_published_it_is_said_what_to_do(results):
    with pytest.raises(
        FileNotFoundError, match=r"holds none of the panels one, two, three: make reproduce PROFILE=one"
    ):
        panels.published(results)
    with pytest.raises(ValueError, match="unknown profile 'four': valid are"):
        panels.published(results, ["four"])


def test_a_network_in_two_panels_would_count_twice(results, root):
    study = (root / "study.yaml").read_text()
    (root / "study.yaml").write_text(study.replace("stl10", "cifar100").replace("resnet18-small", "resnet20"))
    made_up_panels.publish(results, "one", "three")
    error = r"cifar100-resnet20 seed 0 is in the panels one and three, .* twice: name one of them with PANELS=\.\.\."
    with pytest.raises(ValueError, match=error):
        panels.published(results)


def test_what_the_networks_are(results):
    made_up_panels.publish(results, "one", "two")
    plans, _ = panels.published(results)
    found = panels.runs(plans).set_index(["panel", "network", "seed"])
    assert found.loc[("one", "resnet20", 1)].to_dict() == {
        "dataset": "cifar100", "given": False, "accuracy": 0.61, "units": 3, "layers": 2, "parameters": 271_824,
    }  # fmt: skip
    assert found["given"].to_dict() == {
        ("one", "resnet20", 0): False, ("one", "resnet20", 1): False, ("one", "resnet20", 2): False,
        ("two", "resnet20", 0): True, ("two", "resnet20", 1): True,
        ("two", "vgg19", 0): True, ("two", "vgg19", 1): True,
    }  # fmt: skip


def test_a_file_that_was_not_published_is_named(results):
    made_up_panels.publish(results, "one")
    (results / "published/one/cifar100-resnet20/seed-1/oracle.parquet").unlink()
    plans, _ = panels.published(results)
    with pytest.raises(FileNotFoundError, match=r"seed-1/oracle.parquet is missing: make publish PROFILE=one"):
        panels.runs(plans)


def test_parameters_are_counted_without_those_that_grow_with_the_classes():
    # 3x3 convolutions with BatchNorms: 3 -> 16, twice 16 -> 16; then 32 and 64 likewise, with 1x1 shortcuts
    stages = (3 * 16 * 9 + 32) + 2 * (16 * 16 * 9 + 32)
    stages += (16 * 32 * 9 + 64) + (32 * 32 * 9 + 64) + (16 * 32 + 64)
    stages += (32 * 64 * 9 + 128) + (64 * 64 * 9 + 128) + (32 * 64 + 128)
    assert panels.parameters("resnet8") == stages


def test_tables_are_one_and_say_of_which_panel_a_row_is(results):
    made_up_panels.publish(results, "one", "two")
    plans, _ = panels.published(results)
    (results / "published/two/tables/more.csv").write_text("a\n1\n")
    assert panels.table(plans, "more").to_dict("records") == [{"panel": "two", "a": 1}]
    assert panels.table(plans, "none").empty
    assert set(panels.table(plans, "15-replication-summary")["panel"]) == {"one", "two"}


def test_images_that_are_not_here_are_no_hindrance(results, root):
    study = (root / "study.yaml").read_text()
    (root / "study.yaml").write_text(study.replace("stl10", "own"))
    made_up_panels.publish(results, "three")
    shutil.move(results / "published/three/stl10-resnet18-small", results / "published/three/own-resnet18-small")
    plans, _ = panels.published(results, ["three"])
    assert list(panels.runs(plans)["dataset"]) == ["own"]
    with pytest.raises(ValueError, match="unknown data set 'own'"):
        profiles.load("three")
