"""lib.pruning: exactly the k least important units are off, off means that they contribute nothing, and curves add
up."""

import math
from copy import deepcopy
from dataclasses import replace

import numpy
import pandas
import pytest
import torch
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import weights_of_outputs
from torch import nn

from lib import pruning, structure
from lib.importance import contributions, score
from lib.network.taps import before_norms, tapped
from lib.network.units import units
from lib.pruning import auc, curve, curves, masked, order, steps, summarise

steady = settings(deadline=None, derandomize=True)  # the machine may be busy; the same cases every time
COUNTS = {network: sum(size for _, size, *_ in network.UNITS) for network in toys.NETWORKS}


def toy(network=toys.Residual, count=20):
    model, (images, labels) = toys.make(network), toys.examples(network, count)
    return model, units(model, images[:1]), images, labels


# Orders


def test_order_by_hand_with_ties_in_the_order_of_the_units():
    assert order(torch.tensor([3.0, 1, 2, 1, 0, 2])).tolist() == [4, 1, 3, 2, 5, 0]


@given(st.lists(st.sampled_from([-1.5, 0.0, 0.25, 7.0]), max_size=200))
@steady
def test_order_is_pythons_stable_sort(scores):
    expected = sorted(range(len(scores)), key=scores.__getitem__)
    assert order(torch.tensor(scores, dtype=torch.float64)).tolist() == expected


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.tensor([1, math.nan]), "scores must be finite, but 1 of 2 are not"),
        (torch.tensor([math.inf, 0]), "scores must be finite, but 1 of 2 are not"),
        (torch.ones(1, 2), "scores must be a vector, one per unit, not of shape (1, 2)"),
        ([1.0, 2.0], "scores must be a tensor (N,), one per unit, not a list: torch.tensor(...) makes one of it"),
        ({"sq": torch.ones(2)}, "scores must be those of one criterion, not a dict of 1: give scores['sq']"),
    ],
)
def test_order_refuses_what_are_no_scores(scores, message):
    with pytest.raises(ValueError) as caught:
        order(scores)
    assert str(caught.value) == message


# Masks


def off_in(model, layers, images):
    """The indices of the units that are zero wherever they are tapped: what a layer's consumers really receive."""
    silent = torch.ones(sum(unit.size for unit in layers), dtype=torch.bool)

    def see(number, tap, value):
        silent[layers[number].slice] &= (value.movedim(tap.axis, 0).flatten(1) == 0).all(1)

    with torch.no_grad(), tapped(model, layers, see):
        model(images)
    return set(silent.nonzero().flatten().tolist())


@pytest.mark.parametrize("network", toys.NETWORKS)
@given(st.data())
@settings(steady, max_examples=15)
def test_exactly_the_first_k_are_off(network, data):
    model, layers, images, _ = toy(network, 3)
    ranking = torch.tensor(data.draw(st.permutations(range(COUNTS[network]))))
    k = data.draw(st.integers(0, COUNTS[network]))
    with masked(model, ranking, k, layers):
        assert off_in(model, layers, images) == set(ranking[:k].tolist())
    assert off_in(model, layers, images) == set()


