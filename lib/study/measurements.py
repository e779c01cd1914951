"""What the study measures: one literal table of ablations, the curves each needs, and the tables that come of them.

Enters: a profile or one of its runs, with a trained checkpoint. Leaves: tidy tables, one row one observation. Each
distinct (criterion, examples, draw) is scored and evaluated once per run, by `measure`, whatever the number of
ablations that ask for it; the ablations read (see `curves`), and measure only what a reader asks for in addition.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy
import pandas
import torch
from torch import Tensor, nn

from lib import importance, oracle, pruning, saving
from lib.images import datasets, networks
from lib.rivals import WEIGHT_RIVALS
from lib.study import devices, digests, paths, profiles, records, vocabulary
from lib.study.parts import Parts

PAPER = tuple(
    f"{reduction}{cotangent}{norm}"
    for reduction, cotangent, norm in product(
        ("taylorfo", "molchanov-bn", "molchanov-group", "abs", "sq"), ("", ":rand"), ("", ":norm")
    )
    if norm or reduction not in ("abs", "sq")
)  # the 16 criteria of the paper's Figures 1 and 2
UNNORMALISED = ("abs", "sq", "abs:rand", "sq:rand")  # which the paper should have shown too
BASELINES = ("random", "l2")
SOURCES = ("rand", "rand:norm", "rand-length", "sign", "pseudo", "sampled", "ggn", "mas", "top", "exact")
BANDS = ("common", "middle", "rare")  # thirds of the classes of a long-tailed set of examples
AT_A_TIME = 10  # curves, of which those that are finished are kept when the rest is interrupted
PATIENCE = 60  # seconds without a word
TENTH = 0.1  # of all units, off together where `measure` looks at their joint effect
SLOW = {"hrank": "maps", "chip": "maps", "exact": "exact"}  # on a CPU limited to the measuring setting of that name
NO_GRADIENT = ("l1", "l2", "bn-scale", "fpgm", "lamp", "apoz", "act-mean", "act-std", "hrank", "chip", "synflow")
LABEL_FREE = (
    *(f"{r}:rand{n}" for r, n in product(("abs", "taylorfo", "molchanov-bn", "molchanov-group"), (":norm", ""))),
    *("abs-pixel:rand", "sq-pixel:rand"),
    *(f"sq:{source}" for source in SOURCES if source != "rand-length"),
    *("random", *NO_GRADIENT),
)


@dataclass(frozen=True)
class Ablation:
    """What one notebook compares: `criteria`, on the numbers of examples in the profile's measuring setting `examples`.

    With `repeats`, further draws of the examples are measured too, as many as the profile's `draws`, and as many
    stratified by class where there are examples for every class. With `alike`, no criterion sees more examples than
    `exact` may on a CPU. With `by_reduction`, criteria that the paper has not are left out unless the profile's
    `reductions` has theirs. `long_tailed` names the criteria that are measured on a long-tailed set of examples too.
    """

    question: str
    criteria: tuple[str, ...]
    examples: str
    repeats: bool = False
    alike: bool = False
    by_reduction: bool = False
    long_tailed: tuple[str, ...] = ()


def _normalised(reductions: Iterable[str]) -> tuple[str, ...]:
    names = ("", ":norm", ":batch", ":score", ":score-layer", ":layer")
    everything = (f"{r}{c}{n}" for r, c, n in product(reductions, ("", ":rand"), names))
    return tuple(name for name in everything if not (name.startswith("molchanov-group") and ":score" in name))


ABLATIONS: dict[str, Ablation] = {
    "12-first-experiments": Ablation(
        "Must the gradient come from labels, and does its length matter?",
        (
            *(f"{r}{c}" for c, r in product(("", ":rand-length", ":norm", ":rand:norm"), ("taylorfo", "abs", "sq"))),
            *BASELINES,
        ),
        examples="panels",
    ),
    "15-replication": Ablation(
        "Do the paper's curves come out again?",
        (*PAPER, *UNNORMALISED, "sq:exact", *BASELINES),
        examples="panels",
    ),
    "20-normalization": Ablation(
        "Does equal weight for every example help, and does it matter where the weight is equalised?",
        _normalised(vocabulary.REDUCTIONS),
        examples="ablations",
        by_reduction=True,
        long_tailed=("abs", "abs:norm", "sq", "sq:norm", "sq:rand:norm"),
    ),
    "30-sign": Ablation(
        "What is the sign of a contribution worth?",
        (
            *("taylorfo", "signed", "pos", "neg", "abs", "sq", "abs-pixel", "sq-pixel"),
            *(
                "taylorfo:rand",
                "abs:rand",
                "sq:rand",
                "abs-pixel:rand",
                "sq-pixel:rand",
                "abs:rand-sign",
                "sq:rand-sign",
            ),
        ),
        examples="ablations",
    ),
    "40-label-scarcity": Ablation(
        "How many examples does a criterion need, and must they have labels?",
        ("taylorfo", "sq:norm", "sq:rand:norm", *BASELINES),
        examples="scarcity",
        repeats=True,
    ),
    "50-gradient-source": Ablation(
        "What must be sent back?",
        ("sq", *(f"sq:{source}" for source in SOURCES), "sq:rand@4:norm", "sq:rand@16:norm"),
        examples="ablations",
        alike=True,
    ),
    "60-rivals": Ablation(
        "Which label-free criterion?",
        (*LABEL_FREE, *(f"{name}:layer" for name in LABEL_FREE)),
        examples="ablations",
    ),
}


class Cell(NamedTuple):
    """One curve to measure: a criterion on one draw of so many examples (0 for criteria that use none).

    `sample`: "random"; "stratified", as many of each class as can be; "long-tailed", the commonest class a hundred
    times as often as the rarest.
    """

    criterion: str
    examples: int
    draw: int = 0
    sample: str = "random"


def cells(notebook: str, settings: Mapping[str, object], labels: Tensor) -> list[Cell]:
    """The curves that the ablation `notebook` needs, with a profile's `measuring` settings and the training set's
    labels (M,).

    Raises ValueError where the settings ask for more examples than there are.
    """
    ablation, found, available = ABLATIONS.get(notebook), [], len(labels)
    if ablation is None:  # a notebook that only reads what others ask for
        return []
    for examples in settings[ablation.examples]:
        count = available if examples == "all" else examples
        if count > available:
            raise ValueError(f"{notebook}: {count} examples asked for, but there are only {available} training images")
        if ablation.alike and settings["exact"] != "all":
            count = min(count, settings["exact"])
        draws = [(0, "random")]
        if ablation.repeats and count < available:
            kinds = ("random", "stratified") if count > labels.max() else ("random",)
            draws = [(draw, sample) for sample in kinds for draw in range(settings["draws"])]
        for name in ablation.criteria:
            if not ablation.by_reduction or _is_wanted(name, settings):
                found += _of_criterion(name, count, draws, settings)
    if ablation.long_tailed:
        count = len(_long_tailed(labels, 0))
        found += [Cell(name, count, 0, "long-tailed") for name in ablation.long_tailed]
    return list(dict.fromkeys(found))


def wanted(run: profiles.Run) -> list[Cell]:
    """Every curve that the ablations of the run's profile need, each once, those on the same examples together."""
    labels = _labels(run)
    asked = [cell for name in run.plan.notebooks for cell in cells(name, run.settings["measuring"], labels)]
    return sorted(dict.fromkeys(asked), key=lambda cell: cell[1:])


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
    data, model, settings = Data.of(run, device), load_model(run, device), run.settings["measuring"]
    keep = parts.table if parts else lambda name, make: make()
    tell, judged, curves, scores = _now_and_then(report), data.for_oracle(run), [], []
    for (sample, used), here in _together(wanted, settings, torch.device(device)).items():
        scored = keep(["scores", *here], partial(_score, run, data, model, sample, used, here, tell))
        scores.append(scored)
        for some in (here[start : start + AT_A_TIME] for start in range(0, len(here), AT_A_TIME)):
            curves.append(keep(["curves", *some], partial(_evaluate, run, data, model, judged, scored, some)))
            tell(f"{sum(map(len, curves)) // settings['points']} of {len(wanted)} curves")
    return _tidy(curves), _tidy(scores)


