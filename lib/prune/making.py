"""Rank, shrink, repair, recover, and measure after each of them.

Enters: a trained network, unlabelled images, a budget. Leaves: a `Pruned`.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas
import torch
from torch import Tensor, nn

from lib import cost, importance, structure
from lib.images.folders import Stream
from lib.importance import Choice
from lib.network import checks, models
from lib.prune import keeping, recovery, searching
from lib.repair import Reference, norms_of, reestimate
from lib.scoring import ranks
from lib.shrinking.slimming import Slimming

BUDGETS = (*structure.BUDGETS, "latency")
HELD_OUT = 10  # every so manieth unlabelled image is learnt nothing from: it says how far answers agree
BATCH = 32
PATIENCE = 15  # seconds without a word
DONE = {"distilling": "distilled", "fine-tuning": "fine-tuned"}
STATES = {doing: f"{done}.part" for doing, done in DONE.items()}  # files that training goes on from
CHOSEN = "epochs.part"  # likewise, how many epochs there was time for
QUICK = "budget.part"  # and the budget that a latency has led to
PRECISION = "precision.part"  # and what was chosen to rank in
LEAST = 5  # test images that a class must have, for what most of them are answered to tell of it


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
    if scores is not None and precision != "float32":
        raise ValueError(f"precision={precision!r} is of ranking: leave it out where there are scores already")
    _check(criterion, scores, steps, distil, fine_tune, epochs, minutes, at_most, budget, of, target_accuracy, test)
    keep = (keep,) if isinstance(keep, str) or not isinstance(keep, Iterable) else tuple(keep)
    per_cost = scores is None and goes_per_cost(criterion, of) if per_cost is None else per_cost
    limits = {"keep": keep, "at_most": at_most, "multiple_of": multiple_of, "per_cost": per_cost}
    whole = models.inside(model)
    batch, searches = checks.whole("batch", batch, 1), target_accuracy is not None
    precision = "" if scores is not None else precision
    work = _Work(whole, checks.images(images), test, batch, repair, report, searches, precision)
    lessons = {"distilling": recovery.answers_of(whole, work.images)} if distil else {}
    lessons |= {"fine-tuning": recovery.labels_of(*fine_tune, work.classes)} if fine_tune is not None else {}
    budget, plans, small, first = 0.5 if budget is None else budget, [], whole, scores
    for step in range(steps):
        scores = work.scores(small, criterion, seed, kept) if scores is None or step else scores
        first = scores if first is None else first
        if not work.leads and step == steps - 1:
            return None
        work.refer(small)
        if target_accuracy is not None or of == "latency":
            plan = _found(whole, scores, work, limits, budget, of, target_accuracy, kept)
        else:
            share = _share(plans, budget, of, steps - step)
            plan = structure.plan(small, scores, work.example, budget=share, of=of, **limits)
        number = f" {step + 1} of {steps}" if steps > 1 else ""
        plans.append(plan)
        small = plan.apply(small)
        work.measure(f"shrunk{number}", small)
        if work.repaired(small, plan):
            work.measure(f"repaired{number}", small)
    given = {"flip": flip, "seed": seed}
    epochs = (epochs or 0) if minutes is None else work.epochs_within(minutes, small, lessons.values(), kept, **given)
    for doing, lesson in lessons.items():
        recovery.train(small, lesson, **given, **work.training(doing, epochs, kept))
        work.settle(small, lesson.images)
        work.measure(DONE[doing], small)
    costs = _costs(whole, small, work.example)
    return Pruned(small, tuple(plans), work.quality(), costs, first.detach().cpu(), work.example, epochs,
                  work.tested, tuple(work.doubts), str(work.choice))  # fmt: skip


def goes_per_cost(criterion: str, of: str) -> bool:
    """Whether networks keep more accuracy where scores by this criterion are set against how much of `of` goes. Raises
    ValueError for a name that is none's."""
    return of in ("macs", "latency") and importance.parse(criterion).adds_up