@pytest.mark.parametrize("network", toys.NETWORKS)
def test_off_means_times_zero_at_the_tap(network):
    model, layers, images, _ = toy(network)
    ranking = torch.randperm(COUNTS[network], generator=torch.Generator().manual_seed(0))
    for k in range(COUNTS[network] + 1):
        off = torch.zeros(COUNTS[network], dtype=torch.bool)
        off[ranking[:k]] = True

        def gate(number, value, off=off):
            keep = (~off[layers[number].slice]).double()
            return value * (keep.view(-1, 1, 1) if value.ndim == 4 else keep)

        with masked(model, ranking, k, layers), torch.no_grad():
            torch.testing.assert_close(model(images), model.gated(images, gate), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("network", toys.NETWORKS)
def test_in_front_of_batchnorm_off_means_a_layer_without_its_weights(network):
    model, layers, images, labels = toy(network)
    ranking = torch.randperm(COUNTS[network], generator=torch.Generator().manual_seed(0))
    table = curve(model, ranking, images, labels, 4, in_front=True)
    for k, accuracy in zip(table["pruned"], table["accuracy"], strict=True):
        without = deepcopy(model)
        for unit in layers:
            gone = torch.isin(torch.arange(unit.start, unit.start + unit.size), ranking[:k])
            layer = without.get_submodule(unit.name)
            for number in gone.nonzero().flatten().tolist():
                layer.weight.data[weights_of_outputs(layer)[number]] = 0
                if layer.bias is not None:
                    layer.bias.data[number] = 0
        with masked(model, ranking, k, before_norms(layers)), torch.no_grad():
            torch.testing.assert_close(model(images), without(images), rtol=1e-12, atol=1e-12)
        with torch.no_grad():
            assert accuracy == (without(images).argmax(1) == labels).double().mean().item()
    plain = curve(model, ranking, images, labels, 4)
    assert plain.drop(columns="accuracy").equals(table.drop(columns="accuracy"))


@pytest.mark.parametrize("unit", range(4))
def test_a_unit_that_is_off_equals_a_consumer_that_ignores_it(unit):
    model, layers, images, _ = toy(toys.Plain)
    with masked(model, torch.tensor([unit, *(n for n in range(7) if n != unit)]), 1, layers):
        logits = model(images)
    model.layers[4].weight.data[:, unit] = 0  # the second convolution takes all there is from the first
    torch.testing.assert_close(logits, model(images))
    assert not torch.equal(logits, toys.make(toys.Plain)(images))


@pytest.mark.parametrize("network", toys.NETWORKS)
def test_units_that_are_off_have_no_contribution_and_no_score(network):
    model, layers, images, labels = toy(network)
    ranking = torch.randperm(COUNTS[network], generator=torch.Generator().manual_seed(1))
    with masked(model, ranking, 3, layers):
        s = contributions(model, images, torch.ones(len(images), network.CLASSES))
        scores = score(model, [(images, labels)], ["sq", "abs:rand:score", "molchanov-bn"])
    for values in (s.abs().sum(0), *scores.values()):
        assert (values[ranking[:3]] == 0).all()
        assert (values > 0).any()


def test_masks_find_the_units_themselves_and_nest():
    model, layers, images, _ = toy()
    ranking = torch.arange(COUNTS[toys.Residual])
    with masked(model, ranking, 2), masked(model, ranking.flip(0), 1):
        assert off_in(model, layers, images) == {0, 1, len(ranking) - 1}


@pytest.mark.parametrize("fail", [False, True])
def test_masks_leave_the_model_as_it_was(fail):
    model, layers, images, _ = toy()
    before, weights = model(images), {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(KeyError) if fail else torch.no_grad(), masked(model, torch.arange(13), 5, layers):
        model(images)
        if fail:
            raise KeyError
    assert torch.equal(model(images), before)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("ranking", "k", "message"),
    [
        (torch.arange(12), 1, "order must name each of the 13 units once, but has 12 entries"),
        (torch.zeros(13).long(), 1, "order must name each of the 13 units once"),
        (torch.arange(13) + 1, 1, "order must name each of the 13 units once"),
        (torch.arange(13), 14, "k=14 units cannot be off: give a whole number from 0 to 13"),
        (torch.arange(13), -1, "k=-1 units cannot be off"),
    ],
)
def test_masks_refuse_orders_and_numbers_that_are_none(ranking, k, message):
    model, layers, _, _ = toy()
    with pytest.raises(ValueError, match=message), masked(model, ranking, k, layers):
        raise AssertionError("should not be reached")


LIST = "layers must be a list of units, "
PLACE = "layers must be units in their order, but {} is not in its place"
OTHERS = "layers are units of another network, in which {} has {}, not those of Residual"


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (lambda own: [unit.name for unit in own], f"{LIST}but there is a str in it"),
        (lambda own: own[0], f"{LIST}not a Unit"),
        (lambda own: own[0].name, f"{LIST}not a str"),
        (lambda own: own[1:], PLACE.format(toys.Residual.UNITS[1][0])),
        (lambda own: toy(toys.Mlp)[1], OTHERS.format("hidden", 5)),
        (lambda own: [replace(own[0], size=9)], OTHERS.format(toys.Residual.UNITS[0][0], 9)),
    ],
)
def test_masks_refuse_layers_that_are_not_the_models_units(layers, message):
    model, own, images, _ = toy()
    with pytest.raises(ValueError) as caught, masked(model, torch.arange(13), 1, layers(own)):
        raise AssertionError("should not be reached")
    assert str(caught.value) == f"{message}: give units(model), or leave `layers` out"
    with masked(model, torch.arange(13), 1, iter(own)):  # which may be any iterable
        assert off_in(model, own, images) == {0}


