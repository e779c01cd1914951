"""Figures of accuracy as units go, and of what becomes of it with the number of examples.

Enters: curves of `study.measurements` and `analyses.mean_curves`, and summaries. Leaves: matplotlib figures.
"""

from collections.abc import Sequence
from itertools import product

import pandas
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.report import style


def curves(table: pandas.DataFrame, criteria: Sequence[str], *, reference: pandas.DataFrame | None = None) -> Figure:
    """Pruning curves: a row per data set and network, a column per number of examples, a line per criterion.

    The line is the mean over runs, the band their range. `reference` may hold other curves of the same columns (the
    paper's); they are drawn as open markers.
    """
    import seaborn

    shown = style.with_panels(table[table["criterion"].isin(criteria)])
    look = {"style": "criterion", "style_order": criteria, "dashes": True}
    grid = seaborn.relplot(shown, **_LINES, **_hues(criteria), **look)
    if reference is not None:
        _add_reference(grid, style.with_panels(reference[reference["criterion"].isin(criteria)]), criteria)
    grid.legend.set_title("")
    return _finished(grid)


def repaired(table: pandas.DataFrame, plain: pandas.DataFrame, criteria: Sequence[str]) -> Figure:
    """The same with repair (`table`), solid, and without (`plain`), dotted."""
    import seaborn

    both = pandas.concat([table.assign(repair="with"), plain.assign(repair="without")])
    shown = style.with_panels(both[both["criterion"].isin(criteria)])
    look = {"style": "repair", "style_order": ["with", "without"], "dashes": ["", (1, 1)]}
    return _finished(seaborn.relplot(shown, **_LINES, **_hues(criteria), **look))


_LINES = {"x": "share", "y": "percent", "row": "panel", "col": "examples", "kind": "line", "markers": False}
_LINES |= {"height": 2.7, "aspect": 1.35} | style.BAND


def _hues(criteria: Sequence[str]) -> dict[str, object]:
    return {"hue": "criterion", "hue_order": criteria, "palette": style.colours(criteria)}


def _finished(grid) -> Figure:
    grid.set_axis_labels(style.LABELS["share"], style.LABELS["accuracy"])
    for (panel, examples), axes in grid.axes_dict.items():
        axes.set_title(f"{panel}, {examples:,} examples")
        axes.set_xticks(range(0, 50, 10))
    grid.set(xlim=(0, 50), ylim=(0, None))
    return grid.figure


def _add_reference(grid, reference: pandas.DataFrame, criteria: Sequence[str]) -> None:
    palette = style.colours(criteria)
    for (panel, examples), axes in grid.axes_dict.items():
        here = reference[(reference["panel"] == panel) & (reference["examples"] == examples)]
        for colour, criterion in zip(palette, criteria, strict=True):
            points = here[here["criterion"] == criterion]
            axes.plot(points["share"], points["percent"], "o", markersize=3, fillstyle="none", color=colour)


PLAIN = {  # what a reader who knows no names is told of those that stand for all others
    "sq:rand:norm": "random gradients, no labels",
    "sq:norm": "gradients of the loss, labels",
    "taylorfo": "signed gradients (Taylor), labels",
    "l2": "size of weights",
    "random": "chance",
}
_MOST_STAMPS = 4  # of one network each; where there are more, one each is of a panel


