"""report.verdict_table: marks are the verdicts, and what was not measured or not tested is said."""

import pandas
from made_up import VERDICT

from lib.report import verdict_table
from lib.study import claims

NUMBERS = VERDICT | {"label": "One (two)", "verdict": "open", "p_holm": 0.5, "smallest_p_holm": 0.01}


def verdicts(*rows):
    return pandas.DataFrame([NUMBERS | row for row in rows])


def test_claims_have_a_mark_and_link_to_where_they_are_told():
    rows = verdicts(
        {"claim": "C1", "verdict": "supported", "close": True},
        {"claim": "C2", "verdict": "too few networks", "low": float("nan"), "blocks": 1, "ahead": 1},
    )
    assert verdict_table.table(rows.assign(dropped=[2, 0]), "report.md").splitlines()[2:] == [
        '| [C1](report.md#the-claims "C1") | One | ✓ yes, close | +0.100 (+0.050 to +0.150) | 2 of 3, 2 left out |',
        '| [C2](report.md#the-claims "C2") | One | ○ open: too few networks | +0.100 | 1 of 1 |',
    ]


def test_where_a_claim_was_measured_on_some_data_sets_alone_they_are_named():
    everywhere, here = {"signs": "cifar10/resnet20 +, digits/vgg8 -"}, {"signs": "digits/vgg8 +, digits/resnet8 +"}
    rows = verdicts({"claim": "C1"} | everywhere, {"claim": "C11", "blocks": 2, "dropped": 1} | here)
    assert verdict_table.datasets(rows) == ["cifar10", "digits"]
    ends = [line.split(" | ")[-1] for line in verdict_table.table(rows.fillna({"dropped": 0})).splitlines()[2:]]
    assert ends == ["2 of 3 |", "2 of 2 (digits), 1 left out |"]


def test_why_a_claim_is_open():
    open_ = {"claim": "C1", "verdict": "open", "side": "above"}
    changes = [{"p": 0.01}, {"p": 0.05}, {"p": 0.01, "kind": "non-inferiority"}]
    kinds = ("difference", claims.ACCURACY, "non-inferiority", claims.SHARE)
    changes += [{"p": 0.01, "side": "on both sides", "kind": kind} for kind in kinds]
    marks = [verdict_table.mark(NUMBERS | open_ | change) for change in changes]
    differ, late = "○ open: kinds of networks differ in sign", "○ open: the test does not reach its level"
    spans = [f"○ open: its interval spans {limit}" for limit in ("0", "0", "-0.01", "25 %")]
    assert marks == [differ, late, "○ open", *spans]


def test_shares_and_accuracies_are_in_percent_and_points_and_a_share_is_above_what_its_claim_says():
    share, points = {"kind": claims.SHARE, "low": 0.3, "high": 0.5, "effect": 0.4}, {"kind": claims.ACCURACY}
    rows = verdicts({"claim": "C11"} | share, {"claim": "C14", "effect": -0.0144} | points).assign(dropped=0)
    ends = [line.split(" | ", 3)[3] for line in verdict_table.table(rows).splitlines()[2:]]
    assert ends == ["40 (30 to 50) % | 2 of 3, above 25 % |", "-1.4 (+5.0 to +15.0) points | 2 of 3 |"]


def test_claims_that_were_not_measured_are_named():
    there = [name for name in claims.names() if name != "C9"]
    words = 'Not measured here: C9 ("Equal weight per example costs rare classes nothing").'
    assert verdict_table.note(verdicts(*({"claim": name} for name in there))).endswith(words)
    assert "Not measured" not in verdict_table.note(verdicts(*({"claim": name} for name in claims.names())))


def test_it_is_said_which_verdicts_would_stand_adjusted_for_the_number_of_claims():
    yes = {"verdict": "supported"}
    rows = [{"claim": "C1", "p_holm": 0.04} | yes, {"claim": "C2", "p_holm": 0.06} | yes, {"claim": "C4"}]
    rows += [{"claim": "C3", "kind": "non-inferiority", "p_holm": float("nan")} | yes]
    words = "Each claim is judged by itself. Were those that rest on a test adjusted for their number (Holm), {}."
    few = words.format("C1 and C2 could not, with so few networks")
    assert few in verdict_table.note(verdicts(*rows).assign(p_holm=0.5, smallest_p_holm=0.05))
    assert words.format("C1 would still stand, C2 would not") in verdict_table.note(verdicts(*rows))
    assert words.format("C1 and C2 would not") in verdict_table.note(verdicts(*rows).assign(p_holm=0.05))
    assert words.format("C1 and C2 would still stand") in verdict_table.note(verdicts(*rows).assign(p_holm=0.01))
    assert "Holm" not in verdict_table.note(verdicts(*rows[2:]))


def test_the_mean_of_panels_stands_beside_that_of_networks():
    rows = verdicts({"claim": "C1"}, {"claim": "C2"}).assign(dropped=0)
    over = pandas.DataFrame([NUMBERS | {"claim": name, "over": "panels", "count": count, "ahead": 2}
                             for name, count in (("C1", 3), ("C2", 1))])  # fmt: skip
    over = pandas.concat([over.assign(over="networks", ahead=9), over])
    head, _, *lines = verdict_table.table(rows, "", over).splitlines()
    assert head.endswith("| effect above 0 in | mean of panels, above 0 in |")
    assert [line.split(" | ")[-1] for line in lines] == ["+0.100 (+0.050 to +0.150), 2 of 3 |", "– |"]
    assert "*Mean of panels*" in verdict_table.note(rows, over=True) and "*Mean of" not in verdict_table.note(rows)
