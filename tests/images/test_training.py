"""images.training: the same seed gives the same bits, interrupted or not; files hold what was saved or are refused."""

import dataclasses
import json
import random
import warnings

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lib.images import datasets, networks
from lib.images.training import Recipe, distillation, evaluate, predict, train
from lib.network.saving import restore, save

RECIPE = Recipe(epochs=2, batch=64, crop=1, flip=False, precision="float32")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    train_set, test_set = (datasets.load("digits", split, root) for split in datasets.SPLITS)
    return first(train_set, 300), first(test_set, 100)


def first(images, count):
    chosen = torch.arange(count) * (len(images) // count)
    return dataclasses.replace(images, images=images.images[chosen], labels=images.labels[chosen])


class Dropping(nn.Module):
    """Small and quick, with BatchNorm and with dropout, which takes its random numbers from the global state."""

    def __init__(self, classes=10):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 6, 3, stride=2), nn.BatchNorm2d(6)
        self.drop, self.classifier = nn.Dropout(0.3), nn.Linear(6, classes)

    def forward(self, x):
        return self.classifier(self.drop(self.norm(self.conv(x)).relu().mean((2, 3))))


def fresh(classes=10):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Dropping(classes)


def bits(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_bits(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def without_times(log):
    return log.drop(columns="seconds")


@pytest.mark.parametrize("make", [fresh, lambda: networks.build("resnet8", 10, 1)], ids=["dropping", "resnet8"])
def test_same_seed_same_bits_another_seed_not(digits, make):
    runs = []
    for seed in (0, 0, 1):
        model = make()
        torch.rand(seed + len(runs))  # whatever the global random state
        log = train(model, *digits, RECIPE, seed=seed)
        assert not model.training
        runs.append((bits(model), without_times(log)))
    (first_bits, first_log), (again_bits, again_log), (other_bits, _) = runs
    assert same_bits(first_bits, again_bits)
    assert first_log.equals(again_log)
    assert not same_bits(first_bits, other_bits)


def test_images_are_normalised_by_the_moments_given(digits):
    mean, std = datasets.statistics(digits[0].images)
    found = []
    for moments in (None, (mean, std), (mean.tolist(), std.tolist()), ([0.0], [1.0])):
        model = fresh()
        log = train(model, *digits, RECIPE, seed=0, moments=moments)
        seen = datasets.normalise(digits[1].images, *map(torch.as_tensor, moments or (mean, std)))
        assert log["accuracy"].iloc[-1] == evaluate(model, seen, digits[1].labels)
        found.append(bits(model))
    assert same_bits(found[0], found[1]) and same_bits(found[0], found[2]) and not same_bits(found[0], found[3])


def test_a_state_of_other_moments_is_not_gone_on_from(digits, tmp_path):
    train(fresh(), *digits, RECIPE, seed=0, state=tmp_path / "state")
    other, seen = {"seed": 0, "moments": ([0.0], [1.0])}, []
    train(fresh(), *digits, RECIPE, **other, state=tmp_path / "state", report=seen.append)
    assert [row["epoch"] for row in seen] == [1, 2]


def test_leaves_global_random_states_alone(digits):
    before = torch.get_rng_state(), numpy.random.get_state()[1].copy(), random.getstate()
    train(fresh(), *digits, RECIPE, seed=0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert numpy.array_equal(numpy.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


def test_log_has_one_row_an_epoch_and_reports_each(digits):
    seen = []
    log = train(fresh(), *digits, RECIPE, seed=0, report=seen.append)
    assert log.columns.tolist() == ["epoch", "learning_rate", "loss", "accuracy", "seconds"]
    assert log["epoch"].tolist() == [1, 2]
    assert log.to_dict("records") == seen
    assert (log["seconds"] > 0).all() and log["loss"].iloc[1] < log["loss"].iloc[0]


def test_training_that_fails_is_told_and_leaves_no_state_to_go_on_from(digits, tmp_path):
    model, diverging, seen = fresh(), dataclasses.replace(RECIPE, learning_rate=1e30), []
    failed = (
        r"^training has failed in epoch 1: its loss is nan, since weights .*; give a smaller learning_rate, or look"
    )
    with pytest.raises(ValueError, match=failed):
        train(model, *digits, diverging, seed=0, state=tmp_path / "state", report=seen.append)
    assert not (tmp_path / "state").exists() and not seen and not model.training


def test_learning_rate_rises_then_falls_by_half_a_cosine(digits):
    recipe = dataclasses.replace(RECIPE, epochs=4, warmup=0.5, learning_rate=0.2)
    rates = train(fresh(), *digits, recipe, seed=0)["learning_rate"].tolist()
    steps = 5  # batches an epoch; the log has the last one's rate
    progress = numpy.array([(epoch * steps + steps - 1) / (4 * steps) for epoch in range(4)])
    expected = 0.2 * numpy.where(progress < 0.5, progress / 0.5, (1 + numpy.cos(numpy.pi * (progress - 0.5) / 0.5)) / 2)
    assert rates == pytest.approx(expected.tolist(), rel=1e-12)


def test_loss_and_accuracy_are_those_of_the_network(digits):
    train_set, test_set = digits
    model = fresh()
    model.drop.p = 0.0
    frozen = dataclasses.replace(RECIPE, epochs=1, learning_rate=1e-30, batch=300, crop=0)
    reference = bits(model)
    log = train(model, train_set, test_set, frozen, seed=0)
    mean, std = datasets.statistics(train_set.images)
    accuracy = evaluate(model, datasets.normalise(test_set.images, mean, std), test_set.labels)
    model.load_state_dict(reference)
    logits = model.train()(datasets.normalise(train_set.images, mean, std))
    loss = nn.functional.cross_entropy(logits, train_set.labels).item()
    assert log["loss"].item() == pytest.approx(loss, rel=1e-5)
    assert log["accuracy"].item() == accuracy


def test_augmentation_shifts_by_at_most_the_crop_and_mirrors_if_told(digits):
    seen = []

    class Watching(Dropping):
        def forward(self, x):
            if self.training:
                seen.append(x)
            return super().forward(x)

    pixels = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
    pixels[:, :, 3, 2] = 255
    bright = datasets.ImageSet(pixels, torch.zeros(64, dtype=torch.int64), tuple("abcdefghij"), "bright", "train")
    for flip in (False, True):
        seen.clear()
        train(Watching(), bright, digits[1], Recipe(epochs=4, batch=64, crop=1, flip=flip), seed=0)
        where = {divmod(int(n), 8) for batch in seen for n in batch.flatten(1).argmax(1)}
        columns = {1, 2, 3} | ({4, 5, 6} if flip else set())
        assert where == {(row, column) for row in (2, 3, 4) for column in columns}


# Interruption


class PowerCut(Exception):
    pass


def interrupted(model, digits, state, after, recipe):
    def cut(row):
        if row["epoch"] == after:
            raise PowerCut

    with pytest.raises(PowerCut):
        train(model, *digits, recipe, seed=0, state=state, report=cut)


@pytest.mark.parametrize("after", [1, 2])
@pytest.mark.parametrize(
    ("make", "optimizer"),
    [(fresh, "sgd"), (lambda: networks.build("resnet8", 10, 1), "sgd"), (fresh, "adamw")],
    ids=["dropping", "resnet8", "adamw"],
)
def test_interrupted_training_goes_on_as_if_nothing_had_happened(digits, tmp_path, make, optimizer, after):
    recipe = dataclasses.replace(RECIPE, epochs=3, optimizer=optimizer)
    state, undisturbed = tmp_path / "somewhere" / "state", make()
    log = train(undisturbed, *digits, recipe, seed=0)
    interrupted(make(), digits, state, after, recipe)
    resumed, seen = make(), []
    log_resumed = train(resumed, *digits, recipe, seed=0, state=state, report=seen.append)
    assert [row["epoch"] for row in seen] == list(range(after + 1, 4))
    assert same_bits(bits(resumed), bits(undisturbed))
    assert without_times(log_resumed).equals(without_times(log))
    assert sorted(path.name for path in state.parent.iterdir()) == ["state"]


def test_finished_training_is_not_repeated(digits, tmp_path):
    finished, again, seen = fresh(), fresh(), []
    log = train(finished, *digits, RECIPE, seed=0, state=tmp_path / "state")
    assert train(again, *digits, RECIPE, seed=0, state=tmp_path / "state", report=seen.append).equals(log)
    assert same_bits(bits(again), bits(finished)) and not seen and not again.training


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-7])


def no_safetensors(path):
    path.write_bytes(b"anything else")


def no_metadata(path):
    save_file(load_file(path), path)


def of_another_seed(path):
    replace_state(path, RECIPE, seed=1)


def of_another_recipe(path):
    replace_state(path, dataclasses.replace(RECIPE, learning_rate=0.01))


def of_another_network(path):
    replace_state(path, RECIPE, model=fresh(11))  # all but the classifier would fit


def of_other_code(path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "__version__", "0.0")
        replace_state(path, RECIPE)


def replace_state(path, recipe, seed=0, model=None):
    path.unlink()
    train(model or fresh(), *replace_state.digits, recipe, seed=seed, state=path)


def trained_anew(digits, state, spoil):
    """Trains, spoils the state and trains on it again, which must come to the same."""
    replace_state.digits = digits
    undisturbed, model = fresh(), fresh()
    log = train(undisturbed, *digits, RECIPE, seed=0, state=state)
    spoil(state)
    log_anew = train(model, *digits, RECIPE, seed=0, state=state)
    assert same_bits(bits(model), bits(undisturbed))
    assert without_times(log_anew).equals(without_times(log))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(fresh(), *digits, RECIPE, seed=0, state=state)  # which is a good one again


@pytest.mark.parametrize("spoil", [cut_short, no_safetensors])
def test_a_damaged_state_is_ignored_with_a_warning(digits, tmp_path, spoil):
    with pytest.warns(UserWarning, match=r"state cannot be used .*damaged.*training starts anew"):
        trained_anew(digits, tmp_path / "state", spoil)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (no_metadata, "another recipe, seed, data set"), (of_another_seed, "another recipe, seed"),
        (of_another_recipe, "another recipe"), (of_another_network, "another network, in which classifier.bias is"),
        (of_other_code, "or code"),
    ],
)  # fmt: skip
def test_a_foreign_state_is_ignored_with_a_line_in_the_log_and_no_warning(digits, tmp_path, spoil, reason, caplog):
    with caplog.at_level("INFO", "lib.images.training"):
        trained_anew(digits, tmp_path / "state", spoil)
    (line,) = caplog.messages
    assert "state is not gone on from (it " in line and reason in line and line.endswith("training starts anew")


