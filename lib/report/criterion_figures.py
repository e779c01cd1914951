"""Figures of how criteria compare: their means, their ranks, and how far they agree with the oracle.

Enters: summaries and tables of `study.analyses`. Leaves: matplotlib figures.
"""

from collections.abc import Sequence
from itertools import product

import numpy
import pandas
from matplotlib import pyplot
from matplotlib.figure import Figure

from lib.report import style


def estimates(
    table: pandas.DataFrame, criteria: Sequence[str], *, hue: str = "examples", value: str = "auc_relative"
) -> Figure:
    """One row per criterion, best first: the mean over runs of `value` with their range, a marker and colour per
    `hue`."""
    shown = style.with_panels(table[table["criterion"].isin(criteria)])
    best = list(shown.groupby("criterion")[value].mean().sort_values().index)
    levels, panels = sorted(shown[hue].unique()), list(dict.fromkeys(shown["panel"]))
    size = 4.2 * len(panels) + 2, max(0.26, 0.13 * len(levels)) * len(best) + 1
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for place, panel in zip(axes[0], panels, strict=True):
        for number, (level, colour) in enumerate(zip(levels, style.palette(len(levels)), strict=True)):
            here = shown[(shown["panel"] == panel) & (shown[hue] == level)].groupby("criterion")[value]
            mean, low, high = (values.reindex(best) for values in (here.mean(), here.min(), here.max()))
            height = numpy.arange(len(best)) + 0.6 / len(levels) * ((len(levels) - 1) / 2 - number)
            look = {
                "color": colour,
                "marker": style.MARKERS[number % len(style.MARKERS)],
                "markersize": 5,
                "linewidth": 1.2,
                "linestyle": "none",
            }
            place.errorbar(
                mean, height, xerr=[mean - low, high - mean], label=f"{level:,}" if hue == "examples" else level, **look
            )
        place.set(
            title=panel,
            xlabel=style.LABELS.get(value, value),
            yticks=range(len(best)),
            yticklabels=best,
            ylim=(-0.7, len(best) - 0.3),
        )
        place.locator_params(axis="x", nbins=6)  # else figures of three decimals run into each other
    if len(levels) > 1:
        title = style.LABELS.get(hue, hue)
        figure.legend(*axes[0, 0].get_legend_handles_labels(), title=title, loc="outside right upper")
    return figure


def by_layer(
    table: pandas.DataFrame, criteria: Sequence[str], *, value: str = "spearman", ends: tuple[float, float] = (-1, 1)
) -> Figure:
    """`value` within each layer, as shades between `ends`: a panel per data set and network, one below the other for
    each share of units off where the table has them, a row per criterion, a column per layer in the order in which they
    run; empty where the value is NaN."""
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
        bar = {"cbar": panel == panels[-1], "cbar_kws": {"label": style.LABELS[value]}}
        limits = dict(zip(("vmin", "vmax"), ends, strict=True))
        seaborn.heatmap(wide.loc[order], ax=axes, cmap="cividis", linewidths=0.5, yticklabels=True, **limits, **bar)
        title = panel if share is None else f"{panel}, {share:g} % off"
        axes.set(title=title, xlabel="layer", ylabel="", xticks=axes.get_xticks())
        axes.tick_params(axis="x", rotation=90)
        if panel != panels[0]:
            axes.set_yticklabels([])
    for axes in grid[:-1].flat:
        axes.set(xlabel="", xticklabels=[])
    return figure


def critical_difference(ranks: pandas.DataFrame, p_values: pandas.DataFrame) -> Figure:
    """Demsar's diagram: mean ranks on a line, criteria that Nemenyi's test cannot tell apart joined by a bar."""
    from scikit_posthocs import critical_difference_diagram

    figure, axes = pyplot.subplots(figsize=(8, 0.28 * len(ranks) + 1))
    labels = {"label_fmt_left": "{label} ({rank:.1f})  ", "label_fmt_right": "  {label} ({rank:.1f})"}
    ranked = ranks.set_index("criterion")["mean_rank"]
    critical_difference_diagram(ranked, p_values, ax=axes, elbow_props={"color": "0.5"}, **labels)
    axes.set_title("mean rank over trained networks (1 is best)", pad=22)
    return figure
