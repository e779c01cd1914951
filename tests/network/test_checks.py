"""lib.checks: nonsense, argument by argument, is answered by one line, by every function that takes it alike."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy
import pytest
import torch
import toys
from torch import nn

from lib import cost, importance, oracle, pruning, structure
from lib.masking import footprint
from lib.network.models import predict
from lib.scoring.criteria import Criterion, parse


class Net(nn.Module):
    """Two convolutions of 4 channels and a classifier of 4 classes, for images of 3 channels."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.second, self.classifier = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 4)

    def forward(self, x):
        return self.classifier(self.second(self.first(x).relu()).relu().mean((2, 3)))


NET, ORDER, SCORES = Net().eval(), torch.arange(8), torch.arange(8.0)
IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS, VECTORS = torch.tensor([0, 1, 2, 3, 0, 1]), torch.ones(6, 4)
EXAMPLE, BATCHES = IMAGES[:1], [(IMAGES, LABELS)]
RANKED = "pruning.order(scores) gives one"
FROM_NUMPY, FROM_LIST = "torch.from_numpy(...) makes one of it", "torch.tensor(...) makes one of it"


def entered(context: AbstractContextManager) -> None:
    with context:
        pass


def refused(call: Callable, *given, **named) -> str:
    with pytest.raises(ValueError) as caught:
        call(*given, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Every function, as a function of the one argument that is nonsense

OF_A_MODEL = {
    "units": lambda model: importance.units(model, EXAMPLE),
    "units, no example": importance.units,
    "score": lambda model: importance.score(model, BATCHES, "sq"),
    "score by weights": lambda model: importance.score(model, BATCHES, "l2"),
    "contributions": lambda model: importance.contributions(model, IMAGES, VECTORS),
    "masked": lambda model: entered(pruning.masked(model, ORDER, 2)),
    "curve": lambda model: pruning.curve(model, ORDER, IMAGES, LABELS, 3),
    "oracle": lambda model: oracle.score(model, BATCHES),
    "interactions": lambda model: oracle.interactions(model, ORDER, [2], BATCHES),
    "joint": lambda model: oracle.joint(model, [ORDER], 2, BATCHES),
    "plan": lambda model: structure.plan(model, SCORES, EXAMPLE),
    "slim": lambda model: structure.slim(model, SCORES, EXAMPLE),
    "apply": lambda model: structure.plan(NET, SCORES, EXAMPLE, budget=0.2).apply(model),
    "remaining": lambda model: footprint.remaining(model, ORDER, [2], EXAMPLE),
    "table": lambda model: cost.table({"net": model}, EXAMPLE, batches=(1,), repeats=1),
    "multiply_adds": lambda model: cost.multiply_adds(model, EXAMPLE),
}
OF_IMAGES = {
    "units": lambda images: importance.units(NET, images),
    "contributions": lambda images: importance.contributions(NET, images, VECTORS),
    "masked": lambda images: entered(pruning.masked(NET, ORDER, 2, example=images)),
    "curve": lambda images: pruning.curve(NET, ORDER, images, torch.zeros(len(images)).long(), 3),
    "predict": lambda images: predict(NET, images),
    "plan": lambda images: structure.plan(NET, SCORES, images),
    "slim": lambda images: structure.slim(NET, SCORES, images),
    "remaining": lambda images: footprint.remaining(NET, ORDER, [2], images),
    "table": lambda images: cost.table({"net": NET}, images, batches=(1,), repeats=1),
    "multiply_adds": lambda images: cost.multiply_adds(NET, images),
}
OF_BATCHES = {
    "score": lambda batches: importance.score(NET, batches, "sq"),
    "score by weights": lambda batches: importance.score(NET, batches, "l2"),
    "score by minibatches": lambda batches: importance.score(NET, batches, "molchanov-bn"),
    "oracle": lambda batches: oracle.score(NET, batches),
    "interactions": lambda batches: oracle.interactions(NET, ORDER, [2], batches),
    "joint": lambda batches: oracle.joint(NET, [ORDER], 2, batches),
}
OF_IMAGES_IN_BATCHES = {name: lambda images, call=call: call([(images, None)]) for name, call in OF_BATCHES.items()}
OF_AN_ORDER = {
    "masked": lambda order: entered(pruning.masked(NET, order, 2)),
    "curve": lambda order: pruning.curve(NET, order, IMAGES, LABELS, 3),
    "interactions": lambda order: oracle.interactions(NET, order, [2], BATCHES),
    "interactions of none": lambda order: oracle.interactions(NET, order, [], BATCHES),
    "joint": lambda order: oracle.joint(NET, [order], 2, BATCHES),
    "remaining": lambda order: footprint.remaining(NET, order, [2], EXAMPLE),
}
OF_A_COUNT = {
    "masked": lambda k: entered(pruning.masked(NET, ORDER, k)),
    "interactions": lambda k: oracle.interactions(NET, ORDER, [1, k], BATCHES),
    "joint": lambda k: oracle.joint(NET, [ORDER], k, BATCHES),
    "remaining": lambda k: footprint.remaining(NET, ORDER, [1, k], EXAMPLE),
}
OF_LABELS = {
    "score": lambda labels: importance.score(NET, [(IMAGES, labels)], "sq"),
    "oracle": lambda labels: oracle.score(NET, [(IMAGES, labels)]),
    "curve": lambda labels: pruning.curve(NET, ORDER, IMAGES, labels, 3),
}
OF_SCORES = {"order": pruning.order, "plan": lambda scores: structure.plan(NET, scores, EXAMPLE)}


@pytest.fixture(scope="module")
def exported() -> nn.Module:
    return torch.export.export(NET, (IMAGES,)).module()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Net, "the model is the class Net, not a network of it: give Net(...)"),
        (NET.state_dict(), "the model is a dict, as of weights, not a network: build one and model.load_state_dict"),
        ("net.pth", "the model is the name 'net.pth', not a network: build one and load its weights"),
        (None, "the model must be an nn.Module, not a NoneType"),
        (len, "the model must be an nn.Module, not a builtin_function_or_method"),
        (Net(), "{} is in training mode: call model.eval() first"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", OF_A_MODEL)
def test_what_is_no_model(name, model, message):
    assert refused(OF_A_MODEL[name], model).startswith(message.format("net" if name == "table" else "Net"))


@pytest.mark.parametrize("name", OF_A_MODEL)
def test_what_torch_export_has_made(name, exported):
    line = "the model is what torch.export makes of one, in which nothing is run as a module"
    assert refused(OF_A_MODEL[name], exported) == f"{line}: give the model that it was made from"


@pytest.mark.parametrize("name", sorted(OF_A_MODEL.keys() - {"table", "multiply_adds"}))
def test_models_without_values(name):
    on_meta = "first.weight is on the meta device and has no values: build the model on another, or load its w"
    assert refused(OF_A_MODEL[name], Net().eval().to("meta")).startswith(on_meta)
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.Linear(4, 4)).eval()
    line = "0.weight gets its shape in the first pass: run the model once, and load its weights"
    assert refused(OF_A_MODEL[name], lazy) == line


