"""lib.footprint: multiply-adds and parameters that are left, counted by hand."""

from threading import Lock

import pytest
import torch
import toys
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from lib.images import networks
from lib.masking.footprint import remaining
from lib.network.units import units


def left(model, off, example):
    """What is left with exactly the units `off` off: (share of multiply-adds, share of parameters)."""
    total = sum(unit.size for unit in units(model.eval(), example))
    order = torch.tensor([*off, *(unit for unit in range(total) if unit not in off)])
    row = remaining(model, order, [len(off)], example).iloc[0]
    assert row["pruned"] == len(off)
    return row["macs"], row["parameters"]


class Stream(nn.Module):
    """A stem and two blocks that write to the same two channels: units 0-1 (stem), 2-3 (one), 4-5 (two)."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2)
        self.one, self.two = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
        self.classifier = nn.Linear(2, 3)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu_()
        x = x + self.one(x)
        x = x + self.two(x)
        return self.classifier(x.relu().mean((2, 3)))


@pytest.mark.parametrize(
    ("off", "macs", "parameters"),
    [  # on 4 x 4 images: stem 16 * 9 * 2, blocks 16 * 4 each, classifier 6; stem 18 + 4, blocks 4 + 2, classifier 6 + 3
        ([], 288 + 64 + 64 + 6, 22 + 6 + 6 + 9),
        ([0], 144 + 32 + 64 + 6, 11 + 4 + 6 + 9),  # block one loses an input; it writes both channels for block two
        ([0, 2], 144 + 16 + 32 + 6, 11 + 2 + 4 + 9),  # now none has written channel 0 when block two reads it
        ([0, 2, 4], 144 + 16 + 16 + 3, 11 + 2 + 2 + 6),  # nor when the classifier does
        ([2, 4], 288 + 32 + 32 + 6, 22 + 3 + 3 + 9),  # the stem wrote it
        ([0, 1], 0 + 0 + 64 + 6, 0 + 2 + 6 + 9),  # block one takes zeros in: its biases go on, which block two reads
        ([0, 1, 2, 3], 0 + 0 + 0 + 6, 0 + 0 + 2 + 9),
        ([0, 1, 2, 3, 4, 5], 0, 3),
    ],
)
def test_a_channel_of_a_residual_stream_goes_when_all_that_write_to_it_are_off(off, macs, parameters):
    assert left(Stream(), off, torch.zeros(1, 1, 4, 4)) == (macs / 422, parameters / 43)


@pytest.mark.parametrize(
    ("off", "macs", "parameters"),
    [  # on 6 x 6 images: 16 * 18 * 4 to maps of 4 x 4, 2 x 2 behind the pool: 4 * 36 * 3, 36; 72 + 8, 108 + 3, 36 + 3
        ([], 1152 + 432 + 36, 80 + 111 + 39),
        ([1], 864 + 324 + 36, 60 + 84 + 39),
        ([4], 1152 + 288 + 24, 80 + 74 + 27),  # four inputs of the classifier, one for each place of the map
        ([1, 4], 864 + 216 + 24, 60 + 56 + 27),
        ([0, 1, 2, 3], 0 + 0 + 36, 0 + 3 + 39),  # what reaches the logits are biases
        ([4, 5, 6], 0 + 0 + 0, 0 + 0 + 3),  # and the first layer has no use then
    ],
)
def test_a_chain_by_hand(off, macs, parameters):
    model, (images, _) = toys.make(toys.Plain), toys.examples(toys.Plain, 1)
    assert left(model, off, images) == pytest.approx((macs / 1620, parameters / 230), rel=1e-15)


def test_groups_and_a_norm_behind_a_concatenation_by_hand():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(2, 2, 1, bias=False), nn.Conv2d(2, 2, 1, groups=2, bias=False)
            self.norm, self.third = nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1, groups=2, bias=False)
            self.classifier = nn.Linear(2, 2, bias=False)

        def forward(self, x):
            x = torch.cat([self.first(x), self.second(x)], 1)
            return self.classifier(self.third(self.norm(x).relu_()).mean((2, 3)))

    example = torch.zeros(1, 2, 1, 1)  # so that multiply-adds are weights: 4 + 2 + 2 groups of 2 + 4; 8 in the norm
    # what is off becomes -mean * gamma + beta in the norm: a constant, which the third layer's weights multiply
    assert left(Joined(), [0], example) == (12 / 14, 20 / 22)  # without two weights of the first layer
    assert left(Joined(), [3], example) == (13 / 14, 21 / 22)  # the one weight of its group
    assert left(Joined(), [4], example) == (6 / 14, 10 / 22)  # a group of the third layer, and all that only it read
    assert left(Joined(), [0, 1], example) == (10 / 14, 18 / 22)


def test_a_layer_used_twice_counts_twice_in_multiply_adds_and_once_in_parameters():
    model, (images, _) = toys.make(toys.Twice), toys.examples(toys.Twice, 1)
    # on 4 x 4 images: stem 16 * 9 * 3, shared 16 * 81 twice, classifier 16 * 9; 27 + 3, 81 + 3 + 6, 9 + 3
    macs, parameters = 432 + 2 * 1296 + 144, 30 + 90 + 12
    assert left(model, [], images) == (1, 1)
    # without unit 0 of the stem the first use has two inputs; the second has three, one of them written by the first
    assert left(model, [0], images) == ((288 + 864 + 1296 + 144) / macs, (20 + 90 + 12) / parameters)
    assert left(model, [0, 3], images) == ((288 + 2 * 576 + 96) / macs, (20 + 36 + 2 + 4 + 9) / parameters)


@pytest.mark.parametrize("name", ["resnet8", "vgg8"])
def test_shares_fall_from_all_to_nothing_and_the_model_stays_as_it_was(name):
    model, example = networks.build(name, 10, 1).eval(), torch.zeros(1, 1, 8, 8)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    total = sum(unit.size for unit in units(model, example))
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    table = remaining(model, order, range(0, total + 1, 16), example)
    for column in ("macs", "parameters"):
        assert table[column].iloc[0] == 1 and table[column].is_monotonic_decreasing
        assert 0 <= table[column].iloc[-1] < 0.03
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_is_left_of_a_chain_is_what_a_smaller_network_has():
    def chain(first, second):
        return nn.Sequential(
            nn.Conv2d(2, first, 3), nn.BatchNorm2d(first), nn.SiLU(), nn.Conv2d(first, second, 3, stride=2),
            nn.LeakyReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(second, 3),
        )  # fmt: skip

    size = [sum(parameter.numel() for parameter in chain(*widths).parameters()) for widths in ((4, 5), (3, 3))]
    assert left(chain(4, 5), [2, 4, 8], torch.zeros(1, 2, 9, 9))[1] == size[1] / size[0]


class Branches(nn.Module):
    """Two convolutions of 2 channels whose results are joined, and one of 2 that takes in what that gives."""

    def __init__(self, join, width=2, beside=nn.Identity):
        super().__init__()
        self.one, self.other = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
        self.join, self.beside, self.third = join, beside(), nn.Conv2d(width, 2, 1)
        self.classifier = nn.Linear(2, 3)

    def forward(self, x):
        return self.classifier(self.third(self.join(self, self.one(x), self.other(x))).relu().mean((2, 3)))


def crelu(net, a, b):
    return torch.cat([a.relu(), (-a).relu(), b], 1)


def with_a_signed_scale(net, a, b):
    return (a + b) * net.beside.weight.view(1, 2, 1, 1)


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([-1.0, 0.0]))  # of either sign, or none


@pytest.mark.parametrize(
    ("net", "off", "third", "classifier"),
    [  # on images of one pixel, where multiply-adds are weights: 2 and 2 of the branches, 4 or 12 of the third layer, 6
        (Branches(lambda net, a, b: a.relu() - b.relu()), [0], 4, 6),
        (Branches(lambda net, a, b: a.relu() - b.relu()), [0, 2], 2, 6),
        (Branches(lambda net, a, b: (-a).relu() + b), [0], 4, 6),
        (Branches(lambda net, a, b: (a + 1).relu() - a.relu() + b), [2, 3], 4, 6),  # though both are positive
        (Branches(crelu, 6), [0], 8, 6),  # both of its channels
        (Branches(lambda net, a, b: a * b), [0], 2, 6),  # and what it is multiplied with
        (Branches(lambda net, a, b: (a + b) - (a + b).mean(1, keepdim=True)), [0, 2], 4, 6),  # minus the other's half
        (Branches(with_a_signed_scale, beside=Scale), [0, 2], 2, 6),
        (Branches(lambda net, a, b: torch.maximum(a, b)), [0, 2], 2, 6),
    ],
)
def test_nothing_cancels(net, off, third, classifier):
    branches = 4 - len(off) - (2 - len(off) if third == 2 and len(off) == 1 else 0)
    whole = 4 + net.third.weight.numel() + 6
    assert left(net, off, torch.zeros(1, 1, 1, 1))[0] == (branches + third + classifier) / whole


def test_transposed_convolutions_count_where_they_take_in():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 1), nn.ConvTranspose2d(3, 2, 2, stride=2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
    )
    # on 2 x 2 images: 4 * 3, 4 * 3 * 2 * 4, 32 * 3; 3 + 3, 24, 96 + 3
    example = torch.zeros(1, 1, 2, 2)
    assert left(model, [1], example) == ((8 + 64 + 96) / (12 + 96 + 96), (4 + 16 + 99) / (6 + 24 + 99))
    assert left(model, [4], example) == ((12 + 48 + 48) / (12 + 96 + 96), (6 + 12 + 51) / (6 + 24 + 99))


def test_masked_entries_of_pruned_weights_never_count_and_parametrized_weights_do():
    def net():
        return nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(2, 3, bias=False))

    pruned, example = net(), torch.zeros(1, 2, 1, 1)
    prune.custom_from_mask(pruned[0], "weight", torch.tensor([[1.0, 0], [1, 1]]).view(2, 2, 1, 1))
    assert left(pruned, [0], example) == (5 / 9, 5 / 9)
    normed = net()
    parametrizations.weight_norm(normed[0])
    assert left(normed, [0], example) == (5 / 10, 6 / 12)  # a length for each unit besides


def test_products_of_functions_and_parameters_of_the_models_own_count():
    class Cosine(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.scale = nn.Conv2d(1, 2, 1), nn.Parameter(torch.ones(2))
            self.prototypes = nn.Parameter(torch.randn(3, 2))

        def forward(self, x):
            x = functional.normalize(self.conv(x).flatten(1) * self.scale)
            return functional.linear(x, functional.normalize(self.prototypes))

    # 2 and 6 multiply-adds, 4 + 2 + 6 parameters; those of a prototype matter through its length, too
    assert left(Cosine(), [0], torch.zeros(1, 1, 1, 1)) == (4 / 8, 9 / 12)


def test_several_rows_of_an_example():
    class Tokens(nn.Module):
        """Its tokens are (M * T, F)."""

        def __init__(self):
            super().__init__()
            self.conv, self.token, self.classifier = nn.Conv2d(1, 3, 1), nn.Linear(3, 2), nn.Linear(2, 4)

        def forward(self, x):
            x = self.conv(x).flatten(2).mT.flatten(0, 1)
            return self.classifier(self.token(x).relu().unflatten(0, (-1, 4)).mean(1))

    example = torch.zeros(1, 1, 2, 2)  # 4 * 3, 4 * 6, 8
    assert left(Tokens(), [], example) == (1, 1)
    assert left(Tokens(), [0, 3], example)[0] == (8 + 8 + 4) / 44


class Siamese(nn.Module):
    """The same layer twice, and the difference of what `first` and `second` make of both."""

    def __init__(self, first, second):
        super().__init__()
        self.layer, self.classifier, self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2), first, second

    def forward(self, x):
        return self.classifier(self.first(self.layer(x)) - self.second(self.layer(x)))


@pytest.mark.parametrize(("second", "whole"), [(functional.relu, 2), (functional.elu, 26)])
def test_a_difference_of_equals_is_gone_and_no_other(second, whole):
    table = remaining(Siamese(functional.relu, second).eval(), torch.arange(4), [0, 4], torch.randn(1, 3))
    assert table["parameters"].tolist() == pytest.approx([1, 2 / whole])  # of all, the classifier's bias at the end


def test_in_parts_that_fit_into_memory_shares_are_the_same(monkeypatch):
    model, example = toys.make(toys.Residual), toys.examples(toys.Residual, 1)[0]
    together = remaining(model, torch.arange(13), [0, 3, 7, 13], example)
    monkeypatch.setattr("lib.masking.footprint._VALUES", 1)
    assert remaining(model, torch.arange(13), [0, 3, 7, 13], example).equals(together)


class Pooled(nn.Module):
    """As in a PoolFormer, of 12 channels: what GroupNorm makes of one that is off is a constant, whose mean cancels."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 12, 3, padding=1), nn.GroupNorm(1, 12), nn.Conv2d(12, 10, 3)
        self.pool, self.classifier = nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.Linear(10, 4)

    def forward(self, x):
        x = self.first(x)
        y = self.norm(x)
        return self.classifier(self.second(x + (self.pool(y) - y)).relu().mean((2, 3)))


