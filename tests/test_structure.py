"""lib.structure: the least important groups go, until the network is first within its budget."""

import math

import pytest
import torch
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from shrunk import RESIDUAL, prepared, some_scores, steady
from torch import nn

from lib import pruning
from lib.structure import BUDGETS, OutOfReach, slim, trace


def residual_costs(stem, conv1, conv2):
    """Parameters and multiply-adds of `toys.Residual` at these widths, by hand: 25 positions, then 4, then 1."""
    pairs = [(1 * stem, 25), (stem * conv1, 4), (conv1 * conv2, 4), (stem * conv2, 4)]
    macs = sum(9 * pair * positions for pair, positions in pairs) + 3 * conv2
    vectors = 3 * stem + 2 * conv1 + 3 * conv2 + 3 * conv2  # biases but conv1's, and BatchNorm's two
    return sum(9 * pair for pair, _ in pairs) + vectors + 3 * conv2 + 3, macs


def slow_residual(scores, budget, of):
    """The units that go of `toys.Residual`, group by group, or None where the budget cannot be reached."""
    groups = [[n] for n in range(5)] + [[n, n + 4] for n in range(5, 9)]
    layer = [0, 0, 0, 1, 1, 2, 2, 2, 2]
    widths, gone, total = [3, 2, 4], [], dict(zip(BUDGETS, (13, *residual_costs(3, 2, 4)), strict=True))
    for group in sorted(range(9), key=lambda group: sum(scores[n] for n in groups[group])):
        if widths[layer[group]] > 1:
            widths[layer[group]] -= 1
            gone += groups[group]
            now = dict(zip(BUDGETS, (13 - len(gone), *residual_costs(*widths)), strict=True))
            if (total[of] - now[of]) / total[of] >= budget:
                return gone, now
    return None


@given(
    st.lists(st.sampled_from([-2.0, 0.0, 0.5, 1.0, 3.0]), min_size=13, max_size=13),
    st.floats(0.01, 0.99),
    st.sampled_from(BUDGETS),
)
@steady
def test_the_first_network_within_the_budget(scores, budget, of):
    expected = slow_residual(scores, budget, of)
    if expected is None:
        with pytest.raises(ValueError, match=f"a budget of .* of all {of} cannot be reached"):
            RESIDUAL.plan(torch.tensor(scores), budget=budget, of=of)
        return
    slimming = RESIDUAL.plan(torch.tensor(scores), budget=budget, of=of)
    assert (slimming.removed.tolist(), slimming.after) == expected
    assert slimming.overshoot == slimming.reached - budget >= 0


def test_the_last_channels_of_a_layer_are_skipped():
    # conv1 has units 3 and 4: the second would go next, but is the layer's last
    slimming = RESIDUAL.plan(torch.tensor([2.0, 3, 4, 0, 1, *[9.0] * 8]), budget=0.15, of="units")
    assert slimming.removed.tolist() == [3, 0]
    assert slimming.skipped == 1
    assert (
        slimming.kept["conv1"].tolist() == slimming.kept["norm1"].tolist() == slimming.inputs["conv2"].tolist() == [1]
    )
    assert slimming.inputs["shortcut"].tolist() == [1, 2]
    assert slimming.kept.keys() == {"stem", "stem_norm", "conv1", "norm1"}


def test_a_budget_out_of_reach_says_how_far_it_goes():
    with pytest.raises(OutOfReach, match=r"a budget of 0.9 of all units cannot be reached: 0.6923 of them are gone"):
        RESIDUAL.plan(torch.zeros(13), budget=0.9, of="units")


