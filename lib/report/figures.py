"""Figures: what tidy tables look like. One look for all of them, readable in grey and for the colour-blind.

Enters: tables of `study.measurements` and `statistics`. Leaves: matplotlib figures, saved as PNG (for pages) and SVG
beside it. Criteria differ by colour, dash and marker alike. Bands and bars show the range over runs where there
are few of them.
"""

import math
import os
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy
import pandas
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from lib.report import pictures, tables

_ALWAYS = ("sq:rand:norm", "sq:norm", "taylorfo", "l2", "random")  # have colours of their own in every figure
_MARKERS = "osD^vPX"
_DASHES = ((1, 0), (4, 1.5), (1, 1), (3, 1, 1.5, 1), (5, 1, 1, 1), (5, 1, 2, 1, 2, 1), (2, 2, 3, 1.5))
_BAND = {"errorbar": ("pi", 100), "err_kws": {"alpha": 0.12, "linewidth": 0}}  # the range of the runs
LABELS = {
    "accuracy": "test accuracy (%)",
    "auc_relative": "relative auc",
    "auc": "auc",
    "share": "units switched off (%)",
    "examples": "examples at hand",
    "criterion": "criterion",
    "spearman": "rank correlation (Spearman)",
    "oracle": "with the change of",
    "classes": "classes in the set",
}


def theme() -> None:
    """Sets the look; called first thing by every notebook that draws."""
    import seaborn  # takes seconds to import

    settings = {
        "figure.dpi": 110,
        "savefig.dpi": 120,
        "svg.hashsalt": "study",
        "svg.fonttype": "none",  # text stays text, to be searched and restyled, at half the size
        "axes.titlesize": "medium",
        "legend.frameon": False,
    }
    seaborn.set_theme("notebook", "whitegrid", "colorblind", rc=settings)


