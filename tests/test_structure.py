"""lib.structure: tied channels go together, a plan's numbers are those of the shrunk network, and that network answers
as the full one does with the same channels off."""

import copy
import functools
import json
import math
import warnings
from contextlib import ExitStack, contextmanager

import pytest
import torch
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from lib import pruning, saving, structure
from lib.images import networks
from lib.structure import BUDGETS, plan, slim, trace
from lib.units import units

steady = settings(deadline=None, derandomize=True)  # the machine may be busy; the same cases every time


def randomised(model, seed=0):
    """In eval mode, with statistics and affine parameters of BatchNorm by which every mistake would show."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(generator=generator)
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


class Skip(nn.Module):
    """What a user may write: a projection around a block in which pairs of channels only see each other, concatenated
    with the image, normalised, flattened."""

    def __init__(self):
        super().__init__()
        self.stem, self.narrow = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 1, bias=False)
        self.paired, self.norm = nn.Conv2d(6, 12, 3, padding=1, groups=3), nn.BatchNorm2d(12)
        self.project, self.after = nn.Conv2d(8, 12, 1), nn.BatchNorm2d(15)
        self.hidden, self.classifier = nn.Linear(15 * 16, 9), nn.Linear(9, 5)

    def forward(self, images):
        x = functional.silu(self.stem(images))
        y = self.norm(self.paired(functional.relu(self.narrow(x))))
        y += self.project(x)
        y = functional.relu(self.after(torch.cat([images, y], 1)))
        return self.classifier(functional.relu(self.hidden(functional.adaptive_avg_pool2d(y, 4).flatten(1))))


SIZES = {
    "resnet20": 32, "resnet56": 32, "vgg19": 32, "resnet18": 32, "resnet50": 32, "densenet121": 32, "mobilenet_v2": 32,
    "Skip": 8,
}  # fmt: skip


@functools.cache
def prepared(name):
    """A network, which no test may change, an image of its size and its structure."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = randomised(Skip() if name == "Skip" else networks.build(name, 10))
    example = noise(1, 3, SIZES[name], SIZES[name])
    return model, example, trace(model, example)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_scores(total, seed=1):
    return torch.rand(total, generator=torch.Generator().manual_seed(seed))


def in_order(slimming):
    """All units, those that go first."""
    gone = slimming.removed.tolist()
    return torch.tensor(gone + sorted(set(range(slimming.before["units"])) - set(gone)))


@contextmanager
def off(model, slimming):
    """The design's mask: removed units are zero at their taps, removed channels at the output of every BatchNorm."""
    with ExitStack() as stack:
        for name, kept in slimming.kept.items():
            module = model.get_submodule(name)
            if isinstance(module, nn.BatchNorm2d):
                keep = torch.zeros(module.num_features, 1, 1).index_fill_(0, kept, 1)
                handle = module.register_forward_hook(lambda m, i, out, keep=keep: out * keep)
                stack.callback(handle.remove)
        stack.enter_context(pruning.masked(model, in_order(slimming), len(slimming.removed), slimming.layers))
        yield


