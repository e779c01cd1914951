"""Contrasts that are tested together: tables of what criteria gain over others, with p adjusted for their number.

Enters: tables of summaries. Leaves: rows as of `statistics.compare`, one a pair of criteria.
"""

from collections.abc import Mapping, Sequence

import pandas

from lib.study import statistics
from lib.study.columns import PANEL


def paired(
    summary: pandas.DataFrame, pairs: Mapping[str, str], *, claim: str = "", pair_by: Sequence[str] = ("examples",)
) -> pandas.DataFrame:
    """One row per pair a: b of criteria: a minus b in relative auc, `adjusted` for the number of rows."""
    rows = [
        statistics.compare(summary, a, b, claim=claim, label=f"{a} minus {b}", pair_by=pair_by)
        for a, b in pairs.items()
    ]
    return adjusted(pandas.DataFrame(rows))


def adjusted(rows: pandas.DataFrame) -> pandas.DataFrame:
    """Rows of `statistics.compare` that are tested together, with `p_holm` (p adjusted for their number) and
    `smallest_p_holm` (the smallest that it could be with as many blocks in every row)."""
    return rows.assign(p_holm=statistics.holm(rows["p"]), smallest_p_holm=statistics.holm(rows["smallest_p"]))


def all_against_few(summary: pandas.DataFrame, label_free: str, labelled: Sequence[str]) -> pandas.DataFrame:
    """`label_free` on all examples minus each of `labelled` on every smaller number, as rows of `paired`."""
    summary = summary[summary["sample"] == "random"]
    most = summary.groupby(PANEL, observed=True)["examples"].transform("max")
    full = summary[(summary["criterion"] == label_free) & (summary["examples"] == most)]
    few = summary[summary["criterion"].isin(labelled) & (summary["examples"] < most)]
    few = few.assign(criterion=few["criterion"] + " on " + few["examples"].map("{:,}".format))
    full = full.assign(criterion=f"{label_free} on all")
    names = sorted(
        few["criterion"].unique(), key=lambda name: (name.split(" on ")[0], int(name.split(" on ")[1].replace(",", "")))
    )
    both = pandas.concat([full, few])
    rows = [
        statistics.compare(both, f"{label_free} on all", name, label=f"{label_free} on all minus {name}", pair_by=())
        for name in names
    ]
    return adjusted(pandas.DataFrame(rows))
