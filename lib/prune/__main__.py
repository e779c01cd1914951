"""One command from a trained network to a smaller one that works.

    python -m lib.prune NETWORK IMAGES --weights FILE [--budget 0.5] [--distil --minutes 10] [--test LABELLED]

Enters: a network with its weights and a folder of unlabelled images. Leaves: a folder with the smaller network for
Python, ONNX and torch.export, what went where, and a page for a person. `IMAGES` rank, repair and distil; the images
that test are used for nothing else; with --target-accuracy half of them search, and the others tell.
"""

from lib.study import surroundings

if __name__ == "__main__":  # before anything else could act
    surroundings.end_silently()
    surroundings.speak_utf8()
    surroundings.keep_freed_memory()
    surroundings.warn_in_lines()

import argparse
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import zip_longest
from pathlib import Path

import pandas
import torch
from torch import Tensor

from lib import importance, structure
from lib.images import files, options, sources
from lib.images.files import shown
from lib.images.folders import Stream
from lib.network import models, saving
from lib.prune import exporting, making, telling, testing
from lib.prune.asking import BUDGETS, HALF, Aim, Recovery
from lib.scoring import ranks
from lib.scoring.cotangents import Answered
from lib.scoring.criteria import REDUCTIONS
from lib.scoring.precision import PRECISIONS
from lib.shrinking.room import fewest
from lib.study import devices
from lib.system import commands, interruptions
from lib.system.commands import Parser

NAME = "python -m lib.prune"
OUT = Path("results/pruned")
PAGE = "report.html"
ASIDE = "files.part"  # a folder for what is not whole yet
_EXAMPLES = """examples:
  python -m lib.prune resnet18 photos --weights resnet18.pth --budget 0.2 --distil --minutes 10
  python -m lib.prune mine.py:build photos --weights mine.pt --pixels 96 --mean .5 .5 .5 --std .25 .25 .25 --steps 3

The two lines that bring the network back, which the page has for yours:
  from lib import slim_files
  small = slim_files.load(the_network_at_its_full_width, "results/pruned/pruned.safetensors")"""


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = Parser(
        {"--keep": "layers"},
        prog=NAME,
        description="Make a trained network smaller, without labels: rank, shrink, repair, recover.",
        epilog=_EXAMPLES,
    )
    made.add_argument("network", help=sources.NETWORK)
    made.add_argument("images", type=Path, help="a folder of images without labels, at any depth")
    made.add_argument("--weights", required=True, type=Path, metavar="FILE", help="its trained weights")
    made.add_argument("--classes", type=int, default=1000, metavar="K", help="of the network (1000)")
    made.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help=f"({OUT})")
    made.add_argument("--criterion", default="sq:rand:norm", metavar="NAME",
                      help="without labels (sq:rand:norm); before --fine-tune try l2, too: in our study it led on "
                      "three networks")  # fmt: skip
    made.add_argument("--scores", type=Path, metavar="FILE", help="by lib.score: column --criterion ranks")
    made.add_argument("--precision", default="float32", choices=PRECISIONS,
                      help="to rank in (float32); auto: bfloat16 where the device multiplies it, orders units as "
                      "float32 does on the first images (rank correlation .999) and is faster")  # fmt: skip
    made.add_argument("--budget", type=float, metavar="SHARE", help="that goes (0.5)")
    made.add_argument("--of", default="macs", choices=BUDGETS,
                      help="what it is a share of (macs); latency is that of one image, on this machine")  # fmt: skip
    made.add_argument("--target-accuracy", type=float, metavar="SHARE",
                      help="instead of a budget: as much goes as leaves, repaired but not trained, this share of the "
                      "accuracy on --test, or without it of the whole network's answers")  # fmt: skip
    made.add_argument("--keep", nargs="+", default=[], metavar="LAYER", help="layers or modules whose units stay")
    made.add_argument("--at-most", type=float, default=1.0, metavar="SHARE", help="of any layer's units goes (1)")
    made.add_argument("--multiple-of", type=int, default=1, metavar="N", help="units stay in layers that shrink (1)")
    made.add_argument("--per-cost", action=argparse.BooleanOptionalAction,
                      help="rank by score per multiply-add (with --of parameters or units: per one of these), or by "
                      "score alone (the first for criteria of gradients with --of macs or latency)")  # fmt: skip
    made.add_argument("--steps", type=int, default=1, metavar="N", help="of shrinking, ranked again for each (1)")
    made.add_argument("--no-repair", action="store_true", help="leave the statistics of BatchNorms as they are")
    made.add_argument("--distil", action="store_true", help="train on the whole network's own answers to IMAGES")
    made.add_argument("--fine-tune", type=Path, metavar="LABELLED", help="train on a folder of <class>/<image>")
    made.add_argument("--minutes", type=float, metavar="M",
                      help="that --distil and --fine-tune may take together, which says how many epochs")  # fmt: skip
    made.add_argument("--epochs", type=int, metavar="E", help="of --distil and of --fine-tune, instead of --minutes")
    made.add_argument("--test", type=Path, metavar="LABELLED", help="a folder of <class>/<image> to tell accuracy on")
    made.add_argument("--no-flip", action="store_true", help="never mirror images in training, as digits and letters")
    made.add_argument("--dry-run", action="store_true",
                      help="print what would go of every layer for a budget of macs, parameters or units, in one step, "
                      "and write nothing")  # fmt: skip
    made.add_argument("--take", type=int, default=2000, metavar="M",
                      help="only so many of IMAGES and of those to fine-tune on, evenly spread, since memory holds "
                      "them (2000)")  # fmt: skip
    made.add_argument("--batch", type=int, default=making.BATCH, metavar="B", help=f"images at once ({making.BATCH})")
    options.add(made)
    made.add_argument("--device", default="auto", choices=devices.NAMES, help="(auto: a GPU where there is one)")
    made.add_argument("--seed", type=int, default=0, help="of random vectors and of training (0)")
    return made


