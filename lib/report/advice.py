"""What somebody who wants to prune a network like those of a profile should do, in words: sentences made of tables.

Enters: tables that notebooks save, without those that a profile has not. Leaves: Markdown, in which every number comes
from a table. Means are over trained networks, on the first draw of so many images; nothing here is tested.
"""

from itertools import takewhile

import numpy
import pandas

from lib.report.answers import BASELINES, NOTHING
from lib.report.words import listed
from lib.study import ceilings, measurements
from lib.study.analyses.scoring_time import SCORED
from lib.study.claims import RECOMMENDED
from lib.study.columns import PANEL, RUN

ENOUGH = 0.99  # of what all images give counts as all of it
KEPT = 0.95  # of the accuracy: as far as one would go
LABELS = {"sq:norm": "the same length for every image", "taylorfo": "the lengths that they have"}
PROBES = {RECOMMENDED: "1", "sq:rand@4:norm": "4", "sq:rand@16:norm": "16", "sq:exact": "one per class (`sq:exact`)"}
BY_WEIGHTS = ("l2", "l2:layer", "bn-scale:layer")


def advice(
    *,
    scarcity: pandas.DataFrame = NOTHING,
    sources: pandas.DataFrame = NOTHING,
    lines: pandas.DataFrame = NOTHING,
    free: pandas.DataFrame = NOTHING,
    repaired: pandas.DataFrame = NOTHING,
    seconds: pandas.DataFrame = NOTHING,
) -> str:
    """A Markdown list: how many images and random vectors, when labels help, when weights are enough, what a repair
    gives, what it costs.

    Arguments:
        scarcity, sources: summaries (as of `measurements.summaries`) of the notebooks on label scarcity and on what is
            sent back.
        lines: of `mean_curves.along`, over units.
        free: summaries of criteria that need no labels.
        repaired: of `given_back.by_criterion`.
        seconds: of `scoring_time.seconds`.
    """
    said = [_images(scarcity), _labels(scarcity), _vectors(sources), _weights(lines, free), _repair(repaired)]
    said += [_cost(seconds)]
    return "\n".join(f"- {sentences}" for sentences in said if sentences)


def _images(scarcity: pandas.DataFrame) -> str:
    means = _by_number(scarcity)
    if RECOMMENDED not in means:
        return ""
    own = means[RECOMMENDED].dropna()
    enough = own.index[own >= ENOUGH * own.iloc[-1]][0]
    numbers = listed(f"{number:,}" for number in own.index)
    said = f"**How many images?** `{RECOMMENDED}` on {numbers} of them has a relative auc of {_numbers(own)}"
    if enough < own.index[-1]:
        said += f": {enough:,} give {100 * own[enough] / own.iloc[-1]:.1f} % of what {own.index[-1]:,} do"
    return f"{said}."


def _labels(scarcity: pandas.DataFrame) -> str:
    means = _by_number(scarcity)
    there = [name for name in LABELS if name in means]
    if RECOMMENDED not in means or not there:
        return ""
    means = means[[*there, RECOMMENDED]].dropna()
    own, numbers = means[RECOMMENDED], [f"{number:,}" for number in means.index]
    gains = [
        f"`{name}` (label gradients with {LABELS[name]}) gains " + listed(f"{gain:+.3f}" for gain in means[name] - own)
        for name in there
    ]
    said = f"**When do labels help?** Over `{RECOMMENDED}` on {listed(numbers)} images, {'; '.join(gains)}."
    fewer = list(takewhile(lambda number: (means.loc[number, there] < own.iloc[-1]).all(), means.index[:-1]))
    if fewer:
        said += f" All {numbers[-1]} without labels are better than up to {fewer[-1]:,} with labels by {_both(there)}."
    elif len(own) > 1:
        said += f" All {numbers[-1]} without labels are no better than {numbers[0]} with labels."
    return said


def _both(names: list[str]) -> str:
    return f"either of {listed(f'`{name}`' for name in names)}" if len(names) > 1 else f"`{names[0]}`"


def _vectors(sources: pandas.DataFrame) -> str:
    means = _by_number(sources)
    there = {name: words for name, words in PROBES.items() if name in means}
    if len(there) < 2 or RECOMMENDED not in there:
        return ""
    known = means[list(there)].dropna()
    return (
        f"**How many random vectors per image?** On {known.index[-1]:,} images {listed(there.values())} have a "
        f"relative auc of {_numbers(known.iloc[-1])}; each vector takes a backward pass."
    )


