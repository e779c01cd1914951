"""How the effects of claims are said: relative auc as it is, shares in percent, accuracy in points.

Enters: rows of the tables of `study.claims`. Leaves: text.
"""

from collections.abc import Mapping

from lib.report.words import signed
from lib.study import claims
from lib.study.statistics import MARGIN

_SCALE = {claims.SHARE: 100, claims.ACCURACY: 100}  # of others 1
_UNITS = {claims.SHARE: " %", claims.ACCURACY: " points"}
_LONG = {claims.CORRELATION: ", a rank correlation", claims.SHARE: " % of what was lost",
         claims.ACCURACY: " points of accuracy"}  # fmt: skip
_MOST_DIGITS = 7


def short(row: Mapping[str, object]) -> str:
    """The effect with its interval: "+0.100 (+0.050 to +0.150)", "49 (34 to 64) %"."""
    if row["low"] != row["low"]:
        return value(row)
    return f"{_number(row['effect'], row['kind'])} ({_ends(row)}){_UNITS.get(row['kind'], '')}"


def value(row: Mapping[str, object]) -> str:
    """The effect alone: "+0.100", "49 %", "-1.4 points"."""
    return _number(row["effect"], row["kind"]) + _UNITS.get(row["kind"], "")


def long(row: Mapping[str, object]) -> str:
    """The effect and what it is measured in: "+0.100 in relative auc"."""
    return _number(row["effect"], row["kind"]) + _LONG.get(row["kind"], " in relative auc")


def interval(row: Mapping[str, object]) -> str:
    """The ends of its interval, with as many digits as show on which side of the claim's limit they are; "" where there
    is none."""
    if row["low"] != row["low"]:
        return ""
    return f"{_ends(row)}{_UNITS.get(row['kind'], '')}"


def bar(kind: str) -> str:
    """What an effect of this kind has to be above to speak for its claim: "0", "25 %"."""
    return f"{100 * claims.bar(kind):g} %" if kind == claims.SHARE else "0"


def _ends(row: Mapping[str, object]) -> str:
    return " to ".join(_beside(row[name], row["kind"]) for name in ("low", "high"))


def _number(number: float, kind: str) -> str:
    if kind == claims.SHARE:
        return f"{100 * number:.0f}".replace("-0", "0")
    if kind == claims.ACCURACY:
        return f"{100 * number:+.1f}" if round(100 * number, 1) else "0.0"
    return signed(number)


def _beside(number: float, kind: str) -> str:
    """As `_number`, but one that would be shown as the limit by which a verdict hangs has more digits."""
    limit = {claims.SHARE: claims.WORTH, "non-inferiority": -MARGIN}.get(kind, 0.0)
    said, scale = _number(number, kind), _SCALE.get(kind, 1)
    sign = "" if kind == claims.SHARE else "+"
    digits = len(said.partition(".")[2])
    while float(said) == round(scale * limit, _MOST_DIGITS) != round(scale * number, _MOST_DIGITS):
        digits += 1
        said = f"{scale * number:{sign}.{digits}f}"
    return said
