"""lib.prune: a network becomes smaller and still answers, without labels; the same twice; refusals in one line."""

import pytest
import torch

from lib import structure
from lib.cost import parameters
from lib.images import networks
from lib.network import models
from lib.network.copies import copied
from lib.network.units import units
from lib.prune import doubting, making, prune, searching, testing
from lib.repair import Reference, reestimate


@pytest.fixture(scope="module")
def model():
    made = networks.build("resnet8", 10, seed=1).eval()
    reestimate(made, drawn())
    return made


@pytest.fixture(scope="module")
def images():
    return drawn()


def drawn():
    return torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_it_shrinks_to_the_budget_in_steps_and_says_what_was_done(model, images):
    before, said = {name: value.clone() for name, value in model.state_dict().items()}, []
    found = prune(model, images, steps=2, distil=True, epochs=2, report=said.append)
    macs = found.costs["multiply_adds"]
    assert list(found.costs["variant"]) == ["before", "after"] and 0.4 * macs[0] < macs[1] <= 0.5 * macs[0]
    done = ["whole", "shrunk 1 of 2", "repaired 1 of 2", "shrunk 2 of 2", "repaired 2 of 2", "distilled"]
    assert list(found.quality["done"]) == done
    assert found.measure == "agreement" and found.quality["agreement"][0] == 1
    assert said[0] == "whole: agreement 100.0% on 6 images" and said[5].startswith("distilling: epoch 1 of 2, loss ")
    for name, size, left in found.layers[["layer", "before", "after"]].itertuples(index=False):
        assert model.get_submodule(name).weight.shape[0] == size
        assert found.model.get_submodule(name).weight.shape[0] == left
    assert not any(module.training for module in found.model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("criterion", "of", "given", "expected"),
    [("sq:rand:norm", "macs", None, True), ("sq:rand:norm", "parameters", None, False), ("l2", "macs", None, False),
     ("sq:rand:norm:layer", "macs", None, False), ("sq:rand:norm", "macs", False, False), ("l2", "macs", True, True)],
)  # fmt: skip
def test_scores_of_gradients_are_set_against_multiply_adds(model, images, criterion, of, given, expected):
    found = prune(model, images, budget=0.3, criterion=criterion, of=of, per_cost=given, repair=False)
    plans = {way: structure.plan(model, found.scores, images[:1], budget=0.3, of=of, per_cost=way) for way in (0, 1)}
    assert found.plans[0].removed.equal(plans[expected].removed)
    assert not plans[0].removed.equal(plans[1].removed)


def test_the_same_seed_gives_the_same_network(model, images):
    labels = torch.arange(60) % 10
    given = {"fine_tune": (images, labels), "epochs": 1, "test": [(images[:20], labels[:20])], "distil": True}
    one, other, third = (prune(model, images, seed=seed, **given).model.state_dict() for seed in (3, 3, 4))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert any(one[name].shape != third[name].shape or not torch.equal(one[name], third[name]) for name in one)


def test_each_step_says_how_many_answers_it_changed(model, images):
    labels = models.predict(model, images)
    found = prune(model, images, budget=0.3, test=[(images, labels)], repair=False)
    changed = found.quality["changed"]
    assert changed.isna().tolist() == [True, False]
    assert changed[1] == (models.predict(found.model, images) != labels).sum().item() / 60 > 0
    assert found.quality["accuracy"][1] == pytest.approx(1 - changed[1])


def test_a_number_of_epochs_that_minutes_gave_gives_the_same_network(model, images, tmp_path, monkeypatch):
    monkeypatch.setattr(making.recovery, "_seconds", lambda *_: 20)
    said = []
    found = prune(model, images, distil=True, minutes=1, kept=tmp_path, report=said.append)
    assert found.epochs == 3 and any(
        line == "training for 3 epochs, which should take 60 s; --epochs 3 in place of --minutes makes the same network"
        " again" for line in said
    )  # fmt: skip
    again = prune(model, images, distil=True, epochs=3)
    assert again.epochs == 3 and prune(model, images).epochs == 0
    for name, value in found.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])


