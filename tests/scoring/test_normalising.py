"""lib.normalising: of one length, and zero stays zero."""

import pytest
import torch
from scored import close, toy, whole
from torch import nn
from torch.nn import functional

from lib.importance import score
from lib.network.taps import Unit
from lib.scoring import normalising
from lib.scoring.criteria import Criterion
from lib.scoring.noise import Noise


@pytest.mark.parametrize("classes", [2, 5, 30])
def test_normalising_lowers_the_relative_variance_of_squares(classes):
    # by linearity s = v . a; the spread of the spread is estimated from the draws themselves
    a = torch.randn(classes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v = Noise(0, torch.arange(100_000)).normal(classes)
    for vectors, mean, predicted in ((v, a.square().sum(), 2), (functional.normalize(v), a.square().sum() / classes,
                                                               2 * (classes - 1) / (classes + 2))):  # fmt: skip
        deviations = ((vectors @ a).square() / mean - 1).square()
        assert abs(deviations.mean() - predicted) < 4.5 * deviations.std() / len(v) ** 0.5


@pytest.mark.parametrize("normalisation", ["", "norm", "batch", "score", "score-layer"])
def test_zero_cotangents_contribute_zero(normalisation):
    model, images, _ = toy(count=8)

    def first_half(logits, labels, noise):
        return noise.normal(3) * (torch.arange(len(logits)) < 4)[:, None]

    criterion = Criterion("abs", first_half, 1, normalisation)
    half = score(model, whole(images), [criterion])[str(criterion)]
    alone = "abs:rand" + (f":{normalisation}" if normalisation else "")
    expected = score(model, whole(images[:4]), [alone])[alone] / 2
    close(half, expected * (2 if normalisation == "batch" else 1), 1e-12)  # zeros halve the mean length too


def test_units_that_nothing_uses_score_zero():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.idle, self.used, self.classifier = nn.Linear(2, 3), nn.Linear(2, 4), nn.Linear(4, 2)

        def forward(self, x):
            self.idle(x)
            return self.classifier(self.used(x))

    found = score(
        Idle().eval(), whole(torch.randn(5, 2)), ["sq:rand", "sq:rand:score-layer", "molchanov-group:rand:layer"]
    )
    for scores in found.values():
        assert (scores[:3] == 0).all() and (scores[3:] > 0).all()


def test_lengths_by_hand():
    lengths = torch.tensor([5.0, 0.0, 1.0])
    assert normalising.lengths_after("", lengths) is lengths
    assert normalising.lengths_after("norm", lengths).tolist() == [1, 0, 1]
    assert normalising.lengths_after("batch", lengths).tolist() == [2.5, 0, 0.5]  # their mean is 2


def test_contributions_are_divided_by_the_length_of_a_row_or_of_a_layer_in_it():
    layers = [Unit("a", 2, 0, None, ()), Unit("b", 1, 2, None, ())]
    s, lengths = torch.tensor([[3.0, 4.0, 12.0], [0.0, 0.0, 2.0]]), torch.tensor([2.0, 4.0])
    assert normalising.factors("score", s, lengths, layers).tolist() == [[pytest.approx(1 / 13)], [0.5]]
    found = normalising.factors("score-layer", s, lengths, layers) * s
    assert found.tolist() == [pytest.approx([0.6, 0.8, 1]), [0, 0, 1]]
    assert normalising.factors("norm", s, lengths, layers).tolist() == [[1], [1]]


def test_scores_within_a_layer_do_not_overflow():
    layers = [Unit("a", 2, 0, None, ()), Unit("b", 2, 2, None, ())]
    scores = torch.tensor([3e200, 4e200, 0.0, 0.0], dtype=torch.float64)
    assert normalising.within_layers(layers, scores).tolist() == [pytest.approx(0.6), pytest.approx(0.8), 0, 0]
