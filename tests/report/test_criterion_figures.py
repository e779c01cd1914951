"""report.criterion_figures: rows and columns in their order."""

import numpy
import pandas
import pytest

from lib.report import criterion_figures, style

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_layers_stand_in_the_order_in_which_they_run():
    rows = [
        (name, layer, rho) for name in ("sq", "l2") for layer, rho in (("stem", 0.5), ("a", 0.25), ("b", numpy.nan))
    ]
    table = pandas.DataFrame(rows, columns=["criterion", "layer", "spearman"])
    figure = criterion_figures.by_layer(table.assign(dataset="digits", network="vgg8"), ["l2", "sq"])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["stem", "a", "b"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["l2", "sq"]
    assert axes.get_title() == "digits, vgg8"


def test_shares_of_units_off_stand_below_each_other():
    rows = [(network, share, layer, share / 100) for network in "xy" for share in (10, 50) for layer in (network, "z")]
    table = pandas.DataFrame(rows, columns=["network", "share", "layer", "left"])
    figure = criterion_figures.by_layer(
        table.assign(dataset="digits", criterion="sq"), ["sq"], value="left", ends=(0, 1)
    )
    plots = figure.axes[:4]
    assert [axes.get_title() for axes in plots] == [f"digits, {n}, {s} % off" for s in (10, 50) for n in "xy"]
    assert [[text.get_text() for text in axes.get_xticklabels()] for axes in plots[2:]] == [["x", "z"], ["y", "z"]]
    assert [axes.collections[0].get_array().max() for axes in plots] == [0.1, 0.1, 0.5, 0.5]
    assert {axes.collections[0].get_clim() for axes in plots} == {(0, 1)}


def test_units_left_are_drawn_layer_by_layer_beside_what_would_be_left_if_all_lost_alike():
    rows = [(name, share, layer, left) for name in ("sq", "l2") for share in (10, 25) for layer, left in LEFT.items()]
    table = pandas.DataFrame(rows, columns=["criterion", "share", "layer", "left"])
    figure = criterion_figures.channels_left(table.assign(dataset="digits", network="vgg8"), ["l2", "sq"])
    (axes,) = figure.axes
    assert axes.get_title() == "digits, vgg8, 25 % off"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["c1", "0.c2"]
    assert list(axes.lines[0].get_ydata()) == [50, 100] and list(axes.lines[2].get_ydata()) == [75, 75]
    many = [("sq", 25, f"layers.{number}", 0.5) for number in range(50)]
    deep = pandas.DataFrame(many, columns=table.columns).assign(dataset="digits", network="vgg8")
    (axes,) = criterion_figures.channels_left(deep, ["sq"]).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == [f"{number}" for number in range(0, 50, 3)]
    assert axes.get_xlabel() == "layers, one in 3 named" and len(axes.lines[0].get_ydata()) == 50


LEFT = {"conv1": 0.5, "blocks.0.conv2": 1.0}


@pytest.mark.parametrize(
    ("layer", "short"),
    [("conv1", "c1"), ("blocks.2.shortcut.0", "2.s"), ("layer1.0.downsample.0", "1.0.s"), ("features.14", "14")],
)
def test_layers_have_short_names(layer, short):
    assert criterion_figures.short(layer) == short


def test_criteria_have_the_colour_of_their_family_and_stand_best_first():
    rows = [(name, examples, value) for name, value in (("l2", 0.2), ("sq", 0.5)) for examples in (10, 1000)]
    table = pandas.DataFrame(rows, columns=["criterion", "examples", "auc_relative"])
    figure = criterion_figures.estimates(table.assign(dataset="digits", network="vgg8", seed=0), ["l2", "sq"])
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["l2", "sq"]  # from below
    first, _, strong, _ = axes.containers
    assert first[0].get_color() == style.FAMILIES["weights"] and first[0].get_alpha() < strong[0].get_alpha()
    families, levels = figure.legends
    assert [text.get_text() for text in families.get_texts()] == ["gradients with labels", "weights"]
    assert [text.get_text() for text in levels.get_texts()] == ["10", "1,000"]
