"""Figures of how criteria compare: their means, where they take units from, and how far they agree with the oracle.

Enters: summaries and tables of `study.analyses`. Leaves: matplotlib figures.
"""

import re
from collections.abc import Sequence
from itertools import product

import numpy
import pandas
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas.api.typing import SeriesGroupBy

from lib.report import style

MOST_NAMES = 24  # of layers side by side, below which they still can be read


def estimates(
    table: pandas.DataFrame, criteria: Sequence[str], *, hue: str = "examples", value: str = "auc_relative"
) -> Figure:
    """One row per criterion, best first: the mean over runs of `value` with their range, in the colour of the
    criterion's family; a marker per `hue`, paler for the first of several."""
    shown = style.with_panels(table[table["criterion"].isin(criteria)])
    best = list(shown.groupby("criterion")[value].mean().sort_values().index)
    levels, panels = sorted(shown[hue].unique()), list(dict.fromkeys(shown["panel"]))
    size = 3.9 * len(panels) + 2.4, max(0.24, 0.12 * len(levels)) * len(best) + 1.5
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for place, panel in zip(axes[0], panels, strict=True):
        for number, level in enumerate(levels):
            here = shown[(shown["panel"] == panel) & (shown[hue] == level)].groupby("criterion")[value]
            aside = 0.6 / len(levels) * ((len(levels) - 1) / 2 - number)
            look = {"marker": style.MARKERS[number % len(style.MARKERS)], "alpha": _strength(number, len(levels))}
            _ranges(place, here, best, aside, look)
        place.set(title=panel, xlabel=style.LABELS.get(value, value), ylim=(-0.7, len(best) - 0.3))
        place.set_yticks(range(len(best)), best, fontsize=10)
        place.locator_params(axis="x", nbins=6)  # else figures of three decimals run into each other
    _families(figure, best, {level: number for number, level in enumerate(levels)} if len(levels) > 1 else {}, hue)
    return figure


def _strength(number: int, of: int) -> float:
    return 1.0 if of == 1 else 0.4 + 0.6 * number / (of - 1)


def _ranges(place: Axes, values: SeriesGroupBy, names: Sequence[str], aside: float, look: dict) -> None:
    """Mean and range of each of the names, from below, so much above its line."""
    mean, low, high = (found.reindex(names) for found in (values.mean(), values.min(), values.max()))
    for height, name in enumerate(names):
        colour = style.FAMILIES[style.family(name)]
        reach = [[mean[name] - low[name]], [high[name] - mean[name]]]
        more = {"color": colour, "markersize": 5, "linewidth": 1.2, "linestyle": "none"} | look
        place.errorbar(mean[name], height + aside, xerr=numpy.clip(reach, 0, None), **more)


def _families(figure: Figure, names: Sequence[str], levels: dict[object, int], hue: str) -> None:
    """Legends: which colour is which family, of those that are there, and which marker which level."""
    there = dict.fromkeys(map(style.family, names))
    marks = [
        Line2D([], [], marker="o", linestyle="none", color=colour, label=name)
        for name, colour in style.FAMILIES.items()
        if name in there
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=3, fontsize=10)
    if levels:
        words = [f"{level:,}" if hue == "examples" else level for level in levels]
        looks = [
            {"marker": style.MARKERS[number % len(style.MARKERS)], "alpha": _strength(number, len(levels))}
            for number in levels.values()
        ]
        marks = [
            Line2D([], [], linestyle="none", color="0.2", label=word, **look)
            for word, look in zip(words, looks, strict=True)
        ]
        figure.legend(handles=marks, title=style.LABELS.get(hue, hue), loc="outside right upper", fontsize=10)


