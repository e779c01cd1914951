"""Figures of accuracy as units go, and of what becomes of it with the number of examples.

Enters: curves of `study.measurements` and `analyses.mean_curves`, and summaries. Leaves: matplotlib figures.
"""

from collections.abc import Sequence

import numpy
import pandas
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.report import style
from lib.report.words import alike
from lib.study import statistics


def curves(table: pandas.DataFrame, criteria: Sequence[str], *, reference: pandas.DataFrame | None = None) -> Figure:
    """Pruning curves: a small plot per data set, network and number of examples, two beside each other, a line per
    criterion.

    The line is the mean over runs, the band their range. `reference` may hold other curves of the same columns (the
    paper's); they are drawn dashed, in the same colours.
    """
    shown = style.with_panels(table[table["criterion"].isin(criteria)])
    others = style.with_panels(reference[reference["criterion"].isin(criteria)]) if reference is not None else None
    others = None if others is None else others[others["panel"].isin(shown["panel"])]
    groups = shown.groupby(["panel", "examples"], sort=False)
    figure, grid = _grid(len(groups))
    for axes, ((panel, examples), here) in zip(grid.flat, groups, strict=False):
        there = others[(others["panel"] == panel) & (others["examples"] == examples)] if others is not None else None
        for criterion, colour, marker in zip(criteria, style.colours(criteria), style.MARKERS * 2, strict=False):
            line = here[here["criterion"] == criterion].groupby("share")["percent"].agg(["mean", "min", "max"])
            axes.plot(line["mean"], color=colour, label=criterion, marker=marker, markevery=0.2, markersize=5)
            axes.fill_between(line.index, line["min"], line["max"], color=colour, alpha=0.12, linewidth=0)
            if there is not None:
                points = there[there["criterion"] == criterion]
                axes.plot(points["share"], points["percent"], color=colour, linestyle=(0, (4, 2)), linewidth=1.2)
        top = here if there is None else pandas.concat([here, there])
        _finish(axes, f"{panel}, {examples:,} examples", top["accuracy"].max())
    if others is not None and len(others):
        grid.flat[0].plot([], [], color="0.4", linestyle=(0, (4, 2)), linewidth=1.2, label="the paper, one run")
    _legend(figure, grid)
    return figure


def _grid(count: int) -> tuple[Figure, numpy.ndarray]:
    """So many small plots, two beside each other."""
    lines = -(-count // 2)
    size = 9.0, 3.0 * lines + 0.9
    figure, grid = pyplot.subplots(lines, 2, figsize=size, squeeze=False, layout="constrained")
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, grid


def _finish(axes: Axes, title: str, highest: float) -> None:
    """Axes from 0 to the next ten percent above the highest accuracy."""
    axes.set(title=title, xlim=(0, 51), ylim=(0, 10 * (int(10 * highest) + 1)), xticks=range(0, 51, 10))
    axes.set(xlabel=style.LABELS["share"], ylabel=style.LABELS["accuracy"])


def _legend(figure: Figure, grid: numpy.ndarray) -> None:
    lines, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=2 if max(map(len, labels)) > 24 else 5)


def repaired(table: pandas.DataFrame, plain: pandas.DataFrame, criteria: Sequence[str]) -> Figure:
    """Curves with repair (`table`), solid with markers, and without (`plain`), dotted; lines are means over runs, whose
    ranges would cover each other."""
    both = pandas.concat([table.assign(repair=True), plain.assign(repair=False)])
    shown = style.with_panels(both[both["criterion"].isin(criteria)])
    groups = shown.groupby(["panel", "examples"], sort=False)
    groups = [(key, here) for key, here in groups if here["repair"].any()]  # there is none without BatchNorm
    figure, grid = _grid(len(groups))
    for axes, ((panel, examples), here) in zip(grid.flat, groups, strict=False):
        for criterion, colour, marker in zip(criteria, style.colours(criteria), style.MARKERS, strict=False):
            own = here[here["criterion"] == criterion]
            for repair, look in ((True, {"marker": marker, "markevery": 0.2, "markersize": 5}), (False, {"ls": ":"})):
                means = own[own["repair"] == repair].groupby("share")["percent"].mean()
                if len(means):
                    axes.plot(means, color=colour, label=criterion if repair else None, **look)
        _finish(axes, f"{panel}, {examples:,} examples", here["accuracy"].max())
    grid.flat[0].plot([], [], color="0.4", linestyle=":", label="without repair")
    _legend(figure, grid)
    return figure


PLAIN = {  # what a reader who knows no names is told of those that stand for all others
    "sq:rand:norm": "random gradients, no labels",
    "sq:norm": "gradients of the loss, labels",
    "taylorfo": "signed gradients (Taylor), labels",
    "l2": "weight magnitude",
    "random": "units in random order",
}
_MOST_STAMPS = 4  # of one network each; where there are more, one each is of a panel