def measured(model, example):
    """Units, parameters and multiply-adds as others count them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(example)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "units": sum(unit.size for unit in units(model, example)),
        "parameters": parameters,
        "macs": counter.get_total_flops() // 2,
    }


# The shrunk network is the masked one


@pytest.mark.parametrize("of", BUDGETS)
@pytest.mark.parametrize("name", SIZES)
@torch.no_grad()
def test_shrunk_is_masked_and_costs_what_was_planned(name, of):
    model, example, made = prepared(name)
    slimming = made.plan(some_scores(len(made.groups)), budget=0.5, of=of)
    smaller = slimming.apply(model)
    assert slimming.before == measured(model, example)
    assert slimming.after == measured(smaller, example)
    assert slimming.reached == (slimming.before[of] - slimming.after[of]) / slimming.before[of] >= 0.5
    images = noise(3, *example.shape[1:], seed=2)
    found, expected = smaller(images), []
    for mask in (off(model, slimming), slimming.masked(model)):
        with mask:
            expected.append(model(images))
    for logits in expected:
        torch.testing.assert_close(found, logits, rtol=0, atol=1e-5 * logits.abs().max().item())
    assert (found - model(images)).abs().max() > 1e-2 * found.abs().max()  # it is another network than the full one


@pytest.mark.parametrize("network", [toys.Mlp, toys.Plain, toys.Residual, toys.Twice])
@given(st.data())
@settings(steady, max_examples=25)
@torch.no_grad()
def test_shrunk_is_masked_in_toys(network, data):
    model, (images, _) = toys.make(network), toys.examples(network, 4)
    made = trace(model, images[:1])
    scores = torch.tensor(data.draw(st.permutations(range(len(made.groups))))).double()
    slimming = made.plan(
        scores, budget=data.draw(st.sampled_from([0.05, 0.3, 0.5])), of=data.draw(st.sampled_from(BUDGETS))
    )
    smaller = slimming.apply(model)
    assert measured(smaller, images[:1]) == slimming.after
    with pruning.masked(model, in_order(slimming), len(slimming.removed), slimming.layers):
        torch.testing.assert_close(smaller(images), model(images), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_what_does_not_keep_zero_is_masked_where_it_is_taken():
    model, (images, _) = toys.make(toys.Overwritten), toys.examples(toys.Overwritten, 4)
    slimming = plan(model, torch.arange(7.0), images[:1], budget=0.7, of="units")
    smaller = slimming.apply(model)
    with slimming.masked(model):
        torch.testing.assert_close(smaller(images), model(images), rtol=1e-12, atol=1e-12)
    with pruning.masked(model, torch.arange(7), 5, slimming.layers):
        assert not torch.allclose(smaller(images), model(images))  # sigmoid(0) is taken there


# What is tied


def of_toy(network):
    return trace(toys.make(network), toys.examples(network, 1)[0]).groups.tolist()


def test_ties_by_hand():
    assert of_toy(toys.Mlp) == list(range(8))
    assert of_toy(toys.Plain) == list(range(7))
    assert of_toy(toys.Residual) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8]  # conv2 and shortcut are summed
    assert of_toy(toys.Twice) == [0, 1, 2, 0, 1, 2]


def test_whole_groups_of_a_grouped_convolution_go():
    stem, narrow, project = list(range(8)), [8, 8, 9, 9, 10, 10], [8] * 4 + [9] * 4 + [10] * 4
    found = {unit.name: prepared("Skip")[2].groups[unit.slice].tolist() for unit in prepared("Skip")[2].layers}
    assert found == {
        "stem": stem,
        "narrow": narrow,
        "paired": project,
        "project": project,
        "hidden": list(range(11, 20)),
    }


def test_depthwise_convolutions_go_with_what_they_filter():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 1), nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 6, 1, groups=3), nn.Conv2d(6, 2, 1), nn.Flatten()
    )
    assert trace(model.eval(), noise(1, 1, 3, 3)).groups.tolist() == [0, 1, 2, 0, 1, 2, 0, 0, 1, 1, 2, 2]


class Tied(nn.Module):
    """Its first convolution is added to the image, its second is a classifier, too, its third gates all channels."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 4, 1), nn.Conv2d(2, 1, 1)
        self.free, self.classifier = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 4, 1)

    def forward(self, images):
        x = functional.relu(images + self.first(images))
        y = self.free(x) * self.third(x).sigmoid()
        return self.join(self.second(x).mean((2, 3)), self.classifier(y).mean((2, 3)))

    def join(self, logits, others):
        return logits + others


class Beside(Tied):
    """Some logits come from a layer of their own."""

    def join(self, logits, others):
        return 2 * torch.cat([logits, others], 1)


class Unused(Tied):
    """Half of the logits are not put out."""

    def join(self, logits, others):
        return 2 * (logits + others)[:, :2]


