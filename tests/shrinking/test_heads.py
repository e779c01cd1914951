"""lib.shrinking.heads: attention without some heads, whole ones."""

import warnings
from functools import partial

import numpy
import pytest
import torch
from attention import (
    EACH,
    HEADS,
    Asking,
    Attention,
    Biased,
    ByInput,
    Chunked,
    Grouped,
    GroupedByAxis,
    GroupedByFunction,
    InWindows,
    Literal,
    Normed,
    OneHead,
    OverChannels,
    Pooled,
    Separate,
    Square,
    Torch,
    Unsized,
    transformer,
)
from shrunk import noise
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lib import importance, pruning, slim_files
from lib.network.layers import resized
from lib.network.units import units
from lib.shrinking.heads import numbers_needed
from lib.shrinking.ties import Heads
from lib.structure import BUDGETS, trace

EXAMPLE = noise(1, 3, 4, 4).double()
OF_ALL = {"heads": 1, "inner": EACH}  # attribute -> how many for each head
SHRINKING = {  # attention -> the attributes that its code needs
    Attention: OF_ALL,
    partial(Attention, function=False): OF_ALL,
    Separate: OF_ALL,
    partial(Separate, function=False): OF_ALL,
    Normed: OF_ALL,
    Biased: OF_ALL,
    OverChannels: OF_ALL,
    InWindows: OF_ALL,
    Square: {"heads": 1, "inner": 4},
    Chunked: {},
}

OF_ATTENTION = (".qkv", ".q", ".k", ".v")
MEETING = "all of their channels meet in products or a softmax, as in attention of one head"
OF_POOLED = ["attentions.0.q", "attentions.1.q"]  # within each head, for the layer there that takes them in
TABLES = {Biased: {"biases": 1, "temperatures": 0, "slopes": 1}, OverChannels: {"temperatures": 0}}  # axes of heads


def traced(attention):
    model = transformer(attention)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model, trace(model, EXAMPLE)


def favoured(made, *layers):
    """Scores by which the units of these layers go first, in the order of their heads."""
    scores = torch.rand(len(made.groups), generator=torch.Generator().manual_seed(1)) + 10
    for unit in made.layers:
        if any(name in unit.name for name in layers):
            scores[unit.slice] = 1e-3 * (1 + made.groups[unit.slice] % HEADS)
    return scores


@pytest.mark.parametrize("attention", SHRINKING)
def test_all_channels_of_a_head_go_together(attention):
    _, made = traced(attention)
    groups = {unit.name: made.groups[unit.slice].tolist() for unit in made.layers}
    each = 4 if attention is Square else EACH
    for block in range(2):
        layers = [name for name in groups if name.startswith(f"attentions.{block}.") and name.endswith(OF_ATTENTION)]
        first = groups[layers[0]][0]
        own = [first + head for head in range(HEADS) for _ in range(each)]
        assert [group for name in layers for group in groups[name]] == own * 3
    stays = [name for name, found in groups.items() if -1 in found]
    assert all(set(groups[name]) == {-1} for name in stays)
    assert stays == [
        "patches",
        "attentions.0.project",
        "narrow.0",
        "attentions.1.project",
        "narrow.1",
    ]


