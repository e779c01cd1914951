"""images.networks: the paper's networks, exactly; reproducible from a seed."""

import numpy
import pytest
import torch

from lib.images.networks import NETWORKS, Padded, build
from lib.network.units import units


@pytest.mark.parametrize(
    ("name", "parameters"),  # by hand, with 1x1 convolutions as shortcuts; 10 classes
    [
        *(("resnet20", 272_474), ("resnet56", 855_770), ("vgg19", 20_035_018), ("resnet18-small", 11_173_962)),
        *(("resnet20a", 269_722), ("resnet32a", 464_154), ("resnet44a", 658_586), ("resnet56a", 853_018)),
    ],
)
def test_sizes(name, parameters):
    assert sum(parameter.numel() for parameter in build(name, 10).parameters()) == parameters


def test_shortcuts_without_parameters_take_every_second_pixel_between_channels_of_zeros():
    shortcut, x = Padded(2, 6, 2), torch.arange(32.0).view(1, 2, 4, 4)
    found = shortcut(x)
    assert not list(shortcut.parameters()) and found.shape == (1, 6, 2, 2)
    assert found[0, 2:4].tolist() == [[[0, 2], [8, 10]], [[16, 18], [24, 26]]]
    assert found[0, :2].abs().sum() == found[0, 4:].abs().sum() == 0
    kinds = [type(block.shortcut) for block in build("resnet20a", 10).blocks]
    assert [number for number, kind in enumerate(kinds) if kind is Padded] == [3, 6]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet8", 8),
        ("resnet20a", 32),
        ("efficientnet-lite0", 32),
        ("vgg8", 8),
        ("vit-small-images", 8),
        ("resnet20", 32),
        ("resnet18-small", 32),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_from_images_to_logits(name, size, channels):
    model = build(name, 7, channels).eval()
    assert model(torch.randn(2, channels, size, size)).shape == (2, 7)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "resnet18-small"])
def test_own_networks_overwrite_no_tap(name):
    layers = units(build(name, 10).eval())
    assert all(bool(unit.norm) != name.startswith("vit") for unit in layers)
    assert not any(tap.overwritten for unit in layers for tap in unit.taps)


def test_small_networks_have_few_units():
    assert [sum(unit.size for unit in units(build(name, 10, 1).eval())) for name in ("resnet8", "vgg8")] == [336, 288]


def test_torchvision_names_work():
    assert build("squeezenet1_1", 5)(torch.randn(1, 3, 64, 64)).shape == (1, 5)


def test_same_seed_same_weights_and_global_random_states_as_before():
    before = torch.get_rng_state(), numpy.random.get_state()[1].copy()
    first, again, other = (build("resnet8", 10, 1, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before[0]) and numpy.array_equal(numpy.random.get_state()[1], before[1])
    assert all(torch.equal(first[name], again[name]) for name in first)
    convolutions = [name for name in first if first[name].ndim == 4]
    assert not any(torch.equal(first[name], other[name]) for name in convolutions)


def test_initial_weights_do_not_depend_on_what_was_built_before():
    torch.rand(3)
    first = build("resnet8", 10, 1).state_dict()
    build("vgg8", 10, 1, seed=3)
    assert all(torch.equal(value, first[name]) for name, value in build("resnet8", 10, 1).state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet21", 10), "unknown network 'resnet21': use one of resnet8, .* did you mean resnet20"),
        (("", 10), "unknown network ''"),
        (("resnet50", 10, 1), "network 'resnet50' takes 3 input channels, not 1: use one of resnet8"),
        (("resnet8", 0), "a network needs at least 1 class and 1 input channel, not 0 and 3"),
        (("resnet8", 10, 0), "a network needs at least 1 class and 1 input channel, not 10 and 0"),
    ],
)
def test_refuses_what_there_is_not(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(*arguments)
