"""lib.shrinking.agreeing: whether logits are alike, and what networks are tried on."""

import math

import pytest
import torch
from shrunk import noise
from torch import nn
from torch.nn import functional

from lib import importance, structure
from lib.network.units import units
from lib.shrinking.agreeing import agree, is_coarse, of_another_size, shows_nothing

LOGITS = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 4.0], [3.0, 2.0, 0.0], [-1.0, 5.0, 1.0]])


@pytest.mark.parametrize("common", [0.0, 100.0, torch.tensor([1e3, 0, -1e3])])
@pytest.mark.parametrize(("share", "right"), [(1e-5, True), (1e-3, False)])
def test_logits_may_differ_by_a_share_of_how_far_they_vary_between_examples(common, share, right):
    truth = LOGITS.double() + common
    assert agree(truth + share * LOGITS, truth) is right
    assert agree(truth[:, :2], truth) is False


def test_each_example_counts_by_itself():
    truth = LOGITS.clone()
    truth[0] *= 1e4
    assert not agree(truth + torch.tensor([[0.0], [0.0], [0.0], [0.1]]), truth)


def test_what_is_not_finite_must_be_the_same():
    mask = torch.tensor([False, True, False])
    truth = LOGITS.masked_fill(mask, -math.inf)
    assert agree(truth.clone(), truth)
    assert not agree(truth + 0.1, truth)
    for other in (math.inf, math.nan, 0.0):
        assert not agree(LOGITS.masked_fill(mask, other), truth)
    some = LOGITS.clone()
    some[1] = math.nan
    assert agree(some.clone(), some) and not agree(LOGITS, some) and not agree(some, LOGITS)
    nothing = torch.full((4, 3), math.nan)
    assert not agree(nothing, nothing)


def test_what_shows_nothing():
    alike = LOGITS[:1].repeat(4, 1)
    assert shows_nothing(alike) and shows_nothing(alike.masked_fill(alike == 1, -math.inf))
    assert not shows_nothing(LOGITS) and not shows_nothing(LOGITS.masked_fill(LOGITS == 1, -math.inf))


def test_what_leaves_too_little_to_tell():
    assert not is_coarse(LOGITS + 1e4) and is_coarse(LOGITS + 1e6) and not is_coarse((LOGITS + 1e6).double())
    assert is_coarse(LOGITS[:1].repeat(4, 1))
    assert not is_coarse(LOGITS.masked_fill(LOGITS == 1, -math.inf))


class Counting(nn.Module):
    """Two convolutions, and what is done between them and with the logits."""

    def __init__(self, between, last=lambda logits: logits):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.classifier = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 10, 3), nn.Linear(10, 4)
        self.between, self.last = between, last

    def forward(self, x):
        x = self.between(functional.relu(self.first(x)), x.shape[-1])
        return self.last(self.classifier(functional.relu(self.second(x)).mean((2, 3))))


def by_count(x, size):
    return x / x.shape[1] ** 0.5


def if_large(x, size):
    return by_count(x, size) if size > 32 else x


def unchanged(x, size):
    return x


def without_the_third(logits):
    return logits.masked_fill(torch.tensor([False, False, True, False]), -math.inf)


STAYS = "^all units of first stay, since the network was tried without some of them"


@pytest.mark.parametrize("last", [without_the_third, lambda x: x + 1e4, lambda x: x + 1e6, lambda x: x - 1e3])
@pytest.mark.parametrize("between", [by_count, unchanged])
@pytest.mark.filterwarnings("ignore:.* gives the same logits for all")
def test_neither_infinity_nor_what_logits_have_in_common_hides_a_difference(between, last, recwarn):
    model, images = Counting(between, last).eval(), noise(5, 3, 16, 16)
    scores = importance.score(model, [(images, None)], ["l2"])["l2"]
    plan = structure.plan(model, scores, images[:1], budget=0.3)
    said = [str(warning.message) for warning in recwarn if "all units" in str(warning.message)]
    assert ("first" in plan.kept) is (between is unchanged) is (not said)
    smaller = plan.apply(model).double()
    with torch.no_grad(), plan.masked(model.double()):
        torch.testing.assert_close(smaller(images.double()), model(images.double()), rtol=1e-9, atol=1e-7)


def test_what_differs_for_larger_images_alone_stays():
    model, images = Counting(if_large).eval(), noise(5, 3, 24, 24)
    with pytest.warns(UserWarning, match=STAYS):
        plan = structure.plan(model, torch.rand(22), images[:1], budget=0.3)
    smaller, larger = plan.apply(model), noise(5, 3, 48, 48)
    assert "first" not in plan.kept and "second" in plan.kept
    with torch.no_grad(), plan.masked(model):
        torch.testing.assert_close(smaller(larger), model(larger), rtol=1e-4, atol=1e-6)


def of_multiples(size, by):
    def between(x, here):
        assert here % by == 0 and here >= size
        return x

    return Counting(between).eval()


@pytest.mark.parametrize(("model", "size"), [
    (Counting(unchanged).eval(), 36), (of_multiples(24, 24), 48), (of_multiples(24, 100), None),
])  # fmt: skip
def test_another_size_is_one_that_the_network_takes(model, size):
    example = noise(1, 3, 24, 24)
    layers = units(Counting(unchanged).eval(), example)
    found = of_another_size(model, layers, example)
    assert (None if found is None else tuple(found.shape)) == (size and (3, 3, size, size))
    if size is not None:
        assert found[0, :, 0, 0].equal(example[0, :, 0, 0]) and found[0].unique().equal(example.unique())


def test_vectors_have_no_other_size():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    assert of_another_size(model, units(model, noise(1, 4)), noise(1, 4)) is None


@pytest.mark.parametrize(
    ("layer", "value", "what"),
    [("classifier", math.nan, "NaN"), ("first", math.nan, "NaN"), ("second", math.inf, "NaN|no finite logit")],
)
def test_networks_that_give_nothing_to_compare_are_refused(layer, value, what):
    model, example = Counting(unchanged).eval(), noise(1, 3, 16, 16)
    plan = structure.plan(model, torch.rand(22), example, budget=0.3)
    model.get_submodule(layer).bias.data[1] = value
    for call in (lambda: structure.plan(model, torch.rand(22), example, budget=0.3), lambda: plan.apply(model)):
        with pytest.raises(ValueError, match=f"^Counting gives ({what}) for the example, so that nothing would show"):
            call()


def test_channels_that_are_normalised_by_their_own_mean_shrink():
    """With a channel off that is 0 / 0, but no layer takes it then."""
    model, images = Counting(lambda x, size: x / x.mean((2, 3), keepdim=True)).eval(), noise(5, 3, 16, 16)
    plan = structure.plan(model, torch.arange(22.0), images[:1], budget=0.2, of="units")
    assert "first" in plan.kept
    with torch.no_grad(), plan.masked(model):
        torch.testing.assert_close(plan.apply(Counting(model.between).eval())(images), model(images))