@pytest.mark.parametrize("of", BUDGETS)
@pytest.mark.parametrize("attention", SHRINKING)
@torch.no_grad()
def test_shrunk_is_masked_and_costs_what_was_planned(attention, of):
    model, made = traced(attention)
    plan = made.plan(favoured(made, *OF_ATTENTION), budget=0.3, of=of)
    small, images = plan.apply(model), noise(5, 3, 4, 4, seed=1).double()
    left = [next(after for name, (_, after) in plan.widths.items() if name.startswith(f"attentions.{block}."))
            for block in range(2)]  # fmt: skip
    each = (4 if attention is Square else EACH) * (3 if hasattr(small.attentions[0], "qkv") else 1)
    assert all(channels % each == 0 for channels in left) and min(left) < HEADS * each
    for block, channels in enumerate(left):
        heads = channels // each
        numbers = {name: heads * count for name, count in SHRINKING[attention].items()} if heads < HEADS else {}
        tables = {name: [axis, heads] for name, axis in TABLES.get(attention, {}).items() if heads < HEADS}
        assert resized(small).get(f"attentions.{block}", {}) == numbers | tables
        assert plan.numbers.get(f"attentions.{block}", {}) == numbers
    with plan.masked(model):
        torch.testing.assert_close(small(images), model(images), rtol=1e-12, atol=1e-12)
    assert (small(images) - model(images)).abs().max() > 1e-2
    assert resized(model) == {}
    with FlopCounterMode(display=False) as counter:
        small(EXAMPLE)
    counts = counter.get_flop_counts()["Global"].items()
    of_weights = sum(count for name, count in counts if "bmm" not in str(name) and "attention" not in str(name)) // 2
    assert plan.after == {
        "units": sum(unit.size for unit in units(small, EXAMPLE)),
        "parameters": sum(parameter.numel() for parameter in small.parameters()),
        "macs": of_weights,
    }


def test_a_head_competes_with_hidden_units_by_the_sum_over_its_channels():
    _, made = traced(Attention)
    scores = torch.ones(len(made.groups))
    unit = next(unit for unit in made.layers if unit.name == "attentions.0.qkv")
    scores[unit.slice][made.groups[unit.slice] == made.groups[unit.slice][EACH]] = 0.1  # the second head: 0.9 in all
    plan = made.plan(scores, budget=0.01, of="units")
    assert sorted(plan.removed.tolist()) == [unit.start + 12 * part + EACH + c for part in range(3) for c in range(3)]
    assert plan.kept["attentions.0.qkv"].tolist() == [n for n in range(36) if n % 12 not in range(3, 6)]
    assert plan.inputs["attentions.0.project"].tolist() == [0, 1, 2, *range(6, 12)]


def test_scores_masks_and_slim_work_on_one_network():
    model = transformer()
    batches = [(noise(8, 3, 4, 4, seed=2).double(), None)]
    scores = importance.score(model, batches, ["sq:rand:norm"])["sq:rand:norm"]
    with pytest.warns(UserWarning, match="^all units of patches, attentions.0.project, narrow.0 and 2 more stay"):
        small = pruning.slim(model, scores, EXAMPLE, budget=0.5)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())


def test_a_network_can_lose_heads_twice():
    model, made = traced(Attention)
    once = made.plan(favoured(made, "attentions.0.qkv"), budget=0.04, of="units").apply(model)
    assert once.attentions[0].heads == 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = trace(once, EXAMPLE)
    twice = again.plan(favoured(again, "attentions.0.qkv"), budget=0.04, of="units").apply(once)
    assert (twice.attentions[0].heads, twice.attentions[0].inner, twice.attentions[1].heads) == (2, 2 * EACH, 4)


