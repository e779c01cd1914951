"""lib.repair: BatchNorms have the moments of what they take in, and nothing else of the network changes."""

import copy

import pytest
import torch
import toys
from torch import nn
from unchanged import same, state_of

from lib import pruning, repair, structure
from lib.network.units import units


def pictures(count, *shape, seed=0):
    return 3 + 2 * torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def small():
    """A BatchNorm, dropout that would drop all, and another BatchNorm."""
    torch.manual_seed(1)
    layers = [nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(1.0), nn.Linear(5, 6), nn.BatchNorm1d(6)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(6, 3)).double().eval()


def test_statistics_are_the_moments_of_what_each_batchnorm_takes_in():
    model, images = small(), pictures(50, 4).double()
    repair.reestimate(model, images)
    first = model[0](images)
    torch.testing.assert_close(model[1].running_mean, first.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(model[1].running_var, first.var(0), rtol=1e-12, atol=0)
    normalised = (first - first.mean(0)) / (first.var(0, unbiased=False) + model[1].eps).sqrt()
    second = model[4]((normalised * model[1].weight + model[1].bias).relu())
    torch.testing.assert_close(model[5].running_mean, second.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(model[5].running_var, second.var(0), rtol=1e-12, atol=0)


def test_statistics_of_parts_are_averaged():
    model, images = small(), pictures(6, 4).double()
    repair.reestimate(model, images, batch=3)
    parts = [model[0](part) for part in images.split(3)]
    torch.testing.assert_close(model[1].running_mean, sum(part.mean(0) for part in parts) / 2, rtol=1e-12, atol=0)
    torch.testing.assert_close(model[1].running_var, sum(part.var(0) for part in parts) / 2, rtol=1e-12, atol=0)


def test_no_part_is_a_single_image():
    model, sizes = small(), []
    model[0].register_forward_hook(lambda module, taken, given: sizes.append(len(given)))
    repair.reestimate(model, pictures(7, 4).double(), batch=2)
    assert sizes == [3, 2, 2]


class Viewing(nn.Sequential):
    def forward(self, x):
        return super().forward(x.view(len(x), -1).view(x.shape))  # which channels-last images do not allow


@pytest.mark.parametrize(("network", "last"), [(nn.Sequential, True), (Viewing, False)])
def test_many_images_pass_in_the_quickest_layout_that_the_network_takes(network, last):
    torch.manual_seed(0)
    model, seen = (
        network(nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3)),
        [],
    )
    model, images = model.double().eval(), pictures(64, 2, 8, 2).double()
    model[1].register_forward_hook(
        lambda module, taken, made: seen.append(taken[0].is_contiguous(memory_format=torch.channels_last))
    )
    repair.reestimate(model, images)
    taken = model[0](images)
    assert seen[-1] is last
    torch.testing.assert_close(model[1].running_mean, taken.mean((0, 2, 3)), rtol=1e-12, atol=0)
    torch.testing.assert_close(model[1].running_var, taken.transpose(0, 1).flatten(1).var(1), rtol=1e-12, atol=0)


def test_only_statistics_change_and_come_back():
    model, images = small(), pictures(9, 4).double()
    before, modes = state_of(model), [(module.training, getattr(module, "momentum", None)) for module in model]
    with repair.reestimated(model, images):
        now = model[1].running_mean.clone()
        assert not torch.equal(now, before[0]["1.running_mean"][0])
        assert [(module.training, getattr(module, "momentum", None)) for module in model] == modes
    assert same(state_of(model), before)
    repair.reestimate(model, images)
    assert torch.equal(model[1].running_mean, now)
    assert {name for name, value in state_of(model)[0].items() if not same(value, before[0][name])} == {
        f"{number}.{name}" for number in (1, 5) for name in ("running_mean", "running_var", "num_batches_tracked")
    }


class WithHead(nn.Module):
    """A BatchNorm behind a layer, and another one in a head that runs in training alone."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.norm, self.head = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.BatchNorm1d(5)
        self.classifier = nn.Linear(5, 3)

    def forward(self, x):
        x = self.first(x)
        return self.classifier(self.norm(x) + self.head(x) if self.training else self.norm(x))


def test_what_does_not_run_keeps_its_statistics():
    model, images = WithHead(), pictures(20, 4)
    for part in images.split(5):
        model(part)
    before = state_of(model.eval())
    repair.reestimate(model, images, batch=10)
    assert (model.norm.num_batches_tracked, model.head.num_batches_tracked) == (2, 4)
    assert {name for name, value in state_of(model)[0].items() if not same(value, before[0][name])} == {
        f"norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
    }


@pytest.mark.parametrize("network", [toys.Plain, toys.Residual, toys.Mlp])
def test_a_network_that_really_shrank_is_repaired_as_a_masked_one_is(network):
    model, (images, _) = toys.make(network).double(), toys.examples(network, 12)
    images = images.double()
    layers = units(model, images[:1])
    scores = torch.rand(sum(unit.size for unit in layers), generator=torch.Generator().manual_seed(3))
    slimming = structure.plan(model, scores, images[:1], budget=0.3, of="units")
    shrunk = slimming.apply(model)
    gone = torch.cat([torch.isin(torch.arange(unit.size), slimming.kept[unit.name], invert=True) for unit in layers])
    order = torch.argsort(gone.double(), descending=True, stable=True)
    repair.reestimate(shrunk, images)
    with pruning.masked(model, order, int(gone.sum()), layers), repair.reestimated(model, images):
        torch.testing.assert_close(shrunk(images), model(images), rtol=1e-9, atol=1e-12)


def test_points_of_a_curve_are_repaired_but_the_whole_network_is_left_as_it_is():
    model, (images, labels) = toys.make(toys.Residual), toys.examples(toys.Residual, 60)
    layers, others = units(model, images[:1]), pictures(40, *images.shape[1:])
    total = sum(unit.size for unit in layers)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(2))
    before = state_of(model)
    table = pruning.curve(model, order, images, labels, 5, repair_on=others)
    assert same(state_of(model), before)
    for k, accuracy in zip(table["pruned"], table["accuracy"], strict=True):
        copied = copy.deepcopy(model)
        with pruning.masked(copied, order, k):
            if k:
                repair.reestimate(copied, others)
            right = (copied(images).argmax(1) == labels).double().mean().item()
        assert accuracy == right
    plain = pruning.curve(model, order, images, labels, 5)
    assert plain["accuracy"].tolist() != table["accuracy"].tolist()
    assert plain.drop(columns="accuracy").equals(table.drop(columns="accuracy"))


def breaking():
    model = small()
    with torch.no_grad():
        model[7].weight.fill_(torch.nan)
    return model


@pytest.mark.parametrize(
    ("make", "images", "message"),
    [
        (small, pictures(1, 4).double(), "statistics of 1 image: give two or more"),
        (small, pictures(0, 4).double(), "statistics of 0 images: give two or more"),
        (small, pictures(9, 5).double(), r"Sequential does not take images of shape \(5,\) each"),
        (small, None, r"images must be a tensor"),
        (breaking, pictures(9, 4).double(), "logits are not finite"),
        (
            lambda: nn.Sequential(nn.Linear(4, 3)).eval(),
            pictures(9, 4),
            "Sequential has no BatchNorm with running stat",
        ),
        (lambda: small().train(), pictures(9, 4).double(), "Sequential is in training mode: call model.eval() first"),
    ],
)
def test_what_cannot_be_repaired_is_refused_and_left_as_it_was(make, images, message):
    model = make()
    before = state_of(model)
    with pytest.raises(ValueError, match=message.replace("()", r"\(\)")):
        repair.reestimate(model, images)
    with pytest.raises(ValueError, match=message.replace("()", r"\(\)")), repair.reestimated(model, images):
        pass
    assert same(state_of(model), before) or make is breaking
    for norm in (model[1], model[5]) if len(model) > 1 else ():
        assert not norm.running_mean.any() and norm.momentum == 0.1


# ---- against the whole network ------------------------------------------------------------------------------------


def without(model, kept):
    """`small()` whose first layer has these outputs alone."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name in ("weight", "bias"):
            setattr(model[0], name, nn.Parameter(getattr(model[0], name)[kept]))
        model[1] = nn.BatchNorm1d(len(kept)).double().eval()
        model[4].weight = nn.Parameter(model[4].weight[:, kept])
    return model


@pytest.mark.parametrize("batch", [None, 3])
def test_a_network_of_which_nothing_went_keeps_its_statistics_bit_for_bit(batch):
    model, images = small(), pictures(9, 4).double()
    repair.reestimate(model, pictures(500, 4, seed=1).double())
    same_again = copy.deepcopy(model)
    repair.Reference(model, images, batch=batch).repair(same_again, {})
    for name in ("1.running_mean", "1.running_var", "5.running_mean", "5.running_var"):
        assert torch.equal(same_again.state_dict()[name], model.state_dict()[name])


def test_statistics_move_by_what_shrinking_changed_on_the_images():
    model, images, kept = small(), pictures(9, 4).double(), torch.tensor([4, 0, 1])
    repair.reestimate(model, pictures(500, 4, seed=1).double())
    smaller, whole, before = without(model, kept), copy.deepcopy(model), state_of(model)
    smaller[1].running_mean, smaller[1].running_var = model[1].running_mean[kept], model[1].running_var[kept]
    repair.reestimate(whole, images)
    found = copy.deepcopy(smaller)
    repair.reestimate(found, images)
    repair.Reference(model, images).repair(smaller, {"1": kept})
    assert same(state_of(model), before)
    torch.testing.assert_close(smaller[1].running_mean, model[1].running_mean[kept], rtol=1e-12, atol=0)
    moved = found[5].running_mean - whole[5].running_mean
    torch.testing.assert_close(smaller[5].running_mean, model[5].running_mean + moved, rtol=1e-12, atol=0)
    eps = model[5].eps
    ratio = (found[5].running_var + eps) / (whole[5].running_var + eps)
    expected = (model[5].running_var + eps) * ratio - eps
    torch.testing.assert_close(smaller[5].running_var, expected.clamp_min(0), rtol=1e-9, atol=0)


def test_with_the_statistics_of_the_same_images_it_is_estimating_anew():
    model, images, kept = small(), pictures(50, 4).double(), torch.tensor([0, 2])
    repair.reestimate(model, images)
    one = without(model, kept)
    one[1].running_mean, one[1].running_var = model[1].running_mean[kept], model[1].running_var[kept]
    other = copy.deepcopy(one)
    repair.Reference(model, images).repair(one, {"1": kept})
    repair.reestimate(other, images)
    for number in (1, 5):
        torch.testing.assert_close(one[number].running_mean, other[number].running_mean, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(one[number].running_var, other[number].running_var, rtol=1e-9, atol=1e-12)


def test_few_images_come_closer_to_many_than_they_do_alone():
    model, many, kept = small(), pictures(20_000, 4, seed=1).double(), torch.tensor([0, 1, 3, 4])
    repair.reestimate(model, many)
    smaller = without(model, kept)
    smaller[1].running_mean, smaller[1].running_var = model[1].running_mean[kept], model[1].running_var[kept]
    truth = copy.deepcopy(smaller)
    repair.reestimate(truth, many)
    far = {"alone": 0.0, "referred": 0.0}
    for seed in range(2, 22):
        images = pictures(20, 4, seed=seed).double()
        for name in far:
            found = copy.deepcopy(smaller)
            if name == "alone":
                repair.reestimate(found, images)
            else:
                repair.Reference(model, images).repair(found, {"1": kept})
            far[name] += (found[5].running_mean - truth[5].running_mean).square().sum().item()
    assert far["referred"] < 0.5 * far["alone"]


def test_where_it_fails_the_network_stays_as_it_was():
    model = small()
    reference = repair.Reference(model, pictures(9, 4).double())
    broken = copy.deepcopy(model)
    broken[4].weight.data[0] = torch.inf
    before = state_of(broken)
    with pytest.raises(ValueError, match=r"^logits are not finite"):
        reference.repair(broken, {})
    assert same(state_of(broken), before)


@pytest.mark.parametrize(
    ("of", "kept", "said"),
    [
        (slice(2), {}, r"^5 is a BatchNorm that the whole network has not"),
        (slice(None), {"1": torch.tensor([0, 9])}, r"^1: channels up to 9 of 5 cannot be kept"),
        (slice(None), {"1": torch.tensor([0, 1])}, r"^1: it has 5 channels, and 2 of 5 were kept"),
    ],
)
def test_a_network_of_other_batchnorms_is_refused_and_stays_as_it_was(of, kept, said):
    model, images = small(), pictures(9, 4).double()
    reference, before = repair.Reference(model[of].eval(), images), state_of(model)
    with pytest.raises(ValueError, match=said):
        reference.repair(model, kept)
    assert same(state_of(model), before)


def test_where_channels_cancel_on_the_images_at_hand_the_variance_is_the_one_found_there():
    whole = nn.Sequential(nn.Conv2d(2, 1, 1, bias=False), nn.BatchNorm2d(1), nn.Flatten()).eval()
    nn.init.constant_(whole[0].weight[:, :1], 1.0)
    nn.init.constant_(whole[0].weight[:, 1:], -1.0)
    whole[1].running_var.fill_(0.01)
    grey = torch.randn(64, 1, 4, 4, generator=torch.Generator().manual_seed(0)).expand(-1, 2, -1, -1)
    reference, small = repair.Reference(whole, grey), copy.deepcopy(whole)
    small[1].num_batches_tracked.fill_(5000)
    with torch.no_grad():
        small[0].weight[:, 1:] = 0
    reference.repair(small, {})
    assert small[1].running_var.item() == pytest.approx(grey[:, 0].var().item(), rel=1e-4)
    assert small[1].num_batches_tracked == 5000
