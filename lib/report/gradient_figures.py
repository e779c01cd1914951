"""Figures of gradients: how unequal their lengths are, and how far random ones lead astray.

Enters: tables of `analyses.normalisation` and `analyses.random_vectors`. Leaves: matplotlib figures.
"""

import numpy
import pandas
from matplotlib import pyplot
from matplotlib.figure import Figure

from lib.report import style


def concentration(lengths: pandas.DataFrame) -> Figure:
    """Lorenz-like curves: the share of all squared gradient length that the longest share of the examples holds, one
    line a run."""
    figure, axes = pyplot.subplots(figsize=(4.8, 3.4))
    for (dataset, network), table in lengths.groupby(["dataset", "network"]):
        colour = axes.plot([], [], label=f"{dataset}, {network}")[0].get_color()
        for _, run in table.groupby("seed"):
            weights = numpy.sort(run["length"].to_numpy() ** 2)[::-1]
            held = weights.cumsum() / weights.sum()
            axes.plot(100 * numpy.arange(1, len(held) + 1) / len(held), 100 * held, color=colour, linewidth=1)
    alike = numpy.geomspace(0.1, 100, 100)
    axes.plot(alike, alike, color="0.6", linewidth=1, linestyle="--", label="if all were alike")
    axes.set(
        xscale="log",
        xlabel="examples with the longest gradients (%)",
        ylabel="share of squared length (%)",
        xlim=(0.1, 100),  # what is left of it are single examples
        ylim=(0, 102),
    )
    axes.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def spread(table: pandas.DataFrame) -> Figure:
    """Relative error of scores against the number of random vectors, both logarithmic: lines predicted, marks
    measured."""
    panels = list(dict.fromkeys(zip(table["dataset"], table["network"], strict=True)))
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.4), sharey=True, squeeze=False)
    for place, (dataset, network) in zip(axes[0], panels, strict=True):
        here = table[(table["dataset"] == dataset) & (table["network"] == network)]
        for (kind, part), marker in zip(here.groupby("vectors"), style.MARKERS, strict=False):
            mean = part.groupby("probes")[["predicted", "measured"]].mean()
            mean = mean[mean["predicted"] > 0]  # orthonormal vectors are exact when there are K of them
            colour = place.plot(mean.index, 100 * mean["predicted"], label=f"{kind}, predicted")[0].get_color()
            part = part[part["predicted"] > 0]
            place.plot(
                part["probes"],
                100 * part["measured"],
                marker,
                color=colour,
                markersize=5,
                alpha=0.7,
                label=f"{kind}, measured",
            )
        place.set(xscale="log", yscale="log", title=f"{dataset}, {network}", xlabel="random vectors per example")
        ticks = sorted(here["probes"].unique())
        place.set_xticks(ticks, ticks)
        place.minorticks_off()
    axes[0, 0].set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    axes[0, 0].set_ylabel("relative error of scores (%)")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
