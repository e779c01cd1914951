"""lib.demands: what criteria share is computed once."""

import pytest
import torch
from scored import split, toy, whole

from lib.importance import score
from lib.scoring.criteria import Criterion
from lib.scoring.demands import Demands, by_name

pytestmark = pytest.mark.usefixtures("small_minibatches")


def test_callables_of_one_name_are_told_apart():
    model, images, _ = toy(count=4)
    with pytest.raises(ValueError, match="two different criteria are named sq:<lambda>"):
        score(model, whole(images), [Criterion("sq", lambda z, y, n: z), Criterion("sq", lambda z, y, n: 2 * z)])


def passes(monkeypatch, names, batches, model):
    """The numbers of examples in every forward pass, and how many backward passes there were."""
    forwards, backwards, grad = [], [], torch.autograd.grad
    model.register_forward_hook(lambda module, inputs, output: forwards.append(len(inputs[0])))
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **more: backwards.append(1) or grad(*args, **more))
    score(model, batches, names)
    return forwards, len(backwards)


@pytest.mark.parametrize(
    ("names", "backwards"),
    [
        (["sq"], 1),
        (
            [
                "taylorfo",
                "abs",
                "sq:norm",
                "sq:score",
                "pos",
                "abs-pixel:norm",
                "sq-pixel",
                "molchanov2017",
                "molchanov-bn:layer",
            ],
            1,
        ),
        (["sq:rand", "sq:rand:norm", "abs:rand:batch", "molchanov-bn:rand:norm"], 1),
        (["sq", "abs:rand", "abs:rand:norm", "sq:sign"], 3),
        (["sq:rand", "sq:rand@3", "abs:rand@2:norm"], 3),
        (["sq:orth@2", "sq:orth", "abs:orth@2:norm"], 2),
        (["sq:exact", "abs:exact:score", "sq:mas"], 4),
        (["l2", "sq:top"], 1),
    ],
)
def test_one_forward_and_one_backward_pass_per_distinct_cotangent(monkeypatch, names, backwards):
    model, images, labels = toy(count=64)
    forwards, found = passes(monkeypatch, names, split(images, labels, 32), model)
    assert forwards == [2, 2, 4, 2, 2, 32, 32]  # three find the units, the others see whether gradients get through
    assert found == 1 + 2 * backwards  # one of them tried before


def test_weight_gradients_cost_a_forward_pass_and_a_backward_pass_for_each_normalisation(monkeypatch):
    model, images, labels = toy(count=64)
    names = ["molchanov-group", "molchanov-group:norm", "molchanov-group:rand", "molchanov-group:rand:layer", "sq"]
    forwards, backwards = passes(monkeypatch, names, whole(images, labels), model)
    assert forwards == [2, 2, 4, 2, 2, 64, 32, 32]
    assert backwards == 1 + 1 + 2 * 3  # one of them tried before


def test_criteria_of_one_cotangent_are_grouped_and_counted_once():
    names = ["sq:rand", "sq:rand:layer", "abs-pixel", "molchanov-group:rand", "apoz", "l2", "sq:rand@2:batch"]
    demands = Demands(by_name(names).values())
    assert [str(c) for c in demands.gradients] == ["sq:rand", "abs-pixel", "molchanov-group:rand", "sq:rand@2:batch"]
    groups = [[str(c) for c in group] for group in demands.by_contributions]
    assert groups == [["sq:rand", "sq:rand@2:batch"], ["abs-pixel"]]
    assert [[str(c) for c in group] for group in demands.by_weights] == [["molchanov-group:rand"]]
    assert demands.kinds == {"sum", "abs-pixel"} and demands.activations == ["apoz"]
    assert str(demands.labelled) == "abs-pixel" and demands.by_minibatch and demands.needs_examples


@pytest.mark.parametrize("names", ["l2", ["random", "synflow:layer"]])
def test_weights_alone_need_no_examples(names):
    demands = Demands(by_name(names).values())
    assert not (demands.needs_examples or demands.by_minibatch or demands.labelled or demands.gradients)