def _weights(lines: pandas.DataFrame, free: pandas.DataFrame) -> str:
    if "criterion" not in lines or not {RECOMMENDED, "l2"} <= set(lines["criterion"]):
        return ""
    most = lines[lines["examples"] == lines.groupby(PANEL)["examples"].transform("max")]
    said = []
    for panel, part in most.groupby(PANEL, sort=False):
        gone = {name: _kept_until(part[part["criterion"] == name]) for name in (RECOMMENDED, "l2")}
        said.append(f"{gone[RECOMMENDED]:.1f} % of the units by `{RECOMMENDED}`, {gone['l2']:.1f} % by `l2`")
        said[-1] += f" ({', '.join(panel)})"
    answer = f"**When is the size of weights enough?** With {100 * KEPT:.0f} % of the accuracy left one can switch off "
    answer += f"{'; '.join(said)}."
    means = free.groupby("criterion")["auc_relative"].mean() if len(free) else {}
    there = [name for name in BY_WEIGHTS if name in means]
    if RECOMMENDED in means and there:
        answer += f" In relative auc {listed(f'`{name}` has {means[name]:.3f}' for name in [*there, RECOMMENDED])}."
    return answer


def _kept_until(line: pandas.DataFrame) -> float:
    """How much (%) can go before the accuracy first falls below `KEPT` of what it was; straight between two points."""
    gone, accuracy = line.sort_values("gone")[["gone", "accuracy"]].to_numpy().T
    least = KEPT * accuracy[0]
    below = accuracy < least
    if not below.any():
        return float(gone[-1])
    first = below.argmax()
    return float(numpy.interp(-least, -accuracy[[first - 1, first]], gone[[first - 1, first]]))


def _repair(repaired: pandas.DataFrame) -> str:
    if repaired.empty or RECOMMENDED not in set(repaired["criterion"]):
        return ""
    known = repaired[~repaired["criterion"].isin(ceilings.ORACLES)]  # without what is known only afterwards
    means = measurements.on_most_examples(known).groupby("criterion").mean(numeric_only=True)
    after, before, own = means["auc_relative_repaired"], means["auc_relative"], means.loc[RECOMMENDED]
    there = [name for name in (RECOMMENDED, *BASELINES) if name in means.index]
    aucs = listed(f"{after[name]:.3f} by `{name}` ({before[name]:.3f} without)" for name in there)
    kept, unkept = (100 * own[f"accuracy_25pct{end}"] / own["accuracy_unpruned"] for end in ("_repaired", ""))
    said = "**Is a repair worth it?** With BatchNorm statistics estimated anew, on images without labels, relative auc "
    said += f"is {aucs}. With 25 % of all units off by `{RECOMMENDED}` a network then keeps {kept:.0f} % of its "
    said += f"accuracy ({unkept:.0f} without)."
    if (best := after.idxmax()) != RECOMMENDED:
        said += f" Of {len(after)} criteria with repair, the best, `{best}`, has {after[best]:.3f}."
    return said


def _cost(seconds: pandas.DataFrame) -> str:
    by_name = seconds.set_index("criterion")["seconds"] if len(seconds) else pandas.Series(dtype=float)
    there = [name for name in (RECOMMENDED, "sq:exact", "synflow", "l2") if name in by_name]
    if RECOMMENDED not in there:
        return ""
    times = listed(f"{_time(by_name[name])} by `{name}`" for name in there)
    return (
        f"**What does it cost?** On up to {SCORED} images and with the first network scoring takes {times}, on the "
        "machine of this report, where other notebooks may have run."
    )


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _by_number(summary: pandas.DataFrame) -> pandas.DataFrame:
    """Mean relative auc, a row per number of images, ascending, a column per criterion that sees images."""
    if "criterion" not in summary:
        return pandas.DataFrame()
    seen = summary[(summary["sample"] == "random") & (summary["examples"] > 0)]
    runs = seen.groupby([*RUN, "examples", "criterion"], observed=True)["auc_relative"].mean().reset_index()
    return runs.pivot_table(index="examples", columns="criterion", values="auc_relative").sort_index()


def _numbers(values: pandas.Series) -> str:
    return listed(f"{value:.3f}" for value in values)
