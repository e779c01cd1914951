"""report.panel_answers: sentences that say what the tables do."""

import numpy
import pandas
import pytest
from test_panel_tables import NETWORKS, over

from lib.report import panel_answers

NAN = float("nan")


def said(**more):
    """The answers to tables in which two panels agree on everything."""
    rows = [over(claim=name, over=what) for name in ("C1", "C10") for what in ("networks", "panels")]
    board = {"criterion": ["sq:mas", "sq:mas", "sq:rand:norm", "sq:rand:norm", "l2", "l2"], "panel": ["one", "two"] * 3}
    board |= {"auc_relative": [0.9, 0.7, 0.8, 0.7, 0.85, 0.2], "place": [1, 1.5, 3, 1.5, 2, 3]}
    board |= {"mean": [0.8, 0.8, 0.75, 0.75, 0.525, 0.525], "overall": [1, 1, 2, 2, 3, 3], "labels": False}
    sizes = [{"lead": lead, "with": "units", "spearman": NAN, "networks": 3} for lead in ("sq:norm", "l2")]
    given = {
        "networks": NETWORKS,
        "missing": [],
        "over": pandas.DataFrame(rows),
        "board": pandas.DataFrame(board),
        "stability": pandas.DataFrame({"first": ["one"], "second": ["two"], "spearman": [0.5]}),
        "sizes": pandas.DataFrame(sizes),
        "trainers": pandas.DataFrame({"claim": ["C1", "C10"], "here": [0.1, 0.1], "others": [0.1, -0.1]}),
    }
    nothing = dict.fromkeys(("agreement", "contrasts", "single"), pandas.DataFrame())
    return panel_answers.in_short(**given | nothing | more)


def answer(question, **more):
    (line,) = [line for line in said(**more).splitlines() if line.startswith(f"- **{question}")]
    return line.partition("?** ")[2]


def test_what_it_is_from_and_what_is_missing():
    own = "2 panels, `one` and `two`: 3 trained networks on d and e, 1 of them trained here, 2 by others."
    assert answer("What is this from") == own
    missing = " Not measured yet: `three` (`make reproduce PROFILE=<name>`, then `make publish PROFILE=<name>`)."
    assert answer("What is this from", missing=["three"]) == own + missing


def test_without_labels_against_weights_in_every_panel():
    assert answer("Can you tell") == (
        "`sq:rand:norm`, which needs none, has a mean relative auc of 0.750 over panels (0.700 to 0.800 among them); "
        "weight magnitude (`l2`) 0.525, behind it in 1 of 2."
    )


def test_how_stable_places_are():
    best = "Of 3 criteria that every panel has, with labels and without, `sq:mas` is first in the mean over panels "
    best += "(places 1 to 1.5 among them), `sq:rand:norm` in place 2 (1.5 to 3 among them)."
    assert answer("Is the best") == f"{best} Two panels order them with a rank correlation of 0.50 (mean 0.50)."
    alone = pandas.DataFrame(columns=["first", "second", "spearman"])
    assert answer("Is the best", stability=alone) == f"{best} One panel says nothing of how stable places are."


def test_a_claim_over_panels_and_over_networks():
    rows = [over(), over(over="panels", count=6, ahead=6, verdict="open", tau=0.0421, i2=0.613)]
    assert answer("Does the same length", over=pandas.DataFrame(rows)) == (
        "Label gradients with it minus those without: +0.050 in relative auc in the mean over panels (95 % interval "
        "+0.010 to +0.090; above 0 in 6 of 6 panels; C1: open); over networks +0.050 (95 % interval +0.010 to +0.090; "
        "supported). Panels differ with a standard deviation of 0.042 beyond what their networks leave uncertain, "
        "61 % of the variance between them."
    )
    assert "What are labels worth" not in said()


def test_over_few_panels_a_claim_that_needs_no_signed_rank_test_keeps_its_verdict():
    rows = [over(), over(over="panels", count=3, verdict="too few networks")]
    rows += [over(claim="C3"), over(claim="C3", over="panels", count=3)]
    found = answer("What holds up", over=pandas.DataFrame(rows))
    assert found.startswith(
        "Over panels: supported C3; too few panels to test C1. Over networks: supported C1 and C3. "
    )


def test_claims_by_verdict_over_panels_and_over_networks():
    rows = [over(over=what, count=count) for what, count in (("networks", 8), ("panels", 6))]
    few = pandas.DataFrame([over(), over(over="panels", count=5, verdict="too few networks")])
    unknown = "Not measured in any panel: C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13 and C14."
    found = answer("What holds up", over=pandas.DataFrame(rows))
    assert found == f"Over panels: supported C1. Over networks: supported C1. {unknown}"
    assert answer("What holds up", over=few) == (
        "Over panels nothing can be tested yet: 6 are the fewest whose signed-rank test can reach p < 0.05. "
        f"Over networks: supported C1. {unknown}"
    )


def test_with_five_networks_there_are_correlations_with_size():
    few = answer("What changes with size")
    assert few == "Too few networks to say: of 5 that it takes, seeds averaged, there are 3."
    rows = [("l2", "units", 0.5), ("l2", "layers", NAN), ("sq:norm", "units", -0.25)]
    sizes = pandas.DataFrame(rows, columns=["lead", "with", "spearman"]).assign(networks=numpy.int64(5))
    assert answer("What changes with size", sizes=sizes) == (
        "Over 5 networks (means over seeds), the lead of `sq:rand:norm` in relative auc has these rank correlations: "
        "over `l2` +0.50 with units; over `sq:norm` -0.25 with units. Data sets differ with size, too."
    )


@pytest.mark.parametrize(("others", "expected"), [([0.1, -0.1], 1), ([0.1, NAN], 1), ([-0.1, 0.2], 1)])
def test_who_trained(others, expected):
    trainers = pandas.DataFrame({"claim": ["C1", "C10"], "here": [0.1, 0.1], "others": others})
    count = 2 - numpy.isnan(others).sum()
    assert answer("Does it matter", trainers=trainers).startswith(
        f"Of {count} claims that were measured on both kinds, {expected} have an effect of the same sign"
    )
    assert "Does it matter" not in said(trainers=trainers.assign(others=NAN))


def test_with_one_panel_nothing_is_said_to_be_among_them():
    rows = {"criterion": ["sq:rand:norm", "l2"], "panel": "one", "auc_relative": [0.8, 0.9], "place": [2, 1]}
    board = pandas.DataFrame(rows | {"mean": [0.8, 0.9], "overall": [2, 1], "labels": False})[::-1]
    assert "among them" not in said(board=board) and "`sq:rand:norm` in place 2. Two panels" in said(board=board)
