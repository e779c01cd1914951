"""lib.channels: where channels go, operation by operation."""

import pytest
import torch
from shrunk import noise
from torch import nn
from torch.nn import functional

from lib import structure


class Between(nn.Module):
    """An operation between a convolution with 8 channels and one that takes in what it makes."""

    def __init__(self, operation, width):
        super().__init__()
        self.first, self.operation = nn.Conv2d(3, 8, 3, padding=1), operation
        self.second, self.classifier = nn.Conv2d(width, 5, 1), nn.Linear(5, 2)

    def forward(self, images):
        return self.classifier(self.second(self.operation(self.first(images))).relu().mean((2, 3)))


def dealt(x):
    return x.view(len(x), 2, x.shape[1] // 2, *x.shape[2:]).transpose(1, 2).flatten(1, 2)


def halves_crossed(x):
    a, b = x.chunk(2, 1)
    return torch.cat([b.relu(), a], 1)


def slices_added(x):
    half = x.shape[1] // 2
    return x[:, :half] + x[:, half:]


def unequal_parts(x):
    a, b = x.split([3, 5], 1)
    return torch.cat([b, a], 1)


def groups_normalised(x):
    return functional.group_norm(x, 2)


def written_in_place(x):
    y = x.clone()
    y[:, : x.shape[1] // 2] += 1
    y[:, x.shape[1] // 2 :] = x[:, : x.shape[1] // 2].relu()
    return y


EACH, PAIRS, WHOLE = list(range(8)), [0, 1, 2, 3] * 2, [-1] * 8
FOURS = [0] * 4 + [1] * 4
OPERATIONS = {  # what is done -> which of 8 channels go together, and how many there are afterwards
    "nothing": (lambda x: x, EACH, 8),
    "reordered": (lambda x: x.flip(1), EACH, 8),
    "both signs": (lambda x: torch.cat([x, -x], 1).relu(), EACH, 16),
    "repeated": (lambda x: x.repeat(1, 2, 1, 1), EACH, 16),
    "normalised in space": (lambda x: functional.instance_norm(x), EACH, 8),
    "gated by one for all": (lambda x: x * x.amax((1, 2, 3), keepdim=True).sigmoid(), [0] * 8, 8),
    "gated each by itself": (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), EACH, 8),
    "padded and pooled": (lambda x: functional.max_pool2d(functional.pad(x, (1, 0, 0, 1)), 2), EACH, 8),
    "larger": (lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"), EACH, 8),
    "turned": (lambda x: x.permute(0, 2, 3, 1).contiguous().roll(1, 2).permute(0, 3, 1, 2), EACH, 8),
    "flattened and back": (lambda x: x.flatten(1).unflatten(1, (-1, *x.shape[2:])), EACH, 8),
    "of four neighbours": (lambda x: functional.pixel_shuffle(x, 2), FOURS, 2),
    "to four neighbours": (lambda x: functional.pixel_unshuffle(x, 2), EACH, 32),
    "dealt": (dealt, PAIRS, 8),
    "shuffled": (lambda x: functional.channel_shuffle(x, 2), PAIRS, 8),
    "halves": (halves_crossed, PAIRS, 8),
    "slices": (slices_added, PAIRS, 4),
    "a gate of half": (lambda x: functional.glu(x, 1), PAIRS, 4),
    "written in place": (written_in_place, PAIRS, 8),
    "summed": (lambda x: x + x.sum(1, keepdim=True), [0] * 8, 8),
    "unequal parts": (unequal_parts, WHOLE, 8),
    "normalised over channels": (lambda x: functional.normalize(x.softmax(1), dim=1), WHOLE, 8),
    "normalised in groups": (groups_normalised, WHOLE, 8),
    "with constants": (lambda x: x * torch.arange(8.0).view(1, 8, 1, 1), WHOLE, 8),
    "padded with channels": (lambda x: functional.pad(x, (0, 0, 0, 0, 2, 2)), EACH, 12),
    "joined with nothing": (lambda x: torch.cat([x.new_zeros(0), x, x[:, :0]], 1), EACH, 8),
    "split into nothing and all": (lambda x: x.split([0, x.shape[1]], 1)[1], EACH, 8),
    "by number": (lambda x: x[:, [7, 6, 5, 4, 3, 2, 1, 0]], WHOLE, 8),
    "the largest alone": (lambda x: x * (x >= x.topk(3, 1).values[:, 2:]), WHOLE, 8),
    "the largest in space": (lambda x: x.flatten(2).topk(3).values[..., None], EACH, 8),
    "added up on the way": (lambda x: x.cumsum(1), WHOLE, 8),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:all units of")
@pytest.mark.parametrize("name", OPERATIONS)
def test_what_goes_together_around_an_operation(name):
    operation, groups, width = OPERATIONS[name]
    torch.manual_seed(0)
    model = Between(operation, width).eval()
    made = structure.trace(model, noise(1, 3, 4, 4))
    assert made.groups[:8].tolist() == groups
    plan = made.plan(torch.arange(13.0), budget=0.08, of="units")
    smaller, images = plan.apply(model), noise(3, 3, 4, 4, seed=1)
    if len({*groups} - {-1}) > 1:
        assert smaller.first.out_channels < 8
    with torch.no_grad(), plan.masked(model):
        torch.testing.assert_close(smaller(images), model(images), rtol=1e-5, atol=1e-6)


def test_what_no_rule_knows_stays_and_is_named():
    torch.manual_seed(0)
    model = Between(lambda x: torch.fft.ifft2(torch.fft.fft2(x)).real, 8).eval()
    with pytest.warns(UserWarning, match="^all units of first stay, since they cannot be followed to where they are"):
        groups = structure.trace(model, noise(1, 3, 4, 4)).groups.tolist()
    assert groups == [*WHOLE, *range(5)]


class Registers(nn.Module):
    """Patches behind tokens of the network's own, of which there may be none."""

    def __init__(self, count, normed):
        super().__init__()
        self.patches, self.registers = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, count, 8))
        self.norm = nn.LayerNorm(8) if normed else nn.Identity()
        self.widen, self.narrow, self.classifier = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.registers.expand(len(x), -1, -1), x], 1)
        return self.classifier((x + self.narrow(self.widen(self.norm(x)).relu())).mean(1))


@pytest.mark.filterwarnings("ignore:all units of")
@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("count", [0, 2])
def test_registers_may_be_none(count, normed):
    torch.manual_seed(0)
    model, images = Registers(count, normed).eval(), noise(3, 3, 16, 16)
    plan = structure.plan(model, noise(32, seed=1), images[:1], budget=0.2)
    smaller = plan.apply(model)
    assert (smaller.widen.out_features, smaller.patches.out_channels) != (16, 8)
    with torch.no_grad(), plan.masked(model):
        torch.testing.assert_close(smaller(images), model(images), rtol=1e-5, atol=1e-6)
