"""images.public: weights of others are known by what they are, not by their file, and images come as they want them."""

import pytest
import torch
from safetensors.torch import save_file

from lib.images import datasets, networks, public
from lib.images.folders import IMAGENET


def theirs(name: str) -> str:
    """The names that the publisher of the CIFAR ResNets gives the weights of our resnet20a."""
    stage_of = {number: f"layer{number // 3 + 1}.{number % 3}" for number in range(9)}
    first, *rest = name.split(".")
    if first == "blocks":
        return ".".join([stage_of[int(rest[0])], *rest[1:]])
    return name.replace("classifier.", "linear.")


@pytest.fixture
def resnet():
    return networks.build("resnet20a", 10, seed=3).eval()


def test_weights_by_other_names_are_the_same_network(resnet, tmp_path):
    found = {f"module.{theirs(name)}": value for name, value in resnet.state_dict().items()}
    assert "module.layer2.0.conv1.weight" in found
    torch.save({"state_dict": found, "best": 0.9}, tmp_path / "theirs.th")
    bare = {name.removeprefix("module."): value for name, value in found.items()}
    model = public.load("resnet20a", tmp_path / "theirs.th", public.digest(bare), 10)
    images = torch.randn(2, 3, 32, 32)
    assert not model.training and torch.equal(model(images), resnet(images))


def test_weights_without_known_names_are_taken_in_the_order_of_layers(tmp_path):
    ours = networks.build("efficientnet-lite0", 7, seed=1).eval()
    named = {f"layer-{number}": value for number, value in enumerate(ours.state_dict().values()) if value.ndim}
    torch.save(named, tmp_path / "weights.pth")
    model = public.load("efficientnet-lite0", tmp_path / "weights.pth", public.digest(named), 7)
    assert all(map(torch.equal, model.state_dict().values(), ours.state_dict().values()))


def test_half_precision_is_widened(tmp_path):
    half = {name: value.half() for name, value in networks.build("squeezenet1_1", 5).state_dict().items()}
    save_file(half, tmp_path / "half.safetensors")
    model = public.load("squeezenet1_1", tmp_path / "half.safetensors", public.digest(half), 5)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert all(torch.equal(value.half(), half[name]) for name, value in model.state_dict().items())


def test_a_digest_is_of_names_shapes_and_values_alone(resnet):
    state = resnet.state_dict()
    digest = public.digest(state)
    assert digest == public.digest(dict(reversed(state.items())))
    assert digest == public.digest({name: value for name, value in state.items() if not name.endswith("tracked")})
    assert digest == public.digest({name: value.double() for name, value in state.items()})
    renamed = {f"a.{name}": value for name, value in state.items()}
    moved = state | {"bn1.weight": state["bn1.weight"] + 1}
    shaped = state | {"bn1.weight": state["bn1.weight"].view(4, 4)}
    assert len({digest, *map(public.digest, (renamed, moved, shaped))}) == 4
    assert public.digest({}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_other_weights_are_refused_with_their_own_digest(resnet, tmp_path):
    save_file(resnet.state_dict(), tmp_path / "weights.safetensors")
    digest = public.digest(resnet.state_dict())
    with pytest.raises(
        ValueError, match=f"weights.safetensors holds other weights than .* SHA-256 {digest}, not 0000$"
    ):
        public.load("resnet20a", tmp_path / "weights.safetensors", "0000", 10)


@pytest.mark.parametrize(("name", "classes"), [("resnet32a", 10), ("resnet20a", 9)])
def test_weights_that_do_not_fit_are_refused(resnet, tmp_path, name, classes):
    save_file(resnet.state_dict(), tmp_path / "weights.safetensors")
    said = f"weights.safetensors does not fit {name} with {classes} classes: it holds another network, in which"
    with pytest.raises(ValueError, match=said) as caught:
        public.load(name, tmp_path / "weights.safetensors", public.digest(resnet.state_dict()), classes)
    assert "\n" not in str(caught.value)


def test_by_the_images_own_moments_they_are_prepared_bit_for_bit_as_in_training():
    images = torch.randint(0, 256, (5, 3, 6, 6), dtype=torch.uint8)
    expected = datasets.normalise(images, *datasets.statistics(images))
    assert torch.equal(public.Preparation.of(images)(images), expected)


def test_images_are_stretched_to_the_pixels_that_the_weights_want():
    images = torch.randint(0, 256, (2, 3, 227, 227), dtype=torch.uint8)
    assert public.PUBLIC["resnet20a"].preparation(images).shape == images.shape
    for number, pixels in enumerate((224, 240, 260)):
        found = public.PUBLIC[f"efficientnet-lite{number}"].preparation(images)
        assert found.shape == (2, 3, pixels, pixels) and found.dtype == torch.float32
        torch.testing.assert_close(found, (datasets.resized(images, pixels).float() - 127) / 128)
    grey = torch.full((1, 3, 227, 227), 51, dtype=torch.uint8)
    found = public.PUBLIC["squeezenet1_1"].preparation(grey)
    expected = [(0.2 - mean) / std for mean, std in zip(*IMAGENET, strict=True)]
    assert found.shape[2:] == (224, 224) and found[0, :, 100, 100].tolist() == pytest.approx(expected, abs=1e-6)


def test_every_network_that_others_publish_is_one_of_ours_with_a_licence():
    for name, found in public.PUBLIC.items():
        assert networks.build(name, 4) and found.licence in ("BSD-2-Clause", "BSD-3-Clause", "Apache-2.0")