class Normed(Tied):
    """BatchNorm comes last, of logits from two layers."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8)

    def join(self, logits, others):
        return self.norm(torch.cat([logits, others], 1))


@pytest.mark.parametrize("network", [Tied, Beside, Unused, Normed])
def test_the_input_and_the_output_stay_and_a_gate_for_all_is_tied_to_none(network):
    model = network().eval()
    made = trace(model, noise(1, 2, 3, 3))
    found = {unit.name: made.groups[unit.slice].tolist() for unit in made.layers}
    assert found == {"first": [-1, -1], "free": [0, 1, 2], "third": [3]}
    smaller = made.plan(torch.arange(6.0), budget=0.3, of="units").apply(model)
    assert [smaller.free.out_channels, smaller.classifier.in_channels, smaller.third.out_channels] == [1, 1, 1]


# Which go


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


RESIDUAL = trace(toys.make(toys.Residual), toys.examples(toys.Residual, 1)[0])


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
    with pytest.raises(ValueError, match=r"a budget of 0.9 of all units cannot be reached: 0.6923 of them are gone"):
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


def test_scores_may_be_of_any_kind_of_number():
    scores = 2 * torch.randperm(13, generator=torch.Generator().manual_seed(0))  # a permutation would be an order
    expected = RESIDUAL.plan(scores.double()).removed.tolist()
    for kind in (torch.int64, torch.float16, torch.float32):
        assert RESIDUAL.plan(scores.to(kind)).removed.tolist() == expected


# What comes out


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


def test_the_numbers_of_layers_are_those_of_their_weights():
    model, _, made = prepared("Skip")
    scores = some_scores(len(made.groups))
    scores[8:12] = -9  # the first two groups of the grouped convolution, with what is tied to them
    smaller = made.plan(scores, budget=0.4).apply(model)
    for module in smaller.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
        elif isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)
        elif isinstance(module, _BatchNorm):
            assert {len(module.weight), len(module.bias), len(module.running_mean)} == {module.num_features}


def test_a_network_can_shrink_twice():
    model, example = toys.make(toys.Residual), toys.examples(toys.Residual, 1)[0]
    once = slim(model, torch.arange(13.0), example, budget=0.2, of="units")
    left = measured(once, example)["units"]
    twice = slim(once, torch.arange(float(left)), example, budget=0.2, of="units")
    assert measured(twice, example)["units"] < left < 13


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_weights_keep_their_memory_format(name, layout):
    model, _, made = prepared(name)
    smaller = made.plan(some_scores(len(made.groups)), budget=0.4).apply(copy.deepcopy(model).to(memory_format=layout))
    for weight in smaller.parameters():
        if weight.ndim == 4:  # of 1 x 1 convolutions and, with one input each, depthwise ones too
            assert weight.stride() == torch.empty(weight.shape, memory_format=layout).stride()
    assert any(weight.ndim == 4 and weight.shape[2:] == (1, 1) for weight in smaller.parameters())


# What cannot shrink


class Shuffled(nn.Module):
    """Channels are dealt into two heaps between two convolutions."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.classifier = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

    def forward(self, images):
        x = self.first(images).relu()
        x = x.view(len(x), 2, 2, *x.shape[2:]).transpose(1, 2).reshape(len(x), 4, *x.shape[2:])
        return self.classifier(self.second(x).relu().mean((2, 3)))


class Reordered(Shuffled):
    def forward(self, images):
        return self.classifier(self.second(self.first(images).relu().flip(1)).relu().mean((2, 3)))


class Positioned(Shuffled):
    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(4))

    def forward(self, images):
        return self.classifier(self.first(images).mean((2, 3)) + self.position)


class SameWeight(Shuffled):
    def __init__(self):
        super().__init__()
        self.third = nn.Conv2d(4, 4, 1)
        self.third.weight = self.second.weight


