"""How far one can go: what networks keep of their accuracy with a tenth or a quarter of the units off, by data set.

Enters: tables that notebooks save, of one profile or of several. Leaves: a Markdown table, a row per data set; and from
where on a curve falls below a share of its accuracy.
"""

from collections.abc import Sequence

import numpy
import pandas

from lib.report.words import alike
from lib.study import measurements, panels, profiles
from lib.study.claims import RECOMMENDED
from lib.study.columns import PANEL

KEPT = 0.95  # of the accuracy: as far as one would go
WEIGHTS = "l2"
BOTH = [RECOMMENDED, WEIGHTS]
NOTES = {
    "imagenet1300": "imagenet1300: images of ImageNet that are easier than its validation set as a whole, so no "
    "accuracy here is one on ImageNet."
}
_SHARES = (10, 25)  # percent of all units
_REPAIRED = 25  # where `given_back.by_criterion` has a repair


def on_most(lines: pandas.DataFrame) -> pandas.DataFrame:
    """The curves of `mean_curves.along`, over units, of both criteria on the most examples; no rows where one lacks."""
    if "criterion" not in lines or not set(BOTH) <= set(lines["criterion"]):
        return pandas.DataFrame()
    shown = lines[lines["criterion"].isin(BOTH)]
    return shown[shown["examples"] == shown.groupby(PANEL)["examples"].transform("max")]


def curves(plans: Sequence[profiles.Profile]) -> pandas.DataFrame:
    """The curves over units that these profiles have saved, of `mean_curves.along`, with the column step: how much (%)
    goes from one point to the next that was measured."""
    lines = panels.table(plans, "90-report-curves-units")
    if lines.empty:
        return lines
    steps = {
        (plan.name, run.dataset, run.network): 50 / (run.settings["measuring"]["points"] - 1)
        for plan in plans
        for run in plan.runs
    }
    return lines.assign(
        step=[steps.get(key, numpy.nan) for key in zip(*(lines[name] for name in ("panel", *PANEL)), strict=True)]
    )


def kept_until(line: pandas.DataFrame) -> float:
    """How much (%) can go before the accuracy first falls below `KEPT` of what it was; straight between two points."""
    gone, accuracy = line.sort_values("gone")[["gone", "accuracy"]].to_numpy().T
    least = KEPT * accuracy[0]
    below = accuracy < least
    if not below.any():
        return float(gone[-1])
    first = below.argmax()
    return float(numpy.interp(-least, -accuracy[[first - 1, first]], gone[[first - 1, first]]))


def until(lines: pandas.DataFrame) -> str:
    """How much (%) can go by one criterion: the least and the most of these networks; of those that are below at the
    first step already, or nowhere, no more than that: "less than 10", "more than 50". Arguments: lines: of `curves`."""
    within, before, beyond = [], [], []
    for _, line in lines.groupby(_networks(lines)):
        found, step = kept_until(line), line["step"].iloc[0]
        if found == line["gone"].max():
            beyond.append(found)
        elif found < step:
            before.append(step)
        else:
            within.append(found)
    least = f"less than {max(before):.0f}" if before else f"{min(within):.0f}" if within else ""
    most = f"more than {min(beyond):.0f}" if beyond else f"{max(within):.0f}" if within else ""
    return " to ".join(dict.fromkeys(filter(None, [least, most])))


def _networks(lines: pandas.DataFrame) -> list[str]:
    """The columns that tell networks apart."""
    return [name for name in ("panel", *PANEL) if name in lines]


def kept_with(lines: pandas.DataFrame, share: float) -> float:
    """What is left of the accuracy with so many percent of the units off, as a share of it: the mean over networks.
    Arguments: lines: of one criterion, as `on_most` has them."""
    each = lines.groupby(_networks(lines), sort=False)
    found = [(_height(line, share) / _height(line, 0), int(line["blocks"].iloc[0])) for _, line in each]
    return sum(kept * count for kept, count in found) / sum(count for _, count in found)


def _height(line: pandas.DataFrame, share: float) -> float:
    """The accuracy with so many percent of the units off; straight between two points."""
    line = line.sort_values("gone")
    return float(numpy.interp(share, line["gone"], line["accuracy"]))


def table(lines: pandas.DataFrame, repaired: pandas.DataFrame) -> str:
    """A row per data set: accuracy (%) with all units, with shares of them off, and with a repair after that, means
    over networks, and until how much (%) is off `KEPT` of it is left; by both criteria. "" where there are no curves.

    Arguments:
        lines: of `curves`.
        repaired: of `given_back.by_criterion`.
    """
    shown = on_most(lines)
    if shown.empty:
        return ""
    of, pair = f"{_SHARES[0]} % of units off", f"`{RECOMMENDED}` / `{WEIGHTS}`"
    head = ["images", "networks", "accuracy, whole", f"{of}: {pair}", *(f"{share} % off" for share in _SHARES[1:])]
    head += [f"{_REPAIRED} % off, repaired", f"{100 - 100 * KEPT:.0f} % of accuracy lost with"]
    rows = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    where = ["panel", "dataset"] if "panel" in shown else ["dataset"]
    for key, here in shown.groupby(where, sort=False):
        found = pandas.DataFrame([_of(line) for _, line in here.groupby(["network", "criterion"], sort=False)])
        means = found.loc[found.index.repeat(found["blocks"])].groupby("criterion").mean(numeric_only=True)
        kept = " / ".join(f"{until(here[here['criterion'] == name])} %" for name in BOTH)
        count = int(found["blocks"][found["criterion"] == RECOMMENDED].sum())
        cells = [key[-1], alike(here["network"].unique(), count), f"{means['whole'].mean():.1f}"]
        cells += [_pair(means[share]) for share in _SHARES]
        cells += [_after_repair(repaired, here), f"{kept} off"]
        rows.append(cells)
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = "".join(f" {NOTES[name]}" for name in dict.fromkeys(shown["dataset"]) if name in NOTES)
    said = (
        "Test accuracy in %, means over networks, on the test images that curves are evaluated on, which can be fewer "
    )
    said += "than all; on straight lines between what was measured; –: not measured."
    return f"{body}\n\n*{said}{notes}*"


def _of(line: pandas.DataFrame) -> dict[str, object]:
    """Of one curve: criterion, blocks, and accuracy (%) with nothing and with shares off."""
    height = {share: 100 * _height(line, share) for share in (0, *_SHARES)}
    first = line.iloc[0]
    return {"criterion": first["criterion"], "blocks": int(first["blocks"]), "whole": height.pop(0)} | height


def _pair(values: pandas.Series) -> str:
    return " / ".join(f"{values[name]:.1f}" for name in BOTH)


def _after_repair(repaired: pandas.DataFrame, curves: pandas.DataFrame) -> str:
    """Of the networks that these curves are of, and what they had before where not all of them were repaired."""
    if "criterion" not in repaired:
        return "–"
    own = repaired[repaired["criterion"].isin(BOTH)].merge(curves[PANEL].drop_duplicates(), on=PANEL)
    if own.empty:
        return "–"
    before = f"accuracy_{_REPAIRED}pct"
    means = 100 * measurements.on_most_examples(own).groupby("criterion")[[before, f"{before}_repaired"]].mean()
    pair, count = _pair(means[f"{before}_repaired"]), len(own[PANEL].drop_duplicates())
    some = f" ({count} with BatchNorm, before: {_pair(means[before])})"
    return pair + (some if count < len(curves[PANEL].drop_duplicates()) else "")
