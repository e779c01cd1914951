"""Real images as tensors: decoded once, checked, the same on every machine.

Enters: a data set's name and split. Leaves: an `ImageSet` of uint8 images (M, C, H, W) and int64 labels (M,), and what
is drawn from one: subsets, statistics of its channels, normalised pixels. Sources: any folder
`<root>/<name>/{train,test}/<class>/<image>`, read by the rules of `files`; else `digits` (UCI optdigits, embedded in
scikit-learn), `cifar10` and `cifar100` (Krizhevsky 2009), `stl10` (Coates et al. 2011). The paper (arXiv 2310.20203)
uses CIFAR-100 and STL-10.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from http.client import HTTPException
from importlib.metadata import version
from numbers import Integral
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from lib.images import files
from lib.images.files import shown
from lib.system import whole_files

SPLITS = ("train", "test")
ARCHIVES = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python", "stl10": "stl10_binary"}  # their folders
NAMES = ("digits", *ARCHIVES)
LAYOUT = "{train,test}/<class>/<image>"
CLASSES = "classes.txt"  # beside the splits: which classes there are, one a line
CHUNK = 256  # images decoded by a thread, or resized, at a time
DIGITS_TEST, DIGITS_SEED = 450, 20231020  # 45 test images of each digit, drawn by `subset` with this seed


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images in memory: `images` uint8 (M, C, H, W), `labels` int64 (M,) into `classes`."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str
    split: str

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(f"{self.name}: {len(self.images)} images but {len(self.labels)} labels")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise ValueError(
                f"{self.name}: labels must lie between 0 and {len(self.classes) - 1}, one for each class name"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of images, labels and class names: the same wherever the same data was loaded."""
        digest = hashlib.sha256(json.dumps([*self.images.shape, *self.classes]).encode())
        for tensor in (self.images, self.labels):
            digest.update(memoryview(tensor.cpu().contiguous().numpy()))
        return digest.hexdigest()


def load(name: str, split: str, root: str | Path = "data") -> ImageSet:
    """Data set `name`, `split` "train" or "test", from `<root>/<name>/<split>/<class>/<image>`, embedded or downloaded.

    Decoded images are kept in `<root>/.cache`, verified by digest, and decoded again whenever the source changes. Both
    splits have the same classes, unless `<root>/<name>/classes.txt` names them, which may then lack images, and images
    of one size; where both are grey images have one channel, else three.

    Raises ValueError for an unknown name or split and for images that make no data set, FileNotFoundError where there
    are neither images nor a network, RuntimeError for a damaged cache that cannot be rebuilt.
    """
    root = Path(root)
    _check_name(name, split, root, known=_cache(name, split, root).exists())
    with _only_one_process(root / ".cache" / f"{name}.lock"):
        found = _load_alone(name, split, root)
        if name in NAMES and not _is_image_folder(root / name):
            return found
        (other,) = set(SPLITS) - {split}
        return _fitted(found, other, _shape(name, other, root), root / name)


def _load_alone(name: str, split: str, root: Path) -> ImageSet:
    cache, source = _cache(name, split, root), _source(name, split, root)
    found = _read_cache(cache, source, name, split) if cache.exists() else None
    if found is None:
        images, labels, classes = source.read()
        found = ImageSet(torch.from_numpy(images), torch.from_numpy(labels), tuple(classes), name, split)
        # The fingerprint from before decoding: a file replaced meanwhile makes the next load decode again.
        _write_cache(cache, found, source.fingerprint or _source(name, split, root).fingerprint)
    return found


def _cache(name: str, split: str, root: Path) -> Path:
    return root / ".cache" / f"{name}-{split}.safetensors"


def _shape(name: str, split: str, root: Path) -> tuple[int, ...] | None:
    """(C, H, W) of a split's images, if there are any: from the cache, where they are as they were."""
    shape, fingerprint = _remembered(_cache(name, split, root))
    if not (root / name / split).is_dir() or (shape and fingerprint == _source(name, split, root).fingerprint):
        return shape
    return tuple(_load_alone(name, split, root).images.shape[1:])


