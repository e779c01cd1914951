"""What the study measures: scores and curves of every cell, and the tables that come of them.

Enters: a profile or one of its runs, with a trained checkpoint. Leaves: tidy tables, one row one observation. Each
cell that `ablations` asks for is scored and evaluated once per run, by `measure`; the ablations read (see `curves`),
and measure only what a reader asks for in addition.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product

import numpy
import pandas
import torch
from torch import nn

from lib import importance, oracle, pruning
from lib.images import datasets
from lib.study import ablations, devices, digests, loading, profiles, records, sampling
from lib.study.columns import PANEL, RUN, Cell, columns_of, read_own
from lib.study.parts import Parts

AT_A_TIME = 10  # curves, of which those that are finished are kept when the rest is interrupted
PATIENCE = 60  # seconds without a word
TENTH = 0.1  # of all units, off together where `measure` looks at their joint effect
SLOW = {"hrank": "maps", "chip": "maps", "exact": "exact"}  # on a CPU limited to the measuring setting of that name


def measure(
    run: profiles.Run,
    wanted: Sequence[Cell],
    device: torch.device | str,
    parts: Parts | None = None,
    report: Callable[[str], object] = lambda line: None,
) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Scores and evaluates every cell of `wanted` on the run's trained network.

    Arguments:
        parts: keeps what is finished, and has what an interrupted call finished: see `parts_of`.
        report: called now and then, at most once in `PATIENCE` seconds, with a line that says how far it is.

    Returns two tidy tables. curves, one row per point: the run's and the cell's columns, used (examples really scored
        on: fewer than asked for where a criterion is too slow for a CPU), units (N), what `pruning.curve` says, for
        long-tailed samples accuracy_common, _middle and _rare (on a third of the classes each), and joint (the squared
        change of the output with a tenth of all units off, on the oracle's images). scores, one row per unit: the same
        columns as far as used and units, then unit, score.
    """
    data, model, settings = sampling.Data.of(run, device), loading.model(run, device), run.settings["measuring"]
    keep = parts.table if parts else lambda name, make: make()
    tell, judged, curves, scores = _now_and_then(report), data.for_oracle(run), [], []
    for (sample, used), here in together(wanted, settings, torch.device(device)).items():
        scored = keep(["scores", *here], partial(score, run, data, model, sample, used, here, tell))
        scores.append(scored)
        for some in (here[start : start + AT_A_TIME] for start in range(0, len(here), AT_A_TIME)):
            curves.append(keep(["curves", *some], partial(evaluate, run, data, model, judged, scored, some)))
            tell(f"{sum(map(len, curves)) // settings['points']} of {len(wanted)} curves")
    return joined(curves), joined(scores)


def parts_of(run: profiles.Run, device: torch.device | str) -> Parts:
    """What an interrupted 10-measure of this run left, where data, network, code, settings and kind of device are the
    same."""
    rests_on = [datasets.load(run.dataset, split, run.data_folder).digest for split in datasets.SPLITS]
    rests_on += [records.digest(run.checkpoint), digests.code("10-measure")]
    device = torch.device(device)
    settings = [run.settings, run.threads, device.type, digests.pins()]
    return Parts(run.parts, [*rests_on, *settings], records.device_name(device))


def score(run, data, model, sample: Cell, used: int, here: Sequence[Cell], tell) -> pandas.DataFrame:
    """A row per criterion of `here` and unit, on the `used` examples of the draw `sample`."""
    seed = sampling.seed_for(sample.sample, run.seed, sample.draw)
    batches = data.batches(used, sample.sample, seed=seed, size=run.settings["measuring"]["batch"])
    found = importance.score(
        model,
        batches,
        [cell.criterion for cell in here],
        seed=seed,
        report=lambda examples: tell(f"scoring for {len(here)} curves: {examples} of {used} images"),
    )
    tables = []
    for name, values in found.items():
        columns = columns_of(run) | sample._replace(criterion=name)._asdict() | {"used": used, "units": len(values)}
        tables.append(pandas.DataFrame({"unit": numpy.arange(len(values)), "score": values.numpy()}).assign(**columns))
    return joined(tables)


