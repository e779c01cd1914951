"""report.unit_figures: a map for every unit."""

import numpy
import pandas
import pytest

from lib.report import unit_figures

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_every_unit_has_a_map_with_its_score_and_those_that_go_are_crossed_out():
    found = numpy.arange(12.0).reshape(3, 2, 2)
    units = pandas.DataFrame({"share": [1, 0.123, 0], "place": [90, 30, 25]})
    figure = unit_figures.maps(numpy.zeros((2, 2, 1)), found, units)
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in drawn] == ["the image", "1", "0.12", "0"]
    assert [len(axes.lines) for axes in drawn] == [0, 0, 0, 1]
    assert drawn[2].images[0].get_clim() == (0, 7)