class PooledInSinglePrecision(Pooled):
    def forward(self, x):
        return super().forward(x).to(torch.float32).float() + torch.zeros(4, dtype=torch.float32)


class PooledAndKept(Pooled):
    """Keeps what it was last, and something that cannot be copied."""

    def __init__(self):
        super().__init__()
        self.lock = Lock()

    def forward(self, x):
        self.seen = super().forward(x)
        return self.seen


@pytest.mark.parametrize("network", [Pooled, PooledInSinglePrecision, PooledAndKept])
@pytest.mark.parametrize("at_once", [2**21, 1])
def test_what_rounding_leaves_where_values_cancel_does_not_count(network, at_once, monkeypatch):
    monkeypatch.setattr("lib.masking.footprint._VALUES", at_once)
    table = remaining(network().eval(), torch.arange(22), [4, 8], torch.zeros(1, 3, 16, 16))
    macs = [on * (256 * 27 + 196 * 90) + 40 for on in (12, 8, 4)]
    assert table["macs"].tolist() == [macs[1] / macs[0], macs[2] / macs[0]]
    # a channel has 28 + 90 weights and its scale; what the norm adds to it is a constant, which always cancels
    counted = [on * (28 + 90 + 1) + 10 + 44 for on in (12, 8, 4)]
    assert table["parameters"].tolist() == [counted[1] / counted[0], counted[2] / counted[0]]


