"""The front door: checks what was asked for, and has Snakemake run what is missing or out of date.

    python -m lib.running.reproduce --profile quick --seeds "0 1 2" --device auto --jobs 2 --data data

Enters: names and numbers as typed after `make reproduce`. Leaves: results/<profile>/ with a report, whose path is
printed last. Notebooks run on this machine, or each as a job of a cluster. A line says what is there and what runs, and
one is printed for every step that ends; Snakemake's own words go to .snakemake/log, and only warnings and errors to the
terminal too. It may be killed at any moment: the next start goes on.
"""

from lib.study import surroundings

if __name__ == "__main__":  # before anything else could act
    surroundings.settle()

import argparse
import dataclasses
import errno
import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lib.running import cluster, execute, gpus
from lib.study import devices, digests, paths, profiles, references, reuse, vocabulary
from lib.system import interruptions

if TYPE_CHECKING:  # takes seconds
    from lib.images.datasets import ImageSet

DYING = 3.0  # seconds that a killed start may take to be gone, on a busy machine
EXAMPLES = ("panels", "ablations", "scarcity")  # settings that list numbers of training images
NETWORKS = ("resnet8", "vgg8", "resnet18", "resnet20", "resnet56", "vgg19")  # not worth the seconds of a closer look


def parse_seeds(text: str) -> list[int] | None:
    """The seeds in "0 1 2"; None for an empty text. Raises ValueError for anything else."""
    words = text.split()
    for word in words:
        if not (word.isascii() and word.isdigit()):
            raise ValueError(f'SEEDS={text!r}: {word!r} is not a whole number, 0 or more: write SEEDS="0 1 2"')
    return [int(word) for word in words] or None


def parse_jobs(text: str, threads: int) -> int:
    """How many notebooks run at a time; for an empty text as many as there are cores for, at `threads` each."""
    return parse_count("JOBS", text) or max(1, cores() // threads)


def parse_count(name: str, text: str) -> int | None:
    """The number that `make` variable `name` holds; None for an empty text. Raises ValueError below 1."""
    if not text.strip():
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f"{name}={text!r} is not a whole number, 1 or more: write {name}=2")
    return int(text)


def cores() -> int:
    """How many of this machine's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Place:
    """Where notebooks run, `jobs` at a time: on a cluster, or on this machine and, where it has some, on its GPUs."""

    jobs: int
    cluster: str = ""
    gpus: tuple[str, ...] = ()
    runs_per_gpu: int = 1

    def words(self, profile: profiles.Profile) -> list[str]:
        """What Snakemake is told of it."""
        if self.cluster:
            return cluster.words(profile, self.jobs)
        places = len(self.gpus) * self.runs_per_gpu
        return ["--cores", str(self.jobs * profile.threads), "--resources", f"gpu={places}"]


def place(asked: argparse.Namespace, profile: profiles.Profile) -> Place:
    """The place that the command line names. Raises ValueError, one line, for what is no number or is not there."""
    texts = {"GPUS": asked.gpus, "RUNS_PER_GPU": asked.runs_per_gpu}
    counts = {name: parse_count(name, text) for name, text in texts.items()}
    for name in [name for name, count in counts.items() if count]:
        if asked.cluster:
            raise ValueError(f"{name}={texts[name]} is of this machine, but CLUSTER={asked.cluster}: leave one out")
        if profile.device != "cuda":
            raise ValueError(f"{name}={texts[name]}, but runs are on the CPU: DEVICE says so, or no GPU can be seen")
    if asked.cluster:
        return Place(parse_count("JOBS", asked.jobs) or cluster.AT_A_TIME, asked.cluster)
    jobs = parse_jobs(asked.jobs, profile.threads)
    if profile.device != "cuda":
        return Place(jobs)
    there = gpus.visible()
    if (counts["GPUS"] or 0) > len(there):
        raise ValueError(f"GPUS={counts['GPUS']}, but {len(there)} can be seen")
    return Place(jobs, gpus=tuple(there[: counts["GPUS"]]), runs_per_gpu=counts["RUNS_PER_GPU"] or 1)


def _locked(file: IO, seconds: float = DYING) -> bool:
    """Whether the file's lock could be had, if need be after a while."""
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.1)