# Checkpoints


def test_what_was_saved_is_restored(tmp_path):
    model, other, path = (
        networks.build("resnet8", 10, 1),
        networks.build("resnet8", 10, 1, seed=1),
        tmp_path / "a" / "model",
    )
    metadata = {"accuracy": 0.1 + 0.2, "epochs": 3, "name": "ε", "nested": {"list": [1, None]}}
    model.bn1.running_mean.normal_()
    save(model.to(memory_format=torch.channels_last), path, metadata)
    assert restore(other.train(), path) == metadata
    assert same_bits(bits(other), bits(model)) and not other.training
    assert [file.name for file in path.parent.iterdir()] == ["model"]


def test_saving_replaces_a_checkpoint_only_when_all_is_written(tmp_path, monkeypatch):
    path = tmp_path / "model"
    save(fresh(), path, {"n": 1})

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("lib.network.saving.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save(fresh(), path, {"n": 2})
    assert restore(fresh(), path) == {"n": 1}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut_short, "model is damaged .*: delete it to have it made again"),
        (no_safetensors, "model is damaged"),
        (no_metadata, "model is no checkpoint of this study"),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path, spoil, message):
    model, path = fresh(), tmp_path / "model"
    save(model, path, {})
    spoil(path)
    before = bits(model)
    with pytest.raises(ValueError, match=message) as caught:
        restore(model, path)
    assert "\n" not in str(caught.value)
    assert same_bits(bits(model), before)


