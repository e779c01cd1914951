"""report.criterion_figures: rows and columns in their order."""

import numpy
import pandas
import pytest

from lib.report import criterion_figures

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
