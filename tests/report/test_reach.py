"""report.reach: accuracies between points, means over networks, and where a curve first falls below most of it."""

import pandas
import pytest

from lib.report import reach
from lib.study import claims

OWN = claims.RECOMMENDED


def lines(own, weights, **more):
    """Two curves over 0, 20 and 40 % of the units off."""
    key = {"dataset": "digits", "network": "vgg8", "examples": 100, "blocks": 1, "step": 2.5}
    parts = [
        pandas.DataFrame(key | {"criterion": name, "gone": [0.0, 20.0, 40.0], "accuracy": line} | more)
        for name, line in ((OWN, own), ("l2", weights))
    ]
    return pandas.concat(parts, ignore_index=True)


def test_one_can_go_until_the_accuracy_first_falls_below_most_of_it():
    line = pandas.DataFrame({"gone": [0.0, 2.5, 5.0, 7.5], "accuracy": [1.0, 1.0, 0.96, 0.5]})
    assert reach.kept_until(line) == pytest.approx(5 + 2.5 * 0.01 / 0.46)  # straight between two points
    assert reach.kept_until(line.sample(frac=1, random_state=0)) == reach.kept_until(line)
    assert reach.kept_until(line.assign(accuracy=[1.0, 0.75, 1.0, 0.5])) == pytest.approx(0.5)  # though it comes back
    assert reach.kept_until(line.assign(accuracy=1.0)) == 7.5


def test_no_more_is_said_than_was_measured_at():
    inside, before = lines([1.0, 0.9, 0.0], [1.0, 0.2, 0.0]), lines([1.0, 0.9, 0.0], [1.0, 0.2, 0.0], network="resnet8")
    own = [table[table["criterion"] == OWN] for table in (inside, before.assign(step=20.0))]
    assert [reach.until(table) for table in own] == ["10", "less than 20"]
    assert reach.until(pandas.concat(own)) == "less than 20 to 10"
    assert reach.until(own[0].assign(accuracy=1.0)) == "more than 40"
    assert reach.until(pandas.concat([own[0].assign(accuracy=1.0), own[1]])) == "less than 20 to more than 40"


def test_a_row_for_each_data_set_is_of_means_over_networks_on_the_most_images():
    table = pandas.concat([
        lines([0.9, 0.8, 0.2], [0.9, 0.5, 0.1]), lines([0.1] * 3, [0.1] * 3, examples=2),
        lines([0.6, 0.5, 0.2], [0.6, 0.2, 0.1], network="resnet8", blocks=2),
        lines([1.0, 1.0, 1.0], [1.0, 0.0, 0.0], dataset="stl10"),
    ])  # fmt: skip
    columns = ["dataset", "network", "criterion", "examples", "accuracy_25pct", "accuracy_25pct_repaired"]
    rows = [("digits", "vgg8", OWN, 100, 0.7, 0.75), ("digits", "vgg8", "l2", 100, 0.4, 0.5)]
    repaired = pandas.DataFrame(rows, columns=columns)
    head, _, digits, stl10, _, note = reach.table(table, repaired).splitlines()
    both = "`sq:rand:norm` / `l2`"
    assert head.startswith(f"| images | networks | accuracy, whole | 10 % of units off: {both} | 25 % off |")
    # 10 %: (.85 + 2 * .55) / 3 and (.7 + 2 * .4) / 3; 25 %: (.65 + 2 * .425) / 3 and (.4 + 2 * .175) / 3
    some = "75.0 / 50.0 (1 with BatchNorm, before: 70.0 / 40.0)"
    assert (
        digits == f"| digits | 3 networks | 70.0 | 65.0 / 50.0 | 50.0 / 25.0 | {some} | 6 to 9 % / less than 2 % off |"
    )
    assert stl10 == "| stl10 | vgg8 | 100.0 | 100.0 / 50.0 | 100.0 / 0.0 | – | more than 40 % / less than 2 % off |"
    assert "means over networks, on the test images that curves are evaluated on" in note


def test_without_both_criteria_there_is_no_table():
    assert reach.table(pandas.DataFrame(), pandas.DataFrame()) == ""
    one = lines([0.9, 0.8, 0.2], [0.9, 0.5, 0.1])[:3]
    assert reach.table(one, pandas.DataFrame()) == "" and reach.on_most(one).empty