def _check(
    criterion, scores, steps, distil, fine_tune, epochs, minutes, at_most, budget, of, target_accuracy, test
) -> None:
    if scores is None and importance.parse(criterion).needs_labels:
        raise ValueError(f"criterion {criterion} needs labels, which images here have not: take sq:rand:norm, say")
    if of not in BUDGETS:
        raise ValueError(f"a budget of {of!r} is not known: use one of {', '.join(BUDGETS)}")
    if budget is not None:
        checks.share("budget", budget)
    if target_accuracy is not None:
        if isinstance(target_accuracy, bool) or not 0 < target_accuracy <= 1:
            raise ValueError(f"target_accuracy={target_accuracy!r} must be a share of the whole network's, above 0 and"
                             " at most 1")  # fmt: skip
        if budget is not None or of == "latency":
            raise ValueError("target_accuracy is met by as large a budget of units, parameters or macs as works: leave"
                             " budget out")  # fmt: skip
    checks.whole("steps", steps, 1)
    if fine_tune is not None and not (isinstance(fine_tune, (tuple, list)) and len(fine_tune) == 2):
        raise ValueError("fine_tune must be a pair of tensors: images (M, C, H, W), normalised, and labels (M,)")
    if fine_tune is not None and test is None:
        raise ValueError("fine_tune without test: images held out of `images` may be among those that are learnt from,"
                         " so give labelled images to test on")  # fmt: skip
    _check_training(bool(distil) or fine_tune is not None, epochs, minutes)
    single = {"at_most": at_most != 1, "target_accuracy": target_accuracy is not None, "of='latency'": of == "latency",
              "scores": scores is not None}  # fmt: skip
    if steps > 1 and any(single.values()):
        name = next(name for name, given in single.items() if given)
        raise ValueError(f"{name} is of the whole network, but {steps} steps each begin with another: take steps=1")


def _check_training(trained: bool, epochs: int | None, minutes: float | None) -> None:
    given = {name: value for name, value in {"epochs": epochs, "minutes": minutes}.items() if value is not None}
    if not trained and given:
        raise ValueError(f"{next(iter(given))} is of training: ask for distil, or fine_tune with labelled images")
    if trained and len(given) != 1:
        raise ValueError("how long to train is to be said once: give either epochs or minutes")
    if epochs is not None:
        checks.whole("epochs", epochs, 1)
    if minutes is not None and (isinstance(minutes, bool) or not 0 < minutes < math.inf):
        raise ValueError(f"minutes={minutes!r} must be a time to train for, above 0")


def held_out(count: int) -> Tensor:
    """Which of so many unlabelled images are kept to test agreement on, (count,) bool."""
    return torch.arange(count) % HELD_OUT == HELD_OUT - 1


def _share(plans: list[Slimming], budget: float, of: str, steps: int) -> float:
    """How much of what is left goes in the next of so many `steps`, for `budget` of all in the end."""
    if not plans:
        return budget if steps == 1 else 1 - (1 - budget) ** (1 / steps)
    left = (1 - budget) * plans[0].before[of] / plans[-1].after[of]
    return max(1 - left ** (1 / steps), 1e-9) if left < 1 else 1e-9


