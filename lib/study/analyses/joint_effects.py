"""Do units matter together? What switching off many at once changes, beside what each changes alone.

Enters: a profile with trained and scored runs. Leaves: tidy tables of ratios, and their means with an alarm.
"""

from collections.abc import Sequence

import numpy
import pandas
import torch

from lib import oracle, pruning
from lib.study import devices, loading, measurements, profiles, references, sampling
from lib.study.analyses import failures
from lib.study.columns import PANEL, RUN, columns_of, read_own

_TOGETHER = "joint over single, {:.0f} % off"
TOGETHER = _TOGETHER.format(100 * measurements.TENTH)  # column of `means` that the limit is for


def ratios(
    plan: profiles.Profile, criteria: Sequence[str], shares: Sequence[float] = (0.05, 0.1, 0.25)
) -> pandas.DataFrame:
    """Joint change of the output over the sum of single changes, with the lowest-ranked units off: see `lib.oracle`.

    Returns one row per run with weights, criterion and share of units: share (%), ratio.
    """
    tables = []
    for run in references.with_weights(plan):
        device = devices.pick(run.device)
        data, model = sampling.Data.of(run, device), loading.model(run, device)
        batches = data.batches(64, "random", seed=run.seed, size=64)
        scores = read_own(run, run.scores, filters=[("sample", "=", "random"), ("draw", "=", 0)])
        for criterion in criteria:
            table = scores[scores["criterion"] == criterion]
            most = table[table["examples"] == table["examples"].max()].sort_values("unit")
            values = torch.tensor(most["score"].to_list(), dtype=torch.float64)
            counts = [max(1, round(share * len(values))) for share in shares]
            found = oracle.interactions(model, pruning.order(values), counts, batches)
            found = found.assign(share=[100 * share for share in shares], criterion=criterion)
            tables.append(found.assign(**columns_of(run)))
    return pandas.concat(tables, ignore_index=True)[[*RUN, "criterion", "share", "ratio"]]


def means(ratios: pandas.DataFrame) -> pandas.DataFrame:
    """Their means over runs, a column for each share, and an alarm where that of a tenth reaches the limit in
    `failures.LIMITS`, which is for a tenth."""
    means = ratios.pivot_table(index=[*PANEL, "criterion"], columns="share", values="ratio", sort=False)
    means.columns = [_TOGETHER.format(share) for share in means.columns]
    alarms = numpy.where(means[TOGETHER] >= failures.LIMITS["together"], failures.ALARMS["together"], "")
    return means.assign(alarm=alarms).reset_index()
