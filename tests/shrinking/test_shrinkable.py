"""lib.shrinkable: what cannot shrink is refused."""

import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from shrunk import Shuffled, noise
from torch import nn
from torch.nn import functional

from lib import cost, slim_files, structure
from lib.structure import slim


class Counted(Shuffled):
    def forward(self, images):
        x = self.first(images).relu()
        return self.classifier(self.second(x / x.shape[1]).relu().mean((2, 3)))


class Positioned(Shuffled):
    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(4))
        del self.second

    def forward(self, images):
        return self.classifier(self.first(images).mean((2, 3)) + self.position)


class SameWeight(Shuffled):
    def __init__(self):
        super().__init__()
        self.third = nn.Conv2d(4, 4, 1)
        self.third.weight = self.second.weight


def slim_files_round(model, smaller):
    """The smaller network, saved and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        slim_files.save(smaller, Path(folder) / "small.safetensors")
        return slim_files.load(model, Path(folder) / "small.safetensors")


def normalised(norm):
    return nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Flatten(), nn.Linear(64, 2))


@pytest.mark.filterwarnings("ignore:all units of")
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (normalised(nn.GroupNorm(1, 4)), "^nothing can go: every unit is tied to the network's input or output, to"),
        (normalised(nn.LayerNorm([4, 4, 4])), "^nothing can go: every unit is tied to"),
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
    ("norm", "first"),
    [
        (nn.GroupNorm(1, 4), [0, 0, 0, 0]),
        (nn.GroupNorm(2, 4), [0, 0, 1, 1]),
        (nn.GroupNorm(4, 4, affine=False), [0, 1, 2, 3]),
        (nn.LayerNorm([4, 4, 4]), [-1] * 4),
        (nn.LayerNorm([4, 4, 4], elementwise_affine=False), [-1] * 4),
        (nn.InstanceNorm2d(4, affine=True), [0, 1, 2, 3]),
        (nn.PReLU(4), [0, 1, 2, 3]),
        (nn.PReLU(), [0, 1, 2, 3]),
    ],
)
def test_what_parameters_are_tied_to_that_do_not_shrink_stays_and_the_rest_goes(norm, first):
    torch.manual_seed(0)
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.2, 1.5)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    ).eval()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        groups = structure.trace(model, noise(1, 3, 4, 4)).groups.tolist()
    others = max(first) + 1
    assert groups == [*first, *range(others, others + 6)]
    of_parameters = "tied to parameters that do not shrink, such as those of LayerNorm"
    why = (
        of_parameters
        if [*norm.parameters()]
        else "normalised over, tied to constants, or taken in by a function with weights of a layer"
    )
    why = f"they are {why}"
    if first == [0] * 4:
        why = "their channels go all together, as in front of GroupNorm of one group, and every layer keeps one"
    said = f"all units of 0 stay, since {why}"
    assert [str(warning.message) for warning in told] == [said] * (others <= 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = structure.plan(model, torch.arange(10.0), noise(1, 3, 4, 4), budget=0.3, of="units")
    smaller, images = made.apply(model), noise(3, 3, 4, 4, seed=1)
    assert made.after["parameters"] == sum(parameter.numel() for parameter in smaller.parameters())
    assert smaller[0].out_channels == {1: 4, 2: 2, 4: 1}.get(len({*first}), 4)
    again = slim_files_round(model, smaller)
    with torch.no_grad(), made.masked(model):
        torch.testing.assert_close(smaller(images), model(images), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(again(images), smaller(images), rtol=0, atol=0)


class OnATable(Shuffled):
    """A layer runs on a table of the network's own, once a pass, however many examples there are."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", noise(5, 7))
        self.of_table = nn.Linear(7, 4)

    def forward(self, images):
        made = self.of_table(self.table).mean(0)
        return self.classifier(self.second(self.first(images)).relu().mean((2, 3)) * made)


@pytest.mark.filterwarnings("ignore:of_table without units", "ignore:all units of second")
def test_what_runs_on_a_table_counts_once_a_pass():
    model, example = OnATable().eval(), noise(1, 3, 4, 4)
    plan = structure.plan(model, torch.arange(8.0), example, budget=0.1, of="units")
    assert plan.before["macs"] == cost.multiply_adds(model, example) == 16 * (12 + 16) + 8 + 5 * 28
    assert plan.after["macs"] == cost.multiply_adds(plan.apply(model), example) < plan.before["macs"]


class OfOneHead(nn.Module):
    """Attention over a map, as in SAGAN, without any parameter that does not shrink."""

    def __init__(self):
        super().__init__()
        self.first, self.classifier = nn.Conv2d(3, 6, 1), nn.Linear(6, 2)
        self.query, self.key, self.value = nn.Conv2d(6, 2, 1), nn.Conv2d(6, 2, 1), nn.Conv2d(6, 6, 1)

    def forward(self, images):
        x = self.first(images).relu()
        q, k, v = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        return self.classifier((x.flatten(2) + v @ (q.mT @ k).softmax(-1).mT).relu().mean(2))


def test_what_attention_of_one_head_multiplies_stays_and_is_named():
    torch.manual_seed(0)
    model = OfOneHead().eval()
    with pytest.warns(UserWarning) as told:
        made = structure.trace(model, noise(1, 3, 4, 4))
    why = "all of their channels meet in products or a softmax, as in attention of one head"
    said = f"all units of query, key stay, since {why}"
    assert [str(warning.message) for warning in told] == [said]
    assert made.groups.tolist() == [*range(6), *[-1] * 4, *range(6)]
    assert made.plan(torch.arange(16.0), budget=0.1, of="units").apply(model).value.out_channels == 5


def test_a_table_of_positions_becomes_shorter_with_what_it_is_added_to():
    model, images = Positioned().eval(), noise(3, 3, 4, 4)
    plan = structure.plan(model, torch.arange(4.0), images[:1], budget=0.5, of="units")
    smaller = plan.apply(model)
    assert smaller.position.shape == (smaller.first.out_channels,) == (2,)
    with torch.no_grad(), plan.masked(model):
        torch.testing.assert_close(smaller(images), model(images))


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
