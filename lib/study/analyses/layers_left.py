"""Where does a criterion take units from? The share of each layer's units that is left as units go.

Enters: a profile with measured runs, whose scores are all that it takes. Leaves: tidy tables, by layer and criterion.
"""

from collections.abc import Sequence

import numpy
import pandas

from lib import pruning
from lib.study import loading, measurements, profiles
from lib.study.columns import PANEL, RUN, columns_of, read_own


def by_layer(
    plan: profiles.Profile, criteria: Sequence[str], shares: Sequence[float] = pruning.SHARES
) -> pandas.DataFrame:
    """What is left of each layer with a share of all units off, on the most examples that a criterion was scored on.

    Returns one row per data set, network, criterion, share of units off (%) and layer, in the order in which layers
    run: left (the share of the layer's units, 0 to 1; the mean over runs, draws averaged first).
    """
    tables = []
    for run in plan.runs:
        loading.complete(run)
        layers = read_own(run, run.oracle).sort_values("unit")["layer"]
        wanted = [("sample", "=", "random"), ("criterion", "in", list(criteria))]
        scores = measurements.on_most_examples(read_own(run, run.scores, filters=wanted))
        for (criterion, draw), table in scores.groupby(["criterion", "draw"], observed=True):
            left = _left(table.sort_values("unit"), layers.to_numpy(), shares)
            tables.append(left.assign(criterion=criterion, draw=draw, **columns_of(run)))
    keys = [*PANEL, "criterion", "share", "layer"]
    of_runs = pandas.concat(tables).groupby([*RUN, *keys[2:]], sort=False, as_index=False)["left"].mean()
    return of_runs.groupby(keys, sort=False, as_index=False)["left"].mean()


def _left(scores: pandas.DataFrame, layers: numpy.ndarray, shares: Sequence[float]) -> pandas.DataFrame:
    order, tables = measurements.order_of(scores).numpy(), []
    for share in shares:
        kept = numpy.ones(len(order))
        kept[order[: int(share * len(order))]] = 0
        left = pandas.Series(kept).groupby(layers, sort=False).mean()
        tables.append(pandas.DataFrame({"layer": left.index, "left": left.to_numpy(), "share": round(100 * share)}))
    return pandas.concat(tables)


def evenness(left: pandas.DataFrame) -> pandas.DataFrame:
    """How evenly a criterion takes from layers: one row per data set, network, share of units off and criterion, with
    the least that is left of any layer (0 to 1), that layer, and spread (the standard deviation over layers)."""
    keys = [*PANEL, "share", "criterion"]
    groups = left.groupby(keys, sort=False)
    worst = left.loc[groups["left"].idxmin()].rename(columns={"left": "least"})
    spread = groups["left"].std(ddof=0).rename("spread").reset_index()
    found = worst[[*keys, "least", "layer"]].merge(spread, on=keys)
    return found.sort_values([*PANEL, "share", "spread"], ignore_index=True, kind="stable")
