"""Figures of several panels: curves, claims, places and sizes.

Enters: tables of `analyses.over_panels`. Leaves: matplotlib figures. Panels differ by colour and marker alike.
"""

from collections.abc import Mapping, Sequence

import numpy
import pandas
from matplotlib import pyplot, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.report import style
from lib.study.analyses.over_panels import RIVALS, SIZES
from lib.study.statistics import KINDS, MARGIN

OVER = {"color": "0.1", "marker": "D", "markersize": 6}  # what stands for all panels
THEIRS = {"linestyle": (0, (4, 2)), "linewidth": 1.2}  # of the paper's curves
TICKS = (0, 0.02, 0.05, 0.2, 1)
LINEAR = 0.05  # in relative auc: up to where the scale of claims is linear, and logarithmic beyond
WORDS = {"units": "units", "parameters": "parameters", "layers": "layers with units"}


def looks(panels: Sequence[str]) -> dict[str, tuple]:
    """Colour and marker of each panel."""
    return dict(zip(panels, zip(style.palette(len(panels)), _markers(len(panels)), strict=True), strict=True))


def _markers(count: int) -> list[str]:
    return [style.MARKERS[place % len(style.MARKERS)] for place in range(count)]


def curves(table: pandas.DataFrame, criteria: Sequence[str], paper: pandas.DataFrame) -> Figure:
    """The curves of `over_panels.curves`: a row per panel, a column per number of examples, the panel's fewest first, a
    line per criterion. Dashed: the paper's, where it has the panel.

    Arguments:
        paper: panel, examples, criterion, gone (%), accuracy.
    """
    panels, columns = list(dict.fromkeys(table["panel"])), int(table["orders"].max())
    size = 2.6 * columns + 1.8, 2.1 * len(panels) + 0.5
    figure, grid = pyplot.subplots(len(panels), columns, figsize=size, sharex=True, squeeze=False, layout="constrained")
    for panel, line in zip(panels, grid, strict=True):
        here = table[table["panel"] == panel]
        numbers = sorted(here["examples"].unique())
        top = 3 + 100 * pandas.concat([here, paper[paper["panel"] == panel]])["accuracy"].max()
        for number, axes in zip(numbers, line, strict=False):
            of = (rows[(rows["panel"] == panel) & (rows["examples"] == number)] for rows in (here, paper))
            _curves(axes, *of, criteria)
            axes.set(title=f"{panel}, {number:,} examples", xlim=(0, 50), ylim=(0, top))
            axes.tick_params(labelsize=9)
        for axes in line[len(numbers) :]:
            axes.set_axis_off()
    for column in grid.T:
        [axes for axes in column if axes.axison][-1].tick_params(labelbottom=True)
    figure.supxlabel(style.LABELS["share"], fontsize=11)
    figure.supylabel(style.LABELS["accuracy"], fontsize=11)
    if len(paper):
        grid[0, 0].plot([], [], color="0.4", label="the paper, one run", **THEIRS)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def _curves(axes: Axes, lines: pandas.DataFrame, paper: pandas.DataFrame, criteria: Sequence[str]) -> None:
    for criterion, colour in zip(criteria, style.colours(criteria), strict=True):
        line, theirs = (rows[rows["criterion"] == criterion] for rows in (lines, paper))
        axes.plot(line["gone"], 100 * line["accuracy"], color=colour, label=criterion)
        axes.plot(theirs["gone"], 100 * theirs["accuracy"], color=colour, **THEIRS)