@pytest.mark.parametrize("name", ["resnet20", "densenet121", "mobilenet_v2", "Skip"])
@given(st.data())
@settings(steady, max_examples=15)
def test_what_goes_is_the_least_worth_and_stays_gone(name, data):
    made = prepared(name)[2]
    scores = some_scores(len(made.groups), data.draw(st.integers(0, 1000))).double()
    small, large = sorted(data.draw(st.lists(st.floats(0.05, 0.6), min_size=2, max_size=2)))
    of = data.draw(st.sampled_from(BUDGETS))
    less, more = (made.plan(scores, budget=budget, of=of) for budget in (small, large))
    assert more.removed[: len(less.removed)].tolist() == less.removed.tolist()
    assert less.reached >= small
    worth = torch.zeros(int(made.groups.max()) + 1, dtype=torch.float64).index_add_(0, made.groups, scores)
    order = made.groups[more.removed].unique_consecutive()
    assert len(order) == len(set(order.tolist()))  # a group goes at once, with all of its units
    assert sorted(torch.isin(made.groups, order).nonzero().flatten().tolist()) == sorted(more.removed.tolist())
    assert (worth[order].diff() >= 0).all()
    cheaper = (worth < worth[order[-1]]).sum().item()
    assert cheaper == len(order) - 1 + more.skipped  # none was passed over but those that hold a layer's last channel
    assert len(less.removed) == len(more.removed) or less.reached < large  # it stops as soon as it may


@pytest.mark.parametrize("of", ["macs", "parameters"])
@pytest.mark.parametrize("name", ["resnet20", "Skip"])
def test_per_cost_goes_what_is_worth_least_for_what_it_saves(name, of):
    model, example, made = prepared(name)
    scores = some_scores(len(made.groups)) - 0.01  # a few of them below 0
    groups = range(int(made.groups.max()) + 1)
    saved, worth = [], []
    for group in groups:  # what goes where this group alone does
        alone = made.plan((made.groups != group).double(), budget=1e-9, of=of)
        saved.append(alone.before[of] - alone.after[of])
        worth.append(scores[made.groups == group].double().sum().item())
    order = sorted(groups, key=lambda group: worth[group] * (1 / saved[group] if worth[group] > 0 else saved[group]))
    plan = made.plan(scores, budget=0.3, of=of, per_cost=True)
    assert plan.per_cost and not made.plan(scores, budget=0.3, of=of).per_cost
    gone = list(dict.fromkeys(made.groups[plan.removed].tolist()))
    assert gone == [group for group in order if group in gone] and len(gone) > 3
    assert set(order[: len(gone)]) == set(gone) or plan.skipped
    assert gone != list(dict.fromkeys(made.groups[made.plan(scores, budget=0.3, of=of).removed].tolist()))
    assert slim(model, scores, example, budget=0.3, of=of, per_cost=True) is not model


def test_per_unit_a_group_counts_its_mean():
    _, _, made = prepared("resnet20")
    scores = some_scores(len(made.groups))
    sizes = torch.bincount(made.groups[made.groups >= 0]).double()
    means = torch.zeros(len(sizes), dtype=torch.float64)
    means.index_add_(0, made.groups[made.groups >= 0], scores.double()[made.groups >= 0])
    gone = made.groups[made.plan(scores, budget=0.2, of="units", per_cost=True).removed]
    assert (torch.diff((means / sizes)[gone]) >= 0).all()


def test_scores_may_be_of_any_kind_of_number():
    scores = 2 * torch.randperm(13, generator=torch.Generator().manual_seed(0))  # a permutation would be an order
    expected = RESIDUAL.plan(scores.double()).removed.tolist()
    for kind in (torch.int64, torch.float16, torch.float32):
        assert RESIDUAL.plan(scores.to(kind)).removed.tolist() == expected


