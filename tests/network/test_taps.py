"""lib.taps: a tap sees the value as it was, and what runs otherwise than for the example is refused."""

import pandas
import pytest
import torch
import toys
from torch import nn
from torch.nn import functional

from lib import importance, oracle, pruning
from lib.masking.footprint import remaining
from lib.network.taps import along, tapped
from lib.network.units import units


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
        toys.close(doubled, model.gated(images, gate))
        toys.close(model(images), model.gated(images, lambda number, value: value))
    assert len(seen) == len(expected) == sum(uses for *_, uses, _ in network.UNITS)
    for (number, value), (expected_number, expected_value) in zip(seen, expected, strict=True):
        assert number == expected_number
        toys.close(value, expected_value)


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


def test_along_broadcasts_one_value_per_unit():
    value = torch.ones(2, 3, 4)
    assert torch.equal((value * along(torch.tensor([1.0, 2, 3]), 1, value))[0, :, 0], torch.tensor([1.0, 2, 3]))
    assert torch.equal((value * along(torch.tensor([1.0, 2, 3, 4]), -1, value))[1, 2], torch.tensor([1.0, 2, 3, 4]))


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


@pytest.mark.filterwarnings("ignore:shares left are not known")  # as code goes by values
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


class OnRows(nn.Module):
    """Convolutions on frames and linear layers on tokens, with the frames or tokens of an example as `folded` rows, or
    along an axis of their own."""

    def __init__(self, folded):
        super().__init__()
        self.folded, kernel = folded, (3, 3) if folded else (1, 3, 3)
        self.conv = (nn.Conv2d if folded else nn.Conv3d)(2, 4, kernel)
        self.norm = (nn.BatchNorm2d if folded else nn.BatchNorm3d)(4)
        self.hidden, self.out, self.head = nn.Linear(4, 5), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, frames):  # (M, T, C, H, W)
        if self.folded:
            x = self.norm(self.conv(frames.flatten(0, 1))).relu_().mean((2, 3))
            return self.head(self.out(functional.gelu(self.hidden(x))).unflatten(0, (len(frames), -1)).mean(1))
        x = self.norm(self.conv(frames.transpose(1, 2))).relu_().mean((3, 4)).transpose(1, 2)
        return self.head(self.out(functional.gelu(self.hidden(x))).mean(1))


def test_several_rows_of_an_example_are_as_an_axis_of_its_own():
    folded, apart = (OnRows(folded).double().eval() for folded in (True, False))
    for module in (folded.conv, folded.hidden, folded.out, folded.norm):
        module.bias.data.normal_()
    folded.norm.running_mean.normal_()
    state = {name: value.view(*value.shape[:2], 1, 3, 3) if name == "conv.weight" else value
             for name, value in folded.state_dict().items()}  # fmt: skip
    apart.load_state_dict(state)
    images, labels = torch.randn(6, 5, 2, 5, 5).double(), torch.randint(3, (6,))
    toys.close(folded(images), apart(images))
    layers = units(folded, images[:1])
    assert [tap.folded for unit in layers for tap in unit.taps] == [True] * 3
    assert [(unit.name, unit.size, unit.norm) for unit in layers] == [
        (unit.name, unit.size, unit.norm) for unit in units(apart, images[:1])
    ]
    batches = [(images[:4], labels[:4]), (images[4:], labels[4:])]
    criteria = ["sq:rand:norm", "taylorfo", "abs-pixel:rand", "l2", "synflow", "apoz", "act-mean", "act-std"]
    of_folded, of_apart = (importance.score(model, batches, criteria) for model in (folded, apart))
    for name in criteria:
        toys.close(of_folded[name], of_apart[name])
    of_folded, of_apart = (oracle.score(model, batches) for model in (folded, apart))
    assert all(torch.allclose(of_folded[name], of_apart[name]) for name in of_apart)
    order = pruning.order(of_folded["output"])
    with pruning.masked(folded, order, 5, layers), pruning.masked(apart, order, 5, example=images[:1]):
        toys.close(folded(images), apart(images))
    tables = [pruning.curve(model, order, images, labels, points=4) for model in (folded, apart)]
    pandas.testing.assert_frame_equal(*tables)


def test_a_pass_whose_rows_are_not_as_many_for_each_example_is_refused():
    model = OnRows(True).eval()
    layers = units(model, torch.randn(1, 5, 2, 5, 5))
    with (
        tapped(model, layers, lambda *_: None),
        pytest.raises(ValueError, match="norm runs on something else than rows"),
    ):
        model.forward = lambda x: OnRows.forward(model, x[:2])
        model(torch.randn(3, 5, 2, 5, 5))


