"""Networks whose weights are too large to be published: what is measured of them is published and taken up without.

Enters: a run's checkpoint, or a folder of published runs. Leaves: in place of the checkpoint a reference, which names
the weights by their SHA-256 and holds none; the runs of such a folder in the profile's own, as they were measured. A
sample cannot be measured again without the weights, so of other code, or for another plan, nothing is taken up; and
analyses that compute with a network leave out those without weights, and say which.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path

import pandas

from lib.study import digests, paths, profiles, reuse
from lib.study.columns import RUN, columns_of
from lib.system import whole_files

WEIGHTS = "weights left out"  # under which name a reference says which they are
TAKEN_UP = "trained and measured already, its weights left out"
SUMS = "SHA256SUMS"  # of the files of a published folder


def refer(checkpoint: Path) -> None:
    """Puts a reference in the place of a checkpoint; one that is a reference already stays."""
    from lib.network import saving  # takes seconds
    from lib.study import records

    if weights(checkpoint) is None:
        saving.write(checkpoint, {}, {WEIGHTS: records.digest(checkpoint)})


def weights(checkpoint: Path) -> str | None:
    """SHA-256 (hex) of the checkpoint that this one refers to; None where it is no reference, or not there."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint, framework="pt") as file:
            return (file.metadata() or {}).get(WEIGHTS)
    except (FileNotFoundError, SafetensorError):
        return None


def require_weights(run: profiles.Run, at: Path, instead: str) -> None:
    """Raises ValueError, one line, where the run's checkpoint in the folder `at` is a reference.

    Arguments:
        instead: what to do then.
    """
    if weights(at / run.checkpoint.name):
        raise ValueError(f"the weights of {run.label} are too large to be published, {at} only names them: {instead}")


def with_weights(plan: profiles.Profile) -> list[profiles.Run]:
    """The profile's runs that can be computed with: all but those whose checkpoint is a reference."""
    return [run for run in plan.runs if weights(run.checkpoint) is None]


def left_out(plan: profiles.Profile) -> pandas.DataFrame:
    """A row for each run of the profile that is not among `with_weights`: dataset, network, seed, why."""
    why = {"why": "its weights are not published: of this network only what was measured is here"}
    here = with_weights(plan)
    return pandas.DataFrame([columns_of(run) | why for run in plan.runs if run not in here], columns=[*RUN, "why"])


def require_usable(profile: profiles.Profile, stale: Collection[str]) -> None:
    """Raises ValueError, one line, where notebooks could not run for want of weights: nothing can be measured of a run
    that is a reference, and nothing computed where all are.

    Arguments:
        stale: the executed notebooks that have to run again.
    """
    here = with_weights(profile)
    for run in profile.runs:
        measured = run.executed(reuse.MEASURE)
        if run not in here and (not measured.exists() or str(measured) in stale):
            problem = f"{run.label} would have to be measured, but its weights were left out when it was published"
            raise ValueError(f"{problem}: delete {run.folder}, and it is trained and measured anew")
    if not here:
        labels = ", ".join(run.label for run in profile.runs)
        problem = f"of {labels} only what was measured is here, no weights to compute with"
        named = " and ".join(str(run.folder) for run in profile.runs)
        again = f"or delete {named}, and all is trained and measured anew"
        raise ValueError(f"{problem}: make reproduce with one seed more in SEEDS, {again}")


def within(folder: str | os.PathLike, run: profiles.Run) -> Path:
    """Where `folder`, laid out as results/<profile>/, has what is of this run."""
    return paths.from_here(folder) / run.folder.relative_to(run.folder.parents[1])


def take(
    profile: profiles.Profile, folder: str | os.PathLike, data: Mapping[str, list], device: str
) -> list[profiles.Run]:
    """Copies the runs of which `folder` has a reference and all that was measured, where the profile has not its own
    training; returns them.

    Arguments:
        folder: laid out as results/<profile>/, such as results/published/stl10.
        data: digests of the images that are here, [train, test] by data set.
        device: kind of device, "cpu" or "cuda", on which runs are measured.

    Raises ValueError, one line, where such a run is not whole or not as it was published, or was measured by other
    code or versions, on other images or another kind of device, with other settings or for another plan than today's;
    nothing has been copied then.
    """
    found = []
    for run in profile.runs:
        at = within(folder, run)
        if weights(at / run.checkpoint.name) and not run.executed(reuse.TRAIN).exists():
            _require_as_published(run, at, paths.from_here(folder))
            _require_todays(run, at, data[run.dataset], device)
            found.append((run, at))
    for run, at in found:
        last = run.executed(reuse.TRAIN)  # says that all is there: without it the run is taken up again
        for path in [*(path for path in outputs(run) if path != last), last]:
            with whole_files.written_whole(path) as aside:
                shutil.copyfile(at / path.name, aside)
    return [run for run, _ in found]


def outputs(run: profiles.Run) -> list[Path]:
    """What a run leaves that is trained and measured."""
    return [path for notebook in (reuse.TRAIN, reuse.MEASURE) for path in reuse.outputs(run, notebook)]


def _anew(run: profiles.Run) -> str:
    return f"start without MEASURED, or without seed {run.seed} of {run.dataset}-{run.network}"


def _require_as_published(run: profiles.Run, at: Path, folder: Path) -> None:
    files = [at / path.name for path in outputs(run)]
    if missing := [path for path in (folder / SUMS, *files) if not path.exists()]:
        raise ValueError(f"{missing[0]} is missing: {_anew(run)}")
    sums = set((folder / SUMS).read_text().splitlines())
    for path in files:
        if f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}" not in sums:
            raise ValueError(f"{path} is not the file that {folder / SUMS} lists: {_anew(run)}")


def _require_todays(run: profiles.Run, at: Path, data: list, device: str) -> None:
    train, measure = (reuse.read_record(at, notebook) for notebook in (reuse.TRAIN, reuse.MEASURE))
    then = {
        "network": {name: measure.get("parameters", {}).get(name) for name in RUN},
        "training": reuse.as_named_now(train["settings"]["training"], run.settings["training"]),
        "measuring": measure["settings"]["measuring"],
        "images": train["data"],
        "images scored on": measure["data"],
        "threads": measure["threads"],
        "notebooks": measure.get("notebooks"),
        "code": measure["code"],
        "code of the training": train["code"],
        "versions": {name: _plain(measure["versions"].get(name)) for name in digests.PACKAGES},
        "kind of device": measure["device"]["type"],
        "weights as trained": train["checkpoint"],
        "weights as measured": measure["checkpoint"],
    }
    now = {
        "network": columns_of(run),
        "training": run.settings["training"],
        "measuring": run.settings["measuring"],
        "images": data,
        "images scored on": data[0],
        "threads": run.threads,
        "notebooks": list(run.plan.notebooks),
        "code": digests.code(reuse.MEASURE),
        "code of the training": digests.code(reuse.TRAIN),
        "versions": {name: _plain(version(name)) for name in digests.PACKAGES},
        "kind of device": device,
        "weights as trained": weights(at / run.checkpoint.name),
        "weights as measured": weights(at / run.checkpoint.name),
    }
    if odd := [name for name, value in now.items() if then[name] != json.loads(json.dumps(value))]:
        problem = f"{at} was made with other {' and '.join(odd)} than today's"
        raise ValueError(f"{problem}, and without its weights nothing of it can be checked: {_anew(run)}")


def _plain(version: object) -> str:
    """Of whatever build: 2.14.1+cpu is 2.14.1."""
    return str(version).partition("+")[0]