def opening(table: pandas.DataFrame) -> Figure:
    """The curves of `PLAIN`, of `mean_curves.along` with the column panel, two beside each other: of one network on the
    fewest images and on all, of several on all; see `caption`. The band of a few networks would cover the others."""
    table = table[table["criterion"].isin(PLAIN)]
    stamps = _stamps(table)
    figure, grid = _grid(len(stamps))
    looks = list(zip(PLAIN, style.colours(list(PLAIN)), style.MARKERS, strict=False))
    for axes, (title, here) in zip(grid.flat, stamps, strict=False):
        banded = _is_banded(here)
        for criterion, colour, marker in looks:
            line = here[here["criterion"] == criterion].groupby("gone", as_index=False)[_HEIGHTS].mean()
            _line(axes, line, f"{PLAIN[criterion]} ({criterion})", banded=banded, color=colour, marker=marker)
        _finish(axes, title, here["accuracy"].max())
    _legend(figure, grid)
    return figure


def caption(table: pandas.DataFrame) -> str:
    """What `opening` shows of this table."""
    bands = [_is_banded(here) for _, here in _stamps(table[table["criterion"].isin(PLAIN)])]
    said = "Test accuracy as units are switched off, the least important first"
    said += ", ranked on the most images; lines are means over trained networks"
    return f"{said}, bands, where there are six or more, their 95 % intervals." if any(bands) else f"{said}."


def _is_banded(lines: pandas.DataFrame) -> bool:
    return not statistics.too_few(int(lines["blocks"].min()))


_HEIGHTS = ["accuracy", "low", "high"]


def _stamps(table: pandas.DataFrame) -> list[tuple[str, pandas.DataFrame]]:
    """Title and curves of each small plot of `opening`."""
    where = ["panel", "dataset", "network"]
    if len(table[where].drop_duplicates()) == 1:
        numbers = table["examples"].agg(["min", "max"]).unique()
        (dataset, network) = table[where[1:]].iloc[0]
        return [
            (f"{dataset}, {network}, ranked on {number:,} images", table[table["examples"] == number])
            for number in numbers
        ]
    most = table[table["examples"] == table.groupby(where)["examples"].transform("max")]
    several = len(most[where].drop_duplicates()) > _MOST_STAMPS
    groups = most.groupby("panel" if several else where, sort=False)
    return [(_named(here), here) for _, here in groups]


def _named(lines: pandas.DataFrame) -> str:
    """The data sets, and the networks that lines are means of."""
    networks = lines.drop_duplicates(["dataset", "network"])
    return (
        f"{', '.join(lines['dataset'].unique())}: {alike(networks['network'].tolist(), int(networks['blocks'].sum()))}"
    )


def _line(axes: Axes, line: pandas.DataFrame, label: str, *, banded: bool = True, **look: object) -> None:
    """A line with a marker every tenth percent, and its band, which is cut off above the accuracy with nothing off."""
    axes.plot(line["gone"], 100 * line["accuracy"], label=label, markevery=4, markersize=5, **look)
    if not banded:
        return
    low, high = (100 * line[end].clip(0, line["accuracy"].max()) for end in ("low", "high"))
    axes.fill_between(line["gone"], low, high, color=look["color"], alpha=0.13, linewidth=0)


def intervals(table: pandas.DataFrame, criteria: Sequence[str], *, xlabel: str) -> Figure:
    """The curves of `mean_curves.along`: a small plot per data set, network and number of examples, two beside each
    other, a line per criterion, which is the mean over runs, with its 95 % intervals as bands."""
    shown = style.with_panels(table[table["criterion"].isin(criteria)])
    groups = shown.groupby(["panel", "examples"], sort=False)
    figure, grid = _grid(len(groups))
    for axes, ((panel, examples), here) in zip(grid.flat, groups, strict=False):
        for criterion, colour, marker in zip(criteria, style.colours(criteria), style.MARKERS, strict=False):
            _line(axes, here[here["criterion"] == criterion], criterion, color=colour, marker=marker)
        _finish(axes, f"{panel}, {examples:,} examples", here["accuracy"].max())
        axes.set_xlabel(xlabel)
    _legend(figure, grid)
    return figure


def by_examples(table: pandas.DataFrame, criteria: Sequence[str], *, value: str = "auc_relative") -> Figure:
    """How `value` grows with the number of examples (logarithmic), a line per criterion, a panel per data set and
    network."""
    import seaborn

    shown = style.with_panels(table[table["criterion"].isin(criteria)])
    grid = seaborn.relplot(
        shown, x="examples", y=value, hue="criterion", style="criterion", hue_order=criteria, style_order=criteria,
        col="panel", kind="line", markers=True, dashes=False, **style.BAND,
        height=3.2, aspect=1.3, palette=style.colours(criteria),
    )  # fmt: skip
    grid.set(xscale="log", ylim=(0, None))
    numbers = sorted(shown["examples"].unique())
    for axes in grid.axes.flat:
        axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
        axes.minorticks_off()
    grid.set_axis_labels(style.LABELS["examples"], style.LABELS.get(value, value))
    grid.set_titles("{col_name}")
    grid.legend.set_title("")
    return grid.figure
