"""How much accuracy is left where units are not masked, but networks shrink, and how much of it a repair gives back?

Enters: a profile with trained runs. Leaves: tidy tables, by criterion and share of multiply-adds that goes.
"""

import copy
from collections.abc import Sequence
from functools import partial

import pandas

from lib import cost, repair, structure
from lib.images import training
from lib.study import devices, finetuning, loading, profiles, references, sampling
from lib.study.columns import PANEL, RUN, columns_of

CRITERIA = ("sq:rand:norm", "l2")
BUDGETS = (0.1, 0.2, 0.3)  # of all multiply-adds, removed
CARRIED = "accuracy_carried_over"
COLUMNS = [*RUN, "criterion", "budget", "reached", "parameters_left", "accuracy", "accuracy_repaired"]
COLUMNS += [CARRIED, "accuracy_unpruned"]


def shrunk(
    plan: profiles.Profile, criteria: Sequence[str] = CRITERIA, budgets: Sequence[float] = BUDGETS
) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Every network of the profile without some of its multiply-adds, by criteria that take no labels.

    Returns a row per run, criterion and budget: budget and reached (shares of the multiply-adds), parameters_left (the
        share), accuracy on the test images of the run's curves, accuracy_repaired after BatchNorms have been estimated
        anew, accuracy_carried_over after they have moved only by what shrinking changed (`repair.Reference`; both NaN
        without any), accuracy_unpruned; and a row for each network that is not here and each time that one cannot
        shrink: why.
    """
    rows, refused = [], references.left_out(plan).to_dict("records")
    for run in references.with_weights(plan):
        loading.complete(run)
        device = devices.pick(run.device)
        model, data = loading.model(run, device), sampling.Data.of(run, device)
        batch, images = run.settings["measuring"]["batch"], data.for_repair(run)
        accuracy = partial(training.evaluate, images=data.test_images, labels=data.test_labels, batch=batch)
        unpruned, whole = accuracy(model), cost.parameters(model)
        reference = repair.Reference(model, images, batch=batch) if repair.norms_of(model) else None
        try:
            traced = structure.trace(model, data.test_images[:1])
        except ValueError as error:
            refused.append(columns_of(run) | {"why": str(error)})
            continue
        for criterion, scores in finetuning.score(run, model, tuple(criteria), device).items():
            for budget in budgets:
                try:
                    slimming = traced.plan(scores, budget=budget, of="macs")
                    small = slimming.apply(model)
                except ValueError as error:
                    refused.append(columns_of(run) | {"why": str(error)})
                    continue
                found = {"reached": slimming.reached, "parameters_left": cost.parameters(small) / whole}
                found |= {"accuracy": accuracy(small), "accuracy_unpruned": unpruned}
                if reference:
                    carried = copy.deepcopy(small)
                    reference.repair(carried, slimming.kept)
                    repair.reestimate(small, images, batch=batch)
                    found |= {"accuracy_repaired": accuracy(small), CARRIED: accuracy(carried)}
                rows.append(columns_of(run) | {"criterion": criterion, "budget": budget} | found)
    return pandas.DataFrame(rows, columns=COLUMNS), pandas.DataFrame(refused, columns=[*RUN, "why"]).drop_duplicates()


def by_network(table: pandas.DataFrame) -> pandas.DataFrame:
    """Means of `shrunk` over the runs of a network."""
    keys = [*PANEL, "criterion", "budget"]
    return table.groupby(keys, sort=False, as_index=False)[[c for c in COLUMNS if c not in (*RUN, *keys)]].mean()