def evaluate(
    run: profiles.Run,
    data: sampling.Data,
    model: nn.Module,
    judged: Sequence[tuple],
    scored: pandas.DataFrame,
    some: Sequence[Cell],
) -> pandas.DataFrame:
    """A row per point of the curves of `some` cells, which are among those `scored`: they differ in criterion only.

    Columns as in the curves of `measure`. `judged`: the oracle's images.
    """
    rows = [scored[scored["criterion"] == cell.criterion] for cell in some]
    sample, seed = some[0].sample, sampling.seed_for(some[0].sample, run.seed, some[0].draw)
    groups = sampling.bands(data.test_labels, len(data.train.classes), seed) if sample == "long-tailed" else None
    found = curves_by(run, data, model, rows, groups=groups)
    orders = list(map(order_of, rows))
    joint = oracle.joint(model, orders, tenth(len(orders[0])), judged)
    return found.assign(joint=numpy.repeat(joint, run.settings["measuring"]["points"]))


def curves_by(
    run: profiles.Run, data: sampling.Data, model: nn.Module, scored: Sequence[pandas.DataFrame], **how: object
) -> pandas.DataFrame:
    """Curves of the run's network, a row per point of each: the cell's columns, then what `pruning.curve` says.

    Arguments:
        scored: rows of a table of scores as `measure` returns it, of one cell each.
        how: as `pruning.curves` takes it.
    """
    points = run.settings["measuring"]["points"]
    found = pruning.curves(model, list(map(order_of, scored)), data.test_images, data.test_labels, points, **how)
    keys = [here.drop(columns=["unit", "score"]).iloc[0] for here in scored]
    return joined([table.assign(**columns) for table, columns in zip(found, keys, strict=True)])


def curves_anew(
    run: profiles.Run,
    data: sampling.Data,
    model: nn.Module,
    scores: pandas.DataFrame,
    cells: Sequence[Cell],
    keep: Callable[[object, Callable[[], pandas.DataFrame]], pandas.DataFrame],
    name: str,
    **how: object,
) -> pandas.DataFrame:
    """Curves as of `curves_by` of these cells of a table of scores, some at a time, by `keep` under a name: see
    `parts`."""
    by_cell, found = {Cell(*cell): here for cell, here in scores.groupby(list(Cell._fields), observed=True)}, []
    for some in (cells[start : start + AT_A_TIME] for start in range(0, len(cells), AT_A_TIME)):
        rows = [by_cell[cell] for cell in some]
        found.append(keep([name, *some], partial(curves_by, run, data, model, rows, **how)))
    return joined(found)


def order_of(scored: pandas.DataFrame) -> torch.Tensor:
    """The units of one cell in a table of scores, the least important first."""
    return pruning.order(torch.from_numpy(scored["score"].to_numpy(copy=True)))


def _now_and_then(report: Callable[[str], object]) -> Callable[[str], None]:
    """Passes a line on where the last one was long enough ago."""
    last = time.monotonic()

    def tell(line: str) -> None:
        nonlocal last
        if time.monotonic() - last > PATIENCE:
            last = time.monotonic()
            report(line)

    return tell


def tenth(total: int) -> int:
    """How many of so many units are off where `measure` looks at their joint effect."""
    return max(1, round(TENTH * total))


def measure_oracle(run: profiles.Run, device: torch.device | str) -> pandas.DataFrame:
    """What each unit of the run's network is really worth: one row per unit, with unit, layer, loss and output.

    On as many training images as the profile's measuring setting `oracle` says, each class alike; see `lib.oracle`.
    """
    data, model = sampling.Data.of(run, device), loading.model(run, device)
    batches = data.for_oracle(run)
    layers = [unit.name for unit in importance.units(model, batches[0][0][:1]) for _ in range(unit.size)]
    changes = {name: values.numpy() for name, values in oracle.score(model, batches).items()}
    table = pandas.DataFrame({"unit": numpy.arange(len(layers)), "layer": layers} | changes)
    return table.assign(**columns_of(run))[[*RUN, "unit", "layer", "loss", "output"]]


def together(wanted: Sequence[Cell], settings: Mapping[str, object], device: torch.device) -> dict:
    """The cells that can be scored in one go: {(their cell without criterion, examples really used): cells}."""
    groups: dict[tuple[Cell, int], list[Cell]] = {}
    for cell in wanted:
        criterion = importance.parse(cell.criterion)
        slow = SLOW.get(criterion.reduction) or SLOW.get(criterion.cotangent)
        limit = settings[slow] if slow and device.type == "cpu" else "all"
        used = cell.examples if limit == "all" else min(cell.examples, limit)
        groups.setdefault((cell._replace(criterion=""), used), []).append(cell)
    return groups


