"""What was found, in the words and the table that the README and every report open with.

Enters: finished or published profiles, whose saved tables are all that is read. Leaves: Markdown, whose every number
comes from a table and every judgement from a verdict or from which number is larger.
"""

import re
from collections.abc import Sequence

import pandas

from lib.report import claim_answers, tables
from lib.report.words import counted, listed, of_networks, signed, spread
from lib.study import claims, panels, profiles
from lib.study.analyses import given_back, over_panels
from lib.study.columns import RUN
from lib.study.finetuning import PRICED, SETTLED, TUNED, in_words
from lib.study.statistics import MARGIN, TOO_FEW

OWN, WEIGHTS = claims.RECOMMENDED, "l2"
BUDGET = ["of", "budget"]
MARKS = {"supported": "✓ yes", "contradicted": "✗ no", "open": "○ open", TOO_FEW: "○ too few networks"}
POINTS = {"above": ", points to yes", "below": ", points to no"}  # by where the interval lies, where they are too few
_EARLIER = {"of": "macs", "budget": 0.5, "training": TUNED}  # of all networks of tables without these columns
_ALIKE = 0.05  # a ratio nearer to 1 is called the same
THE_CLAIMS = "the-claims"  # where every report has their table
_OF_CRITERION = re.compile(r"(?P<number>\d\.\d+)(?= by `(?P<of>[^`]+)`)")
_PERCENT = re.compile(r"(?P<number>[\d.]+ %)(?= by `)")
_LEAD = re.compile(r"(?P<number>\d\.\d+)(?= (?:ahead of|behind) )")


def blocks(plans: Sequence[profiles.Profile]) -> pandas.DataFrame:
    """`claims.by_block` of all these profiles, without the claims that their tables do not suffice for."""
    return pandas.concat([claims.by_block(plan, strict=False) for plan in plans], ignore_index=True)


def answer(plans: Sequence[profiles.Profile], verdicts: pandas.DataFrame, where: str = "") -> str:
    """The answer in one sentence, then what it rests on, what labels, fine-tuning and repair change, and its limit.

    Arguments:
        verdicts: of `claims.judged`, over the networks of these profiles.
        where: the report whose tables the numbers link into; by default the one that holds this text.
    """
    measured, numbers = _measured(plans), panels.table(plans, "90-report-curves-numbers")
    parts = panels.table(plans, "90-report-parts") if len(plans) == 1 else pandas.DataFrame()
    parts = parts.fillna({"pair": ""}) if len(parts) else parts  # an empty text in a CSV is read as missing
    board, costs = _sections(plans)
    said = [_linked(without_labels(measured), _OF_CRITERION, f"{where}#{board}")]
    said += [_linked(labels(verdicts, parts), _LEAD, f"{where}#{THE_CLAIMS}", "C3")]
    said += [_linked(after(panels.table(plans, "80-cost-summary")), _PERCENT, f"{where}#{costs}" if costs else "")]
    said += [_linked(repaired(verdicts), _LEAD, f"{where}#{THE_CLAIMS}", "C12"), limit(plans, measured, numbers)]
    return "\n\n".join(filter(None, said))


def _sections(plans: Sequence[profiles.Profile]) -> tuple[str, str]:
    """Where the report of these profiles has the table of relative auc by criterion, and, if it has it, of what
    pruning costs: see the headings of its notebooks."""
    if len(plans) > 1:
        return "the-leaderboard", ""
    named = plans[0].notebooks
    board = "leaderboard-of-label-free-criteria" if "60-rivals" in named else "the-curves-in-short"
    return board, "accuracy-after-fine-tuning" if "80-cost" in named else ""


def _linked(said: str, numbers: re.Pattern, address: str, row: str = "") -> str:
    """The text with links on these numbers: to the row of a table that begins so, or with the criterion that the text
    names beside the number; see `page`."""

    def link(found: re.Match) -> str:
        of = row or found.groupdict().get("of") or ""
        title = f' "{of}"' if of else ""
        return f"[{found['number']}]({address}{title})"

    return numbers.sub(link, said) if address else said


def _measured(plans: Sequence[profiles.Profile]) -> pandas.DataFrame:
    tables = [plan.tables / f"{name}.csv" for plan in plans for name in over_panels.TABLES]
    return over_panels.measured(plans) if any(path.exists() for path in tables) else pandas.DataFrame()


