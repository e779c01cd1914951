"""images.datasets: real images, decoded once, checked, and never anything else than what was asked for."""

import hashlib
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, permutations
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from lib.images import datasets

CIFAR100 = Path(__file__).parents[2] / "data" / "cifar100"


def write_image(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)


def random_pixels(seed, shape=(5, 7, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def pets(tmp_path):
    """Two classes, two splits, images 7 wide and 5 high: made of seeds 0 to 5 (train), 6 and 7 (test)."""
    seeds = iter(range(8))
    for split, class_name, count in [("train", "cat", 3), ("train", "dog", 3), ("test", "cat", 1), ("test", "dog", 1)]:
        for i in range(count):
            write_image(tmp_path / "pets" / split / class_name / f"{i}.png", random_pixels(next(seeds)))
    return tmp_path


def refused(error, *words, name="pets", split="train", root):
    """The message of the error that loading ends in: one line that holds all the words."""
    with pytest.raises(error) as caught:
        datasets.load(name, split, root)
    assert isinstance(caught.value, error)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message
    return message


def labelled(labels):
    labels = torch.tensor(labels)
    images = torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8)
    return datasets.ImageSet(images, labels, tuple("abcdefghij"), "toy", "train")


# Folders of images


def test_folder_is_a_data_set_in_order_of_names(pets):
    loaded = datasets.load("pets", "train", pets)
    expected = np.stack([random_pixels(seed) for seed in range(6)]).transpose(0, 3, 1, 2)
    assert loaded.images.dtype == torch.uint8 and loaded.labels.dtype == torch.int64
    assert loaded.images.shape == (6, 3, 5, 7) and len(loaded) == 6
    assert (loaded.images.numpy() == expected).all()
    assert loaded.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (loaded.classes, loaded.name, loaded.split) == (("cat", "dog"), "pets", "train")
    assert len(datasets.load("pets", "test", pets)) == 2


def test_folder_goes_before_official_data_of_the_same_name(pets):
    (pets / "pets").rename(pets / "digits")
    assert datasets.load("digits", "train", pets).classes == ("cat", "dog")


def test_order_is_that_of_torchvision(pets):
    from torchvision.datasets import ImageFolder

    write_image(pets / "pets/train/cat/10.png", random_pixels(20))
    write_image(pets / "pets/train/cat/B.PNG", random_pixels(21))
    folder = ImageFolder(pets / "pets/train")
    loaded = datasets.load("pets", "train", pets)
    assert list(loaded.classes) == folder.classes
    assert loaded.labels.tolist() == folder.targets
    assert all(
        (np.asarray(image).transpose(2, 0, 1) == loaded.images[i].numpy()).all() for i, (image, _) in enumerate(folder)
    )


def test_more_images_than_a_thread_takes_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "CHUNK", 3)
    for split in datasets.SPLITS:
        for i in range(8):
            write_image(tmp_path / "many" / split / "one" / f"{i}.png", np.full((2, 2), i))
    assert datasets.load("many", "train", tmp_path).images[:, 0, 0, 0].tolist() == list(range(8))


@pytest.mark.parametrize(("suffix", "options"), [("webp", {"lossless": True}), ("png", {}), ("bmp", {}), ("tiff", {})])
def test_lossless_formats_keep_every_pixel(tmp_path, suffix, options):
    for split in datasets.SPLITS:
        write_image(tmp_path / "one" / split / "x" / f"0.{suffix}", random_pixels(1), **options)
    loaded = datasets.load("one", "train", tmp_path)
    assert (loaded.images[0].numpy() == random_pixels(1).transpose(2, 0, 1)).all()


def test_jpeg_is_read(tmp_path):
    for split in datasets.SPLITS:
        write_image(tmp_path / "one" / split / "x" / "0.JPEG", np.full((8, 8, 3), 200))
    assert (datasets.load("one", "train", tmp_path).images.float() - 200).abs().max() <= 2


@pytest.fixture
def named(tmp_path):
    """A data set that names four classes, of which two have images of each split, seeds 0 and 1."""
    for seed, name in enumerate(["train/b/0", "test/d/0"]):
        write_image(tmp_path / "pets" / f"{name}.png", random_pixels(seed))
    (tmp_path / "pets/classes.txt").write_text("d\na\nb\nc\n")
    return tmp_path


