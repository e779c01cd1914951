"""report.advice: what is said is what the tables hold, and what they do not hold is not said."""

import pandas
import pytest

from lib.report import advice
from lib.study import claims

OWN = claims.RECOMMENDED


def summary(values, sample="random"):
    """Two runs of one draw and one run of two, around each mean; values: (criterion, examples) -> relative auc."""
    rows = [
        ("digits", "vgg8", seed, name, number, draw, sample, mean + shift)
        for (name, number), mean in values.items()
        for seed, draw, shift in ((0, 0, -0.1), (1, 0, 0.2), (1, 1, 0.0))
    ]
    columns = ["dataset", "network", "seed", "criterion", "examples", "draw", "sample", "auc_relative"]
    return pandas.DataFrame(rows, columns=columns)


def said(**tables):
    return advice.advice(**tables)


def test_without_tables_nothing_is_said():
    assert said() == ""
    assert said(scarcity=summary({("sq", 10): 0.5}), sources=summary({(OWN, 10): 0.5})) == ""
    assert said(seconds=pandas.DataFrame({"criterion": ["l2"], "seconds": [1.0]})) == ""


def test_images_are_enough_from_the_first_number_on_that_gives_nearly_all():
    table = summary({(OWN, 2): 0.4, (OWN, 10): 0.693, (OWN, 1000): 0.7, ("l2", 0): 0.9})
    assert said(scarcity=table) == (
        "- **How many images?** `sq:rand:norm` on 2, 10 and 1,000 of them has a relative auc of 0.400, 0.693 and "
        "0.700: 10 give 99.0 % of what 1,000 do."
    )
    stratified = summary({(OWN, 10): 0.1}, sample="stratified")
    assert said(scarcity=pandas.concat([table, stratified])) == said(scarcity=table)


@pytest.mark.parametrize(
    ("labelled", "words"),
    [
        (
            (0.5, 0.8),
            "+0.100 and +0.100. All 1,000 without labels are better than up to 10 with labels by `sq:norm`.",
        ),
        ((0.8, 0.8), "+0.400 and +0.100. All 1,000 without labels are no better than 10 with labels."),
    ],
)
def test_labels_are_compared_on_as_many_images_and_on_fewer(labelled, words):
    table = summary(
        {(OWN, 10): 0.4, (OWN, 1000): 0.7} | dict(zip([("sq:norm", 10), ("sq:norm", 1000)], labelled, strict=True))
    )
    line = said(scarcity=table).splitlines()[1]
    assert line.startswith("- **When do labels help?** Over `sq:rand:norm` on 10 and 1,000 images, `sq:norm` (label ")
    assert words in line


def test_random_vectors_are_counted():
    table = summary({(OWN, 10): 0.5, ("sq:rand@4:norm", 10): 0.6, ("sq:exact", 10): 0.65, ("sq", 10): 0.1})
    assert said(sources=table) == (
        "- **How many random vectors per image?** On 10 images 1, 4 and one per class (`sq:exact`) have a relative "
        "auc of 0.500, 0.600 and 0.650; each vector takes a backward pass."
    )


def test_weights_are_enough_until_the_accuracy_first_falls_below_most_of_it():
    points = {OWN: [1.0, 1.0, 0.96, 0.5], "l2": [1.0, 0.75, 1.0, 0.5]}
    rows = [
        ("digits", "vgg8", 10, name, gone, accuracy)
        for name, line in points.items()
        for gone, accuracy in zip([0.0, 2.5, 5.0, 7.5], line, strict=True)
    ]
    lines = pandas.DataFrame(rows, columns=["dataset", "network", "examples", "criterion", "gone", "accuracy"])
    few = lines.assign(examples=2, accuracy=0.1)
    assert said(lines=pandas.concat([few, lines])).endswith(
        "can switch off 5.1 % of the units by `sq:rand:norm`, 0.5 % by `l2` (digits, vgg8)."
    )  # straight between two points
    assert "can switch off 7.5 % of the units" in said(lines=lines.assign(accuracy=1.0))


def test_costs_are_in_milliseconds_or_seconds():
    seconds = pandas.DataFrame({"criterion": ["sq", OWN, "l2", "sq:exact"], "seconds": [3.0, 0.02345, 0.0008, 64.31]})
    assert "takes 23.4 ms by `sq:rand:norm`, 64.3 s by `sq:exact` and 0.8 ms by `l2`" in said(seconds=seconds)


def test_other_sizes_of_weights_are_beside_the_plain_one():
    rows = [("digits", "vgg8", 10, name, 0.0, 1.0) for name in (OWN, "l2")]
    lines = pandas.DataFrame(rows, columns=["dataset", "network", "examples", "criterion", "gone", "accuracy"])
    free = summary({(OWN, 10): 0.8, ("l2", 0): 0.5, ("l2:layer", 0): 0.7, ("lamp", 0): 0.9})
    assert said(lines=lines, free=free).endswith(
        "In relative auc `l2` has 0.533, `l2:layer` has 0.733 and `sq:rand:norm` has 0.833."
    )


def test_a_repair_is_set_beside_none_on_the_most_examples():
    columns = ["criterion", "examples", "auc_relative", "auc_relative_repaired", "accuracy_25pct"]
    columns += ["accuracy_25pct_repaired", "accuracy_unpruned"]
    rows = [(OWN, 10, 0.1, 0.1, 0.1, 0.1, 0.8), (OWN, 40, 0.5, 0.6, 0.4, 0.6, 0.8), ("l2", 40, 0.3, 0.5, 0.1, 0.2, 0.8)]
    rows += [("sq", 40, 0.4, 0.7, 0.4, 0.5, 0.8)]
    table = pandas.DataFrame(rows, columns=columns).assign(dataset="digits", network="vgg8")
    assert said(repaired=table) == (
        "- **Is a repair worth it?** With BatchNorm statistics estimated anew, on images without labels, relative auc "
        "is 0.600 by `sq:rand:norm` (0.500 without) and 0.500 by `l2` (0.300 without). With 25 % of all units off by "
        "`sq:rand:norm` a network then keeps 75 % of its accuracy (50 without). Of 3 criteria with repair, the best, "
        "`sq`, has 0.700."
    )
    known_afterwards = table[-1:].assign(criterion="oracle:loss", auc_relative_repaired=0.9)
    assert said(repaired=pandas.concat([table, known_afterwards])) == said(repaired=table)
    assert said(repaired=table[table["criterion"] != "sq"]).endswith("(50 without).")
    assert said(repaired=table[table["criterion"] == "l2"]) == said(repaired=table.head(0)) == ""
