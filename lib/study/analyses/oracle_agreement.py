"""How far do criteria agree with what each unit is really worth?

Enters: a profile with measured runs. Leaves: rank correlations with both oracles, over all units and layer by layer.
"""

from collections.abc import Iterator, Sequence

import numpy
import pandas

from lib.study import loading, profiles, rankings
from lib.study.columns import PANEL, columns_of, read_own


def by_criterion(plan: profiles.Profile) -> pandas.DataFrame:
    """Spearman correlation of every criterion with both oracles, on the most examples it was scored on.

    Returns one row per run, criterion, oracle ("loss", "output") and scope ("all units", "within layers": the mean over
    layers): spearman.
    """
    rows = []
    for here, both in _beside_the_oracle(plan):
        inside = [_spearman(part) for _, part in both.groupby("layer")]
        found = {"all units": _spearman(both), "within layers": float(numpy.nanmean(inside))}
        rows += [here | {"scope": scope, "spearman": rho} for scope, rho in found.items()]
    return pandas.DataFrame(rows)


def by_layer(plan: profiles.Profile, criteria: Sequence[str]) -> pandas.DataFrame:
    """The same within each layer, for some criteria: one row per data set, network, criterion, oracle and layer, in the
    order in which layers run: spearman (mean over runs)."""
    rows = []
    for here, both in _beside_the_oracle(plan, criteria):
        rows += [
            here | {"layer": layer, "spearman": _spearman(part)} for layer, part in both.groupby("layer", sort=False)
        ]
    table = pandas.DataFrame(rows)
    return table.groupby([*PANEL, "criterion", "oracle", "layer"], sort=False, as_index=False)["spearman"].mean()


def _beside_the_oracle(plan: profiles.Profile, criteria: Sequence[str] = ()) -> Iterator[tuple[dict, pandas.DataFrame]]:
    """Of every run, criterion and oracle: these as a dict, and a table of units with score, truth and layer."""
    for run in plan.runs:
        loading.complete(run)
        truth = read_own(run, run.oracle).set_index("unit")
        scores = read_own(run, run.scores, filters=[("sample", "=", "random"), ("draw", "=", 0)])
        for criterion, table in scores.groupby("criterion"):
            if not criteria or criterion in criteria:
                most = table[table["examples"] == table["examples"].max()].set_index("unit")["score"]
                for name in ("loss", "output"):
                    here = columns_of(run) | {"criterion": criterion, "oracle": name}
                    yield here, pandas.DataFrame({"score": most, "truth": truth[name], "layer": truth["layer"]})


def _spearman(table: pandas.DataFrame) -> float:
    return rankings.rank_agreement(table[["score", "truth"]], ["spearman"])["spearman"].iloc[0, 1]
