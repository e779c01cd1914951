"""What jobs ask of a cluster, and what is cancelled there: against commands that only look like Slurm's."""

import dataclasses

import pytest

from lib.running import cluster
from lib.study import profiles, vocabulary

GPUS = {"train": 2, "measure": 1, "ablation": 0, "report": 0}
OWN = {"partition": "gpu", "account": "prune", "qos": None, "gpus": GPUS}


@pytest.fixture
def profile(tmp_path):
    """The profile paper, with a partition and an account, in a folder of its own."""
    loaded = profiles.load("paper", results=tmp_path)
    return dataclasses.replace(loaded, cluster=dict(loaded.cluster) | OWN)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Writes a shell script as a command, which then is the only one on PATH beside the shell's own."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def write(name, script):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    return write


def test_a_job_asks_for_what_its_rule_says_and_leaves_to_the_cluster_what_is_null(profile):
    common = {"slurm_partition": "gpu", "slurm_account": "prune", "mem_mb": 16000}
    assert cluster.resources(profile, "train") == common | {"gpu": 2, "runtime": 240}
    assert cluster.resources(profile, "report") == common | {"gpu": 0, "runtime": 30}


def test_a_job_with_a_gpu_computes_on_it_and_on_the_cpu_there_are_none(profile):
    assert [cluster.device(profile, rule) for rule in vocabulary.RULES] == ["cuda", "cuda", "cpu", "cpu"]
    on_cpu = dataclasses.replace(profile, device="cpu")
    assert {cluster.device(on_cpu, rule) for rule in vocabulary.RULES} == {"cpu"}
    assert cluster.resources(on_cpu, "train")["gpu"] == 0


def test_the_defaults_name_nobodys_cluster_and_ask_for_gpus_only_where_the_profile_is_large():
    for name in profiles.names():
        asked = cluster.resources(profiles.load(name), "train")
        assert set(asked) == {"gpu", "mem_mb", "runtime"}
        assert asked["gpu"] == (name not in ("smoke", "quick"))


def test_the_queue_is_looked_at_as_often_as_the_shortest_job_asks_for(profile):
    def seconds(**runtime):
        shorter = dataclasses.replace(profile, cluster=dict(profile.cluster) | runtime)
        words = cluster.words(shorter, 5)
        assert words[words.index("--jobs") + 1] == "5"
        return words[words.index("--slurm-init-seconds-before-status-checks") + 1]

    assert [seconds(), seconds(runtime=10), seconds(runtime=2000)] == ["30", "10", "60"]


def test_only_the_jobs_of_this_profile_in_this_folder_are_cancelled(profile, slurm, tmp_path, capsys):
    mine, others = cluster.prefix(profile), cluster.prefix(dataclasses.replace(profile, results="elsewhere"))
    assert mine != others and mine.startswith("paper-")
    queue = f"'7 {mine}_a' '8 {others}_b' '9 ' '10 my job' '11 {mine}_c'"
    slurm("squeue", f"[ -e {tmp_path}/gone ] || printf '%s\\n' {queue}")
    slurm("scancel", f'echo "$@" > {tmp_path}/gone')
    cluster.cancel_left(profile)
    assert (tmp_path / "gone").read_text() == "7 11\n"
    assert capsys.readouterr().err == "cancelling 2 of an earlier start's jobs, still in the queue\n"
    cluster.cancel_left(profile)
    assert capsys.readouterr().err == ""


def test_a_slurm_that_does_not_answer_is_told_in_one_line(profile, slurm):
    slurm("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(RuntimeError, match="squeue failed: slurm_load_jobs error: Unable to contact"):
        cluster.cancel_left(profile)


def test_what_cannot_be_submitted_is_refused(profile, slurm):
    with pytest.raises(ValueError, match="unknown cluster 'lsf': valid are slurm, or none for this machine"):
        cluster.check("lsf", profile)
    with pytest.raises(FileNotFoundError, match="CLUSTER=slurm, but there is no sbatch on PATH"):
        cluster.check("slurm", profile)
    slurm("sbatch", "exit 0")
    cluster.check("slurm", profile)
    without = dataclasses.replace(profile, device="cuda", cluster=dict(profile.cluster) | {"gpus": 0})
    with pytest.raises(ValueError, match=r"DEVICE=cuda, but study.yaml: profiles.paper.cluster.gpus asks for no GPU"):
        cluster.check("slurm", without)