def _found(
    whole: nn.Module, scores: Tensor, work: "_Work", limits, budget: float, of: str, target, kept: Path | None
) -> Slimming:
    """The plan of the budget that is found by trying: for an accuracy, or for a latency."""
    traced, macs = structure.trace(whole, work.example), of if target is not None else "macs"
    before, given = (None if kept is None or target is not None else Path(kept) / QUICK), [budget, repr(limits)]
    identity = "" if before is None else keeping.identity(given, whole, [scores, work.example], [Path(__file__)])

    def plan(share: float) -> Slimming | None:
        try:
            return traced.plan(scores, budget=share, of=macs, **limits)
        except structure.OutOfReach:
            return None

    def quick(share: float) -> bool:
        found = plan(share)
        return found is None or searching.latency_left(found.apply(whole), whole, work.example) <= 1 - budget

    def good(share: float) -> bool:
        return (found := plan(share)) is not None and work.left(found, whole) >= target

    if known := keeping.kept(before, identity):
        share = known["share"]  # since times are never the same again, and training went on from this
    else:
        share = searching.smallest(quick) if target is None else searching.largest(good)
    found = plan(share or 1 / searching.STEPS) if share < 1 else None
    if found is None:
        traced.plan(scores, budget=1 / searching.STEPS, of=macs, **limits)  # tells why even that cannot be
        limited = limits["keep"] or limits["at_most"] != 1 or limits["multiple_of"] != 1
        more = ", or keep, at_most and multiple_of let too little go" if limited else ""
        raise ValueError(
            f"a budget of {budget:g} of the latency cannot be reached: multiply-adds hardly change it{more}"
        )
    if target is not None and not share:
        left = work.left(found, whole)
        raise ValueError(f"target_accuracy={target:g} cannot be met: {left:.3f} of the {work.name} is left when"
                         f" {found.reached:.1%} of the {macs} is gone")  # fmt: skip
    keeping.keep(before, identity, {"share": share})
    instead = "--of latency" if target is None else "--target-accuracy"
    work.tell(f"budget found: {found.reached:.1%} of all {macs}; --budget {found.budget:.7g} --of {macs} in place of"
              f" {instead} makes the same network again")  # fmt: skip
    return found


