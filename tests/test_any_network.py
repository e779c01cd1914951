"""Random networks: every public function is right on them or refuses them; and the references are what they should be.

`python tests/any_network.py 10000` runs more of them; a failure names the recipe with which it can be run again.
"""

import warnings
from contextlib import nullcontext
from dataclasses import replace

import any_network
import pytest
import slow
import torch
from any_network import check, main, report, smallest
from grammar import draw
from recipes import Recipe, build, source

from lib import importance, oracle, pruning, structure

NETWORKS, AT_A_TIME = 200, 20


def right(*outcomes):
    """Whether nothing failed; says how to run again what did."""
    failed = [report(outcome) for outcome in outcomes if outcome.failed]
    assert not failed, "\n" + "\n".join(failed)


@pytest.mark.parametrize("first", range(0, NETWORKS, AT_A_TIME))
def test_random_networks(first):
    right(*(check(draw(number)) for number in range(first, first + AT_A_TIME)))


# ---- networks in which something was wrong once --------------------------------------------------------------------

VECTOR, TOKENS, MAP = ("vector", 5), ("tokens", 3, 4), ("map", 2, 4, 4)
POOLED = (("global pool", 2, "mean"), ("linear", 3, 3, 1))  # behind two steps
FOUND = {
    "a functional convolution in a network whose logits are constant": Recipe(71943, ("map", 2, 5, 5), (
        ("conv", 0, 2, 3, 1, 1, 1, 0), ("norm", 1, 1, "keyword"), ("act", 2, "relu", "overwriting method"),
        ("functional", 3, 1), ("conv", 4, 3, 1, 1, 0, 1, 1), ("norm", 5, 1), ("act", 6, "relu", "function"),
        ("conv", 7, 3, 3, 1, 1, 1, 1), ("add", 5, 8), ("conv", 9, 2, 3, 1, 1, 1, 0), ("norm", 10, 1),
        ("act", 11, "relu", "overwriting module"), ("global pool", 12, "mean"), ("linear", 13, 3, 1),
        ("act", 14, "relu", "module"), ("linear", 15, 3, 1), ("linear", 15, 3, 1), ("average", 16, 17),
    ), parametrized=((16, "spectral_norm"),), double=1, backwards=1, wrapper="sequential"),
    "a layer whose units change nothing": Recipe(71999, ("map", 1, 6, 5), (
        ("conv", 0, 2, 2, 1, 0, 1, 1), ("norm", 1, 1), ("act", 2, "relu", "overwriting method"),
        ("average pool", 3, 2), ("conv", 4, 2, 1, 1, 0, 1, 1), ("norm", 5, 0), ("act", 6, "leaky_relu", "function"),
        ("conv", 7, 2, 1, 1, 0, 1, 1), ("add", 5, 8), ("conv", 9, 2, 1, 1, 0, 1, 1), ("norm", 10, 0),
        ("act", 11, "relu", "method"), ("conv", 12, 2, 3, 1, 1, 1, 0), ("add", 10, 13), ("norm", 14, 1),
        ("act", 15, "relu6", "module"), ("conv", 16, 2, 3, 1, 1, 1, 1), ("join", 14, 17), ("flatten", 18, "view"),
        ("linear", 19, 3, 1), ("linear", 20, 3, 1), ("log softmax", 21),
    ), blocks=((5, 9, "checkpoint"),)),
    "tokens that are overwritten after layers have taken them in": Recipe(31086, ("map", 2, 5, 5), (
        ("conv", 0, 2, 3, 1, 1, 2, 1), ("norm", 1, 1), ("act", 2, "relu", "overwriting method"),
        ("conv", 3, 4, 3, 1, 1, 1, 0), ("tokens", 4), ("linear", 5, 4, 0), ("linear", 5, 4, 0), ("linear", 5, 4, 0),
        ("attention", 6, 7, 8), ("add", 5, 9, "overwriting"), ("token mean", 10), ("cosine", 11, 3),
    )),
    "parts of an output that overwrite one another": Recipe(31530, ("tokens", 3, 4), (
        ("linear", 0, 2, 0), ("part", 1, 2, 0, "slice"), ("part", 1, 2, 1, "slice"),
        ("act", 3, "silu", "overwriting module"), ("add", 2, 4, "overwriting"), ("token mean", 5),
        ("linear", 6, 3, 0), ("softmax", 7),
    ), double=1),
    "a gate that overwrites what it multiplies": Recipe(30805, ("map", 2, 5, 5), (
        ("conv", 0, 4, 1, 1, 0, 1, 1), ("norm", 1, 0), ("part", 2, 2, 0, "slice"), ("part", 2, 2, 1, "slice"),
        ("act", 4, "sigmoid", "module"), ("multiply", 3, 5, "overwriting"), ("conv", 6, 4, 3, 1, 0, 1, 0),
        ("act", 7, "relu", "overwriting method"), ("conv", 8, 4, 3, 1, 1, 4, 0),
        ("act", 9, "silu", "overwriting function"), ("conv", 10, 4, 1, 1, 0, 1, 0), ("conv", 11, 3, 1, 1, 0, 1, 0),
        ("global pool", 12, "module"),
    ), backwards=1),
    "a smaller network that noise of one scale does not tell from another": Recipe(31356, ("map", 1, 3, 3, 3), (
        ("conv", 0, 4, 3, 1, 1, 1, 1), ("centre", 1), ("conv", 2, 4, 1, 1, 0, 1, 1), ("norm", 3, 1),
        ("act", 4, "relu", "overwriting function"), ("global pool", 5, "mean"), ("linear", 6, 2, 1),
        ("act", 7, "relu", "function"), ("linear", 8, 4, 0), ("gate", 5, 9), ("global pool", 10, "mean"),
        ("linear", 11, 3, 0),
    ), double=1),
    "a layer that feeds a BatchNorm and something else": Recipe(29, MAP, (
        ("conv", 0, 4, 1, 1, 0, 1, 1), ("norm", 1, 1), ("act", 2, "relu", "function"), ("join", 3, 1),
        ("global pool", 4, "module"), ("linear", 5, 3, 1),
    )),
    "a layer that feeds two BatchNorms": Recipe(1, VECTOR, (
        ("linear", 0, 3, 1), ("norm", 1, 1), ("norm", 1, 1), ("subtract", 2, 3), ("linear", 4, 3, 1),
    )),
    "a layer that feeds two BatchNorms without weights": Recipe(1, VECTOR, (
        ("linear", 0, 3, 1), ("norm", 1, 0), ("norm", 1, 0), ("subtract", 2, 3), ("linear", 4, 3, 1),
    )),
    "what is rarely the largest of several channels": Recipe(910912, ("map", 3, 4, 4), (
        ("conv", 0, 2, 3, 1, 1, 1, 1), ("norm", 1, 1), ("crelu", 2), ("norm", 3, 1), ("act", 4, "gelu", "function"),
        ("conv", 5, 2, 1, 1, 0, 2, 0), ("join", 3, 6), ("conv", 7, 8, 3, 1, 1, 2, 1),
        ("act", 8, "relu", "overwriting function"), ("pixel shuffle", 9), ("max pool", 10, 2), ("flatten", 11, "view"),
        ("own", 12, 3),
    ), double=1),
    "parts of the input that are overwritten": Recipe(990006, ("map", 2, 8), (
        ("centre", 0), ("act", 1, "elu", "overwriting function"), ("part", 2, 2, 0, "chunk"),
        ("part", 2, 2, 1, "chunk"), ("act", 4, "relu", "overwriting function"), ("add", 3, 5),
        ("conv", 6, 3, 3, 1, 1, 1, 1), ("global pool", 7, "mean"), ("linear", 8, 3, 1),
    ), double=1),
    "what a network subtracts from itself": Recipe(911676, TOKENS, (
        ("linear", 0, 2, 1), ("act", 1, "relu", "module"), ("linear", 2, 3, 1), ("act", 3, "relu", "method"),
        ("act", 3, "relu", "module"), ("subtract", 4, 5), ("token mean", 6), ("own", 7, 3),
    ), backwards=1),
    "a layer that a BatchNorm takes in by name": Recipe(1, VECTOR, (
        ("linear", 0, 3, 1), ("norm", 1, 1, "keyword"), ("linear", 2, 3, 1),
    )),
    "a BatchNorm that is called as a function": Recipe(1, VECTOR, (
        ("linear", 0, 3, 1), ("norm", 1, 1, "function"), ("linear", 2, 3, 1),
    )),
    "a functional classifier": Recipe(33, MAP, (
        ("conv", 0, 4, 3, 1, 1, 1, 1), ("global pool", 1, "mean"), ("linear", 2, 3, 1), ("own", 3, 3),
    )),
    "a cosine classifier": Recipe(1, MAP, (
        ("conv", 0, 4, 3, 1, 1, 1, 1), ("global pool", 1, "mean"), ("cosine", 2, 3),
    )),
    "two heads": Recipe(1, MAP, (
        ("conv", 0, 4, 3, 1, 1, 1, 1), ("global pool", 1, "mean"), ("linear", 2, 3, 1), ("linear", 2, 3, 1),
        ("average", 3, 4),
    )),
    "a ReLU whose input is overwritten later": Recipe(65, TOKENS, (
        ("linear", 0, 3, 1), ("act", 1, "relu", "method"), ("add", 1, 2, "overwriting"), ("linear", 3, 4, 0),
        ("token mean", 4),
    ), double=1),
    "a functional convolution": Recipe(1, MAP, (
        ("conv", 0, 2, 3, 1, 1, 1, 1), ("functional", 1, 1), *POOLED,
    )),
    "circular padding": Recipe(377, ("map", 2, 8), (
        ("conv", 0, 2, 3, 1, 1, 1, 0, "circular"), ("conv", 1, 2, 1, 1, 0, 1, 1), ("global pool", 2, "mean"),
        ("linear", 3, 3, 1),
    )),
    "the difference of two branches": Recipe(1, MAP, (
        ("conv", 0, 3, 3, 1, 1, 1, 1), ("conv", 0, 3, 3, 1, 1, 1, 1), ("subtract", 1, 2), ("conv", 3, 4, 1, 1, 0, 1, 1),
        ("global pool", 4, "mean"), ("linear", 5, 3, 1),
    )),
    "one layer used on two inputs": Recipe(1, MAP, (
        ("part", 0, 2, 0, "chunk"), ("part", 0, 2, 1, "chunk"), ("conv", 1, 3, 3, 1, 1, 1, 1), ("again", 2, 3),
        ("subtract", 3, 4), ("global pool", 5, "mean"), ("linear", 6, 3, 1),
    )),
    "centred channels": Recipe(91, MAP, (("conv", 0, 2, 3, 1, 1, 1, 0), ("centre", 1), *POOLED)),
    "both signs": Recipe(91, MAP, (("conv", 0, 2, 3, 1, 1, 1, 0), ("crelu", 1), *POOLED)),
    "layer scale": Recipe(126, MAP, (("conv", 0, 3, 1, 1, 0, 1, 1), ("scale", 1), *POOLED)),
    "a transposed convolution": Recipe(1, MAP, (
        ("conv", 0, 3, 1, 1, 0, 1, 1), ("transposed", 1, 3, 2, 2, 0, 1, 1), *POOLED,
    )),
    "constants behind what is gone": Recipe(18, ("map", 1, 6, 5), (
        ("conv", 0, 1, 3, 1, 1, 1, 1), ("norm", 1, 1), ("conv", 2, 3, 3, 1, 1, 1, 1), ("norm", 3, 1),
        ("global pool", 4, "mean"), ("linear", 5, 3, 1),
    )),
    "weights that are made of others": Recipe(1, MAP, (
        ("conv", 0, 4, 3, 1, 1, 1, 1), ("conv", 1, 3, 3, 1, 1, 1, 1), *POOLED,
    ), parametrized=((1, "weight_norm"), (2, "prune"))),
    "a checkpoint": Recipe(1, MAP, (
        ("conv", 0, 3, 3, 1, 1, 1, 1), ("conv", 1, 3, 3, 1, 0, 1, 1), ("norm", 2, 1), ("act", 3, "relu", "function"),
        ("global pool", 4, "mean"), ("linear", 5, 3, 1),
    ), blocks=((2, 4, "checkpoint"),)),
    "a part without gradients": Recipe(1, MAP, (
        ("conv", 0, 3, 3, 1, 1, 1, 1), ("conv", 1, 3, 3, 1, 0, 1, 1), ("act", 2, "relu", "function"),
        ("global pool", 3, "mean"), ("linear", 4, 3, 1),
    ), blocks=((2, 3, "no gradient"),)),
    "randomness in eval mode": Recipe(1, VECTOR, (("linear", 0, 3, 1), ("random", 1), ("linear", 2, 3, 1))),
    "single images for a double network": Recipe(1, VECTOR, (("linear", 0, 3, 1), ("linear", 1, 3, 1)), double=2),
    **{f"an output with a flaw: {flaw}": Recipe(1, VECTOR, (("linear", 0, 3, 1), ("linear", 1, 3, 1)), flaw=flaw)
       for flaw in ("tuple", "dict", "three axes", "training", "no statistics")},
    **{f"within {wrapper}": Recipe(1, MAP, (("conv", 0, 3, 3, 1, 1, 1, 1), ("norm", 1, 1), *POOLED), wrapper=wrapper)
       for wrapper in ("parallel", "sequential", "copy", "hooked", "fx", "jit", "compiled")},
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_networks_in_which_something_was_wrong(name):
    right(check(FOUND[name]))


# ---- the instrument itself -------------------------------------------------------------------------------------------

PLAIN = Recipe(3, MAP, (("conv", 0, 3, 3, 1, 1, 1, 1), ("norm", 1, 1), *POOLED))


def wrong(function, change):
    """The function with its result changed."""
    return lambda *args, **kwargs: change(function(*args, **kwargs))


def more(results):
    return {name: values * 1.01 + 1e-3 for name, values in results.items()}


FAULTS = {
    "units": (importance, "units", lambda found: found[:-1]),
    "score": (importance, "score", more),
    "contributions": (importance, "contributions", lambda values: values * 1.01),
    "masked": (pruning, "masked", lambda context: nullcontext()),
    "curve": (pruning, "curve", lambda table: table.assign(macs=table["macs"] * 0.99)),
    "oracle": (oracle, "score", more),
    "slim": (structure, "plan", lambda found: replace(found, after={name: n + 1 for name, n in found.after.items()})),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_noticed(name, monkeypatch):
    module, function, change = FAULTS[name]
    monkeypatch.setattr(module, function, wrong(getattr(module, function), change))
    assert name in check(PLAIN).failed


def test_a_network_that_some_refuse_fails(monkeypatch):
    def refuse(*args, **kwargs):
        raise ValueError("not this one")

    monkeypatch.setattr(oracle, "score", refuse)
    assert check(PLAIN).failed == {"refusal": ["refused by oracle: not this one"]}


def test_what_fails_is_made_small(monkeypatch):
    monkeypatch.setattr(oracle, "score", wrong(oracle.score, more))
    steps = smallest(FOUND["a layer that feeds a BatchNorm and something else"], "oracle").steps
    assert [name for name, *_ in steps] == ["conv", "join", "global pool"]  # none of which can be left out


@pytest.mark.parametrize("number", [2, 8, 30])
def test_a_recipe_alone_determines_a_network(number):
    recipe = Recipe.parse(str(draw(number)))
    assert recipe == draw(number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights = [build(recipe).state_dict() for _ in range(2)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


WRITTEN = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3, 1, 1, groups=1, bias=True)
        self.norm2 = nn.BatchNorm2d(3, affine=True)
        self.linear4 = nn.Linear(3, 3, bias=True)

    def forward(self, x0):
        x1 = self.conv1(x0)
        x2 = self.norm2(x1)
        x3 = x2.mean((2, 3))
        x4 = self.linear4(x3)
        return x4
"""


def test_a_network_is_written_as_people_write_it():
    assert source(PLAIN) == WRITTEN.lstrip()


def counted(name, off):
    recipe = FOUND[name]
    which = torch.zeros(recipe.total, dtype=torch.bool)
    which[off] = True
    found = slow.counted(slow.Program(recipe, slow.state_of(build(recipe))), which)
    return found["macs"], found["parameters"]


# name of a network, units that are off -> multiply-adds and parameters, by hand: 4 x 4 images, 3 x 3 kernels
COUNTS = [
    ("centred channels", [], (36 * 16 + 6, 36 + 6 + 3)),
    ("centred channels", [0], (18 * 16 + 6, 18 + 6 + 3)),  # the other channel's mean is left in it
    ("centred channels", [0, 1], (0, 3)),
    ("both signs", [0], (18 * 16 + 6, 18 + 6 + 3)),
    ("layer scale", [1], (4 * 16 + 6, 6 + 2 + 6 + 3)),
    ("two heads", [0, 1], (36 * 16 + 12, 38 + 12 + 6)),
    ("a cosine classifier", [0], (54 * 16 + 9, 57 + 12)),  # by whose length all weights are divided
    ("the difference of two branches", [0, 3], (72 * 16 + 8 * 16 + 12, 76 + 12 + 15)),
    ("the difference of two branches", [0], (90 * 16 + 12 * 16 + 12, 95 + 16 + 15)),
    ("one layer used on two inputs", [0], (2 * 18 * 16 + 6, 18 + 9)),  # whose biases are subtracted from themselves
    ("a transposed convolution", [0], (4 * 16 + 24 * 16 + 9, 6 + 27 + 12)),
    ("a transposed convolution", [3], (6 * 16 + 24 * 16 + 6, 9 + 26 + 9)),
    ("constants behind what is gone", [0], (9, 3 + 6 + 12)),  # the second convolution's biases
    ("constants behind what is gone", [0, 1, 2, 3], (0, 3)),
    ("a functional convolution", [0], (18 * 16 + 18 * 16 + 6, 27 + 2 + 9)),  # whose call has all rows
]  # fmt: skip


@pytest.mark.parametrize(("name", "off", "expected"), COUNTS)
def test_what_counts_by_hand(name, off, expected):
    assert counted(name, off) == expected


def test_the_command_says_how_many(capsys, monkeypatch):
    assert main(["--recipe", str(PLAIN)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "right"
    monkeypatch.setattr(any_network, "draw", lambda number: PLAIN)
    assert main(["2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 networks run, 0 failed, 0 refusals"
