"""report.panel_tables: what readers see of several panels."""

import pandas

from lib.report import panel_tables

NETWORKS = pandas.DataFrame(
    {
        "panel": ["one", "one", "two"],
        "dataset": ["d", "d", "e"],
        "network": ["a", "b", "c"],
        "seed": [0, 0, 0],
        "given": [False, True, True],
        "accuracy": [0.9, 0.91, 0.5],
    }
)


def test_what_each_panel_holds():
    found = panel_tables.panels(NETWORKS, {"one": (2, 50000), "two": (3,)})
    assert found.to_numpy().tolist() == [
        ["one", "d", "a and b", "2", "here and by others", "2 and 50,000", "90.0 to 91.0"],
        ["two", "e", "c", "1", "by others", "3", "50.0"],
    ]
    facts = panel_tables.facts(NETWORKS, ["three"])
    assert facts == "Profile all · panels one (2 networks), two (1 network) · not measured yet: three"
    assert panel_tables.facts(NETWORKS, []) == "Profile all · panels one (2 networks), two (1 network)"


def over(**more):
    row = {"claim": "C1", "label": "It helps", "kind": "difference", "over": "networks", "count": 8, "ahead": 7}
    row |= {"effect": 0.05, "low": 0.01, "high": 0.09, "verdict": "supported", "side": "above", "close": True}
    return row | {"tau": float("nan"), "i2": float("nan")} | more


def test_a_claim_is_in_one_row_over_networks_and_over_panels():
    few = {"over": "panels", "count": 2, "ahead": 2, "verdict": "too few networks", "close": False}
    (row,) = panel_tables.claims(pandas.DataFrame([over(), over(**few, tau=0.04, i2=0.5)])).to_dict("records")
    assert row == {
        "claim": "C1",
        "label": "It helps",
        "kind": "difference",
        "over networks": "supported, close: +0.050 (+0.010 to +0.090); above 0 in 7 of 8",
        "over panels": "too few panels to test; interval above 0: +0.050 (+0.010 to +0.090); above 0 in 2 of 2",
        "tau": 0.04,
        "I² (%)": 50.0,
    }


def test_without_an_interval_none_is_said():
    alone = {"over": "panels", "count": 1, "ahead": 1, "low": float("nan"), "high": float("nan"), "side": ""}
    alone |= {"verdict": "too few networks", "close": False}
    found = panel_tables.claims(pandas.DataFrame([over(), over(**alone)]))
    assert found["over panels"].item() == "too few panels to test; no interval: +0.050; above 0 in 1 of 1"


def test_a_claim_that_a_panel_did_not_measure_says_so():
    measured = over(panel="one")
    unknown = {"claim": "C1", "label": "It helps", "panel": "two", "count": 0}
    found = panel_tables.by_panel(pandas.DataFrame([measured, unknown]))
    assert found.to_dict("records") == [
        {"claim": "C1", "label": "It helps", "one": "+0.050 (7 of 8): supported", "two": "not measured"}
    ]


def test_the_leaderboard_says_how_far_places_are_apart():
    places = {"criterion": ["sq", "sq", "l2", "l2"], "labels": [True, True, False, False], "panel": ["p", "q"] * 2}
    places |= {"auc_relative": [0.9, 0.5, 0.2, 0.5], "place": [1, 1.5, 2, 1.5], "mean": [0.7, 0.7, 0.35, 0.35]}
    found = panel_tables.board(pandas.DataFrame(places | {"overall": [1, 1, 2, 2]}))
    assert found.to_dict("records") == [
        {"criterion": "sq", "labels": True, "auc_relative": 0.7, "place": 1, "places in panels": "1 to 1.5",
         "p": "0.900 (1)", "q": "0.500 (1.5)"},
        {"criterion": "l2", "labels": False, "auc_relative": 0.35, "place": 2, "places in panels": "1.5 to 2",
         "p": "0.200 (2)", "q": "0.500 (1.5)"},
    ]  # fmt: skip


def test_networks_and_trainers_have_plain_headers():
    found = panel_tables.networks(pandas.DataFrame({"given": [False, True], "layers": 3, "lead_l2": 0.1}))
    assert list(found) == ["trained", "layers with units", "lead over l2"]
    assert list(found["trained"]) == ["here", "by others"]
    shown = panel_tables.trainers(pandas.DataFrame(columns=["here", "networks_here", "others", "networks_others"]))
    assert list(shown) == ["trained here", "networks", "by others", "of others"]
