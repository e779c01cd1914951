"""What was found, in the words and the table that the README and every report open with.

Enters: finished or published profiles, whose saved tables are all that is read. Leaves: Markdown, whose every number
comes from a table and every judgement from a verdict or from which number is larger.
"""

from collections.abc import Sequence

import pandas

from lib.report import tables
from lib.report.words import counted, listed, of_networks, signed
from lib.study import claims, panels, profiles
from lib.study.analyses import over_panels
from lib.study.columns import PANEL, RUN
from lib.study.finetuning import SETTLED, TUNED
from lib.study.statistics import TOO_FEW

OWN, WEIGHTS = claims.RECOMMENDED, "l2"
MARKS = {"supported": "✓ yes", "contradicted": "✗ no", "open": "○ open", TOO_FEW: "○ too few networks"}
_ALIKE = 0.05  # a ratio nearer to 1 is called the same


def blocks(plans: Sequence[profiles.Profile]) -> pandas.DataFrame:
    """`claims.by_block` of all these profiles, without the claims that their tables do not suffice for."""
    return pandas.concat([claims.by_block(plan, strict=False) for plan in plans], ignore_index=True)


def answer(plans: Sequence[profiles.Profile], verdicts: pandas.DataFrame) -> str:
    """The answer in one sentence, then what it rests on, what labels, fine-tuning and repair change, and its limit.

    Arguments:
        verdicts: of `claims.judged`, over the networks of these profiles.
    """
    said = [without_labels(_measured(plans)), labels(verdicts), after(panels.table(plans, "80-cost-summary"))]
    said += [repaired(verdicts), limit(plans)]
    return "\n\n".join(filter(None, said))


def _measured(plans: Sequence[profiles.Profile]) -> pandas.DataFrame:
    tables = [plan.tables / f"{name}.csv" for plan in plans for name in over_panels.TABLES]
    return over_panels.measured(plans) if any(path.exists() for path in tables) else pandas.DataFrame()


def without_labels(measured: pandas.DataFrame) -> str:
    """Whether the recommended criterion beats the size of weights, where nothing is retrained.

    Arguments:
        measured: of `over_panels.measured`.
    """
    if "criterion" not in measured or not {OWN, WEIGHTS} <= set(measured["criterion"]):
        return ""
    values = measured.pivot_table(index=["panel", *RUN], columns="criterion", values="auc_relative")
    values = values[[OWN, WEIGHTS]].dropna()
    own, weights = values.groupby("panel").mean().mean()
    ratio, ahead = own / weights, int((values[OWN] > values[WEIGHTS]).sum())
    kept = f"{ratio:.1f} times the accuracy that it keeps"
    if abs(ratio - 1) < _ALIKE:
        kept = "as much accuracy as it keeps"
    verdict = "Yes" if ratio >= 1 + _ALIKE else "Not better than by the size of weights"
    return (
        f"**{verdict}: ranked without labels, by random gradients, a network keeps {kept} when ranked by the size of "
        f"its weights.** That is as units are switched off, the least important first, and nothing is retrained: "
        f"relative auc {own:.2f} by `{OWN}` against {weights:.2f} by `{WEIGHTS}`, ahead in "
        f"{of_networks(ahead, len(values))}."
    )


def labels(verdicts: pandas.DataFrame) -> str:
    """What labels would add (C3). Arguments: verdicts: of `claims.judged`."""
    if (row := _row(verdicts, "C3")) is None:
        return ""
    found = f"random gradients were {_beside(row, 'label gradients of the same length')}"
    words = {
        "supported": f"Labels add nothing that we could see: {found}.",
        "contradicted": f"Labels do add something: {found}.",
    }
    return words.get(row["verdict"], f"Whether labels add anything is open: {found}.")


def after(tuned: pandas.DataFrame) -> str:
    """Which of both is ahead once the shrunk networks are trained a little more.

    Arguments:
        tuned: of `finetuning.summary`.
    """
    runs = _ends(tuned)
    if runs.empty:
        return ""
    means = 100 * runs.groupby(list(PANEL)).mean().mean()
    both = f"mean accuracy {means[OWN]:.1f} % by `{OWN}`, {means[WEIGHTS]:.1f} % by `{WEIGHTS}`"
    if _are_alike(runs):
        return f"**After fine-tuning both end alike**: {both}."
    best, other = sorted((OWN, WEIGHTS), key=lambda name: -means[name])
    lead = f"`{OWN}` is still ahead" if best == OWN else "the size of weights is ahead"
    return f"**After fine-tuning {lead}**, in {of_networks(int((runs[best] > runs[other]).sum()), len(runs))}: {both}."


def rank_by(tuned: pandas.DataFrame) -> str:
    """What to rank by where networks are fine-tuned. Arguments: tuned: of `finetuning.summary`."""
    runs = _ends(tuned)
    if runs.empty:
        return ""
    if _are_alike(runs):
        return f"**If you fine-tune, either will do**: `{WEIGHTS}`, which needs no images, ends where `{OWN}` does."
    best, other = (WEIGHTS, OWN) if runs[WEIGHTS].mean() > runs[OWN].mean() else (OWN, WEIGHTS)
    gap = 100 * (runs[best] - runs[other]).mean()
    return f"**If you fine-tune, rank by `{best}`**: it ended {gap:.1f} points above `{other}`."


