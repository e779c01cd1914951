"""Figures of single units: what they make of an image.

Enters: what `analyses.unit_maps` has found. Leaves: matplotlib figures.
"""

from collections.abc import Sequence

import pandas
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMNS = 9


def maps(image: Sequence, found: Sequence, units: pandas.DataFrame, *, off: float = 25) -> Figure:
    """The image, then every unit's map on it, the most important first; above each its score as a share of the layer's
    largest. Light is where a unit is active; maps of units that are gone with `off` percent of all off are crossed out.

    Arguments:
        image: (H, W, C), 1 or 3 channels.
        found: maps (units, H, W).
        units: a row for each map: share, place (%).
    """
    count = len(units) + 1
    lines = -(-count // COLUMNS)
    figure, grid = pyplot.subplots(lines, COLUMNS, figsize=(9, 1.3 * lines + 0.3), squeeze=False, layout="constrained")
    highest = max(float(drawn.max()) for drawn in found)
    grid.flat[0].imshow(image, cmap="gray")
    grid.flat[0].set_title("the image", fontsize=9)
    for axes, drawn, unit in zip(grid.flat[1:], found, units.itertuples(), strict=False):
        axes.imshow(drawn, cmap="gray", vmin=0, vmax=max(float(drawn.max()), 0.1 * highest))
        gone = unit.place <= off
        axes.set_title(f"{unit.share:.2g}", fontsize=9, color="#d55e00" if gone else "0.1")
        if gone:
            _cross_out(axes)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure


def _cross_out(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], transform=axes.transAxes, color="#d55e00", linewidth=2)