def test_a_data_set_may_name_its_classes_some_of_which_have_no_images(named):
    train, test = (datasets.load("pets", split, named) for split in datasets.SPLITS)
    assert train.classes == test.classes == ("d", "a", "b", "c")
    assert (train.labels.tolist(), test.labels.tolist()) == ([2], [0])
    (named / "pets/classes.txt").write_text("b\nd\n")  # which decodes what is cached anew
    assert [datasets.load("pets", split, named).labels.tolist() for split in datasets.SPLITS] == [[0], [1]]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"b\na\n", r"pets/test: classes that .*pets/classes.txt does not name: d; add or remove them"),
        (b"b\nb\nd\n", r"pets/classes.txt must name each class once, one a line, without empty lines"),
        (b"b\n\nd\n", r"pets/classes.txt must name each class once"),
        (b"", r"pets/classes.txt must name each class once"),
        (b"b\nd\xff\n", r"pets/classes.txt is not UTF-8: give one name of a class a line"),
    ],
)
def test_what_names_no_classes_is_refused_in_one_line(named, content, error):
    (named / "pets/classes.txt").write_bytes(content)
    with pytest.raises(ValueError, match=error) as caught:
        datasets.load("pets", "test", named)
    assert "\n" not in str(caught.value)


def test_resized_images_are_stretched_and_rounded():
    steps = torch.tensor([0, 255], dtype=torch.uint8).repeat_interleave(4).expand(1, 1, 8, 8)
    found = datasets.resized(steps, 4)
    assert found.dtype == torch.uint8 and found.shape == (1, 1, 4, 4)
    assert (found[0, 0] == found[0, 0, 0]).all() and found[0, 0, 0, 0] < 10 and found[0, 0, 0, 3] > 245
    images = torch.randint(0, 256, (300, 3, 6, 5), dtype=torch.uint8)
    exact = torch.nn.functional.interpolate(images.float(), (9, 9), mode="bicubic", antialias=True)
    assert torch.equal(datasets.resized(images, 9), exact.round().clamp(0, 255).to(torch.uint8))


def test_images_that_have_the_size_stay_as_they_are():
    images = torch.randint(0, 256, (2, 3, 6, 6), dtype=torch.uint8)
    assert datasets.resized(images, 6) is images


@pytest.fixture
def grey(tmp_path):
    """A data set of grey images, seeds 0 to 2 (train) and 3 (test)."""
    for seed, name in enumerate(["train/cat/0", "train/cat/1", "train/cat/2", "test/cat/0"]):
        write_image(tmp_path / "pets" / f"{name}.png", random_pixels(seed, (5, 7)))
    return tmp_path


def test_grey_images_have_one_channel(grey):
    loaded = datasets.load("pets", "train", grey)
    assert loaded.images.shape == (3, 1, 5, 7)
    assert all((loaded.images[seed, 0].numpy() == random_pixels(seed, (5, 7))).all() for seed in range(3))
    Image.fromarray(random_pixels(0, (5, 7))).convert("LA").save(grey / "pets/test/cat/1.png")
    assert datasets.load("pets", "test", grey).images.shape == (2, 1, 5, 7)


@pytest.mark.parametrize("coloured", datasets.SPLITS)
@pytest.mark.parametrize("known", [(), ("train",), ("test",), ("train", "test")])
def test_one_image_in_colour_makes_both_splits_colour(grey, coloured, known):
    before = {split: datasets.load("pets", split, grey) for split in known}
    write_image(grey / "pets" / coloured / "cat/9.png", random_pixels(9))
    loaded = {split: datasets.load("pets", split, grey) for split in datasets.SPLITS}
    assert {split: tuple(found.images.shape[1:]) for split, found in loaded.items()} == {
        "train": (3, 5, 7),
        "test": (3, 5, 7),
    }
    for split, found in before.items():
        assert (loaded[split].images[: len(found)] == found.images).all()  # equal red, green and blue
    assert (loaded[coloured].images[-1].numpy() == random_pixels(9).transpose(2, 0, 1)).all()
    again = {split: datasets.load("pets", split, grey) for split in datasets.SPLITS}
    assert all(again[split].digest == loaded[split].digest for split in datasets.SPLITS)
    (grey / "pets" / coloured / "cat/9.png").unlink()
    assert {datasets.load("pets", split, grey).images.shape[1] for split in datasets.SPLITS} == {1}


def test_colour_below_a_class_of_the_other_split_counts_too(grey):
    write_image(grey / "pets/test/cat/deep/0.png", random_pixels(5, (5, 7)))
    assert datasets.load("pets", "train", grey).images.shape[1] == 1
    write_image(grey / "pets/test/cat/deep/1.png", random_pixels(5))
    assert datasets.load("pets", "train", grey).images.shape[1] == 3


@pytest.mark.parametrize("split", datasets.SPLITS)
def test_both_splits_have_images_of_one_size(pets, split):
    for name in ("cat", "dog"):
        write_image(pets / f"pets/test/{name}/0.png", random_pixels(0, (8, 6, 3)))
    line = refused(ValueError, split=split, root=pets)
    own, other = (f"{pets}/pets/{name}" for name in (split, *({*datasets.SPLITS} - {split})))
    sizes = {"train": "7x5", "test": "6x8"}
    assert line == (
        f"images in {own} are {sizes[split]} but in {other} {sizes[({*datasets.SPLITS} - {split}).pop()]}: "
        "resize all images of a data set to one size"
    )


