"""report.opening: the answer is what the tables hold, and what they do not hold is not said."""

import re

import made_up_panels
import pandas
import pytest
from made_up import VERDICT

from lib.report import opening
from lib.study import panels

NUMBERS = VERDICT | {"p_holm": 0.01, "label": "One (two)"}
EVIDENCE = "+0.100 in relative auc (95 % interval +0.050 to +0.150; above 0 in 2 of 3 networks; {}: {})"


def measured(own, weights):
    """Of three networks, at .1 less and more than these means."""
    rows = [
        ("p", "digits", "vgg8", seed, name, mean + (seed - 1) / 10)
        for seed in range(3)
        for name, mean in (("sq:rand:norm", own), ("l2", weights))
    ]
    return pandas.DataFrame(rows, columns=["panel", "dataset", "network", "seed", "criterion", "auc_relative"])


def verdicts(*rows):
    return pandas.DataFrame([NUMBERS | row for row in rows])


def short(**of_claims):
    return opening.in_short(verdicts(*({"claim": name, "verdict": verdict} for name, verdict in of_claims.items())))


def test_the_answer_in_short_is_what_three_verdicts_say():
    yes, no, few = "supported", "contradicted", "too few networks"
    ranking = "anking units without labels, by random gradients, works {} ranking them with labels"
    yes_here = "Yes, in the 3 networks measured. "
    well, less = ranking.format("as well as"), ranking.format("less well than")
    assert short(C3=yes) == f"**{yes_here}R{well}.**"
    better, worse = (f"{how} than ranking them by weight magnitude (exploratory)" for how in ("better", "less well"))
    assert short(C3=yes, C12=yes, C13=yes, C14=yes) == f"**{yes_here}R{well}, and {better}.**"
    until = ", as long as nothing is {} afterwards.**"
    trained, either = until.format("trained further"), until.format("repaired or trained further")
    assert short(C3=yes, C12=yes, C13=yes, C14=few) == f"**{yes_here}R{well}, and {better}{trained}"
    assert short(C3=yes, C12=few, C13=yes) == f"**{yes_here}R{well}, and {better}{either}"
    no_here = f"**No, in the 3 networks measured. R{less}, and {worse}"
    assert short(C3=no, C12=no, C13=no, C14=no) == f"{no_here}.**"
    assert short(C3=no, C12=yes, C13=no, C14=yes) == f"{no_here}{either}"
    assert short(C3="open", C12=yes, C13=yes, C14="open") == (
        f"**Open. Whether r{well} cannot be told yet; it works {better}{trained}"
    )
    assert short(C3=few, C13=few) == f"**Open. Whether r{well} cannot be told yet.**"
    assert short(C13=yes) == opening.in_short(pandas.DataFrame()) == ""


def test_what_labels_add_is_said_of_the_most_images_and_of_networks_that_lose():
    rows = verdicts({"claim": "C3", "verdict": "supported"})
    each = pandas.DataFrame(
        {"claim": "C3", "dataset": "a", "network": ["n", "n", "m"], "difference": [0.0, -0.04, 0.1]}
    )
    found = opening.labels(rows, pandas.DataFrame(), pandas.DataFrame(), each)
    assert found.endswith(" before anything was measured. More than 0.01 is lost in `n` (-0.020).")
    assert opening.labels(rows, pandas.DataFrame(), pandas.DataFrame(), each[2:]).endswith("was measured.")
    own = pandas.DataFrame({"dataset": "b", "network": "n", "difference": [0.3, 0.3, 0.3, float("nan")]})
    said = " On the most images alone it is +0.300 (95 % interval +0.300 to +0.300; above 0 in all 3 networks)."
    assert opening.labels(rows, pandas.DataFrame(), own, each[2:]).endswith(f"was measured.{said}")


