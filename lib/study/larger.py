"""Larger networks on larger images: how time and memory grow, and what shrinking such a network saves.

Enters: a profile's settings `larger`, and a folder of images in ImageNet's layout where there is one. Leaves: tidy
tables of time and peak memory by network and number of images, of the costs before and after shrinking, and pruning
curves. Images are streamed, so memory does not depend on their number. Accuracies are for networks with real weights
on real images alone: an untrained network's time and memory are those of a trained one, and its accuracy says nothing.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import pandas
import torch
from torch import Tensor, nn

from lib import cost, importance, pruning
from lib.images import folders, networks
from lib.network import checks, models
from lib.network.taps import units_in
from lib.scoring import ranks
from lib.scoring.batches import shared
from lib.study import devices, profiles, shrinking
from lib.study.shrinking import CRITERION

CLASSES = 1000  # of ImageNet
BUDGETS = (0.5,)  # of all multiply-adds, removed


@dataclass(frozen=True)
class Images:
    """Where the images are: `to_score` without labels, `to_test` with them; `real` is false for digits scaled up."""

    to_score: folders.Stream
    to_test: folders.Stream
    real: bool


def images(plan: profiles.Profile, aside: str | os.PathLike) -> Images:
    """The streams that the profile's settings ask for, from <data>/<folder>/{train,val}, ImageNet's layout.

    Arguments:
        aside: an empty folder for the stand-in that is made where the data folder has none: as many of the embedded
            digits as are asked for, scaled up.

    Raises FileNotFoundError for one of train and val without the other, ValueError for fewer images than asked for.
    """
    settings, splits = plan.larger, plan.larger_folders
    most, real = max(settings["images"]), splits[0].parent.is_dir()
    if not real:
        splits = [folders.write_digits(aside, split, settings["pixels"], most) for split in ("train", "test")]
    train, test = (
        folders.stream(split, settings["pixels"], batch=settings["batch"], labelled=labelled)
        for split, labelled in zip(splits, (False, True), strict=True)
    )
    return Images(train.first(most), test.first(most), real)


def facts(plan: profiles.Profile, found: Images) -> pandas.DataFrame:
    """One row that says what was measured on what: images, weights, pixels, batch, and the device."""
    device = devices.pick(plan.device)
    return pandas.DataFrame(
        {
            "images": ["a folder in ImageNet's layout" if found.real else "digits scaled up"],
            "weights": ["torchvision's" if plan.larger["pretrained"] else "untrained"],
            "pixels": [plan.larger["pixels"]],
            "batch": [plan.larger["batch"]],
            "device": [torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"],
            "threads": [plan.threads],
        }
    )


def build(name: str, *, pretrained: bool, device: torch.device | str = "cpu") -> nn.Module:
    """A classifier of torchvision for ImageNet's 1,000 classes, in eval mode; without `pretrained` untrained, always
    the same."""
    model = networks.build(name, CLASSES)
    if pretrained:
        import torchvision

        model.load_state_dict(torchvision.models.get_model_weights(name).DEFAULT.get_state_dict(progress=False))
    return model.eval().to(device, memory_format=torch.channels_last)


def growth(plan: profiles.Profile, found: Images) -> pandas.DataFrame:
    """Time and memory of scoring by one criterion, and of two points of a curve, as network and number of images grow.

    One row per network, task ("scoring", "two points of a curve") and number of images: network, trained, parameters,
        multiply_adds (of one image), task, images, seconds, images_per_second, peak_mb. Seconds are the median of the
        settings' `repeats`. Reading and resizing the images is part of it.
    """
    rows, device = [], devices.pick(plan.device)
    for name in plan.larger["networks"]:
        model = build(name, pretrained=plan.larger["pretrained"], device=device)
        example = next(iter(found.to_score))[0][:1].to(device)
        facts = {"network": name, "trained": plan.larger["pretrained"], "parameters": cost.parameters(model)}
        facts["multiply_adds"] = cost.multiply_adds(model, example)
        for row in _in_turns(_tasks(model, found, example), plan.larger, model):
            rows.append(facts | row)
    return pandas.DataFrame(rows)


def slimming(plan: profiles.Profile, found: Images) -> pandas.DataFrame:
    """What each network costs whole and without half of its multiply-adds: network, trained, then as `shrinking.costs`.

    `score_seconds` and `slim_seconds` say how long it took to get there, on as many images as the fewest of the
    settings.
    """
    tables, device, settings = [], devices.pick(plan.device), plan.larger
    for name in settings["networks"]:
        model = build(name, pretrained=settings["pretrained"], device=device)
        example = next(iter(found.to_score))[0][:1].to(device)
        started = time.perf_counter()
        scores = _score(model, found.to_score.first(min(settings["images"])))
        scored = time.perf_counter()
        variants, removed = shrinking.variants(model, scores, example, BUDGETS)
        taken = {"score_seconds": scored - started, "slim_seconds": time.perf_counter() - scored}
        costs = cost.table(variants, example, batches=(1, settings["batch"]), repeats=settings["repeats"])
        costs = removed.merge(costs, on="variant", sort=False).assign(**taken)
        tables.append(costs.assign(network=name, trained=settings["pretrained"]))
    table = pandas.concat(tables, ignore_index=True)
    return table[["network", "trained", *(name for name in table if name not in ("network", "trained"))]]


def curves(plan: profiles.Profile, found: Images) -> pandas.DataFrame:
    """Pruning curves on the test images, by the recommended criterion: dataset, network, criterion, examples (scored
    on), units, then as `curve`.

    Empty where weights or images are not real or not of ImageNet's classes, since an accuracy would say nothing then.
    """
    columns = ["dataset", "network", "criterion", "examples", "units", "pruned", "accuracy"]
    tables, device = [pandas.DataFrame(columns=columns)], devices.pick(plan.device)
    meaningful = plan.larger["pretrained"] and found.real and len(found.to_test.classes) == CLASSES
    for name in plan.larger["networks"] if meaningful else ():
        model = build(name, pretrained=True, device=device)
        order = pruning.order(_score(model, found.to_score))
        table = curve(model, order, found.to_test, plan.larger["points"])
        about = {"dataset": plan.larger["folder"], "network": name, "criterion": CRITERION}
        tables.append(table.assign(**about, examples=len(found.to_score), units=len(order))[columns])
    return pandas.concat(tables[1:], ignore_index=True) if len(tables) > 1 else tables[0]


def curve(model: nn.Module, order: Tensor, batches: Iterable, points: int = 31) -> pandas.DataFrame:
    """`pruning.curve` for images that do not fit into memory: pruned and accuracy, one row per point.

    Arguments:
        order: (N,) unit indices, least important first.
        batches: of (images, labels, ...), read once; every point is measured on a batch before the next is read.

    Under `torch.distributed` every rank is given the same batches, takes its share of them as `importance.score` does,
    and returns the whole curve.

    Raises ValueError without images or labels, on every rank, and of these what `pruning.curve` raises.
    """
    numbers = pruning.steps(len(order), points)
    with ranks.together():
        counts = _right(model, order, numbers, shared(batches, by_minibatch=False))
    *right, seen = ranks.total(counts).tolist()
    if not seen:
        raise ValueError("accuracy takes images, but there are no batches")
    return pandas.DataFrame({"pruned": numbers, "accuracy": [count / seen for count in right]})


def _right(model: nn.Module, order: Tensor, numbers: Sequence[int], batches: Iterable) -> Tensor:
    """How many images are answered with their labels, with so many units off, and how many there are: (points + 1,)."""
    layers, counts = None, torch.zeros(len(numbers) + 1, dtype=torch.float64)
    for pixels, labels, *_ in batches:
        if labels is None:
            raise ValueError("accuracy takes labels, but the batches have none")
        pixels = models.channels_last(models.ready(model, pixels))
        if layers is None:
            layers, classes = importance.units(model, pixels[:1]), models.classes(model, pixels)
        labels = checks.labels(labels, len(pixels), classes).cpu()
        counts[-1] += len(pixels)
        for place, k in enumerate(numbers):
            found = pruning.predicted(model, order, k, pixels, layers, batch=len(pixels))
            counts[place] += int((found == labels).sum())
    return counts


def _score(model: nn.Module, stream: folders.Stream) -> Tensor:
    return importance.score(model, stream, [CRITERION])[CRITERION]


def _tasks(model: nn.Module, found: Images, example: Tensor) -> dict[str, Callable[[int], object]]:
    order = torch.arange(units_in(importance.units(model, example)))
    return {
        "scoring": lambda count: _score(model, found.to_score.first(count)),
        "two points of a curve": lambda count: curve(model, order, found.to_test.first(count), points=2),
    }


def _in_turns(
    tasks: Mapping[str, Callable[[int], object]], settings: Mapping[str, object], model: nn.Module
) -> Iterator[dict[str, object]]:
    """Median seconds of every task on every number of images, in turns, and peak memory of a call before: accounting
    for memory takes time."""
    calls = {f"{task}, {count}": partial(call, count) for task, call in tasks.items() for count in settings["images"]}
    peaks = {name: cost.peak_bytes(call, [*model.parameters(), *model.buffers()]) for name, call in calls.items()}
    times = cost.interleaved(calls, settings["repeats"], warmup=0, device=next(model.parameters()).device).median()
    for task, count in product(tasks, settings["images"]):
        seconds, peak = times[f"{task}, {count}"], peaks[f"{task}, {count}"] / cost.MB
        yield {
            "task": task,
            "images": count,
            "seconds": seconds,
            "images_per_second": count / seconds,
            "peak_mb": peak,
        }