def without_labels(measured: pandas.DataFrame) -> str:
    """Whether the recommended criterion beats the size of weights, where nothing is retrained.

    Arguments:
        measured: of `over_panels.measured`.
    """
    if "criterion" not in measured or not {OWN, WEIGHTS} <= set(measured["criterion"]):
        return ""
    values = measured.pivot_table(index=["panel", *RUN], columns="criterion", values="auc_relative")
    values = values[[OWN, WEIGHTS]].dropna()
    own, weights = values.groupby("panel").mean().mean()
    ratio, ahead = own / weights, int((values[OWN] > values[WEIGHTS]).sum())
    kept = f"{ratio:.1f} times the accuracy that it keeps"
    if abs(ratio - 1) < _ALIKE:
        kept = "as much accuracy as it keeps"
    verdict = "Yes" if ratio >= 1 + _ALIKE else "Not better than by the size of weights"
    return (
        f"**{verdict}: ranked without labels, by random gradients, a network keeps {kept} when ranked by the size of "
        f"its weights**, on average while up to half of its units are switched off, the least important first, and "
        f"nothing is retrained: relative auc {own:.2f} by `{OWN}` against {weights:.2f} by `{WEIGHTS}`, ahead in "
        f"{of_networks(ahead, len(values))}.{_by_weights(measured)}"
    )


def _by_weights(measured: pandas.DataFrame) -> str:
    """Of the best criterion that looks at weights alone, chance left out, where that is another one."""
    if "used" not in measured:
        return ""
    blind = measured[(measured["used"] == 0) & ~measured["criterion"].str.match("random(:|$)")]
    means = blind.groupby(["panel", "criterion"])["auc_relative"].mean().unstack("panel").dropna().mean(axis=1)
    if means.empty or means.idxmax() == WEIGHTS:
        return ""
    return f" The best of {len(means)} criteria that look at weights alone, `{means.idxmax()}`, has {means.max():.2f}."


def labels(verdicts: pandas.DataFrame, parts: pandas.DataFrame) -> str:
    """What labels would add (C3). Arguments: verdicts, parts: of `claims.judged` and `claims.parts`."""
    if (row := _row(verdicts, "C3")) is None:
        return ""
    words = {"supported": "Labels add nothing that counts", "contradicted": "Labels do add something"}
    words |= {TOO_FEW: "Networks are too few to tell whether labels add anything"}
    said = words.get(row["verdict"], "Whether labels add anything is open")
    sure = (
        ", but other networks may say otherwise"
        if row["close"] and row["verdict"] in ("supported", "contradicted")
        else ""
    )
    found = f"random gradients were {_beside(row, 'label gradients of the same length')}"
    found += f" (a loss of up to {MARGIN:g} would count as none)" if row["verdict"] == "supported" else ""
    return f"{said}{sure}: {found}.{claim_answers.by_number(parts, 'C3')}"


def after(tuned: pandas.DataFrame) -> str:
    """Which of both is ahead once the shrunk networks are trained a little more.

    Arguments:
        tuned: of `finetuning.summary`.
    """
    ends = _ends(tuned)
    if ends.empty:
        return ""
    each = [_end(budget, here) for budget, here in ends.groupby(level=BUDGET, sort=False)]
    best = _best(ends)
    lead = {OWN: f"`{OWN}` is still ahead", WEIGHTS: "the size of weights is ahead", "": "both end alike"}
    said = lead.get(best, "it depends on what goes which of both is ahead")
    return f"**After fine-tuning {said}**: mean accuracy {'; '.join(each)}.{_per_multiply_add(tuned)}"


