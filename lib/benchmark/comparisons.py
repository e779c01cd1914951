"""Benchmarks that compare: scoring, curves, the oracle and training, beside the obvious way and other tools.

Enters: how much to measure. Leaves: a table per benchmark, whose first task of each network is the yardstick.
"""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy
import pandas

from lib import importance, oracle, pruning
from lib.benchmark import floors, obvious, peers, subjects
from lib.benchmark.measuring import Effort, apart, measure, peak
from lib.benchmark.subjects import CLASSES, MORE, PIXELS, RANDOM, SETS
from lib.images import networks, training
from lib.network.taps import units_in
from lib.network.units import units

WORKERS = 2  # of the DataLoader
FLOOR = "its products alone"
IN_THE_LONG_RUN = ("one cotangent", "label and random")
RANKED = ("sq:rand:norm", "taylorfo", "l2")  # by what units go in the curves that are timed


def scoring(effort: Effort) -> pandas.DataFrame:
    """Sets of criteria in one call, and other tools for one criterion, on batches of random images.

    What comes once, such as the copy that scoring makes of the model, is within the time of a call, and not within that
    "in the long run".
    """
    return pandas.concat(apart(_scoring, name, effort) for name in effort.choose(["resnet20"], PIXELS | MORE))


def _scoring(name: str, effort: Effort) -> pandas.DataFrame:
    pixels, large = PIXELS | MORE, name != "resnet20"
    count = effort.choose(2, 4 if large else 8)
    model, batches = subjects.network(name, effort.device), subjects.batches(pixels[name], count, effort.device)
    alone = floors.products(model, batches[0][0], RANDOM[0])
    calls = {"plain pass": partial(obvious.each, batches, partial(obvious.plain_pass, model))}
    calls[FLOOR] = partial(obvious.each, batches, lambda *_: alone())
    for task, criteria in SETS.items() if name in PIXELS else ():
        calls[task] = partial(importance.score, model, batches, criteria)
    for task in IN_THE_LONG_RUN:
        begun = importance.Scoring(model, batches[0][0][:1], SETS[task])
        calls[f"{task}, in the long run"] = partial(begun.add, batches)
    if name in PIXELS:
        calls |= peers.installed(model, batches)
    criteria = {task: len(SETS.get(task.split(", ")[0], [task])) for task in calls}
    table = measure(calls, effort, rounds=min(effort.rounds, 3) if large else None)
    table = table.assign(network=name, batch=subjects.BATCH, examples=subjects.BATCH * len(batches))
    table["criteria"] = table["task"].map(criteria).where(~table["task"].isin(["plain pass", FLOOR]), 0)
    return table


def curves(effort: Effort) -> pandas.DataFrame:
    """Pruning curves; as many masked passes over all images; and as many plain ones, the yardstick."""
    images = effort.choose({"resnet20": 128}, {"resnet20": 1000, "vgg19": 256})
    return pandas.concat(apart(_curves, name, count, effort) for name, count in images.items())


def _curves(name: str, count: int, effort: Effort) -> pandas.DataFrame:
    model, points = subjects.network(name, effort.device), effort.choose(7, 31)
    ((images, labels),) = subjects.batches(PIXELS[name], 1, effort.device, count)
    few = [(images[: subjects.BATCH], labels[: subjects.BATCH])]
    scores = subjects.rankings(name, RANKED) or importance.score(model, few, RANKED)
    orders, layers = {by: pruning.order(scores[by]) for by in RANKED}, units(model, images[:1])
    calls = {
        "plain evaluations": partial(obvious.evaluate, model, images, points),
        "masked evaluations": partial(obvious.masked_curve, model, orders[RANKED[0]], layers, images, points),
    }
    for by, order in orders.items():
        calls[f"pruning curve, {by}"] = partial(pruning.curve, model, order, images, labels, points)
    table = measure(calls, effort, rounds=effort.choose(2, 3))
    table = table.assign(network=name, weights=subjects.weights(name), points=points)
    return table.assign(examples=count, batch=subjects.BATCH)


def oracles(effort: Effort) -> pandas.DataFrame:
    """The oracle of every unit; the yardstick is a masked pass for each, which some of the units stand for."""
    standing = effort.choose({"resnet20": 56}, {"resnet20": 28, "resnet56": 76})  # every so manieth
    return pandas.concat(apart(_oracles, name, every, effort) for name, every in standing.items())


