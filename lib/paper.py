"""The paper's own curves, as numbers, to set beside ours.

Enters: data/paper/auc.csv and curves.csv, read off Figures 1 and 2 of arXiv 2310.20203 (one run per curve). Leaves:
tables with the study's column names, how well two sets of aucs agree, and what one run per curve can tell.
"""

from itertools import combinations

import numpy
import pandas
from scipy import stats

from lib import profiles
from lib.importance import MINIBATCH
from lib.statistics import LEVEL, block_values, rank_agreement

PANEL = ["dataset", "network", "examples"]


def curves() -> pandas.DataFrame:
    """The 256 curves: dataset, network, units (N), examples, criterion, pruned, accuracy."""
    return pandas.read_csv(profiles.from_here("data/paper/curves.csv"))


def auc() -> pandas.DataFrame:
    """Their summaries: dataset, network, units, examples, criterion, accuracy_unpruned, auc, accuracy_10pct, _25pct,
    _50pct, auc_relative."""
    table = pandas.read_csv(profiles.from_here("data/paper/auc.csv"))
    return table.assign(auc_relative=table["auc"] / table["accuracy_unpruned"])


def beside(summary: pandas.DataFrame) -> pandas.DataFrame:
    """Our auc (mean over runs) beside the paper's, one row per panel and criterion that both have; empty where none is.

    Columns: dataset, network, examples, criterion, auc_ours, auc_paper, and both relative to the unpruned accuracy.
    """
    keys = [*PANEL, "criterion"]
    ours = summary.groupby(keys, as_index=False, observed=True)[["auc", "auc_relative"]].mean()
    both = ours.merge(auc(), on=keys, suffixes=("_ours", "_paper"))
    return both[[*keys, "auc_ours", "auc_paper", "auc_relative_ours", "auc_relative_paper"]]


def agreement(both: pandas.DataFrame) -> pandas.DataFrame:
    """How alike the two order the criteria, panel by panel: criteria (their number), Spearman's rho, mean difference
    in auc."""
    rows = []
    for panel, table in both.groupby(PANEL):
        rho = rank_agreement(table[["auc_ours", "auc_paper"]], ["spearman"])["spearman"].iloc[0, 1]
        gap = (table["auc_ours"] - table["auc_paper"]).mean()
        rows.append(
            dict(zip(PANEL, panel, strict=True)) | {"criteria": len(table), "spearman": rho, "difference": gap}
        )
    return pandas.DataFrame(rows, columns=[*PANEL, "criteria", "spearman", "difference"])


def single_runs(summary: pandas.DataFrame) -> pandas.DataFrame:
    """What one run per curve can tell, as in the paper: one row per panel of the paper's that `summary` has, too.

    Two criteria differ by more in one run than in another, each with a trained network, examples and random vectors of
    its own, and one run cannot say by how much.

    Columns: dataset, network, examples; blocks (our trained networks); compared (pairs of the paper's criteria, without
    those that are one and the same by construction); sd (of the difference of a pair's relative aucs, from one of our
    trained networks to another: root mean square over pairs, NaN for a single network); hidden (the share of the pairs
    whose difference in the paper is below the normal 95 % quantile of that); twins (pairs of the paper's curves that
    are of one and the same ranking) and twins_differ (by how much their relative aucs differ all the same: root mean
    square).
    """
    rows, reach = [], stats.norm.ppf(1 - LEVEL / 2)
    for panel, theirs in auc().groupby(PANEL, sort=False):
        ours = summary[(summary[PANEL] == list(panel)).all(axis=1)]
        shared = sorted(set(theirs["criterion"]) & set(ours["criterion"]))
        twins, pairs = _pairs(shared, panel[-1])
        if pairs:
            values, curve = block_values(ours, shared), theirs.set_index("criterion")["auc_relative"]
            spread = pandas.Series([(values[a] - values[b]).std() for a, b in pairs])
            sd, apart = _rms(spread), numpy.array([abs(curve[a] - curve[b]) for a, b in pairs])
            found = {"blocks": len(values), "compared": len(pairs), "sd": sd}
            found |= {"hidden": (apart < reach * sd).mean() if sd == sd else numpy.nan}
            found |= {"twins": len(twins), "twins_differ": _rms([curve[a] - curve[b] for a, b in twins])}
            rows.append(dict(zip(PANEL, panel, strict=True)) | found)
    columns = [*PANEL, "blocks", "compared", "sd", "hidden", "twins", "twins_differ"]
    return pandas.DataFrame(rows, columns=columns).sort_values(PANEL, ignore_index=True)


def _pairs(criteria: list[str], examples: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Pairs of criteria that are one by construction on so many examples (a single minibatch), and all others."""
    twins = [(name, name.replace("molchanov-bn", "taylorfo")) for name in criteria if examples <= MINIBATCH]
    twins = [(a, b) for a, b in twins if a != b and b in criteria]
    rest = [name for name in criteria if name not in {twin for twin, _ in twins}]
    return twins, list(combinations(rest, 2))


def _rms(values: list[float] | pandas.Series) -> float:
    return float(numpy.sqrt(numpy.mean(numpy.square(values)))) if len(values) else numpy.nan
