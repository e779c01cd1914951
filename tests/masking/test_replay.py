"""lib.replay: passes with one unit off are those of a mask, or none."""

import numpy as np
import pytest
import torch
from awkward import Awkward, Columns, pictures, randomised, small
from masked_passes import one_by_one, whole_passes
from torch import nn
from torch.nn import functional

from lib import oracle
from lib.images import networks
from lib.network.units import units
from lib.pruning import curve, masked, steps


def test_equals_one_masked_pass_per_unit_where_units_are_columns():
    torch.manual_seed(0)
    model, images = Columns().double().eval(), pictures(4, 5, 5, 5)
    passes, scores = whole_passes(model, lambda: oracle.score(model, [(images, None)]), count=3)
    assert passes == 2  # with nothing off, against which the replay is held: all, and those that differ most
    torch.testing.assert_close(scores["output"], one_by_one(model, images)["output"], rtol=1e-9, atol=1e-14)


def test_equals_one_masked_pass_per_unit_on_an_awkward_network():
    torch.manual_seed(0)
    model, images, labels = randomised(Awkward().double()), pictures(5, 2, 6, 6), torch.tensor([0, 1, 2, 0, 1])
    passes, scores = whole_passes(model, lambda: oracle.score(model, [(images, labels)]), count=3)
    assert passes == 2  # with nothing off, against which the replay is held: all, and those that differ most
    assert [unit.name for unit in units(model, images[:1])].index("unused") == 5
    for name, expected in one_by_one(model, images, labels).items():
        torch.testing.assert_close(scores[name], expected, rtol=1e-9, atol=1e-14)
        assert (expected > 0).sum() == 4 + 6 + 6 + 6 + 5 + 5 + 1 + 5  # all but those of the unused layer


def test_equals_one_masked_pass_per_unit_on_the_smoke_profiles_network():
    model, images = randomised(networks.build("resnet8", 10, 1)), pictures(4, 1, 8, 8, dtype=torch.float32)
    passes, scores = whole_passes(model, lambda: oracle.score(model, [(images, torch.arange(4))]), count=3)
    assert passes == 2  # with nothing off, against which the replay is held: all, and those that differ most
    expected = one_by_one(model, images, torch.arange(4))
    for name, values in expected.items():
        torch.testing.assert_close(scores[name], values, rtol=1e-3, atol=1e-6 * values.max().item())
    assert torch.equal(scores["output"] == 0, expected["output"] == 0)  # of units that a ReLU silences anyway
    assert 0 < (scores["output"] == 0).sum() < 336 / 4


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2", "densenet"])
def test_equals_masked_passes_on_a_sample_of_torchvisions_networks(name):
    torch.manual_seed(0)
    model, images = randomised(small(name)), pictures(3, 3, 32, 32, dtype=torch.float32)
    total = sum(unit.size for unit in units(model, images[:1]))
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    counts, batches = range(9), [(images, None)]
    passes, table = whole_passes(model, lambda: oracle.interactions(model, order, counts, batches), count=3)
    assert passes == 1 + len(counts) + 2  # for the joint changes; for the single ones, with nothing off
    expected = one_by_one(model, images, sample=order[:8].tolist())["output"]
    scale = model(images).square().sum(1).mean().item()
    assert expected.max() > 1e-8 * scale
    # Lengths, not their squares: float32 rounds the logits, so a length is off by some 1e-7 of theirs.
    lengths = np.sqrt(np.diff(table["single"].to_numpy()).clip(min=0))
    np.testing.assert_allclose(lengths, np.sqrt(expected.numpy()), rtol=1e-3, atol=1e-6 * scale**0.5)


class Squeezed(nn.Module):
    """Drops the axis of whatever comes alone."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 2, 3, stride=16)

    def forward(self, x):
        return functional.adaptive_avg_pool2d(self.b(self.a(x).relu()), 1).squeeze()


def test_a_pair_that_is_left_over_alone_has_logits_too():
    """Of 9 pairs of the first layer 8 go together, since their values are so many."""
    torch.manual_seed(0)
    model, images, labels = Squeezed().double().eval(), pictures(3, 1, 210, 210), torch.tensor([0, 1, 1])
    scores = oracle.score(model, [(images, labels)])
    for name, expected in one_by_one(model, images, labels).items():
        torch.testing.assert_close(scores[name], expected, rtol=1e-12, atol=1e-15)


def test_a_batch_of_one_whose_axis_is_dropped_is_refused():
    images, labels = pictures(3, 1, 16, 16), torch.tensor([0, 1, 1])
    batches = [*zip(images.split(2), labels.split(2), strict=True)]
    with pytest.raises(ValueError, match=r"shape \(2,\) for 1 image, .* drops the axis of a batch of one"):
        oracle.score(Squeezed().double().eval(), batches)


class Clamped(nn.Sequential):
    def __call__(self, x):
        return super().__call__(x.clamp(-1, 1))


def with_a_hook(*layers):
    model = nn.Sequential(*layers)
    model.register_forward_pre_hook(lambda module, taken: (taken[0].clamp(-1, 1),))
    return model


class Guarded(nn.Sequential):
    """Tracing sees stand-ins, which are no tensors."""

    def forward(self, x):
        return super().forward(x.clamp(-1, 1) if isinstance(x, torch.Tensor) else x)


class WritesOver(nn.Sequential):
    """Tracing does not see that a part of a tensor is another name for the same numbers."""

    def forward(self, x):
        hidden = self[1](self[0](x))
        hidden[:, :3].clamp_(max=1)
        return self[3](self[2](hidden))


def with_a_hook_on_batchnorm(flatten, first, *rest):
    model = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), flatten, *rest)
    model[1].running_var[:] = 0.1
    model[1].register_forward_hook(lambda module, taken, made: made.clamp(max=8))
    return model


@pytest.mark.parametrize("make", [Clamped, with_a_hook, Guarded, WritesOver, with_a_hook_on_batchnorm])
def test_what_runs_beside_what_is_traced_counts(make):
    """Only the images after the first few are such that it does anything."""
    torch.manual_seed(0)
    model = make(nn.Flatten(), nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).double().eval()
    images, labels = torch.cat([pictures(6, 3, 1, 1).clamp(-1, 1), 50 * pictures(6, 3, 1, 1)]), torch.arange(12) % 2
    for name, expected in one_by_one(model, images, labels).items():
        torch.testing.assert_close(oracle.score(model, [(images, labels)])[name], expected, rtol=1e-12, atol=0)
    order, found = torch.arange(5), []
    for k in steps(5, 3):
        with masked(model, order, k, example=images[:1]):
            found.append((model(images).argmax(1) == labels).double().mean().item())
    assert curve(model, order, images, labels, 3)["accuracy"].tolist() == found
