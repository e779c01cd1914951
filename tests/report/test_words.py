"""report.words: numbers and names in sentences."""

import pandas
import pytest

from lib.report import words


@pytest.mark.parametrize(("value", "said"), [(0.0123, "+0.012"), (-0.5, "-0.500"), (0.0004, "0.000"), (-0.0, "0.000")])
def test_numbers_have_a_sign_unless_they_are_shown_as_0(value, said):
    assert words.signed(value) == said


def test_lists_and_ranges():
    assert words.listed(["a"]) == "a" and words.listed("abc") == "a, b and c"
    assert words.on_images([2, 50000]) == "2 and 50,000 images"
    assert words.spread(pandas.Series([0.3, 0.1]), ".1f") == "0.1 to 0.3"
    assert words.spread(pandas.Series([0.31, 0.29]), ".1f") == "0.3"
    assert words.capital("what it says") == "What it says" and words.capital("") == ""


def test_what_is_counted_is_one_or_several():
    assert [words.counted(number, "network") for number in (1, 2, 1000)] == [
        "1 network",
        "2 networks",
        "1,000 networks",
    ]


def test_networks_are_counted_of_all():
    assert [words.of_networks(*pair) for pair in ((3, 3), (2, 3), (0, 3), (1, 1))] == [
        "all 3 networks", "2 of 3 networks", "none of 3 networks", "1 of 1 network",
    ]  # fmt: skip
