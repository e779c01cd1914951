"""Images that a table labels, as a data set of the study: a folder for each class.

    python -m lib.images.by_class data/raw/imagenet1300 data/imagenet1300 --classes 1000

Enters: a folder of images with labels.csv (file, split, class: a number from 0; whatever else). Leaves: copies of them
as <target>/{train,test}/<class>/<image>, of the splits `train` and `val` or `test`, with classes.txt, which names the
classes by their numbers, those without images among them. Made aside, then renamed.
"""

import argparse
import csv
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from lib.images.datasets import CLASSES
from lib.images.files import shown

TABLE = "labels.csv"
SPLITS = {"train": "train", "val": "test", "test": "test"}


def sort(source: str | os.PathLike, target: str | os.PathLike, classes: int) -> int:
    """Copies the images that the table in `source` names to `target`; returns how many.

    Raises FileNotFoundError where there is no table, or an image of it is missing, FileExistsError for a target that
    is there, and ValueError, one line, for a row whose split or class is none, and for two images of one name in one
    class.
    """
    source, target = Path(source), Path(target)
    if target.exists():
        raise FileExistsError(f"{shown(target)} is there already: remove it first, or name another")
    names = [f"{number:0{len(str(classes - 1))}}" for number in range(classes)]
    aside, rows = target.with_name(f"{target.name}.part"), _rows(source / TABLE, names)
    shutil.rmtree(aside, ignore_errors=True)
    for file, split, name in rows:
        if not (source / file).is_file():
            raise FileNotFoundError(f"there is no image {shown(source / file)}, which {shown(source / TABLE)} names")
        folder = aside / split / name
        folder.mkdir(parents=True, exist_ok=True)
        copy = folder / Path(file).name
        if copy.exists():
            raise ValueError(f"{shown(source / TABLE)} names two images {split}/{name}/{copy.name}: rename one of them")
        shutil.copyfile(source / file, copy)
    (aside / CLASSES).write_text("\n".join(names) + "\n")
    os.replace(aside, target)
    return len(rows)


def _rows(path: Path, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """File, split and class, by the names that these have in a data set."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no table {shown(path)}: name a folder of images that has one")
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            where, label = f"{shown(path)}, line {number}", row.get("class") or ""
            if not row.get("file") or row.get("split") not in SPLITS:
                raise ValueError(f"{where}: it needs a file, and as its split one of {', '.join(SPLITS)}")
            if not (label.isascii() and label.isdigit() and int(label) < len(names)):
                raise ValueError(f"{where}: class {label!r} must be a number from 0 to {len(names) - 1}")
            rows.append((row["file"], SPLITS[row["split"]], names[int(label)]))
    if not rows:
        raise ValueError(f"{shown(path)} has no rows: it needs one for each image")
    return rows


def main(words: Iterable[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.images.by_class", description="Copy images into folders of classes, as a table says."
    )
    parser.add_argument("source", help=f"folder of the images and of {TABLE}")
    parser.add_argument("target", help="folder to make, such as data/imagenet1300")
    parser.add_argument("--classes", type=int, required=True, help="how many there are")
    asked = parser.parse_args(words)
    try:
        count = sort(asked.source, asked.target, asked.classes)
    except (OSError, ValueError) as error:
        print(f"python -m lib.images.by_class: {error}", file=sys.stderr)
        return 1
    print(f"{shown(asked.target)}: {count} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
