"""The paper's own curves, as numbers, to set beside ours.

Enters: data/paper/auc.csv and curves.csv, read off Figures 1 and 2 of arXiv 2310.20203 (one run per curve). Leaves:
tables with the study's column names, how well two sets of aucs agree, and what one run per curve can tell.
"""

import numpy
import pandas

from lib import pruning
from lib.scoring.batches import MINIBATCH
from lib.study import paths
from lib.study.rankings import rank_agreement
from lib.study.statistics import block_values

PANEL = ["dataset", "network", "examples"]


def curves() -> pandas.DataFrame:
    """The 256 curves: dataset, network, units (N), examples, criterion, pruned, accuracy."""
    return pandas.read_csv(paths.from_here("data/paper/curves.csv"))


def auc(points: int = 31) -> pandas.DataFrame:
    """Their summaries over so many points of each, to be set beside curves of ours with as many: dataset, network,
    units, examples, criterion, accuracy_unpruned, auc, auc_relative."""
    table, rows = pandas.read_csv(paths.from_here("data/paper/auc.csv")), []
    keys = [*PANEL, "criterion"]
    for key, curve in curves().groupby([*keys, "units"]):
        numbers = pruning.steps(key[-1], points)
        rows.append((*key[:-1], pruning.auc(numbers, numpy.interp(numbers, curve["pruned"], curve["accuracy"]))))
    found = pandas.DataFrame(rows, columns=[*keys, "auc"])
    table = table[[*PANEL, "units", "criterion", "accuracy_unpruned"]].merge(found, on=keys)
    return table.assign(auc_relative=table["auc"] / table["accuracy_unpruned"])


def without_twins(table: pandas.DataFrame) -> pandas.DataFrame:
    """Without the rows of molchanov-bn on a single minibatch, where it ranks as taylorfo does by construction."""
    twins = table["criterion"].str.startswith("molchanov-bn") & table["examples"].between(1, MINIBATCH)
    return table[~twins]


def beside(summary: pandas.DataFrame, theirs: pandas.DataFrame) -> pandas.DataFrame:
    """Our auc (mean over runs) beside the paper's, one row per panel and criterion that both have; empty where none is.

    Columns: dataset, network, examples, criterion, auc_ours, auc_paper, and both relative to the unpruned accuracy.

    Arguments:
        theirs: `auc` over as many points as our curves have.
    """
    keys = [*PANEL, "criterion"]
    ours = summary.groupby(keys, as_index=False, observed=True)[["auc", "auc_relative"]].mean()
    both = ours.merge(theirs, on=keys, suffixes=("_ours", "_paper"))
    return both[[*keys, "auc_ours", "auc_paper", "auc_relative_ours", "auc_relative_paper"]]


def agreement(both: pandas.DataFrame) -> pandas.DataFrame:
    """How alike the two order the criteria, panel by panel: criteria (their number, each ranking counted once),
    Spearman's rho, mean difference in auc (ours minus the paper's)."""
    rows = []
    for panel, table in without_twins(both).groupby(PANEL):
        rho = rank_agreement(table[["auc_ours", "auc_paper"]], ["spearman"])["spearman"].iloc[0, 1]
        found = {"criteria": len(table), "spearman": rho, "difference": (table["auc_ours"] - table["auc_paper"]).mean()}
        rows.append(dict(zip(PANEL, panel, strict=True)) | found)
    return pandas.DataFrame(rows, columns=[*PANEL, "criteria", "spearman", "difference"])


SINGLE_RUNS = [*PANEL, "blocks", "compared", "sd", "disagree", "disagree_paper", "twins", "twins_differ"]


def single_runs(summary: pandas.DataFrame, theirs: pandas.DataFrame) -> pandas.DataFrame:
    """What one run per curve can tell, as in the paper: one row per panel of the paper's that `summary` has, too.

    Columns: dataset, network, examples; blocks (our trained networks, each a single run with examples and random
    vectors of its own); compared (pairs of the paper's criteria, each ranking counted once); sd (of a pair's difference
    in relative auc, from one of our networks to another: root mean square over pairs); disagree (the share of pairs
    that one of our networks puts in the opposite order of another; mean over pairs of networks), disagree_paper (the
    same for the paper's run and one of ours); twins (pairs of the paper's curves that would be one ranking on the same
    examples and random vectors) and twins_differ (by how much their relative aucs differ all the same: root mean
    square). What takes two networks is NaN with one.
    """
    rows = []
    for panel, curves_there in theirs.groupby(PANEL, sort=False):
        curve = curves_there.set_index("criterion")["auc_relative"]
        ours = summary[(summary[PANEL] == list(panel)).all(axis=1) & summary["criterion"].isin(curve.index)]
        names = sorted(without_twins(ours)["criterion"].unique())
        if len(names) > 1:
            values = block_values(ours, names).dropna()
            twins = sorted(set(ours["criterion"]) - set(names))
            alike = numpy.array([curve[name] - curve[name.replace("molchanov-bn", "taylorfo")] for name in twins])
            found = _orders(values.to_numpy(), curve[values.columns].to_numpy())
            found |= {"twins": len(alike), "twins_differ": _rms(alike)}
            rows.append(dict(zip(PANEL, panel, strict=True)) | found)
    return pandas.DataFrame(rows, columns=SINGLE_RUNS).sort_values(PANEL, ignore_index=True)


def _orders(values: numpy.ndarray, curve: numpy.ndarray) -> dict[str, float]:
    """What `single_runs` says of values (networks, criteria) and those of the paper's curves (criteria,)."""
    first, second = numpy.triu_indices(len(curve), 1)
    ours, paper = values[:, first] - values[:, second], curve[first] - curve[second]  # (networks, pairs), (pairs,)
    found = {"blocks": len(ours), "compared": len(paper), "sd": numpy.nan, "disagree": numpy.nan}
    if len(ours) > 1:
        one, other = numpy.triu_indices(len(ours), 1)
        found |= {"sd": _rms(ours.std(axis=0, ddof=1)), "disagree": (ours[one] * ours[other] < 0).mean()}
    return found | {"disagree_paper": (ours * paper < 0).mean()}


def _rms(values: numpy.ndarray) -> float:
    return float(numpy.sqrt(numpy.square(values).mean())) if len(values) else numpy.nan
