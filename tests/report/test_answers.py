"""report.answers: what is said is what the tables hold, and what they do not hold is not said."""

import pandas
import pytest

from lib.report import answers
from lib.study import claims
from lib.study.analyses import failures, joint_effects


def free(**means):
    """Two runs per criterion, at .1 less and .1 more than its mean relative auc."""
    names = {"own": claims.RECOMMENDED}
    rows = [
        ("digits", "vgg8", seed, names.get(name, name.replace("_", "-")), 10, 10, mean + shift)
        for name, mean in means.items()
        for seed, shift in ((0, -0.1), (1, 0.1))
    ]
    columns = ["dataset", "network", "seed", "criterion", "examples", "used", "auc_relative"]
    accuracies = {"accuracy_unpruned": 0.8, "accuracy_10pct": 0.8, "accuracy_25pct": 0.6, "accuracy_50pct": 0.2}
    return pandas.DataFrame(rows, columns=columns).assign(**accuracies)


def test_without_tables_nothing_is_said():
    assert answers.in_short() == ""
    empty = pandas.DataFrame({"claim": [], "verdict": []})
    assert answers.in_short(verdicts=empty, free=free(l2=0.3), tuned=tuned(("a", "l2", 0.9, 1, 1))) == ""


def test_the_recommended_criterion_is_placed_among_those_without_labels_and_beside_the_best_with_them():
    said = answers.in_short(free=free(own=0.7, l2=0.5, random=0.3, act_std=0.8), labelled=free(sq=0.9, abs=0.6))
    first, second, third = said.splitlines()
    assert first == (
        "- **Can you tell without labels?** Better than by the size of weights (`l2`: 0.500) and by chance (`random`: "
        "0.300): `sq:rand:norm`, which needs none, has a mean relative auc of 0.700, scored on 10 images. Of 2 that "
        "need labels, on as many, the best, `sq`, has 0.900, more than it."
    )
    assert second == (
        "- **Is anything better without labels?** Among 4 criteria that take none it is in place 2; the best, "
        "`act-std`, has 0.800."
    )
    assert third == (
        "- **Which can go?** Those that it ranks lowest: with 10, 25 and 50 % of all units off a network keeps on "
        "average 100, 75 and 25 % of its accuracy."
    )


def test_what_is_left_to_gain_is_the_way_to_the_best_order_that_is_known_only_afterwards():
    rows = [(claims.RECOMMENDED, 0.5, 0.6), ("l2", 0.4, 0.3), ("greedy", 0.7, 1.0), ("oracle:loss", 0.55, 0.8)]
    table = pandas.DataFrame(rows, columns=["criterion", "auc_relative", "furthest"])
    both = pandas.concat([table, table.assign(furthest=table["furthest"] - 0.1)])  # of two networks
    assert answers.in_short(headroom=both) == (
        "- **How much is left to gain?** Of the way from chance to the best order that is known only afterwards, from "
        "the oracle's images (`oracle:loss`: 0.550 and `greedy`: 0.700), criteria go, in the mean over networks: "
        "`sq:rand:norm` 55 % and `l2` 25 %."
    )
    beyond = both.assign(furthest=2 * both["furthest"])
    assert "110 % and `l2` 50 % (above 100 %: further than any of these orders)." in answers.in_short(headroom=beyond)
    assert answers.in_short(headroom=table[table["criterion"] == "l2"]) == ""


@pytest.mark.parametrize(
    ("means", "words"),
    [
        ({"l2": 0.9, "random": 0.3}, "Better than by chance (`random`: 0.300), but no better than by the size of"),
        ({"l2": 0.9, "random": 0.8}, "No better than by the size of weights (`l2`: 0.900) and by chance (`random`"),
        ({"random": 0.7}, "No better than by chance (`random`: 0.700): `sq:rand:norm`"),
        ({}, "**Without labels**: `sq:rand:norm`, which needs none"),
    ],
)
def test_the_answer_is_chosen_by_what_is_larger(means, words):
    assert words in answers.in_short(free=free(own=0.7, **means))


def test_the_best_is_said_to_be_the_best():
    said = answers.in_short(free=free(own=0.7, l2=0.5), labelled=free(sq=0.6))
    assert "Of 1 that need labels, on as many, the best, `sq`, has 0.600, no more" in said
    assert (
        "**Is anything better without labels?** Not in the mean: it is the best of 2 criteria that take none." in said
    )
    assert "anything better" not in answers.in_short(free=free(own=0.7))