def save(figure: Figure, folder: Path, name: str, *, shown: bool = True) -> None:
    """Writes `<folder>/<name>.png` and `.svg`, aside first; the same figure gives the same bytes.

    Arguments:
        shown: whether the notebook's cell shows the figure too, as Jupyter does with all that are open at its end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        aside = folder / f"{name}.part.{kind}"
        figure.savefig(aside, bbox_inches="tight", metadata=metadata)
        smaller = {"png": pictures.shrunk, "svg": pictures.trimmed}[kind]
        aside.write_bytes(smaller(aside.read_bytes()))
        os.replace(aside, folder / f"{name}.{kind}")
    if not shown:
        pyplot.close(figure)


def curves(table: pandas.DataFrame, criteria: Sequence[str], *, reference: pandas.DataFrame | None = None) -> Figure:
    """Pruning curves: a row per data set and network, a column per number of examples, a line per criterion.

    The line is the mean over runs, the band their range. `reference` may hold other curves of the same columns (the
    paper's); they are drawn as open markers.
    """
    import seaborn

    shown = _with_panels(table[table["criterion"].isin(criteria)])
    look = {"hue": "criterion", "style": "criterion", "hue_order": criteria, "style_order": criteria, "dashes": True}
    look["palette"] = _colours(criteria)
    grid = seaborn.relplot(
        shown, x="share", y="percent", row="panel", col="examples", kind="line", markers=False, **_BAND,
        height=2.7, aspect=1.35, **look,
    )  # fmt: skip
    if reference is not None:
        _add_reference(grid, _with_panels(reference[reference["criterion"].isin(criteria)]), criteria)
    grid.set_axis_labels(LABELS["share"], LABELS["accuracy"])
    for (panel, examples), axes in grid.axes_dict.items():
        axes.set_title(f"{panel}, {examples:,} examples")
        axes.set_xticks(range(0, 50, 10))
    grid.set(xlim=(0, 50), ylim=(0, None))
    grid.legend.set_title("")
    return grid.figure


def intervals(table: pandas.DataFrame, criteria: Sequence[str], *, xlabel: str) -> Figure:
    """The curves of `analysis.along`: a row per data set and network, a column per number of examples, a line per
    criterion, which is the mean over runs, with bars, which are its 95 % intervals; side by side, lest they hide each
    other."""
    shown = _with_panels(table[table["criterion"].isin(criteria)])
    panels, numbers = list(dict.fromkeys(shown["panel"])), sorted(shown["examples"].unique())
    size = 3.6 * len(numbers) + 2.2, 2.7 * len(panels)
    figure, grid = pyplot.subplots(len(panels), len(numbers), figsize=size, sharex=True, sharey=True, squeeze=False)
    looks = list(zip(criteria, _colours(criteria), _MARKERS, _DASHES, strict=False))
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
        axes.set_ylabel(LABELS["accuracy"])
    figure.tight_layout()
    grid[0, -1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def estimates(
    table: pandas.DataFrame, criteria: Sequence[str], *, hue: str = "examples", value: str = "auc_relative"
) -> Figure:
    """One row per criterion, best first: the mean over runs of `value` with their range, a marker and colour per
    `hue`."""
    shown = _with_panels(table[table["criterion"].isin(criteria)])
    best = list(shown.groupby("criterion")[value].mean().sort_values().index)
    levels, panels = sorted(shown[hue].unique()), list(dict.fromkeys(shown["panel"]))
    size = 4.2 * len(panels) + 2, max(0.26, 0.13 * len(levels)) * len(best) + 1
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for place, panel in zip(axes[0], panels, strict=True):
        for number, (level, colour) in enumerate(zip(levels, _palette(len(levels)), strict=True)):
            here = shown[(shown["panel"] == panel) & (shown[hue] == level)].groupby("criterion")[value]
            mean, low, high = (values.reindex(best) for values in (here.mean(), here.min(), here.max()))
            height = numpy.arange(len(best)) + 0.6 / len(levels) * ((len(levels) - 1) / 2 - number)
            look = {
                "color": colour,
                "marker": _MARKERS[number % len(_MARKERS)],
                "markersize": 5,
                "linewidth": 1.2,
                "linestyle": "none",
            }
            place.errorbar(
                mean, height, xerr=[mean - low, high - mean], label=f"{level:,}" if hue == "examples" else level, **look
            )
        place.set(
            title=panel,
            xlabel=LABELS.get(value, value),
            yticks=range(len(best)),
            yticklabels=best,
            ylim=(-0.7, len(best) - 0.3),
        )
        place.locator_params(axis="x", nbins=6)  # else figures of three decimals run into each other
    if len(levels) > 1:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), title=LABELS.get(hue, hue), loc="outside right upper")
    return figure


def by_layer(table: pandas.DataFrame, criteria: Sequence[str], *, oracle: str) -> Figure:
    """Rank correlation with one oracle within each layer, as shades: a panel per data set and network, a row per
    criterion, a column per layer in the order in which they run; empty where a ranking is constant."""
    import seaborn

    shown = _with_panels(table[(table["oracle"] == oracle) & table["criterion"].isin(criteria)])
    panels = list(dict.fromkeys(shown["panel"]))
    figure, grid = pyplot.subplots(
        1,
        len(panels),
        figsize=(4.6 * len(panels) + 1.5, 0.26 * len(criteria) + 1.6),
        squeeze=False,
        layout="constrained",
    )
    for axes, panel in zip(grid[0], panels, strict=True):
        here = shown[shown["panel"] == panel].pivot_table(
            index="criterion", columns="layer", values="spearman", sort=False, dropna=False
        )
        order = [name for name in criteria if name in here.index]
        bar = {"cbar": panel == panels[-1], "cbar_kws": {"label": LABELS["spearman"]}}
        seaborn.heatmap(here.loc[order], ax=axes, vmin=-1, vmax=1, cmap="cividis", linewidths=0.5, **bar)
        axes.set(title=panel, xlabel="layer", ylabel="", xticks=axes.get_xticks())
        axes.tick_params(axis="x", rotation=90)
        if panel != panels[0]:
            axes.set_yticklabels([])
    return figure


def by_examples(table: pandas.DataFrame, criteria: Sequence[str], *, value: str = "auc_relative") -> Figure:
    """How `value` grows with the number of examples (logarithmic), a line per criterion, a panel per data set and
    network."""
    import seaborn

    shown = _with_panels(table[table["criterion"].isin(criteria)])
    grid = seaborn.relplot(
        shown, x="examples", y=value, hue="criterion", style="criterion", hue_order=criteria, style_order=criteria,
        col="panel", kind="line", markers=True, **_BAND, height=3.2, aspect=1.3,
    )  # fmt: skip
    grid.set(xscale="log")
    numbers = sorted(shown["examples"].unique())
    for axes in grid.axes.flat:
        axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
        axes.minorticks_off()
    grid.set_axis_labels(LABELS["examples"], LABELS.get(value, value))
    grid.set_titles("{col_name}")
    grid.legend.set_title("")
    return grid.figure


def against(table: pandas.DataFrame, x: str, y: str, *, hue: str, xlabel: str, ylabel: str) -> Figure:
    """A scatter of column `y` against `x` with the diagonal, colour and marker by the numbers in `hue`."""
    import seaborn

    figure, axes = pyplot.subplots(figsize=(4.6, 4.2))
    ends = [min(table[x].min(), table[y].min()) - 0.02, max(table[x].max(), table[y].max()) + 0.02]
    axes.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    shown = table.sort_values(hue).assign(**{hue: lambda rows: rows[hue].map("{:,}".format)})
    seaborn.scatterplot(shown, x=x, y=y, hue=hue, style=hue, palette=_palette(shown[hue].nunique()), ax=axes)
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=ends, ylim=ends, aspect="equal")
    seaborn.move_legend(axes, "center left", bbox_to_anchor=(1, 0.5), title=LABELS.get(hue, hue))
    return figure


def beside_paper(table: pandas.DataFrame) -> Figure:
    """The rows of `claims.beside_paper`: a plot per contrast and data set with network, the number of examples across;
    open circles are the paper's single runs, the others the mean of ours, with their range."""
    shown = _with_panels(table)
    plots = list(shown.groupby(["label", "panel"], sort=False))
    several, columns = shown["panel"].nunique() > 1, min(4, len(plots))
    lines = math.ceil(len(plots) / columns)
    size = 3.3 * columns, 2.5 * lines + 0.4
    figure, grid = pyplot.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    for axes, ((label, panel), here) in zip(grid.flat, plots, strict=False):
        _contrast_beside_paper(axes, here)
        axes.set_title(label + (f"\n{panel}" if several else ""), fontsize=10)
    for axes in grid.flat[len(plots) :]:
        axes.remove()
    figure.supxlabel(LABELS["examples"], fontsize=11)
    figure.supylabel("difference in relative auc", fontsize=11)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _contrast_beside_paper(axes: Axes, table: pandas.DataFrame) -> None:
    numbers = sorted(table["examples"].unique())
    axes.axhline(0, color="0.4", linewidth=1)
    alike, other = _palette(2)
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


def training(log: pandas.DataFrame) -> Figure:
    """Training loss and test accuracy by epoch, a colour per data set and network, a line per run."""
    shown = _with_panels(log)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
    for panel, colour in zip(shown["panel"].unique(), _palette(shown["panel"].nunique()), strict=True):
        for _, run in shown[shown["panel"] == panel].groupby("seed"):
            left.plot(run["epoch"], run["loss"], color=colour, linewidth=1)
            right.plot(run["epoch"], 100 * run["accuracy"], color=colour, linewidth=1)
        right.plot([], [], color=colour, label=panel)
    left.set(xlabel="epoch", ylabel="training loss (nats)", ylim=(0, None))
    right.set(xlabel="epoch", ylabel=LABELS["accuracy"])
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside right center")
    return figure


def _with_panels(table: pandas.DataFrame) -> pandas.DataFrame:
    shown = table.assign(panel=table["dataset"] + ", " + table["network"])
    if "pruned" in table:
        shown = shown.assign(share=100 * table["pruned"] / table["units"])
    if "accuracy" in table:
        shown = shown.assign(percent=100 * table["accuracy"])
    return shown.reset_index(drop=True)


def _add_reference(grid, reference: pandas.DataFrame, criteria: Sequence[str]) -> None:
    palette = _colours(criteria)
    for (panel, examples), axes in grid.axes_dict.items():
        here = reference[(reference["panel"] == panel) & (reference["examples"] == examples)]
        for colour, criterion in zip(palette, criteria, strict=True):
            points = here[here["criterion"] == criterion]
            axes.plot(points["share"], points["percent"], "o", markersize=3, fillstyle="none", color=colour)


def _colours(criteria: Sequence[str]) -> list:
    """A colour for each, for those in most figures always the same; where there are too many for that, by their
    order."""
    if len(criteria) > 10:
        return _palette(len(criteria))
    own = [name for name in _ALWAYS if name in criteria]
    free = (place for place in range(10) if place >= len(_ALWAYS) or _ALWAYS[place] not in own)
    places = {name: _ALWAYS.index(name) if name in own else next(free) for name in [*own, *criteria]}
    return [_palette(10)[places[name]] for name in criteria]


def _palette(count: int) -> list:
    import seaborn

    return seaborn.color_palette("colorblind", count) if count <= 10 else seaborn.color_palette("husl", count)


def display_table(table: pandas.DataFrame, *, digits: int = 3, empty: str = "") -> None:
    """Shows a table in a notebook as the report will: rounded, under headers in plain words, or, where it has no rows,
    the sentence `empty` (see `lib.report.tables`)."""
    from IPython.display import Markdown, display

    display(Markdown(tables.markdown(table, digits, empty=empty)))


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
        for (kind, part), marker in zip(here.groupby("vectors"), _MARKERS, strict=False):
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


def critical_difference(ranks: pandas.DataFrame, p_values: pandas.DataFrame) -> Figure:
    """Demsar's diagram: mean ranks on a line, criteria that Nemenyi's test cannot tell apart joined by a bar."""
    from scikit_posthocs import critical_difference_diagram

    figure, axes = pyplot.subplots(figsize=(8, 0.28 * len(ranks) + 1))
    labels = {"label_fmt_left": "{label} ({rank:.1f})  ", "label_fmt_right": "  {label} ({rank:.1f})"}
    ranked = ranks.set_index("criterion")["mean_rank"]
    critical_difference_diagram(ranked, p_values, ax=axes, elbow_props={"color": "0.5"}, **labels)
    axes.set_title("mean rank over trained networks (1 is best)", pad=22)
    return figure


def cost_against_value(table: pandas.DataFrame, named: Sequence[str]) -> Figure:
    """Relative auc against milliseconds of scoring (logarithmic); the criteria in `named` by name, the others in
    grey."""
    figure, axes = pyplot.subplots(figsize=(8, 4.6))
    chosen = table["criterion"].isin(named)
    axes.plot(1000 * table["seconds"][~chosen], table["auc_relative"][~chosen], "o", markersize=4, color="0.75")
    axes.plot(1000 * table["seconds"][chosen], table["auc_relative"][chosen], "o", markersize=6)
    axes.set(xscale="log", xlabel="time to score (ms)", ylabel=LABELS["auc_relative"])
    axes.xaxis.set_major_formatter("{x:,.0f}")
    _name_points(axes, 1000 * table["seconds"], table["auc_relative"], table["criterion"].where(chosen))
    return figure


def _name_points(axes, x: pandas.Series, y: pandas.Series, named: pandas.Series) -> None:
    """Writes the name of each point that has one (else NaN) where it hides no other name, no point and no edge: to the
    right of the point or to the left, as near as can be, with a line to the point."""
    axes.figure.canvas.draw()  # settles where points are
    scale = 72 / axes.figure.dpi  # from pixels to points of type
    spots = axes.transData.transform(numpy.column_stack([x, y])) * scale
    frame = axes.get_window_extent().extents * scale
    line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.8, "shrinkA": 0}
    taken = numpy.column_stack([spots - 4, spots + 4])  # boxes: left, bottom, right, top
    tries = sorted(product((7, -7, 21, -21, 35, -35, 49, -49), range(-120, 121, 3)), key=lambda move: math.hypot(*move))
    for spot, point, name in zip(spots, zip(x, y, strict=True), named, strict=True):
        if isinstance(name, str):
            boxes = [_box(spot, aside, shift, 5.6 * len(name)) for aside, shift in tries]
            free = (number for number, box in enumerate(boxes) if _is_free(box, taken, frame))
            number = next(free, 0)
            taken = numpy.vstack([taken, boxes[number]])
            aside, shift = tries[number]
            look = {"ha": "left" if aside > 0 else "right", "va": "center", "fontsize": 9}
            look |= {"arrowprops": line} if math.hypot(aside, shift) > 10 else {}
            axes.annotate(name, point, (aside, shift), textcoords="offset points", **look)


