"""A sample of what was measured, measured again: does today's code find the same on today's machine?

Enters: a run and its tables of curves, of scores and of single units. Leaves: a row per cell drawn, with what was found
before, what is found now and whether they agree. Which are drawn follows from today's code and the run. A curve is
evaluated anew by the scores that it was measured with, and these are compared with new ones: what rounding changes of
scores that nearly tie may turn their order round, and with it a curve. Nothing that takes long is done again: of cells
on many images, and the oracle's orders, only the curves are. Since an edit may change one criterion alone, every
criterion is scored again somewhere, or named as one that was not.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy
import pandas
import torch
from torch import nn

from lib import importance, oracle, pruning
from lib.study import ablations, ceilings, digests, loading, measurements, profiles, repairs, sampling, silencing
from lib.study.columns import Cell, columns_of, read_own

CELLS = 5  # of a run that are scored again, and as many of the others whose curves alone are evaluated again
PASSES = 6000  # backward passes of one image each that scoring a cell again may take
ROWS_OF_MAPS = 10  # as many passes a criterion that decomposes feature maps takes, roughly

# What counts as the same: published scores are in single precision, and rounding may flip an image at a point, or a
# ReLU of an image: on another processor single scores on few images moved by .004 of the largest, and no curve did. Of
# `quick`'s, against what earlier code had left, 99 of 100 units stayed within .0035 of themselves and what is usual in
# their layer, and that far only where random gradients of 1,347 images nearly cancel in a signed sum, else in .0003.
SCORES = 1e-2  # of the largest score, for any unit
SCORE = 1e-2  # of a unit's own score and the median of its layer, for all but
NOTHING = 1e-6  # of the largest score: as good as none
ODD, ODD_OF_LAYER = 0.01, 0.05  # of all units, and of the units of any layer (a single one always may)
ORDER = 1e-3  # by how much the rank correlation of scores may lie below 1
GAPS = 1e-5  # of two scores that follow each other, as a share of them, below which rounding may turn them round
IMAGES = 2  # that a point of a curve may have right or wrong in addition
BIAS = 0.5  # images more or less, in the mean over a curve's points
CHANGES = 1e-4  # of a change of the output, squared, or of the loss
NO_CHANGE = 1e-6  # below which such a change is rounding
SHARES = 1e-9  # of what is left of multiply-adds and parameters, which are counted


@dataclass(frozen=True)
class Drawn:
    """A cell of the sample, scored on `used` images; `rescored`: again, too."""

    cell: Cell
    used: int
    rescored: bool


def draw(
    run: profiles.Run, curves: pandas.DataFrame, scores: pandas.DataFrame, cells: int, classes: int
) -> list[Drawn]:
    """The sample of a run's cells that both tables have: as many as `cells` of those that are scored in no time, and of
    the others."""
    scored = set(measurements.cells_of(scores[[*Cell._fields]].drop_duplicates()))
    there = curves[[*Cell._fields, "used"]].drop_duplicates().itertuples(index=False, name=None)
    there = sorted((Cell(*key), int(used)) for *key, used in there if Cell(*key) in scored)
    quick = [
        cell.sample != ceilings.SAMPLE and _passes(cell.criterion, used, classes) <= PASSES for cell, used in there
    ]
    generator = numpy.random.default_rng(seed(run))
    found = []
    for rescored in (True, False):
        some = [one for one, is_quick in zip(there, quick, strict=True) if is_quick == rescored]
        mixed = [some[place] for place in generator.permutation(len(some))]
        found += [Drawn(*one, rescored) for one in _of_every_kind(mixed)[:cells]]
    return found


def _of_every_kind(mixed: Sequence[tuple[Cell, int]]) -> list[tuple[Cell, int]]:
    """The same, first one of each sample, number of examples and first or later draw, then a second of each."""
    seen: dict[tuple, int] = {}
    turns = []
    for cell, _ in mixed:
        kind = (cell.sample, cell.examples, cell.draw > 0)
        turns.append(seen.get(kind, 0))
        seen[kind] = turns[-1] + 1
    return [mixed[place] for place in numpy.argsort(turns, kind="stable")]


def seed(run: profiles.Run) -> int:
    """Of what is drawn of a run."""
    return int(hashlib.sha256(f"{digests.code('10-measure')} {run.label}".encode()).hexdigest()[:16], 16)


def _passes(name: str, used: int, classes: int) -> int:
    criterion = importance.parse(name)
    each = {"exact": classes}.get(criterion.cotangent, criterion.probes)
    return used * (ROWS_OF_MAPS if criterion.reduction in measurements.SLOW else each)


def cells(
    run: profiles.Run,
    curves: pandas.DataFrame,
    scores: pandas.DataFrame,
    device: torch.device | str,
    count: int = CELLS,
) -> Iterator[dict[str, object]]:
    """Checks a sample of the run's cells, and yields a row for each as soon as it is there.

    A row holds the run's and the cell's columns, used, rescored, before and now (relative auc), images (by how many the
    two curves differ where they do most), scores (the largest difference, as a share of the largest score; NaN if not
    rescored), and differs: in words what does not agree, "" where all does.
    """
    data, model = sampling.Data.of(run, device), loading.model(run, device)
    judged, layers = data.for_oracle(run), _layers(model, data)
    for drawn in draw(run, curves, scores, count, len(data.train.classes)):
        points, values = _of_cell(curves, drawn.cell), _of_cell(scores, drawn.cell).astype({"score": "float64"})
        now = measurements.evaluate(run, data, model, judged, values, [drawn.cell])
        images, odd = _compared(points, now, _counts(run, data, drawn.cell), values["score"].to_numpy())
        off = numpy.nan
        if drawn.rescored:
            again = measurements.score(run, data, model, drawn.cell, drawn.used, [drawn.cell], lambda line: None)
            off = _off(values["score"].to_numpy(), again["score"].to_numpy())
            odd += _scored(values["score"], again["score"], layers)
        row = columns_of(run) | drawn.cell._asdict() | {"used": drawn.used, "rescored": drawn.rescored}
        row |= {"before": _auc(points), "now": _auc(now), "images": images, "scores": off}
        yield row | {"differs": _apart_in_words(drawn.cell, row, odd)}


def criteria(
    run: profiles.Run, curves: pandas.DataFrame, scores: pandas.DataFrame, device: torch.device | str
) -> tuple[list[str], list[str], list[str]]:
    """Scores every criterion again in the cell on most images that does not take long; returns the criteria that were,
    those that were not since each of their cells takes long (the oracle's orders follow from its table, which
    `consistency` sees to), and what does not agree, in words."""
    data, model = sampling.Data.of(run, device), loading.model(run, device)
    there = draw(run, curves, scores, len(curves), len(data.train.classes))
    quick = [one for one in there if one.rescored]
    chosen = {one.cell.criterion: one for one in sorted(quick, key=lambda one: (one.used, one.cell))}
    known = {*ceilings.ORACLES, *chosen}
    slow = {one.cell.criterion for one in there} - known
    groups, layers = {}, _layers(model, data)
    for one in chosen.values():
        groups.setdefault((one.cell._replace(criterion=""), one.used), []).append(one.cell)
    odd = []
    for (sample, used), here in groups.items():
        again = measurements.score(run, data, model, sample, used, here, lambda line: None)
        for cell in here:
            before, now = (_of_cell(table, cell)["score"].astype(float) for table in (scores, again))
            odd += [f"{_named(cell)}: {what}" for what in _scored(before, now, layers)]
    return sorted(chosen), sorted(slow), odd + _rescored(run, data, model, scores, layers)


def _rescored(run: profiles.Run, data: sampling.Data, model: nn.Module, scores: pandas.DataFrame, layers) -> list[str]:
    """What does not agree of the one of `ceilings` that is scored in no time."""
    odd, batches = [], data.for_oracle(run)
    for cell in sorted(_cells_of(scores[scores["sample"] == ceilings.SAMPLE])):
        if cell.criterion == ceilings.RESCORED:
            again = importance.score(model, batches, [cell.criterion], seed=sampling.seed_for(cell.sample, run.seed))
            before, now = _of_cell(scores, cell)["score"].astype(float), pandas.Series(again[cell.criterion].numpy())
            odd += [f"{_named(cell)}: {what}" for what in _scored(before, now, layers)]
    return odd


def otherwise(
    run: profiles.Run, scores: pandas.DataFrame, device: torch.device | str, count: int = CELLS
) -> Iterator[dict[str, object]]:
    """Checks a sample of the curves with repair, and of those of units silenced in front of BatchNorm, as `cells` does.

    A row holds the run's and the cell's columns, way, before, now, images and differs.
    """
    data, generator = sampling.Data.of(run, device), numpy.random.default_rng(seed(run))
    for way, module, table, asked in _ways(run, scores, device):
        there = sorted(asked & _cells_of(table) & _cells_of(scores))
        chosen = [there[place] for place in generator.permutation(len(there))[:count]]
        again = module.measure(run, scores, device, only=chosen) if chosen else table
        for cell in chosen:
            points, now = _of_cell(table, cell), _of_cell(again, cell)
            ranking = _of_cell(scores, cell)["score"].to_numpy(float)
            images, odd = _compared(points, now, _counts(run, data, cell), ranking)
            row = columns_of(run) | cell._asdict() | {"way": way, "before": _auc(points), "now": _auc(now)}
            yield row | {"images": images, "differs": _apart_in_words(cell, row, odd)}


def asked_for(run: profiles.Run, *tables: pandas.DataFrame) -> list[pandas.DataFrame]:
    """The rows of these tables of cells that today's code asks for."""
    asked = {*ablations.wanted(run)}
    return [
        table[[cell in asked or cell.sample == ceilings.SAMPLE for cell in measurements.cells_of(table)]]
        for table in tables
    ]