def test_it_is_set_beside_the_best_that_looks_at_weights_alone():
    table = free(own=0.7, l2=0.5, random=0.9, synflow=0.6, lamp=0.3)
    table["used"] = table["used"].where(table["criterion"] == claims.RECOMMENDED, 0)
    elsewhere = table.assign(network="resnet8", auc_relative=table["auc_relative"] + (table["criterion"] == "synflow"))
    one, both = answers.in_short(free=table), answers.in_short(free=pandas.concat([table, elsewhere]))
    assert (
        "Of 3 that look at weights alone the best, `synflow`, has 0.600, no more than it, and is ahead on 0 of 1 "
        in one
    )
    assert "`synflow`, has 1.100, more than it, and is ahead on 1 of 2 networks (means over their seeds)." in both
    chance = table[table["criterion"].isin([claims.RECOMMENDED, "random"])]
    assert "weights alone" not in answers.in_short(
        free=pandas.concat([chance, chance[2:].assign(criterion="random:layer")])
    )


def test_the_usual_size_of_weights_is_the_best_of_weights_where_it_is():
    table = free(own=0.7, l2=0.5, bn_scale=0.4).assign(used=[10, 10, 0, 0, 0, 0])
    assert "Of 2 that look at weights alone the best, `l2`, has 0.500" in answers.in_short(free=table)


def tuned(*rows, of="macs", budget=0.5, training="fine-tuned"):
    table = pandas.DataFrame(rows, columns=["network", "criterion", "after", "parameters", "multiply_adds"])
    return table.assign(dataset="digits", of=of, budget=budget, training=training)


def test_after_fine_tuning_it_is_set_beside_weights_within_each_budget():
    rows = [("a", "l2", 0.9, 300, 50), ("a", "sq:rand:norm", 0.95, 200, 50), ("a", "x", 1.0, 1, 50)]
    rows += [("b", "l2", 0.9, 300, 50), ("b", "sq:rand:norm", 0.8, 200, 50)]
    other = tuned(("a", "l2", 0.7, 80, 30), ("a", "sq:rand:norm", 0.5, 80, 60), of="parameters", budget=0.25)
    said = answers.in_short(tuned=pandas.concat([tuned(*rows), other]))
    assert said == (
        "- **After fine-tuning** networks that it shrank by 50 % of multiply-adds have a mean accuracy of 95.0 % on "
        "digits, a (`l2`: 90.0) and 80.0 % on digits, b (`l2`: 90.0). They are not alike in size: per parameter that "
        "it keeps, `l2` 1.5. It is ahead of `l2` on 1, of 2 networks (means over their seeds). Networks that it shrank "
        "by 25 % of parameters have a mean accuracy of 50.0 % on digits, a (`l2`: 70.0). They are not alike in size: "
        "per multiply-add that it keeps, `l2` 0.5. It is ahead of `l2` on 0, of 1 network (its seeds' mean)."
    )
    alone = answers.in_short(tuned=tuned(("a", "sq:rand:norm", 0.95, 200, 50)))
    assert alone.endswith("by 50 % of multiply-adds have a mean accuracy of 95.0 % on digits, a.")


def test_after_fine_tuning_it_is_set_beside_the_same_network_from_scratch():
    row = ("a", "sq:rand:norm", 0.95, 200, 50)
    both = pandas.concat([tuned(row), tuned(("a", "sq:rand:norm", 0.91, 200, 50), training="from scratch")])
    both = pandas.concat([both, tuned(("a", "sq:rand:norm", 0.94, 200, 50), training="distilled")])
    beside = "the same network without labels: 94.0, the same network from scratch: 91.0"
    assert f"95.0 % on digits, a ({beside})." in answers.in_short(tuned=both)


def test_an_alarm_is_said_where_the_recommended_criterion_has_it():
    columns = {joint_effects.TOGETHER: [1.0, 4.25, 9.0], "joint over single, 25 % off": [1.0, 8.0, 9.0]}
    table = pandas.DataFrame(
        {"network": ["a", "b", "b"], "criterion": ["sq:rand:norm", "sq:rand:norm", "l2"], **columns}
    )
    table = table.assign(dataset="digits", alarm=[None, "units matter together", "units matter together"])
    said = answers.in_short(together=table)
    assert (
        "the squared change of the output is up to 4.2 times the sum" in said
        and "(digits, b; an alarm from 3 on)" in said
    )
    assert answers.in_short(together=table.assign(alarm="")) == ""