def run(asked: argparse.Namespace, words: Iterable[str], device: torch.device) -> None:
    """Does what the command line asks for; under `torch.distributed` all ranks rank, and the first does the rest.

    Raises ValueError or OSError for what cannot be read or does not fit.
    """
    with ExitStack() as held:
        _run(asked, words, device, held)


def _run(asked: argparse.Namespace, words: Iterable[str], device: torch.device, held: ExitStack) -> None:
    with ranks.together():
        _check(asked)
        made, table = _made(asked, words), None if asked.scores is None else _table(asked.scores, asked.criterion)
        model = sources.build(asked.network, asked.classes, asked.weights, options.channels(asked)).to(device)
        learnt, limits = [_taking(asked, asked.images, False)], _limits(asked)
        scores = _fitting(asked, model, _in_memory(learnt[0].first(min(2, len(learnt[0]))))[0], table)
        learnt += [_taking(asked, asked.fine_tune, True)] if asked.fine_tune else []
        test = _test(asked, learnt) if asked.test else None
        if ranks.place()[0] == 0 and not asked.dry_run:
            held.enter_context(_alone(asked.out))
            _require_own(asked)
        # all of them last, since that takes long, and what is asked for may be wrong in any way
        (images, _), *labelled = map(_in_memory, learnt[:1] if asked.dry_run else learnt)
    if asked.dry_run:
        planned = _planned(model, images, scores, asked, limits)
        if ranks.place()[0] == 0:
            print(planned)
        return
    pruned = making.prune(
        model, images, criterion=asked.criterion, scores=scores, precision=asked.precision, steps=asked.steps,
        repair=not asked.no_repair, distil=asked.distil, fine_tune=labelled[0] if labelled else None,
        epochs=asked.epochs, minutes=asked.minutes, flip=not asked.no_flip, test=test,
        target_accuracy=asked.target_accuracy, batch=asked.batch, seed=asked.seed, kept=asked.out, report=_tell,
        **limits,
    )  # fmt: skip
    if pruned is not None:  # else the first process goes on alone
        made |= _used(asked, learnt, test)
        made["torch"] = f"{torch.__version__} on {device.type}, threads: {torch.get_num_threads()}"
        _leave(pruned, asked, made)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The folder is there, and no other command works in it as long as this is open.

    Raises OSError where it cannot be made, ValueError where another does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some disks know no locks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another command works in {shown(folder)}: wait for it, or name another folder by"
                                 " --out") from None  # fmt: skip
        yield
    finally:
        os.close(descriptor)