def test_images_at_any_depth_belong_to_their_class(pets):
    write_image(pets / "pets/train/cat/more/9.png", random_pixels(9))
    loaded = datasets.load("pets", "train", pets)
    assert loaded.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert (loaded.images[3].numpy() == random_pixels(9).transpose(2, 0, 1)).all()


def test_streams_have_the_same_images_and_labels(pets):
    from lib.images import folders

    for name in ("cat/a/b.png", "cat/B.PNG", "dog/a-b/1.png", "dog/a/1.png"):
        write_image(pets / "pets/train" / name, random_pixels(9))
    (pets / "pets/train/cat/round").symlink_to("..")
    (pets / "far").mkdir()
    write_image(pets / "far/1.png", random_pixels(8))
    (pets / "pets/train/dog/far").symlink_to(pets / "far")
    stream, loaded = folders.stream(pets / "pets/train", 8, labelled=True), datasets.load("pets", "train", pets)
    pictures = [Image.open(stream.folder / name).convert("RGB") for name in stream.names]
    assert (loaded.images.numpy() == np.stack(pictures).transpose(0, 3, 1, 2)).all() and len(loaded) == 11
    assert loaded.labels.tolist() == stream.targets.tolist() and loaded.classes == stream.classes


def test_more_than_memory_holds_is_told(pets, monkeypatch):
    def too_much(*_):
        raise MemoryError("Unable to allocate")

    monkeypatch.setattr(np, "empty", too_much)
    expected = f"6 images of 7x5 pixels in {pets}/pets/train take 0.0 GB of memory, more than there is"
    assert refused(ValueError, root=pets) == f"{expected}: make them smaller or fewer"


def test_hidden_and_other_files_are_left_out_and_that_is_said_once(pets, caplog):
    (pets / "pets/train/cat/.hidden.png").write_text("not an image")
    (pets / "pets/train/cat/notes.txt").write_text("not an image either")
    (pets / "pets/train/list.csv").write_text("cat")
    for _ in range(2):
        assert len(datasets.load("pets", "train", pets)) == 6
    (line,) = caplog.messages
    assert line == f"{pets}/pets/train: left out: 2 not images (.csv .txt), 1 hidden; such as cat/notes.txt"


def test_images_beside_the_classes_are_named(pets):
    write_image(pets / "pets/train/stray.png", random_pixels(0))
    refused(ValueError, pets / "pets/train", "outside the folders of classes, such as stray.png", root=pets)


@pytest.mark.parametrize(("width", "height"), [(7, 6), (5, 7), (1, 1)])
def test_mixed_sizes_name_the_odd_file_and_both_sizes(pets, width, height):
    write_image(pets / "pets/train/dog/1.png", random_pixels(0, (height, width, 3)))
    refused(ValueError, pets / "pets/train/dog/1.png", f"{width}x{height}", "7x5", "resize", root=pets)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n rest is missing"])
def test_unreadable_image_is_named(pets, content):
    (pets / "pets/train/dog/1.png").write_bytes(content)
    refused(ValueError, pets / "pets/train/dog/1.png", "cannot read", "replace or remove", root=pets)


def test_truncated_image_is_named(pets):
    odd = pets / "pets/train/dog/1.png"
    odd.write_bytes(odd.read_bytes()[:-40])
    refused(ValueError, odd, "cannot read", root=pets)


def test_more_than_eight_bits_are_refused_and_not_clipped(pets):
    Image.fromarray(np.full((5, 7), 40000, np.uint16)).save(pets / "pets/train/dog/1.png")
    refused(ValueError, pets / "pets/train/dog/1.png", "8 bits", root=pets)


def test_formats_that_start_programs_are_not_opened(pets):
    postscript = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 7 5\n%%EndComments\n"
    (pets / "pets/train/dog/1.png").write_text(postscript)
    refused(ValueError, pets / "pets/train/dog/1.png", "cannot identify", root=pets)


def test_empty_class_is_named(pets):
    for split in datasets.SPLITS:
        (pets / "pets" / split / "eel").mkdir()
    refused(ValueError, pets / "pets/train/eel", "empty", root=pets)


def test_split_without_classes_is_named(pets):
    for split in datasets.SPLITS:
        shutil.rmtree(pets / "pets" / split)
        (pets / "pets" / split).mkdir()
    refused(ValueError, pets / "pets/train", "no classes", root=pets)


@pytest.mark.parametrize("split", datasets.SPLITS)
def test_classes_must_be_the_same_in_train_and_test(pets, split):
    write_image(pets / "pets/test/eel/0.png", random_pixels(0))
    message = refused(ValueError, "train and test", "eel", split=split, root=pets)
    assert "dog" not in message


