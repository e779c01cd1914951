"""The answer that each section of a report begins with, in words: sentences made of its tables.

Enters: tables that notebooks save, without those that a profile has not. Leaves: Markdown, in which every number comes
from a table or from the rules of the verdicts, and every judgement from a verdict or from which number is larger or has
which sign. The answer comes first, then its evidence, then its limit.
"""

import pandas

from lib.report import claim_answers, opening, tables, tuning_answers
from lib.report.words import capital, listed, of_networks, spread
from lib.study import claims
from lib.study.analyses import failures, joint_effects, leaderboards
from lib.study.analyses.headroom import CEILINGS
from lib.study.claims import RECOMMENDED
from lib.study.columns import RUN
from lib.study.finetuning import DISTILLED, FRESH, PRICED, TUNED
from lib.study.statistics import MARGIN

BASELINES = {"l2": "weight magnitude", "random": "chance"}
NOTHING = pandas.DataFrame()
_OTHERWISE = {
    PRICED: "if ranked by score per multiply-add",
    DISTILLED: "if distilled (without labels)",
    FRESH: "if trained from scratch (on all images, by the whole recipe)",
}
_LEVEL = 0.0005  # a difference that tables round to 0


def by_section(
    *,
    free: pandas.DataFrame = NOTHING,
    labelled: pandas.DataFrame = NOTHING,
    verdicts: pandas.DataFrame = NOTHING,
    parts: pandas.DataFrame = NOTHING,
    behind: pandas.DataFrame = NOTHING,
    numbers: pandas.DataFrame = NOTHING,
    tuned: pandas.DataFrame = NOTHING,
    together: pandas.DataFrame = NOTHING,
    headroom: pandas.DataFrame = NOTHING,
    agreement: pandas.DataFrame = NOTHING,
    contrasts: pandas.DataFrame = NOTHING,
    single: pandas.DataFrame = NOTHING,
) -> dict[str, str]:
    """What to say first in each section, by its notebook, or, of the sections in front, by its heading; sections of
    which the tables say nothing are not there.

    Arguments:
        free, labelled: summaries (as of `measurements.summaries`) of criteria that need no labels, and of those that
            do, on as many examples.
        verdicts, parts, behind: of `claims.verdicts`, `claims.parts` and `claims.secondary`.
        numbers: of `mean_curves.in_numbers`, with those of `tested.standard_errors`.
        tuned: of `finetuning.summary`.
        together: of `joint_effects.means`.
        headroom: of `headroom.means`.
        agreement, single: of `paper.agreement` and `paper.single_runs`.
        contrasts: of `claims.beside_paper`.
    """
    said = {
        "The curves in short": [_what_can_go(free), _how_sure(numbers)],
        "The best label-free criteria": [_best_with_labels(free, labelled)],
        "12-first-experiments": [opening.labels(verdicts, parts)],
        "15-replication": [beside_paper(agreement, contrasts, single)],
        "20-normalization": [claim_answers.normalising(verdicts, behind)],
        "30-sign": [claim_answers.one(verdicts, "C2"), claim_answers.one(verdicts, "C10")],
        "40-label-scarcity": [claim_answers.one(verdicts, "C4")],
        "50-gradient-source": [claim_answers.one_vector(verdicts, parts)],
        "60-rivals": [claim_answers.one(verdicts, "C13"), _anything_better(free)],
        "65-repair": [opening.repaired(verdicts), claim_answers.one(verdicts, "C11")],
        "70-oracle": [_left_to_gain(headroom), _alarm(together)],
        "80-cost": [
            claim_answers.one(verdicts, "C14"),
            tuning_answers.after(tuned),
            tuning_answers.sizes(tuned, BASELINES),
            _otherwise(tuned),
            claim_answers.one(verdicts, "C8"),
        ],
    }
    whole = {section: " ".join(filter(None, sentences)) for section, sentences in said.items()}
    return {section: words for section, words in whole.items() if words}


# ---- criteria -----------------------------------------------------------------------------------------------------


def _best_with_labels(free: pandas.DataFrame, labelled: pandas.DataFrame) -> str:
    if not _has_recommended(free) or labelled.empty:
        return ""
    best, count = _means(labelled).index[0], labelled["criterion"].nunique()
    found = _beside(pandas.concat([free, labelled[labelled["criterion"] == best]]), best)
    return (
        f"Beside `{RECOMMENDED}`, which needs no labels, the best of {count} criteria with labels, `{best}`, "
        f"is {found}."
    )


def _anything_better(free: pandas.DataFrame) -> str:
    if not _has_recommended(free) or free["criterion"].nunique() < 2:
        return ""
    means = _means(free)
    return " ".join(filter(None, [_place(free, means), _best_by_weights(free), _by_cost(free)]))


