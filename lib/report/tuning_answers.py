"""Which of two criteria is ahead once shrunk networks are trained a little more, and what to rank by there.

Enters: the table of `finetuning.summary`. Leaves: sentences, in which every number comes from it.
"""

from collections.abc import Sequence

import pandas

from lib.report.words import counted, listed, of_networks, spread
from lib.study import claims, finetuning
from lib.study.columns import RUN
from lib.study.finetuning import PRICED, SETTLED, TUNED, in_words
from lib.study.statistics import groups_of, too_few

OWN, WEIGHTS = claims.RECOMMENDED, "l2"
BUDGET = ["of", "budget"]  # levels of the tables of `of_both`


def after(tuned: pandas.DataFrame) -> str:
    """Which of both is ahead once the shrunk networks are trained a little more.

    Arguments:
        tuned: of `finetuning.summary`.
    """
    ends = of_both(tuned)
    if ends.empty:
        return ""
    best, each = _best(ends), _each_end(ends)
    lead = {OWN: f"`{OWN}` is still ahead", WEIGHTS: "weight magnitude is ahead", "": "both end alike"}
    said = lead.get(best, "it depends on what goes which of both is ahead")
    return f"**After fine-tuning {said}**: mean accuracy {each}.{_per_multiply_add(tuned)}"


def beyond(tuned: pandas.DataFrame, claimed: tuple[str, float]) -> str:
    """What a claim about the budget `claimed` leaves out: both at other budgets, and where units are ranked by score
    per multiply-add. Arguments: tuned: of `finetuning.summary`."""
    ends = of_both(tuned)
    others = ends[[budget != claimed for budget in ends.index.droplevel(RUN)]]
    found = f" Not covered by this claim: {_each_end(others)}." if len(others) else ""
    unlike = sizes(tuned, [WEIGHTS])
    return found + (f" {unlike}" if unlike else "") + _per_multiply_add(tuned)


def sizes(tuned: pandas.DataFrame, beside: Sequence[str]) -> str:
    """What networks by the criteria `beside` keep besides what the budget is of, set against the recommended one's.
    Arguments: tuned: of `finetuning.summary`."""
    if not {*BUDGET, "training", "parameters", "multiply_adds"} <= set(tuned):
        return ""
    said = []
    for (of, budget), here in tuned[tuned["training"] == TUNED].groupby(BUDGET, sort=False):
        column, words = {"macs": ("parameters", "parameters"), "parameters": ("multiply_adds", "multiply-adds")}[of]
        left = here.pivot_table(index=list(RUN), columns="criterion", values=column)
        there = [name for name in beside if name in left and OWN in left]
        ratios = [f"`{name}` keeps {(left[name] / left[OWN]).mean():.2f}" for name in there]
        if ratios:
            said.append(f"without {in_words(of, budget)} {listed(ratios)} times as many {words} as `{OWN}`")
    return f"Their networks are not alike in size: {'; '.join(said)}." if said else ""


def _each_end(ends: pandas.DataFrame) -> str:
    return "; ".join(_end(budget, here) for budget, here in ends.groupby(level=BUDGET, sort=False))


def _per_multiply_add(tuned: pandas.DataFrame) -> str:
    """How the recommended criterion's networks end that are ranked by score per multiply-add."""
    ends = of_both(tuned, PRICED)
    each = [
        f"{_end_of(here)} without {in_words(*budget)}" for budget, here in ends.groupby(level=BUDGET, sort=False)
    ] if len(ends) else []  # fmt: skip
    return f" Ranked by score per multiply-add `{OWN}` ends {listed(each)}." if each else ""


def _end_of(ends: pandas.DataFrame) -> str:
    gap, ahead = _gaps(ends).mean(), int((ends[OWN] > ends[WEIGHTS]).sum())
    side = f"{abs(gap):.1f} points {'above' if gap > 0 else 'below'} `{WEIGHTS}`"
    side = f"level with `{WEIGHTS}`" if f"{abs(gap):.1f}" == "0.0" else side
    return f"{side} (ahead in {of_networks(ahead, len(ends))})"


def _end(budget: tuple, ends: pandas.DataFrame) -> str:
    """Mean accuracies of both without a budget, and in how many networks the first is ahead."""
    own, weights = 100 * ends[OWN].mean(), 100 * ends[WEIGHTS].mean()
    ahead = of_networks(int((ends[OWN] > ends[WEIGHTS]).sum()), len(ends))
    gone = f"with {in_words(*budget)} gone"
    return f"{own:.1f} % by `{OWN}` and {weights:.1f} % by `{WEIGHTS}` {gone} (`{OWN}` ahead in {ahead})"