def test_a_checkpoint_of_another_network_is_refused_and_nothing_loaded(tmp_path):
    save(fresh(11), tmp_path / "model", {})
    model = fresh().eval()
    with torch.no_grad():
        model.conv.weight.zero_()
    before = bits(model)
    with pytest.raises(
        ValueError, match=r"model cannot be used: .* another network, in which classifier.bias is \(11,\), here \(10,\)"
    ):
        restore(model, tmp_path / "model")
    assert same_bits(bits(model), before)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        restore(fresh(), tmp_path / "absent")


# Recipes and accuracy


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs=0 must be positive"),
        ({"batch": -1}, "batch=-1 must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate=nan must be positive"),
        ({"epochs": 1.5}, "epochs=1.5 must be a whole number"),
        ({"crop": -1}, "crop=-1"),
        ({"warmup": 1.5}, "warmup=1.5"),
        ({"precision": "half"}, "precision='half' must be one of float32, bfloat16"),
        ({"optimizer": "adam"}, "optimizer='adam' must be one of sgd, adamw"),
    ],
)
def test_recipes_are_checked(setting, message):
    with pytest.raises(ValueError, match=f"training setting.* {message}"):
        Recipe(**setting)


@pytest.mark.parametrize("batch", [1, 3, 500])
def test_accuracy_is_the_share_of_images_whose_largest_logit_is_right(batch):
    model = nn.Flatten().eval()
    model.register_parameter("place", nn.Parameter(torch.zeros(1)))
    logits = torch.tensor([[3.0, 1, 2], [1, 2, 3], [0, -1, -2], [5, 5, 6], [1, 0, 0]]).view(5, 3, 1, 1)
    assert predict(model, logits, batch=batch).tolist() == [0, 2, 0, 2, 0]
    assert evaluate(model, logits, torch.tensor([0, 2, 1, 2, 1]), batch=batch) == 3 / 5


