"""lib.surrogate: in the stand-in nothing is stuck, so that shares left are right whatever a network does to values."""

import contextlib
import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from lib.masking.footprint import remaining
from lib.network.surrogate import Straightened
from lib.network.units import units

EXAMPLE = torch.ones(1, 3)


class Between(nn.Module):
    """What `function(net, values)` makes of 4 values behind a linear layer of 3 x 4, and then a classifier, 7 x 2, of
    this and of the input."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.classifier, self.function = nn.Linear(3, 4), nn.Linear(7, 2, bias=False), function
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.classifier(torch.cat([self.function(self, self.layer(x)), x], 1))


def left(function):
    """The share of 26 multiply-adds that is left with one unit off, and with all."""
    return remaining(Between(function).eval(), torch.arange(4), [1, 4], EXAMPLE)["macs"].tolist()


def straight_through(net, x):
    return x + (x.round() - x).detach()


def written_to_data(net, x):
    x.data.mul_(net.scale).round_()
    x.data *= 2
    return x


def set_where_large(net, x):
    x = x * 1
    x[x > 0] = 0
    return x


def filled_where_small(net, x):
    return x.masked_fill(x < 1, 0.5)


def filled_where_large(net, x):
    x = x.clone()
    x.masked_fill_(x > 0, 0.5)
    return x


def quantised(net, x):
    return torch.fake_quantize_per_tensor_affine(x, 100.0, 0, -128, 127)


def quantised_by_channel(net, x):
    return torch.fake_quantize_per_channel_affine(x, torch.ones(4), torch.zeros(4, dtype=torch.int32), 1, 0, 255)


def picked(net, x):
    return x * torch.tensor([1.0, 2.0])[torch.where(x > 0, 1, 0)]


def gated_in_place(net, x):
    x = x * 1
    x.sigmoid_()
    return x - torch.full_like(x, 0.5)


STEPS = [
    torch.round, torch.sign, torch.sgn, torch.floor, torch.ceil, torch.trunc, torch.fix, torch.frac,
    torch.Tensor.round_,
    functional.hardshrink, functional.softshrink, functional.tanhshrink, functional.softsign,
    lambda x: torch.heaviside(x, torch.zeros(1)),
    lambda x: x // 2, lambda x: x.floor_divide_(2), lambda x: torch.div(x, 2, rounding_mode="floor"), lambda x: x % 2,
    lambda x: torch.where(x > 0, 0.0, x), lambda x: torch.where(x > 0, torch.zeros(()), x), lambda x: x.where(x < 0, 0),
    lambda x: x.masked_fill(x > 0, 0), lambda x: torch.where((x > 0) & (x < 1e9), x, -x),
]  # fmt: skip
STEPS = [lambda net, x, function=function: function(x.clone()) for function in STEPS]
STEPS += [
    straight_through, written_to_data, set_where_large, filled_where_large, filled_where_small, quantised,
    quantised_by_channel,
    gated_in_place, picked, lambda net, x: x * torch.where(x > 0, 0.0, 1.0).flatten(1),
    lambda net, x: (x * 100).round() / 100, lambda net, x: x.data * net.scale.item(),
    lambda net, x: x.abs() - x,
]  # fmt: skip
ALWAYS = {filled_where_small}  # the classifier takes in more than zeros of it whatever is off


@pytest.mark.parametrize("function", STEPS)
def test_what_rounds_or_chooses_hides_nothing(function):
    assert left(function) == ([(9 + 14) / 26, 14 / 26] if function in ALWAYS else [(9 + 12) / 26, 6 / 26])


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: x + 1.0,
        lambda net, x: torch.where(torch.arange(4) < 4, x, 1.0) + 1,
        lambda net, x: torch.heaviside(x, torch.ones(1)),
        lambda net, x: torch.where(x > 0, x, 1.0),
    ],
)
def test_what_is_made_of_zeros_and_is_none_stays(function):
    assert left(function) == [(9 + 14) / 26, 14 / 26]


def test_a_choice_that_no_value_decides_is_taken_as_it_is():
    kept = torch.tensor([True, True, True, False])
    assert left(lambda net, x: torch.where(kept, x, 0)) == [(6 + 10) / 21, 6 / 21]  # of 9 + 12 that matter at all
    assert left(lambda net, x: x.masked_fill(~kept, 0)) == [(6 + 10) / 21, 6 / 21]
    attention = torch.where(torch.ones(1, 4).bool(), 0, -torch.inf)
    assert left(lambda net, x: x * (x + attention).softmax(1)) == left(lambda net, x: x * x.softmax(1))


@pytest.mark.parametrize(
    "number",
    [
        lambda x: torch.arange(4) // 2, lambda x: torch.div(torch.arange(4), 2, rounding_mode="floor"),
        lambda x: torch.arange(4).sign(), lambda x: torch.arange(4).clamp(0, 1),
        lambda x: torch.minimum(torch.arange(4), torch.tensor(1)),        lambda x: torch.arange(4).floor_divide_(2),
    ],
)  # fmt: skip
def test_whole_numbers_stay_whole(number):
    table = torch.tensor([1.0, 2.0])
    assert left(lambda net, x: x * table[number(x)].mean()) == [(9 + 12) / 26, 6 / 26]


@pytest.mark.parametrize("name", ["dim", "axis"])
def test_a_maximum_along_an_axis_depends_on_all_whatever_the_axis_is_called(name):
    assert left(lambda net, x: x * x.max(**{name: 1}, keepdim=True).values) == [(9 + 12) / 26, 6 / 26]
    assert left(lambda net, x: x - x.amax(**{"dim": 1}, keepdim=True)) == [(9 + 14) / 26, 6 / 26]


@pytest.mark.parametrize("largest", [lambda x: x.amax(1, keepdim=True), lambda x: x.max(1, True).values])
def test_what_minus_infinity_hides_is_never_the_largest(largest):
    hidden = torch.tensor([True, False, False, True])
    found = left(lambda net, x: largest(x.masked_fill(hidden, -torch.inf)).expand(-1, 4))
    assert found == [1, 6 / (6 + 14)]  # of two of the four units, and the classifier; the first is hidden


def test_hooks_of_the_backward_pass_change_no_shares():
    class Silent(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)
            self.one.register_full_backward_hook(
                lambda module, into, out: (into[0] * 0,) if into[0] is not None else None
            )
            self.between = nn.Identity()
            self.between.register_full_backward_hook(lambda module, into, out: (into[0] * 0,))

        def forward(self, x):
            return self.two(self.between(self.one(x)))

    table = remaining(Silent().eval(), torch.arange(4), [0, 1], EXAMPLE)
    assert table["macs"].tolist() == [1, (9 + 6) / 20]


def test_both_sides_of_a_choice_count():
    class Sides(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other, self.last = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2, bias=False)

        def forward(self, x):
            one, other = self.one(x), self.other(x)
            return self.last(torch.where(one > other, one, other))

    table = remaining(Sides().eval(), torch.tensor([0, 4, 1, 2, 3, 5, 6, 7]), [1, 2, 8], EXAMPLE)
    assert table["macs"].tolist() == [(21 + 8) / 32, (18 + 6) / 32, 0]


@pytest.mark.parametrize("how", [
    lambda x: torch.minimum(torch.maximum(x, torch.tensor(0.0)), torch.tensor(6.0)),
    lambda x: torch.minimum(torch.full((4,), 6.0), torch.max(x, torch.zeros_like(x))),
    lambda x: torch.fmin(torch.relu(x), torch.tensor(torch.inf)),
])  # fmt: skip
def test_a_limit_written_as_a_maximum_is_none_of_two_values(how):
    assert left(lambda net, x: how(x)) == left(lambda net, x: functional.relu6(x)) == [(9 + 12) / 26, 6 / 26]


@pytest.mark.parametrize("how", [
    lambda x: x + torch.where(x != 0, 1.0, 0.0),
    lambda x: x + torch.zeros_like(x).masked_fill(x != 0, 1.0),
    lambda x: x + (x != 0).where(x != 0, 0),
    lambda x: torch.where(x == 0, 0.0, x + 1),
])  # fmt: skip
def test_a_choice_is_what_it_always_is_where_nothing_that_decides_varies(how):
    assert left(lambda net, x: how(x)) == left(lambda net, x: x) == [(9 + 12) / 26, 6 / 26]


@pytest.mark.parametrize("how", [
    lambda x: functional.linear(torch.ones_like(x), torch.ones(4, 4)),
    lambda x: functional.conv1d(torch.ones_like(x)[:, None], torch.ones(1, 1, 3), padding=1)[:, 0],
    lambda x: functional.batch_norm(torch.ones(4)[None], torch.zeros(4), torch.ones(4)),
])  # fmt: skip
def test_weights_of_constants_are_no_hindrance(how):
    assert left(lambda net, x: x * how(x))[0] < left(lambda net, x: x * how(x) * 0 + x)[0] + 1
    table = remaining(Between(lambda net, x: x * how(x)).eval(), torch.arange(4), [0, 1], EXAMPLE)
    assert table["macs"][0] == 1 and table["parameters"].tolist() == left_parameters(lambda net, x: x)


def left_parameters(function):
    return remaining(Between(function).eval(), torch.arange(4), [0, 1], EXAMPLE)["parameters"].tolist()


@pytest.mark.parametrize("of", [torch.bfloat16, torch.float16, torch.float64])
def test_a_body_in_another_precision_is_no_hindrance(of):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.classifier = nn.Linear(3, 4).to(of), nn.Linear(4, 2)

        def forward(self, x):
            return self.classifier(self.layer(x.to(of)).relu().float())

    table = remaining(Net().eval(), torch.arange(4), [0, 1], EXAMPLE)
    assert table["macs"].tolist() == [1, 15 / 20] and table["parameters"].tolist() == [1, 20 / 26]


def test_truth_values_that_others_are_written_to_depend_on_both():
    def written(net, x):
        mask = x < 0
        mask[x.flip(1) > 0] = True
        return x * mask

    found = remaining(Between(written).eval(), torch.arange(4), [1], EXAMPLE)
    assert found["macs"].tolist() == [(9 + 12) / 26]  # the last unit is still there


def set_by_truth(x, of):
    x[:, 3] = of(x[:, 3])
    return x


def copied_from_truth(x, of):
    return (x * 0).copy_(of(x))


AMONG_NUMBERS = {
    "cat": lambda x, of: torch.cat([x[:, :3], of(x[:, 3:])], 1),
    "stack": lambda x, of: torch.stack([x[:, 0], x[:, 1], x[:, 2], of(x[:, 3])], 1),
    "set": lambda x, of: set_by_truth(x * 1, of),
    "copy": copied_from_truth,
    "mean": lambda x, of: torch.cat([x[:, :3], torch.mean(of(x), 1, keepdim=True, dtype=x.dtype)], 1),
    "root": lambda x, of: torch.cat([x[:, :3], of(x).sum(1, keepdim=True).sqrt()], 1),
    "power": lambda x, of: x ** of(x),
    "quotient": lambda x, of: of(x) / 2,
}


@pytest.mark.filterwarnings("ignore:shares left are without layer")  # which truth values alone depend on
@pytest.mark.parametrize("how", AMONG_NUMBERS)
def test_truth_values_among_numbers_count_as_what_they_become(how):
    function = AMONG_NUMBERS[how]
    below, above, as_numbers = (
        left(lambda net, x, of=of: function(x, of))
        for of in (lambda x: x < 0, lambda x: x > 0, lambda x: (x < 0).float())
    )
    assert below == above == as_numbers


@pytest.mark.parametrize("how", [lambda x: x.mean().item(), lambda x: float(x.mean()), lambda x: sum(x.tolist())])
def test_where_values_become_numbers_shares_are_not_known_and_where_constants_do_they_are(how):
    with pytest.warns(UserWarning, match="^shares left are not known: what the network does depends on its values"):
        assert all(map(math.isnan, left(lambda net, x: x * torch.tensor([how(row) for row in x])[:, None])))
    assert left(lambda net, x: x * how(torch.ones(3)) * net.scale.item()) == [(9 + 12) / 26, 6 / 26]


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (lambda x: functional.max_pool1d(x, 2), (1, 7)),
        (lambda x: functional.max_pool1d(x, kernel_size=3, stride=1, padding=1), (1, 5)),
        (lambda x: functional.max_pool2d(x, 3, 2, ceil_mode=True), (1, 6, 5)),
        (lambda x: functional.max_pool2d(x, (2, 3), (1, 2), (1, 0), (2, 1)), (5, 6)),
        (lambda x: functional.max_pool2d(x, [2], return_indices=True)[0], (1, 5, 4)),
        (lambda x: torch.max_pool2d(x, 2), (1, 4, 4)),
        (lambda x: functional.max_pool3d(x, 2, 1), (1, 3, 2, 3)),
        (nn.AdaptiveMaxPool1d(3), (1, 7)),
        (lambda x: functional.adaptive_max_pool2d(x, (None, 2), return_indices=True)[0], (1, 3, 5)),
        (nn.AdaptiveMaxPool3d(1), (1, 2, 2, 2)),
    ],
)
def test_the_maximum_of_a_window_depends_on_all_that_is_in_it(pool, shape):
    shape = (2, *shape)  # of examples or channels
    count = torch.Size(shape).numel()
    base = pool(torch.zeros(shape)).flatten()
    larger = torch.stack([pool(one.view(shape)).flatten() for one in torch.eye(count)])
    values = torch.ones(count, requires_grad=True)
    with Straightened([]):
        made = pool(values.view(shape)).flatten()
    assert made.shape == base.shape
    slopes = torch.stack([torch.autograd.grad(one, values, retain_graph=True)[0] for one in made], 1)
    assert torch.equal(slopes > 0, larger > base) and (slopes >= 0).all()


def test_pooled_channels_are_seen_whichever_is_the_largest():
    def pooled(net, x):  # of two channels each, as behind a pixel shuffle
        return functional.max_pool1d(x[:, None], 2)[:, 0].repeat_interleave(2, 1)

    assert left(pooled) == [(9 + 14) / 26, 6 / 26]


@pytest.mark.parametrize("filler", [-torch.inf, torch.finfo().min])
def test_what_pads_a_pool_stays_unseen(filler):
    def padded(net, x):  # as TensorFlow does it, and not by the pool
        return functional.max_pool1d(functional.pad(x[:, None], (1, 1), value=filler), 3, 1)[:, 0]

    assert left(padded) == [(9 + 14) / 26, 6 / 26]


def test_the_largest_and_the_smallest_of_a_window_do_not_cancel():
    def spread(net, x):
        return functional.max_pool1d(x[:, None], 3, 1, 1)[:, 0] + functional.max_pool1d(-x[:, None], 3, 1, 1)[:, 0]

    assert left(spread) == [(9 + 14) / 26, 6 / 26]


def test_what_is_the_largest_of_a_window_is_found_by_comparing():
    values = torch.tensor([[[1.0, 3.0, 2.0, 0.5]]])
    with Straightened([]):
        assert (functional.max_pool1d(values, 3, 1, 1) == values).tolist() == [[[False, True, False, False]]]


def test_settings_of_a_pool_may_be_numbers_of_numpy():
    with Straightened([]):
        made = functional.max_pool1d(torch.arange(4.0).view(1, 1, 4), numpy.int64(2), numpy.int64(2))
    assert made.flatten().tolist() == [1, 3]


class Causal(nn.Module):
    """Attention of one head, of which later tokens are hidden by `fill`, and 4 hidden units behind it."""

    def __init__(self, fill):
        super().__init__()
        self.query, self.key, self.value, self.hidden = (nn.Linear(4, 4) for _ in range(4))
        self.classifier, self.fill = nn.Linear(4, 3), fill

    def forward(self, x):
        weights = self.query(x) @ self.key(x).mT
        hidden = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
        weights = weights.masked_fill(hidden, self.fill).softmax(-1)
        return self.classifier(self.hidden(weights @ self.value(x)).relu().mean(1))


@pytest.mark.parametrize("fill", [-1e9, -torch.inf, torch.finfo().min])
def test_what_hides_later_tokens_has_no_weight(fill):
    table = remaining(Causal(fill).eval(), torch.tensor([*range(12, 16), *range(12)]), [4], torch.ones(1, 3, 4))
    assert table["parameters"].tolist() == [3 / (4 * 20 + 15)]


def test_a_softmax_depends_on_all_values_through_its_denominator():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.a, self.b, self.last = nn.Linear(6, 2), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            weights = self.gate(x).softmax(-1)
            return self.last(weights[:, :1] * self.a(x).relu() + weights[:, 1:] * self.b(x).relu())

    model = Gated().eval()
    order = torch.tensor([*range(2, 8), 0, 1, *range(8, 14)])
    table = remaining(model, order, [6], torch.ones(1, 6))
    assert table["parameters"].tolist() == [(14 + 42 + 21) / (14 + 2 * 42 + 21)]


class Experts(nn.Module):
    """Of four experts of 8 hidden units each, `chosen(weights, made)` picks."""

    def __init__(self, chosen):
        super().__init__()
        self.router, self.classifier, self.chosen = nn.Linear(6, 4), nn.Linear(6, 3), chosen
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6)) for _ in range(4))

    def forward(self, x):
        made = torch.stack([expert(x) for expert in self.experts], 1)
        return self.classifier(self.chosen(self.router(x).softmax(-1), made))


def scattered(weights, made):
    largest, which = weights.topk(2, -1)
    return (torch.zeros_like(weights).scatter(-1, which, largest)[..., None] * made).sum(1)


def gathered(weights, made):
    largest, which = weights.topk(2, -1)
    return (largest[..., None] * made.gather(1, which[..., None].expand(-1, -1, 6))).sum(1)


def sorted_first(weights, made):
    largest, which = weights.sort(1, descending=True)
    return largest[:, :1] * torch.take_along_dim(made, which[..., None], 1)[:, 0]


def scattered_ones(weights, made):
    chosen = torch.zeros_like(weights).scatter_(1, weights.topk(2).indices, 1.0)
    return (chosen[..., None] * made).sum(1)


def one_by_one(weights, made):  # in which the first axis is not that of examples
    return torch.stack([each[which].sum(0) for each, which in zip(made, weights.topk(2).indices, strict=True)])


SOFT = [scattered, gathered, sorted_first]
HARD = [  # the choice has no derivative, so nothing counts for it
    lambda weights, made: made[torch.arange(len(made)), weights.argmax(-1)],
    lambda weights, made: (functional.one_hot(weights.argmax(-1), 4).float()[..., None] * made).sum(1),
    lambda weights, made: ((weights >= weights.amax(1, keepdim=True))[..., None] * made).sum(1),
    lambda weights, made: torch.einsum("be,bef->bf", (weights > 0.2).to(made.dtype), made),
    scattered_ones,
    one_by_one,
]


@pytest.mark.parametrize(("chosen", "router"), [*((how, 24) for how in SOFT), *((how, 0) for how in HARD)])
def test_all_that_could_be_picked_counts(chosen, router):
    model = Experts(chosen).eval()
    slices = [unit.slice for unit in units(model, torch.ones(1, 6)) if unit.name.startswith("experts.0")]
    first = [place for own in slices for place in range(60)[own]]  # its hidden units, and what it makes
    order = torch.tensor([*first, *(place for place in range(60) if place not in first)])
    with contextlib.nullcontext() if router else pytest.warns(match="shares left are without router, on which"):
        table = remaining(model, order, [0, 14, 60], torch.ones(1, 6))
    whole = router + 4 * 96 + 18
    assert table["macs"].tolist() == [1, (whole - 96) / whole, 0]


def test_what_is_picked_stays_within_an_example():
    def nearest(net, x):  # as graphs of neighbours are made, with the examples one after the other
        rows = x.unflatten(1, (2, 2))
        near = (rows @ rows.mT).topk(1, -1).indices + 2 * torch.arange(len(x))[:, None, None]
        return rows.flatten(0, 1)[near.flatten()].unflatten(0, (-1, 2)).flatten(1)

    found = [left(nearest) for _ in range(2)]
    assert found[0] == found[1] == [(9 + 14) / 26, 6 / 26]  # one of two vectors has its first channel, which both mix


def test_all_rows_of_a_table_count_that_could_be_looked_up():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.layer, self.last = nn.Embedding(100, 4), nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.last(self.layer(self.table((x * 9).long()).mean(1)).relu())

    table = remaining(Tokens().eval(), torch.arange(6), [2, 6], torch.zeros(1, 5))
    assert table["parameters"].tolist() == [(400 + 20 + 15) / (400 + 30 + 21), 3 / 451]


def goes_by_values(net, x):
    return x if x.sum() > -1e9 else -x


def picks_rows(net, x):
    x = x * 1
    x[x[:, 0] > 1] = x[x[:, 0] > 1] / 2
    return x


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (goes_by_values, r"what the network does depends on its values \(bool\)"),
        (picks_rows, r"what the network does depends on its values \(getitem\)"),
        (lambda net, x: x / (x - x), "there are values that are not numbers"),
    ],
)
def test_shares_that_cannot_be_known_are_none_and_a_warning_says_why(function, why):
    model, layers = Between(function).eval(), units(Between(lambda net, x: x).eval(), EXAMPLE)
    with pytest.warns(UserWarning, match=f"shares left are not known: .*{why}"):
        table = remaining(model, torch.arange(4), [0, 1], EXAMPLE, layers)
    assert table["macs"].isna().all() and table["parameters"].isna().all()


def test_asking_whether_values_are_numbers_is_no_hindrance():
    def checked(net, x):
        assert not x.isnan().any() and x.isfinite().all()
        return x

    assert left(checked) == [(9 + 12) / 26, 6 / 26]


def test_a_layer_without_derivative_is_named():
    class Sign(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x.sign()

        @staticmethod
        def backward(context, gradient):
            return gradient * 0

    with pytest.warns(UserWarning, match="shares left are without layer, on which the logits do not seem to depend"):
        left(lambda net, x: Sign.apply(x))
