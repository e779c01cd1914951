"""lib.prune: a network becomes smaller and still answers, without labels; the same twice; refusals in one line."""

import pytest
import torch

from lib.images import networks
from lib.prune import prune


@pytest.fixture(scope="module")
def model():
    return networks.build("resnet8", 10, seed=1).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_it_shrinks_to_the_budget_in_steps_and_says_what_was_done(model, images):
    before, said = {name: value.clone() for name, value in model.state_dict().items()}, []
    found = prune(model, images, steps=2, distil_epochs=2, report=said.append)
    macs = found.costs["multiply_adds"]
    assert list(found.costs["variant"]) == ["before", "after"] and 0.4 * macs[0] < macs[1] <= 0.5 * macs[0]
    done = ["whole", "shrunk 1 of 2", "repaired 1 of 2", "shrunk 2 of 2", "repaired 2 of 2", "distilled"]
    assert list(found.quality["done"]) == done
    assert found.measure == "agreement" and found.quality["agreement"][0] == 1
    assert said[0] == "whole: agreement 100.0%" and said[5].startswith("distilling: epoch 1, loss ")
    for name, size, left in found.layers.itertuples(index=False):
        assert model.get_submodule(name).weight.shape[0] == size
        assert found.model.get_submodule(name).weight.shape[0] == left
    assert not any(module.training for module in found.model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_same_seed_gives_the_same_network(model, images):
    labels = torch.arange(60) % 10
    given = {"fine_tune": (images, labels), "epochs": 1, "test": (images[:20], labels[:20]), "distil_epochs": 1}
    one, other, third = (prune(model, images, seed=seed, **given).model.state_dict() for seed in (3, 3, 4))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert any(one[name].shape != third[name].shape or not torch.equal(one[name], third[name]) for name in one)


def test_with_labels_for_tests_it_is_called_accuracy(model, images):
    found = prune(model, images, test=(images[:20], torch.zeros(20, dtype=torch.long)), repair=False)
    assert list(found.quality) == ["done", "accuracy"] and list(found.quality["done"]) == ["whole", "shrunk"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"criterion": "abs"}, "criterion abs needs labels, which images here have not: take sq:rand:norm, say"),
        ({"steps": 0}, "steps=0 must be a whole number of at least 1"),
        ({"steps": 2, "at_most": 0.5}, "at_most=0.5 is of the units at the start, but in 2 steps each has its own"),
        ({"epochs": 3}, "epochs=3 are of fine-tuning, which takes images with labels: give fine_tune"),
        ({"budget": 2}, "budget=2 must be a fraction to remove, above 0 and below 1"),
        ({"of": "flops"}, "a budget of 'flops' is not known: use one of units, parameters, macs"),
        ({"keep": ["no"]}, "keep names 'no', which is no layer with units"),
    ],
)
def test_settings_that_are_none_are_refused(model, images, given, message):
    with pytest.raises(ValueError) as caught:
        prune(model, images, **given)
    assert str(caught.value).startswith(message)


def test_too_few_images_to_hold_some_out_are_refused(model, images):
    with pytest.raises(ValueError, match=r"^9 images: give 10 or more, of which every 10th is held out"):
        prune(model, images[:9])
