"""lib.oracle: what changes with units off is what masked passes say."""

from math import exp, inf, log, nan

import pytest
import torch
import toys
from awkward import DependsOnData, DependsOnTracing, pictures
from masked_passes import one_by_one, whole_passes
from torch import nn
from torch.nn import functional

from lib import oracle
from lib.network.units import units
from lib.pruning import masked


class TwoUnits(nn.Module):
    """Inputs (M, 2), of which each unit takes one, then a ReLU, then `weights` (classes, 2)."""

    def __init__(self, *weights):
        super().__init__()
        self.hidden, self.classifier = nn.Linear(2, 2, bias=False), nn.Linear(2, len(weights), bias=False)
        self.hidden.weight.data = torch.eye(2, dtype=torch.float64)
        self.classifier.weight.data = torch.tensor(weights, dtype=torch.float64)

    def forward(self, x):
        return self.classifier(functional.relu(self.hidden(x)))


# ---- one unit off --------------------------------------------------------------------------------------------------


def test_two_units_by_hand():
    model = TwoUnits([1.0, 0.0], [0.0, 2.0]).eval()
    images = torch.tensor([[1.0, 3.0], [2.0, -1.0]], dtype=torch.float64)  # logits (1, 6) and (2, 0)
    scores = oracle.score(model, [(images, torch.tensor([0, 0]))])
    assert scores["output"].tolist() == [(1 + 4) / 2, (36 + 0) / 2]

    def loss(right, wrong):
        return log(exp(right) + exp(wrong)) - right

    before = loss(1, 6) + loss(2, 0)
    expected = [abs(loss(0, 6) + loss(0, 0) - before) / 2, abs(loss(1, 0) + loss(2, 0) - before) / 2]
    assert scores["loss"].tolist() == pytest.approx(expected, rel=1e-12)


def test_losses_that_rise_and_fall_cancel_in_the_mean():
    model = TwoUnits([1.0, 0.0], [0.0, 1.0]).eval()
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    scores = oracle.score(model, [(images, torch.tensor([0, 1]))])
    rise, fall = log(2) - (log(exp(1) + 1) - 1), log(2) - log(exp(1) + 1)  # without unit 0 both logits are 0
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
    assert passes == 2  # with nothing off, against which the replay is held: all, and those that differ most
    for name, expected in one_by_one(model, images, labels).items():
        torch.testing.assert_close(scores[name], expected, rtol=1e-9, atol=1e-14)


def test_a_layer_used_twice_of_which_the_first_use_gives_zero():
    class Both(TwoUnits):
        def forward(self, x):
            return self.classifier(self.hidden(x[:, :2]) + self.hidden(x[:, 2:]))

    model, images = Both([1.0, 1.0]).eval(), torch.tensor([[0.0, 1.0, 2.0, 3.0]] * 3, dtype=torch.float64)
    passes, scores = whole_passes(model, lambda: oracle.score(model, [(images, None)]), count=3)
    assert passes == 2  # with nothing off, against which the replay is held: all, and those that differ most
    assert scores["output"].tolist() == [4.0, 16.0]


@pytest.mark.parametrize(("network", "count"), [(DependsOnData, 4), (DependsOnTracing, 4)])
def test_a_network_that_cannot_be_traced_takes_a_pass_per_unit(network, count):
    torch.manual_seed(0)
    model, images, labels = network().double().eval(), pictures(5, 3), torch.tensor([0, 1, 1, 0, 1])
    passes, scores = whole_passes(model, lambda: oracle.score(model, [(images, labels)]), count=5)
    assert passes == 1 + count
    for name, expected in one_by_one(model, images, labels).items():
        torch.testing.assert_close(scores[name], expected, rtol=1e-12, atol=0)


def test_neither_the_batching_nor_the_order_of_examples_matters():
    model, (images, labels) = toys.make(toys.Plain), toys.examples(toys.Plain, 9)
    whole = oracle.score(model, [(images, labels)])
    shuffled = torch.randperm(9, generator=torch.Generator().manual_seed(0)).split([1, 0, 5, 3])
    parts = ((images[part], labels[part], part) for part in shuffled)  # a stream, with indices, one part empty
    for name, values in oracle.score(model, parts).items():
        torch.testing.assert_close(values, whole[name], rtol=1e-10, atol=1e-15)


def test_some_units_alone_are_judged_as_among_all_and_the_others_are_0():
    model, (images, labels) = toys.make(toys.Plain), toys.examples(toys.Plain, 5)
    whole, some = oracle.score(model, [(images, labels)]), torch.tensor([4, 1])
    for name, values in oracle.score(model, [(images, labels)], only=some).items():
        torch.testing.assert_close(values[some], whole[name][some], rtol=1e-12, atol=0)
        assert values.count_nonzero() == 2


def test_the_model_is_left_as_it_was_found():
    model, (images, labels) = toys.make(toys.Plain), toys.examples(toys.Plain, 5)
    model.layers[0].weight.grad = torch.ones_like(model.layers[0].weight)
    model.layers[1].bias.requires_grad_(False)
    model.layers[2].register_forward_hook(lambda *_: None)

    def state():
        hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
        about = [str(module) for module in model.modules()], [p.requires_grad for p in model.parameters()], hooks
        values = images, labels, torch.get_rng_state(), *model.state_dict().values(), model.layers[0].weight.grad
        return about, [value.clone() for value in values]

    (about, values), order = state(), torch.arange(7)
    oracle.score(model, [(images, labels)])
    oracle.interactions(model, order, [3], [(images, labels)])
    assert state()[0] == about  # `inplace` of the activations too
    assert all(torch.equal(after, before) for after, before in zip(state()[1], values, strict=True))


