"""The claims' verdicts in words, with the parts of what is an average over numbers of images or criteria.

Enters: the tables of `study.claims`. Leaves: sentences, in which every number comes from a table or from the rules of
the verdicts, and every judgement from a verdict.
"""

from collections.abc import Mapping

import pandas

from lib.report import effects
from lib.report.words import listed, of_networks, on_images, signed
from lib.study import claims
from lib.study.statistics import MARGIN, TOO_FEW, groups_of


def normalising(verdicts: pandas.DataFrame, behind: pandas.DataFrame) -> str:
    """What the same length for every example does (C1), and what to random gradients."""
    if (claim := row(verdicts, "C1")) is None:
        return ""
    does = {
        "supported": "helps",
        "contradicted": "harms",
        "open": "neither surely helps nor surely harms",
        TOO_FEW: "was measured in too few networks to say whether it helps",
    }
    said = f"**The same length for every example {does[claim['verdict']]} label gradients**: "
    said += _effect(claim)
    rows = behind[(behind["claim"] == "C1") & behind["label"].str.contains(":rand")] if len(behind) else behind
    if not len(rows):
        return said
    mean = signed(rows["effect"].mean())
    return (
        f"{said} With random gradients, whose lengths differ little, the mean difference is {mean} "
        f"(of {len(rows)} contrasts)."
    )


def one_vector(verdicts: pandas.DataFrame, parts: pandas.DataFrame) -> str:
    """Whether one random vector per image is enough (C6), by number of images."""
    if (claim := row(verdicts, "C6")) is None:
        return ""
    lost = {
        "supported": f"Yes, one random vector per image is enough: it loses no more than {MARGIN}",
        "contradicted": f"No, one random vector per image is not enough on every number of images: it loses "
        f"more than {MARGIN}",
        "open": f"Whether one random vector per image is enough is open: it may lose more than {MARGIN}",
        TOO_FEW: "Networks are too few to tell whether one random vector per image is enough",
    }
    against = "against one vector per class"
    return f"**{lost[claim['verdict']]} {against}**: {_effect(claim)}{by_number(parts, 'C6')}"


_VERDICTS = {
    "supported": "Yes",
    "contradicted": "No",
    "open": "Open",
    TOO_FEW: "Too few networks to tell",
}


def one(verdicts: pandas.DataFrame, name: str) -> str:
    """A claim's verdict in a word, then the claim itself and its effect; "" where it is not among the verdicts."""
    if (claim := row(verdicts, name)) is None:
        return ""
    words = claim["label"].partition(" (")[0]
    return f"**{_VERDICTS[claim['verdict']]}: {words}.** Effect: {_effect(claim)}"


def row(verdicts: pandas.DataFrame, name: str) -> dict | None:
    """The row of a claim, None where it is not among the verdicts."""
    found = verdicts[verdicts["claim"] == name].to_dict("records") if len(verdicts) else []
    return found[0] if found else None


def over(name: str, blocks: pandas.DataFrame) -> str:
    """What a claim is over some blocks alone: "+0.100 (95 % interval ...; above 0 in ...)". Arguments: blocks: with the
    columns of `statistics.BLOCK` and difference."""
    found = claims.judge(name, blocks["difference"], groups_of(blocks))
    above = f"above {effects.bar(found['kind'])} in {of_networks(found['ahead'], found['blocks'])}"
    ends = f"95 % interval {ends}; " if (ends := effects.interval(found)) else ""
    return f"{effects.value(found)} ({ends}{above})"


def _effect(claim: Mapping[str, object]) -> str:
    return f"{evidence(claim)}{', close' if claim['close'] else ''})."


def evidence(claim: Mapping[str, object], on: str = "") -> str:
    """The effect of a row of `claims.verdicts`, its interval, in how many networks it is as the claim has it, and the
    claim's name, where the bracket is left open: "+0.010 in relative auc (95 % interval ...; above 0 in ...; C1".

    Arguments:
        on: of which networks, as they follow their number: ", all on digits".
    """
    ends = f"95 % interval {ends}; " if (ends := effects.interval(claim)) else ""
    above = f"above {effects.bar(claim['kind'])} in {of_networks(int(claim['ahead']), int(claim['blocks']))}"
    return f"{effects.long(claim)} ({ends}{above}{on}{left_out(claim)}; {claim['claim']}"


def left_out(claim: Mapping[str, object]) -> str:
    """How many networks have no part in a row of `claims.verdicts`, after how many have: ", 2 left out", or ""."""
    return f", {int(claim['dropped'])} left out" if claim.get("dropped") else ""


def by_number(parts: pandas.DataFrame, claim: str) -> str:
    """What the claim's contrast is on each number of images, as a sentence."""
    some = parts[(parts["claim"] == claim) & (parts["pair"] == "")].sort_values("examples") if len(parts) else parts
    if some.empty:
        return ""
    return f" On {on_images(some['examples'].astype(int))}: {listed(map(signed, some['effect']))}."
