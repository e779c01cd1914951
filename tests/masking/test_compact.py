"""lib.compact: the logits of a masked pass, without the channels that are off; and curves, which take them from it."""

import contextlib

import pandas
import pytest
import torch
import toys
from awkward import Awkward, Columns, DependsOnData, DependsOnTracing, pictures, randomised, small
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from lib import pruning
from lib.images import networks
from lib.masking import compact
from lib.masking.compact import Compact
from lib.network.units import units
from lib.pruning import curve, masked

steady = settings(deadline=None, derandomize=True, max_examples=25)


def drawn_off(total, share, seed=0):
    """A random order of the units, and how many of them go."""
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    return order, round(total * share)


def both_ways(model, images, order, k):
    """The logits without the first k units: of a masked pass, and of the compact network."""
    layers = units(model, images[:1])
    made = Compact(model, layers, images[:1])
    with torch.no_grad():
        made.switch_off(*pruning._off(order, [k]))
        with masked(model, order, k, layers):
            expected = model(images)
        return expected, *made(images)


def count(model, images):
    return sum(unit.size for unit in units(model, images[:1]))


@pytest.mark.parametrize("network", toys.NETWORKS)
@given(st.data())
@steady
def test_equals_a_masked_pass_whatever_is_off(network, data):
    model, (images, _) = toys.make(network), toys.examples(network, 5)
    order = torch.tensor(data.draw(st.permutations(range(count(model, images)))))
    expected, found = both_ways(model, images, order, data.draw(st.integers(0, len(order))))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("network", toys.NETWORKS)
@given(st.data())
@steady
def test_several_sets_of_units_equal_a_masked_pass_each(network, data):
    model, (images, _) = toys.make(network), toys.examples(network, 5)
    total, layers = count(model, images), units(model, images[:1])
    order = torch.tensor(data.draw(st.permutations(range(total))))
    numbers = data.draw(st.lists(st.integers(0, total), min_size=2, max_size=5))  # up and down, and twice the same
    with torch.no_grad():
        made = Compact(model, layers, images[:1])
        made.switch_off(*pruning._off(order, numbers))
        found = made(images)
        for k, logits in zip(numbers, found, strict=True):
            with masked(model, order, k, layers):
                torch.testing.assert_close(logits, model(images), rtol=1e-12, atol=1e-12)
        made.switch_off(*pruning._off(order, numbers[:1]))
        assert torch.equal(made(images), found[:1])  # nothing of the others is left


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize(
    ("model", "shape"), [(Awkward, (2, 6, 6)), (Columns, (5, 5, 5))], ids=lambda given: getattr(given, "__name__", "")
)
def test_equals_a_masked_pass_on_awkward_networks(model, shape, share):
    torch.manual_seed(0)
    model, images = randomised(model().double()), pictures(4, *shape)
    expected, found = both_ways(model, images, *drawn_off(count(model, images), share))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("share", [0.2, 0.6])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2", "densenet"])
def test_equals_a_masked_pass_on_torchvisions_networks(name, share):
    torch.manual_seed(0)
    model, images = randomised(small(name)).double(), pictures(3, 3, 32, 32)
    expected, found = both_ways(model, images, *drawn_off(count(model, images), share))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10 * expected.abs().max())


@pytest.mark.parametrize("name", ["resnet20", "vgg19"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_equals_a_masked_pass_in_float32(name, share):
    model, images = randomised(networks.build(name, 100)), pictures(4, 3, 32, 32, dtype=torch.float32)
    expected, found = both_ways(model, images, *drawn_off(count(model, images), share))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max())


# Zeros are not computed


def shapes(monkeypatch, run):
    """The shapes of the weights of all convolutions that `run` makes."""
    seen, conv2d = [], functional.conv2d
    monkeypatch.setattr(
        functional, "conv2d", lambda x, weight, *rest: seen.append(tuple(weight.shape[:2])) or conv2d(x, weight, *rest)
    )
    run()
    return seen


def compact_without(model, images, off):
    made = Compact(model, units(model, images[:1]), images[:1])
    made.switch_off(off)
    return lambda: made(images)[0]


def test_a_chain_has_only_the_channels_that_are_on(monkeypatch):
    model = nn.Sequential(
        *(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(5, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4, 3)),
    ).eval()
    off = torch.tensor([*(True, False, True, False, False), *(False, True, False, False)])
    run = compact_without(model, pictures(2, 2, 8, 8, dtype=torch.float32), off)
    assert shapes(monkeypatch, run) == [(3, 2), (3, 3)]
    taken, linear = [], functional.linear
    monkeypatch.setattr(functional, "linear", lambda x, weight, bias: taken.append(weight) or linear(x, weight, bias))
    run()
    assert torch.equal(taken[0], model[7].weight[:, [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15]])


def test_an_emptied_layer_keeps_one_channel_of_zeros(monkeypatch):
    model = nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 2), nn.Flatten(), nn.Linear(4, 3)).eval()
    off = torch.tensor([True] * 5 + [False] * 4)
    images = pictures(2, 2, 4, 4, dtype=torch.float32)
    assert shapes(monkeypatch, compact_without(model, images, off)) == [(1, 2), (4, 1)]


