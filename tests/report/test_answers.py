"""report.answers: what is said is what the tables hold, and what they do not hold is not said."""

import pandas
import pytest

from lib.report import answers
from lib.study import claims
from lib.study.analyses import failures, joint_effects

OWN = claims.RECOMMENDED


def free(**means):
    """Two runs per criterion, at .1 less and .1 more than its mean relative auc."""
    names = {"own": OWN}
    rows = [
        ("digits", "vgg8", seed, names.get(name, name.replace("_", "-")), 10, 10, mean + shift)
        for name, mean in means.items()
        for seed, shift in ((0, -0.1), (1, 0.1))
    ]
    columns = ["dataset", "network", "seed", "criterion", "examples", "used", "auc_relative"]
    accuracies = {"accuracy_unpruned": 0.8, "accuracy_10pct": 0.8, "accuracy_25pct": 0.6, "accuracy_50pct": 0.2}
    return pandas.DataFrame(rows, columns=columns).assign(**accuracies)


def said(section, **found):
    return answers.by_section(**found).get(section, "")


def test_without_tables_nothing_is_said():
    assert answers.by_section() == {}
    empty = pandas.DataFrame({"claim": [], "verdict": []})
    assert answers.by_section(verdicts=empty, free=free(l2=0.3), tuned=tuned(("l2", 0.9, 1, 1))) == {}


def test_the_recommended_criterion_is_placed_among_those_without_labels_and_beside_the_best_with_them():
    found = answers.by_section(free=free(own=0.7, l2=0.5, random=0.3, act_std=0.8), labelled=free(sq=0.9, abs=0.6))
    assert found == {
        "The curves in short": "With 10, 25 and 50 % of the units off, those that `sq:rand:norm` ranks lowest, "
        "a network "
        "keeps 100, 75 and 25 % of its accuracy.",
        "The best label-free criteria": "Beside `sq:rand:norm`, which needs no labels, the best of 2 criteria with "
        "labels, `sq`, is ahead of it by 0.200, in all 2 networks.",
        "60-rivals": "**Yes, some: `sq:rand:norm` is number 2 of 4 criteria that need no labels**; the best, "
        "`act-std`, "
        "is ahead of it by 0.100, in all 2 networks.",
    }


@pytest.mark.parametrize(
    ("rivals", "words"),
    [
        ({"l2": 0.5}, "**No: `sq:rand:norm` is the best of 2 criteria that need no labels.**"),
        ({"l2": 0.705}, "**Yes, a little: `sq:rand:norm` is number 2 of 2 criteria that need no labels**; the "
        "best, `l2`,"
         " is ahead of it by 0.005, in all 2 networks."),
        ({}, ""),
    ],
)  # fmt: skip
def test_what_is_better_is_said_to_be(rivals, words):
    assert said("60-rivals", free=free(own=0.7, **rivals)) == words


def test_it_is_set_beside_the_best_that_looks_at_weights_alone():
    table = free(own=0.7, l2=0.5, random=0.9, synflow=0.6, lamp=0.3)
    table["used"] = table["used"].where(table["criterion"] == OWN, 0)
    elsewhere = table.assign(network="resnet8", auc_relative=table["auc_relative"] + (table["criterion"] == "synflow"))
    best = "The best of 3 that look at weights alone, `synflow`, is "
    assert said("60-rivals", free=table).endswith(f"{best}behind it by 0.100, in all 2 networks.")
    both = said("60-rivals", free=pandas.concat([table, elsewhere]))
    assert both.endswith(f"{best}ahead of it by 0.400, in 2 of 4 networks.")
    chance = table[table["criterion"].isin([OWN, "random"])]
    assert "weights alone" not in said("60-rivals", free=chance)


def test_at_equal_cost_it_has_another_place():
    table = free(own=0.7, l2=0.5, lamp=0.6)
    table["auc_relative_macs"] = table["criterion"].map({OWN: 0.8, "l2": 0.9, "lamp": 0.85})
    words = "Counted in multiply-adds instead of units, over the first quarter, it is number"
    assert f"{words} 3 of 3, 0.100 behind `l2`." in said("60-rivals", free=table)
    missing = table["auc_relative_macs"].where(table["criterion"] != "l2", [0, 0, 0.9, float("nan"), 0, 0])
    short = table.assign(auc_relative_macs=missing)
    assert f"{words} 2 of 2, 0.050 behind `lamp`." in said("60-rivals", free=short)  # where all runs reach as far
    assert "first quarter" not in said("60-rivals", free=table.assign(auc_relative_macs=float("nan")))


