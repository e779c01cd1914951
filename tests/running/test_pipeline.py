"""The front door and the graph behind it, on the smoke profile with every notebook, in a copy of the repository."""

import fcntl
import json
import os
import re
import subprocess
import sys

import pytest
from PIL import Image
from studies import copy_of_the_repository
from written import NOTHING_TO_DO

from lib.study import profiles, vocabulary

ABLATIONS = list(profiles.load("smoke").notebooks)
RUN = "digits-resnet8 seed 0"
EVERYTHING = sorted([f"00-train {RUN}", f"10-measure {RUN}", *ABLATIONS, "90-report"])


def add_cell(kind, source):
    """An edit that appends a cell to a notebook."""
    cell = {"cell_type": kind, "id": "added", "metadata": {}, "source": source}
    cell |= {"outputs": [], "execution_count": None} if kind == "code" else {}

    def edit(text):
        notebook = json.loads(text)
        notebook["cells"].append(cell)
        return json.dumps(notebook)

    return edit


def state(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_reproduce_runs_every_notebook_and_ends_with_the_path_of_the_report(study):
    plan, *between, last = study.said.splitlines()
    steps = [line for line in between if line.startswith("[")]  # on a slow machine others tell how far a notebook is
    assert plan == f"0 of {len(EVERYTHING)} notebooks are there; running {len(EVERYTHING)}"
    assert last == "results/smoke/report.html"
    assert (study.root / last).stat().st_size > 0
    total, width = len(EVERYTHING), len(str(len(EVERYTHING)))
    assert [step.split("]")[0] for step in steps] == [f"[{n:{width}} of {total}" for n in range(1, total + 1)]
    assert sorted(step.split("] ")[1].rsplit(" (")[0] for step in steps) == EVERYTHING
    executed = sorted(path.stem for path in study.smoke.rglob("*.ipynb"))
    there = sorted(path.stem for path in (study.root / "notebooks").glob("*.ipynb"))
    assert executed == [name for name in there if name not in ("quickstart", "95-panels")]  # which are not of the grid


def test_nothing_that_is_left_names_a_place_on_this_machine(study):
    for path in study.smoke.rglob("*"):
        if path.suffix in (".ipynb", ".json", ".md", ".html", ".csv"):
            assert str(study.root) not in path.read_text(), path


def test_parts_of_what_is_finished_are_gone(study):
    assert not list(study.smoke.rglob("parts"))


def test_a_second_run_does_nothing(study):
    before = state(study.smoke)
    again = study.make("reproduce")
    assert (again.returncode, again.stdout) == (0, NOTHING_TO_DO)
    assert state(study.smoke) == before


def test_another_seed_runs_that_seed_and_what_is_over_all_seeds(study):
    assert study.plan("--seeds", "0 1") == sorted(
        ["00-train digits-resnet8 seed 1", "10-measure digits-resnet8 seed 1", *ABLATIONS, "90-report"]
    )


def test_dates_and_remarks_do_not_matter(own_study):
    for path in [
        *own_study.root.glob("lib/**/*.py"),
        *own_study.root.glob("notebooks/*"),
        own_study.root / "Snakefile",
    ]:
        os.utime(path)
    own_study.change("study.yaml", lambda text: f"# a remark\n{text}")
    own_study.change("notebooks/10-measure.ipynb", add_cell("markdown", "Prose of a notebook that takes long."))
    assert own_study.plan() == []


@pytest.mark.parametrize(
    ("name", "edit", "steps"),
    [
        ("notebooks/30-sign.ipynb", add_cell("markdown", "More to read."), ["30-sign", "90-report"]),
        ("notebooks/30-sign.ipynb", add_cell("code", "1 + 1"), ["30-sign", "90-report"]),
        ("notebooks/10-measure.ipynb", add_cell("code", "1 + 1"), EVERYTHING[1:]),
        ("lib/images/training.py", lambda text: f"{text}\n# changed\n", EVERYTHING),
        ("study.yaml", lambda text: text.replace("training: {epochs: 3", "training: {epochs: 4", 1), EVERYTHING),
        ("requirements.lock", lambda text: re.sub(r"^numpy==\S+", "numpy==0.1", text, flags=re.M), EVERYTHING),
    ],
    ids=["prose", "code", "measuring", "module", "settings", "lock"],
)
def test_a_change_reruns_what_depends_on_it(own_study, name, edit, steps):
    before = (own_study.root / name).read_text()
    own_study.change(name, edit)
    assert (own_study.root / name).read_text() != before
    assert own_study.plan() == steps


def test_images_for_larger_networks_rerun_what_streams_them(own_study):
    folder = own_study.root / "data/imagenet/train/cat"
    folder.mkdir(parents=True)
    assert own_study.plan() == [vocabulary.LARGER_NETWORKS, "90-report"]


def test_other_images_rerun_what_rests_on_them(own_study):
    for split in ("train", "test"):
        for number in range(2):
            folder = own_study.root / f"data/digits/{split}/{number}"
            folder.mkdir(parents=True)
            for place in range(20):  # as many as the profile asks for
                Image.new("L", (8, 8), number).save(folder / f"{place}.png")
    assert own_study.plan() == EVERYTHING


def test_a_failing_notebook_is_named_its_copy_left_and_the_others_run(own_study):
    own_study.change("notebooks/30-sign.ipynb", add_cell("code", "raise ValueError('planted')"))
    own_study.change("notebooks/40-label-scarcity.ipynb", add_cell("markdown", "More to read."))
    failed = own_study.make("reproduce")
    assert failed.returncode != 0
    assert failed.stdout.startswith("11 of 14 notebooks are there; running 3\n")
    assert "40-label-scarcity (" in failed.stdout and "[  failed] 30-sign" in failed.stdout
    assert "30-sign failed in cell [" in failed.stderr and "]: ValueError: planted\n" in failed.stderr
    assert "its copy: results/smoke/notebooks/30-sign.failed.ipynb\n" in failed.stderr
    assert "Traceback" not in failed.stderr and "CalledProcessError" not in failed.stderr
    assert "planted" in (own_study.smoke / "notebooks/30-sign.failed.ipynb").read_text()
    assert not (own_study.smoke / "notebooks/30-sign.ipynb").exists()
    assert own_study.plan() == ["30-sign", "90-report"]


def test_a_report_trains_and_measures_nothing(own_study):
    own_study.change("lib/study/profiles.py", lambda text: f"{text}\n# changed\n")
    assert own_study.plan("--report", "--seeds", "0 1") == sorted([*ABLATIONS, "90-report"])


@pytest.mark.parametrize("lost", ["notebooks/30-sign.ipynb", "report.md"])
def test_what_is_lost_is_made_again(own_study, lost):
    (own_study.smoke / lost).unlink()
    assert own_study.plan() == (["90-report"] if lost == "report.md" else ["30-sign", "90-report"])


def test_what_a_killed_run_left_does_not_hinder_the_next(own_study):
    (own_study.smoke / "notebooks/30-sign.ipynb").rename(own_study.smoke / "notebooks/30-sign.part.ipynb")
    (own_study.root / ".snakemake/locks").mkdir(exist_ok=True)
    (own_study.root / ".snakemake/locks/0.output.lock").write_text("results/smoke/notebooks/30-sign.ipynb\n")
    (own_study.smoke / ".lock").write_text("1\n")
    assert own_study.plan() == ["30-sign", "90-report"]


def test_two_at_a_time_are_one_too_many(study):
    with open(study.smoke / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = study.make("reproduce")
    assert second.returncode != 0 and second.stdout == ""
    assert "PROFILE=smoke is being run already" in second.stderr.splitlines()[0]


@pytest.mark.parametrize(
    ("variable", "error"),
    [
        ("SEEDS=0; touch x", "SEEDS='0; touch x': '0;' is not a whole number"),
        ("SEEDS=$(shell touch x)`touch x`", "SEEDS='$(shell touch x)`touch x`': '$(shell' is not a whole number"),
        ("SEEDS=0 0", "seeds must be a list of different whole numbers, 0 or more, below 2**63, not [0, 0]"),
        ("PROFILE=smok", "study.yaml: unknown profile 'smok': valid are smoke, quick, first, imagenet, cifar, stl10,"),
        ("DEVICE=gpu", "unknown device 'gpu': valid are auto, cpu, cuda"),
        ("JOBS=0", "JOBS='0' is not a whole number, 1 or more"),
        ("GPUS=two", "GPUS='two' is not a whole number, 1 or more: write GPUS=2"),
        ("RUNS_PER_GPU=0", "RUNS_PER_GPU='0' is not a whole number, 1 or more"),
        ("CLUSTER=foo", "unknown cluster 'foo': valid are slurm, or none for this machine"),
        ("CLUSTER=slurm", "CLUSTER=slurm, but there is no sbatch on PATH: start where jobs are submitted"),
    ],
)
def test_bad_input_ends_in_one_line_and_changes_nothing(study, variable, error):
    before = state(study.root)
    refused = study.make("reproduce", variable, "PATH=/nowhere")
    assert refused.returncode != 0 and refused.stdout == ""
    said = [line for line in refused.stderr.splitlines() if not line.startswith("make:")]
    assert len(said) == 1 and said[0].startswith(error)
    assert state(study.root) == before


def test_a_misspelt_variable_is_refused(study):
    refused = study.make("reproduce", "PROFLE=smoke")
    assert refused.returncode != 0 and refused.stdout == ""
    assert "unknown variable PROFLE: valid are PROFILE SEEDS DEVICE" in refused.stderr


def test_on_gpus_every_run_waits_for_its_turn_and_the_report_does_not(own_study):
    settings = {"profile": "smoke", "device": "cuda", "gpus": ["0", "GPU-b"], "runs_per_gpu": 3}
    settings |= {"digests": {"digits": ["of train", "of test"]}}
    (own_study.root / "gpus.json").write_text(json.dumps(settings))
    words = ["--configfile", "gpus.json", "--dry-run", "--forceall", "--printshellcmds", "--cores", "1"]
    command = [sys.executable, "-m", "snakemake", *words, "--profile", "none", "--workflow-profile", "none"]
    planned = subprocess.run(command, cwd=own_study.root, env=own_study.environment, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    executed = [line for line in planned.stdout.splitlines() if "-m lib.running.execute" in line]
    assert len(executed) == len(EVERYTHING)
    assert all("-p device cuda" in line for line in executed)
    waiting = [line for line in executed if "--gpus 0,GPU-b --runs-per-gpu 3" in line]
    assert [line for line in executed if line not in waiting] == [line for line in executed if "90-report" in line]


@pytest.mark.parametrize(("cluster", "timing"), [("", "3"), ("slurm", "1")])
def test_nothing_runs_beside_a_notebook_that_takes_times(tmp_path, cluster, timing):
    copied = copy_of_the_repository(tmp_path / "study")
    copied.change("Snakefile", lambda text: text.replace('"{wildcards.notebook}"', '"{wildcards.notebook}: {threads}"'))
    settings = {"profile": "smoke", "device": "cpu", "cluster": cluster, "digests": {"digits": ["train", "test"]}}
    (copied.root / "settings.json").write_text(json.dumps(settings))
    words = ["--configfile", "settings.json", "--dry-run", "--cores", "3", "--printshellcmds"]
    command = [sys.executable, "-m", "snakemake", *words, "--profile", "none", "--workflow-profile", "none"]
    planned = subprocess.run(command, cwd=copied.root, env=copied.environment, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    found = dict(re.findall(r"Job \d+: (\S+): (\d+)\n", planned.stdout))
    assert found == dict.fromkeys(ABLATIONS, "1") | dict.fromkeys(vocabulary.TIMING, timing)
    executed = [line for line in planned.stdout.splitlines() if "-m lib.running.execute" in line]
    assert all("--threads 1 " in line for line in executed) and len(executed) == len(EVERYTHING)


def test_an_error_in_the_graph_itself_is_shown(own_study):
    own_study.change("Snakefile", lambda text: f"{text}\nfoo bar\n")
    broken = own_study.make("reproduce")
    assert broken.returncode != 0
    assert "SyntaxError" in broken.stderr and "foo bar" in broken.stderr


def test_make_alone_lists_what_there_is(study):
    listed = study.make("help").stdout
    for target in ("setup", "reproduce", "report", "publish", "test", "quickstart", "lab", "audit", "clean"):
        assert f"make {target} " in listed


def test_clean_deletes_the_profile_and_nothing_else(own_study):
    (own_study.root / "results/published").mkdir()
    assert own_study.make("clean").returncode == 0
    assert os.listdir(own_study.root / "results") == ["published"]
