"""What the study's tables say, and how surely: paired contrasts with intervals, exact tests and verdicts.

In: tidy tables, one row one observation, with the columns `dataset, network, seed, criterion, examples` and a column
of values (`auc_relative`, ...); any other column, such as `draw`, tells repeated observations apart and is averaged
over. Out: dicts and tables of plain numbers. Nothing here draws, and nothing touches global random state.

A *block* is one (dataset, network, seed): the unit that counts as independent. Draws of examples or probes are nested
in it, so they are averaged first, whatever their number, then numbers of examples, then criteria. A *group* is one
(dataset, network).

A verdict is *supported* or *contradicted* where the rules of `paired` say so, *too few networks* where no difference,
however large, could be either, else *open*. It is *close* where as many other networks of the same kinds would give it
again less often than `SURE`: were they drawn from normal distributions, with the mean of each group and the spread that
is within groups.

Sources: Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006), for the tests; Pratt,
JASA 54 (1959), for zero differences in the signed-rank test; Holm, Scandinavian Journal of Statistics 6 (1979); Efron,
JASA 82 (1987), for the BCa bootstrap.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy import special, stats

BLOCK = ["dataset", "network", "seed"]
GROUP = BLOCK[:2]
KINDS = ("difference", "non-inferiority")
TOO_FEW = "too few networks"
LEVEL = 0.05  # of every test; the intervals hold 1 - LEVEL
MARGIN = 0.01  # of relative auc: how much may be lost and still count as nothing lost
SURE, REDRAWN = 0.9, 1000  # how often a verdict that is not close comes again, over so many sets of other networks
BOOTSTRAP_FROM = 20  # blocks; below, Student's t
DECIMALS = 12  # differences nearer to each other than this are ties: their distance is rounding
LARGEST = 1e100  # of a value: the squares of larger ones, and their sums, may overflow


class Lacking(ValueError):
    """A table does not have what a contrast is made of."""


# ---- from tables to one pair of numbers per block -----------------------------------------------------------------


def block_values(
    table: pd.DataFrame, criteria: Sequence[str], *, value: str = "auc_relative", pair_by: Sequence[str] = ("examples",)
) -> pd.DataFrame:
    """Values with draws averaged: one row per block and `pair_by`, one column per criterion, NaN where not measured.

    With `pair_by=()` numbers of examples are averaged too (after draws, each counting alike); the rows are then blocks,
    and with `.dropna()` fit `friedman` and `nemenyi`.

    Raises ValueError for a column or criterion that the table lacks, for rows that are there more than once, and for
    values that are not finite.
    """
    _require_columns(table, [*BLOCK, *pair_by, "criterion", value])
    present = set(table["criterion"])
    if missing := [name for name in criteria if name not in present]:
        raise Lacking(f"criterion {', '.join(map(repr, missing))} is not in the table; it has {sorted(present)}")
    rows = table[table["criterion"].isin(criteria)]
    if (again := rows.duplicated()).any():
        raise ValueError(
            f"a row of {rows['criterion'][again].iloc[0]!r} is there more than once: draws would weigh more"
        )
    keys = [*BLOCK, *pair_by]
    averaged = _average_within(rows, [*keys, "criterion"], value)
    return averaged.set_index([*keys, "criterion"])[value].unstack("criterion")[list(dict.fromkeys(criteria))]


def sides(
    table: pd.DataFrame,
    a: str | Sequence[str],
    b: str | Sequence[str],
    *,
    value: str = "auc_relative",
    pair_by: Sequence[str] = ("examples",),
    pairs_first: bool = False,
) -> pd.DataFrame:
    """The two sides of a contrast: columns `a` and `b`, one row per block that has both; arguments as in `compare`."""
    return _per_block(*_matched_cells(table, a, b, value, pair_by), last=pair_by if pairs_first else ["pair"])


def _require_columns(table: pd.DataFrame, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in table]:
        raise Lacking(f"column {', '.join(map(repr, missing))} is not in the table; it has {list(table.columns)}")


def _average_within(table: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
    """Mean of `value` for each combination of `keys`: over draws first, so that no cell weighs more for having many."""
    if not np.isfinite(table[value]).all():
        raise ValueError(f"column {value!r} has missing or infinite values; drop or repair these rows first")
    cells = list(dict.fromkeys([*keys, *(name for name in ("criterion", "examples") if name in table)]))
    together = {"dropna": False, "observed": True}
    averaged = table.groupby(cells, **together)[value].mean().reset_index()
    return averaged.groupby(keys, **together)[value].mean().reset_index()


def _matched_cells(table, a, b, value, pair_by) -> tuple[pd.DataFrame, int]:
    """Rows (pair, block, `pair_by`) with both sides' values, and the number of criterion pairs."""
    a, b = ([names] if isinstance(names, str) else list(names) for names in (a, b))
    if len(a) != len(b) or not a:
        raise ValueError(f"each criterion of a needs its counterpart in b, but a is {a} and b is {b}")
    values = block_values(table, [*a, *b], value=value, pair_by=pair_by)
    pairs = [pd.DataFrame({"a": values[x], "b": values[y], "pair": f"{x} - {y}"}) for x, y in zip(a, b, strict=True)]
    cells = pd.concat(pairs).dropna().reset_index()
    if cells.empty:
        raise Lacking(f"no dataset, network and seed has both {a} and {b} at the same {list(pair_by)}")
    return cells, len({*zip(a, b, strict=True)})