def test_how_far_one_can_go_is_said_by_data_set():
    line = pandas.DataFrame({"gone": [0.0, 20.0, 40.0], "accuracy": [0.9, 0.9, 0.81], "blocks": 1, "examples": 9})
    line["step"] = 10.0
    rows = [line.assign(dataset=data, network=net, criterion=name) for data, net, name in (
        ("digits", "vgg8", "sq:rand:norm"), ("digits", "vgg8", "l2"), ("stl10", "vgg8", "sq:rand:norm"),
        ("stl10", "vgg8", "l2"))]  # fmt: skip
    shorter = line.assign(accuracy=[0.9, 0.81, 0.0], dataset="digits", network="resnet8")
    rows += [shorter.assign(criterion=name) for name in ("sq:rand:norm", "l2")]
    better = verdicts({"claim": "C13", "verdict": "supported"})
    assert opening.how_far(pandas.concat(rows), better) == (
        "**A better order, but no free cut**: without repair 5 % of the accuracy is gone with 30 % (`vgg8`) and "
        "10 % (`resnet8`) of the units off on digits and 30 % on stl10."
    )
    third = [shorter.assign(criterion=name, network="resnet20") for name in ("sq:rand:norm", "l2")]
    assert "with 10 to 30 % of the units off on digits and" in opening.how_far(pandas.concat([*rows, *third]), better)
    assert opening.how_far(pandas.DataFrame(), better) == ""


@pytest.mark.parametrize("table", [pandas.DataFrame(), verdicts({"claim": "C13", "verdict": "open"})])
def test_an_order_is_called_better_only_where_it_is(table):
    line = pandas.DataFrame({"gone": [0.0, 20.0, 40.0], "accuracy": [0.9, 0.9, 0.81], "blocks": 1, "examples": 9})
    line = line.assign(dataset="stl10", network="vgg8", step=10.0)
    lines = pandas.concat([line.assign(criterion=name) for name in ("sq:rand:norm", "l2")])
    said = "**There is no free cut**: without repair 5 % of the accuracy is gone with 30 % of the units off on stl10."
    assert opening.how_far(lines, table) == said


def test_without_a_claim_or_criterion_nothing_is_said_of_it():
    nothing, rows = pandas.DataFrame(), verdicts({"claim": "C1", "verdict": "open"})
    assert opening.labels(nothing, nothing) == opening.labels(rows, nothing) == ""
    assert opening.repaired(nothing) == opening.repaired(rows) == opening.trained(rows, nothing) == ""


@pytest.mark.parametrize(
    ("verdict", "said", "mark", "more"),
    [
        (
            "supported",
            "Labels add nothing that counts",
            "✓ yes",
            " A loss of up to 0.01 would have counted as none, as settled before anything was measured.",
        ),
        ("contradicted", "Labels add something", "✗ no", ""),
        ("open", "Whether labels add anything is open", "○ open", ""),
    ],
)
def test_what_labels_add_is_the_verdict(verdict, said, mark, more):
    rows = verdicts({"claim": "C3", "verdict": verdict})
    beside = "random gradients are ahead of label gradients of the same length"
    expected = f"**{said}**: {beside}, {EVIDENCE.format('C3', mark)}.{more}"
    assert opening.labels(rows, pandas.DataFrame()) == expected
    parts = pandas.DataFrame({"claim": "C3", "pair": "", "examples": [10, 1000], "effect": [-0.05, 0.01]})
    assert opening.labels(rows, parts) == f"{expected} On 10 and 1,000 images: -0.050 and +0.010."
    assert f"C3: {mark}, close)" in opening.labels(rows.assign(close=True), parts)
    assert "random gradients are behind label gradients" in opening.labels(rows.assign(effect=-0.1), parts)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"verdict": "supported"}, "random gradients are ahead of weight magnitude"),
        (
            {"verdict": "supported", "p_holm": 0.05},
            "random gradients are ahead of weight magnitude, if not by a test that allows for the number of claims",
        ),
        ({"verdict": "contradicted", "effect": -0.1}, "weight magnitude is ahead of random gradients"),
        ({"verdict": "open"}, "it is undecided"),
        ({"verdict": "too few networks"}, "it is undecided, for too few networks"),
    ],
)
def test_after_repair_it_is_the_verdict_and_where_it_was_measured(row, said):
    here = {"claim": "C12", "signs": "cifar10/resnet20a +"} | row
    rows = verdicts(here, {"claim": "C3", "verdict": "open", "signs": "cifar10/resnet20a +, digits/vgg8 -"})
    found = opening.repaired(rows)
    assert found.startswith(f"**After a repair without labels {said}**: with BatchNorms estimated anew, ")
    assert "above 0 in 2 of 3 networks, all on cifar10; C12: " in found
    assert ", all on" not in opening.repaired(rows[:1])
    both = pandas.concat([rows, rows[:1].assign(claim="C13")])  # the same verdict without repair
    other = "random gradients" if row["verdict"] == "contradicted" else "weight magnitude"
    if row["verdict"] in ("supported", "contradicted"):
        assert f" ahead of {other}, too" in opening.repaired(both)
    assert f" ahead of {other}, too" not in opening.repaired(both.assign(verdict=[row["verdict"], "open", "other"]))


