"""Transposed convolutions: in everything they are layers as convolutions are, but for where their weights lie."""

import pytest
import torch
from scored import close
from shrunk import in_order, measured, noise, randomised, some_scores
from torch import nn

from lib import importance, oracle, pruning, slim_files, structure
from lib.masking.footprint import remaining
from lib.network.units import units
from lib.scoring.criteria import REDUCTIONS
from lib.scoring.rivals import RIVALS

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def as_convolution(layer):
    """A convolution that does what a transposed one of stride 1 does, by one kernel after the other."""
    dims, size, groups = len(layer.kernel_size), layer.kernel_size[0], layer.groups
    padding = layer.dilation[0] * (size - 1) - layer.padding[0]
    made = CONVOLUTIONS[dims - 1](layer.in_channels, layer.out_channels, size, padding=padding, groups=groups,
                                  dilation=layer.dilation, bias=layer.bias is not None).double()  # fmt: skip
    inputs, outputs = layer.in_channels // groups, layer.out_channels // groups
    for i in range(layer.in_channels):
        for o in range(outputs):
            row = i // inputs * outputs + o
            made.weight.data[row, i % inputs] = layer.weight.data[i, o].flip([*range(dims)])
    if layer.bias is not None:
        made.bias = layer.bias
    return made


def twins(dims):
    """A network of transposed convolutions, and one of convolutions that does the same; and images for them."""
    torch.manual_seed(dims)
    layer, norm = TRANSPOSED[dims - 1], NORMS[dims - 1]
    net = randomised(nn.Sequential(
        layer(2, 4, 3, padding=1, bias=False), norm(4), nn.ReLU(), layer(4, 6, 3, padding=1, groups=2),
        nn.LeakyReLU(), layer(6, 5, 3, padding=2, dilation=2), norm(5), nn.ReLU(), nn.Flatten(),
        nn.Linear(5 * 4**dims, 3),
    )).double()  # fmt: skip
    twin = nn.Sequential(*(as_convolution(each) if isinstance(each, layer) else each for each in net)).eval()
    return net, twin, noise(9, 2, *[4] * dims, seed=dims).double()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_all_is_as_of_convolutions_that_do_the_same(dims):
    net, twin, images = twins(dims)
    labels, example = torch.arange(9) % 3, images[:1]
    torch.testing.assert_close(net(images), twin(images), rtol=1e-12, atol=1e-12)
    assert units(net, example) == units(twin, example)
    names = [*REDUCTIONS, *(f"{name}:rand:norm" for name in ("sq", "molchanov-group")), *RIVALS]
    found, right = (importance.score(model, [(images, labels)], names, seed=1) for model in (net, twin))
    for name in names:
        close(found[name], right[name], 1e-6 if name == "chip" else 1e-9)
    found, right = (oracle.score(model, [(images, labels)]) for model in (net, twin))
    for name, values in right.items():
        close(found[name], values)
    order = pruning.order(some_scores(15))
    found, right = (pruning.curve(model, order, images, labels, 6) for model in (net, twin))
    assert found.equals(right)
    plans = [structure.plan(model, some_scores(15), example, budget=0.4) for model in (net, twin)]
    assert plans[0].after == plans[1].after and torch.equal(plans[0].removed, plans[1].removed)
    small = [plan.apply(model) for plan, model in zip(plans, (net, twin), strict=True)]
    torch.testing.assert_close(small[0](images), small[1](images), rtol=1e-12, atol=1e-12)


