"""The recommended criterion beside weight magnitude, which takes no labels either, in the words of every report.

Enters: the table of `claims.judged`, and tables of one profile or of several. Leaves: sentences, whose every number
comes from a table and every judgement from a verdict or from which number is larger.
"""

import numpy
import pandas

from lib.report import claim_answers, reach, verdict_table
from lib.report.words import counted, listed
from lib.study import claims, measurements
from lib.study.analyses import over_panels
from lib.study.analyses.smaller import CARRIED
from lib.study.columns import PANEL, RUN
from lib.study.statistics import MARGIN

OWN, WEIGHTS, WITHIN, CHANCE = claims.RECOMMENDED, "l2", "l2:layer", "random"
PAIR = "{0[0]:.0f} and {0[1]:.0f} % on {0[2]}"  # of `_leave`
GONE = 0.2  # of all multiply-adds, of networks that shrink
REPAIRS = {  # columns of `smaller.shrunk`, in words
    "accuracy_repaired": "with BatchNorms estimated anew",
    CARRIED: "with BatchNorms moved only by what that changed in them",
}
FEW = 10  # percent of all units: as far as one would go


def against(verdicts: pandas.DataFrame, measured: pandas.DataFrame, lines: pandas.DataFrame) -> str:
    """Whether the recommended criterion beats weight magnitude where nothing is trained or repaired (C13).

    Arguments:
        verdicts: of `claims.judged`.
        measured: of `over_panels.measured`, of the table that C13 is of.
        lines: of `reach.curves`.
    """
    row = claim_answers.row(verdicts, "C13")
    if row is None or "criterion" not in measured or not {OWN, WEIGHTS} <= set(measured["criterion"]):
        return ""
    words = {"supported": "Random gradients beat weight magnitude"}
    words |= {"contradicted": "Weight magnitude beats random gradients"}
    words |= {"open": "Whether random gradients beat weight magnitude is open"}
    said = words.get(row["verdict"], "Networks are too few to tell whether random gradients beat weight magnitude")
    values = measured.pivot_table(index=["panel", *RUN], columns="criterion", values="auc_relative")
    own, weights = 100 * values[[OWN, WEIGHTS]].dropna().mean()
    return (
        f"**{said}** (`{WEIGHTS}`), which takes no labels either: they keep {own:.0f} % of the whole network's "
        f"accuracy, and `{WEIGHTS}` {weights:.0f} %, averaged over all steps from none to half of the units off"
        f"{_with_few_off(lines)}; {verdict_table.evidence(row, verdicts)}."
    )


def _with_few_off(lines: pandas.DataFrame) -> str:
    """What both keep where few units are off, the mean over networks."""
    if (shown := reach.on_most(lines)).empty:
        return ""
    kept = {name: reach.kept_with(line, FEW) for name, line in shown.groupby("criterion")}
    return f" (with {FEW} % off, {100 * kept[OWN]:.0f} and {100 * kept[WEIGHTS]:.0f} %)"


def since(each: pandas.DataFrame) -> str:
    """What C13 is in the networks that were measured after it had been chosen. Arguments: each: of `opening.blocks`."""
    own = each[each["claim"] == "C13"].dropna(subset="difference") if len(each) else each
    later = claims.unseen(own, claims.LOOKED_AT) if len(own) else own
    if len(later) < 2 or len(later) == len(own):
        return ""
    first, numbers = len(own) - len(later), claim_answers.over("C13", later)
    return f" This was chosen after a look at {first} of them; in those measured since it is {numbers}."


def within_layers(measured: pandas.DataFrame, means: pandas.DataFrame, value: str) -> str:
    """What the recommended criterion and weight magnitude scaled within each layer keep, in the mean over networks.

    Arguments:
        measured, means: of `over_panels.measured` and `given_back.by_criterion`, of networks of which either may have
            both criteria.
        value: the column to compare: relative auc, without repair or with it.
    """
    most = measurements.on_most_examples(means) if "examples" in means else means
    rows, seeds = over_panels.of_each([most, measured], (OWN, WITHIN), value, measured)
    both = rows.dropna()
    if both.empty:
        return ""
    counts = seeds[both.index]
    own, within = 100 * numpy.average(both, axis=0, weights=counts)
    where = counted(int(counts.sum()), "network")
    lacking = list(dict.fromkeys(rows.index[rows[WITHIN].isna() & rows[OWN].notna()].get_level_values("network")))
    without = f", not measured in {listed(f'`{name}`' for name in lacking)}" if lacking else ""
    return (
        f" Scaled within each layer (`{WITHIN}`), weight magnitude keeps {within:.0f} % where `{OWN}` keeps {own:.0f} %"
        f" ({where}{without})."
    )