def test_repair_compares_with_the_network_that_shrank(model, images):
    labels = models.predict(model, images)
    given = {"budget": 0.4, "test": [(images, labels)]}
    repaired, bare = (prune(model, images, repair=repair, **given) for repair in (True, False))
    Reference(model, images, batch=4 * making.BATCH).repair(bare.model, bare.plans[0].kept)
    for name, value in bare.model.state_dict().items():
        assert torch.equal(value, repaired.model.state_dict()[name])


def test_after_training_statistics_are_those_of_the_weights_that_are_left(model, images):
    labels = torch.arange(60) % 10
    given = {"distil": True, "epochs": 1, "test": [(images, labels)]}
    found = prune(model, images, **given).model
    again = copied(found)
    reestimate(again, images, batch=4 * making.BATCH)
    for name, value in found.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_after_fine_tuning_they_are_those_of_the_images_that_were_learnt_from(model, images):
    labels = torch.arange(60) % 10
    others = 100 + 5 * images[:10]  # what is there without labels may look otherwise
    given = {"fine_tune": (images, labels), "epochs": 1, "test": [(images, labels)]}
    found = prune(model, others, **given).model
    again = copied(found)
    reestimate(again, images, batch=4 * making.BATCH)
    for name, value in found.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_with_labels_for_tests_it_is_called_accuracy(model, images):
    labels = models.predict(model, images)
    labels[:15] = (labels[:15] + 1) % 10  # wrong for a quarter of them
    parts = list(zip(images.split(7), labels.split(7), strict=True))
    found = prune(model, images, test=parts, repair=False)
    assert list(found.quality) == ["done", "accuracy", "changed"] and list(found.quality["done"]) == ["whole", "shrunk"]
    assert found.quality["accuracy"][0] == 0.75


def test_as_much_goes_as_leaves_the_accuracy_asked_for(model, images):
    said, labels = [], models.predict(model, images)
    given = {"repair": False, "multiple_of": 2, "test": [(images, labels)]}
    found = prune(model, images, target_accuracy=0.6, report=said.append, **given)
    assert (models.predict(found.model, images) == labels)[1::2].double().mean() >= 0.6  # of those that search
    reached = found.plans[-1].reached
    share = f"{found.plans[0].budget:g}"
    assert (f"budget found: {reached:.1%} of all macs; --budget {share} --of macs in place of --target-accuracy makes"
            " the same network again") in said  # fmt: skip
    again = prune(model, images, budget=float(share), **given)
    assert torch.equal(again.plans[0].removed, found.plans[0].removed)
    further = prune(model, images, target_accuracy=0.2, **given)
    assert further.plans[-1].reached >= reached
    assert doubting.few(further.tested) in further.doubts and doubting.few(doubting.FEW) == ""
    assert found.plans[-1].budget in [number / 128 for number in range(1, 128)]


def test_scores_that_are_there_are_taken(model, images):
    scores = torch.arange(sum(unit.size for unit in units(model, images[:1])), dtype=torch.float64)
    found = prune(model, images, scores=scores, of="units", budget=0.2)
    assert torch.equal(found.scores, scores)
    expected = structure.plan(model, scores, images[:1], of="units", budget=0.2)
    assert torch.equal(found.plans[0].removed, expected.removed)
    first = found.layers.iloc[0]
    assert (first["lowest"], first["median"], first["highest"]) == (0, (first["before"] - 1) // 2, first["before"] - 1)


def test_of_the_latency_goes_at_least_what_is_asked_for_or_it_says_why_not(model, images, monkeypatch):
    monkeypatch.setattr(searching, "latency_left", lambda small, *_: parameters(small) / parameters(model))
    found = prune(model, images, of="latency", budget=0.3, repair=False)
    share = parameters(found.model) / parameters(model)
    assert share <= 0.7
    less = structure.plan(model, found.scores, images[:1], budget=found.plans[0].budget - 1 / 128, per_cost=True)
    assert parameters(less.apply(model)) / parameters(model) > 0.7
    monkeypatch.setattr(searching, "latency_left", lambda *_: 1.0)
    with pytest.raises(ValueError, match=r"^a budget of 0\.3 of the latency cannot be reached: multiply-adds hardly"):
        prune(model, images, of="latency", budget=0.3)


@pytest.mark.parametrize("aim", [{"of": "latency", "budget": 0.3}, {"target_accuracy": 0.9}])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keep": ["nonexistent"]}, "keep names 'nonexistent', which is no layer with units"),
        ({"scores": torch.rand(7)}, "scores must be a vector, one for each of the 336 units, not of shape"),
        ({"at_most": 2}, "at_most=2 must be a fraction to remove, above 0 and at most 1"),
        ({"multiple_of": 64}, "a budget of 0.0078125 of all macs cannot be reached: nothing can go by keep, at_most"),
    ],
)
def test_a_search_for_a_budget_tells_what_is_wrong_with_other_settings(model, images, aim, given, message):
    with pytest.raises(ValueError) as caught:
        prune(model, images, **aim, **given)
    assert str(caught.value).startswith(message)


