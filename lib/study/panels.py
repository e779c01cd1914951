"""Panels: published profiles that are reported on together, from their published files alone.

Enters: results/published/. Leaves: a profile for every panel that is there, the names of those that are not, what
networks they hold, and tables of all of them as one.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas
import torch

from lib.images import networks
from lib.study import paths, profiles
from lib.study.columns import RUN, columns_of

REPORT = "90-report"
GIVEN = "given"  # the field of a training's record that says whose weights were taken in place of a training


def published(
    results: str | os.PathLike = "results", names: Iterable[str] | None = None
) -> tuple[list[profiles.Profile], list[str]]:
    """The panels that are published under `results`, and the names of those that are missing.

    Arguments:
        names: of profiles that count as panels; by default those that study.yaml says.

    Raises FileNotFoundError, one line, where none is published, and ValueError for a name that study.yaml does not
    have and where two panels hold the same network.
    """
    names = profiles.panels() if names is None else list(names)
    folder = Path(results) / "published"
    plans = {name: profiles.named(name, results=folder) for name in names}
    there = {name: _as_published(plan) for name, plan in plans.items() if plan.record(REPORT).exists()}
    missing = [name for name in names if name not in there]
    if not there:
        remedy = f"make reproduce PROFILE={names[0]}, then make publish PROFILE={names[0]}"
        raise FileNotFoundError(f"{paths.from_here(folder)} holds none of the panels {', '.join(names)}: {remedy}")
    _require_apart(there.values())
    return list(there.values()), missing


def _as_published(plan: profiles.Profile) -> profiles.Profile:
    """The profile with the seeds that its published report covers and the notebooks that are published."""
    seeds = json.loads(plan.record(REPORT).read_text())["parameters"]["seeds"]
    found = profiles.named(plan.name, seeds, results=plan.results)
    notebooks = [name for name in found.notebooks if found.record(name).exists()]
    return replace(found, notebooks=tuple(notebooks))


def _require_apart(plans: Iterable[profiles.Profile]) -> None:
    seen: dict[tuple, str] = {}
    for plan in plans:
        for run in plan.runs:
            key = tuple(columns_of(run).values())
            if key in seen:
                problem = f"{run.label} is in the panels {seen[key]} and {plan.name}, and would count twice"
                raise ValueError(f"{problem}: name one of them with PANELS=..., or mark one as no panel in study.yaml")
            seen[key] = plan.name


def runs(plans: Sequence[profiles.Profile]) -> pandas.DataFrame:
    """One row per trained network: panel, dataset, network, seed, given (whether others trained it), accuracy (test,
    nothing off, as its training's record says), units, layers (that have units) and parameters (without the
    classifier's). Raises FileNotFoundError where a file of a published run is missing."""
    return pandas.DataFrame([{"panel": plan.name, **_facts(run)} for plan in plans for run in plan.runs])


def _facts(run: profiles.Run) -> dict[str, object]:
    record, units = run.record("00-train"), run.oracle
    for path in (record, units):
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing: make publish PROFILE={run.profile} publishes {run.label} whole"
            )
    told, layers = json.loads(record.read_text()), pandas.read_parquet(units, columns=["layer"])["layer"]
    size = {"units": len(layers), "layers": layers.nunique(), "parameters": parameters(run.network)}
    return columns_of(run) | {"given": bool(told.get(GIVEN)), "accuracy": told["accuracy"]} | size


def parameters(network: str) -> int:
    """How many parameters a network for colour images has whose number does not depend on that of the classes."""
    with torch.device("meta"):  # no weights are made
        one, two = (sum(map(torch.numel, networks.build(network, classes).parameters())) for classes in (1, 2))
    return 2 * one - two


def table(plans: Sequence[profiles.Profile], name: str) -> pandas.DataFrame:
    """A table that each panel's notebooks have saved under that name, as one with the column `panel` in front; without
    rows and columns where none has."""
    found = {plan.name: plan.tables / f"{name}.csv" for plan in plans}
    there = [pandas.read_csv(path).assign(panel=panel) for panel, path in found.items() if path.exists()]
    some = [rows for rows in there if len(rows)]
    if not some:
        return there[0] if there else pandas.DataFrame()
    joined = pandas.concat(some, ignore_index=True)
    return joined[["panel", *joined.columns.drop("panel")]]


def with_panel(blocks: pandas.DataFrame, networks: pandas.DataFrame) -> pandas.DataFrame:
    """Rows with the columns of `RUN`, and of which panel of `runs` each is, and whether its network is `given`."""
    return blocks.merge(networks[["panel", *RUN, "given"]], on=list(RUN))