def _box(spot: numpy.ndarray, aside: float, shift: float, width: float) -> numpy.ndarray:
    start = spot[0] + aside - (width if aside < 0 else 0)
    return numpy.array([start, spot[1] + shift - 5, start + width, spot[1] + shift + 5])


def _is_free(box: numpy.ndarray, taken: numpy.ndarray, frame: numpy.ndarray) -> bool:
    inside = (box[:2] >= frame[:2]).all() and (box[2:] <= frame[2:]).all()
    return bool(inside and not ((taken[:, :2] < box[2:]) & (box[:2] < taken[:, 2:])).all(axis=1).any())


def claims(table: pandas.DataFrame, words: Mapping[str, str], *, margin: float) -> Figure:
    """The effect of every claim, named and said in `words`, with its 95 % interval. In the rows of equivalence the loss
    that counts as none is shaded: to be supported, an interval must begin in it or right of it. Colour and marker by
    verdict."""
    table = table[table["kind"] != "rank correlation"]  # whose effect is of another kind
    looks = {"supported": ("#029e73", "o"), "contradicted": ("#d55e00", "X"), "open": ("0.5", "s")}
    figure, axes = pyplot.subplots(figsize=(7, 0.36 * len(table) + 1.2))
    axes.axvline(0, color="0.4", linewidth=1)
    for height, row in enumerate(table[::-1].itertuples()):
        colour, marker = looks[row.verdict]
        if row.kind == "equivalence":
            axes.broken_barh([(-margin, margin)], (height - 0.5, 1), color="0.85", zorder=0)
        reach = [[row.effect - row.low], [row.high - row.effect]]
        axes.errorbar(row.effect, height, xerr=reach, color=colour, marker=marker, capsize=3, linewidth=1.5)
    for verdict, (colour, marker) in looks.items():
        axes.plot([], [], marker, color=colour, label=verdict)
    named = [f"{words[claim]}  {claim}" for claim in table["claim"][::-1]]
    axes.set(yticks=range(len(table)), yticklabels=named, xlabel="difference in relative auc, 95 % interval")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="verdict")
    return figure