class Idle(Shuffled):
    """A head that runs, whose output nobody uses."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(4, 6, 1)

    def forward(self, images):
        x = self.first(images).relu()
        self.head(x)
        return self.classifier(self.second(x).relu().mean((2, 3)))


def normalised(norm):
    return nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Flatten(), nn.Linear(64, 2))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (normalised(nn.GroupNorm(2, 4)), "^1 is GroupNorm: networks with LayerNorm or GroupNorm cannot shrink yet$"),
        (
            normalised(nn.LayerNorm([4, 4, 4])),
            "^1 is LayerNorm: networks with LayerNorm or GroupNorm cannot shrink yet$",
        ),
        (
            normalised(nn.PReLU(4)),
            "^1 has parameters of its own, so it cannot shrink: only convolutions, linear layers",
        ),
        (Positioned(), "^Positioned has parameters of its own"),
        (SameWeight(), "^third shares a parameter with another layer"),
        (Shuffled(), "^Shuffled cannot shrink: it does not run without the channels that go, perhaps since its code"),
        (Reordered(), "^Reordered cannot shrink: without the channels that go it answers otherwise than with them off"),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), "^Sequential has no units"),
    ],
)
def test_refuses_what_cannot_shrink(model, message):
    model.eval()
    with pytest.raises(ValueError, match=message) as caught:
        slim(
            model, torch.arange(8.0 if isinstance(model, Shuffled) else 4.0), noise(1, 3, 4, 4), budget=0.1, of="units"
        )
    assert "\n" not in str(caught.value)


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


def test_a_plan_is_for_one_network():
    slimming = RESIDUAL.plan(torch.arange(13.0), budget=0.2)
    with pytest.raises(ValueError, match=f"the plan is for {RESIDUAL.parameters} parameters, but the network has 68"):
        slimming.apply(toys.make(toys.Overwritten))


@pytest.mark.parametrize("how", ["apply", "masked"])
def test_a_plan_for_another_network_says_so(how):
    def use(plan, model):
        with plan.masked(model) if how == "masked" else ExitStack():
            return plan.apply(model)

    model, _, made = prepared("resnet20")
    whole = made.plan(some_scores(len(made.groups)), budget=0.4)
    smaller, other = whole.apply(model), networks.build("vgg8", 10).eval()
    for wrong in (smaller, other):
        counts = [sum(parameter.numel() for parameter in net.parameters()) for net in (model, wrong)]
        said = f"the plan is for {counts[0]} parameters, but the network has {counts[1]}: make a plan for it"
        with pytest.raises(ValueError) as caught:
            use(whole, wrong)
        assert str(caught.value) == said
    with pytest.raises(ValueError) as caught:
        use(whole, nn.Sequential(model))  # the same, under other names
    said = "the plan is for another network than this one, as 0.blocks.0.bn1 shows: make a plan for it"
    assert str(caught.value) == said


class Full(nn.Module):
    """Has room for three channels alone."""

    def forward(self, values):
        if values.shape[1] == 3:
            return values
        raise torch.OutOfMemoryError("CUDA out of memory. Tried")


def test_a_head_that_runs_for_nothing_is_named_as_what_stands_in_the_way():
    with pytest.raises(ValueError) as caught:
        slim(Idle().eval(), torch.arange(14.0), noise(1, 3, 4, 4), budget=0.1, of="units")
    assert str(caught.value).startswith(
        "Idle cannot shrink: it does not run without the channels that go, which head may take in, although no logit"
        " depends on what it makes: do not run it (Given groups=1"
    )


def test_a_full_memory_is_not_the_networks_fault():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Full(), nn.Flatten(), nn.Linear(48, 2)).eval()
    with pytest.raises(torch.OutOfMemoryError):
        slim(model, torch.arange(3.0), noise(1, 3, 4, 4), budget=0.3, of="units")


def test_refuses_training_mode():
    with pytest.raises(ValueError, match="is in training mode"):
        slim(toys.make(toys.Residual).train(), torch.zeros(13), toys.examples(toys.Residual, 1)[0])
    with pytest.raises(ValueError, match="is in training mode"):  # whose running statistics would change
        RESIDUAL.plan(torch.arange(13.0), budget=0.2).apply(toys.make(toys.Residual).train())


# Files and formats


@pytest.mark.parametrize("name", ["resnet20", "Skip"])
def test_a_file_brings_the_network_back(name, tmp_path):
    model, example, made = prepared(name)
    smaller = made.plan(some_scores(len(made.groups)), budget=0.4).apply(model)
    structure.save(smaller, tmp_path / "new" / "small.safetensors", {"criterion": "sq:rand:norm"})
    fresh = Skip() if name == "Skip" else networks.build(name, 10, seed=3)
    before = {key: value.clone() for key, value in fresh.state_dict().items()}
    found = structure.load(fresh, tmp_path / "new" / "small.safetensors")
    assert torch.equal(found(example), smaller(example))
    assert str(found) == str(smaller)
    assert not any(module.training for module in found.modules())
    assert all(torch.equal(value, before[key]) for key, value in fresh.state_dict().items())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["small.safetensors"]


def test_a_file_says_its_widths_and_what_it_was_given(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 5))
    structure.save(model, tmp_path / "a", {"seed": 1})
    _, metadata = saving.read(tmp_path / "a")
    assert json.loads(metadata["study"]) == {"seed": 1, "widths": {"0": [2, 3], "1": [2, 2], "3": [5, 8]}}


CIRCLE = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a": torch.ones(1)}, "metadata cannot be kept as JSON (Object of type Tensor is not JSON serializable): "),
        ({"a": {(1, 2): 3}}, "metadata cannot be kept as JSON (keys must be str, int, float, bool or None, not tuple)"),
        ({"a": CIRCLE}, "metadata cannot be kept as JSON (Circular reference detected): give a dict of numbers, texts"),
        ("hello", "metadata must be a dict, not a str: give a dict of numbers, texts, lists and dicts, of a tensor"),
        ([1], "metadata must be a dict, not a list: give a dict of numbers"),
        ({"widths": 3}, 'metadata has "widths" already, where those of layers are kept: give it another name'),
    ],
)
def test_metadata_that_cannot_be_kept_is_refused(tmp_path, metadata, message):
    with pytest.raises(ValueError) as caught:
        structure.save(nn.Linear(2, 2), tmp_path / "a", metadata)
    assert str(caught.value).startswith(message) and list(tmp_path.iterdir()) == []


def test_what_is_no_file_and_no_network_is_refused(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2))
    for call in (structure.save, structure.load):
        for path in (None, 5, "", model):
            with pytest.raises(ValueError) as caught:
                call(model, path)
            assert str(caught.value) == f"path={path!r} must be the name of a file"
        with pytest.raises(ValueError, match=r"^the model must be an nn.Module, not a NoneType$"):
            call(None, tmp_path / "a")
    with pytest.raises(IsADirectoryError, match=f"^{tmp_path} is a folder: name a file in it$"):
        structure.load(model, tmp_path)


def test_a_compiled_network_is_kept_as_what_is_inside(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2))
    structure.save(torch.compile(model), tmp_path / "a")
    assert torch.equal(structure.load(model, tmp_path / "a")[0].weight, model[0].weight)


def test_files_that_do_not_fit_are_refused(tmp_path):
    path, model = tmp_path / "file", prepared("resnet20")[0]
    wide = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    narrow = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1))
    structure.save(wide, path)
    for other, message in [
        (model, "cannot be used: 0 is a layer only there"),
        (narrow, "cannot be used: 0 has 3 inputs and 4 outputs there, 3 and 2 here"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)),
            "cannot be used: it holds another network, in which 0.weight",
        ),
    ]:
        with pytest.raises(ValueError, match=f"{path} {message}") as caught:
            structure.load(other, path)
        assert "\n" not in str(caught.value)
    saving.save(wide, path, {"seed": 0})
    with pytest.raises(ValueError, match="is no slimmed network: it lists no widths of layers"):
        structure.load(wide, path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="is damaged"):
        structure.load(wide, path)
    with pytest.raises(FileNotFoundError):
        structure.load(wide, tmp_path / "none")


@pytest.fixture(scope="module")
def exported():
    """A slimmed network, images and its logits."""
    model, _, made = prepared("resnet20")
    smaller = made.plan(some_scores(len(made.groups)), budget=0.5).apply(model)
    images = noise(2, 3, 32, 32, seed=4)
    return smaller, images, smaller(images).detach()


def test_torch_export_takes_it(exported, tmp_path):
    smaller, images, logits = exported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        torch.export.save(torch.export.export(smaller, (images,)), tmp_path / "small.pt2")
        found = torch.export.load(tmp_path / "small.pt2").module()(images)
    torch.testing.assert_close(found, logits, rtol=1e-5, atol=1e-5)


def test_onnx_runtime_gives_the_same_logits(exported, tmp_path):
    smaller, images, logits = exported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        import onnxruntime

        torch.onnx.export(smaller, (images,), tmp_path / "small.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(found), logits, rtol=1e-4, atol=1e-5 * logits.abs().max().item())


class Reordering(nn.Module):
    """Two convolutions with channels in another order between them, and logits with much in common."""

    def __init__(self, common):
        super().__init__()
        self.first, self.second, self.classifier = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3), nn.Linear(12, 3)
        with torch.no_grad():
            self.classifier.bias += common

    def forward(self, x):
        return self.classifier(self.second(self.first(x).relu().flip(1)).relu().mean((2, 3)))


@pytest.mark.parametrize("common", [0, 100])
def test_what_logits_have_in_common_hides_no_difference(common):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="cannot shrink"):
        slim(Reordering(common).eval(), torch.rand(20), torch.randn(1, 3, 8, 8), budget=0.3, of="units")


def test_an_order_is_no_scores():
    with pytest.raises(ValueError, match="scores are an order of units"):
        RESIDUAL.plan(torch.arange(13).flip(0))


def test_a_layer_whose_weight_a_function_takes_too_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            x = self.second(self.first(x).relu()).relu()
            return self.last(functional.linear(x, self.second.weight, self.second.bias))

    refused = "^second runs as a module, and a function takes its weight, too, so it cannot shrink: call second"
    with pytest.raises(ValueError, match=refused):
        structure.trace(Twice().eval(), torch.ones(1, 3))
