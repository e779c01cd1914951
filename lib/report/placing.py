"""Where the names of points and lines go, so that none hides another.

Enters: axes, points and names, or heights. Leaves: names written, or heights moved apart.
"""

import math
from itertools import product

import numpy
import pandas
from matplotlib.axes import Axes


def names(axes: Axes, x: pandas.Series, y: pandas.Series, named: pandas.Series) -> None:
    """Writes the name of each point that has one (else NaN) where it hides no other name, no point and no edge: to the
    right of the point or to the left, as near as can be, with a line to the point."""
    axes.figure.canvas.draw()  # settles where points are
    scale = 72 / axes.figure.dpi  # from pixels to points of type
    spots = axes.transData.transform(numpy.column_stack([x, y])) * scale
    frame = axes.get_window_extent().extents * scale
    line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.8, "shrinkA": 0}
    taken = numpy.column_stack([spots - 4, spots + 4])  # boxes: left, bottom, right, top
    tries = sorted(product((7, -7, 21, -21, 35, -35, 49, -49), range(-120, 121, 3)), key=lambda move: math.hypot(*move))
    for spot, point, name in zip(spots, zip(x, y, strict=True), named, strict=True):
        if isinstance(name, str):
            boxes = [_box(spot, aside, shift, 5.6 * len(name)) for aside, shift in tries]
            free = (number for number, box in enumerate(boxes) if _is_free(box, taken, frame))
            number = next(free, 0)
            taken = numpy.vstack([taken, boxes[number]])
            aside, shift = tries[number]
            look = {"ha": "left" if aside > 0 else "right", "va": "center", "fontsize": 9}
            look |= {"arrowprops": line} if math.hypot(aside, shift) > 10 else {}
            axes.annotate(name, point, (aside, shift), textcoords="offset points", **look)


def _box(spot: numpy.ndarray, aside: float, shift: float, width: float) -> numpy.ndarray:
    start = spot[0] + aside - (width if aside < 0 else 0)
    return numpy.array([start, spot[1] + shift - 5, start + width, spot[1] + shift + 5])


def _is_free(box: numpy.ndarray, taken: numpy.ndarray, frame: numpy.ndarray) -> bool:
    inside = (box[:2] >= frame[:2]).all() and (box[2:] <= frame[2:]).all()
    return bool(inside and not ((taken[:, :2] < box[2:]) & (box[:2] < taken[:, 2:])).all(axis=1).any())


def apart(heights: pandas.Series, least: float) -> pandas.Series:
    """Ascending heights, moved as little as upward pushes allow so that no two are nearer than `least`."""
    placed = heights.copy()
    for number in range(1, len(placed)):
        placed.iloc[number] = max(placed.iloc[number], placed.iloc[number - 1] + least)
    return placed - (placed - heights).mean()
