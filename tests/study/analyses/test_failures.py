"""analyses.failures: signs of failure, worked out by hand."""

import numpy
import pandas
import pytest
from by_hand import curve

from lib.study import profiles
from lib.study.analyses import failures


@pytest.fixture
def plan(tmp_path):
    """The smoke profile with one run: ten units in two layers, scores 1 to 10, and two random orders."""
    made = profiles.load("smoke", results=tmp_path)
    (run,) = made.runs
    run.folder.mkdir(parents=True)
    scores = [pandas.DataFrame({"unit": range(10), "score": numpy.arange(1.0, 11), "criterion": "sq", "examples": 10})]
    scores += [scores[0].assign(criterion="random", examples=0), scores[0].assign(criterion="flat", score=1.0)]
    pandas.concat(scores).assign(draw=0, sample="random").to_parquet(run.scores)
    pandas.DataFrame({"unit": range(10), "output": [0.5, *[1.0] * 9]}).to_parquet(run.oracle)
    chance = [curve([1, 0.95, 0.85], [1] * 3, criterion="random", examples=0, units=10).assign(pruned=[0, 2, 4])]
    chance += [curve([1, 0.8, 0.2], [1] * 3, criterion="random", examples=0, units=10, draw=1).assign(pruned=[0, 2, 4])]
    pandas.concat(chance).to_parquet(run.curves)
    return made


def signs(plan, accuracy, **more):
    table = curve(accuracy, [1] * len(accuracy), **{"units": 10} | more)
    (row,) = failures.signatures(plan, table.assign(pruned=range(len(table)))).to_dict("records")
    return row


def test_the_numbers_behind_the_signs_by_hand(plan):
    row = signs(plan, [1, 0.95, 0.85, 0.5, 0.7, 0.2], joint=2.0)
    shares = numpy.arange(1, 11) / 55
    assert row["entropy"] == pytest.approx(-(shares * numpy.log(shares)).sum() / numpy.log(10))
    assert row["kept"] == pytest.approx(1 - 3 / 55)  # the first two are off where accuracy is below .9
    assert row["lasted"] == pytest.approx(15)  # .9 is half way from the first to the second
    assert row["by_chance"] == pytest.approx((30 + 10) / 2)
    assert row["rise"] == pytest.approx(0.2)
    assert row["together"] == pytest.approx(2 / 0.5)  # a tenth of ten units: the first, alone .5
    assert (row["criterion"], row["examples"], row["curves"], row["emptied"]) == ("sq", 10, 1, 0)
    assert (row["used"], signs(plan, [1, 0.9], used=4)["used"]) == (10, 4)


EARLY = "accuracy fell no later than by chance, although nearly all importance was kept (1 of 1)"
ROSE = "accuracy rose again while more units went (1 of 1)"


@pytest.mark.parametrize(
    ("accuracy", "more", "alarm"),
    [
        ([1, 0.99, 0.98, 0.97], {}, ""),
        ([1, 0.99, 0.89, 0.8], {}, ""),  # lasts 19 %, chance 20 %, but only 52/55 are kept
        ([1, 0.8, 0.8, 0.8], {}, EARLY),  # lasts 5 %, with 54/55 kept
        ([1, 1, 1, 0.8], {}, ""),  # lasts 25 %
        ([1, 0.8, 0.9, 0.7], {}, f"{EARLY}, {ROSE}"),
        ([1, 0.99, 0.98, 0.97], {"emptied": 1}, "a layer lost all its units (1 of 1)"),
        ([1, 0.99, 0.98, 0.97], {"joint": 1.5}, "units matter together (1 of 1)"),  # three times the single .5
        ([1, 0.99, 0.98, 0.97], {"joint": 1.49}, ""),
        ([1, 0.99, 0.98, 0.97], {"criterion": "flat"}, "scores too alike to rank (1 of 1)"),
    ],
)
def test_alarms_in_plain_words(plan, accuracy, more, alarm):
    assert signs(plan, accuracy, **more)["alarm"] == alarm


@pytest.mark.parametrize(
    ("joint", "together", "alarm"), [(0.1, numpy.inf, "units matter together (1 of 1)"), (0.0, numpy.nan, "")]
)
def test_units_that_matter_only_together_are_worth_an_alarm(plan, joint, together, alarm):
    (run,) = plan.runs
    pandas.DataFrame({"unit": range(10), "output": [0.0, *[1.0] * 9]}).to_parquet(run.oracle)
    row = signs(plan, [1, 0.99, 0.98], joint=joint)
    assert row["together"] == pytest.approx(together, nan_ok=True) and row["alarm"] == alarm


def test_an_alarm_takes_more_than_half_of_the_curves(plan):
    (run,) = plan.runs
    scores = pandas.read_parquet(run.scores)
    again = [scores[scores["criterion"] == "sq"].assign(draw=draw) for draw in (1, 2)]
    pandas.concat([scores, *again]).to_parquet(run.scores)
    flat, rising = [1.0, 0.99, 0.98], [1.0, 0.5, 0.9]
    for accuracies, alarm in (((flat, flat, rising), False), ((flat, rising, rising), True)):
        tables = [
            curve(a, [1] * 3, units=10, draw=n, joint=0.5).assign(pruned=range(3)) for n, a in enumerate(accuracies)
        ]
        (row,) = failures.signatures(plan, pandas.concat(tables)).to_dict("records")
        assert row["curves"] == 3
        assert ("accuracy rose again while more units went (2 of 3)" in row["alarm"]) == alarm


def test_criteria_without_examples_stand_once_however_often_they_are_repeated(plan):
    table = pandas.concat([curve([1, 1, 1], [1] * 3, criterion="random", examples=n, units=10) for n in (10, 40)])
    (row,) = failures.signatures(plan, table).to_dict("records")
    assert (row["criterion"], row["examples"], row["curves"]) == ("random", 0, 1)
    assert numpy.isnan(row["by_chance"])