def inverted(width=6):
    """A block of MobileNets: made wider, convolved channel by channel, made narrower; then a head."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width), nn.ReLU6()),
        *(nn.Conv2d(width, width, 3, padding=1, groups=width), nn.BatchNorm2d(width), nn.ReLU6()),
        *(nn.Conv2d(width, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    )
    return randomised(model)


def test_depthwise_convolutions_are_cut_and_so_is_what_is_made_for_them(monkeypatch):
    off = torch.zeros(16, dtype=torch.bool)
    off[[0, 1, 7, 8]] = True  # of the wider layer 0 and 1, of the depthwise one 1 and 2: that one's 0 is a constant
    run = compact_without(inverted(), pictures(2, 3, 5, 5, dtype=torch.float32), off)
    assert shapes(monkeypatch, run) == [(4, 3), (4, 1), (4, 4)]


@given(st.data())
@steady
def test_equals_a_masked_pass_with_depthwise_convolutions(data):
    model, images = inverted().double(), pictures(4, 3, 5, 5)
    order = torch.tensor(data.draw(st.permutations(range(16))))
    for k in data.draw(st.lists(st.integers(0, 16), min_size=2, max_size=3)):
        expected, found = both_ways(model, images, order, k)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_what_is_as_in_the_network_before_is_not_computed_again(monkeypatch):
    offs = torch.zeros(4, 96, dtype=torch.bool)
    offs[1:, 64 + 20] = offs[2:, 32 + 3] = offs[3, :] = True  # of the outer convolution, the inner one, then all
    images, model = pictures(2, 3, 6, 6, dtype=torch.float32), block(32)
    made = Compact(model, units(model, images[:1]), images[:1])
    made.switch_off(*offs)
    assert shapes(monkeypatch, lambda: made(images)) == [
        *[(32, 3), (32, 32), (32, 32)],
        (32, 32),
        *[(31, 32), (32, 31)],
        *[(1, 3), (1, 1), (1, 1)],
    ]


def test_values_are_dropped_as_soon_as_nothing_needs_them():
    offs = torch.zeros(3, 96, dtype=torch.bool)
    offs[1:, 64 + 20] = offs[2, 32 + 3] = True
    images, model = pictures(2, 3, 6, 6, dtype=torch.float32), block(32)
    made = Compact(model, units(model, images[:1]), images[:1])
    made.switch_off(*offs)
    there, most = set(), []
    for network, freed in zip(made._networks, made._freed, strict=True):
        for node in network.anew:
            there.add(node)
            assert there.issuperset(freed[node])
            there.difference_update(freed[node])
        most.append({node.name for node in there})
    # the stem's output and the inner convolution's, which the next network takes in; in the end the logits
    assert most == [{"relu", "relu_1", "output"}, {"relu", "output"}, {"output"}]


def block(width):
    """The second block of a residual network, with units 0..width-1 of the first convolution, then of the second."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.inner = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
            self.outer, self.classifier = nn.Conv2d(width, width, 3, padding=1), nn.Linear(width, 2)

        def forward(self, x):
            x = self.stem(x).relu()
            return self.classifier((x + self.outer(self.inner(x).relu())).relu().mean((2, 3)))

    return Block().eval()


@pytest.mark.parametrize(("gone", "made"), [(15, 32), (16, 16), (20, 12)])
def test_a_branch_of_a_sum_is_cut_by_whole_blocks_of_16(gone, made, monkeypatch):
    off = torch.zeros(96, dtype=torch.bool)
    off[32 : 32 + 3] = off[64 : 64 + gone] = True  # of the inner convolution three
    found = shapes(monkeypatch, compact_without(block(32), pictures(2, 3, 6, 6, dtype=torch.float32), off))
    spread = [(32, made)] if made < 32 else []
    assert found == [(32, 3), (29, 32), (made, 29), *spread]


def test_a_stream_lacks_what_no_branch_writes(monkeypatch):
    off = torch.zeros(96, dtype=torch.bool)
    off[:20] = off[64 : 64 + 18] = True  # stem: 20 to 31 left; outer: 18 to 31 left
    found = shapes(monkeypatch, compact_without(block(32), pictures(2, 3, 6, 6, dtype=torch.float32), off))
    assert found == [(12, 3), (32, 12), (14, 32), (14, 12)]  # the last one spreads the stem's to those of both


