"""images.efficientnets: widths, depths and sizes of the Lite family."""

import pytest
import torch
from torch import nn

from lib import cost
from lib.images import efficientnets, networks


@pytest.mark.parametrize(
    ("number", "pixels", "blocks", "parameters", "multiply_adds"),
    [(0, 224, 16, 4_652_008, 385), (1, 240, 21, 5_416_680, 600), (2, 260, 21, 6_092_072, 860)],
)
def test_a_network_has_the_size_of_its_kind(number, pixels, blocks, parameters, multiply_adds):
    model = networks.build(f"efficientnet-lite{number}", 1000).eval()
    assert (len(model.blocks), cost.parameters(model)) == (blocks, parameters)
    assert round(cost.multiply_adds(model, torch.zeros(1, 3, pixels, pixels)) / 1e6) == multiply_adds


def test_stem_and_head_are_not_scaled_and_widths_are_multiples_of_eight():
    model = efficientnets.EfficientNetLite(1.1, 1.2, 5)
    widths = [block.layers.narrow[0].out_channels for block in model.blocks]
    assert list(dict.fromkeys(widths)) == [16, 24, 48, 88, 120, 208, 352]
    assert (model.stem[0].out_channels, model.head[0].out_channels) == (32, 1280)


def test_a_width_is_not_rounded_down_by_more_than_a_tenth():
    assert [efficientnets._rounded(channels) for channels in (4, 11.9, 12, 17.6, 44, 123.2)] == [8, 16, 16, 16, 48, 120]


def test_a_block_adds_what_comes_in_only_where_the_shape_stays():
    x = torch.randn(1, 16, 6, 6)
    for stride, outputs in ((1, 16), (2, 16), (1, 24)):
        block = efficientnets.InvertedResidual(16, outputs, 6, 3, stride).eval()
        inside = block.layers(x)
        assert torch.equal(block(x), x + inside if (stride, outputs) == (1, 16) else inside)


def test_what_is_narrowed_has_no_activation_and_norms_have_the_epsilon_of_the_weights():
    block = efficientnets.InvertedResidual(8, 8, 6, 5, 1)
    kinds = [[type(layer) for layer in part] for part in block.layers]
    assert kinds == [[nn.Conv2d, nn.BatchNorm2d, nn.ReLU6]] * 2 + [[nn.Conv2d, nn.BatchNorm2d]]
    assert {module.eps for module in block.modules() if isinstance(module, nn.BatchNorm2d)} == {1e-3}
    assert list(efficientnets.InvertedResidual(8, 8, 1, 3, 1).layers._modules) == ["depthwise", "narrow"]
