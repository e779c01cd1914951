"""Batches pass in parts, and scores are as if they passed at once, also where criteria average over minibatches."""

import pytest
import torch
from scored import toy

from lib import importance
from lib.scoring import weight_criteria
from lib.scoring.batches import in_wholes, parted

NAMES = [
    "sq",
    "abs:norm",
    "sq:rand:norm",
    "sq:rand@2:batch",
    "molchanov-bn",
    "molchanov-bn:rand:batch",
    "taylorfo:score",
]
NAMES += ["molchanov-group", "molchanov-group:norm", "molchanov-group:rand:batch", "abs-pixel", "sq:exact", "hrank"]


def in_parts_of(monkeypatch, most, names, **of_toy):
    """Scores in float64 where a pass takes at most so many examples, and how many the model got, pass by pass."""
    torch.manual_seed(0)
    model, images, labels = toy(count=150, **of_toy)
    model, images = model.double(), images.double()
    seen = []
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    with monkeypatch.context() as patch:
        patch.setattr(importance.Scoring, "_at_once", lambda *_: most)
        return importance.score(model, [(images[:100], labels[:100]), (images[100:], labels[100:])], names), seen


@pytest.mark.parametrize("most", [1, 7, 64, 128])
def test_scores_do_not_depend_on_how_many_pass_at_once(monkeypatch, most):
    expected, whole = in_parts_of(monkeypatch, 1000, NAMES)
    found, seen = in_parts_of(monkeypatch, most, NAMES)
    for name in NAMES:
        assert torch.allclose(found[name], expected[name], rtol=1e-9, atol=0), name
    assert max(whole) == 128 and max(seen) == max(most, 4)  # four are looked at before


def test_weights_have_the_gradient_of_the_whole_minibatch(monkeypatch):
    model, images, _ = toy(count=12)
    layers = importance.units(model, images[:1])
    vectors = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(1)).double()
    with weight_criteria.watched(model, layers):
        found = [
            weight_criteria.WeightPass(model, layers, images, most).send_back(list(vectors), [torch.abs, torch.square])
            for most in (12, 5)
        ]
    for whole, parts in zip(*found, strict=True):
        assert torch.allclose(whole, parts, rtol=1e-4, atol=1e-7) and whole.abs().max() > 0


def test_several_cotangents_take_half_as_many_at_once_and_large_images_few():
    model, images, _ = toy()

    def at_once(names, side):
        scoring = importance.Scoring(model, images[:1], names)
        return scoring._at_once(torch.empty(3, 3, side, side))

    assert [at_once(["sq"], side) for side in (32, 64, 224)] == [64, 24, 24]
    for several in (["sq", "sq:rand"], ["sq:rand@2"], ["sq:exact"]):
        assert [at_once(several, side) for side in (32, 64, 224)] == [32, 24, 24]


def test_parts_are_in_order_and_of_whole_minibatches():
    batch = torch.arange(300), None, torch.arange(300)
    assert [len(part[0]) for part in parted(batch, 110)] == [110, 110, 80]
    assert [len(part[2]) for part in in_wholes(batch, 5)] == [128, 128, 44]
    assert [len(part[2]) for part in in_wholes(batch, 256)] == [256, 44]
    assert torch.equal(torch.cat([part[0] for part in parted(batch, 7)]), batch[0])
    assert all(part[1] is None for part in parted(batch, 110))
