"""lib.contexts: compiled, checkpointed and random models run as they are written, and leave no trace."""

import random

import numpy
import pytest
import torch
from odd_models import IMAGES, LABELS, PUBLIC, Net, everything
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lib import importance, oracle, pruning
from lib.scoring.criteria import Criterion


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_would_run_again_during_the_backward_pass_runs_once(reentrant):
    again = Net(lambda layer, x: checkpoint(layer, x, use_reentrant=reentrant)).eval()
    for found, right in zip(everything(again), everything(Net().eval()), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-6)


def test_training_under_a_mask_is_right_with_checkpoints_too():
    losses = []
    for how in (lambda layer, x: layer(x), lambda layer, x: checkpoint(layer, x, use_reentrant=False)):
        model = Net(how).eval()
        with pruning.masked(model, torch.arange(8).flip(0), 3):
            functional.cross_entropy(model(IMAGES), LABELS).backward()
        losses.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*losses, strict=True))


class Recomputes(torch.autograd.Function):
    """As other libraries than torch save memory."""

    @staticmethod
    def forward(ctx, layer, x):
        ctx.layer = layer
        ctx.save_for_backward(x)
        return layer(x)

    @staticmethod
    def backward(ctx, delta):
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            return None, torch.autograd.grad(ctx.layer(x), x, delta)[0]


def test_what_else_runs_again_is_refused():
    with pytest.raises(ValueError, match="Net cuts gradients off on the way to its logits") as caught:
        importance.score(Net(Recomputes.apply).eval(), [(IMAGES, None)], ["sq:rand"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "noise",
    [
        lambda layer, x: functional.dropout(layer(x), 0.5),
        lambda layer, x: layer(x) * float(numpy.random.rand()),
        lambda layer, x: layer(x) * random.random(),
    ],
)
def test_randomness_in_eval_mode_is_refused_by_all_and_leaves_no_trace(noise):
    model, before = Net(noise).eval(), (torch.get_rng_state(), numpy.random.get_state()[1].copy(), random.getstate())
    calls = [
        lambda: importance.units(model, IMAGES[:1]), lambda: importance.score(model, [(IMAGES, LABELS)], ["sq"]),
        lambda: pruning.curve(model, torch.arange(8), IMAGES, LABELS, 2),
        lambda: oracle.score(model, [(IMAGES, LABELS)]),
        lambda: pruning.slim(model, torch.rand(8, generator=torch.Generator()), IMAGES[:1]),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match="Net is random although in eval mode"):
            call()
    after = torch.get_rng_state(), numpy.random.get_state()[1], random.getstate()
    assert torch.equal(before[0], after[0]) and (before[1] == after[1]).all() and before[2] == after[2]


@pytest.mark.parametrize("seed", range(5))
def test_randomness_is_found_however_seldom_it_acts(seed):
    generator = torch.Generator().manual_seed(seed)
    seldom = lambda layer, x: layer(x) * (torch.rand(1, generator=generator) > 1e-6)  # noqa: E731
    with pytest.raises(ValueError, match="Net is random although in eval mode"):
        importance.units(Net(seldom).eval())


def test_contexts_that_are_not_nested_leave_nothing_behind():
    before, model = torch.utils.checkpoint._checkpoint_impl, Net().eval()
    first, second = (pruning.masked(model, torch.arange(8), k) for k in (1, 2))
    first.__enter__(), second.__enter__()
    first.__exit__(None, None, None)
    assert torch.utils.checkpoint._checkpoint_impl is not before
    second.__exit__(None, None, None)
    assert torch.utils.checkpoint._checkpoint_impl is before


def draws(layer, x):
    """Random numbers of every kind, for nothing."""
    return (torch.rand(1), numpy.random.rand(), random.random(), layer(x))[-1]


def test_randomness_that_no_logit_depends_on_is_none():
    model = Net(draws).eval()
    assert [unit.name for unit in importance.units(model, IMAGES[:1])] == ["first", "second.0"]


@pytest.mark.parametrize("name", PUBLIC)
def test_what_a_model_draws_for_nothing_changes_no_global_state(name):
    model, before = Net(draws).eval(), (torch.get_rng_state(), numpy.random.get_state()[1:3], random.getstate())
    PUBLIC[name](model)
    after = torch.get_rng_state(), numpy.random.get_state()[1:3], random.getstate()
    assert torch.equal(before[0], after[0]) and before[2] == after[2]
    assert (before[1][0] == after[1][0]).all() and before[1][1] == after[1][1]


@pytest.mark.parametrize("how", [draws, lambda layer, x: layer(x)])
def test_what_a_callers_own_cotangent_draws_differs_from_batch_to_batch(how):
    drawn = []

    def own(logits, labels, noise):
        drawn.append(torch.randn(logits.shape))
        return drawn[-1]

    with torch.random.fork_rng(devices=[]):
        importance.score(Net(how).eval(), [(IMAGES, None)] * 2, [Criterion("sq", own)])
    assert len(drawn) == 2 and not torch.equal(*drawn)
