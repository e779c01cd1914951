"""Scores on the command line: the units of a network rated on a folder of images of any number, by any number of GPUs.

    python -m lib.score NETWORK FOLDER --weights FILE [--criteria sq:rand:norm ...] [--output results/scores.parquet]

Enters: a network of torchvision's or this study's with its weights, a folder of images, criteria. Leaves: a table with
a row per unit (layer, unit, one column per criterion). Work goes shard by shard: after each, every process writes what
it has summed up beside the output, so that the same command, after a kill, goes on from there, with the same result bit
for bit; also with --precision auto, as which precision was chosen is written there, too. What was left by other
arguments, weights, images or code is not gone on from. A finished table is never replaced unasked. The last line says
on how many images units were scored, if on any, and where the table is.
"""

from lib.study import surroundings

if __name__ == "__main__":  # before anything else could act
    surroundings.end_silently()
    surroundings.speak_utf8()
    surroundings.keep_freed_memory()
    surroundings.warn_in_lines()

import argparse
import glob
import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from functools import reduce
from pathlib import Path

import pandas
import torch
from torch import nn
from tqdm import tqdm

from lib import importance
from lib.images import files, options, sources
from lib.images.files import shown
from lib.images.folders import Stream
from lib.importance import Choice, Scoring
from lib.network import saving
from lib.scoring import ranks
from lib.scoring.batches import MINIBATCH
from lib.scoring.noise import MOST_SEED
from lib.scoring.precision import MOST, PRECISIONS
from lib.study import devices, records
from lib.system import commands, interruptions
from lib.system.commands import Parser

NAME = "python -m lib.score"
OUTPUT = Path("results/scores.parquet")
PATIENCE = 60  # seconds without a word, where there is no terminal to draw on
_IRRELEVANT = ("output", "overwrite", "workers", "device")  # to the result
_LINE = "{desc}{n_fmt} of {total_fmt} images ({rate_fmt}, {remaining} to go)"
_EXAMPLES = """examples:
  without labels, on the training images of ImageNet, from <folder>/<class>/<image> or images at any depth:
    python -m lib.score resnet50 imagenet/train --weights resnet50.pth --workers 8

  several criteria in one go, some of which need the labels that the folders of classes are:
    python -m lib.score resnet20 photos --classes 10 --pixels 32 --weights checkpoint.safetensors \\
        --criteria sq:rand:norm abs molchanov-bn:norm hrank --labels --output photos.parquet

  on the 8 GPUs of one machine, or the 4 of each of 2 machines; each process reads its own share of the images:
    torchrun --nproc-per-node 8 -m lib.score resnet50 imagenet/train --weights resnet50.pth
    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m lib.score ...

The same command goes on where a killed one was; on several machines the output must be on a disk that they share.
Criteria are written reduction[:cotangent[@P]][:norm|:batch|:score|:score-layer][:layer]; lib/scoring/criteria.py and
lib/scoring/rivals.py list them."""


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = Parser(
        {"--criteria": "criteria"},
        prog=NAME,
        description="Rate the units of a network on a folder of images: a table of layer, unit and their scores.",
        epilog=_EXAMPLES,
    )
    made.add_argument("network", help=sources.NETWORK)
    made.add_argument("folder", type=Path, help="of images, at any depth")
    made.add_argument("--weights", required=True, metavar="FILE", help=sources.WEIGHTS)
    made.add_argument("--classes", type=int, default=1000, metavar="K", help="of the network (1000)")
    made.add_argument("--criteria", nargs="+", default=["sq:rand:norm"], metavar="NAME", help="(sq:rand:norm)")
    made.add_argument("--labels", action="store_true", help="the folders within FOLDER are all K classes, by name")
    made.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help=f"({OUTPUT})")
    made.add_argument("--overwrite", action="store_true", help="an output that is there already")
    made.add_argument("--images", type=int, metavar="M", help="only so many, evenly spread over the folder (all)")
    options.add(made)
    made.add_argument("--batch", type=int, default=64, metavar="B", help="images at once (64)")
    made.add_argument("--workers", type=int, default=2, metavar="W", help="that read images, for each process (2)")
    made.add_argument("--device", default="auto", choices=devices.NAMES, help="(auto: a GPU where there is one)")
    made.add_argument("--precision", default="float32", choices=PRECISIONS,
                      help="of the passes (float32); auto: bfloat16 where the device multiplies it, orders units as "
                      "float32 does on some of these images (rank correlation .999) and is faster")  # fmt: skip
    made.add_argument("--seed", type=int, default=0, help="of the random vectors (0)")
    made.add_argument("--shard", type=int, default=8192, metavar="S",
                      help=f"images of each process between savings, a multiple of {MINIBATCH} (8192)")  # fmt: skip
    return made


