"""Files of images: which count, in which order, and what their pixels are. One set of rules for every way in.

Enters: a folder, or a file in it. Leaves: the names of its images, class by class, and an image as RGB. `datasets` and
`folders` read by these rules alone:

- an *image* is a file that ends in one of `SUFFIXES`, in capitals or not, and is one of `FORMATS` inside;
- a *class* is a folder directly in the folder given, whatever its name; its images are at any depth below it. Classes
  come by name, their images folder by folder and by name, both as torchvision's `ImageFolder` has them;
- hidden files and folders (.name) and files with other endings are left out, which one line says;
- links are followed, to files and folders, wherever they lead; but no folder is read twice: links in a circle, or to
  what is read anyway, are left out, too;
- pixels are those stored, 8 bits per channel: of transparency the colours behind it, of several frames or pages the
  first, CMYK as Pillow converts it, and not turned as EXIF would have it (all as torchvision's loader does). More bits
  are refused, as they could only be cut off.
"""

import hashlib
import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # what torchvision reads
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")  # whatever the suffix: others, like EPS, start programs
LARGEST = 178_956_970  # pixels of one image: Pillow opens no larger one, and none is scaled up further
GREY = ("1", "L", "LA", "La")  # Pillow's names of what has no colour
HIDDEN, OTHER, AGAIN = "hidden", "not images", "links to what is read anyway"  # why something is left out
ENDINGS = 5  # of what is no image, that are named

PARTS = {"test", "train", "training", "val", "valid", "validation"}  # of data sets
NAMED = 5  # of images that cannot be read

_log = logging.getLogger(__name__)  # which says warnings on stderr where nobody has asked for anything else


@dataclass(frozen=True)
class Listing:
    """What is in a folder: names are paths within it."""

    folder: str
    classes: dict[str, list[str]]  # the images of each, at any depth
    loose: list[str]  # images beside the classes
    left_out: dict[str, str]  # name -> why

    @property
    def images(self) -> list[str]:
        return [*self.loose, *chain(*self.classes.values())]

    def tell(self) -> None:
        """Says in one line what was left out, if anything was."""
        if self.left_out:
            counts = Counter(self.left_out.values())
            named = {OTHER: f" ({self._endings()})"} if counts[OTHER] else {}
            parts = [f"{counts[why]} {why}{named.get(why, '')}" for why in (OTHER, HIDDEN, AGAIN) if counts[why]]
            example = min(self.left_out, key=lambda name: (self.left_out[name] == HIDDEN, name))
            _log.warning("%s: left out: %s; such as %s", shown(self.folder), ", ".join(parts), shown(example))

    def _endings(self) -> str:
        """Of what is no image, the most frequent first."""
        others = [os.path.splitext(name)[1].lower() for name, why in self.left_out.items() if why == OTHER]
        endings = [shown(ending) or "no ending" for ending, _ in Counter(sorted(others)).most_common()]
        return " ".join(endings[:ENDINGS] + ["..."] * (len(endings) > ENDINGS))

    def require_classes(self, count: int | None = None) -> None:
        """Raises ValueError, naming the culprit, unless every image is in a class, every class has one, and there are
        as many classes as the network has (`count`), if that is known."""
        if self.loose:
            raise ValueError(
                f"images of {shown(self.folder)} lie outside the folders of classes, such as {shown(self.loose[0])}: "
                "lay it out as <class>/<image>"
            )
        if not self.classes:
            raise ValueError(f"{shown(self.folder)} has no classes: give it one folder of images for each class")
        if self.classes.keys() <= PARTS:
            raise ValueError(
                f"the folders of {shown(self.folder)} are {' and '.join(map(shown, self.classes))}, which are no"
                " classes: name the one whose images are meant"
            )
        for name, images in self.classes.items():
            if not images:
                path = shown(os.path.join(self.folder, name))
                why = "leads to a folder that is read already" if name in self.left_out else "is empty"
                remedy = f"put images ({' '.join(SUFFIXES)}) into it, or remove the folder if it is no class"
                raise ValueError(f"class {path} {why}: {remedy}")
        if count not in (None, len(self.classes)):
            raise ValueError(
                f"{shown(self.folder)} has {len(self.classes)} folders of classes, but the network has {count}: labels "
                "are the places of folders by name, so there must be one for each class, or a file classes.txt beside "
                "the folder that names all of them"
            )


def below(folder: str | os.PathLike) -> Listing:
    """What is below `folder`, by the rules above.

    Raises OSError for a folder that cannot be read, ValueError for what is named like an image and is no file.
    """
    walk = _Walk(folder)
    loose, tops = walk.read("", walk.real)
    classes = {name: list(walk.below(name, *where)) for name, *where in tops}
    return Listing(os.fspath(folder), classes, loose, walk.left_out)