def curves(
    profile: profiles.Profile,
    notebook: str,
    extra: Iterable[str] = (),
    *,
    long_tailed: bool = False,
    all_draws: bool = False,
) -> pandas.DataFrame:
    """The rows of every run of `profile` that the ablation `notebook` compares; criteria without examples stand at
    each number.

    All tables show the first draw of so many examples, so that a criterion has one value wherever it stands, and two
    criteria are compared on the same examples; of `random`, which sees none, the mean over all its rankings counts.

    Arguments:
        extra: names of further criteria, which are measured on the spot.
        long_tailed: give the rows on the long-tailed set of examples, and not the others.
        all_draws: give those on further draws of examples, too, to see how draws differ.

    A run of a seed that has not been trained yet is made first, by its own notebooks.
    """
    tables = []
    for run in profile.runs:
        loading.complete(run)
        planned = ablations.cells(notebook, run.settings["measuring"], sampling.labels_of(run))
        planned = [cell for cell in planned if (cell.sample == "long-tailed") == long_tailed]
        planned = [cell for cell in planned if all_draws or not (cell.draw and cell.examples)]
        samples = dict.fromkeys(cell[1:] for cell in planned if cell.examples)
        for name, (examples, *draw) in product(extra, samples):
            planned += ablations.of_criterion(name, examples, [draw], run.settings["measuring"])
        table = read_own(run, run.curves)
        missing = set(planned) - set(cells_of(table))
        if missing:
            table = pandas.concat([table, measure(run, sorted(missing), devices.pick(run.device))[0]])
        asked = set(planned)
        numbers = dict.fromkeys(examples for examples, _, sample in samples if sample == "random")
        tables.append(at_every_number(table[[cell in asked for cell in cells_of(table)]], numbers))
    return joined(tables)


def measured(profile: profiles.Profile) -> pandas.DataFrame:
    """All curves of every run of `profile` on first random draws of examples, whatever notebook asked for them."""
    here = [("sample", "=", "random"), ("draw", "=", 0)]
    return pandas.concat([read_own(run, run.curves, filters=here) for run in profile.runs], ignore_index=True)


def summaries(curves: pandas.DataFrame) -> pandas.DataFrame:
    """One row per curve: the curve's columns, then what `pruning.summarise` says of it."""
    keys = [*RUN, *Cell._fields, "used", "units"]
    rows = [
        dict(zip(keys, key, strict=True)) | pruning.summarise(points.sort_values("pruned"), key[-1])
        for key, points in curves.groupby(keys, sort=False, observed=True)
    ]
    return pandas.DataFrame(rows, columns=None if rows else [*keys, "auc", "auc_relative"])


def on_most_examples(summary: pandas.DataFrame) -> pandas.DataFrame:
    """Of every criterion the rows on the largest number of examples that it was measured on, in each data set."""
    most = summary.groupby([*PANEL, "criterion"])["examples"].transform("max")
    return summary[summary["examples"] == most]


def cells_of(table: pandas.DataFrame) -> list[Cell]:
    return [Cell(*row) for row in table[list(Cell._fields)].itertuples(index=False, name=None)]


def at_every_number(table: pandas.DataFrame, numbers: Iterable[int]) -> pandas.DataFrame:
    """The table, in which the rows of criteria without examples stand at each of these numbers."""
    free = table[table["examples"] == 0]
    copies = [free.assign(examples=examples) for examples in numbers]
    return pandas.concat([table[table["examples"] > 0], *copies])


def joined(tables: Sequence[pandas.DataFrame]) -> pandas.DataFrame:
    """One table of several, the run's and the cell's columns first; empty ones, whose columns have no type, are left
    out, unless all are."""
    first = [*RUN, *Cell._fields, "used", "units"]
    named = [table for table in tables if len(table.columns)] or [pandas.DataFrame(columns=first)]
    table = pandas.concat([table for table in named if len(table)] or named[:1], ignore_index=True)
    return table[[*first, *(name for name in table.columns if name not in first)]]
