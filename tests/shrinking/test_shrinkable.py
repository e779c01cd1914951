"""lib.shrinkable: what cannot shrink is refused."""

import warnings

import pytest
import torch
from shrunk import Shuffled, noise
from torch import nn
from torch.nn import functional

from lib import structure
from lib.structure import slim


class Counted(Shuffled):
    def forward(self, images):
        x = self.first(images).relu()
        return self.classifier(self.second(x / x.shape[1]).relu().mean((2, 3)))


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


@pytest.mark.filterwarnings("ignore:all units of")
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (normalised(nn.GroupNorm(2, 4)), "^nothing can go: every unit is tied to the network's input or output, to"),
        (normalised(nn.LayerNorm([4, 4, 4])), "^nothing can go: every unit is tied to"),
        (normalised(nn.PReLU(4)), "^nothing can go: every unit is tied to"),
        (SameWeight(), "^third shares a parameter with another layer"),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), "^Sequential has no units"),
    ],
)
def test_refuses_what_cannot_shrink(model, message):
    model.eval()
    with pytest.raises(ValueError, match=message) as caught:
        slim(model, torch.arange(4.0), noise(1, 3, 4, 4), budget=0.1, of="units")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("network", [Shuffled, Counted])
def test_what_does_not_run_or_answers_otherwise_without_some_channels_keeps_them(network):
    torch.manual_seed(0)
    model = network().eval()
    said = "^all units of first stay, since the network was tried without some of them, and does not run or answers"
    with pytest.warns(UserWarning, match=said):
        made = structure.trace(model, noise(1, 3, 4, 4))
    assert made.groups.tolist() == [-1, -1, -1, -1, 0, 1, 2, 3]
    smaller = made.plan(torch.arange(8.0), budget=0.2, of="units").apply(model)
    assert (smaller.first.out_channels, smaller.second.out_channels) == (4, 2)


@pytest.mark.parametrize(
    ("norm", "tied"),
    [
        (nn.GroupNorm(2, 4), True),
        (nn.LayerNorm([4, 4, 4]), True),
        (nn.LayerNorm([4, 4, 4], elementwise_affine=False), True),
        (nn.InstanceNorm2d(4, affine=True), True),
        (nn.PReLU(4), True),
        (nn.PReLU(), False),
    ],
)
def test_what_parameters_are_tied_to_that_do_not_shrink_stays_and_the_rest_goes(norm, tied):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    ).eval()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        groups = structure.trace(model, noise(1, 3, 4, 4)).groups.tolist()
        first = list(told)
    assert groups == ([-1] * 4 + list(range(6)) if tied else list(range(10)))
    has_weights = any(parameter.numel() > 1 for parameter in norm.parameters())
    said = "all units of 0 stay, since they are tied to parameters that do not shrink, such as those of LayerNorm"
    assert [str(warning.message) for warning in first] == [said] * has_weights
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slim(model, torch.arange(10.0), noise(1, 3, 4, 4), budget=0.3, of="units")  # tries that it answers alike


def test_a_table_of_positions_keeps_what_it_is_added_to():
    model = Positioned().eval()
    with pytest.warns(UserWarning, match="^all units of first stay, since they are tied to parameters"):
        groups = structure.trace(model, noise(1, 3, 4, 4)).groups.tolist()
    assert groups[:4] == [-1] * 4


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
