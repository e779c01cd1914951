"""How images become what a network takes, as a command line says it: their size, and the moments of their channels.

Enters: what was said. Leaves: what goes without saying filled in: what a publisher's weights were trained with, else
ImageNet's habits; and what is said of images in turn.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor, nn

from lib.images import files, folders, networks, public
from lib.images.files import shown
from lib.images.folders import Stream
from lib.network import checks, models

SIZE = 224  # of torchvision's networks
_NAMED = 10  # of the classes


def add(parser: argparse.ArgumentParser) -> None:
    """The options --pixels, --stretch, --mean, --std and --grey."""
    usual = "for networks of torchvision's as for ImageNet, for public weights theirs"
    parser.add_argument("--pixels", type=int, metavar="P",
                        help="sides of the images: the shorter is scaled to 8/7 of it, then the centre cut out, unless "
                        f"an image has this size ({usual})")  # fmt: skip
    parser.add_argument("--stretch", action="store_true",
                        help="images to P x P whatever their shape, instead, as public weights want it")  # fmt: skip
    triple = {"nargs": 3, "type": float, "metavar": ("R", "G", "B")}
    parser.add_argument("--mean", **triple, help=f"that channels had subtracted ({usual})")
    parser.add_argument("--std", **triple, help="that they were then divided by (likewise)")
    parser.add_argument("--grey", nargs=2, type=float, metavar=("MEAN", "STD"),
                        help="instead of --mean and --std: images of one channel, and what that has subtracted and is "
                        "divided by")  # fmt: skip


def fill(asked: argparse.Namespace) -> None:
    """Fills in what has not been said of images for `asked.network`.

    Raises ValueError where it cannot be known, or is said twice, and for a size and moments that are none.
    """
    if asked.grey is not None:
        if asked.mean is not None or asked.std is not None:
            raise ValueError("--grey says what the one channel of grey images has subtracted and is divided by: leave"
                             " --mean and --std out")  # fmt: skip
        asked.mean, asked.std = asked.grey[:1], asked.grey[1:]
    known = _known(asked)
    for name in ("pixels", "mean", "std"):
        if getattr(asked, name) is None:
            setattr(asked, name, getattr(known, name, None))
    if missing := [f"--{name}" for name in ("pixels", "mean", "std") if getattr(asked, name) is None]:
        raise ValueError(f"{' '.join(missing)} missing: {_remedy(asked.network)}")
    if asked.pixels < 1:
        raise ValueError(f"--pixels {asked.pixels} must be 1 or more")
    checks.moments((asked.mean, asked.std))


def _known(asked: argparse.Namespace) -> public.Preparation | None:
    """How the network's images are prepared, where its name tells; for public weights these are stretched."""
    if asked.network in public.PUBLIC:
        known = public.PUBLIC[asked.network].preparation
        asked.stretch = asked.stretch or (asked.pixels in (None, known.pixels) and known.pixels is not None)
        return known
    if asked.network in networks.NETWORKS or ":" in asked.network:
        return None  # whatever it was trained on: other moments would give other answers, and nothing would tell
    return public.Preparation(*folders.IMAGENET, SIZE)


def _remedy(network: str) -> str:
    if network.startswith("timm:"):
        return f"timm.get_pretrained_cfg({network.removeprefix('timm:')!r}) tells what they are"
    mean, std = (" ".join(map(str, moment)) for moment in folders.IMAGENET)
    return (f"say how the images that {shown(network)} was trained on were made: their size, and what was subtracted"
            f" from their channels, from 0 to 1, and what these were divided by (with ImageNet's moments: --pixels"
            f" {SIZE} --mean {mean} --std {std})")  # fmt: skip


def answers(asked: argparse.Namespace, model: nn.Module, images: Tensor) -> Tensor:
    """The logits (M, K) of images as `stream` gives them.

    Raises ValueError as `models.answers` does, with the option to look at where the network does not take them.
    """
    try:
        output = models.run(model, models.ready(model, images))
    except ValueError as error:
        grey = channels(asked) == 1
        try:
            models.run(model, models.ready(model, images.expand(-1, 3, -1, -1) if grey else images[:, :1]))
        except ValueError:
            raise ValueError(f"{error}: are its images of --pixels {asked.pixels}?") from error
        remedy = "of three channels: leave --grey out" if grey else "of one channel: --grey MEAN STD reads them so"
        raise ValueError(f"{shown(asked.network)} takes images {remedy}") from error
    return models.logits(output, len(images))


def channels(asked: argparse.Namespace) -> int:
    """How many the images have, once `fill` has been."""
    return len(asked.mean)


def require_folder(folder: Path) -> None:
    """Raises FileNotFoundError where there is no folder, NotADirectoryError for a file."""
    files.refuse_file(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {shown(folder)}")


def stream(asked: argparse.Namespace, folder: Path, **more: object) -> Stream:
    """The images of `folder` as `fill` has found that they are taken; `more` as `folders.stream` takes it.

    Raises what `require_folder` and `folders.stream` do.
    """
    require_folder(folder)
    moments = tuple(asked.mean), tuple(asked.std)
    return folders.stream(folder, asked.pixels, moments=moments, stretched=asked.stretch, **more)


def listed(classes: Iterable[str]) -> str:
    """The labels with the names of their classes, the first few of many."""
    named = [f"{number} {shown(name)}" for number, name in enumerate(classes)]
    return ", ".join(named if len(named) <= _NAMED else [*named[:_NAMED], f"... {named[-1]}"])
