"""On how many test images are curves measured, and what does that leave uncertain?

Enters: a profile with measured runs, or some of their curves. Leaves: numbers of images, and standard errors.
"""

import json
from collections.abc import Mapping

import numpy
import pandas

from lib.study import profiles, sampling
from lib.study.columns import PANEL, RUN, Cell


def images(run: profiles.Run) -> int:
    """On how many test images the run's curves are. Raises FileNotFoundError where it has not been measured."""
    path = run.record("10-measure")
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run its notebook again, or make reproduce")
    return sampling.tested(run, json.loads(path.read_text())["device"]["type"])


def by_dataset(plan: profiles.Profile) -> dict[str, int]:
    """The same for each data set of a profile: of its runs the one with the fewest."""
    found: dict[str, int] = {}
    for run in plan.runs:
        count = images(run)
        found[run.dataset] = min(count, found.get(run.dataset, count))
    return found


def standard_errors(curves: pandas.DataFrame, tested: Mapping[str, int]) -> pandas.DataFrame:
    """What so many test images leave uncertain: one row per data set, network, number of examples and criterion, with
    test_images and standard_error, of the relative auc of one curve (`standard_error`; the mean over curves)."""
    rows = []
    for key, points in curves.groupby([*RUN, *Cell._fields], sort=False, observed=True):
        row = dict(zip([*RUN, *Cell._fields], key, strict=True))
        points, count = points.sort_values("pruned"), tested[row["dataset"]]
        error = standard_error(points["pruned"].to_numpy(), points["accuracy"].to_numpy(), count)
        rows.append(row | {"test_images": count, "standard_error": error})
    keys = [*PANEL, "examples", "criterion"]
    return pandas.DataFrame(rows).groupby(keys, as_index=False, sort=False)[["test_images", "standard_error"]].mean()


def standard_error(pruned: numpy.ndarray, accuracy: numpy.ndarray, images: int) -> float:
    """Of the relative auc of one curve, from points (P,) in ascending order, when other test images are drawn.

    Each image is right up to some number of units off, and wrong from there on; then the curve says how many last how
    long. With r the share of the curve on which an image is right, c whether it is so with nothing off, and R the
    relative auc, R is the ratio of the means of r and c, whose variance (by the delta method) is that of r - R c over
    the number of images, divided by the squared accuracy with nothing off. Images that are right again later vary less,
    so this is rather too much than too little. NaN where nothing is right at the start.
    """
    accuracy = numpy.minimum.accumulate(accuracy)
    if not accuracy[0]:
        return float("nan")
    share = (pruned - pruned[0]) / (pruned[-1] - pruned[0])
    lasted = (share[1:] + share[:-1]) / 2  # of images that are right at a point for the last time
    lasted, ending = numpy.append(lasted, 1.0), numpy.append(-numpy.diff(accuracy), accuracy[-1])
    ratio = (ending * lasted).sum() / accuracy[0]
    squared = (ending * (lasted - ratio) ** 2).sum()  # images that are wrong from the start add nothing
    return float(numpy.sqrt(squared / images) / accuracy[0])
