"""The report's question answered in words: sentences made of its tables.

Enters: tables that notebooks save, without those that a profile has not. Leaves: Markdown, in which every number comes
from a table or from the rules of the verdicts, and every judgement from a verdict or from which number is larger or has
which sign.
"""

import pandas

from lib.report import claim_answers, tables
from lib.report.words import capital, listed, on_images, spread
from lib.study.analyses import failures, joint_effects, leaderboards
from lib.study.analyses.headroom import CEILINGS
from lib.study.claims import RECOMMENDED
from lib.study.columns import PANEL
from lib.study.finetuning import DISTILLED, FRESH, TUNED, in_words

BASELINES = {"l2": "the size of weights", "random": "chance"}
NOTHING = pandas.DataFrame()
_OTHERWISE = {DISTILLED: "without labels", FRESH: "from scratch"}  # how the same networks are trained, too


def in_short(
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
) -> str:
    """A Markdown list of what the tables say of the recommended criterion, of normalising and of labels, of the claims
    and of the paper's curves; "" where they say nothing of it.

    Arguments:
        free, labelled: summaries (as of `measurements.summaries`) of criteria that need no labels, and of those that
            do, on as many examples.
        verdicts, parts, behind: of `claims.verdicts`, `claims.parts` and `claims.secondary`.
        numbers: of `mean_curves.in_numbers`, with those of `tested.standard_errors`.
        tuned: of `finetuning.recovery`.
        together: of `joint_effects.means`.
        headroom: of `headroom.means`.
        agreement, single: of `paper.agreement` and `paper.single_runs`.
        contrasts: of `claims.beside_paper`.
    """
    said = [_standing(free, labelled), _anything_better(free), _left_to_gain(headroom), _what_can_go(free)]
    said += [claim_answers.normalising(verdicts, parts, behind)]
    said += [answer(verdicts, parts) for answer in (claim_answers.labels, claim_answers.one_vector)]
    said += [_after_fine_tuning(tuned), _alarm(together), claim_answers.all_claims(verdicts), _how_sure(numbers)]
    said += [beside_paper(agreement, contrasts, single)]
    return "\n".join(f"- {sentences}" for sentences in said if sentences)


def _standing(free: pandas.DataFrame, labelled: pandas.DataFrame) -> str:
    if not _has_recommended(free):
        return ""
    means = _means(free)
    own = means[RECOMMENDED]
    there = {name: words for name, words in BASELINES.items() if name in means}
    sides = {"better": [name for name in there if own > means[name]]}
    sides |= {"no better": [name for name in there if name not in sides["better"]]}
    answer = [
        f"{side} than " + listed(f"by {there[name]} (`{name}`: {means[name]:.3f})" for name in names)
        for side, names in sides.items()
        if names
    ]
    opening = f"**Can you tell without labels?** {capital(', but '.join(answer))}" if answer else "**Without labels**"
    said = f"{opening}: `{RECOMMENDED}`, which needs none, has a mean relative auc of {own:.3f}, scored on "
    said += f"{free.loc[free['criterion'] == RECOMMENDED, 'used'].max():,} images."
    return " ".join(filter(None, [said, _best_with_labels(own, labelled)]))


def _anything_better(free: pandas.DataFrame) -> str:
    if not _has_recommended(free) or free["criterion"].nunique() < 2:
        return ""
    means = _means(free)
    parts = [_place(means), _best_by_weights(free, means[RECOMMENDED]), _by_cost(free)]
    return f"**Is anything better without labels?** {' '.join(filter(None, parts))}"


def _best_by_weights(free: pandas.DataFrame, own: float) -> str:
    """Of the best criterion that looks at weights and at no image, chance left out, if there is one."""
    blind = free[(free["used"] == 0) & ~free["criterion"].str.match("random(:|$)")]
    if blind.empty:
        return ""
    best, value = next(_means(blind).items())
    both = free[free["criterion"].isin([best, RECOMMENDED])]
    by_panel = both.pivot_table(index=PANEL, columns="criterion", values="auc_relative")
    ahead = int((by_panel[best] > by_panel[RECOMMENDED]).sum())
    return (
        f"Of {blind['criterion'].nunique()} that look at weights alone the best, `{best}`, has {value:.3f}, "
        f"{'more' if value > own else 'no more'} than it, and is ahead on {ahead} of {_panels(by_panel)}."
    )


def _panels(table: pandas.DataFrame) -> str:
    return f"{len(table)} networks (means over their seeds)" if len(table) > 1 else "1 network (its seeds' mean)"