def test_multiply_adds_need_no_values():
    assert cost.multiply_adds(Net().eval().to("meta"), EXAMPLE) == cost.multiply_adds(NET, EXAMPLE)


@pytest.mark.parametrize(
    ("images", "start", "end"),
    [
        (IMAGES[:, :1], "Net does not take images of shape (1, 8, 8) each (Given groups=1, weight of size [4, 3, 3, 3]",
         "), its first layer takes 3 channels: give images.expand(-1, 3, -1, -1)"),
        (IMAGES.movedim(1, -1), "Net does not take images of shape (8, 8, 3) each (Given groups=1, weight of size [4,",
         "), its first layer takes 3 channels: give images.movedim(-1, 1)"),
        (torch.cat([IMAGES, IMAGES], 1), "Net does not take images of shape (6, 8, 8) each (Given groups=1, weight of",
         "), its first layer takes 3 channels"),
        (IMAGES[0], "Net does not take images of shape (8, 8) each (",
         "): 4 axes are needed, of images first; a single one is images[None]"),
        (IMAGES[:, :, :2, :2], "Net does not take images of shape (3, 2, 2) each (Calculated padded input size per",
         "actual input size)"),
        (IMAGES.flatten(1), "Net does not take images of shape (192,) each (Expected 3D (unbatched) or 4D (batched)",
         ")"),
        (IMAGES.mul(9).to(torch.uint8), "images are uint8, not normalised as for training: datasets.normalise(", "it"),
        (IMAGES.to(torch.float8_e4m3fn), "images are float8_e4m3fn, in which nothing can be computed: give images.floa",
         "t()"),
        (IMAGES.to("meta"), "images: a tensor on the meta device has no values, give one on another device", ""),
        (IMAGES.to_sparse(), "images: a tensor of layout sparse_coo is not dense, give images.to_dense()", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", [*OF_IMAGES, *(f"{name}, batches" for name in OF_IMAGES_IN_BATCHES)])
def test_images_that_the_model_does_not_take(name, images, start, end):
    call = OF_IMAGES[name] if name in OF_IMAGES else OF_IMAGES_IN_BATCHES[name.removesuffix(", batches")]
    said = refused(call, images)
    assert said.startswith(start) and said.endswith(end), said


@pytest.mark.parametrize("name", OF_IMAGES)
def test_images_that_are_no_tensor_or_none(name):
    def with_labels(images):  # which a curve could not tell from these
        return pruning.curve(NET, ORDER, images, LABELS, 3)

    call = with_labels if name == "curve" else OF_IMAGES[name]
    assert refused(call, IMAGES.numpy()) == f"images must be a tensor (M, C, H, W), not a ndarray: {FROM_NUMPY}"
    assert refused(call, IMAGES.tolist()) == f"images must be a tensor (M, C, H, W), not a list: {FROM_LIST}"
    assert refused(call, "cat.jpg") == "images must be a tensor (M, C, H, W), not a str"
    assert refused(call, torch.tensor(1.0)) == "images must be a tensor (M, C, H, W), not of shape ()"
    none = "accuracy on 0 images with 6 labels: it takes one each, at least one"
    none = none if name == "curve" else "there is no image in a tensor of shape (0, 3, 8, 8): give one at least"
    assert refused(call, IMAGES[:0]) == none


@pytest.mark.parametrize("name", ["score", "oracle", "interactions", "joint"])
def test_later_images_that_the_model_does_not_take(name):
    said = refused(OF_BATCHES[name], [(IMAGES, LABELS), (IMAGES[:, :1], LABELS)])
    assert said.startswith("Net does not take images of shape (1, 8, 8) each (Given groups=1, weight of size [4, 3, 3")


@pytest.mark.parametrize("indices", [torch.arange(6, 12), torch.arange(6)])
def test_images_of_two_sizes_in_one_minibatch(indices):
    batches = [(IMAGES, None, torch.arange(1, 7)), (IMAGES[:, :, :6, :6], None, indices)]
    said = refused(importance.score, NET, batches, "molchanov-bn:rand")
    assert said == "examples of shape (3, 6, 6) cannot be in one minibatch with those of shape (3, 8, 8)"


def used_up() -> Iterator:
    batches = iter(BATCHES)
    list(batches)
    return batches


FORM = "a batch must be (images, labels or None) or (images, labels or None, indices)"


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (None, "batches must be a list of (images, labels or None), or another iterable, not a NoneType"),
        (NET, "batches must be a list of (images, labels or None), or another iterable, not a Net"),
        ("abc", f"{FORM}, not a str of 1"),
        (IMAGES, f"{FORM}, not a tensor: give [(images, None)]"),
        ([(IMAGES,)], f"{FORM}, not a tuple of 1"),
        ([(None, LABELS)], f"{FORM}, all tensors, not a NoneType"),
        ([(IMAGES.numpy(), LABELS)], f"{FORM}, all tensors, not a ndarray: {FROM_NUMPY}"),
        ([(IMAGES, LABELS.numpy())], f"{FORM}, all tensors, not a ndarray: {FROM_NUMPY}"),
        ([(IMAGES, LABELS.tolist())], f"{FORM}, all tensors, not a list: {FROM_LIST}"),
        ([(IMAGES, torch.tensor(1))], "labels must be a tensor with an axis of examples, not of shape ()"),
        ([], "there are no examples: `batches` is empty"),
        ([(IMAGES[:0], LABELS[:0])], "there are no examples: `batches` is empty"),
        (used_up, "there are no examples: `batches` is empty, perhaps by now: a generator gives what it has only once, "
                  "so make it anew or give a list"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", OF_BATCHES)
def test_what_are_no_batches(name, batches, message):
    assert refused(OF_BATCHES[name], batches() if batches is used_up else batches) == message


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (torch.arange(6) + 0.5, "indices of examples must be 6 whole numbers, not float32"),
        (torch.ones(6).bool(), "indices of examples must be 6 whole numbers, not bool"),
        (torch.arange(6) - 1, "indices of examples must not be negative: random vectors are counted from example 0"),
        (torch.arange(6)[:, None], "a batch has 6 images but other numbers of labels or indices"),
        (3, "a batch has 6 images but other numbers of labels or indices"),
        (None, "indices must be 6 whole numbers, not a NoneType"),
        (torch.arange(6).to("meta"), "indices: a tensor on the meta device has no values, give one on another device"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["score", "score by minibatches"])
def test_what_are_no_indices(name, indices, message):
    assert refused(OF_BATCHES[name], [(IMAGES, LABELS, indices)]) == message


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS.float(), "labels must be 6 whole numbers from 0 to 3, one per image"),
        (LABELS > 0, "labels must be 6 whole numbers from 0 to 3, one per image"),
        (LABELS + 1, "labels must be 6 whole numbers from 0 to 3, one per image"),
        (torch.eye(6, 4), "labels must be a tensor (6,), one per image, not of shape (6, 4)"),
        (LABELS.to("meta"), "labels: a tensor on the meta device has no values, give one on another device"),
        (LABELS.to_sparse(), "labels: a tensor of layout sparse_coo is not dense, give labels.to_dense()"),
    ],
)
@pytest.mark.parametrize("name", OF_LABELS)
def test_what_are_no_labels(name, labels, message):
    assert refused(OF_LABELS[name], labels) == message


@pytest.mark.parametrize(
    ("labels", "what"), [(LABELS.numpy(), f"a ndarray: {FROM_NUMPY}"), ([0] * 6, f"a list: {FROM_LIST}"), (3, "a int")]
)
def test_labels_of_a_curve_that_are_no_tensor(labels, what):
    assert refused(OF_LABELS["curve"], labels) == f"labels must be a tensor (M,), one per image, not {what}"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.uint16])
