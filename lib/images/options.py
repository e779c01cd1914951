"""How images become what a network takes, as a command line says it: their size, and the moments of their channels.

Enters: what was said. Leaves: what goes without saying filled in: what a publisher's weights were trained with, else
ImageNet's habits.
"""

import argparse
from pathlib import Path

from lib.images import files, folders, networks, public
from lib.images.files import shown
from lib.images.folders import Stream

SIZE = 224  # of torchvision's networks


def add(parser: argparse.ArgumentParser) -> None:
    """The options --pixels, --stretch, --mean and --std."""
    size = f"{SIZE} for networks of torchvision's, of public weights theirs"
    parser.add_argument("--pixels", type=int, metavar="P",
                        help="sides of the images: the shorter is scaled to 8/7 of it, then the centre cut out, unless "
                        f"an image has this size ({size})")  # fmt: skip
    parser.add_argument("--stretch", action="store_true",
                        help="images to P x P whatever their shape, instead, as public weights want it")  # fmt: skip
    triple = {"nargs": 3, "type": float, "metavar": ("R", "G", "B")}
    parser.add_argument("--mean", **triple, help="of the channels (those of ImageNet, of public weights theirs)")
    parser.add_argument("--std", **triple, help="of the channels (likewise)")


def fill(asked: argparse.Namespace) -> None:
    """Fills in what has not been said of images for `asked.network`.

    Raises ValueError where it cannot be known, and for a size that is none.
    """
    said = (asked.pixels, asked.mean, asked.std)
    if asked.network.startswith("timm:") and None in said:
        name = asked.network.removeprefix("timm:")
        raise ValueError(f"--pixels, --mean and --std are missing: networks of timm's differ in them, and"
                         f" timm.get_pretrained_cfg({name!r}) tells")  # fmt: skip
    known = public.Preparation(*folders.IMAGENET)
    if asked.network in public.PUBLIC:
        known = public.PUBLIC[asked.network].preparation
        asked.stretch = asked.stretch or (asked.pixels in (None, known.pixels) and known.pixels is not None)
    asked.mean, asked.std = asked.mean or known.mean, asked.std or known.std
    asked.pixels = known.pixels if asked.pixels is None else asked.pixels
    if asked.pixels is None:
        if asked.network in networks.NETWORKS:
            raise ValueError(f"--pixels is missing: give the size of the images that {asked.network} was trained on,"
                             " such as --pixels 32, and their --mean and --std")  # fmt: skip
        asked.pixels = SIZE
    if asked.pixels < 1:
        raise ValueError(f"--pixels {asked.pixels} must be 1 or more")


def stream(asked: argparse.Namespace, folder: Path, **more: object) -> Stream:
    """The images of `folder` as `fill` has found that they are taken; `more` as `folders.stream` takes it.

    Raises FileNotFoundError where there is no folder, and what `folders.stream` raises.
    """
    files.refuse_file(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {shown(folder)}")
    moments = tuple(asked.mean), tuple(asked.std)
    return folders.stream(folder, asked.pixels, moments=moments, stretched=asked.stretch, **more)