def channels_left(left: pandas.DataFrame, criteria: Sequence[str], shares: Sequence[float] = (25, 50)) -> Figure:
    """What goes where: the share of each layer's units that is left (%), of `layers_left.by_layer`, layers in the order
    in which they run; a small plot per data set, network and share of units off, a line per criterion. The dashed line
    is what would be left of every layer if all lost alike. Of very many layers some are named."""
    shown = style.with_panels(left[left["criterion"].isin(criteria) & left["share"].isin(shares)])
    groups = shown.groupby(["panel", "share"], sort=False)
    figure, grid = pyplot.subplots(
        -(-len(groups) // 2), 2, figsize=(9.6, 3.0 * -(-len(groups) // 2) + 0.8), squeeze=False, layout="constrained"
    )
    for axes, ((panel, share), here) in zip(grid.flat, groups, strict=False):
        names = list(dict.fromkeys(here["layer"]))
        every = -(-len(names) // MOST_NAMES)
        size = {"markersize": 5 if every == 1 else 3, "linewidth": 1.5 if every == 1 else 1}
        for criterion, colour, marker in zip(criteria, style.colours(criteria), style.MARKERS, strict=False):
            line = here[here["criterion"] == criterion].set_index("layer")["left"].reindex(names)
            axes.plot(range(len(names)), 100 * line, color=colour, marker=marker, label=criterion, **size)
        axes.axhline(100 - share, color="0.5", linestyle="--", linewidth=1)
        axes.set(title=f"{panel}, {share:g} % off", ylim=(0, 104), ylabel="units left (%)")
        axes.set_xticks(range(0, len(names), every), map(short, names[::every]), rotation=90, fontsize=9)
        axes.set_xlabel(f"layers, one in {every} named" if every > 1 else "")
        axes.grid(axis="x", visible=False)
    for axes in grid.flat[len(groups) :]:
        axes.remove()
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def short(layer: str) -> str:
    """A layer's name where there is little room: "blocks.0.conv1" is "0.c1"."""
    bare = re.sub(r"(^|\.)(blocks|features|layers|module|model)\.", r"\1", layer)
    bare = re.sub(r"\b(shortcut|downsample)(\.0)?$", "s", bare)
    return re.sub(r"\bconv(?=\d)", "c", re.sub(r"\blayer(?=\d)", "", bare))


def by_layer(
    table: pandas.DataFrame, criteria: Sequence[str], *, value: str = "spearman", ends: tuple[float, float] = (0, 1)
) -> Figure:
    """`value` within each layer, as shades between `ends`: a panel per data set and network, one below the other for
    each share of units off where the table has them, a row per criterion, a column per layer in the order in which they
    run; empty where the value is NaN. What is below the first of `ends` is as dark as that."""
    import seaborn

    shown = style.with_panels(table[table["criterion"].isin(criteria)])
    shares = list(dict.fromkeys(shown["share"])) if "share" in shown else [None]
    panels = list(dict.fromkeys(shown["panel"]))
    size = 4.6 * len(panels) + 1.5, (0.26 * len(criteria) + 0.5) * len(shares) + 1.1
    figure, grid = pyplot.subplots(len(shares), len(panels), figsize=size, squeeze=False, layout="constrained")
    for axes, (share, panel) in zip(grid.flat, product(shares, panels), strict=True):
        here = shown[shown["panel"] == panel]
        here = here if share is None else here[here["share"] == share]
        wide = here.pivot_table(index="criterion", columns="layer", values=value, sort=False, dropna=False)
        order = [name for name in criteria if name in wide.index]
        below = {"extend": "min"} if here[value].min() < ends[0] else {}
        bar = {"cbar": panel == panels[-1], "cbar_kws": {"label": style.LABELS[value]} | below}
        limits = dict(zip(("vmin", "vmax"), ends, strict=True))
        seaborn.heatmap(wide.loc[order], ax=axes, cmap="cividis", linewidths=0.5, yticklabels=True, **limits, **bar)
        title = panel if share is None else f"{panel}, {share:g} % off"
        axes.set(title=title, xlabel="layer", ylabel="", xticks=axes.get_xticks())
        axes.set_xticklabels([short(text.get_text()) for text in axes.get_xticklabels()])
        axes.tick_params(axis="x", rotation=90, labelsize=9)
        axes.tick_params(axis="y", labelsize=10)
        if panel != panels[0]:
            axes.set_yticklabels([])
    for axes in grid[:-1].flat:
        axes.set(xlabel="", xticklabels=[])
    return figure
