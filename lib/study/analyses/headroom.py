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
    better than chance."""
    return _ways(summary, list(RUN))


def _ways(summary: pandas.DataFrame, by: list[str]) -> pandas.DataFrame:
    aucs = summary.pivot_table(index=by, columns="criterion", values="auc_relative", sort=False)
    there = [name for name in CEILINGS if name in aucs]
    tops = aucs[there].assign(**{FURTHEST: aucs[there].max(axis=1)})
    reach = tops.sub(aucs[CHANCE], axis=0)
    reach = reach.where(reach > 0)
    tables = [
        (1 / reach).mul(aucs[name] - aucs[CHANCE], axis=0).assign(criterion=name, auc_relative=aucs[name])
        for name in aucs
    ]
    return pandas.concat(tables).reset_index()[[*by, "criterion", "auc_relative", *there, FURTHEST]]


def means(ways: pandas.DataFrame) -> pandas.DataFrame:
    """The same of mean relative aucs over runs: one row per data set, network and criterion, the furthest first. The
    share of means, since a mean of shares hangs on runs in which there is hardly any way to go."""
    found = _ways(ways, list(PANEL))
    return found.sort_values([*PANEL, "auc_relative"], ascending=[True, True, False], ignore_index=True)
