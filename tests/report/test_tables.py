"""Tables as people read them."""

import numpy
import pandas
import pytest

from lib.report import tables
from lib.study.finetuning import PRICED


def test_a_table_in_markdown():
    table = pandas.DataFrame(
        {
            "dataset": ["digits", "stl10"],
            "criterion": ["sq:rand:norm", None],
            "seed": [0, 1],
            "auc_relative": [0.91234, numpy.nan],
            "p": [0.00002, 1.0],
            "my_own": [True, False],
        }
    )
    assert tables.markdown(table).splitlines() == [
        "| data set | criterion | seed | relative auc | p | my own |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        "| digits | `sq:rand:norm` | 0 | 0.912 | 2e-05 | yes |",
        "| stl10 |  | 1 | – | 1.000 | no |",
    ]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.5, 0.25], ["0.500", "0.250"]),
        ([1.0, 2.0], ["1", "2"]),
        ([1.0, 2.5], ["1.000", "2.500"]),
        ([36.8249, 5.0], ["36.82", "5.00"]),
        ([112.34, 0.4], ["112.3", "0.4"]),
        ([1056.9, 0.4], ["1,057", "0"]),
        ([1437, 2], ["1,437", "2"]),
        ([-0.0001, 0.2], ["0.000", "0.200"]),
        ([-0.0006, 0.2], ["-0.001", "0.200"]),
        ([numpy.inf, 0.2], ["inf", "0.2"]),
        ([numpy.nan, numpy.nan], ["–", "–"]),
    ],
)
def test_numbers_of_a_column_share_their_decimals(values, shown):
    lines = tables.markdown(pandas.DataFrame({"effect": values})).splitlines()
    assert [line.strip("| ") for line in lines[2:]] == shown


def test_what_is_in_a_cell_is_never_read_as_markup():
    table = pandas.DataFrame({"device": ["a|b *c* _d_ `e` <f> [g](h)\nnext"], "criterion": ["a|b"]})
    row = tables.markdown(table).splitlines()[2]
    assert row == r"| a\|b \*c\* \_d\_ \`e\` \<f\> \[g\](h) next | `a\|b` |"


def test_an_empty_table_says_so():
    nothing = pandas.DataFrame({"a": []})
    assert tables.markdown(nothing, empty="No criterion has an alarm.") == "*No criterion has an alarm.*"
    assert tables.markdown(nothing) == "*There is nothing to list here.*"


def test_the_ends_of_an_interval_share_a_column():
    table = pandas.DataFrame(
        {"effect": [0.5, 1.0], "low": [-0.25, numpy.nan], "high": [12.5, numpy.nan], "p": [0.5, 1]}
    )
    assert tables.markdown(table).splitlines() == [
        "| effect | 95 % interval | p |",
        "| ---: | ---: | ---: |",
        "| 0.500 | -0.25 to 12.50 | 0.500 |",
        "| 1.000 | – | 1.000 |",
    ]


def test_accuracies_are_in_percent_and_shares_of_other_things_are_not():
    columns = {"accuracy": [0.987, 0.5], "accuracy_25pct": [1.0, 0.25], "after": [0.5, numpy.nan], "rise": [0.05, 0.01]}
    lines = tables.markdown(pandas.DataFrame(columns | {"kept": [0.5, 0.25]})).splitlines()
    assert lines[0] == (
        "| test accuracy (%) | accuracy, 25 % off (%) | accuracy after (%) | rise in accuracy (points) "
        "| importance kept |"
    )
    assert lines[2:] == ["| 98.70 | 100 | 50 | 5 | 0.500 |", "| 50.00 | 25 | – | 1 | 0.250 |"]


def test_every_header_of_the_study_is_in_plain_words():
    assert all("_" not in word for word in tables.WORDS.values())
    assert tables.header("unheard_of") == "unheard of"


def test_values_that_data_name_in_short_are_said_in_plain_words():
    lines = tables.markdown(pandas.DataFrame({"of": ["macs", "parameters"], "training": [PRICED, "distilled"]}))
    assert lines.splitlines()[2:] == [
        "| multiply-adds | fine-tuned, ranked by score per multiply-add |",
        "| parameters | distilled |",
    ]
    assert tables.markdown(pandas.DataFrame({"task": ["macs"]})).endswith("| macs |")
