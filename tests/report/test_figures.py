"""report.figures: what tidy tables look like, as far as numbers can say."""

from itertools import combinations

import numpy
import pandas
import pytest
from matplotlib import pyplot
from matplotlib.text import Text

from lib.report import figures


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


def lines(**more):
    table = pandas.DataFrame({"gone": [0.0, 5, 10], "accuracy": [0.9, 0.7, 0.5], "low": [0.8, 0.4, -0.2], "high": 0.95})
    return table.assign(**{"dataset": "digits", "network": "vgg8", "examples": 10, "criterion": "sq"} | more)


def test_curves_are_in_percent_and_their_intervals_stay_between_nothing_and_everything():
    figure = figures.intervals(lines(), ["sq"], xlabel="units switched off (%)")
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("units switched off (%)", "test accuracy (%)")
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([90, 70, 50])
    (bars,) = axes.containers[0].lines[2]
    assert numpy.concatenate(bars.get_segments())[:, 1].tolist() == pytest.approx([80, 95, 0, 95])  # at 0 and 10 %


def test_there_is_a_row_for_each_network_and_a_column_for_each_number_of_examples():
    table = pandas.concat(
        [lines(network=n, examples=e, criterion=c) for n in ("a", "b") for e in (10, 1000) for c in "xy"]
    )
    figure = figures.intervals(table, ["x", "y"], xlabel="gone (%)")
    assert [axes.get_title() for axes in figure.axes] == [
        f"digits, {network}, {number} examples" for network in "ab" for number in ("10", "1,000")
    ]
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert [[text.get_text() for text in legend.get_texts()] for legend in legends] == [["x", "y"]]


def test_a_single_run_has_a_line_and_no_interval():
    figure = figures.intervals(lines(low=numpy.nan, high=numpy.nan), ["sq"], xlabel="gone (%)")
    figure.canvas.draw()
    assert figure.axes[0].lines[0].get_ydata().tolist() == pytest.approx([90, 70, 50])


@pytest.mark.parametrize("seconds", [[0.01] * 5 + [1], [0.01, 0.011, 0.0111, 0.01, 0.0105, 0.0106]])
def test_names_hide_neither_each_other_nor_points_and_stay_in_the_frame(seconds):
    names = [f"criterion-{number}" for number in range(6)]
    table = pandas.DataFrame({"criterion": names, "seconds": seconds, "auc_relative": [0.8, 0.8, 0.81, 0.8, 0.79, 0.7]})
    figure = figures.cost_against_value(table, names[:5])
    figure.canvas.draw()
    axes = figure.axes[0]
    texts = [Text.get_window_extent(name) for name in axes.texts]  # without the line to the point
    assert sorted(name.get_text() for name in axes.texts) == names[:5]
    assert not any(one.overlaps(other) for one, other in combinations(texts, 2))
    spots = axes.transData.transform(table[["seconds", "auc_relative"]].mul([1000, 1]).to_numpy())
    assert not any(text.contains(*spot) for text in texts for spot in spots)
    frame = axes.get_window_extent()
    assert all(frame.x0 <= text.x0 and text.x1 <= frame.x1 for text in texts)


def test_layers_stand_in_the_order_in_which_they_run():
    rows = [
        (name, layer, rho) for name in ("sq", "l2") for layer, rho in (("stem", 0.5), ("a", 0.25), ("b", numpy.nan))
    ]
    table = pandas.DataFrame(rows, columns=["criterion", "layer", "spearman"])
    figure = figures.by_layer(
        table.assign(dataset="digits", network="vgg8", oracle="output"), ["l2", "sq"], oracle="output"
    )
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["stem", "a", "b"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["l2", "sq"]


def test_criteria_of_most_figures_have_the_same_colour_in_all():
    first, second = ["l2", "abs", "sq:rand:norm"], ["sq:rand:norm", "sq", "taylorfo", "l2", "hrank", "random"]
    colours = [dict(zip(names, figures._colours(names), strict=True)) for names in (first, second)]
    assert all(len(set(found.values())) == len(found) for found in colours)
    assert {name for name in first if colours[0][name] == colours[1].get(name)} == {"l2", "sq:rand:norm"}
    many = [f"c{number}" for number in range(12)]
    assert len(set(figures._colours(many))) == 12


def test_the_paper_and_ours_stand_side_by_side_in_a_plot_per_contrast():
    rows = [
        ("C1", "norm, against plain", 2, 0.1, 0.2, 0.15, 0.3),
        ("C1", "norm, against plain", 50000, 0.2, 0.1, 0.1, 0.1),
        ("C1", "norm, against plain", 50000, numpy.nan, -0.1, -0.2, 0.0),  # which the paper does not show
        ("C2", "sq, against signed", 2, 0.3, 0.4, 0.4, 0.5),
    ]
    columns = ["claim", "label", "examples", "paper", "effect", "lowest", "highest"]
    table = pandas.DataFrame(rows, columns=columns).assign(dataset="cifar100", network="resnet20")
    figure = figures.beside_paper(table)
    figure.canvas.draw()
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["norm, against plain", "sq, against signed"]
    assert [tick.get_text() for tick in first.get_xticklabels()] == ["2", "50,000"]
    shown = {line.get_label(): list(line.get_ydata()) for line in first.lines}
    assert shown["the paper, one run"] == [0.1, 0.2]
    same, other = first.containers
    assert list(same[0].get_ydata()) == [0.2, 0.1] and list(other[0].get_ydata()) == [-0.1]
    assert same[2][0].get_segments()[0][:, 1].tolist() == pytest.approx([0.15, 0.3])
    assert len(figure.legends) == 1 and len(second.containers) == 2
    rounded = numpy.mean([0.1] * 3)
    figures.beside_paper(table.assign(effect=rounded, lowest=rounded, highest=numpy.nextafter(rounded, 0)))
    both = figures.beside_paper(pandas.concat([table, table.assign(network="vgg19")]))
    assert both.axes[2].get_title() == "norm, against plain\ncifar100, vgg19"
