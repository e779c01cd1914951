"""report.cost_figures: what is drawn is what the table says, with axes that name their units."""

from itertools import pairwise

import matplotlib
import pandas
import pytest
from by_hand import panels

from lib.report import cost_figures

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_savings_draws_every_cost_against_what_was_removed():
    table = panels({"reached": [0, 0.26, 0.5], "multiply_adds": [100, 74, 50.0], "step_ms": [100, 90, 80.0]})
    figure = cost_figures.savings(table)
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == ["multiply-adds", "time of a training step"]
    assert list(right.lines[1].get_xdata()) == [0, 26, 50] and list(right.lines[1].get_ydata()) == [100, 90, 80]
    assert left.get_xlabel() == "multiply-adds removed (%)" and left.get_ylabel() == "left of the unpruned network (%)"
    assert (left.get_title(), right.get_title()) == ("digits, a", "digits, b")
    assert not left.collections  # no spread
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in left.lines}
    assert len(looks) == 2


def test_savings_draws_the_quartiles_of_times():
    table = panels({"reached": [0, 0.5], "step_ms": [100, 80.0], "step_low": [95, 70.0], "step_high": [110, 85.0]})
    axes = cost_figures.savings(table).axes[0]
    (bars,) = axes.collections
    assert [bar.tolist() for bar in bars.get_segments()] == [[[0, 95], [0, 110]], [[50, 70], [50, 85]]]
    assert bars.get_linewidth()[0] < axes.lines[0].get_linewidth()
    assert bars.get_colors().tolist()[0] == list(matplotlib.colors.to_rgba(axes.lines[0].get_color()))


def test_growth_draws_time_and_memory_by_network_and_task():
    rows = [
        (name, task, images, images / 10, 50.0) for name in "ab" for task in ("scoring", "curve") for images in (4, 8)
    ]
    table = pandas.DataFrame(rows, columns=["network", "task", "images", "seconds", "peak_mb"])
    left, right = cost_figures.growth(table).axes
    assert [line.get_label() for line in left.lines] == ["a, scoring", "a, curve", "b, scoring", "b, curve"]
    assert list(left.lines[0].get_ydata()) == [0.4, 0.8] and list(right.lines[0].get_ydata()) == [50, 50]
    assert (left.get_ylabel(), right.get_ylabel()) == ("time (s)", "peak memory (MB)")
    assert left.get_ylim()[0] == right.get_ylim()[0] == 0 and right.get_ylim()[1] > 50


def test_shares_of_time_have_ticks_that_do_not_run_into_each_other():
    rows = [("plain", 1, 1, 1), ("fast", 0.15, 0.14, 0.16), ("slow", 3, 2.9, 3.2)]
    table = pandas.DataFrame(rows, columns=["task", "share", "share_low", "share_high"])
    table = table.assign(target=[float("nan"), 0.5, 2], benchmark="scoring", network="resnet20")
    figure = cost_figures.benchmarks(table)
    figure.canvas.draw()
    axes = figure.axes[0]
    (targets,) = [line for line in axes.lines if line.get_marker() == "|" and line.get_color() == "#d55e00"]
    assert list(targets.get_xdata()[1:]) == [0.5, 2]
    assert [text.get_text() for text in axes.get_xticklabels(minor=True) if text.get_text()] == []
    shown = [text.get_window_extent() for text in axes.get_xticklabels() if 0.14 < text.get_position()[0] < 3.2]
    assert len(shown) == 4 and all(left.x1 < right.x0 for left, right in pairwise(shown))  # .2 .5 1 2


def test_value_is_drawn_over_time_with_the_number_of_images_and_names_for_some():
    table = pandas.DataFrame({"criterion": ["sq", "l2", "l1"], "seconds": [1.0, 0.01, 0.1], "auc_relative": 0.5})
    figure = cost_figures.against_value(table, ["sq", "l2"], 256)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "time to score, per 256 images (ms)" and axes.get_ylim()[0] == 0
    assert sorted(text.get_text() for text in axes.texts) == ["l2", "sq"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["gradients with labels", "weights"]