def test_what_is_left_to_gain_is_the_way_to_the_best_order_that_is_known_only_afterwards():
    rows = [(OWN, 0.6), ("l2", 0.3), ("greedy", 1.0), ("oracle:loss", 0.8)]
    table = pandas.DataFrame(rows, columns=["criterion", "furthest"])
    both = pandas.concat([table, table.assign(furthest=table["furthest"] - 0.1)])  # of two networks
    assert said("70-oracle", headroom=both) == (
        "From chance to the best of 2 orders that one can know only afterwards (`oracle:loss` and `greedy`; there may "
        "be better ones), `sq:rand:norm` 55 % and `l2` 25 % of the way is covered."
    )
    beyond = both.assign(furthest=2 * both["furthest"])
    assert said("70-oracle", headroom=beyond).endswith("is covered (more than 100 %: further than any of them).")
    assert said("70-oracle", headroom=table[table["criterion"] == "l2"]) == ""


def test_an_alarm_is_said_where_the_recommended_criterion_has_it():
    columns = {joint_effects.TOGETHER: [1.0, 4.25, 9.0], "joint over single, 25 % off": [1.0, 8.0, 9.0]}
    table = pandas.DataFrame({"network": ["a", "b", "b"], "criterion": [OWN, OWN, "l2"], **columns})
    table = table.assign(dataset="digits", alarm=[None, "units matter together", "units matter together"])
    words = said("70-oracle", together=table)
    assert "(digits, b)" in words and "up to 4.2 times as much" in words and "above 3 counts" in words
    assert said("70-oracle", together=table.assign(alarm="")) == ""


def tuned(*rows, of="macs", budget=0.5, training="fine-tuned", network="a"):
    table = pandas.DataFrame(rows, columns=["criterion", "after", "parameters", "multiply_adds"])
    return table.assign(dataset="digits", network=network, seed=0, of=of, budget=budget, training=training)


def test_after_fine_tuning_it_is_said_that_networks_are_not_alike_in_size():
    rows = [("l2", 0.9, 300, 50), (OWN, 0.7, 200, 50), ("random", 0.5, 100, 50), ("x", 1.0, 1, 50)]
    other = tuned(("l2", 0.9, 80, 30), (OWN, 0.7, 80, 60), of="parameters", budget=0.25)
    assert said("80-cost", tuned=pandas.concat([tuned(*rows), other])) == (
        "**After fine-tuning weight magnitude is ahead**: mean accuracy 70.0 % by `sq:rand:norm` and 90.0 % by `l2` "
        "with 50 % of multiply-adds gone (`sq:rand:norm` ahead in none of 1 network); 70.0 % by `sq:rand:norm` "
        "and 90.0 % by `l2` "
        "with 25 % of parameters gone (`sq:rand:norm` ahead in none of 1 network). Their networks are not "
        "alike in size: without 50 % of multiply-adds `l2` keeps 1.50 and `random` keeps 0.50 times as many parameters "
        "as `sq:rand:norm`; without 25 % of parameters `l2` keeps 0.50 times as many multiply-adds as `sq:rand:norm`."
    )


def test_after_fine_tuning_it_is_set_beside_the_same_networks_trained_otherwise():
    row, fresh = (OWN, 0.95, 200, 50), "if trained from scratch (on all images, by the whole recipe)"
    tables = [tuned(row), tuned((OWN, 0.91, 200, 50), training="from scratch")]
    assert said("80-cost", tuned=pandas.concat(tables)).endswith(
        f"Its networks, made in other ways, end 4.0 points lower {fresh}."
    )
    alike = [tables[0], tables[0].assign(training="from scratch")]
    assert said("80-cost", tuned=pandas.concat(alike)).endswith(f" end alike {fresh}.")
    tables.append(tuned((OWN, 0.96, 200, 50), training="distilled"))
    assert said("80-cost", tuned=pandas.concat(tables)).endswith(
        f"end 1.0 points higher if distilled (without labels) and 4.0 points lower {fresh}."
    )


BESIDE = {"dataset": "cifar100", "network": "resnet20"}


def contrasts(*rows):
    columns = ["claim", "label", "kind", "part", "examples", "paper", "effect", "lowest", "highest"]
    return pandas.DataFrame(rows, columns=columns).assign(blocks=3, **BESIDE)


