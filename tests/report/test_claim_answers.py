"""report.claim_answers: what is said is the verdict, with its numbers."""

import pandas
import pytest
from made_up import VERDICT

from lib.report import claim_answers

NOTHING = pandas.DataFrame()
NUMBERS = VERDICT | {"side": "above"}
PARTS = pandas.DataFrame(
    [(10.0, "", 0.2), (2.0, "", -0.01), (float("nan"), "sq:norm minus sq", 0.0)],
    columns=["examples", "pair", "effect"],
)


def verdicts(claim, verdict, **more):
    row = {"claim": claim, "label": f"what {claim} says", "verdict": verdict}
    return pandas.DataFrame([row | NUMBERS | more])


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("supported", "helps label gradients"),
        ("contradicted", "harms label gradients"),
        ("open", "neither surely helps nor surely harms label gradients"),
        ("too few networks", "was measured in too few networks to say whether it helps label gradients"),
    ],
)
def test_what_normalising_does_is_the_verdict(verdict, words):
    said = claim_answers.normalising(verdicts("C1", verdict), NOTHING)
    assert said == (
        f"**The same length for every example {words}**: +0.100 in relative auc (95 % interval +0.050 to "
        f"+0.150; above 0 "
        "in 2 of 3 networks; C1)."
    )
    assert claim_answers.normalising(verdicts("C2", verdict), NOTHING) == ""


def test_what_normalising_does_to_random_gradients_is_said_of_the_rows_apart():
    rows = pandas.DataFrame(
        {"label": ["sq:norm minus sq", "sq:rand:norm minus sq:rand", "abs:rand:norm minus abs:rand"]}
    )
    said = claim_answers.normalising(verdicts("C1", "open"), rows.assign(claim="C1", effect=[0.5, -0.02, 0.04]))
    assert said.endswith(
        "With random gradients, whose lengths differ little, the mean difference is +0.010 (of 2 contrasts)."
    )


@pytest.mark.parametrize(
    ("verdict", "begins"),
    [
        (
            "supported",
            "**Yes, one random vector per image is enough: it loses no more than 0.01 against one vector per",
        ),
        ("contradicted", "**No, one random vector per image is not enough on every number of images"),
        ("open", "**Whether one random vector per image is enough is open: it may lose more than 0.01"),
        ("too few networks", "**Networks are too few to tell whether one random vector per image is enough"),
    ],
)
def test_whether_one_vector_is_enough_is_the_verdict(verdict, begins):
    once = {"effect": -0.0001, "low": float("nan"), "high": float("nan"), "ahead": 0, "blocks": 1}
    said = claim_answers.one_vector(verdicts("C6", verdict, **once), PARTS.assign(claim="C6"))
    assert said.startswith(begins)
    assert said.endswith(
        "0.000 in relative auc (above 0 in none of 1 network; C6). On 2 and 10 images: -0.010 and +0.200."
    )
    assert claim_answers.one_vector(NOTHING, NOTHING) == ""


def test_any_claim_is_answered_by_its_verdict():
    named = {"label": "Orders last (the effect is the mean correlation)", "kind": "rank correlation"}
    assert claim_answers.one(verdicts("C8", "open", **named), "C8") == (
        "**Open: Orders last.** Effect: +0.100, a rank correlation (95 % interval +0.050 to +0.150; above 0 "
        "in 2 of 3 networks; C8)."
    )
    close = claim_answers.one(verdicts("C2", "supported", close=True), "C2")
    assert close.startswith("**Yes: what C2 says.** Effect: +0.100 in relative auc (") and close.endswith(
        "; C2, close)."
    )
    assert claim_answers.one(NOTHING, "C2") == ""
