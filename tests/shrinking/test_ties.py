"""lib.ties: channels that are tied go together."""

import pytest
import torch
import toys
from shrunk import noise, prepared
from torch import nn
from torch.nn import functional
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

from lib import slim_files
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


class Scaled(nn.Module):
    """Between its convolutions each channel is scaled and shifted by numbers of its own, and each row by one of its."""

    def __init__(self, rows):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(2, 6, 1), nn.Conv2d(6, 5, 1), nn.Linear(5, 3)
        self.scale, self.shift = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(1, 5, 1, 1))
        self.register_buffer("each", torch.rand(rows))
        self.places = nn.Parameter(torch.randn(6, rows, 4))

    def forward(self, images):
        x = self.first(images) * self.scale[:, None, None] + self.places
        return self.head(functional.gelu(self.second(x * self.each[:, None]) + self.shift).mean((2, 3)))


def as_masked(model, example, budget, of="units"):
    """The smaller network, once it has been found to answer as the masked one and to cost what the plan says."""
    made = trace(model, example)
    scores = torch.rand(len(made.groups), generator=torch.Generator().manual_seed(0))
    plan = made.plan(scores, budget=budget, of=of)
    smaller, images = plan.apply(model), noise(4, *example.shape[1:])
    with torch.no_grad(), plan.masked(model):
        torch.testing.assert_close(smaller(images), model(images), rtol=0, atol=1e-5)
    assert sum(parameter.numel() for parameter in smaller.parameters()) == plan.after["parameters"]
    return made, smaller


def test_tensors_of_a_number_for_each_channel_become_shorter_with_these():
    torch.manual_seed(0)
    model, rows = Scaled(4).eval(), 4
    made, smaller = as_masked(model, noise(1, 2, rows, 4), 0.5)
    assert made.groups.tolist() == list(range(11))
    first, second = smaller.first.out_channels, smaller.second.out_channels
    assert first < 6 and second < 5
    assert [smaller.scale.shape, smaller.places.shape] == [(first,), (first, rows, 4)]
    assert [smaller.shift.shape, smaller.each.shape] == [(1, second, 1, 1), (rows,)]


@pytest.mark.filterwarnings("ignore:all units of first stay")
@pytest.mark.parametrize("rows", [5, 6])
def test_what_may_have_its_channels_on_either_of_two_axes_stays(rows):
    torch.manual_seed(0)
    made, _ = as_masked(Scaled(rows).eval(), noise(1, 2, rows, 4), 0.2)  # as many rows as some layer has channels
    assert made.groups.tolist() == [-1] * 6 + list(range(5))


def test_batchnorms_that_are_frozen_shrink_and_a_file_brings_them_back(tmp_path):
    torch.manual_seed(0)
    model = resnet18(norm_layer=FrozenBatchNorm2d, num_classes=5).eval()
    for buffer in model.buffers():
        buffer.uniform_(0.5, 1.5)
    usual = trace(resnet18(num_classes=5).eval(), noise(1, 3, 32, 32))
    made, smaller = as_masked(model, noise(1, 3, 32, 32), 0.5, "macs")
    assert torch.equal(made.groups, usual.groups)
    assert smaller.bn1.running_var.shape == (smaller.conv1.out_channels,)
    slim_files.save(smaller, tmp_path / "small.safetensors")
    whole = resnet18(norm_layer=FrozenBatchNorm2d, num_classes=5)
    again, images = slim_files.load(whole, tmp_path / "small.safetensors"), noise(2, 3, 32, 32)
    assert torch.equal(again(images), smaller(images))


class Scaling(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(6))

    def forward(self, x):
        return x * self.scale[:, None, None]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated")
@pytest.mark.parametrize("how", [torch.jit.script, lambda module: torch.jit.trace(module, noise(2, 6, 4, 4))])
def test_a_scale_in_a_part_in_torchscript_becomes_shorter_and_once_more_and_trains(how):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 6, 1), how(Scaling()), nn.GELU(), nn.Flatten(), nn.Linear(96, 3)).eval()
    for width in (4, 2):
        _, model = as_masked(model, noise(1, 2, 4, 4), 1 / 3)
        assert model[0].out_channels == len(model[1].scale) == width
    before = model[1].scale.detach().clone()
    model(noise(2, 2, 4, 4)).sum().backward()
    torch.optim.SGD(model.parameters(), 1).step()
    assert not torch.equal(model[1].scale, before)
