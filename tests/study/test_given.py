"""study.given: weights that others have published are taken where they are what study.yaml says, and never kept."""

import dataclasses

import little
import pytest
import torch
from safetensors.torch import save_file

from lib.images import datasets, networks, public, training
from lib.network import saving
from lib.running import reproduce
from lib.study import given, loading, profiles, records, sampling, schema

NETWORK = "resnet20a"


@pytest.fixture
def weights():
    return networks.build(NETWORK, 2, seed=5).eval()


@pytest.fixture
def photos():
    """Two classes of a few small colour images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return datasets.ImageSet(images, torch.arange(12) % 2, ("cat", "dog"), "photos", "test")


@pytest.fixture
def run(root, monkeypatch, weights, photos):
    """A run in a little study, which names the weights of a network that nobody has trained."""
    (root / "data/photos/train").mkdir(parents=True)
    monkeypatch.setattr(datasets, "load", lambda name, split, root: dataclasses.replace(photos, split=split))
    accuracy = training.evaluate(weights, prepared(photos.images), photos.labels)
    save_file(weights.state_dict(), root / "data/weights.safetensors")
    write(root, accuracy=accuracy, sha256=public.digest(weights.state_dict()))
    return profiles.Run("little", "photos", NETWORK, 3, device="cpu")


def prepared(images):
    return public.PUBLIC[NETWORK].preparation(images)


def write(root, accuracy, sha256):
    lines = f"{{weights: weights.safetensors, sha256: {sha256}, accuracy: {accuracy}}}"
    text = little.STUDY.replace("digits: [resnet8, vgg8], cifar10: [resnet20]", f"photos: [{NETWORK}]")
    text = text.replace("{digits: 1, cifar10: 7}", "7")
    (root / "study.yaml").write_text(f"{text}    given: {{photos: {{{NETWORK}: {lines}}}}}\n")
    schema._read.cache_clear()


def test_a_run_whose_weights_are_given_has_them_in_place_of_a_recipe(run, weights):
    assert run.is_given
    assert set(run.settings["training"]) == {"weights", "sha256", "accuracy"}
    assert run.settings["training"]["sha256"] == public.digest(weights.state_dict())
    assert run.settings["measuring"]["points"] == 5


def test_taking_them_leaves_a_log_without_epochs_and_a_checkpoint_without_weights(run, photos):
    log = given.take(run, photos, "cpu")
    assert log[["epoch", "accuracy", "seconds"]].to_dict("records") == [
        {"epoch": 0, "accuracy": run.settings["training"]["accuracy"], "seconds": 0.0}
    ]
    tensors, metadata = saving.read(run.checkpoint)
    assert tensors == {} and run.settings["training"]["sha256"] in metadata["study"]
    assert run.checkpoint.stat().st_size < 1000
    before = records.digest(run.checkpoint)
    given.take(run, photos, "cpu")
    assert records.digest(run.checkpoint) == before


def test_the_network_of_the_run_comes_from_their_file(run, weights, photos):
    given.take(run, photos, "cpu")
    found = loading.model(run, "cpu")
    assert all(map(torch.equal, found.state_dict().values(), weights.state_dict().values()))
    (run.data_folder / "weights.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"there are no weights data/weights.safetensors of resnet20a \(akam.*README"
    ):
        loading.model(run, "cpu")


def test_images_come_as_their_weights_want_them(run, photos):
    data = sampling.Data.of(run, "cpu")
    assert torch.equal(data.train_images, prepared(photos.images))
    assert torch.equal(data.test_images, prepared(photos.images))
    moments = datasets.statistics(photos.images)
    assert not torch.equal(data.train_images, datasets.normalise(photos.images, *moments))


def test_another_accuracy_than_said_is_refused(run, root, photos, weights):
    accuracy = run.settings["training"]["accuracy"]
    said = accuracy + 0.02 if accuracy < 0.5 else accuracy - 0.02
    write(root, said, public.digest(weights.state_dict()))
    with pytest.raises(
        ValueError, match=f"right on {accuracy:.4f} of the test images, but study.yaml says {said:.4f}, by"
    ):
        given.take(run, photos, "cpu")
    assert not run.checkpoint.exists()
    write(root, said + (0.015 if accuracy > said else -0.015), public.digest(weights.state_dict()))
    given.take(run, photos, "cpu")


def test_a_checkpoint_that_refers_to_other_weights_is_refused(run, root, photos):
    given.take(run, photos, "cpu")
    write(root, 0.5, "a" * 64)
    with pytest.raises(
        ValueError, match=r"checkpoint.safetensors does not refer to the weights that study.yaml names: make"
    ):
        loading.model(run, "cpu")


def test_a_record_says_whose_they_are(run):
    told = given.origin(run)["given"]
    assert (told["source"], told["licence"]) == ("akamaster/pytorch_resnet_cifar10 on GitHub", "BSD-2-Clause")
    assert told["sha256"] == run.settings["training"]["sha256"]


def test_a_start_asks_for_the_weights_before_anything_runs(run):
    (run.data_folder / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"there are no weights data/weights.safetensors of resnet20a"):
        reproduce.data_digests(run.plan)


def test_several_seeds_would_count_one_network_several_times(run):
    with pytest.raises(
        ValueError, match=r"profiles.little.given: with several seeds one network would count several times"
    ):
        profiles.load("little", [0, 1])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (f"photos: {{{NETWORK}:", f"foto: {{{NETWORK}:", "given.foto.resnet20a is not among the profile's runs"),
        ("    given:", "    notebooks: [80-cost]\n    given:", "given: 80-cost trains by the recipe of the run"),
        ("weights: weights.safetensors", "weights: ../a", "given.photos.resnet20a.weights must be a path below data/"),
        ("weights: weights.safetensors, ", "", "profiles.little.given.photos.resnet20a.weights is missing"),
        ("sha256: ", "sha256: A", "given.photos.resnet20a.sha256 must be a SHA-256 of 64 digits 0-9 a-f, not 'A"),
        ("accuracy: ", "accuracy: 9", "given.photos.resnet20a.accuracy must be a number from 0 to below 1"),
        (f"photos: [{NETWORK}]", "photos: [vgg8]", "given.photos.resnet20a is not among the profile's runs: add it"),
        (NETWORK, "vgg8", "given.photos.vgg8: nothing is known of its weights, only of those of resnet20a, resnet32a"),
    ],
)
def test_what_is_wrong_of_them_in_the_study_is_named_in_one_line(run, root, old, new, said):
    text = (root / "study.yaml").read_text()
    assert old in text
    (root / "study.yaml").write_text(text.replace(old, new))
    schema._read.cache_clear()
    with pytest.raises(ValueError, match=said) as caught:
        schema.read()
    assert "\n" not in str(caught.value)


def test_a_run_that_is_trained_here_says_nothing_of_others(root):
    run = profiles.Run("little", "digits", "vgg8", 3)
    images = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    assert given.origin(run) == {}
    assert given.preparation(run, images) == public.Preparation.of(images)
