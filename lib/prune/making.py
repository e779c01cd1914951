"""Rank, shrink, repair, recover, and measure after each of them.

Enters: a trained network, unlabelled images, a budget. Leaves: a `Pruned`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pandas
import torch
from torch import Tensor, nn

from lib import cost, importance, structure
from lib.images.training import evaluate
from lib.network import checks, models
from lib.prune import recovery
from lib.repair import norms_of, reestimate
from lib.shrinking.slimming import Slimming

HELD_OUT = 10  # every so manieth unlabelled image is kept for saying how far answers agree, and used for nothing else
BATCH = 32


@dataclass(frozen=True, eq=False)
class Pruned:
    """A smaller network, and how it came about.

    `model` is in eval mode; `plans` say what went, one for each step of shrinking. `quality` has a row for the network
    as it was after each thing done: done, and `measure`, a share: "accuracy" where labelled test images were given,
    else "agreement", how often the answer is that of the whole network on images held out. `costs` has a row for before
    and after: variant, parameters, multiply_adds, disk_mb.
    """

    model: nn.Module
    plans: tuple[Slimming, ...] = field(repr=False)
    quality: pandas.DataFrame = field(repr=False)
    costs: pandas.DataFrame = field(repr=False)
    example: Tensor = field(repr=False)

    @property
    def measure(self) -> str:
        """What `quality` tells of: "accuracy" or "agreement"."""
        return self.quality.columns[1]

    @property
    def layers(self) -> pandas.DataFrame:
        """A row per layer with units: layer, before, after (units)."""
        first, last = self.plans[0].widths, self.plans[-1].widths
        return pandas.DataFrame(
            [(name, before, last[name][1]) for name, (before, _) in first.items()], columns=["layer", "before", "after"]
        )


def prune(
    model: nn.Module,
    images: Tensor,
    *,
    budget: float = 0.5,
    of: str = "macs",
    criterion: str = "sq:rand:norm",
    keep: Iterable[str] = (),
    at_most: float = 1.0,
    multiple_of: int = 1,
    steps: int = 1,
    repair: bool = True,
    distil_epochs: int = 0,
    fine_tune: tuple[Tensor, Tensor] | None = None,
    epochs: int = 0,
    test: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
    report: Callable[[str], object] = lambda line: None,
) -> Pruned:
    """A smaller network that works: ranked, shrunk, repaired and, if asked for, trained again; `model` stays as it was.

    Arguments:
        model: in eval mode, from images to logits.
        images: (M, C, H, W), normalised, without labels. Every tenth is held out, to say how far answers agree, unless
            there is `test`.
        budget, of, keep, at_most, multiple_of: what goes, and what may not, as `structure.slim` takes them.
        criterion: one that needs no labels.
        steps: in how many the network shrinks, to the same budget; units are ranked again for each.
        repair: whether BatchNorms are estimated anew after each step; a network without any is left as it is.
        distil_epochs: of training on the whole network's own answers to `images`.
        fine_tune: images with labels (M,) to train on for `epochs`, afterwards if both are asked for.
        test: images with labels that are used for nothing but the accuracy after everything done.
        seed: of the random vectors, and of the order of training.
        report: called with a line for everything that is done.

    Raises ValueError in one line for settings that are none, images too few, and as `structure.slim` and
    `importance.score` do.
    """
    limits = {"keep": keep, "at_most": at_most, "multiple_of": multiple_of}
    _check(criterion, steps, distil_epochs, fine_tune, epochs, at_most)
    whole, work = models.inside(model), _Work(model, checks.images(images), test, report)
    plans, small = [], whole
    for step in range(steps):
        scores = importance.score(small, [(part, None) for part in work.images.split(BATCH)], criterion, seed=seed)
        share = _share(plans, budget, of, steps - step)
        plans.append(structure.plan(small, scores[criterion], work.example, budget=share, of=of, **limits))
        small = plans[-1].apply(small)
        number = f" {step + 1} of {steps}" if steps > 1 else ""
        work.measure(f"shrunk{number}", small)
        if repair and norms_of(small):
            reestimate(small, work.images, batch=256)
            work.measure(f"repaired{number}", small)
    if distil_epochs:
        recovery.distil(small, whole, work.images, epochs=distil_epochs, seed=seed, report=work.epoch("distilling"))
        work.measure("distilled", small)
    if fine_tune is not None:
        recovery.fine_tune(small, *fine_tune, epochs=epochs, seed=seed, report=work.epoch("fine-tuning"))
        work.measure("fine-tuned", small)
    return Pruned(small, tuple(plans), work.quality(), _costs(whole, small, work.example), work.example)


def _check(criterion: str, steps: int, distil_epochs: int, fine_tune, epochs: int, at_most: float) -> None:
    if importance.parse(criterion).needs_labels:
        raise ValueError(f"criterion {criterion} needs labels, which images here have not: take sq:rand:norm, say")
    checks.whole("steps", steps, 1)
    checks.whole("distil_epochs", distil_epochs, 0)
    if fine_tune is not None:
        checks.whole("epochs", epochs, 1)
    elif epochs:
        raise ValueError(f"epochs={epochs} are of fine-tuning, which takes images with labels: give fine_tune")
    if steps > 1 and at_most != 1:
        raise ValueError(f"at_most={at_most} is of the units at the start, but in {steps} steps each has its own: take"
                         " steps=1")  # fmt: skip


def _share(plans: list[Slimming], budget: float, of: str, steps: int) -> float:
    """How much of what is left goes in the next of so many `steps`, for `budget` of all in the end."""
    budget = checks.share("budget", budget)
    if of not in structure.BUDGETS or not plans:
        return budget if steps == 1 else 1 - (1 - budget) ** (1 / steps)
    left = (1 - budget) * plans[0].before[of] / plans[-1].after[of]
    return max(1 - left ** (1 / steps), 1e-9) if left < 1 else 1e-9


class _Work:
    """The images that each purpose has, and what was measured so far."""

    def __init__(self, model: nn.Module, images: Tensor, test, report):
        self._report, self._rows, self.example = report, [], images[:1]
        if test is None:
            held = torch.arange(len(images)) % HELD_OUT == HELD_OUT - 1
            if not held.any():
                raise ValueError(f"{len(images)} images: give {HELD_OUT} or more, of which every {HELD_OUT}th is held"
                                 " out to test agreement on, or test images with labels")  # fmt: skip
            self.images, self._name = images[~held], "agreement"
            self._test = images[held], models.predict(model, images[held], batch=BATCH)
        else:
            self.images, self._name, self._test = images, "accuracy", test
        self.measure("whole", model)

    def measure(self, done: str, model: nn.Module) -> None:
        value = evaluate(model, *self._test, batch=BATCH)
        self._rows.append((done, value))
        self._report(f"{done}: {self._name} {value:.1%}")

    def epoch(self, doing: str) -> recovery.Report:
        return lambda done, loss: self._report(f"{doing}: epoch {done}, loss {loss:.4f}")

    def quality(self) -> pandas.DataFrame:
        return pandas.DataFrame(self._rows, columns=["done", self._name])


def _costs(whole: nn.Module, small: nn.Module, example: Tensor) -> pandas.DataFrame:
    rows = [(name, cost.parameters(net), cost.multiply_adds(net, example), cost.size_on_disk(net) / cost.MB)
            for name, net in (("before", whole), ("after", small))]  # fmt: skip
    return pandas.DataFrame(rows, columns=["variant", "parameters", "multiply_adds", "disk_mb"])