COSTS = {  # columns of `lib.cost` that a figure shows, as it calls them
    "multiply_adds": "multiply-adds",
    "parameters": "parameters",
    "latency_1_ms": "latency, batch 1",
    "latency_64_ms": "latency, batch 64",
    "inference_mb": "peak memory, inference",
    "training_mb": "peak memory, training",
    "step_ms": "time of a training step",
}


def savings(relative: pandas.DataFrame) -> Figure:
    """What is left of each cost (in percent of the unpruned network's) as multiply-adds go; a panel per network.

    Thin bars are the quartiles of times (columns _low and _high), where the table has them.
    """
    panels = list(relative.groupby(["dataset", "network"], sort=False))
    size = 3.9 * len(panels) + 2.2, 3.6
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    shown = [name for name in COSTS if name in relative]
    colours = [*_palette(6), "0.35"]
    looks = zip(shown, colours, _MARKERS, ["--", *["-"] * 6], strict=False)
    for column, colour, marker, dash in looks:
        for place, (_, table) in zip(axes[0], panels, strict=True):
            look = {"color": colour, "marker": marker, "linestyle": dash, "markersize": 6, "linewidth": 1.5}
            place.plot(100 * table["reached"], table[column], label=COSTS[column], **look)
            low, high = (column.replace("_ms", end) for end in ("_low", "_high"))
            if column.endswith("_ms") and low in table:
                place.vlines(100 * table["reached"], table[low], table[high], color=colour, linewidth=0.8)
    for place, (panel, _) in zip(axes[0], panels, strict=True):
        place.set(title=", ".join(panel), xlabel="multiply-adds removed (%)", ylim=(0, None))
        place.set_xticks([0, 25, 50, 75])
    axes[0, 0].set_ylabel("left of the unpruned network (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure


def recovery(table: pandas.DataFrame, criteria: Sequence[str]) -> Figure:
    """Accuracy by epoch of fine-tuning, a line per criterion (mean over runs) with the range of the runs, a panel per
    network; the dashed line is the unpruned network's."""
    import seaborn

    shown = _with_panels(table[table["criterion"].isin(criteria)])
    shown["percent"] = 100 * shown["accuracy"]
    look = {"hue": "criterion", "style": "criterion", "hue_order": criteria, "style_order": criteria, "dashes": False}
    grid = seaborn.relplot(
        shown, x="epoch", y="percent", col="panel", kind="line", markers=True, **_BAND, height=3.4, aspect=1.2,
        palette=_colours(criteria), **look,
    )  # fmt: skip
    for panel, axes in grid.axes_dict.items():
        unpruned = 100 * shown.loc[shown["panel"] == panel, "accuracy_unpruned"].mean()
        axes.axhline(unpruned, color="0.4", linestyle="--", linewidth=1)
        axes.annotate(
            "unpruned", (0.98, unpruned), (0, 3), ("axes fraction", "data"), "offset points", ha="right", fontsize=9
        )
        axes.xaxis.get_major_locator().set_params(integer=True)
    grid.set_axis_labels("epochs of fine-tuning", LABELS["accuracy"])
    grid.set_titles("{col_name}")
    grid.set(ylim=(0, 104))
    grid.legend.set_title("")
    return grid.figure


def order_change(summary: pandas.DataFrame, criteria: Sequence[str]) -> Figure:
    """The criteria's mean ranks by accuracy (1 is best) before fine-tuning, on the left, and after, on the right."""
    panels = list(summary.groupby(["dataset", "network"], sort=False))
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.6 * len(panels), 0.36 * len(criteria) + 1), squeeze=False)
    for place, (panel, table) in zip(axes[0], panels, strict=True):
        ranked = table.assign(
            **{side: table.groupby("seed")[side].rank(ascending=False) for side in ("before", "after")}
        )
        means = ranked.groupby("criterion")[["before", "after"]].mean()
        for name, colour, marker in zip(criteria, _colours(criteria), _MARKERS * 2, strict=False):
            place.plot([0, 1], means.loc[name], color=colour, marker=marker, markersize=6, linewidth=1.5)
        for side, (column, align) in enumerate((("before", "right"), ("after", "left"))):
            for name, height in _apart(means[column].sort_values(), 0.42).items():
                place.text(side + (0.05 if side else -0.05), height, name, ha=align, va="center", fontsize=9)
        place.set(title=", ".join(panel), xlim=(-0.9, 1.9), ylim=(len(criteria) + 0.6, 0.4), ylabel="mean rank")
        place.set_xticks([0, 1], ["before", "after"])
        place.grid(axis="y", visible=False)
    figure.tight_layout()
    return figure


