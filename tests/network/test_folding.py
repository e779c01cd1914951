"""lib.folding: a faster copy with the same logits and taps, or the model itself; scores are the same either way."""

import copy

import pytest
import torch
import toys
from awkward import pictures, randomised, small
from torch import nn
from unchanged import EVERYTHING, same, state_of

from lib import importance, pruning
from lib.images import networks
from lib.network import folding
from lib.network.folding import folded
from lib.network.taps import tapped
from lib.network.units import units
from lib.pruning import masked
from lib.scoring import passes


def fold(model, images):
    return folded(model, units(model, images[:1]), images[:1])[0]


def values_at_taps(model, layers, images):
    seen = {}
    with torch.no_grad(), tapped(model, layers, lambda number, tap, value: seen.update({(number, tap): value.clone()})):
        return model(images), seen


def network(name):
    torch.manual_seed(0)
    made = networks.build(name, 10) if name in networks.NETWORKS else small(name)
    return randomised(made).double(), pictures(3, 3, 32, 32)


def toy(which):
    return toys.make(which), toys.examples(which, 3)[0]


CASES = [(toy, which) for which in toys.NETWORKS] + [
    (network, name) for name in ("resnet20", "vgg8", "resnet18", "mobilenet_v2", "shufflenet_v2", "densenet")
]


@pytest.mark.parametrize(("make", "which"), CASES, ids=lambda given: getattr(given, "__name__", str(given)))
def test_logits_and_values_at_taps_are_the_same(make, which):
    model, images = make(which)
    layers = units(model, images[:1])
    copied, _ = folded(model, layers, images[:1])
    assert copied is not model
    (logits, seen), (expected, values) = (values_at_taps(each, layers, images) for each in (copied, model))
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10 * expected.abs().max())
    assert seen.keys() == values.keys()
    for tap, value in values.items():
        torch.testing.assert_close(seen[tap], value, rtol=1e-10, atol=1e-10 * value.abs().max())


@pytest.mark.parametrize(
    ("make", "which", "left"),
    [
        (network, "resnet20", 0),
        (network, "vgg8", 0),
        (network, "densenet", 6),  # what these take in is put together of several convolutions' outputs
        (toy, toys.Plain, 0),
        (toy, toys.Twice, 0),  # used twice, both times of the same convolution
        (toy, toys.Overwritten, 1),  # what it takes in has been overwritten
    ],
)
def test_batchnorms_behind_convolutions_are_gone(make, which, left):
    model, images = make(which)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in fold(model, images).modules()) == left
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_modules_overwrite_nothing_any_more_but_sums_in_place_do():
    model, images = network("resnet18")  # torchvision's, whose ReLUs overwrite, as does `out += identity`
    layers = units(model, images[:1])
    copied, found = folded(model, layers, images[:1])
    assert [unit.name for unit in found] == [unit.name for unit in layers]
    assert all(tap.overwritten for unit in layers for tap in unit.taps if "downsample" not in unit.name)
    overwritten = {unit.name for unit in found for tap in unit.taps if tap.overwritten}
    assert overwritten == {f"layer{n}.{block}.conv2" for n in (1, 2, 3, 4) for block in (0, 1)}
    assert all(module.inplace for module in model.modules() if isinstance(module, nn.ReLU))
    assert not any(module.inplace for module in copied.modules() if isinstance(module, nn.ReLU))


def test_one_merged_convolution_by_hand():
    layer, norm = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, eps=0.0).eval()
    values = {layer.weight: [[[[2.0]]], [[[3.0]]]], layer.bias: [1.0, 5.0], norm.weight: [4.0, 1.0], norm.bias: [7, 8]}
    for parameter, given in values.items():
        parameter.data = torch.tensor(given, dtype=torch.float32)
    norm.running_mean, norm.running_var = torch.tensor([3.0, 5.0]), torch.tensor([4.0, 0.25])
    both = folding.merged(layer, norm)
    assert both.weight.flatten().tolist() == [2 * 4 / 2, 3 * 1 / 0.5]
    assert both.bias.tolist() == [(1 - 3) * 4 / 2 + 7, 8]
    assert layer.weight.flatten().tolist() == [2, 3]


