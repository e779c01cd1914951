"""Networks whose output is no tensor, in a module that takes their logits out: transformers' and torchvision's."""

import warnings

import pytest
import torch
from torch import nn
from torchvision.models import segmentation

from lib import importance, slim_files
from lib.structure import trace


class Logits(nn.Module):
    """As in docs/networks.md."""

    def __init__(self, network, take):
        super().__init__()
        self.network, self.take = network, take

    def forward(self, images):
        return self.take(self.network(images))


def made_unlike_new(network):
    """Random values for all parameters, by which mistakes would show that zeros and ones hide."""
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=drawn))
    return network.double().eval()


def halved(model, images, budget):
    """The plan and the smaller network, which answers as the masked one does."""
    scores = importance.score(model, [(images, None)], ["sq:rand:norm"])["sq:rand:norm"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = trace(model, images[:1]).plan(scores, budget=budget)
    small = plan.apply(model)
    with torch.no_grad(), plan.masked(model):
        torch.testing.assert_close(small(images), model(images), rtol=1e-8, atol=1e-8)
    return plan, small


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SMALL |= {"image_size": 32, "patch_size": 8}
WIDTHS = {"hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1]}
HIERARCHY = WIDTHS | {"num_attention_heads": [1, 2, 4, 4], "image_size": 32}
OF_TRANSFORMERS = {
    "ViT": SMALL,
    "DeiT": SMALL,
    "Beit": SMALL,
    "ConvNext": WIDTHS,
    "ResNet": WIDTHS | {"embedding_size": 16, "layer_type": "basic"},
    "Segformer": HIERARCHY,
    "Pvt": HIERARCHY,
}


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_transformers_networks_shrink(name):
    theirs = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    sizes = getattr(theirs, f"{name}Config")(num_labels=5, **OF_TRANSFORMERS[name])
    model = made_unlike_new(Logits(getattr(theirs, f"{name}ForImageClassification")(sizes), lambda made: made.logits))
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    plan, small = halved(model, images, 0.3)
    assert sum(map(torch.numel, small.parameters())) < sum(map(torch.numel, model.parameters()))
    if name == "ViT":  # a head goes whole, and the attributes by which its code counts them follow
        (numbers,) = plan.numbers.values()
        assert numbers == {"num_attention_heads": 3, "all_head_size": 24}


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_segmentation_networks_of_torchvision_shrink(name, tmp_path):
    torch.manual_seed(0)

    def build():
        network = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=3)
        return Logits(network, lambda made: made["out"].flatten(1)).double().eval()

    model = made_unlike_new(build())
    images = torch.randn(2, 3, 48, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    plan, small = halved(model, images, 0.3)
    assert plan.reached == pytest.approx(0.3, abs=0.02)
    slim_files.save(small, tmp_path / "small.safetensors")
    with torch.no_grad():
        assert torch.equal(slim_files.load(build(), tmp_path / "small.safetensors")(images), small(images))