def state(model):
    flags = [
        (module.training, len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()
    ]
    return flags, [(name, p.requires_grad, p.grad) for name, p in model.named_parameters()]


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_model_is_left_as_it_was_whatever_the_callers_mode(mode):
    model, example = toys.make(toys.Residual), toys.examples(toys.Residual, 1)[0]
    model.conv1.weight.requires_grad_(False)
    model.classifier.bias.grad = torch.ones(3).double()
    before, flags, random = (
        {k: v.clone() for k, v in model.state_dict().items()},
        state(model),
        torch.random.get_rng_state(),
    )
    with mode():
        smaller = pruning.slim(model, torch.arange(13.0), example, budget=0.3)
    assert state(model) == flags
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert [type(module) for module in smaller.modules()] == [type(module) for module in model.modules()]
    assert [name for name, p in smaller.named_parameters() if not p.requires_grad] == ["conv1.weight"]
    assert not any(
        module.training or module._forward_hooks or module._forward_pre_hooks for module in smaller.modules()
    )
    assert not any(parameter.grad is not None for parameter in smaller.parameters())
    smaller(example).sum().backward()  # it can be trained
    assert smaller.stem.weight.grad.shape == smaller.stem.weight.shape
    assert vars(smaller).keys() == vars(model).keys()


@pytest.mark.parametrize(
    ("scores", "settings", "message"),
    [
        (torch.zeros(12), {}, "scores must be a vector, one for each of the 13 units, not of shape (12,)"),
        (torch.zeros(13, 1), {}, "scores must be a vector, one for each of the 13 units, not of shape (13, 1)"),
        (torch.full((13,), math.nan), {}, "scores must be finite, but 13 of 13 are not"),
        (torch.zeros(13), {"budget": 0}, "budget=0 must be a fraction to remove, above 0 and below 1"),
        (torch.zeros(13), {"budget": 1.0}, "budget=1.0 must be a fraction"),
        (torch.zeros(13), {"budget": math.nan}, "budget=nan must be a fraction"),
        (torch.zeros(13), {"of": "flops"}, "a budget of 'flops' is not known: use one of units, parameters, macs"),
    ],
)
def test_refuses_settings_that_are_none(scores, settings, message):
    with pytest.raises(ValueError) as caught:
        slim(toys.make(toys.Residual), scores, toys.examples(toys.Residual, 1)[0], **settings)
    assert str(caught.value).startswith(message)


def test_refuses_training_mode():
    with pytest.raises(ValueError, match="is in training mode"):
        slim(toys.make(toys.Residual).train(), torch.zeros(13), toys.examples(toys.Residual, 1)[0])
    with pytest.raises(ValueError, match="is in training mode"):  # whose running statistics would change
        RESIDUAL.plan(torch.arange(13.0), budget=0.2).apply(toys.make(toys.Residual).train())


def test_an_order_is_no_scores():
    with pytest.raises(ValueError, match="scores are an order of units"):
        RESIDUAL.plan(torch.arange(13).flip(0))


def allowed(made, gone, keep, at_most, multiple_of):
    """Whether a network without the groups `gone` is within limits, from what stays of every layer alone."""
    for unit in made.layers:
        own = made.groups[unit.slice]
        left = sum(group not in gone for group in own.tolist())
        if left == unit.size:
            continue
        if unit.name in keep or left < 1 or unit.size - left > at_most * unit.size or left % multiple_of:
            return False
    return True


@pytest.mark.parametrize("name", ["resnet20", "densenet121", "mobilenet_v2", "Skip"])
@given(st.data())
@settings(steady, max_examples=10)
def test_limits_hold_in_every_layer(name, data):
    made = prepared(name)[2]
    scores = some_scores(len(made.groups), data.draw(st.integers(0, 1000)))
    limits = {
        "keep": data.draw(st.sets(st.sampled_from([unit.name for unit in made.layers]), max_size=2)),
        "at_most": data.draw(st.sampled_from([0.5, 0.75, 1.0])),
        "multiple_of": data.draw(st.sampled_from([1, 2, 4])),
    }
    try:
        slimming = made.plan(scores, budget=0.1, **limits)
    except ValueError as error:
        assert "loosen one of them" in str(error)
        return
    assert allowed(made, set(made.groups[slimming.removed].tolist()), **limits)
    assert slimming.widths == {
        unit.name: (unit.size, unit.size - sum(unit.slice.start <= k < unit.slice.stop for k in slimming.removed))
        for unit in made.layers
    }


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("limits", [
    {"keep": ["stem"]}, {"keep": "conv1"}, {"at_most": 0.5}, {"at_most": 0.6}, {"keep": ["conv1"], "at_most": 0.4},
])  # fmt: skip
def test_what_goes_within_limits_is_what_trying_one_group_after_the_other_finds(seed, limits):
    scores = some_scores(13, seed)
    worth = torch.zeros(int(RESIDUAL.groups.max()) + 1).index_add_(
        0, RESIDUAL.groups[RESIDUAL.groups >= 0], scores[RESIDUAL.groups >= 0]
    )
    given = {"keep": (), "at_most": 1.0, "multiple_of": 1} | limits
    gone = set()
    for group in torch.argsort(worth, stable=True).tolist():
        gone |= {group} if allowed(RESIDUAL, gone | {group}, **given) else set()
        total = sum(group in gone for group in RESIDUAL.groups.tolist())
        if total >= 0.15 * 13:
            found = RESIDUAL.plan(scores, budget=0.15, of="units", **limits)
            assert set(RESIDUAL.groups[found.removed].tolist()) == gone
            return
    with pytest.raises(ValueError, match="cannot be reached"):
        RESIDUAL.plan(scores, budget=0.15, of="units", **limits)


def test_units_wait_for_others_of_their_layer_until_a_multiple_is_left():
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 9, 1), nn.ReLU(), nn.Conv2d(9, 3, 1),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).eval()  # fmt: skip
    scores = torch.tensor([0.0, 3, 2, 9, 9, 9, *[1, 4, 5, 6, 7, 9, 9, 9, 9], 0, 0, 0])
    made = trace(model, torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)))
    found = made.plan(scores, budget=0.15, of="units", multiple_of=4)
    assert found.removed.tolist() == [6, 0, 2]  # 9 to 8, then 6 to 4; of the last layer's 3 none, since 4 are more
    assert found.widths == {"0": (6, 4), "2": (9, 8), "4": (3, 3)} and found.skipped == 3
    assert found.apply(model)[2].weight.shape == (8, 4, 1, 1)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"keep": ["convl"]}, "keep names 'convl', which is no layer with units and holds none: such are conv2, conv1"),
        ({"keep": [3]}, "keep names 3 (int), but names of layers are texts, such as 'stem', 'conv1', 'conv2'"),
        ({"keep": 3}, "keep must be names of layers, such as ['stem'], not 3"),
        ({"keep": ["stem", "conv1", "conv2", "shortcut"]}, "keep names every layer, so nothing can go: leave some out"),
        ({"at_most": 0}, "at_most=0 must be a fraction to remove, above 0 and at most 1"),
        ({"at_most": 2}, "at_most=2 must be a fraction to remove, above 0 and at most 1"),
        ({"at_most": True}, "at_most=True must be a fraction"),
        ({"multiple_of": 0}, "multiple_of=0 must be a whole number of at least 1"),
        ({"multiple_of": 64}, "a budget of 0.5 of all macs cannot be reached: nothing can go by keep, at_most and"),
        ({"at_most": 0.5, "budget": 0.9}, "a budget of 0.9 of all macs cannot be reached: 0."),
    ],
)
def test_refuses_limits_that_are_none_or_leave_too_little(limits, message):
    with pytest.raises(ValueError) as caught:
        RESIDUAL.plan(torch.zeros(13), **limits)
    assert str(caught.value).startswith(message)


def test_a_module_that_is_kept_keeps_all_layers_in_it():
    _, _, made = prepared("resnet20")
    kept = made.plan(some_scores(len(made.groups)), budget=0.2, keep=["blocks.3"]).widths
    assert all(before == after for name, (before, after) in kept.items() if name.startswith("blocks.3."))
    assert sum(before > after for before, after in kept.values()) > 3
