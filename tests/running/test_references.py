"""Runs whose weights are too large to be published: the measurements are taken up, and nothing else is vouched for."""

import hashlib
import json
import shutil

import pytest

from lib.benchmark import subjects
from lib.running import references, verify
from lib.study import paths, profiles

RUN = "digits-resnet8/seed-0"


@pytest.fixture
def offered(study, tmp_path):
    """A folder that holds the smoke profile's run, with a reference in place of its weights."""
    folder = tmp_path / "offered/smoke"
    shutil.copytree(study.smoke / RUN, folder / RUN)
    references.refer(folder / RUN / "checkpoint.safetensors")
    return folder


@pytest.fixture
def plan(tmp_path):
    return profiles.load("smoke", results=tmp_path / "results", data=tmp_path / "data", device="cpu")


def data_of(offered):
    return {"digits": json.loads((offered / RUN / "00-train.json").read_text())["data"]}


def test_a_reference_says_which_weights_it_stands_for_and_stays_one(study, offered):
    path = offered / RUN / "checkpoint.safetensors"
    whole = hashlib.sha256((study.smoke / RUN / path.name).read_bytes()).hexdigest()
    assert references.weights(path) == whole and path.stat().st_size < 1000
    before = path.read_bytes()
    references.refer(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"weights" * 100])
def test_what_is_not_there_or_damaged_is_no_reference(tmp_path, content):
    path = tmp_path / "checkpoint.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert references.weights(path) is None


def test_nor_is_a_checkpoint_with_weights(study):
    assert references.weights(study.smoke / RUN / "checkpoint.safetensors") is None


def test_what_was_measured_is_copied_as_it_is_once(plan, offered):
    assert references.take(plan, offered, data_of(offered)) == list(plan.runs)
    for path in references.outputs(plan.runs[0]):
        assert path.read_bytes() == (offered / RUN / path.name).read_bytes()
    assert references.take(plan, offered, data_of(offered)) == []


def test_runs_with_weights_are_left_to_others(study, plan, offered):
    shutil.copy(study.smoke / RUN / "checkpoint.safetensors", offered / RUN)
    assert references.take(plan, offered, data_of(offered)) == [] and not plan.folder.exists()


@pytest.mark.parametrize(
    ("notebook", "fields", "said"),
    [
        ("10-measure", {"code": "old"}, "with other code than today's"),
        ("10-measure", {"notebooks": ["30-sign"]}, "with other notebooks than today's"),
        ("10-measure", {"threads": 7}, "with other threads than today's"),
        ("10-measure", {"data": "0"}, "with other images scored on than today's"),
        ("10-measure", {"settings": {"measuring": {}}}, "with other measuring than today's"),
        ("10-measure", {"checkpoint": "0" * 64}, "with other weights as measured than today's"),
        ("00-train", {"checkpoint": "0" * 64}, "with other weights as trained than today's"),
        ("00-train", {"settings": {"training": {}}}, "with other training than today's"),
        ("00-train", {"data": ["0", "1"]}, "with other images than today's"),
    ],
)
def test_what_cannot_be_checked_is_refused_before_anything_is_copied(plan, offered, notebook, fields, said):
    data, path = data_of(offered), offered / RUN / f"{notebook}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(ValueError, match=f"{said}, and without its weights nothing of it can be checked: reproduce "):
        references.take(plan, offered, data)
    assert not plan.folder.exists()


def test_a_run_that_is_not_whole_is_refused(plan, offered):
    (offered / RUN / "scores.parquet").unlink()
    with pytest.raises(ValueError, match=r"scores\.parquet is missing: reproduce digits-resnet8 seed 0 without "):
        references.take(plan, offered, data_of(offered))
    assert not plan.folder.exists()


def test_taken_up_by_make_they_are_neither_trained_nor_measured_again(own_study, offered):
    shutil.rmtree(own_study.smoke)
    told = own_study.plan("--measured", str(offered))
    assert [line for line in told if "digits-resnet8 seed 0" in line] == [
        f"digits-resnet8 seed 0: trained and measured already, its weights left out, in {offered}"
    ]


def test_as_checkpoints_they_are_refused_in_one_line(own_study, offered):
    shutil.rmtree(own_study.smoke)
    done = own_study.make("reproduce", f"CHECKPOINTS={offered}")
    error = done.stderr.splitlines()[0]
    assert done.returncode and error.startswith("the weights of digits-resnet8 seed 0 are too large to be published, ")
    assert error.endswith(": train it anew, without CHECKPOINTS")


def test_they_cannot_be_verified_and_that_is_said_in_one_line(offered, capsys):
    assert verify.main(["--profile", "smoke", "--published", str(offered.parent)]) == 1
    error = capsys.readouterr().err
    assert "too large to be published" in error and error.count("\n") == 1


def test_benchmarks_take_networks_with_weights_alone(study, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    for number, folder in enumerate(("a", "b")):
        path = tmp_path / f"results/{folder}/cifar100-vgg8/seed-0/checkpoint.safetensors"
        path.parent.mkdir(parents=True)
        shutil.copy(study.smoke / RUN / path.name, path)
        if number == 0:
            references.refer(path)
            assert subjects.weights("vgg8") == "random"
    assert subjects.weights("vgg8") == "results/b/cifar100-vgg8/seed-0/checkpoint.safetensors"
