"""The paper's own curves, as numbers, to set beside ours.

Enters: data/paper/auc.csv and curves.csv, read off Figures 1 and 2 of arXiv 2310.20203 (one run per curve). Leaves:
tables with the study's column names, and how well two sets of aucs agree.
"""

import pandas

from lib import profiles
from lib.statistics import rank_agreement

_PANEL = ["dataset", "network", "examples"]


def curves() -> pandas.DataFrame:
    """The 256 curves: dataset, network, units (N), examples, criterion, pruned, accuracy."""
    return pandas.read_csv(profiles.from_here("data/paper/curves.csv"))


def auc() -> pandas.DataFrame:
    """Their summaries: dataset, network, units, examples, criterion, accuracy_unpruned, auc, accuracy_10pct, _25pct,
    _50pct."""
    return pandas.read_csv(profiles.from_here("data/paper/auc.csv"))


def beside(summary: pandas.DataFrame) -> pandas.DataFrame:
    """Our auc (mean over runs) beside the paper's, one row per panel and criterion that both have; empty where none is.

    Columns: dataset, network, examples, criterion, auc_ours, auc_paper, and both relative to the unpruned accuracy.
    """
    keys = [*_PANEL, "criterion"]
    ours = summary.groupby(keys, as_index=False, observed=True)[["auc", "auc_relative"]].mean()
    theirs = auc().assign(auc_relative=lambda table: table["auc"] / table["accuracy_unpruned"])
    both = ours.merge(theirs, on=keys, suffixes=("_ours", "_paper"))
    return both[[*keys, "auc_ours", "auc_paper", "auc_relative_ours", "auc_relative_paper"]]


def agreement(both: pandas.DataFrame) -> pandas.DataFrame:
    """How alike the two order the criteria, panel by panel: criteria (their number), Spearman's rho, mean difference
    in auc."""
    rows = []
    for panel, table in both.groupby(_PANEL):
        rho = rank_agreement(table[["auc_ours", "auc_paper"]], ["spearman"])["spearman"].iloc[0, 1]
        gap = (table["auc_ours"] - table["auc_paper"]).mean()
        rows.append(
            dict(zip(_PANEL, panel, strict=True)) | {"criteria": len(table), "spearman": rho, "difference": gap}
        )
    return pandas.DataFrame(rows, columns=[*_PANEL, "criteria", "spearman", "difference"])