def _per_block(cells: pd.DataFrame, pairs: int, last: Sequence[str] = ("pair",)) -> pd.DataFrame:
    """Means over all but the columns `last`, then over these; blocks that lack a pair go, lest blocks mean different
    things."""
    per_pair = cells.groupby([*BLOCK, "pair"], observed=True)[["a", "b"]].mean().dropna().groupby(BLOCK, observed=True)
    first = cells.groupby([*BLOCK, *last], observed=True, dropna=False)[["a", "b"]].mean().dropna()
    return first.groupby(BLOCK, observed=True).mean().loc[per_pair.size() == pairs]


# ---- one contrast -------------------------------------------------------------------------------------------------


def compare(
    table: pd.DataFrame,
    a: str | Sequence[str],
    b: str | Sequence[str],
    *,
    value: str = "auc_relative",
    pair_by: Sequence[str] = ("examples",),
    kind: str = "difference",
    margin: float = MARGIN,
    seed: int = 0,
    claim: str = "",
    label: str = "",
    pairs_first: bool = False,
) -> dict:
    """Row of the claims table for `a` minus `b`: criterion a[i] against b[i], same block and same `pair_by`.

    Within a block draws are averaged first, then differences over `pair_by`, then over pairs; with `pairs_first` over
    pairs before `pair_by`, which is another mean where a pair lacks a number. To contrast different numbers of
    examples, give the rows criterion names of their own and use `pair_by=()`.

    Returns what `paired` does, with `claim`, `label` and `dropped` (blocks of the table that lack a side). Raises
    ValueError as `block_values` does, for lists of unequal length and where no block has both sides.
    """
    both = sides(table, a, b, value=value, pair_by=pair_by, pairs_first=pairs_first)
    return _claims_row(both, table, claim, label, kind=kind, margin=margin, seed=seed)


def interaction(
    table: pd.DataFrame,
    a: str | Sequence[str],
    b: str | Sequence[str],
    *,
    low_examples: int | None = None,
    high_examples: int | None = None,
    value: str = "auc_relative",
    seed: int = 0,
    claim: str = "",
    label: str = "",
) -> dict:
    """Row of the claims table for (`a` minus `b`) at the lowest minus at the highest number of examples.

    Lowest and highest are those of each dataset x network, unless given. Returns and raises what `compare` does.
    """
    both = ends(table, a, b, low_examples=low_examples, high_examples=high_examples, value=value)
    return _claims_row(both, table, claim, label, seed=seed)


def ends(
    table: pd.DataFrame,
    a: str | Sequence[str],
    b: str | Sequence[str],
    *,
    low_examples: int | None = None,
    high_examples: int | None = None,
    value: str = "auc_relative",
) -> pd.DataFrame:
    """The two sides of an `interaction`, whose arguments these are: columns `a` (the gain at the lowest number of
    examples) and `b` (at the highest), one row per block that has both."""
    cells, pairs = _matched_cells(table, a, b, value, ("examples",))
    examples = cells.groupby(GROUP, observed=True)["examples"]
    low = examples.transform("min") if low_examples is None else low_examples
    high = examples.transform("max") if high_examples is None else high_examples
    if np.any(low >= high):
        raise Lacking("an interaction needs two numbers of examples, low below high, in every dataset and network")
    gain = cells["a"] - cells["b"]
    found = cells.assign(a=gain.where(cells["examples"] == low), b=gain.where(cells["examples"] == high))
    return _per_block(found, pairs)


def _claims_row(both: pd.DataFrame, table: pd.DataFrame, claim: str, label: str, **options) -> dict:
    found = differences(both, table)
    there = found.dropna(subset="difference")
    row = {"claim": claim, "label": label, **paired(there["difference"], groups_of(there), **options)}
    return row | {"dropped": len(found) - len(there)}


