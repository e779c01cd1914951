"""lib.copies: copies of models that keep values, compute weights or run something else."""

from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock

import pytest
import torch
from odd_models import IMAGES, LABELS, Net, everything
from torch.nn.utils import parametrizations, prune
from torch.utils.data import DataLoader

from lib import importance, oracle, pruning
from lib.network import copies


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


def test_copies_share_what_they_are_to_share():
    model = Net().eval()
    shared, own = copies.copied(model, sharing=True), copies.copied(model)
    assert shared.first.weight is model.first.weight and own.first.weight is not model.first.weight
    assert torch.equal(own.first.weight, model.first.weight)


@pytest.mark.parametrize("kept", [Lock, lambda: iter(DataLoader([1, 2])), lambda: (k for k in "ab")])
def test_what_cannot_be_copied_is_the_same_in_both(kept):
    model = Net().eval()
    model.first.kept, model.own = kept(), {"one": 1}
    copy = copies.copied(model)
    assert copy.first.kept is model.first.kept and copy.own is not model.own
    assert copy.first.weight is not model.first.weight and torch.equal(copy.first.weight, model.first.weight)
    for found, right in zip(everything(model), everything(Net().eval()), strict=True):
        assert torch.equal(found, right)


class Cache:
    """As a trainer may keep one, of which it is a part itself; it cannot be copied for its lock."""

    def __init__(self):
        self.lock, self.inner, self.whole = Lock(), {"seen": torch.ones(1)}, self


def test_of_containers_with_what_cannot_be_copied_that_alone_is_the_same_in_both():
    model = Net().eval()
    lock = Lock()
    model.first.kept, model.state = [lock, torch.ones(1)], {"lock": (lock, [])}
    copy = copies.copied(model)
    assert copy.first.kept[0] is lock is copy.state["lock"][0]
    assert copy.first.kept is not model.first.kept and copy.first.kept[1] is not model.first.kept[1]
    assert copy.state["lock"][1] is not model.state["lock"][1]


@pytest.mark.parametrize("kept", [lambda file: file, lambda file: [file]])
def test_what_closes_a_file_when_it_is_gone_is_not_taken_apart(kept):
    model = Net().eval()
    with NamedTemporaryFile("w") as file:
        model.log = kept(file)
        everything(model)
        assert not file.closed and Path(file.name).exists()


class Store:
    """Cannot be copied, and holds tensors further down."""

    def __init__(self):
        self.inner = {"seen": [torch.ones(1)]}

    def __deepcopy__(self, known):
        raise TypeError("no copies")


@pytest.mark.parametrize("kept", [Store, Cache])
def test_what_cannot_be_copied_and_holds_tensors_is_named(kept):
    model = Net().eval()
    model.first.kept = [kept()]
    with pytest.raises(ValueError, match=r"^first.kept cannot be copied \(.*\), and holds tensors: take it out"):
        copies.copied(model)
