"""report.claim_figures: what is drawn is what the table says."""

import numpy
import pandas
import pytest

from lib.report import claim_figures

pytestmark = pytest.mark.usefixtures("closed_figures")


def test_the_paper_and_ours_stand_side_by_side_in_a_plot_per_contrast():
    rows = [
        ("C1", "norm, against plain", 2, 0.1, 0.2, 0.15, 0.3),
        ("C1", "norm, against plain", 50000, 0.2, 0.1, 0.1, 0.1),
        ("C1", "norm, against plain", 50000, numpy.nan, -0.1, -0.2, 0.0),  # which the paper does not show
        ("C2", "sq, against signed", 2, 0.3, 0.4, 0.4, 0.5),
    ]
    columns = ["claim", "label", "examples", "paper", "effect", "lowest", "highest"]
    table = pandas.DataFrame(rows, columns=columns).assign(dataset="cifar100", network="resnet20")
    figure = claim_figures.beside_paper(table)
    figure.canvas.draw()
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["C1: norm, against plain", "C2: sq, against signed"]
    assert first.get_ylim() == second.get_ylim()
    assert [tick.get_text() for tick in first.get_xticklabels()] == ["2", "50,000"]
    shown = {line.get_label(): list(line.get_ydata()) for line in first.lines}
    assert shown["the paper, one run"] == [0.1, 0.2]
    same, other = first.containers
    assert list(same[0].get_ydata()) == [0.2, 0.1] and list(other[0].get_ydata()) == [-0.1]
    assert same[2][0].get_segments()[0][:, 1].tolist() == pytest.approx([0.15, 0.3])
    assert len(figure.legends) == 1 and len(second.containers) == 2
    rounded = numpy.mean([0.1] * 3)
    claim_figures.beside_paper(table.assign(effect=rounded, lowest=rounded, highest=numpy.nextafter(rounded, 0)))
    both = claim_figures.beside_paper(pandas.concat([table, table.assign(network="vgg19")]))
    assert both.axes[2].get_title() == "C1: norm, against plain\ncifar100, vgg19"


def test_the_loss_that_counts_as_none_is_shaded_for_claims_of_non_inferiority_alone():
    table = pandas.DataFrame(
        {"claim": ["C1", "C3"], "kind": ["difference", "non-inferiority"], "verdict": ["too few networks", "open"]}
    )
    table = table.assign(effect=0.1, low=0.05, high=0.2)
    axes = claim_figures.claims(table, {"C1": "norm", "C3": "labels"}, margin=0.01).axes[0]
    (shade,) = [found for found in axes.collections if len(found.get_paths()) and found.get_facecolor().size]
    corners = shade.get_paths()[0].vertices
    assert (corners.min(0).tolist(), corners.max(0).tolist()) == ([-0.01, -0.5], [0, 0.5])  # C3 is the lower row
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["open", "too few networks"]


def test_claims_of_another_kind_are_not_drawn_on_the_axis_of_differences():
    table = pandas.DataFrame({"claim": ["C7", "C8"], "kind": ["difference", "rank correlation"], "verdict": "open"})
    table = table.assign(effect=[0.1, 0.7], low=[0.05, 0.5], high=[0.2, 0.9])
    axes = claim_figures.claims(table, {"C7": "best of all", "C8": "order"}, margin=0.01).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["best of all  C7"]


def test_what_is_farthest_from_the_others_has_its_name():
    table = pandas.DataFrame({"criterion": list("abcdefgh"), "here": [0.1] * 7 + [0.4], "there": 0.1, "examples": 10})
    figure = claim_figures.against(table, "there", "here", hue="examples", xlabel="x", ylabel="y")
    named = [text.get_text() for text in figure.axes[0].texts]
    assert len(named) == claim_figures.NAMED and "h" in named
