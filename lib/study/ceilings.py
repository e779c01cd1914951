"""How good an order can be: the oracle's own, and a greedy one that scores anew what is left at every point.

Enters: a run with its trained checkpoint, and what the oracle says of its units. Leaves: scores and curves as of
`measurements.measure`, in cells whose sample is "oracle": what is known of units there no criterion knows beforehand,
so that nothing takes these orders for criteria which does not ask for them.
"""

from collections.abc import Sequence
from functools import partial

import numpy
import pandas
import torch
from torch import Tensor, nn

from lib import importance, pruning
from lib.study import loading, measurements, profiles, sampling
from lib.study.columns import RUN, Cell, columns_of, read_own
from lib.study.parts import Parts

NOTEBOOK = "70-oracle"  # which alone asks for them
ORACLES = {"oracle:loss": "loss", "oracle:output": "output"}  # by the columns of the oracle's table
GREEDY, RESCORED = "greedy", "sq:rand:norm"  # which the greedy order scores by
SAMPLE = "oracle"
_COLUMNS = [*RUN, *Cell._fields, "used", "units"]


def measure(
    run: profiles.Run, judged: pandas.DataFrame, device: torch.device | str, parts: Parts | None = None
) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Curves and scores of the oracle's two orders, of the greedy one, and of the criterion that it scores by, all on
    the oracle's images; as `measurements.measure` returns them, without rows where the profile has no 70-oracle.

    Arguments:
        judged: of `measurements.measure_oracle`.
        parts: keeps what is finished, and has what an interrupted call finished: see `measurements.parts_of`.
    """
    data = sampling.Data.of(run, device)
    batches = data.for_oracle(run)
    cells = wanted(run, sum(len(images) for images, *_ in batches))
    if not cells:
        return pandas.DataFrame(columns=_COLUMNS), pandas.DataFrame(columns=_COLUMNS)
    keep, model = parts.table if parts else lambda name, make: make(), loading.model(run, device)
    scores = keep("ceilings, scores", partial(_scores, run, model, batches, judged, cells))
    make = partial(measurements.evaluate, run, data, model, batches, scores, cells)
    return keep("ceilings, curves", make), scores


def wanted(run: profiles.Run, count: int) -> list[Cell]:
    """The cells that `measure` makes, on so many images of the oracle."""
    if NOTEBOOK not in run.plan.notebooks:
        return []
    return [Cell(name, count, 0, SAMPLE) for name in (*ORACLES, GREEDY, RESCORED)]


def _scores(
    run: profiles.Run, model: nn.Module, batches: Sequence[tuple], judged: pandas.DataFrame, cells: Sequence[Cell]
) -> pandas.DataFrame:
    """A row per order and unit, as in the scores of `measurements.measure`."""
    seed, points = sampling.seed_for(SAMPLE, run.seed), run.settings["measuring"]["points"]
    order = greedy_order(model, batches, points, seed=seed)
    found = {name: judged[column].to_numpy() for name, column in ORACLES.items()}
    found[GREEDY] = torch.argsort(order).double().numpy()  # the place of each unit in it
    found[RESCORED] = importance.score(model, batches, [RESCORED], seed=seed)[RESCORED].numpy()
    tables = []
    for cell in cells:
        values = found[cell.criterion]
        columns = columns_of(run) | cell._asdict() | {"used": cell.examples, "units": len(values)}
        tables.append(pandas.DataFrame({"unit": numpy.arange(len(values)), "score": values}).assign(**columns))
    return pandas.concat(tables, ignore_index=True)[[*_COLUMNS, "unit", "score"]]


def read(plan: profiles.Profile) -> pandas.DataFrame:
    """Their curves, of all runs of the profile; runs that have not been made yet are made first."""
    for run in plan.runs:
        loading.complete(run)
    here = [("sample", "=", SAMPLE)]
    return measurements.joined([read_own(run, run.curves, filters=here) for run in plan.runs])


def greedy_order(model: nn.Module, batches: Sequence[tuple], points: int, *, seed: int = 0) -> Tensor:
    """The units (N,) in the order in which they go when, at every point of a curve, those still there are scored anew
    without those that are off, and the lowest go next."""
    layers = importance.units(model, batches[0][0][:1])
    total = sum(unit.size for unit in layers)
    order = torch.arange(total)
    for k in pruning.steps(total, points)[:-1]:  # at the last none goes any more
        with pruning.masked(model, order, k, layers):
            scores = importance.score(model, batches, [RESCORED], seed=seed)[RESCORED]
        rest = pruning.order(scores)
        order = torch.cat([order[:k], rest[~torch.isin(rest, order[:k])]])
    return order