@contextmanager
def alone(profile: profiles.Profile) -> Iterator[None]:
    """While open, no other process may run this profile; one that was killed is no hindrance. Raises RuntimeError, or
    OSError where there cannot be the profile's folders."""
    profile.folder.mkdir(parents=True, exist_ok=True)
    for folder in (
        profile.executed("").parent,
        *(path for run in profile.runs for path in (run.folder.parent, run.folder)),
    ):
        if folder.exists() and not folder.is_dir():  # at which Snakemake would only stumble
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(folder))
    with open(profile.folder / ".lock", "a+") as lock:
        if not _locked(lock):
            lock.seek(0)
            message = f"PROFILE={profile.name} is being run already, by process {lock.read().strip()}: let it end first"
            raise RuntimeError(message)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def measured_seeds(profile: profiles.Profile) -> list[int]:
    """Those of the profile's seeds of which every run has been measured. Raises FileNotFoundError if there are none."""
    missing = {run.seed for run in profile.runs if not run.executed("10-measure").exists()}
    seeds = [seed for seed in profile.seeds if seed not in missing]
    if not seeds:
        raise FileNotFoundError(f"{profile.folder}: no seed is measured yet, so there is nothing to report")
    return seeds


def settled_device(name: str) -> str:
    """What "auto" means where there may be a GPU, so that Snakemake can count who uses it. Raises RuntimeError."""
    if name == "cuda" or (name == "auto" and shutil.which("nvidia-smi")):
        return devices.pick(name).type  # takes seconds
    return name


def check(profile: profiles.Profile) -> None:
    """Raises FileNotFoundError or ValueError, one line, for a notebook or a network that is not there."""
    for notebook in ("00-train", "10-measure", *profile.notebooks, "90-report"):
        digests.text(notebook)
    for network in {network for networks in profile.grid.values() for network in networks} - set(NETWORKS):
        from lib.images import networks  # takes seconds

        try:
            networks.build(network, num_classes=10)
        except ValueError as error:
            raise ValueError(f"{paths.STUDY}: profiles.{profile.name}.runs: {error}") from error


def data_digests(profile: profiles.Profile) -> dict[str, list[str | None]]:
    """Digests of the train and test images of every data set of the profile, which are fetched where need be; under the
    name of 85-larger-networks, if the profile has it, the fingerprints of its folders.

    Raises ValueError where the profile asks for more of them than there are, and FileNotFoundError where weights that
    are given are not there, before hours go into training on them.
    """
    from lib.images import datasets  # takes seconds
    from lib.study import given

    for run in profile.runs:
        if run.is_given:
            given.require_file(run)
    found = {}
    for name in profile.grid:
        train, test = (datasets.load(name, split, profile.data) for split in datasets.SPLITS)
        _check_numbers(profile, name, train, test)
        found[name] = [train.digest, test.digest]
    if vocabulary.LARGER_NETWORKS in profile.notebooks:
        found[vocabulary.LARGER_NETWORKS] = [digests.fingerprint(folder) for folder in profile.larger_folders]
    return found


def _check_numbers(profile: profiles.Profile, dataset: str, train: "ImageSet", test: "ImageSet") -> None:
    settings = profile.settings(dataset, profile.grid[dataset][0])["measuring"]
    where = f"{paths.STUDY}: profiles.{profile.name}.measuring"
    if settings["test_images"] != "all" and settings["test_images"] > len(test):
        asked = f"{settings['test_images']} images of {dataset} asked for, but there are only {len(test)}"
        raise ValueError(f"{where}.test_images: {asked} test images")
    numbers = [number for name in EXAMPLES for number in settings[name] if number != "all"]
    if max(numbers, default=0) <= len(train):
        return
    from lib.study import ablations  # takes seconds

    try:
        for notebook in profile.notebooks:
            ablations.cells(notebook, settings, train.labels)
    except ValueError as error:
        raise ValueError(f"{where}: {error} of {dataset}") from error


