"""Figures of training and of fine-tuning.

Enters: training logs, and tables of `study.finetuning`. Leaves: matplotlib figures.
"""

from collections.abc import Sequence
from itertools import product

import pandas
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.report import placing, style
from lib.study import finetuning
from lib.study.columns import PANEL


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


def recovery(table: pandas.DataFrame, criteria: Sequence[str]) -> Figure:
    """Accuracy by epoch of fine-tuning, a line per criterion (mean over runs) with the range of the runs, a column per
    network and a row per budget; the dashed line is the unpruned network's, dotted ones are where the same shrunk
    networks end from scratch, dash-dotted ones where they end without labels."""
    import seaborn

    shown = style.with_panels(table[table["criterion"].isin(criteria)])
    shown["percent"] = 100 * shown["accuracy"]
    shown["gone"] = [finetuning.in_words(*key) for key in zip(shown["of"], shown["budget"], strict=True)]
    look = {"hue": "criterion", "style": "criterion", "hue_order": criteria, "style_order": criteria, "dashes": False}
    grid = seaborn.relplot(
        shown[shown["training"] == finetuning.TUNED], x="epoch", y="percent", row="gone", col="panel", kind="line",
        markers=True, **style.BAND, height=3.4, aspect=1.2, palette=style.colours(criteria), **look,
    )  # fmt: skip
    for (gone, panel), axes in grid.axes_dict.items():
        _beside(axes, shown[(shown["panel"] == panel) & (shown["gone"] == gone)], criteria)
    grid.set_axis_labels("epochs of fine-tuning", style.LABELS["accuracy"])
    grid.set_titles("{col_name}\nwithout {row_name}")
    grid.set(ylim=(0, 104))
    grid.legend.set_title("")
    grid.figure.subplots_adjust(hspace=0.3)  # a title of two lines stays clear of the ticks above it
    return grid.figure


def _beside(axes: Axes, here: pandas.DataFrame, criteria: Sequence[str]) -> None:
    """Where the unpruned network is, and where networks that were not fine-tuned with labels end."""
    unpruned = 100 * here["accuracy_unpruned"].mean()
    axes.axhline(unpruned, color="0.4", linestyle="--", linewidth=1)
    axes.annotate(
        "unpruned", (0.98, unpruned), (0, 3), ("axes fraction", "data"), "offset points", ha="right", fontsize=9
    )
    for how, dashes in ((finetuning.FRESH, ":"), (finetuning.DISTILLED, "-.")):
        others = here[here["training"] == how]
        ends = others[others["epoch"] == others["epoch"].max()].groupby("criterion")["percent"].mean()
        for name, colour in zip(criteria, style.colours(criteria), strict=True):
            if name in ends:
                axes.axhline(ends[name], color=colour, linestyle=dashes, linewidth=1.5)
    axes.xaxis.get_major_locator().set_params(integer=True)


def order_change(summary: pandas.DataFrame, criteria: Sequence[str]) -> Figure:
    """The criteria's mean ranks by accuracy (1 is best) before fine-tuning, on the left, and after, on the right; a
    column per network and a row per budget."""
    tuned = summary[summary["training"] == finetuning.TUNED]
    panels, budgets = (list(tuned.groupby(by, sort=False).groups) for by in (PANEL, ["of", "budget"]))
    size = (4.6 * len(panels), (0.36 * len(criteria) + 1.2) * len(budgets))
    figure, axes = pyplot.subplots(len(budgets), len(panels), figsize=size, squeeze=False)
    for place, (budget, panel) in zip(axes.flat, product(budgets, panels), strict=True):
        here = tuned[(tuned[[*PANEL, "of", "budget"]] == [*panel, *budget]).all(axis=1)]
        _mean_ranks(place, here, criteria)
        place.set(title=f"{', '.join(panel)}\nwithout {finetuning.in_words(*budget)}")
    figure.tight_layout()
    return figure


def _mean_ranks(place: Axes, table: pandas.DataFrame, criteria: Sequence[str]) -> None:
    ranked = table.assign(**{side: table.groupby("seed")[side].rank(ascending=False) for side in ("before", "after")})
    means = ranked.groupby("criterion")[["before", "after"]].mean()
    for name, colour, marker in zip(criteria, style.colours(criteria), style.MARKERS * 2, strict=False):
        place.plot([0, 1], means.loc[name], color=colour, marker=marker, markersize=6, linewidth=1.5)
    for side, (column, align) in enumerate((("before", "right"), ("after", "left"))):
        for name, height in placing.apart(means[column].sort_values(), 0.42).items():
            place.text(side + (0.05 if side else -0.05), height, name, ha=align, va="center", fontsize=9)
    place.set(xlim=(-0.9, 1.9), ylim=(len(criteria) + 0.6, 0.4), ylabel="mean rank")
    place.set_xticks([0, 1], ["before", "after"])
    place.grid(axis="y", visible=False)
