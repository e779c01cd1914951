"""lib.shrinking.own_tensors: modules' own tensors become shorter with the channels that they meet."""

import pytest
import torch
from shrunk import noise
from torch import nn
from torch.nn import functional
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

from lib import slim_files
from lib.structure import trace


class Scaled(nn.Module):
    """Between its convolutions each channel is scaled and shifted by numbers of its own, and each row by one of its."""

    def __init__(self, rows):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(2, 6, 1), nn.Conv2d(6, 5, 1), nn.Linear(5, 3)
        self.scale, self.shift = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(1, 5, 1, 1))
        self.register_buffer("each", torch.rand(rows))
        self.places = nn.Parameter(torch.randn(rows, 6, 4))

    def forward(self, images):
        x = self.first(images) * self.scale[:, None, None] + self.places.transpose(0, 1)
        return self.head(functional.gelu(self.second(self.each[:, None] * x) + self.shift).mean((2, 3)))


def as_masked(model, example, budget=0.5, of="units"):
    """The smaller network, once it has been found to answer as the masked one and to cost what the plan says."""
    made = trace(model.eval(), example)
    scores = torch.rand(len(made.groups), generator=torch.Generator().manual_seed(0))
    plan = made.plan(scores, budget=budget, of=of)
    smaller, images = plan.apply(model), noise(4, *example.shape[1:])
    with torch.no_grad(), plan.masked(model):
        torch.testing.assert_close(smaller(images), model(images), rtol=0, atol=1e-5)
    assert sum(parameter.numel() for parameter in smaller.parameters()) == plan.after["parameters"]
    return made, smaller


@pytest.mark.parametrize("rows", [4, 5, 6])  # some layer has 5 channels, another one 6
def test_one_number_for_each_channel_goes_with_it_and_one_for_each_row_does_not(rows):
    torch.manual_seed(0)
    made, smaller = as_masked(Scaled(rows), noise(1, 2, rows, 4))
    assert made.groups.tolist() == list(range(11))
    first, second = smaller.first.out_channels, smaller.second.out_channels
    assert first < 6 and second < 5
    assert [smaller.scale.shape, smaller.places.shape] == [(first,), (rows, first, 4)]
    assert [smaller.shift.shape, smaller.each.shape] == [(1, second, 1, 1), (rows,)]


class Gated(nn.Module):
    """A scale of shape (6, 1) for each channel, and a gate of one channel for all."""

    def __init__(self):
        super().__init__()
        self.first, self.gate, self.head = nn.Linear(4, 6), nn.Linear(4, 1), nn.Linear(6, 3)
        self.scale, self.bias = nn.Parameter(torch.rand(6, 1) + 0.5), nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.head((self.first(x) @ self.scale.flatten().diag() * (self.gate(x) + self.bias).sigmoid()).relu())


class Beside(Gated):
    def forward(self, x):
        return self.head((self.first(x) * self.scale[:, 0] * (self.gate(x) + self.bias).sigmoid()).relu())


@pytest.mark.filterwarnings("ignore:all units of gate stay")
def test_that_some_layer_has_one_channel_hides_no_axis():
    torch.manual_seed(0)
    made, smaller = as_masked(Beside(), noise(1, 4))
    assert made.groups.tolist() == [*range(6), -1] and len(smaller.scale) == smaller.first.out_features < 6


def test_what_a_matrix_is_made_of_stays():
    with pytest.warns(UserWarning, match="^all units of first, gate stay, since they are tied to parameters"):
        assert trace(Gated().eval(), noise(1, 4)).groups.tolist() == [-1] * 7


class FrozenByFunction(nn.Module):
    """As Detectron2 writes it, without gradients."""

    def __init__(self, width, **_):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(width) + 0.5)

    def forward(self, x):
        return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False)


@pytest.mark.parametrize("norm", [FrozenBatchNorm2d, FrozenByFunction])
def test_batchnorms_that_are_frozen_shrink_and_a_file_brings_them_back(norm, tmp_path):
    torch.manual_seed(0)
    model = resnet18(norm_layer=norm, num_classes=5).eval()
    for buffer in model.buffers():
        buffer.uniform_(0.5, 1.5)
    usual = trace(resnet18(num_classes=5).eval(), noise(1, 3, 32, 32))
    made, smaller = as_masked(model, noise(1, 3, 32, 32), of="macs")
    assert torch.equal(made.groups, usual.groups)
    assert smaller.bn1.running_var.shape == (smaller.conv1.out_channels,)
    slim_files.save(smaller, tmp_path / "small.safetensors")
    whole, images = resnet18(norm_layer=norm, num_classes=5), noise(2, 3, 32, 32)
    assert torch.equal(slim_files.load(whole, tmp_path / "small.safetensors")(images), smaller(images))


class Kept(nn.Module):
    """A scale that files do not hold, or that is no parameter, buffer or number of any precision."""

    def __init__(self, how):
        super().__init__()
        self.first, self.head, scale = nn.Linear(4, 6), nn.Linear(6, 3), torch.rand(6) + 0.5
        if how == "attribute":
            self.scale = scale
        else:
            self.register_buffer("scale", scale.mul(9).long() if how == "whole" else scale, persistent=how == "whole")

    def forward(self, x):
        return self.head((self.first(x) * self.scale).relu())


@pytest.mark.parametrize("how", ["attribute", "whole", "buffer"])
def test_what_files_do_not_bring_back_keeps_its_length(how):
    with pytest.warns(UserWarning, match="^all units of first stay, since they are normalised over, tied to constants"):
        assert trace(Kept(how).eval(), noise(1, 4)).groups.tolist() == [-1] * 6


class Attending(nn.Module):
    """Heads with a bias for each, and a scale for each channel of their values."""

    def __init__(self):
        super().__init__()
        self.heads, self.embed = 4, nn.Linear(5, 16)
        self.q, self.k, self.v, self.head = (nn.Linear(16, out) for out in (16, 16, 16, 3))
        self.bias, self.scale = nn.Parameter(torch.randn(4, 1, 1)), nn.Parameter(torch.rand(16) + 0.5)

    def forward(self, x):
        x = self.embed(x).relu()
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for y in (self.q(x), self.k(x), self.v(x) * self.scale))  # fmt: skip
        return self.head(((q @ k.mT + self.bias).softmax(-1) @ v).transpose(1, 2).flatten(2).mean(1))


def test_tensors_of_heads_and_of_channels_go_together():
    torch.manual_seed(0)
    made, smaller = as_masked(Attending(), noise(1, 6, 5), 0.3)
    assert (made.groups >= 0).all()
    assert len(smaller.bias) == smaller.heads < 4 and smaller.scale.shape == (4 * smaller.heads,)


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