def test_a_latency_that_limits_keep_out_of_reach_says_so(model, images, monkeypatch):
    monkeypatch.setattr(searching, "latency_left", lambda *_: 1.0)
    with pytest.raises(ValueError, match=r"latency cannot be reached: .*, or keep, at_most and multiple_of let too li"):
        prune(model, images, of="latency", budget=0.3, at_most=0.5)


def test_an_accuracy_that_nothing_leaves_is_told(model, images, monkeypatch):
    monkeypatch.setattr(testing.Quality, "left", lambda *_: 0.5)
    with pytest.raises(ValueError, match=r"^target_accuracy=0\.9 cannot be met: 0\.500 of the agreement is left when"):
        prune(model, images, target_accuracy=0.9)


@pytest.mark.parametrize("after", ["distilling: epoch 1", "fine-tuning: epoch 1"])
def test_what_was_stopped_goes_on_with_the_same_result(model, images, tmp_path, after):
    labels = torch.arange(60) % 10
    given = {"distil": True, "fine_tune": (images, labels), "epochs": 2, "test": [(images[:9], labels[:9])]}
    said, again = [], []

    def stop(line):
        said.append(line)
        if line.startswith(after):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(model, images, kept=tmp_path, report=stop, **given)
    found = prune(model, images, kept=tmp_path, report=again.append, **given).model.state_dict()
    done = {line.split(", loss")[0] for line in said if ": epoch " in line}
    assert done and not done & {line.split(", loss")[0] for line in again}
    undisturbed = prune(model, images, **given).model.state_dict()
    assert found.keys() == undisturbed.keys() and all(torch.equal(found[name], undisturbed[name]) for name in found)


