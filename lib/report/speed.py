"""How fast the code is: a report's section on benchmarks.

Enters: the tables and the picture of `make benchmark`. Leaves: blocks, and copies of both beside the profile's own.
"""

import pandas

from lib.report import outlook, results, supported
from lib.report.blocks import Block, Figure, Text, table
from lib.study import profiles

INTRODUCTION = """Medians over rounds in which everything that is compared takes turns, in one run of `make benchmark`.
*Relative* is to the first line of the same network: the median, with its quartiles, of the ratios within each round,
which is not the ratio of the medians beside it. *Target*: what that should be at most, and whether it is within; a dash
where none was set.

A *plain pass* is a forward and a backward pass of the network over the same images, with nothing scored, in PyTorch's
default layout. *One cotangent* scores criteria that share what is sent back from the logits, the label gradient; *label
and random* as many again with a random vector, and so with two cotangents."""
TITLES = {  # file -> what it is about
    "curves": "Pruning curves, against as many plain evaluations",
    "growth-images": "How scoring grows with the number of images",
    "growth-units": "How scoring grows with the number of units",
    "growth-criteria": "How scoring grows with the number of criteria",
    "growth-processes": "How scoring grows with the number of processes",
    "imagenet": "ResNet-50 on images of 224 pixels, and decoding them",
    "memory": "Peak memory of scoring, against a plain pass",
    "oracle": "The oracle, against a masked pass per unit",
    "scoring": "Time of scoring, against a plain pass",
    "training": "Training, against a loop over a DataLoader",
    "whole-job": "From a network to the smaller one, against torch-pruning",
}
WORDS = {  # column of a benchmark -> header
    "network": "network", "grows": "what grows", "series": "in", "size": "to", "task": "what",
    "criteria": "criteria scored", "seconds": "s", "steps_per_second": "steps a second",
    "images_per_second": "images a second", "seconds_exponent": "exponent of s", "peak_mb": "peak (MB)",
    "peak_mb_exponent": "its exponent",
    "share": "relative", "share_low": "from", "share_high": "up to", "target": "target", "within": "within the target",
    "device": "device", "device_name": "processor", "threads": "threads", "torch": "PyTorch",
    "date": "date", "commit": "code",
}  # fmt: skip


def benchmarks(profile: profiles.Profile) -> list[Block]:
    """How fast the code is, as `make benchmark` measured it last, if it did; copied beside the profile's own."""
    folder = profile.folder.parent / "benchmarks"
    found = [path for path in sorted(folder.glob("*.csv")) if ".part" not in path.suffixes]
    found = [path for path in found if path.name != supported.FILE]  # which says nothing of speed
    if not found:
        return []
    blocks: list[Block] = [Text(f"# How fast\n\n{INTRODUCTION}")]
    for picture in sorted(folder.glob("shares.*")):
        copied = profile.figures / f"{results.FRONT}-benchmarks{picture.suffix}"
        results.write({copied: picture.read_bytes()})
        if picture.suffix == ".png":
            caption = "Time of each task relative to the first of its panel, the obvious way, with quartiles; orange: "
            caption += "what it should be at most"
            blocks.append(Figure(copied, caption))
    for path in found:
        copied = profile.tables / f"{results.FRONT}-benchmarks-{path.name}"
        results.write({copied: path.read_bytes()})
        shown = _with_outcome(pandas.read_csv(path)).rename(columns=WORDS)
        shown = shown[[name for name in WORDS.values() if name in shown]]
        blocks.append(table(shown, f"## {TITLES.get(path.stem, path.stem)}", copied))
    if said := outlook.imagenet(folder):
        blocks.append(Text(f"## {outlook.TITLE}\n\n{said}"))
    return blocks


def _with_outcome(measured: pandas.DataFrame) -> pandas.DataFrame:
    """With a column `within`, yes or no where there is a target, if there are any."""
    if not {"target", "share"} <= set(measured):
        return measured
    within = (measured["share"] <= measured["target"]).map({True: "yes", False: "no"})
    return measured.assign(within=within.where(measured["target"].notna(), ""))
