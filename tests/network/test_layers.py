"""lib.layers: modules are narrower in all that they say of themselves."""

import copy

import pytest
import torch
from shrunk import prepared, some_scores
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib.network import layers


def test_widths_are_outputs_then_inputs():
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.BatchNorm2d(6), nn.Linear(6, 5))
    assert layers.all_widths(model) == {"0": (6, 4), "2": (6, 6), "3": (5, 6)}
    assert [name for name, _ in layers.layers_of(model)] == ["0", "3"]


def test_a_grouped_convolution_keeps_what_each_output_sees():
    conv = nn.Conv2d(6, 9, 1, groups=3)
    before = conv.weight.detach().clone()
    layers.narrow(conv, torch.tensor([0, 1, 2, 6, 7, 8]), torch.tensor([0, 1, 4, 5]))
    assert (conv.groups, conv.in_channels, conv.out_channels) == (2, 4, 6)
    assert torch.equal(conv.weight, before[[0, 1, 2, 6, 7, 8]])


def test_weights_of_transposed_convolutions_lie_by_output_with_a_row_for_each():
    layer = nn.ConvTranspose1d(4, 6, 1, groups=2)  # outputs 0-2 see inputs 0-1
    layer.weight.data[:] = torch.tensor([[0, 1, 2], [10, 11, 12], [23, 24, 25], [33, 34, 35]])[..., None]
    rows = [[0, 10], [1, 11], [2, 12], [23, 33], [24, 34], [25, 35]]
    assert layers.by_output(layer, layer.weight)[..., 0].tolist() == rows
    for other in (nn.Linear(2, 3), nn.Conv1d(4, 6, 1, groups=2)):
        assert layers.by_output(other, other.weight) is other.weight


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_transposed_convolution_keeps_its_inputs_and_outputs(layout):
    layer = nn.ConvTranspose2d(4, 5, 2).to(memory_format=layout)
    before, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    layers.narrow(layer, torch.tensor([0, 3, 4]), None)
    assert torch.equal(layer.weight, before[:, [0, 3, 4]]) and torch.equal(layer.bias, bias[[0, 3, 4]])
    layers.narrow(layer, None, torch.tensor([1, 2]))
    assert torch.equal(layer.weight, before[[1, 2]][:, [0, 3, 4]]) and len(layer.bias) == 3
    assert layers.widths(layer) == (layer.out_channels, layer.in_channels) == (3, 2)
    assert layer.weight.stride() == torch.empty(layer.weight.shape, memory_format=layout).stride()
    layer.requires_grad_(False)
    layers.narrow(layer, torch.tensor([2]), torch.tensor([0]))
    assert not layer.weight.requires_grad and layer(torch.ones(1, 1, 3, 3)).shape == (1, 1, 4, 4)


def test_a_transposed_convolution_of_groups_keeps_what_each_output_sees():
    layer = nn.ConvTranspose2d(6, 9, 1, groups=3)
    before, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    layers.narrow(layer, torch.tensor([0, 1, 2, 6, 7, 8]), torch.tensor([0, 1, 4, 5]))
    assert (layer.groups, layer.in_channels, layer.out_channels) == (2, 4, 6)
    assert torch.equal(layer.weight, before[[0, 1, 4, 5]]) and torch.equal(layer.bias, bias[[0, 1, 2, 6, 7, 8]])
    layers.narrow(layer, torch.tensor([4]), torch.tensor([2, 3]))  # of the last group the middle output
    assert (layer.groups, layer.in_channels, layer.out_channels) == (1, 2, 1)
    assert torch.equal(layer.weight, before[[4, 5]][:, [1]]) and torch.equal(layer.bias, bias[[7]])


def test_the_numbers_of_layers_are_those_of_their_weights():
    model, _, made = prepared("Skip")
    scores = some_scores(len(made.groups))
    scores[8:12] = -9  # the first two groups of the grouped convolution, with what is tied to them
    smaller = made.plan(scores, budget=0.4).apply(model)
    for module in smaller.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
        elif isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)
        elif isinstance(module, _BatchNorm):
            assert {len(module.weight), len(module.bias), len(module.running_mean)} == {module.num_features}


@pytest.mark.filterwarnings("ignore:.* gives the same logits for all")  # a deep one of random weights does
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_weights_keep_their_memory_format(name, layout):
    model, _, made = prepared(name)
    smaller = made.plan(some_scores(len(made.groups)), budget=0.4).apply(copy.deepcopy(model).to(memory_format=layout))
    for weight in smaller.parameters():
        if weight.ndim == 4:  # of 1 x 1 convolutions and, with one input each, depthwise ones too
            assert weight.stride() == torch.empty(weight.shape, memory_format=layout).stride()
    assert any(weight.ndim == 4 and weight.shape[2:] == (1, 1) for weight in smaller.parameters())