def test_at_equal_cost_it_has_another_place():
    table = free(own=0.7, l2=0.5, lamp=0.6)
    table["auc_relative_macs"] = table["criterion"].map({claims.RECOMMENDED: 0.8, "l2": 0.9, "lamp": 0.85})
    said = answers.in_short(free=table)
    assert "instead of half of the units, it has 0.800 and place 3 of 3 (the best, `l2`, has 0.900)." in said
    short = table.assign(
        auc_relative_macs=table["auc_relative_macs"].where(table["criterion"] != "l2", [0, 0, 0.9, float("nan"), 0, 0])
    )
    assert "place 2 of 2 (the best, `lamp`, has 0.850)" in answers.in_short(free=short)  # where all runs reach as far
    assert "first quarter" not in answers.in_short(free=table.assign(auc_relative_macs=float("nan")))


BESIDE = {"dataset": "cifar100", "network": "resnet20"}


def contrasts(*rows):
    columns = ["claim", "label", "kind", "part", "examples", "paper", "effect", "lowest", "highest"]
    return pandas.DataFrame(rows, columns=columns).assign(blocks=3, **BESIDE)


def test_the_paper_is_set_beside_ours_by_the_order_of_criteria_panel_by_panel():
    agreement = pandas.DataFrame({"examples": [2, 50000], "spearman": [0.5, 0.756]}).assign(**BESIDE)
    said = answers.in_short(agreement=agreement)
    assert said.endswith(" have a rank correlation of 0.50 and 0.76 on 2 and 50,000 images (cifar100, resnet20).")
    both = pandas.concat([agreement, agreement[:1].assign(network="vgg19")])
    assert answers.in_short(agreement=both).endswith("(cifar100, resnet20); 0.50 on 2 images (cifar100, vgg19).")
    assert answers.in_short(agreement=agreement.assign(spearman=float("nan"))) == ""
    assert answers.in_short(agreement=agreement[:0]) == ""


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
    said = answers.in_short(agreement=agreement, contrasts=table)
    assert said.endswith(
        " Of 3 differences that its curves show for claims of a difference (C1 and C2), 1 have the same sign here. "
        "Each of our 3 resnet20s has the other sign in 1: abs, against signed, on 1,000 images (C2)."
    )
    one_each = answers.in_short(agreement=agreement, contrasts=table.assign(blocks=1))
    assert one_each.endswith("1 have the same sign here.")
    assert "differences" not in answers.in_short(agreement=agreement, contrasts=table.assign(part="apart"))


def test_what_one_run_per_curve_can_tell_takes_two_of_ours():
    agreement = pandas.DataFrame({"examples": [2], "spearman": [0.5]}).assign(**BESIDE)
    single = pandas.DataFrame({"sd": [0.03, 0.0201], "disagree": [0.25, 0.1], "disagree_paper": [0.3, 0.3]})
    said = answers.in_short(agreement=agreement, single=single)
    assert "with a standard deviation of 0.020 to 0.030 in relative auc." in said
    assert "put 10 to 25 % of the pairs of the paper's criteria in opposite orders" in said
    assert said.endswith("and one of ours 30 % (from one number of images to another).")
    assert "One run" not in answers.in_short(agreement=agreement, single=single.assign(disagree=float("nan")))


def test_what_so_many_test_images_leave_uncertain_is_said_of_the_recommended_criterion():
    numbers = pandas.DataFrame({"criterion": ["l2", claims.RECOMMENDED], "standard_error": [0.5, 0.0129]})
    numbers = numbers.assign(dataset="cifar100", network="resnet20", test_images=1000.0)
    said = answers.in_short(numbers=numbers)
    assert "`sq:rand:norm`: 1,000 test images leave it uncertain by 0.013 (cifar100, resnet20). That is a stand" in said
    assert answers.in_short(numbers=numbers[:1]) == ""


def test_every_sign_of_failure_is_explained_under_its_header_with_its_limit():
    legend = answers.legend().set_index("sign")
    assert set(failures.SIGNS) >= set(failures.LIMITS) == set(failures.ALARMS)
    assert legend.loc["entropy of scores", "limit"] == "0.99"
    assert legend.loc["rise in accuracy (points)", "limit"] == "5"  # as tables show it
    assert legend.loc["layers left empty", "limit"] == "1"
    assert legend.loc["lasted (% of units)", ["limit", "alarm"]].tolist() == ["", ""]
