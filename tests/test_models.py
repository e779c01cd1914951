"""lib.models: wrapped, compiled, checkpointed, kept and odd models, and what is refused of them."""

import random
from collections.abc import Callable

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from lib import cost, footprint, importance, models, oracle, pruning, structure
from lib.criteria import Criterion

IMAGES, LABELS = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0, 1])


class Net(nn.Module):
    """Two convolutions, the second called by `how`, and a classifier, whose logits go through `out`."""

    def __init__(self, how: Callable = lambda layer, x: layer(x), out: Callable = lambda logits: logits):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.classifier, self.how, self.out = nn.Linear(4, 4), how, out

    def forward(self, x):
        return self.out(self.classifier(self.how(self.second, self.first(x).relu()).mean((2, 3))))


def everything(model):
    """What the public functions say of a model."""
    scores = importance.score(model, [(IMAGES, LABELS)], ["sq", "abs:rand:norm", "molchanov-group", "apoz", "synflow"])
    order = pruning.order(scores["sq"])
    with torch.no_grad(), pruning.masked(model, order, 4):
        masked = model(IMAGES)
    found = [*scores.values(), *oracle.score(model, [(IMAGES, LABELS)]).values(), masked]
    curve = pruning.curve(model, order, IMAGES, LABELS, 3)
    with models.as_written(), torch.no_grad():
        small = pruning.slim(model, scores["sq"], IMAGES[:1], budget=0.3)(IMAGES)
    return [*found, torch.from_numpy(curve.to_numpy()), small]


def parts_compiled(model):
    model.second = torch.compile(model.second, backend="eager")
    return model


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


WRAPPERS = {
    "torch.compile": lambda model: torch.compile(model, backend="eager"),
    "torch.compile of a part": parts_compiled,
    "torch.compile in place": compiled_in_place,
    "DataParallel": nn.DataParallel,
    "both": lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
}


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapped_model_is_what_is_inside(wrap):
    model = WRAPPERS[wrap](Net().eval())
    with torch.no_grad():
        model(IMAGES), model(IMAGES)  # as for measuring its accuracy first
    for found, right in zip(everything(model), everything(Net().eval()), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-6)


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


class Counts(Net):
    """Answers otherwise each time."""

    count = 0

    def forward(self, x):
        self.count += 1
        return super().forward(x) * self.count


