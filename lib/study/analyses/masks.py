"""Where is a unit silenced? Curves with the mask after BatchNorm beside those with it in front, and the paper's own.

Enters: summaries. Leaves: a table with a row per criterion.
"""

import pandas

from lib.study.columns import PANEL

_KEYS = [*PANEL, "criterion"]


def beside(behind: pandas.DataFrame, in_front: pandas.DataFrame, theirs: pandas.DataFrame) -> pandas.DataFrame:
    """One row per data set, network and criterion that both of our summaries have, the best after BatchNorm first:
    relative auc with the mask after BatchNorm (behind) and in front of it (in_front), first draws on the most examples,
    means over runs; and paper, NaN where it has no such curve.

    Arguments:
        theirs: `paper.auc` over as many points as our curves have.
    """
    most = behind["examples"] == behind.groupby(PANEL)["examples"].transform("max")
    first = behind[most & (behind["draw"] == 0)]
    same = theirs.merge(first[[*PANEL, "examples"]].drop_duplicates())
    columns = {"behind": first, "in_front": in_front, "paper": same}
    found = pandas.DataFrame({name: rows.groupby(_KEYS)["auc_relative"].mean() for name, rows in columns.items()})
    found = found.dropna(subset=["behind", "in_front"]).reset_index()
    return found.sort_values([*PANEL, "behind"], ascending=[True, True, False], ignore_index=True)
