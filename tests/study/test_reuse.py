"""Finished runs of others, taken up as they are."""

import json
import shutil
from types import SimpleNamespace

import pandas
import pytest

from lib.images import datasets
from lib.study import paths, profiles, reuse, schema

FILES = {
    "00-train": ["00-train.ipynb", "00-train.json", "checkpoint.safetensors", "training.parquet"],
    "10-measure": ["10-measure.ipynb", "10-measure.json", "curves.parquet", "finetuning.parquet"],
}
FILES["10-measure"] += ["oracle.parquet", "repaired.parquet", "scores.parquet", "silenced.parquet"]
CHECKED = sorted(set(FILES["10-measure"]) - {"repaired.parquet", "silenced.parquet"})  # which are measured anew
BOTH = sorted(FILES["00-train"] + FILES["10-measure"])


@pytest.fixture
def offered(study, tmp_path):
    """A folder that holds the smoke profile's training and measurements of seed 0 and nothing else."""
    folder = tmp_path / "offered/digits-resnet8/seed-0"
    folder.mkdir(parents=True)
    for name in BOTH:
        shutil.copy(study.smoke / "digits-resnet8/seed-0" / name, folder)
    return tmp_path / "offered"


@pytest.fixture
def plan(tmp_path):
    return profiles.load("smoke", results=tmp_path / "results", data=tmp_path / "data", device="cpu")


def take(plan, offered, *notebooks):
    return reuse.take(plan, offered, "MEASURED", *(notebooks or FILES))


def in_seed_0(folder):
    return sorted(path.name for path in (folder / "digits-resnet8/seed-0").glob("*"))


def change(offered, notebook, **fields):
    path = offered / f"digits-resnet8/seed-0/{notebook}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def taken(run, *notebooks):
    return [(run, notebook, reuse.DONE[notebook]) for notebook in notebooks]


@pytest.mark.parametrize("notebooks", [["00-train"], ["00-train", "10-measure"]])
def test_what_is_finished_is_copied_as_it_is(plan, offered, notebooks):
    (run,) = plan.runs
    assert take(plan, offered, *notebooks) == taken(run, *notebooks)
    names = sorted(name for notebook in notebooks for name in FILES[notebook])
    assert in_seed_0(plan.folder) == names
    for name in names:
        copy = (plan.folder / "digits-resnet8/seed-0" / name).read_bytes()
        assert copy == (offered / "digits-resnet8/seed-0" / name).read_bytes()
    assert take(plan, offered, *notebooks) == []


def test_what_is_only_trained_there_is_taken_up_as_a_training(plan, offered):
    (offered / "digits-resnet8/seed-0/10-measure.ipynb").unlink()
    assert take(plan, offered) == taken(plan.runs[0], "00-train")
    assert in_seed_0(plan.folder) == FILES["00-train"]


def test_the_published_trainings_can_be_taken_up(tmp_path, monkeypatch):
    published, plan = paths.ROOT / "results/published/cifar", profiles.load("cifar", results=tmp_path, device="cpu")
    record = json.loads(next(published.rglob("00-train.json")).read_text())
    digests = dict(zip(datasets.SPLITS, record["data"], strict=True))
    monkeypatch.setattr(datasets, "load", lambda name, split, folder: SimpleNamespace(digest=digests[split]))
    found = reuse.take(plan, published, "CHECKPOINTS", "00-train")
    assert found == [(run, "00-train", "trained already") for run in plan.runs]


def test_an_optimizer_that_was_not_named_was_sgd():
    for now in ("sgd", "adamw"):
        assert reuse.as_named_now({"epochs": 3}, {"epochs": 3, "optimizer": now}) == {"epochs": 3, "optimizer": "sgd"}
    assert reuse.as_named_now({"optimizer": "adamw"}, {"optimizer": "sgd"}) == {"optimizer": "adamw"}
    assert reuse.as_named_now({}, {"weights": "a"}) == {}  # of weights that others have trained


def test_a_precision_that_was_not_named_is_whichever_it_was():
    now = {"epochs": 3, "precision": "float32"}
    assert reuse.as_named_now({"epochs": 3, "precision": "auto"}, now) == now
    assert reuse.as_named_now({"epochs": 2, "precision": "bfloat16"}, now)["precision"] == "bfloat16"


def test_what_the_profile_has_itself_stays(plan, offered):
    (run,) = plan.runs
    run.folder.mkdir(parents=True)
    run.executed("00-train").write_text("mine")
    assert take(plan, offered, "00-train") == []
    assert in_seed_0(plan.folder) == ["00-train.ipynb"]


