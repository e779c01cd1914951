"""Finished runs of others, taken up: published networks save a reader the training, and published measurements the
measuring.

Enters: a folder laid out as results/<profile>/, such as results/published/cifar. Leaves: what it has of a profile's
runs in the profile's own folder, with their records, so that only the rest remains to be done. A training is taken
whatever code made it; a measurement only where it was made with today's settings, images, network, versions and kind of
device. One by today's code, of today's plan, is taken as it is; any other is laid where 10-measure finds it, which
checks a sample of it: see `earlier`. So are one's own, once they are out of date.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from lib.study import devices, digests, paths, profiles
from lib.system import whole_files

TRAIN, MEASURE = "00-train", "10-measure"
DONE = {TRAIN: "trained already", MEASURE: "measured already"}
TO_CHECK = "measured already by other code or for another plan, of which 10-measure checks a sample"
DECIDE = {  # which measuring settings decide what of a measurement
    "cells": ("points", "maps", "exact", "oracle", "test_images", "batch"),  # what is measured in a cell
    "plan": ("panels", "ablations", "scarcity", "draws", "chance", "reductions"),  # which cells there are
    "recipe": ("tuning_epochs", "tuning_rate", "tuning_images"),  # how networks are fine-tuned
    "tuned": ("tuned", "budgets", "priced", "distilled", "scratch"),  # which networks are
    "repaired": ("repair",),  # curves with repair, which are always measured anew
}


def take(profile: profiles.Profile, folder: str | os.PathLike, name: str, *notebooks: str) -> list[tuple]:
    """Copies what `folder` has of the runs' `notebooks` ("00-train", "10-measure") where a run has not yet its own;
    returns what was copied, as triples of run, notebook and what that makes of the run, in words.

    Arguments:
        name: of the variable that names the folder, for what is said of it.

    Raises FileNotFoundError where there is no such folder, or nothing of any of the profile's runs in it, and
    ValueError, one line, for what was made with other settings or on other data than the profile's, for a network that
    is not the one that its record names, and for measurements of another network or by other versions; nothing has been
    copied then.
    """
    named, folder = os.fspath(folder), paths.from_here(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{name}={named}: there is no such folder")
    wanted = [(run, notebook) for run in profile.runs for notebook in notebooks]
    there = [(run, notebook) for run, notebook in wanted if (_at(folder, run) / f"{notebook}.ipynb").exists()]
    if not there:
        labels = ", ".join(run.label for run in profile.runs)
        raise FileNotFoundError(f"{name}={named}: nothing there of {' and '.join(notebooks)} of {labels}")
    taken = [(run, notebook) for run, notebook in there if not run.executed(notebook).exists()]
    for run, notebook in taken:
        alone = " (CHECKPOINTS takes networks alone)" if notebook == MEASURE else ""
        require_fit(run, notebook, _at(folder, run), f"without {folder}{alone}")
    return [(run, notebook, _lay(run, notebook, _at(folder, run))) for run, notebook in taken]


def outputs(run: profiles.Run, notebook: str) -> list[Path]:
    """What a run's notebook leaves; its executed copy comes last, and says that the rest is whole."""
    tables = {
        TRAIN: [run.checkpoint, run.training],
        MEASURE: [run.curves, run.scores, run.oracle, run.repaired, run.silenced, run.finetuning],
    }
    return [*tables[notebook], run.record(notebook), run.executed(notebook)]


def _taken_up(run: profiles.Run, notebook: str) -> list[Path]:
    """Those of the `outputs` without which nothing is taken up; what is always measured anew is not among them."""
    return [path for path in outputs(run, notebook) if path not in (run.repaired, run.silenced)]


def set_aside(run: profiles.Run) -> None:
    """Lays what is measured of a run where 10-measure finds it when it runs again."""
    there = _taken_up(run, MEASURE)
    if all(path.exists() for path in there):
        _copy(there, run.earlier)


def withdraw(profile: profiles.Profile) -> None:
    """Removes what an earlier start took up to be checked, and no 10-measure has."""
    for run in profile.runs:
        shutil.rmtree(run.offered, ignore_errors=True)


def as_named_now(then: Mapping[str, object], now: Mapping[str, object]) -> dict[str, object]:
    """Settings of a training of `then`, where the record is from before they named all that those of `now` do.

    Optimizers were all SGD. A precision that was not named was bfloat16 where the processor multiplies that; the
    network is what it is all the same, and the precision of `now` is put in.
    """
    named = dict(then)
    if then.get("precision") == "auto" and "precision" in now:  # which weights that are given now have not
        named["precision"] = now["precision"]
    return ({"optimizer": "sgd"} if "optimizer" in now else {}) | named


