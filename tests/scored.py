"""Toys to be scored, as batches, and how close scores are to what they should be."""

import torch
import toys
from torch import nn

from lib.images import networks
from lib.importance import contributions


def close(actual, expected, tolerance=1e-10):
    """The largest difference is within `tolerance` of the largest expected value."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


def whole(images, labels=None):
    return [(images, labels)]


def split(images, labels, size):
    return [(x, y) for x, y in zip(images.split(size), labels.split(size), strict=True)]


def toy(network=toys.Residual, count=35):
    return toys.make(network), *toys.examples(network, count)


def named(reduction, cotangent, probes, normalisation, layer):
    source = cotangent + (f"@{probes}" if probes > 1 else "") if cotangent != "label" else ""
    return ":".join(filter(None, [reduction, source, normalisation, "layer" if layer else ""]))


def calibrated(name, size=16):
    """A network whose BatchNorms hold the statistics of some random images, so that logits are of ordinary size."""
    model = networks.build(name, 10, seed=3)
    images = torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(0))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # plain average
    with torch.no_grad():
        model(images)
    return model.eval(), images


def derivatives(network=toys.Residual):
    """(K, N): the derivatives of the K logits along every unit's gate, for one example; and that example."""
    model, images, _ = toy(network, 1)
    classes = network.CLASSES
    return contributions(model, images.expand(classes, *network.SHAPE), torch.eye(classes)), model, images