def _per_multiply_add(tuned: pandas.DataFrame) -> str:
    """How the recommended criterion's networks end that are ranked by score per multiply-add."""
    ends = _ends(tuned, PRICED)
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
    ends = _ends(tuned)
    if ends.empty:
        return ""
    best, priced = _best(ends), _ends(tuned, PRICED)
    if len(priced) and _best(ends.reindex(priced.index)) != OWN and _best(priced) == OWN:
        gaps = _gaps(priced)
        budgets = listed(in_words(*budget) for budget in gaps.index)
        return (
            f"**If you fine-tune, rank by score per multiply-add, of `{OWN}`**, as the tool does: it ended "
            f"{spread(gaps, '.1f')} points above `{WEIGHTS}` without {budgets}, which by score alone it did not."
        )
    if best == "":
        return f"**If you fine-tune, either will do**: `{WEIGHTS}`, which needs no images, ends where `{OWN}` does."
    gaps = _gaps(ends)
    if best not in (OWN, WEIGHTS):
        each = (f"{abs(gap):.1f} points {'for' if gap > 0 else 'against'} it without {in_words(*budget)}"
                for budget, gap in gaps.items())  # fmt: skip
        return f"**If you fine-tune, `{OWN}` may lead or not**: {listed(each)}, beside `{WEIGHTS}`."
    other = WEIGHTS if best == OWN else OWN
    gap = spread(gaps.abs(), ".1f")
    return f"**If you fine-tune, rank by `{best}`**: it ended {gap} points above `{other}`."


def _gaps(ends: pandas.DataFrame) -> pandas.Series:
    """By how many points the recommended criterion is ahead at every budget, of means as they are shown."""
    means = (100 * ends.groupby(level=BUDGET, sort=False).mean()).round(1)
    return means[OWN] - means[WEIGHTS]


def _best(ends: pandas.DataFrame) -> str:
    """Which of both is ahead at every budget, on average over networks; "" where no lead is worth speaking of, and
    "either" where one leads here and the other there."""
    gaps = (ends[OWN] - ends[WEIGHTS]).groupby(level=BUDGET).mean()
    if (gaps.abs() < SETTLED).all():
        return ""
    return OWN if (gaps >= 0).all() else WEIGHTS if (gaps <= 0).all() else "either"


def _ends(tuned: pandas.DataFrame, how: str = TUNED) -> pandas.DataFrame:
    """Accuracy after fine-tuning, a row per trained network and budget, and a column for each of both criteria, the
    recommended one's of networks that are made `how`; without rows where they are not there."""
    if "criterion" not in tuned or not {OWN, WEIGHTS} <= set(tuned["criterion"]):
        return pandas.DataFrame()
    tuned = tuned.assign(**{name: value for name, value in _EARLIER.items() if name not in tuned}).fillna(_EARLIER)
    own = (tuned["criterion"] == OWN) & (tuned["training"] == how)
    own |= (tuned["criterion"] == WEIGHTS) & (tuned["training"] == TUNED)
    wide = tuned[own].pivot_table(index=[*RUN, *BUDGET], columns="criterion", values="after")
    return wide.reindex(columns=[OWN, WEIGHTS]).dropna()


def repaired(verdicts: pandas.DataFrame) -> str:
    """Which of both is ahead where BatchNorms are estimated anew (C12). Arguments: verdicts: of `claims.judged`."""
    if (row := _row(verdicts, "C12")) is None:
        return ""
    side = _beside(row, f"`{WEIGHTS}`")
    return f"**After a repair without labels**, BatchNorm statistics estimated anew, `{OWN}` is {side}."


def limit(plans: Sequence[profiles.Profile], measured: pandas.DataFrame, numbers: pandas.DataFrame) -> str:
    """What all of it was measured on, and what it does not say.

    Arguments:
        measured, numbers: of `over_panels.measured` and, where it is known on how many test images, of
            `tested.standard_errors`.
    """
    runs = [run for plan in plans for run in plan.runs]
    where = dict.fromkeys((run.dataset, run.network) for run in runs)
    datasets = {dataset: [network for name, network in where if name == dataset] for dataset, _ in where}
    named = "; ".join(f"{dataset}: {listed(names)}" for dataset, names in datasets.items())
    seen = f", ranked on {spread(measured['examples'], ',')} training images" if "examples" in measured else ""
    tested = f" and judged on {spread(numbers['test_images'], ',.0f')} test images" if "test_images" in numbers else ""
    toys = (
        " These images have 8x8 pixels and the networks are tiny: a first look." if set(datasets) == {"digits"} else ""
    )
    return (
        f"Measured on {counted(len(runs), 'trained network')} ({named}{_seeds(plans)}){seen}{tested}, unless another "
        f"number is named. It says nothing of other data and networks.{toys}"
    )


