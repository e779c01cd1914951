"""Fine-tuning: what each criterion's shrunk network reaches when it is trained a little more, all by the same recipe.

Enters: a run with its trained checkpoint. Leaves: one tidy table per run, a row per shrunk network and epoch, and what
follows from it: accuracy before and after, whether it has settled, epochs until nearly all of the accuracy is back, and
whether the criteria's order before is their order after (claim C8).

Networks are compared within a budget: a share of the multiply-adds, or of the parameters, that all of them lose. At
equal multiply-adds some criteria keep more parameters than others, and at equal parameters more multiply-adds, so
neither comparison alone is fair, and nothing is averaged over them. The recipe is that of the run's training, shorter
and with a lower peak: shares of its epochs and learning rate, so that one setting suits every data set. Beside it, some
of the shrunk networks are trained by the same recipe without labels, on the whole network's own answers to the same
images, and some from scratch, by training's own recipe; and where multiply-adds go, some networks shrink by scores for
each multiply-add instead of by scores, which was added after a first look at other networks than the study's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy
import pandas
import torch
from torch import Tensor, nn

from lib import importance, structure
from lib.images import datasets, networks, training
from lib.shrinking.slimming import Slimming
from lib.study import loading, profiles, rankings, sampling, verification
from lib.study.columns import PANEL, RUN, columns_of, read_own
from lib.study.parts import Parts

CRITERIA = (  # fixed before anything was measured; a profile's measuring setting `tuned` takes the first so many
    *("sq:rand:norm", "l2", "l2:layer", "random"),
    *("taylorfo", "sq:norm", "sq:rand:norm:layer"),
)
TUNED, DISTILLED, FRESH = "fine-tuned", "distilled", "from scratch"  # how a shrunk network is trained
PRICED = "fine-tuned, by score for each multiply-add"  # fine-tuned, but shrunk in another order
ALSO = {  # so, too, the first so many of them
    PRICED: ("sq:rand:norm", "l2"), DISTILLED: ("sq:rand:norm", "l2"), FRESH: ("sq:rand:norm", "l2:layer"),
}  # fmt: skip
SETTINGS = {PRICED: "priced", DISTILLED: "distilled", FRESH: "scratch"}  # that say how many
NOTEBOOK = "80-cost"  # which alone reads what `measure` leaves
RESOURCES = {"macs": "multiply-adds", "parameters": "parameters"}  # what a budget may be of
EXAMPLES = 1000  # training images that criteria see, at most
RECOVERED = 0.99  # of the unpruned accuracy
SETTLED = 0.005  # in accuracy: a network that gains less in the last third of its epochs
_NETWORK = ["of", "budget", "criterion", "training"]
_BEFORE = {"of": "macs", "budget": 0.5, "training": TUNED}  # of all networks, before tables said so
_KEYS = [*RUN, *_NETWORK]
_COLUMNS = [
    *(*_KEYS, "reached", "parameters", "multiply_adds", "accuracy_unpruned"),
    *("epoch", "accuracy", "seconds"),
]


class Network(NamedTuple):
    """A shrunk network: without the share `budget` of all `of` ("macs" or "parameters"), the least important by a
    criterion first, and how it is trained (or shrunk)."""

    of: str
    budget: float
    criterion: str
    training: str = TUNED

    def in_words(self) -> str:
        return f"shrunk by {self.criterion} by {in_words(self.of, self.budget)} and {self.training}"


def wanted(settings: Mapping[str, object]) -> list[Network]:
    """The networks that a profile's measuring settings ask for; those of a budget together."""
    found = []
    for text in settings["budgets"]:
        of, share = text.split()
        found += [Network(of, float(share), name) for name in CRITERIA[: settings["tuned"]]]
        for how, criteria in ALSO.items():
            if how == PRICED and of != "macs":
                continue
            found += [Network(of, float(share), name, how) for name in criteria[: settings[SETTINGS[how]]]]
    return found


def in_words(of: str, budget: float) -> str:
    """A budget as readers are told of it: "50 % of multiply-adds"."""
    return f"{100 * budget:g} % of {RESOURCES[of]}"


