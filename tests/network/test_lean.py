"""lib.lean: the same values and derivatives as without, from less that is held in between."""

import pytest
import torch
import toys
from awkward import pictures, randomised, small
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from lib.images import networks
from lib.network.lean import Lean


def case(name):
    torch.manual_seed(0)
    model = networks.build(name, 10) if name in networks.NETWORKS else small(name)
    return randomised(model), pictures(3, 3, 32, 32, dtype=torch.float32)


def toy(network):
    return toys.make(network), toys.examples(network, 3)[0]


def logits_and_derivative(model, images, mode=None):
    model.requires_grad_(False)
    images = images.clone().requires_grad_()
    with mode or torch.enable_grad():
        logits = model(images)
    vector = torch.ones_like(logits).cumsum(1)
    return logits.detach(), torch.autograd.grad(logits, images, vector)[0]


@pytest.mark.parametrize(
    ("make", "which"),
    [*((toy, which) for which in toys.NETWORKS)]
    + [(case, name) for name in ("resnet8", "vgg8", "mobilenet_v2", "shufflenet_v2", "densenet")],
    ids=lambda given: getattr(given, "__name__", str(given)),
)
def test_values_and_derivatives_are_the_same(make, which):
    model, images = make(which)
    lean, usual = logits_and_derivative(model, images, Lean()), logits_and_derivative(model, images)
    for found, expected in zip(lean, usual, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * expected.abs().max())


@pytest.mark.parametrize(
    ("settings", "channels"),
    [({}, 4), ({"stride": 2, "padding": 1}, 4), ({"dilation": 2, "bias": False}, 4), ({"groups": 4}, 4),
     ({"padding": "same"}, 4), ({"padding": 1, "padding_mode": "circular"}, 4)],
)  # fmt: skip
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolutions_of_every_kind(settings, channels, layout):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(channels, 8, 3, **settings), nn.ReLU(), nn.Flatten()).double()
    images = pictures(2, channels, 7, 7).contiguous(memory_format=layout)
    lean, usual = logits_and_derivative(model, images, Lean()), logits_and_derivative(model, images)
    assert torch.equal(lean[0], usual[0])
    torch.testing.assert_close(lean[1], usual[1], rtol=1e-12, atol=1e-12)


def test_relus_are_the_same_at_zero_and_beyond_all_numbers():
    x = torch.tensor([-1.0, -0.0, 0.0, 1e-38, 3.0, float("inf"), float("-inf"), float("nan")], requires_grad=True)
    for relu in (functional.relu, torch.relu, torch.Tensor.relu, nn.ReLU()):
        with Lean():
            lean = relu(x)
        usual = functional.relu(x)
        torch.testing.assert_close(lean, usual, rtol=0, atol=0, equal_nan=True)
        ones = torch.ones(8)
        derivatives = [torch.autograd.grad(y, x, ones)[0][:7] for y in (lean, usual)]
        assert torch.equal(*derivatives)


def held(model, images, mode):
    """Numbers of elements that are kept for the backward pass, each memory once, without the weights."""
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), mode:
        model(images.clone().requires_grad_())
    return sum(tensor.numel() for pointer, tensor in kept.items() if pointer not in weights)


def test_only_what_relus_take_in_is_held():
    layers = [layer for _ in range(5) for layer in (nn.Conv2d(3, 3, 1), nn.ReLU())]
    model, images = nn.Sequential(*layers).requires_grad_(False), pictures(1, 3, 4, 4, dtype=torch.float32)
    each = images.numel()
    assert held(model, images, torch.enable_grad()) == each * (1 + 5)  # the images; what ReLUs make, convolutions take
    assert held(model, images, Lean()) == each * 5  # what ReLUs take in, which scoring holds as well