def _seeds(plans: Sequence[profiles.Profile]) -> str:
    """How often each network was trained, where that is the same for all and more than once."""
    count, *others = {len(plan.seeds) for plan in plans}
    return f", each trained from {count} seeds" if not others and count > 1 else ""


def table(verdicts: pandas.DataFrame, where: str = "") -> str:
    """The claims as a table: claim, verdict with a mark, effect, and in how many networks it is above 0.

    Arguments:
        verdicts: of `claims.judged`.
        where: the report that the claims' names link into; by default the one that holds this table.
    """
    if verdicts.empty:
        return ""
    rows = [
        {
            "claim": f'[{row["claim"]}]({where}#{THE_CLAIMS} "{row["claim"]}")',
            "what it says": tables.escape(row["label"].partition(" (")[0]),
            "holds?": _mark(row),
            "effect": _effect(row),
            "effect above 0 in": f"{int(row['ahead'])} of {int(row['blocks'])}{claim_answers.left_out(row)}",
        }
        for row in verdicts.to_dict("records")
    ]
    lines = [list(rows[0]), ["---", "---", "---", "---:", "---"], *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


NOTE = (
    "*Effect*: the mean difference in relative auc, where a network that loses nothing has 1, with its 95 % "
    "interval{odd}. *Open*: the interval leaves both answers possible. *Too few networks*: of fewer than six no "
    "signed-rank test can tell, however large the effect; claims that nothing is lost ({untested}) go by the interval "
    "alone. *Close*: other networks of the same kind may well turn it."
)
ODD = {"C8": "of C8 a rank correlation", "C11": f"of C11 a share, where at least {100 * given_back.LEAST:g} points of "
       "accuracy were lost"}  # fmt: skip


def note(verdicts: pandas.DataFrame) -> str:
    """What the effects in `table` are. Arguments: verdicts: of `claims.judged`."""
    there = [words for name, words in ODD.items() if name in set(verdicts["claim"])]
    untested = listed(name for name, claim in claims.CLAIMS.items() if claim.kind == "non-inferiority")
    unknown = [name for name in claims.names() if name not in set(verdicts["claim"])]
    more = f" Not measured here: {listed(unknown)}." if unknown else ""
    return NOTE.format(odd="".join(f"; {words}" for words in there), untested=untested) + more


def _mark(row: dict) -> str:
    """The verdict of a claim's row with a mark, and, where networks are too few for one, which way it points."""
    points = POINTS.get(row.get("side"), "") if row["verdict"] == TOO_FEW else ""
    return MARKS[row["verdict"]] + points + (", close" if row["close"] else "")


def _effect(row: dict) -> str:
    ends = f" ({signed(row['low'])} to {signed(row['high'])})" if row["low"] == row["low"] else ""
    return f"{signed(row['effect'])}{ends}"


def _row(verdicts: pandas.DataFrame, name: str) -> dict | None:
    found = verdicts[verdicts["claim"] == name].to_dict("records") if len(verdicts) else []
    return found[0] if found else None


def _beside(row: dict, other: str) -> str:
    """By how much and in how many networks a claim's first side is ahead of the other."""
    if not round(row["effect"], 3):
        return f"level with {other}"
    ahead = of_networks(int(row["ahead"]), int(row["blocks"]))
    if row["effect"] > 0:
        return f"{row['effect']:.3f} ahead of {other}, in {ahead}"
    return f"{-row['effect']:.3f} behind {other}, ahead in {ahead}"


def speed(costs: pandas.DataFrame, machine: str) -> str:
    """What is left of the time where half of the multiply-adds go, as one sentence.

    Arguments:
        costs: of `shrinking.costs`.
        machine: what its times are of, as `provenance.machine` says it.
    """
    if "latency_64_ms" not in costs:
        return ""
    keys = ["panel", *RUN]
    whole, half = (
        costs[costs["budget"] == budget].groupby(keys)[["latency_1_ms", "latency_64_ms", "parameters"]].mean()
        for budget in (0.0, 0.5)
    )
    left = (100 * half / whole).groupby("network", sort=False).mean()
    each = (
        f"`{name}` takes {row['latency_64_ms']:.0f} % of the time for 64 images ({row['latency_1_ms']:.0f} % for one) "
        f"and {row['parameters']:.0f} % of the parameters"
        for name, row in left.iterrows()
    )
    return f"Without half of its multiply-adds {listed(each)}, on {machine}."