class Averages(Net):
    """Keeps an average of what it has seen."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x):
        self.seen += x.mean((0, 2, 3))
        return super().forward(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Counts(), "Counts is random although in eval mode"),
        (Averages(), "seen changes in every pass although in eval mode"),
        (Net(lambda layer, x: layer(functional.instance_norm(x) + x.amax(0))), "examples influence each other"),
        (Net(lambda layer, x: layer(x - x.mean(0))), "examples influence each other"),
    ],
)  # fmt: skip
def test_logits_that_depend_on_more_than_the_example_are_refused(model, message):
    before = {name: value.clone() for name, value in model.eval().state_dict().items()}
    for call in (
        lambda: importance.score(model, [(IMAGES, None)], "sq:rand"),
        lambda: pruning.curve(model, torch.arange(8), IMAGES, LABELS, 2),
        lambda: oracle.score(model, [(IMAGES, None)]),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_leaves_torch_is_refused_where_it_would_be_followed():
    model = Net(lambda layer, x: torch.from_numpy(layer(x).detach().numpy())).eval()
    with pytest.raises(ValueError, match="Net cuts gradients off on the way to its logits"):
        importance.score(model, [(IMAGES, None)], "sq:rand")
    with pytest.raises(ValueError, match="the network turns values into something else than tensors"):
        pruning.curve(model, torch.arange(8), IMAGES, LABELS, 2)
    oracle.score(model, [(IMAGES, None)])


class Keeps(Net):
    kept = None

    def forward(self, x):
        self.kept = self.first(x)
        return super().forward(x)


def test_what_a_forward_pass_keeps_is_no_stand_in_afterwards():
    model = Keeps().eval()
    oracle.score(model, [(IMAGES, None)])
    assert type(model.kept) is torch.Tensor


def test_a_forward_that_has_been_replaced_is_not_copied():
    model = Net().eval()
    original = model.forward
    model.forward = lambda x: original(x)
    importance.score(model, [(IMAGES, None)], "sq:rand")
    with pytest.raises(ValueError, match="the forward of Net has been replaced"):
        pruning.curve(model, torch.arange(8), IMAGES, LABELS, 2)


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


ORDER, SCORES = torch.arange(8), torch.arange(8.0)
PUBLIC = {
    "units": importance.units,
    "score": lambda model: importance.score(model, [(IMAGES, LABELS)] * 2, ["sq:rand", "molchanov-group"]),
    "score by activations": lambda model: importance.score(model, [(IMAGES, None)] * 2, ["apoz", "synflow"]),
    "contributions": lambda model: importance.contributions(model, IMAGES, torch.ones(6, 4)),
    "curve": lambda model: pruning.curve(model, ORDER, IMAGES, LABELS, 3),
    "oracle": lambda model: oracle.score(model, [(IMAGES, LABELS)]),
    "interactions": lambda model: oracle.interactions(model, ORDER, [2], [(IMAGES, LABELS)]),
    "slim": lambda model: structure.slim(model, SCORES, IMAGES[:1], budget=0.3),
    "remaining": lambda model: footprint.remaining(model, ORDER, [2], IMAGES[:1]),
    "multiply_adds": lambda model: cost.multiply_adds(model, IMAGES),
    "table": lambda model: cost.table({"net": model}, IMAGES[:1], batches=(2,), repeats=1),
}


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


class Unfriendly(torch.autograd.Function):
    """Without a derivative."""

    @staticmethod
    def forward(ctx, x):
        return x * 2


@pytest.mark.parametrize("names", ["sq:rand", "molchanov-group:rand"])
def test_what_cannot_be_differentiated_is_refused_in_one_line(names):
    model = Net(lambda layer, x: layer(Unfriendly.apply(x))).eval()
    with pytest.raises(ValueError, match=r"^Net cannot be differentiated, as scores need it \(") as caught:
        importance.score(model, [(IMAGES, None)], names)
    assert "\n" not in str(caught.value)


def test_what_a_model_raises_of_its_own_is_left_as_it_is():
    class Own(Exception):
        pass

    def fail(layer, x):
        raise Own

    with pytest.raises(Own):
        importance.score(Net(fail).eval(), [(IMAGES, None)], "sq:rand")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (lambda z: (z, z), "the model gives a tuple, not one tensor of logits"),
        (lambda z: {"logits": z}, "the model gives a dict, not one tensor of logits"),
        (lambda z: z[:, :, None], r"the model gives an output of shape \(2, 4, 1\) for 2 images, not logits"),
        (lambda z: z.argmax(1), r"the model gives an output of shape \(2,\) for 2 images, not logits"),
        (lambda z: z.round().long(), r"the model gives int64 numbers, not logits"),
    ],
)
def test_outputs_that_are_no_logits_are_refused_alike(out, message):
    model = Net(out=out).eval()
    calls = [
        lambda: importance.units(model, IMAGES[:1]), lambda: importance.score(model, [(IMAGES, None)], ["sq:rand"]),
        lambda: importance.score(model, [(IMAGES, None)], ["synflow", "l2"]),
        lambda: oracle.score(model, [(IMAGES, None)]),
        lambda: pruning.curve(model, torch.arange(8), IMAGES, LABELS, 2),
        lambda: pruning.slim(model, torch.rand(8), IMAGES[:1]),
        lambda: pruning.masked(model, torch.arange(8), 2, example=IMAGES[:1]).__enter__(),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_model_that_squeezes_is_told_of_a_last_batch_of_one():
    model = Net(lambda layer, x: layer(x).mean((2, 3)).squeeze()[..., None, None]).eval()
    model.forward = lambda x: model.classifier(model.second(model.first(x).relu()).mean((2, 3)).squeeze())[..., :4]
    importance.score(model, [(IMAGES, None)], ["sq:rand", "apoz"])
    batches = [(IMAGES[:5], None), (IMAGES[5:], None)]
    for call in (lambda: importance.score(model, batches, ["sq:rand"]), lambda: oracle.score(model, batches)):
        with pytest.raises(ValueError, match=r"output of shape \(4,\) for 1 image, .*drops the axis of a batch of one"):
            call()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES.mul(255).to(torch.uint8), r"images are uint8, not normalised as for training: datasets.normalise\("),
        (IMAGES.numpy(), r"all tensors, not a ndarray: torch.from_numpy\(...\) makes one of it"),
    ],
)
def test_images_that_are_not_normalised_tensors_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        importance.score(Net().eval(), [(images, None)], ["sq:rand"])
    with pytest.raises(ValueError, match=r"images (are|must be)"):
        pruning.curve(Net().eval(), torch.arange(8), images, LABELS, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
def test_images_are_given_the_type_of_the_model(dtype):
    found, right = Net().eval().to(dtype), Net().eval()
    scores = [importance.score(model, [(IMAGES, LABELS)], ["sq"])["sq"] for model in (found, right)]
    torch.testing.assert_close(scores[0], scores[1], rtol=0.2, atol=0.05 * float(scores[1].max()))
    oracle.score(found, [(IMAGES, LABELS)])
    assert len(pruning.curve(found, pruning.order(scores[0]), IMAGES, LABELS, 3)) == 3
    small = pruning.slim(found, scores[0], IMAGES[:1], budget=0.3)
    assert next(small.parameters()).dtype == dtype


@pytest.mark.parametrize("name", ["sq", "sq:rand:norm"])
def test_one_name_is_a_list_of_one(name):
    model = Net().eval()
    one, listed = importance.score(model, [(IMAGES, LABELS)], name), importance.score(model, [(IMAGES, LABELS)], [name])
    assert one.keys() == {name} and torch.equal(one[name], listed[name])


def test_labels_in_a_column_are_refused_by_all():
    column = LABELS[:, None]
    for call in (
        lambda: importance.score(Net().eval(), [(IMAGES, column)], ["sq"]),
        lambda: oracle.score(Net().eval(), [(IMAGES, column)]),
        lambda: pruning.curve(Net().eval(), torch.arange(8), IMAGES, column, 2),
    ):
        with pytest.raises(ValueError, match=r"labels must be a tensor \(6,\), one per image, not of shape \(6, 1\)"):
            call()


def test_activations_that_a_model_keeps_are_no_hindrance():
    model = Net().eval()
    keep = lambda module, taken, made: vars(module).update(kept=made)  # noqa: E731
    handle = model.second.register_forward_hook(keep)
    model(IMAGES)
    handle.remove()
    assert not model.second.kept.is_leaf
    for found, right in zip(everything(model), everything(Net().eval()), strict=True):
        assert torch.equal(found, right)


COMPUTED = {
    "weight_norm": lambda layer: parametrizations.weight_norm(layer),
    "spectral_norm": lambda layer: parametrizations.spectral_norm(layer),
    "prune": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
}


@pytest.mark.parametrize("how", COMPUTED)
def test_the_gradient_of_computed_weights_is_that_of_the_weights_they_are(how):
    model, plain = Net().eval(), Net().eval()
    COMPUTED[how](model.first)
    model.eval()(IMAGES)
    plain.first.weight.data = model.first.weight.detach().clone()
    names = ["sq", "molchanov-group"]
    found, right = (importance.score(net, [(IMAGES, LABELS)], names) for net in (model, plain))
    for name in names:
        torch.testing.assert_close(found[name], right[name], rtol=1e-5, atol=1e-9)
    assert "weight" not in model.first._parameters and model(IMAGES).requires_grad
    with pytest.raises(ValueError, match=r"^first computes its weights from others, as weight_norm and prune do"):
        pruning.slim(model, torch.rand(8), IMAGES[:1])


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nn.Sequential(nn.Conv1d(2, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3)), (2, 9)),
        (nn.Sequential(nn.Conv3d(2, 8, 2), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 3)), (2, 4, 4, 4)),
        (nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3)), (20,)),
    ],
)  # fmt: skip
def test_curves_of_networks_that_take_no_pictures(net, shape):
    images = torch.randn(7, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = net.eval()(images).argmax(1)
    table = pruning.curve(net, torch.arange(8), images, labels, 3)
    for k, accuracy in zip(table["pruned"], table["accuracy"], strict=True):
        with torch.no_grad(), pruning.masked(net, torch.arange(8), k, example=images[:1]):
            assert accuracy == (net(images).argmax(1) == labels).double().mean().item()


def test_copies_share_what_they_are_to_share():
    model = Net().eval()
    shared, own = models.copied(model, sharing=True), models.copied(model)
    assert shared.first.weight is model.first.weight and own.first.weight is not model.first.weight
    assert torch.equal(own.first.weight, model.first.weight)