def run(asked: argparse.Namespace, device: torch.device) -> None:
    """Does what the command line asks for; under `torch.distributed` this rank's share of it.

    Raises ValueError or OSError, on every rank, for what cannot be read or does not fit together.
    """
    with ranks.together():
        _check(asked)
        model = sources.build(asked.network, asked.classes, asked.weights, options.channels(asked)).to(device)
        stream = _stream(asked, model)
        before = _before(asked, model, device) if ranks.place()[0] == 0 else None
    scoring, choice = _scoring(asked, model, stream, ranks.told(before))
    with ranks.together():
        _add(scoring, stream, asked, _identity(asked, model, device), choice)
    scores = scoring.results()
    if ranks.place()[0] == 0:
        places = [(unit.name, number) for unit in scoring.layers for number in range(unit.size)]
        table = pandas.DataFrame(places, columns=["layer", "unit"])
        table = table.assign(**{name: values.numpy() for name, values in scores.items()})
        table.attrs["precision"] = str(choice)
        records.save_table(table, asked.output)
        for path in asked.output.parent.glob(f"{glob.escape(asked.output.name)}.rank-*"):
            path.unlink()
        for name in (name for name, values in scores.items() if not values.any()):
            print(f"all scores by {name} are 0: nothing of these images reaches the logits", file=sys.stderr)
        by = f"on {len(stream):,} images" if scoring.needs_examples else "by weights alone, without images"
        interruptions.say(f"{len(table):,} units scored {by}: {shown(asked.output)}")


# ---- shard by shard -----------------------------------------------------------------------------------------------


def _scoring(
    asked: argparse.Namespace, model: nn.Module, stream: Stream, before: Choice | None
) -> tuple[Scoring, Choice]:
    """What adds the shards up, in the precision that is asked for; in place of "auto", that is the one of `before`, or
    one that is chosen now, on images from all over the folder."""
    auto, leads, batch = asked.precision == "auto", ranks.place()[0] == 0, None
    with ranks.together():
        example, choice = next(iter(stream.first(1)))[0], before or Choice(asked.precision)
        options.answers(asked, model, example)
        scoring = Scoring(model, example, asked.criteria, seed=asked.seed, precision=choice.precision)
        if choice.precision == "auto" and scoring.needs_examples and leads:
            batch = next(iter(stream.first(min(asked.batch, MOST, len(stream)))))
    choice = scoring.choose(batch) if choice.precision == "auto" else choice
    asked.precision = choice.precision
    if auto and leads:
        print(f"precision: {choice}", file=sys.stderr)
    return scoring, choice


def _before(asked: argparse.Namespace, model: nn.Module, device: torch.device) -> Choice | None:
    """What was chosen for what this rank has left, if that is what would be gone on from in that precision."""
    if asked.precision != "auto":
        return None
    try:
        metadata = saving.read(_left(asked))[1]
        choice = Choice(metadata["precision"], metadata["why"])
    except (OSError, ValueError, KeyError):  # which `_resume` tells
        return None
    same = argparse.Namespace(**vars(asked) | {"precision": choice.precision})
    return choice if metadata["identity"] == _identity(same, model, device) else None


def _left(asked: argparse.Namespace) -> Path:
    """The file that this rank leaves."""
    rank, count = ranks.place()
    return asked.output.with_name(f"{asked.output.name}.rank-{rank}-of-{count}")


def _add(scoring: Scoring, stream: Stream, asked: argparse.Namespace, identity: str, choice: Choice) -> None:
    if not scoring.needs_examples:
        return
    rank, count = ranks.place()
    path, size = _left(asked), asked.shard * count
    shards = [stream.part(start, start + size) for start in range(0, len(stream), size)]
    own = [shard.share(rank, count, MINIBATCH) for shard in shards]
    done, seen = _resume(path, scoring, identity, own)
    with _progress(shards, own, done) as progress:
        for number in range(done, len(shards)):
            seen = _seen(seen, own[number])  # before they are read: one replaced meanwhile counts as another
            scoring.add(shards[number], progress.update)
            progressed = {"identity": identity, "shards": str(number + 1), "images": seen} | asdict(choice)
            saving.write(path, {"sums": scoring.state()}, progressed)


def _resume(path: Path, scoring: Scoring, identity: str, own: list[Stream]) -> tuple[int, str]:
    """How many shards are done already, their sums loaded, and which images this rank has seen in them."""
    if not path.exists():
        return 0, ""
    try:
        tensors, metadata = saving.read(path)
        if metadata.get("identity") != identity:
            raise ValueError("it is of other arguments, weights or code, or of another kind of machine")
        done = int(metadata["shards"])
        seen = reduce(_seen, own[:done], "")
        if seen != metadata["images"]:
            raise ValueError("images that it has seen are others now")
        scoring.load(tensors["sums"])
        return done, seen
    except (ValueError, KeyError) as error:
        print(f"{shown(path)} is not gone on from ({error}): scoring starts anew", file=sys.stderr)
        return 0, ""


def _seen(before: str, images: Stream) -> str:
    """SHA-256 (hex) of which images these are, and those `before`."""
    digest = hashlib.sha256(f"{before} {files.fingerprint(images.folder, images.names)}".encode())
    digest.update(images.places.tobytes())
    if images.labelled:
        digest.update(images.targets.tobytes())
    return digest.hexdigest()