def layers_of(run: profiles.Run, device: torch.device | str) -> list[str]:
    """The name of the layer of every unit of the run's network."""
    model, data = loading.model(run, device), sampling.Data.of(run, device)
    return [unit.name for unit in importance.units(model, data.test_images[:1]) for _ in range(unit.size)]


def lacking(
    run: profiles.Run, curves: pandas.DataFrame, scores: pandas.DataFrame, device: torch.device | str
) -> list[str]:
    """What of the run's tables nobody can tell to be right, in words: cells that one has and another lacks, and such as
    today's code asks for and they lack, or the reverse."""
    count = sum(len(images) for images, *_ in sampling.Data.of(run, device).for_oracle(run))
    asked = {*ablations.wanted(run), *ceilings.wanted(run, count)}
    there, ranked = _cells_of(curves), _cells_of(scores)
    odd = [("curves without scores", there - ranked), ("scores without curves", ranked - there)]
    odd += [("curves that are asked for are not there", asked - there), ("curves that nobody asks for", there - asked)]
    for way, _, table, asked in _ways(run, scores, device):
        odd += [(f"curves {way} that are asked for are not there", asked - _cells_of(table))]
        odd += [(f"curves {way} that nobody asks for", _cells_of(table) - asked)]
    return [f"{len(cells)} {what}, such as {_named(min(cells))}" for what, cells in odd if cells]


