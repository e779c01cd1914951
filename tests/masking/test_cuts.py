"""lib.cuts: how many pairs of units and examples go at once."""

import pytest
import torch
import toys

from lib import oracle
from lib.masking import cuts


@pytest.mark.parametrize("pairs", [1, 3, 1000])
def test_how_many_pairs_go_at_once_changes_nothing(pairs, monkeypatch):
    model, (images, labels) = toys.make(toys.Residual), toys.examples(toys.Residual, 7)
    before = oracle.score(model, [(images, labels)])
    monkeypatch.setattr(cuts, "_ELEMENTS", {"cpu": 1, "cuda": 1})
    monkeypatch.setattr(cuts, "_FEWEST_PAIRS", pairs)
    for name, values in oracle.score(model, [(images, labels)]).items():
        torch.testing.assert_close(values, before[name], rtol=1e-10, atol=1e-15)