class Tabled(nn.Module):
    """What is added depends on a table of `rows` rows alone, through a layer without units."""

    def __init__(self, rows):
        super().__init__()
        self.register_buffer("table", torch.arange(float(rows))[:, None])
        self.one, self.positions, self.two = nn.Linear(rows, 6), nn.Linear(1, 1), nn.Linear(6, 3)

    def forward(self, x):
        return self.two(self.one(x + self.positions(self.table)[:, 0]).relu())


@pytest.mark.filterwarnings("ignore:positions without units")
@pytest.mark.parametrize("rows", [2, 3, 4, 5])
def test_what_runs_on_a_table_does_so_once_and_not_for_each_example(rows):
    whole = 6 * rows + rows + 18
    assert left(Tabled(rows), [0, 1, 2], torch.zeros(1, rows))[0] == (3 * rows + rows + 9) / whole
    table = remaining(Tabled(rows).eval(), torch.arange(6), range(6), torch.zeros(1, rows))
    assert table["macs"].tolist() == [(on * rows + rows + 3 * on) / whole for on in range(6, 0, -1)]


class Gated(nn.Module):
    """Of which `gate` decides by the sign of a weight whether a layer runs."""

    def __init__(self, gate):
        super().__init__()
        self.one, self.big, self.two = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.weight, self.gate = nn.Parameter(-torch.ones(1)), gate

    def forward(self, x):
        x = self.one(x).relu()
        return self.two(x + self.big(x) if self.gate(self.weight) else x)


