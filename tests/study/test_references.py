"""Runs whose weights are too large to be published: the measurements are taken up, and nothing else is vouched for."""

import hashlib
import json
import shutil

import pandas
import pytest

from lib.benchmark import subjects
from lib.running import publish, verify
from lib.study import paths, profiles, references

RUN = "digits-resnet8/seed-0"


@pytest.fixture
def offered(study, tmp_path):
    """A folder that holds the smoke profile's run, with a reference in place of its weights."""
    folder = tmp_path / "offered/smoke"
    shutil.copytree(study.smoke / RUN, folder / RUN)
    references.refer(folder / RUN / "checkpoint.safetensors")
    publish._write_sums(folder)
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
    assert references.take(plan, offered, data_of(offered), "cpu") == list(plan.runs)
    for path in references.outputs(plan.runs[0]):
        assert path.read_bytes() == (offered / RUN / path.name).read_bytes()
    assert references.take(plan, offered, data_of(offered), "cpu") == []


def test_runs_with_weights_are_left_to_others(study, plan, offered):
    shutil.copy(study.smoke / RUN / "checkpoint.safetensors", offered / RUN)
    assert references.take(plan, offered, data_of(offered), "cpu") == [] and not plan.folder.exists()


@pytest.mark.parametrize(
    ("notebook", "fields", "said"),
    [
        ("10-measure", {"code": "old"}, "with other code than today's"),
        ("10-measure", {"notebooks": ["30-sign"]}, "with other notebooks than today's"),
        ("10-measure", {"threads": 7}, "with other threads than today's"),
        ("10-measure", {"data": "0"}, "with other images scored on than today's"),
        ("10-measure", {"settings": {"measuring": {}}}, "with other measuring than today's"),
        (
            "10-measure",
            {"parameters": {"dataset": "digits", "network": "resnet8", "seed": 1}},
            "with other network than today's",
        ),
        ("10-measure", {"versions": {"torch": "1.0.0"}}, "with other versions than today's"),
        ("10-measure", {"device": {"type": "cuda"}}, "with other kind of device than today's"),
        ("10-measure", {"checkpoint": "0" * 64}, "with other weights as measured than today's"),
        ("00-train", {"code": "old"}, "with other code of the training than today's"),
        ("00-train", {"checkpoint": "0" * 64}, "with other weights as trained than today's"),
        ("00-train", {"settings": {"training": {}}}, "with other training than today's"),
        ("00-train", {"data": ["0", "1"]}, "with other images than today's"),
    ],
)
def test_what_cannot_be_checked_is_refused_before_anything_is_copied(plan, offered, notebook, fields, said):
    data, path = data_of(offered), offered / RUN / f"{notebook}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    publish._write_sums(offered)
    with pytest.raises(
        ValueError, match=f"{said}, and without its weights nothing of it can be checked: start without "
    ):
        references.take(plan, offered, data, "cpu")
    assert not plan.folder.exists()


def test_a_run_that_is_not_whole_is_refused(plan, offered):
    (offered / RUN / "scores.parquet").unlink()
    anew = "start without MEASURED, or without seed 0 of digits-resnet8$"
    with pytest.raises(ValueError, match=rf"scores\.parquet is missing: {anew}"):
        references.take(plan, offered, data_of(offered), "cpu")
    assert not plan.folder.exists()


def test_a_file_that_is_not_as_it_was_published_is_refused(plan, offered):
    shutil.copy(offered / RUN / "curves.parquet", offered / RUN / "scores.parquet")
    with pytest.raises(ValueError, match=r"scores\.parquet is not the file that .*SHA256SUMS lists: start without "):
        references.take(plan, offered, data_of(offered), "cpu")
    (offered / "SHA256SUMS").unlink()
    with pytest.raises(ValueError, match=r"SHA256SUMS is missing: start without "):
        references.take(plan, offered, data_of(offered), "cpu")
    assert not plan.folder.exists()


def test_what_is_taken_up_in_part_is_taken_up_again(plan, offered, monkeypatch):
    copy = shutil.copyfile

    def full(source, target):
        if source.name == "oracle.parquet":
            raise OSError("no space left")
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="no space left"):
        references.take(plan, offered, data_of(offered), "cpu")
    monkeypatch.undo()
    assert references.take(plan, offered, data_of(offered), "cpu") == list(plan.runs)


def test_what_cannot_be_computed_without_weights_is_refused_before_anything_runs(plan, offered, study):
    references.take(plan, offered, data_of(offered), "cpu")
    [run] = plan.runs
    assert references.with_weights(plan) == [] and references.left_out(plan)["seed"].to_list() == [0]
    with pytest.raises(
        ValueError, match=rf"^of digits-resnet8 seed 0 only what was measured is here, .* or delete {run.folder}, "
    ):
        references.require_usable(plan, [])
    with pytest.raises(ValueError, match=rf"^digits-resnet8 seed 0 would have .*: delete {run.folder}, and it is"):
        references.require_usable(plan, [str(run.executed("10-measure"))])
    run.executed("10-measure").unlink()
    with pytest.raises(ValueError, match=r"^digits-resnet8 seed 0 would have to be measured"):
        references.require_usable(plan, [])
    shutil.copy(study.smoke / RUN / "checkpoint.safetensors", run.checkpoint)
    references.require_usable(plan, [])
    assert references.with_weights(plan) == [run] and references.left_out(plan).empty


def test_a_seed_is_added_to_those_whose_weights_are_left_out(own_study, offered):
    shutil.rmtree(own_study.smoke)
    alone = own_study.make("reproduce", f"MEASURED={offered}")
    assert (
        alone.returncode
        and "no weights to compute with: make reproduce with one seed more in SEEDS, or delete " in alone.stderr
    )
    assert f"digits-resnet8 seed 0: trained and measured already, its weights left out, in {offered}\n" in alone.stdout
    done = own_study.make("reproduce", f"MEASURED={offered}", "SEEDS=0 1")
    assert done.returncode == 0, done.stdout + done.stderr
    for table, seeds in (("65-repair-summary", {0, 1}), ("65-repair-shrunk", {1}), ("70-oracle-interactions", {1})):
        assert set(pandas.read_csv(own_study.smoke / f"tables/{table}.csv")["seed"]) == seeds
    assert "its weights are not published" in (own_study.smoke / "report.md").read_text()
    assert own_study.make("publish").returncode == 0
    published = own_study.root / "results/published/smoke/digits-resnet8"
    assert all(references.weights(published / f"seed-{seed}/checkpoint.safetensors") for seed in (0, 1))


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