def test_one_split_missing(pets):
    shutil.rmtree(pets / "pets/test")
    assert len(datasets.load("pets", "train", pets)) == 6
    refused(FileNotFoundError, "no test images of 'pets'", pets / "pets/test", split="test", root=pets)


def test_links_are_followed_wherever_they_lead(pets):
    write_image(pets / "outside/far.png", random_pixels(9))
    (pets / "pets/train/dog/8.png").symlink_to(pets / "outside/far.png")
    (pets / "pets/train/dog/9.png").symlink_to(pets / "pets/test/dog/0.png")
    (pets / "pets/train/dog/far").symlink_to(pets / "outside")
    (pets / "animals").symlink_to(pets / "pets")
    loaded = datasets.load("animals", "train", pets)
    assert len(loaded) == 9
    for place, seed in {6: 9, 7: 7, 8: 9}.items():
        assert (loaded.images[place].numpy() == random_pixels(seed).transpose(2, 0, 1)).all()


def test_a_class_that_is_a_link_to_another_is_named(pets):
    for split in datasets.SPLITS:
        (pets / "pets" / split / "hound").symlink_to("dog")
    refused(ValueError, pets / "pets/train/hound", "leads to a folder that is read already", root=pets)


def test_unknown_name_lists_the_valid_ones_and_leaves_nothing_behind(pets):
    message = refused(ValueError, "'pest'", pets / "pest", name="pest", root=pets)
    assert "cifar10, cifar100, digits, pets, stl10" in message
    assert not (pets / ".cache").exists()


@pytest.mark.parametrize("name", ["../pets", "/etc", "a/b", ".cache", "", "a;touch x", "a\n"])
def test_name_is_never_a_path_or_a_command(pets, name):
    refused(ValueError, "data set name", name=name, root=pets)


def test_unknown_split(pets):
    refused(ValueError, "'train' or 'test'", "'val'", split="val", root=pets)


# The cache


def cache_of(root, name="pets", split="train"):
    return root / ".cache" / f"{name}-{split}.safetensors"


def forbid_decoding(monkeypatch):
    monkeypatch.setattr(datasets, "_pixels", lambda path: pytest.fail("decoded again"))


def test_second_load_reads_the_cache(pets, monkeypatch):
    first = datasets.load("pets", "train", pets)
    forbid_decoding(monkeypatch)
    again = datasets.load("pets", "train", pets)
    assert torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)
    assert (again.classes, again.digest) == (first.classes, first.digest)
    again.images[0] = 0  # memory of its own: the file is left as it was
    assert datasets.load("pets", "train", pets).digest == first.digest


def test_only_the_finished_cache_is_left(pets):
    datasets.load("pets", "train", pets)
    assert sorted(os.listdir(pets / ".cache")) == ["pets-test.safetensors", "pets-train.safetensors", "pets.lock"]


def test_a_load_decodes_its_own_split_alone_while_the_other_is_as_it_was(pets, monkeypatch):
    datasets.load("pets", "train", pets)
    read, cached = [], datasets._read_cache
    monkeypatch.setattr(datasets, "_read_cache", lambda *given: read.append(given[-1]) or cached(*given))
    forbid_decoding(monkeypatch)
    (pets / "pets/test/cat/notes.txt").write_text("what is no image changes the folder's date alone")
    datasets.load("pets", "train", pets)
    assert read == ["train"]


@pytest.mark.parametrize("rewritten", datasets.SPLITS)
def test_images_that_are_rewritten_in_place_count_for_both_splits(grey, rewritten):
    before = {split: datasets.load("pets", split, grey) for split in datasets.SPLITS}
    write_image(grey / "pets" / rewritten / "cat/0.png", random_pixels(9))  # in colour, and no folder's date changes
    after = {split: datasets.load("pets", split, grey) for split in datasets.SPLITS}
    for split in datasets.SPLITS:
        assert after[split].images.shape == (len(before[split]), 3, 5, 7)
        assert after[split].digest != before[split].digest


@pytest.mark.parametrize("change", ["add", "remove", "rename", "time", "size"])
def test_changed_folder_is_decoded_again(pets, change):
    before = datasets.load("pets", "train", pets)
    image = pets / "pets/train/dog/1.png"
    if change == "add":
        write_image(image.with_name("9.png"), random_pixels(9))
    elif change == "remove":
        image.unlink()
    elif change == "rename":
        image.rename(image.with_name("9.png"))
    elif change == "time":
        write_image(image, random_pixels(9))
        os.utime(image, ns=(1, 1))
    else:
        time = image.stat().st_mtime_ns
        write_image(image, np.zeros((5, 7, 3)))
        os.utime(image, ns=(time, time))
    after = datasets.load("pets", "train", pets)
    assert len(after) == {"add": 7, "remove": 5}.get(change, 6)
    assert after.digest != before.digest


