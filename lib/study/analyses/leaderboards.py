"""Which criterion is best? Those without labels and those with them, in order of their mean, and by rank.

Enters: tables of curves and of summaries. Leaves: the rows that are fit to be compared, on equally many examples, and
tables with a row per criterion.
"""

from collections.abc import Sequence

import pandas

from lib import importance, pruning
from lib.study import measurements, profiles, rankings, statistics
from lib.study.columns import PANEL, RUN, Cell

RANKED = (  # chosen before anything was measured
    *("sq:rand:norm", "abs:rand:norm", "sq:pseudo", "sq:mas", "synflow"),
    *("act-mean", "bn-scale", "fpgm", "l2", "random"),
)


def label_free(plan: profiles.Profile, curves: pandas.DataFrame) -> pandas.DataFrame:
    """Of every data set the `curves` on its most examples, and beside them all curves of the profile on as many whose
    criteria need no labels, whatever notebook asked for them."""
    others = measurements.measured(plan)
    free = [name for name in others["criterion"].unique() if not importance.parse(name).needs_labels]
    both = pandas.concat([curves, others[others["criterion"].isin(free)]], ignore_index=True)
    most = both["dataset"].map(curves.groupby("dataset")["examples"].max())
    cells = [*RUN, *Cell._fields, "pruned"]
    return both[both["examples"] == most].drop_duplicates(cells, ignore_index=True)


def labelled(plan: profiles.Profile, free: pandas.DataFrame) -> pandas.DataFrame:
    """All curves of the profile whose criteria need labels, of every data set on the most examples in `free`, a table
    of criteria that need none."""
    curves = measurements.measured(plan)
    needing = [name for name in curves["criterion"].unique() if importance.parse(name).needs_labels]
    most = curves["dataset"].map(free.groupby("dataset")["examples"].max())
    return curves[curves["criterion"].isin(needing) & (curves["examples"] == most)].reset_index(drop=True)


def leaderboard(summary: pandas.DataFrame) -> pandas.DataFrame:
    """One row per criterion, best first: mean relative auc over all runs, the mean for each network, over the first
    quarter of the multiply-adds and of the parameters that go (NaN where a curve ends before), used (on how many
    examples at most) and place, which equal ones share."""
    mean, used = (summary.groupby("criterion")[name] for name in ("auc_relative", "used"))
    mean, used = mean.mean().round(statistics.DECIMALS), used.max()
    panels = summary.pivot_table(index="criterion", columns=PANEL, values="auc_relative")
    panels.columns = [", ".join(panel) for panel in panels.columns]
    costs = [name for name in (f"auc_relative_{what}" for what in pruning.RESOURCES) if name in summary]
    panels = panels.join(summary.groupby("criterion")[costs].agg(lambda values: values.mean(skipna=False)))
    board = pandas.DataFrame({"auc_relative": mean}).join(panels).sort_values("auc_relative", ascending=False)
    place = board["auc_relative"].rank(method="min", ascending=False).astype(int)
    return board.assign(used=used[board.index], place=place).reset_index()


def with_repair(board: pandas.DataFrame, repaired: pandas.DataFrame) -> pandas.DataFrame:
    """The `leaderboard`, and beside the mean relative auc the one with repair, auc_relative_repaired, on the most
    examples: NaN for criteria that the summaries `repaired` have not, and no such column where these are empty."""
    if repaired.empty:
        return board
    means = measurements.on_most_examples(repaired).groupby("criterion")["auc_relative"].mean()
    board = board.copy()
    board.insert(board.columns.get_loc("auc_relative") + 1, "auc_relative_repaired", board["criterion"].map(means))
    return board


def standing(board: pandas.DataFrame, criterion: str) -> pandas.DataFrame:
    """Where a criterion stands on a `leaderboard`: one row with criterion, auc_relative, place, among (how many),
    and the criterion in the first place (best) with its relative auc (best_auc_relative)."""
    first = board.iloc[0]
    here = board.loc[board["criterion"] == criterion, ["criterion", "auc_relative", "place"]]
    best = {"best": first["criterion"], "best_auc_relative": first["auc_relative"]}
    return here.assign(among=len(board), **best).reset_index(drop=True)


def ranks(summary: pandas.DataFrame, criteria: Sequence[str] = RANKED) -> tuple[pandas.DataFrame, ...]:
    """Friedman's and Nemenyi's tests over trained networks, for at most ten criteria.

    Returns the mean ranks (criterion, mean_rank; 1 is best), Nemenyi's p for every pair, and one row of facts about
    both tests: chi2, chi2_p, f, f_p, blocks, critical_difference. Where trained networks are `statistics.too_few`,
    there is nothing to test: then only `blocks` is there.
    """
    matrix = statistics.block_values(summary, list(criteria), pair_by=()).dropna()
    if statistics.too_few(len(matrix)):
        nothing = pandas.DataFrame({"criterion": [], "mean_rank": []})
        return nothing, pandas.DataFrame(), pandas.DataFrame({"blocks": [len(matrix)]})
    facts, pairs = rankings.friedman(matrix), rankings.nemenyi(matrix)
    table = facts.pop("ranks").rename("mean_rank").rename_axis("criterion").reset_index().sort_values("mean_rank")
    return table, pairs["p"], pandas.DataFrame([facts | {"critical_difference": pairs["critical_difference"]}])
