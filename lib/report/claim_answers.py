"""The claims' verdicts in words, with the parts of what is an average over numbers of images or criteria.

Enters: the tables of `study.claims`. Leaves: sentences, in which every number comes from a table or from the rules of
the verdicts, and every judgement from a verdict.
"""

from collections.abc import Mapping

import pandas

from lib.report import claim_tables
from lib.report.words import capital, listed, on_images, signed
from lib.study.statistics import LEVEL, MARGIN, TOO_FEW

_MARGIN = f"the margin of {MARGIN} in relative auc"


def normalising(verdicts: pandas.DataFrame, parts: pandas.DataFrame, behind: pandas.DataFrame) -> str:
    """What the same length for every example does (C1), by criterion and number of images, and to random gradients."""
    if (claim := _claim(verdicts, "C1")) is None:
        return ""
    does = {
        "supported": "It helps",
        "contradicted": "It harms",
        "open": "It neither surely helps nor surely harms",
        TOO_FEW: "Networks are too few to test whether it helps",
    }
    said = f"**Does the same length for every example help?** {does[claim['verdict']]} label gradients: "
    said += _effect(claim) + _by_reduction(parts, "C1") + _by_number(parts, "C1")
    rows = behind[(behind["claim"] == "C1") & behind["label"].str.contains(":rand")] if len(behind) else behind
    if not len(rows):
        return said
    ends = f"from {signed(rows['effect'].min())} to {signed(rows['effect'].max())} among them"
    sure = int((rows["p_holm"] < LEVEL).sum())
    found = f"{sure} of them with an adjusted p below {LEVEL}"
    if rows["smallest_p_holm"].min() >= LEVEL:
        found = f"too few trained networks for an adjusted p below {LEVEL}"
    mean = signed(rows["effect"].mean())
    return f"{said} To random gradients it adds {mean} on average of {len(rows)} single contrasts ({ends}; {found})."


def labels(verdicts: pandas.DataFrame, parts: pandas.DataFrame) -> str:
    """What labels are worth (C3), by number of images."""
    worth = {
        "supported": f"No more than {_MARGIN}",
        "contradicted": f"More than {_MARGIN}",
        "open": f"Whether they are worth more than {_MARGIN} is open",
        TOO_FEW: f"Networks are too few to tell whether they are worth more than {_MARGIN}",
    }
    compared = ". Random gradients minus those of labels, all of the same length"
    return _nothing_lost("C3", "What are labels worth?", worth, compared, verdicts, parts)


def one_vector(verdicts: pandas.DataFrame, parts: pandas.DataFrame) -> str:
    """Whether one random vector per image is enough (C6), by number of images."""
    lost = {
        "supported": f"On average over numbers of images it loses no more than {_MARGIN}",
        "contradicted": f"On average over numbers of images it loses more than {_MARGIN}",
        "open": f"On average over numbers of images it is open whether it loses more than {_MARGIN}",
        TOO_FEW: f"Networks are too few to tell whether it loses more than {_MARGIN}",
    }
    compared = ", against one vector per class"
    return _nothing_lost("C6", "Is one random vector per image enough?", lost, compared, verdicts, parts)


def _nothing_lost(
    name: str,
    question: str,
    answers: Mapping[str, str],
    compared: str,
    verdicts: pandas.DataFrame,
    parts: pandas.DataFrame,
) -> str:
    """The answer to a claim that nothing is lost, by its verdict; then what was compared, and the numbers."""
    if (claim := _claim(verdicts, name)) is None:
        return ""
    return f"**{question}** {answers[claim['verdict']]}{compared}: {_effect(claim)}{_by_number(parts, name)}"


def _claim(verdicts: pandas.DataFrame, name: str) -> pandas.Series | None:
    found = verdicts[verdicts["claim"] == name] if len(verdicts) else verdicts
    return found.iloc[0] if len(found) else None


def _effect(claim: pandas.Series) -> str:
    ends = f"95 % interval {signed(claim['low'])} to {signed(claim['high'])}; " if claim["low"] == claim["low"] else ""
    close = ", close" if claim["close"] else ""
    ahead = f"above 0 in {claim['ahead']} of {claim['blocks']} networks"
    return f"{signed(claim['effect'])} in relative auc ({ends}{ahead}; {claim['claim']}: {claim['verdict']}{close})."


def _by_number(parts: pandas.DataFrame, claim: str) -> str:
    """What the claim's contrast is on each number of images, as a sentence."""
    some = parts[(parts["claim"] == claim) & (parts["pair"] == "")].sort_values("examples") if len(parts) else parts
    if some.empty:
        return ""
    return f" On {on_images(some['examples'].astype(int))}: {listed(map(signed, some['effect']))}."


def _by_reduction(parts: pandas.DataFrame, claim: str) -> str:
    """What the claim's contrast is for each pair of criteria, as a sentence, by the name of the second."""
    some = parts[(parts["claim"] == claim) & (parts["pair"] != "")] if len(parts) else parts
    if some.empty:
        return ""
    names = some["pair"].str.partition(" minus ")[2]
    each = (f"{signed(effect)} for `{name}`" for name, effect in zip(names, some["effect"], strict=True))
    return f" By criterion: {listed(each)}."


def all_claims(verdicts: pandas.DataFrame) -> str:
    """All claims, by verdict."""
    said = []
    for verdict in ("supported", "contradicted", "open", TOO_FEW):
        rows = verdicts[verdicts["verdict"] == verdict].to_dict("records") if len(verdicts) else []
        if rows:
            said.append(f"{verdict}{' to test' if verdict == TOO_FEW else ''}: {'; '.join(map(_one_claim, rows))}")
    return f"**What holds up?** {capital('. '.join(map(capital, said)))}. {SAME_MACHINE}" if said else ""


SAME_MACHINE = (
    "The same machine gives the same tables; on another, rounding, grown by training, makes other draws of the same "
    "kind of networks, and verdicts marked as close may turn."
)


def _one_claim(row: dict) -> str:
    """The claim's words, its name, and what its verdict does not say: which way it points, and whether it is close."""
    more = [row["claim"]]
    if row["verdict"] == TOO_FEW:
        more += [claim_tables.pointing(row), f"{row['ahead']} of {row['blocks']} networks above 0"]
    return f"{row['label']} ({', '.join([*more, *(['close'] if row['close'] else [])])})"