def test_cache_serves_when_the_folder_is_gone(pets):
    before = datasets.load("pets", "train", pets)
    shutil.rmtree(pets / "pets")
    assert datasets.load("pets", "train", pets).digest == before.digest
    cache_of(pets, split="test").unlink()
    assert datasets.load("pets", "train", pets).digest == before.digest
    refused(ValueError, "unknown data set", split="test", root=pets)


def truncate(cache):
    cache.write_bytes(cache.read_bytes()[:-100])


def flip_a_pixel(cache):
    content = bytearray(cache.read_bytes())
    content[-1] ^= 1
    cache.write_bytes(content)


def empty(cache):
    cache.write_bytes(b"")


def strip_metadata(cache):
    cache.write_bytes(safetensors.torch.save(safetensors.torch.load(cache.read_bytes())))


DAMAGES = [truncate, flip_a_pixel, empty, strip_metadata]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_cache_is_rebuilt_with_one_warning(pets, damage):
    before = datasets.load("pets", "train", pets)
    damage(cache_of(pets))
    with pytest.warns(UserWarning, match=r"pets-train.safetensors is damaged .* rebuilt") as caught:
        after = datasets.load("pets", "train", pets)
    assert len(caught) == 1 and after.digest == before.digest
    assert datasets.load("pets", "train", pets).digest == before.digest  # warns no more


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_cache_without_its_source_is_an_error(pets, damage):
    datasets.load("pets", "train", pets)
    shutil.rmtree(pets / "pets")
    damage(cache_of(pets))
    refused(RuntimeError, cache_of(pets), "damaged", "delete", root=pets)


def test_cache_that_cannot_be_written_is_done_without(pets):
    (pets / ".cache").write_text("a file where the folder should be")
    for _ in range(2):
        with pytest.warns(UserWarning, match="cannot write"):
            assert len(datasets.load("pets", "train", pets)) == 6


def test_full_disk_leaves_nothing_half_written(pets, monkeypatch):
    def full(path, content):
        with path.open("wb") as file:
            file.write(content[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.warns(UserWarning, match="No space left"):
        datasets.load("pets", "train", pets)
    assert os.listdir(pets / ".cache") == ["pets.lock"]


def test_runs_that_start_together_decode_once(pets, monkeypatch):
    read, calls = datasets._read_folder, []
    monkeypatch.setattr(
        datasets, "_read_folder", lambda found, classes: calls.append(found.folder) or read(found, classes)
    )
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: datasets.load("pets", "train", pets), range(4)))
    assert sorted(map(str, calls)) == [f"{pets}/pets/{split}" for split in ("test", "train")]
    assert len({one.digest for one in loaded}) == 1


def test_digest_depends_on_images_labels_and_classes_only(pets):
    one = datasets.load("pets", "train", pets)
    parts = {"images": one.images, "labels": one.labels, "classes": one.classes}
    twin = datasets.ImageSet(**{**parts, "images": one.images.clone()}, name="other", split="test")
    assert twin.digest == one.digest and len(one.digest) == 64
    flipped, changed = one.images.clone(), one.labels.clone()
    flipped[3, 1, 2, 2] += 1
    changed[0] = 1
    for change in ({"images": flipped}, {"labels": changed}, {"classes": ("cat", "fox")}, {"images": one.images.mT}):
        assert datasets.ImageSet(**{**parts, **change}, name="pets", split="train").digest != one.digest


def test_image_set_refuses_what_does_not_fit_together():
    images = torch.zeros(2, 1, 1, 1, dtype=torch.uint8)
    with pytest.raises(ValueError, match="2 images but 3 labels"):
        datasets.ImageSet(images, torch.tensor([0, 0, 0]), ("a",), "toy", "train")
    for labels in ([0, 2], [-1, 0]):
        with pytest.raises(ValueError, match="toy: labels must lie between 0 and 1"):
            datasets.ImageSet(images, torch.tensor(labels), ("a", "b"), "toy", "train")


# Embedded and official data


def test_digits_are_all_there_and_the_split_never_changes(tmp_path):
    from sklearn.datasets import load_digits

    train, test = (datasets.load("digits", split, tmp_path) for split in datasets.SPLITS)
    assert train.images.shape == (1347, 1, 8, 8) and test.images.shape == (450, 1, 8, 8)
    assert test.labels.bincount().tolist() == [45] * 10
    assert train.classes == test.classes == tuple("0123456789")
    assert (train.images.min(), train.images.max()) == (0, 255)
    assert train.digest == "54a76e87f4b5fe5d49f305ced3bc438782f443fb3e8a29a15df85e76c754249f"
    assert test.digest == "cba31bb79b45c00f3851e7a61d8d3eb02b2bab29b697f460d07ba6e22fe4c434"
    both = [image.tobytes() for loaded in (train, test) for image in loaded.images.numpy()]
    original = [np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in load_digits().images]
    assert sorted(both) == sorted(original)
    positions = [original.index(image) for image in both[:1347]]
    assert positions == sorted(positions)  # the order of scikit-learn is kept


