"""The claims of the paper and of this study, each with the one contrast that decides it, and their verdicts.

Enters: the tables of summaries that the ablation notebooks save. Leaves: the claims table, one row a claim. The
contrasts are those of the study's design, fixed before anything was measured, but for C7, which the design leaves
to estimates and ranks: its contrast was settled after a first look at the digits. The rules of the verdicts are in
`lib.statistics`.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas

from lib import profiles, statistics
from lib.importance import MINIBATCH
from lib.study import NO_GRADIENT

_REDUCTIONS = ("taylorfo", "abs", "sq", "molchanov-bn", "molchanov-group")
_COTANGENTS = ("", ":norm", ":rand", ":rand:norm")


@dataclass(frozen=True)
class Claim:
    """`a` minus `b`, pair by pair, in column `value` of `table`; with `ends`, at the fewest examples minus at the
    most."""

    text: str
    a: tuple[str, ...]
    b: tuple[str, ...]
    kind: str = "difference"
    ends: bool = False
    table: str = "15-replication-summary"
    value: str = "auc_relative"


CLAIMS: dict[str, Claim] = {
    "C1": Claim(
        "Normalising the label gradient of each example helps",
        tuple(f"{reduction}:norm" for reduction in _REDUCTIONS),
        _REDUCTIONS,
    ),
    "C2": Claim(
        "Absolute values or squares beat the signed mean",
        tuple(f"{reduction}{cotangent}" for reduction in ("abs", "sq") for cotangent in _COTANGENTS),
        tuple(f"taylorfo{cotangent}" for cotangent in _COTANGENTS) * 2,
    ),
    "C3": Claim(
        "Random gradients lose nothing against labels",
        ("abs:rand:norm", "sq:rand:norm"),
        ("abs:norm", "sq:norm"),
        kind="equivalence",
    ),
    "C4": Claim(
        "The gain of random gradients over taylorfo is largest when examples are few",
        ("sq:rand:norm",),
        ("taylorfo",),
        ends=True,
        table="40-label-scarcity-summary",
    ),
    "C5": Claim(
        "Random, normalised gradients improve earlier methods",
        ("molchanov-bn:rand:norm", "molchanov-group:rand:norm"),
        ("molchanov-bn", "molchanov-group"),
    ),
    "C6": Claim(
        "One random vector per example is enough",
        ("sq:rand:norm",),
        ("sq:exact",),
        kind="equivalence",
    ),
    "C7": Claim(  # every criterion's own place is in 60-rivals
        "The recommended criterion, sq:rand:norm, beats the average one without gradients, raw and by layer",
        ("sq:rand:norm",) * (2 * len(NO_GRADIENT)),
        (*NO_GRADIENT, *(f"{rival}:layer" for rival in NO_GRADIENT)),
        table="60-rivals-summary",
    ),
    "C9": Claim(
        "Equal weight per example costs rare classes nothing",
        ("abs:norm", "sq:norm"),
        ("abs", "sq"),
        kind="equivalence",
        table="20-normalization-tail",
        value="auc_relative_rare",
    ),
    "C10": Claim(
        "Squares rank better than absolute values",
        tuple(f"sq{cotangent}" for cotangent in _COTANGENTS),
        tuple(f"abs{cotangent}" for cotangent in _COTANGENTS),
    ),
}


def verdicts(plan: profiles.Profile) -> pandas.DataFrame:
    """One row per claim: claim, label (its words), effect, low, high, p, blocks, smallest_p, verdict, and what else
    `statistics.compare` says.

    Raises FileNotFoundError where a notebook has not left its table, ValueError where the table lacks a criterion.
    """
    rows = []
    for name, claim in CLAIMS.items():
        summary = _without_twins(_read(plan.tables / f"{claim.table}.csv"))
        named = {"claim": name, "label": claim.text, "value": claim.value}
        if claim.ends:
            rows.append(statistics.interaction(summary, claim.a, claim.b, **named))
        else:
            rows.append(statistics.compare(summary, claim.a, claim.b, kind=claim.kind, **named))
    return pandas.DataFrame(sorted([*rows, *_order_kept(plan)], key=lambda row: int(row["claim"][1:])))


ORDER_KEPT = "What holds without fine-tuning holds after it (the effect is a mean rank correlation)"  # C8


def _order_kept(plan: profiles.Profile) -> list[dict[str, object]]:
    """The row of C8, where the profile fine-tunes: one rank correlation over criteria per block, of the accuracy before
    and after; *supported* where their mean is surely above 0."""
    if "80-cost" not in plan.notebooks:
        return []
    path = plan.tables / "80-cost-orders.csv"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run its notebook again, or make reproduce")
    table = pandas.read_csv(path)
    found = statistics.paired(table["spearman"], table["dataset"] + "/" + table["network"])
    named = {"claim": "C8", "label": ORDER_KEPT, **found, "kind": "rank correlation"}
    return [named | {"dropped": 0, "improvement": float("nan")}]


def _read(path: Path) -> pandas.DataFrame:
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run its notebook again, or make reproduce")
    table = pandas.read_csv(path)
    return table[table["sample"] != "stratified"]  # which takes labels to draw


def _without_twins(summary: pandas.DataFrame) -> pandas.DataFrame:
    """Without molchanov-bn on a single minibatch, where it ranks as taylorfo by construction."""
    twins = summary["criterion"].str.startswith("molchanov-bn") & summary["examples"].between(1, MINIBATCH)
    return summary[~twins]