@pytest.mark.parametrize(("images", "labels"), [(3, 2), (3, 1), (0, 0)])
def test_accuracy_needs_a_label_for_each_image(images, labels):
    with pytest.raises(ValueError, match=f"accuracy on {images} images with {labels} labels"):
        evaluate(fresh().eval(), torch.zeros(images, 1, 8, 8), torch.zeros(labels).long())


def test_metadata_is_json(tmp_path):
    with pytest.raises(ValueError, match=r"^metadata cannot be kept as JSON"):
        save(fresh(), tmp_path / "model", {"tensor": torch.zeros(1)})
    assert not any(tmp_path.iterdir()) and json.dumps({})


def test_distillation_is_the_divergence_of_softened_answers(digits):
    logits, wanted = torch.tensor([[0.0, 2.0], [4.0, 0.0]]), torch.tensor([[2.0, 0.0], [4.0, 0.0]])
    p = 1 / (1 + numpy.exp(-1.0))  # of temperature 2
    expected = 4 * (p * numpy.log(p / (1 - p)) + (1 - p) * numpy.log((1 - p) / p)) / 2
    assert distillation(logits, wanted).item() == pytest.approx(expected, rel=1e-6)
    assert distillation(wanted, wanted).item() == pytest.approx(0, abs=1e-7)


def test_a_teacher_s_training_is_not_kept(digits, tmp_path):
    train_set, test_set = digits
    model = networks.build("resnet8", 10, 1, seed=0)
    with pytest.raises(ValueError, match="leave `state` out"):
        train(model, train_set, test_set, Recipe(epochs=1), seed=0, teacher=model, state=tmp_path)


def test_in_bfloat16_weights_stay_float32_and_attention_is_as_before_afterwards(digits):
    model, fused = networks.build("vit-small-images", 10, 1), torch.backends.cuda.flash_sdp_enabled()
    recipe = dataclasses.replace(RECIPE, epochs=1, optimizer="adamw", learning_rate=1e-3, precision="bfloat16")
    log = train(model, *digits, recipe, seed=0, device="cpu")
    assert 0 < log["loss"].iloc[0] < 3 and {value.dtype for value in model.parameters()} == {torch.float32}
    assert torch.backends.cuda.flash_sdp_enabled() is fused
