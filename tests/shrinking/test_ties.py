"""lib.ties: channels that are tied go together."""

import pytest
import torch
import toys
from shrunk import noise, prepared
from torch import nn
from torch.nn import functional
from torchvision.models import resnet18

from lib.structure import trace


def of_toy(network):
    return trace(toys.make(network), toys.examples(network, 1)[0]).groups.tolist()


def test_ties_by_hand():
    assert of_toy(toys.Mlp) == list(range(8))
    assert of_toy(toys.Plain) == list(range(7))
    assert of_toy(toys.Residual) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8]  # conv2 and shortcut are summed
    assert of_toy(toys.Twice) == [0, 1, 2, 0, 1, 2]


def test_whole_groups_of_a_grouped_convolution_go():
    stem, narrow, project = list(range(8)), [8, 8, 9, 9, 10, 10], [8] * 4 + [9] * 4 + [10] * 4
    found = {unit.name: prepared("Skip")[2].groups[unit.slice].tolist() for unit in prepared("Skip")[2].layers}
    assert found == {
        "stem": stem,
        "narrow": narrow,
        "paired": project,
        "project": project,
        "hidden": list(range(11, 20)),
    }


def test_depthwise_convolutions_go_with_what_they_filter():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 1), nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 6, 1, groups=3), nn.Conv2d(6, 2, 1), nn.Flatten()
    )
    assert trace(model.eval(), noise(1, 1, 3, 3)).groups.tolist() == [0, 1, 2, 0, 1, 2, 0, 0, 1, 1, 2, 2]


class Tied(nn.Module):
    """Its first convolution is added to the image, its second is a classifier, too, its third gates all channels."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 4, 1), nn.Conv2d(2, 1, 1)
        self.free, self.classifier = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 4, 1)

    def forward(self, images):
        x = functional.relu(images + self.first(images))
        y = self.free(x) * self.third(x).sigmoid()
        return self.join(self.second(x).mean((2, 3)), self.classifier(y).mean((2, 3)))

    def join(self, logits, others):
        return logits + others


class Beside(Tied):
    """Some logits come from a layer of their own."""

    def join(self, logits, others):
        return 2 * torch.cat([logits, others], 1)


class Unused(Tied):
    """Half of the logits are not put out."""

    def join(self, logits, others):
        return 2 * (logits + others)[:, :2]


class Normed(Tied):
    """BatchNorm comes last, of logits from two layers."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8)

    def join(self, logits, others):
        return self.norm(torch.cat([logits, others], 1))


@pytest.mark.parametrize("network", [Tied, Beside, Unused, Normed])
def test_the_input_and_the_output_stay_and_a_gate_for_all_is_tied_to_none(network):
    model = network().eval()
    made = trace(model, noise(1, 2, 3, 3))
    found = {unit.name: made.groups[unit.slice].tolist() for unit in made.layers}
    assert found == {"first": [-1, -1], "free": [0, 1, 2], "third": [3]}
    smaller = made.plan(torch.arange(6.0), budget=0.3, of="units").apply(model)
    assert [smaller.free.out_channels, smaller.classifier.in_channels, smaller.third.out_channels] == [1, 1, 1]


class Transformer(nn.Module):
    """One block on four patches, as vision transformers are made."""

    def __init__(self):
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 8, 2, 2), nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 5, 8))
        self.before, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.between, self.widen, self.narrow = nn.LayerNorm(8), nn.Linear(8, 12), nn.Linear(12, 8)
        self.after, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        y = self.before(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.narrow(functional.gelu(self.widen(self.between(x))))
        return self.head(self.after(x)[:, 0])


@pytest.mark.filterwarnings("ignore:all units of")
def test_of_a_transformer_hidden_units_go_and_the_residual_stream_stays():
    torch.manual_seed(0)
    model = Transformer().eval()
    made = trace(model, noise(1, 3, 4, 4))
    found = {unit.name: made.groups[unit.slice].tolist() for unit in made.layers}
    assert found["widen"] == list(range(12))
    assert all(set(groups) == {-1} for name, groups in found.items() if name != "widen")
    scores = torch.rand(len(made.groups), generator=torch.Generator().manual_seed(0))
    plan = made.plan(scores, budget=0.1, of="units")
    smaller, images = plan.apply(model), noise(5, 3, 4, 4)
    assert smaller.widen.out_features == smaller.narrow.in_features < 12
    with torch.no_grad(), plan.masked(model):
        assert torch.allclose(smaller(images), model(images), atol=1e-6)


def test_ties_are_the_same_whatever_the_layout_in_memory():
    model, example = resnet18().eval(), torch.zeros(1, 3, 32, 32)
    usual = trace(model, example)
    last = trace(model.to(memory_format=torch.channels_last), example)
    assert torch.equal(last.groups, usual.groups) and (usual.groups >= 0).all()
