"""Known ways in which a ranking fails, as numbers with an alarm in plain words.

Enters: a profile with measured runs, and some of their curves. Leaves: a table with a row per criterion and number of
examples; also what its columns are, and from where on a number is worth an alarm.
"""

import numpy
import pandas

from lib import oracle
from lib.study import measurements, profiles
from lib.study.columns import RUN, Cell, columns_of, read_own

FALLEN = 0.9  # of the unpruned accuracy: below, accuracy has fallen
LIMITS = {
    "entropy": 0.99,
    "kept": 0.95,
    "emptied": 1,
    "rise": 0.05,
    "together": 3,
}  # from where on it is worth an alarm
ALARMS = {
    "entropy": "scores too alike to rank",
    "kept": "accuracy fell no later than by chance, although nearly all importance was kept",
    "emptied": "a layer lost all its units",
    "rise": "accuracy rose again while more units went",
    "together": "units matter together",
}
SIGNS = {  # what the columns of `signatures` are
    "entropy": "how alike scores are: 1 where all are the same, and nothing can be ranked",
    "kept": "share of all importance that is still there where accuracy first falls below "
    f"{100 * FALLEN:g} % of the unpruned; an alarm only where that comes no later than by chance",
    "lasted": "share of units off where it does",
    "by_chance": "the same in random orders",
    "emptied": "layers without any unit at the end",
    "rise": "largest gain in accuracy while more units went",
    "together": "squared change of the logits with a tenth of all units off at once, over the sum of their single "
    "changes; 1 where they are independent",
}


def signatures(plan: profiles.Profile, curves: pandas.DataFrame) -> pandas.DataFrame:
    """Known ways to fail, as numbers with an alarm in plain words: one row per criterion and number of examples.

    Each number is the median over runs and draws (`curves`: how many), and an alarm is given where more than half of
    them reach its limit, with how many do. used: the examples that the scores really come from, fewer than `examples`
    where the criterion is limited on a CPU.

    entropy: of the scores as shares of their sum, divided by log N (1: all alike). kept: the share of all scores
        still kept where the accuracy first falls below 90 % of the unpruned; 0 where it never does. lasted: the share
        of units off by then (%), and by_chance: the same in random orders of the same network. What is kept is worth an
        alarm only where a criterion lasts no longer than chance: squares are so uneven that nearly all is kept anyway.
        emptied: layers without a unit at the end. rise: the largest gain in accuracy as units go. together: the squared
        change of the output with a tenth of all units off, over the sum of the changes with one of them off.
    """
    rows = []
    for run in plan.runs:
        rows += _signatures_of(run, curves[(curves[list(RUN)] == pandas.Series(columns_of(run))).all(axis=1)])
    numbers = ["entropy", "kept", "lasted", "by_chance", "emptied", "rise", "together"]
    columns = ["criterion", "examples", "used", *numbers, *(f"{name}?" for name in ALARMS)]
    found = pandas.DataFrame(rows, columns=columns)
    groups = found.groupby(["criterion", "examples"], sort=False)
    table = groups[numbers].median().assign(curves=groups.size(), used=groups["used"].max())
    fired = groups[[f"{name}?" for name in ALARMS]].sum().astype(int)
    alarms = [
        ", ".join(f"{ALARMS[name]} ({row[f'{name}?']} of {size})" for name in ALARMS if 2 * row[f"{name}?"] > size)
        for size, (_, row) in zip(table["curves"], fired.iterrows(), strict=True)
    ]
    return table.assign(alarm=alarms).reset_index()[["criterion", "examples", "used", "alarm", *numbers, "curves"]]


def _signatures_of(run: profiles.Run, curves: pandas.DataFrame) -> list[dict]:
    scores, single = read_own(run, run.scores), read_own(run, run.oracle)["output"].to_numpy()
    fields = list(Cell._fields)
    by_cell = {cell: table["score"].to_numpy() for cell, table in scores.groupby(fields, observed=True)}
    measured = read_own(run, run.curves, filters=[("criterion", "=", "random")]).groupby("draw")
    chance = numpy.mean([_lasted(points) for _, points in measured]) if len(measured) else numpy.nan
    rows, seen = [], set()
    for cell, points in curves.groupby(fields, sort=False, observed=True):
        if cell not in by_cell:  # repeated for every number of examples, or measured on the spot
            cell = (cell[0], 0, cell[2], "random")
        if cell in by_cell and cell not in seen:
            seen.add(cell)
            by_chance = numpy.nan if cell[0].startswith("random") else chance
            found = _signature(points.sort_values("pruned"), by_cell[cell], single, by_chance)
            rows.append({"criterion": cell[0], "examples": cell[1], "used": points["used"].iloc[0]} | found)
    return rows


def _signature(points: pandas.DataFrame, values: numpy.ndarray, single: numpy.ndarray, chance: float) -> dict:
    order, sizes = numpy.argsort(values, kind="stable"), numpy.abs(values)
    total, first = sizes.sum(), order[: measurements.tenth(len(values))]
    shares = sizes[sizes > 0] / total if total else numpy.ones(1)
    accuracy = points["accuracy"].to_numpy()
    fallen = numpy.flatnonzero(accuracy < FALLEN * accuracy[0])
    gone = sizes[order[: points["pruned"].iloc[fallen[0]]]].sum() if len(fallen) else total
    found = {
        "entropy": float(-(shares * numpy.log(shares)).sum() / numpy.log(len(values))),
        "kept": float(1 - gone / total) if total else 0.0,
        "lasted": _lasted(points),
        "by_chance": chance,
        "emptied": int(points["emptied"].iloc[-1]),
        "rise": float((accuracy - numpy.minimum.accumulate(accuracy)).max()),
        "together": float(oracle.ratio(points["joint"].iloc[0], single[first].sum())),
    }
    alarms = {f"{name}?": found[name] >= limit for name, limit in LIMITS.items()}
    return found | alarms | {"kept?": alarms["kept?"] and found["lasted"] <= chance}


def _lasted(points: pandas.DataFrame) -> float:
    """The share of units off (%) where the accuracy first falls below 90 % of the unpruned, or where the curve ends."""
    points = points.sort_values("pruned")
    share, relative = 100 * points["pruned"] / points["units"], points["accuracy"] / points["accuracy"].iloc[0]
    below = numpy.flatnonzero(relative < FALLEN)
    if not len(below):
        return float(share.iloc[-1])
    around = slice(below[0] - 1, below[0] + 1)
    return float(numpy.interp(-FALLEN, -relative.iloc[around], share.iloc[around]))