def parts_of(run: profiles.Run, device: torch.device | str) -> Parts:
    """What an interrupted 10-measure of this run left, where data, network, code, settings and device are the same."""
    rests_on = [datasets.load(run.dataset, split, run.data_folder).digest for split in datasets.SPLITS]
    rests_on += [records.digest(run.checkpoint), digests.code("10-measure")]
    settings = [run.settings, run.threads, records.device_name(torch.device(device)), digests.pins()]
    return Parts(run.parts, [*rests_on, *settings])


def _score(run, data, model, sample, used, here: Sequence[Cell], tell) -> pandas.DataFrame:
    """A row per criterion of `here` and unit, on the `used` examples of the draw `sample`."""
    seed = _seed(sample.sample, run.seed, sample.draw)
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
        columns = _columns(run) | sample._replace(criterion=name)._asdict() | {"used": used, "units": len(values)}
        tables.append(pandas.DataFrame({"unit": numpy.arange(len(values)), "score": values.numpy()}).assign(**columns))
    return _tidy(tables)


def _evaluate(run, data, model, judged, scored: pandas.DataFrame, some: Sequence[Cell]) -> pandas.DataFrame:
    """A row per point of the curves of `some` cells, which are among those `scored`: they differ in criterion only."""
    rows = [scored[scored["criterion"] == cell.criterion] for cell in some]
    orders = [pruning.order(torch.from_numpy(here["score"].to_numpy(copy=True))) for here in rows]
    sample, seed = some[0].sample, _seed(some[0].sample, run.seed, some[0].draw)
    groups = _bands(data.test_labels, len(data.train.classes), seed) if sample == "long-tailed" else None
    points = run.settings["measuring"]["points"]
    found = pruning.curves(model, orders, data.test_images, data.test_labels, points, groups=groups)
    joint = oracle.joint(model, orders, tenth(len(orders[0])), judged)
    keys = [here.drop(columns=["unit", "score"]).iloc[0] for here in rows]
    tables = zip(found, joint, keys, strict=True)
    return _tidy([table.assign(joint=change, **columns) for table, change, columns in tables])


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
    data, model = Data.of(run, device), load_model(run, device)
    batches = data.for_oracle(run)
    layers = [unit.name for unit in importance.units(model, batches[0][0][:1]) for _ in range(unit.size)]
    changes = {name: values.numpy() for name, values in oracle.score(model, batches).items()}
    table = pandas.DataFrame({"unit": numpy.arange(len(layers)), "layer": layers} | changes)
    return table.assign(**_columns(run))[[*RUN, "unit", "layer", "loss", "output"]]