def _require_own(asked: argparse.Namespace) -> None:
    """Raises ValueError where the folder holds what was made of another network, which this one would replace."""
    path = asked.out / exporting.WEIGHTS
    try:
        before = json.loads(saving.read(path)[1].get("study", "{}")).get("network", asked.network)
    except (OSError, ValueError):  # nothing there, or nothing that anybody could load
        return
    if before != asked.network:
        raise ValueError(f"{shown(path)} was made of {before} and would be lost: name another folder by --out, or"
                         " delete it")  # fmt: skip


def _used(asked: argparse.Namespace, learnt: list[Stream], test: Stream | None) -> dict[str, str]:
    """Which images there were for what."""
    held = 0 if test is not None else int(testing.held_out(len(learnt[0])).sum())
    said = {"images": f"{len(learnt[0]):,} without labels, of {shown(asked.images)}"}
    said["images"] += f", {held:,} of them held out" if held else ""
    if asked.fine_tune is not None:
        said["images to fine-tune on"] = f"{len(learnt[1]):,} of {shown(asked.fine_tune)}"
    if test is not None:
        said["images to test on"] = f"{len(test):,} of {shown(asked.test)}"
        said["images to test on"] += ", every second one to search with" if asked.target_accuracy is not None else ""
        said["labels"] = options.listed(test.classes)
    return said


def _leave(pruned: making.Pruned, asked: argparse.Namespace, made: dict[str, str]) -> None:
    """Writes the folder, whose page tells how the network was `made`, and takes what training would have gone on from
    away."""
    if pruned.epochs:
        made["epochs of each training"] = str(pruned.epochs)
        if asked.minutes is not None:
            made["epochs of each training"] += (f", as many as there was time for: --epochs {pruned.epochs} in place of"
                                                " --minutes makes the same network again")  # fmt: skip
    if pruned.precision:
        made["precision to rank in"] = pruned.precision
        if asked.precision == "auto":
            name = pruned.precision.partition(",")[0]
            made["precision to rank in"] += f": --precision {name} in place of auto makes the same network again"
    if asked.target_accuracy is not None or asked.of == "latency":
        of = "macs" if asked.of == "latency" else asked.of
        made["budget"] = (
            f"found by trying: --budget {pruned.plans[0].budget:.7g} --of {of} makes the same network again"
        )
    moments = [list(asked.mean), list(asked.std)]
    about = {"network": asked.network, "classes": asked.classes, "moments": moments, "pixels": asked.pixels}
    with _new_folder(asked.out / ASIDE) as aside:
        made_files = exporting.save(pruned, aside, about | {"epochs": pruned.epochs}, tell=_tell)
        said = telling.render(pruned, made, _loading(asked), _taken(asked, made_files))
        (aside / PAGE).write_text(said, encoding="utf-8")
        (asked.out / PAGE).unlink(missing_ok=True)  # first and last: what lies beside a page is what it tells of
        for name in (*exporting.FILES, PAGE):
            if (aside / name).exists():
                os.replace(aside / name, asked.out / name)
            else:  # of another network, since this one could not be exported so
                (asked.out / name).unlink(missing_ok=True)
    for name in making.LEFT:
        (asked.out / name).unlink(missing_ok=True)
    interruptions.say(shown(asked.out / PAGE))


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """An empty folder, as long as this is open."""
    shutil.rmtree(path, ignore_errors=True)  # that of a process that was killed
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _loading(asked: argparse.Namespace) -> str:
    """The lines of Python that bring the network back."""
    weights = str(asked.out / exporting.WEIGHTS)
    grey = ", channels=1" if options.channels(asked) == 1 else ""
    built = f"sources.build({asked.network!r}, {asked.classes}, {sources.UNTRAINED!r}{grey})"
    return f"from lib import slim_files; from lib.images import sources\nsmall = slim_files.load({built}, {weights!r})"