def differences(both: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """`a` minus `b` of the two `sides` of a contrast: one row per block of `table`, the columns of `BLOCK` and
    difference, NaN where a block lacks a side. Raises ValueError where all do."""
    if both.empty:
        raise Lacking("no dataset, network and seed has every part of the contrast; measure what is missing")
    found = (both["a"] - both["b"]).rename("difference").reset_index()
    return table[BLOCK].drop_duplicates().sort_values(BLOCK).merge(found, how="left", on=BLOCK)


def groups_of(blocks: pd.DataFrame) -> pd.Series:
    """The names of the groups that rows with the columns of `BLOCK` are of."""
    return blocks["dataset"].astype(str) + "/" + blocks["network"].astype(str)


def paired(
    differences: Sequence[float],
    groups: Sequence[str] | None = None,
    *,
    kind: str = "difference",
    margin: float = MARGIN,
    seed: int = 0,
) -> dict:
    """Effect and verdict for one difference per block, shape (blocks,); `groups` (blocks,) says where each is from.

    The order of blocks, which `differences` sorts, decides the last digits of what is drawn: the bootstrap, `again`.

    Returns `kind`, `effect` (mean), `low`, `high` (see `interval`), `p` of no difference (see `signed_rank`), `blocks`,
    `ahead` (how many of them are above 0), `smallest_p`, `signs` of the groups' means, `verdict`, `side` (where the
    interval lies: "above", "below" or "on both sides" of 0 or, for non-inferiority, of -margin; "" where there is
    none), `again` (how often as many other networks would say the same; NaN for a single one) and `close` (`again` is
    below `SURE`). Raises ValueError for an unknown kind, a negative margin, no differences or differences that are not
    finite, and for groups that are missing or not as many.

    A difference is supported (contradicted) where p is below the level, the interval above (below) 0 and the mean of
    every group of that sign; non-inferiority where the interval is above (below) -margin.
    """
    if kind not in KINDS or not margin >= 0:
        raise ValueError(f"kind is one of {KINDS} and margin at least 0, not {kind!r} and {margin!r}")
    values = _finite(differences).round(DECIMALS)
    group, names = _groups(["all"] * len(values) if groups is None else list(groups), len(values))
    means = pd.Series(_means(values[None], group)[0].round(DECIMALS), names)
    low, high = (round(end, DECIMALS) for end in interval(values, seed))  # an end on a limit is not beyond it
    _, p = signed_rank(values)
    found = {"kind": kind, "effect": float(values.mean()), "low": low, "high": high, "p": p, "blocks": len(values)}
    found |= {"ahead": int((values > 0).sum()), "smallest_p": smallest_p(len(values)), "signs": _signs(means)}
    limit, few = (0.0, too_few(len(values))) if kind == "difference" else (-margin, len(values) < 2)
    judge = partial(_sign, kind, limit, few)
    sign = int(judge(means.to_numpy()[None], low, high, p)[0])
    again = float((_redrawn(judge, values, group) == sign).mean()) if len(values) > 1 else np.nan
    where = {1: "above", -1: "below", 0: "on both sides"}[int(_side(limit, low, high))]
    return found | {
        "verdict": TOO_FEW if few else {1: "supported", -1: "contradicted", 0: "open"}[sign],
        "side": "" if np.isnan(low) else where,
        "again": again,
        "close": again < SURE,
    }


def _groups(groups: list, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """A number for the group of each block, and the names of the groups."""
    numbers, names = pd.factorize(np.asarray(groups, dtype=object))
    if len(numbers) != blocks or (numbers < 0).any():
        raise ValueError(f"each of {blocks} differences needs the group that it is from, not {groups}")
    return numbers, names


def _signs(group_means: pd.Series) -> str:
    return ", ".join(f"{name} {'-0+'[int(np.sign(mean)) + 1]}" for name, mean in group_means.items())


def _side(limit: float, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """1, -1 or 0 for intervals above a limit, below it, or neither."""
    return np.greater(low, limit).astype(int) - np.less(high, limit)


def _sign(kind: str, limit: float, few: bool, group_means: np.ndarray, low, high, p) -> np.ndarray:
    """1, -1 or 0 for what is supported, contradicted or open; where networks are too `few` for that, `_side`.

    Arguments: group_means: (sets, groups); low, high, p: (sets,) or one number.
    """
    side = _side(limit, low, high)
    if few or kind == "non-inferiority":
        return np.atleast_1d(side)
    return side * (np.less(p, LEVEL) & (np.sign(group_means) == np.expand_dims(side, -1)).all(axis=1))


def _redrawn(judge: Callable[..., np.ndarray], values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """What `judge` says of as many other networks of the same kinds: (REDRAWN,).

    The others are drawn from a normal distribution about the mean of each group, with the spread that networks have
    within groups; where no group has two, about the mean of all, with the spread of all.
    """
    count = len(values)
    kinds = group if len(set(group)) < count else np.zeros(count, int)
    centre = _means(values[None], kinds)[0, kinds]
    spread = np.sqrt(np.square(values - centre).sum() / (count - len(set(kinds))))
    drawn = centre + spread * np.random.default_rng(0).standard_normal((REDRAWN, count))
    half = drawn.std(axis=1, ddof=1) * special.stdtrit(count - 1, 1 - LEVEL / 2) / np.sqrt(count)
    middle = drawn.mean(axis=1)
    return judge(_means(drawn, group), middle - half, middle + half, _signed_rank_p(drawn))


def _means(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Of each row of `values` (sets, blocks), the mean over the blocks of every group (numbers from 0 on)."""
    belongs = np.equal.outer(group, np.arange(group.max() + 1))
    return values @ (belongs / belongs.sum(0))


def _signed_rank_p(values: np.ndarray) -> np.ndarray:
    """As `signed_rank`, of every row of `values` (sets, blocks) without ties and zeros."""
    ranks = np.abs(values).argsort(axis=1).argsort(axis=1) + 1
    positive = (ranks * (values > 0)).sum(axis=1)
    chance = np.ones(1)
    for rank in range(1, values.shape[1] + 1):
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    return np.minimum(1.0, 2 * chance.cumsum()[np.minimum(positive, len(chance) - 1 - positive)])


def _finite(values: Sequence[float]) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values) or not (np.abs(values) <= LARGEST).all():
        raise ValueError(f"expected a list of one or more finite numbers up to {LARGEST:g}, not {values.tolist()}")
    return values


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean: Student's t below 20 values, BCa bootstrap from there on; NaN for a single value."""
    values = _finite(values)
    mean = float(values.mean())
    if len(values) == 1:
        return np.nan, np.nan
    if np.ptp(values) < 10.0**-DECIMALS:  # the bootstrap has no answer for equal values
        return mean, mean
    if len(values) < BOOTSTRAP_FROM:  # stdtrit: Student's t quantile, without the time stats.t.ppf spends on checks
        half = float(special.stdtrit(len(values) - 1, 1 - LEVEL / 2) * values.std(ddof=1) / np.sqrt(len(values)))
        return mean - half, mean + half
    random = np.random.default_rng(seed)
    found = stats.bootstrap((values,), np.mean, confidence_level=1 - LEVEL, method="BCa", rng=random)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def signed_rank(differences: Sequence[float]) -> tuple[float, float]:
    """Wilcoxon's signed-rank T and its exact two-sided p, with ties and zeros as they come.

    Ties share their mean rank. Zeros are ranked too (Pratt 1959), and count half to each side in T (Demsar 2006); p is
    the share of all sign flips of the others that give a T as small or smaller: exact for any number of blocks, since
    the flips' distribution is built up rank by rank (doubled, so that mean ranks are whole).
    """
    values = _finite(differences).round(DECIMALS)
    ranks = np.rint(2 * stats.rankdata(np.abs(values))).astype(int)
    positive, negative, zero = (int(ranks[side].sum()) for side in (values > 0, values < 0, values == 0))
    chance = np.ones(1)  # chance[s]: of a positive doubled rank sum s
    for rank in ranks[values != 0]:
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    smaller = min(positive, negative)
    return (smaller + zero / 2) / 2, min(1.0, float(2 * chance[: smaller + 1].sum()))


def smallest_p(blocks: int) -> float:
    """The smallest two-sided p that a signed-rank test of this many blocks can reach: 2 of its 2^blocks sign flips."""
    return min(1.0, 2.0 ** (1 - blocks))


def too_few(blocks: int) -> bool:
    """Whether no difference, however large, would be significant over so many blocks."""
    return smallest_p(blocks) >= LEVEL


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P values adjusted for their number by Holm's step-down, in the order given. Raises ValueError for others."""
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"expected a list of p values, from 0 to 1, not {p.tolist()}")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted


# ---- one criterion ------------------------------------------------------------------------------------------------


def summarise(
    table: pd.DataFrame,
    by: Sequence[str] = ("criterion", "examples"),
    *,
    value: str = "auc_relative",
    seed: int = 0,
) -> pd.DataFrame:
    """Mean over blocks with its interval for each combination of the columns `by`: `mean, low, high, blocks`.

    Raises ValueError for a column that the table lacks and for values that are not finite.
    """
    by = [by] if isinstance(by, str) else list(by)
    _require_columns(table, [*BLOCK, *by, value])
    averaged = _average_within(table, list(dict.fromkeys([*by, *BLOCK])), value)
    groups = averaged.groupby(by, dropna=False, observed=True)[value]
    rows = [(*key, values.mean(), *interval(values, seed), len(values)) for key, values in groups]
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "blocks"])