def test_a_model_with_units_off_can_be_neither_copied_nor_shrunk():
    model, layers, images, _ = toy()
    plan = structure.plan(model, torch.arange(13.0), images[:1], budget=0.2)
    refused = "^units of this model are off, and a copy would keep them off for good: copy it before masked"
    cannot = "^units of Residual are off, so it cannot shrink: shrink it before masked"
    for silenced in (masked(model, torch.arange(13), 5, layers), plan.masked(model)):
        with silenced:
            for copy in (deepcopy, lambda model: deepcopy([model]), torch.optim.swa_utils.AveragedModel):
                with pytest.raises(ValueError, match=refused):
                    copy(model)
            for shrink in (plan.apply, lambda model: pruning.slim(model, torch.arange(13.0), images[:1])):
                with pytest.raises(ValueError, match=cannot):
                    shrink(model)
            scores = score(model, [(images, None)], ["apoz", "synflow", "sq:rand"])  # which works on copies of its own
            assert all(values.isfinite().all() for values in scores.values())
        copied = deepcopy(model)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in copied.modules())
        assert torch.equal(copied(images), model(images))
    plan.apply(model)


# Curves


def test_steps_are_those_of_the_paper():
    assert steps(784, 31) == [int(k) for k in numpy.linspace(0, 392, 31)]
    assert steps(784, 31)[:4] + steps(784, 31)[-2:] == [0, 13, 26, 39, 378, 392]
    assert steps(7, 3) == [0, 1, 3]
    with pytest.raises(ValueError, match="points=1 must be a whole number of at least 2"):
        steps(10, 1)


def voter():
    """Two layers, all weights by hand: the logits of x are relu(x), (0, 0) when both hidden units are off."""
    model = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2, bias=False)).eval()
    model[0].weight.data[:] = torch.eye(2).view(2, 2, 1, 1)
    model[3].weight.data[:] = torch.eye(2)
    images = torch.tensor([[3.0, 1], [1, 3], [2, 1], [5, 4], [1, 2]]).view(5, 2, 1, 1)
    return model, images, torch.tensor([0, 1, 0, 0, 0])


@pytest.mark.parametrize(("ranking", "one_off"), [([0, 1], 1 / 5), ([1, 0], 4 / 5)])
def test_curve_by_hand(ranking, one_off):
    # nothing off: 4 of 5 right; unit 0 off: class 1 wins everywhere; unit 1 off: class 0
    model, images, labels = voter()
    table = curve(model, torch.tensor(ranking), images, labels, points=2, batch=2)
    assert table["pruned"].tolist() == [0, 1]
    assert table["accuracy"].tolist() == [4 / 5, one_off]
    assert table["emptied"].tolist() == [0, 0]


def test_curve_of_groups_of_images_by_hand():
    model, images, labels = voter()
    groups = {"rare": labels == 1, "none": labels == 2}
    table = curve(model, torch.tensor([1, 0]), images, labels, points=2, groups=groups)
    assert table["accuracy_rare"].tolist() == [1, 0]
    assert table["accuracy_none"].isna().all()
    assert summarise(table, 2)["auc_relative_rare"] == 0.5
    assert "auc_relative_none" not in summarise(table, 2)


def test_curve_counts_emptied_layers():
    model, _, images, labels = toy()
    table = curve(model, torch.arange(13), images, labels, points=14)
    assert table["pruned"].tolist() == [int(k / 2) for k in range(14)]
    assert table["emptied"].tolist() == [0] * 6 + [1] * 4 + [2] * 4  # layers of 3, 2, 4 and 4 units


