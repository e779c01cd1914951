"""A run's images, and which of them are drawn: at random, by class, or with a long tail.

Enters: a run, numbers of examples and seeds. Leaves: normalised images in batches; of a long-tailed set also which
classes are common and which are rare.
"""

from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from lib.images import datasets
from lib.study import given, profiles

BANDS = ("common", "middle", "rare")  # thirds of the classes of a long-tailed set of examples
_PURPOSES = ("random", "stratified", "long-tailed", "oracle", "repair", "scratch")


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
        limit = _limit(run, device)
        kept = slice(None) if limit is None else datasets.subset(test, limit, seed=0, stratified=True)
        prepare = given.preparation(run, train.images)
        pixels = (prepare(images).to(device) for images in (train.images, test.images[kept]))
        return cls(train, *pixels, test.labels[kept])

    def batches(self, examples: int, sample: str, *, seed: int, size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Batches (images, labels, indices) of a draw of so many training examples; of one for criteria that use
        none."""
        if sample == "long-tailed":
            chosen = long_tailed(self.train.labels, seed)
        else:
            chosen = datasets.subset(self.train, max(examples, 1), seed=seed, stratified=sample == "stratified")
        return [(self.train_images[part], self.train.labels[part], part) for part in chosen.split(size)]

    def for_oracle(self, run: profiles.Run) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The training images on which units are judged one by one or together, each class alike, in batches."""
        settings = run.settings["measuring"]
        count, seed = min(settings["oracle"], len(self.train)), seed_for("oracle", run.seed)
        return self.batches(count, "stratified", seed=seed, size=settings["batch"])

    def for_repair(self, run: profiles.Run) -> Tensor:
        """The training images, without their labels, on which BatchNorm statistics are estimated anew."""
        count, seed = min(run.settings["measuring"]["repair"], len(self.train)), seed_for("repair", run.seed)
        return self.train_images[datasets.subset(self.train, count, seed=seed)]


def tested(run: profiles.Run, device: torch.device | str) -> int:
    """How many test images the run's curves use when they are measured on `device`."""
    limit = _limit(run, device)
    return len(datasets.load(run.dataset, "test", run.data_folder)) if limit is None else limit


def _limit(run: profiles.Run, device: torch.device | str) -> int | None:
    count = run.settings["measuring"]["test_images"]
    return None if count == "all" or torch.device(device).type != "cpu" else count


def labels_of(run: profiles.Run) -> Tensor:
    """The labels of the run's training images, (M,)."""
    return datasets.load(run.dataset, "train", run.data_folder).labels


def seed_for(purpose: str, *parts: int) -> int:
    """A seed of its own for each purpose and parts, so that no two draws share a permutation."""
    return int(numpy.random.SeedSequence([1000 + _PURPOSES.index(purpose), *parts]).generate_state(1)[0])


def long_tailed(labels: Tensor, seed: int) -> Tensor:
    """Which images, with these labels, make a long-tailed set: indices, of the commonest class a hundred times as many
    as of the rarest."""
    return datasets.long_tailed(_frequency_rank(labels, int(labels.max()) + 1, seed), ratio=100, seed=seed)


def bands(labels: Tensor, classes: int, seed: int) -> dict[str, Tensor]:
    """Which labels are of the commonest third of the classes of a long-tailed set, the middle one and the rarest."""
    third = _frequency_rank(labels, classes, seed) * 3 // classes
    return {name: third == number for number, name in enumerate(BANDS)}


def _frequency_rank(labels: Tensor, classes: int, seed: int) -> Tensor:
    """For each label the place of its class, from the commonest (0) to the rarest of a long-tailed set, by seed."""
    return torch.from_numpy(numpy.random.default_rng(seed).permutation(classes))[labels]
