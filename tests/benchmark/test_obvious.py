"""benchmark.obvious: the obvious way does the same work."""

import torch

from lib import pruning
from lib.benchmark import obvious


def test_the_masked_curve_and_the_fast_one_do_the_same_work(small, monkeypatch):
    model, images, labels = small
    order, seen = torch.arange(336), []
    monkeypatch.setattr(obvious.pruning, "masked", lambda model, order, k, layers: seen.append(k) or torch.no_grad())
    obvious.masked_curve(model, order, [], images, 5)
    assert seen == pruning.steps(336, 5)
    assert len(pruning.curve(model, order, images, labels, 5)) == 5
