"""lib.units: what a unit is, which BatchNorm belongs to it, and that a tap sees the value as it was."""

import warnings
from itertools import pairwise, product

import pytest
import torch
import toys
from torch import nn
from torch.nn import functional

from lib import importance, oracle, pruning
from lib.images import networks
from lib.units import along, tapped, units


@pytest.mark.parametrize(
    ("name", "total"),
    [("resnet20", 784), ("resnet56", 2128), ("vgg19", 5504), ("resnet18", 4800), ("resnet18-small", 4800)],
)
def test_totals_are_the_papers(name, total):
    layers = units(networks.build(name, 10).eval())
    assert sum(unit.size for unit in layers) == total
    assert all(unit.norm is not None for unit in layers)


@pytest.mark.parametrize("network", toys.NETWORKS)
def test_finds_layers_norms_uses_and_overwritten_values(network):
    layers = units(toys.make(network), toys.examples(network, 1)[0])
    found = [(u.name, u.size, u.norm, len(u.taps), any(tap.overwritten for tap in u.taps)) for u in layers]
    assert found == list(network.UNITS)
    sizes = [unit.size for unit in layers]
    assert [unit.slice for unit in layers] == [slice(sum(sizes[:i]), sum(sizes[: i + 1])) for i in range(len(sizes))]


def test_densenet_whose_registration_order_is_wrong_on_half_of_its_convolutions():
    from torchvision.models import DenseNet

    model = DenseNet(4, (2, 2), 6, bn_size=2, num_classes=3).eval()
    norm_of = {unit.name: unit.norm for unit in units(model)}
    expected = {"features.conv0": "features.norm0", "features.transition1.conv": None}
    for block, number in product((1, 2), (1, 2)):
        layer = f"denseblock{block}.denselayer{number}"
        expected[f"features.{layer}.conv1"] = f"features.{layer}.norm2"
        expected[f"features.{layer}.conv2"] = None  # concatenated with what came before
    assert norm_of == expected
    names = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    next_registered = {a: b for a, b in pairwise(names) if a in norm_of}
    assert sum(norm_of[name] != next_registered[name] for name in norm_of) == len(norm_of) / 2


def test_mobilenet_where_every_convolution_has_its_own_norm():
    from torchvision.models import mobilenet_v2

    model = mobilenet_v2(num_classes=3, width_mult=0.25).eval()
    layers = units(model)
    assert len(layers) == sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 52
    for unit in layers:  # in a Sequential each convolution is followed by its norm
        *path, number = unit.name.split(".")
        assert unit.norm == ".".join([*path, str(int(number) + 1)])
        linear_bottleneck = number != "0"  # the only one without an activation behind it
        assert [tap.overwritten for tap in unit.taps] == [not linear_bottleneck]


@pytest.mark.parametrize("network", toys.NETWORKS)
def test_a_tap_shows_the_value_before_anything_overwrites_it_and_replaces_it(network):
    model, (images, _) = toys.make(network), toys.examples(network, 3)
    layers, seen, expected = units(model, images[:1]), [], []

    def see(number, tap, value):
        assert value.shape[tap.axis] == layers[number].size
        seen.append((number, value.clone()))
        return value * 2

    def gate(number, value):
        expected.append((number, value))
        return value * 2

    with torch.no_grad():
        with tapped(model, layers, see):
            doubled = model(images)
        close(doubled, model.gated(images, gate))
        close(model(images), model.gated(images, lambda number, value: value))
    assert len(seen) == len(expected) == sum(uses for *_, uses, _ in network.UNITS)
    for (number, value), (expected_number, expected_value) in zip(seen, expected, strict=True):
        assert number == expected_number
        close(value, expected_value)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_taps_count_their_calls_anew_in_every_pass():
    model, (images, _) = toys.make(toys.Twice), toys.examples(toys.Twice, 2)
    calls = []
    with tapped(model, units(model), lambda number, tap, value: calls.append((number, tap.call))):
        model(images), model(images)
    assert calls == [(0, 0), (1, 0), (1, 1)] * 2