@pytest.mark.parametrize(
    ("gate", "why"),
    [
        (lambda weight: weight < 0, r"\(bool\)"),
        (lambda weight: (weight + 1).abs() < 0.5, r"\(bool\)"),
        (lambda weight: not torch.equal(weight, weight.abs()), r"\(equal\)"),
        (lambda weight: weight.item() < 0, "with other weights big does not run as often"),
    ],
)
def test_where_code_goes_by_weights_shares_are_not_known(gate, why):
    with pytest.warns(UserWarning, match=f"^shares left are not known: .*{why}$"):
        table = remaining(Gated(gate).eval(), torch.arange(12), [0, 3], torch.zeros(1, 4))
    assert table[["macs", "parameters"]].isna().all(axis=None)


def test_what_gets_too_large_for_numbers_counts():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.three = nn.Linear(4, 3), nn.Linear(6, 5), nn.Linear(5, 2)

        def forward(self, x):
            h = self.one(x)
            return self.three(self.two(torch.cat([h, (100 * h).exp()], 1)))

    table = remaining(Net().eval(), torch.arange(8), [0, 1], torch.zeros(1, 4))
    assert table["macs"].tolist() == [1, (8 + 25 + 10) / 52]


def test_parameters_that_are_whole_numbers_or_empty_are_no_hindrance():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.classifier = nn.Linear(6, 6), nn.Linear(6, 3)
            self.order = nn.Parameter(torch.tensor([2, 0, 1]), requires_grad=False)
            self.steps = nn.Parameter(torch.ones(6, dtype=torch.int8), requires_grad=False)
            self.none = nn.Parameter(torch.zeros(0, 12))

        def forward(self, x):
            return self.classifier(self.layer(x).relu() * self.steps)[:, self.order]

    assert left(Net(), [0, 1], torch.zeros(1, 6)) == (36 / 54, 43 / 63)


