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
