"""lib.prune.recovery: answers come back, with labels and without; weights alone change."""

from dataclasses import replace

import pytest
import torch

from lib.images import networks
from lib.network.copies import copied
from lib.prune import keeping, recovery


@pytest.fixture
def whole():
    return networks.build("resnet8", 10, seed=1).eval()


@pytest.fixture
def images():
    return torch.randn(33, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_without_labels_answers_come_closer_to_those_of_the_whole_network(whole, images):
    model = copied(whole)
    model.classifier.weight.data.mul_(-1)
    losses = []
    recovery.train(
        model, recovery.answers_of(whole, images), epochs=15, report=lambda epoch, loss, _: losses.append((epoch, loss))
    )
    assert [epoch for epoch, _ in losses] == list(range(1, 16))
    assert losses[-1][1] < 0.5 * losses[0][1] and not model.training


def test_labels_are_learnt(whole, images):
    labels, losses = torch.arange(33) % 2, []
    recovery.train(whole, recovery.labels_of(images, labels), epochs=15, report=lambda _, loss, __: losses.append(loss))
    assert losses[-1] < 0.5 * losses[0] and not whole.training


def test_as_many_epochs_as_there_is_time_for_and_the_same_again(whole, images, tmp_path, monkeypatch):
    before, state, clock = copied(whole).state_dict(), tmp_path / "epochs.part", [0]
    monkeypatch.setattr(recovery.time, "monotonic", lambda: clock[0])

    def taking(seconds):  # a step
        def slowly(loss):
            def slow(*given):
                clock[0] += seconds
                return loss(*given)

            return slow

        both = [recovery.answers_of(copied(whole), images), recovery.labels_of(images, torch.arange(33) % 2)]
        return [replace(lesson, loss=slowly(lesson.loss)) for lesson in both]

    # two steps an epoch; of each lesson a step to warm up, then 6 for 1 % of an hour
    assert recovery.epochs_within(60, whole, taking(7), state=state) == (round((3600 - 2 * 7 * 7) / 28), 28)
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items()) and not whole.training
    assert recovery.epochs_within(60, whole, taking(70), state=state) == (125, 28)  # which was begun
    assert recovery.epochs_within(60, whole, taking(70)) == (round((3600 - 2 * 4 * 70) / 280), 280)
    assert recovery.epochs_within(61, whole, taking(70), state=state) == (round((3660 - 2 * 4 * 70) / 280), 280)
    state.write_text("[")
    assert recovery.epochs_within(1, whole, taking(70), state=state) == (1, 280)


def test_a_state_of_another_training_is_told_to_be_given_up(whole, images, tmp_path):
    state, lesson = tmp_path / "distilled.part", recovery.answers_of(whole, images)
    recovery.train(copied(whole), lesson, epochs=1, state=state)
    with pytest.warns(UserWarning, match=r"distilled\.part is of other networks, images or settings: training starts"):
        recovery.train(copied(whole), lesson, epochs=2, state=state)
    recovery.train(copied(whole), lesson, epochs=2, state=state)  # which that one has left: no warning


def test_the_random_state_stays_as_it_was(whole, images):
    before = torch.random.get_rng_state()
    recovery.train(whole, recovery.answers_of(copied(whole), images), epochs=1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_too_few_images_and_labels_are_refused(whole, images):
    with pytest.raises(ValueError, match=r"^training on 1 image: give two or more$"):
        recovery.answers_of(whole, images[:1])
    with pytest.raises(ValueError, match=r"^labels of shape \(2,\) for 33 images: it takes one each, of shape \(M,\)$"):
        recovery.labels_of(images, torch.zeros(2))
    with pytest.raises(ValueError, match=r"^epochs=0 must be a whole number of at least 1$"):
        recovery.train(whole, recovery.answers_of(whole, images), epochs=0)


def test_images_are_shifted_over_their_mirrored_edges_and_mirrored(images):
    found = recovery._moved(images, True, torch.Generator().manual_seed(0))
    assert found.shape == images.shape
    padded = torch.nn.functional.pad(images, [1] * 4, mode="reflect")
    seen = set()
    for before, after in zip(padded, found, strict=True):
        ways = {(down, right, flip): (view.flip(2) if flip else view)
                for down in range(3) for right in range(3) for flip in (False, True)
                for view in [before[:, down : down + 8, right : right + 8]]}  # fmt: skip
        seen |= {way for way, view in ways.items() if torch.equal(view, after)}
    assert len(seen) > 9 and {flip for *_, flip in seen} == {False, True}
    unflipped = recovery._moved(images, False, torch.Generator().manual_seed(0))
    pairs = list(zip(found, unflipped, unflipped.flip(3), strict=True))
    assert all(torch.equal(one, plain) or torch.equal(one, mirrored) for one, plain, mirrored in pairs)


def test_what_is_no_image_stays_as_it_is():
    vectors = torch.randn(3, 4)
    assert recovery._moved(vectors, True, torch.Generator()) is vectors


def test_training_that_fails_is_told_and_leaves_no_state_to_go_on_from(tmp_path):
    model = networks.build("resnet8", 10, seed=1).eval()
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images[3] = float("inf")
    with pytest.raises(ValueError, match=r"^training has failed in epoch 1: its loss is nan, since weights have grown"):
        recovery.train(model, recovery.labels_of(images, torch.arange(8)), epochs=2, state=tmp_path / "state")
    assert not (tmp_path / "state").exists() and not model.training


def test_what_was_found_by_trying_is_kept_for_the_same_and_for_nothing_else(tmp_path):
    path = tmp_path / "new/found.part"
    assert keeping.kept(None, "") is None and keeping.kept(path, "one") is None
    keeping.keep(None, "", {"a": 1})
    keeping.keep(path, "one", {"a": 1.5})
    assert keeping.kept(path, "one") == {"a": 1.5} and keeping.kept(path, "other") is None
    for damaged in ("", "[1, 2]", '{"identity": "one"}', "{"):
        path.write_text(damaged)
        assert keeping.kept(path, "one") is None


def test_where_there_is_no_room_what_was_found_before_stays_and_nothing_beside_it(tmp_path, monkeypatch):
    def full(path, text):
        path.write_bytes(text.encode()[:9])
        raise OSError("No space left on device")

    keeping.keep(tmp_path / "found.part", "one", {"a": 1})
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr("pathlib.Path.write_text", full)
        keeping.keep(tmp_path / "found.part", "two", {"a": 2})
    assert keeping.kept(tmp_path / "found.part", "one") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["found.part"]
