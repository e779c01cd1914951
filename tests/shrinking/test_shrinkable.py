"""lib.shrinkable: what cannot shrink is refused."""

import pytest
import torch
from shrunk import Shuffled, noise
from torch import nn
from torch.nn import functional

from lib import structure
from lib.structure import slim


class Reordered(Shuffled):
    def forward(self, images):
        return self.classifier(self.second(self.first(images).relu().flip(1)).relu().mean((2, 3)))


class Positioned(Shuffled):
    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(4))

    def forward(self, images):
        return self.classifier(self.first(images).mean((2, 3)) + self.position)


class SameWeight(Shuffled):
    def __init__(self):
        super().__init__()
        self.third = nn.Conv2d(4, 4, 1)
        self.third.weight = self.second.weight


def normalised(norm):
    return nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Flatten(), nn.Linear(64, 2))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (normalised(nn.GroupNorm(2, 4)), "^1 is GroupNorm: networks with LayerNorm or GroupNorm cannot shrink yet$"),
        (
            normalised(nn.LayerNorm([4, 4, 4])),
            "^1 is LayerNorm: networks with LayerNorm or GroupNorm cannot shrink yet$",
        ),
        (
            normalised(nn.PReLU(4)),
            "^1 has parameters of its own, so it cannot shrink: only convolutions, linear layers",
        ),
        (Positioned(), "^Positioned has parameters of its own"),
        (SameWeight(), "^third shares a parameter with another layer"),
        (Shuffled(), "^Shuffled cannot shrink: it does not run without the channels that go, perhaps since its code"),
        (Reordered(), "^Reordered cannot shrink: without the channels that go it answers otherwise than with them off"),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), "^Sequential has no units"),
    ],
)
def test_refuses_what_cannot_shrink(model, message):
    model.eval()
    with pytest.raises(ValueError, match=message) as caught:
        slim(
            model, torch.arange(8.0 if isinstance(model, Shuffled) else 4.0), noise(1, 3, 4, 4), budget=0.1, of="units"
        )
    assert "\n" not in str(caught.value)


def test_a_layer_whose_weight_a_function_takes_too_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            x = self.second(self.first(x).relu()).relu()
            return self.last(functional.linear(x, self.second.weight, self.second.bias))

    refused = "^second runs as a module, and a function takes its weight, too, so it cannot shrink: call second"
    with pytest.raises(ValueError, match=refused):
        structure.trace(Twice().eval(), torch.ones(1, 3))
