"""lib.passes: contributions are linear in the cotangent, and nothing is kept."""

import gc

import pytest
import torch
import toys
from scored import close, split, toy
from unchanged import EVERYTHING

from lib.importance import contributions, score


@pytest.mark.parametrize("network", toys.NETWORKS)
def test_contributions_are_linear_in_the_cotangent(network):
    model, images, _ = toy(network, 6)
    basis = torch.eye(network.CLASSES, dtype=torch.float64)
    a = torch.stack([contributions(model, images, v.expand(6, -1)) for v in basis], 1)  # (M, K, N)
    v = torch.randn(6, network.CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    close(contributions(model, images, v), torch.einsum("mk,mkn->mn", v, a), 1e-12)
    lengths = v.norm(dim=1, keepdim=True)
    close(contributions(model, images, v / lengths), contributions(model, images, v) / lengths, 1e-12)


def test_keeps_nothing_in_memory():
    model, images, labels = toy()
    score(model, split(images, labels, 10), EVERYTHING)  # whatever is made once, is made here

    def tensors():
        return sum(type(thing) is torch.Tensor for thing in gc.get_objects())

    gc.collect()
    gc.disable()  # nothing may wait for the collector either
    try:
        before = tensors()
        score(model, split(images, labels, 10), EVERYTHING)
        assert tensors() <= before
    finally:
        gc.enable()
