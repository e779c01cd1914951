"""Rank, shrink, repair, recover, and measure after each of them.

Enters: a trained network, unlabelled images, a budget. Leaves: a `Pruned`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas
from torch import Tensor, nn

from lib import cost, importance
from lib.network import checks, models
from lib.prune import recovery
from lib.prune.along import Along, in_words
from lib.prune.asking import Aim, Recovery
from lib.prune.mending import Mending
from lib.prune.narrowing import Narrowing
from lib.prune.ranking import PRECISION, Ranking
from lib.prune.recovery import Lesson
from lib.prune.searching import QUICK
from lib.prune.testing import Quality
from lib.shrinking.slimming import Slimming

BATCH = 32
DONE = {"distilling": "distilled", "fine-tuning": "fine-tuned"}
STATES = {doing: f"{done}.part" for doing, done in DONE.items()}  # files that training goes on from
CHOSEN = "epochs.part"  # likewise, how many epochs there was time for
LEFT = (*STATES.values(), CHOSEN, QUICK, PRECISION)  # all that a stopped run leaves


@dataclass(frozen=True, eq=False)
class Pruned:
    """A smaller network, and how it came about.

    `model` is in eval mode; `plans` say what went, one for each step of shrinking. `quality` has a row for the network
    as it was after each thing done: done, and `measure`, a share: "accuracy" where labelled test images were given,
    else "agreement", how often the answer is that of the whole network on images held out; and changed, the share of
    answers that are others than in the row before. `costs` has a row for before and after: variant, parameters,
    multiply_adds, disk_mb, memory_mb and latency_ms of one image, with its quartiles.
    `scores` (N,) are those by which the first step shrank; `epochs` those of each training, 0 without any;
    `tested` how many images `quality` is of; `doubts` a line for each reason to doubt what it says; `precision` what
    scores were computed in, and why if that was chosen, or nothing where they were given.
    """

    model: nn.Module
    plans: tuple[Slimming, ...] = field(repr=False)
    quality: pandas.DataFrame = field(repr=False)
    costs: pandas.DataFrame = field(repr=False)
    scores: Tensor = field(repr=False)
    example: Tensor = field(repr=False)
    epochs: int = 0
    tested: int = 0
    doubts: tuple[str, ...] = ()
    precision: str = ""

    @property
    def measure(self) -> str:
        """What `quality` tells of: "accuracy" or "agreement"."""
        return self.quality.columns[1]

    @property
    def layers(self) -> pandas.DataFrame:
        """A row per layer with units: layer, before, after (units); lowest, median, highest (of the units' scores)."""
        last = self.plans[-1].widths
        rows = [(unit.name, unit.size, last[unit.name][1], own.min().item(), own.median().item(), own.max().item())
                for unit in self.plans[0].layers for own in [self.scores[unit.slice]]]  # fmt: skip
        return pandas.DataFrame(rows, columns=["layer", "before", "after", "lowest", "median", "highest"])


def prune(
    model: nn.Module,
    images: Tensor,
    *,
    budget: float | None = None,
    of: str = "macs",
    target_accuracy: float | None = None,
    criterion: str = "sq:rand:norm",
    scores: Tensor | None = None,
    precision: str = "float32",
    keep: Iterable[str] = (),
    at_most: float = 1.0,
    multiple_of: int = 1,
    per_cost: bool | None = None,
    steps: int = 1,
    repair: bool = True,
    distil: bool = False,
    fine_tune: tuple[Tensor, Tensor] | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    flip: bool = True,
    test: Iterable[tuple] | None = None,
    batch: int = BATCH,
    seed: int = 0,
    kept: Path | None = None,
    report: Callable[[str], object] = lambda line: None,
) -> Pruned | None:
    """A smaller network that works: ranked, shrunk, repaired and, if asked for, trained again; `model` stays as it was.

    Under `torch.distributed` every rank is to call this alike: all of them rank, each by its share of the images, and
    the first alone does the rest. The others are given None once nothing is left to be ranked.

    Arguments:
        model: in eval mode, from images to logits.
        images: (M, C, H, W), normalised, without labels. Every tenth is held out, to say how far answers agree, unless
            there is `test`, which fine-tuning takes for granted.
        budget, of: which share goes (0.5), of what: as `structure.slim` takes them, or "latency", that of one image
            where the model is, for which the multiply-adds are found by trying.
        target_accuracy: instead of a budget, which share of the whole network's accuracy (or, without `test`, of its
            answers) must be there once it is shrunk and repaired, before any training; as much goes as can.
        keep, at_most, multiple_of: what may not go, as `structure.slim` takes them.
        per_cost: whether units are ranked by score per multiply-add (or per one of whatever the budget is of) that goes
            with them, as `structure.slim` does it, or by score alone; by default the first where they are by a
            criterion of gradients, whose scores add up, and multiply-adds or latency are to go.
        criterion, scores: what units are ranked by: a criterion that needs no labels, or scores (N,) that are there.
        precision: what units are ranked in, as `importance.score` takes it; "auto" is what the first step chooses, for
            all of them, and `Pruned.precision` tells what that was.
        steps: in how many the network shrinks, to the same budget; units are ranked again for each.
        repair: whether BatchNorms are estimated anew after each step, and after training; a network without any is left
            as it is.
        distil: whether to train on the whole network's own answers to `images`.
        fine_tune: images with labels (M,) to train on, afterwards if both are asked for.
        epochs, minutes: how long to train: so many epochs (of each, if both are asked for), or as many as end in about
            so many minutes in all where this runs, which is said; `Pruned.epochs` tells how to get the same again.
        flip: whether images may be mirrored for training, as those of digits and letters may not.
        test: batches of images with labels, to be gone through repeatedly in one order, that are used for nothing but
            the accuracy after everything done; every second one for the search for `target_accuracy` instead, which
            then is not among those that tell.
        batch: images at once for scores and answers; for repair, which holds less, four times as many.
        seed: of the random vectors, and of training.
        kept: a folder where training leaves its state after every epoch, and goes on from it in a later call; and the
            budget that was found for a latency, and the precision that was chosen, which another call might find to be
            others.
        report: called with a line for everything that is done.

    Raises ValueError in one line for settings that are none, images too few, a target that cannot be met, and as
    `structure.slim` and `importance.score` do.
    """
    keep = (keep,) if isinstance(keep, str) or not isinstance(keep, Iterable) else tuple(keep)
    per_cost = scores is None and goes_per_cost(criterion, of) if per_cost is None else per_cost
    aim = Aim(
        budget=budget, of=of, target_accuracy=target_accuracy, criterion=criterion, scored=scores is not None,
        precision=precision, keep=keep, at_most=at_most, multiple_of=multiple_of, per_cost=per_cost, steps=steps,
    )  # fmt: skip
    regain = Recovery(repair=repair, distil=distil, fine_tune=fine_tune, epochs=epochs, minutes=minutes, flip=flip,
                      seed=seed, tested=test is not None)  # fmt: skip
    along, batch = Along(report, kept), checks.whole("batch", batch, 1)
    whole, images = models.inside(model), checks.images(images)
    classes, searches = _classes(whole, images), target_accuracy is not None
    quality = Quality(whole, images, test, classes, batch=batch, searches=searches, along=along)
    lessons = _lessons(whole, quality.images, regain, classes)
    quality.begin(whole)
    mending = Mending(quality.images, batch=4 * batch, wanted=repair)  # which holds less than ranking does
    ranking = Ranking(quality.images, aim, along, batch=batch, seed=seed)
    shrunk = Narrowing(aim, ranking, mending, quality, along).shrink(whole, scores)
    if shrunk is None:
        return None
    small, plans, scores = shrunk
    costs = _costs(whole, small, images[:1])  # before training, which changes none of them, lest a fault lose that
    epochs = _recovered(small, lessons, regain, mending, quality, along)
    return Pruned(small, plans, quality.table(), costs, scores.detach().cpu(), images[:1], epochs, quality.tested,
                  tuple(quality.doubts), str(ranking.choice))  # fmt: skip


def goes_per_cost(criterion: str, of: str) -> bool:
    """Whether networks keep more accuracy where scores by this criterion are set against how much of `of` goes. Raises
    ValueError for a name that is none's."""
    return of in ("macs", "latency") and importance.parse(criterion).adds_up


def _classes(model: nn.Module, images: Tensor) -> int:
    """How many the network tells apart. Raises ValueError where it is in training mode, gives no finite numbers or but
    one of them."""
    models.require_eval_mode(model)
    models.require_finite(models.answers(model, models.ready(model, images, 2)))
    return models.classes(model, images)


def _lessons(whole: nn.Module, images: Tensor, regain: Recovery, classes: int) -> dict[str, Lesson]:
    """What is to be learnt, one after the other. Raises ValueError for images and labels that are none."""
    lessons = {"distilling": recovery.answers_of(whole, images)} if regain.distil else {}
    if regain.fine_tune is not None:
        lessons["fine-tuning"] = recovery.labels_of(*regain.fine_tune, classes)
    return lessons


def _recovered(
    small: nn.Module, lessons: Mapping[str, Lesson], regain: Recovery, mending: Mending, quality: Quality, along: Along
) -> int:
    """Trains the network, in place, and tells for how many epochs of each lesson."""
    how, epochs = {"flip": regain.flip, "seed": regain.seed}, regain.epochs or 0
    if regain.minutes is not None:
        state = along.file(CHOSEN)
        epochs, seconds = recovery.epochs_within(regain.minutes, small, lessons.values(), state=state, **how)
        along.tell(f"training for {epochs} epoch{'s' * (epochs != 1)}, which should take {in_words(epochs * seconds)};"
                   f" --epochs {epochs} in place of --minutes makes the same network again")  # fmt: skip
    for doing, lesson in lessons.items():

        def told(done: int, loss: float, left: float, doing: str = doing) -> None:
            along.tell(f"{doing}: epoch {done} of {epochs}, loss {loss:.4f}, {in_words(left)} to go")

        recovery.train(small, lesson, epochs=epochs, state=along.file(STATES[doing]), report=told, **how)
        mending.settle(small, lesson.images)
        quality.measure(DONE[doing], small, trained=True)
    return epochs


def _costs(whole: nn.Module, small: nn.Module, example: Tensor) -> pandas.DataFrame:
    networks = {"before": whole, "after": small}
    rows = [(name, cost.parameters(net), cost.multiply_adds(net, example), cost.size_on_disk(net) / cost.MB,
             cost.inference_memory(net, example) / cost.MB) for name, net in networks.items()]  # fmt: skip
    found = pandas.DataFrame(rows, columns=["variant", "parameters", "multiply_adds", "disk_mb", "memory_mb"])
    return found.join(cost.spread(cost.latencies(networks, example), "latency"))
