"""report.claim_tables: verdicts in words, and no column that says nothing."""

import pandas
import pytest

from lib.report import claim_tables
from lib.study import claims, contrasts

ROW = {"kind": "difference", "verdict": "supported", "side": "above", "close": False, "ahead": 6, "blocks": 6}
ROW |= {"effect": 0.1, "low": 0.05, "high": 0.15, "p": 0.03125, "smallest_p": 0.03125}
ROW |= {"other_verdict": "supported", "other_side": "above", "other_effect": 0.09}


def verdicts(*changes):
    rows = [ROW | {"claim": f"C{number}", "label": "what"} | change for number, change in enumerate(changes, 1)]
    table = pandas.DataFrame(rows)
    return contrasts.adjusted(table)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "supported"),
        ({"verdict": "too few networks"}, "too few networks to test; interval above 0"),
        ({"verdict": "too few networks", "side": "below"}, "too few networks to test; interval below 0"),
        (
            {"verdict": "too few networks", "side": "on both sides"},
            "too few networks to test; interval on both sides of 0",
        ),
        ({"verdict": "too few networks", "side": ""}, "too few networks to test; no interval"),
        ({"verdict": "open", "kind": "non-inferiority", "side": "on both sides"}, "open"),
    ],
)
def test_where_networks_are_too_few_the_interval_says_which_way_it_points(change, words):
    assert claim_tables.in_words(ROW | change) == words


def test_the_margin_is_the_limit_of_non_inferiority():
    assert claim_tables.pointing(ROW | {"kind": "non-inferiority"}) == "interval above -0.01"


def test_verdicts_as_they_are_shown():
    other = {"other_verdict": "open", "other_side": "on both sides", "other_effect": 0.0123}
    shown = claim_tables.verdicts(
        verdicts({"close": True}, {"kind": "non-inferiority"}, other, {"other_verdict": float("nan")})
    )
    assert shown["verdict"].tolist() == ["supported, close", "supported", "supported", "supported"]
    assert shown["other_order"].tolist() == ["the same", "the same", "open (+0.012)", "–"]
    assert shown["ahead"].tolist() == ["6 of 6"] * 4
    assert claim_tables.verdicts(verdicts({"kind": "share"}))["ahead"].item() == "6 of 6, above 25 %"
    assert shown["p"].isna().tolist() == [False, True, False, False]  # p has no part in it
    assert shown["p_holm"].isna().tolist() == [False, True, False, False]
    assert claim_tables.verdicts(pandas.DataFrame()).empty and claim_tables.claims_left_out(pandas.DataFrame()) == ""


def test_an_adjusted_p_that_would_be_1_whatever_was_found_is_left_out_and_one_line_says_so():
    few = verdicts(*[{"p": 0.25, "smallest_p": 0.25, "blocks": 3, "ahead": 3}] * 4)
    assert not {"p_holm", "smallest_p_holm"} & set(claim_tables.verdicts(few))
    words = "No adjusted p is here: for 4 rows and so few networks it would be 1, whatever was found."
    assert claim_tables.claims_left_out(few) == claim_tables.left_out(few) == words
    assert claim_tables.contrasts(few).columns.tolist() == ["label", "effect", "low", "high", "ahead"]
    assert claim_tables.left_out(few[:3].assign(smallest_p_holm=0.75)) == ""
    assert {"p", "p_holm", "smallest_p_holm"} < set(claim_tables.contrasts(few.assign(smallest_p_holm=0.75)))


def part(claim, effect, examples=float("nan"), pair="", ahead=2):
    return {"claim": claim, "examples": examples, "pair": pair, "effect": effect, "low": -1, "high": 1, "blocks": 3,
            "ahead": ahead}  # fmt: skip


def test_parts_by_number_are_a_row_a_claim_and_a_column_a_number():
    table = [
        part("C2", 0.1, 10),
        part("C2", -0.02, 1000, ahead=0),
        part("C10", 0.0, 1000),
        part("C2", 9, pair="a minus b"),
    ]
    shown = claim_tables.by_number(pandas.DataFrame(table))
    assert shown.columns.tolist() == ["claim", "10 examples", "1,000 examples"]
    assert shown.to_numpy().tolist() == [["C2", "+0.100 (2 of 3)", "-0.020 (0 of 3)"], ["C10", "", "+0.000 (2 of 3)"]]
    assert claim_tables.by_number(pandas.DataFrame(table)[3:]).empty


def test_parts_by_pair_are_of_claims_with_few():
    few = [part("C2", 0.1, pair=f"{name} minus c") for name in "ab"]
    many = [part("C7", 0.1, pair=f"a minus {number}") for number in range(claim_tables.MOST_PAIRS + 1)]
    shown = claim_tables.by_pair(pandas.DataFrame([*few, part("C2", 0.1, 10), *many]))
    assert shown[["claim", "label", "ahead"]].to_numpy().tolist() == [
        ["C2", "a minus c", "2 of 3"],
        ["C2", "b minus c", "2 of 3"],
    ]


def test_rows_are_shown_with_the_examples_used_only_where_these_are_not_those_at_hand():
    rows = pandas.DataFrame({name: [0.0, 0.0] for name in claims.SECONDARY})
    rows = rows.assign(examples=[10, 100], used_a=[10, 100], used_b=[10, 100], part="contrast")
    shown = claim_tables.secondary(rows)
    assert not {"used_a", "used_b", "part", "claim"} & set(shown) and len(shown) == 2
    limited = claim_tables.secondary(rows.assign(used_b=[0, 100], part=["contrast", "apart"]))
    assert "used_a" not in limited and limited["part"].tolist() == ["contrast", "apart"]
    assert limited["used_b"].fillna(-1).tolist() == [0, -1]