def test_labels_may_be_any_whole_numbers(dtype):
    for call in OF_LABELS.values():
        call(LABELS.to(dtype))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (torch.tensor([0, 0, 2, 3, 4, 5, 6, 7]), f"once, from 0 on, but names 0 more than once: {RANKED}"),
        (ORDER + 1, f"once, from 0 on, but names 8, which is no unit: {RANKED}"),
        (ORDER - 1, f"once, from 0 on, but names -1, which is no unit: {RANKED}"),
        (ORDER[:4], f"order must name each of the 8 units once, but has 4 entries of shape (4,): {RANKED}"),
        (ORDER[None], f"order must name each of the 8 units once, but has 8 entries of shape (1, 8): {RANKED}"),
        (ORDER.float(), f"order must be unit indices (N,), a tensor of int64, not float32: {RANKED}"),
        (ORDER > 3, f"order must be unit indices (N,), a tensor of int64, not bool: {RANKED}"),
        (ORDER.to(torch.uint8), f"order must be unit indices (N,), a tensor of int64, not uint8: {RANKED}"),
        (ORDER.tolist(), f"order must be unit indices (N,), a tensor of int64, not list: {RANKED}"),
        (None, f"order must be unit indices (N,), a tensor of int64, not NoneType: {RANKED}"),
        (ORDER.to("meta"), "order: a tensor on the meta device has no values, give one on another device"),
        (ORDER.to_sparse(), "order: a tensor of layout sparse_coo is not dense, give order.to_dense()"),
    ],
)
@pytest.mark.parametrize("name", OF_AN_ORDER)
def test_what_is_no_order(name, order, message):
    assert refused(OF_AN_ORDER[name], order).endswith(message)


