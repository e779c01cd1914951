"""`make reproduce CLUSTER=slurm` on a real Slurm of one node: the tables of a run on this machine, killed or not."""

import os
import signal
import subprocess
from contextlib import contextmanager

import pytest
import slurm
from soak import results
from studies import copy_of_the_repository

pytestmark = pytest.mark.skipif(slurm.why_not() is not None, reason=str(slurm.why_not()))
RUN = "digits-resnet8 seed 0"
ON_SLURM = ("CLUSTER=slurm", "JOBS=8")  # more in the queue than run at a time
LONG = 600  # seconds that no step takes, even where much else is running


@pytest.fixture(autouse=True)
def cluster():
    """A Slurm is running, and nothing was ever in its queue."""
    with slurm.running():
        yield


@pytest.fixture
def copy(tmp_path):
    """A copy of the repository in which nothing has been run."""
    return copy_of_the_repository(tmp_path / "it's a copy")  # whatever its name


@contextmanager
def started(study):
    """`make reproduce CLUSTER=slurm`, running in a group of its own; at the end its jobs and it are gone."""
    command, pipes = study.command("reproduce", *ON_SLURM), {"stdout": -1, "stderr": -1, "text": True}
    process = subprocess.Popen(command, cwd=study.root, env=study.environment, start_new_session=True, **pipes)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def midway(study, rule, notebook):
    """Waits until a job of that rule is executing its notebook, and returns the job."""
    slurm.until(lambda: list(study.smoke.rglob(f"{notebook}.part.ipynb")), LONG)
    return next(job for job in slurm.jobs() if (job.rule, job.state) == (rule, "RUNNING"))


def steps(said):
    """The steps that a run told of, each without its place and its seconds."""
    return [line.split("] ")[1].rsplit(" (")[0] for line in said.splitlines() if line.startswith("[")]


def test_a_run_on_slurm_ends_as_one_on_this_machine(study, copy):
    done = copy.make("reproduce", *ON_SLURM)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(steps(done.stdout)) == sorted(steps(study.said))
    assert done.stdout.splitlines()[-1] == "results/smoke/report.html"
    assert results(copy.smoke) == results(study.smoke)
    assert [job.state for job in slurm.jobs()] == ["COMPLETED"] * len(steps(done.stdout))
    assert copy.plan() == []  # and this machine finds nothing left to do


def test_killed_runs_go_on_and_end_the_same(study, copy):
    with started(copy) as first:
        orphan = midway(copy, "train", "00-train")
        os.killpg(first.pid, signal.SIGKILL)
    with started(copy) as second:
        slurm.cancel(midway(copy, "measure", "10-measure"))
        said, error = second.communicate(timeout=LONG)
    assert "cancelling 1 of an earlier start's jobs, still in the queue\n" in error
    assert slurm.asked(orphan)["JobState"] == "CANCELLED"
    assert second.returncode != 0
    assert steps(said) == [f"00-train {RUN}", f"10-measure {RUN}"] and f"[  failed] 10-measure {RUN}" in said
    assert "failed, SLURM status is: 'CANCELLED'" in error
    assert "results/smoke is not complete: mend what failed, then start again to go on\n" in error
    last = copy.make("reproduce", *ON_SLURM)
    assert (last.returncode, last.stderr) == (0, "")
    assert f"00-train {RUN}" not in steps(last.stdout)
    assert results(copy.smoke) == results(study.smoke)


def test_an_interruption_leaves_nothing_in_the_queue(copy):
    with started(copy) as first:
        job = midway(copy, "train", "00-train")
        os.killpg(first.pid, signal.SIGINT)
        said, error = first.communicate(timeout=LONG)
    assert said == "0 of 14 notebooks are there; running 14\n" and "interrupted: start again to go on\n" in error
    assert slurm.asked(job)["JobState"] == "CANCELLED"
    assert list(copy.smoke.rglob("*.part.ipynb")) == []


def test_a_job_asks_for_what_the_study_says_and_its_failure_is_told(copy):
    settings = "{gpus: {train: 1, measure: 0, ablation: 0, report: 0}, mem_mb: 1500, runtime: 7, partition: others}"
    copy.change("study.yaml", lambda text: text.replace("{gpus: 0, mem_mb: 2000, runtime: 10}", settings))
    failed = copy.make("reproduce", *ON_SLURM, "DEVICE=auto")
    asked = slurm.asked(slurm.jobs()[-1])
    names = ("Partition", "TimeLimit", "MinMemoryNode", "NumCPUs", "TresPerJob")
    assert [asked[name] for name in names] == ["others", "00:07:00", "1500M", "1", "gres:gpu:1"]
    assert failed.returncode != 0
    assert failed.stdout == f"0 of 14 notebooks are there; running 14\n[  failed] 00-train {RUN}\n"
    assert "00-train failed in cell [" in failed.stderr
    assert "RuntimeError: DEVICE=cuda, but torch sees no CUDA device: use DEVICE=cpu or auto\n" in failed.stderr
    assert "  its copy: results/smoke/digits-resnet8/seed-0/00-train.failed.ipynb\n" in failed.stderr
    assert "Traceback" not in failed.stderr and "sbatch call" not in failed.stderr
