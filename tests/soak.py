"""Kills `make reproduce` at random moments, starting it again each time, and compares what comes out in the end.

    python tests/soak.py --kills 20 --seed 0 --profile smoke

Each kill is a SIGKILL of the whole process group: make, the front door, Snakemake and what executes the notebooks, at
once; kernels have groups of their own and must notice. Whenever a run gets to its end, its results must equal those of
a run that nobody disturbed, bit for bit, but for times, memory and records; then all is deleted and the next begins.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas
from studies import Study, copy_of_the_repository

# Parts of the names of columns that may differ.
TIMES = ("second", "memory", "_mb", "commit", "latency", "step_", "time")
RESULTS = ("*.parquet", "*.csv", "checkpoint.safetensors")


def results(folder: Path) -> dict[str, bytes | str]:
    """What a run leaves, by file: contents of checkpoints, and of tables without the columns that hold times."""
    found = {}
    for path in sorted(path for pattern in RESULTS for path in folder.rglob(pattern)):
        name = path.relative_to(folder).as_posix()
        found[name] = path.read_bytes() if path.suffix == ".safetensors" else _without_times(path)
    return found


def _without_times(path: Path) -> str:
    table = pandas.read_parquet(path) if path.suffix == ".parquet" else pandas.read_csv(path, dtype=str)
    kept = [name for name in table if not any(part in name for part in TIMES)]
    return table[kept].to_json(double_precision=15, orient="split")


def soak(study: Study, kills: int, *, seed: int, undisturbed: dict, seconds: float, profile: str = "smoke") -> int:
    """Kills runs in `study` that often, at moments within the first half of `seconds`; returns how many got to an end.

    Raises AssertionError, naming the files, where a run's results are not `undisturbed`, or where a run fails.
    """
    moments, killed, ended, allowed = random.Random(seed), 0, 0, 0.0
    while allowed is not None:
        allowed = moments.uniform(0, seconds / 2) if killed < kills else None
        status = _reproduce(study, profile, allowed)
        if status is None:
            killed += 1
            print(f"[{killed:2} of {kills}] killed after {allowed:.1f} s", flush=True)
            continue
        assert status == 0, f"make reproduce ended with {status}"
        _require_equal(undisturbed, results(study.root / "results" / profile))
        print("came to its end, as undisturbed", flush=True)
        shutil.rmtree(study.root / "results")
        ended += 1
    return ended


def _reproduce(study: Study, profile: str, allowed: float | None) -> int | None:
    """The exit status of a run, or None where it was killed after `allowed` seconds."""
    words, quiet = study.command("reproduce", f"PROFILE={profile}"), subprocess.DEVNULL
    run = subprocess.Popen(words, cwd=study.root, env=study.environment, stdout=quiet, start_new_session=True)
    try:
        return run.wait(allowed)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        return None


def _require_equal(undisturbed: dict, found: dict) -> None:
    odd = sorted(name for name in undisturbed.keys() | found.keys() if undisturbed.get(name) != found.get(name))
    assert not odd, f"not as in the undisturbed run: {', '.join(odd)}"


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Kill make reproduce at random moments, and compare the results.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--profile", default="smoke")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        study = copy_of_the_repository(Path(folder) / "study")
        started = time.perf_counter()
        assert _reproduce(study, asked.profile, None) == 0, "the undisturbed run failed"
        seconds = time.perf_counter() - started
        undisturbed = results(study.root / "results" / asked.profile)
        print(f"undisturbed: {seconds:.0f} s, {len(undisturbed)} files to compare", flush=True)
        shutil.rmtree(study.root / "results")
        same = {"undisturbed": undisturbed, "seconds": seconds, "profile": asked.profile}
        ends = soak(study, asked.kills, seed=asked.seed, **same)
    print(f"{asked.kills} kills, {ends} runs that came to their end, all as undisturbed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
