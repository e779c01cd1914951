"""Published panels that nobody measured, tiny and with known answers."""

import json
from pathlib import Path

import little
import pandas
import yaml

from lib.study import paths

RUNS = {  # profile -> its grid
    "one": {"cifar100": ["resnet20"]},
    "two": {"cifar10": ["resnet20", "vgg19"]},
    "three": {"stl10": ["resnet18-small"]},
    "demo": {"digits": ["resnet8"]},
}
GAINS = {"one": [0.01, 0.02, 0.03], "two": [0.05, 0.06, 0.06, 0.07], "three": [0.10], "demo": [0.5]}  # of sq over abs
NUMBERS = {"one": (2, 50000), "two": (2, 3000), "three": (5, 500), "demo": (3, 30)}
SEEDS = {"one": [0, 1, 2], "two": [0, 1], "three": [0], "demo": [0]}
COTANGENTS = ("", ":norm", ":rand", ":rand:norm")


def study(root: Path) -> None:
    """The study.yaml of these profiles."""
    made = yaml.safe_load(little.STUDY)
    made["profiles"] = {name: {"runs": grid, "seeds": SEEDS[name]} for name, grid in RUNS.items()}
    made["profiles"]["demo"]["panel"] = False
    (root / paths.STUDY).write_text(yaml.safe_dump(made, sort_keys=False))


def publish(results: Path, *names: str, given: tuple[str, ...] = ("two",)) -> None:
    """Publishes these panels, of which others trained the networks of those `given`."""
    for name in names:
        folder = results / "published" / name
        for part in ("notebooks", "tables"):
            (folder / part).mkdir(parents=True)
        for notebook in ("15-replication", "90-report"):
            record = {"parameters": {"seeds": SEEDS[name]}}
            (folder / f"notebooks/{notebook}.json").write_text(json.dumps(record))
        for dataset, network, seed in blocks(name):
            run = folder / f"{dataset}-{network}/seed-{seed}"
            run.mkdir(parents=True)
            told = {"accuracy": 0.6 + seed / 100} | (
                {"given": {"source": "somebody", "licence": "MIT"}} if name in given else {}
            )
            (run / "00-train.json").write_text(json.dumps(told))
            pandas.DataFrame({"layer": ["a", "a", "b"]}).to_parquet(run / "oracle.parquet")
        summary(name).to_csv(folder / "tables/15-replication-summary.csv", index=False)
        curves(name).to_csv(folder / "tables/90-report-curves-units.csv", index=False)


def blocks(name: str) -> list[tuple[str, str, int]]:
    return [
        (dataset, network, seed) for dataset, nets in RUNS[name].items() for network in nets for seed in SEEDS[name]
    ]


def summary(name: str) -> pandas.DataFrame:
    """abs has 0.5 whatever its cotangent, sq as much more as `GAINS` says; l2 has 0.4, on the most examples and the
    fewest, and random 0.1 and 0.3."""
    rows = []
    for (dataset, network, seed), gain in zip(blocks(name), GAINS[name], strict=True):
        values = {
            (f"{one}{cotangent}", 0): 0.5 + gain * (one == "sq") for one in ("abs", "sq") for cotangent in COTANGENTS
        }
        values |= {("l2", 0): 0.4, ("random", 0): 0.1, ("random", 1): 0.3}
        for (criterion, draw), value in values.items():
            for examples in NUMBERS[name]:
                used = 0 if criterion in ("l2", "random") else examples
                cell = (dataset, network, seed, criterion, examples, draw, "random", used)
                rows.append((*cell, 3, 0.6, 0.6 * value, value))
    columns = ["dataset", "network", "seed", "criterion", "examples", "draw", "sample", "used", "units"]
    return pandas.DataFrame(rows, columns=[*columns, "accuracy_unpruned", "auc", "auc_relative"])


def curves(name: str) -> pandas.DataFrame:
    """From 60 % down to nothing, and for random twice as fast."""
    rows = []
    for dataset, network in dict.fromkeys(block[:2] for block in blocks(name)):
        for criterion in ("sq:rand:norm", "sq:norm", "taylorfo", "l2", "random"):
            for examples in NUMBERS[name]:
                for gone in (0.0, 25.0, 50.0):
                    left = max(0.0, 1 - gone / (25 if criterion == "random" else 50))
                    rows.append((dataset, network, examples, criterion, gone, 0.6 * left, 0.0, 1.0, 3))
    columns = ["dataset", "network", "examples", "criterion", "gone", "accuracy", "low", "high", "blocks"]
    return pandas.DataFrame(rows, columns=columns)
