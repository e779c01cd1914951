"""Figures of the claims, and of what was found beside what the paper shows.

Enters: tables of `study.claims` and `study.paper`. Leaves: matplotlib figures.
"""

import math
from collections.abc import Mapping

import numpy
import pandas
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.report import placing, style
from lib.study.statistics import KINDS, TOO_FEW


def claims(table: pandas.DataFrame, words: Mapping[str, str], *, margin: float) -> Figure:
    """The effect of every claim, named and said in `words`, with its 95 % interval. In the rows of non-inferiority the
    loss that counts as none is shaded: to be supported, an interval must begin in it or right of it. Colour and marker
    by verdict."""
    table = table[table["kind"].isin(KINDS)]  # the effects of others are no differences in relative auc
    looks = {"supported": ("#029e73", "o"), "contradicted": ("#d55e00", "X"), "open": ("0.5", "s")}
    looks |= {TOO_FEW: ("#0173b2", "D")}
    figure, axes = pyplot.subplots(figsize=(7, 0.36 * len(table) + 1.2))
    axes.axvline(0, color="0.4", linewidth=1)
    for height, row in enumerate(table[::-1].itertuples()):
        colour, marker = looks[row.verdict]
        if row.kind == "non-inferiority":
            axes.broken_barh([(-margin, margin)], (height - 0.5, 1), color="0.85", zorder=0)
        reach = [[row.effect - row.low], [row.high - row.effect]]
        axes.errorbar(row.effect, height, xerr=reach, color=colour, marker=marker, capsize=3, linewidth=1.5)
    for verdict in [verdict for verdict in looks if verdict in set(table["verdict"])]:
        colour, marker = looks[verdict]
        axes.plot([], [], marker, color=colour, label=verdict)
    named = [f"{words[claim]}  {claim}" for claim in table["claim"][::-1]]
    axes.set(yticks=range(len(table)), yticklabels=named, xlabel="difference in relative auc, 95 % interval")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="verdict")
    return figure


def against(table: pandas.DataFrame, x: str, y: str, *, hue: str, xlabel: str, ylabel: str) -> Figure:
    """A scatter of column `y` against `x` with the diagonal, shade and marker by the numbers in `hue`; the criteria
    that are farthest from where the others are have their names."""
    figure, axes = pyplot.subplots(figsize=(6.4, 4.8), layout="constrained")
    ends = [min(table[x].min(), table[y].min()) - 0.02, max(table[x].max(), table[y].max()) + 0.02]
    axes.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    levels = sorted(table[hue].unique())
    shades = pyplot.get_cmap("viridis_r")(numpy.linspace(0.15, 0.95, len(levels)))
    for level, shade, marker in zip(levels, shades, style.MARKERS * 2, strict=False):
        here, look = table[table[hue] == level], {"linestyle": "none", "markersize": 6, "alpha": 0.8}
        axes.plot(here[x], here[y], marker=marker, color=shade, markeredgecolor="white", label=f"{level:,}", **look)
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=ends, ylim=ends, aspect="equal")
    figure.legend(loc="outside right center", title=style.LABELS.get(hue, hue))
    off = table[y] - table[x]
    farthest = (off - off.median()).abs().nlargest(NAMED).index
    placing.names(axes, table[x], table[y], table["criterion"].where(table.index.isin(farthest)))
    return figure


NAMED = 6  # points of a scatter


def beside_paper(table: pandas.DataFrame) -> Figure:
    """The rows of `claims.beside_paper`: a plot per contrast and data set with network, all of one scale, the number of
    examples across; open circles are the paper's single runs, the others the mean of ours, with their range."""
    shown = style.with_panels(table)
    plots = list(shown.groupby(["claim", "label", "panel"], sort=False))
    several, columns = shown["panel"].nunique() > 1, min(4, max(2, math.ceil(len(plots) / 2)))
    lines = math.ceil(len(plots) / columns)
    size = 3.1 * columns, 2.5 * lines + 0.6
    figure, grid = pyplot.subplots(lines, columns, figsize=size, squeeze=False, sharey=True, layout="constrained")
    for axes, ((claim, label, panel), here) in zip(grid.flat, plots, strict=False):
        _contrast_beside_paper(axes, here)
        axes.set_title(f"{claim}: {label}" + (f"\n{panel}" if several else ""), fontsize=10)
    for axes in grid.flat[len(plots) :]:
        axes.remove()
    figure.supxlabel(style.LABELS["examples"], fontsize=11)
    figure.supylabel("difference in relative auc", fontsize=11)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _contrast_beside_paper(axes: Axes, table: pandas.DataFrame) -> None:
    numbers = sorted(table["examples"].unique())
    axes.axhline(0, color="0.4", linewidth=1)
    alike, other = style.FAMILIES["gradients without labels"], "0.5"
    for aside, in_paper, colour, marker, words in (
        (0, True, alike, "o", "the same criteria here"),
        (0.2, False, other, "s", "here, criteria that the paper does not show"),
    ):
        part = table[table["paper"].notna() == in_paper]
        places = numpy.array([numbers.index(number) for number in part["examples"]]) + aside
        ends = numpy.array([part["effect"] - part["lowest"], part["highest"] - part["effect"]])
        look = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.2, "linestyle": "none"}
        axes.errorbar(places, part["effect"], yerr=ends.clip(0), label=words, **look)  # a mean may be off by rounding
        if in_paper:
            circle = {"color": "0.2", "markersize": 6, "fillstyle": "none", "label": "the paper, one run"}
            axes.plot(places - 0.2, part["paper"], "o", **circle)
    axes.set_xticks(range(len(numbers)), [f"{number:,}" for number in numbers])
    axes.tick_params(labelsize=10)
    axes.grid(axis="x", visible=False)
    axes.set_xlim(-0.5, len(numbers) - 0.5)
