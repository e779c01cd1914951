"""Folders of images of any number and size, read batch by batch.

Enters: a folder: images at any depth, or ImageNet's layout, <folder>/<class>/<image>; `files` says what counts as an
image and as a class. Leaves: batches as `importance.score` takes them, each image resized and cropped to one size as is
usual for ImageNet (the shorter side to 8/7 of the crop, then the centre), unless it has that size or is to be
stretched, with no more than a few batches in memory (of the other images only their names); or, where they are few, a
`datasets.ImageSet` to train on.
Under `torch.distributed` every rank has the same stream, and `importance.score` asks it for the rank's share, so that
each rank reads and decodes its own images alone.
"""

import hashlib
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from types import ModuleType

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from lib.images import datasets, files
from lib.images.datasets import ImageSet
from lib.images.files import SUFFIXES, shown
from lib.network import checks
from lib.scoring import ranks

_log = logging.getLogger(__name__)

LOOKED_THROUGH = 2000  # images behind one that cannot be read, for others
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation that torchvision's weights expect
AHEAD = 2  # batches that each worker makes before they are asked for, which is DataLoader's habit
MARGIN = 8 / 7  # of the shorter side, before the crop: 256 for 224 pixels


@dataclass(frozen=True, eq=False)
class Stream:
    """Batches (images float32 (M, C, P, P), labels (M,) or None, indices (M,)); iterate it as often as you like.

    `names` are the images' paths within `folder`; `places` (M,) their indices, counted over the whole folder; `targets`
    (M,) their classes, -1 for images outside the folders of classes. Without `labelled` the labels are withheld.
    `moments` are the channels' mean and deviation: of C = 3, or of C = 1, for which colours become grey levels. With
    `stretched` images are not cropped, but get P x P pixels whatever their shape. With `workers` so many processes
    decode, each two batches ahead.
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
    stretched: bool = False

    def __post_init__(self):
        """Raises ValueError for sizes that are none, and moments that are not of three channels or one."""
        _check(pixels=self.pixels, batch=self.batch, workers=self.workers, moments=self.moments)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        mean, std = (torch.as_tensor(values, dtype=torch.float32) for values in self.moments)
        for images, labels, indices in self.raw():
            yield datasets.normalise(images, mean, std), labels if self.labelled else None, indices

    def raw(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The same with images uint8, and always with `targets`.

        Raises ValueError naming images that cannot be read, the first and those among the next `LOOKED_THROUGH`;
        RuntimeError for workers that cannot work.
        """
        done = 0
        try:
            for parts in self._batches(_Files(self)):
                yield tuple(map(torch.as_tensor, parts))
                done += len(parts[0])
        except files.Unreadable as error:
            raise files.Unreadable(*self.part(done, done + LOOKED_THROUGH).unreadable()) from error

    def unreadable(self) -> list[str]:
        """What is to be said of each image that cannot be read: all are decoded, and none is kept."""
        return [said for batch in self._batches(_Faults(self), collate=list) for said in batch if said]

    def _batches(self, of: Dataset, collate: Callable | None = None) -> Iterator[Sequence]:
        _transforms()  # here once, and not in every worker
        workers = min(self.workers, -(-len(self) // self.batch))
        try:
            yield from self._loader(of, workers, collate)
        except files.Unreadable:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            raise _in_one_line(error) from error

    def _loader(self, of: Dataset, workers: int, collate: Callable | None) -> Iterator[Sequence]:
        generator = torch.Generator()  # or the loader would draw from the global random state
        collate = collate or (default_collate if self._fits_shared_memory(workers) else _arrays)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than it thinks wise
            loader = DataLoader(of, self.batch, num_workers=workers, generator=generator, collate_fn=collate)
            return iter(loader)

    def _fits_shared_memory(self, workers: int) -> bool:
        """Whether there is room for twice the batches that can be under way between processes, as tensors are."""
        try:
            room = shutil.disk_usage("/dev/shm").free
        except OSError:  # a system without it does not limit it
            return True
        under_way = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) * (AHEAD * workers + 1)
        return 2 * under_way * self.batch * 3 * self.pixels**2 <= room

    def first(self, count: int) -> "Stream":
        """The same with `count` of its images, evenly spread over the folder. Raises ValueError if it has fewer."""
        if not 1 <= checks.whole("count", count, 0) <= len(self):
            raise ValueError(f"cannot stream {count} images: there are {len(self)}")
        kept = numpy.arange(count) * len(self) // count
        names = tuple(self.names[place] for place in kept.tolist())
        return replace(self, names=names, places=self.places[kept], targets=self.targets[kept])

    def only(self, chosen: numpy.ndarray) -> "Stream":
        """The same with those of its images that are `chosen` (M,), bool."""
        names = tuple(compress(self.names, chosen))
        return replace(self, names=names, places=self.places[chosen], targets=self.targets[chosen])

    def among(self, others: Sequence["Stream"]) -> numpy.ndarray:
        """Which of its images (M,), bool, are among those of other streams: the same files, copies of them or links to
        them. Only files of the same size are read."""
        theirs = [other.folder / name for other in others for name in other.names]
        own = [self.folder / name for name in self.names]
        sizes = {os.stat(path).st_size for path in theirs}
        sized = [os.stat(path).st_size in sizes for path in own]
        sizes = {os.stat(path).st_size for path in compress(own, sized)}
        contents = {_content(path) for path in theirs if os.stat(path).st_size in sizes}
        return numpy.array([alike and _content(path) in contents for path, alike in zip(own, sized, strict=True)], bool)

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
        stream = self.stream
        grey = len(stream.moments[0]) == 1
        pixels = _pixels(stream.folder / stream.names[place], stream.pixels, stream.stretched, grey)
        return pixels, int(stream.targets[place]), int(stream.places[place])


class _Faults(_Files):
    """What is to be said of an image that cannot be read; nothing of the others."""

    def __getitem__(self, place: int) -> str:
        try:
            super().__getitem__(place)
        except files.Unreadable as error:
            return error.said[0]
        return ""


def _content(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _arrays(examples: Sequence[tuple[Tensor, int, int]]) -> list[numpy.ndarray]:
    """A batch that goes from process to process through a pipe: no shared memory, but a little slower."""
    images, *numbers = zip(*examples, strict=True)
    return [torch.stack(images).numpy(), *map(numpy.array, numbers)]


def _in_one_line(error: Exception) -> Exception:
    """A worker's error comes with where it was, line by line; one of the loader itself says nothing of a remedy."""
    said = (str(error).strip() or type(error).__name__).splitlines()[-1]
    if isinstance(error, ValueError):
        return ValueError(said.removeprefix("ValueError: "))
    return RuntimeError(f"processes that read images fail: take fewer workers ({said.removeprefix('RuntimeError: ')})")


def stream(folder: str | os.PathLike, pixels: int, classes: int | None = None, **more: object) -> Stream:
    """All images below `folder`, folder by folder and by name, scaled and cropped to `pixels` x `pixels`.

    Arguments:
        classes: how many the network has, where its labels are those of the folders.
        more: of `Stream`: batch, labelled, moments, workers, stretched.

    Raises FileNotFoundError where there are no images, NotADirectoryError for a file; ValueError for sizes and moments
    that are none, and where labels are asked for and images lie outside the folders of classes, or one of these is
    empty, or there are fewer or more than `classes`, unless a file classes.txt beside the folder names them all, one a
    line in the order of their numbers.
    """
    folder = checks.path(folder)
    _check(pixels=pixels, **more)  # before hours may go into listing the folder
    if classes is not None:
        checks.whole("classes", classes, 1)
    files.refuse_file(folder)
    found = files.below(folder) if os.path.isdir(folder) else None
    if found and ranks.place()[0] == 0:
        found.tell()
    names = tuple(found.images) if found else ()
    if not names:
        raise FileNotFoundError(f"no images ({' '.join(SUFFIXES)}) in {shown(folder)}: name a folder that has some")
    named = _numbered(found, classes) if more.get("labelled") else list(found.classes)
    sizes = [len(found.loose), *map(len, found.classes.values())]
    targets = numpy.repeat([-1, *map({name: n for n, name in enumerate(named)}.get, found.classes)], sizes)
    return Stream(Path(folder), names, numpy.arange(len(names)), targets, tuple(named), pixels, **more)


def _numbered(found: files.Listing, count: int | None) -> list[str]:
    """The names of the classes in the order of their numbers; `count` are the network's, if that is known."""
    named = datasets.named_classes(Path(found.folder))
    found.require_classes(count if named is None else None)
    if named is None:
        if ranks.place()[0] == 0:
            _warn_of_numbers(found)
        return list(found.classes)
    datasets.require_named(found, named)
    if count not in (None, len(named)):
        raise ValueError(f"{shown(Path(found.folder).with_name(datasets.CLASSES))} names {len(named)} classes, but the"
                         f" network has {count}: one a line, in the order of its outputs")  # fmt: skip
    return named


def _warn_of_numbers(found: files.Listing) -> None:
    """Says where folders that are called by numbers have others as labels, as 10, which comes before 2, has."""
    classes = list(found.classes)
    if all(name.isdecimal() for name in classes) and (counted := sorted(classes, key=int)) != classes:
        place = next(place for place, pair in enumerate(zip(classes, counted, strict=True)) if pair[0] != pair[1])
        _log.warning("%s: folders come by name, %s before %s, so that %s is label %d: if that is not the order in which"
                     " the network counts, name all of them in a file classes.txt beside the folder, one a line",
                     shown(found.folder), classes[place], counted[place], classes[place], place)  # fmt: skip


def _check(**given: object) -> None:
    for name, least in {"pixels": 1, "batch": 1, "workers": 0}.items():
        if name in given:
            checks.whole(name, given[name], least)
    if "moments" in given:
        checks.moments(given["moments"])


def image_set(folder: str | os.PathLike, pixels: int, classes: int | None = None) -> ImageSet:
    """All images of a folder laid out as <class>/<image> in memory, uint8 (M, 3, pixels, pixels), to train on.

    Raises what `stream` raises.
    """
    found = stream(folder, pixels, classes, labelled=True)
    images, labels, _ = (torch.cat(parts) for parts in zip(*found.raw(), strict=True))
    return ImageSet(images, labels, found.classes, Path(folder).parent.name, Path(folder).name)


def image_sets(folder: str | os.PathLike, pixels: int, classes: int | None = None) -> list[ImageSet]:
    """`image_set` of <folder>/train and <folder>/test, of the same classes.

    Raises what `stream` raises, and ValueError for classes in only one of them.
    """
    datasets.require_same_classes(folder)
    return [image_set(Path(folder, split), pixels, classes) for split in datasets.SPLITS]


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


def _pixels(path: Path, pixels: int, stretched: bool, grey: bool) -> Tensor:
    """RGB (3, pixels, pixels), or grey levels (1, pixels, pixels), uint8; of an image that has this size, all of it as
    it is."""
    with files.quietly():
        image, _ = files.read(path)
    image = image.convert("L") if grey else image  # what was grey has the same levels again
    if image.size == (pixels, pixels):
        return _transforms().pil_to_tensor(image)
    if stretched:
        return datasets.resized(_transforms().pil_to_tensor(image)[None], pixels)[0]
    shorter, longer = sorted(image.size)
    scaled = round(MARGIN * pixels)
    if scaled**2 * longer > files.LARGEST * shorter:
        too_long = f"{image.width}x{image.height} is too long to be scaled to a shorter side of {scaled}"
        raise files.unreadable(path, too_long)
    transforms = _transforms()
    return transforms.pil_to_tensor(transforms.center_crop(transforms.resize(image, scaled), [pixels] * 2))


def _transforms() -> ModuleType:
    from torchvision.transforms import functional  # takes seconds to import

    return functional