def snakemake(profile: profiles.Profile, data: Mapping[str, list[str | None]], where: Place, *more: str) -> int:
    """Brings the profile up to date, at that place, and returns Snakemake's exit status.

    Arguments:
        data: what `data_digests` gives; a notebook runs again where those of its data have changed.
    """
    from snakemake import cli
    from snakemake.scheduling.job_scheduler import JobScheduler
    from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

    from lib.running import progress

    # What answers SIGTERM: as it is, by waiting until all that runs has ended, or for a lock that is held already.
    JobScheduler.exit_gracefully = lambda *_: signal.raise_signal(signal.SIGINT)
    LoggerPluginRegistry().register_plugin("snakemake_logger_plugin_progress", progress)
    words = [*where.words(profile), "--configfile", configure(profile, data, where)]
    # Dates are not asked where content is known. Locks are ours to keep: Snakemake's own outlive a kill.
    words += ["--rerun-triggers", "mtime", "params", "input", "--max-checksum-file-size", str(2**30), "--nolock"]
    words += ["--keep-going", "--rerun-incomplete", "--scheduler", "greedy", "--logger", "progress"]
    notebooks = 2 * len(profile.runs) + len(profile.notebooks) + 1  # training and measuring of each run; the report
    words += ["--logger-progress-notebooks", str(notebooks), "--profile", "none", "--workflow-profile", "none", *more]

    try:
        cli.main(words)
    except SystemExit as stop:
        if interruptions.happened.is_set():
            raise KeyboardInterrupt from None
        return int(stop.code or 0)


def stale(profile: profiles.Profile, data: Mapping[str, list[str | None]]) -> list[str]:
    """The executed notebooks whose records tell of other code, settings or data than today's, whoever ran them.

    Snakemake knows the parameters only of what it ran itself, and takes for current what a record's command made. Of a
    training the code is not asked, since it may have been taken up from elsewhere.
    """
    found = []
    for run in profile.runs:
        images = data[run.dataset]
        for notebook, section, seen in (("00-train", "training", images), ("10-measure", "measuring", images[0])):
            now = {"settings": run.settings[section], "data": seen}
            if notebook == "10-measure":
                now |= {"code": digests.code(notebook), "notebooks": profile.notebooks}
            found += _if_other(run, notebook, section, now)
    for notebook in profile.notebooks:
        section, settings = profile.settings_of(notebook)
        now = {"settings": settings, "code": digests.code(notebook)}
        now |= {"data": data[notebook]} if notebook in data else {}
        found += _if_other(profile, notebook, section, now)
    return found


def set_aside(profile: profiles.Profile, old: Iterable[str]) -> None:
    """Keeps the measurements among these executed notebooks, which Snakemake deletes before they run again."""
    for run in profile.runs:
        if str(run.executed("10-measure")) in old:
            reuse.set_aside(run)


def _if_other(of: profiles.Run | profiles.Profile, notebook: str, section: str, now: Mapping[str, object]) -> list[str]:
    executed = of.executed(notebook)
    if not executed.exists():
        return []  # so Snakemake runs it anyway
    try:
        record = json.loads(of.record(notebook).read_text())
        record["settings"] = record["settings"][section]
        if section == "training":
            record["settings"] = reuse.as_named_now(record["settings"], now["settings"])
        is_current = all(record[name] == json.loads(json.dumps(value)) for name, value in now.items())
    except (OSError, ValueError, KeyError, TypeError):  # damaged, or of another version of the study
        is_current = False
    return [] if is_current else [str(executed)]


def configure(profile: profiles.Profile, data: Mapping[str, list[str | None]], where: Place) -> str:
    """Writes the Snakefile's settings where jobs find them, and returns the path: no shell has to quote them."""
    settings = profile.parameters | {"digests": data, "cluster": where.cluster}
    settings |= {"gpus": where.gpus, "runs_per_gpu": where.runs_per_gpu}
    path = Path(".snakemake") / f"{cluster.prefix(profile)}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(settings))
    return str(path)


def take(asked: argparse.Namespace, profile: profiles.Profile, data: Mapping, where: Place) -> None:
    """Takes up what is finished in the folders that the command line names, and has Snakemake forget what it knew of
    those files."""
    reuse.withdraw(profile)

    def forget(files: Iterable[Path]) -> None:
        snakemake(profile, data, where, "--cleanup-metadata", *map(str, files))

    if asked.checkpoints:
        for run in [run for run in profile.runs if not run.executed(reuse.TRAIN).exists()]:
            at = references.within(asked.checkpoints, run)
            references.require_weights(run, at, "train it anew, without CHECKPOINTS")
    device = cluster.device(profile, "measure") if asked.cluster else devices.pick(profile.device).type
    for run in references.take(profile, asked.measured, data, device) if asked.measured else []:
        forget(references.outputs(run))
        print(f"{run.label}: {references.TAKEN_UP}, in {asked.measured}", flush=True)
    parts = {"CHECKPOINTS": (asked.checkpoints, reuse.TRAIN), "MEASURED": (asked.measured, reuse.TRAIN, reuse.MEASURE)}
    for name, (folder, *notebooks) in parts.items():
        for run, notebook, made in reuse.take(profile, folder, name, *notebooks) if folder else []:
            if made != reuse.TO_CHECK:
                forget(reuse.outputs(run, notebook))
            print(f"{run.label}: {made}, in {folder}", flush=True)


