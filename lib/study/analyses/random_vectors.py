"""How far do scores from few random vectors lie from the exact ones?

Enters: a profile with trained runs. Leaves: the relative error by number of vectors, as predicted and as measured.
"""

import pandas
import torch

from lib import importance
from lib.study import loading, profiles, rankings, references, sampling
from lib.study.columns import columns_of


def spread(plan: profiles.Profile, *, examples: int = 100) -> pandas.DataFrame:
    """How far scores from few random vectors are from the exact ones, predicted and measured, on `examples` examples.

    With a_n the derivatives of the K logits along a unit's gate, a vector v_n uniform on the unit sphere gives the
    square (v_n . a_n)^2 with mean |a_n|^2 / K and relative variance 2 (K - 1) / (K + 2); P orthonormal ones give
    2 (K - P) / (P (K + 2)). Over independent examples that predicts the relative error of a score.

    Returns one row per run with weights, kind of vectors ("independent", "orthonormal") and number of probes: predicted
    and measured (root mean square over units of the relative error), spearman (with the exact scores).
    """
    tables = []
    for run in references.with_weights(plan):
        loading.complete(run)
        data, model = sampling.Data.of(run, "cpu"), loading.model(run, "cpu")
        batches = data.batches(min(examples, len(data.train)), "random", seed=run.seed, size=examples)
        squares = _exact_squares(model, batches[0][0], len(data.train.classes))
        tables.append(_spread_of(run, model, batches, squares, len(data.train.classes)))
    return pandas.concat(tables, ignore_index=True)


def _exact_squares(model: torch.nn.Module, images: torch.Tensor, classes: int) -> torch.Tensor:
    """|a_n|^2 for every example and unit, (M, N)."""
    rows = (torch.eye(classes)[k].expand(len(images), -1) for k in range(classes))
    return sum(importance.contributions(model, images, vectors).square() for vectors in rows)


def _spread_of(run, model, batches, squares: torch.Tensor, classes: int) -> pandas.DataFrame:
    exact, fourth = squares.sum(0), squares.square().sum(0)
    alive = exact > 0
    probes = [p for p in (1, 2, 4, 8, 16, 32, 64) if p < classes] + [classes]
    variance = {
        "independent": {p: 2 * (classes - 1) / (classes + 2) / p for p in probes},
        "orthonormal": {p: 2 * (classes - p) / (classes + 2) / p for p in probes},
    }
    names = {
        (kind, p): f"sq:{'rand' if kind == 'independent' else 'orth'}@{p}:norm" for kind in variance for p in probes
    }
    scores = importance.score(model, batches, [name.replace("@1:", ":") for name in names.values()], seed=run.seed)
    rows = []
    for (kind, p), name in names.items():
        found = scores[name.replace("@1:", ":")] * classes * len(squares)
        error = ((found - exact) / exact)[alive].square().mean().sqrt()
        predicted = (variance[kind][p] * fourth / exact.square())[alive].mean().sqrt()
        rho = rankings.rank_agreement(pandas.DataFrame({"found": found, "exact": exact}), ["spearman"])["spearman"]
        row = {"vectors": kind, "probes": p, "predicted": float(predicted), "measured": float(error)}
        rows.append(columns_of(run) | row | {"spearman": rho.iloc[0, 1]})
    return pandas.DataFrame(rows)