def _place(free: pandas.DataFrame, means: pandas.Series) -> str:
    best, place = means.index[0], list(means.index).index(RECOMMENDED) + 1
    if best == RECOMMENDED:
        return f"**No: `{RECOMMENDED}` is the best of {len(means)} criteria that need no labels.**"
    sure = "a little" if means[best] - means[RECOMMENDED] < MARGIN else "some"
    return (
        f"**Yes, {sure}: `{RECOMMENDED}` is number {place} of {len(means)} criteria that need no labels**; the best, "
        f"`{best}`, is {_beside(free, best)}."
    )


def _best_by_weights(free: pandas.DataFrame) -> str:
    """Of the best criterion that looks at weights and at no image, chance left out, if there is one."""
    blind = free[(free["used"] == 0) & ~free["criterion"].str.match("random(:|$)")]
    if blind.empty:
        return ""
    best = _means(blind).index[0]
    of = blind["criterion"].nunique()
    return f"The best of {of} that look at weights alone, `{best}`, is {_beside(free, best)}."


def _by_cost(free: pandas.DataFrame) -> str:
    """Its place where criteria are compared at equal multiply-adds, among those whose curves all reach as far."""
    if "auc_relative_macs" not in free:
        return ""
    board = leaderboards.leaderboard(free).set_index("criterion")
    means = board["auc_relative_macs"].dropna().sort_values(ascending=False)
    if RECOMMENDED not in means:
        return ""
    place, lead = list(means.index).index(RECOMMENDED) + 1, means.iloc[0] - means[RECOMMENDED]
    best = "" if place == 1 else f", {lead:.3f} behind `{means.index[0]}`"
    return (
        f"Counted in multiply-adds instead of units, over the first quarter, it is number {place} of "
        f"{len(means)}{best}."
    )


def _beside(table: pandas.DataFrame, name: str) -> str:
    """By how much, and in how many trained networks, a criterion is ahead of the recommended one."""
    both = table[table["criterion"].isin([name, RECOMMENDED])]
    values = both.pivot_table(index=list(RUN), columns="criterion", values="auc_relative").dropna()
    leads = values[name] - values[RECOMMENDED]
    if abs(leads.mean()) < _LEVEL:
        return "level with it"
    side, count = ("ahead of it", (leads > 0).sum()) if leads.mean() > 0 else ("behind it", (leads < 0).sum())
    return f"{side} by {abs(leads.mean()):.3f}, in {of_networks(int(count), len(leads))}"


def _has_recommended(table: pandas.DataFrame) -> bool:
    return "criterion" in table and RECOMMENDED in set(table["criterion"])


def _means(summary: pandas.DataFrame) -> pandas.Series:
    return leaderboards.leaderboard(summary).set_index("criterion")["auc_relative"]  # best first


def _left_to_gain(headroom: pandas.DataFrame) -> str:
    """How far it goes to the best of the orders that are known only afterwards."""
    if not _has_recommended(headroom):
        return ""
    means = headroom.groupby("criterion")["furthest"].mean()
    ways = [f"`{name}` {100 * means[name]:.0f} %" for name in (RECOMMENDED, "l2") if name in means]
    tops = [f"`{name}`" for name in CEILINGS if name in means]
    beyond = " (more than 100 %: further than any of them)" if means[RECOMMENDED] > 1 else ""
    return (
        f"From chance to the best of {len(tops)} orders that one can know only afterwards ({listed(tops)}; there may "
        f"be better ones), {' and '.join(ways)} of the way is covered{beyond}."
    )


def _what_can_go(free: pandas.DataFrame) -> str:
    if not _has_recommended(free):
        return ""
    own = free[free["criterion"] == RECOMMENDED]
    kept = {share: (own[f"accuracy_{share}pct"] / own["accuracy_unpruned"]).mean() for share in (10, 25, 50)}
    shares, left = listed(map(str, kept)), listed(f"{100 * value:.0f}" for value in kept.values())
    return (
        f"With {shares} % of the units off, those that `{RECOMMENDED}` ranks lowest, a network keeps {left} "
        f"% of its accuracy."
    )


def _alarm(together: pandas.DataFrame) -> str:
    if not _has_recommended(together):
        return ""
    own = together[(together["criterion"] == RECOMMENDED) & (together["alarm"].fillna("") != "")]
    if own.empty:
        return ""
    most = own[joint_effects.TOGETHER].max()
    where = listed(own["dataset"] + ", " + own["network"])
    return (
        f"**But units that it ranks lowest matter together** ({where}): a tenth of all units off at once change the "
        f"output up to {most:.1f} times as much as the sum of their single changes (squared; above "
        f"{failures.LIMITS['together']} counts as a failure)."
    )


def _how_sure(numbers: pandas.DataFrame) -> str:
    own = numbers[numbers["criterion"] == RECOMMENDED] if "standard_error" in numbers else NOTHING
    if own.empty:
        return ""
    error, images = spread(own["standard_error"], ".3f"), spread(own["test_images"], ",.0f")
    return f"One curve of `{RECOMMENDED}` has a standard error of {error} in relative auc, from {images} test images."