def _taken(asked: argparse.Namespace, files: list[str]) -> str:
    """Which images the network's files take."""
    how = "stretched to" if asked.stretch else "scaled and cropped to"
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (asked.mean, asked.std))
    shape = f"(M, {options.channels(asked)}, {asked.pixels}, {asked.pixels})"
    return (f"{', '.join(files)} give logits for images {shape}, {how} this size, whose channels from 0 to 1"
            f" have had {mean} subtracted and were then divided by {std}.")  # fmt: skip


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _limits(asked: argparse.Namespace) -> dict[str, object]:
    return {name: getattr(asked, name) for name in ("budget", "of", "keep", "at_most", "multiple_of", "per_cost")}


def _check(asked: argparse.Namespace) -> None:
    """Fills in what goes without saying. Raises ValueError or OSError for what no network and no images could do."""
    options.fill(asked)
    trained = asked.distil or asked.fine_tune is not None
    said = [name for name in ("minutes", "epochs") if getattr(asked, name) is not None]
    if trained and not said:
        raise ValueError("--minutes is missing: say for how long to train, such as --minutes 10, or --epochs 10")
    if len(said) > 1:
        raise ValueError("--minutes and --epochs both say for how long to train: leave one out")
    if asked.fine_tune is not None and asked.test is None:
        raise ValueError(
            "--fine-tune needs --test: without it accuracy would be told on images that may be learnt from"
        )
    if said and not trained:
        raise ValueError(f"--{said[0]} is of training: add --distil, or --fine-tune with a folder of labelled images")
    if asked.dry_run and (asked.target_accuracy is not None or asked.of == "latency"):
        raise ValueError("--dry-run shows plans of a budget of units, parameters or macs: others are found by trying")
    if asked.dry_run and asked.steps > 1:
        raise ValueError("--dry-run shows a plan of one step: units are ranked again for the next")
    for name in ("classes", "take", "batch"):
        if getattr(asked, name) < 1:
            raise ValueError(f"--{name} {getattr(asked, name)} must be 1 or more")
    for folder in filter(None, (asked.images, asked.fine_tune, asked.test)):
        options.require_folder(folder)
    for folder in filter(None, (asked.images, asked.fine_tune)):
        if asked.test is not None and _overlap(asked.test.resolve(), folder.resolve()):
            raise ValueError(f"--test {shown(asked.test)} holds images that are learnt from, those of {shown(folder)}:"
                             " name others")  # fmt: skip
    if asked.per_cost is None:
        asked.per_cost = making.goes_per_cost(asked.criterion, asked.of)
    Aim(criterion=asked.criterion, scored=asked.scores is not None, precision=asked.precision, steps=asked.steps,
        target_accuracy=asked.target_accuracy, **_limits(asked))  # fmt: skip
    Recovery(distil=trained, epochs=asked.epochs, minutes=asked.minutes, seed=asked.seed)
    files.require_utf8(asked.out)
    if asked.out.is_file():
        raise NotADirectoryError(f"--out {shown(asked.out)} is a file: name a folder")


def _overlap(one: Path, other: Path) -> bool:
    return one == other or one in other.parents or other in one.parents


def _stream(asked: argparse.Namespace, folder: Path, labelled: bool) -> Stream:
    """Images of a folder, normalised, batch by batch, with their labels if it is `labelled`."""
    classes = asked.classes if labelled else None
    return options.stream(asked, folder, classes=classes, labelled=labelled, batch=asked.batch)


def _taking(asked: argparse.Namespace, folder: Path, labelled: bool) -> Stream:
    """`--take` of the images of a folder."""
    stream = _stream(asked, folder, labelled)
    if asked.take >= len(stream):
        return stream
    if ranks.place()[0] == 0:
        _tell(f"{asked.take:,} of the {len(stream):,} images of {shown(folder)} are used: --take takes more")
    return stream.first(asked.take)


def _in_memory(stream: Stream) -> tuple[Tensor, Tensor]:
    """Images, and their labels."""
    return torch.cat([images for images, _, _ in stream]), torch.from_numpy(stream.targets)