def measure(
    run: profiles.Run, device: torch.device | str, parts: Parts | None = None, there: pandas.DataFrame | None = None
) -> pandas.DataFrame:
    """Shrinks the run's network to every budget as each criterion says, and trains each shrunk network.

    Arguments:
        parts: keeps what is finished, and has what an interrupted call finished: see `measurements.parts_of`.
        there: rows of networks that were trained before, and need not be again: see `differing`.

    Returns a row per network and epoch, epoch 0 being before: dataset, network, seed, of and budget (share of what is
        to go), criterion, training, reached (share that went), parameters, multiply_adds, accuracy_unpruned, epoch,
        accuracy, seconds (0 before). On a CPU accuracy is on the profile's `test_images`, and fine-tuning on its
        `tuning_images`. No row where the profile has no 80-cost, since this may take as long as all other measuring.
    """
    if NOTEBOOK not in run.plan.notebooks:
        return pandas.DataFrame(columns=_COLUMNS)
    model, sets = loading.model(run, device), _sets(run, device)
    keep, tables = parts.table if parts else lambda name, make: make(), []
    for network, slimming in _planned(run, model, sets, device):
        before = _rows_of(there, network)
        tune = partial(_tune, run, device, model, sets, slimming, network)
        tables.append(keep(["tuned", *network], tune) if before.empty else before)
    return pandas.concat(tables, ignore_index=True)


def differing(run: profiles.Run, table: pandas.DataFrame, device: torch.device | str) -> list[str]:
    """What does not agree, in words, of the networks in a table of `measure` that are asked for today.

    Shrunk again, all must have the same size, and before training the same accuracy up to `verification.IMAGES`. One
    that is not trained `FRESH`, drawn by `verification.seed`, is trained again, and must have the same accuracy after
    every epoch.
    """
    model, sets = loading.model(run, device), _sets(run, device)
    test_images, odd, there = datasets.normalise(sets[1].images, *sets[2]).to(device), [], []
    whole, images = training.evaluate(model, test_images, sets[1].labels), len(sets[1])
    for network, slimming in _planned(run, model, sets, device):
        if (rows := _rows_of(table, network)).empty:
            continue
        small = _shrunk(run, device, model, sets, slimming, network)
        now = {"accuracy": training.evaluate(small, test_images, sets[1].labels), "accuracy_unpruned": whole}
        now |= {"reached": slimming.reached}
        now |= {"parameters": slimming.after["parameters"], "multiply_adds": slimming.after["macs"]}
        was = rows.sort_values("epoch").iloc[0]
        for name, value in now.items():
            least = verification.IMAGES / images if name.startswith("accuracy") else verification.SHARES
            if not abs(was[name] - value) <= 1.0001 * least:
                odd.append(f"{network.in_words()}: {name} was {was[name]:.6g}, is {value:.6g}")
        there += [(network, slimming, rows)] if network.training != FRESH else []
    if odd or not there:
        return odd
    network, slimming, rows = there[verification.seed(run) % len(there)]
    again = _tune(run, device, model, sets, slimming, network)
    was, now = (table.sort_values("epoch")["accuracy"].to_numpy() for table in (rows, again))
    if len(was) != len(now):
        return [f"{network.in_words()}: it was trained for {len(was) - 1} epochs, and is for {len(now) - 1}"]
    off = numpy.abs(was - now) * images
    if (off.round() <= verification.IMAGES).all():
        return []
    epoch = int(off.argmax())
    return [f"{network.in_words()}: accuracy after epoch {epoch} was {was[epoch]:.6g}, is {now[epoch]:.6g}"]


