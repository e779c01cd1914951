"""Fine-tuning: what each criterion's shrunk network reaches when it is trained a little more, all by the same recipe.

Enters: a run with its trained checkpoint. Leaves: one tidy table per run, a row per criterion and epoch, and what
follows from it: accuracy before and after, epochs until nearly all of the accuracy is back, and whether the criteria's
order before is their order after (claim C8). The recipe is that of the run's training, shorter and with a lower peak:
shares of its epochs and learning rate, so that one setting suits every data set.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy
import pandas
import torch
from torch import Tensor, nn

from lib import importance, structure
from lib.images import datasets, training
from lib.slimming import Slimming
from lib.study import loading, profiles, rankings, sampling
from lib.study.columns import PANEL, RUN, columns_of
from lib.study.parts import Parts

CRITERIA = (  # fixed before anything was measured; a profile's measuring setting `tuned` takes the first so many
    *("sq:rand:norm", "taylorfo", "l2", "random"),
    *("sq:norm", "abs:rand:norm", "bn-scale", "molchanov-bn"),
)
NOTEBOOK = "80-cost"  # which alone reads what `measure` leaves
BUDGET = 0.5  # of all multiply-adds, removed
EXAMPLES = 1000  # training images that criteria see, at most
RECOVERED = 0.99  # of the unpruned accuracy
_KEYS = [*RUN, "criterion"]
_COLUMNS = [
    *(*_KEYS, "reached", "parameters", "multiply_adds", "accuracy_unpruned"),
    *("epoch", "accuracy", "seconds"),
]


def measure(run: profiles.Run, device: torch.device | str, parts: Parts | None = None) -> pandas.DataFrame:
    """Shrinks the run's network by half its multiply-adds as each criterion says, and fine-tunes each shrunk network.

    Arguments:
        parts: keeps what is finished, and has what an interrupted call finished: see `measurements.parts_of`.

    Returns a row per criterion and epoch, epoch 0 being before: dataset, network, seed, criterion, reached (share of
        multiply-adds removed), parameters, multiply_adds, accuracy_unpruned, epoch, accuracy, seconds (0 before). On a
        CPU accuracy is on the profile's `test_images`, and training on its `tuning_images`. No row where the profile
        has no 80-cost, since fine-tuning may take as long as all other measuring.
    """
    if NOTEBOOK not in run.plan.notebooks:
        return pandas.DataFrame(columns=_COLUMNS)
    model, settings = loading.model(run, device), run.settings["measuring"]
    sets, keep = _sets(run, device), parts.table if parts else lambda name, make: make()
    example = datasets.normalise(sets[1].images[:1], *sets[2]).to(device)
    whole, tables = structure.trace(model, example), []
    for criterion, values in score(run, model, CRITERIA[: settings["tuned"]], device).items():
        slimming = whole.plan(values, budget=BUDGET, of="macs")
        tables.append(keep(["tuned", criterion], partial(_tune, run, device, model, sets, slimming, criterion)))
    return pandas.concat(tables, ignore_index=True)


def _tune(run, device, model: nn.Module, sets, slimming: Slimming, criterion: str) -> pandas.DataFrame:
    """The rows of one criterion, after whose scores `slimming` shrinks the network."""
    train_set, test_set, moments = sets
    test_images = datasets.normalise(test_set.images, *moments).to(device)
    small = slimming.apply(model)
    before = {"epoch": 0, "accuracy": training.evaluate(small, test_images, test_set.labels), "seconds": 0.0}
    how = {"seed": run.seed, "device": device, "moments": moments}
    log = training.train(small, train_set, test_set, recipe(run.settings), **how)
    found = pandas.concat([pandas.DataFrame([before]), log[list(before)]], ignore_index=True)
    facts = {"reached": slimming.reached, "parameters": slimming.after["parameters"]}
    facts |= {"multiply_adds": slimming.after["macs"]}
    facts |= {"accuracy_unpruned": training.evaluate(model, test_images, test_set.labels)}
    return found.assign(criterion=criterion, **facts, **columns_of(run))[_COLUMNS]


def recipe(settings: Mapping[str, Mapping[str, object]]) -> training.Recipe:
    """How a run's shrunk networks are fine-tuned: as it was trained, for a share of the epochs at a share of the peak.

    Arguments:
        settings: "training" and "measuring", as of `profiles.Run.settings`.
    """
    usual, measuring = training.Recipe(**settings["training"]), settings["measuring"]
    epochs = max(1, round(measuring["tuning_epochs"] * usual.epochs))
    return replace(usual, epochs=epochs, learning_rate=measuring["tuning_rate"] * usual.learning_rate)


def score(
    run: profiles.Run, model: nn.Module, criteria: tuple[str, ...], device: torch.device | str
) -> dict[str, Tensor]:
    """Scores (N,) of the run's network by each criterion, on at most `EXAMPLES` training images."""
    data = sampling.Data.of(run, device)
    count = min(EXAMPLES, len(data.train))
    batches = data.batches(count, "random", seed=run.seed, size=run.settings["measuring"]["batch"])
    return importance.score(model, batches, criteria, seed=run.seed)


