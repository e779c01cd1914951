"""Figures: what tidy tables look like. One look for all of them, readable in grey and for the colour-blind.

Enters: tables of `lib.study` and `lib.statistics`. Leaves: matplotlib figures, saved as PNG (for pages) and SVG
beside it. Criteria differ by colour, dash and marker alike. Bands and bars show the range over runs where there
are few of them.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy
import pandas
from matplotlib import pyplot
from matplotlib.figure import Figure

from lib import tables

_MARKERS = "osD^vPX"
_BAND = {"errorbar": ("pi", 100), "err_kws": {"alpha": 0.12, "linewidth": 0}}  # the range of the runs
LABELS = {
    "accuracy": "test accuracy (%)",
    "auc_relative": "relative auc",
    "auc": "auc",
    "share": "units switched off (%)",
    "examples": "examples scored on",
    "criterion": "criterion",
    "spearman": "rank correlation (Spearman)",
    "oracle": "with the change of",
}


def theme() -> None:
    """Sets the look; called first thing by every notebook that draws."""
    import seaborn  # takes seconds to import

    settings = {
        "figure.dpi": 110,
        "savefig.dpi": 120,
        "svg.hashsalt": "study",
        "axes.titlesize": "medium",
        "legend.frameon": False,
    }
    seaborn.set_theme("notebook", "whitegrid", "colorblind", rc=settings)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Writes `<folder>/<name>.png` and `.svg`, aside first; the same figure gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        aside = folder / f"{name}.part.{kind}"
        figure.savefig(aside, bbox_inches="tight", metadata=metadata)
        if kind == "png":
            _shrink(aside)
        os.replace(aside, folder / f"{name}.{kind}")


def _shrink(png: Path) -> None:
    """To 256 colours, which no chart here exceeds by much: a third of the size."""
    from PIL import Image

    few = Image.open(png).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(png, "PNG", optimize=True)


def curves(table: pandas.DataFrame, criteria: Sequence[str], *, reference: pandas.DataFrame | None = None) -> Figure:
    """Pruning curves: a row per data set and network, a column per number of examples, a line per criterion.

    The line is the mean over runs, the band their range. `reference` may hold other curves of the same columns (the
    paper's); they are drawn as open markers.
    """
    import seaborn

    shown = _with_panels(table[table["criterion"].isin(criteria)])
    look = {"hue": "criterion", "style": "criterion", "hue_order": criteria, "style_order": criteria, "dashes": True}
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


def estimates(
    table: pandas.DataFrame, criteria: Sequence[str], *, hue: str = "examples", value: str = "auc_relative"
) -> Figure:
    """One row per criterion, best first: the mean over runs of `value` with their range, a marker and colour per
    `hue`."""
    shown = _with_panels(table[table["criterion"].isin(criteria)])
    best = list(shown.groupby("criterion")[value].mean().sort_values().index)
    levels, panels = sorted(shown[hue].unique()), list(dict.fromkeys(shown["panel"]))
    size = 4.2 * len(panels) + 2, 0.26 * len(best) + 1
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for place, panel in zip(axes[0], panels, strict=True):
        for number, (level, colour) in enumerate(zip(levels, _palette(len(levels)), strict=True)):
            here = shown[(shown["panel"] == panel) & (shown[hue] == level)].groupby("criterion")[value]
            mean, low, high = (values.reindex(best) for values in (here.mean(), here.min(), here.max()))
            height = numpy.arange(len(best)) + 0.3 * ((len(levels) - 1) / 2 - number)
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
    if len(levels) > 1:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), title=LABELS.get(hue, hue), loc="outside right upper")
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
    """A scatter of column `y` against `x` with the diagonal, colour and marker by `hue`."""
    import seaborn

    figure, axes = pyplot.subplots(figsize=(4.6, 4.2))
    ends = [min(table[x].min(), table[y].min()) - 0.02, max(table[x].max(), table[y].max()) + 0.02]
    axes.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    seaborn.scatterplot(table, x=x, y=y, hue=hue, style=hue, palette=_palette(table[hue].nunique()), ax=axes)
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=ends, ylim=ends, aspect="equal")
    seaborn.move_legend(axes, "center left", bbox_to_anchor=(1, 0.5), title=LABELS.get(hue, hue))
    return figure


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
        shown = shown.assign(share=100 * table["pruned"] / table["units"], percent=100 * table["accuracy"])
    return shown.reset_index(drop=True)


def _add_reference(grid, reference: pandas.DataFrame, criteria: Sequence[str]) -> None:
    palette = _palette(len(criteria))
    for (panel, examples), axes in grid.axes_dict.items():
        here = reference[(reference["panel"] == panel) & (reference["examples"] == examples)]
        for colour, criterion in zip(palette, criteria, strict=True):
            points = here[here["criterion"] == criterion]
            axes.plot(points["share"], points["percent"], "o", markersize=3, fillstyle="none", color=colour)


def _palette(count: int) -> list:
    import seaborn

    return seaborn.color_palette("colorblind", count) if count <= 10 else seaborn.color_palette("husl", count)


def display_table(table: pandas.DataFrame, *, digits: int = 3) -> None:
    """Shows a table in a notebook as the report will: rounded, under headers in plain words (see `lib.tables`)."""
    from IPython.display import Markdown, display

    display(Markdown(tables.markdown(table, digits)))


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
    for row in table[chosen].itertuples():
        place = (1000 * row.seconds, row.auc_relative)
        axes.annotate(row.criterion, place, (5, 4), textcoords="offset points", fontsize=9)
    axes.set(xscale="log", xlabel="time to score (ms)", ylabel=LABELS["auc_relative"])
    axes.xaxis.set_major_formatter("{x:,.0f}")
    return figure


def claims(table: pandas.DataFrame, *, margin: float) -> Figure:
    """The effect of every claim with its 95 % interval; what counts as no loss is shaded. Colour and marker by
    verdict."""
    looks = {"supported": ("#029e73", "o"), "contradicted": ("#d55e00", "X"), "open": ("0.5", "s")}
    figure, axes = pyplot.subplots(figsize=(7, 0.36 * len(table) + 1.2))
    axes.axvspan(-margin, margin, color="0.9", zorder=0)
    axes.axvline(0, color="0.4", linewidth=1)
    for height, row in enumerate(table[::-1].itertuples()):
        colour, marker = looks[row.verdict]
        reach = [[row.effect - row.low], [row.high - row.effect]]
        axes.errorbar(row.effect, height, xerr=reach, color=colour, marker=marker, capsize=3, linewidth=1.5)
    for verdict, (colour, marker) in looks.items():
        axes.plot([], [], marker, color=colour, label=verdict)
    axes.set(
        yticks=range(len(table)), yticklabels=table["claim"][::-1], xlabel="difference in relative auc, 95 % interval"
    )
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="verdict")
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
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    return figure
