"""lib.oracle: by hand on tiny networks, and against the obvious way, one masked pass per unit, on all others."""

from copy import deepcopy
from math import exp, inf, log, nan

import numpy as np
import pytest
import toys
import torch
from torch import nn
from torch.nn import functional

from lib import networks, oracle
from lib.pruning import masked
from lib.units import units


class TwoUnits(nn.Module):
    """Inputs (M, 2), of which each unit takes one, then a ReLU, then `weights` (classes, 2)."""

    def __init__(self, *weights):
        super().__init__()
        self.hidden, self.classifier = nn.Linear(2, 2, bias=False), nn.Linear(2, len(weights), bias=False)
        self.hidden.weight.data = torch.eye(2, dtype=torch.float64)
        self.classifier.weight.data = torch.tensor(weights, dtype=torch.float64)

    def forward(self, x):
        return self.classifier(functional.relu(self.hidden(x)))


class Awkward(nn.Module):
    """What replaying may stumble over: sizes taken early, shared layers side by side, values overwritten, unused branches."""

    def __init__(self):
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 6, 3, groups=2)
        self.depthwise, self.shared = nn.Conv2d(6, 6, 3, groups=6, padding=1), nn.Conv2d(3, 5, 2)
        self.unused, self.late = nn.Conv2d(5, 3, 1), nn.Conv2d(2, 5, 3)
        self.activation, self.norm = nn.ReLU(inplace=True), nn.BatchNorm2d(5)
        self.attention, self.classifier = nn.Linear(5, 5), nn.Linear(5, 3)
        self.register_buffer("scale", torch.rand(5, 1, 1) + 0.5)

    def forward(self, images):
        count = images.size(0)
        x = self.stem(images)
        self.activation(x)
        left, right = functional.relu6(self.depthwise(self.grouped(x))).chunk(2, 1)
        x = self.norm(self.shared(left)) + self.shared(right).flip(3) * self.scale
        self.unused(x)
        x = x.add_(self.late(images)[..., :3, :3])
        x = x * self.attention(x.mean((2, 3))).sigmoid().view(count, 5, 1, 1)
        return self.classifier(x.permute(0, 2, 3, 1).reshape(count, -1, 5).tanh()).amax(1)


class DependsOnData(nn.Module):
    """Of which torch.fx cannot know the way: it depends on the whole batch."""

    def __init__(self):
        super().__init__()
        self.hidden, self.classifier = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.hidden(x)
        return self.classifier(x.relu() if x.mean() > 0 else x.sigmoid())


class DependsOnTracing(DependsOnData):
    """Which torch.fx traces without complaint, and wrongly."""

    def forward(self, x):
        x = self.hidden(x)
        return self.classifier(x.relu() if isinstance(x, torch.Tensor) else x.sigmoid())


def one_by_one(model, images, labels=None, sample=None):
    """The specification: for each unit (of `sample`), a pass with it off; logits and losses are compared in float64."""
    layers = units(model, images[:1])
    total = sum(unit.size for unit in layers)
    loss = lambda logits: functional.cross_entropy(logits.double(), labels).item()
    found = {"output": [], "loss": []}
    with torch.no_grad():
        intact = model(images)
        for unit in range(total) if sample is None else sample:
            order = torch.cat([torch.tensor([unit]), torch.arange(unit), torch.arange(unit + 1, total)])
            with masked(model, order, 1, layers):
                changed = model(images)
            found["output"].append((changed.double() - intact.double()).square().sum(1).mean().item())
            found["loss"].append(nan if labels is None else abs(loss(changed) - loss(intact)))
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}


