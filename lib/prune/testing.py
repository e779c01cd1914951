"""How often a network answers rightly, on images that are used for nothing else.

Enters: networks, one after each thing done. Leaves: a row for each, told as it is found, and reasons to doubt it.
"""

from collections.abc import Iterable

import pandas
import torch
from torch import Tensor, nn

from lib.images.folders import Stream
from lib.network import checks, models
from lib.prune import doubting, recovery
from lib.prune.along import Along, leads

HELD_OUT = 10  # every so manieth unlabelled image is learnt nothing from: it says how far answers agree


class Quality:
    """What `whole` and the networks that it becomes answer, on images that tell and, where a budget is searched for, on
    others that search.

    `images` are those that may be learnt from; `name` is "accuracy" where there are labels, else "agreement" with what
    `whole` answers; `tested` is how many images tell; `doubts` has a line for each reason to doubt what they do.

    Arguments:
        images: (M, C, H, W), without labels.
        test: batches of images with labels, to be gone through repeatedly, or None: then every tenth of `images` tests.
        classes: of the network.
        batch: images at once.
        searches: whether every second one that tests is to search.
        along: is told everything that is measured.

    Raises ValueError for too few images, and for an iterator, which would be empty after the first pass.
    """

    def __init__(
        self, whole: nn.Module, images: Tensor, test: Iterable[tuple] | None, classes: int, *, batch: int,
        searches: bool = False, along: Along | None = None,
    ):  # fmt: skip
        self.images, self.name, self.tested, self.doubts = images, "accuracy", 0, []
        self._batches, self._classes, self._batch, self._searches = test, classes, batch, searches
        self._along, self._rows, self._last, self._whole, self._seen = along or Along(), [], None, None, None
        self._total = len(test) if isinstance(test, Stream) else None
        if test is None:
            held, least = held_out(len(images)), HELD_OUT * (1 + searches)
            if len(images) < least:
                raise ValueError(f"{len(images)} images: give {least} or more, of which every {HELD_OUT}th is held"
                                 " out to test agreement on, or test images with labels")  # fmt: skip
            self.images, self.name = images[~held], "agreement"
            self._batches = [(images[held], models.predict(whole, images[held], batch=batch))]
        elif not isinstance(test, Iterable):
            raise ValueError(f"test must be batches of images with labels, not a {type(test).__name__}")
        elif iter(test) is test:
            raise ValueError("test images come from an iterator, which is empty after the first pass: give a list of"
                             " batches, or what begins anew, as a DataLoader does")  # fmt: skip

    def begin(self, whole: nn.Module) -> None:
        """Measures the whole network, with which all others are compared.

        Raises ValueError, as `measure` and `left` do, for batches that are none, and for such as come in another order
        each time.
        """
        if leads():
            answers, labels = self._measure("whole", whole)
            self._doubt(doubting.strangeness(whole, self.images, batch=self._batch))
            if self.name == "accuracy":
                self._doubt(doubting.disorder(answers, labels) or doubting.guessing(answers, labels))
            else:
                self._doubt(doubting.sameness(answers))
            self._doubt(doubting.few(self.tested) if self._searches else "")
            self._whole = self._share(whole, searching=True) if self._searches else None

    def measure(self, done: str, model: nn.Module, *, trained: bool = False) -> None:
        """Adds a row for the network as it is after what was `done`; the first process does, for all of them."""
        if leads():
            before = self._rows[-1][1]
            self._measure(done, model)
            self._doubt(doubting.loss(self.name, before, self._rows[-1][1]) if trained else "")

    def left(self, model: nn.Module) -> float:
        """Which share `model` has of what the whole network has, on the images that search."""
        if not self._whole:
            raise ValueError(f"the whole network has an {self.name} of 0, of which no share can be left: do its labels"
                             " fit the images?")  # fmt: skip
        return self._share(model, searching=True) / self._whole

    def table(self) -> pandas.DataFrame:
        """A row for all that was measured: done; `name`, a share; changed, the share of answers that are others than in
        the row before."""
        return pandas.DataFrame(self._rows, columns=["done", self.name, "changed"])

    def _measure(self, done: str, model: nn.Module) -> tuple[Tensor, Tensor]:
        answers, labels = self._answers(model)
        right, last, self.tested = _alike(answers, labels), self._last, len(labels)
        self._last, changed = answers, None if last is None else (answers != last).sum().item() / len(last)
        self._rows.append((done, right, changed))
        told = f" on {len(labels):,} images"
        if changed is not None:
            told = f" ({changed:.1%} of the answers are others than after the step before)"
        self._along.tell(f"{done}: {self.name} {right:.1%}{told}")
        return answers, labels

    def _doubt(self, why: str) -> None:
        if why:
            self.doubts.append(why)
            self._along.tell(f"warning: {why}")

    def _share(self, model: nn.Module, *, searching: bool = False) -> float:
        return _alike(*self._answers(model, searching=searching))

    def _answers(self, model: nn.Module, *, searching: bool = False) -> tuple[Tensor, Tensor]:
        """What the model answers, and what is right (both (M,)); where a budget is searched for, on every second image
        for that, and on the others for what is told."""
        found, everything, seen, going = [], [], 0, self._along.going("testing", self._total)
        for batch in self._batches:
            images, labels = _labelled(batch, self._classes)
            asked = (torch.arange(seen, seen + len(labels)) % 2 == searching) if self._searches else slice(None)
            seen += len(labels)
            everything.append(labels.cpu())
            images, labels = images[asked], labels[asked]
            if len(labels):
                found.append((models.predict(model, images, batch=self._batch), labels.cpu()))
            going(seen)
        if not found:
            raise ValueError("there are no images to test on: give some, with labels")
        self._total = seen
        self._require_order(torch.cat(everything))
        return tuple(map(torch.cat, zip(*found, strict=True)))

    def _require_order(self, labels: Tensor) -> None:
        """Raises ValueError where test images come in another order than before: some that search would then be among
        those that tell, and answers could not be compared."""
        if self._seen is not None and not torch.equal(self._seen, labels):
            raise ValueError("test images come in another order each time: give batches that do not, as a DataLoader"
                             " with shuffle=False")  # fmt: skip
        self._seen = labels


def held_out(count: int) -> Tensor:
    """Which of so many unlabelled images are kept to test agreement on, (count,) bool."""
    return torch.arange(count) % HELD_OUT == HELD_OUT - 1


def _labelled(batch: object, classes: int) -> tuple[Tensor, Tensor]:
    """The images and labels (M,) of a batch to test on. Raises ValueError for what is none."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2 or not isinstance(batch[0], Tensor):
        raise ValueError("test must be batches of images with labels: for a single one give [(images, labels)]")
    images = checks.images(batch[0])
    if not images.isfinite().all():
        raise ValueError("test images hold numbers that are not finite: leave these images out")
    return images, recovery.checked(batch[1], len(images), classes)


def _alike(one: Tensor, other: Tensor) -> float:
    return (one == other).sum().item() / len(one)