def claims(over: pandas.DataFrame, by_panel: pandas.DataFrame, words: Mapping[str, str]) -> Figure:
    """The effect of every claim, named and said in `words`: a marker per panel, and over several panels the mean with
    its 95 % interval. Up to `LINEAR` the axis is linear, beyond it logarithmic, since claims differ that much. Shaded:
    what counts as nothing where nothing should be lost. Claims whose effect is no difference in relative auc are not
    here."""
    over = over[(over["over"] == "panels") & over["kind"].isin(KINDS)]
    there = by_panel[by_panel["claim"].isin(over["claim"]) & (by_panel["count"] > 0)]
    panels = list(dict.fromkeys(by_panel["panel"]))
    figure, axes = pyplot.subplots(figsize=(7, 0.42 * len(over) + 1.2))
    axes.axvline(0, color="0.4", linewidth=1)
    heights = {claim: height for height, claim in enumerate(over["claim"][::-1])}
    for panel, (colour, marker) in looks(panels).items():
        here = there[there["panel"] == panel]
        level = [heights[claim] + 0.2 for claim in here["claim"]]
        axes.plot(here["effect"], level, linestyle="none", color=colour, marker=marker, markersize=5, label=panel)
    several = over[over["count"] > 1]
    reach = numpy.array([several["effect"] - several["low"], several["high"] - several["effect"]])
    level = [heights[claim] - 0.15 for claim in several["claim"]]
    look = {"linestyle": "none", "elinewidth": 1.5, "capsize": 3, "label": "mean over panels"} | OVER
    axes.errorbar(several["effect"], level, xerr=reach, **look)
    for claim in over.loc[over["kind"] == "non-inferiority", "claim"]:
        axes.fill_betweenx(heights[claim] + numpy.array([-0.4, 0.4]), -MARGIN, MARGIN, color="0.85", zorder=0)
    named = [f"{words[claim]}  {claim}" for claim in heights]
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=1)
    axes.xaxis.set_major_locator(ticker.FixedLocator(sorted({sign * tick for sign in (-1, 1) for tick in TICKS})))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set(yticks=range(len(over)), yticklabels=named, xlabel="difference in relative auc, 95 % interval")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def places(board: pandas.DataFrame, shown: Sequence[str], of: int) -> Figure:
    """The places of `shown` criteria of a `over_panels.board`, among so many: a line per criterion, from its best place
    in a panel to its worst, the best in the mean on top; a marker per panel, a black one for the place in the mean."""
    here = board[board["criterion"].isin(shown)]
    names, panels = list(dict.fromkeys(here["criterion"])), list(dict.fromkeys(board["panel"]))
    heights = {name: -place for place, name in enumerate(names)}
    figure, axes = pyplot.subplots(figsize=(7, 0.34 * len(names) + 1.2))
    for name, own in here.groupby("criterion"):
        axes.plot([own["place"].min(), own["place"].max()], [heights[name]] * 2, color="0.8", linewidth=3, zorder=0)
    beside = numpy.linspace(0.24, -0.24, len(panels))  # or equal places would hide each other
    for (panel, (colour, marker)), shift in zip(looks(panels).items(), beside, strict=True):
        own = here[here["panel"] == panel]
        level = [heights[name] + shift for name in own["criterion"]]
        axes.plot(own["place"], level, linestyle="none", color=colour, marker=marker, markersize=5, label=panel)
    overall = here.drop_duplicates("criterion")
    look = {"linestyle": "none", "color": "0.1", "marker": "|", "markersize": 14, "markeredgewidth": 2, "zorder": 1}
    axes.plot(overall["overall"], overall["criterion"].map(heights), label="by the mean over panels", **look)
    axes.set(yticks=list(heights.values()), yticklabels=names, xlabel=f"place among {of} criteria (1: the best)")
    axes.set_xlim(0, of + 1)
    axes.xaxis.set_major_locator(ticker.FixedLocator([1, *range(5, of + 1, 5)]))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def sizes(found: pandas.DataFrame, panels: Sequence[str]) -> Figure:
    """The leads of `over_panels.by_network` over what networks are made of: a row per rival, a column per size, colour
    and marker by panel; filled where the network was trained here, open where others trained it.

    Arguments:
        panels: in the order in which other figures have them.
    """
    shape = len(RIVALS), len(SIZES)
    figure, grid = pyplot.subplots(*shape, figsize=(9.4, 7.2), sharex="col", sharey="row", layout="constrained")
    for rival, line in zip(RIVALS, grid, strict=True):
        for size, axes in zip(SIZES, line, strict=True):
            axes.axhline(0, color="0.4", linewidth=1)
            for panel, (colour, marker) in looks(panels).items():
                for given, fill in ((False, "full"), (True, "none")):
                    here = found[(found["panel"] == panel) & (found["given"] == given)]
                    look = {"linestyle": "none", "color": colour, "marker": marker, "fillstyle": fill}
                    word = f"{panel}, trained {'by others' if given else 'here'}"
                    axes.plot(here[size], here[f"lead_{rival}"], label=word if len(here) else None, **look)
            axes.margins(0.15)
            style.make_logarithmic(axes, ticker.EngFormatter(sep=""))
            axes.tick_params(labelsize=9)
        line[0].set_ylabel(f"lead over {rival}", fontsize=10)
    for size, axes in zip(SIZES, grid[-1], strict=True):
        axes.set_xlabel(WORDS[size], fontsize=10)
    figure.get_layout_engine().set(w_pad=0.12)  # or the last tick of one would meet the first of the next
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
