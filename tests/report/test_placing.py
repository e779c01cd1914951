"""report.placing: names that hide nothing."""

from itertools import combinations

import pandas
import pytest
from matplotlib.text import Text

from lib.report import cost_figures, placing

pytestmark = pytest.mark.usefixtures("closed_figures")


@pytest.mark.parametrize("seconds", [[0.01] * 5 + [1], [0.01, 0.011, 0.0111, 0.01, 0.0105, 0.0106]])
def test_names_hide_neither_each_other_nor_points_and_stay_in_the_frame(seconds):
    names = ["sq:rand:norm", "sq:pseudo:norm", "abs:rand:norm", "sq:sampled", "molchanov-bn:rand", "l2"]
    table = pandas.DataFrame({"criterion": names, "seconds": seconds, "auc_relative": [0.8, 0.8, 0.81, 0.8, 0.79, 0.7]})
    figure = cost_figures.against_value(table, names[:5], 256)
    figure.canvas.draw()
    axes = figure.axes[0]
    texts = [Text.get_window_extent(name) for name in axes.texts]  # without the line to the point
    assert sorted(name.get_text() for name in axes.texts) == sorted(names[:5])
    assert not any(one.overlaps(other) for one, other in combinations(texts, 2))
    spots = axes.transData.transform(table[["seconds", "auc_relative"]].mul([1000, 1]).to_numpy())
    assert not any(text.contains(*spot) for text in texts for spot in spots)
    frame = axes.get_window_extent()
    assert all(frame.x0 <= text.x0 and text.x1 <= frame.x1 for text in texts)


def test_labels_are_moved_apart_and_no_further_than_needed():
    moved = placing.apart(pandas.Series({"a": 1.0, "b": 1.0, "c": 5.0}), 0.5)
    assert moved["b"] - moved["a"] == pytest.approx(0.5) and moved.sum() == pytest.approx(7)
    far = pandas.Series({"a": 1.0, "b": 2.0})
    assert placing.apart(far, 0.5).equals(far)