def _at(folder: Path, run: profiles.Run) -> Path:
    return folder / run.folder.relative_to(run.folder.parents[1])


def _lay(run: profiles.Run, notebook: str, at: Path) -> str:
    """Copies a run's outputs from the folder `at` to where they belong; says what they are."""
    as_it_is = notebook == TRAIN or _is_todays(run, at)
    files = outputs(run, notebook) if as_it_is else _taken_up(run, notebook)
    _copy([at / path.name for path in files], run.folder if as_it_is else run.offered)
    return DONE[notebook] if as_it_is else TO_CHECK


def _is_todays(run: profiles.Run, at: Path) -> bool:
    if not all((at / path.name).exists() for path in outputs(run, MEASURE)):
        return False
    told = read_record(at, MEASURE)
    now = {"code": digests.code(MEASURE), "notebooks": list(run.plan.notebooks)}
    return told["settings"]["measuring"] == run.settings["measuring"] and all(told.get(key) == now[key] for key in now)


def require_fit(run: profiles.Run, notebook: str, at: Path, instead: str) -> None:
    """Raises ValueError, one line, where what a run's notebook left in the folder `at` is not whole, or was made of
    other images, with other settings, of another network or, if measured, by other versions or on another device.

    Arguments:
        instead: what to do then, in words that follow on "train it anew, ".
    """
    offered = [at / path.name for path in _taken_up(run, notebook)]
    if missing := [path for path in offered if not path.exists()]:
        raise ValueError(f"{missing[0]} is missing, without which {notebook} of {run.label} cannot be taken up")
    from lib.images import datasets  # takes seconds
    from lib.study import records  # takes seconds

    section, verb = {TRAIN: ("training", "train"), MEASURE: ("measuring", "measure")}[notebook]
    instead, path = f"{verb} {run.label} anew, {instead}", at / f"{notebook}.json"
    told, now = read_record(at, notebook), run.settings[section]
    deciding = now if notebook == TRAIN else {name: now[name] for name in DECIDE["cells"]}
    _require_alike(path, as_named_now(told["settings"][section], now), deciding, instead)
    images = [datasets.load(run.dataset, split, run.data_folder).digest for split in datasets.SPLITS]
    if told["data"] != (images if notebook == TRAIN else images[0]):
        raise ValueError(f"{path} is of other images than those of {run.dataset} in {run.data_folder}: {instead}")
    theirs = at / run.checkpoint.name
    own = notebook == MEASURE and (run.executed(TRAIN).exists() or not theirs.exists())
    network = run.checkpoint if own else theirs
    if told["checkpoint"] != records.digest(network):
        raise ValueError(f"{network} is not the one that {path} tells of (SHA-256): {instead}")
    if notebook == MEASURE:  # notebooks set it beside what they measure themselves
        made_by = {"device": told["device"]["type"], "threads": told["threads"]} | told["versions"]
        _require_alike(path, made_by, _now(run, made_by), instead)


def read_record(at: Path, notebook: str) -> dict:
    """The record of a notebook in the folder `at`. Raises ValueError, one line, where it is none."""
    path = at / f"{notebook}.json"
    try:
        record = json.loads(path.read_text())
        kinds = {"settings": dict, "data": (str, list), "checkpoint": str, "code": str, "device": dict}
        kinds |= {"threads": int, "versions": dict}
        if odd := [name for name, kind in kinds.items() if not isinstance(record[name], kind)]:
            raise TypeError(f"{odd[0]}={record[odd[0]]!r}")
        section = record["settings"][{TRAIN: "training", MEASURE: "measuring"}[notebook]]
        if not isinstance(section, dict) or "type" not in record["device"]:
            raise TypeError("its settings or its device are none")
        return record
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no record of {notebook} ({type(error).__name__}: {error})") from error


def _now(run: profiles.Run, then: Mapping[str, object]) -> dict[str, object]:
    """What would measure today, beside the code; of a package's versions in the lock, one for each Python, that of
    `then` if there, in whatever build (2.14.1+cpu is 2.14.1)."""
    now = {"device": devices.pick(run.device).type, "threads": run.threads}
    for name, versions in digests.pins().items():
        now[name] = then[name] if str(then.get(name)).split("+")[0] in versions else versions[-1]
    return now


def _require_alike(path: Path, then: Mapping[str, object], now: Mapping[str, object], instead: str) -> None:
    if odd := [name for name in now if then.get(name) != now[name]]:
        was = ", ".join(f"{name}={then.get(name)!r}, not {now[name]!r}" for name in odd)
        raise ValueError(f"{path} tells of {was}: {instead}")


def _copy(files: list[Path], folder: Path) -> None:
    for source in files:
        with whole_files.written_whole(folder / source.name) as aside:
            shutil.copyfile(source, aside)
