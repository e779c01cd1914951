"""What does a repair without labels give back? Curves with repair beside the same without.

Enters: summaries of both. Leaves: tidy tables, by criterion and by run; empty where nothing was repaired.
"""

import pandas

from lib import pruning
from lib.study import measurements
from lib.study.columns import PANEL, RUN, Cell
from lib.study.statistics import DECIMALS

LEAST = 0.02  # of accuracy: of a smaller loss a share is that of a few images
_ACCURACIES = [f"accuracy_{100 * share:.0f}pct" for share in pruning.SHARES]
_VALUES = ["auc_relative", *_ACCURACIES]
_KEYS = [*RUN, "examples", "criterion"]
_BOTH = ["accuracy_unpruned", *(f"{name}{end}" for name in _VALUES for end in ("", "_repaired"))]


def both(plain: pandas.DataFrame, repaired: pandas.DataFrame) -> pandas.DataFrame:
    """One row per run, number of examples and criterion that both summaries have, draws averaged: accuracy_unpruned,
    then auc_relative, accuracy_10pct, _25pct and _50pct, each without repair and with it (..._repaired)."""
    if repaired.empty:
        return pandas.DataFrame(columns=[*_KEYS, *_BOTH])
    cell = [*RUN, *Cell._fields]
    one, other = plain[[*cell, "accuracy_unpruned", *_VALUES]], repaired[[*cell, *_VALUES]]
    joined = one.merge(other, on=cell, suffixes=("", "_repaired"))
    return joined.groupby(_KEYS, sort=False, observed=True, as_index=False)[_BOTH].mean()


def by_criterion(both: pandas.DataFrame) -> pandas.DataFrame:
    """Its means over runs: one row per data set, network, number of examples and criterion, best with repair first."""
    keys = [*PANEL, "examples", "criterion"]
    means = both.groupby(keys, sort=False, observed=True, as_index=False)[_BOTH].mean()
    order = [*PANEL, "examples", "auc_relative_repaired"]
    return means.sort_values(order, ascending=[True, True, True, False], ignore_index=True)


def beside(both: pandas.DataFrame) -> pandas.DataFrame:
    """The relative aucs on the most examples below each other: a row per run, criterion and repair ("with",
    "without")."""
    most = measurements.on_most_examples(both)
    columns = {"without": "auc_relative", "with": "auc_relative_repaired"}
    parts = [most[_KEYS].assign(repair=name, auc_relative=most[column]) for name, column in columns.items()]
    return pandas.concat(parts, ignore_index=True)


def shares(both: pandas.DataFrame) -> pandas.DataFrame:
    """How much of the lost accuracy comes back: one row per run, number of examples, criterion and share of units off
    (%), with lost (accuracy, without repair) and given_back (the share of it; NaN where less than `LEAST` was lost)."""
    rows = []
    for off, name in zip(pruning.SHARES, _ACCURACIES, strict=True):
        lost = both["accuracy_unpruned"] - both[name]
        back = ((both[f"{name}_repaired"] - both[name]) / lost).where(lost.round(DECIMALS) >= LEAST)
        rows.append(both[_KEYS].assign(share=round(100 * off), lost=lost, given_back=back))
    return pandas.concat(rows, ignore_index=True)