def rank_by(tuned: pandas.DataFrame) -> str:
    """What to rank by where networks are fine-tuned. Arguments: tuned: of `finetuning.summary`."""
    ends = of_both(tuned)
    if ends.empty:
        return ""
    best, priced = _best(ends), of_both(tuned, PRICED)
    if len(priced) and _best(ends.reindex(priced.index)) != OWN and _best(priced) == OWN:
        gaps = _gaps(priced)
        budgets = listed(in_words(*budget) for budget in gaps.index)
        return (
            f"**If you fine-tune, rank by score per multiply-add, of `{OWN}`**, as the tool does: it ended "
            f"{spread(gaps, '.1f')} points above `{WEIGHTS}` without {budgets}, which by score alone it did not"
            f"{_in_how_many(priced)}."
        )
    if best == "":
        return (
            f"**If you fine-tune, either will do**: `{WEIGHTS}`, which needs no images, ends where `{OWN}` does"
            f"{_in_how_many(ends)}."
        )
    if best not in (OWN, WEIGHTS):
        return f"**If you fine-tune, it depended on what went**: {_each_lead(ends)}."
    few = _in_how_many(ends)
    settled = all(_is_settled(here) for _, here in ends.groupby(level=BUDGET))
    what = f"rank by `{best}`" if settled else "try both rankings"
    other, gap = WEIGHTS if best == OWN else OWN, spread(_gaps(ends).abs(), ".1f")
    return f"**If you fine-tune, {what}**: by scores alone `{best}` ended {gap} points above `{other}`{few}."


def _each_lead(ends: pandas.DataFrame) -> str:
    """Which of both ended ahead with each budget, and whether C14's rule would call that settled."""
    leads = []
    for budget, here in ends.groupby(level=BUDGET, sort=False):
        gap = here[OWN] - here[WEIGHTS]
        who, sign = (OWN, 1) if gap.mean() > 0 else (WEIGHTS, -1)
        count = of_networks(int((sign * gap > 0).sum()), len(gap))
        leads.append(
            f"`{who}` ended {abs(100 * gap.mean()):.1f} points ahead without {in_words(*budget)} "
            f"(in {count}{'' if _is_settled(here) else ', open'})"
        )
    where = listed(dict.fromkeys(f"`{row.network}` on {row.dataset}" for row in ends.reset_index().itertuples()))
    return f"on {where}, by scores alone, {listed(leads)}"


def _is_settled(ends: pandas.DataFrame) -> bool:
    """Whether one of both is ahead at a budget by the rules of C14's verdict."""
    gaps = (ends[OWN] - ends[WEIGHTS]).rename("difference").reset_index()
    found = claims.judge(claims.AFTER_TUNING, gaps["difference"], groups_of(gaps))
    return found["verdict"] in ("supported", "contradicted")


def _in_how_many(ends: pandas.DataFrame) -> str:
    """How many networks that was seen in, where they are too few to be sure."""
    count = len(ends.index.droplevel(BUDGET).unique())
    return f" (in {counted(count, 'network')}: too few to be sure)" if too_few(count) else ""


def _gaps(ends: pandas.DataFrame) -> pandas.Series:
    """By how many points the recommended criterion is ahead at every budget."""
    means = 100 * ends.groupby(level=BUDGET, sort=False).mean()
    return means[OWN] - means[WEIGHTS]


def _best(ends: pandas.DataFrame) -> str:
    """Which of both is ahead at every budget, on average over networks; "" where no lead is worth speaking of, and
    "either" where one leads here and the other there."""
    gaps = (ends[OWN] - ends[WEIGHTS]).groupby(level=BUDGET).mean()
    if (gaps.abs() < SETTLED).all():
        return ""
    return OWN if (gaps >= 0).all() else WEIGHTS if (gaps <= 0).all() else "either"


def of_both(tuned: pandas.DataFrame, how: str = TUNED) -> pandas.DataFrame:
    """Accuracy after fine-tuning by both criteria, as `finetuning.ends` says; the recommended one's networks are made
    `how`."""
    return finetuning.ends(finetuning.as_now(tuned), OWN, WEIGHTS, how)