def test_several_orders_are_a_list():
    for call in (lambda orders: pruning.curves(NET, orders, IMAGES, LABELS, 3),
                 lambda orders: oracle.joint(NET, orders, 2, BATCHES)):  # fmt: skip
        for given, what in ((ORDER, "Tensor"), (None, "NoneType")):
            line = f"orders must be a list of orders, as pruning.order gives them, not a {what}"
            assert refused(call, given) == line


@pytest.mark.parametrize("k", [-1, 9, 2.0, True, "2", None])
@pytest.mark.parametrize("name", OF_A_COUNT)
def test_what_is_no_count(name, k):
    assert refused(OF_A_COUNT[name], k) == f"k={k!r} units cannot be off: give a whole number from 0 to 8"


@pytest.mark.parametrize("counts", [2, 2.5, "2", None, True])
def test_counts_are_several(counts):
    line = f"counts must be several numbers, such as [2], not {counts!r}"
    assert refused(oracle.interactions, NET, ORDER, counts, BATCHES) == line
    assert refused(footprint.remaining, NET, ORDER, counts, EXAMPLE) == line


def test_counts_may_be_a_vector_or_of_numpy():
    for counts in (torch.tensor([1, 2]), numpy.arange(1, 3), range(1, 3)):
        assert oracle.interactions(NET, ORDER, counts, BATCHES)["pruned"].tolist() == [1, 2]
        assert footprint.remaining(NET, ORDER, counts, EXAMPLE)["pruned"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (SCORES.numpy(), f"scores must be a tensor (N,), one per unit, not a ndarray: {FROM_NUMPY}"),
        (SCORES.to("meta"), "scores: a tensor on the meta device has no values, give one on another device"),
        (SCORES.to_sparse(), "scores: a tensor of layout sparse_coo is not dense, give scores.to_dense()"),
        (SCORES > 3, "scores are bool, not numbers that say which unit is worth more"),
        (SCORES.to(torch.complex64), "scores are complex64, not numbers that say which unit is worth more"),
    ],
)
@pytest.mark.parametrize("name", OF_SCORES)
def test_what_are_no_scores(name, scores, message):
    assert refused(OF_SCORES[name], scores) == message