def test_a_curve_is_that_of_a_network_pruned_anew_at_every_point():
    model, layers, images, labels = toy(count=60)
    ranking = order(score(model, [(images, labels)], ["sq"])["sq"])
    for _, row in curve(model, ranking, images, labels, points=7, batch=7).iterrows():
        with masked(model, ranking, int(row["pruned"]), layers):
            assert row["accuracy"] == (model(images).argmax(1) == labels).double().mean().item()


@pytest.mark.parametrize(("images", "labels"), [(3, 2), (3, 1), (0, 0)])
def test_curve_refuses_images_without_labels(images, labels):
    model, some, _ = voter()
    with pytest.raises(ValueError, match=f"{images} images with {labels} labels"):
        curve(model, torch.arange(2), some[:images], torch.zeros(labels).long(), points=2)


class Inverse(nn.Module):
    """Two units, whose outputs and what an image adds to them are divided by."""

    def __init__(self):
        super().__init__()
        self.hidden, self.classifier = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.hidden.weight.data[:] = self.classifier.weight.data[:] = torch.eye(2)

    def forward(self, x):
        return self.classifier(1 / (self.hidden(x[:, :2]).relu() + x[:, 2:]))


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize(
    ("at", "value", "when"),
    [(0, 0.0, " with 1 unit off"), (5, 0.0, " with 1 unit off"), (0, -1.0, ""), (5, -1.0, "")],
)
def test_curve_refuses_logits_that_are_not_finite_and_says_where(compact, at, value, when, monkeypatch):
    if not compact:
        monkeypatch.setattr(pruning, "Compact", None)
    images, labels = torch.ones(6, 3), torch.zeros(6).long()
    assert curve(Inverse().eval(), torch.arange(2), images, labels, points=2)["accuracy"].tolist() == [1, 1]
    images[at, 2] = value
    with pytest.raises(ValueError, match=rf"^logits are not finite{when}; check the model's weights and its inputs$"):
        curve(Inverse().eval(), torch.arange(2), images, labels, points=2)


def test_auc_by_hand():
    assert auc([0, 1, 2], [1.0, 0.5, 0.0]) == 0.5
    assert auc([0, 1, 4], [0.8, 0.6, 0.2]) == pytest.approx((0.7 + 3 * 0.4) / 4)  # steps need not be even
    assert auc([0, 0, 2], [0.9, 0.9, 0.5]) == pytest.approx(0.7)  # few units: some points fall together
    assert auc([10, 20], [0.3, 0.3]) == pytest.approx(0.3)


def test_summary_by_hand():
    points = pandas.DataFrame({"pruned": [0, 2, 4, 10], "accuracy": [0.8, 0.6, 0.4, 0.1], "emptied": 0})
    area = (1.4 + 1.0 + 1.5) / 10
    expected = {
        "accuracy_unpruned": 0.8, "auc": area, "auc_relative": area / 0.8,
        "accuracy_10pct": 0.6, "accuracy_25pct": 0.35, "accuracy_50pct": 0.1,  # of 20 units: at 2, 5 and 10
    }  # fmt: skip
    assert summarise(points, 20) == pytest.approx(expected)


@pytest.mark.parametrize("compact", [True, False])
def test_curves_are_those_of_each_order_and_ask_the_whole_model_once(compact, monkeypatch):
    model, layers, images, labels = toy()
    total, asked, original = sum(unit.size for unit in layers), [], pruning._Pruned._classes
    whole = pruning._Pruned._with_nothing_off
    if not compact:
        monkeypatch.setattr(pruning, "Compact", None)
    expected = [curve(model, each, images, labels, 4) for each in (torch.arange(total), torch.arange(total).flip(0))]
    monkeypatch.setattr(
        pruning._Pruned, "_classes", lambda self, order, ks: asked.extend(ks) or original(self, order, ks)
    )
    monkeypatch.setattr(pruning._Pruned, "_with_nothing_off", lambda self, order: asked.append(0) or whole(self, order))
    found = curves(model, [torch.arange(total), torch.arange(total).flip(0)], images, labels, 4)
    for one, other in zip(found, expected, strict=True):
        pandas.testing.assert_frame_equal(one, other)
    assert asked == steps(total, 4) + steps(total, 4)[1:]


