"""report.opening: the answer is what the tables hold, and what they do not hold is not said."""

import re

import made_up_panels
import pandas
import pytest

from lib.report import opening
from lib.study import claims, panels
from lib.study.finetuning import PRICED

NUMBERS = {"effect": 0.1, "low": 0.05, "high": 0.15, "ahead": 2, "blocks": 3, "close": False, "label": "One (two)"}


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


def tuned(own, weights):
    rows = [("a", 0, "sq:rand:norm", own), ("a", 0, "l2", weights), ("a", 1, "sq:rand:norm", 0.5), ("a", 1, "l2", 0.51)]
    table = pandas.DataFrame(rows, columns=["network", "seed", "criterion", "after"])
    return table.assign(dataset="digits", of="macs", budget=0.5, training="fine-tuned")


@pytest.mark.parametrize(
    ("own", "weights", "begins", "ends"),
    [
        (0.6, 0.3, "**Yes: ranked without labels, by random gradients, a network keeps 2.0 times the accuracy",
         "relative auc 0.60 by `sq:rand:norm` against 0.30 by `l2`, ahead in all 3 networks."),
        (0.3, 0.6, "**Not better than by the size of weights: ranked without labels, by random gradients, a "
        "network keeps"
         " 0.5 times the", "ahead in none of 3 networks."),
        (0.5, 0.5, "**Not better than by the size of weights: ranked without labels, by random gradients, a "
        "network keeps"
         " as much accuracy as it keeps when", "ahead in none of 3 networks."),
    ],
)  # fmt: skip
def test_the_answer_is_by_how_much_it_beats_the_size_of_weights(own, weights, begins, ends):
    said = opening.without_labels(measured(own, weights))
    assert said.startswith(begins) and said.endswith(ends)


def test_the_best_by_weights_is_named_where_it_is_another():
    table = pandas.concat(
        [measured(0.6, 0.3), measured(0.5, 0.9).replace({"sq:rand:norm": "bn-scale", "l2": "random"})]
    )
    table["used"] = table["criterion"].map({"sq:rand:norm": 100}).fillna(0)
    said = opening.without_labels(table)
    assert said.endswith(" The best of 2 criteria that look at weights alone, `bn-scale`, has 0.50.")
    assert "weights alone" not in opening.without_labels(table[table["criterion"] != "bn-scale"])


def test_without_both_criteria_there_is_no_answer():
    assert opening.without_labels(measured(0.5, 0.4)[lambda rows: rows["criterion"] == "l2"]) == ""
    assert opening.labels(pandas.DataFrame(), pandas.DataFrame()) == opening.after(pandas.DataFrame()) == ""
    assert opening.repaired(pandas.DataFrame()) == opening.rank_by(pandas.DataFrame()) == ""
    assert opening.table(pandas.DataFrame()) == opening.speed(pandas.DataFrame(), "") == ""


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"verdict": "supported"}, "Labels add nothing that counts: random gradients were 0.100 ahead of label "
         "gradients of the same length, in 2 of 3 networks (a loss of up to 0.01 would count as none)."),
        ({"verdict": "contradicted", "effect": -0.02, "ahead": 0}, "Labels do add something: random gradients "
        "were 0.020 "
         "behind label gradients of the same length, ahead in none of 3 networks."),
        ({"verdict": "open", "effect": 0.0001}, "Whether labels add anything is open: random gradients were level with "
         "label gradients of the same length."),
    ],
)  # fmt: skip
def test_what_labels_add_is_the_verdict(row, said):
    rows = verdicts({"claim": "C3"} | row)
    assert opening.labels(rows, pandas.DataFrame()) == said
    parts = pandas.DataFrame({"claim": "C3", "pair": "", "examples": [10, 1000], "effect": [-0.05, 0.01]})
    assert opening.labels(rows, parts) == f"{said} On 10 and 1,000 images: -0.050 and +0.010."
    doubtful = opening.labels(rows.assign(close=True), parts)
    assert ("but other networks may say otherwise: random" in doubtful) == (row["verdict"] != "open")


