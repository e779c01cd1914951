"""report.curve_figures: what tidy tables look like, as far as numbers can say."""

import numpy
import pandas
import pytest

from lib.report import curve_figures

pytestmark = pytest.mark.usefixtures("closed_figures")


def lines(**more):
    table = pandas.DataFrame({"gone": [0.0, 5, 10], "accuracy": [0.9, 0.7, 0.5], "low": [0.8, 0.4, -0.2], "high": 0.95})
    return table.assign(**{"dataset": "digits", "network": "vgg8", "examples": 10, "criterion": "sq"} | more)


def test_curves_are_in_percent_and_their_intervals_stay_between_nothing_and_everything():
    figure = curve_figures.intervals(lines(), ["sq"], xlabel="units switched off (%)")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("units switched off (%)", "test accuracy (%)")
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([90, 70, 50])
    (bars,) = axes.containers[0].lines[2]
    assert numpy.concatenate(bars.get_segments())[:, 1].tolist() == pytest.approx([80, 95, 0, 95])  # at 0 and 10 %


def test_there_is_a_row_for_each_network_and_a_column_for_each_number_of_examples():
    table = pandas.concat(
        [lines(network=n, examples=e, criterion=c) for n in ("a", "b") for e in (10, 1000) for c in "xy"]
    )
    figure = curve_figures.intervals(table, ["x", "y"], xlabel="gone (%)")
    assert [axes.get_title() for axes in figure.axes] == [
        f"digits, {network}, {number} examples" for network in "ab" for number in ("10", "1,000")
    ]
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert [[text.get_text() for text in legend.get_texts()] for legend in legends] == [["x", "y"]]


def test_a_single_run_has_a_line_and_no_interval():
    figure = curve_figures.intervals(lines(low=numpy.nan, high=numpy.nan), ["sq"], xlabel="gone (%)")
    figure.canvas.draw()
    assert figure.axes[0].lines[0].get_ydata().tolist() == pytest.approx([90, 70, 50])


def test_curves_with_repair_are_solid_and_those_without_dotted():
    points = pandas.DataFrame({"pruned": [0, 5, 10], "units": 20, "accuracy": [0.9, 0.7, 0.5]})
    table = points.assign(dataset="digits", network="vgg8", examples=1000, criterion="sq")
    figure = curve_figures.repaired(table.assign(accuracy=[0.9, 0.8, 0.7]), table, ["sq"])
    (axes,) = figure.axes
    assert axes.get_title() == "digits, vgg8, 1,000 examples"
    assert axes.get_ylabel() == "test accuracy (%)"
    solid, dotted = [line for line in axes.lines if len(line.get_ydata()) == 3]
    assert solid.get_ydata().tolist() == pytest.approx([90, 80, 70]) and not solid.is_dashed()
    assert dotted.get_ydata().tolist() == pytest.approx([90, 70, 50]) and dotted.is_dashed()