def _ways(run: profiles.Run, scores: pandas.DataFrame, device: torch.device | str) -> Iterator[tuple]:
    """The curves that are measured otherwise: in words, their module, their table, and the cells asked for today."""
    asked = set(repairs.wanted(run, scores, device))
    yield "with repair", repairs, read_own(run, run.repaired), asked
    yield "silenced in front of BatchNorm", silencing, read_own(run, run.silenced), set(silencing.wanted(run))


def _cells_of(table: pandas.DataFrame) -> set[Cell]:
    return set(measurements.cells_of(table[[*Cell._fields]].drop_duplicates()))


def _of_cell(table: pandas.DataFrame, cell: Cell) -> pandas.DataFrame:
    here = (table[name] == value for name, value in cell._asdict().items())
    return table[numpy.logical_and.reduce([*here])].reset_index(drop=True)


def _layers(model: nn.Module, data: sampling.Data) -> numpy.ndarray:
    """The number of the layer of every unit."""
    sizes = [unit.size for unit in importance.units(model, data.test_images[:1])]
    return numpy.repeat(numpy.arange(len(sizes)), sizes)


def _scored(before: pandas.Series, now: pandas.Series, layers: numpy.ndarray) -> list[str]:
    """What does not agree of two columns of scores, in words. Arguments: layers: the number of every unit's layer."""
    before, now = before.reset_index(drop=True), now.reset_index(drop=True)
    if not len(before) == len(now) == len(layers):
        return [f"scores are of {len(before)} and of {len(now)} units, and the network has {len(layers)}"]
    off = _off(before.to_numpy(float), now.to_numpy(float))
    if not off <= SCORES:
        return [f"scores differ by {off:.0e} of the largest"]
    usual = now.abs() + now.abs().groupby(layers).transform("median") + NOTHING * now.abs().max()
    others = (before - now).abs() > SCORE * usual
    if others.sum() > max(1, ODD * len(others)):
        return [f"scores of {others.sum()} of {len(others)} units differ by more than {SCORE:g} of what is usual"]
    by_layer = others.groupby(layers).agg(["sum", "size"])
    full = by_layer[by_layer["sum"] > (ODD_OF_LAYER * by_layer["size"]).clip(lower=1)]
    if len(full):
        odd, size = full.iloc[0]
        where = f"layer {full.index[0] + 1}"
        return [f"scores of {odd} of {size} units of {where} differ by more than {SCORE:g} of what is usual there"]
    if 1 in (before.nunique(), now.nunique()):  # without an order
        return [] if before.nunique() == now.nunique() else ["scores are all the same, before or now alone"]
    alike = before.corr(now, method="spearman")
    return [] if alike >= 1 - ORDER else [f"scores have a rank correlation of {alike:.4f}"]


def _off(before: numpy.ndarray, now: numpy.ndarray) -> float:
    """The largest difference, as a share of the largest score."""
    if len(before) != len(now) or not numpy.isfinite([*before, *now]).all():
        return numpy.inf
    return float(numpy.abs(before - now).max() / (numpy.abs(now).max() or 1.0))


