"""lib.network.single: gradients of norms of one example, as of the same example twice."""

import pytest
import torch
from torch import nn

from lib import importance
from lib.network.single import Plain


def as_tokens(value):
    return value.flatten(2).transpose(1, 2).contiguous().transpose(1, 2).unflatten(2, value.shape[2:])


def channels_last(value):
    return value.contiguous(memory_format=torch.channels_last)


LAYOUTS = {"plain": torch.Tensor.contiguous, "as tokens": as_tokens, "channels last": channels_last}


def norms():
    made = {
        "batch": nn.BatchNorm2d(4),
        "batch, trained": nn.BatchNorm2d(4),
        "instance": nn.InstanceNorm2d(4, affine=True),
    }
    made["batch"].eval().running_var.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(0))
    return made


@pytest.mark.parametrize("back", LAYOUTS)
@pytest.mark.parametrize("forth", LAYOUTS)
@pytest.mark.parametrize("kind", ["batch", "batch, trained", "instance"])
def test_gradients_of_one_example_do_not_go_by_its_layout(kind, forth, back):
    norm, drawn = norms()[kind], torch.Generator().manual_seed(1)
    value, delta = (torch.randn(1, 4, 3, 3, generator=drawn, dtype=torch.float64) for _ in range(2))
    right = value.clone().requires_grad_()
    torch.autograd.gradcheck(norm.double(), right)
    (expected,) = torch.autograd.grad(norm(right), right, delta)
    given = LAYOUTS[forth](value.clone()).detach().requires_grad_()
    with Plain():
        made, by_name = norm(given), norm(input=given)
    assert made.equal(norm(value)) and by_name.equal(made)
    (found,) = torch.autograd.grad(made, given, LAYOUTS[back](delta))
    torch.testing.assert_close(found, expected)


class Stem(nn.Module):
    """A convolution with BatchNorm, of which tokens are made."""

    def __init__(self):
        super().__init__()
        self.first, self.conv, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 4, 2, 2, 1), norms()["batch"]
        self.classifier = nn.Linear(4, 3)
        self.norm.register_forward_hook(lambda *_: None)  # so that scoring does not merge it

    def forward(self, x):
        return self.classifier(self.norm(self.conv(self.first(x).relu())).flatten(2).transpose(1, 2).mean(1))


def test_scores_are_the_same_image_by_image():
    model, images = Stem().eval(), torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    together = importance.score(model, [(images, None)], ["sq:rand:norm"])["sq:rand:norm"]
    apart = importance.score(model, [(image[None], None) for image in images], ["sq:rand:norm"])["sq:rand:norm"]
    torch.testing.assert_close(apart, together)
