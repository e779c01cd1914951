"""Criteria without gradient against values worked out by hand, the obvious way to compute them, and torch-pruning."""

import warnings
from math import sqrt

import numpy as np
import pytest
import torch
import toys
from torch import nn
from torch.nn import functional

from lib import importance
from lib.images import networks
from lib.importance import score, units
from lib.scoring.criteria import parse
from lib.scoring.rivals import RIVALS, WEIGHT_RIVALS, Activations

SEEN = tuple(name for name in RIVALS if name not in WEIGHT_RIVALS)  # need examples


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(
        found.double(), torch.as_tensor(expected, dtype=torch.float64), rtol=tolerance, atol=tolerance
    )


def with_weights(layer, weights, bias=None):
    layer = layer.double()
    layer.weight.data.copy_(torch.tensor(weights, dtype=torch.float64).reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.data.copy_(torch.zeros_like(layer.bias) if bias is None else torch.tensor(bias))
    return layer


def by_hand():
    """A convolution of 3 units with BatchNorm, a linear layer of 3, two classes; images (1, 1, 2)."""
    norm = nn.BatchNorm2d(3).double()
    norm.weight.data.copy_(torch.tensor([-2.0, 0.5, 1.0]))
    norm.bias.data.fill_(0.7)
    norm.running_mean.fill_(-3.0)
    norm.running_var.fill_(5.0)
    return nn.Sequential(
        with_weights(nn.Conv2d(1, 3, (1, 2)), [3.0, -4.0, 0.0, 0.0, -6.0, 8.0], [1.0, -2.0, 3.0]), norm, nn.ReLU(),
        nn.Flatten(), with_weights(nn.Linear(3, 3), np.diag([2.0, -2.0, 1.0]), [0.1, 0.2, 0.3]), nn.ReLU(),
        with_weights(nn.Linear(3, 2), [[1.0, -1.0, 2.0], [0.0, 3.0, -1.0]], [9.0, 9.0]),
    ).eval()  # fmt: skip


# ---- from weights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("l1", [7, 0, 14, 2, 2, 1]),
        ("l2", [5, 0, 10, 2, 2, 1]),
        ("bn-scale", [2, 0.5, 1, 1, 1, 1]),  # no BatchNorm: 1
        ("fpgm", [5 + 15, 5 + 10, 15 + 10, sqrt(8) + sqrt(5), sqrt(8) + sqrt(5), 2 * sqrt(5)]),
        ("lamp", [25 / 125, 0 / 125, 100 / 100, 4 / 8, 4 / 4, 1 / 9]),  # of two equal ones the first counts as smaller
        # an input of ones: 7 * 2, 0, 14 * 1 after BatchNorm; 28, 0, 14 after the linear layer; logits' sums 1, 4, 3
        ("synflow", [28, 0, 42, 28, 0, 42]),
    ],
)
def test_weights_by_hand(name, expected):
    images = torch.randn(4, 1, 1, 2, dtype=torch.float64)
    close(score(by_hand(), [(images, None)], [name])[name], expected)


def test_lamp_and_fpgm_of_a_layer_of_zeros_are_zero():
    model = nn.Sequential(with_weights(nn.Linear(2, 3), np.zeros((3, 2))), nn.Linear(3, 2).double()).eval()
    found = score(model, [(torch.ones(1, 2), None)], ["lamp", "fpgm", "lamp:layer"])
    assert all(not scores.any() for scores in found.values())


def test_distances_between_filters_that_have_much_in_common_keep_their_digits():
    weights = 1e4 + torch.rand(30, 8, dtype=torch.float64)
    model = nn.Sequential(with_weights(nn.Linear(8, 30), weights.tolist()), nn.Linear(30, 2).double()).eval()
    expected = [sum(np.linalg.norm(a - b) for b in weights.numpy()) for a in weights.numpy()]
    close(score(model, [(torch.ones(1, 8), None)], ["fpgm"])["fpgm"], expected, 1e-10)


class Loop(nn.Module):
    """One linear unit after another, the second used twice around a skip."""

    def __init__(self):
        super().__init__()
        self.first, self.again = with_weights(nn.Linear(1, 1), [[-2.0]]), with_weights(nn.Linear(1, 1), [[3.0]], [1.0])
        self.classifier = with_weights(nn.Linear(1, 2), [[1.0], [-1.0]])

    def forward(self, x):
        x = functional.relu6(self.first(x))
        for _ in range(2):
            x = x + torch.relu(self.again(x))
        return self.classifier(x)