@pytest.mark.parametrize("fail", [False, True])
def test_hooks_are_gone_afterwards(fail):
    model, (images, _) = toys.make(toys.Twice), toys.examples(toys.Twice, 2)
    with pytest.raises(ZeroDivisionError) if fail else torch.no_grad(), tapped(model, units(model), lambda *_: None):
        model(images)
        assert any(module._forward_hooks for module in model.modules())
        _ = 1 / (not fail)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_works_whatever_the_callers_gradient_mode(mode):
    model = toys.make(toys.Residual)
    with mode():
        assert units(model) == units(model, toys.examples(toys.Residual, 1)[0])


def test_along_broadcasts_one_value_per_unit():
    value = torch.ones(2, 3, 4)
    assert torch.equal((value * along(torch.tensor([1.0, 2, 3]), 1, value))[0, :, 0], torch.tensor([1.0, 2, 3]))
    assert torch.equal((value * along(torch.tensor([1.0, 2, 3, 4]), -1, value))[1, 2], torch.tensor([1.0, 2, 3, 4]))


class OnlyTiny(nn.Module):
    """Takes 5x5 images and no others."""

    def __init__(self):
        super().__init__()
        self.conv, self.classifier = nn.Conv2d(1, 2, 3), nn.Linear(18, 2)

    def forward(self, x):
        return self.classifier(functional.relu(self.conv(x)).flatten(1))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (toys.make(toys.Mlp).train(), "Mlp is in training mode: call model.eval()"),
        (
            nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)).eval(),
            "1 has no running statistics",
        ),
        (
            nn.Sequential(nn.Linear(2, 2)).eval(),
            "Sequential has no units: it needs a convolution or linear layer before",
        ),
        (nn.Flatten().eval(), "Flatten has no units"),
        (OnlyTiny().eval(), "OnlyTiny takes none of the usual inputs .*: give one as `example`"),
    ],
)
def test_refuses_what_has_no_units(model, message):
    with pytest.raises(ValueError, match=message) as caught:
        units(model)
    assert "\n" not in str(caught.value)


def test_one_submodule_in_training_mode_is_named():
    model = toys.make(toys.Plain)
    model.layers[7].train()
    with pytest.raises(ValueError, match=r"layers\.7 is in training mode"):
        units(model)


def test_an_example_helps_where_the_usual_inputs_do_not():
    assert [unit.name for unit in units(OnlyTiny().eval(), torch.zeros(1, 1, 5, 5))] == ["conv"]
    with pytest.raises(ValueError, match="Mlp takes none of the usual inputs"):
        units(toys.make(toys.Mlp))  # whose classifier is registered first


class Head(nn.Module):
    """A convolution of 6 channels, and what `head` makes logits of its mean over space with."""

    def __init__(self, head, *layers):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 6, 3), head
        self.one, self.other, self.gate = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(6, 1)
        self.prototypes = nn.Parameter(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        return self.head(self, self.conv(x).relu().mean((2, 3)))


def cosine(net, x):
    return functional.linear(functional.normalize(x), functional.normalize(net.one.weight))


def nearest(net, x):
    return -(x[:, None] - net.prototypes).square().sum(2)


@pytest.mark.parametrize(
    ("head", "with_units"),
    [
        (lambda net, x: net.one(x), ["conv"]),
        (lambda net, x: net.one(x).log_softmax(1), ["conv"]),
        (lambda net, x: functional.normalize(net.one(x)) * 8, ["conv"]),
        (lambda net, x: net.one(x)[:, :4], ["conv"]),
        (lambda net, x: (net.one(x).softmax(1) + net.other(x).softmax(1)) / 2, ["conv"]),
        (lambda net, x: torch.cat([net.one(x), net.other(x)], 1), ["conv"]),
        (lambda net, x: torch.maximum(net.one(x), net.other(x)), ["conv"]),
        (lambda net, x: net.one(x) * net.gate(x).sigmoid(), ["conv", "gate"]),  # one channel for all logits
        (lambda net, x: net.one(x) @ torch.eye(5), ["conv", "one"]),
        (cosine, ["conv"]),
        (nearest, ["conv"]),  # as many prototypes as channels, and no product of matrices
        (lambda net, x: x @ net.prototypes, ["conv"]),
    ],
)
def test_the_classifier_is_what_the_channels_of_the_logits_are(head, with_units):
    torch.manual_seed(0)
    model = Head(head).eval()
    assert [unit.name for unit in units(model, torch.randn(1, 1, 6, 6))] == with_units


class Beside(nn.Module):
    """A convolution and its BatchNorm, and what else `join` does with both."""

    def __init__(self, join):
        super().__init__()
        self.conv, self.norm, self.again, self.join = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4), join
        self.classifier = nn.Linear(4, 5)

    def forward(self, x):
        x = self.conv(x)
        return self.classifier(self.join(self, x).relu().mean((2, 3)))