def asked_for(run: profiles.Run, table: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of a table of `measure` that are of networks that are asked for today; none of a table of other code
    whose columns are others."""
    rows = [_rows_of(table, network) for network in wanted(run.settings["measuring"])]
    return pandas.concat([table[:0], *(some for some in rows if len(some))], ignore_index=True)


def lacking(run: profiles.Run, table: pandas.DataFrame) -> list[str]:
    """Which networks that are asked for today a table of `measure` has not, in words."""
    asked = wanted(run.settings["measuring"]) if NOTEBOOK in run.plan.notebooks else []
    odd = [network for network in asked if _rows_of(table, network).empty]
    return [f"{len(odd)} networks that are asked for are not there, such as one {odd[0].in_words()}"] if odd else []


def retrained(table: pandas.DataFrame) -> bool:
    """Whether `differing` trains a network of this table of `asked_for` again."""
    return bool(len(table)) and bool((table["training"] != FRESH).any())


def _planned(run, model: nn.Module, sets, device) -> Iterator[tuple[Network, Slimming]]:
    """The networks that the profile asks for, and what goes of the run's network for each."""
    example = datasets.normalise(sets[1].images[:1], *sets[2]).to(device)
    whole, asked = structure.trace(model, example), wanted(run.settings["measuring"])
    scores = score(run, model, tuple(dict.fromkeys(network.criterion for network in asked)), device)
    for network in asked:
        how = {"budget": network.budget, "of": network.of, "per_cost": network.training == PRICED}
        yield network, whole.plan(scores[network.criterion], **how)


def _rows_of(table: pandas.DataFrame | None, network: Network) -> pandas.DataFrame:
    if table is None or not set(_COLUMNS) <= set(table):
        return pandas.DataFrame()
    here = (table[name] == value for name, value in network._asdict().items())
    return table[numpy.logical_and.reduce([*here])][_COLUMNS]


def _shrunk(run, device, model: nn.Module, sets, slimming: Slimming, network: Network) -> nn.Module:
    """The smaller network, with the weights with which it starts: the trained ones, or those that another network,
    freshly initialised, has in their places."""
    if network.training != FRESH:
        return slimming.apply(model)
    channels, seed = sets[0].images.shape[1], sampling.seed_for("scratch", run.seed)
    fresh = networks.build(run.network, len(sets[0].classes), channels, seed=seed)
    return slimming.apply(fresh.to(device, memory_format=torch.channels_last).eval())


def _tune(run, device, model: nn.Module, sets, slimming: Slimming, network: Network) -> pandas.DataFrame:
    """The rows of one network, which `slimming` makes of the run's."""
    train_set, test_set, moments = sets
    test_images = datasets.normalise(test_set.images, *moments).to(device)
    small = _shrunk(run, device, model, sets, slimming, network)
    before = {"epoch": 0, "accuracy": training.evaluate(small, test_images, test_set.labels), "seconds": 0.0}
    how = {"seed": run.seed, "device": device, "moments": moments}
    if network.training == FRESH:  # as the whole network was trained: on all images, and by its recipe
        train_set = datasets.load(run.dataset, "train", run.data_folder)
    teacher = model if network.training == DISTILLED else None
    log = training.train(small, train_set, test_set, recipe(run.settings, network.training), teacher=teacher, **how)
    found = pandas.concat([pandas.DataFrame([before]), log[list(before)]], ignore_index=True)
    facts = {"reached": slimming.reached, "parameters": slimming.after["parameters"]}
    facts |= {"multiply_adds": slimming.after["macs"]}
    facts |= {"accuracy_unpruned": training.evaluate(model, test_images, test_set.labels)}
    return found.assign(**network._asdict(), **facts, **columns_of(run))[_COLUMNS]


def recipe(settings: Mapping[str, Mapping[str, object]], how: str = TUNED) -> training.Recipe:
    """How a run's shrunk networks are trained: from scratch as the whole one was, and otherwise as it was, but for a
    share of the epochs at a share of the peak.

    Arguments:
        settings: "training" and "measuring", as of `profiles.Run.settings`.
    """
    usual, measuring = training.Recipe(**settings["training"]), settings["measuring"]
    if how == FRESH:
        return usual
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
    return pandas.concat([read_own(run, run.finetuning) for run in plan.runs], ignore_index=True)


def summary(table: pandas.DataFrame) -> pandas.DataFrame:
    """One row per run and shrunk network: before, after (test accuracy at the first and the last epoch), late_gain (in
    the last third of the epochs), accuracy_unpruned, reached, parameters, multiply_adds, and recovery: the first epoch
    with 99 % of the unpruned accuracy, NaN where there is none."""
    rows = []
    for key, epochs in table.groupby(_KEYS, sort=False, observed=True):
        epochs = epochs.sort_values("epoch")
        first, accuracy = epochs.iloc[0], epochs["accuracy"]
        enough = epochs["epoch"][accuracy >= RECOVERED * first["accuracy_unpruned"]]
        third = max(1, round((len(epochs) - 1) / 3))
        found = {"before": accuracy.iloc[0], "after": accuracy.iloc[-1]}
        found |= {"late_gain": accuracy.iloc[-1] - accuracy.iloc[-1 - third]}
        found |= {name: first[name] for name in ("accuracy_unpruned", "reached", "parameters", "multiply_adds")}
        rows.append(
            dict(zip(_KEYS, key, strict=True)) | found | {"recovery": enough.min() if len(enough) else numpy.nan}
        )
    return pandas.DataFrame(rows)


def recovery(summary: pandas.DataFrame) -> pandas.DataFrame:
    """One row per data set, network, budget, criterion and training, the best of each budget first: mean before, after
    and late_gain over runs, settled (whether that gain is below `SETTLED`), recovered (share of the runs with 99 % of
    their accuracy back), epochs_to_recover (their median, where they are; 0: it was never lost), mean parameters and
    multiply_adds."""
    groups = summary.groupby([*PANEL, *_NETWORK], sort=False, observed=True)
    found = groups.agg(
        accuracy_unpruned=("accuracy_unpruned", "mean"),
        before=("before", "mean"),
        after=("after", "mean"),
        late_gain=("late_gain", "mean"),
        recovered=("recovery", lambda epochs: epochs.notna().mean()),
        epochs_to_recover=("recovery", "median"),
        parameters=("parameters", "mean"),
        multiply_adds=("multiply_adds", "mean"),
    ).reset_index()
    found.insert(list(found).index("late_gain") + 1, "settled", found["late_gain"] < SETTLED)
    by = [*PANEL, "of", "budget", "after", "before"]
    return found.sort_values(by, ascending=[True, True, True, True, False, False], ignore_index=True)


def orders(summary: pandas.DataFrame) -> pandas.DataFrame:
    """For every run and budget the rank correlations over criteria of the accuracy after with that before (spearman)
    and with what the budget leaves open of its network's size (spearman_size: parameters, where multiply-adds are
    equal, and the reverse); criteria is their number. Only networks that are `TUNED` have a part.

    Where all criteria have the same accuracy before, or after, there is no order to keep, and the correlation counts as
    0.
    """
    rows = []
    tuned = summary[summary["training"] == TUNED]
    for key, run in tuned.groupby([*RUN, "of", "budget"], sort=False, observed=True):
        named = dict(zip([*RUN, "of", "budget"], key, strict=True))
        open_size = {"macs": "parameters", "parameters": "multiply_adds"}[named["of"]]
        found = {"spearman": _agreement(run, "before"), "spearman_size": _agreement(run, open_size)}
        rows.append(named | {"criteria": len(run)} | found)
    return pandas.DataFrame(rows)


def ends(summary: pandas.DataFrame, own: str, other: str, how: str = TUNED) -> pandas.DataFrame:
    """Accuracy after fine-tuning by two criteria: a row per run, `of` and budget at which there are both, and a column
    for each of them, of `own`'s networks that are made `how` and of `other`'s that are `TUNED`."""
    keys = [*RUN, "of", "budget"]
    found = {}
    for name, made in ((own, how), (other, TUNED)):
        rows = summary[(summary["criterion"] == name) & (summary["training"] == made)]
        found[name] = rows.set_index(keys)["after"]
    return pandas.DataFrame(found).dropna()


def as_now(summary: pandas.DataFrame) -> pandas.DataFrame:
    """A `summary` with the columns of today, where it is from before budgets and ways of training could differ."""
    summary = summary.reindex(columns=[*RUN, "criterion", "after"]) if summary.empty else summary
    return summary.assign(**{name: value for name, value in _BEFORE.items() if name not in summary}).fillna(_BEFORE)


def _agreement(run: pandas.DataFrame, column: str) -> float:
    rho = rankings.rank_agreement(run[[column, "after"]], ["spearman"])["spearman"].iloc[0, 1]
    return 0.0 if numpy.isnan(rho) else rho


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
