"""Jobs on a cluster: what each asks for, what Snakemake's Slurm plugin is told, and what a killed start has left there.

Enters: a profile with its section `cluster` of study.yaml, and the name typed after CLUSTER=. Leaves: the resources of
the Snakefile's rules and words of Snakemake's command line. Snakemake submits the jobs and waits for them; a job runs
in the repository's root, which every node must see, with the interpreter that submitted it.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time

from lib.study import paths
from lib.study.profiles import Profile
from lib.study.vocabulary import RULES

NAMES = ("slurm",)
AT_A_TIME = 100  # jobs in the queue where JOBS does not say
MOST_SECONDS = 60  # between looks at the queue; the plugin trusts it only where ended jobs stay in it for three of them
RESOURCES = {  # a key of `cluster` in study.yaml -> what the plugin calls it
    "partition": "slurm_partition",
    "account": "slurm_account",
    "qos": "qos",
    "gpus": "gpu",
    "mem_mb": "mem_mb",
    "runtime": "runtime",
    "options": "slurm_extra",
}


def check(name: str, profile: Profile) -> None:
    """Raises ValueError or FileNotFoundError, one line, where jobs of `profile` cannot be submitted to `name`."""
    if name not in NAMES:
        raise ValueError(f"unknown cluster {name!r}: valid are {', '.join(NAMES)}, or none for this machine")
    if not shutil.which("sbatch"):
        raise FileNotFoundError(f"CLUSTER={name}, but there is no sbatch on PATH: start where jobs are submitted")
    if profile.device == "cuda" and not any(profile.job(rule)["gpus"] for rule in RULES):
        raise ValueError(f"DEVICE=cuda, but {paths.STUDY}: profiles.{profile.name}.cluster.gpus asks for no GPU")


def device(profile: Profile, rule: str) -> str:
    """Where a job of `rule` computes: "cuda" if it is given a GPU, else "cpu"."""
    return "cuda" if profile.job(rule)["gpus"] else "cpu"


def resources(profile: Profile, rule: str) -> dict[str, object]:
    """What a job of `rule` asks for, in the plugin's names; what is not set is left to the cluster."""
    return {RESOURCES[key]: value for key, value in profile.job(rule).items() if value not in (None, "")}


def words(profile: Profile, jobs: int) -> list[str]:
    """Of Snakemake's command line: `jobs` at a time in the queue, which is looked at the oftener the shorter they are.

    Seconds between looks are at first as many as the shortest job may take minutes, then more while nothing ends.
    """
    seconds = min(MOST_SECONDS, *(profile.job(rule)["runtime"] for rule in RULES))
    where = ["--executor", "slurm", "--jobs", str(jobs), "--latency-wait", "60"]  # file systems tell other nodes late
    names = ["--slurm-jobname-prefix", prefix(profile), "--slurm-pass-command-as-script"]
    looks = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", str(seconds)]
    return [*where, *names, *looks, "--seconds-between-status-checks", str(seconds)]


def prefix(profile: Profile) -> str:
    """How the names of jobs for this profile in this folder begin, and no others'."""
    name = re.sub("[^A-Za-z0-9_-]", "-", profile.name)[:30]
    return f"{name}-{hashlib.sha256(os.fsencode(profile.folder.resolve())).hexdigest()[:8]}"


def cancel_left(profile: Profile) -> None:
    """Cancels jobs of a start that was killed, and waits until they are gone: two of a kind would meet in one file.

    Raises RuntimeError, one line, where Slurm does not answer.
    """
    left = _queued(prefix(profile))
    if left:
        print(f"cancelling {len(left)} of an earlier start's jobs, still in the queue", file=sys.stderr, flush=True)
        _ask("scancel", *left)
    while left:
        time.sleep(1)
        left = _queued(prefix(profile))


def _queued(beginning: str) -> list[str]:
    lines = _ask("squeue", "--me", "--noheader", "--format=%i %j").splitlines()
    return [job for job, _, name in (line.partition(" ") for line in lines) if name.startswith(f"{beginning}_")]


def _ask(*command: str) -> str:
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode:
        why = (asked.stderr.strip() or f"exit status {asked.returncode}").splitlines()[-1]
        raise RuntimeError(f"{command[0]} failed: {why}")
    return asked.stdout