class Keep:
    def __init__(self, kept, name):
        self.kept, self.name = kept, name

    def __call__(self, module, taken, made):
        self.kept[self.name] = made


class Pyramid(nn.Module):
    """A head takes maps from the middle of a backbone, which hooks of its own keep, or which it takes by itself."""

    def __init__(self, by_hooks):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.last = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1)
        self.head, self.kept = nn.Linear(9, 3), {}
        self.norm.bias.data.normal_()
        if by_hooks:
            self.norm.register_forward_hook(Keep(self.kept, "middle"))
            self.last.register_forward_hook(Keep(self.kept, "end"))

    def forward(self, x):
        middle = self.norm(self.conv(x))
        end = self.last(middle.relu())
        middle, end = self.kept.get("middle", middle), self.kept.get("end", end)
        return self.head(torch.cat([middle.tanh().mean((2, 3)), end.tanh().mean((2, 3))], 1))


def test_what_hooks_of_the_network_keep_is_silent_where_a_unit_is():
    by_hooks, plain = (Pyramid(so).double().eval() for so in (True, False))
    images, labels = torch.randn(7, 3, 4, 4).double(), torch.arange(7) % 3
    batches, found = [(images, labels)], []
    for model in (by_hooks, plain):
        scores = importance.score(model, batches, ["sq:rand:norm", "taylorfo", "act-mean", "l2"])
        order = pruning.order(scores["sq:rand:norm"])
        with pruning.masked(model, order, 4, example=images[:1]):
            masked = [model(images), *importance.score(model, batches, ["act-mean"]).values()]
        curve = torch.from_numpy(pruning.curve(model, order, images, labels, 4).to_numpy())
        small = pruning.slim(model, scores["sq:rand:norm"], images[:1], budget=0.3)(images)
        found.append([*scores.values(), *masked, curve, *oracle.score(model, batches).values(), small])
    for one, other in zip(*found, strict=True):
        toys.close(one, other)
    hooks = [hook for module in by_hooks.modules() for hook in module._forward_hooks.values()]
    assert [type(hook) for hook in hooks] == [Keep, Keep]


class Switched(nn.Module):
    """A BatchNorm for each size of images, or none for large ones."""

    def __init__(self, sizes):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, 3)
        self.norms = nn.ModuleDict({str(size): nn.BatchNorm2d(4) for size in sizes})

    def forward(self, x):
        x, size = self.conv(x), str(x.shape[-1])
        return self.head((self.norms[size](x) if size in self.norms else x).relu().mean((2, 3)))


@pytest.mark.parametrize("sizes", [(4, 8), (4,)])
def test_a_layer_that_runs_without_the_batchnorm_of_the_example_is_refused(sizes):
    model, labels, order = Switched(sizes).eval(), torch.tensor([0, 1]), torch.arange(4)
    small, large = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 8, 8)
    layers, both = units(model, small[:1]), [(small, labels), (large, labels)]
    assert layers[0].norm == "norms.4"

    def masked():
        with pruning.masked(model, order, 2, layers):
            model(large)

    for call in (
        masked,
        lambda: importance.score(model, both, ["sq:rand"]),
        lambda: importance.score(model, both, ["apoz"]),
        lambda: oracle.score(model, both),
        lambda: oracle.joint(model, [order], 2, both),
    ):
        with pytest.raises(ValueError, match=r"^conv runs without norms\.4, at which its units were found: have the m"):
            call()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert pruning.curve(model, order, large, labels, 3)["macs"].tolist() == [1, 0.75, 0.5]


class Mirrored(nn.Module):
    """Runs itself within."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x, mirrored=False):
        made = self.two(self.one(x).relu())
        return made if mirrored else made + self(x.flip(1), mirrored=True)


@torch.no_grad()
def test_a_model_that_runs_itself_within_is_in_one_pass():
    model, images = Mirrored().eval(), torch.randn(5, 6)
    [one] = units(model, images[:1])
    assert [tap.call for tap in one.taps] == [0, 1]
    seen = []
    with tapped(model, [one], lambda number, tap, value: seen.append((tap.call, len(value)))):
        model(images)
        with pytest.raises(TypeError):
            model(None)
        model(images[:2])
    assert seen == [(0, 5), (1, 5), (0, 2), (1, 2)]
    table = remaining(model, torch.arange(4), [0, 1, 2], images[:1])
    assert table["macs"].tolist() == [1, 0.75, 0.5]
