"""How fast and how big scoring, pruning curves, the oracle and training are, beside the obvious way and other tools.

    python -m lib.benchmark.measuring [--quick] [--only scoring curves ...] [--rounds 5] [--threads 2] [--device auto]

Enters: names of benchmarks. Leaves: one table each in results/benchmarks/, and a figure of them all. Whatever is
compared takes turns within each of several rounds of one run, so that a machine that is busy for a while is so for all
of them; `share` is the time relative to the yardstick, the first task of its table, in the same round. Seconds and
shares are medians over rounds, `_low` and `_high` quartiles. Device, threads and versions are on each row.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy
import pandas
import torch
from PIL import Image
from torch import Tensor, distributed, nn
from torch.nn import functional

from lib import cost, importance, oracle, pruning, ranks, saving
from lib.benchmark import peers
from lib.images import datasets, folders, networks, training
from lib.report import cost_figures, outlook, style
from lib.running import reproduce
from lib.study import devices, paths, records
from lib.units import units

FOLDER = "results/benchmarks"
PIXELS = {"resnet20": 32, "vgg19": 32, "resnet18": 96}  # sizes of the images
CLASSES, BATCH, WORKERS, THREADS = 100, 64, 2, 2
WIDE = 2  # an upper quartile that is so many times the lower one says more of other programs than of the code
_ONE = ["taylorfo", "abs", "sq", "molchanov-bn", "taylorfo:norm", "abs:norm", "sq:norm", "molchanov-bn:norm"]
SETS = {  # name -> criteria scored in one call
    "one cotangent": _ONE,
    "label and random": _ONE + [f"{name.removesuffix(':norm')}:rand{':norm' * (':norm' in name)}" for name in _ONE],
    "molchanov-group": [f"molchanov-group{suffix}" for suffix in ("", ":norm", ":rand", ":rand:norm")],
}
TARGETS = {  # benchmark -> (network, task, share of the yardstick's time or memory that it should take at most)
    "scoring": (
        ("resnet20", "one cotangent", 0.65),
        ("vgg19", "one cotangent", 0.55),
        ("resnet18", "one cotangent", 0.55),
        ("resnet20", "label and random", 1.0),
        ("resnet20", "molchanov-group", 4.0),
        ("vgg19", "molchanov-group", 4.0),
        ("resnet18", "molchanov-group", 4.0),
    ),
    "curves": (("resnet20", "pruning curve", 0.70), ("vgg19", "pruning curve", 0.70)),
    "oracle": (("resnet20", "oracle", 1 / 2.5),),
    "memory": tuple((network, task, 1.0) for network in PIXELS for task in ("sq", *SETS)),
}

_RANDOM = [name.replace(":norm", "") + ":rand" + ":norm" * name.endswith(":norm") for name in ("sq:norm", *_ONE)]
_RANDOM = list(dict.fromkeys(_RANDOM))  # without labels, of one cotangent, the recommended one first
_SOURCES = [f"sq:{source}" for source in ("rand", "sign", "pseudo", "sampled", "ggn", "mas", "top", "orth")]

SHOWN = (  # on the terminal
    "grows", "series", "size", "network", "task", "examples", "criteria", "seconds", "seconds_low", "seconds_high",
    "share", "share_low", "share_high", "target", "seconds_exponent", "steps_per_second", "images_per_second",
    "peak_mb", "peak_mb_exponent",
)  # fmt: skip

Calls = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Effort:
    """How much to measure, and on what."""

    rounds: int = 5
    quick: bool = False
    device: str = "cpu"

    def choose(self, quick, full):
        """The first where a minute must do, else the second."""
        return quick if self.quick else full


def scoring(effort: Effort) -> pandas.DataFrame:
    """Sets of criteria in one call, and other tools for one criterion, on batches of random images.

    The copy that scoring makes of the model is within its time.
    """
    tables = []
    for name in effort.choose(["resnet20"], PIXELS):
        large = name != "resnet20"
        count = effort.choose(2, 4 if large else 8)
        model, batches = _network(name, effort.device), _batches(PIXELS[name], count, effort.device)
        calls = {"plain pass": partial(_each, batches, partial(peers.plain_pass, model))}
        for task, criteria in SETS.items():
            calls[task] = partial(importance.score, model, batches, criteria)
        calls |= _peers(model, batches)
        criteria = {task: len(SETS.get(task, [task])) for task in calls}
        table = measure(calls, effort, rounds=min(effort.rounds, 3) if large else None)
        table = table.assign(network=name, batch=BATCH, examples=BATCH * len(batches))
        table["criteria"] = table["task"].map(criteria).where(table["task"] != "plain pass", 0)
        tables.append(table)
    return pandas.concat(tables)


def curves(effort: Effort) -> pandas.DataFrame:
    """A pruning curve; as many masked passes over all images; and as many plain ones, the yardstick."""
    tables, points = [], effort.choose(7, 31)
    for name, count in effort.choose({"resnet20": 128}, {"resnet20": 1000, "vgg19": 500}).items():
        model, ((images, labels), *_) = _network(name, effort.device), _batches(PIXELS[name], 1, effort.device, count)
        usual = importance.score(model, [(images[:BATCH], labels[:BATCH])], ["sq:rand:norm"])["sq:rand:norm"]
        order, layers = pruning.order(usual), units(model, images[:1])
        calls = {
            "plain evaluations": partial(_evaluate, model, images, points),
            "masked evaluations": partial(_masked_curve, model, order, layers, images, points),
            "pruning curve": partial(pruning.curve, model, order, images, labels, points),
        }
        table = measure(calls, effort, rounds=effort.choose(2, 3))
        tables.append(table.assign(network=name, weights=_weights(name), points=points, examples=count, batch=BATCH))
    return pandas.concat(tables)


def oracles(effort: Effort) -> pandas.DataFrame:
    """The oracle of every unit; the yardstick is a masked pass for each, which some of the units stand for."""
    model, batches = _network("resnet20", effort.device), _batches(32, 1, effort.device, effort.choose(16, 64))
    images = batches[0][0]
    layers = units(model, images[:1])
    every = effort.choose(56, 28)
    total = sum(unit.size for unit in layers)
    calls = {
        "a masked pass per unit": partial(_masked_passes, model, layers, images, range(0, total, every)),
        "oracle": partial(oracle.score, model, batches),
    }
    table = measure(calls, effort, rounds=effort.choose(1, 3), times={"a masked pass per unit": every})
    return table.assign(network="resnet20", units=total, examples=len(images))


def trainings(effort: Effort) -> pandas.DataFrame:
    """Steps of training a second, on a GPU in bfloat16 too, against the usual loop over a DataLoader in float32."""
    on_gpu = effort.device == "cuda"
    images = _pictures(effort.choose(1024, 4096) * (8 if on_gpu else 1))
    few = replace(images, images=images.images[:1], labels=images.labels[:1])  # for the test after every epoch
    recipes = {"training": training.Recipe(epochs=1)}
    if on_gpu:
        recipes["training, bfloat16"] = training.Recipe(epochs=1, precision="bfloat16")
    tables = []
    for name in ["resnet20", "resnet56", "vgg19"] if on_gpu and not effort.quick else ["resnet20"]:
        build = partial(networks.build, name, CLASSES)
        calls = {"DataLoader loop": partial(_train_usually, build, images, recipes["training"], effort.device)}
        for task, recipe in recipes.items():
            calls[task] = partial(_train, build, images, few, recipe, effort.device)
        table = measure(calls, effort, rounds=effort.choose(1, 3))
        table["steps_per_second"] = -(-len(images) // training.Recipe.batch) / table["seconds"]
        tables.append(table.assign(network=name, batch=training.Recipe.batch, examples=len(images)))
    return pandas.concat(tables)


def memory(effort: Effort) -> pandas.DataFrame:
    """Peak memory of tensors (MB) above what is there before, for a plain pass and for scoring."""
    rows = []
    for name in effort.choose(["resnet20"], PIXELS):
        model, batches = _network(name, effort.device), _batches(PIXELS[name], 4, effort.device)
        tasks = {"plain pass": (partial(_each, batches[:1], partial(peers.plain_pass, model)), 1, 0)}
        for task, criteria in {"sq": ["sq"], **SETS}.items():
            for count in (1, 4):
                call = partial(importance.score, model, batches[:count], criteria)
                tasks[f"{task}, {count * BATCH} examples"] = call, count, len(criteria)
        there = [*model.parameters(), *model.buffers(), *(tensor for batch in batches for tensor in batch)]
        for task, (call, count, criteria) in tasks.items():
            model.zero_grad(set_to_none=True)
            row = {"network": name, "task": task, "examples": count * BATCH, "criteria": criteria}
            rows.append(row | {"batch": BATCH, "peak_mb": peak(call, there)})
    table = pandas.DataFrame(rows)
    plain = table.groupby("network")["peak_mb"].transform("first")
    return table.assign(share=table["peak_mb"] / plain)


def growth_with_images(effort: Effort) -> pandas.DataFrame:
    """Time and memory of scoring on up to 100,000 images, which are made batch by batch; half an hour on two cores."""
    model, sizes = _network("resnet20", effort.device), effort.choose((64, 128), (1000, 3000, 10_000, 30_000, 100_000))
    return _growing("images", "resnet20", effort, {size: (model, Generated(size), _RANDOM[:1]) for size in sizes})


def growth_with_units(effort: Effort) -> pandas.DataFrame:
    """The same by the number of units, in wider and in deeper networks."""
    stream, tables = Generated(effort.choose(32, 1024)), []
    residual = partial(networks.SmallResNet, num_classes=CLASSES, in_channels=3)
    wider = [residual(1, widths=[width, 2 * width, 4 * width]) for width in effort.choose((4, 8), (4, 8, 16, 32, 64))]
    deeper = [residual(blocks) for blocks in effort.choose((1, 2), (1, 2, 4, 8, 16))]
    for of, models in (("width", wider), ("depth", deeper)):
        models = {_size(model): model.to(effort.device).eval() for model in models}
        tables.append(_growing("units", of, effort, {n: (model, stream, _RANDOM[:1]) for n, model in models.items()}))
    return pandas.concat(tables)


def growth_with_criteria(effort: Effort) -> pandas.DataFrame:
    """The same by the number of criteria: all of one cotangent, or each with one of its own."""
    model, stream, counts = _network("resnet20", effort.device), Generated(effort.choose(32, 1024)), (1, 2, 4, 8)
    sets = {"one cotangent": _RANDOM, "cotangents of their own": _SOURCES}
    return pandas.concat(
        _growing("criteria", of, effort, {n: (model, stream, names[:n]) for n in effort.choose(counts[:2], counts)})
        for of, names in sets.items()
    )


def growth_with_processes(effort: Effort) -> pandas.DataFrame:
    """The same by the number of processes of one thread each; memory is that of the largest."""
    counts, images, rows = (1, 2), effort.choose(64, 8192), []
    for count in counts:
        rounds = [_scored_in_processes(count, images, effort.device) for _ in range(effort.choose(1, effort.rounds))]
        row = {"size": count, "rounds": len(rounds)} | _spread("seconds", [seconds for seconds, _ in rounds])
        rows.append(row | {"peak_mb": max(peak_mb for _, peak_mb in rounds)})
    table = pandas.DataFrame(rows).assign(images=images, units=784, criteria=1, processes=counts, threads_each=1)
    return _with_exponents(table.assign(grows="processes", series="resnet20", batch=BATCH))


def imagenet(effort: Effort) -> pandas.DataFrame:
    """ResNet-50 on images of 224 pixels: scoring beside a plain pass, and decoding such photographs by one process."""
    model, count = networks.build("resnet50", 1000).to(effort.device).eval(), effort.choose(2, 32)
    batches = _batches(224, 2, effort.device, count // 2)
    with tempfile.TemporaryDirectory() as folder:
        photographs = _photographs(Path(folder), count)
        calls = {
            "plain pass": partial(_each, batches, partial(peers.plain_pass, model)),
            "scoring": partial(importance.score, model, batches, _RANDOM[:1]),
            "decoding": lambda: [None for _ in photographs],
        }
        table = measure(calls, effort, rounds=effort.choose(1, 3))
    table.loc[table["task"] == "decoding", ["share", "share_low", "share_high"]] = numpy.nan  # it is not of the network
    table = table.assign(network="resnet50", units=_size(model), examples=count, batch=count // 2)
    return table.assign(images_per_second=count / table["seconds"])


def _photographs(folder: Path, count: int) -> folders.Stream:
    """Files as ImageNet has them: JPEGs of 500 x 375 pixels, some 100 kB each."""
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        coarse = functional.interpolate(torch.rand(1, 3, 24, 32, generator=generator), (375, 500), mode="bicubic")[0]
        noisy = 255 * coarse + 12 * torch.randn(3, 375, 500, generator=generator)
        pixels = noisy.clamp(0, 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{number:06d}.jpg", quality=90)
    return folders.stream(folder, 224)


BENCHMARKS = {
    "scoring": scoring, "curves": curves, "oracle": oracles, "training": trainings, "memory": memory,
    "growth-images": growth_with_images, "growth-units": growth_with_units, "growth-criteria": growth_with_criteria,
    "growth-processes": growth_with_processes, "imagenet": imagenet,
}  # fmt: skip


# ---- measuring ----------------------------------------------------------------------------------------------------


def measure(
    calls: Calls, effort: Effort, *, rounds: int | None = None, times: Mapping[str, float] | None = None
) -> pandas.DataFrame:
    """One row per call, in turns over `rounds` rounds after one that does not count; the first one is the yardstick.

    Arguments:
        times: name -> by how much its time counts, for calls that do a part of the work.

    Returns task, seconds, seconds_low, seconds_high, share, share_low, share_high (quartiles), rounds.
    """
    rounds, yardstick, times = rounds or effort.rounds, next(iter(calls)), times or {}
    taken, tasks = [], list(calls)
    for turn in range(rounds + 1):
        start = turn % len(tasks)  # who comes after whom matters: memory that one leaves warm is free for the next
        order = tasks[start:] + tasks[:start]
        taken.append({task: _seconds(calls[task], effort.device) * times.get(task, 1) for task in order})
    rows = []
    for task in calls:
        row = {"task": task} | _spread("seconds", [turn[task] for turn in taken[1:]])
        row |= _spread("share", [turn[task] / turn[yardstick] for turn in taken[1:]])
        rows.append(row | {"rounds": rounds})
    return pandas.DataFrame(rows)


def _spread(name: str, values: list[float]) -> dict[str, float]:
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {name: statistics.median(values), f"{name}_low": low, f"{name}_high": high}


def _seconds(call: Callable[[], object], device: str) -> float:
    if device != "cuda":
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def peak(call: Callable[[], object], there: Iterable[Tensor]) -> float:
    """By how much (MB) the memory of tensors grows at most while `call` runs, beside those that are `there` before."""
    gc.collect()
    there = list(there)
    return (cost.peak_bytes(call, there) - cost.stored_bytes(there)) / cost.MB


def exponent(sizes: Iterable[float], values: Iterable[float]) -> float:
    """With which power of the size the values grow: the slope of their logarithms, by least squares; NaN for fewer than
    three sizes, through which a line always fits."""
    sizes, values = list(sizes), list(values)
    return float(numpy.polyfit(numpy.log(sizes), numpy.log(values), 1)[0]) if len(sizes) > 2 else numpy.nan


def _growing(grows: str, series: str, effort: Effort, cases: Mapping[int, tuple]) -> pandas.DataFrame:
    """One row per size of (model, stream, criteria): seconds, peak_mb with the network's own, and their exponents."""
    calls = {size: partial(importance.score, *case) for size, case in cases.items()}
    table = measure(calls, effort, rounds=effort.choose(1, min(effort.rounds, 3)) if grows != "images" else 1)
    peaks = [_peak_mb(call, cases[size][0]) for size, call in calls.items()]
    facts = [{"images": len(stream), "units": _size(model), "criteria": len(names), "processes": 1}
             for model, stream, names in cases.values()]  # fmt: skip
    table = table[["seconds", "seconds_low", "seconds_high", "rounds"]].assign(size=list(cases), peak_mb=peaks)
    table = pandas.concat([table, pandas.DataFrame(facts)], axis=1)
    return _with_exponents(table.assign(grows=grows, series=series, batch=BATCH))


