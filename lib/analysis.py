"""What the ablation notebooks ask of the measured tables, beyond reading them.

Enters: a profile and tables of `lib.study`. Leaves: tidy tables of contrasts, of how examples differ, and of how rankings agree.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy
import pandas
import torch

from lib import profiles, statistics, study
from lib.criteria import label_gradient

PANEL = ["dataset", "network"]


def paired(
    summary: pandas.DataFrame, pairs: Mapping[str, str], *, claim: str = "", pair_by: Sequence[str] = ("examples",)
) -> pandas.DataFrame:
    """One row per pair a: b of criteria: a minus b in relative auc, with p also adjusted for the number of rows (`p_holm`)."""
    rows = [
        statistics.compare(summary, a, b, claim=claim, label=f"{a} minus {b}", pair_by=pair_by)
        for a, b in pairs.items()
    ]
    table = pandas.DataFrame(rows)
    return table.assign(p_holm=statistics.holm(table["p"]))


def normalisation_pairs(summary: pandas.DataFrame, normalisations: Iterable[str]) -> dict[str, str]:
    """Every criterion of the table with one of these normalisations, and the same criterion without."""
    present = list(dict.fromkeys(summary["criterion"]))
    return {
        name: name.removesuffix(f":{normalisation}")
        for normalisation in normalisations
        for name in present
        if name.endswith(f":{normalisation}") and name.removesuffix(f":{normalisation}") in present
    }


def all_against_few(summary: pandas.DataFrame, label_free: str, labelled: Sequence[str]) -> pandas.DataFrame:
    """`label_free` on all examples minus each of `labelled` on every smaller number, as rows of `paired`."""
    most = summary.groupby(PANEL, observed=True)["examples"].transform("max")
    full = summary[(summary["criterion"] == label_free) & (summary["examples"] == most)]
    few = summary[summary["criterion"].isin(labelled) & (summary["examples"] < most)]
    few = few.assign(criterion=few["criterion"] + " on " + few["examples"].map("{:,}".format))
    full = full.assign(criterion=f"{label_free} on all")
    names = sorted(
        few["criterion"].unique(), key=lambda name: (name.split(" on ")[0], int(name.split(" on ")[1].replace(",", "")))
    )
    both = pandas.concat([full, few])
    rows = [
        statistics.compare(both, f"{label_free} on all", name, label=f"{label_free} on all minus {name}", pair_by=())
        for name in names
    ]
    table = pandas.DataFrame(rows)
    return table.assign(p_holm=statistics.holm(table["p"]))


def gradient_lengths(plan: profiles.Profile, *, seed: int | None = None) -> pandas.DataFrame:
    """The length of the label gradient at the logits, one row per training image of every run: dataset, network, seed, length."""
    tables = []
    for run in plan.runs:
        study.complete(run)
        device = profiles.device(run.device)
        data, model = study.Data.of(run, device), study.load_model(run, device)
        with torch.no_grad():
            logits = torch.cat([model(images).double() for images in data.train_images.split(500)]).cpu()
        lengths = label_gradient(logits, data.train.labels).norm(dim=1)
        tables.append(
            pandas.DataFrame(
                {"dataset": run.dataset, "network": run.network, "seed": run.seed, "length": lengths.numpy()}
            )
        )
    return pandas.concat(tables, ignore_index=True)


def concentration(lengths: pandas.DataFrame, shares: Sequence[float] = (0.01, 0.1, 0.5)) -> pandas.DataFrame:
    """What part of all squared gradient length the longest 1, 10 and 50 % of the examples hold, run by run, and the effective number.

    The effective number of examples is (sum of w)^2 / sum of w^2 for weights w = squared length (Kish 1965), as a share of all.
    """
    rows = []
    for key, table in lengths.groupby(list(study.RUN), observed=True):
        weights = numpy.sort(table["length"].to_numpy() ** 2)[::-1]
        held = weights.cumsum() / weights.sum()
        top = {f"top_{share:.0%}": held[max(round(share * len(weights)), 1) - 1] for share in shares}
        effective = weights.sum() ** 2 / (weights**2).sum() / len(weights)
        rows.append(dict(zip(study.RUN, key, strict=True)) | top | {"effective_share": effective})
    return pandas.DataFrame(rows)


def draw_agreement(plan: profiles.Profile, criteria: Sequence[str]) -> pandas.DataFrame:
    """Spearman correlation of the scores from different draws of equally many examples: mean over pairs of draws and runs.

    Columns: dataset, network, examples, criterion, pairs (their number), spearman.
    """
    rows = []
    for run in plan.runs:
        scores = pandas.read_parquet(run.scores, filters=[("criterion", "in", list(criteria))])
        for (examples, criterion), table in scores.groupby(["examples", "criterion"], observed=True):
            draws = table.pivot_table(index="unit", columns=["draw", "sample"], values="score")
            ranked = draws.rank()
            for a, b in combinations(ranked, 2):
                rho = numpy.corrcoef(ranked[a], ranked[b])[0, 1]
                rows.append(
                    {
                        "dataset": run.dataset,
                        "network": run.network,
                        "examples": examples,
                        "criterion": criterion,
                        "spearman": rho,
                    }
                )
    keys = [*PANEL, "examples", "criterion"]
    table = pandas.DataFrame(rows, columns=[*keys, "spearman"])
    return table.groupby(keys, observed=True)["spearman"].agg(pairs="size", spearman="mean").reset_index()


LIMITS = {"entropy": 0.99, "kept": 0.95, "emptied": 1, "rise": 0.05}  # from where on a signature is worth an alarm
ALARMS = {
    "entropy": "scores too alike to rank",
    "kept": "accuracy fell although nearly all importance was kept",
    "emptied": "a layer lost all its units",
    "rise": "accuracy rose again while more units went",
}


def signatures(plan: profiles.Profile, curves: pandas.DataFrame) -> pandas.DataFrame:
    """Known ways to fail, as numbers with an alarm in plain words: one row per criterion, the worst over runs and draws.

    entropy: of the scores as shares of their sum, divided by log N (1: all alike). kept: the share of all scores still kept where accuracy
    has first fallen below 90 % of the unpruned. emptied: layers without a unit at the end. rise: the largest gain in accuracy as
    units go. A criterion whose accuracy never falls that low keeps nothing too much (kept is 0).
    """
    keys = [*study.RUN, *study.Cell._fields]
    scores = pandas.concat([pandas.read_parquet(run.scores) for run in plan.runs])
    ranked = {
        key: numpy.sort(numpy.abs(table["score"].to_numpy())) for key, table in scores.groupby(keys, observed=True)
    }
    rows = []
    for key, points in curves.groupby(keys, observed=True):
        values = ranked.get(key)
        if values is None:  # measured on the spot, or repeated for every number of examples
            values = ranked.get((*key[:4], 0, 0, "random"))
        if values is not None:
            rows.append({"criterion": key[3]} | _signature(points.sort_values("pruned"), values))
    table = pandas.DataFrame(rows).groupby("criterion", as_index=False).max()
    said = [
        ", ".join(text for name, text in ALARMS.items() if row[name] >= LIMITS[name]) for _, row in table.iterrows()
    ]
    return table.assign(alarm=said)


def _signature(points: pandas.DataFrame, values: numpy.ndarray) -> dict[str, float]:
    total = values.sum()
    shares = values[values > 0] / total if total else numpy.ones(1)
    accuracy = points["accuracy"].to_numpy()
    fallen = numpy.flatnonzero(accuracy < 0.9 * accuracy[0])
    gone = values[: points["pruned"].iloc[fallen[0]]].sum() if len(fallen) else total
    return {
        "entropy": float(-(shares * numpy.log(shares)).sum() / numpy.log(len(values))),
        "kept": float(1 - gone / total) if total else 0.0,
        "emptied": int(points["emptied"].iloc[-1]),
        "rise": float((accuracy - numpy.minimum.accumulate(accuracy)).max()),
    }
