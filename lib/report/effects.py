"""How the effects of claims are said: relative auc as it is, shares in percent, accuracy in points.

Enters: rows of the tables of `study.claims`. Leaves: text.
"""

from collections.abc import Mapping

from lib.report.words import of_networks, signed
from lib.study import claims

_IN_PERCENT = (claims.SHARE, claims.ACCURACY)
_UNITS = {claims.CORRELATION: "", claims.SHARE: " %", claims.ACCURACY: " points"}
_LONG = {
    claims.CORRELATION: ", a rank correlation",
    claims.SHARE: " % of what was lost",
    claims.ACCURACY: " points of accuracy",
}


def short(row: Mapping[str, object]) -> str:
    """The effect with its interval: "+0.100 (+0.050 to +0.150)", "49 % (34 to 64 %)"."""
    ends = interval(row)
    return f"{value(row)} ({ends}{_UNITS.get(row['kind'], '')})" if ends else value(row)


def value(row: Mapping[str, object]) -> str:
    """The effect alone: "+0.100", "49 %", "-1.4 points"."""
    return _number(row["effect"], row["kind"]) + _UNITS.get(row["kind"], "")


def long(row: Mapping[str, object]) -> str:
    """The effect and what it is measured in: "+0.100 in relative auc"."""
    return _number(row["effect"], row["kind"]) + _LONG.get(row["kind"], " in relative auc")


def interval(row: Mapping[str, object]) -> str:
    """The ends of its interval, in the same unit; "" where there is none."""
    if row["low"] != row["low"]:
        return ""
    return " to ".join(_end(row[name], row["kind"]) for name in ("low", "high"))


def above(row: Mapping[str, object], what: str = "networks") -> str:
    """In how many networks (or panels) it is above what the claim asks for: "above 0 in 2 of 3 networks"."""
    ahead, count = int(row["ahead"]), int(row["blocks"] if "blocks" in row else row["count"])
    where = of_networks(ahead, count) if what == "networks" else f"{ahead} of {count} {what}"
    return f"above {bar(row['kind'])} in {where}"


def bar(kind: str) -> str:
    """What an effect of this kind has to be above: "0", "25 %"."""
    return f"{100 * claims.bar(kind):g} %" if kind == claims.SHARE else "0"


def _number(value: float, kind: str) -> str:
    if kind not in _IN_PERCENT:
        return signed(value)
    return f"{100 * value:.0f}" if kind == claims.SHARE else f"{100 * value:+.1f}"


def _end(value: float, kind: str) -> str:
    """As `_number`, but one that would be shown as 0 keeps its sign, by which a verdict may hang: "-0.0004"."""
    nearly = kind not in _IN_PERCENT and value and not round(value, 3)
    return f"{value:+.1g}" if nearly else _number(value, kind)