def _remembered(cache: Path) -> tuple[tuple[int, ...] | None, str | None]:
    """The shape of the images in a cache and their fingerprint, if it is there and whole."""
    try:
        with safetensors.safe_open(cache, "pt") as file:
            return tuple(file.get_slice("images").get_shape()[1:]), file.metadata()["fingerprint"]
    except (OSError, safetensors.SafetensorError, KeyError, TypeError):
        return None, None


def _fitted(found: ImageSet, other: str, shape: tuple[int, ...] | None, folder: Path) -> ImageSet:
    """`found` with as many channels as the data set has, whose `other` split has images of `shape`."""
    channels, height, width = found.images.shape[1:]
    if shape and shape[1:] != (height, width):
        raise ValueError(
            f"images in {shown(folder / found.split)} are {width}x{height} but in {shown(folder / other)} "
            f"{shape[2]}x{shape[1]}: resize all images of a data set to one size"
        )
    if shape and shape[0] > channels:
        return replace(found, images=found.images.repeat(1, shape[0], 1, 1))
    return found


def _check_name(name: str, split: str, root: Path, known: bool) -> None:
    if split not in SPLITS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if not re.fullmatch(r"\w[\w.-]*", str(name)):
        raise ValueError(f"data set name {name!r} is not usable: letters, digits and _ - . only, no path")
    if name not in NAMES and not _is_image_folder(root / name) and not known:
        own = [path.name for path in root.iterdir() if _is_image_folder(path)] if root.is_dir() else []
        valid = ", ".join(sorted({*NAMES, *own}))
        raise ValueError(f"unknown data set {name!r}: valid are {valid} and any folder {root / name}/{LAYOUT}")


@dataclass(frozen=True)
class _Source:
    fingerprint: str | None  # None: not on this machine, or not yet
    read: Callable[[], tuple[np.ndarray, np.ndarray, list[str]]]  # images (M, C, H, W), labels (M,), classes


def _source(name: str, split: str, root: Path) -> _Source:
    folder = root / name
    if (folder / split).is_dir():
        found, classes = _listed(folder, split)
        fingerprint = files.fingerprint(found.folder, found.images)
        if classes is not None:
            fingerprint += f", classes {hashlib.sha256(json.dumps(classes).encode()).hexdigest()}"
        return _Source(fingerprint, lambda: _read_folder(found, classes or list(found.classes)))
    if name == "digits" and not _is_image_folder(folder):
        return _Source(f"scikit-learn {version('scikit-learn')}, seed {DIGITS_SEED}", lambda: _read_digits(split))
    if name in ARCHIVES and not _is_image_folder(folder):
        archive = root / ARCHIVES[name]
        there = sorted(os.listdir(archive)) if archive.is_dir() else []
        return _Source(files.fingerprint(archive, there) if there else None, lambda: _read_archive(name, split, root))
    return _Source(
        None, lambda: _refuse(f"no {split} images of {name!r}: put them into {folder / split}/<class>/<image>")
    )


def _refuse(message: str) -> None:
    raise FileNotFoundError(message)


def _is_image_folder(folder: Path) -> bool:
    return any((folder / split).is_dir() for split in SPLITS)


def _listed(folder: Path, split: str) -> tuple[files.Listing, list[str] | None]:
    """What is in a split, and the classes that the data set names, if it does."""
    classes = named_classes(folder / split)
    if classes is None:
        require_same_classes(folder)
    found = files.below(folder / split)
    found.require_classes()
    if classes is not None:
        require_named(found, classes)
    return found, classes


def require_named(found: files.Listing, classes: Sequence[str]) -> None:
    """Raises ValueError where folders of classes are not among those that a file names."""
    if odd := [name for name in found.classes if name not in set(classes)]:
        names, named = ", ".join(map(shown, odd[:5])), shown(Path(found.folder).with_name(CLASSES))
        raise ValueError(f"{shown(found.folder)}: classes that {named} does not name: {names}; add or remove them")


