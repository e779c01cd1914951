"""Finished runs of others, taken up as they are: published networks save a reader the training, and published
measurements the measuring.

Enters: a folder laid out as results/<profile>/, such as results/published/cifar. Leaves: what it has of a profile's
runs in the profile's own folder, with their records, so that only the rest remains to be done. A training is taken
whatever code made it; a measurement only where today's code, settings, images, network and versions would measure the
same.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from lib.study import devices, digests, paths, profiles

TRAIN, MEASURE = "00-train", "10-measure"
DONE = {TRAIN: "trained", MEASURE: "measured"}


def take(profile: profiles.Profile, folder: str | os.PathLike, name: str, *notebooks: str) -> list[tuple]:
    """Copies what `folder` has of the runs' `notebooks` ("00-train", "10-measure") where a run has not yet its own;
    returns what was copied, as pairs of run and notebook.

    Arguments:
        name: of the variable that names the folder, for what is said of it.

    Raises FileNotFoundError where there is no such folder, or nothing of any of the profile's runs in it, and
    ValueError, one line, for what was made with other settings or on other data than the profile's, for a network that
    is not the one that its record names, and for measurements of another network, code or other versions; nothing has
    been copied then.
    """
    named, folder = os.fspath(folder), paths.from_here(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{name}={named}: there is no such folder")
    wanted = [(run, notebook) for run in profile.runs for notebook in notebooks]
    there = [(run, notebook) for run, notebook in wanted if _offered(run.executed(notebook), profile, folder).exists()]
    if not there:
        labels = ", ".join(run.label for run in profile.runs)
        raise FileNotFoundError(f"{name}={named}: nothing there of {' and '.join(notebooks)} of {labels}")
    taken = [(run, notebook) for run, notebook in there if not run.executed(notebook).exists()]
    for run, notebook in taken:
        _require_fit(run, notebook, profile, folder)
    for run, notebook in taken:
        _copy([(_offered(path, profile, folder), path) for path in outputs(run, notebook)])
    return taken


def outputs(run: profiles.Run, notebook: str) -> list[Path]:
    """What a run's notebook leaves; its executed copy comes last, and says that the rest is whole."""
    tables = {
        TRAIN: [run.checkpoint, run.training],
        MEASURE: [run.curves, run.scores, run.oracle, run.repaired, run.silenced, run.finetuning],
    }
    return [*tables[notebook], run.record(notebook), run.executed(notebook)]


def _offered(path: Path, profile: profiles.Profile, folder: Path) -> Path:
    return folder / path.relative_to(profile.folder)


def _require_fit(run: profiles.Run, notebook: str, profile: profiles.Profile, folder: Path) -> None:
    offered = [_offered(path, profile, folder) for path in outputs(run, notebook)]
    if missing := [path for path in offered if not path.exists()]:
        raise ValueError(f"{missing[0]} is missing, without which {notebook} of {run.label} cannot be taken up")
    from lib.images import datasets  # takes seconds
    from lib.study import records  # takes seconds

    section, instead = {TRAIN: ("training", "train"), MEASURE: ("measuring", "measure")}[notebook]
    instead = f"{instead} {run.label} anew, without {folder}"
    path = _offered(run.record(notebook), profile, folder)
    told = _told(path, notebook, section)
    _require_alike(path, told["settings"], run.settings[section], instead)
    images = [datasets.load(run.dataset, split, run.data_folder).digest for split in datasets.SPLITS]
    if told["data"] != (images if notebook == TRAIN else images[0]):
        raise ValueError(f"{path} is of other images than those of {run.dataset} in {run.data_folder}: {instead}")
    own = notebook == MEASURE and run.executed(TRAIN).exists()
    network = run.checkpoint if own else _offered(run.checkpoint, profile, folder)
    if told["checkpoint"] != records.digest(network):
        raise ValueError(f"{network} is not the one that {path} tells of (SHA-256): {instead}")
    if notebook == MEASURE:  # notebooks set it beside what they measure themselves
        _require_alike(
            path, told["made by"], _now(run, told["made by"]), f"{instead} (CHECKPOINTS takes networks alone)"
        )


def _told(path: Path, notebook: str, section: str) -> dict:
    """What a record says that must fit: settings, data, checkpoint, and what measured by."""
    try:
        record = json.loads(path.read_text())
        told = {"settings": dict(record["settings"][section]), "data": record["data"]}
        made_by = {"code": record["code"], "device": record["device"]["type"], "threads": record["threads"]}
        return told | {"checkpoint": record["checkpoint"], "made by": made_by | dict(record["versions"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{path} is no record of {notebook}"
        raise ValueError(f"{problem} ({type(error).__name__}: {error})") from error


def _now(run: profiles.Run, then: Mapping[str, object]) -> dict[str, object]:
    """What would measure today; of a package's versions in the lock, one for each Python, that of `then` if there, in
    whatever build (2.14.1+cpu is 2.14.1)."""
    now = {"code": digests.code(MEASURE), "device": devices.pick(run.device).type, "threads": run.threads}
    for name, versions in digests.pins().items():
        now[name] = then[name] if str(then.get(name)).split("+")[0] in versions else versions[-1]
    return now


def _require_alike(path: Path, then: Mapping[str, object], now: Mapping[str, object], instead: str) -> None:
    if odd := [name for name in now if then.get(name) != now[name]]:
        was = ", ".join(f"{name}={then.get(name)!r}, not {now[name]!r}" for name in odd)
        raise ValueError(f"{path} tells of {was}: {instead}")


def _copy(pairs: list[tuple[Path, Path]]) -> None:
    for source, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(target.name + ".part")
        shutil.copyfile(source, aside)
        os.replace(aside, target)