class Peeks(nn.Module):
    """A convolution with a BatchNorm, and something else that makes merging the two wrong."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.conv, self.norm, self.classifier = nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Linear(3, 2)

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        if self.how == "reads the BatchNorm":
            x = x * self.norm.weight.sum()
        if self.how == "runs the BatchNorm again":
            x = self.norm(x)
        if self.how == "needs the usual layout":
            x = x.view(len(x) * 3, 5, 5)
        return self.classifier(x.reshape(-1, 3, 25).mean(2))


@pytest.mark.parametrize(
    "how",
    ["reads the BatchNorm", "runs the BatchNorm again", "needs the usual layout"],
)
def test_the_model_itself_where_a_copy_would_not_be_the_same(how):
    torch.manual_seed(0)
    model, images = randomised(Peeks(how)), pictures(2, 2, 6, 6, dtype=torch.float32)
    assert fold(model, images) is model
    labels = torch.arange(64) % 2
    importance.score(model, [(images.repeat(32, 1, 1, 1), labels)], ["sq"])


@pytest.mark.parametrize("pixels, liked", [(4, torch.contiguous_format), (5, torch.channels_last)])
def test_maps_of_at_most_16_pixels_are_made_in_the_default_layout(pixels, liked):
    torch.manual_seed(0)
    convolutions = [nn.Sequential(nn.Conv2d(n, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for n in (3, 8)]
    model = randomised(nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(8 * pixels**2, 5)))
    images, made = pictures(6, 3, pixels, pixels, dtype=torch.float32), []
    copy = fold(model, images)
    for number in (0, 1):
        copy[number][0].register_forward_hook(lambda _, taken, value: made.append(value))
    logits = copy(folding.channels_last(images))
    assert [value.is_contiguous(memory_format=liked) for value in made] == [True, True]
    assert copy[1][0].weight.is_contiguous(memory_format=liked)
    torch.testing.assert_close(logits, model(images), rtol=1e-5, atol=1e-5)


def test_the_model_itself_where_it_has_hooks():
    model, images = toy(toys.Plain)
    layers = units(model, images[:1])
    with masked(model, torch.arange(7), 2, layers):
        assert folded(model, layers, images[:1])[0] is model
    assert folded(model, layers, images[:1])[0] is not model
    model.layers[2].register_forward_pre_hook(lambda *_: None)
    assert folded(model, layers, images[:1])[0] is model


def test_a_full_memory_is_said(monkeypatch):
    model, images = toy(toys.Plain)

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(folding, "_fold", full)
    with pytest.raises(torch.OutOfMemoryError):
        fold(model, images)
    monkeypatch.setattr(pruning, "Compact", full)
    with pytest.raises(torch.OutOfMemoryError):
        pruning.curve(model, torch.arange(7), images, torch.zeros(3, dtype=torch.long), 2)


@pytest.mark.parametrize("break_it", [False, True])
def test_the_model_is_left_alone(break_it, monkeypatch):
    model, images = network("resnet8")
    model.conv1.weight.requires_grad_(False)
    before, modules = state_of(model), dict(model.named_modules())
    layout = {name: (value.data_ptr(), value.stride()) for name, value in model.state_dict().items()}
    if break_it:
        monkeypatch.setattr(nn.Module, "set_submodule", lambda *_: 1 / 0)
    assert (fold(model, images) is model) == break_it
    assert same(before, state_of(model)) and dict(model.named_modules()) == modules
    assert layout == {name: (value.data_ptr(), value.stride()) for name, value in model.state_dict().items()}


# Scores


def both_scores(model, images, labels, names, monkeypatch):
    """By the fast path, and by the slow one."""
    copies = []
    monkeypatch.setattr(passes, "folded", lambda *given: copies.append(folded(*given)) or copies[-1])
    fast = importance.score(model, [(images, labels)], names)
    assert copies and copies[0][0] is not model
    monkeypatch.setattr(passes, "folded", lambda model, layers, *_: (model, layers))
    return fast, importance.score(model, [(images, labels)], names)


ACTIVATIONS = ["apoz", "act-mean", "act-std", "hrank", "chip", "l1", "bn-scale"]


@pytest.mark.parametrize("name", ["resnet8", "densenet"])
def test_scores_are_those_of_the_slow_path(name, monkeypatch):
    model, images = network(name)
    images = torch.cat([images[..., ::2, ::2] + 0.1 * n for n in range(12)])
    labels = torch.arange(len(images)) % 5
    names = [*EVERYTHING, *ACTIVATIONS]
    fast, slow = both_scores(model, images, labels, names, monkeypatch)
    for criterion in names:
        torch.testing.assert_close(fast[criterion], slow[criterion], rtol=1e-7, atol=1e-9 * slow[criterion].abs().max())


@pytest.mark.parametrize("name", ["resnet20", "vgg8"])
def test_scores_in_float32_are_those_of_the_slow_path_but_for_rounding(name, monkeypatch):
    model, images = randomised(networks.build(name, 10)), pictures(32, 3, 16, 16, dtype=torch.float32)
    names = ["taylorfo", "abs:norm", "sq", "sq:rand:norm", "molchanov-bn", "sq-pixel", "abs:score"]
    fast, slow = both_scores(model, images, torch.arange(32) % 10, names, monkeypatch)
    for criterion in names:
        assert (fast[criterion] - slow[criterion]).norm() <= 1e-4 * slow[criterion].norm(), criterion


def test_the_fast_path_takes_one_forward_and_one_backward_pass_per_cotangent(monkeypatch):
    model, images = network("resnet8")
    images, forwards, backwards, grad = images.repeat(22, 1, 1, 1), [], [], torch.autograd.grad
    forward = networks.SmallResNet.forward
    monkeypatch.setattr("lib.scoring.batches.MINIBATCH", 32)
    monkeypatch.setattr(networks.SmallResNet, "forward", lambda self, x: forwards.append(len(x)) or forward(self, x))
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **more: backwards.append(1) or grad(*args, **more))
    names = ["sq", "abs:norm", "abs-pixel", "molchanov-bn", "sq:rand", "taylorfo:rand:norm"]
    batches = [(images[:34], torch.arange(34) % 10), (images[34:], torch.arange(32) % 10)]
    importance.score(model, batches, names)
    assert forwards == [2, 2, 4, *[2] * 4, 32, 32, 2]  # to find units, compare the copy, try it
    assert len(backwards) == 1 + 2 * 3


def test_the_fast_path_leaves_everything_as_it_was():
    model, images = network("resnet8")
    images, labels = images.repeat(12, 1, 1, 1), torch.arange(36) % 10
    before, precise = state_of(model), copy.deepcopy(model)(images[:2])
    importance.score(model, [(images, labels)], EVERYTHING)
    assert same(before, state_of(model))
    assert torch.equal(model(images[:2]), precise)