def _counts(run: profiles.Run, data: sampling.Data, cell: Cell) -> dict[str, int]:
    """How many images each accuracy of a curve is on."""
    counts = {"accuracy": len(data.test_labels)}
    if cell.sample == "long-tailed":
        seed = sampling.seed_for(cell.sample, run.seed, cell.draw)
        bands = sampling.bands(data.test_labels, len(data.train.classes), seed)
        counts |= {f"accuracy_{name}": int(here.sum()) for name, here in bands.items()}
    return counts


def _compared(
    before: pandas.DataFrame, now: pandas.DataFrame, counts: Mapping[str, int], scores: numpy.ndarray
) -> tuple[float, list[str]]:
    """By how many images two curves differ where they do most, and what does not agree."""
    if lacking := [name for name in now if name not in before]:
        return numpy.nan, [f"there was no {lacking[0]}"]
    before = before.sort_values("pruned", ignore_index=True)
    if list(before["pruned"]) != list(now["pruned"]):
        return numpy.nan, ["its points are others"]
    sure = _sure(scores, before["pruned"])
    if not sure[before["pruned"].between(1, len(scores) - 1)].any():
        return numpy.nan, ["its scores tie wherever units go"]
    found = [_apart(before[name], now[name])[sure] * count for name, count in counts.items()]
    images = float(numpy.max([0.0, *pandas.concat(found).abs().round()]))
    odd = [] if images <= IMAGES else [f"{images:.0f} images at a point"]
    bias = abs(found[0].mean())
    odd += [f"{bias:.1f} images too many or too few on average"] if not odd and bias > BIAS else []
    alike = {"emptied": (0, 0), "macs": (0, SHARES), "parameters": (0, SHARES), "joint": (CHANGES, NO_CHANGE)}
    alike |= {"repaired_on": (0, 0)}
    for name in [name for name in alike if name in now]:
        relative, least = alike[name]
        close = numpy.isclose(before[name], now[name], rtol=relative, atol=least)
        close |= ~(_sure(scores, [measurements.tenth(len(scores))] * len(close)) if name == "joint" else sure)
        if not close.all():
            odd.append(f"{name} was {before[name][~close].iloc[0]:.4g}, is {now[name][~close].iloc[0]:.4g}")
    return images, odd


def _apart(before: pandas.Series, now: pandas.Series) -> pandas.Series:
    """By how much two accuracies differ; NaN where one alone is, as of a group without images."""
    return (before - now).mask(before.isna() & now.isna(), 0.0)


def _sure(scores: numpy.ndarray, numbers: Iterable[int]) -> numpy.ndarray:
    """For every number of units off, whether rounding leaves no doubt which: the last that goes is less than the first
    that stays."""
    ordered = numpy.sort(scores.astype("float32").astype(float))
    gaps = numpy.diff(ordered) > GAPS * numpy.abs(ordered[1:])
    return numpy.array([number in (0, len(ordered)) or bool(gaps[number - 1]) for number in numbers])


def _auc(points: pandas.DataFrame) -> float:
    points = points.sort_values("pruned")
    unpruned = points["accuracy"].iloc[0]
    return pruning.auc(points["pruned"], points["accuracy"]) / unpruned if unpruned else numpy.nan


def _apart_in_words(cell: Cell, row: Mapping[str, object], odd: Sequence[str]) -> str:
    """What does not agree of a row's cell; "" where all does."""
    aucs = f"relative auc was {row['before']:.4f}, is {row['now']:.4f}"
    return f"{_named(cell)}: {aucs} ({', '.join(odd)})" if odd else ""


def _named(cell: Cell) -> str:
    return f"{cell.criterion} on {cell.examples:,} images, draw {cell.draw} ({cell.sample})"


def units(run: profiles.Run, table: pandas.DataFrame, device: torch.device | str, count: int = CELLS) -> list[str]:
    """What does not agree, in words, of a sample of the oracle's units, at least one of each layer: the changes
    of output and loss with one off."""
    data, model = sampling.Data.of(run, device), loading.model(run, device)
    before, layers = table.set_index("unit"), _layers(model, data)
    if sorted(before.index) != list(range(len(layers))):
        return [f"it is of {len(before)} units, and the network has {len(layers)}"]
    mixed = numpy.random.default_rng(seed(run)).permutation(len(before))
    first = numpy.unique(layers[mixed], return_index=True)[1]  # where one of each layer comes first
    chosen = numpy.array(list(dict.fromkeys([*mixed[first], *mixed[:count]])))
    now = oracle.score(model, data.for_oracle(run), only=torch.from_numpy(chosen))
    odd = []
    for unit, (what, values) in product(chosen, now.items()):
        was, found = before.loc[unit, what], values[unit].item()
        if not numpy.isclose(was, found, rtol=CHANGES, atol=NO_CHANGE):
            odd.append(f"unit {unit}: the change of the {what} was {was:.4g}, is {found:.4g}")
    return odd
