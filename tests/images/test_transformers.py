"""images.transformers: positions by hand, and what a block does."""

import math

import pytest
import torch
from torch import nn

from lib import importance, structure
from lib.images import networks, transformers


def test_positions_are_waves_of_the_row_then_of_the_column():
    found = transformers.positions(8, 3, 2)
    assert found.shape == (8, 3, 2)
    for row in range(3):
        for column in range(2):
            slow = [place / 10_000 for place in (row, column)]
            expected = [math.sin(row), math.sin(slow[0]), math.cos(row), math.cos(slow[0])]
            expected += [math.sin(column), math.sin(slow[1]), math.cos(column), math.cos(slow[1])]
            assert found[:, row, column].tolist() == pytest.approx(expected, abs=1e-6)
    codes = transformers.positions(96, 8, 8).flatten(1).T
    assert len({tuple(code) for code in codes.tolist()}) == 64


def test_a_block_adds_attention_then_what_each_token_makes_of_itself():
    torch.manual_seed(0)
    block, x = transformers.Block(8, 2).eval(), torch.randn(2, 5, 8)
    found = block(x)
    query, key, value = block.attention.in_proj_weight.chunk(3)
    y = block.norm1(x)
    q, k, v = ((y @ weight.T).unflatten(2, (2, 4)).transpose(1, 2) for weight in (query, key, value))
    mixed = ((q @ k.transpose(2, 3)) / 2).softmax(3) @ v  # over the root of 4 channels a head
    x = x + block.attention.out_proj(mixed.transpose(1, 2).flatten(2))
    expected = x + block.narrow(nn.functional.gelu(block.widen(block.norm2(x))))
    torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore:all units of")
def test_its_hidden_units_can_go_and_its_stream_stays():
    model, images = networks.build("vit-small-images", 10, seed=0).eval(), torch.randn(4, 3, 32, 32)
    layers = importance.units(model, images[:1])
    blocks = [f"blocks.{number}.{part}" for number in range(6) for part in ("widen", "narrow")]
    assert [unit.name for unit in layers] == ["patches", *blocks]
    assert [unit.size for unit in layers] == [96, *[384, 96] * 6]
    traced = structure.trace(model, images[:1])
    free = [unit.name for unit in layers if (traced.groups[unit.slice] >= 0).all()]
    assert free == blocks[::2]