def named_classes(folder: Path) -> list[str] | None:
    """The lines of the file of classes beside a folder of classes, if there is one. Raises ValueError where these are
    no names."""
    path = folder.absolute().with_name(CLASSES)
    if not path.is_file():
        return None
    try:
        classes = path.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise ValueError(f"{shown(path)} is not UTF-8: give one name of a class a line") from error
    if not classes or "" in classes or len(set(classes)) < len(classes):
        raise ValueError(f"{shown(path)} must name each class once, one a line, without empty lines")
    return classes


def require_same_classes(folder: str | os.PathLike) -> None:
    """Raises ValueError where a class is in only one of <folder>/{train,test}, if there are both."""
    splits = [path for path in (Path(folder, split) for split in SPLITS) if path.is_dir()]
    classes = [files.classes_in(path) for path in splits]
    if odd := sorted(set.union(*classes) - set.intersection(*classes)):
        names = ", ".join(map(shown, odd[:5]))
        raise ValueError(f"{shown(folder)}: classes in only one of train and test: {names}; give both the same")


def _read_folder(found: files.Listing, classes: list[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    found.tell()
    paths = [os.path.join(found.folder, name) for name in found.images]
    number = {name: label for label, name in enumerate(classes)}
    labels = np.repeat([number[name] for name in found.classes], [*map(len, found.classes.values())])
    with files.quietly():  # around all threads, as that is not to be switched by one of them
        shape = _pixels(paths[0])[0].shape
        images = _room(len(paths), shape, found.folder)
        with ThreadPoolExecutor() as pool:
            starts = range(0, len(paths), CHUNK)
            all_grey = all(list(pool.map(partial(_decode, images, paths), starts)))
    return (images[:, :1].copy() if all_grey else images), labels, classes


def _room(count: int, shape: tuple[int, ...], folder: str) -> np.ndarray:
    try:
        return np.empty((count, *shape), np.uint8)
    except MemoryError as error:
        size = f"{count:,} images of {shape[2]}x{shape[1]} pixels in {shown(folder)}"
        needed = f"{count * math.prod(shape) / 1e9:,.1f} GB"
        raise ValueError(f"{size} take {needed} of memory, more than there is: make them smaller or fewer") from error


def _decode(images: np.ndarray, paths: list[str], start: int) -> bool:
    """Fills a chunk of `images`, from `start`; whether all of it is grey."""
    greys = []
    for i, path in enumerate(paths[start : start + CHUNK], start):
        pixels, grey = _pixels(path)
        if pixels.shape != images.shape[1:]:
            (_, height, width), (_, right_height, right_width) = pixels.shape, images.shape[1:]
            raise ValueError(
                f"image {shown(path)} is {width}x{height} but {shown(paths[0])} is {right_width}x{right_height}: "
                "resize all images of a data set to one size"
            )
        images[i] = pixels
        greys.append(grey)
    return all(greys)


def _pixels(path: str) -> tuple[np.ndarray, bool]:
    """RGB (3, H, W) and whether the file is grey."""
    image, grey = files.read(path)
    return np.asarray(image).transpose(2, 0, 1), grey


def _read_digits(split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images[:, None] * (255 / 16)).astype(np.uint8)  # 0..16 to 0..255
    labels = digits.target.astype(np.int64)
    test = _draw(labels, DIGITS_TEST, DIGITS_SEED, stratified=True)
    chosen = np.isin(np.arange(len(labels)), test) == (split == "test")
    return images[chosen], labels[chosen], [str(name) for name in digits.target_names]


def _read_archive(name: str, split: str, root: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    try:
        return _read_stl10(split, root) if name == "stl10" else _read_cifar(name, split, root)
    except (OSError, RuntimeError, HTTPException) as error:
        raise FileNotFoundError(
            f"no images of {name!r}: neither {root / name}/{LAYOUT} nor intact files in {root / ARCHIVES[name]}, "
            f"and the download failed ({error}): connect to the network or put the images there (data/README.md)"
        ) from error


def _read_cifar(name: str, split: str, root: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    from torchvision import datasets

    with warnings.catch_warnings():  # the official pickles are older than NumPy 2.4 likes
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        cifar = getattr(datasets, name.upper())(root, train=split == "train", download=True)
    return np.ascontiguousarray(cifar.data.transpose(0, 3, 1, 2)), np.array(cifar.targets, np.int64), cifar.classes


def _read_stl10(split: str, root: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    from torchvision.datasets import STL10, utils

    folder, names = root / STL10.base_folder, STL10.class_names_file
    published = {file: md5 for file, md5 in STL10.train_list + STL10.test_list if file.startswith(SPLITS)}
    if not all((folder / file).is_file() for file in [*published, names]):
        _download_stl10(root, folder, [*published, names])
    images, labels = f"{split}_X.bin", f"{split}_y.bin"
    for file in (images, labels):
        if not utils.check_integrity(folder / file, published[file]):
            raise ValueError(f"{folder / file} is damaged (md5 mismatch): delete it to have it downloaded again")
    pixels = np.fromfile(folder / images, np.uint8).reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2)  # stored by column
    targets = np.fromfile(folder / labels, np.uint8).astype(np.int64) - 1  # stored as 1..10
    return np.ascontiguousarray(pixels), targets, (folder / names).read_text().split()


def _download_stl10(root: Path, folder: Path, files: list[str]) -> None:
    from torchvision.datasets import STL10, utils

    aside = root / ".cache" / "stl10-unpacking"  # so that an interrupted unpacking leaves nothing half-written behind
    shutil.rmtree(aside, ignore_errors=True)
    utils.download_and_extract_archive(STL10.url, root, extract_root=aside, filename=STL10.filename, md5=STL10.tgz_md5)
    folder.mkdir(exist_ok=True)
    for file in files:
        os.replace(aside / STL10.base_folder / file, folder / file)
    shutil.rmtree(aside)  # the 2.6 GB of unlabelled images, too


@contextlib.contextmanager
def _only_one_process(lock: Path) -> Iterator[None]:
    """So that runs started together do not download to, or decode into, the same file; freed even by a kill."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a read-only root: nothing is going to be written either
            lock.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(lock.open("w")), fcntl.LOCK_EX)
        yield


def _read_cache(cache: Path, source: _Source, name: str, split: str) -> ImageSet | None:
    try:
        with safetensors.safe_open(cache, "pt") as file:
            about = file.metadata()
            if source.fingerprint not in (None, about["fingerprint"]):
                return None
            classes = tuple(json.loads(about["classes"]))
            found = ImageSet(file.get_tensor("images"), file.get_tensor("labels"), classes, name, split)
        if found.digest == about["digest"]:
            return found
        fault = "digest mismatch"
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        fault = str(error)
    if source.fingerprint is None:
        raise RuntimeError(f"{cache} is damaged ({fault}) and its source is gone: delete it and restore the images")
    warnings.warn(f"{cache} is damaged ({fault}): rebuilt from its source", stacklevel=3)
    return None


def _write_cache(cache: Path, images: ImageSet, fingerprint: str | None) -> None:
    about = {"classes": json.dumps(images.classes), "fingerprint": str(fingerprint), "digest": images.digest}
    try:
        with whole_files.written_whole(cache) as aside:
            aside.write_bytes(safetensors.torch.save({"images": images.images, "labels": images.labels}, about))
    except OSError as error:
        warnings.warn(f"cannot write {cache} ({error}): images are decoded again next time", stacklevel=3)


def subset(images: ImageSet, count: int, *, seed: int, stratified: bool = False) -> Tensor:
    """Sorted indices (count,) of `count` images drawn without replacement; int64.

    Nested: with one seed a smaller draw lies within a larger one. Plain: the first `count` of a permutation.
    `stratified`: classes take turns (in random order), so their numbers differ by at most one while none runs out.
    Raises ValueError for a count below 1 or above the number of images.
    """
    if not isinstance(count, Integral) or not 1 <= count <= len(images):
        raise ValueError(
            f"cannot draw {count} examples: give a whole number from 1 to {len(images)}, the number of images"
        )
    return torch.from_numpy(_draw(images.labels.numpy(), count, seed, stratified))


def _draw(labels: np.ndarray, count: int, seed: int, stratified: bool) -> np.ndarray:
    random = _generator(seed)
    order = random.permutation(len(labels))
    if stratified:
        turns = random.permutation(labels.max() + 1)
        order = order[np.lexsort((turns[labels[order]], _occurrence(labels[order])))]
    return np.sort(order[:count])


def long_tailed(labels: Tensor, *, ratio: float = 100, seed: int) -> Tensor:
    """Sorted indices of a long-tailed subset: of class c of K, n * ratio ** (-c / (K - 1)) random examples, n the
    size of the smallest class; rounded, at least one. Labels int64 (M,); classes in the order given, common ones first.
    The usual construction (Cui et al., CVPR 2019). Raises ValueError for a ratio below 1 or a class without examples.
    """
    if not (math.isfinite(ratio) and ratio >= 1):
        raise ValueError(f"ratio must be a number of 1 or more, got {ratio}")
    values = labels.numpy()
    sizes = np.bincount(values)
    if not sizes.size or sizes.min() == 0:
        raise ValueError(f"class {sizes.argmin() if sizes.size else 0} has no examples: every class needs at least one")
    keep = np.rint(sizes.min() * float(ratio) ** (-np.arange(len(sizes)) / max(len(sizes) - 1, 1))).clip(1)
    order = _generator(seed).permutation(len(values))
    return torch.from_numpy(np.sort(order[_occurrence(values[order]) < keep[values[order]]]))


def _occurrence(labels: np.ndarray) -> np.ndarray:
    """How many equal labels stand before each one."""
    by_class = np.argsort(labels, kind="stable")
    occurrence = np.empty(len(labels), np.int64)
    occurrence[by_class] = np.arange(len(labels)) - np.searchsorted(labels[by_class], labels[by_class])
    return occurrence


def _generator(seed: int) -> np.random.Generator:
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed must be a whole number of 0 or more, got {seed!r}")
    return np.random.default_rng(int(seed))


def statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of each channel of uint8 images (M, C, H, W), in [0, 1] units, float32.

    Exact until the last rounding (256 counts per channel, whole numbers), hence the same on every machine.
    """
    _check_pixels(images)
    means, deviations = [], []
    for channel in images.unbind(1):
        counts = torch.bincount(channel.reshape(-1), minlength=256).tolist()
        n, total, squares = (sum(count * value**power for value, count in enumerate(counts)) for power in (0, 1, 2))
        means.append(total / (255 * n))
        deviations.append(math.sqrt((n * squares - total**2) / n**2) / 255)
    return torch.tensor(means, dtype=torch.float32), torch.tensor(deviations, dtype=torch.float32)


def normalise(images_uint8: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """(x / 255 - mean) / std per channel, on the images' device and in their memory format; a channel that never
    varies (std 0) becomes 0. Computed in float32 or wider, then cast to `dtype`. Images uint8 (M, C, H, W).
    """
    _check_pixels(images_uint8, channels=len(mean))
    wide = torch.promote_types(dtype, torch.float32)
    mean, std = (torch.as_tensor(t).to(images_uint8.device, wide).view(-1, 1, 1) for t in (mean, std))
    if max(mean.max(), std.max()) > 1:
        raise ValueError("mean and std are of pixels from 0 to 1: divide by 255 those of pixels from 0 to 255")
    scale = torch.where(std > 0, std, torch.ones_like(std))
    return images_uint8.to(wide).div_(255).sub_(mean).div_(scale).to(dtype)


def resized(images: Tensor, pixels: int) -> Tensor:
    """Images uint8 (M, C, H, W) stretched to `pixels` x `pixels`, uint8: bicubic, smoothed where they get smaller, and
    rounded. Those that have this size stay as they are."""
    _check_pixels(images)
    if images.shape[2:] == (pixels, pixels):
        return images
    how = {"size": (pixels, pixels), "mode": "bicubic", "antialias": True}
    parts = (functional.interpolate(part.float(), **how) for part in images.split(CHUNK))
    return torch.cat([part.round_().clamp_(0, 255).to(torch.uint8) for part in parts])


def _check_pixels(images: Tensor, channels: int | None = None) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or not images.numel():
        raise ValueError(f"expected uint8 images (M, C, H, W), got {images.dtype} {tuple(images.shape)}")
    if channels not in (None, images.shape[1]):
        raise ValueError(f"images have {images.shape[1]} channels but the statistics are for {channels}")