@pytest.mark.parametrize(
    ("attention", "numbers"),
    [
        (Grouped, {"heads": 2, "inner": 2 * EACH, "of_keys": 1}),
        (GroupedByFunction, {"heads": 2, "inner": 2 * EACH, "of_keys": 1}),
        (GroupedByAxis, {"of_keys": 1}),
    ],
)
@torch.no_grad()
def test_heads_of_queries_go_with_those_of_their_keys(attention, numbers):
    model, made = traced(attention)
    groups = {unit.name: made.groups[unit.slice].tolist() for unit in made.layers}
    first = groups["attentions.0.q"][0]
    assert groups["attentions.0.q"] == [first] * 2 * EACH + [first + 1] * 2 * EACH
    assert groups["attentions.0.k"] == groups["attentions.0.v"] == [first] * EACH + [first + 1] * EACH
    plan = made.plan(favoured(made, "attentions.0"), budget=0.1, of="units")
    small, images = plan.apply(model), noise(5, 3, 4, 4, seed=1).double()
    assert resized(small) == {"attentions.0": numbers}
    with plan.masked(model):
        torch.testing.assert_close(small(images), model(images), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_heads_that_ask_by_a_table_of_their_own_go_with_it():
    model, made = traced(Asking)
    plan = made.plan(favoured(made, "attentions.0.kv"), budget=0.1, of="units")
    small, images = plan.apply(model), noise(5, 3, 4, 4, seed=1).double()
    heads = small.attentions[0].heads
    assert heads < HEADS and small.attentions[0].query.shape == (1, heads, 1, EACH)
    with plan.masked(model):
        torch.testing.assert_close(small(images), model(images), rtol=1e-12, atol=1e-12)


def test_one_query_of_all_heads_in_a_row_has_them_stay():
    _, made = traced(partial(Asking, by_head=False))
    assert {unit.name for unit in made.layers if (made.groups[unit.slice] >= 0).any()} == {"widen.0", "widen.1"}


@pytest.mark.parametrize(
    ("attention", "layers", "why", "goes"),
    [
        (ByInput, "attentions.0.qkv, attentions.1.qkv stay", "the network was tried without some of them", []),
        (Pooled, "attentions.0.k, attentions.0.v, attentions.0.pool and 5 more stay", MEETING, OF_POOLED),
        (OneHead, "attentions.0.qkv, attentions.1.qkv stay", MEETING, []),
        (Torch, "patches, narrow.0, narrow.1 stay", "they are tied to parameters", []),
    ],
)
def test_heads_that_cannot_go_stay_and_are_named(attention, layers, why, goes):
    with pytest.warns(UserWarning) as caught:
        made = trace(transformer(attention), EXAMPLE)
    said = [str(warning.message) for warning in caught]
    assert any(text.startswith(f"all units of {layers}, since {why}") and "\n" not in text for text in said)
    free = {unit.name for unit in made.layers if (made.groups[unit.slice] >= 0).any()}
    assert free == {"widen.0", "widen.1", *goes}


@pytest.mark.parametrize("size", [1, 0.01])
@pytest.mark.filterwarnings("ignore:all units of")
def test_numbers_of_heads_are_found_where_weights_are_too_small_to_tell(size):
    """With 4 heads of 3 channels a new network answers as with 3 heads of 4, since attention weighs all alike."""
    found = []
    for attention in (Unsized, Literal):
        model = transformer(attention).float()
        for name, parameter in model.named_parameters():
            parameter.data *= size if "attentions" in name else 1
        made = trace(model, EXAMPLE.float())
        plan = made.plan(favoured(made, ".qkv"), budget=0.1, of="units")
        found.append(plan.numbers)
        assert (plan.apply(model).attentions[0].qkv.out_features < 48) is (attention is Unsized)
    assert found[0]["attentions.0"].keys() == {"heads"} and found[1] == {}


def test_pytorchs_own_attention_stays_whole():
    model, made = traced(Torch)
    assert {unit.name for unit in made.layers if (made.groups[unit.slice] >= 0).any()} == {"widen.0", "widen.1"}
    small = made.plan(favoured(made, "widen"), budget=0.1, of="units").apply(model)
    assert small.attentions[0].in_proj_weight.shape == (24, 8)


@pytest.mark.parametrize("attention", [Attention, Biased])
def test_a_file_brings_heads_back(attention, tmp_path):
    model, made = traced(attention)
    small = made.plan(favoured(made, *OF_ATTENTION), budget=0.3).apply(model)
    slim_files.save(small, tmp_path / "small", {"seed": 1})
    fresh = transformer(attention)
    found = slim_files.load(fresh, tmp_path / "small")
    assert torch.equal(found(EXAMPLE), small(EXAMPLE)) and resized(found) == resized(small) != {}
    assert fresh.attentions[0].heads == HEADS and resized(fresh) == {}
    slim_files.save(found, tmp_path / "again")
    assert torch.equal(slim_files.load(fresh, tmp_path / "again")(EXAMPLE), small(EXAMPLE))
    fresh.attentions[0].heads = 2 * HEADS
    with pytest.raises(ValueError) as caught:
        slim_files.load(fresh, tmp_path / "small")
    said = f"at full width attentions.0.heads is {HEADS} there, {2 * HEADS} here"
    assert str(caught.value) == f"{tmp_path / 'small'} cannot be used: {said}"
    fresh.attentions[0].heads = 1
    with pytest.raises(ValueError) as caught:
        slim_files.load(fresh, tmp_path / "small")
    heads = small.attentions[0].heads
    assert str(caught.value) == f"{tmp_path / 'small'} cannot be used: attentions.0.heads is {heads} there, 1 here"
    del fresh.attentions[0].heads
    with pytest.raises(ValueError, match=r"cannot be used: attentions\.0\.heads is \d there, missing here$"):
        slim_files.load(fresh, tmp_path / "small")


def test_numbers_are_tried_from_none_to_all_and_taken_over_within_a_class():
    model = nn.ModuleList(Attention() for _ in range(3))
    heads = [[Heads(str(block), numpy.arange(HEADS), (1, 3, 9))] for block in range(3)]
    tried = []

    def is_right(block, numbers):
        tried.append((block, [number.name for number in numbers]))
        return len(numbers) == 2

    needed, wrong = numbers_needed(model, heads, is_right)
    assert tried == [(0, []), (0, ["heads"]), (0, ["inner"]), (0, ["heads", "inner"])]
    assert [(number.module, number.name, number.each) for number in needed] == [
        (str(block), name, each) for block in range(3) for name, each in (("heads", 1), ("inner", 3))
    ]
    assert wrong == []
    assert numbers_needed(model, heads, lambda block, numbers: False) == ([], [0, 1, 2])


def test_a_file_of_heads_that_the_network_does_not_have_is_refused(tmp_path):
    model, made = traced(Biased)
    small = made.plan(favoured(made, ".qkv"), budget=0.3).apply(model)
    slim_files.save(small, tmp_path / "small")
    heads = len(small.attentions[0].temperatures)
    for change, here in (
        (nn.Parameter(torch.zeros(3, 1)), 1),
        (3, "missing"),
        (nn.Parameter(torch.zeros(3)), "missing"),
    ):
        fresh = transformer(Biased)
        del fresh.attentions[0].biases
        fresh.attentions[0].biases = change
        with pytest.raises(ValueError) as caught:
            slim_files.load(fresh, tmp_path / "small")
        said = f"attentions.0.biases is {heads} along axis 1 there, {here} here"
        assert str(caught.value) == f"{tmp_path / 'small'} cannot be used: {said}"


def test_the_name_of_numbers_is_taken_in_files(tmp_path):
    with pytest.raises(ValueError, match=r'^metadata has "numbers" already, where those of heads and tensors'):
        slim_files.save(transformer(), tmp_path / "a", {"numbers": 3})


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:all units of")
def test_heads_of_timms_windows_go():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    sizes = {"img_size": 112, "depths": (2, 2), "embed_dim": 24, "num_heads": (3, 6), "num_classes": 5}
    model, images = timm.create_model("swin_tiny_patch4_window7_224", **sizes).double().eval(), noise(3, 3, 112, 112)
    made = trace(model, images[:1].double())
    plan = made.plan(favoured(made, ".qkv"), budget=0.15)
    small = plan.apply(model)
    assert small.layers[0].blocks[0].attn.relative_position_bias_table.shape == (169, 1)
    with plan.masked(model):
        torch.testing.assert_close(small(images.double()), model(images.double()), rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_heads_of_timms_transformers_go():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=5).double().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = trace(model, noise(1, 3, 32, 32).double())
    plan = made.plan(favoured(made, ".qkv"), budget=0.2)
    small, images = plan.apply(model), noise(3, 3, 32, 32, seed=1).double()
    assert plan.numbers["blocks.0.attn"] == {"num_heads": 1, "attn_dim": 64}
    assert plan.widths["blocks.0.attn.qkv"] == (576, 192)
    with plan.masked(model):
        torch.testing.assert_close(small(images), model(images), rtol=1e-9, atol=1e-9)
