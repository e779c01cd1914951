"""What a run's tables must be whatever was measured: every point, unit and epoch once, and numbers that are numbers.

Enters: the tables of a run, and the layers of its units. Leaves: what is odd about them, in words. Looking through all
rows takes no time, so nothing is left to a sample here; whether the numbers are right is for `verification`.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy
import pandas

from lib import pruning
from lib.study import ceilings, finetuning, profiles
from lib.study.columns import Cell

SINGLE = 1e-6  # of a number in single precision
_TINY = numpy.finfo("float32").tiny
_CELL = [*Cell._fields]


def odd(run: profiles.Run, tables: Mapping[str, pandas.DataFrame], layers: Sequence[str]) -> list[str]:
    """What is odd about the tables of a run, in words; nothing where all are as they should be.

    Arguments:
        tables: by their names: curves, scores, oracle, finetuning and, where they are there, repaired and silenced.
        layers: the name of the layer of every unit (N,).
    """
    points = pruning.steps(len(layers), run.settings["measuring"]["points"])
    said = []
    for name in ("curves", "repaired", "silenced"):
        if name in tables:
            said += _each_cell(name, tables[name], lambda rows: _curve(rows, points, len(layers)))
    said += _each_cell("scores", tables["scores"], lambda rows: _ranking(rows, len(layers)))
    said += [f"scores: {what}" for what in _repeated(tables["scores"])]
    said += [f"oracle: {what}" for what in _oracle(tables["oracle"], layers)]
    said += [f"scores: {what}" for what in _as_the_oracle(tables["scores"], tables["oracle"])]
    return said + [f"finetuning: {what}" for what in _epochs(run, tables["finetuning"])]


def _each_cell(name: str, table: pandas.DataFrame, judge: Callable[[pandas.DataFrame], str]) -> list[str]:
    """What `judge` says of the rows of a cell, once for all of which it says the same."""
    said: dict[str, list[Cell]] = {}
    for key, rows in table.groupby(_CELL, observed=True, sort=False):
        if what := judge(rows):
            said.setdefault(what, []).append(Cell(*key))
    return [f"{name}: {what}: {_some(cells)}" for what, cells in said.items()]


def _some(cells: Sequence[Cell]) -> str:
    first = cells[0]
    more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
    return f"{first.criterion} on {first.examples:,} images, draw {first.draw} ({first.sample}){more}"


def _curve(rows: pandas.DataFrame, points: Sequence[int], units: int) -> str:
    if sorted(rows["pruned"]) != list(points):
        return f"not each of {len(points)} points once"
    if not (rows["units"] == units).all():
        return f"not of {units} units"
    shares = rows[["accuracy", "macs", "parameters"]].to_numpy(float)
    if not ((shares >= 0) & (shares <= 1 + SINGLE)).all():
        return "accuracies and shares that are not from 0 to 1"
    return ""


def _ranking(rows: pandas.DataFrame, units: int) -> str:
    if list(rows["unit"]) != list(range(units)) or not (rows["units"] == units).all():
        return f"not each of {units} units once and in order"
    return "" if numpy.isfinite(rows["score"]).all() else "scores that are not finite"


def _repeated(scores: pandas.DataFrame) -> list[str]:
    """Draws that have the scores of another draw, as if the same examples had been drawn, or the same numbers."""
    found = []
    drawn = scores[scores["sample"] != ceilings.SAMPLE]
    for _, several in drawn.groupby(["criterion", "examples"], observed=True, sort=False):
        seen: dict[bytes, tuple] = {}
        for key, rows in several.groupby(_CELL, observed=True, sort=False):
            values = rows["score"].to_numpy("float32")
            if values.min() < values.max() and seen.setdefault(values.tobytes(), key) != key:
                found.append(Cell(*key))
    return [f"the same as of another draw: {_some(found)}"] if found else []


def _oracle(table: pandas.DataFrame, layers: Sequence[str]) -> list[str]:
    if list(table["unit"]) != list(range(len(layers))):
        return [f"not each of {len(layers)} units once and in order, but {len(table)} rows"]
    said = [] if list(table["layer"]) == list(layers) else ["units of other layers than the network's"]
    return said + ([] if numpy.isfinite(table[["loss", "output"]]).all(axis=None) else ["changes that are not finite"])


def _as_the_oracle(scores: pandas.DataFrame, oracle: pandas.DataFrame) -> list[str]:
    """Whether its orders are by what it says of units."""
    said = []
    for name, column in ceilings.ORACLES.items():
        own = scores.loc[scores["criterion"] == name, "score"].to_numpy(float)
        alike = len(own) == len(oracle) and numpy.allclose(own, oracle[column], rtol=SINGLE, atol=_TINY)
        if len(own) and not alike:
            said.append(f"{name} is not the oracle's change of the {column}")
    return said


def _epochs(run: profiles.Run, table: pandas.DataFrame) -> list[str]:
    """Whether each network was trained as long as its recipe says, and all its rows say the same of it."""
    if table.empty:
        return []
    said = []
    for key, rows in table.groupby([*finetuning.Network._fields], sort=False, observed=True):
        network = finetuning.Network(*key)
        until = finetuning.recipe(run.settings, network.training).epochs
        if list(rows["epoch"]) != list(range(until + 1)):
            said.append(f"not each of {until} epochs once and in order: {network.in_words()}")
        elif not ((rows["accuracy"] >= 0) & (rows["accuracy"] <= 1)).all():
            said.append(f"accuracies that are not from 0 to 1: {network.in_words()}")
        elif rows[["reached", "parameters", "multiply_adds", "accuracy_unpruned"]].nunique(dropna=False).max() > 1:
            said.append(f"more than one size, share or accuracy before: {network.in_words()}")
    if table["accuracy_unpruned"].nunique() > 1:
        said.append("more than one accuracy of the whole network")
    return said