class _Work:
    """The images that each purpose has, and what was measured so far."""

    def __init__(
        self, model: nn.Module, images: Tensor, test, batch: int, repair: bool, report, searches: bool,
        precision: str = "float32",
    ):  # fmt: skip
        models.require_eval_mode(model)
        first = models.answers(model, models.ready(model, images, 2))
        models.require_finite(first)
        self.classes, self.leads, self.tested, self.doubts = first.shape[1], ranks.place()[0] == 0, 0, []
        self.tell = report if self.leads else lambda line: None
        self.batch, self.example, self._repair, self._rows = batch, images[:1], repair, []
        self.choice = Choice(precision)
        self._searches, self._last, self._seen = searches, None, None
        self._tests = len(test) if isinstance(test, Stream) else None
        if test is None:
            held, least = held_out(len(images)), HELD_OUT * (1 + searches)
            if len(images) < least:
                raise ValueError(f"{len(images)} images: give {least} or more, of which every {HELD_OUT}th is held"
                                 " out to test agreement on, or test images with labels")  # fmt: skip
            self.images, self.name = images[~held], "agreement"
            self._test = [(images[held], models.predict(model, images[held], batch=batch))]
        else:
            if iter(test) is test:
                raise ValueError("test images come from an iterator, which is empty after the first pass: give a list"
                                 " of batches, or what begins anew, as a DataLoader does")  # fmt: skip
            self.images, self.name, self._test = images, "accuracy", test
        self.measure("whole", model)
        self._whole = self._quality_of(model, searching=True) if searches and self.leads else None

    def scores(self, model: nn.Module, criterion: str, seed: int, kept: Path | None) -> Tensor:
        """Of all units of `model` by its images, in the precision of `choice`, which is made once."""
        batches, own = [(part, None) for part in self.images.split(self.batch)], len(self.images) / ranks.place()[1]
        auto, path = self.choice.precision == "auto", None if kept is None else Path(kept) / PRECISION
        identity = (
            keeping.identity([criterion, seed], model, batches[0][:1], [Path(importance.__file__)]) if auto else ""
        )

        def chosen(choice: Choice) -> None:
            self.choice = choice
            self.tell(f"precision: {choice}")
            if self.leads:
                keeping.keep(path, identity, asdict(choice))

        if auto and (known := ranks.told(keeping.kept(path, identity) if self.leads else None)):
            chosen(Choice(**known))
        how = {"seed": seed, "precision": self.choice.precision, "report": self._going("ranking", own)}
        return importance.score(model, batches, criterion, **how, chosen=chosen)[criterion]

    def refer(self, model: nn.Module) -> None:
        """What is to shrink next is this network, which `repaired` compares with."""
        repairs = self._repair and norms_of(model)
        self._reference = Reference(model, self.images, batch=max(2, 4 * self.batch)) if repairs else None

    def repaired(self, model: nn.Module, plan: Slimming) -> bool:
        """Estimates BatchNorms anew, where that is asked for and there are any; returns whether."""
        if self._reference is not None:
            self._reference.repair(model, plan.kept)
        return self._reference is not None

    def settle(self, model: nn.Module, images: Tensor) -> None:
        """BatchNorms that have been trained on these images get, on the same ones, the statistics of the weights that
        they have in the end: what momentum has left them is of weights that they had before."""
        if self._repair and norms_of(model):
            reestimate(model, images, batch=max(2, 4 * self.batch))

    def left(self, plan: Slimming, whole: nn.Module) -> float:
        """Which share `whole`, once shrunk and repaired, has of what it has now, on the images that search."""
        if not self._whole:
            raise ValueError(f"the whole network has an {self.name} of 0, of which no share can be left: do its labels"
                             " fit the images?")  # fmt: skip
        model = plan.apply(whole)
        self.repaired(model, plan)
        return self._quality_of(model, searching=True) / self._whole

    def measure(self, done: str, model: nn.Module) -> None:
        if not self.leads:
            return
        answers, labels = self._answers(model)
        right, last, self.tested = _alike(answers, labels), self._last, len(labels)
        self._last, changed = answers, None if last is None else (answers != last).sum().item() / len(last)
        self._rows.append((done, right, changed))
        told = "" if changed is None else f" ({changed:.1%} of the answers are others than before)"
        self.tell(f"{done}: {self.name} {right:.1%}{told}")
        if done == "whole":
            self._doubt(_disorder(answers, labels, self.classes))
        elif done in DONE.values():
            self._doubt(_loss(self.name, self._rows[-2][1], right))

    def _doubt(self, why: str) -> None:
        if why:
            self.doubts.append(why)
            self.tell(f"warning: {why}")

    def _quality_of(self, model: nn.Module, *, searching: bool = False) -> float:
        return _alike(*self._answers(model, searching=searching))

    def _answers(self, model: nn.Module, *, searching: bool = False) -> tuple[Tensor, Tensor]:
        """What the model answers, and what is right (both (M,)); where a budget is searched for, on every second image
        for that, and on the others for what is told."""
        found, everything, seen, going = [], [], 0, self._going("testing", self._tests)
        for batch in self._test:
            images, labels = _labelled(batch, self.classes)
            asked = (torch.arange(seen, seen + len(labels)) % 2 == searching) if self._searches else slice(None)
            seen += len(labels)
            everything.append(labels.cpu())
            images, labels = images[asked], labels[asked]
            if len(labels):
                found.append((models.predict(model, images, batch=self.batch), labels.cpu()))
            going(seen)
        if not found:
            raise ValueError("there are no images to test on: give some, with labels")
        self._tests = seen
        self._require_order(torch.cat(everything))
        return tuple(map(torch.cat, zip(*found, strict=True)))

    def _require_order(self, labels: Tensor) -> None:
        """Raises ValueError where test images come in another order than before: some that search would then be among
        those that tell, and answers could not be compared."""
        if self._seen is not None and not torch.equal(self._seen, labels):
            raise ValueError("test images come in another order each time: give batches that do not, as a DataLoader"
                             " with shuffle=False")  # fmt: skip
        self._seen = labels

    def _going(self, doing: str, total: float | None) -> Callable[[int], None]:
        """What is to be told of how many images are done, every now and then; `total` is None where it is not known."""
        began = told = time.monotonic()

        def tell(done: int) -> None:
            nonlocal told
            now = time.monotonic()
            if now - told >= PATIENCE and (total is None or done < total):
                told = now
                rest = "" if total is None else f", {_time((now - began) / done * (total - done))} to go"
                self.tell(f"{doing}: {done:,} images done{rest}")

        return tell

    def training(self, doing: str, epochs: int, kept: Path | None) -> dict[str, object]:
        """What `recovery` is to know of a training that is told, and kept in a folder, if any."""

        def tell(done: int, loss: float, left: float) -> None:
            self.tell(f"{doing}: epoch {done} of {epochs}, loss {loss:.4f}, {_time(left)} to go")

        return {"epochs": epochs, "state": None if kept is None else Path(kept) / STATES[doing], "report": tell}

    def epochs_within(self, minutes: float, model: nn.Module, lessons, kept: Path | None, **given) -> int:
        """How many epochs of these lessons there is time for, which is told."""
        state = None if kept is None else Path(kept) / CHOSEN
        epochs, seconds = recovery.epochs_within(minutes, model, lessons, state=state, **given)
        self.tell(f"training for {epochs} epoch{'s' * (epochs != 1)}, which should take {_time(epochs * seconds)};"
                  f" --epochs {epochs} in place of --minutes makes the same network again")  # fmt: skip
        return epochs

    def quality(self) -> pandas.DataFrame:
        return pandas.DataFrame(self._rows, columns=["done", self.name, "changed"])