def _oracles(name: str, every: int, effort: Effort) -> pandas.DataFrame:
    model = subjects.network(name, effort.device)
    batches = subjects.batches(32, 1, effort.device, effort.choose(16, 64 if name == "resnet20" else 32))
    images = batches[0][0]
    layers = units(model, images[:1])
    total = units_in(layers)
    calls = {
        "a masked pass per unit": partial(obvious.masked_passes, model, layers, images, range(0, total, every)),
        "oracle": partial(oracle.score, model, batches),
    }
    table = measure(calls, effort, rounds=effort.choose(1, 3), times={"a masked pass per unit": every})
    return table.assign(network=name, units=total, examples=len(images))


def whole_jobs(effort: Effort) -> pandas.DataFrame:
    """From a ResNet-50 to one without half of its units, ranked on 32 images of 64 pixels; the yardstick is
    torch-pruning by its own loop, where it is installed, which does not compare the answers."""
    return apart(_whole_jobs, effort)


def _whole_jobs(effort: Effort) -> pandas.DataFrame:
    name = effort.choose("resnet18", "resnet50")
    model = networks.build(name, CLASSES).to(effort.device).eval()
    ((images, labels),) = subjects.batches(64, 1, effort.device, 32)
    calls = peers.shrinking(model, images, labels) | {"score and slim": partial(_shrunk, model, images)}
    table = measure(calls, effort, rounds=effort.choose(1, 3))
    return table.assign(network=name, units=subjects.size(model), examples=len(images))


def _shrunk(model, images):
    scores = importance.score(model, [(images, None)], RANDOM[:1])[RANDOM[0]]
    return pruning.slim(model, scores, images[:1], budget=0.5, of="units")


def trainings(effort: Effort) -> pandas.DataFrame:
    """Steps of training a second, on a GPU in bfloat16 too, against the usual loop over a DataLoader in float32."""
    return apart(_trainings, effort)


def _trainings(effort: Effort) -> pandas.DataFrame:
    on_gpu = effort.device == "cuda"
    images = subjects.pictures(effort.choose(1024, 4096) * (8 if on_gpu else 1))
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


def _train(build, images, few, recipe: training.Recipe, device: str) -> None:
    training.train(build(), images, few, recipe, seed=0, device=device)


def _train_usually(build, images, recipe: training.Recipe, device: str) -> None:
    obvious.train_with_loader(build(), images, recipe, device, WORKERS)


def memory(effort: Effort) -> pandas.DataFrame:
    """Peak memory of tensors (MB) above what is there before, for a plain pass and for scoring."""
    rows = []
    for name in effort.choose(["resnet20"], PIXELS):
        model, batches = subjects.network(name, effort.device), subjects.batches(PIXELS[name], 4, effort.device)
        tasks = {"plain pass": (partial(obvious.each, batches[:1], partial(obvious.plain_pass, model)), 1, 0)}
        for task, criteria in {"sq": ["sq"], **SETS}.items():
            for count in (1, 4):
                call = partial(importance.score, model, batches[:count], criteria)
                tasks[f"{task}, {count * subjects.BATCH} examples"] = call, count, len(criteria)
        there = [*model.parameters(), *model.buffers(), *(tensor for batch in batches for tensor in batch)]
        for task, (call, count, criteria) in tasks.items():
            model.zero_grad(set_to_none=True)
            row = {"network": name, "task": task, "examples": count * subjects.BATCH, "criteria": criteria}
            rows.append(row | {"batch": subjects.BATCH, "peak_mb": peak(call, there)})
    table = pandas.DataFrame(rows)
    plain = table.groupby("network")["peak_mb"].transform("first")
    return table.assign(share=table["peak_mb"] / plain)


def imagenet(effort: Effort) -> pandas.DataFrame:
    """ResNet-50 on images of 224 pixels: scoring beside a plain pass, and decoding such photographs by one process."""
    return apart(_imagenet, effort)


def _imagenet(effort: Effort) -> pandas.DataFrame:
    model, count = networks.build("resnet50", 1000).to(effort.device).eval(), effort.choose(2, 32)
    batches = subjects.batches(224, 2, effort.device, count // 2)
    with tempfile.TemporaryDirectory() as folder:
        photographs = subjects.photographs(Path(folder), count)
        calls = {
            "plain pass": partial(obvious.each, batches, partial(obvious.plain_pass, model)),
            "scoring": partial(importance.score, model, batches, RANDOM[:1]),
            "decoding": lambda: [None for _ in photographs],
        }
        table = measure(calls, effort, rounds=effort.choose(1, 3))
    table.loc[table["task"] == "decoding", ["share", "share_low", "share_high"]] = numpy.nan  # it is not of the network
    table = table.assign(network="resnet50", units=subjects.size(model), examples=count, batch=count // 2)
    return table.assign(images_per_second=count / table["seconds"])