@pytest.mark.parametrize(("first", "word"), [(0.7, "Largely"), (0.2, "In part"), (-0.5, "Hardly")])
def test_the_paper_is_set_beside_ours_by_the_order_of_criteria(first, word):
    agreement = pandas.DataFrame({"examples": [2, 50000], "spearman": [first, 0.756]}).assign(**BESIDE)
    assert said("15-replication", agreement=agreement) == (
        f"**{word}: its order of criteria and ours have a rank correlation of {(first + 0.756) / 2:.2f}** in the mean "
        f"({first:.2f} to 0.76, depending on the number of images)."
    )
    assert said("15-replication", agreement=agreement[1:]).endswith("of 0.76**.")
    other = agreement.assign(dataset="stl10", spearman=0.4)
    assert said("15-replication", agreement=pandas.concat([agreement[1:], other])) == (
        "**Largely on cifar100 and in part on stl10: its order of criteria and ours have a rank correlation of 0.76 "
        "and 0.40** in the mean (0.76 and 0.40, depending on the number of images)."
    )
    assert said("15-replication", agreement=agreement.assign(spearman=float("nan"))) == ""
    assert said("15-replication", agreement=agreement[:0]) == ""


def test_of_the_papers_differences_those_count_that_a_claim_of_a_difference_is_about():
    agreement, missing = pandas.DataFrame({"examples": [2], "spearman": [0.5]}).assign(**BESIDE), float("nan")
    table = contrasts(
        ("C1", "normalised, against plain", "difference", "contrast", 2, 0.1, 0.2, 0.1, 0.3),  # as in the paper
        ("C1", "normalised, against plain", "difference", "contrast", 50000, 0.1, -0.01, -0.2, 0.1),  # in some runs
        ("C2", "abs, against signed", "difference", "contrast", 1000, -0.1, 0.2, 0.1, 0.3),  # in all runs
        ("C2", "abs, against signed", "difference", "contrast", 2, missing, 0.2, 0.1, 0.3),  # not in the paper
        ("C1", "random normalised", "difference", "apart", 2, -0.1, 0.2, 0.1, 0.3),
        ("C3", "random, against labels", "non-inferiority", "contrast", 2, -0.1, 0.2, 0.1, 0.3),
    )
    words = said("15-replication", agreement=agreement, contrasts=table)
    assert words.endswith(
        " Of 3 differences that its curves show for our claims, 1 have the same sign here. For C3 (that "
        "nothing is lost) 0 of 1 do. The other sign in each of our 3 "
        "resnet20s: abs, against signed, on 1,000 images (C2)."
    )
    one_each = said("15-replication", agreement=agreement, contrasts=table.assign(blocks=1))
    assert one_each.endswith("1 have the same sign here. For C3 (that nothing is lost) 0 of 1 do.")
    assert "differences" not in said("15-replication", agreement=agreement, contrasts=table.assign(part="apart"))


def test_what_one_run_per_curve_can_tell_takes_two_of_ours():
    agreement = pandas.DataFrame({"examples": [2], "spearman": [0.5]}).assign(**BESIDE)
    single = pandas.DataFrame({"sd": [0.03, 0.0201], "disagree": [0.25, 0.1], "disagree_paper": [0.3, 0.3]})
    words = said("15-replication", agreement=agreement, single=single)
    assert "put 10 to 25 % of the pairs of criteria in opposite orders" in words
    assert words.endswith("the paper's run and one of ours 30 %.")
    assert "One run" not in said("15-replication", agreement=agreement, single=single.assign(disagree=float("nan")))


def test_what_so_many_test_images_leave_uncertain_is_said_of_the_recommended_criterion():
    numbers = pandas.DataFrame({"criterion": ["l2", OWN], "standard_error": [0.5, 0.0129]})
    numbers = numbers.assign(dataset="cifar100", network="resnet20", test_images=1000.0)
    words = "One curve of `sq:rand:norm` has a standard error of 0.013 in relative auc, from 1,000 test images."
    assert said("The curves in short", numbers=numbers) == words
    assert said("The curves in short", numbers=numbers[:1]) == ""


def test_every_failure_mode_is_explained_under_its_header_with_its_limit():
    legend = answers.legend().set_index("sign")
    assert set(failures.SIGNS) >= set(failures.LIMITS) == set(failures.ALARMS)
    assert legend.loc["entropy of scores", "limit"] == "0.99"
    assert legend.loc["rise in accuracy (points)", "limit"] == "5"  # as tables show it
    assert legend.loc["layers left empty", "limit"] == "1"
    assert legend.loc["lasted (% of units)", ["limit", "alarm"]].tolist() == ["", ""]