def _with_exponents(table: pandas.DataFrame) -> pandas.DataFrame:
    found = {f"{name}_exponent": exponent(table["size"], table[name]) for name in ("seconds", "peak_mb")}
    first = ["grows", "series", "size", "seconds", "seconds_exponent", "peak_mb", "peak_mb_exponent"]
    table = table.assign(**found)
    return table[first + [name for name in table if name not in first]]


def _peak_mb(call: Callable[[], object], model: nn.Module) -> float:
    return cost.peak_bytes(call, [*model.parameters(), *model.buffers()]) / cost.MB


def _scored_in_processes(count: int, images: int, device: str) -> tuple[float, float]:
    """Seconds from the first to start to the last to end, their own start not counted, and the largest peak in MB."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_score_as_one_of, (count, images, device, folder), nprocs=count)
        found = [json.loads(path.read_text()) for path in Path(folder).glob("rank-*")]
    return tuple(max(values) for values in zip(*found, strict=True))


def _score_as_one_of(rank: int, count: int, images: int, device: str, folder: str) -> None:
    torch.set_num_threads(1)
    if device == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    model = _network("resnet20", device)
    call = partial(importance.score, model, Generated(images), _RANDOM[:1])
    importance.score(model, Generated(BATCH * count), _RANDOM[:1])  # which ends with all of them together
    seconds = _seconds(call, device)
    Path(folder, f"rank-{rank}").write_text(json.dumps([seconds, _peak_mb(call, model)]))
    distributed.destroy_process_group()


def shares(folder: Path) -> pandas.DataFrame:
    """Of all saved benchmarks of networks in time: benchmark, network, task (number of criteria), share, ..."""
    found = {name: pandas.read_csv(folder / f"{name}.csv") for name in BENCHMARKS if (folder / f"{name}.csv").exists()}
    parts = [table.assign(benchmark=name) for name, table in found.items() if {"share_low", "network"} <= set(table)]
    table = pandas.concat(parts).dropna(subset="share") if parts else pandas.DataFrame()
    if "criteria" in table:
        several = table["criteria"].fillna(0) > 0
        table.loc[several, "task"] += table["criteria"][several].map(lambda count: f" ({count:.0f})")
    return table


def with_targets(name: str, table: pandas.DataFrame) -> pandas.DataFrame:
    """The table of the benchmark `name` with a column target, as `TARGETS` says; NaN where there is none, and no column
    where the benchmark has none."""
    if name not in TARGETS:
        return table
    targets = {(network, task): share for network, task, share in TARGETS[name]}
    tasks = table["task"].str.replace(r", \d+ examples$", "", regex=True)  # in the table of memory
    return table.assign(target=[targets.get(key, numpy.nan) for key in zip(table["network"], tasks, strict=True)])


def _sum_up(folder: Path) -> None:
    """A figure of all saved tables, and what follows for much larger runs."""
    if said := outlook.imagenet(folder):
        (folder / "imagenet.md").write_text(f"# {outlook.TITLE}\n\n{said}\n")
    table = shares(folder)
    if len(table):
        style.theme()
        style.save(cost_figures.benchmarks(table), folder, "shares")


# ---- what is measured ---------------------------------------------------------------------------------------------


def _weights(network: str) -> str:
    """The checkpoint that a published or another profile has of this network, or "random"."""
    found = sorted((paths.ROOT / "results").glob(f"**/cifar100-{network}/seed-*/checkpoint.safetensors"))
    return found[0].relative_to(paths.ROOT).as_posix() if found else "random"


def _network(name: str, device: str) -> nn.Module:
    """In eval mode and the default layout; trained, where there is a checkpoint of this study."""
    model = networks.build(name, CLASSES)
    if (weights := _weights(name)) != "random":
        saving.restore(model, paths.ROOT / weights)
    return model.to(device).eval()


def _batches(pixels: int, count: int, device: str, size: int | None = None) -> list[tuple[Tensor, Tensor]]:
    size, generator = size or BATCH, torch.Generator().manual_seed(0)
    images = torch.randn(count * size, 3, pixels, pixels, generator=generator).to(device)
    labels = torch.randint(0, CLASSES, (count * size,), generator=generator).to(device)
    return list(zip(images.split(size), labels.split(size), strict=True))


@dataclass(frozen=True)
class Generated:
    """Batches of random images (3, pixels, pixels), made as they are asked for, so that any number takes the memory of
    one batch; an image depends on its number alone. A stream, as `importance.score` shares among processes."""

    end: int
    start: int = 0
    pixels: int = 32

    def __len__(self) -> int:
        return self.end - self.start

    def __iter__(self) -> Iterator[tuple[Tensor, None, Tensor]]:
        for start in range(self.start, self.end, BATCH):
            indices = torch.arange(start, min(start + BATCH, self.end))
            yield torch.stack([self._image(index) for index in indices.tolist()]), None, indices

    def first(self, count: int) -> "Generated":
        """The first `count` of them."""
        return replace(self, end=self.start + count)

    def share(self, rank: int, count: int, whole: int) -> "Generated":
        """What `rank` among `count` takes, in runs of `whole`: see `ranks.mine`."""
        start, end = ranks.bounds(len(self), rank, count, whole)
        return replace(self, start=self.start + start, end=self.start + end)

    def _image(self, index: int) -> Tensor:
        return torch.randn(3, self.pixels, self.pixels, generator=torch.Generator().manual_seed(index))


def _size(model: nn.Module) -> int:
    example = torch.zeros(1, 3, 32, 32, device=next(model.parameters()).device)
    return sum(unit.size for unit in units(model.eval(), example))


def _each(batches: Iterable[tuple[Tensor, Tensor]], call: Callable[[Tensor, Tensor], object]) -> None:
    for images, labels in batches:
        call(images, labels)


def _pictures(count: int) -> datasets.ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    return datasets.ImageSet(pixels, labels, tuple(map(str, range(CLASSES))), "random", "train")


def _train(build, images, few, recipe: training.Recipe, device: str) -> None:
    training.train(build(), images, few, recipe, seed=0, device=device)


def _train_usually(build, images, recipe: training.Recipe, device: str) -> None:
    peers.train_with_loader(build(), images, recipe, device, WORKERS)


def _peers(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> Calls:
    calls = {}
    for name, peer in peers.PEERS.items():
        try:
            scores = [peer(model, images, labels) for images, labels in batches]
        except ImportError:
            python = Path(sys.executable)
            python = python.relative_to(paths.ROOT) if python.is_relative_to(paths.ROOT) else python
            print(f"{name} is left out: it is not installed ({python} -m pip install '.[bench]')", file=sys.stderr)
            continue
        calls[name] = lambda scores=scores: [score() for score in scores]
    return calls


@torch.no_grad()
def _evaluate(model: nn.Module, images: Tensor, repeats: int = 1) -> None:
    for _ in range(repeats):
        for part in images.split(BATCH):
            model(part).argmax(1)


def _masked_curve(model: nn.Module, order: Tensor, layers: list, images: Tensor, points: int) -> None:
    for k in pruning.steps(len(order), points):
        with pruning.masked(model, order, k, layers):
            _evaluate(model, images)


def _masked_passes(model: nn.Module, layers: list, images: Tensor, numbers: Iterable[int]) -> None:
    total = sum(unit.size for unit in layers)
    for number in numbers:
        with pruning.masked(model, torch.arange(total).roll(-number), 1, layers):
            _evaluate(model, images)


# ---- the command line ---------------------------------------------------------------------------------------------


def _facts(device: str, threads: int) -> dict[str, object]:
    facts = {"date": datetime.now(UTC).date().isoformat(), "commit": _commit()}
    facts |= {"device": device, "device_name": records.device_name(torch.device(device)), "threads": threads}
    for package in ("torch", "torch-pruning", "captum"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "none"
    return facts | {"python": platform.python_version()}


def _commit() -> str:
    """Of the code, with a plus where it has been changed since; "" outside a clone."""
    return records.git("describe", "--always", "--abbrev=7", "--dirty=+", "--exclude=*") or ""


def _shown(table: pandas.DataFrame) -> str:
    """The columns to look at, rounded; all of them are saved."""
    shown = table[[name for name in SHOWN if name in table]].dropna(axis=1, how="all")
    return shown.round(3).to_string(index=False, na_rep="")


def _warn_if_busy() -> None:
    load, cores = os.getloadavg()[0], reproduce.cores()
    if load > cores / 2:
        print(f"The load average is {load:.1f} on {cores} cores: other programs are at work, and threads that wait for "
              "their turn distort times; wait until they are done, or try THREADS=1", file=sys.stderr)  # fmt: skip


def _warn_if_wide(name: str, table: pandas.DataFrame) -> None:
    """Of times whose quartiles are far apart; of a single round there are none."""
    if "seconds_low" not in table:
        return
    wide = int((table["seconds_high"] > WIDE * table["seconds_low"]).sum())
    if wide:
        print(f"{name}: in {wide} of {len(table)} rows the upper quartile of the seconds is over {WIDE} times the "
              "lower: the machine was busy, so measure again", file=sys.stderr)  # fmt: skip


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = argparse.ArgumentParser(prog="python -m lib.benchmark.measuring", description="Time this study's code.")
    made.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), metavar="NAME")
    made.add_argument("--quick", action="store_true", help="a minute, of the smallest network; saves nothing")
    made.add_argument("--rounds", type=int, default=None)
    made.add_argument("--threads", default="", help=f"of the computation ({THREADS})")
    made.add_argument("--device", default="auto", help="auto, cpu or cuda")
    made.add_argument("--folder", default=None, help="where tables and the figure go, quick ones too")
    return made


def main(words: Iterable[str] | None = None) -> int:
    """The command line; returns the exit status."""
    asked = parser().parse_args(words)
    try:
        threads = reproduce.parse_count("THREADS", asked.threads) or THREADS
        device = devices.pick(asked.device).type
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    effort = Effort(asked.rounds or (2 if asked.quick else 5), asked.quick, device)
    folder = asked.folder or (None if asked.quick else paths.from_here(FOLDER))
    facts = _facts(device, threads)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    _warn_if_busy()
    with _threads(threads):
        for name in asked.only:
            table = with_targets(name, BENCHMARKS[name](effort)).assign(**facts)
            print(f"\n{name}\n{_shown(table)}", flush=True)
            _warn_if_wide(name, table)
            if folder is not None:
                records.save_table(table, Path(folder) / f"{name}.csv")
    if folder is not None:
        _sum_up(Path(folder))
        print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
