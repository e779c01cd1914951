"""lib.shrinking.idle: what the example does not reach is known, and named."""

import warnings

import pytest
import torch
from shrunk import noise
from torch import nn
from torch.nn import functional

from lib import pruning
from lib.shrinking.idle import left_by


class Sized(nn.Module):
    """Has a layer for large images alone, one whose weight a function takes, and a table for nothing."""

    def __init__(self, limit):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.between, self.second = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 12, 1), nn.Conv2d(12, 10, 3)
        self.hidden, self.classifier, self.limit = nn.Linear(10, 10), nn.Linear(10, 4), limit
        self.table, self.empty = nn.Parameter(torch.zeros(3, 7)), nn.Parameter(torch.zeros(0, 12))

    def forward(self, x):
        large = x.shape[-1] > self.limit
        x = self.first(x).relu()
        x = self.between(x).relu() if large else x
        x = functional.linear(self.second(x).relu().mean((2, 3)), self.hidden.weight, self.hidden.bias)
        return self.classifier(x)


def test_what_no_operation_takes():
    names, logits = left_by(Sized(limit=32), noise(2, 3, 16, 16))
    assert names == {"between.weight", "between.bias", "table"} and logits.shape == (2, 4)
    assert left_by(Sized(limit=8), noise(2, 3, 16, 16))[0] == {"table"}


@pytest.mark.filterwarnings("ignore:all units of", "ignore:hidden has no units")
def test_a_layer_that_the_example_does_not_run_through_is_named():
    def shrunk(limit):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            smaller = pruning.slim(Sized(limit).eval(), torch.rand(34 if limit < 16 else 22), example, budget=0.2)
        return smaller, [str(warning.message) for warning in told if "did not run" in str(warning.message)]

    example = noise(1, 3, 16, 16)
    smaller, said = shrunk(limit=32)
    assert len(said) == 1 and said[0].startswith("between did not run for the example, so their width stays, and where")
    assert smaller.first.out_channels < 12
    with pytest.raises(RuntimeError):
        smaller(noise(1, 3, 48, 48))
    smaller, said = shrunk(limit=8)
    assert said == [] and smaller(noise(1, 3, 48, 48)).shape == (1, 4)
