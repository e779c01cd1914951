"""report.effects: effects in their units, with as many digits as show on which side of a limit they are."""

import pytest

from lib.report import effects
from lib.study import claims

NAN = float("nan")


def row(kind, effect, low=NAN, high=NAN):
    return {"kind": kind, "effect": effect, "low": low, "high": high}


@pytest.mark.parametrize(
    ("kind", "effect", "short", "long"),
    [
        ("difference", 0.0126, "+0.013", "+0.013 in relative auc"),
        ("non-inferiority", -0.00001, "0.000", "0.000 in relative auc"),
        (claims.CORRELATION, 0.5, "+0.500", "+0.500, a rank correlation"),
        (claims.SHARE, 0.486, "49 %", "49 % of what was lost"),
        (claims.SHARE, -0.001, "0 %", "0 % of what was lost"),
        (claims.SHARE, -0.05, "-5 %", "-5 % of what was lost"),
        (claims.ACCURACY, -0.0144, "-1.4 points", "-1.4 points of accuracy"),
        (claims.ACCURACY, 0.0, "0.0 points", "0.0 points of accuracy"),
    ],
)
def test_an_effect_has_its_unit(kind, effect, short, long):
    assert effects.value(row(kind, effect)) == effects.short(row(kind, effect)) == short
    assert effects.long(row(kind, effect)) == long
    assert effects.interval(row(kind, effect)) == ""


@pytest.mark.parametrize(
    ("kind", "low", "high", "said"),
    [
        ("difference", 0.01, 0.02, "+0.010 to +0.020"),
        ("difference", -0.0004, 0.00003, "-0.0004 to +0.00003"),
        ("difference", 0.0, 0.02, "0.000 to +0.020"),
        ("non-inferiority", -0.0104, -0.0003, "-0.0104 to 0.000"),
        ("non-inferiority", -0.01, 0.0104, "-0.010 to +0.010"),
        (claims.SHARE, 0.34, 0.64, "34 to 64 %"),
        (claims.SHARE, 0.2496, 0.2504, "24.96 to 25.04 %"),
        (claims.SHARE, 0.25, 0.6, "25 to 60 %"),
        (claims.ACCURACY, -0.032, 0.0002, "-3.2 to +0.02 points"),
    ],
)
def test_an_end_that_would_be_shown_as_the_limit_has_more_digits(kind, low, high, said):
    assert effects.interval(row(kind, 0.3, low, high)) == said
    unit = {claims.SHARE: " %", claims.ACCURACY: " points"}.get(kind, "")
    assert effects.short(row(kind, 0.3, low, high)).endswith(f" ({said.removesuffix(unit)}){unit}")


def test_what_an_effect_has_to_be_above():
    assert [effects.bar(kind) for kind in ("difference", "non-inferiority", claims.ACCURACY)] == ["0"] * 3
    assert effects.bar(claims.SHARE) == "25 %"
