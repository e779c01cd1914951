"""Folders of images of any number and size, read batch by batch.

Enters: a folder: images at any depth, or ImageNet's layout, <folder>/<class>/<image>. Leaves: batches as
`importance.score` takes them, each image resized and cropped to one size as is usual for ImageNet (the shorter side to
8/7 of the crop, then the centre), with no more than a few batches in memory (of the other images only their names);
or, where they are few, a `datasets.ImageSet` to train on. Under `torch.distributed` every rank has the same stream, and
`importance.score` asks it for the rank's share, so that each rank reads and decodes its own images alone.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lib import datasets, ranks
from lib.datasets import FORMATS, SUFFIXES, ImageSet

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation that torchvision's weights expect
MARGIN = 8 / 7  # of the shorter side, before the crop: 256 for 224 pixels


@dataclass(frozen=True, eq=False)
class Stream:
    """Batches (images float32 (M, 3, P, P), labels (M,) or None, indices (M,)); iterate it as often as you like.

    `names` are the images' paths within `folder`; `places` (M,) their indices, counted over the whole folder; `targets`
    (M,) their classes, -1 for images outside the folders of classes. Without `labelled` the labels are withheld.
    `moments` are the channels' mean and deviation. With `workers` so many processes decode, each two batches ahead.
    """

    folder: Path
    names: tuple[str, ...]
    places: numpy.ndarray
    targets: numpy.ndarray
    classes: tuple[str, ...]
    pixels: int
    batch: int = 32
    labelled: bool = False
    moments: tuple = IMAGENET
    workers: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        mean, std = (torch.as_tensor(values, dtype=torch.float32) for values in self.moments)
        for images, labels, indices in self.raw():
            yield datasets.normalise(images, mean, std), labels if self.labelled else None, indices

    def raw(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The same with images uint8, and always with `targets`."""
        _transforms()  # here once, and not in every worker
        generator = torch.Generator()  # or the loader would draw from the global random state
        workers = min(self.workers, -(-len(self) // self.batch))
        try:
            yield from DataLoader(_Files(self), self.batch, num_workers=workers, generator=generator)
        except ValueError as error:  # a worker's comes with where it was, line by line
            raise ValueError(str(error).splitlines()[-1].removeprefix("ValueError: ")) from error

    def first(self, count: int) -> "Stream":
        """The same with `count` of its images, evenly spread over the folder. Raises ValueError if it has fewer."""
        if not 1 <= count <= len(self):
            raise ValueError(f"cannot stream {count} images: there are {len(self)}")
        kept = numpy.arange(count) * len(self) // count
        names = tuple(self.names[place] for place in kept.tolist())
        return replace(self, names=names, places=self.places[kept], targets=self.targets[kept])

    def part(self, start: int, end: int) -> "Stream":
        """The same with its images from number `start` to before number `end`; none is read until one iterates."""
        part = slice(start, end)
        return replace(self, names=self.names[part], places=self.places[part], targets=self.targets[part])

    def share(self, rank: int, count: int, whole: int) -> "Stream":
        """What `rank` among `count` takes, in runs of `whole` images that stay together: see `ranks.mine`."""
        return self.part(*ranks.bounds(len(self), rank, count, whole))


class _Files(Dataset):
    def __init__(self, stream: Stream):
        self.stream = stream

    def __len__(self) -> int:
        return len(self.stream)

    def __getitem__(self, place: int) -> tuple[Tensor, int, int]:
        path = self.stream.folder / self.stream.names[place]
        return _pixels(path, self.stream.pixels), int(self.stream.targets[place]), int(self.stream.places[place])


def stream(folder: str | os.PathLike, pixels: int, **more: object) -> Stream:
    """All images below `folder`, folder by folder and by name, scaled and cropped to `pixels` x `pixels`.

    Arguments:
        more: of `Stream`: batch, labelled, moments, workers.

    Raises FileNotFoundError where there are no images, ValueError where labels are asked for and images lie outside
    the folders of classes.
    """
    folder = Path(folder)
    names = tuple(_images_below(folder))
    if not names:
        raise FileNotFoundError(f"no images ({' '.join(SUFFIXES)}) in {folder}: name a folder that has some")
    classes = tuple(sorted({name.split(os.sep)[0] for name in names if os.sep in name}))
    numbers = {name: number for number, name in enumerate(classes)}
    targets = numpy.array([numbers.get(name.split(os.sep)[0], -1) for name in names])
    if more.get("labelled") and (targets < 0).any():
        raise ValueError(f"images of {folder} lie outside the folders of classes: lay it out as <class>/<image>")
    return Stream(folder, names, numpy.arange(len(names)), targets, classes, pixels, **more)


def _images_below(folder: Path) -> Iterator[str]:
    start = len(os.path.join(folder, ""))
    for path, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.join(path, name)[start:]


def image_set(folder: str | os.PathLike, pixels: int) -> ImageSet:
    """All images of a folder laid out as <class>/<image> in memory, uint8 (M, 3, pixels, pixels), to train on.

    Raises what `stream` raises.
    """
    found = stream(folder, pixels, labelled=True)
    images, labels, _ = (torch.cat(parts) for parts in zip(*found.raw(), strict=True))
    return ImageSet(images, labels, found.classes, Path(folder).parent.name, Path(folder).name)


def write_digits(folder: str | os.PathLike, split: str, pixels: int, count: int | None = None) -> Path:
    """Makes <folder>/<split> of so many scikit-learn digits (all, if not said) in ImageNet's layout, and returns it.

    They are a stand-in where no photographs are at hand: 8 x 8 grey pixels scaled up to RGB files of mixed sizes, from
    `pixels` to half as much again. As many of each class as can be; they come again, in other sizes, where more are
    asked for than there are.
    """
    digits = datasets.load("digits", split, folder)
    count = len(digits) if count is None else count
    chosen = datasets.subset(digits, min(count, len(digits)), seed=0, stratified=True).tolist()
    for place in range(count):
        index = chosen[place % len(chosen)]
        size = (pixels + place * 7 % (pixels // 2), pixels + place * 11 % (pixels // 2))
        path = Path(folder) / split / digits.classes[digits.labels[index]] / f"{index:04d}-{place:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        digit = Image.fromarray(digits.images[index, 0].numpy()).convert("RGB")
        digit.resize(size, Image.Resampling.BICUBIC).save(path)
    return Path(folder) / split


def stand_in(folder: str | os.PathLike, pixels: int) -> Path:
    """Makes <folder>/{train,test} of all digits, as `write_digits` does, and returns the folder."""
    for split in datasets.SPLITS:
        write_digits(folder, split, pixels)
    return Path(folder)


def _pixels(path: Path, pixels: int) -> Tensor:
    """RGB (3, pixels, pixels), uint8."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            image = image.convert("RGB")
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise ValueError(f"cannot read image {path} ({error}): replace or remove it") from error
    transforms = _transforms()
    return transforms.pil_to_tensor(
        transforms.center_crop(transforms.resize(image, round(MARGIN * pixels)), [pixels] * 2)
    )


def _transforms() -> ModuleType:
    from torchvision.transforms import functional  # takes seconds to import

    return functional