def opening(table: pandas.DataFrame) -> Figure:
    """The curves of `PLAIN`, of `mean_curves.along` with the column panel, two beside each other: of one network on the
    fewest images and on all, of several on all; lines are means over trained networks, bands their 95 % intervals."""
    table = table[table["criterion"].isin(PLAIN)]
    stamps = _stamps(table)
    lines = -(-len(stamps) // 2)
    size = 9.0, 3.1 * lines + 0.9
    figure, grid = pyplot.subplots(lines, 2, figsize=size, squeeze=False, layout="constrained")
    looks = list(zip(PLAIN, style.colours(list(PLAIN)), style.MARKERS, strict=False))
    for axes, (title, here) in zip(grid.flat, stamps.items(), strict=False):
        for criterion, colour, marker in looks:
            line = here[here["criterion"] == criterion].groupby("gone", as_index=False)[_HEIGHTS].mean()
            _with_band(axes, line, f"{PLAIN[criterion]} ({criterion})", color=colour, marker=marker)
        axes.set(title=title, xlim=(0, 51), ylim=(0, _top(here)), xticks=range(0, 51, 10))
        axes.set(xlabel=style.LABELS["share"], ylabel=style.LABELS["accuracy"])
    for axes in grid.flat[len(stamps) :]:
        axes.remove()
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


_HEIGHTS = ["accuracy", "low", "high"]


def _stamps(table: pandas.DataFrame) -> dict[str, pandas.DataFrame]:
    """Title and curves of each small plot of `opening`."""
    where = ["panel", "dataset", "network"]
    if len(table[where].drop_duplicates()) == 1:
        numbers = table["examples"].agg(["min", "max"]).unique()
        (dataset, network) = table[where[1:]].iloc[0]
        return {
            f"{dataset}, {network}, ranked on {number:,} images": table[table["examples"] == number]
            for number in numbers
        }
    most = table[table["examples"] == table.groupby(where)["examples"].transform("max")]
    several = len(most[where].drop_duplicates()) > _MOST_STAMPS
    groups = most.groupby("panel" if several else where, sort=False)
    return {key if several else ", ".join(key[1:]): here for key, here in groups}


def _top(here: pandas.DataFrame) -> float:
    """The next ten percent above the highest accuracy."""
    return 10 * (int(10 * here["accuracy"].max()) + 1)


def _with_band(axes: Axes, line: pandas.DataFrame, label: str, **look: object) -> None:
    """A line with a marker every tenth percent, and its band, which is cut off above the accuracy with nothing off."""
    axes.plot(line["gone"], 100 * line["accuracy"], label=label, markevery=4, markersize=5, **look)
    low, high = (100 * line[end].clip(0, line["accuracy"].max()) for end in ("low", "high"))
    axes.fill_between(line["gone"], low, high, color=look["color"], alpha=0.13, linewidth=0)


def intervals(table: pandas.DataFrame, criteria: Sequence[str], *, xlabel: str) -> Figure:
    """The curves of `mean_curves.along`: a row per data set and network, a column per number of examples, a line per
    criterion, which is the mean over runs, with bars, which are its 95 % intervals; side by side, lest they hide each
    other."""
    shown = style.with_panels(table[table["criterion"].isin(criteria)])
    panels, numbers = list(dict.fromkeys(shown["panel"])), sorted(shown["examples"].unique())
    size = 3.6 * len(numbers) + 2.2, 2.7 * len(panels)
    figure, grid = pyplot.subplots(len(panels), len(numbers), figsize=size, sharex=True, sharey=True, squeeze=False)
    looks = list(zip(criteria, style.colours(criteria), style.MARKERS, style.DASHES, strict=False))
    for (panel, number), axes in zip(product(panels, numbers), grid.flat, strict=True):
        here = shown[(shown["panel"] == panel) & (shown["examples"] == number)]
        for place, (criterion, colour, marker, dashes) in enumerate(looks):
            line = here[here["criterion"] == criterion]
            axes.plot(line["gone"], line["percent"], color=colour, dashes=dashes)
            some = line[line["gone"] % 10 == 0]
            reach = (100 * (some[["low", "high"]].clip(0, 1).sub(some["accuracy"], axis=0)).abs()).T
            aside = some["gone"] + 0.8 * (place - (len(looks) - 1) / 2)
            look = {"color": colour, "marker": marker, "markersize": 4, "linestyle": "none", "elinewidth": 1}
            axes.errorbar(aside, some["percent"], yerr=reach, **look)
            axes.plot([], [], color=colour, marker=marker, markersize=4, dashes=dashes, label=criterion)
        axes.set(title=f"{panel}, {number:,} examples", xlim=(-2, 52), ylim=(0, 102))
    for axes in grid[-1]:
        axes.set_xlabel(xlabel)
    for axes in grid[:, 0]:
        axes.set_ylabel(style.LABELS["accuracy"])
    figure.tight_layout()
    grid[0, -1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def by_examples(table: pandas.DataFrame, criteria: Sequence[str], *, value: str = "auc_relative") -> Figure:
    """How `value` grows with the number of examples (logarithmic), a line per criterion, a panel per data set and
    network."""
    import seaborn

    shown = style.with_panels(table[table["criterion"].isin(criteria)])
    grid = seaborn.relplot(
        shown, x="examples", y=value, hue="criterion", style="criterion", hue_order=criteria, style_order=criteria,
        col="panel", kind="line", markers=True, **style.BAND, height=3.2, aspect=1.3,
    )  # fmt: skip
    grid.set(xscale="log")
    numbers = sorted(shown["examples"].unique())
    for axes in grid.axes.flat:
        axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
        axes.minorticks_off()
    grid.set_axis_labels(style.LABELS["examples"], style.LABELS.get(value, value))
    grid.set_titles("{col_name}")
    grid.legend.set_title("")
    return grid.figure