@pytest.mark.parametrize("of_weights", [torch.float32, torch.float64])
def test_the_type_that_numbers_have_by_default_changes_nothing(of_weights):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.classifier = nn.Linear(6, 6, dtype=of_weights), nn.Linear(6, 3, dtype=of_weights)

        def forward(self, x):
            return self.classifier(self.layer(x).relu())

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert left(Net(), [0, 1], torch.zeros(1, 6, dtype=torch.float32)) == (36 / 54, 43 / 63)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(before)


class Parted(nn.Module):
    """Parts made together, one of which is overwritten; and tensors broadcast together, each of which stays its own."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.classifier = nn.Linear(3, 4, bias=False), nn.Linear(3, 1, bias=False), nn.Linear(2, 2)

    def forward(self, x):
        one, two = torch.broadcast_tensors(self.one(x), self.two(x))
        first, second = (one * 2 + two.flip(1)).chunk(2, 1)
        return self.classifier(first + second.relu_())


def test_of_tensors_made_together_each_is_what_it_is():
    model, example = Parted(), torch.randn(1, 3)
    whole = 12 + 3 + 4 + 2
    assert left(model, [0, 2], example) == ((6 + 3 + 4) / (whole - 2), (6 + 3 + 4 + 2) / whole)
    assert left(model, [4], example) == ((12 + 4) / (whole - 2), (12 + 4 + 2) / whole)
