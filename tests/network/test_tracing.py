"""lib.tracing: which BatchNorm belongs to which layer, and what hooks do not see."""

from itertools import pairwise, product

import pytest
import torch
import toys
from torch import nn
from torch.nn import functional

from lib import importance, oracle, pruning
from lib.network.taps import tapped
from lib.network.units import units


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
    toys.close(off, expected)


@pytest.mark.parametrize(
    "join",
    [
        lambda net, x: net.norm(net.inner.forward(x)),
        lambda net, x: net.norm(functional.conv2d(x, net.inner.weight, net.inner.bias)),
    ],
)
def test_a_layer_that_hooks_do_not_see_has_no_units(join):
    model = Beside(join)
    model.inner = nn.Conv2d(4, 4, 1)
    with pytest.warns(UserWarning) as told:
        assert [unit.name for unit in units(model.eval(), torch.randn(1, 1, 6, 6))] == ["conv"]
    line = "inner without units: used without being run as a module, as by inner.forward(x), so hooks do not see it:"
    assert [str(warning.message) for warning in told] == [
        f"{line} have the network call inner(x) if it is to have some"
    ]


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
            toys.close(model(images), off)
    toys.close(oracle.score(model, [(images, None)])["output"][5], change)
    seen = {}
    model.inner.register_forward_hook(lambda module, taken, made: seen.update(made=made))
    (delta,) = torch.autograd.grad(model(images).sum(), seen["made"])
    wanted = (seen["made"] * delta).sum((2, 3)).detach()
    toys.close(importance.contributions(model, images, torch.ones(3, 5, dtype=torch.float64))[:, 4:], wanted)


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


class Counting(nn.Module):
    """Keeps an average and a count of what it sees, in eval mode too; at first it has seen nothing of any shape."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("smallest", torch.tensor([]))

    def forward(self, x):
        self.mean.add_(x.mean((0, 2, 3)))
        self.count += 1
        self.smallest.resize_(3).copy_(x.amin((0, 2, 3)))
        return x


class Cosines(nn.Module):
    """Makes a table in its first pass, beside one that holds NaN."""

    def __init__(self, counts):
        super().__init__()
        self.register_buffer("seen", torch.tensor([torch.nan, 0.0]))
        self.counts = counts

    def forward(self, x):
        if not hasattr(self, "cos"):
            self.register_buffer("cos", torch.arange(4.0).cos())
        self.seen[1] += self.counts
        return x * self.cos


@torch.no_grad()
def test_a_table_that_the_first_pass_makes_is_no_change_and_nan_that_stays_is_none():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Cosines(0), nn.Flatten(), nn.Linear(32, 2)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert units(model, torch.randn(1, 3, 4, 6))[0].size == 4
    assert model.state_dict().keys() == {*before, "1.cos"}
    model[1].counts = 1
    with pytest.raises(ValueError, match=r"^1\.seen changes in every pass"):
        units(model, torch.randn(1, 3, 4, 6))
    assert model[1].seen[1] == 0


class Kept(nn.Module):
    """Keeps a table of a size in a buffer, or what `keep` makes of the last images."""

    def __init__(self, keep):
        super().__init__()
        self.register_buffer("table", torch.zeros(0), persistent=False)
        self.conv, self.classifier, self.keep = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), keep

    def forward(self, x):
        y = self.conv(x)
        self.table = self.keep(self.table, y)
        return self.classifier((y + self.table).relu().mean((2, 3)))


def of_size(table, y):
    return table if table.shape == y.shape[2:] else torch.linspace(0, 1, y[0, 0].numel()).view(y.shape[2:])


@torch.no_grad()
def test_what_a_network_keeps_of_a_size_does_not_change_in_every_pass():
    model = Kept(of_size).eval()
    for size in (6, 8, 6):
        assert units(model, torch.randn(1, 3, size, size))[0].size == 4
        model(torch.randn(2, 3, 7, 7))
    largest = lambda table, y: torch.cat([table.flatten(), y.flatten()]).max().view(1)  # noqa: E731
    total = lambda table, y: (table.sum() + y.sum()).view(1)  # noqa: E731
    for history in (largest, total):
        with pytest.raises(ValueError, match=r"^table changes in every pass"):
            units(Kept(history).eval(), torch.randn(1, 3, 6, 6))


def test_a_sparse_buffer_is_named_as_what_it_is():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.classifier = nn.Linear(6, 4), nn.Linear(4, 3)
            self.register_buffer("adjacent", torch.eye(6).to_sparse())

        def forward(self, x):
            return self.classifier(self.layer(torch.sparse.mm(self.adjacent, x.t()).t()).relu())

    with pytest.raises(ValueError, match="a tensor of layout sparse_coo, which cannot be followed: make it dense"):
        units(Net().eval(), torch.randn(1, 6))


def test_all_that_changes_in_every_pass_is_put_back():
    model = nn.Sequential(Counting(), Counting(), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"^0\.mean changes in every pass although in eval mode: logits must depend"):
        units(model, torch.randn(1, 3, 4, 4))
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before) and after.keys() == before.keys()
