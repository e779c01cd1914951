"""Repair without labels: the curves of some criteria, with BatchNorm statistics estimated anew at every point.

Enters: a run with its trained checkpoint, and the scores of its cells. Leaves: one tidy table per run, a row per point
of a curve, as `measurements` has them without repair. What is measured are the cells of the ablation 65-repair (the
paper's proposals and what they answer, baselines, and the best of the leaderboard) and the oracle's own orders.
"""

from collections.abc import Collection

import pandas
import torch

from lib import repair
from lib.study import ablations, ceilings, loading, measurements, profiles, sampling
from lib.study.columns import RUN, Cell, read_own
from lib.study.parts import Parts

NOTEBOOK = "65-repair"  # which alone asks for them
_COLUMNS = [*RUN, *Cell._fields, "used", "units", "pruned", "accuracy", "emptied", "macs", "parameters", "repaired_on"]


def measure(
    run: profiles.Run,
    scores: pandas.DataFrame,
    device: torch.device | str,
    parts: Parts | None = None,
    only: Collection[Cell] | None = None,
) -> pandas.DataFrame:
    """Evaluates the cells of 65-repair with repair, on as many training images as the profile's `repair` says, and the
    oracle's orders.

    Arguments:
        scores: of `measurements.measure`, with these cells among others, and of `ceilings.measure`.
        parts: keeps what is finished, and has what an interrupted call finished: see `measurements.parts_of`.
        only: these of the cells, instead of all.

    Returns the columns of `measurements.curves_by`, and repaired_on (images). No row where the profile has no
        65-repair, or the network no BatchNorm.
    """
    cells = [cell for cell in wanted(run, scores, device) if only is None or cell in only]
    if not cells:
        return pandas.DataFrame(columns=_COLUMNS)
    data, keep = sampling.Data.of(run, device), parts.table if parts else lambda name, make: make()
    images, model = data.for_repair(run), loading.model(run, device)
    found = measurements.curves_anew(run, data, model, scores, cells, keep, "repaired", repair_on=images)
    return found.assign(repaired_on=len(images))


def wanted(run: profiles.Run, scores: pandas.DataFrame, device: torch.device | str) -> list[Cell]:
    """The cells that `measure` evaluates, whose arguments these are."""
    if NOTEBOOK not in run.plan.notebooks or not repair.norms_of(loading.model(run, device)):
        return []
    orders = scores.loc[scores["sample"] == ceilings.SAMPLE, list(Cell._fields)].drop_duplicates()
    orders = [Cell(*cell) for cell in orders.itertuples(index=False, name=None) if cell[0] in ceilings.ORACLES]
    return ablations.cells(NOTEBOOK, run.settings["measuring"], sampling.labels_of(run)) + orders


def read(plan: profiles.Profile) -> pandas.DataFrame:
    """The rows of all runs of the profile, in which criteria without examples stand at each number of examples; runs
    that have not been made yet are made first."""
    tables = []
    for run in plan.runs:
        loading.complete(run)
        table = read_own(run, run.repaired)
        drawn = table[(table["examples"] > 0) & (table["sample"] == "random")]
        tables.append(measurements.at_every_number(table, drawn["examples"].unique()))
    return measurements.joined(tables)
