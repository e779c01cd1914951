"""lib.units: what a unit is, and which networks have none."""

import warnings

import pytest
import torch
import toys
from torch import nn
from torch.nn import functional

from lib import importance, pruning
from lib.images import networks
from lib.network.units import units


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


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_works_whatever_the_callers_gradient_mode(mode):
    model = toys.make(toys.Residual)
    with mode():
        assert units(model) == units(model, toys.examples(toys.Residual, 1)[0])


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


def test_a_network_made_in_inference_mode_is_refused():
    with torch.inference_mode():
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).eval()
    with pytest.raises(ValueError, match=r"^0.weight was made in inference mode, where nothing can be differentiated"):
        units(model, torch.ones(1, 3))


def test_a_scaled_weight_that_a_function_takes_is_no_hidden_layer():
    with pytest.warns(UserWarning, match="^two without units: used without being run as a module"):
        assert [unit.name for unit in units(Scaled().eval(), torch.randn(1, 5))] == ["one"]


@pytest.mark.filterwarnings("ignore:two without units")
def test_what_only_a_function_runs_is_left_alone_and_keeps_what_it_takes_in():
    torch.manual_seed(0)
    model, images = Scaled().eval(), torch.randn(6, 5)
    scores = importance.score(model, [(images, None)], ["sq:rand:norm"], seed=0)["sq:rand:norm"]
    assert scores.shape == (4,)
    with torch.no_grad(), pruning.masked(model, torch.tensor([2, 0, 1, 3]), 1, example=images[:1]):
        left = model.one(images).relu()
        assert (left[:, 2] == 0).all() and left.any()
        toys.close(model(images), model.three(functional.linear(left, 2 * model.two.weight).relu()))
    stays = pytest.warns(UserWarning, match="^all units of one stay, since .* taken in by a function with weights of a")
    with stays, pytest.raises(ValueError, match="nothing can go"):
        pruning.slim(model, scores, images[:1], budget=0.1, of="units")


class Confident(nn.Module):
    """Logits times a confidence, which is a mean over hidden numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.confidence = nn.Linear(4, 12), nn.Linear(12, 6), nn.Linear(12, 8)

    def forward(self, x):
        x = self.one(x).relu()
        return self.two(x) * self.confidence(x).sigmoid().mean(1, keepdim=True)


def test_a_layer_that_may_be_no_classifier_is_named():
    with pytest.warns(UserWarning, match="^confidence without units: taken for classifiers, since each of their chann"):
        assert [unit.name for unit in units(Confident().eval(), torch.randn(1, 4))] == ["one"]


class Positioned(nn.Module):
    """What is added depends on a table alone, as relative positions do in Swin V2."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.arange(4.0)[:, None])
        self.one, self.positions, self.two = nn.Linear(4, 6), nn.Linear(1, 1), nn.Linear(6, 3)

    def forward(self, x):
        return self.two(self.one(x + self.positions(self.table)[:, 0]).relu())


def test_what_runs_on_a_table_has_no_units():
    with pytest.warns(UserWarning, match="^positions without units: run on a table of the network's own, whatever the"):
        assert [unit.name for unit in units(Positioned().eval(), torch.randn(1, 4))] == ["one"]


class Remembered(Positioned):
    """The table is made in the first pass and kept."""

    kept = None

    def forward(self, x):
        self.kept = self.positions(self.table)[:, 0] if self.kept is None else self.kept
        return self.two(self.one(x + self.kept).relu())


def test_what_runs_on_a_table_in_the_first_pass_alone_has_no_units():
    model = Remembered().eval()
    with pytest.warns(UserWarning, match="^positions without units: run on a table of the network's own, whatever the"):
        assert [unit.name for unit in units(model, torch.randn(1, 4))] == ["one"]
    assert [unit.name for unit in units(model, torch.randn(1, 4))] == ["one"]


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
    "as many positions as examples": (
        nn.Linear(6, 8),
        lambda net, x: net.conv(x[:, 0, :4].transpose(0, 1)).relu().mean(0),
    ),
    "the same four times": (
        nn.Conv2d(3, 8, 3),
        lambda net, x: net.conv(x.repeat(4, 1, 1, 1)).relu().mean((2, 3)).view(4, len(x), -1).sum(0),
    ),
    "another order": (nn.Conv2d(3, 8, 3), lambda net, x: net.conv(x.flip(0)).flip(0).relu().mean((2, 3))),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_what_runs_on_other_rows_than_examples_is_refused(name):
    with pytest.raises(ValueError, match="conv runs on something else than rows of one example after the other"):
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


def test_a_single_logit_near_zero_is_not_taken_for_one_that_depends_on_other_examples():
    for seed in range(60):  # of three in fifty of which the sum of 20,000 terms rounds more than it is large
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(1, 20000), nn.Linear(20000, 1)).eval()
        assert len(units(model, torch.ones(1, 1))) == 1