@pytest.mark.parametrize(
    ("own", "weights", "said", "advised"),
    [
        (0.6, 0.7, "the size of weights is ahead**: mean accuracy 55.0 % by `sq:rand:norm` and 60.5 % by `l2` "
        "with 50 % "
         "of multiply-adds gone (`sq:rand:norm` ahead in none of 2 networks).", "rank by `l2`**: it ended 5.5 "
         "points above "
         "`sq:rand:norm`."),
        (0.7, 0.6, "`sq:rand:norm` is still ahead**: mean accuracy 60.0 % by `sq:rand:norm` and 55.5 % by `l2` "
        "with 50 % "
         "of multiply-adds gone (`sq:rand:norm` ahead in 1 of 2 networks).", "rank by `sq:rand:norm`**: it "
         "ended 4.5 points "
         "above `l2`."),
        (0.61, 0.6, "both end alike**: mean accuracy 55.5 % by `sq:rand:norm` and 55.5 % by `l2` with 50 % of "
         "multiply-adds gone (`sq:rand:norm` ahead in 1 of 2 networks).", "either will do**: `l2`, which needs "
         "no images, ends where "
         "`sq:rand:norm` does."),
    ],
)  # fmt: skip
def test_after_fine_tuning_it_may_be_another(own, weights, said, advised):
    table = tuned(own, weights)
    fresh = table.assign(training="from scratch", after=0.0)
    assert opening.after(pandas.concat([table, fresh])) == f"**After fine-tuning {said}"
    assert opening.rank_by(table) == f"**If you fine-tune, {advised}"


def test_after_fine_tuning_networks_ranked_by_score_per_multiply_add_are_told_beside():
    plain = tuned(0.6, 0.7)  # .55 and .605 in the mean
    priced = plain[plain["criterion"] == "sq:rand:norm"].assign(training=PRICED, after=[0.68, 0.6])
    assert opening.after(pandas.concat([plain, priced])).endswith(
        " Ranked by score per multiply-add `sq:rand:norm` ends 3.5 points above `l2` (ahead in 1 of 2 networks) "
        "without 50 % of multiply-adds."
    )
    assert opening.rank_by(pandas.concat([plain, priced])) == (
        "**If you fine-tune, rank by score per multiply-add, of `sq:rand:norm`**, as the tool does: it ended "
        "3.5 points above `l2` without 50 % of multiply-adds, which by score alone it did not."
    )
    worse = pandas.concat([plain, priced.assign(after=0.4)])
    assert "20.5 points below `l2` (ahead in none of 2 networks)" in opening.after(worse)
    assert opening.rank_by(worse) == opening.rank_by(plain)


def test_scores_per_multiply_add_are_set_beside_scores_alone_at_the_same_budgets_and_networks():
    ahead, behind = tuned(0.7, 0.6), tuned(0.5, 0.7).assign(of="parameters")
    priced = ahead[ahead["criterion"] == "sq:rand:norm"].assign(training=PRICED)
    found = opening.rank_by(pandas.concat([ahead, behind, priced]))  # by scores alone it was ahead there, too
    assert found == opening.rank_by(pandas.concat([ahead, behind]))
    other = tuned(0.2, 0.9).assign(network="c")
    assert opening.rank_by(pandas.concat([ahead, other, priced])) == opening.rank_by(pandas.concat([ahead, other]))
    level = pandas.concat([ahead, priced.assign(after=ahead[ahead["criterion"] == "l2"]["after"].tolist())])
    assert "multiply-add `sq:rand:norm` ends level with `l2` (ahead in none of 2 networks)" in opening.after(level)


def test_networks_of_tables_that_do_not_say_how_they_were_trained_count_beside_those_that_do():
    old = tuned(0.6, 0.7).drop(columns=["of", "budget", "training"])
    both = pandas.concat([old, tuned(0.6, 0.7).assign(dataset="cifar100")], ignore_index=True)
    assert "ahead in none of 4 networks)" in opening.after(both) and "nan" not in opening.after(both)
    assert opening.after(old) == opening.after(tuned(0.6, 0.7))