@pytest.mark.parametrize(
    ("notebook", "fields", "error"),
    [
        ("00-train", {"checkpoint": "0" * 64}, r"\.safetensors is not the one that .*00-train\.json tells of"),
        ("00-train", {"data": ["0", "1"]}, "00-train.json is of other images than those of digits"),
        ("00-train", {"settings": {"training": {}}}, "00-train.json tells of epochs=None, not 3, "),
        ("00-train", {"settings": 7}, r"00-train\.json is no record of 00-train \(TypeError"),
        ("10-measure", {"checkpoint": "0" * 64}, r"\.safetensors is not the one that .*10-measure\.json tells"),
        ("10-measure", {"data": "0"}, "10-measure.json is of other images than those of digits"),
        ("10-measure", {"settings": {"measuring": {}}}, "10-measure.json tells of points=None, not 5, "),
        ("10-measure", {"code": 7}, r"10-measure\.json is no record of 10-measure \(TypeError: code=7\)"),
        ("10-measure", {"device": {"type": "cuda"}}, "tells of device='cuda', not 'cpu': "),
        ("10-measure", {"threads": 7}, "tells of threads=7, not 1: "),
        ("10-measure", {"settings": {"measuring": 7}}, r"10-measure\.json is no record of 10-measure \(TypeError"),
        ("10-measure", {"versions": {}}, r"10-measure\.json tells of torch=None, not '[0-9.]+', "),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_copied(plan, offered, notebook, fields, error):
    change(offered, notebook, **fields)
    with pytest.raises(ValueError, match=error):
        take(plan, offered)
    assert not plan.folder.exists()


def test_of_a_training_neither_code_nor_versions_are_asked(plan, offered):
    change(offered, "00-train", code="old", device={"type": "cuda"}, versions={"torch": "1.0"})
    assert take(plan, offered, "00-train") == taken(plan.runs[0], "00-train")


@pytest.mark.parametrize("fields", [{"code": "old"}, {"notebooks": ["30-sign"]}, {"notebooks": None}])
def test_measurements_by_other_code_or_for_another_plan_are_laid_where_they_are_checked(plan, offered, fields):
    change(offered, "10-measure", **fields)
    (run,) = plan.runs
    assert take(plan, offered) == [*taken(run, "00-train"), (run, "10-measure", reuse.TO_CHECK)]
    assert in_seed_0(plan.folder) == sorted([*FILES["00-train"], "offered"])
    assert sorted(path.name for path in run.offered.iterdir()) == CHECKED
    reuse.withdraw(plan)
    assert in_seed_0(plan.folder) == FILES["00-train"]


def test_settings_that_say_only_what_else_is_measured_may_be_others(plan, offered):
    settings = json.loads((offered / "digits-resnet8/seed-0/10-measure.json").read_text())["settings"]
    change(offered, "10-measure", settings=settings | {"measuring": settings["measuring"] | {"panels": [2]}})
    assert take(plan, offered)[-1] == (plan.runs[0], "10-measure", reuse.TO_CHECK)


def test_of_every_measuring_setting_it_is_known_what_it_decides():
    known = [name for names in reuse.DECIDE.values() for name in names]
    assert sorted(known) == sorted(schema.Measuring.model_fields)


def test_only_whole_measurements_are_set_aside(plan, offered):
    (run,) = plan.runs
    take(plan, offered)
    reuse.set_aside(run)
    assert sorted(path.name for path in run.earlier.iterdir()) == CHECKED
    shutil.rmtree(run.earlier)
    run.scores.unlink()
    reuse.set_aside(run)
    assert not run.earlier.exists()


def test_measurements_of_another_network_than_the_own_are_refused(plan, offered):
    (run,) = plan.runs
    run.folder.mkdir(parents=True)
    run.checkpoint.write_bytes(b"mine")
    run.executed("00-train").write_text("mine")
    with pytest.raises(ValueError, match=r"results.*\.safetensors is not the one that .*10-measure\.json tells"):
        take(plan, offered)
    assert in_seed_0(plan.folder) == ["00-train.ipynb", "checkpoint.safetensors"]


def test_an_own_training_that_is_not_finished_gives_way_to_the_one_that_was_measured(plan, offered):
    (run,) = plan.runs
    run.folder.mkdir(parents=True)
    run.checkpoint.write_bytes(b"mine, half trained")
    assert take(plan, offered) == taken(run, "00-train", "10-measure")
    assert in_seed_0(plan.folder) == BOTH and run.checkpoint.read_bytes() != b"mine, half trained"


def test_measurements_with_a_version_that_the_lock_has_not_are_refused(plan, offered):
    versions = json.loads((offered / "digits-resnet8/seed-0/10-measure.json").read_text())["versions"]
    change(offered, "10-measure", versions=versions | {"torch": "1.0"})
    with pytest.raises(ValueError, match=r"10-measure\.json tells of torch='1\.0', not '2\.\d+\.\d+': measure"):
        take(plan, offered)


def test_measurements_by_another_build_of_a_version_are_taken_up(plan, offered):
    versions = json.loads((offered / "digits-resnet8/seed-0/10-measure.json").read_text())["versions"]
    change(offered, "10-measure", versions=versions | {"torch": versions["torch"].split("+")[0] + "+cpu"})
    assert take(plan, offered) == taken(plan.runs[0], "00-train", "10-measure")


def test_measurements_without_one_of_their_tables_are_refused(plan, offered):
    (offered / "digits-resnet8/seed-0/scores.parquet").unlink()
    with pytest.raises(ValueError, match=r"scores\.parquet is missing, without which 10-measure of "):
        take(plan, offered)
    assert not plan.folder.exists()


def test_a_folder_without_any_of_its_runs_is_refused(plan, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"MEASURED=.*: nothing there of 00-train of digits-resnet8 seed 0"):
        take(plan, tmp_path, "00-train")


def test_a_folder_that_is_not_there_is_called_as_it_was_given(plan):
    with pytest.raises(FileNotFoundError, match=r"^MEASURED=/nowhere: there is no such folder$"):
        take(plan, "/nowhere")


def test_taken_up_by_make_they_are_not_trained_again_whatever_was_trained_there_before(own_study, offered):
    own_study.change("lib/images/training.py", lambda text: f"{text}\n# changed\n")
    shutil.rmtree(own_study.smoke / "digits-resnet8")
    assert "00-train digits-resnet8 seed 0" in own_study.plan()
    told, *steps = own_study.plan("--checkpoints", str(offered))[::-1]
    assert told.startswith("digits-resnet8 seed 0: trained already, in ")
    assert "10-measure digits-resnet8 seed 0" in steps and "00-train digits-resnet8 seed 0" not in steps


def test_taken_up_by_make_they_are_not_measured_again_either(own_study, offered):
    shutil.rmtree(own_study.smoke)
    told = [line for line in own_study.plan("--measured", str(offered)) if "seed 0" in line]
    assert [line.partition(",")[0] for line in told] == [
        "digits-resnet8 seed 0: measured already",
        "digits-resnet8 seed 0: trained already",
    ]


def only_signs(text):
    """An edit of study.yaml: the smoke profile has one ablation."""
    name = "  smoke:  # seconds: does everything still run?\n"
    assert name in text
    return text.replace(name, f"{name}    notebooks: [30-sign]\n")


def record_of(own_study):
    return json.loads((own_study.smoke / "digits-resnet8/seed-0/10-measure.json").read_text())


def test_after_an_edit_make_takes_up_what_was_measured_and_the_record_says_by_which_code(own_study):
    before = record_of(own_study)
    curves = pandas.read_parquet(own_study.smoke / "digits-resnet8/seed-0/curves.parquet")
    own_study.change("lib/study/measurements.py", lambda text: f"{text}\n# changed\n")
    own_study.change("study.yaml", only_signs)
    done = own_study.make("reproduce")
    assert done.returncode == 0, done.stdout + done.stderr
    now = record_of(own_study)
    (told,) = now["taken_up"]
    assert told["code"] == before["code"] != now["code"] and told["git"] == before["git"]
    assert told["cells"] == now["curves"] < before["curves"]  # those of one ablation
    assert told["rescored"] == 5 and told["evaluated"] >= 5
    after = pandas.read_parquet(own_study.smoke / "digits-resnet8/seed-0/curves.parquet")
    assert len(after) == 5 * now["curves"]  # points
    merged = after.merge(curves, how="left", indicator=True)
    assert (merged["_merge"] == "both").all()
    assert not list(own_study.smoke.rglob("earlier"))


def test_measurements_of_others_that_do_not_come_out_again_are_refused_in_one_line(own_study, offered):
    own_study.change("study.yaml", only_signs)
    path = offered / "digits-resnet8/seed-0/curves.parquet"
    curves = pandas.read_parquet(path)
    curves.assign(accuracy=curves["accuracy"] * 0.9).to_parquet(path)
    shutil.rmtree(own_study.smoke)
    refused = own_study.make("reproduce", f"MEASURED={offered}")
    assert refused.returncode != 0 and not (own_study.smoke / "digits-resnet8/seed-0/10-measure.ipynb").exists()
    (line,) = [line for line in refused.stderr.splitlines() if "ValueError" in line]
    assert (
        "curves.parquet does not come out again: " in line and " images, draw 0 (random): relative auc was 0." in line
    )
    assert line.endswith("start again without MEASURED (CHECKPOINTS takes networks alone)")
