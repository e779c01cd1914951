"""What is left of the accuracy as units go? Curves of several runs as one, with intervals, and in numbers.

Enters: tables of curves and of summaries. Leaves: means over runs.
"""

from collections.abc import Sequence

import numpy
import pandas

from lib import importance, pruning
from lib.study import measurements, statistics
from lib.study.columns import PANEL, RUN, Cell


def along(curves: pandas.DataFrame, over: str, step: float = 2.5) -> pandas.DataFrame:
    """Curves on a common grid of what is gone, with intervals over runs: one row per data set, network, number of
    examples, criterion and grid point.

    Arguments:
        over: "units", or what `pruning.curve` says is left: "macs", "parameters".

    Columns: gone (%, up to 50), accuracy (mean over runs, draws averaged first), low, high (95 %) and blocks. A line
    ends where the first of its runs does.
    """
    grid, tables = numpy.arange(0, 50 + step / 2, step), []
    keys = [*RUN, *Cell._fields]
    for key, points in curves.groupby(keys, sort=False, observed=True):
        points = points.sort_values("pruned")
        share = points["pruned"] / points["units"] if over == "units" else 1 - points[over]
        beyond = None if over == "units" else numpy.nan  # half of an odd number of units is a little less
        accuracy = pruning.accuracy_at(100 * share, points["accuracy"], grid, beyond)
        tables.append(
            pandas.DataFrame({"gone": grid, "accuracy": accuracy}).assign(**dict(zip(keys, key, strict=True)))
        )
    by = [*PANEL, "examples", "criterion", "gone"]
    table = statistics.summarise(pandas.concat(tables).dropna(subset="accuracy"), by, value="accuracy")
    whole = table["blocks"] == table.groupby(by[:-1], observed=True)["blocks"].transform("max")
    return table[whole].rename(columns={"mean": "accuracy"}).reset_index(drop=True)


def in_numbers(summary: pandas.DataFrame, criteria: Sequence[str]) -> pandas.DataFrame:
    """Means over runs (draws averaged first) on the most examples, a row per data set, network and each of `criteria`,
    in their order.

    Columns: labels (whether it needs them), auc_relative, accuracy_unpruned, accuracy_10pct, _25pct, _50pct.
    """
    values = ["auc_relative", "accuracy_unpruned", *(f"accuracy_{100 * share:.0f}pct" for share in pruning.SHARES)]
    most = summary.groupby(PANEL)["examples"].transform("max")
    chosen = summary["criterion"].isin(criteria) & (summary["examples"] == most)
    runs = summary[chosen].groupby([*RUN, "examples", "criterion"], observed=True)[values].mean()
    found = runs.groupby([*PANEL, "examples", "criterion"]).mean().reset_index()
    found["criterion"] = pandas.Categorical(found["criterion"], criteria, ordered=True)
    found = found.sort_values([*PANEL, "examples", "criterion"], ignore_index=True).astype({"criterion": str})
    found.insert(4, "labels", [importance.parse(name).needs_labels for name in found["criterion"]])
    return found


def matched(summary: pandas.DataFrame) -> pandas.DataFrame:
    """Accuracy with a quarter of the units gone, of the multiply-adds and of the parameters, on the most examples.

    One row per data set, network and criterion, best first at equal multiply-adds: means over runs, NaN where the curve
    of one ends before.
    """
    columns = ["accuracy_25pct", "accuracy_macs_25pct", "accuracy_parameters_25pct"]
    groups = measurements.on_most_examples(summary).groupby([*PANEL, "criterion"], sort=False)[columns]
    table = groups.mean().where(groups.count().eq(groups.size(), axis=0)).reset_index()
    return table.sort_values([*PANEL, columns[1]], ascending=[True, True, False], kind="stable", ignore_index=True)
