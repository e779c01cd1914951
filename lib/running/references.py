"""Networks whose weights are too large to be published: what is measured of them is published and taken up without.

Enters: a run's checkpoint, or a folder of published runs. Leaves: in place of the checkpoint a reference, which names
the weights by their SHA-256 and holds none; the runs of such a folder in the profile's own, as they were measured. A
sample cannot be measured again without the weights, so of other code, or for another plan, nothing is taken up.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from lib.study import digests, paths, profiles, reuse
from lib.system import whole_files

WEIGHTS = "weights left out"  # under which name a reference says which they are
TAKEN_UP = "trained and measured already, its weights left out"


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


def within(folder: str | os.PathLike, run: profiles.Run) -> Path:
    """Where `folder`, laid out as results/<profile>/, has what is of this run."""
    return paths.from_here(folder) / run.folder.relative_to(run.folder.parents[1])


def take(profile: profiles.Profile, folder: str | os.PathLike, data: Mapping[str, list]) -> list[profiles.Run]:
    """Copies the runs of which `folder` has a reference and all that was measured, where the profile has not its own
    training; returns them.

    Arguments:
        folder: laid out as results/<profile>/, such as results/published/stl10.
        data: digests of the images that are here, [train, test] by data set.

    Raises ValueError, one line, where such a run is not whole, or was measured by other code, on other images, with
    other settings or for another plan than today's; nothing has been copied then.
    """
    found = []
    for run in profile.runs:
        at = within(folder, run)
        if weights(at / run.checkpoint.name) and not run.executed(reuse.TRAIN).exists():
            _require_todays(run, at, data[run.dataset])
            found.append((run, at))
    for run, at in found:
        for path in outputs(run):
            with whole_files.written_whole(path) as aside:
                shutil.copyfile(at / path.name, aside)
    return [run for run, _ in found]


def outputs(run: profiles.Run) -> list[Path]:
    """What a run leaves that is trained and measured."""
    return [path for notebook in (reuse.TRAIN, reuse.MEASURE) for path in reuse.outputs(run, notebook)]


def _require_todays(run: profiles.Run, at: Path, data: list) -> None:
    anew = f"reproduce {run.label} without {at}"
    if missing := [at / path.name for path in outputs(run) if not (at / path.name).exists()]:
        raise ValueError(f"{missing[0]} is missing: {anew}")
    train, measure = (reuse.read_record(at, notebook) for notebook in (reuse.TRAIN, reuse.MEASURE))
    then = {
        "training": reuse.as_named_now(train["settings"]["training"], run.settings["training"]),
        "measuring": measure["settings"]["measuring"],
        "images": train["data"],
        "images scored on": measure["data"],
        "threads": measure["threads"],
        "notebooks": measure.get("notebooks"),
        "code": measure["code"],
        "weights as trained": train["checkpoint"],
        "weights as measured": measure["checkpoint"],
    }
    now = {
        "training": run.settings["training"],
        "measuring": run.settings["measuring"],
        "images": data,
        "images scored on": data[0],
        "threads": run.threads,
        "notebooks": list(run.plan.notebooks),
        "code": digests.code(reuse.MEASURE),
        "weights as trained": weights(at / run.checkpoint.name),
        "weights as measured": weights(at / run.checkpoint.name),
    }
    if odd := [name for name, value in now.items() if then[name] != json.loads(json.dumps(value))]:
        problem = f"{at} was made with other {' and '.join(odd)} than today's"
        raise ValueError(f"{problem}, and without its weights nothing of it can be checked: {anew}")
