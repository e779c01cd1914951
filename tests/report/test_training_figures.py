"""report.training_figures: fine-tuning, with axes that name their units."""

import pandas
import pytest
from by_hand import panels

from lib.report import training_figures

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_accuracy_after_fine_tuning_stands_over_what_the_budget_leaves_open():
    runs = {"criterion": "sq", "seed": [0, 1], "after": [0.8, 0.9], "parameters": [100, 300]}
    table = panels(runs, accuracy_unpruned=0.95, training="fine-tuned", multiply_adds=50)
    scratch = table.assign(training="from scratch", after=0.85)
    table = pandas.concat([table, scratch])
    budgets = [table.assign(of="macs", budget=0.5), table.assign(of="parameters", budget=0.25)]
    figure = training_figures.recovery(pandas.concat(budgets), ["sq"])
    assert [axes.get_title() for axes in figure.axes] == [
        f"digits, {network}, without {gone}"
        for gone in ("50 % of multiply-adds", "25 % of parameters")
        for network in "ab"
    ]
    assert [axes.get_xlabel() for axes in figure.axes[1:3]] == ["parameters left", "multiply-adds left"]
    singles, mean, *_, fresh, unpruned = figure.axes[0].lines
    assert [list(singles.get_xdata()), list(singles.get_ydata())] == [[100, 300], pytest.approx([80, 90])]
    assert (mean.get_xdata()[0], mean.get_ydata()[0]) == (200, pytest.approx(85))
    assert fresh.get_marker() == "x" and fresh.get_ydata()[0] == pytest.approx(85)
    assert list(unpruned.get_ydata()) == pytest.approx([95, 95])
    assert [text.get_text() for text in figure.axes[0].texts] == ["sq"]
    (legend,) = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert said == ["fine-tuned, mean", "the same from scratch", "single networks", "unpruned"]


def test_the_order_is_told_by_accuracy_before_and_after():
    table = panels({"criterion": ["sq", "l2"], "seed": 0, "before": [0.1, 0.5], "after": [0.9, 0.7]})
    table = table.assign(training="fine-tuned", of="macs", budget=0.5, accuracy_unpruned=1.0)
    fresh = table.assign(training="from scratch", after=0.3)
    figure = training_figures.order_change(pandas.concat([table, fresh]), ["sq", "l2"])
    axes = figure.axes[0]
    assert axes.get_title() == "digits, a\nwithout 50 % of multiply-adds"
    slopes = [list(line.get_ydata()) for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    assert slopes == [pytest.approx([10, 90]), pytest.approx([50, 70])]
    assert sorted(text.get_text() for text in axes.texts) == ["l2  70.0", "sq  90.0"]