@pytest.mark.parametrize(
    ("join", "norm"),
    [
        (lambda net, x: net.norm(x), "norm"),
        (lambda net, x: net.norm(input=x), "norm"),
        (lambda net, x: net.norm(x) + x, None),  # a shortcut from before the norm
        (lambda net, x: net.norm(x) + net.again(x), None),
        (lambda net, x: net.norm(x) + 0 * x[:, :1], None),
        (lambda net, x: (x.mean(), net.norm(x))[1], "norm"),  # for nothing
        (lambda net, x: net.norm(x.clone()), None),
        (lambda net, x: net.norm(x.mul_(2)), None),
    ],
)
def test_a_norm_is_the_layers_where_nothing_else_takes_in_what_it_gives(join, norm):
    model, images = Beside(join).eval(), torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    (unit,) = units(model, images[:1])
    assert unit.norm == norm
    with torch.no_grad(), tapped(model, [unit], lambda number, tap, value: value * 0):
        off = model(images)
    expected = model.classifier(torch.relu(join(model, torch.zeros(3, 4, 4, 4))).mean((2, 3)) * (norm is None))
    close(off, expected)


def test_a_layer_that_runs_more_often_than_for_the_example_is_refused():
    class Often(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.classifier = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(1, 4)

        def forward(self, x):
            for _ in range(x.shape[2] // 4):
                x = self.conv(x).relu()
            return self.classifier(x.mean((2, 3)))

    model = Often().eval()
    layers = units(model, torch.randn(1, 1, 8, 8))
    with tapped(model, layers, lambda *_: None):
        model(torch.randn(2, 1, 8, 8)), model(torch.randn(2, 1, 4, 4))
        with pytest.raises(ValueError, match="conv runs more often than the 2 times it did for the example"):
            model(torch.randn(2, 1, 12, 12))


@pytest.mark.parametrize(
    "join",
    [
        lambda net, x: net.norm(net.inner.forward(x)),
        lambda net, x: net.norm(functional.conv2d(x, net.inner.weight, net.inner.bias)),
    ],
)
def test_a_layer_that_hooks_do_not_see_is_refused(join):
    model = Beside(join)
    model.inner = nn.Conv2d(4, 4, 1)
    line = "inner is used without being run as a module, as by inner.forward(x), so hooks do not see it and it would"
    with pytest.raises(ValueError) as caught:
        units(model.eval(), torch.randn(1, 1, 6, 6))
    assert str(caught.value) == f"{line} have no units: have Beside call inner(x)"


@pytest.mark.parametrize(
    ("head", "with_units"),
    [
        (lambda net, x: net.one.forward(x), ["conv"]),  # the classifier has none anyway
        (lambda net, x: functional.linear(x, net.one.weight), ["conv"]),
        (lambda net, x: functional.linear(net.one(x), net.one.weight.T) @ torch.eye(6), ["conv", "one"]),  # seen once
    ],
)
def test_a_layer_may_be_used_as_a_function_where_it_has_no_units_or_is_seen(head, with_units):
    torch.manual_seed(0)
    assert [unit.name for unit in units(Head(head).eval(), torch.randn(1, 1, 6, 6))] == with_units


def test_of_layers_that_share_a_weight_one_needs_to_be_seen():
    model = Beside(lambda net, x: net.norm(net.inner(x)) + 0 * net.twin.forward(x))
    model.inner, model.twin = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    model.twin.weight = model.inner.weight
    assert [unit.name for unit in units(model.eval(), torch.randn(1, 1, 6, 6))] == ["conv", "inner"]


@pytest.mark.parametrize(
    "past",
    [
        lambda net, x: net.inner.forward(x),
        lambda net, x: functional.conv2d(x, net.inner.weight, net.inner.bias),
    ],
)
def test_what_is_made_with_weights_past_the_module_is_masked_and_scored_by_nothing(past):
    model = Beside(lambda net, x: past(net, net.inner(x).relu())).double()
    model.inner = nn.Conv2d(4, 4, 1).double()
    model, images = model.eval(), torch.randn(3, 1, 6, 6, dtype=torch.float64)
    order = torch.tensor([5, *range(5), 6, 7])
    with torch.no_grad():
        inner = model.inner(model.conv(images))
        inner[:, 1] = 0
        off = model.classifier(past(model, inner.relu()).relu().mean((2, 3)))
        change = (off - model(images)).square().sum(1).mean()
        with pruning.masked(model, order, 1, example=images[:1]):
            close(model(images), off)
    close(oracle.score(model, [(images, None)])["output"][5], change)
    seen = {}
    model.inner.register_forward_hook(lambda module, taken, made: seen.update(made=made))
    (delta,) = torch.autograd.grad(model(images).sum(), seen["made"])
    wanted = (seen["made"] * delta).sum((2, 3)).detach()
    close(importance.contributions(model, images, torch.ones(3, 5, dtype=torch.float64))[:, 4:], wanted)


class Exits(nn.Module):
    """A network that answers by `short` where no value is below -50, else runs on; and two heads for nothing."""

    def __init__(self):
        super().__init__()
        self.first, self.short = nn.Linear(3, 4), nn.Linear(4, 2)
        self.rest, self.long = nn.Linear(4, 4), nn.Linear(4, 2)
        self.unused, self.auxiliary = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        y = self.first(x).relu()
        if self.training:
            self.auxiliary(y)
        return self.short(y) if (x > -50).all() else self.long(self.rest(y).relu())


RARE, USUAL = torch.tensor([[0.0, 1, -99]]), torch.tensor([[0.0, 1, 2], [0, 0, 1]])
REFUSED = "rest runs for some inputs only: not for the example, so that it has no units; have the model run the same "


@pytest.mark.parametrize(
    "call",
    [
        lambda model, images: importance.score(model, [(USUAL, None), (images, None)], ["sq:rand"]),
        lambda model, images: importance.score(model, [(USUAL, None), (images, None)], ["apoz"]),
        lambda model, images: importance.score(model, [(USUAL, None), (images, None)], ["molchanov-group:rand"]),
        lambda model, images: oracle.score(model, [(USUAL, None), (images, None)]),
        lambda model, images: pruning.curve(
            model, torch.arange(4), torch.cat([USUAL, images]), torch.zeros(2 + len(images)).long(), 3
        ),
    ],
)
def test_a_layer_that_runs_for_some_inputs_only_is_refused_where_it_runs(call):
    model = Exits().eval()
    assert [unit.name for unit in units(model, USUAL[:1])] == ["first"]
    call(model, USUAL)
    with pytest.raises(ValueError) as caught:
        call(model, RARE)
    assert str(caught.value) == REFUSED + "layers for every input"
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_layers_for_training_alone_may_run_under_a_mask():
    model = Exits().eval()
    with pruning.masked(model, torch.arange(4), 2, example=USUAL[:1]):
        model.train()(USUAL)
        with pytest.raises(ValueError, match="rest runs for some inputs only"):
            model.eval()(RARE)


def test_an_expert_that_the_example_does_not_choose_is_noticed_at_once():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
            self.experts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

        def forward(self, x):
            y, chosen = self.first(x), (x.sum(1) > 5).long()
            for number in chosen.unique().tolist():
                y = torch.where(chosen[:, None] == number, self.experts[number](y), y)
            return self.last(y)

    with pytest.raises(ValueError, match=r"experts\.1 runs for some inputs only: not for the example"):
        units(Experts().eval(), torch.ones(1, 3))


class Scaled(nn.Module):
    """A hidden layer whose weight is scaled before a function takes it."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.three(functional.linear(self.one(x).relu(), 2 * self.two.weight).relu())


def test_complex_numbers_are_refused():
    class Absolute(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.last = nn.Linear(3, 4, dtype=torch.cfloat), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(self.layer(x.cfloat()).abs())

    with pytest.raises(ValueError, match=r"^layer gives complex numbers, of which it is not defined what a unit"):
        units(Absolute().eval(), torch.ones(1, 3))


def test_transforms_within_a_network_are_refused():
    class Mapped(nn.Sequential):
        def forward(self, x):
            return torch.vmap(super().forward)(x)

    with pytest.raises(ValueError, match=r"^the network runs transforms of torch.func within, such as vmap, whose"):
        units(Mapped(nn.Linear(3, 4), nn.Linear(4, 2)).eval(), torch.ones(1, 3))


def test_a_network_made_in_inference_mode_is_refused():
    with torch.inference_mode():
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).eval()
    with pytest.raises(ValueError, match=r"^0.weight was made in inference mode, where nothing can be differentiated"):
        units(model, torch.ones(1, 3))


def test_a_scaled_weight_that_a_function_takes_is_no_hidden_layer():
    with pytest.raises(ValueError, match="two is used without being run as a module"):
        units(Scaled().eval(), torch.randn(1, 5))


class Pair(nn.Linear):
    """A layer that gives two things."""

    def forward(self, x):
        return super().forward(x), None


class LastChannels(nn.Conv2d):
    """A layer with its channels last."""

    def forward(self, x):
        return super().forward(x).movedim(1, -1)


class Layered(nn.Module):
    """A convolution, something done with what it gives, and a classifier."""

    def __init__(self, conv, use):
        super().__init__()
        self.conv, self.use, self.classifier = conv, use, nn.Linear(8, 3)

    def forward(self, x):
        return self.classifier(self.use(self, x))


ROWS = {
    "frames": (
        nn.Conv2d(3, 8, 3),
        lambda net, x: net.conv(torch.cat([x, -x])).relu().mean((2, 3)).view(2, len(x), -1).sum(0),
    ),
    "positions first": (nn.Linear(6, 8), lambda net, x: net.conv(x[:, 0].transpose(0, 1)).relu().mean(0)),
    "a table": (nn.Linear(3, 8), lambda net, x: x.mean((1, 2, 3))[:, None] * net.conv(torch.ones(1, 3)).relu()),
    "another order": (nn.Conv2d(3, 8, 3), lambda net, x: net.conv(x.flip(0)).flip(0).relu().mean((2, 3))),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_what_runs_on_other_rows_than_examples_is_refused(name):
    with pytest.raises(ValueError, match="conv runs on something else than one row for each example"):
        units(Layered(*ROWS[name]).eval(), torch.randn(1, 3, 6, 6))


def test_layers_in_a_form_of_their_own_are_refused():
    last = Layered(LastChannels(3, 8, 3, padding=1), lambda net, x: net.conv(x).relu().mean((1, 2)))
    with pytest.raises(ValueError, match=r"conv gives values of shape \(2, 6, 6, 8\), not its 8 channels along axis 1"):
        units(last.eval(), torch.randn(1, 3, 6, 6))
    pair = Layered(Pair(6, 8), lambda net, x: net.conv(x[:, 0, 0])[0].relu())
    with pytest.raises(ValueError, match="conv gives a tuple, not a tensor"):
        units(pair.eval(), torch.randn(1, 3, 6, 6))


def test_statistics_of_a_batch_are_noticed_whatever_their_kind():
    conv = nn.Conv2d(3, 8, 3)
    net = Layered(conv, lambda net, x: net.conv(x / x.abs().max()).relu().mean((2, 3))).eval()
    images = torch.rand(1, 3, 6, 6)
    images[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match="lets examples influence each other"):
        units(net, images)


def test_scripted_models_are_refused():
    model = toys.make(toys.Plain).float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch advises against it, too
        scripted = torch.jit.trace(model, torch.randn(1, 2, 6, 6))
    with pytest.raises(ValueError, match="hooks cannot see into TorchScript: give the module that it was made from"):
        units(scripted, torch.randn(1, 2, 6, 6))