def _ends(tuned: pandas.DataFrame) -> pandas.DataFrame:
    """Accuracy after fine-tuning, a row per trained network, budgets averaged, and a column for each of both criteria;
    without rows where they are not there."""
    tuned = tuned[tuned["training"] == TUNED] if "training" in tuned else tuned
    if "criterion" not in tuned or not {OWN, WEIGHTS} <= set(tuned["criterion"]):
        return pandas.DataFrame()
    keys = [*RUN, *(name for name in ("of", "budget") if name in tuned)]
    wide = tuned.pivot_table(index=keys, columns="criterion", values="after")
    return wide[[OWN, WEIGHTS]].dropna().groupby(list(RUN)).mean()


def _are_alike(runs: pandas.DataFrame) -> bool:
    return abs((runs[OWN] - runs[WEIGHTS]).mean()) < SETTLED


def repaired(verdicts: pandas.DataFrame) -> str:
    """Which of both is ahead where BatchNorms are estimated anew (C12). Arguments: verdicts: of `claims.judged`."""
    if (row := _row(verdicts, "C12")) is None:
        return ""
    side = _beside(row, f"`{WEIGHTS}`")
    return f"**After a repair without labels**, BatchNorm statistics estimated anew, `{OWN}` is {side}."


def limit(plans: Sequence[profiles.Profile]) -> str:
    """What all of it was measured on, and what it does not say."""
    runs = [run for plan in plans for run in plan.runs]
    where = dict.fromkeys((run.dataset, run.network) for run in runs)
    datasets = {dataset: [network for name, network in where if name == dataset] for dataset, _ in where}
    named = "; ".join(f"{dataset}: {listed(names)}" for dataset, names in datasets.items())
    toys = (
        " These images have 8x8 pixels and the networks are tiny: a first look." if set(datasets) == {"digits"} else ""
    )
    return (
        f"Measured on {counted(len(runs), 'trained network')} ({named}). It says nothing of other data and "
        f"networks.{toys}"
    )


def table(verdicts: pandas.DataFrame, where: str = "") -> str:
    """The claims as a table: claim, verdict with a mark, effect, and in how many networks it is above 0.

    Arguments:
        verdicts: of `claims.judged`.
        where: the report that the claims' names link into; by default the one that holds this table.
    """
    if verdicts.empty:
        return ""
    rows = [
        {
            "claim": f"[{row['claim']}]({where}#the-claims)",
            "what it says": tables.escape(row["label"].partition(" (")[0]),
            "holds?": MARKS[row["verdict"]] + (", close" if row["close"] else ""),
            "effect": _effect(row),
            "networks above 0": f"{int(row['ahead'])} of {int(row['blocks'])}",
        }
        for row in verdicts.to_dict("records")
    ]
    lines = [list(rows[0]), ["---", "---", "---", "---:", "---"], *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


NOTE = (
    "*Effect*: the mean difference in relative auc, where a network that loses nothing has 1; of C8 a rank "
    "correlation, "
    "of C11 a share."
)


def _effect(row: dict) -> str:
    ends = f" ({signed(row['low'])} to {signed(row['high'])})" if row["low"] == row["low"] else ""
    return f"{signed(row['effect'])}{ends}"


def _row(verdicts: pandas.DataFrame, name: str) -> dict | None:
    found = verdicts[verdicts["claim"] == name].to_dict("records") if len(verdicts) else []
    return found[0] if found else None


def _beside(row: dict, other: str) -> str:
    """By how much and in how many networks a claim's first side is ahead of the other."""
    if not round(row["effect"], 3):
        return f"level with {other}"
    ahead, blocks = int(row["ahead"]), int(row["blocks"])
    side, count = ("ahead of", ahead) if row["effect"] > 0 else ("behind", blocks - ahead)
    return f"{abs(row['effect']):.3f} {side} {other}, in {of_networks(count, blocks)}"


def speed(costs: pandas.DataFrame) -> str:
    """What is left of the time where half of the multiply-adds go, as one sentence. Arguments: costs: of
    `shrinking.costs`."""
    if "latency_64_ms" not in costs:
        return ""
    keys = ["panel", *RUN]
    whole, half = (
        costs[costs["budget"] == budget].groupby(keys)[["latency_1_ms", "latency_64_ms", "parameters"]].mean()
        for budget in (0.0, 0.5)
    )
    left = (100 * half / whole).groupby("network", sort=False).mean()
    each = (
        f"`{name}` takes {row['latency_64_ms']:.0f} % of the time for 64 images ({row['latency_1_ms']:.0f} % for one) "
        f"and {row['parameters']:.0f} % of the parameters"
        for name, row in left.iterrows()
    )
    return f"Without half of its multiply-adds {listed(each)}, on the processor that the report names."