def shrunk(table: pandas.DataFrame) -> str:
    """What both leave where networks are not masked, but shrink, in the networks that can be repaired, if there are
    any. Arguments: table: of `smaller.shrunk`."""
    if "budget" not in table or table.empty:
        return ""
    kept = table.reindex(columns=["accuracy", *REPAIRS]).mul(100 / table["accuracy_unpruned"], axis=0)
    keys = ["panel", *RUN, "budget", "criterion"]
    wide = kept.set_index(pandas.MultiIndex.from_frame(table[keys])).unstack("criterion")
    both = {word: wide[word].reindex(columns=[OWN, WEIGHTS]).dropna() for word in kept}
    if both["accuracy"].empty:
        return ""
    both = {word: _at_every_budget(rows) for word, rows in both.items()}
    before, after = both["accuracy"], both["accuracy_repaired"]
    if len(after):
        before = both["accuracy"] = before.loc[before.index.intersection(after.index, sort=False)]
    budgets = listed(f"{100 * budget:.0f}" for budget in sorted(before.index.unique("budget")))
    count = len(before.index.droplevel("budget").unique())
    networks = f"{counted(count, 'network')}{' with BatchNorms' if len(after) else ''} whose weights are at hand"
    more, less = _wins(before, OWN, WEIGHTS), _wins(before, WEIGHTS, OWN)
    said = f"**In networks that really shrink `{OWN}` keeps more than `{WEIGHTS}` in {more}, and less in {less}, of "
    said += f"{networks}** (exploratory; by more than a point of their accuracy, with {budgets} % of the multiply-adds "
    said += "gone; what is above is of units switched off)"
    if len(after):
        more, less = _wins(after, OWN, WEIGHTS), _wins(after, WEIGHTS, OWN)
        said += f"; {REPAIRS['accuracy_repaired']} more in {more}, and less in {less}"
    here = {word: rows[numpy.isclose(rows.index.get_level_values("budget"), GONE)] for word, rows in both.items()}
    if here["accuracy"].empty:
        return f"{said}."
    first, *others = _leave(here["accuracy"], table)
    names = f"it leaves {first[0]:.0f} % of the accuracy and `{WEIGHTS}` {first[1]:.0f} % on {first[2]}"
    each = [listed([names, *map(PAIR.format, others)])]
    each += [
        f"{how} {listed(map(PAIR.format, _leave(here[word], table)))}"
        for word, how in REPAIRS.items()
        if len(here[word])
    ]
    return f"{said}. With {100 * GONE:.0f} % gone {'; '.join(each)}."


def _at_every_budget(kept: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of networks that have all budgets that any has."""
    names = [name for name in kept.index.names if name != "budget"]
    count = kept.groupby(level=names)[OWN].transform("size")
    return kept[count == kept.index.get_level_values("budget").nunique()]


def _wins(kept: pandas.DataFrame, one: str, other: str) -> str:
    """In how many networks the one keeps more than the other by more than a point, at every budget: "2, 3 and 4"."""
    ahead = kept[one] > kept[other] + 1
    return listed(f"{count}" for count in ahead.groupby(level="budget").sum())


def _leave(kept: pandas.DataFrame, table: pandas.DataFrame) -> list[tuple[float, float, str]]:
    """What both leave (%), in the mean over the networks of each data set, and its name, in the table's order."""
    means = kept.groupby(level="dataset").mean()
    there = [dataset for dataset in table["dataset"].unique() if dataset in means.index]
    return [(*means.loc[dataset, [OWN, WEIGHTS]], dataset) for dataset in there]


def like_chance(measured: pandas.DataFrame) -> str:
    """In which networks weight magnitude orders units no better than chance does, or worse.
    Arguments: measured: of `over_panels.measured`."""
    keys = ["panel", *PANEL]
    if not {*keys, "criterion"} <= set(measured):
        return ""
    values = measured.groupby([*keys, "criterion"], sort=False)["auc_relative"].mean().unstack()
    both = values.reindex(columns=[WEIGHTS, CHANCE]).dropna()
    ahead, behind = (both[WEIGHTS] > both[CHANCE] + MARGIN), (both[WEIGHTS] < both[CHANCE] - MARGIN)
    kinds = {"no better than": both[~ahead & ~behind], "worse than": both[behind]}
    said = []
    for how, rows in kinds.items():
        if names := dict.fromkeys(rows.index.get_level_values("network")):
            beside = listed(f"{row[WEIGHTS]:.2f} against {row[CHANCE]:.2f}" for _, row in rows.iterrows())
            numbers = f" ({beside} in relative auc)" if how == "worse than" else ""
            said.append(f" In {listed(f'`{name}`' for name in names)} `{WEIGHTS}` is {how} a random order{numbers}.")
    return "".join(said)