def _apart(heights: pandas.Series, least: float) -> pandas.Series:
    """Ascending heights, moved as little as upward pushes allow so that no two are nearer than `least`."""
    placed = heights.copy()
    for number in range(1, len(placed)):
        placed.iloc[number] = max(placed.iloc[number], placed.iloc[number - 1] + least)
    return placed - (placed - heights).mean()


def growth(table: pandas.DataFrame) -> Figure:
    """Time (left) and peak memory (right) against the number of images, a colour and marker per network, a dash per
    task."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    names, tasks = list(dict.fromkeys(table["network"])), list(dict.fromkeys(table["task"]))
    for name, colour, marker in zip(names, _palette(len(names)), _MARKERS, strict=False):
        for task, dash in zip(tasks, ("-", ":"), strict=False):
            here = table[(table["network"] == name) & (table["task"] == task)]
            look = {"color": colour, "marker": marker, "linestyle": dash, "markersize": 6, "linewidth": 1.5}
            left.plot(here["images"], here["seconds"], label=f"{name}, {task}", **look)
            right.plot(here["images"], here["peak_mb"], **look)
    numbers = sorted(table["images"].unique())
    for axes, label in ((left, "time (s)"), (right, "peak memory (MB)")):
        axes.set(xlabel="images", ylabel=label, xlim=(0, 1.05 * numbers[-1]))
        axes.set_ylim(0, 1.1 * axes.dataLim.ymax)
        axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    figure.legend(loc="outside right center")
    return figure


def benchmarks(table: pandas.DataFrame) -> Figure:
    """Times relative to the yardstick of each benchmark and network, with their quartiles; 1 is the yardstick."""
    groups = list(table.groupby(["benchmark", "network"], sort=False))
    heights = [len(rows) for _, rows in groups]
    figure, panels = pyplot.subplots(
        len(groups), figsize=(8, 0.32 * sum(heights) + 0.7 * len(groups)), squeeze=False, sharex=True,
        height_ratios=heights, layout="constrained",
    )  # fmt: skip
    for axes, ((benchmark, network), rows) in zip(panels.flat, groups, strict=True):
        places = range(len(rows))[::-1]
        reach = [rows["share"] - rows["share_low"], rows["share_high"] - rows["share"]]
        axes.errorbar(rows["share"], places, xerr=reach, fmt="o", capsize=3, color=_palette(1)[0])
        axes.axvline(1, color="0.4", linewidth=1)
        axes.set(yticks=places, yticklabels=rows["task"], ylim=(-0.6, len(rows) - 0.4), xscale="log")
        axes.set_title(f"{benchmark}: {network}", loc="left", fontsize="medium")
    axes.set_xlabel("time relative to the first of each panel")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))  # more would run into each other
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    return figure