# Curves


def slow_curve(model, order, images, labels, points):
    layers = units(model, images[:1])
    rows = []
    for k in pruning.steps(len(order), points):
        with torch.no_grad(), masked(model, order, k, layers):
            rows.append((k, (model(images).argmax(1) == labels).double().mean().item()))
    return pandas.DataFrame(rows, columns=["pruned", "accuracy"])


def watched(monkeypatch):
    """How many units are off at the points of later curves that are of a masked network."""
    points, original = [], pruning._Pruned._by_masks
    monkeypatch.setattr(
        pruning._Pruned, "_by_masks", lambda self, order, k: points.append(k) or original(self, order, k)
    )
    return points


def test_a_curve_takes_the_compact_network_and_is_that_of_masks(monkeypatch):
    model, images = randomised(networks.build("resnet8", 10, 1)), pictures(300, 1, 8, 8, dtype=torch.float32)
    with torch.no_grad():
        labels = model(images).argmax(1)
    order, _ = drawn_off(count(model, images), 0)
    points = watched(monkeypatch)
    found = curve(model, order, images, labels, 5, batch=70)
    assert not points
    expected = slow_curve(model, order, images, labels, 5)
    assert expected["accuracy"].nunique() > 3
    pandas.testing.assert_frame_equal(found[["pruned", "accuracy"]], expected)


@pytest.mark.parametrize("network", [DependsOnData, DependsOnTracing])
def test_a_curve_takes_masks_where_the_network_cannot_be_traced(network, monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), network()).double().eval()
    images, labels = pictures(50, 3, 1, 1), torch.arange(50) % 2
    points, order = watched(monkeypatch), torch.tensor([2, 0, 3, 1])
    goes_by_values = network is DependsOnData
    with pytest.warns(match="shares left are not known: what the") if goes_by_values else contextlib.nullcontext():
        found = curve(model, order, images, labels, 3)
    assert points == pruning.steps(len(order), 3)[1:]
    pandas.testing.assert_frame_equal(found[["pruned", "accuracy"]], slow_curve(model, order, images, labels, 3))
    assert found["macs"].isna().all() == found["parameters"].isna().all() == goes_by_values


def test_a_compact_network_that_is_wrong_is_not_believed(monkeypatch):
    model, images = randomised(networks.build("resnet8", 10, 1)), pictures(20, 1, 8, 8, dtype=torch.float32)
    labels, (order, _) = torch.zeros(20).long(), drawn_off(336, 0)
    points, forward = watched(monkeypatch), Compact.forward
    monkeypatch.setattr(Compact, "forward", lambda self, x: forward(self, x) * 1.001)
    found = curve(model, order, images, labels, 3)
    assert points == pruning.steps(len(order), 3)[1:]
    pandas.testing.assert_frame_equal(found[["pruned", "accuracy"]], slow_curve(model, order, images, labels, 3))


def test_a_compact_network_that_fails_takes_no_other_with_it(monkeypatch):
    model, images = randomised(networks.build("resnet8", 10, 1)), pictures(30, 1, 8, 8, dtype=torch.float32)
    with torch.no_grad():
        labels = model(images).argmax(1)
    points, (order, _), original = watched(monkeypatch), drawn_off(336, 0), compact.Trimmed
    monkeypatch.setattr(compact, "Trimmed", lambda *args: 1 / (int(args[2].sum()) - 42) and original(*args))
    found = curve(model, order, images, labels, 9)
    assert points == [42]
    pandas.testing.assert_frame_equal(found[["pruned", "accuracy"]], slow_curve(model, order, images, labels, 9))


@pytest.mark.parametrize("stored", [1, 10**6])
def test_curves_do_not_depend_on_how_many_networks_are_held_at_once(stored, monkeypatch):
    model, images = randomised(networks.build("resnet8", 10, 1)), pictures(30, 1, 8, 8, dtype=torch.float32)
    with torch.no_grad():
        labels = model(images).argmax(1)
    order, _ = drawn_off(336, 0)
    expected = curve(model, order, images, labels, 9)
    monkeypatch.setattr(pruning, "_STORED", stored)
    pandas.testing.assert_frame_equal(curve(model, order, images, labels, 9), expected)


def test_a_curve_leaves_the_model_as_it_was():
    model, images = randomised(networks.build("resnet8", 10, 1)), pictures(20, 1, 8, 8, dtype=torch.float32)
    before = {name: (value.clone(), value.data_ptr()) for name, value in model.state_dict().items()}
    curve(model, torch.arange(336), images, torch.zeros(20).long(), 3)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name][0]) and value.data_ptr() == before[name][1]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