def test_cached_digits_need_no_scikit_learn(tmp_path, monkeypatch):
    before = datasets.load("digits", "test", tmp_path)
    monkeypatch.setattr(datasets, "_read_digits", lambda split: pytest.fail("read again"))
    assert datasets.load("digits", "test", tmp_path).digest == before.digest


@pytest.fixture
def fake_cifar(tmp_path, monkeypatch):
    """A CIFAR-10 of 4 training and 2 test images in the official format, with its own checksums in torchvision."""
    from torchvision.datasets import CIFAR10

    def write(file, content):
        path = tmp_path / CIFAR10.base_folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps(content))
        return hashlib.md5(path.read_bytes()).hexdigest()

    pixels = random_pixels(0, (6, 3 * 32 * 32))
    batches = [
        ("data_batch_1", pixels[:2], [0, 1]),
        ("data_batch_2", pixels[2:4], [2, 1]),
        ("test_batch", pixels[4:], [2, 0]),
    ]
    sums = [[file, write(file, {"data": data, "labels": labels})] for file, data, labels in batches]
    meta = {"filename": "batches.meta", "key": "label_names"}
    meta["md5"] = write("batches.meta", {"label_names": ["airplane", "bird", "cat"]})
    monkeypatch.setattr(CIFAR10, "train_list", sums[:2])
    monkeypatch.setattr(CIFAR10, "test_list", sums[2:])
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return tmp_path, pixels.reshape(6, 3, 32, 32)


def no_network(*_, **__):
    raise URLError("no route to host")


def test_cifar_through_torchvision(fake_cifar, monkeypatch):
    root, pixels = fake_cifar
    train, test = (datasets.load("cifar10", split, root) for split in datasets.SPLITS)
    assert (train.images.numpy() == pixels[:4]).all() and (test.images.numpy() == pixels[4:]).all()
    assert train.images.is_contiguous() and train.labels.dtype == torch.int64
    assert train.labels.tolist() == [0, 1, 2, 1] and test.labels.tolist() == [2, 0]
    assert train.classes == ("airplane", "bird", "cat")
    monkeypatch.setattr(datasets, "_read_archive", lambda *_: pytest.fail("read again"))
    assert datasets.load("cifar10", "train", root).digest == train.digest


def test_altered_cifar_without_network_is_refused_before_it_is_unpickled(fake_cifar, monkeypatch):
    from torchvision.datasets import utils

    root, _ = fake_cifar
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(b"altered")
    monkeypatch.setattr(utils, "_get_redirect_url", no_network)
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("unpickled"))
    refused(FileNotFoundError, "cifar10", root / "cifar-10-batches-py", "no route to host", name="cifar10", root=root)


@pytest.mark.parametrize("name", datasets.ARCHIVES)
def test_no_network_and_no_data(tmp_path, monkeypatch, name):
    from torchvision.datasets import utils

    monkeypatch.setattr(utils, "_get_redirect_url", no_network)
    monkeypatch.setattr(utils, "_urlretrieve", no_network)
    folders = tmp_path / name, tmp_path / datasets.ARCHIVES[name]
    refused(FileNotFoundError, *folders, "no route to host", "connect to the network", name=name, root=tmp_path)


@pytest.fixture
def fake_stl10(tmp_path, monkeypatch):
    """An STL-10 of 4 training and 2 test images in the official format, without the unlabelled ones."""
    from torchvision.datasets import STL10

    pixels = random_pixels(0, (6, 3, 96, 96))
    by_column = pixels.transpose(0, 1, 3, 2)
    contents = {"train_X.bin": by_column[:4].tobytes(), "train_y.bin": bytes([1, 10, 3, 1]),
                "test_X.bin": by_column[4:].tobytes(), "test_y.bin": bytes([2, 9])}  # fmt: skip
    sums = [[file, hashlib.md5(content).hexdigest()] for file, content in contents.items()]
    monkeypatch.setattr(STL10, "train_list", [*sums[:2], ["unlabeled_X.bin", "0"]])
    monkeypatch.setattr(STL10, "test_list", sums[2:])
    contents["class_names.txt"] = b"airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n"

    def unpack(root):
        for file, content in {**contents, "unlabeled_X.bin": b"much"}.items():
            (Path(root) / "stl10_binary").mkdir(parents=True, exist_ok=True)
            (Path(root) / "stl10_binary" / file).write_bytes(content)

    return tmp_path, pixels, unpack


