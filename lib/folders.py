"""Folders of images of any number and size, read batch by batch.

Enters: a folder: images at any depth, or ImageNet's layout, <folder>/<class>/<image>. Leaves: batches as
`importance.score` takes them, each image resized and cropped to one size as is usual for ImageNet (the shorter side to
8/7 of the crop, then the centre), with no more than one batch in memory (of the other images only their names); or,
where they are few, a `datasets.ImageSet` to train on.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lib import datasets
from lib.datasets import FORMATS, SUFFIXES, ImageSet

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation that torchvision's weights expect
MARGIN = 8 / 7  # of the shorter side, before the crop: 256 for 224 pixels


@dataclass(frozen=True)
class Stream:
    """Batches (images float32 (M, 3, P, P), labels (M,) or None, indices (M,)); iterate it as often as you like.

    `files` are the images, each with its index (its place among all of the folder) and, where the folder is laid out by
    class, its label. Without `labelled` the labels are withheld. `moments` are the channels' mean and deviation.
    """

    files: tuple[tuple[Path, int, int], ...]
    classes: tuple[str, ...]
    pixels: int
    batch: int = 32
    labelled: bool = False
    moments: tuple = IMAGENET
    workers: int = 0

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        mean, std = (torch.as_tensor(values, dtype=torch.float32) for values in self.moments)
        for images, labels, indices in self.raw():
            yield datasets.normalise(images, mean, std), labels if self.labelled else None, indices

    def raw(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The same with images uint8 and labels (-1 without classes)."""
        generator = torch.Generator()  # or the loader would draw from the global random state
        return iter(DataLoader(_Files(self), self.batch, num_workers=self.workers, generator=generator))

    def first(self, count: int) -> "Stream":
        """The same with `count` of its images, evenly spread over the folder. Raises ValueError if it has fewer."""
        if not 1 <= count <= len(self):
            raise ValueError(f"cannot stream {count} images: there are {len(self)}")
        return replace(self, files=tuple(self.files[i * len(self) // count] for i in range(count)))


class _Files(Dataset):
    def __init__(self, stream: Stream):
        self.stream = stream

    def __len__(self) -> int:
        return len(self.stream)

    def __getitem__(self, place: int) -> tuple[Tensor, int, int]:
        path, index, label = self.stream.files[place]
        return _pixels(path, self.stream.pixels), label, index


def stream(folder: str | os.PathLike, pixels: int, **more: object) -> Stream:
    """All images below `folder`, in the order of their paths, scaled and cropped to `pixels` x `pixels`.

    Arguments:
        more: of `Stream`: batch, labelled, moments, workers.

    Raises FileNotFoundError where there are no images, ValueError where labels are asked for and images lie outside
    the folders of classes.
    """
    folder = Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise FileNotFoundError(f"no images ({' '.join(SUFFIXES)}) in {folder}: name a folder that has some")
    parts = [path.relative_to(folder).parts for path in paths]
    classes = tuple(sorted({part[0] for part in parts if len(part) > 1}))
    if more.get("labelled") and any(len(part) == 1 for part in parts):
        raise ValueError(f"images of {folder} lie outside the folders of classes: lay it out as <class>/<image>")
    numbers = {name: number for number, name in enumerate(classes)}
    files = [
        (path, index, numbers.get(part[0], -1)) for index, (path, part) in enumerate(zip(paths, parts, strict=True))
    ]
    return Stream(tuple(files), classes, pixels, **more)


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
    `pixels` to half as much again. As many of each class as can be.
    """
    digits = datasets.load("digits", split, folder)
    target = Path(folder) / split
    for place, index in enumerate(datasets.subset(digits, count or len(digits), seed=0, stratified=True).tolist()):
        size = (pixels + place * 7 % (pixels // 2), pixels + place * 11 % (pixels // 2))
        path = target / digits.classes[digits.labels[index]] / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.images[index, 0].numpy()).convert("RGB").resize(size, Image.Resampling.BICUBIC).save(
            path
        )
    return target


def _pixels(path: Path, pixels: int) -> Tensor:
    """RGB (3, pixels, pixels), uint8."""
    from torchvision.transforms import functional  # takes seconds to import

    try:
        with Image.open(path, formats=FORMATS) as image:
            image = image.convert("RGB")
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise ValueError(f"cannot read image {path} ({error}): replace or remove it") from error
    return functional.pil_to_tensor(
        functional.center_crop(functional.resize(image, round(MARGIN * pixels)), [pixels] * 2)
    )
