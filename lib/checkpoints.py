"""Networks that somebody has trained already, taken up as they are: published ones save a reader the training.

Enters: a folder laid out as results/<profile>/, such as results/published/cifar. Leaves: the finished trainings of a
profile's runs in its own folder, with their records, so that only measuring remains.
"""

import json
import os
import shutil
from pathlib import Path

from lib import datasets, profiles, records

NOTEBOOK = "00-train"


def take(profile: profiles.Profile, folder: str | os.PathLike) -> list[profiles.Run]:
    """Copies the trainings in `folder` of those runs that have none yet; returns the runs that it was done for.

    Raises FileNotFoundError where there is no such folder, or none for any of the profile's runs in it, and ValueError,
    one line, for a training with other settings or on other data than the profile's, or a checkpoint that is not the
    one its record names; nothing has been copied then.
    """
    named, folder = os.fspath(folder), profiles.from_here(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"CHECKPOINTS={named}: there is no such folder")
    offered = {run: _offered(run, profile, folder) for run in profile.runs}
    if not any(path.exists() for path in offered.values()):
        labels = ", ".join(run.label for run in profile.runs)
        raise FileNotFoundError(f"CHECKPOINTS={named}: no checkpoint there of {labels}")
    taken = [run for run, path in offered.items() if path.exists() and not run.executed(NOTEBOOK).exists()]
    for run in taken:
        _require_fit(run, offered[run])
    for run in taken:
        _copy(run, offered[run].parent)
    return taken


def outputs(run: profiles.Run) -> list[Path]:
    """What a training leaves; the executed notebook comes last, and says that the rest is whole."""
    return [run.checkpoint, run.training, run.record(NOTEBOOK), run.executed(NOTEBOOK)]


def _offered(run: profiles.Run, profile: profiles.Profile, folder: Path) -> Path:
    return folder / run.checkpoint.relative_to(profile.folder)


def _require_fit(run: profiles.Run, checkpoint: Path) -> None:
    path = checkpoint.with_name(f"{NOTEBOOK}.json")
    try:
        record = json.loads(path.read_text())
        settings, data, digest = record["settings"]["training"], record["data"], record["checkpoint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no record of a training ({type(error).__name__}: {error})") from error
    mine = run.settings["training"]
    odd = [name for name in mine if mine[name] != settings.get(name)]
    if odd:
        was = ", ".join(f"{name}={settings.get(name)!r}, not {mine[name]!r}" for name in odd)
        raise ValueError(f"{checkpoint} was trained with {was}: train {run.label} anew, without CHECKPOINTS")
    if data != [datasets.load(run.dataset, split, run.data_folder).digest for split in datasets.SPLITS]:
        raise ValueError(f"{checkpoint} was trained on other images than those of {run.dataset} in {run.data_folder}")
    if digest != records.digest(checkpoint):
        raise ValueError(f"{checkpoint} is not the one that {path} tells of (SHA-256): get both again")


def _copy(run: profiles.Run, folder: Path) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    for target in outputs(run):
        aside = target.with_name(target.name + ".part")
        shutil.copyfile(folder / target.name, aside)
        os.replace(aside, target)