def _together(wanted: Sequence[Cell], settings: Mapping[str, object], device: torch.device) -> dict:
    """The cells that can be scored in one go: {(their cell without criterion, examples really used): cells}."""
    groups: dict[tuple[Cell, int], list[Cell]] = {}
    for cell in wanted:
        criterion = importance.parse(cell.criterion)
        slow = SLOW.get(criterion.reduction) or SLOW.get(criterion.cotangent)
        limit = settings[slow] if slow and device.type == "cpu" else "all"
        used = cell.examples if limit == "all" else min(cell.examples, limit)
        groups.setdefault((cell._replace(criterion=""), used), []).append(cell)
    return groups


@dataclass(frozen=True)
class Data:
    """The images of a run, normalised: a training set to score on, and the part of the test set that curves use."""

    train: datasets.ImageSet
    train_images: Tensor
    test_images: Tensor
    test_labels: Tensor

    @classmethod
    def of(cls, run: profiles.Run, device: torch.device | str) -> "Data":
        train, test = (datasets.load(run.dataset, split, run.data_folder) for split in ("train", "test"))
        count = run.settings["measuring"]["test_images"]
        limited = count != "all" and torch.device(device).type == "cpu"
        kept = datasets.subset(test, count, seed=0, stratified=True) if limited else slice(None)
        moments = datasets.statistics(train.images)
        pixels = (datasets.normalise(images, *moments).to(device) for images in (train.images, test.images[kept]))
        return cls(train, *pixels, test.labels[kept])

    def batches(self, examples: int, sample: str, *, seed: int, size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Batches (images, labels, indices) of a draw of so many training examples; of one for criteria that use
        none."""
        if sample == "long-tailed":
            chosen = _long_tailed(self.train.labels, seed)
        else:
            chosen = datasets.subset(self.train, max(examples, 1), seed=seed, stratified=sample == "stratified")
        return [(self.train_images[part], self.train.labels[part], part) for part in chosen.split(size)]

    def for_oracle(self, run: profiles.Run) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The training images on which units are judged one by one or together, each class alike, in batches."""
        settings = run.settings["measuring"]
        count, seed = min(settings["oracle"], len(self.train)), _seed("oracle", run.seed)
        return self.batches(count, "stratified", seed=seed, size=settings["batch"])


def load_model(run: profiles.Run, device: torch.device | str) -> nn.Module:
    """The run's trained network, in eval mode on `device`.

    Raises FileNotFoundError before it has been trained, ValueError naming the file where it is damaged or not the one
    that the training's record tells of.
    """
    train = datasets.load(run.dataset, "train", run.data_folder)
    model = networks.build(run.network, len(train.classes), train.images.shape[1])
    saving.restore(model, run.checkpoint)
    _require_as_recorded(run)
    return model.to(device, memory_format=torch.channels_last)


def _require_as_recorded(run: profiles.Run) -> None:
    path = run.record("00-train")
    if not path.exists():  # a training by hand, without its notebook
        return
    told = json.loads(path.read_text()).get("checkpoint")
    if told != records.digest(run.checkpoint):
        problem = f"{run.checkpoint} is not the one that {path} tells of (SHA-256)"
        raise ValueError(f"{problem}: delete both, and make reproduce trains {run.label} anew")


def curves(
    profile: profiles.Profile, notebook: str, extra: Iterable[str] = (), *, long_tailed: bool = False
) -> pandas.DataFrame:
    """The rows of every run of `profile` that the ablation `notebook` compares; criteria without examples stand at
    each number.

    Arguments:
        extra: names of further criteria, which are measured on the spot.
        long_tailed: give the rows on the long-tailed set of examples, and not the others.

    A run of a seed that has not been trained yet is made first, by its own notebooks.
    """
    tables = []
    for run in profile.runs:
        complete(run)
        planned = cells(notebook, run.settings["measuring"], _labels(run))
        planned = [cell for cell in planned if (cell.sample == "long-tailed") == long_tailed]
        samples = dict.fromkeys(cell[1:] for cell in planned if cell.examples)
        for name, (examples, *draw) in product(extra, samples):
            planned += _of_criterion(name, examples, [draw], run.settings["measuring"])
        table = pandas.read_parquet(run.curves)
        missing = set(planned) - set(_cells_of(table))
        if missing:
            table = pandas.concat([table, measure(run, sorted(missing), devices.pick(run.device))[0]])
        asked = set(planned)
        tables.append(_at_every_number(table[[cell in asked for cell in _cells_of(table)]], samples))
    return _tidy(tables)


def comparing(notebooks: Iterable[str], criteria: Iterable[str]) -> str | None:
    """The first of these notebooks whose ablation has all of these criteria; None where none has."""
    asked = {name: ABLATIONS[name].criteria for name in notebooks if name in ABLATIONS}
    return next((name for name, there in asked.items() if set(criteria) <= set(there)), None)


def measured(profile: profiles.Profile) -> pandas.DataFrame:
    """All curves of every run of `profile` on first random draws of examples, whatever notebook asked for them."""
    here = [("sample", "=", "random"), ("draw", "=", 0)]
    return pandas.concat([pandas.read_parquet(run.curves, filters=here) for run in profile.runs], ignore_index=True)


def complete(run: profiles.Run) -> None:
    """Makes what is missing of a run, by the commands of its records; raises RuntimeError where that fails."""
    for notebook, output in (("00-train", run.checkpoint), ("10-measure", run.finetuning)):
        if not output.exists():
            words = [sys.executable, *records.command_words(notebook, run)]
            done = subprocess.run(words, cwd=paths.ROOT, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{run.label}: {done.stderr.strip() or done.stdout.strip()}")


def summaries(curves: pandas.DataFrame) -> pandas.DataFrame:
    """One row per curve: the curve's columns, then what `pruning.summarise` says of it."""
    keys = [*RUN, *Cell._fields, "used", "units"]
    rows = [
        dict(zip(keys, key, strict=True)) | pruning.summarise(points.sort_values("pruned"), key[-1])
        for key, points in curves.groupby(keys, sort=False, observed=True)
    ]
    return pandas.DataFrame(rows, columns=None if rows else [*keys, "auc", "auc_relative"])


RUN = ("dataset", "network", "seed")


def _labels(run: profiles.Run) -> Tensor:
    return datasets.load(run.dataset, "train", run.data_folder).labels


def _frequency_rank(labels: Tensor, classes: int, seed: int) -> Tensor:
    """For each label the place of its class, from the commonest (0) to the rarest of a long-tailed set, by seed."""
    return torch.from_numpy(numpy.random.default_rng(seed).permutation(classes))[labels]


def _bands(labels: Tensor, classes: int, seed: int) -> dict[str, Tensor]:
    """Which labels are of the commonest third of the classes of a long-tailed set, the middle one and the rarest."""
    third = _frequency_rank(labels, classes, seed) * 3 // classes
    return {name: third == number for number, name in enumerate(BANDS)}


def _long_tailed(labels: Tensor, seed: int) -> Tensor:
    return datasets.long_tailed(_frequency_rank(labels, int(labels.max()) + 1, seed), ratio=100, seed=seed)


def _columns(run: profiles.Run) -> dict[str, object]:
    return {name: asdict(run)[name] for name in RUN}


_PURPOSES = ("random", "stratified", "long-tailed", "oracle")


def _seed(purpose: str, *parts: int) -> int:
    """A seed of its own for each purpose and parts, so that no two draws share a permutation."""
    return int(numpy.random.SeedSequence([1000 + _PURPOSES.index(purpose), *parts]).generate_state(1)[0])


def _is_wanted(name: str, settings: Mapping[str, object]) -> bool:
    criterion = importance.parse(name)
    beyond_paper = criterion.normalisation in ("batch", "score", "score-layer") or criterion.layer
    return not beyond_paper or criterion.reduction in settings["reductions"]


def _of_criterion(name: str, examples: int, draws: Iterable[Sequence], settings: Mapping[str, object]) -> list[Cell]:
    """Its cells on some draws (draw, sample) of examples; what uses none has one, and chance draws of its own."""
    reduction = importance.parse(name).reduction
    if reduction in WEIGHT_RIVALS:
        return [Cell(name, 0, draw) for draw in range(settings["chance"] if reduction == "random" else 1)]
    return [Cell(name, examples, *draw) for draw in draws]


def _cells_of(table: pandas.DataFrame) -> list[Cell]:
    return [Cell(*row) for row in table[list(Cell._fields)].itertuples(index=False, name=None)]


def _at_every_number(table: pandas.DataFrame, samples: Iterable[tuple[int, int, str]]) -> pandas.DataFrame:
    free = table[table["examples"] == 0]
    numbers = dict.fromkeys(examples for examples, _, sample in samples if sample == "random")
    copies = [free.assign(examples=examples) for examples in numbers]
    return pandas.concat([table[table["examples"] > 0], *copies])


def _tidy(tables: Sequence[pandas.DataFrame]) -> pandas.DataFrame:
    first = [*RUN, *Cell._fields, "used", "units"]
    table = pandas.concat(tables, ignore_index=True) if len(tables) else pandas.DataFrame(columns=first)
    return table[[*first, *(name for name in table.columns if name not in first)]]
