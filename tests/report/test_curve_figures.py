"""report.curve_figures: what tidy tables look like, as far as numbers can say."""

import numpy
import pandas
import pytest

from lib.report import curve_figures

pytestmark = pytest.mark.usefixtures("closed_figures")


def lines(**more):
    table = pandas.DataFrame({"gone": [0.0, 5, 10], "accuracy": [0.9, 0.7, 0.5], "low": [0.8, 0.4, -0.2], "high": 0.95})
    return table.assign(
        **{"dataset": "digits", "network": "vgg8", "examples": 10, "criterion": "sq", "blocks": 3} | more
    )


def test_curves_are_in_percent_and_their_intervals_stay_between_nothing_and_everything():
    figure = curve_figures.intervals(lines(), ["sq"], xlabel="units switched off (%)")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("units switched off (%)", "test accuracy (%)")
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([90, 70, 50])
    corners = axes.collections[0].get_paths()[0].vertices
    assert (corners.min(0).tolist(), corners.max(0).tolist()) == ([0, 0], [10, pytest.approx(90)])  # as nothing off
    assert axes.get_ylim() == (0, 100)


def test_there_is_a_small_plot_for_each_network_and_number_of_examples():
    table = pandas.concat(
        [lines(network=n, examples=e, criterion=c) for n in ("a", "b") for e in (10, 1000) for c in ("sq", "l2")]
    )
    figure = curve_figures.intervals(table, ["sq", "l2"], xlabel="gone (%)")
    assert [axes.get_title() for axes in figure.axes] == [
        f"digits, {network}, {number} examples" for network in "ab" for number in ("10", "1,000")
    ]
    assert [[text.get_text() for text in legend.get_texts()] for legend in figure.legends] == [["sq", "l2"]]


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
    solid, dotted, _ = axes.lines
    assert solid.get_ydata().tolist() == pytest.approx([90, 80, 70]) and not solid.is_dashed()
    assert dotted.get_ydata().tolist() == pytest.approx([90, 70, 50]) and dotted.is_dashed()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sq", "without repair"]


def test_curves_that_no_repair_changes_are_left_out():
    points = pandas.DataFrame({"pruned": [0, 5, 10], "units": 20, "accuracy": [0.9, 0.7, 0.5]})
    table = points.assign(dataset="digits", network="vgg8", examples=1000, criterion="sq")
    plain = pandas.concat([table.assign(network="without-norms"), table, table.assign(criterion="l2")])
    (axes,) = curve_figures.repaired(table, plain, ["sq", "l2"]).axes
    assert axes.get_title() == "digits, vgg8, 1,000 examples"
    assert [line.is_dashed() for line in axes.lines if len(line.get_xdata())] == [False, True, True]


def test_the_papers_curves_are_dashed_in_the_same_colours():
    points = pandas.DataFrame({"pruned": [0, 5, 10], "units": 20, "accuracy": [0.6, 0.5, 0.4]})
    table = points.assign(dataset="cifar100", network="resnet20", examples=2, criterion="sq")
    runs = pandas.concat([table, table.assign(accuracy=[0.8, 0.7, 0.6])])
    figure = curve_figures.curves(runs, ["sq"], reference=table)
    mean, theirs = figure.axes[0].lines[:2]
    assert list(mean.get_ydata()) == pytest.approx([70, 60, 50]) and list(theirs.get_ydata()) == pytest.approx(
        [60, 50, 40]
    )
    assert mean.get_color() == theirs.get_color() and theirs.is_dashed() and not mean.is_dashed()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sq", "the paper, one run"]


def test_where_the_paper_has_no_such_networks_its_curves_are_not_in_the_legend():
    points = pandas.DataFrame({"pruned": [0, 5, 10], "units": 20, "accuracy": [0.6, 0.5, 0.4]})
    table = points.assign(dataset="digits", network="vgg8", examples=2, criterion="sq")
    figure = curve_figures.curves(table, ["sq"], reference=table.assign(dataset="cifar100", network="vgg19"))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sq"]


def opened(*tables):
    return curve_figures.opening(pandas.concat(tables).assign(panel="p", criterion="l2"))


def test_the_opening_has_few_images_and_all_beside_each_other_or_network_beside_network():
    alone = opened(lines(examples=2), lines(examples=10), lines(examples=1000))
    titles = ["digits, vgg8, ranked on 2 images", "digits, vgg8, ranked on 1,000 images"]
    assert [axes.get_title() for axes in alone.axes] == titles
    assert [text.get_text() for text in alone.legends[0].get_texts()][3] == "weight magnitude (l2)"
    both = opened(lines(examples=2), lines(examples=10), lines(network="resnet8", accuracy=0.3))
    assert [axes.get_title() for axes in both.axes] == ["digits: 3 x vgg8", "digits: 3 x resnet8"]
    assert [axes.get_ylim() for axes in both.axes] == [(0, 100), (0, 40)]
    assert [len(axes.collections) for axes in both.axes] == [0, 0]  # a band of few networks says nothing
    several = pandas.concat([lines(examples=2), lines(examples=1000)])
    assert [len(axes.collections) for axes in opened(several.assign(blocks=6)).axes] == [5, 5]
    many = opened(*(lines(network=name) for name in "abcde"))
    assert [axes.get_title() for axes in many.axes] == ["digits: 15 networks"]