def test_curve_says_what_is_left_of_the_network():
    model, images, labels = voter()  # two units, each of two weights before and two behind
    table = curve(model, torch.tensor([1, 0]), images, labels, points=2)
    assert table["macs"].tolist() == table["parameters"].tolist() == [1, 0.5]


def test_summary_at_matched_multiply_adds_and_parameters_by_hand():
    accuracy = {"pruned": [0, 2, 4, 10], "accuracy": [0.8, 0.6, 0.4, 0.1]}
    points = pandas.DataFrame(accuracy | {"macs": [1, 0.8, 0.7, 0.3], "parameters": [1, 0.95, 0.9, 0.8]})
    found = summarise(points, 20)
    assert [found[f"accuracy_macs_{share}pct"] for share in (10, 25, 50)] == pytest.approx([0.7, 0.5, 0.25])
    assert found["accuracy_parameters_10pct"] == pytest.approx(0.4)
    assert math.isnan(found["accuracy_parameters_25pct"])  # the curve ends at 20 %
    areas = (0.2 * (0.8 + 0.6) / 2, 0.05 * (0.6 + 0.5) / 2)  # until 25 % are gone, half way from .6 to .4
    assert found["auc_relative_macs"] == pytest.approx(sum(areas) / 0.25 / 0.8)
    assert math.isnan(found["auc_relative_parameters"])


def test_summary_where_units_go_that_cost_nothing_any_more_by_hand():
    accuracy = {"pruned": [0, 1, 2, 3, 5], "accuracy": [1, 0.9, 0.3, 0.2, 0.1]}
    found = summarise(pandas.DataFrame(accuracy | {"macs": [1, 0.9, 0.9, 0.7, 0.5], "parameters": [1] * 4 + [0.9]}), 10)
    assert [found[f"accuracy_macs_{share}pct"] for share in (10, 25, 50)] == pytest.approx([0.9, 0.225, 0.1])
    areas = (0.1 * (1 + 0.9) / 2, 0.15 * (0.3 + 0.225) / 2)  # until 25 % are gone, three quarters of the way to .2
    assert found["auc_relative_macs"] == pytest.approx(sum(areas) / 0.25)
    assert found["accuracy_parameters_10pct"] == 0.1  # the curve's end, though 1 - .9 is a little less than .1


def test_summary_of_a_network_that_never_was_right():
    points = pandas.DataFrame({"pruned": [0, 2], "accuracy": [0.0, 0.5]})
    assert math.isnan(summarise(points, 4)["auc_relative"])


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=31), st.integers(4, 6000))
@steady
def test_a_summary_stays_within_its_curve(right, total):
    accuracy = [count / 10_000 for count in right]
    found = summarise(pandas.DataFrame({"pruned": steps(total, len(accuracy)), "accuracy": accuracy}), total)
    for name in ("auc", "accuracy_10pct", "accuracy_25pct", "accuracy_50pct"):
        assert min(accuracy) - 1e-12 <= found[name] <= max(accuracy) + 1e-12
    assert found["accuracy_50pct"] == accuracy[-1]


class Mixed(nn.Module):
    """A layer in single precision before one in half of that."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.classifier = nn.Linear(5, 4), nn.Linear(4, 4).bfloat16(), nn.Linear(4, 3)

    def forward(self, x):
        return self.classifier(self.second(self.first(x).relu().bfloat16()).relu().float())


def test_masks_are_of_the_type_of_what_they_mask():
    model, images = Mixed().eval(), torch.randn(6, 5)
    with masked(model, torch.arange(8), 8, example=images[:1]):
        torch.testing.assert_close(model(images), model.classifier.bias.expand(6, 3))


def test_a_curve_that_does_not_end_at_half_of_all_units_is_refused():
    points = pandas.DataFrame({"pruned": [0, 1, 2], "accuracy": [1.0, 0.5, 0.0]})
    assert summarise(points, 4)["auc"] == summarise(points, 5)["auc"] == 0.5
    with pytest.raises(ValueError, match=r"^the curve ends with 2 units off, which is not half of total=9: give all N"):
        summarise(points, 9)
