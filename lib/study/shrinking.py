"""What the grid's networks save when they really shrink: their costs before and after, side by side.

Enters: a profile with trained runs. Leaves: one tidy table, a row per network and share of multiply-adds removed. The
networks shrink as `sq:rand:norm` says, the criterion recommended beforehand.
"""

import re
from collections.abc import Sequence

import pandas
from torch import Tensor, nn

from lib import cost, structure
from lib.study import devices, finetuning, loading, profiles, references, sampling
from lib.study.columns import PANEL, RUN, columns_of

CRITERION = "sq:rand:norm"
BUDGETS = (0.25, 0.5, 0.75)  # of all multiply-adds, removed
WHOLE = "unpruned"
REPEATS = 30  # of every timing


def variants(
    model: nn.Module, scores: Tensor, example: Tensor, budgets: Sequence[float] = BUDGETS
) -> tuple[dict[str, nn.Module], pandas.DataFrame]:
    """The network and its shrunk copies, by name ("unpruned", "-25 %", ...), and what was removed of each.

    The table has a row per variant: variant, budget, reached (shares of multiply-adds), units_removed (share).
    """
    whole = structure.trace(model, example)
    models, rows = {WHOLE: model}, [{"variant": WHOLE, "budget": 0.0, "reached": 0.0, "units_removed": 0.0}]
    for budget in budgets:
        slimming = whole.plan(scores, budget=budget, of="macs")
        name = f"-{budget:.0%}".replace("%", " %")
        models[name] = slimming.apply(model)
        gone = 1 - slimming.after["units"] / slimming.before["units"]
        rows.append({"variant": name, "budget": budget, "reached": slimming.reached, "units_removed": gone})
    return models, pandas.DataFrame(rows)


def costs(plan: profiles.Profile) -> pandas.DataFrame:
    """Every network, of its first seed with weights, unpruned and without 25, 50 and 75 % of its multiply-adds.

    One row per network and variant: dataset, network, seed, the columns of `variants`, then those of `cost.table`.
    """
    tables = []
    first = {}
    for run in references.with_weights(plan):
        first.setdefault((run.dataset, run.network), run)
    for run in first.values():
        loading.complete(run)
        device = devices.pick(run.device)
        model, data = loading.model(run, device), sampling.Data.of(run, device)
        example = data.test_images[:1]
        scores = finetuning.score(run, model, (CRITERION,), device)[CRITERION]
        models, removed = variants(model, scores, example)
        found = removed.merge(
            cost.table(models, example, repeats=REPEATS, images=len(data.train)), on="variant", sort=False
        )
        tables.append(found.assign(**columns_of(run)))
    table = pandas.concat(tables, ignore_index=True)
    return table[[*RUN, *(name for name in table if name not in RUN)]]


def relative(costs: pandas.DataFrame, by: Sequence[str] = PANEL) -> pandas.DataFrame:
    """What is left of each cost, in percent of the unpruned network's: of its median (_ms), where it is a quartile of a
    time (_low, _high)."""
    counted = [
        name for name in costs.select_dtypes("number") if name not in (*RUN, "budget", "reached", "units_removed")
    ]
    whole = [re.sub("_(low|high)$", "_ms", name) for name in counted]
    first = costs.groupby(list(by), sort=False)[list(dict.fromkeys(whole))].transform("first")
    left = 100 * costs[counted] / first[whole].to_numpy()
    return costs.assign(**left)[[*by, "variant", "budget", "reached", *counted]]
