"""How fast and how big scoring, pruning curves, the oracle and training are, beside the obvious way and other tools.

    python -m lib.benchmark.command [--quick] [--only scoring curves ...] [--rounds 5] [--threads 2] [--device auto]

Enters: names of benchmarks. Leaves: one table each in results/benchmarks/, and a figure of them all. Device, threads
and versions are on each row.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas
import torch

from lib.benchmark import comparisons, growth, outcome
from lib.benchmark.measuring import Effort
from lib.running import reproduce
from lib.study import devices, paths, records

FOLDER = "results/benchmarks"
THREADS = 2
WIDE = 2  # an upper quartile that is so many times the lower one says more of other programs than of the code
BENCHMARKS = {
    "scoring": comparisons.scoring,
    "curves": comparisons.curves,
    "oracle": comparisons.oracles,
    "whole-job": comparisons.whole_jobs,
    "training": comparisons.trainings,
    "memory": comparisons.memory,
    "growth-images": growth.by_images,
    "growth-units": growth.by_units,
    "growth-criteria": growth.by_criteria,
    "growth-processes": growth.by_processes,
    "imagenet": comparisons.imagenet,
}


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = argparse.ArgumentParser(prog="python -m lib.benchmark.command", description="Time this study's code.")
    made.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), metavar="NAME")
    made.add_argument("--quick", action="store_true", help="a minute, of the smallest network; saves nothing")
    made.add_argument("--rounds", type=int, default=None)
    made.add_argument("--threads", default="", help=f"of the computation ({THREADS})")
    made.add_argument("--device", default="auto", help="auto, cpu or cuda")
    made.add_argument("--folder", default=None, help="where tables and the figure go, quick ones too")
    return made


def main(words: Iterable[str] | None = None) -> int:
    """The command line; returns the exit status."""
    asked = parser().parse_args(words)
    try:
        threads = reproduce.parse_count("THREADS", asked.threads) or THREADS
        device = devices.pick(asked.device).type
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    effort = Effort(asked.rounds or (2 if asked.quick else 5), asked.quick, device)
    folder = asked.folder or (None if asked.quick else paths.from_here(FOLDER))
    facts = _facts(device, threads)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    _warn_if_busy()
    with _threads(threads):
        for name in asked.only:
            table = outcome.with_targets(name, BENCHMARKS[name](effort)).assign(**facts)
            print(f"\n{name}\n{outcome.shown(table)}", flush=True)
            _warn_if_wide(name, table)
            if folder is not None:
                records.save_table(table, Path(folder) / f"{name}.csv")
    if folder is not None:
        outcome.sum_up(Path(folder), BENCHMARKS)
        print(folder)
    return 0


def _facts(device: str, threads: int) -> dict[str, object]:
    facts = {"date": datetime.now(UTC).date().isoformat(), "commit": _commit()}
    facts |= {"device": device, "device_name": records.device_name(torch.device(device)), "threads": threads}
    return facts | versions(("torch", "torch-pruning", "captum")) | {"python": platform.python_version()}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of packages, by name; "none" of those that are not installed."""
    found = dict.fromkeys(packages, "none")
    for package in found:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _commit() -> str:
    """Of the code, with a plus where it has been changed since; "" outside a clone."""
    return records.git("describe", "--always", "--abbrev=7", "--dirty=+", "--exclude=*") or ""


def _warn_if_busy() -> None:
    load, cores = os.getloadavg()[0], reproduce.cores()
    if load > cores / 2:
        print(f"The load average is {load:.1f} on {cores} cores: other programs are at work, and threads that wait for "
              "their turn distort times; wait until they are done, or try THREADS=1", file=sys.stderr)  # fmt: skip


def _warn_if_wide(name: str, table: pandas.DataFrame) -> None:
    """Of times whose quartiles are far apart; of a single round there are none."""
    if "seconds_low" not in table:
        return
    wide = int((table["seconds_high"] > WIDE * table["seconds_low"]).sum())
    if wide:
        print(f"{name}: in {wide} of {len(table)} rows the upper quartile of the seconds is over {WIDE} times the "
              "lower: the machine was busy, so measure again", file=sys.stderr)  # fmt: skip


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


if __name__ == "__main__":
    sys.exit(main())
