"""report.panel_figures: who is where, and that nothing that the tables have is missing."""

import numpy
import pandas
import pytest
from test_panel_tables import over

from lib.report import panel_figures
from lib.study.analyses import over_panels

pytestmark = pytest.mark.usefixtures("closed_figures")
CRITERIA = ["sq:rand:norm", "random"]


def curves():
    numbers = {"one": [2, 10, 103], "two": [5]}
    rows = [
        (panel, examples, name, gone, 0.6 - gone / 100, order, len(own))
        for panel, own in numbers.items()
        for order, examples in enumerate(own, 1)
        for name in CRITERIA
        for gone in (0, 25, 50)
    ]
    columns = ["panel", "examples", "criterion", "gone", "accuracy", "order", "orders"]
    return pandas.DataFrame(rows, columns=columns)


def test_a_row_per_panel_and_a_column_per_number_of_examples():
    paper = pandas.DataFrame({"panel": ["one"], "examples": [10], "criterion": "random", "gone": 10.0, "accuracy": 0.3})
    figure = panel_figures.curves(curves(), CRITERIA, paper)
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in shown] == [
        "one, 2 examples", "one, 10 examples", "one, 103 examples", "two, 5 examples"
    ]  # fmt: skip
    theirs = [line for line in shown[1].lines if line.is_dashed() and len(line.get_xdata())]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in theirs] == [(10.0, 30.0)]
    labelled = [axes.xaxis.get_tick_params()["labelbottom"] for axes in shown]
    assert labelled == [False, True, True, True]  # the lowest of each column
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*CRITERIA, "the paper, one run"]


def test_a_marker_per_panel_and_an_interval_over_them():
    rows = [over(claim=name, over="panels", count=2) for name in ("C1", "C2")] + [over(kind="share", over="panels")]
    each = [{"claim": "C1", "panel": "one", "count": 3, "effect": 0.02}]
    each += [{"claim": "C1", "panel": "two", "count": 1, "effect": 0.08}]
    each += [{"claim": "C2", "panel": name, "count": 0, "effect": numpy.nan} for name in ("one", "two")]
    figure = panel_figures.claims(pandas.DataFrame(rows), pandas.DataFrame(each), {"C1": "words", "C2": "more"})
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["more  C2", "words  C1"]
    markers = {line.get_label(): list(line.get_xdata()) for line in axes.lines if line.get_label() in ("one", "two")}
    assert markers == {"one": [0.02], "two": [0.08]}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two", "mean over panels"]


def test_places_reach_from_the_best_to_the_worst():
    places = {"criterion": ["sq", "sq", "l2", "l2"], "panel": ["p", "q"] * 2, "place": [1, 2, 2, 1]}
    figure = panel_figures.places(pandas.DataFrame(places | {"overall": [1, 1, 2, 2]}), ["sq"], of=9)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["sq"]
    assert axes.get_xlabel() == "place among 9 criteria (1: the best)"
    assert list(axes.lines[0].get_xdata()) == [1, 2]


def test_networks_of_others_are_open():
    found = {"panel": ["d", "d", "e"], "given": [False, True, True], "units": [10, 100, 1000]}
    found |= {name: [1, 2, 3] for name in ("parameters", "layers")}
    found |= {f"lead_{rival}": [0.1, 0.2, numpy.nan] for rival in over_panels.RIVALS}
    figure = panel_figures.sizes(pandas.DataFrame(found), ["d", "e"])
    (legend,) = figure.legends
    words = ["d, trained here", "d, trained by others", "e, trained by others"]
    assert [text.get_text() for text in legend.get_texts()] == words
    drawn = {line.get_label(): line for line in figure.axes[0].lines}
    assert [drawn[word].get_fillstyle() for word in words] == ["full", "none", "none"]
    assert [axes.get_xlabel() for axes in figure.axes[-3:]] == ["units", "parameters", "layers with units"]