def read(plan: profiles.Profile) -> pandas.DataFrame:
    """The rows of all runs of the profile; runs that have not been made yet are made first."""
    for run in plan.runs:
        loading.complete(run)
    return pandas.concat([pandas.read_parquet(run.finetuning) for run in plan.runs], ignore_index=True)


def summary(table: pandas.DataFrame) -> pandas.DataFrame:
    """One row per run and criterion: before, after (test accuracy at the first and the last epoch), accuracy_unpruned,
    reached, and recovery: the first epoch with 99 % of the unpruned accuracy, NaN where there is none."""
    rows = []
    for key, epochs in table.groupby(_KEYS, sort=False, observed=True):
        epochs = epochs.sort_values("epoch")
        unpruned = epochs["accuracy_unpruned"].iloc[0]
        enough = epochs["epoch"][epochs["accuracy"] >= RECOVERED * unpruned]
        found = {"before": epochs["accuracy"].iloc[0], "after": epochs["accuracy"].iloc[-1]}
        found |= {"accuracy_unpruned": unpruned, "reached": epochs["reached"].iloc[0]}
        rows.append(
            dict(zip(_KEYS, key, strict=True)) | found | {"recovery": enough.min() if len(enough) else numpy.nan}
        )
    return pandas.DataFrame(rows)


def recovery(summary: pandas.DataFrame) -> pandas.DataFrame:
    """One row per data set, network and criterion, best first: mean before and after over runs, recovered (share of the
    runs with 99 % of their accuracy back) and epochs (their median, where they are; 0: it was never lost)."""
    groups = summary.groupby([*PANEL, "criterion"], sort=False, observed=True)
    found = groups.agg(
        accuracy_unpruned=("accuracy_unpruned", "mean"),
        before=("before", "mean"),
        after=("after", "mean"),
        recovered=("recovery", lambda epochs: epochs.notna().mean()),
        epochs_to_recover=("recovery", "median"),
    ).reset_index()
    return found.sort_values([*PANEL, "after", "before"], ascending=[True, True, False, False], ignore_index=True)


def orders(summary: pandas.DataFrame) -> pandas.DataFrame:
    """For every run the rank correlation over criteria of the accuracy before and after: criteria (their number),
    spearman.

    Where all criteria have the same accuracy before, or after, there is no order to keep, and the correlation counts as
    0.
    """
    rows = []
    for key, run in summary.groupby(list(RUN), sort=False, observed=True):
        rho = rankings.rank_agreement(run[["before", "after"]], ["spearman"])["spearman"].iloc[0, 1]
        rows.append(
            dict(zip(RUN, key, strict=True)) | {"criteria": len(run), "spearman": 0.0 if numpy.isnan(rho) else rho}
        )
    return pandas.DataFrame(rows)


def _sets(
    run: profiles.Run, device: torch.device | str
) -> tuple[datasets.ImageSet, datasets.ImageSet, tuple[Tensor, Tensor]]:
    """The images to train and to test on, and the moments of all training images, by which the network was trained."""
    settings, sets, moments = run.settings["measuring"], [], None
    for split, limit in (("train", "tuning_images"), ("test", "test_images")):
        images = datasets.load(run.dataset, split, run.data_folder)
        moments = moments or datasets.statistics(images.images)  # of the training set, which comes first
        if settings[limit] != "all" and torch.device(device).type == "cpu":
            kept = datasets.subset(images, min(settings[limit], len(images)), seed=0, stratified=True)
            images = replace(images, images=images.images[kept], labels=images.labels[kept])
        sets.append(images)
    return *sets, moments