def test_runs_within_inference_mode():
    model, (images, labels) = toys.make(toys.Residual), toys.examples(toys.Residual, 5)
    expected = oracle.score(model, [(images, labels)])
    with torch.inference_mode():
        found = oracle.score(model, [(images, labels)])
    assert all(torch.equal(found[name], values) for name, values in expected.items())


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (torch.tensor([4, 7]), r"only must be numbers of units, from 0 to 6, but 7 is none"),
        (torch.tensor([-1]), r"only must be numbers of units, from 0 to 6, but -1 is none"),
        (torch.tensor([1.5]), r"only must be whole numbers of units, a tensor \(k,\), not float32 of shape \(1,\)"),
        (torch.ones(7).byte(), r"only must be whole numbers of units, a tensor \(k,\), not uint8 of shape \(7,\)"),
        (torch.ones(7) > 0, r"only must be .*, not bool of shape \(7,\): give only.nonzero\(\).flatten\(\)"),
        (torch.tensor([[1, 2]]), r"only must be whole numbers of units, a tensor \(k,\), not int64 of shape \(1, 2\)"),
        (torch.tensor(1), r"only must be a tensor \(k,\), whole numbers of units from 0 to 6, not of shape \(\)"),
        ([1], r"only must be a tensor \(k,\), whole .*, not a list: torch.tensor\(...\) makes one of it"),
    ],
)
def test_refuses_units_that_there_are_not(only, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        oracle.score(toys.make(toys.Plain), [toys.examples(toys.Plain, 2)], only=only)


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

    model, images = Either([1.0, 0.0]).eval(), torch.ones(1, 2, dtype=torch.float64)
    table = oracle.interactions(model, torch.arange(2), [2], [(images, None)])
    assert table[["joint", "single", "ratio"]].iloc[0].tolist() == [1.0, 0.0, inf]


def test_interactions_are_means_over_all_batches_in_the_given_order():
    model, (images, labels) = toys.make(toys.Residual), toys.examples(toys.Residual, 8)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(3))
    parts = ((images[part], labels[part]) for part in torch.arange(8).split(3))
    table = oracle.interactions(model, order, [2, 13, 5], parts)
    single, layers = one_by_one(model, images)["output"], units(model, images[:1])
    for row in table.itertuples():
        with torch.no_grad(), masked(model, order, row.pruned, layers):
            joint = model(images)
        assert row.joint == pytest.approx((joint - model(images)).square().sum(1).mean().item(), rel=1e-12)
        assert row.single == pytest.approx(single[order[: row.pruned]].sum().item(), rel=1e-9)
        assert row.ratio == pytest.approx(row.joint / row.single)


def test_joint_changes_alone_are_those_of_interactions():
    model, (images, _) = toys.make(toys.Residual), toys.examples(toys.Residual, 8)
    order, batches = torch.arange(13).flip(0), [(images[:3], None), (images[3:], None)]
    orders = [order, torch.arange(13)]
    for k in (0, 4, 13):
        alone = [oracle.interactions(model, each, [k], batches)["joint"].item() for each in orders]
        assert oracle.joint(model, orders, k, batches) == pytest.approx(alone, rel=1e-12)
    assert oracle.joint(model, orders, 0, batches) == [0, 0]
    passes, _ = whole_passes(model, lambda: oracle.joint(model, orders, 4, batches), count=3)
    assert passes == 2 * (1 + 2)  # on each batch one intact pass for both


def test_interactions_measure_only_the_units_that_they_need():
    torch.manual_seed(0)
    model, batches = DependsOnData().double().eval(), [(pictures(5, 3), None)]
    passes, _ = whole_passes(model, lambda: oracle.interactions(model, torch.arange(4), [2], batches), count=5)
    assert passes == (1 + 1) + (1 + 2)  # joint and single, each against an intact pass


# ---- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 2], "from 0 to 1"),
        ([-1, 0], "from 0 to 1"),
        ([0.0, 1.0], "whole numbers"),
        ([0], r"one per image, not of shape \(1,\)"),
    ],
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
    with pytest.raises(ValueError, match="no examples"):
        oracle.score(model, batches)
    with pytest.raises(ValueError, match="no examples"):
        oracle.interactions(model, torch.arange(8), [1], batches)


def test_refuses_what_is_not_finite():
    images = toys.examples(toys.Mlp, 2)[0]
    model = toys.make(toys.Mlp)
    with pytest.raises(ValueError, match="weights and its inputs"):
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

    maps = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)).eval()
    with pytest.raises(ValueError, match=r"the model gives .* not logits"):
        oracle.score(maps, [(torch.ones(1, 1, 2, 2), None)])


@pytest.mark.parametrize(
    ("order", "count"), [([0, 0, 2, 3, 4, 5, 6, 7], 2), ([0, 1], 1), (range(8), 9), (range(8), -1)]
)
def test_interactions_refuse_a_wrong_order_or_count(order, count):
    model, images = toys.make(toys.Mlp), toys.examples(toys.Mlp, 2)[0]
    with pytest.raises(ValueError, match=r"order must name each|cannot be off"):
        oracle.interactions(model, torch.tensor(list(order)), [count], [(images, None)])