def test_synflow_adds_the_uses_of_a_layer():
    # 2; 2 + 6 = 8; 8 + 24 = 32; twice, for two logits. First use: 6 of 8 reach the end as 24 of 32, second: 24 of 32
    close(score(Loop().eval(), [(torch.ones(1, 1), None)], ["synflow"])["synflow"], [64, 2 * (24 + 24)])


class Idle(nn.Module):
    """A layer whose output goes nowhere."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = with_weights(nn.Linear(1, 1), [[2.0]]), with_weights(nn.Linear(1, 1), [[5.0]])
        self.classifier = with_weights(nn.Linear(1, 2), [[1.0], [-1.0]])

    def forward(self, x):
        self.idle(x)
        return self.classifier(self.used(x))


def test_nothing_flows_through_units_that_do_not_reach_the_logits():
    close(score(Idle().eval(), [(torch.ones(1, 1), None)], ["synflow"])["synflow"], [0, 4])


def test_synflow_is_not_stopped_by_activations_that_saturate():
    layers = [with_weights(nn.Linear(1, 1), [[-10.0]]), nn.ReLU6(), with_weights(nn.Linear(1, 1), [[3.0]]), nn.Tanh()]
    model = nn.Sequential(*layers, with_weights(nn.Linear(1, 2), [[1.0], [1.0]])).eval()
    close(score(model, [(torch.zeros(1, 1), None)], ["synflow"])["synflow"], [60, 60])


@pytest.mark.parametrize("name", ["vgg8", "Plain"])
def test_every_layer_of_a_chain_carries_the_whole_flow(name):
    if name == "Plain":
        model, images = toys.make(toys.Plain), toys.examples(toys.Plain, 1)[0]
    else:
        model, images = networks.build(name, 5, 1).eval(), torch.zeros(1, 1, 8, 8)
    found = score(model, [(images, None)], ["synflow"])["synflow"]
    sums = torch.stack([found[unit.slice].sum() for unit in units(model, images)])
    assert (found > 0).all()
    close(sums / sums[0], torch.ones(len(sums)))


def test_synflow_depends_on_the_shape_of_images_alone():
    model = toys.make(toys.Residual)
    images = toys.examples(toys.Residual, 2)[0]
    batches = images, -9 * images, images.repeat(1, 1, 2, 2)
    here, there, larger = (score(model, [(batch, None)], ["synflow"])["synflow"] for batch in batches)
    assert torch.equal(here, there) and not torch.allclose(here, larger)


def test_layers_are_normalised_although_squares_would_overflow():
    first, last = with_weights(nn.Linear(1, 2), [[3e100], [4e100]]), with_weights(nn.Linear(2, 1), [[1e99, 1e99]])
    model = nn.Sequential(first, last).eval()
    close(score(model, [(torch.ones(1, 1), None)], ["synflow:layer"])["synflow:layer"], [0.6, 0.8])


def wide(size=20_000):
    return nn.Sequential(nn.Linear(1, size), nn.Linear(size, 1)).eval()


def test_random_is_uniform_and_depends_on_seed_and_unit_alone():
    one = score(wide(), [(torch.ones(1, 1), None)], ["random"], seed=3)["random"]
    torch.rand(5)  # moves the global stream on
    images = toys.examples(toys.Plain, 3)[0]
    other = score(toys.make(toys.Plain), [(images, None)], ["sq:rand", "act-mean", "random"], seed=3)["random"]
    assert torch.equal(other, one[: len(other)])
    assert not torch.equal(one, score(wide(), [(torch.ones(1, 1), None)], ["random"], seed=4)["random"])
    assert one.min() >= 0 and one.max() < 1 and len(one.unique()) == len(one)
    empirical = torch.arange(1, len(one) + 1) / len(one)
    assert (one.sort().values - empirical).abs().max() < 1.95 / sqrt(len(one))  # Kolmogorov-Smirnov at 0.1 %


# ---- from activations ----------------------------------------------------------------------------------------------


def test_maps_by_hand():
    conv = with_weights(nn.Conv2d(1, 2, 1), [1.0, -1.0])
    model = nn.Sequential(conv, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 2).double()).eval()
    images = torch.tensor([[[[1.0, -1.0], [0.0, 2.0]]], [[[3.0, 3.0], [3.0, 3.0]]]])
    found = score(model, [(images, None)], SEEN)  # unit 0 sees 1 0 0 2, 3 3 3 3; unit 1 sees 0 1 0 0, 0 0 0 0
    close(found["apoz"], [6 / 8, 1 / 8])
    close(found["act-mean"], [15 / 8, 1 / 8])
    close(found["act-std"], [sqrt(41 / 8 - (15 / 8) ** 2), sqrt(1 / 8 - (1 / 8) ** 2)])
    close(found["hrank"], [(2 + 1) / 2, (1 + 0) / 2])
    close(found["chip"], [(sqrt(5) + 6) / 2, (1 + 0) / 2], 1e-7)  # rows are orthogonal: their lengths


def test_linear_units_by_hand():
    model = nn.Sequential(with_weights(nn.Linear(2, 2), np.eye(2)), nn.ReLU(), nn.Linear(2, 2).double()).eval()
    found = score(model, [(torch.tensor([[1.0, -1.0], [2.0, -1.0], [-3.0, 4.0], [3.0, 4.0]]), None)], SEEN)
    close(found["apoz"], [3 / 4, 2 / 4])
    close(found["hrank"], [3 / 4, 2 / 4])
    close(found["act-mean"], [6 / 4, 8 / 4])
    close(found["act-std"], [sqrt(14 / 4 - 1.5**2), sqrt(32 / 4 - 2**2)])
    close(found["chip"], [(1 + 2 + 0 + (5 - 4)) / 4, (0 + 0 + 4 + (5 - 3)) / 4], 1e-7)


def test_the_uses_of_a_layer_are_averaged():
    # first: relu6(-2 x) = 4, 0; again: relu(3 * 4 + 1) = 13, relu(3 * 17 + 1) = 52; and relu(3 * 0 + 1) = 1, then 4
    found = score(Loop().double().eval(), [(torch.tensor([[-2.0], [1.0]]), None)], ["act-mean", "act-std", "apoz"])
    close(found["act-mean"], [2, (13 + 52 + 1 + 4) / 4])
    close(found["act-std"], [2, np.std([13, 52, 1, 4])])
    close(found["apoz"], [0.5, 1])


def nuclear_norm_lost(rows):
    """The definition, for one example: (C, HW) -> (C,)."""
    silenced = [np.where(np.arange(len(rows))[:, None] == unit, 0, rows) for unit in range(len(rows))]
    whole = np.linalg.svd(rows, compute_uv=False).sum()
    return [whole - np.linalg.svd(rest, compute_uv=False).sum() for rest in silenced]


# activations (M, C, H, W) -> (C,)
OBVIOUS = {
    "apoz": lambda maps: (maps > 0).mean((0, 2, 3)),
    "act-mean": lambda maps: maps.mean((0, 2, 3)),
    "act-std": lambda maps: maps.std((0, 2, 3)),
    "hrank": lambda maps: np.mean([[np.linalg.matrix_rank(one) for one in example] for example in maps], 0),
    "chip": lambda maps: np.mean([nuclear_norm_lost(example.reshape(len(example), -1)) for example in maps], 0),
}
AFTER = {
    toys.Mlp: ("relu", "relu"),
    toys.Plain: ("relu", "relu6"),
    toys.Residual: ("relu", "silu", "relu", "relu"),  # the last two before a sum
    toys.Twice: ("tanh", "relu"),
    toys.Overwritten: ("relu", "sigmoid"),
    toys.Decoder: ("relu", "relu", "tanh"),
}


def activations(network, model, images):
    """Per layer (M, C, H, W), one after the other where a layer is used twice."""
    taps = {}
    model.gated(images, lambda number, value: taps.setdefault(number, []).append(value) or value)
    for number, name in enumerate(AFTER[network]):
        values = torch.cat([getattr(functional, name)(value.detach()) for value in taps[number]])
        values = values.movedim(1 if values.ndim == 4 else -1, 1).numpy()
        yield values.reshape(*values.shape[:2], values.shape[2] if values.ndim > 2 else 1, -1)


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("network", toys.NETWORKS)
def test_activations_the_obvious_way(network, name):
    model = toys.make(network)
    images = toys.examples(network, 7)[0]
    expected = np.concatenate([OBVIOUS[name](maps) for maps in activations(network, model, images)])
    close(score(model, [(images, None)], [name])[name], expected, 1e-6 if name == "chip" else 1e-12)


ACTIVATIONS = {
    "ReLU6": nn.ReLU6(inplace=True), "SiLU": nn.SiLU(), "Hardswish": nn.Hardswish(inplace=True), "Tanh": nn.Tanh(),
    "LeakyReLU": nn.LeakyReLU(0.2), "PReLU": nn.PReLU(init=0.3).double(), "Hardtanh": nn.Hardtanh(-0.5, 0.4),
    "Softplus": nn.Softplus(beta=3), "Sigmoid": nn.Sigmoid(), "ELU in place": lambda x: functional.elu(x, 2.0, True),
    "GELU": lambda x: functional.gelu(x, approximate="tanh"), "method": lambda x: x.relu(), "torch": torch.sigmoid,
}  # fmt: skip


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = lambda x: function(x)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_network_s_own_activation_is_found_with_its_settings(name):
    conv, function = nn.Conv2d(1, 3, 3).double(), ACTIVATIONS[name]
    model = nn.Sequential(conv, Function(function), nn.Flatten(), nn.Linear(48, 2).double()).eval()
    images = 3 * torch.randn(5, 1, 6, 6, dtype=torch.float64)
    expected = function(conv(images).detach()).detach().mean((0, 2, 3))
    close(score(model, [(images, None)], ["act-mean"])["act-mean"], expected)


BETWEEN = {
    "nothing": lambda x: x,
    "a sum": lambda x: torch.tanh(x + 1),
    "a sum in place": lambda x: x.add_(1).tanh_(),
    "pooling": lambda x: torch.tanh(functional.max_pool2d(x, 2)),
}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_without_an_activation_of_its_own_a_unit_is_seen_through_relu(between):
    conv = nn.Conv2d(1, 3, 3, padding=1).double()
    model = nn.Sequential(conv, Function(between), Function(lambda x: x.mean((2, 3))), nn.Linear(3, 2).double()).eval()
    images = torch.randn(5, 1, 6, 6, dtype=torch.float64)
    close(score(model, [(images, None)], ["act-mean"])["act-mean"], conv(images).detach().relu().mean((0, 2, 3)))


def low_rank_maps(count, height, width, dtype):
    """Non-negative (count, height, width) of ranks 0 to 5, times factors between 1e-6 and 1e6."""
    generator = torch.Generator().manual_seed(0)
    ranks = [rank % 6 for rank in range(count)]
    maps = [torch.rand(height, r, generator=generator) @ torch.rand(r, width, generator=generator) for r in ranks]
    return (torch.stack(maps) * torch.logspace(-6, 6, count)[:, None, None]).to(dtype), ranks


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ranks_are_those_of_numpy_in_the_network_s_precision(dtype):
    conv = nn.Conv2d(1, 1, 1, bias=False).to(dtype)
    conv.weight.data.fill_(1.0)
    model = nn.Sequential(conv, nn.Flatten(), nn.Linear(12 * 9, 2).to(dtype)).eval()
    maps, true = low_rank_maps(12, 12, 9, torch.float32)
    found = [score(model, [(one[None, None], None)], ["hrank"])["hrank"].item() for one in maps]
    assert found == [np.linalg.matrix_rank(one) for one in maps.to(dtype).numpy()]
    if dtype == torch.float32:
        assert found == true  # in double precision the rounding of the products above counts


def map_matrices():
    generator = torch.Generator().manual_seed(0)
    rand = lambda *shape: torch.rand(*shape, dtype=torch.float64, generator=generator)  # noqa: E731
    normal = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)  # noqa: E731
    yield pytest.param(normal(3, 8, 6, 6), id="flat")
    yield pytest.param(normal(3, 9, 2, 2).relu(), id="tall")
    yield pytest.param(normal(3, 5, 1, 1).relu(), id="linear")
    yield pytest.param(normal(3, 12, 3, 4).relu(), id="square")
    yield pytest.param((rand(3, 10, 2) @ rand(3, 2, 25)).view(3, 10, 5, 5), id="low rank")
    dead = normal(3, 6, 3, 3)
    dead[:, ::2], dead[0] = 0, 0
    yield pytest.param(dead, id="dead")
    yield pytest.param(normal(3, 1, 4, 4)[:, [0, 0, 0, 0]], id="all the same")
    yield pytest.param(normal(3, 14, 4, 4) * torch.logspace(-9, 9, 14, dtype=torch.float64)[:, None, None], id="wild")
    yield pytest.param(normal(70, 4, 3, 3), id="many examples")


@pytest.mark.parametrize("maps", [*map_matrices()])
def test_chip_by_its_definition(maps):
    found = RIVALS["chip"].activations(maps, maps[0, :, :1, :1])
    rows = maps.flatten(2).numpy()
    expected = torch.tensor(np.array([nuclear_norm_lost(example) for example in rows]))
    largest = torch.tensor(np.linalg.norm(rows, 2, (1, 2)))[:, None]
    assert ((found - expected).abs() <= 1e-7 * largest).all()
    assert not found[maps.flatten(2).abs().sum(2) == 0].any()  # what is off loses nothing, exactly


def test_a_small_deviation_around_a_large_mean_keeps_its_digits():
    model = nn.Sequential(with_weights(nn.Linear(1, 1), [[1.0]], [1e8]), nn.Linear(1, 2).double()).eval()
    images = torch.randn(200, 1, dtype=torch.float64)
    expected = (images + 1e8).std(correction=0)
    close(score(model, [(part, None) for part in images.split(64)], ["act-std"])["act-std"][0] / expected, 1, 1e-13)


def test_units_that_never_change_have_no_deviation():
    conv = nn.Conv2d(1, 60, 1).double()
    conv.weight.data.zero_()
    model = nn.Sequential(conv, nn.Flatten(), nn.Linear(60 * 9, 2).double()).eval()
    found = score(model, [(torch.randn(7, 1, 3, 3), None)] * 3, ["act-std"])["act-std"]
    assert (found <= 1e-16 * conv.bias.abs()).all() and (conv.bias > 0).any()  # rounding of the mean over space


# ---- how they are run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [toys.Residual, toys.Twice])
def test_batches_and_the_order_of_examples_do_not_matter(network):
    model = toys.make(network)
    images = toys.examples(network, 40)[0]
    whole = score(model, [(images, None)], SEEN)
    parts = score(model, [(part, None) for part in images.flip(0).split([1, 2, 30, 7])], SEEN)
    for name in SEEN:
        close(parts[name], whole[name], 1e-10)


def test_sums_over_examples_add_up_and_do_not_grow():
    model = toys.make(toys.Residual)
    images = toys.examples(toys.Residual, 9)[0]
    layers = units(model, images[:1])
    total = sum(unit.size for unit in layers)
    one, two, both = (Activations(model, layers, images[:1], SEEN) for _ in range(3))
    for watch, part in ((one, images[:4]), (two, images[4:]), (both, images)):
        with watch.watching():
            model(part)
    for name in SEEN:
        assert one.sums[name].shape == both.sums[name].shape == ((2, total) if name == "act-std" else (total,))
        close(one.sums[name] + two.sums[name], both.sums[name], 1e-10)


def test_one_forward_pass_serves_gradients_and_activations_alike():
    model = toys.make(toys.Residual)
    images = toys.examples(toys.Residual, 12)[0]
    batches = [(part, None) for part in images.split(4)]
    passes = []
    names = ["sq:rand", *RIVALS]
    model.register_forward_pre_hook(lambda module, inputs: passes.append(len(inputs[0])))
    together = score(model, batches, names, seed=2)
    assert passes.count(4) == 1 + 3 and set(passes) == {1, 2, 4}  # of fewer: to find units and activations, and synflow
    for name in names:
        close(together[name], score(model, batches, [name], seed=2)[name])


def test_activations_need_no_backward_pass(monkeypatch):
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("a backward pass"))
    score(toys.make(toys.Plain), [(toys.examples(toys.Plain, 3)[0], None)], [*SEEN, "l1", "chip:layer"])


def test_weights_need_the_first_batch_only():
    images, model = toys.examples(toys.Plain, 2)[0], toys.make(toys.Plain)
    batches = iter([(images, None)] * 3)
    assert set(score(model, batches, WEIGHT_RIVALS)) == set(WEIGHT_RIVALS)
    assert len(list(batches)) == 2
    with pytest.raises(ValueError, match="no examples"):
        score(toys.make(toys.Plain), [], ["l2"])


def test_weight_gradients_and_activations_go_together():
    model, (images, labels) = toys.make(toys.Residual), toys.examples(toys.Residual, 40)
    found = score(model, [(images, labels)], ["molchanov-group", "chip"])
    for name in found:
        close(found[name], score(model, [(images, labels)], [name])[name])


@pytest.mark.parametrize("network", toys.NETWORKS)
def test_the_model_is_left_as_it_was(network):
    model = toys.make(network).requires_grad_(False)
    next(model.parameters()).requires_grad_(True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = toys.examples(network, 3)[0]
    copy, random_state = images.clone(), torch.get_rng_state()
    score(model, [(images, None)], RIVALS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()].count(True) == 1
    assert all(parameter.grad is None and parameter.dtype == torch.float64 for parameter in model.parameters())
    assert all(not m._forward_hooks and not m._forward_pre_hooks and not m.training for m in model.modules())
    assert torch.equal(images, copy) and torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_the_caller_s_gradient_mode_does_not_matter(mode):
    model = toys.make(toys.Residual)
    images = toys.examples(toys.Residual, 3)[0]
    expected = score(model, [(images, None)], RIVALS)
    with mode():
        found = score(model, [(images * 1, None)], RIVALS)
    assert all(torch.equal(found[name], expected[name]) for name in RIVALS)


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_has_a_source_a_name_and_a_form_per_layer(name):
    rival = RIVALS[name]
    assert rival.source and (rival.weights is None) != (rival.activations is None)
    assert not parse(name).needs_labels and str(parse(f"{name}:layer")) == f"{name}:layer"
    with pytest.raises(ValueError, match=f"{name} uses no gradient, so only :layer can follow it"):
        parse(f"{name}:rand")
    model, images = toys.make(toys.Residual), toys.examples(toys.Residual, 6)[0]
    found = score(model, [(images, None)], [name, f"{name}:layer"])
    for unit in units(model, images[:1]):
        plain, normed = found[name][unit.slice], found[f"{name}:layer"][unit.slice]
        close(normed, plain / plain.norm())
    assert importance.units(model, images[:1])[0].name == "stem"


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_is_reported(name, value):
    images = toys.examples(toys.Residual, 3)[0]
    images[1] = value
    with pytest.raises(ValueError, match=f"{name}: logits or scores are not finite"):
        score(toys.make(toys.Residual), [(images, None)], [name])


# ---- torch-pruning -------------------------------------------------------------------------------------------------


def chain():
    """Convolutions whose groups, in torch-pruning's dependency graph, are single layers with the inputs that follow."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(2, 7, 3), nn.BatchNorm2d(7), nn.ReLU(), nn.Conv2d(7, 5, 3), nn.BatchNorm2d(5), nn.ReLU(),
            nn.Conv2d(5, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
        )  # fmt: skip
        for module in model:
            if isinstance(module, nn.BatchNorm2d):
                module.weight.data.normal_()
                module.bias.data.normal_()
        return model.eval()


