"""How many examples does a criterion need, and must they have labels? Where curves cross, and how draws agree.

Enters: tables of summaries, or a profile with measured runs. Leaves: tidy tables, by number of examples.
"""

from collections.abc import Sequence
from itertools import combinations, product

import numpy
import pandas

from lib.study import profiles
from lib.study.columns import PANEL, RUN, read_own


def crossings(summary: pandas.DataFrame, label_free: str, labelled: Sequence[str]) -> pandas.DataFrame:
    """From how many examples on each of `labelled` is at least as good as `label_free`, run by run.

    One row per run, labelled criterion and opponent (`label_free` on as many examples, or on all that were measured):
    dataset, network, seed, criterion, against, and overtakes_at, the number of examples, found on a straight line over
    their logarithm between the last number at which it was behind and the next; "always" where it never was behind,
    "never" where it is at the largest number. Draws are averaged first; stratified ones, which need labels, are left
    out.
    """
    drawn, rows = summary[summary["sample"] == "random"], []
    for key, table in drawn.groupby(list(RUN), sort=False, observed=True):
        values = table.pivot_table(index="examples", columns="criterion", values="auc_relative").sort_index()
        free = values[label_free]
        for name, (against, level) in product(labelled, {"as many": free, "all": free.iloc[-1]}.items()):
            row = dict(zip(RUN, key, strict=True)) | {
                "criterion": name,
                "against": f"{label_free} on {against}",
            }
            rows.append(row | {"overtakes_at": _overtakes_at((values[name] - level).dropna())})
    return pandas.DataFrame(rows)


def _overtakes_at(lead: pandas.Series) -> str:
    behind = numpy.flatnonzero(lead < 0)
    if not len(behind):
        return "always"
    last = behind[-1]
    if last == len(lead) - 1:
        return "never"
    around = lead.iloc[last : last + 2]
    return f"{numpy.exp(numpy.interp(0, around, numpy.log(around.index))):.0f}"


def draw_differences(summary: pandas.DataFrame) -> pandas.DataFrame:
    """How much relative auc differs between draws of equally many examples, where there are several: dataset, network,
    examples, sample, criterion and draw_sd (the standard deviation over draws; root mean square over runs)."""
    keys = [*PANEL, "examples", "sample", "criterion"]
    spread = summary.groupby([*keys, "seed"], observed=True)["auc_relative"].std().dropna()
    return numpy.sqrt((spread**2).groupby(keys).mean()).rename("draw_sd").reset_index()


def draw_agreement(plan: profiles.Profile, criteria: Sequence[str]) -> pandas.DataFrame:
    """Spearman correlation of the scores from different draws of equally many examples: mean over pairs of draws and
    runs.

    Columns: dataset, network, examples, sample, criterion, pairs (their number), spearman.
    """
    rows = []
    for run in plan.runs:
        scores = read_own(run, run.scores, filters=[("criterion", "in", list(criteria))])
        for (examples, sample, criterion), table in scores.groupby(["examples", "sample", "criterion"], observed=True):
            draws = table.pivot_table(index="unit", columns="draw", values="score")
            ranked = draws.rank()
            for a, b in combinations(ranked, 2):
                rho = numpy.corrcoef(ranked[a], ranked[b])[0, 1]
                rows.append(
                    {
                        "dataset": run.dataset,
                        "network": run.network,
                        "examples": examples,
                        "sample": sample,
                        "criterion": criterion,
                        "spearman": rho,
                    }
                )
    keys = [*PANEL, "examples", "sample", "criterion"]
    table = pandas.DataFrame(rows, columns=[*keys, "spearman"])
    return table.groupby(keys, observed=True)["spearman"].agg(pairs="size", spearman="mean").reset_index()