def test_stl10_needs_no_unlabelled_file(fake_stl10):
    root, pixels, unpack = fake_stl10
    unpack(root)
    (root / "stl10_binary/unlabeled_X.bin").unlink()
    train, test = (datasets.load("stl10", split, root) for split in datasets.SPLITS)
    assert (train.images.numpy() == pixels[:4]).all() and (test.images.numpy() == pixels[4:]).all()
    assert train.labels.tolist() == [0, 9, 2, 0] and test.labels.tolist() == [1, 8]
    assert train.classes[:3] == ("airplane", "bird", "car") and len(test.classes) == 10


def test_stl10_is_downloaded_once_and_only_its_labelled_part_kept(fake_stl10, monkeypatch):
    from torchvision.datasets import STL10, utils

    root, _, unpack = fake_stl10
    asked = []

    def download(url, download_root, extract_root, filename, md5):
        asked.append((url, filename, md5))
        unpack(extract_root)

    monkeypatch.setattr(utils, "download_and_extract_archive", download)
    for split in datasets.SPLITS:
        datasets.load("stl10", split, root)
    assert asked == [(STL10.url, STL10.filename, STL10.tgz_md5)]
    kept = ["class_names.txt", "test_X.bin", "test_y.bin", "train_X.bin", "train_y.bin"]
    assert sorted(os.listdir(root / "stl10_binary")) == kept
    assert not (root / ".cache/stl10-unpacking").exists()


def test_altered_stl10_file_is_named(fake_stl10):
    root, _, unpack = fake_stl10
    unpack(root)
    (root / "stl10_binary/train_y.bin").write_bytes(bytes([1, 10, 3, 2]))
    refused(ValueError, root / "stl10_binary/train_y.bin", "md5", "delete", name="stl10", root=root)


@pytest.mark.skipif(not CIFAR100.is_dir(), reason="the real CIFAR-100 is not in data/cifar100 (see data/README.md)")
def test_real_cifar100_is_complete():
    train, test = (datasets.load("cifar100", split, CIFAR100.parent) for split in datasets.SPLITS)
    assert train.images.shape == (50000, 3, 32, 32) and test.images.shape == (10000, 3, 32, 32)
    assert train.labels.bincount().tolist() == [500] * 100 and test.labels.bincount().tolist() == [100] * 100
    assert train.classes == test.classes == tuple(sorted(train.classes))
    assert train.classes[0] == "apple" and train.classes[-1] == "worm"
    mean, std = datasets.statistics(train.images)  # the constants everyone uses for CIFAR-100
    torch.testing.assert_close(mean, torch.tensor([0.5071, 0.4865, 0.4409]), atol=1e-4, rtol=0)
    torch.testing.assert_close(std, torch.tensor([0.2673, 0.2564, 0.2762]), atol=1e-4, rtol=0)


# Subsets


@pytest.mark.parametrize("stratified", [False, True])
def test_subset_is_sorted_nested_and_depends_on_the_seed_alone(stratified):
    images = labelled([i % 3 for i in range(50)])
    draws = [datasets.subset(images, count, seed=5, stratified=stratified) for count in range(1, 51)]
    for count, draw in enumerate(draws, 1):
        assert draw.dtype == torch.int64 and len(set(draw.tolist())) == count
        assert draw.tolist() == sorted(draw.tolist())
    assert all(set(small.tolist()) < set(large.tolist()) for small, large in pairwise(draws))
    assert draws[-1].tolist() == list(range(50))
    assert torch.equal(draws[20], datasets.subset(images, 21, seed=5, stratified=stratified))
    assert not torch.equal(draws[20], datasets.subset(images, 21, seed=6, stratified=stratified))


def test_subset_is_the_start_of_a_permutation():
    expected = sorted(np.random.default_rng(3).permutation(12)[:4].tolist())
    assert datasets.subset(labelled([0] * 12), 4, seed=3).tolist() == expected


def test_stratified_subset_is_as_equal_as_possible():
    there = [30, 2, 20]
    images = labelled([0] * there[0] + [1] * there[1] + [2] * there[2])
    for count in range(1, 53):
        sizes = images.labels[datasets.subset(images, count, seed=1, stratified=True)].bincount(minlength=3).tolist()
        assert sum(sizes) == count
        assert all(sizes[a] - sizes[b] <= 1 or sizes[b] == there[b] for a, b in permutations(range(3), 2))


def test_stratified_subset_favours_no_class():
    images = labelled([i % 10 for i in range(100)])
    first = [int(images.labels[datasets.subset(images, 1, seed=seed, stratified=True)]) for seed in range(200)]
    assert set(first) == set(range(10))


@pytest.mark.parametrize("count", [0, -3, 51, 2.0])
def test_subset_names_both_numbers(count):
    with pytest.raises(ValueError, match=rf"cannot draw {count} .* 1 to 50"):
        datasets.subset(labelled([0] * 50), count, seed=0)


