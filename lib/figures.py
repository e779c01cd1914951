"""Figures: what tidy tables look like. One look for all of them, readable in grey and for the colour-blind.

Enters: tables of `lib.study` and `lib.statistics`. Leaves: matplotlib figures, saved as PNG (for pages) and SVG beside it.
Criteria differ by colour, dash and marker alike. Bands and bars show the range over runs where there are few of them.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy
import pandas
from matplotlib import pyplot
from matplotlib.figure import Figure

LABELS = {
    "accuracy": "test accuracy (%)",
    "auc_relative": "relative auc",
    "auc": "auc",
    "share": "units switched off (%)",
    "examples": "examples scored on",
    "criterion": "criterion",
}


def theme() -> None:
    """Sets the look; called first thing by every notebook that draws."""
    import seaborn  # takes seconds to import

    settings = {"figure.dpi": 110, "savefig.dpi": 150, "svg.hashsalt": "study", "axes.titlesize": "medium", "legend.frameon": False}
    seaborn.set_theme("notebook", "whitegrid", "colorblind", rc=settings)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Writes `<folder>/<name>.png` and `.svg`, aside first; the same figure gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        aside = folder / f"{name}.part.{kind}"
        figure.savefig(aside, bbox_inches="tight", metadata=metadata)
        os.replace(aside, folder / f"{name}.{kind}")


def curves(table: pandas.DataFrame, criteria: Sequence[str], *, reference: pandas.DataFrame | None = None) -> Figure:
    """Pruning curves: a row per data set and network, a column per number of examples, a line per criterion.

    The line is the mean over runs, the band their range. `reference` may hold other curves of the same columns (the paper's);
    they are drawn as open markers.
    """
    import seaborn

    shown = _with_panels(table[table["criterion"].isin(criteria)])
    look = {"hue": "criterion", "style": "criterion", "hue_order": criteria, "style_order": criteria, "dashes": True}
    grid = seaborn.relplot(
        shown, x="share", y="percent", row="panel", col="examples", kind="line", errorbar=("pi", 100), markers=False,
        height=2.6, aspect=1.35, facet_kws={"margin_titles": True}, **look,
    )  # fmt: skip
    if reference is not None:
        _add_reference(grid, _with_panels(reference[reference["criterion"].isin(criteria)]), criteria)
    grid.set_axis_labels(LABELS["share"], LABELS["accuracy"])
    grid.set_titles(row_template="{row_name}", col_template="{col_name} examples")
    grid.set(xlim=(0, 50), ylim=(0, None))
    grid.legend.set_title("")
    return grid.figure


def estimates(table: pandas.DataFrame, criteria: Sequence[str], *, hue: str = "examples", value: str = "auc_relative") -> Figure:
    """One line per criterion, best first: the mean over runs of `value` with their range, a marker and colour per `hue`."""
    import seaborn

    shown = _with_panels(table[table["criterion"].isin(criteria)])
    best = shown.groupby("criterion")[value].mean().sort_values(ascending=False).index
    levels = sorted(shown[hue].unique())
    grid = seaborn.catplot(
        shown, x=value, y="criterion", hue=hue, col="panel", order=best, hue_order=levels, kind="point", errorbar=("pi", 100),
        linestyle="none", dodge=0.4 if len(levels) > 1 else False, markers=list("osD^vPX")[: len(levels)], err_kws={"linewidth": 1},
        height=0.24 * len(best) + 1.4, aspect=4.6 / (0.24 * len(best) + 1.4), palette=_palette(len(levels)), legend=len(levels) > 1,
    )  # fmt: skip
    grid.set_axis_labels(LABELS.get(value, value), "")
    grid.set_titles("{col_name}")
    if grid.legend is not None:
        grid.legend.set_title(LABELS.get(hue, hue))
    return grid.figure


def by_examples(table: pandas.DataFrame, criteria: Sequence[str], *, value: str = "auc_relative") -> Figure:
    """How `value` grows with the number of examples (logarithmic), a line per criterion, a panel per data set and network."""
    import seaborn

    shown = _with_panels(table[table["criterion"].isin(criteria)])
    grid = seaborn.relplot(
        shown, x="examples", y=value, hue="criterion", style="criterion", hue_order=criteria, style_order=criteria, col="panel",
        kind="line", errorbar=("pi", 100), markers=True, height=3.2, aspect=1.3,
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


def training(log: pandas.DataFrame, title: str) -> Figure:
    """Loss and accuracy by epoch, side by side."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    left.plot(log["epoch"], log["loss"])
    left.set(xlabel="epoch", ylabel="training loss (nats)", ylim=(0, None))
    right.plot(log["epoch"], 100 * log["accuracy"])
    right.set(xlabel="epoch", ylabel=LABELS["accuracy"])
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title)
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
    """Shows a table in a notebook, rounded, as HTML and as Markdown (which the report takes up)."""
    from IPython.display import display

    shown = table.copy()
    for name in shown.select_dtypes("number"):
        shown[name] = [_number(value, digits) for value in shown[name]]
    shown = shown.fillna("").astype(str)
    header = "| " + " | ".join(map(str, shown.columns)) + " |"
    ruler = "|" + "|".join(["---:" if name in table.select_dtypes("number") else "---" for name in table.columns]) + "|"
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in shown.itertuples(index=False, name=None)]
    bundle = {"text/html": shown.to_html(index=False, border=0), "text/markdown": "\n".join([header, ruler, *lines])}
    display(bundle, raw=True)


def _number(value: float, digits: int) -> str:
    if numpy.isnan(value):
        return ""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.{digits}f}" if abs(value) >= 10**-digits or not value else f"{value:.1e}"




def concentration(lengths: pandas.DataFrame) -> Figure:
    """Lorenz-like curves: the share of all squared gradient length that the longest share of the examples holds, one line a run."""
    figure, axes = pyplot.subplots(figsize=(4.8, 3.4))
    for (dataset, network), table in lengths.groupby(["dataset", "network"]):
        colour = axes.plot([], [], label=f"{dataset}, {network}")[0].get_color()
        for _, run in table.groupby("seed"):
            weights = numpy.sort(run["length"].to_numpy() ** 2)[::-1]
            held = weights.cumsum() / weights.sum()
            axes.plot(100 * numpy.arange(1, len(held) + 1) / len(held), 100 * held, color=colour, linewidth=1)
    axes.plot([0.1, 100], [0.1, 100], color="0.6", linewidth=1, label="all alike")
    axes.set(xscale="log", xlabel="examples with the longest gradients (%)", ylabel="share of squared length (%)", ylim=(0, 102))
    axes.legend(loc="lower right")
    return figure