def test_training_of_other_images_is_not_gone_on_from(model, images, tmp_path):
    prune(model, images, distil=True, epochs=2, kept=tmp_path)
    said = []
    with pytest.warns(
        UserWarning, match="distilled.part is of other networks, images or settings: training starts anew"
    ):
        prune(model, images + 0.1, distil=True, epochs=2, kept=tmp_path, report=said.append)
    assert any(line.startswith("distilling: epoch 1 of 2, loss ") for line in said)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"criterion": "abs"}, "criterion abs needs labels, which images here have not: take sq:rand:norm, say"),
        ({"steps": 0}, "steps=0 must be a whole number of at least 1"),
        (
            {"steps": 2, "at_most": 0.5},
            "at_most is of the whole network, but 2 steps each begin with another: take steps=1",
        ),
        ({"epochs": 3}, "epochs is of training: ask for distil, or fine_tune with labelled images"),
        ({"distil": True}, "how long to train is to be said once: give either epochs or minutes"),
        ({"distil": True, "epochs": 3, "minutes": 1}, "how long to train is to be said once"),
        ({"distil": True, "epochs": 0}, "epochs=0 must be a whole number of at least 1"),
        ({"distil": True, "minutes": 0}, "minutes=0 must be a time to train for, above 0"),
        ({"budget": 2}, "budget=2 must be a fraction to remove, above 0 and below 1"),
        ({"of": "flops"}, "a budget of 'flops' is not known: use one of units, parameters, macs, latency"),
        ({"target_accuracy": 1.2}, "target_accuracy=1.2 must be a share of the whole network's, above 0 and at most 1"),
        ({"target_accuracy": 0.9, "budget": 0.5}, "target_accuracy is met by as large a budget of units, parameters"),
        ({"steps": 2, "of": "latency"}, "of='latency' is of the whole network, but 2 steps each begin with another"),
        ({"batch": 0}, "batch=0 must be a whole number of at least 1"),
        ({"scores": torch.ones(3)}, "scores must be a vector, one for each of the 336 units"),
        ({"test": []}, "there are no images to test on: give some, with labels"),
        ({"fine_tune": (torch.ones(2, 3, 8, 8), torch.ones(2).long()), "epochs": 1}, "fine_tune without test: images"),
        ({"keep": ["no"]}, "keep names 'no', which is no layer with units"),
        (
            {"target_accuracy": "0.9"},
            "target_accuracy='0.9' must be a share of the whole network's, above 0 and at mos",
        ),
        ({"target_accuracy": 1j}, "target_accuracy=1j must be a share of the whole network's, above 0 and at most 1"),
        ({"distil": True, "minutes": "5"}, "minutes='5' must be a time to train for, above 0"),
        ({"distil": True, "minutes": float("nan")}, "minutes=nan must be a time to train for, above 0"),
        ({"distil": True, "epochs": "5"}, "epochs='5' must be a whole number of at least 1"),
        ({"distil": "no", "epochs": 1}, "distil='no' must be True or False"),
        ({"distil": True, "epochs": 1, "flip": "no"}, "flip='no' must be True or False"),
        ({"repair": "no"}, "repair='no' must be True or False"),
        ({"per_cost": "no"}, "per_cost='no' must be True or False"),
        ({"at_most": "0.5"}, "at_most='0.5' must be a fraction to remove, above 0 and at most 1"),
        ({"multiple_of": "2"}, "multiple_of='2' must be a whole number of at least 1"),
        ({"seed": "1"}, "seed='1' must be a whole number from 0 to 2**64 - 1"),
        ({"scores": torch.ones(336), "seed": -1}, "seed=-1 must be a whole number from 0 to 2**64 - 1"),
        ({"kept": 3}, "kept=3 must be a folder"),
        ({"report": 3}, "report=3 must be a function of a line"),
        ({"test": 3}, "test must be batches of images with labels, not a int"),
    ],
)
def test_settings_that_are_none_are_refused(model, images, given, message):
    with pytest.raises(ValueError) as caught:
        prune(model, images, **given)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_settings_that_are_none_are_refused_before_the_network_is_run(images):
    class Untouched(torch.nn.Module):
        def forward(self, images):
            raise AssertionError

    for given in ({"at_most": 2}, {"multiple_of": 0}, {"seed": -1}, {"epochs": 3}, {"budget": 2}, {"steps": 0}):
        with pytest.raises(ValueError, match=next(iter(given))):
            prune(Untouched().eval(), images, **given)


def test_too_few_images_to_hold_some_out_are_refused(model, images):
    with pytest.raises(ValueError, match=r"^9 images: give 10 or more, of which every 10th is held out"):
        prune(model, images[:9])


def test_the_images_that_search_for_a_budget_are_not_those_that_tell(model, images):
    labels = models.predict(model, images)
    labels[1::2] = (labels[1::2] + 1) % 10  # the whole network is wrong on all that search
    found = testing.Quality(model, images, [(images, labels)], 10, batch=7, searches=True)
    assert found._share(model) == 1 and found._share(model, searching=True) == 0
    parts = list(zip(images.split(3), labels.split(3), strict=True))
    assert testing.Quality(model, images, parts, 10, batch=7, searches=True)._share(model) == 1


def test_layers_that_are_named_once_are_kept_in_every_step(model, images):
    found = prune(model, images, keep=(name for name in ["conv1"]), steps=3, repair=False)
    assert found.model.conv1.out_channels == model.conv1.out_channels