# ---- after fine-tuning --------------------------------------------------------------------------------------------


def _otherwise(tuned: pandas.DataFrame) -> str:
    """How much higher or lower the recommended criterion's networks end that are made in another way."""
    if not _has_recommended(tuned):
        return ""
    own = tuned[tuned["criterion"] == RECOMMENDED]
    ends = own.pivot_table(index=[*RUN, "of", "budget"], columns="training", values="after")
    gaps = {how: 100 * (ends[how] - ends[TUNED]).mean() for how in _OTHERWISE if how in ends and TUNED in ends}
    if not gaps:
        return ""
    each = (f"{_points(gap)} {_OTHERWISE[how]}" for how, gap in gaps.items())
    return f"Its networks, made in other ways, end {listed(each)}."


def _points(gap: float) -> str:
    if abs(gap) < 0.05:
        return "alike"
    return f"{abs(gap):.1f} points {'higher' if gap > 0 else 'lower'}"


# ---- beside the paper ---------------------------------------------------------------------------------------------


def beside_paper(
    agreement: pandas.DataFrame, contrasts: pandas.DataFrame, single: pandas.DataFrame, *, short: bool = False
) -> str:
    """Whether the paper's curves come out again, from tables as of `by_section`; "" where they say nothing of it.

    Arguments:
        short: without which signs differ, and what single runs tell.
    """
    shown = agreement[agreement["spearman"].notna()] if len(agreement) else agreement
    if shown.empty:
        return ""
    means = shown.groupby("dataset", sort=False)["spearman"].mean()
    several = len(means) > 1
    words = listed(f"{_how_much(mean)}{f' on {dataset}' if several else ''}" for dataset, mean in means.items())
    numbers = listed(f"{mean:.2f}" for mean in means)
    said = f"**{capital(words)}: its order of criteria and ours have a rank correlation of {numbers}**"
    ends = listed(spread(here, ".2f") for _, here in shown.groupby("dataset", sort=False)["spearman"])
    more = f" in the mean ({ends}, depending on the number of images)"
    more = "" if len(shown) == 1 else more if several or " to " in ends else " on each number of images"
    rest = [_signs(contrasts, short)] if short else [_signs(contrasts), _single_runs(single)]
    return " ".join(filter(None, [f"{said}{more}.", *rest]))


def _how_much(correlation: float) -> str:
    return "largely" if correlation >= 0.7 else "in part" if correlation >= 0.4 else "hardly"


def _signs(contrasts: pandas.DataFrame, short: bool = False) -> str:
    """Which differences between criteria have the paper's sign, of those that a claim is about."""
    if contrasts.empty:
        return ""
    deciding = contrasts[(contrasts["part"] == "contrast") & contrasts["paper"].notna()]
    kinds = deciding["claim"].map(claims.kind)
    shown, lost = (deciding[kinds == kind] for kind in ("difference", "non-inferiority"))
    if shown.empty:
        return ""
    other = shown[shown["effect"] * shown["paper"] <= 0]
    same = len(shown) - len(other)
    rest = f"; the others are of {listed(dict.fromkeys(other['claim']))}" if short and len(other) else ""
    said = f"Of {len(shown)} differences that its curves show for our claims, {same} have the same sign here{rest}."
    if len(lost):
        alike = int((lost["effect"] * lost["paper"] > 0).sum())
        said += f" For {listed(dict.fromkeys(lost['claim']))} (that nothing is lost) {alike} of {len(lost)} do."
    if short:
        return said
    surely = (shown[["lowest", "highest"]].mul(shown["paper"], axis=0) < 0).all(axis=1) & (shown["blocks"] > 1)
    for (network, blocks), other in shown[surely].groupby(["network", "blocks"], sort=False):
        where = "; ".join(f"{row.label}, on {row.examples:,} images ({row.claim})" for row in other.itertuples())
        said += f" The other sign in each of our {blocks} {network}s: {where}."
    return said


def _single_runs(single: pandas.DataFrame) -> str:
    shown = single.dropna(subset=["disagree"]) if len(single) else single
    if shown.empty:
        return ""
    here, there = (spread(100 * shown[column], ".0f") for column in ("disagree", "disagree_paper"))
    return (
        f"One run per curve, as in the paper, tells little of small differences: two of our networks put {here} "
        f"% of the "
        f"pairs of criteria in opposite orders, the paper's run and one of ours {there} %."
    )


def legend() -> pandas.DataFrame:
    """The columns of `failures.signatures` for readers: sign (its header), meaning, limit (from where on there is an
    alarm, as tables show the number) and alarm (its words)."""
    shown = {name: 100 * limit if name in tables.SHARES else limit for name, limit in failures.LIMITS.items()}
    return pandas.DataFrame(
        {
            "sign": tables.header(name),
            "meaning": words,
            "limit": f"{shown[name]:g}" if name in shown else "",
            "alarm": failures.ALARMS.get(name, ""),
        }
        for name, words in failures.SIGNS.items()
    )