def test_after_fine_tuning_it_is_the_verdict_and_both_accuracies_at_one_budget():
    key = {"dataset": "digits", "network": "vgg8", "of": "macs", "budget": 0.5, "training": "fine-tuned"}
    rows = [(0, "sq:rand:norm", 0.8), (0, "l2", 0.7), (1, "sq:rand:norm", 0.6), (1, "l2", 0.6)]
    tuned = pandas.DataFrame(rows, columns=["seed", "criterion", "after"]).assign(**key)
    tuned = pandas.concat([tuned, tuned.assign(of="parameters", after=0.1)])
    row = {"claim": "C14", "verdict": "too few networks", "kind": "accuracy"}
    found = opening.trained(verdicts(row), tuned)
    assert found == (
        "**After fine-tuning it is undecided, for too few networks**: 70.0 % by `sq:rand:norm` and 65.0 % by `l2` with "
        "50 % of multiply-adds gone; +10.0 points of accuracy (95 % interval +5.0 to +15.0 points; above 0 in 2 of 3 "
        "networks; C14: ○ open: too few networks, exploratory). Not covered by this claim: 10.0 % by `sq:rand:norm` "
        "and 10.0 % by `l2` with 50 % of parameters gone (`sq:rand:norm` ahead in none of 2 networks)."
    )


def test_what_it_was_measured_on_is_said_and_that_digits_are_toys(root):
    made_up_panels.study(root)
    made_up_panels.publish(root / "results", "one", "two", "demo")
    plans, _ = panels.published()
    seen, tested = (
        pandas.DataFrame({"dataset": ["a", "b"], "network": "n", "examples": [103, 5000]}),
        pandas.DataFrame({"test_images": [1000.0, 1000.0]}),
    )
    nothing = pandas.DataFrame()
    words = opening.limit(plans, nothing, nothing)
    assert words.startswith("Measured on 7 trained networks (cifar100: resnet20 from 3 seeds; cifar10: resnet20")
    assert words.endswith(
        "). The networks are of 2 families (resnet and vgg), and less independent than their number says. Nothing is "
        "said of other data and networks."
    )
    both = "), ranked on up to 103 (a) and 5,000 (b) training images and judged on 1,000 test images. The"
    assert both in opening.limit(plans, seen, tested)
    assert "ranked on up to 5,000 training images" in opening.limit(plans, seen.assign(examples=5000), tested)
    more = pandas.concat([seen, pandas.DataFrame({"dataset": ["b"], "network": ["vgg8"], "examples": [10]})])
    assert "103 (a) and 10 to 5,000 (b) training images" in opening.limit(plans, more, tested)
    rows = verdicts({"claim": "C3", "verdict": "open"}, {"claim": "C12", "verdict": "open"})
    said = opening.answer(plans, rows, "a.md")
    assert said.startswith("**Open. ") and "fine-tuning" not in said  # which these have not measured
    links = ['[C3](a.md#the-claims "C3")', '[C12](a.md#the-claims "C12")']
    assert re.findall(r"\[\w+\]\(a[^)]+\)", said) == links and said.count("\n- **") == 2
    toys, _ = panels.published(names=["demo"])
    assert opening.limit(toys, nothing, nothing).endswith(
        "These images have 8x8 pixels and the networks are tiny: a first look."
    )