def test_an_accuracy_of_nothing_is_told(model, images):
    labels = models.predict(model, images)
    labels[1::2] = (labels[1::2] + 1) % 10  # those that search
    with pytest.raises(
        ValueError, match=r"^the whole network has an accuracy of 0, of which no share can be left: do its"
    ):
        prune(model, images, target_accuracy=0.9, test=[(images, labels)])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(60, 1, dtype=torch.long), r"labels of shape \(60, 1\) for 60 images: it takes one each"),
        (torch.zeros(1, dtype=torch.long), r"labels of shape \(1,\) for 60 images: it takes one each"),
        (torch.zeros(60), r"labels are float32, not whole numbers: give labels\.long\(\)"),
        (torch.arange(60) % 10 + 1, r"labels go from 1 to 10, but they are numbers of classes, from 0 to 9, since the"),
        (torch.arange(60) % 10 - 1, r"labels go from -1 to 8, but they are numbers of classes, from 0"),
        (None, r"labels must be a tensor \(M,\) of whole numbers, not a NoneType"),
    ],
)
def test_labels_that_are_none_are_refused_before_they_give_an_accuracy(model, images, labels, message):
    said, right = [], [(images, torch.arange(60) % 10)]
    with pytest.raises(ValueError, match=f"^{message}"):
        prune(model, images, test=[(images, labels)], report=said.append)
    assert not said
    with pytest.raises(ValueError, match=f"^{message}"):
        prune(model, images, test=right, fine_tune=(images, labels), epochs=1)


def test_test_images_that_are_gone_or_others_in_a_second_pass_are_refused(model, images):
    labels = torch.arange(60) % 10
    batches = list(zip(images.split(20), labels.split(20), strict=True))
    with pytest.raises(ValueError, match=r"^test images come from an iterator, which is empty after the first pass"):
        prune(model, images, test=iter(batches))
    with pytest.raises(ValueError, match=r"^test must be batches of images with labels: for a single one give"):
        prune(model, images, test=(images, labels))
    with pytest.raises(ValueError, match=r"^fine_tune must be a pair of tensors: images"):
        prune(model, images, test=batches, fine_tune=batches, epochs=1)
    with pytest.raises(ValueError, match=r"^test images hold numbers that are not finite"):
        prune(model, images, test=[(images / 0, labels)])

    class Shuffled:
        def __init__(self):
            self.turn = 0

        def __iter__(self):
            self.turn += 1
            return iter([(images.roll(self.turn, 0), labels.roll(self.turn))])

    with pytest.raises(ValueError, match=r"^test images come in another order each time: give batches that do not"):
        prune(model, images, test=Shuffled())


def test_a_network_in_training_mode_or_of_nan_is_refused_as_it_was_and_before_anything_is_told(model, images):
    training, said = copied(model).train(), []
    with pytest.raises(ValueError, match=r"is in training mode: call model\.eval\(\) first"):
        prune(training, images, report=said.append)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in training.state_dict().items())
    broken, count = copied(model), sum(unit.size for unit in units(model, images[:1]))
    broken.classifier.bias.data[3] = float("nan")
    with pytest.raises(ValueError, match=r"^logits are not finite; check the model's weights"):
        prune(broken, images, scores=torch.arange(count), repair=False, report=said.append)
    assert not said


def test_labels_in_another_order_than_the_outputs_are_doubted(model, images):
    answers = torch.arange(100) % 10
    assert not doubting.disorder(answers, answers)
    assert not doubting.disorder(answers, torch.where(answers == 3, 5, answers))  # cats that are called dogs
    assert not doubting.disorder(torch.zeros(100, dtype=torch.long), answers)  # a network that knows nothing
    order = torch.tensor([0, 1, 4, 2, 3, 5, 6, 7, 8, 9])
    doubt = doubting.disorder(answers, order[answers])
    assert "of 3 classes as one other class (label 2 as 3, 3 as 4, 4 as 2)" in doubt
    weak = torch.where(torch.arange(100) % 100 < 40, 0, answers)  # right in 60 of 100
    assert not doubting.disorder(weak, answers) and doubting.disorder(weak, order[answers])
    assert not doubting.disorder(answers[:40], order[answers[:40]])  # four images of each tell too little

    def told(labels):
        said = []
        found = prune(model, images, test=[(many, labels)], budget=0.1, repair=False, report=said.append)
        return found, [line for line in said if line.startswith("warning: ")]

    many = torch.cat([images] * 4)
    right = models.predict(model, many)
    counts = right.bincount(minlength=10)
    one, two = counts.topk(2).indices
    assert counts[two] >= doubting.LEAST  # else this would test nothing
    swapped = torch.where(right == one, two, torch.where(right == two, one, right))
    (found, warned), (other, none) = told(swapped), told(right)
    assert found.tested == 240 and found.doubts == (warned[0].removeprefix("warning: "),)
    assert not none and other.doubts == ()


