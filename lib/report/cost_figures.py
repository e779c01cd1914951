"""Figures of what time and memory it takes, and of what is saved.

Enters: tables of `study.shrinking`, `study.larger` and `analyses.scoring_time`, and of benchmarks. Leaves: matplotlib
figures.
"""

from collections.abc import Sequence

import pandas
from matplotlib import pyplot
from matplotlib.figure import Figure

from lib.report import placing, style

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
    colours = [*style.palette(6), "0.35"]
    looks = zip(shown, colours, style.MARKERS, ["--", *["-"] * 6], strict=False)
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


def growth(table: pandas.DataFrame) -> Figure:
    """Time (left) and peak memory (right) against the number of images, a colour and marker per network, a dash per
    task."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    names, tasks = list(dict.fromkeys(table["network"])), list(dict.fromkeys(table["task"]))
    for name, colour, marker in zip(names, style.palette(len(names)), style.MARKERS, strict=False):
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


def against_value(table: pandas.DataFrame, named: Sequence[str], images: int) -> Figure:
    """Relative auc against milliseconds of scoring so many images (logarithmic), in the colours of families; the
    criteria in `named` by name, the others pale."""
    figure, axes = pyplot.subplots(figsize=(9, 5.4), layout="constrained")
    chosen = table["criterion"].isin(named)
    families = table["criterion"].map(style.family)
    for family, colour in style.FAMILIES.items():
        for some, look in ((~chosen, {"markersize": 4, "alpha": 0.35}), (chosen, {"markersize": 8, "label": family})):
            here = table[some & (families == family)]
            if len(here):
                axes.plot(1000 * here["seconds"], here["auc_relative"], "o", color=colour, **look)
    axes.set(xlabel=f"time to score, per {images} images (ms)", ylabel=style.LABELS["auc_relative"])
    axes.set_ylim(0, 1.15 * table["auc_relative"].max())
    style.make_logarithmic(axes, "{x:,g}")
    figure.legend(loc="outside lower center", ncols=3)
    placing.names(axes, 1000 * table["seconds"], table["auc_relative"], table["criterion"].where(chosen))
    return figure


def benchmarks(table: pandas.DataFrame) -> Figure:
    """Times relative to the yardstick of each benchmark and network, with their quartiles; 1 is the yardstick, an
    orange tick what a time should be at most."""
    groups = list(table.groupby(["benchmark", "network"], sort=False))
    heights = [len(rows) for _, rows in groups]
    figure, panels = pyplot.subplots(
        len(groups), figsize=(8, 0.32 * sum(heights) + 0.7 * len(groups)), squeeze=False, sharex=True,
        height_ratios=heights, layout="constrained",
    )  # fmt: skip
    for axes, ((benchmark, network), rows) in zip(panels.flat, groups, strict=True):
        places = range(len(rows))[::-1]
        reach = [rows["share"] - rows["share_low"], rows["share_high"] - rows["share"]]
        axes.errorbar(
            rows["share"], places, xerr=reach, fmt="o", capsize=3, color=style.FAMILIES["gradients without labels"]
        )
        axes.axvline(1, color="0.4", linewidth=1)
        if "target" in rows:
            axes.plot(rows["target"], places, "|", color="#d55e00", markersize=14, markeredgewidth=2)
        axes.set(yticks=places, yticklabels=rows["task"], ylim=(-0.6, len(rows) - 0.4))
        axes.set_title(f"{benchmark}: {network}", loc="left", fontsize="medium")
    axes.set_xlabel("time relative to the first of each panel; orange: target")
    style.make_logarithmic(axes)
    return figure