class _Walk:
    def __init__(self, folder: str | os.PathLike):
        self.start, self.real = os.path.join(folder, ""), os.path.realpath(folder)
        self.met, self.left_out = {self.real}, {}

    def below(self, top: str, real: str, linked: bool) -> Iterator[str]:
        """The images in folder `top` at any depth, in torchvision's order: that of their folders' paths."""
        found, waiting = {}, [(top, real, linked)]
        while waiting:
            inside, real, linked = waiting.pop()
            if real in self.met or (linked and self._is_read_anyway(real)):
                self.left_out[inside] = AGAIN
                continue
            self.met.add(real)
            found[inside], folders = self.read(inside, real)
            waiting += reversed(folders)
        return chain(*(found[inside] for inside in sorted(found)))

    def read(self, inside: str, real: str) -> tuple[list[str], list[tuple[str, str, bool]]]:
        """The images directly in one folder, and the folders: where they are, where they are really, if by a link."""
        images, folders, start = [], [], os.path.join(inside, "")
        with os.scandir(self.start + inside) as entries:
            for entry in entries:
                name = start + entry.name
                if entry.name.startswith("."):
                    self.left_out[name] = HIDDEN
                elif _holds(entry.is_dir):
                    linked = entry.is_symlink()
                    place = os.path.realpath(entry.path) if linked else os.path.join(real, entry.name)
                    folders.append((name, place, linked))
                elif not entry.name.lower().endswith(SUFFIXES):
                    self.left_out[name] = OTHER
                elif _holds(entry.is_file):
                    images.append(name)
                else:
                    raise ValueError(f"cannot read image {shown(entry.path)} (not a file): replace or remove it")
        return sorted(images), sorted(folders)

    def _is_read_anyway(self, real: str) -> bool:
        """Whether a link to `real` leads in a circle, or to a folder that is met without it, or will be."""
        here, there = os.path.join(self.real, ""), os.path.join(real, "")
        hidden = any(part.startswith(".") for part in there[len(here) :].split(os.sep))
        return here.startswith(there) or (there.startswith(here) and not hidden)


def _holds(check) -> bool:
    try:
        return check()
    except OSError:  # a link to itself
        return False


def classes_in(folder: str | os.PathLike) -> set[str]:
    """The names of the classes in `folder`."""
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if not entry.name.startswith(".") and _holds(entry.is_dir)}


def fingerprint(folder: str | os.PathLike, names: Sequence[str]) -> str:
    """How many files `names` in `folder` are, and the SHA-256 (hex) of their names, sizes and dates: none is opened."""
    start, digest = os.path.join(folder, ""), hashlib.sha256()
    for name in names:
        found = os.stat(start + name)
        digest.update(os.fsencode(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0"))
    return f"{len(names)} files, {digest.hexdigest()}"


def read(path: str | os.PathLike) -> tuple[Image.Image, bool]:
    """The image as RGB, and whether its file is grey. Best `quietly`.

    Raises ValueError, one line that names the file, for what is damaged, no image, or has more than 8 bits per channel.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if _is_deep(image):
                raise ValueError("more than 8 bits per channel")
            image.info.pop("transparency", None)  # or Pillow would look for a colour to stand for it
            return image.convert("RGB"), image.mode in GREY
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise unreadable(path, error) from error


class Unreadable(ValueError):
    """Images that cannot be used, told in one line: the first few, and how many there are.

    Arguments:
        said: of each of them: what it is called, and why in brackets.
    """

    def __init__(self, *said: str):
        more = f" and {len(said) - NAMED} more" if len(said) > NAMED else ""
        which = f"{len(said)} images" if len(said) > 1 else "image"
        remedy = f"replace or remove {'them' if len(said) > 1 else 'it'}"
        super().__init__(f"cannot read {which} {', '.join(said[:NAMED])}{more}: {remedy}")
        self.said = said


def unreadable(path: str | os.PathLike, why: object) -> Unreadable:
    """What to raise for an image that cannot be used."""
    return Unreadable(f"{shown(path)} ({' '.join(str(why).split()) or type(why).__name__})")


def _is_deep(image: Image.Image) -> bool:
    """Whether bits would be lost: Pillow clips grey levels of more than 8 bits to 255, and halves those of colours."""
    if image.mode.startswith(("I", "F")):
        return True
    if image.format == "TIFF":
        return max(image.tag_v2.get(BITSPERSAMPLE, (1,))) > 8
    if image.format not in ("PNG", "PPM") or not image.tile:  # without pixels it will fail later
        return False
    layout = image.tile[0][3]  # how pixels lie in the file: a name such as RGB;16B, or a name and the largest value
    return layout[1] > 255 if isinstance(layout, tuple) else ";16" in layout


@contextmanager
def quietly() -> Iterator[None]:
    """While open, Pillow keeps to itself what it would warn of without a file's name, such as odd EXIF data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def refuse_file(folder: str | os.PathLike, called: str | None = None) -> None:
    """Raises NotADirectoryError, in one line, where a file is named instead of a folder.

    Arguments:
        called: how the caller has named it, if otherwise.
    """
    if os.path.isfile(folder):
        raise NotADirectoryError(f"{called or shown(folder)} is a file: name the folder that it is in, or another")


def require_utf8(path: str | os.PathLike) -> None:
    """Raises ValueError for a name that is not UTF-8, which libraries that do not open files by Python refuse."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{shown(path)} is not a name in UTF-8: take another") from None


def shown(path: str | os.PathLike) -> str:
    """A path to print: in one line, whatever is in it."""
    text = os.fspath(path)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
