"""lib.derivatives: gradients flow whatever the caller's mode."""

import pytest
import torch
from scored import split, toy, whole
from unchanged import EVERYTHING

from lib.importance import contributions, score


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_whatever_the_callers_gradient_mode(mode):
    model, images, labels = toy()
    expected, s = score(model, split(images, labels, 10), EVERYTHING), contributions(model, images, torch.ones(35, 3))
    with mode():
        mine = images.clone()  # in inference mode such tensors cannot take part in autograd
        found = score(model, split(mine, labels, 10), EVERYTHING)
        assert torch.equal(contributions(model, mine, torch.ones(35, 3)), s)
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode) and not torch.is_grad_enabled()
    assert all(torch.equal(found[name], expected[name]) for name in EVERYTHING)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_images_that_require_gradients_are_no_obstacle():
    model, images, _ = toy()
    expected = score(model, whole(images), ["sq:rand"])["sq:rand"]
    assert torch.equal(score(model, whole(images.requires_grad_()), ["sq:rand"])["sq:rand"], expected)
    assert images.grad is None