SEED = "must be a whole number from 0 to 2**64 - 1"
NUMBERS = [
    *(("seed", value, SEED) for value in (1.5, 3.0, True, "0", None, -1, 2**64, torch.tensor(3))),
    *(("batch", value, "must be a whole number of at least 1") for value in (0, -1, 2.5, True, "8")),
    *(("points", value, "must be a whole number of at least 2") for value in (1, 2.5, True, "3", None)),
    *(("budget", value, "must be a fraction to remove, above 0 and below 1")
      for value in (0, 1, -1, 50, True, "0.5", None, float("nan"), [0.5])),
    *((name, value, "must be a whole number of at least 1")
      for name in ("repeats", "images", "probes") for value in (0, 2.5, True, "1")),
]  # fmt: skip
OF_A_NUMBER = {
    "seed": [lambda seed: importance.score(NET, BATCHES, "sq:rand", seed=seed),
             lambda seed: importance.score(NET, BATCHES, "l2", seed=seed)],
    "batch": [lambda batch: pruning.curve(NET, ORDER, IMAGES, LABELS, 3, batch=batch),
              lambda batch: predict(NET, IMAGES, batch=batch),
              lambda batch: cost.table({"net": NET}, EXAMPLE, batches=(1, batch), repeats=1)],
    "points": [lambda points: pruning.curve(NET, ORDER, IMAGES, LABELS, points),
               lambda points: pruning.steps(8, points)],
    "budget": [lambda budget: structure.plan(NET, SCORES, EXAMPLE, budget=budget),
               lambda budget: structure.slim(NET, SCORES, EXAMPLE, budget=budget)],
    "repeats": [lambda repeats: cost.table({"net": NET}, EXAMPLE, batches=(1,), repeats=repeats)],
    "images": [lambda images: cost.table({"net": NET}, EXAMPLE, batches=(1,), repeats=1, images=images)],
    "probes": [lambda probes: Criterion("sq", "rand", probes)],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value", "message"), NUMBERS, ids=str)
def test_what_are_no_numbers(name, value, message):
    for call in OF_A_NUMBER[name]:
        assert refused(call, value) == f"{name}={value!r} {message}"


def test_numbers_may_be_numpys():
    seeds = [importance.score(NET, BATCHES, "sq:rand", seed=seed)["sq:rand"] for seed in (3, numpy.int64(3))]
    assert torch.equal(*seeds)
    assert len(pruning.curve(NET, ORDER, IMAGES, LABELS, numpy.int64(3), batch=numpy.int64(2))) == 3


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        (None, "criteria=None are none: give a name such as 'sq:rand:norm', a Criterion, or several"),
        (3, "criteria=3 are none: give a name such as 'sq:rand:norm', a Criterion, or several"),
        ([], "there are no criteria to score by: give a name such as 'sq:rand:norm', a Criterion, or several"),
        (["sq", 3], "a criterion is a name, such as 'sq:rand:norm', or a Criterion, not 3"),
    ],
)
def test_what_are_no_criteria(criteria, message):
    assert refused(importance.score, NET, BATCHES, criteria) == message
    assert refused(importance.Scoring, NET, EXAMPLE, criteria) == message


def test_parts_of_criteria_that_are_no_names():
    assert refused(parse, 3) == "a criterion is a name, such as 'sq:rand:norm', or a Criterion, not 3"
    for part in ({"reduction": 3}, {"reduction": "sq", "cotangent": 3}, {"reduction": "sq", "normalisation": 3}):
        assert refused(Criterion, **part).startswith(f"unknown {[*part][-1]} 3. There are: ")