def test_a_network_that_does_not_know_the_test_images_is_doubted(model, images, monkeypatch):
    labels = torch.arange(100) % 10
    doubt = doubting.guessing(torch.zeros_like(labels), labels)
    assert doubt.startswith(
        "the whole network is right on 10.0% of the test images, as it would be by chance: check the"
    )
    assert (
        doubting.guessing(labels, labels) == "" and doubting.guessing(torch.where(labels < 3, labels, 0), labels) == ""
    )
    mostly = torch.where(torch.arange(200) < 190, 0, 1)
    alarmed = torch.where(torch.arange(200) < 182, 0, 1)  # all ten rare ones are found, with eight false alarms
    assert doubting.guessing(alarmed, mostly) == "" and doubting.guessing(mostly[:1], mostly[:1]) == ""
    assert doubting.guessing(torch.zeros_like(mostly), mostly) != ""
    two = torch.tensor([0, 0, 1, 1])
    assert doubting.guessing(two, two) == "" and doubting.guessing(1 - two, two) != ""
    # of 100 answers in the right proportions 10 are right by chance, 16 within two standard errors
    some = torch.where(torch.arange(100) < 17, labels, (labels + 1) % 10)
    assert doubting.guessing(some, labels) == ""
    assert doubting.guessing(torch.where(torch.arange(100) < 16, labels, (labels + 1) % 10), labels) != ""
    one = torch.zeros_like(labels)  # where there is one class, nothing is known of chance
    assert doubting.guessing(torch.where(labels < 4, 0, labels), one) == "" and doubting.guessing(one + 1, one) != ""

    random = torch.randint(10, (60,), generator=torch.Generator().manual_seed(0))
    found = prune(model, images, budget=0.1, repair=False, test=[(images, random)])
    assert found.doubts == (doubting.guessing(models.predict(model, images), random),) != ("",)


def test_agreement_that_is_easy_is_doubted(model, images):
    labels = torch.arange(100) % 10
    assert doubting.sameness(labels) == "" and doubting.sameness(torch.zeros(9, dtype=torch.long)) == ""
    assert doubting.sameness(torch.where(torch.arange(100) < 89, 3, 5)) == ""
    doubt = doubting.sameness(torch.where(torch.arange(100) < 90, 3, 5))
    assert doubt.startswith("the whole network answers 90 of the 100 images held out alike (label 3), with which it is")
    always = copied(model)
    always.classifier.bias.data[4] = 1e6
    found = prune(always, torch.cat([images] * 2), budget=0.1, repair=False)
    assert found.doubts == (doubting.sameness(torch.full((12,), 4)),)


def test_images_that_are_prepared_otherwise_than_in_the_training_are_doubted(model, images):
    def doubted(model, images, batch=32):
        return doubting.strangeness(model, images, batch=batch)

    assert doubted(model, images) == "" == doubted(model, images * 1.5)  # 0.22 nats
    assert doubted(model, images * 1.65)  # 0.36
    assert doubted(model, images * 2).startswith(
        "what reaches the network's first BatchNorm is 2 times as widely spread as in its training, and lies 0.0"
    )
    assert "is 0.25 times as widely" in doubted(model, images * 0.25, 7)  # not divided by the deviation, say
    assert doubted(model, images + 3) and doubted(model, 255 * images)
    assert doubted(model, 255 * images[:8]) and not doubted(model, 255 * images[:7])
    half = torch.cat([images, images, 255 * images])  # the first 64 would not tell
    assert doubted(model, half)
    assert not doubted(networks.build("resnet8", 10, seed=1).eval(), 255 * images)  # was never trained
    found = prune(model, images * 255, budget=0.1)
    assert found.doubts[0] == doubted(model, images[(torch.arange(60) % 10) != 9] * 255)


