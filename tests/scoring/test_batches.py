"""lib.batches: neither order nor size of batches matters, and minibatches are whole."""

import pytest
import reference
import torch
from reference import Reference
from scored import close, split, toy, whole
from unchanged import EVERYTHING

from lib.importance import score
from lib.scoring import batches
from lib.scoring.criteria import Criterion

pytestmark = pytest.mark.usefixtures("small_minibatches")


def recorded(given, model):
    """The random vectors that a call draws, in the order of its examples."""
    seen = []

    def spy(logits, labels, noise):
        seen.append(noise.normal(3))
        return seen[-1]

    score(model, given, [Criterion("sq", spy)])
    return torch.cat(seen)


def test_the_vector_of_an_example_depends_on_its_index_alone():
    model, images, labels = toy()
    vectors = recorded(whole(images), model)
    chosen = torch.randperm(35, generator=torch.Generator().manual_seed(0))[:20]
    assert torch.equal(recorded(split(images, labels, 4), model), vectors)
    assert torch.equal(recorded([(images[chosen], None, chosen)], model), vectors[chosen])
    assert not torch.equal(recorded([(images, None, torch.arange(1, 36))], model), vectors)


def test_minibatches_are_of_32_examples_however_many_come_at_once():
    model, images, labels = toy(count=75)
    slow = Reference(model, images, labels)
    wanted = {"sq:batch": ("sq", "batch"), "molchanov-bn": ("molchanov-bn", "")}
    wanted["molchanov-group:batch"] = ("molchanov-group", "batch")
    for name, scores in score(model, whole(images, labels), wanted).items():
        reduction, normalisation = wanted[name]
        close(scores, slow.score(reduction, normalisation=normalisation))


@pytest.mark.parametrize("size", [1, 7, 32, 33])
def test_batches_and_order_change_nothing_beyond_rounding(size):
    model, images, labels = toy()
    shuffled = torch.randperm(35, generator=torch.Generator().manual_seed(size))
    permuted = [(images[i], labels[i], i) for i in shuffled.split(size)]
    expected = score(model, whole(images, labels), EVERYTHING)
    free = [name for name in EVERYTHING if "molchanov-" not in name and "batch" not in name]
    for given, names in ((split(images, labels, size), EVERYTHING), (permuted, EVERYTHING), (iter(permuted), free)):
        for name, scores in score(model, given, names).items():
            close(scores, expected[name], 1e-12)


def test_minibatches_of_a_stream_need_its_order():
    model, images, _ = toy()
    for given in (
        [(images, None, torch.arange(35).flip(0))],
        [(images[:3], None, torch.arange(3) + 9), (images[:2], None)],
    ):
        with pytest.raises(ValueError, match="need examples in ascending order of index: do not shuffle them"):
            score(model, iter(given), ["molchanov-bn:rand"])


def test_minibatches_are_of_as_many_examples_as_the_papers(monkeypatch):
    monkeypatch.undo()
    assert batches.MINIBATCH == reference.MINIBATCH == 128


def numbered(*sizes):
    """Batches of images that are their own numbers, as their labels and indices are."""
    parts = torch.arange(sum(sizes)).split(sizes)
    return [(part.float()[:, None], part, part) for part in parts]


def test_examples_are_regrouped_into_whole_minibatches():
    found = list(batches.in_minibatches(iter(numbered(20, 50, 0, 3))))
    assert [len(indices) for *_, indices in found] == [64, 9]
    for images, labels, indices in found:
        assert images.flatten().tolist() == labels.tolist() == indices.tolist()
    assert torch.cat([indices for *_, indices in found]).tolist() == list(range(73))


def test_a_list_is_sorted_and_labels_that_are_missing_somewhere_are_left_out():
    first, second = numbered(3, 2)
    ((images, labels, indices),) = batches.in_minibatches([(second[0], None, second[2]), first])
    assert images.flatten().tolist() == indices.tolist() == [0, 1, 2, 3, 4] and labels is None


def test_indices_are_counted_from_zero_over_all_batches():
    images = torch.zeros(5, 1)
    found = batches.indexed([(images, None), (images[:0], None), (images[:2], None)])
    assert [indices.tolist() for *_, indices in found] == [[0, 1, 2, 3, 4], [5, 6]]


@pytest.mark.parametrize("kind", [list, iter])
def test_a_peek_takes_nothing_away(kind):
    first, whole = batches.peeked(kind(numbered(0, 2, 3)))
    assert first[0].tolist() == numbered(2)[0][0].tolist()
    assert [len(images) for images, *_ in whole] == [0, 2, 3]