@pytest.mark.parametrize("seed", [-1, 1.5, None, "0"])
def test_seed_must_be_a_whole_number(seed):
    with pytest.raises(ValueError, match="seed must be"):
        datasets.subset(labelled([0] * 5), 1, seed=seed)


def test_long_tail_by_hand():
    labels = torch.tensor([2, 1, 0] * 200 + [0] * 50)  # the smallest class has 200: keep 200, 20, 2
    chosen = datasets.long_tailed(labels, ratio=100, seed=0)
    assert labels[chosen].bincount().tolist() == [200, 20, 2]
    assert chosen.dtype == torch.int64 and chosen.tolist() == sorted(set(chosen.tolist()))
    assert torch.equal(chosen, datasets.long_tailed(labels, ratio=100, seed=0))
    assert not torch.equal(chosen, datasets.long_tailed(labels, ratio=100, seed=1))


def test_long_tail_keeps_at_least_one_and_ratio_one_keeps_equal_classes():
    labels = torch.arange(4).repeat(10)
    assert labels[datasets.long_tailed(labels, ratio=1e6, seed=0)].bincount().tolist() == [
        10,
        1,
        1,
        1,
    ]  # .1 rounds to 0
    assert datasets.long_tailed(labels, ratio=1, seed=0).tolist() == list(range(40))
    assert len(datasets.long_tailed(torch.zeros(7, dtype=torch.int64), seed=0)) == 7


def test_long_tail_refuses():
    with pytest.raises(ValueError, match=r"ratio .* got 0.5"):
        datasets.long_tailed(torch.tensor([0, 1]), ratio=0.5, seed=0)
    with pytest.raises(ValueError, match="class 1 has no examples"):
        datasets.long_tailed(torch.tensor([0, 2]), seed=0)


# Pixels


def test_statistics_by_hand():
    images = torch.tensor([[[[0, 255]], [[51, 51]]], [[[0, 255]], [[51, 51]]]], dtype=torch.uint8)  # (2, 2, 1, 2)
    mean, std = datasets.statistics(images)
    assert mean.dtype == std.dtype == torch.float32
    assert mean.tolist() == torch.tensor([0.5, 0.2]).tolist() and std.tolist() == [0.5, 0.0]


def test_statistics_are_those_of_float64_whatever_the_order():
    images = torch.from_numpy(random_pixels(2, (40, 3, 6, 5)))
    mean, std = datasets.statistics(images)
    wide = images.double().div(255).transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean, wide.mean(1).float(), rtol=1e-7, atol=0)
    torch.testing.assert_close(std, wide.std(1, correction=0).float(), rtol=1e-7, atol=0)
    for other in (images.flip(0), images.contiguous(memory_format=torch.channels_last)):
        assert all(torch.equal(a, b) for a, b in zip(datasets.statistics(other), (mean, std), strict=True))


def test_normalise():
    images = torch.from_numpy(random_pixels(3, (10, 3, 4, 4)))
    before = images.clone()
    mean, std = datasets.statistics(images)
    pixels = datasets.normalise(images, mean, std)
    expected = (images.float() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    assert torch.equal(pixels, expected) and torch.equal(images, before)
    assert torch.equal(datasets.normalise(images, mean, std, torch.bfloat16), expected.bfloat16())
    wide = datasets.normalise(images, mean, std, torch.float64)
    assert wide.dtype == torch.float64 and wide.mean((0, 2, 3)).abs().max() < 1e-6
    strided = datasets.normalise(images.contiguous(memory_format=torch.channels_last), mean, std)
    assert strided.is_contiguous(memory_format=torch.channels_last) and torch.equal(strided, expected)


def test_constant_channel_becomes_zero():
    images = torch.full((2, 1, 3, 3), 51, dtype=torch.uint8)
    assert torch.equal(datasets.normalise(images, *datasets.statistics(images)), torch.zeros(2, 1, 3, 3))


def test_pixels_must_be_uint8_images_of_the_same_channels():
    images = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"uint8 images .* torch.float32"):
        datasets.statistics(images)
    with pytest.raises(ValueError, match=r"uint8 images .* \(3, 4, 4\)"):
        datasets.statistics(images[0].byte())
    with pytest.raises(ValueError, match="3 channels but the statistics are for 1"):
        datasets.normalise(images.byte(), torch.zeros(1), torch.ones(1))


def test_moments_of_pixels_up_to_255_are_refused():
    images = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    assert torch.equal(datasets.normalise(images, (0.5,) * 3, (0.25,) * 3), torch.full((1, 3, 2, 2), 2.0))
    with pytest.raises(ValueError, match=r"^mean and std are of pixels from 0 to 1: divide by 255 those of pixels"):
        datasets.normalise(images, (123.0,) * 3, (58.0,) * 3)
