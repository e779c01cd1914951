"""lib.weight_criteria: criteria by weights are what `loss.backward()` gives."""

import pytest
import torch
import toys
from reference import group_of_gradients
from scored import close, split, toy, whole
from torch.nn import functional

from lib.importance import score

pytestmark = pytest.mark.usefixtures("small_minibatches")


@pytest.mark.parametrize("network", [toys.Plain, toys.Residual, toys.Twice])
def test_molchanovs_are_what_loss_backward_gives(network):
    model, images, labels = toy(network)
    group, gates = 0, 0
    for x, y in split(images, labels, 32):
        model.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        share = len(y) / len(labels)
        group += share * group_of_gradients(model)
        norms = [model.get_submodule(norm) for _, _, norm, *_ in network.UNITS if norm]
        gates += share * torch.cat([m.weight * m.weight.grad + m.bias * m.bias.grad for m in norms]).detach() ** 2
    found = score(model, whole(images, labels), ["molchanov-group", "molchanov-bn"])
    close(found["molchanov-group"], group)
    has_norm = torch.cat([torch.full((size,), norm is not None) for _, size, norm, *_ in network.UNITS])
    close(found["molchanov-bn"][has_norm], gates)