def test_the_first_layer_says_what_images_it_takes():
    model = nn.Sequential(nn.ConvTranspose2d(4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(75, 2)).eval()
    with pytest.raises(ValueError, match=r"its first layer takes 4 channels: give images\.movedim"):
        units(model, noise(1, 5, 5, 4))
    (found,) = units(nn.Sequential(*model[:2], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).eval())
    assert found.size == 3  # of an example of a usual size, which has 4 channels


def decoder(dims):
    layer, norm = TRANSPOSED[dims - 1], NORMS[dims - 1]
    return nn.Sequential(
        nn.Linear(5, 6), nn.LeakyReLU(), nn.Unflatten(1, (-1, *[1] * dims)),
        layer(6, 8, 3, stride=2, bias=False), norm(8), nn.LeakyReLU(0.2, inplace=True),
        layer(8, 12, 3, stride=2, padding=1, output_padding=1, groups=4), norm(12), nn.SiLU(),
        layer(12, 4, 2, dilation=2), nn.LeakyReLU(0.2), CONVOLUTIONS[dims - 1](4, 3, 3), nn.Tanh(), nn.Flatten(),
        nn.Linear(3 * 6**dims, 4),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dims", [1, 2, 3])
@torch.no_grad()
def test_a_decoder_shrinks_and_a_file_brings_it_back(dims, seed, tmp_path):
    torch.manual_seed(seed)
    model, latents = randomised(decoder(dims), seed), noise(4, 5)
    made = structure.trace(model, latents[:1])
    of_pairs = [6, 6, 7, 7, 8, 8, 9, 9, *[6] * 3, *[7] * 3, *[8] * 3, *[9] * 3]  # four groups, of two and of three
    assert made.groups.tolist() == [*range(6), *of_pairs, *range(10, 17)]
    slimming = made.plan(some_scores(33, seed), budget=0.5)
    smaller = slimming.apply(model)
    assert measured(smaller, latents[:1]) == slimming.after
    with pruning.masked(model, in_order(slimming), len(slimming.removed), slimming.layers):
        torch.testing.assert_close(smaller(latents), model(latents), rtol=0, atol=1e-5)
    assert all(each.weight.shape[:2] == (each.in_channels, each.out_channels // each.groups)
               for each in smaller if isinstance(each, TRANSPOSED))  # fmt: skip
    slim_files.save(smaller, tmp_path / "small")
    found = slim_files.load(decoder(dims), tmp_path / "small")
    assert torch.equal(found(latents), smaller(latents)) and str(found) == str(smaller)


@torch.no_grad()
def test_what_is_left_of_a_decoder_is_what_a_smaller_one_has():
    torch.manual_seed(0)
    model, latents = decoder(2).eval(), noise(1, 5)
    slimming = structure.plan(model, some_scores(33), latents, budget=0.6, of="units")
    order, k = in_order(slimming), len(slimming.removed)
    row = remaining(model, order, [k], latents).iloc[0]
    for name in ("macs", "parameters"):
        assert row[name] == pytest.approx(slimming.after[name] / slimming.before[name], rel=1e-12)


def test_a_group_that_is_the_last_shrinks_and_a_file_brings_it_back(tmp_path):
    def build():
        return nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.ConvTranspose2d(6, 8, 3, stride=2, groups=2),
                             nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()  # fmt: skip

    model, example = build(), noise(2, 3, 4, 4)
    once = structure.slim(model, torch.arange(14.0), example, budget=0.4, of="units")
    twice = structure.slim(once, torch.tensor([0.0, 5, 5, 5, 1, 5, 5]), example, budget=0.2, of="units")
    shapes = [(net[2].groups, *net[2].weight.shape[:2], len(net[2].bias)) for net in (once, twice)]
    assert shapes == [(1, 3, 4, 4), (1, 2, 3, 3)]
    for smaller in (once, twice):
        slim_files.save(smaller, tmp_path / "small")
        assert torch.equal(slim_files.load(build(), tmp_path / "small")(example), smaller(example))


class UNet(nn.Module):
    """Every pixel's numbers are logits; the transposed convolution is told the size of what it is joined with."""

    def __init__(self):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.down, self.norm2 = nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.up, self.norm3 = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.join, self.last = nn.Conv2d(12, 4, 3, padding=1), nn.ConvTranspose2d(4, 2, 2)

    def forward(self, images):
        skip = self.norm1(self.first(images)).relu()
        x = self.norm2(self.down(skip)).relu()
        x = self.norm3(self.up(output_size=skip.shape, input=x)).relu()
        return self.last(self.join(torch.cat([skip, x], 1)).relu()).flatten(1)


@pytest.mark.parametrize("size", [7, 8])
@torch.no_grad()
def test_a_network_that_ends_in_maps_shrinks_but_for_its_last_layer(size, tmp_path):
    torch.manual_seed(0)
    model, images = randomised(UNet()), noise(5, 3, size, size)
    made = structure.trace(model, images[:1])
    assert made.groups.tolist() == [*range(24), -1, -1]
    slimming = made.plan(some_scores(26), budget=0.4, of="units")
    smaller = slimming.apply(model)
    assert measured(smaller, images[:1]) == slimming.after and smaller.last.out_channels == 2
    assert smaller.up.out_channels < 6 and smaller.up.in_channels == smaller.down.out_channels < 8
    for mask in (slimming.masked(model), pruning.masked(model, in_order(slimming), 11, slimming.layers)):
        with mask:
            torch.testing.assert_close(smaller(images), model(images), rtol=0, atol=1e-5)
    slim_files.save(smaller, tmp_path / "small")
    assert torch.equal(slim_files.load(UNet(), tmp_path / "small")(images), smaller(images))
