"""Figures of training and of fine-tuning.

Enters: training logs, and tables of `study.finetuning`. Leaves: matplotlib figures.
"""

from collections.abc import Sequence

import pandas
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lib.report import placing, style
from lib.study import finetuning


def training(log: pandas.DataFrame) -> Figure:
    """Training loss and test accuracy by epoch, a colour per data set and network, a line per run."""
    shown = style.with_panels(log)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
    for panel, colour in zip(shown["panel"].unique(), style.palette(shown["panel"].nunique()), strict=True):
        for _, run in shown[shown["panel"] == panel].groupby("seed"):
            left.plot(run["epoch"], run["loss"], color=colour, linewidth=1)
            right.plot(run["epoch"], 100 * run["accuracy"], color=colour, linewidth=1)
        right.plot([], [], color=colour, label=panel)
    left.set(xlabel="epoch", ylabel="training loss (nats)", ylim=(0, None))
    right.set(xlabel="epoch", ylabel=style.LABELS["accuracy"])
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside right center")
    return figure


def recovery(summary: pandas.DataFrame, criteria: Sequence[str]) -> Figure:
    """Accuracy after fine-tuning, of the rows of `finetuning.summary`, over what the budget leaves open (parameters, or
    multiply-adds): a small plot per network and budget, a point per criterion (mean over runs) over paler ones of the
    runs, a diamond where ranked by score per multiply-add, open where trained without labels, a cross where from
    scratch; the dashed line is the unpruned network's."""
    shown = style.with_panels(summary[summary["criterion"].isin(criteria)])
    groups = shown.groupby(["of", "budget", "panel"], sort=False)
    columns = min(2, len(groups))
    lines = -(-len(groups) // columns)
    size = 4.6 * columns + 1.4, 3.6 * lines
    figure, grid = pyplot.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    named = []
    for axes, ((of, budget, panel), here) in zip(grid.flat, groups, strict=False):
        named.append((axes, _ends(axes, here, _KEPT[of][0], criteria)))
        axes.set(title=f"{panel}, without {finetuning.in_words(of, budget)}", xlabel=_KEPT[of][1])
        axes.set_ylabel("accuracy after fine-tuning (%)")
    for axes in grid.flat[len(groups) :]:
        axes.remove()
    _explain(figure, grid.flat[0], set(shown["training"]))
    for axes, ends in named:
        placing.names(axes, ends["kept"], ends["after"], ends["criterion"])
    return figure


_KEPT = {"macs": ("parameters", "parameters left"), "parameters": ("multiply_adds", "multiply-adds left")}
_LOOKS = {  # how trained -> how drawn, and in which words
    finetuning.TUNED: ({"marker": "o", "markersize": 8}, "fine-tuned, mean"),
    finetuning.PRICED: ({"marker": "D", "markersize": 7}, "the same, ranked by score per multiply-add"),
    finetuning.DISTILLED: ({"marker": "o", "markersize": 8, "fillstyle": "none"}, "the same without labels"),
    finetuning.FRESH: ({"marker": "x", "markersize": 8, "markeredgewidth": 2}, "the same from scratch"),
}


def _ends(axes: Axes, here: pandas.DataFrame, kept: str, criteria: Sequence[str]) -> pandas.DataFrame:
    """Draws all points, and returns those that are to be named: criterion, kept and after (%)."""
    here = here.assign(kept=here[kept], after=100 * here["after"])
    for criterion, colour in zip(criteria, style.colours(criteria), strict=True):
        for how, (look, _) in _LOOKS.items():
            own = here[(here["criterion"] == criterion) & (here["training"] == how)]
            if how == finetuning.TUNED:
                axes.plot(own["kept"], own["after"], "o", markersize=4, color=colour, alpha=0.35)
            axes.plot(own["kept"].mean(), own["after"].mean(), linestyle="none", color=colour, **look)
    axes.axhline(100 * here["accuracy_unpruned"].mean(), color="0.4", linestyle="--", linewidth=1)
    axes.margins(0.2, 0.12)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.locator_params(axis="x", nbins=5)
    tuned = here[here["training"] == finetuning.TUNED]
    return tuned.groupby("criterion", sort=False)[["kept", "after"]].mean().reset_index()


def _explain(figure: Figure, axes: Axes, there: set[str]) -> None:
    """A legend of what is there."""
    marks = [
        pyplot.Line2D([], [], linestyle="none", color="0.3", label=words, **look)
        for how, (look, words) in _LOOKS.items()
        if how in there
    ]
    marks += [pyplot.Line2D([], [], linestyle="none", marker="o", markersize=4, color="0.7", label="single networks")]
    marks += [pyplot.Line2D([], [], color="0.4", linestyle="--", linewidth=1, label="unpruned")]
    figure.legend(handles=marks, loc="outside lower center", ncols=3)


def order_change(summary: pandas.DataFrame, criteria: Sequence[str]) -> Figure:
    """The criteria's mean accuracy before fine-tuning, on the left, and after, on the right; a small plot per network
    and budget."""
    tuned = style.with_panels(summary[summary["training"] == finetuning.TUNED])
    groups = tuned.groupby(["of", "budget", "panel"], sort=False)
    columns = min(2, len(groups))
    lines = -(-len(groups) // columns)
    size = (4.6 * columns, (0.26 * len(criteria) + 2) * lines)
    figure, grid = pyplot.subplots(lines, columns, figsize=size, squeeze=False)
    for place, ((of, budget, panel), here) in zip(grid.flat, groups, strict=False):
        _slopes(place, here, criteria)
        place.set_title(f"{panel}\nwithout {finetuning.in_words(of, budget)}")
    for axes in grid.flat[len(groups) :]:
        axes.remove()
    figure.tight_layout()
    return figure


def _slopes(place: Axes, table: pandas.DataFrame, criteria: Sequence[str]) -> None:
    means = 100 * table.groupby("criterion")[["before", "after"]].mean()
    top = 100 * table["accuracy_unpruned"].mean()
    for name, colour, marker in zip(criteria, style.colours(criteria), style.MARKERS * 2, strict=False):
        place.plot([0, 1], means.loc[name], color=colour, marker=marker, markersize=5, linewidth=1.5)
    place.hlines(top, -0.15, 1, color="0.4", linestyle="--", linewidth=1)
    least = 1.1 * top / (len(criteria) + 4)  # of one line of type
    for name, height in placing.apart(means["after"].sort_values(), least).items():
        place.plot([1.03, 1.17], [means.loc[name, "after"], height], color="0.7", linewidth=0.7)
        place.text(1.2, height, f"{name}  {means.loc[name, 'after']:.1f}", ha="left", va="center", fontsize=9)
    place.set(xlim=(-0.15, 2.4), ylim=(0, 1.35 * top), ylabel="accuracy (%)")
    place.set_xticks([0, 1], ["before", "after"])
    place.set_yticks(range(0, 101, 20))
    place.grid(axis="x", visible=False)
