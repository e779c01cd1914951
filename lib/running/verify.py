"""For whoever doubts published numbers: a sample of every run's cells, measured again and set beside them.

    python -m lib.running.verify --profile cifar --seeds "0 1" --cells 5 --data data

Enters: results/published/<profile>/. Leaves: a line on the terminal for every cell drawn, with its relative auc as
published and as found, and exit status 1 where any does not agree. The networks that were fine-tuned are shrunk again,
and one of them is trained again; nothing is changed. Which cells are drawn, and what counts as the same, is said in
`lib.study.verification`.
"""

from lib.study import surroundings

if __name__ == "__main__":  # before anything else could act
    surroundings.settle()

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterable, Mapping

from lib.running import execute, reproduce
from lib.study import paths, profiles, references, reuse
from lib.system import interruptions


def verify(profile: profiles.Profile, cells: int | None) -> int:
    """Checks what is published of the profile's runs, printing as it goes; returns how many cells and units do not
    agree.

    Raises FileNotFoundError where none of the profile's runs is measured there, and what `reuse.require_fit` raises.
    """
    runs = [run for run in profile.runs if run.executed(reuse.MEASURE).exists()]
    if not runs:
        labels = ", ".join(run.label for run in profile.runs)
        raise FileNotFoundError(f"{profile.folder}: nothing there is measured of {labels}: verify another profile")
    for run in [run for run in profile.runs if run not in runs]:
        print(f"{run.label} is not measured there", flush=True)
    runs = [_as_measured(run) for run in runs]
    for run in runs:
        references.require_weights(run, run.folder, "make reproduce trains and measures it anew")
        reuse.require_fit(run, reuse.MEASURE, run.folder, "by make reproduce")
    odd = sum(_verify_run(run, cells) for run in runs)
    print(f"{odd} do not agree" if odd else "all agree", flush=True)
    return odd


def _as_measured(run: profiles.Run) -> profiles.Run:
    """The run on the kind of device on which it was measured, since a GPU is given more test images."""
    return dataclasses.replace(run, device=reuse.read_record(run.folder, reuse.MEASURE)["device"]["type"])


def _verify_run(run: profiles.Run, cells: int | None) -> int:
    import torch  # these take seconds

    from lib.study import consistency, devices, finetuning, verification
    from lib.study.columns import read_own

    torch.set_num_threads(run.threads)
    device, count = devices.pick(run.device), cells or verification.CELLS
    record, odd = reuse.read_record(run.folder, reuse.MEASURE), 0
    print(f"{run.label}, measured by code of digest {record['code'][:7]}:", flush=True)
    names = ("curves", "scores", "oracle", "finetuning", "repaired", "silenced")
    if missing := [path for name in names if not (path := getattr(run, name)).exists()]:
        raise ValueError(f"{missing[0]} is missing, as where older code has measured {run.label}, without it:"
                         " measure it anew, by make reproduce")  # fmt: skip
    tables = {name: read_own(run, getattr(run, name)) for name in names}
    strange = consistency.odd(run, tables, verification.layers_of(run, device))
    print(*(f"  {line}" for line in strange), sep="\n", end="\n" * bool(strange), flush=True)
    curves, scores = verification.asked_for(run, tables["curves"], tables["scores"])
    for row in verification.cells(run, curves, scores, device, count):
        odd += bool(row["differs"])
        print(_line(row, "scored again" if row["rescored"] else "its curve alone"), flush=True)
    criteria, slow, differing = verification.criteria(run, curves, scores, device)
    which = f"{len(criteria)} of {len(criteria) + len(slow)}" if slow else f"all {len(criteria)}"
    rest = f" (not {', '.join(slow)}: that would take long)" if slow else ""
    print(f"  {which} criteria scored again{rest}: {f'{len(differing)} differ' if differing else 'agree'}", flush=True)
    print(*(f"  {line}" for line in differing), sep="\n", end="\n" * bool(differing), flush=True)
    lacking = verification.lacking(run, tables["curves"], tables["scores"], device)
    print(*(f"  {line}" for line in lacking), sep="\n", end="\n" * bool(lacking), flush=True)
    others = verification.units(run, tables["oracle"], device, count)
    print(f"  oracle: {'; '.join(others) or 'a sample of units from every layer agrees'}", flush=True)
    for row in verification.otherwise(run, scores, device, count):
        odd += bool(row["differs"])
        print(_line(row, row["way"]), flush=True)
    tuned = finetuning.asked_for(run, tables["finetuning"])
    apart = finetuning.differing(run, tuned, device) if len(tuned) else []
    apart += finetuning.lacking(run, tuned)
    trained = ", one of them trained again" if finetuning.retrained(tuned) else ""
    networks = f"{len(tuned[[*finetuning.Network._fields]].drop_duplicates())} networks{trained}, agree"
    print(f"  fine-tuning: {'; '.join(apart) or (networks if len(tuned) else 'none is asked for')}", flush=True)
    return odd + len(strange) + len(differing) + len(lacking) + len(others) + len(apart)


def _line(row: Mapping[str, object], how: str) -> str:
    cell = f"{row['criterion']:26} {row['examples']:6,} images, draw {row['draw']} ({row['sample']}), {how}:"
    found = f"  {cell} relative auc {row['before']:.4f} published, {row['now']:.4f} found:"
    return f"{found} DIFFERS ({row['differs'].rpartition(' (')[2]}" if row["differs"] else f"{found} agrees"


def main(words: Iterable[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.running.verify", description="Measure a sample of what is published again."
    )
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--seeds", default="", help='such as "0 1 2" (all that are published)')
    parser.add_argument("--cells", default="", help="how many of every run are scored again (5)")
    parser.add_argument("--data", default="data", help="folder of the data sets")
    parser.add_argument("--published", default="results/published", help="folder of what is published")
    asked = parser.parse_args(words)
    os.chdir(paths.ROOT)
    try:
        seeds, cells = reproduce.parse_seeds(asked.seeds), reproduce.parse_count("CELLS", asked.cells)
        with interruptions.heard():
            profile = profiles.load(asked.profile, seeds, "auto", asked.data, asked.published)
            return int(verify(profile, cells) > 0)
    except (ValueError, OSError, RuntimeError) as error:
        print(execute.in_one_line(error, asked.published), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
