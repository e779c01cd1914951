"""Run records: what a notebook ran with, on what, how long and how big; enough to run that cell of the grid again.

Enters: the notebook's name and its `Run` or `Profile`. Leaves: a JSON file beside the results. Nothing in it names a
place on this machine: paths are relative to the repository's root.

    record = records.begin("10-measure", run)              # first cell; record.device is the torch.device to use
    ...
    record.finish(data=images.digest, checkpoint=records.digest(run.checkpoint))      # last cell
"""

import hashlib
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas
import torch

from lib.study import devices, digests, paths, profiles, surroundings
from lib.system import whole_files


@dataclass
class Record:
    """A run record being made; made by `begin`, written by `finish`."""

    path: Path
    device: torch.device
    fields: dict[str, object]
    started: float  # of time.perf_counter, seconds

    def finish(self, **more: object) -> dict[str, object]:
        """Writes the record, with wall time, peak memory and whatever `more` says, and returns its fields."""
        seconds = time.perf_counter() - self.started
        fields = self.fields | {"seconds": round(seconds, 3)} | _peak_memory(self.device) | more
        with whole_files.written_whole(self.path) as aside:
            aside.write_text(json.dumps(fields, indent=2, default=str) + "\n")
        return fields


def begin(notebook: str, of: profiles.Run | profiles.Profile) -> Record:
    """Starts the clock of `notebook` ("10-measure"), and limits torch to the profile's threads, as in a run by make.

    On CUDA it has torch use deterministic algorithms only, so that the same seed gives the same tables on the same
    machine; those of a CPU are anyway. Exceptions, for which torch has none and warns: the gradients of adaptive
    average pooling to more than one pixel (in torchvision's AlexNet and VGG, in none of `images.networks`), of
    adaptive max pooling and of bilinear upsampling.

    Raises RuntimeError where the device asked for is not there.
    """
    device = devices.pick(of.device)
    torch.set_num_threads(of.threads)
    if device.type == "cuda":
        _be_deterministic()
        torch.cuda.reset_peak_memory_stats(device)
    fields = {
        "notebook": notebook,
        "parameters": of.parameters,
        "settings": of.settings if isinstance(of, profiles.Run) else {"measuring": of.measuring, "larger": of.larger},
        "command": command(notebook, of),
        "code": digests.code(notebook),
        "git": _git(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in digests.PACKAGES},
        "lock": digest(paths.ROOT / paths.LOCK),
        "device": {"type": device.type, "name": device_name(device)},
        "threads": of.threads,
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Record(of.record(notebook), device, fields, time.perf_counter())


def _be_deterministic() -> None:
    name = "CUBLAS_WORKSPACE_CONFIG"
    os.environ[name], _ = surroundings.SET[name]  # for notebooks opened by hand; read when CUDA is first used
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False  # or the fastest algorithm of the moment would be taken


def command(notebook: str, of: profiles.Run | profiles.Profile) -> str:
    """The command, given in the repository's root, that runs this cell of the grid alone, again."""
    return shlex.join(["python", *command_words(notebook, of)])


def command_words(notebook: str, of: profiles.Run | profiles.Profile) -> list[str]:
    """The words of `command` that follow the interpreter."""
    executed = os.path.relpath(of.executed(notebook), paths.ROOT)
    words = ["-m", "lib.running.execute", f"notebooks/{notebook}.ipynb", executed, "--threads", of.threads]
    for name, value in of.parameters.items():
        words += ["-p", name, value]
    return [str(word) for word in words]


def save_table(table: pandas.DataFrame, path: Path) -> None:
    """Writes a table as its path's ending says, .parquet or .csv; aside first, then renamed."""
    with whole_files.written_whole(path) as aside, open(aside, "wb") as file:  # pyarrow takes no odd names
        table.to_parquet(file, index=False) if path.suffix == ".parquet" else table.to_csv(file, index=False)


def digest(path: str | os.PathLike) -> str:
    """SHA-256 (hex) of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git() -> dict[str, object] | None:
    commit = git("rev-parse", "HEAD")
    return commit and {"commit": commit, "dirty": git("status", "--porcelain", "--untracked-files=normal") != ""}


def git(*words: str) -> str | None:
    """What git says of this repository, with no settings but the repository's own; None where git is not there or says
    no, and where this is a folder in somebody else's repository."""
    environment = surroundings.calm(os.environ) | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "--no-optional-locks", "-c", "safe.directory=*"]  # whoever has unpacked it

    def ask(*words: str) -> str:
        given = {"cwd": paths.ROOT, "env": environment, "capture_output": True, "check": True}
        return subprocess.run([*command, *words], text=True, errors="replace", **given).stdout.strip()

    try:
        return None if ask("rev-parse", "--show-cdup") else ask(*words)
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name(device: torch.device) -> str:
    """What the GPU calls itself, or on a CPU the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def devices_of(record: Mapping) -> list[str]:
    """The names of what a record's notebook computed on: of several, where it went on with what had been left there."""
    return record.get("devices") or [record["device"]["name"]]


def _peak_memory(device: torch.device) -> dict[str, float]:
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss counts bytes there, KiB elsewhere
    peak = {"peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)}
    if device.type == "cuda":
        peak["peak_cuda_memory_mb"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return peak