def test_after_fine_tuning_budgets_are_told_one_by_one():
    more = pandas.concat([tuned(0.6, 0.7), tuned(0.8, 0.6).assign(of="parameters")])
    assert opening.after(more).startswith("**After fine-tuning it depends on what goes which of both is ahead**: mean")
    assert opening.rank_by(more) == (
        "**If you fine-tune, `sq:rand:norm` may lead or not**: 5.5 points against it without 50 % of multiply-adds and "
        "9.5 points for it without 50 % of parameters, beside `l2`."
    )
    slight = pandas.concat([tuned(0.63, 0.6), tuned(0.6, 0.6).assign(of="parameters")])
    assert "1.0 points for it without 50 % of multiply-adds and 0.5 points against it" in opening.rank_by(slight)
    assert "it ended 5.5 to 10.5 points" in opening.rank_by(
        pandas.concat([tuned(0.6, 0.7), tuned(0.5, 0.7).assign(of="parameters")])
    )


def test_after_repair_it_is_set_beside_weights():
    said = opening.repaired(verdicts({"claim": "C12", "effect": -0.05, "ahead": 1}))
    assert said.endswith(" `sq:rand:norm` is 0.050 behind `l2`, ahead in 1 of 3 networks.")


def test_claims_have_a_mark_and_link_to_where_they_are_told():
    rows = verdicts(
        {"claim": "C1", "verdict": "supported", "close": True},
        {"claim": "C2", "verdict": "too few networks", "low": float("nan"), "blocks": 1, "ahead": 1},
    )
    assert opening.table(rows.assign(dropped=[2, 0]), "report.md").splitlines()[2:] == [
        '| [C1](report.md#the-claims "C1") | One | ✓ yes, close | +0.100 (+0.050 to +0.150) | 2 of 3, 2 left out |',
        '| [C2](report.md#the-claims "C2") | One | ○ too few networks | +0.100 | 1 of 1 |',
    ]


def test_what_it_was_measured_on_is_said_and_that_digits_are_toys(root):
    made_up_panels.study(root)
    made_up_panels.publish(root / "results", "one", "two", "demo")
    plans, _ = panels.published()
    seen, tested = pandas.DataFrame({"examples": [103, 5000]}), pandas.DataFrame({"test_images": [1000.0, 1000.0]})
    words = (
        "Measured on 7 trained networks (cifar100: resnet20; cifar10: resnet20 and vgg19){}, unless another number is "
    )
    words += "named. It says nothing of other data and networks."
    nothing = pandas.DataFrame()
    assert opening.limit(plans, nothing, nothing) == words.format("")
    both = ", ranked on 103 to 5,000 training images and judged on 1,000 test images"
    assert opening.limit(plans, seen, tested) == words.format(both)
    said = opening.answer(plans, pandas.DataFrame())
    assert said.startswith("**Yes: ranked without labels, by random gradients, a network keeps 1.4 times the accuracy")
    assert "fine-tuning" not in said  # which these have not measured
    rows = verdicts({"claim": "C3", "verdict": "open"}, {"claim": "C12", "effect": -0.05})
    assert re.findall(r'\[[\d.]+\]\(a[^)]+\)', opening.answer(plans, rows, "a.md")) == [
        '[0.54](a.md#the-leaderboard "sq:rand:norm")', '[0.40](a.md#the-leaderboard "l2")',
        '[0.100](a.md#the-claims "C3")', '[0.050](a.md#the-claims "C12")',
    ]  # fmt: skip
    toys, _ = panels.published(names=["demo"])
    assert opening.limit(toys, nothing, nothing).endswith(
        "These images have 8x8 pixels and the networks are tiny: a first look."
    )


def test_how_much_faster_is_said_of_every_network():
    rows = [(0, 0.0, 10.0, 100.0, 200), (0, 0.5, 9.0, 60.0, 100), (0, 0.75, 1.0, 1.0, 1)]
    costs = pandas.DataFrame(rows, columns=["seed", "budget", "latency_1_ms", "latency_64_ms", "parameters"])
    assert opening.speed(costs.assign(panel="p", dataset="digits", network="vgg8"), "a GPU (one)") == (
        "Without half of its multiply-adds `vgg8` takes 60 % of the time for 64 images (90 % for one) and 50 % of the "
        "parameters, on a GPU (one)."
    )


def test_claims_that_were_not_measured_are_named():
    there = [name for name in claims.names() if name not in ("C8", "C11")]
    assert opening.note(verdicts(*({"claim": name} for name in there))).endswith(" Not measured here: C8 and C11.")
    assert "Not measured" not in opening.note(verdicts(*({"claim": name} for name in claims.names())))