def test_what_is_told_of_progress_is_a_function():
    line = "report=3 must be a function of how many examples have been seen"
    assert refused(importance.score, NET, BATCHES, "sq", report=3) == line


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (torch.ones(5, 4), "vectors must be of the shape of the logits, (6, 4), not (5, 4)"),
        (torch.ones(6, 3), "vectors must be of the shape of the logits, (6, 4), not (6, 3)"),
        (torch.ones(4), "vectors must be of the shape of the logits, (6, 4), not (4,)"),
        (torch.ones(6, 4).long(), "vectors are int64, not floating-point numbers: give vectors.float()"),
        (VECTORS * torch.nan, "vectors are not finite: find those with NaN or infinity, and leave them out"),
        (VECTORS.numpy(), f"vectors must be a tensor (6, 4), one per image, not a ndarray: {FROM_NUMPY}"),
        (None, "vectors must be a tensor (6, 4), one per image, not a NoneType"),
    ],
)
def test_what_are_no_cotangents(vectors, message):
    assert refused(importance.contributions, NET, IMAGES, vectors) == message


@pytest.mark.parametrize(
    "call",
    [
        lambda images: importance.contributions(NET, images, VECTORS),
        lambda images: oracle.score(NET, [(images, None)]),
        lambda images: oracle.interactions(NET, ORDER, [2], [(images, None)]),
        lambda images: oracle.joint(NET, [ORDER], 2, [(images, None)]),
    ],
)
def test_logits_that_are_not_finite(call):
    assert refused(call, IMAGES * torch.nan) == "logits are not finite; check the model's weights and its inputs"


GROUPS = "groups must be a dict of names and tensors (6,) of bool, such as {'rare': labels == 1}"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (LABELS == 1, f"{GROUPS}, not a Tensor"),
        ([("rare", LABELS == 1)], f"{GROUPS}, not a list"),
        ({"rare": LABELS}, f"{GROUPS}, but groups['rare'] is int64 of shape (6,)"),
        ({"rare": LABELS.float()}, f"{GROUPS}, but groups['rare'] is float32 of shape (6,)"),
        ({"rare": LABELS[:3] == 1}, f"{GROUPS}, but groups['rare'] is bool of shape (3,)"),
        ({"rare": [True] * 6}, f"groups['rare'] must be a tensor (6,) of bool, not a list: {FROM_LIST}"),
    ],
)
def test_what_are_no_groups(groups, message):
    assert refused(pruning.curve, NET, ORDER, IMAGES, LABELS, 3, groups=groups) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"models": NET}, "models must be a dict, as {'whole': model}, not a Net"),
        ({"models": [NET]}, "models must be a dict, as {'whole': model}, not a list"),
        ({"models": {}}, "there are no networks to measure"),
        ({"batches": 4}, "batches must be several numbers, such as [2], not 4"),
        ({"batches": ()}, "there are no batches to time: give one number of examples at least"),
    ],
)
def test_what_cannot_be_put_in_a_table(settings, message):
    assert refused(cost.table, **{"models": {"net": NET}, "example": EXAMPLE, "repeats": 1} | settings) == message


def transformed(how, call):
    model, (images, _) = toys.make(toys.Mlp), toys.examples(toys.Mlp, 4)
    calls = {
        "score": lambda x: importance.score(model, [(x, None)], ["sq:rand"])["sq:rand"],
        "contributions": lambda x: importance.contributions(model, x, torch.ones(len(x), 2)),
        "units": lambda x: importance.units(model, x),
        "slim": lambda x: pruning.slim(model, torch.ones(8), x)(x),
        "order": lambda x: pruning.order(x.flatten()),
        "masked": lambda x: pruning.masked(model, x.flatten().long(), 1).__enter__(),
    }
    if how == "vmap":
        return torch.vmap(lambda x: calls[call](x[None]))(images)
    return torch.func.jacrev(lambda x: calls[call](x))(images)


@pytest.mark.parametrize("how", ["vmap", "jacrev"])
@pytest.mark.parametrize("call", ["score", "contributions", "units", "slim", "order", "masked"])
def test_what_is_within_a_transform_of_torch_func(how, call):
    with pytest.raises(ValueError) as caught:
        transformed(how, call)
    said = "nothing here runs within torch.vmap or another transform of torch.func: call it outside"
    assert str(caught.value) == said