def _place(means: pandas.Series) -> str:
    best, place = means.index[0], list(means.index).index(RECOMMENDED) + 1
    if best == RECOMMENDED:
        return f"Not in the mean: it is the best of {len(means)} criteria that take none."
    return (
        f"Among {len(means)} criteria that take none it is in place {place}; the best, `{best}`, has {means[best]:.3f}."
    )


def _by_cost(free: pandas.DataFrame) -> str:
    """Its place where criteria are compared at equal multiply-adds, among those whose curves all reach as far."""
    if "auc_relative_macs" not in free:
        return ""
    board = leaderboards.leaderboard(free).set_index("criterion")
    means = board["auc_relative_macs"].dropna().sort_values(ascending=False)
    if RECOMMENDED not in means:
        return ""
    place = f"{list(means.index).index(RECOMMENDED) + 1} of {len(means)}"
    best = "" if means.index[0] == RECOMMENDED else f" (the best, `{means.index[0]}`, has {means.iloc[0]:.3f})"
    return (
        f"Over the first quarter of the multiply-adds that go, instead of half of the units, it has "
        f"{means[RECOMMENDED]:.3f} and place {place}{best}."
    )


def _best_with_labels(own: float, labelled: pandas.DataFrame) -> str:
    if labelled.empty:
        return ""
    means = _means(labelled)
    best, side = means.index[0], "more" if means.iloc[0] > own else "no more"
    return f"Of {len(means)} that need labels, on as many, the best, `{best}`, has {means[best]:.3f}, {side} than it."


def _has_recommended(table: pandas.DataFrame) -> bool:
    return "criterion" in table and RECOMMENDED in set(table["criterion"])


def _means(summary: pandas.DataFrame) -> pandas.Series:
    return leaderboards.leaderboard(summary).set_index("criterion")["auc_relative"]  # best first


def _left_to_gain(headroom: pandas.DataFrame) -> str:
    """How far it goes to the best of the orders that are known only afterwards."""
    if not _has_recommended(headroom):
        return ""
    means = headroom.groupby("criterion")[["auc_relative", "furthest"]].mean()
    tops, there = ([name for name in names if name in means.index] for names in (CEILINGS, (RECOMMENDED, "l2")))
    aucs = listed(f"`{name}`: {means.loc[name, 'auc_relative']:.3f}" for name in tops)
    ways = listed(f"`{name}` {100 * means.loc[name, 'furthest']:.0f} %" for name in there)
    beyond = " (above 100 %: further than any of these orders)" if (means.loc[there, "furthest"] > 1).any() else ""
    return (
        f"**How much is left to gain?** Of the way from chance to the best order that is known only afterwards, from "
        f"the oracle's images ({aucs}), criteria go, in the mean over networks: {ways}{beyond}."
    )


def _what_can_go(free: pandas.DataFrame) -> str:
    if not _has_recommended(free):
        return ""
    own = free[free["criterion"] == RECOMMENDED]
    kept = {share: (own[f"accuracy_{share}pct"] / own["accuracy_unpruned"]).mean() for share in (10, 25, 50)}
    shares, left = listed(map(str, kept)), listed(f"{100 * value:.0f}" for value in kept.values())
    return (
        f"**Which can go?** Those that it ranks lowest: with {shares} % of all units off a network keeps on average "
        f"{left} % of its accuracy."
    )


def _after_fine_tuning(tuned: pandas.DataFrame) -> str:
    if not _has_recommended(tuned):
        return ""
    budgets = tuned.groupby(["of", "budget"], sort=False)
    first, *others = [_after_budget(of, budget, here) for (of, budget), here in budgets if _has_recommended(here)]
    return f"**After fine-tuning** {' '.join([first, *map(capital, others)])}"


def _after_budget(of: str, budget: float, here: pandas.DataFrame) -> str:
    """What is said of the networks that lost as much of one resource; they differ in the other."""
    ends = {how: _by_panel(here[here["training"] == how], "after") for how in (TUNED, DISTILLED, FRESH)}
    tuned = ends[TUNED]
    there = [name for name in BASELINES if name in tuned]
    shown = []
    for panel, row in tuned.iterrows():
        beside = [f"`{name}`: {100 * row[name]:.1f}" for name in there]
        for how, said in _OTHERWISE.items():
            if RECOMMENDED in ends[how]:
                beside.append(f"the same network {said}: {100 * ends[how].loc[panel, RECOMMENDED]:.1f}")
        shown.append(
            f"{100 * row[RECOMMENDED]:.1f} % on {', '.join(panel)}" + (f" ({', '.join(beside)})" if beside else "")
        )
    said = f"networks that it shrank by {in_words(of, budget)} have a mean accuracy of {listed(shown)}."
    if not there:
        return said
    ahead = listed(f"`{name}` on {int((tuned[RECOMMENDED] > tuned[name]).sum())}" for name in there)
    column, one = {"macs": ("parameters", "parameter"), "parameters": ("multiply_adds", "multiply-add")}[of]
    left = _by_panel(here[here["training"] == TUNED], column)
    sizes = listed(f"`{name}` {(left[name] / left[RECOMMENDED]).mean():.1f}" for name in there)
    return (
        f"{said} They are not alike in size: per {one} that it keeps, {sizes}. It is ahead of {ahead}, of "
        f"{_panels(tuned)}."
    )


