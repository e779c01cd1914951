"""Benchmarks of growth: time and memory of scoring by images, units, criteria and processes.

Enters: how much to measure. Leaves: a table per benchmark, with the power of the size by which time and memory grow.
"""

import json
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas
import torch
from torch import distributed

from lib import importance
from lib.benchmark import subjects
from lib.benchmark.measuring import Effort, exponent, measure, peak_of, seconds, spread
from lib.benchmark.subjects import CLASSES, RANDOM, SOURCES, Generated
from lib.images import networks


def by_images(effort: Effort) -> pandas.DataFrame:
    """Time and memory of scoring on up to 100,000 images, which are made batch by batch; half an hour on two cores."""
    model = subjects.network("resnet20", effort.device)
    sizes = effort.choose((64, 128), (1000, 3000, 10_000, 30_000, 100_000))
    return _growing("images", "resnet20", effort, {size: (model, Generated(size), RANDOM[:1]) for size in sizes})


def by_units(effort: Effort) -> pandas.DataFrame:
    """The same by the number of units, in wider and in deeper networks."""
    stream, tables = Generated(effort.choose(32, 1024)), []
    residual = partial(networks.SmallResNet, num_classes=CLASSES, in_channels=3)
    wider = [residual(1, widths=[width, 2 * width, 4 * width]) for width in effort.choose((4, 8), (4, 8, 16, 32, 64))]
    deeper = [residual(blocks) for blocks in effort.choose((1, 2), (1, 2, 4, 8, 16))]
    for of, models in (("width", wider), ("depth", deeper)):
        models = {subjects.size(model): model.to(effort.device).eval() for model in models}
        tables.append(_growing("units", of, effort, {n: (model, stream, RANDOM[:1]) for n, model in models.items()}))
    return pandas.concat(tables)


def by_criteria(effort: Effort) -> pandas.DataFrame:
    """The same by the number of criteria: all of one cotangent, or each with one of its own."""
    model, counts = subjects.network("resnet20", effort.device), (1, 2, 4, 8)
    stream = Generated(effort.choose(32, 1024))
    sets = {"one cotangent": RANDOM, "cotangents of their own": SOURCES}
    return pandas.concat(
        _growing("criteria", of, effort, {n: (model, stream, names[:n]) for n in effort.choose(counts[:2], counts)})
        for of, names in sets.items()
    )


def by_processes(effort: Effort) -> pandas.DataFrame:
    """The same by the number of processes of one thread each; memory is that of the largest."""
    counts, images, rows = (1, 2), effort.choose(64, 8192), []
    for count in counts:
        rounds = [_scored_in_processes(count, images, effort.device) for _ in range(effort.choose(1, effort.rounds))]
        row = {"size": count, "rounds": len(rounds)} | spread("seconds", [seconds for seconds, _ in rounds])
        rows.append(row | {"peak_mb": max(peak_mb for _, peak_mb in rounds)})
    table = pandas.DataFrame(rows).assign(images=images, units=784, criteria=1, processes=counts, threads_each=1)
    return _with_exponents(table.assign(grows="processes", series="resnet20", batch=subjects.BATCH))


def _growing(grows: str, series: str, effort: Effort, cases: Mapping[int, tuple]) -> pandas.DataFrame:
    """One row per size of (model, stream, criteria): seconds, peak_mb with the network's own, and their exponents."""
    calls = {size: partial(importance.score, *case) for size, case in cases.items()}
    table = measure(calls, effort, rounds=effort.choose(1, min(effort.rounds, 3)) if grows != "images" else 1)
    peaks = [peak_of(call, cases[size][0]) for size, call in calls.items()]
    facts = [{"images": len(stream), "units": subjects.size(model), "criteria": len(names), "processes": 1}
             for model, stream, names in cases.values()]  # fmt: skip
    table = table[["seconds", "seconds_low", "seconds_high", "rounds"]].assign(size=list(cases), peak_mb=peaks)
    table = pandas.concat([table, pandas.DataFrame(facts)], axis=1)
    return _with_exponents(table.assign(grows=grows, series=series, batch=subjects.BATCH))


def _with_exponents(table: pandas.DataFrame) -> pandas.DataFrame:
    found = {f"{name}_exponent": exponent(table["size"], table[name]) for name in ("seconds", "peak_mb")}
    first = ["grows", "series", "size", "seconds", "seconds_exponent", "peak_mb", "peak_mb_exponent"]
    table = table.assign(**found)
    return table[first + [name for name in table if name not in first]]


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
    model = subjects.network("resnet20", device)
    call = partial(importance.score, model, Generated(images), RANDOM[:1])
    importance.score(model, Generated(subjects.BATCH * count), RANDOM[:1])  # which ends with all of them together
    taken = seconds(call, device)
    Path(folder, f"rank-{rank}").write_text(json.dumps([taken, peak_of(call, model)]))
    distributed.destroy_process_group()
