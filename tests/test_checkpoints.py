"""Trainings of others, taken up as they are."""

import json
import shutil

import pytest

from lib import checkpoints, profiles

FILES = ["00-train.ipynb", "00-train.json", "checkpoint.safetensors", "training.parquet"]


@pytest.fixture
def offered(study, tmp_path):
    """A folder that holds the smoke profile's training of seed 0 and nothing else."""
    folder = tmp_path / "offered/digits-resnet8/seed-0"
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(study.smoke / "digits-resnet8/seed-0" / name, folder)
    return tmp_path / "offered"


@pytest.fixture
def plan(tmp_path):
    return profiles.load("smoke", results=tmp_path / "results", data=tmp_path / "data")


def in_seed_0(folder):
    return sorted(path.name for path in (folder / "digits-resnet8/seed-0").glob("*"))


def change(offered, **fields):
    path = offered / "digits-resnet8/seed-0/00-train.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_what_is_trained_is_copied_as_it_is(plan, offered):
    assert checkpoints.take(plan, offered) == plan.runs
    assert in_seed_0(plan.folder) == FILES
    for name in FILES:
        copy = (plan.folder / "digits-resnet8/seed-0" / name).read_bytes()
        assert copy == (offered / "digits-resnet8/seed-0" / name).read_bytes()


def test_what_the_profile_has_itself_stays(plan, offered):
    (run,) = plan.runs
    run.folder.mkdir(parents=True)
    run.executed("00-train").write_text("mine")
    assert checkpoints.take(plan, offered) == []
    assert in_seed_0(plan.folder) == ["00-train.ipynb"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"checkpoint": "0" * 64}, r"checkpoint\.safetensors is not the one that .*00-train\.json tells of"),
        ({"data": ["0", "1"]}, "was trained on other images than those of digits"),
        ({"settings": {"training": {}}}, "was trained with epochs=None, not 3, "),
        ({"settings": 7}, r"00-train\.json is no record of a training \(TypeError"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_copied(plan, offered, fields, error):
    change(offered, **fields)
    with pytest.raises(ValueError, match=error):
        checkpoints.take(plan, offered)
    assert not plan.folder.exists()


def test_a_folder_without_any_of_its_runs_is_refused(plan, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"CHECKPOINTS=.*: no checkpoint there of digits-resnet8 seed 0"):
        checkpoints.take(plan, tmp_path)


def test_a_folder_that_is_not_there_is_called_as_it_was_given(plan):
    with pytest.raises(FileNotFoundError, match=r"^CHECKPOINTS=/nowhere: there is no such folder$"):
        checkpoints.take(plan, "/nowhere")


def test_taken_up_by_make_they_are_not_trained_again_whatever_was_trained_there_before(own_study, offered):
    own_study.change("lib/training.py", lambda text: f"{text}\n# changed\n")
    shutil.rmtree(own_study.smoke / "digits-resnet8")
    assert "00-train digits-resnet8 seed 0" in own_study.plan()
    told, *steps = own_study.plan("--checkpoints", str(offered))[::-1]
    assert told.startswith("digits-resnet8 seed 0: trained already, in ")
    assert "10-measure digits-resnet8 seed 0" in steps and "00-train digits-resnet8 seed 0" not in steps
