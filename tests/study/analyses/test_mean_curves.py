"""analyses.mean_curves: curves over units and over what they cost, worked out by hand."""

import numpy
import pandas
import pytest
from by_hand import curve, rows

from lib.study.analyses import mean_curves


def test_curves_on_a_common_grid_by_hand():
    both = pandas.concat([curve([1, 0.5, 0], [1, 0.8, 0.6]), curve([0.8, 0.5, 0.2], [1, 0.5, 0.4], seed=1)])
    table = mean_curves.along(both, "units", step=12.5)
    assert table["gone"].tolist() == [0, 12.5, 25, 37.5, 50]
    assert table["accuracy"].tolist() == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1])
    half = 12.706204736 * 0.1  # t of one degree of freedom; the standard error of 1 and .8 is .1
    assert table.iloc[0][["low", "high", "blocks"]].tolist() == pytest.approx([0.9 - half, 0.9 + half, 2])
    table = mean_curves.along(both, "macs", step=10)
    assert table["gone"].tolist() == [0, 10, 20, 30, 40]  # where the first curve ends
    # the first run has lost 10 % half way to its second point; the second a fifth of the way
    assert table["accuracy"].tolist() == pytest.approx(
        [0.9, (0.75 + 0.74) / 2, (0.5 + 0.68) / 2, (0.25 + 0.62) / 2, 0.28]
    )


def test_a_curve_is_at_its_first_point_where_units_go_that_cost_nothing_any_more():
    table = mean_curves.along(curve([1, 0.9, 0.3, 0.2, 0.1], [1, 0.9, 0.9, 0.7, 0.5]), "macs", step=10)
    assert table["gone"].tolist() == [0, 10, 20, 30, 40, 50]
    assert table["accuracy"].tolist() == pytest.approx([1, 0.9, 0.25, 0.2, 0.15, 0.1])


def test_draws_are_averaged_before_intervals_are_taken():
    draws = [
        curve([1, a], [1, 0.5], criterion="random", draw=n, seed=s)
        for s, n, a in [(0, 0, 0.2), (0, 1, 0.4), (1, 0, 0.3)]
    ]
    last = mean_curves.along(pandas.concat(draws), "units").iloc[-1]
    assert last[["accuracy", "low", "high", "blocks"]].tolist() == pytest.approx([0.3, 0.3, 0.3, 2])


def test_curves_in_numbers_are_means_over_runs_on_the_most_examples():
    accuracies = dict.fromkeys(("accuracy_unpruned", "accuracy_10pct", "accuracy_25pct", "accuracy_50pct"), 0.5)
    cells = [("sq", 10, 0, 0.9), ("sq", 99, 0, 0.2), ("sq", 99, 1, 0.4), ("l2", 99, 0, 0.1)]
    first = rows("criterion examples draw auc_relative", *cells, seed=0)
    second = rows("criterion examples draw auc_relative", ("sq", 99, 0, 0.5), ("abs", 99, 0, 0.5), seed=1)
    found = mean_curves.in_numbers(pandas.concat([first, second]).assign(**accuracies), ["l2", "sq"])
    shown = found[["examples", "criterion", "labels", "auc_relative"]].values.tolist()
    assert shown == [[99, "l2", False, 0.1], [99, "sq", True, pytest.approx(0.4)]]


def test_accuracies_at_a_quarter_are_means_over_runs_that_all_get_there():
    names = "criterion examples seed accuracy_25pct accuracy_macs_25pct accuracy_parameters_25pct"
    table = pandas.DataFrame(
        [
            ("a", 9, 0, 0.5, 0.4, 0.3),
            ("a", 9, 1, 0.7, 0.6, numpy.nan),
            ("b", 0, 0, 0.1, 0.9, 0.2),
            ("a", 2, 0, 0, 0, 0),
        ],
        columns=names.split(),
    ).assign(dataset="digits", network="resnet8")
    found = mean_curves.matched(table)
    assert found["criterion"].tolist() == ["b", "a"]
    assert found.iloc[1, 3:].astype(float).tolist() == pytest.approx([0.6, 0.5, numpy.nan], nan_ok=True)