def _labelled(batch: object, classes: int) -> tuple[Tensor, Tensor]:
    """The images and labels (M,) of a batch to test on. Raises ValueError for what is none."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2 or not isinstance(batch[0], Tensor):
        raise ValueError("test must be batches of images with labels: for a single one give [(images, labels)]")
    images = checks.images(batch[0])
    if not images.isfinite().all():
        raise ValueError("test images hold numbers that are not finite: leave these images out")
    return images, recovery.checked(batch[1], len(images), classes)


def _disorder(answers: Tensor, labels: Tensor, classes: int) -> str:
    """Why to doubt that labels are in the order of the network's outputs: most images of several classes, of each of
    these, are answered as one other class, nearly each as another. Else nothing."""
    table = torch.zeros(classes, classes).index_put_((labels, answers), torch.ones(len(labels)), accumulate=True)
    counts, (most, which) = table.sum(1), table.max(1)
    judged = (counts >= LEAST) & (2 * most > counts)
    odd = [number for number in range(classes) if judged[number] and which[number] != number]
    others = {which[number].item() for number in odd}
    if len(odd) < 2 or 5 * len(others) < 4 * len(odd) or 10 * len(odd) <= int(judged.sum()):
        return ""
    named = ", ".join(f"{number} as {which[number].item()}" for number in odd[:3])
    return (f"the whole network answers most test images of {len(odd)} classes as one other class (label {named}):"
            " are the labels in the order of its outputs? A file classes.txt beside the folder, which names all classes"
            " one a line, gives their order")  # fmt: skip


def _loss(name: str, before: float, after: float) -> str:
    """Why to doubt that training was of use: it has left less than there was. Else nothing."""
    if after >= before:
        return ""
    return (f"training has not helped: {name} is {after:.1%} after it and was {before:.1%} before; leave it out, or"
            " train longer or on more images")  # fmt: skip


def _alike(one: Tensor, other: Tensor) -> float:
    return (one == other).sum().item() / len(one)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _costs(whole: nn.Module, small: nn.Module, example: Tensor) -> pandas.DataFrame:
    networks = {"before": whole, "after": small}
    rows = [(name, cost.parameters(net), cost.multiply_adds(net, example), cost.size_on_disk(net) / cost.MB,
             cost.inference_memory(net, example) / cost.MB) for name, net in networks.items()]  # fmt: skip
    found = pandas.DataFrame(rows, columns=["variant", "parameters", "multiply_adds", "disk_mb", "memory_mb"])
    return found.join(cost.spread(cost.latencies(networks, example), "latency"))
