"""report.claim_answers: what is said is the verdict, with the parts of an average, and what a verdict does not say."""

import pandas
import pytest

from lib.report import claim_answers

NOTHING = pandas.DataFrame()
NUMBERS = {"effect": 0.1, "low": 0.05, "high": 0.15, "ahead": 2, "blocks": 3, "side": "above", "close": False}
PARTS = pandas.DataFrame(
    [
        (10.0, "", 0.2),
        (2.0, "", -0.01),
        (float("nan"), "sq:norm minus sq", 0.0),
        (float("nan"), "abs:norm minus abs", 0.1),
    ],
    columns=["examples", "pair", "effect"],
)


def verdicts(claim, verdict, **more):
    kind = "non-inferiority" if claim in ("C3", "C6") else "difference"
    return pandas.DataFrame(
        [{"claim": claim, "label": f"what {claim} says", "kind": kind, "verdict": verdict} | NUMBERS | more]
    )


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("supported", "It helps label gradients"),
        ("contradicted", "It harms label gradients"),
        ("open", "It neither surely helps nor surely harms label gradients"),
        ("too few networks", "Networks are too few to test whether it helps label gradients"),
    ],
)
def test_what_normalising_does_is_the_verdict(verdict, words):
    said = claim_answers.normalising(verdicts("C1", verdict), NOTHING, NOTHING)
    assert said == (
        f"**Does the same length for every example help?** {words}: +0.100 in relative auc (95 % interval +0.050 to "
        f"+0.150; above 0 in 2 of 3 networks; C1: {verdict})."
    )
    assert claim_answers.normalising(verdicts("C2", verdict), NOTHING, NOTHING) == ""


def test_an_average_comes_with_its_parts_by_criterion_and_by_number_of_images():
    said = claim_answers.normalising(verdicts("C1", "open"), PARTS.assign(claim="C1"), NOTHING)
    assert said.endswith(
        "C1: open). By criterion: 0.000 for `sq` and +0.100 for `abs`. On 2 and 10 images: -0.010 and +0.200."
    )
    assert claim_answers.normalising(verdicts("C1", "open"), PARTS.assign(claim="C2"), NOTHING).endswith("C1: open).")


def test_what_normalising_does_to_random_gradients_is_said_of_the_rows_apart():
    rows = pandas.DataFrame(
        {"label": ["sq:norm minus sq", "sq:rand:norm minus sq:rand", "abs:rand:norm minus abs:rand"]}
    )
    rows = rows.assign(claim="C1", effect=[0.5, -0.02, 0.04], p_holm=[0.01, 0.01, 0.9], smallest_p_holm=0.01)
    said = claim_answers.normalising(verdicts("C1", "open"), NOTHING, rows)
    ending = "To random gradients it adds +0.010 on average of 2 single contrasts (from -0.020 to +0.040 among them; "
    assert said.endswith(f"{ending}1 of them with an adjusted p below 0.05).")
    few = claim_answers.normalising(verdicts("C1", "open"), NOTHING, rows.assign(smallest_p_holm=0.3))
    assert few.endswith(f"{ending}too few trained networks for an adjusted p below 0.05).")


@pytest.mark.parametrize(
    ("verdict", "worth", "lost"),
    [
        ("supported", "No more than the", "it loses no more than the"),
        ("contradicted", "More than the", "it loses more than the"),
        ("open", "Whether they are worth more than", "it is open whether it loses more than the"),
        (
            "too few networks",
            "Networks are too few to tell whether they",
            "Networks are too few to tell whether it loses",
        ),
    ],
)
def test_what_nothing_is_lost_by_is_the_verdict(verdict, worth, lost):
    once = {"effect": -0.0001, "low": float("nan"), "high": float("nan"), "ahead": 0, "blocks": 1, "close": False}
    said = claim_answers.labels(verdicts("C3", verdict, **once), PARTS.assign(claim="C3"))
    assert f"worth?** {worth}" in said and "margin of 0.01 in relative auc" in said
    # of one run there is no interval
    ending = "): On 2 and 10 images: -0.010 and +0.200.".replace("):", ").")
    assert said.endswith(f": 0.000 in relative auc (above 0 in 0 of 1 networks; C3: {verdict}{ending}")
    said = claim_answers.one_vector(verdicts("C6", verdict, **once), PARTS.assign(claim="C6"))
    assert lost in said and said.endswith(f"C6: {verdict}{ending}")
    assert claim_answers.labels(NOTHING, NOTHING) == claim_answers.one_vector(NOTHING, NOTHING) == ""


def test_all_verdicts_are_listed_and_those_that_cannot_be_decided_say_which_way_they_point():
    few = {"verdict": "too few networks", "ahead": 3}
    table = pandas.concat(
        [
            verdicts("C4", "contradicted"),
            verdicts("C2", "supported"),
            verdicts("C10", "supported", close=True),
            verdicts("C5", **few),
            verdicts("C1", **few | {"side": "on both sides", "close": True}),
        ]
    )
    said = claim_answers.all_claims(table)
    assert said == (
        "**What holds up?** Supported: what C2 says (C2); what C10 says (C10, close). Contradicted: what C4 says (C4). "
        "Too few networks to test: what C5 says (C5, interval above 0, 3 of 3 networks above 0); what C1 says (C1, "
        f"interval on both sides of 0, 3 of 3 networks above 0, close). {claim_answers.SAME_MACHINE}"
    )
    assert claim_answers.all_claims(NOTHING) == ""
