"""Where a unit is silenced: curves of some orders with the mask in front of BatchNorm instead of after it.

Enters: a run with its trained checkpoint, and the scores of its cells. Leaves: one tidy table per run, a row per point
of a curve, as `measurements` has them with the mask after BatchNorm. Of what is zero in front of it BatchNorm makes a
constant, which later layers take in; without the channel, as when a network really shrinks, there is nothing, as with
the mask after BatchNorm.
"""

from collections.abc import Collection

import pandas
import torch

from lib.study import ablations, loading, measurements, profiles, sampling
from lib.study.columns import RUN, Cell, read_own
from lib.study.parts import Parts

NOTEBOOK = "15-replication"  # which alone asks for them
CRITERIA = ("sq:rand:norm", "abs:rand:norm", "sq:norm", "taylorfo", "molchanov-bn", *ablations.BASELINES)
_COLUMNS = [*RUN, *Cell._fields, "used", "units", "pruned", "accuracy", "emptied", "macs", "parameters"]


def measure(
    run: profiles.Run,
    scores: pandas.DataFrame,
    device: torch.device | str,
    parts: Parts | None = None,
    only: Collection[Cell] | None = None,
) -> pandas.DataFrame:
    """Evaluates `CRITERIA`, on the most examples on which 15-replication has them and on their first draw.

    Arguments:
        scores: of `measurements.measure`, with the cells of 15-replication among others.
        parts: keeps what is finished, and has what an interrupted call finished: see `measurements.parts_of`.
        only: these of the cells, instead of all.

    Returns the columns of `measurements.curves_by`; no row where the profile has no 15-replication.
    """
    cells = [cell for cell in wanted(run) if only is None or cell in only]
    if not cells:
        return pandas.DataFrame(columns=_COLUMNS)
    data, keep = sampling.Data.of(run, device), parts.table if parts else lambda name, make: make()
    model = loading.model(run, device)
    return measurements.curves_anew(run, data, model, scores, cells, keep, "silenced", in_front=True)


def wanted(run: profiles.Run) -> list[Cell]:
    """The cells that `measure` evaluates."""
    if NOTEBOOK not in run.plan.notebooks:
        return []
    asked = ablations.cells(NOTEBOOK, run.settings["measuring"], sampling.labels_of(run))
    most = max(cell.examples for cell in asked)
    return [cell for cell in asked if cell.criterion in CRITERIA and cell.examples in (0, most) and not cell.draw]


def read(plan: profiles.Profile) -> pandas.DataFrame:
    """The rows of all runs of the profile; runs that have not been made yet are made first."""
    for run in plan.runs:
        loading.complete(run)
    return measurements.joined([read_own(run, run.silenced) for run in plan.runs])