def randomised(model, seed=0):
    """The same model, with weights and buffers that make every unit's effect visible; in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in ((module.weight, 0.5, 1.5), (module.bias, -0.3, 0.3), (module.running_var, 0.5, 1.5)):
                values.data.uniform_(low, high, generator=generator)
            module.running_mean.uniform_(-0.3, 0.3, generator=generator)
    return model.eval()


def pictures(*shape, seed=1, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def whole_passes(model, run, count):
    """How often `run()` sends at least `count` examples through the model as a whole, and what it returns."""
    seen = []
    handle = model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    result = run()
    handle.remove()
    return sum(size >= count for size in seen), result


# ---- one unit off --------------------------------------------------------------------------------------------------


def test_two_units_by_hand():
    model = TwoUnits([1.0, 0.0], [0.0, 2.0]).eval()
    images = torch.tensor([[1.0, 3.0], [2.0, -1.0]], dtype=torch.float64)  # logits (1, 6) and (2, 0)
    scores = oracle.score(model, [(images, torch.tensor([0, 0]))])
    assert scores["output"].tolist() == [(1 + 4) / 2, (36 + 0) / 2]
    loss = lambda a, b: log(exp(a) + exp(b)) - a
    before = loss(1, 6) + loss(2, 0)
    expected = [abs(loss(0, 6) + loss(0, 0) - before) / 2, abs(loss(1, 0) + loss(2, 0) - before) / 2]
    assert scores["loss"].tolist() == pytest.approx(expected, rel=1e-12)


def test_losses_that_rise_and_fall_cancel_in_the_mean():
    model = TwoUnits([1.0, 0.0], [0.0, 1.0]).eval()
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    scores = oracle.score(model, [(images, torch.tensor([0, 1]))])  # log 2 off one, log 2 on the other, but for the intact loss
    rise, fall = log(2) - (log(exp(1) + 1) - 1), log(2) - log(exp(1) + 1)
    assert rise > 0 > fall
    assert scores["loss"].tolist() == pytest.approx([abs(rise + fall) / 2, 0.0], rel=1e-12)
    assert scores["output"].tolist() == [1.0, 0.0]


def test_scores_are_one_float64_per_unit_and_loss_needs_labels():
    model, (images, labels) = toys.make(toys.Residual), toys.examples(toys.Residual, 3)
    for scores in (oracle.score(model, [(images, labels)]), oracle.score(model, [(images, None)])):
        assert all(values.shape == (13,) and values.dtype == torch.float64 for values in scores.values())
        assert all(values.device.type == "cpu" and not values.requires_grad for values in scores.values())
    assert set(scores) == {"output"}


@pytest.mark.parametrize("network", toys.NETWORKS)
def test_equals_one_masked_pass_per_unit_without_any(network):
    model, (images, labels) = toys.make(network), toys.examples(network, 7)
    passes, scores = whole_passes(model, lambda: oracle.score(model, [(images, labels)]), count=3)
    assert passes == 0
    for name, expected in one_by_one(model, images, labels).items():
        torch.testing.assert_close(scores[name], expected, rtol=1e-9, atol=1e-14)


def test_equals_one_masked_pass_per_unit_on_an_awkward_network():
    torch.manual_seed(0)
    model, images, labels = randomised(Awkward().double()), pictures(5, 2, 6, 6), torch.tensor([0, 1, 2, 0, 1])
    passes, scores = whole_passes(model, lambda: oracle.score(model, [(images, labels)]), count=3)
    assert passes == 0
    assert [unit.name for unit in units(model, images[:1])].index("unused") == 4
    for name, expected in one_by_one(model, images, labels).items():
        torch.testing.assert_close(scores[name], expected, rtol=1e-9, atol=1e-14)
        assert (expected > 0).sum() == 4 + 6 + 6 + 5 + 5 + 5  # all but those of the unused layer


def test_equals_one_masked_pass_per_unit_on_the_smoke_profiles_network():
    model, images, labels = randomised(networks.build("resnet8", 10, 1)), pictures(6, 1, 8, 8), torch.arange(6)
    scores = oracle.score(model, [(images, labels)])  # float32
    expected = one_by_one(model, images.float(), labels)
    for name in expected:
        torch.testing.assert_close(scores[name], expected[name], rtol=1e-3, atol=1e-6 * expected[name].max().item())
    model = model.double()
    scores, expected = oracle.score(model, [(images, labels)]), one_by_one(model, images, labels)
    for name in expected:
        torch.testing.assert_close(scores[name], expected[name], rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "vgg11", "densenet"])
def test_equals_masked_passes_on_a_sample_of_torchvisions_networks(name):
    from torchvision.models import DenseNet

    torch.manual_seed(0)
    model = DenseNet(4, (2, 2), 6, bn_size=2, num_classes=5) if name == "densenet" else networks.build(name, 5)
    model, images = randomised(model), pictures(3, 3, 32, 32, dtype=torch.float32)
    total = sum(unit.size for unit in units(model, images[:1]))
    sample = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:20]
    order = torch.cat([sample, torch.arange(total)[~torch.isin(torch.arange(total), sample)]])
    run = lambda: oracle.interactions(model, order, range(21), [(images, None)])
    passes, table = whole_passes(model, run, count=3)
    assert passes == 1 + 21  # for the joint changes; none for the single ones
    expected = one_by_one(model, images, sample=sample.tolist())["output"]
    scale = model(images).square().sum(1).mean().item()
    assert expected.max() > 1e-6 * scale
    np.testing.assert_allclose(np.diff(table["single"]), expected, rtol=2e-3, atol=1e-11 * scale)


@pytest.mark.parametrize(("network", "count"), [(DependsOnData, 4), (DependsOnTracing, 4)])
def test_a_network_that_cannot_be_traced_takes_a_pass_per_unit(network, count):
    torch.manual_seed(0)
    model, images, labels = network().double().eval(), pictures(5, 3), torch.tensor([0, 1, 1, 0, 1])
    passes, scores = whole_passes(model, lambda: oracle.score(model, [(images, labels)]), count=5)
    assert passes == 1 + count
    for name, expected in one_by_one(model, images, labels).items():
        torch.testing.assert_close(scores[name], expected, rtol=1e-12, atol=0)


def test_a_unit_that_a_relu_silences_anyway_changes_nothing_at_all():
    model, images = randomised(networks.build("resnet8", 10, 1)), pictures(4, 1, 8, 8)
    model.bn1.weight.data[3] = 0.0
    model.bn1.bias.data[3] = -1.0
    scores = oracle.score(model, [(images, torch.arange(4))])
    assert scores["output"][3] == scores["loss"][3] == 0.0
    assert (scores["output"] == 0).sum() == 1


@pytest.mark.parametrize("pairs", [1, 3, 1000])
def test_how_many_pairs_go_at_once_changes_nothing(pairs, monkeypatch):
    model, (images, labels) = toys.make(toys.Residual), toys.examples(toys.Residual, 7)
    before = oracle.score(model, [(images, labels)])
    monkeypatch.setattr(oracle, "_ELEMENTS", {"cpu": 1, "cuda": 1})
    monkeypatch.setattr(oracle, "_FEWEST_PAIRS", pairs)
    for name, values in oracle.score(model, [(images, labels)]).items():
        torch.testing.assert_close(values, before[name], rtol=1e-10, atol=1e-15)


def test_neither_the_batching_nor_the_order_of_examples_matters():
    model, (images, labels) = toys.make(toys.Plain), toys.examples(toys.Plain, 9)
    whole, shuffled = oracle.score(model, [(images, labels)]), torch.randperm(9, generator=torch.Generator().manual_seed(0))
    parts = ((images[part], labels[part], part) for part in shuffled.split([1, 0, 5, 3]))  # a stream, with indices, one empty
    for name, values in oracle.score(model, parts).items():
        torch.testing.assert_close(values, whole[name], rtol=1e-10, atol=1e-15)


def test_the_model_is_left_as_it_was_found():
    model, (images, labels) = toys.make(toys.Plain), toys.examples(toys.Plain, 5)
    model.layers[0].weight.grad = torch.ones_like(model.layers[0].weight)
    model.layers[1].bias.requires_grad_(False)
    seen = []
    model.layers[2].register_forward_hook(lambda *_: seen.append(1))
    before, state, pixels, random = deepcopy(model), deepcopy(model.state_dict()), images.clone(), torch.get_rng_state()
    order = torch.arange(7)
    oracle.score(model, [(images, labels)]), oracle.interactions(model, order, [3], [(images, labels)])
    assert torch.equal(torch.get_rng_state(), random) and torch.equal(images, pixels)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in before.parameters()]
    assert torch.equal(model.layers[0].weight.grad, before.layers[0].weight.grad)
    assert [str(module) for module in model.modules()] == [str(module) for module in before.modules()]  # `inplace` too
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in before.modules()]


def test_runs_within_inference_mode():
    model, (images, labels) = toys.make(toys.Mlp), toys.examples(toys.Mlp, 5)
    expected = oracle.score(model, [(images, labels)])
    with torch.inference_mode():
        found = oracle.score(model, [(images, labels)])
    assert all(torch.equal(found[name], values) for name, values in expected.items())


# ---- several units off ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "joint", "ratio"),
    [
        (([1.0, 0.0], [0.0, 1.0]), 1.0 + 1.0, 1.0),  # on different logits: independent
        (([1.0, 1.0], [0.0, 0.0]), (1.0 + 1.0) ** 2, 2.0),  # on the same logit: both together matter more
        (([1.0, -1.0], [0.0, 0.0]), 0.0, 0.0),  # the two cancel, so nothing changes without both
    ],
)
def test_interactions_by_hand(weights, joint, ratio):
    images = torch.ones(3, 2, dtype=torch.float64)
    table = oracle.interactions(TwoUnits(*weights).eval(), torch.tensor([1, 0]), [0, 1, 2], [(images, None)])
    assert table.columns.tolist() == ["pruned", "joint", "single", "ratio"]
    assert table["pruned"].tolist() == [0, 1, 2]
    assert table["joint"].tolist() == [0.0, 1.0, joint]
    assert table["single"].tolist() == [0.0, 1.0, 2.0]
    assert table["ratio"].tolist() == pytest.approx([nan, 1.0, ratio], nan_ok=True)


def test_units_that_stand_in_for_each_other_have_no_finite_ratio():
    class Either(TwoUnits):
        def forward(self, x):
            return self.classifier(self.hidden(x).amax(1, keepdim=True).expand(-1, 2))

    table = oracle.interactions(Either([1.0, 0.0]).eval(), torch.arange(2), [2], [(torch.ones(1, 2).double(), None)])
    assert table[["joint", "single", "ratio"]].iloc[0].tolist() == [1.0, 0.0, inf]


def test_interactions_are_means_over_all_batches_in_the_given_order():
    model, (images, labels) = toys.make(toys.Residual), toys.examples(toys.Residual, 8)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(3))
    table = oracle.interactions(model, order, [2, 13, 5], ((images[part], labels[part]) for part in torch.arange(8).split(3)))
    single, layers = one_by_one(model, images)["output"], units(model, images[:1])
    for row in table.itertuples():
        with torch.no_grad(), masked(model, order, row.pruned, layers):
            joint = model(images)
        assert row.joint == pytest.approx((joint - model(images)).square().sum(1).mean().item(), rel=1e-12)
        assert row.single == pytest.approx(single[order[: row.pruned]].sum().item(), rel=1e-9)
        assert row.ratio == pytest.approx(row.joint / row.single)


# ---- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 2], "from 0 to 1"), ([-1, 0], "from 0 to 1"), ([0.0, 1.0], "whole numbers"), ([0], r"2 images.*shape \(1,\)")],
)
def test_refuses_wrong_labels(labels, message):
    model, images = toys.make(toys.Mlp), toys.examples(toys.Mlp, 2)[0]
    with pytest.raises(ValueError, match=message):
        oracle.score(model, [(images, torch.tensor(labels))])


def test_refuses_labels_in_some_batches_only():
    model, (images, labels) = toys.make(toys.Mlp), toys.examples(toys.Mlp, 2)
    for batches in ([(images, labels), (images, None)], [(images, None), (images, labels)]):
        with pytest.raises(ValueError, match="some batches have labels"):
            oracle.score(model, batches)


@pytest.mark.parametrize("batches", [[], [(torch.zeros(0, 4), None)]])
def test_refuses_no_examples(batches):
    model = toys.make(toys.Mlp)
    for run in (lambda: oracle.score(model, batches), lambda: oracle.interactions(model, torch.arange(8), [1], batches)):
        with pytest.raises(ValueError, match="no examples"):
            run()


def test_refuses_what_is_not_finite():
    images = toys.examples(toys.Mlp, 2)[0]
    model = toys.make(toys.Mlp)
    with pytest.raises(ValueError, match="not finite; check the model's weights and its inputs"):
        oracle.score(model, [(images / 0, None)])

    class Inverse(TwoUnits):
        def forward(self, x):
            return self.classifier(1 / self.hidden(x))

    with pytest.raises(ValueError, match="not finite with a unit off"):
        oracle.score(Inverse([1.0, 1.0]).eval(), [(torch.ones(2, 2).double(), None)])


def test_refuses_training_mode_and_outputs_that_are_no_logits():
    model, images = toys.make(toys.Plain), toys.examples(toys.Plain, 2)[0]
    with pytest.raises(ValueError, match="training mode"):
        oracle.score(model.train(), [(images, None)])

    class Maps(nn.Sequential):
        def forward(self, x):
            return super().forward(x)

    with pytest.raises(ValueError, match=r"Maps gives .*not logits"):
        oracle.score(Maps(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)).eval(), [(torch.ones(1, 1, 2, 2), None)])


@pytest.mark.parametrize(("order", "count"), [([0, 0, 2, 3, 4, 5, 6, 7], 2), ([0, 1], 1), (range(8), 9), (range(8), -1)])
def test_interactions_refuse_a_wrong_order_or_count(order, count):
    model, images = toys.make(toys.Mlp), toys.examples(toys.Mlp, 2)[0]
    with pytest.raises(ValueError, match="order must name each|cannot be off"):
        oracle.interactions(model, torch.tensor(list(order)), [count], [(images, None)])
