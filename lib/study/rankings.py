"""How several criteria rank over blocks, and how far rankings agree.

In: matrices of plain numbers, blocks x criteria (of `statistics.block_values`) or units x criteria. Out: dicts and
tables. Mean ranks are as of Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from lib.study.statistics import DECIMALS, LEVEL


def friedman(matrix: pd.DataFrame) -> dict:
    """Friedman's test that all criteria are alike; `matrix` is blocks x criteria, higher is better.

    Returns `chi2`, `chi2_p`, `f`, `f_p` (Iman and Davenport's less conservative form), `blocks` and `ranks`, the mean
    ranks by criterion with 1 the best. As in Demsar 2006, with no correction for ties, which errs on the careful side.

    Raises ValueError for fewer than two blocks or criteria and for missing values.
    """
    ranks = _mean_ranks(matrix)
    n, k = matrix.shape
    chi2 = float(12 * n / (k * (k + 1)) * ((ranks - (k + 1) / 2) ** 2).sum())
    rest = n * (k - 1) - chi2
    f = (n - 1) * chi2 / rest if rest > 1e-9 else np.inf  # infinite where all blocks agree on the order
    return {
        "chi2": chi2,
        "chi2_p": float(stats.chi2.sf(chi2, k - 1)),
        "f": f,
        "f_p": float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))),
        "blocks": n,
        "ranks": ranks,
    }


def _mean_ranks(matrix: pd.DataFrame) -> pd.Series:
    if min(matrix.shape) < 2 or not np.isfinite(matrix.to_numpy(float)).all():
        raise ValueError(f"expected two blocks and two criteria or more with no value missing, not {matrix.shape}")
    return matrix.round(DECIMALS).rank(axis=1, ascending=False).mean()


def critical_difference(criteria: int, blocks: int, level: float = LEVEL) -> float:
    """Nemenyi's: mean ranks of `criteria` over `blocks` that differ by as much differ significantly."""
    quantile = stats.studentized_range.ppf(1 - level, criteria, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(criteria * (criteria + 1) / (6 * blocks)))


def nemenyi(matrix: pd.DataFrame) -> dict:
    """All pairs after Friedman's test: `critical_difference` at 5 %, `ranks` (1 the best), `p` (criteria x criteria).

    `matrix` is blocks x criteria, higher is better. Raises what `friedman` raises.
    """
    from scikit_posthocs import posthoc_nemenyi_friedman

    ranks = _mean_ranks(matrix)
    p = posthoc_nemenyi_friedman(matrix.round(DECIMALS).to_numpy(float))  # a bare array: rows are blocks
    p = p.set_axis(matrix.columns, axis=0).set_axis(matrix.columns, axis=1)
    return {"critical_difference": critical_difference(*matrix.shape[::-1]), "ranks": ranks, "p": p}


def rank_agreement(scores: pd.DataFrame, methods: Sequence[str] = ("spearman", "kendall")) -> dict[str, pd.DataFrame]:
    """Rank correlations between the columns of `scores` (units x criteria): method -> (criteria, criteria).

    NaN between a constant column, which ranks nothing, and any other.
    """
    return {method: scores.corr(method) for method in methods}
