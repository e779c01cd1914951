"""Does equal weight for every example help? How unequal gradients are, and what normalising adds, class by class.

Enters: a profile with trained runs, or tables of summaries. Leaves: lengths of gradients and how few examples hold
them; pairs of criteria with and without a normalisation; contrasts in thirds of the classes of a long-tailed set.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy
import pandas
import torch

from lib.scoring.criteria import label_gradient
from lib.study import contrasts, devices, loading, profiles, references, sampling, statistics
from lib.study.columns import RUN


def gradient_lengths(plan: profiles.Profile) -> pandas.DataFrame:
    """The length of the label gradient at the logits, one row per training image of every run with weights: dataset,
    network, seed, length."""
    tables = []
    for run in references.with_weights(plan):
        loading.complete(run)
        device = devices.pick(run.device)
        data, model = sampling.Data.of(run, device), loading.model(run, device)
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
    """What part of all squared gradient length the longest 1, 10 and 50 % of the examples hold, run by run, and the
    effective number.

    The effective number of examples is (sum of w)^2 / sum of w^2 for weights w = squared length (Kish 1965), as a
    share of all.
    """
    rows = []
    for key, table in lengths.groupby(list(RUN), observed=True):
        weights = numpy.sort(table["length"].to_numpy() ** 2)[::-1]
        held = weights.cumsum() / weights.sum()
        top = {f"top_{share:.0%}": held[max(round(share * len(weights)), 1) - 1] for share in shares}
        effective = weights.sum() ** 2 / (weights**2).sum() / len(weights)
        rows.append(dict(zip(RUN, key, strict=True)) | top | {"effective_share": effective})
    return pandas.DataFrame(rows)


def pairs(summary: pandas.DataFrame, normalisations: Iterable[str]) -> dict[str, str]:
    """Every criterion of the table with one of these normalisations, and the same criterion without."""
    present = list(dict.fromkeys(summary["criterion"]))
    return {
        name: name.removesuffix(f":{normalisation}")
        for normalisation in normalisations
        for name in present
        if name.endswith(f":{normalisation}") and name.removesuffix(f":{normalisation}") in present
    }


def by_band(tail: pandas.DataFrame) -> pandas.DataFrame:
    """Summaries on a long-tailed set, one row per third of the classes: the run, criterion, classes, auc_relative."""
    bands = [tail.assign(classes=name, auc_relative=tail[f"auc_relative_{name}"]) for name in sampling.BANDS]
    return pandas.concat(bands, ignore_index=True)[[*RUN, "criterion", "examples", "classes", "auc_relative"]]


def band_contrasts(bands: pandas.DataFrame, pairs: Mapping[str, str]) -> pandas.DataFrame:
    """Rows as of `contrasts.paired` for every pair a: b in every third of the classes, adjusted for the number of all
    of them."""
    rows = []
    for (a, b), name in product(pairs.items(), sampling.BANDS):
        row = statistics.compare(bands[bands["classes"] == name], a, b, label=f"{a} minus {b}")
        rows.append({"classes": name} | row)
    return contrasts.adjusted(pandas.DataFrame(rows))
