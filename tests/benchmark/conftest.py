"""A small network with images and labels, for benchmarks to be tried on."""

import pytest
import torch
from awkward import randomised

from lib.images import networks


@pytest.fixture
def small():
    model = randomised(networks.build("resnet8", 10))
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return model, images, torch.arange(8)
