"""report.training_figures: fine-tuning, with axes that name their units."""

import pandas
import pytest
from by_hand import panels

from lib.report import training_figures

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_recovery_draws_the_mean_over_runs_in_percent_and_the_unpruned_accuracy():
    runs = [
        {"criterion": "sq", "seed": seed, "epoch": [0, 1], "accuracy": [low, 0.9]} for seed, low in ((0, 0.2), (1, 0.4))
    ]
    table = pandas.concat([panels(run) for run in runs]).assign(accuracy_unpruned=0.95, training="fine-tuned")
    scratch = panels({"criterion": "sq", "seed": 0, "epoch": [0, 7], "accuracy": [0.1, 0.85]}, accuracy_unpruned=0.95)
    table = pandas.concat([table, scratch.assign(training="from scratch")])
    budgets = [table.assign(of="macs", budget=0.5), table.assign(of="parameters", budget=0.25)]
    figure = training_figures.recovery(pandas.concat(budgets), ["sq"])
    assert [axes.get_title() for axes in figure.axes] == [
        f"digits, {network}\nwithout {gone}"
        for gone in ("50 % of multiply-adds", "25 % of parameters")
        for network in "ab"
    ]
    axes = figure.axes[2]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([30, 90])
    dashed, dotted = axes.lines[-2:]
    assert list(dashed.get_ydata()) == pytest.approx([95, 95]) and dashed.get_linestyle() == "--"
    assert list(dotted.get_ydata()) == pytest.approx([85, 85]) and dotted.get_linestyle() == ":"
    assert axes.get_xlabel() == "epochs of fine-tuning" and figure.axes[0].get_ylabel() == "test accuracy (%)"


def test_order_change_joins_mean_ranks_of_which_1_is_the_best():
    table = panels({"criterion": list("xyz"), "seed": 0, "before": [0.1, 0.5, 0.3], "after": [0.9, 0.7, 0.7]})
    table = table.assign(training="fine-tuned", of="macs", budget=0.5)
    fresh = table.assign(training="from scratch", after=0.3)
    other = table.assign(budget=0.25, after=0.3)
    figure = training_figures.order_change(pandas.concat([table, fresh, other]), list("xyz"))
    assert [axes.get_title() for axes in figure.axes[::2]] == [
        "digits, a\nwithout 50 % of multiply-adds",
        "digits, a\nwithout 25 % of multiply-adds",
    ]
    axes = figure.axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [[3, 1], [1, 2.5], [2, 2.5]]
    assert axes.yaxis_inverted()
    written = [(text.get_text(), text.get_position()[1]) for text in axes.texts]
    assert sorted(written[:3]) == [("x", 3), ("y", 1), ("z", 2)]
