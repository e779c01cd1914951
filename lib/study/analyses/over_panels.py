"""Does it hold over panels? Claims, leaderboards and sizes of several panels, one value per panel.

Enters: the panels' tables of one value per claim and network, and summaries. Leaves: tables with a row per claim, per
criterion or per network.

Networks of one panel tell little of other panels: they share data, and often the architecture. So values are averaged
within a panel first, and the interval over panels is Student's t of these means, each weighing the same. That is the
random-effects interval of Hartung & Knapp (Statistics in Medicine 20, 2001) with equal weights: panels hold three to
six networks, too few to weigh by. How different panels are, beyond what their networks leave uncertain, say tau of
Paule & Mandel (Journal of Research of the NBS 87, 1982) and I2 of Higgins & Thompson (Statistics in Medicine 21, 2002).

Numbers of examples are compared by their order within a panel: its fewest, its most, and what lies between.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy
import pandas
from pandas.api.typing import SeriesGroupBy

from lib import importance
from lib.study import claims, panels, paper, profiles
from lib.study.columns import PANEL, RUN, Cell
from lib.study.rankings import rank_agreement
from lib.study.statistics import DECIMALS

FEWEST_NETWORKS = 5  # for a rank correlation with their size
CURVE = ["examples", "criterion", "gone", "accuracy"]
SIZES = ("units", "parameters", "layers")
RIVALS = ("sq:norm", "taylorfo", "l2")  # that the recommended criterion is set beside, as networks grow


# ---- claims -------------------------------------------------------------------------------------------------------


def claims_over(blocks: pandas.DataFrame) -> pandas.DataFrame:
    """Every claim over all networks and over panels: two rows per claim that some panel measured.

    Columns: claim, label, kind, over ("networks" or "panels"), count (of them), ahead (how many are above 0), effect,
    low, high, p, verdict, side, close, and, in the rows over panels, tau and i2 as of `heterogeneity`.

    Arguments:
        blocks: `claims.by_block` of all panels, with the column panel.
    """
    rows = []
    for name, here in _by_claim(blocks):
        values = here.groupby("panel", sort=False)["difference"]
        over = {"networks": (here["difference"], here["dataset"] + "/" + here["network"])}
        over |= {"panels": (values.mean(), values.mean().index)}
        for what, (each, groups) in over.items():
            found = claims.judge(name, list(each), list(groups))
            row = {"claim": name, "label": claims.label(name), "over": what, "count": found["blocks"]} | found
            rows.append(row | (heterogeneity(values) if what == "panels" else {}))
    columns = ["claim", "label", "kind", "over", "count", "ahead", "effect", "low", "high", "p", "smallest_p"]
    return pandas.DataFrame(rows, columns=[*columns, "verdict", "side", "close", "tau", "i2"])


def _by_claim(blocks: pandas.DataFrame) -> list[tuple[str, pandas.DataFrame]]:
    there = blocks.dropna(subset="difference")
    return [(name, here) for name in claims.names() if len(here := there[there["claim"] == name])]


def heterogeneity(values: SeriesGroupBy) -> dict[str, float]:
    """How different panels are, beyond what their networks leave uncertain: tau (a standard deviation, in the values'
    unit) and i2 (its share of the variance of panel means). NaN where a panel has one network, or equal values, or
    where there is one panel.

    Arguments:
        values: a column grouped by panel.
    """
    from statsmodels.stats.meta_analysis import combine_effects  # takes a second

    means, uncertain = values.mean().to_numpy(), (values.var() / values.size()).to_numpy()
    if len(means) < 2 or not (uncertain.round(DECIMALS) > 0).all():
        return {"tau": numpy.nan, "i2": numpy.nan}
    found = combine_effects(means, uncertain, method_re="pm")
    return {"tau": float(numpy.sqrt(max(found.tau2, 0))), "i2": float(max(found.i2, 0))}


def claims_by_panel(blocks: pandas.DataFrame, names: Sequence[str]) -> pandas.DataFrame:
    """Every claim panel by panel: one row per claim and each of the panels `names`, those that did not measure it, or
    that nobody did, included.

    Columns: claim, label, panel, count (networks, 0 where it is not measured), ahead, effect, low, high, verdict, side
    and kind.
    """
    rows, measured_by = [], dict(_by_claim(blocks))
    for name in claims.names():
        of_panels = dict(list(measured_by[name].groupby("panel"))) if name in measured_by else {}
        for panel in names:
            row = {"claim": name, "label": claims.label(name), "panel": panel, "kind": claims.kind(name), "count": 0}
            if panel in of_panels:
                own = of_panels[panel]
                found = claims.judge(name, list(own["difference"]), list(own["dataset"] + "/" + own["network"]))
                row |= found | {"count": found["blocks"]}
            rows.append(row)
    columns = ["claim", "label", "kind", "panel", "count", "ahead", "effect", "low", "high", "verdict", "side"]
    return pandas.DataFrame(rows, columns=columns)


def by_trainer(blocks: pandas.DataFrame) -> pandas.DataFrame:
    """Every claim's mean over networks that were trained here, and over those that others trained, panels averaged
    first: claim, label, here, networks_here, others, networks_others; NaN where there are none."""
    rows = []
    for name, here in _by_claim(blocks):
        row = {"claim": name, "label": claims.label(name)}
        for word, given in (("here", False), ("others", True)):
            some = here[here["given"] == given]
            means = some.groupby("panel")["difference"].mean()
            row |= {word: means.mean(), f"networks_{word}": len(some)}
        rows.append(row)
    return pandas.DataFrame(rows, columns=["claim", "label", "here", "networks_here", "others", "networks_others"])


# ---- criteria -----------------------------------------------------------------------------------------------------

TABLES = ("60-rivals-label-free", "15-replication-summary")  # the first that a panel has says on how many examples
ALSO = ("90-report-labelled",)


def measured(plans: Sequence[profiles.Profile], tables: Sequence[str] = (*TABLES, *ALSO)) -> pandas.DataFrame:
    """Summaries of all criteria of each panel, on its most examples: those of the first of `tables` that it has, and
    from whatever else it has on as many. One row per panel, network and criterion, rankings of `random` averaged;
    no rows where no panel has such a table."""
    found = [rows for plan in plans if len(rows := _on_most(plan, tables))]
    return pandas.concat(found, ignore_index=True) if found else pandas.DataFrame()


def _on_most(plan: profiles.Profile, tables: Sequence[str]) -> pandas.DataFrame:
    there = [rows for name in tables if len(rows := panels.table([plan], name))]
    if not there:
        return pandas.DataFrame()
    most = there[0].groupby(PANEL)["examples"].max().rename("most").reset_index()
    rows = pandas.concat(there, ignore_index=True).drop_duplicates([*RUN, *Cell._fields]).merge(most, on=PANEL)
    rows = rows[(rows["examples"] == rows["most"]) & (rows["sample"] == "random")]
    values = rows.groupby(["panel", *RUN, "criterion"], sort=False, as_index=False)
    return values.agg({"examples": "max", "used": "max", "accuracy_unpruned": "mean", "auc_relative": "mean"})


def of_each(
    tables: Sequence[pandas.DataFrame], criteria: Sequence[str], value: str, summary: pandas.DataFrame
) -> tuple[pandas.DataFrame, pandas.Series]:
    """What criteria have in the column `value`, in any of these tables: one row per panel, data set and network, one
    column a criterion, means over whatever rows it has (NaN where none); and of each row how many seeds it is of.

    Arguments:
        tables: on as many examples as should count, with the columns panel, dataset, network and criterion; those that
            lack one, or `value`, do not count.
        summary: of `measured`, which says how many seeds there are; one of each network where it has none.
    """
    keys = ["panel", *PANEL]
    there = [table for table in tables if {*keys, "criterion", value} <= set(table)]
    if not there:
        return pandas.DataFrame(columns=[*criteria]), pandas.Series(dtype=int)
    rows = pandas.concat(there).groupby([*keys, "criterion"], sort=False)[value].mean().unstack()
    rows = rows.reindex(columns=[*criteria])
    seeds = summary.groupby(keys)["seed"].nunique() if "seed" in summary else pandas.Series(dtype=int)
    return rows, seeds.reindex(rows.index).fillna(1).astype(int)


def board(summary: pandas.DataFrame) -> pandas.DataFrame:
    """The leaderboard over panels of the criteria that all of them measured: one row per criterion and panel, the best
    in the mean over panels first.

    Columns: criterion, labels (whether it needs them), panel, auc_relative (mean over the panel's networks), place (in
    the panel, 1 the best; equal ones share their mean place), mean (over panels), overall (place by that).
    """
    means = summary.groupby(["panel", "criterion"], sort=False)["auc_relative"].mean().unstack("panel").dropna()
    means = means[list(dict.fromkeys(summary["panel"]))]
    places = means.round(DECIMALS).rank(ascending=False)
    long = means.stack().rename("auc_relative").to_frame().join(places.stack().rename("place")).reset_index()
    overall = means.mean(axis=1).sort_values(ascending=False, kind="stable")
    long = long.assign(
        labels=[importance.parse(name).needs_labels for name in long["criterion"]],
        mean=long["criterion"].map(overall),
        overall=long["criterion"].map({name: place for place, name in enumerate(overall.index, 1)}),
    )
    columns = ["criterion", "labels", "panel", "auc_relative", "place", "mean", "overall"]
    return long.sort_values("overall", kind="stable", ignore_index=True)[columns]


def stability(found: pandas.DataFrame) -> pandas.DataFrame:
    """How alike two panels order the criteria of a `board`: one row per pair, with first, second, criteria (their
    number) and spearman."""
    means = found.pivot(index="criterion", columns="panel", values="auc_relative")
    rho = rank_agreement(means.round(DECIMALS), ["spearman"])["spearman"]
    pairs = combinations(dict.fromkeys(found["panel"]), 2)
    rows = [(first, second, len(means), rho.loc[first, second]) for first, second in pairs]
    return pandas.DataFrame(rows, columns=["first", "second", "criteria", "spearman"])


# ---- sizes and curves ---------------------------------------------------------------------------------------------


def by_network(summary: pandas.DataFrame, networks: pandas.DataFrame) -> pandas.DataFrame:
    """What the recommended criterion leads by, and how large the network is: one row per data set and network, means
    over seeds, the smallest network first.

    Columns: panel, dataset, network, given, seeds (their number), accuracy, units, parameters, layers, examples,
    auc_relative (of the recommended criterion), and `lead_<rival>`, in relative auc, over each of `RIVALS` and of
    `random` (NaN where a panel lacks it).
    """
    values = summary.pivot_table(index=["panel", *RUN], columns="criterion", values="auc_relative")
    values = values.reindex(columns=[claims.RECOMMENDED, *RIVALS, "random"])
    leads = {f"lead_{rival}": values[claims.RECOMMENDED] - values[rival] for rival in (*RIVALS, "random")}
    examples = summary.groupby(["panel", *RUN])["examples"].max()
    rows = pandas.DataFrame({"examples": examples, "auc_relative": values[claims.RECOMMENDED]} | leads).reset_index()
    rows = rows.merge(networks, on=["panel", *RUN])
    keys = ["panel", *PANEL, "given"]
    numbers = ["accuracy", *SIZES, "examples", "auc_relative", *leads]
    means = rows.groupby(keys, sort=False)[numbers].mean()
    means.insert(0, "seeds", rows.groupby(keys, sort=False).size())
    whole = dict.fromkeys([*SIZES, "examples"], int)
    return means.reset_index().sort_values("parameters", kind="stable", ignore_index=True).astype(whole)


def with_size(found: pandas.DataFrame) -> pandas.DataFrame:
    """Rank correlations over the networks of `by_network` of each lead with each of `SIZES`: lead, with, spearman (NaN
    below `FEWEST_NETWORKS`, or where one of both is the same everywhere) and networks."""
    rows = []
    for rival in RIVALS:
        for size in SIZES:
            both = found[[f"lead_{rival}", size]].dropna()
            enough = len(both) >= FEWEST_NETWORKS
            rho = rank_agreement(both.round(DECIMALS), ["spearman"])["spearman"].iloc[0, 1] if enough else numpy.nan
            rows.append({"lead": rival, "with": size, "spearman": rho, "networks": len(both)})
    return pandas.DataFrame(rows)


def curves(table: pandas.DataFrame) -> pandas.DataFrame:
    """The curves that every panel's report draws, networks averaged within the panel, as one table: panel, examples,
    order (of this number within the panel: 1 the fewest), orders (how many it has), criterion, gone (%), accuracy.

    Arguments:
        table: 90-report-curves-units of all panels, as of `panels.table`.
    """
    means = table.groupby(["panel", "examples", "criterion", "gone"], sort=False)["accuracy"].mean().reset_index()
    numbers = means.groupby("panel", sort=False)["examples"]
    order = numbers.rank(method="dense").astype(int)
    return means.assign(order=order, orders=means["panel"].map(numbers.nunique()))


def papers_curves(networks: pandas.DataFrame) -> pandas.DataFrame:
    """The paper's curves of networks that a panel has, too: panel, examples, criterion, gone (%), accuracy."""
    there = networks[["panel", *PANEL]].drop_duplicates()
    found = paper.curves().merge(there, on=PANEL)
    return found.assign(gone=100 * found["pruned"] / found["units"])[["panel", *CURVE]]
