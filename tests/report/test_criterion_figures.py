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
    figure = criterion_figures.by_layer(
        table.assign(dataset="digits", network="vgg8", oracle="output"), ["l2", "sq"], oracle="output"
    )
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["stem", "a", "b"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["l2", "sq"]
