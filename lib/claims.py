"""The claims of the paper and of this study, each with the one contrast that decides it, and their verdicts.

Enters: summaries of pruning curves (see `lib.study.summaries`). Leaves: the claims table, one row a claim. What is
contrasted was fixed before anything was measured; the rules of the verdicts are in `lib.statistics`.
"""

from dataclasses import dataclass

import pandas

from lib import statistics

_REDUCTIONS = ("taylorfo", "abs", "sq", "molchanov-bn", "molchanov-group")
_COTANGENTS = ("", ":norm", ":rand", ":rand:norm")


@dataclass(frozen=True)
class Claim:
    """`a` minus `b`, pair by pair, in relative auc; with `ends`, at the fewest examples minus at the most."""

    text: str
    a: tuple[str, ...]
    b: tuple[str, ...]
    kind: str = "difference"
    ends: bool = False


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
    ),
    "C5": Claim(
        "Random, normalised gradients improve earlier methods",
        ("molchanov-bn:rand:norm", "molchanov-group:rand:norm"),
        ("molchanov-bn", "molchanov-group"),
    ),
    "C10": Claim(
        "Squares rank better than absolute values",
        tuple(f"sq{cotangent}" for cotangent in _COTANGENTS),
        tuple(f"abs{cotangent}" for cotangent in _COTANGENTS),
    ),
}


def verdicts(summary: pandas.DataFrame) -> pandas.DataFrame:
    """One row per claim: claim, text, effect in relative auc, its interval, p, blocks, the smallest p they could
    reach, verdict.

    Raises ValueError where a criterion that a claim needs has not been measured.
    """
    rows = []
    for name, claim in CLAIMS.items():
        named = {"claim": name, "label": claim.text}
        if claim.ends:
            rows.append(statistics.interaction(summary, claim.a, claim.b, **named))
        else:
            rows.append(statistics.compare(summary, claim.a, claim.b, kind=claim.kind, **named))
    return pandas.DataFrame(rows)