PEERS = {
    "l1": ("MagnitudeImportance", {"p": 1}, lambda scores: scores),
    "l2": ("MagnitudeImportance", {"p": 2}, torch.square),  # there without the root
    "bn-scale": ("BNScaleImportance", {}, lambda scores: scores),
    "fpgm": ("FPGMImportance", {"p": 1}, lambda scores: scores),  # there of absolute weights: ours are made positive
    "lamp": ("LAMPImportance", {"normalizer": "lamp"}, lambda scores: scores),
    "act-mean": ("ActivationImportance", {}, lambda scores: scores),  # there of the inputs that follow
}


@pytest.mark.parametrize("name", PEERS)
def test_agreement_with_torch_pruning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch_pruning
    peer, settings, same = PEERS[name]
    model, images = chain(), torch.randn(6, 2, 8, 8)
    if name == "fpgm":
        for module in model[::3]:
            module.weight.data.abs_() if isinstance(module, nn.Conv2d) else None
    graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=images[:1])
    rate = getattr(torch_pruning.pruner.importance, peer)(**{"group_reduction": "first", "normalizer": None} | settings)
    if name == "act-mean":
        with rate.compute_importance(model), torch.no_grad():
            model(images)
    expected = []
    for number in (0, 3):
        layer = model[number]
        group = graph.get_pruning_group(layer, torch_pruning.prune_conv_out_channels, list(range(layer.out_channels)))
        expected.append(rate(group).double())
    found = score(model, [(images, None)], [name])[name]
    close(same(found[:12]), torch.cat(expected), 2e-6)
