"""What tables of benchmarks say: beside targets, on the terminal, and in one figure.

Enters: a table, or the folder of all that are saved. Leaves: the same with targets; text; a figure and a paragraph.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy
import pandas

from lib.benchmark import comparisons
from lib.benchmark.subjects import PIXELS, SETS
from lib.report import cost_figures, outlook, style, tables

TARGETS = {  # benchmark -> (network, task, how many times the yardstick's time or memory it should take at most)
    "curves": tuple(
        (network, f"pruning curve, {by}", most)
        for network, most in (("resnet20", 0.50), ("vgg19", 0.45))
        for by in comparisons.RANKED
    ),
    "oracle": (("resnet20", "oracle", 1 / 6), ("resnet56", "oracle", 1 / 10)),
    "whole-job": (("resnet50", "score and slim", 0.6),),
    "memory": tuple((network, task, 1.0) for network in PIXELS for task in ("sq", *SETS)),
}
OVER_FLOOR = {"one cotangent, in the long run": 1.15, "label and random, in the long run": 1.75}  # times `FLOOR`, each
PEERS = ("torch-pruning", "captum")
BESIDE_PEERS = {  # benchmark -> what it is, and its tasks in the words of a table
    "scoring": (
        "One call that scores all units, the copy of the network that it makes included",
        {
            "plain pass": "a plain forward and backward pass",
            "one cotangent": "this library, 8 criteria",
            "hooks and loss.backward()": "hooks and loss.backward(), 1 criterion",
            "torch-pruning": "torch-pruning, 1 criterion",
            "captum": "captum, 1 criterion",
        },
    ),
    "whole-job": (
        "From a network to one without half of its multiply-adds",
        {"score and slim": "this library, which tries that the result is right", "torch-pruning": "torch-pruning"},
    ),
}
SHOWN = (  # on the terminal
    "grows", "series", "size", "network", "task", "examples", "criteria", "seconds", "seconds_low", "seconds_high",
    "share", "share_low", "share_high", "target", "seconds_exponent", "steps_per_second", "images_per_second",
    "peak_mb", "peak_mb_exponent",
)  # fmt: skip


def with_targets(name: str, table: pandas.DataFrame) -> pandas.DataFrame:
    """The table of the benchmark `name` with a column target, as `TARGETS` says; NaN where there is none, and no column
    where the benchmark has none."""
    if name == "scoring":
        floor = table["share"].where(table["task"] == comparisons.FLOOR).groupby(table["network"]).transform("max")
        return table.assign(target=table["task"].map(OVER_FLOOR) * floor)
    if name not in TARGETS:
        return table
    targets = {(network, task): share for network, task, share in TARGETS[name]}
    tasks = table["task"].str.replace(r", \d+ examples$", "", regex=True)  # in the table of memory
    return table.assign(target=[targets.get(key, numpy.nan) for key in zip(table["network"], tasks, strict=True)])


def shown(table: pandas.DataFrame) -> str:
    """The columns to look at, rounded; all of them are saved."""
    columns = table[[name for name in SHOWN if name in table]].dropna(axis=1, how="all")
    return columns.round(3).to_string(index=False, na_rep="")


def sum_up(folder: Path, names: Iterable[str]) -> None:
    """A figure of all saved tables of these benchmarks, a page on peers, and what follows for much larger runs."""
    if said := beside_peers(folder):
        (folder / "peers.md").write_text(f"# Beside other libraries\n\n{said}\n")
    if said := outlook.imagenet(folder):
        (folder / "imagenet.md").write_text(f"# {outlook.TITLE}\n\n{said}\n")
    table = shares(folder, names)
    if len(table):
        style.theme()
        style.save(cost_figures.benchmarks(table), folder, "shares")


def beside_peers(folder: Path) -> str:
    """The time that scoring and the whole job take, beside peers', in Markdown; "" where none was measured."""
    found = []
    for name, (what, tasks) in BESIDE_PEERS.items():
        measured = (
            pandas.read_csv(path)
            if (path := folder / f"{name}.csv").exists()
            else pandas.DataFrame(columns=["network", "task"])
        )
        measured = measured[measured["task"].isin(tasks)]
        with_peer = measured.loc[measured["task"].isin(PEERS), "network"].unique()
        measured = measured[measured["network"].isin(with_peer)] if len(with_peer) else measured.iloc[:0]
        if len(measured):
            wide = measured.pivot(index="network", columns="task", values="seconds").reindex(with_peer)
            wide = wide[[task for task in tasks if task in wide]].rename(columns=tasks).reset_index()
            where = f"{measured['threads'].iloc[0]} threads of a processor ({measured['device_name'].iloc[0]})"
            found.append(f"{what}, on the same images; {where}, seconds, medians over rounds in turns:\n\n"
                         f"{tables.markdown(wide)}")  # fmt: skip
    return "\n\n".join(found)


def shares(folder: Path, names: Iterable[str]) -> pandas.DataFrame:
    """Of those of `names` that are saved and compare networks in time: benchmark, network, task (number of criteria),
    share, ..."""
    found = {name: pandas.read_csv(folder / f"{name}.csv") for name in names if (folder / f"{name}.csv").exists()}
    parts = [table.assign(benchmark=name) for name, table in found.items() if {"share_low", "network"} <= set(table)]
    table = pandas.concat(parts).dropna(subset="share") if parts else pandas.DataFrame()
    if "criteria" in table:
        several = table["criteria"].fillna(0) > 0
        table.loc[several, "task"] += table["criteria"][several].map(lambda count: f" ({count:.0f})")
    return table