def _by_panel(table: pandas.DataFrame, column: str) -> pandas.DataFrame:
    return table.pivot_table(index=PANEL, columns="criterion", values=column, sort=False)


def _alarm(together: pandas.DataFrame) -> str:
    if not _has_recommended(together):
        return ""
    own = together[(together["criterion"] == RECOMMENDED) & (together["alarm"].fillna("") != "")]
    if own.empty:
        return ""
    most = own[joint_effects.TOGETHER].max()
    where = listed(own["dataset"] + ", " + own["network"])
    return (
        f"**An alarm**: units that it ranks lowest matter together. With a tenth of all units off at once the squared "
        f"change of the output is up to {most:.1f} times the sum of their single squared changes ({where}; an alarm "
        f"from {failures.LIMITS['together']} on)."
    )


def _how_sure(numbers: pandas.DataFrame) -> str:
    own = numbers[numbers["criterion"] == RECOMMENDED] if "standard_error" in numbers else NOTHING
    if own.empty:
        return ""
    panels = [
        f"{row.test_images:,.0f} test images leave it uncertain by {row.standard_error:.3f} ({row.dataset}, "
        f"{row.network})"
        for row in own.itertuples()
    ]
    return (
        f"**How sure is a single number?** Of the relative auc of one curve of `{RECOMMENDED}`: {'; '.join(panels)}. "
        f"That is a standard error, rather too large. All networks are tested on the same images, so that no interval "
        f"over networks contains it; much of it cancels in differences between criteria."
    )


def beside_paper(agreement: pandas.DataFrame, contrasts: pandas.DataFrame, single: pandas.DataFrame) -> str:
    """Whether the paper's curves come out again, from tables as of `in_short`; "" where they say nothing of it."""
    shown = agreement[agreement["spearman"].notna()] if len(agreement) else agreement
    if shown.empty:
        return ""
    panels = [
        f"{listed(f'{rho:.2f}' for rho in here['spearman'])} on {on_images(here['examples'])} ({', '.join(names)})"
        for names, here in shown.groupby(["dataset", "network"], sort=False)
    ]
    said = "**Do the paper's curves come out again?** Its criteria's aucs and ours have a rank correlation of "
    return " ".join(filter(None, [f"{said}{'; '.join(panels)}.", _signs(contrasts), _single_runs(single)]))


def _signs(contrasts: pandas.DataFrame) -> str:
    """Which differences between criteria have the paper's sign, of those that a claim is about."""
    if contrasts.empty:
        return ""
    deciding = (contrasts["part"] == "contrast") & (contrasts["kind"] == "difference")
    shown = contrasts[deciding & contrasts["paper"].notna()]
    if shown.empty:
        return ""
    same, names = int((shown["effect"] * shown["paper"] > 0).sum()), listed(shown["claim"].unique())
    said = f"Of {len(shown)} differences that its curves show for claims of a difference ({names}), {same} have the "
    said += "same sign here."
    surely = (shown[["lowest", "highest"]].mul(shown["paper"], axis=0) < 0).all(axis=1) & (shown["blocks"] > 1)
    for (network, blocks), other in shown[surely].groupby(["network", "blocks"], sort=False):
        where = "; ".join(f"{row.label}, on {row.examples:,} images ({row.claim})" for row in other.itertuples())
        said += f" Each of our {blocks} {network}s has the other sign in {len(other)}: {where}."
    return said


def _single_runs(single: pandas.DataFrame) -> str:
    shown = single.dropna(subset=["disagree"]) if len(single) else single
    if shown.empty:
        return ""
    here, there = (spread(100 * shown[column], ".0f") for column in ("disagree", "disagree_paper"))
    return (
        f"One run per curve tells little of small differences: that between two criteria varies from one of our "
        f"networks to the next with a standard deviation of {spread(shown['sd'], '.3f')} in relative auc. Two of our "
        f"networks put {here} % of the pairs of the paper's criteria in opposite orders, the paper's run and one of "
        f"ours {there} % (from one number of images to another)."
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
