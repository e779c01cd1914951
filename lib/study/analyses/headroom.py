"""How much of what can be had do criteria get? Their curves beside those of orders that are known only afterwards.

Enters: a profile with measured runs. Leaves: the share of the way from chance to such an order, by run and in the mean.
"""

from collections.abc import Sequence

import pandas

from lib.study import ceilings, measurements, profiles
from lib.study.columns import PANEL, RUN, read_own

CHANCE, FURTHEST = "random", "furthest"  # the baseline, and whichever order goes furthest in a run
CEILINGS = (*ceilings.ORACLES, ceilings.GREEDY)
ONCE = f"{ceilings.RESCORED}, once"  # on the images on which the greedy order scores again and again


def summaries(plan: profiles.Profile, criteria: Sequence[str]) -> pandas.DataFrame:
    """Summaries of the orders that are known only afterwards, and of `criteria` and chance on the most examples that
    they were measured on; draws are rows of their own."""
    afterwards = ceilings.read(plan).replace({"criterion": {ceilings.RESCORED: ONCE}})
    here = [("sample", "=", "random"), ("criterion", "in", [*criteria, CHANCE])]
    before = pandas.concat([read_own(run, run.curves, filters=here) for run in plan.runs])
    both = pandas.concat([measurements.on_most_examples(before), afterwards], ignore_index=True)
    return measurements.summaries(both)


def ways(summary: pandas.DataFrame) -> pandas.DataFrame:
    """How far each goes from chance to each of `CEILINGS`, and to the best of them: one row per run and criterion, with
    auc_relative (draws averaged), and a share for each ceiling, in a column of its name; NaN where a ceiling is no
    better than chance, or the run lacks one of the two."""
    aucs = summary.pivot_table(index=[*RUN], columns="criterion", values="auc_relative", sort=False)
    there = [name for name in CEILINGS if name in aucs]
    tops = aucs[there].assign(**{FURTHEST: aucs[there].max(axis=1)})
    reach = tops.sub(aucs[CHANCE], axis=0)
    reach = reach.where(reach > 0)
    tables = [
        (1 / reach).mul(aucs[name] - aucs[CHANCE], axis=0).assign(criterion=name, auc_relative=aucs[name])
        for name in aucs
    ]
    found = pandas.concat(tables).reset_index()[[*RUN, "criterion", "auc_relative", *there, FURTHEST]]
    return found.dropna(subset="auc_relative").reset_index(drop=True)


def means(ways: pandas.DataFrame) -> pandas.DataFrame:
    """The same over runs: one row per data set, network and criterion, the furthest first, auc_relative being the mean.

    A share is that of means, since a mean of shares hangs on runs in which there is hardly any way to go: all three are
    means over the runs that have the criterion, chance and the ceiling; the best ceiling is that of each run, and only
    of runs that have all which any run of the same network has.
    """
    rows = []
    for panel, here in ways.groupby([*PANEL]):
        aucs = here.pivot(index=[*RUN], columns="criterion", values="auc_relative")
        there = [name for name in CEILINGS if name in aucs]
        tops = aucs[there].assign(**{FURTHEST: aucs[there].max(axis=1, skipna=False)})
        for name in aucs:
            shares = {top: _share(aucs[name], aucs[CHANCE], tops[top]) for top in tops}
            rows.append(
                dict(zip(PANEL, panel, strict=True)) | {"criterion": name, "auc_relative": aucs[name].mean()} | shares
            )
    found = pandas.DataFrame(rows)
    columns = [*PANEL, "criterion", "auc_relative", *(name for name in CEILINGS if name in found), FURTHEST]
    return found[columns].sort_values(
        [*PANEL, "auc_relative"], ascending=[True, True, False], ignore_index=True, kind="stable"
    )


def _share(own: pandas.Series, chance: pandas.Series, top: pandas.Series) -> float:
    """Of the way from chance to the top, over the runs that have all three; NaN where there is no way up."""
    means = pandas.DataFrame({"own": own, "chance": chance, "top": top}).dropna().mean()
    reach = means["top"] - means["chance"]
    return (means["own"] - means["chance"]) / reach if reach > 0 else float("nan")