def _progress(shards: list[Stream], own: list[Stream], done: int) -> tqdm:
    """Of this rank's own images, shown by the first."""
    rank, count = ranks.place()
    if done and rank == 0:
        print(f"Going on after {sum(map(len, shards[:done]))} of {sum(map(len, shards))} images", file=sys.stderr)
    if sys.stderr.isatty():
        how = {"mininterval": 0.5}
    else:
        how = {"mininterval": PATIENCE, "delay": PATIENCE, "miniters": 1, "file": _Lines(), "bar_format": _LINE}
    return tqdm(
        total=sum(map(len, own)), initial=sum(map(len, own[:done])), unit=" images", disable=rank > 0, smoothing=0.05,
        desc=f"process 1 of {count}" if count > 1 else None, **how,
    )  # fmt: skip


class _Lines:
    """For tqdm, which would draw over what it has drawn, where that cannot be: a line each time instead."""

    def write(self, text: str) -> None:
        if line := text.strip():
            print(line, file=sys.stderr, flush=True)

    def flush(self) -> None:
        """Nothing is held back."""


def _identity(asked: argparse.Namespace, model: nn.Module, device: torch.device) -> str:
    """SHA-256 (hex) of everything that decides what this rank's sums are, but for the images."""
    settings = {name: value for name, value in vars(asked).items() if name not in _IRRELEVANT}
    machine = [device.type, records.device_name(device), torch.get_num_threads(), torch.__version__]
    digest = hashlib.sha256(json.dumps([settings, ranks.place(), machine], default=str, sort_keys=True).encode())
    for name, values in model.state_dict().items():
        digest.update(f"\0{name}\0".encode())
        digest.update(values.cpu().contiguous().flatten().view(torch.uint8).numpy())
    digest.update(sources.code_of(model).encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# ---- what is asked for --------------------------------------------------------------------------------------------


def _check(asked: argparse.Namespace) -> None:
    options.fill(asked)
    least = {"classes": 1, "images": 1, "batch": 1, "workers": 0, "seed": 0, "shard": MINIBATCH}
    for name, value in least.items():
        if (given := getattr(asked, name)) is not None and given < value:
            raise ValueError(f"--{name} {given} must be {value} or more")
    if asked.seed > MOST_SEED:
        raise ValueError(f"--seed {asked.seed} must be below 2**64")
    options.require_folder(asked.folder)
    if asked.shard % MINIBATCH:
        raise ValueError(f"--shard {asked.shard} must be a multiple of {MINIBATCH}")
    if asked.output.suffix != ".parquet":
        raise ValueError(f"--output {shown(asked.output)} must end in .parquet")
    files.require_utf8(asked.output)
    if asked.output.is_dir():
        raise IsADirectoryError(f"--output {shown(asked.output)} is a folder: name a file in it")
    if asked.output.exists() and not asked.overwrite:
        raise ValueError(f"{shown(asked.output)} is there already: give --overwrite, or another --output")
    needing = [name for name in asked.criteria if importance.parse(name).needs_labels]
    if needing and not asked.labels:
        folder = shown(asked.folder)
        raise ValueError(f"criterion {needing[0]} needs labels: add --labels, if {folder} has a folder per class")
    if asked.labels and not needing and ranks.place()[0] == 0:
        print("--labels is not needed: none of these criteria looks at labels", file=sys.stderr)
    asked.output.parent.mkdir(parents=True, exist_ok=True)


def _stream(asked: argparse.Namespace, model: nn.Module) -> Stream:
    more = {"batch": asked.batch, "labelled": asked.labels, "workers": asked.workers}
    own = sources.own_file(asked.network) is not None
    stream = options.stream(asked, asked.folder, classes=None if own else asked.classes, **more)
    if asked.labels and own:  # whose logits tell how many classes there are
        example = next(iter(stream.first(1)))[0]
        count = options.answers(asked, model, example).shape[1]
        if len(stream.classes) != count:
            raise ValueError(f"{shown(asked.folder)} has {len(stream.classes)} classes, but the network has {count}:"
                             " labels are the places of folders by name, so there must be one for each class, or a"
                             " file classes.txt beside the folder that names all of them")  # fmt: skip
    if asked.labels and ranks.place()[0] == 0:
        print(f"labels: {options.listed(stream.classes)}", file=sys.stderr)
    return stream if asked.images is None else stream.first(asked.images)


# ---- the command line ---------------------------------------------------------------------------------------------


def main(words: Iterable[str] | None = None) -> int:
    """The command line; returns the exit status."""
    torch.backends.cudnn.deterministic = True  # so that what goes on after a kill is the same bit for bit

    def work() -> None:
        asked = parser().parse_args(words)
        with ranks.joined(devices.pick(asked.device)) as device:
            run(asked, device)

    return commands.status(NAME, work, "stopped; the same command goes on from the last shard")


if __name__ == "__main__":
    sys.exit(main())