def _test(asked: argparse.Namespace, learnt: list[Stream]) -> Stream:
    """What to test on: without those of the images that are `learnt` from, which may be there as copies or links.

    Raises ValueError where its classes are others than those to fine-tune on, or no image is left.
    """
    stream = _stream(asked, asked.test, True)
    for other in learnt[1:]:
        if other.classes != stream.classes:
            one, two = next(pair for pair in zip_longest(stream.classes, other.classes, fillvalue="none")
                            if pair[0] != pair[1])  # fmt: skip
            raise ValueError(f"{shown(asked.test)} and {shown(asked.fine_tune)} have other classes, such as"
                             f" {shown(one)} and {shown(two)}: labels are their places, so give both the"
                             " same")  # fmt: skip
    same = stream.among(learnt)
    if ranks.place()[0] == 0:
        _tell(f"labels: {options.listed(stream.classes)}")
        if same.any():
            example = stream.names[int(same.argmax())]
            _tell(f"warning: {int(same.sum()):,} of the {len(stream):,} test images are among those that are learnt"
                  f" from and are left out, such as {shown(example)}")  # fmt: skip
    if same.all():
        raise ValueError(f"--test {shown(asked.test)} holds only images that are learnt from: name others")
    return stream.only(~same)


def _table(path: Path, criterion: str) -> pandas.DataFrame:
    """A table by lib.score. Raises ValueError where it is none, or has no column `criterion`."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no table {shown(path)}")
    try:
        table = pandas.read_parquet(path)
        table[["layer", "unit"]]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{shown(path)} is no table by lib.score ({models.first_line(error)})") from error
    if criterion not in table:
        has = ", ".join(name for name in table if name not in ("layer", "unit"))
        raise ValueError(f"{shown(path)} has no scores by {criterion}: it has {has or 'none'}")
    return table


def _fitting(
    asked: argparse.Namespace, model: torch.nn.Module, example: Tensor, table: pandas.DataFrame | None
) -> Tensor | None:
    """The scores in a table by lib.score, if there is one; fills in how many classes the network has.

    Raises ValueError where what is asked for does not fit the network: images of the wrong size, layers to keep that
    are none of it, a criterion for more classes, a table of another network.
    """
    logits, layers = options.answers(asked, model, example), importance.units(model, example[:1])
    asked.classes = logits.shape[1]
    fewest(layers, asked.keep, asked.at_most)
    if table is None:
        if (criterion := importance.parse(asked.criterion)).reduction in REDUCTIONS:
            list(Answered(logits.double(), None, torch.arange(len(logits)), asked.seed).cotangents([criterion]))
        return None
    places = [(unit.name, number) for unit in layers for number in range(unit.size)]
    if list(zip(table["layer"], table["unit"], strict=True)) != places:
        raise ValueError(f"{shown(asked.scores)} is of another network: it has other layers or units")
    return torch.from_numpy(table[asked.criterion].to_numpy(float).copy())


def _planned(model: torch.nn.Module, images: Tensor, scores: Tensor | None, asked, limits: dict[str, object]) -> str:
    """A line per layer that shrinks, of the plan in one step."""
    if scores is None:
        ranked = images if asked.test else images[~testing.held_out(len(images))]
        batches = [(part, None) for part in ranked.split(asked.batch)]
        how = {"seed": asked.seed, "precision": asked.precision, "chosen": lambda choice: _tell(f"precision: {choice}")}
        scores = importance.score(model, batches, asked.criterion, **how)[asked.criterion]
    plan = structure.plan(
        model, scores, images[:1], **{**limits, "budget": HALF if asked.budget is None else asked.budget}
    )
    lines = [f"{name}: {before} to {after} units" for name, (before, after) in plan.widths.items() if after < before]
    return "\n".join([*lines, f"{plan.reached:.1%} of all {plan.of} would go"])


def _made(asked: argparse.Namespace, words: Iterable[str]) -> dict[str, str]:
    return {
        "command": shlex.join([*NAME.split(), *words]),
        "weights": f"SHA-256 {_digest(asked.weights)}" if str(asked.weights) != sources.UNTRAINED else "none",
    }


def _digest(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights {shown(path)}")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(words: Iterable[str] | None = None) -> int:
    """The command line; returns the exit status."""
    words = list(sys.argv[1:] if words is None else words)
    torch.backends.cudnn.deterministic = True  # so that the same command leaves the same network

    def work() -> None:
        asked = parser().parse_args(words)
        with ranks.joined(devices.pick(asked.device)) as device:
            run(asked, words, device)

    return commands.status(NAME, work, "stopped; the same command goes on after the last epoch of training")


if __name__ == "__main__":
    sys.exit(main())