def test_the_first_batchnorm_is_found_whatever_it_is(images):
    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = torch.nn.BatchNorm3d(2), torch.nn.BatchNorm3d(2)
            for norm in (self.last, self.first):
                norm.running_var.fill_(2)

        def forward(self, x):
            if len(x) == 5:
                raise RuntimeError("five")
            return self.last(input=self.first(input=x.unflatten(2, (1, 8))) * 0 + 9).mean((2, 3, 4))

    named, two = Named().eval(), images[:, :2]
    assert doubting.strangeness(named, two, batch=60) == ""
    assert "is 71 times as widely spread" in doubting.strangeness(named, 100 * two, batch=60)
    with pytest.raises(ValueError, match="five"):
        doubting.strangeness(named, two[:10], batch=5)
    assert not any(module._forward_pre_hooks for module in named.modules())
    stem = torch.nn.Sequential(torch.compile(named.first, backend="eager"), torch.nn.Flatten())
    stem(two.unflatten(2, (1, 8)))
    assert doubting.strangeness(stem, 100 * two.unflatten(2, (1, 8)), batch=60)

    vectors = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)).eval()
    vectors[0].running_var.fill_(2)
    many = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    assert doubting.strangeness(vectors, 9 * many, batch=9) and not doubting.strangeness(
        vectors, 9 * many[:63], batch=9
    )
    assert not doubting.strangeness(vectors, many, batch=9)
    assert not doubting.strangeness(torch.nn.Linear(4, 2).eval(), 9 * many, batch=9)


def test_divergence_is_that_of_normal_distributions():
    own = torch.distributions.Normal(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 3.0]))
    there = torch.distributions.Normal(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 5.0]))
    right = torch.distributions.kl_divergence(own, there).mean()
    found = doubting.divergence(own.mean, own.variance, there.mean, there.variance)
    assert found == pytest.approx(right.item(), rel=1e-6)


def test_training_that_has_not_helped_is_doubted(model, images, monkeypatch):
    def spoil(small, *_, **__):
        small.classifier.bias.data[:] = torch.arange(10) * 1e6  # it answers 9 whatever it sees

    assert doubting.loss("accuracy", 0.8536, 0.8498) == (
        "training has not helped: accuracy is 85.0% after it and was 85.4% before; leave it out, or train longer or on"
        " more images"
    )
    assert doubting.loss("accuracy", 0.5, 0.5) == "" == doubting.loss("accuracy", 0.8536, 0.8537)
    assert doubting.loss("accuracy", 0.8538, 0.8536) == ""  # which prints alike
    labels = models.predict(model, images)
    assert (labels != 9).any()
    given = {"budget": 0.05, "repair": False, "distil": True, "epochs": 1, "test": [(images, labels)]}
    said = []
    monkeypatch.setattr(making.recovery, "train", lambda *_, **__: None)
    assert prune(model, images, **given).doubts == ()
    monkeypatch.setattr(making.recovery, "train", spoil)
    found = prune(model, images, **given, report=said.append)
    (doubt,) = found.doubts
    assert doubt.startswith("training has not helped: accuracy is ") and said[-1] == f"warning: {doubt}"


def test_what_a_latency_has_led_to_is_kept_for_going_on(model, images, tmp_path, monkeypatch):
    def stop(line):
        said.append(line)
        if line.startswith("distilling: epoch 1"):
            raise KeyboardInterrupt

    given = {"of": "latency", "distil": True, "epochs": 2, "kept": tmp_path}
    said, again = [], []
    monkeypatch.setattr(searching, "latency_left", lambda small, *_: parameters(small) / parameters(model))
    with pytest.raises(KeyboardInterrupt):
        prune(model, images, budget=0.3, report=stop, **given)
    monkeypatch.setattr(searching, "latency_left", lambda small, *_: 0.2 + parameters(small) / parameters(model))
    found = prune(model, images, budget=0.3, report=again.append, **given)  # another program runs beside it now
    lines = [[line for line in part if line.startswith("budget found: ")] for part in (said, again)]
    assert lines[0] == lines[1]
    assert [line.split(",")[0] for line in again if "epoch" in line] == ["distilling: epoch 2 of 2"]
    share = found.plans[0].budget
    assert f"--budget {share:.7g} --of macs in place of --of latency makes the same network again" in lines[0][0]
    straight = prune(model, images, budget=share, distil=True, epochs=2)
    for name, value in found.model.state_dict().items():
        assert torch.equal(value, straight.model.state_dict()[name])
    other = prune(model, images, of="latency", budget=0.4, kept=tmp_path)  # of another wish it is not
    assert other.plans[0].budget > share
