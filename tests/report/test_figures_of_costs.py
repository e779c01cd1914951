"""Figures of costs and fine-tuning: what is drawn is what the table says, with axes that name their units."""

from itertools import pairwise

import matplotlib
import pandas
import pytest

matplotlib.use("agg")
from matplotlib import pyplot

from lib.report import figures


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def panels(rows, **more):
    """The same rows for two networks."""
    both = [pandas.DataFrame(rows).assign(dataset="digits", network=network, **more) for network in ("a", "b")]
    return pandas.concat(both, ignore_index=True)


def test_savings_draws_every_cost_against_what_was_removed():
    table = panels({"reached": [0, 0.26, 0.5], "multiply_adds": [100, 74, 50.0], "step_ms": [100, 90, 80.0]})
    figure = figures.savings(table)
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
    axes = figures.savings(table).axes[0]
    (bars,) = axes.collections
    assert [bar.tolist() for bar in bars.get_segments()] == [[[0, 95], [0, 110]], [[50, 70], [50, 85]]]
    assert bars.get_linewidth()[0] < axes.lines[0].get_linewidth()
    assert bars.get_colors().tolist()[0] == list(matplotlib.colors.to_rgba(axes.lines[0].get_color()))


def test_recovery_draws_the_mean_over_runs_in_percent_and_the_unpruned_accuracy():
    runs = [
        {"criterion": "sq", "seed": seed, "epoch": [0, 1], "accuracy": [low, 0.9]} for seed, low in ((0, 0.2), (1, 0.4))
    ]
    table = pandas.concat([panels(run) for run in runs]).assign(accuracy_unpruned=0.95)
    figure = figures.recovery(table, ["sq"])
    axes = figure.axes[0]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([30, 90])
    assert list(axes.lines[-1].get_ydata()) == pytest.approx([95, 95])
    assert axes.get_xlabel() == "epochs of fine-tuning" and axes.get_ylabel() == "test accuracy (%)"


def test_order_change_joins_mean_ranks_of_which_1_is_the_best():
    table = panels({"criterion": list("xyz"), "seed": 0, "before": [0.1, 0.5, 0.3], "after": [0.9, 0.7, 0.7]})
    axes = figures.order_change(table, list("xyz")).axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [[3, 1], [1, 2.5], [2, 2.5]]
    assert axes.yaxis_inverted()
    written = [(text.get_text(), text.get_position()[1]) for text in axes.texts]
    assert sorted(written[:3]) == [("x", 3), ("y", 1), ("z", 2)]


def test_labels_are_moved_apart_and_no_further_than_needed():
    moved = figures._apart(pandas.Series({"a": 1.0, "b": 1.0, "c": 5.0}), 0.5)
    assert moved["b"] - moved["a"] == pytest.approx(0.5) and moved.sum() == pytest.approx(7)
    far = pandas.Series({"a": 1.0, "b": 2.0})
    assert figures._apart(far, 0.5).equals(far)


def test_growth_draws_time_and_memory_by_network_and_task():
    rows = [
        (name, task, images, images / 10, 50.0) for name in "ab" for task in ("scoring", "curve") for images in (4, 8)
    ]
    table = pandas.DataFrame(rows, columns=["network", "task", "images", "seconds", "peak_mb"])
    left, right = figures.growth(table).axes
    assert [line.get_label() for line in left.lines] == ["a, scoring", "a, curve", "b, scoring", "b, curve"]
    assert list(left.lines[0].get_ydata()) == [0.4, 0.8] and list(right.lines[0].get_ydata()) == [50, 50]
    assert (left.get_ylabel(), right.get_ylabel()) == ("time (s)", "peak memory (MB)")
    assert left.get_ylim()[0] == right.get_ylim()[0] == 0 and right.get_ylim()[1] > 50


def test_the_loss_that_counts_as_none_is_shaded_for_claims_of_equivalence_alone():
    table = pandas.DataFrame({"claim": ["C1", "C3"], "kind": ["difference", "equivalence"], "verdict": "open"})
    table = table.assign(effect=0.1, low=0.05, high=0.2)
    axes = figures.claims(table, {"C1": "norm", "C3": "labels"}, margin=0.01).axes[0]
    (shade,) = [found for found in axes.collections if len(found.get_paths()) and found.get_facecolor().size]
    corners = shade.get_paths()[0].vertices
    assert (corners.min(0).tolist(), corners.max(0).tolist()) == ([-0.01, -0.5], [0, 0.5])  # C3 is the lower row


def test_claims_of_another_kind_are_not_drawn_on_the_axis_of_differences():
    table = pandas.DataFrame({"claim": ["C7", "C8"], "kind": ["difference", "rank correlation"], "verdict": "open"})
    table = table.assign(effect=[0.1, 0.7], low=[0.05, 0.5], high=[0.2, 0.9])
    axes = figures.claims(table, {"C7": "best of all", "C8": "order"}, margin=0.01).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["best of all  C7"]


def test_shares_of_time_have_ticks_that_do_not_run_into_each_other():
    rows = [("plain", 1, 1, 1), ("fast", 0.15, 0.14, 0.16), ("slow", 3, 2.9, 3.2)]
    table = pandas.DataFrame(rows, columns=["task", "share", "share_low", "share_high"])
    figure = figures.benchmarks(table.assign(benchmark="scoring", network="resnet20"))
    figure.canvas.draw()
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels(minor=True) if text.get_text()] == []
    shown = [text.get_window_extent() for text in axes.get_xticklabels() if 0.14 < text.get_position()[0] < 3.2]
    assert len(shown) == 6 and all(left.x1 < right.x0 for left, right in pairwise(shown))  # .2 .3 .5 1 2 3