def _check_folders(asked: argparse.Namespace) -> None:
    optional = {"CHECKPOINTS": asked.checkpoints, "MEASURED": asked.measured}
    for name, folder in ({"DATA": asked.data} | {name: folder for name, folder in optional.items() if folder}).items():
        if not os.path.isdir(folder):
            from lib.images import files  # imports Pillow

            files.refuse_file(folder, f"{name}={folder}")
            raise FileNotFoundError(f"{name}={folder}: there is no such folder: make it first, or leave {name} out")


def reproduce(asked: argparse.Namespace) -> int:
    """What the command line asks for; returns the exit status. Raises ValueError, OSError or RuntimeError, one line."""
    _check_folders(asked)
    if asked.profile == vocabulary.ALL:
        raise ValueError("PROFILE=all is no profile to run, but a report on published ones: make report PROFILE=all")
    folders = (os.path.relpath(asked.data), os.path.relpath(asked.results))
    profile = profiles.load(asked.profile, parse_seeds(asked.seeds), asked.device, *folders)
    if asked.cluster:
        cluster.check(asked.cluster, profile)
    else:
        profile = dataclasses.replace(profile, device=settled_device(profile.device))
    where = place(asked, profile)
    check(profile)
    more = ["--dry-run"] if asked.dry_run else []
    if asked.report:
        profile = dataclasses.replace(profile, seeds=tuple(measured_seeds(profile)))
        more += ["--allowed-rules", "ablation", "report", "all"]
    with alone(profile):
        if asked.clean:
            shutil.rmtree(profile.folder)
            return 0
        data = data_digests(profile)
        take(asked, profile, data, where)
        old = [] if asked.report else stale(profile, data)
        references.require_usable(profile, old)
        if old:
            more += ["--forcerun", *old]
            set_aside(profile, [] if asked.dry_run else old)
        if asked.cluster and not asked.dry_run:
            cluster.cancel_left(profile)
        status = snakemake(profile, data, where, *more)
    if status:
        print(f"{profile.folder} is not complete: mend what failed, then start again to go on", file=sys.stderr)
    elif not asked.dry_run:
        interruptions.say(str(profile.report))
    return status


def _stop_steps() -> None:
    # Only Ctrl-C in a terminal reaches them, too; one may be about to begin. On a cluster Snakemake cancels the jobs.
    def stop() -> None:
        import psutil

        while interruptions.happened.is_set():
            for child in psutil.Process().children():
                with suppress(psutil.NoSuchProcess):
                    child.terminate()
            time.sleep(0.5)

    threading.Thread(target=stop, daemon=True).start()


def main(words: Iterable[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.running.reproduce", description="Run what is missing of a profile."
    )
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--seeds", default="", help='such as "0 1 2" (those of the profile)')
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--jobs", default="", help="notebooks at a time (as many as there are cores)")
    parser.add_argument("--gpus", default="", help="how many of this machine's GPUs to use (all that can be seen)")
    parser.add_argument("--runs-per-gpu", default="", help="how many runs share a GPU (1)")
    parser.add_argument("--cluster", default="", help="slurm: each notebook is a job there (none: on this machine)")
    parser.add_argument("--data", default="data", help="folder of the data sets")
    parser.add_argument("--results", default="results")
    parser.add_argument("--checkpoints", default="", help="folder of trainings to take up as they are")
    parser.add_argument("--measured", default="", help="folder of trainings and measurements to take up")
    parser.add_argument("--report", action="store_true", help="train and measure nothing: report what is measured")
    parser.add_argument("--clean", action="store_true", help="delete the profile's results")
    parser.add_argument("--dry-run", action="store_true", help="only list what would run")
    asked = parser.parse_args(words)
    os.chdir(paths.ROOT)
    try:
        with interruptions.heard(None if asked.cluster else _stop_steps):
            return reproduce(asked)
    except BrokenPipeError:
        interruptions.end_unread()
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(execute.in_one_line(error, asked.results), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if interruptions.unread.is_set():
            interruptions.end_unread()
        print("interrupted: start again to go on", file=sys.stderr)
    return 130


if __name__ == "__main__":
    sys.exit(main())
