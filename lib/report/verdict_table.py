"""The claims as the README and every report show them first: a mark, an effect, in how many networks.

Enters: the table of `claims.judged`. Leaves: Markdown: a table, and a line that says what its columns mean.
"""

import re

import pandas

from lib.report import claim_answers, effects, tables
from lib.report.words import listed
from lib.study import claims
from lib.study.analyses import given_back
from lib.study.statistics import LEVEL, MARGIN, TOO_FEW

MARKS = {"supported": "✓ yes", "contradicted": "✗ no", "open": "○ open", TOO_FEW: "○ open: too few networks"}
POINTS = {"above": ", points to yes", "below": ", points to no"}  # by where the interval lies, where they are too few
ANCHOR = "the-claims"  # where every report has their table


def table(verdicts: pandas.DataFrame, where: str = "", over: pandas.DataFrame | None = None) -> str:
    """The claims as a table: claim, verdict with a mark, effect, and in how many networks it is above 0.

    Arguments:
        verdicts: of `claims.judged`.
        where: the report that the claims' names link into; by default the one that holds this table.
        over: of `over_panels.claims_over`, for a column with the mean of panels.
    """
    if verdicts.empty:
        return ""
    rows = [
        {
            "claim": f'[{row["claim"]}]({where}#{ANCHOR} "{row["claim"]}")',
            "what it says": tables.escape(plain(row["label"])),
            "holds?": mark(row),
            "effect": effects.short(row),
            "effect above 0 in": f"{int(row['ahead'])} of {int(row['blocks'])}{_only(row, verdicts)}{_above(row)}",
        }
        | ({PANELS: _mean_of_panels(over, row["claim"])} if over is not None else {})
        for row in verdicts.to_dict("records")
    ]
    lines = [list(rows[0]), ["---", "---", "---", "---:", *["---"] * (len(rows[0]) - 4)]]
    lines += [list(row.values()) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PANELS = "mean of panels, above 0 in"


def _mean_of_panels(over: pandas.DataFrame, claim: str) -> str:
    """Its effect where networks are averaged within panels first; "–" where one panel measured it."""
    row = over[(over["over"] == "panels") & (over["claim"] == claim)].iloc[0]
    return f"{effects.short(row)}, {row['ahead']} of {row['count']}" if row["count"] > 1 else "–"


NOTE = """\
- *Effect*: the mean difference in relative auc, averaged over the numbers of images that criteria see ({most}: on the \
most of them), with its 95 % interval over networks, taken as independent, which those of one family are not quite\
{odd}.{over}
- *Yes* and *no*: the interval is clear of 0, the mean has one sign in every kind of network and a signed-rank test \
reaches the level of {level} %, which takes six networks or more. With fewer the answer is *open: too few networks*, \
which *points to* yes or no where the interval is clear of 0. {untested}, which say that nothing is lost, or enough \
given back, go by the interval alone: whether all of it is above {limits}.
- *Open*: neither yes nor no. *Close*: of repeats with as many new networks, as different as trainings of one \
network are (where none was trained twice: as all are), more than one in ten would give another verdict. \
*Exploratory*: chosen after a first look at data. ({late} were settled after a look at one network, which has no part \
in them.)"""
ODD = {"C4": "C4: by how much a difference changes from few images to many",
       "C8": "C8: a rank correlation, its interval cut at -1 and 1",
       "C9": "C9: relative auc of rare classes", "C11": f"C11: a share of what was lost, where that is at least "
       f"{100 * given_back.LEAST:g} points of accuracy", "C14": "C14: points of accuracy"}  # fmt: skip
EXPLORATORY, LATE = ("C7", "C13", "C14"), ("C11", "C12")  # see `claims`; the latter leave out what had been seen


OVER = """ *Mean of panels*: networks of one panel share data and makers, so they are averaged first, and the interval \
is over panels; a signed-rank test would take six of them."""


def note(verdicts: pandas.DataFrame, over: bool = False) -> str:
    """What the effects in `table` are. Arguments: verdicts: of `claims.judged`; over: whether it shows panels, too."""
    there = [words for name, words in ODD.items() if name in set(verdicts["claim"])]
    untested = listed(name for name in claims.names() if claims.kind(name) in claims.UNTESTED)
    most = listed(name for name in claims.names() if name == claims.GIVEN_BACK or claims.is_on_most(name))
    unknown = [name for name in claims.names() if name not in set(verdicts["claim"])]
    words = listed(f'{name} ("{plain(claims.label(name))}")' for name in unknown) if unknown else ""
    odd = "".join(f"; {words}" for words in there)
    limits = f"-{MARGIN:g} ({claims.GIVEN_BACK}: {100 * claims.WORTH:g} %)"
    said = NOTE.format(
        over=OVER if over else "",
        odd=odd,
        untested=untested,
        limits=limits,
        most=most,
        late=listed(LATE),
        level=f"{100 * LEVEL:g}",
    )
    rest = " ".join(filter(None, [_adjusted(verdicts), f"Not measured here: {words}." if unknown else ""]))
    return f"{said}\n- {rest}" if rest else said


def _adjusted(verdicts: pandas.DataFrame) -> str:
    """Which verdicts that rest on a test would stand, or could, if p were adjusted for the number of claims."""
    tested = verdicts[verdicts["verdict"].isin(["supported", "contradicted"]) & ~verdicts["kind"].isin(claims.UNTESTED)]
    if tested.empty:
        return ""
    kept = tested["claim"][tested["p_holm"] < LEVEL]
    gone = tested[tested["p_holm"] >= LEVEL]
    few = gone["smallest_p_holm"] >= LEVEL
    after = {"would still stand": kept, "would not": gone["claim"][~few]}
    after |= {"could not, with so few networks": gone["claim"][few]}
    parts = [f"{listed(some)} {what}" for what, some in after.items() if len(some)]
    rest = "Each claim is judged by itself. Were those that rest on a test adjusted for their number (Holm), "
    return f"{rest}{', '.join(parts)}."


def plain(label: str) -> str:
    """What a claim says, without what is said of its effect in brackets."""
    return label.partition(" (")[0]


def _only(row: dict, verdicts: pandas.DataFrame) -> str:
    """On which data sets, where others were measured, too, and how many networks are left out."""
    own = datasets(verdicts[verdicts["claim"] == row["claim"]])
    return (f" ({listed(own)})" if own != datasets(verdicts) else "") + claim_answers.left_out(row)


def mark(row: dict) -> str:
    """The verdict of a claim's row with a mark, and, where networks are too few for one, which way it points."""
    points = POINTS.get(row.get("side"), "") if row["verdict"] == TOO_FEW else _why_open(row)
    late = ", exploratory" if row["claim"] in EXPLORATORY else ""
    return MARKS[row["verdict"]] + points + (", close" if row["close"] else "") + late


def evidence(row: dict, verdicts: pandas.DataFrame) -> str:
    """The effect of a claim with its interval and verdict, and on which data sets, where others were measured, too."""
    own, all_of_them = (datasets(rows) for rows in (verdicts[verdicts["claim"] == row["claim"]], verdicts))
    on = f", all on {listed(own)}" if own != all_of_them else ""
    return f"{claim_answers.evidence(row, on)}: {mark(row)})"


def _why_open(row: dict) -> str:
    """Why a claim is open: its interval holds what it would have to be clear of, or what it lacks besides."""
    side = row.get("side") if row["verdict"] == "open" else ""
    if side == "on both sides":
        return (
            f": its interval spans {f'-{MARGIN:g}' if row['kind'] == 'non-inferiority' else effects.bar(row['kind'])}"
        )
    if side not in POINTS or row["kind"] in claims.UNTESTED:
        return ""
    return ": kinds of networks differ in sign" if row["p"] < LEVEL else ": the test does not reach its level"


def _above(row: dict) -> str:
    """Above what, where that is not 0."""
    bar = effects.bar(row["kind"])
    return f", above {bar}" if bar != "0" else ""


def datasets(verdicts: pandas.DataFrame) -> list[str]:
    """Those of which there are networks in these rows of `claims.judged`."""
    signs = ", ".join(verdicts["signs"]) if "signs" in verdicts else ""
    return sorted(set(re.findall(r"(?:^|, )([^/,]+)/", signs)))
