"""Folders as streams: what comes in which order, the usual resizing, and never more than a batch in memory."""

import shutil
from collections import namedtuple
from dataclasses import replace
from functools import partial

import numpy
import pytest
import torch
from PIL import Image

from lib import cost, importance
from lib.images import datasets, files, folders, networks


@pytest.fixture
def folder(tmp_path):
    """Five images of mixed sizes and kinds in two classes, named so that their order is not that of their making."""
    made = {"b/2.png": (20, 30), "b/1.jpg": (31, 17), "a/x/deep.png": (16, 16), "a/9.bmp": (8, 8), "b/note.txt": None}
    for name, size in made.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if size:
            Image.new("RGB", size, (255, 0, 51)).save(path)
        else:
            path.write_text("no image")
    Image.new("L", (9, 12), 255).save(tmp_path / "images/a/grey.png")
    return tmp_path / "images"


def names(stream):
    return [name.split("/")[-1] for name in stream.names]


def test_images_come_in_the_order_of_their_paths_in_batches_of_one_size(folder):
    stream = folders.stream(folder, 14, batch=2, labelled=True, moments=((0, 0, 0), (1, 1, 1)))
    assert names(stream) == ["9.bmp", "grey.png", "deep.png", "1.jpg", "2.png"]
    images, labels, indices = zip(*stream, strict=True)
    assert [tuple(part.shape) for part in images] == [(2, 3, 14, 14), (2, 3, 14, 14), (1, 3, 14, 14)]
    assert torch.cat(labels).tolist() == [0, 0, 0, 1, 1] and stream.classes == ("a", "b")
    assert torch.cat(indices).tolist() == [0, 1, 2, 3, 4]
    assert images[0][0].mean((1, 2)).tolist() == pytest.approx([1, 0, 0.2])
    assert images[0][1].mean((1, 2)).tolist() == [1, 1, 1]  # grey becomes three equal channels


@pytest.mark.parametrize("stretched", [False, True])
def test_by_moments_of_one_channel_images_are_grey(folder, stretched):
    stream = folders.stream(folder, 8, batch=9, moments=((0.5,), (0.25,)), stretched=stretched)
    ((images, _, _),) = stream
    assert images.shape == (5, 1, 8, 8)
    luma = round(0.299 * 255 + 0.114 * 51)  # of ITU-R BT.601, which Pillow documents for "L"
    assert images[0].flatten().tolist() == pytest.approx([(luma / 255 - 0.5) / 0.25] * 64)
    assert images[1].flatten().tolist() == [2] * 64  # white stays white


def test_grey_files_have_the_levels_that_they_have(tmp_path):
    levels = numpy.arange(256, dtype=numpy.uint8).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "levels.png")
    found = next(folders.stream(tmp_path, 16, moments=((0,), (1,))).raw())[0]
    assert torch.equal(found, torch.from_numpy(levels)[None, None])


def test_what_is_left_out_is_said_once_and_not_for_every_batch(folder, caplog):
    list(folders.stream(folder, 14, batch=2))
    (line,) = caplog.messages
    assert line == f"{folder}: left out: 1 not images (.txt); such as b/note.txt"


def test_labels_are_withheld_unless_asked_for_and_pixels_normalised_as_for_imagenet(folder):
    images, labels, _ = next(iter(folders.stream(folder, 14)))
    assert labels is None
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]
    assert images[0].mean((1, 2)).tolist() == pytest.approx(expected, abs=1e-5)


def test_resizing_is_the_one_usual_for_imagenet(tmp_path):
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

    noise = numpy.random.default_rng(0).integers(0, 256, (50, 81, 3), dtype=numpy.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    ours = next(folders.stream(tmp_path, 28).raw())[0][0]
    assert torch.equal(ours, Compose([Resize(32), CenterCrop(28), PILToTensor()])(Image.fromarray(noise)))


def test_a_stream_can_be_read_again_and_leaves_the_random_state(folder):
    stream, before = folders.stream(folder, 8, batch=3), torch.random.get_rng_state()
    first, second = (torch.cat([images for images, _, _ in stream]) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_part_keeps_the_indices_of_the_whole(folder):
    stream = folders.stream(folder, 8, batch=2)
    part = stream.first(3)
    assert names(part) == ["9.bmp", "grey.png", "1.jpg"]
    assert torch.cat([indices for _, _, indices in part]).tolist() == [0, 1, 3]
    assert names(stream.first(5)) == names(stream)
    for count in (0, 6):
        with pytest.raises(ValueError, match=f"cannot stream {count} images: there are 5"):
            stream.first(count)


def test_a_flat_folder_streams_but_has_no_labels(folder):
    flat = folder / "a/x"
    images, labels, _ = next(iter(folders.stream(flat, 8)))
    assert len(images) == 1 and labels is None
    with pytest.raises(ValueError, match="lie outside the folders of classes"):
        folders.stream(flat, 8, labelled=True)
    (folder / "stray.png").write_bytes((flat / "deep.png").read_bytes())
    with pytest.raises(ValueError, match="lie outside the folders of classes"):
        folders.stream(folder, 8, labelled=True)


def test_hidden_files_are_left_out_and_links_followed(folder, tmp_path):
    (folder / ".hidden").mkdir()
    (folder / ".hidden/2.png").write_bytes((folder / "b/2.png").read_bytes())
    (folder / "b/._2.png").write_bytes(b"")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/z").symlink_to(folder / "b")
    assert len(folders.stream(folder, 8)) == 5
    assert folders.stream(tmp_path / "linked", 8).names == ("z/1.jpg", "z/2.png")
    (folder / "a/round").symlink_to("..")
    (folder / "b/again").symlink_to("../a")
    assert len(folders.stream(folder, 8)) == 5  # no image twice


def test_an_empty_class_is_named_where_labels_are_asked_for(folder):
    (folder / "aa").mkdir()
    assert folders.stream(folder, 8).classes == ("a", "aa", "b")
    assert folders.stream(folder, 8).targets.tolist() == [0, 0, 0, 2, 2]
    for call in (partial(folders.stream, labelled=True), folders.image_set):
        with pytest.raises(
            ValueError, match=rf"^class {folder}/aa is empty: put images .* or remove the folder if it is no class$"
        ):
            call(folder, 8)


def test_what_cannot_be_read_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no images .* in .*nothing"):
        folders.stream(tmp_path / "nothing", 8)
    (folder / "a/9.bmp").write_bytes(b"BM no more")
    with pytest.raises(ValueError, match=r"cannot read image .*9.bmp .*: replace or remove it"):
        list(folders.stream(folder, 8))


@pytest.mark.parametrize("workers", [0, 2])
def test_all_that_cannot_be_read_is_named_at_once(folder, workers):
    stream = folders.stream(folder, 8, batch=1, workers=workers)
    for name in stream.names[1:4]:
        (folder / name).write_bytes(b"")
    with pytest.raises(ValueError) as caught:
        list(stream)
    parts = [f"{folder / name} (cannot identify image file '{folder / name}')" for name in stream.names[1:4]]
    assert str(caught.value) == f"cannot read 3 images {', '.join(parts)}: replace or remove them"


def test_of_many_that_cannot_be_read_the_first_are_named():
    assert str(files.Unreadable(*"abcdefg")) == "cannot read 7 images a, b, c, d, e and 2 more: replace or remove them"


def test_deep_images_are_refused_and_not_clipped(folder):
    Image.fromarray(numpy.full((9, 9), 40000, numpy.uint16)).save(folder / "a/9.bmp", "PNG")
    with pytest.raises(ValueError, match=r"9.bmp \(more than 8 bits per channel\): replace or remove it"):
        list(folders.stream(folder, 8))


def test_images_that_would_be_scaled_beyond_memory_are_named(folder):
    Image.new("L", (60_000, 1)).save(folder / "a/9.bmp")
    assert len(list(folders.stream(folder, 8))) == 1  # 540,000 x 9 pixels
    with pytest.raises(ValueError, match=r"9.bmp \(60000x1 is too long to be scaled to a shorter side of 64\): "):
        list(folders.stream(folder, 56))


def test_both_sets_to_train_and_to_test_on_have_the_same_classes(tmp_path):
    for split, count in (("train", 20), ("test", 10)):
        folders.write_digits(tmp_path, split, 8, count)
    train, test = folders.image_sets(tmp_path, 8)
    assert (len(train), len(test), train.split, test.split) == (20, 10, "train", "test")
    assert train.classes == test.classes == tuple("0123456789")
    assert len(folders.image_sets(tmp_path, 8, 10)) == 2
    with pytest.raises(ValueError, match=rf"^{tmp_path}/train has 10 folders of classes, but the network has 11: "):
        folders.image_sets(tmp_path, 8, 11)
    shutil.rmtree(tmp_path / "test/4")
    with pytest.raises(ValueError, match="classes in only one of train and test: 4; give both the same"):
        folders.image_sets(tmp_path, 8)


def test_a_labelled_folder_becomes_a_set_to_train_on(folder):
    found = folders.image_set(folder, 8)
    assert found.images.shape == (5, 3, 8, 8) and found.images.dtype == torch.uint8
    assert found.labels.tolist() == [0, 0, 0, 1, 1] and found.classes == ("a", "b")


def test_digits_stand_in_for_photographs(tmp_path):
    made = folders.write_digits(tmp_path, "test", 32, 20)
    assert made == tmp_path / "test"
    stream = folders.stream(made, 32, labelled=True)
    assert stream.classes == tuple("0123456789")
    assert sorted(stream.targets.tolist()) == sorted([*range(10)] * 2)
    sizes = set()
    for name in stream.names:
        with Image.open(made / name) as image:
            sizes.add(image.size)
    assert len(sizes) > 10 and all(32 <= side < 48 for size in sizes for side in size)
    digits = datasets.load("digits", "test", tmp_path)
    index = int(stream.names[0].split("/")[1].split("-")[0])
    assert int(digits.labels[index]) == stream.targets[0]
    assert len(folders.stream(folders.write_digits(tmp_path / "many", "test", 8, 460), 8)) == 460  # of 450


def test_memory_of_scoring_does_not_grow_with_the_number_of_images(tmp_path):
    stream = folders.stream(folders.write_digits(tmp_path, "train", 16, 40), 16, batch=4)
    model = networks.build("resnet8", 10).eval()
    parts = [stream.first(count) for count in (8, 16, 40)]
    peaks = {cost.peak_bytes(lambda part=part: importance.score(model, part, ["sq:rand:norm"])) for part in parts}
    assert len(peaks) == 1


def test_a_stream_scores_as_the_same_images_in_memory_whatever_the_batch(tmp_path):
    stream = folders.stream(folders.write_digits(tmp_path, "train", 16, 30), 16, batch=7)
    model, name = networks.build("resnet8", 10).eval(), "molchanov-bn:rand:norm"
    whole = [tuple(None if part[0] is None else torch.cat(part) for part in zip(*stream, strict=True))]
    both = [importance.score(model, batches, [name])[name] for batches in (stream, whole)]
    torch.testing.assert_close(*both, rtol=1e-5, atol=0)


def test_shares_follow_one_another_in_whole_runs_and_read_only_their_own(folder):
    stream = folders.stream(folder, 8, batch=2)
    shares = [stream.share(rank, 2, 2) for rank in range(2)]  # runs of 2, 2 and 1 images
    assert [names(share) for share in shares] == [["9.bmp", "grey.png"], ["deep.png", "1.jpg", "2.png"]]
    assert [share.places.tolist() for share in shares] == [[0, 1], [2, 3, 4]]
    (folder / "a/9.bmp").write_bytes(b"BM no more")  # the other share does not notice
    assert torch.cat([indices for _, _, indices in shares[1]]).tolist() == [2, 3, 4]
    assert list(stream.share(0, 9, 32)) == [] and len(stream.share(8, 9, 32)) == 5  # one run for nine


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_decode_the_same_and_name_what_cannot_be_read(folder, workers):
    stream = folders.stream(folder, 8, batch=2, labelled=True)
    for mine, theirs in zip(stream, replace(stream, workers=workers), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    (folder / "a/9.bmp").write_bytes(b"BM no more")
    with pytest.raises(ValueError, match=r"^cannot read image .*9.bmp .*: replace or remove it$"):
        list(replace(stream, workers=workers))


@pytest.mark.parametrize(
    ("free", "processes", "shared"), [(960, 1, True), (959, 1, False), (1920, 2, True), (1919, 2, False)]
)
def test_batches_do_without_shared_memory_where_it_is_small(folder, monkeypatch, free, processes, shared):
    """Two workers, each 2 batches ahead of the one in use: 5 batches of 2 x 3 x 4 x 4 bytes, twice."""
    stream = folders.stream(folder, 4, batch=2, labelled=True, workers=2)
    expected, ways = list(stream.raw()), []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(free))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    loader = folders.DataLoader
    monkeypatch.setattr(folders, "DataLoader", lambda *a, **more: ways.append(more["collate_fn"]) or loader(*a, **more))
    for mine, theirs in zip(stream.raw(), expected, strict=True):
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(mine, theirs, strict=True))
    assert ways == [folders.default_collate if shared else folders._arrays]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_fail_otherwise_are_told_in_one_line(folder, monkeypatch, workers):
    def full(*_):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(folders, "_pixels", full)
    line = r"^processes that read images fail: take fewer workers \(unable to allocate .* left on device \(28\)\)$"
    with pytest.raises(RuntimeError, match=line):
        list(folders.stream(folder, 8, batch=2, workers=workers))


def test_more_workers_than_cores_are_not_warned_of(folder):
    assert len(list(folders.stream(folder, 8, batch=1, workers=5))) == 5


@pytest.mark.parametrize("workers", [0, 1])
def test_an_odd_name_is_told_in_one_line(folder, workers):
    (folder / "a/new\nline.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^cannot read image .*/a/new\\nline.png \(cannot identify .*\): replace or"):
        list(folders.stream(folder, 8, workers=workers))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pixels": "32"}, "pixels='32' must be a whole number of at least 1"),
        ({"pixels": 0}, "pixels=0 must be a whole number of at least 1"),
        ({"batch": 0}, "batch=0 must be a whole number of at least 1"),
        ({"batch": "3"}, "batch='3' must be a whole number of at least 1"),
        ({"workers": -1}, "workers=-1 must be a whole number of at least 0"),
        ({"classes": "10", "labelled": True}, "classes='10' must be a whole number of at least 1"),
        ({"moments": ((0.5, 0.5), (0.5, 0.5))}, "moments=((0.5, 0.5), (0.5, 0.5)) must be the means of the 3 channels"),
        ({"moments": ((0.5,), (0.5, 0.5, 0.5))}, "moments=((0.5,), (0.5, 0.5, 0.5)) must be the means of the 3"),
        ({"moments": (0.5, 0.5)}, "moments=(0.5, 0.5) must be the means of the 3 channels and their deviations, such"),
        ({"moments": None}, "moments=None must be the means of the 3 channels and their deviations, such as ((0.5,"),
        ({"moments": ("rgb", (1, 1, 1))}, "moments=('rgb', (1, 1, 1)) must be the means"),
        (
            {"moments": ((0, float("nan"), 0), (1, 1, 1))},
            "a mean of the channels must be a number from 0 to 1, not nan",
        ),
        (
            {"moments": ((0, float("inf"), 0), (1, 1, 1))},
            "a mean of the channels must be a number from 0 to 1, not inf",
        ),
        ({"moments": ((0, 0, "0"), (1, 1, 1))}, "a mean of the channels must be a number from 0 to 1, not 0"),
        (
            {"moments": ((123.7, 0, 0), (1, 1, 1))},
            "a mean of the channels must be a number from 0 to 1, not 123.7, which",
        ),
        ({"folder": None}, "path=None must be the name of a file"),
    ],
)
def test_what_are_no_sizes_or_moments(folder, given, message):
    with pytest.raises(ValueError) as caught:
        folders.stream(**{"folder": folder, "pixels": 8, **given})
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_parts_of_a_stream_are_checked_like_it(folder):
    stream = folders.stream(folder, 8, moments=torch.tensor(folders.IMAGENET))
    assert len(list(stream)) == 1
    with pytest.raises(ValueError, match=r"^batch=0 must be a whole number of at least 1$"):
        replace(stream, batch=0)
    with pytest.raises(ValueError, match=r"^count='3' must be a whole number of at least 0$"):
        stream.first("3")


def test_a_file_in_place_of_a_folder_is_called_one(folder):
    file = folder / "b/note.txt"
    for call in (folders.stream, folders.image_set):
        with pytest.raises(NotADirectoryError, match=f"^{file} is a file: name the folder that it is in, or another$"):
            call(file, 8)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_deviations_of_channels_are_above_zero(tmp_path, value):
    with pytest.raises(ValueError, match="a deviation of the channels must be a number above 0, at most 1, not"):
        folders.stream(tmp_path, 8, moments=((0.5, 0.5, 0.5), (0.5, value, 0.5)))


def test_an_image_of_the_size_asked_for_stays_as_it_is(tmp_path):
    pixels = numpy.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    ((images, _, _),) = folders.stream(tmp_path, 8).raw()
    assert torch.equal(images[0], torch.from_numpy(pixels).movedim(-1, 0))


def test_a_file_of_classes_beside_the_folder_says_their_numbers(tmp_path):
    photo = Image.new("RGB", (8, 8))
    for name in ("cat", "dog"):
        (tmp_path / "val" / name).mkdir(parents=True)
        photo.save(tmp_path / "val" / name / "1.png")
    (tmp_path / "classes.txt").write_text("ape\ndog\ncat\n")
    found = folders.stream(tmp_path / "val", 8, classes=3, labelled=True)
    assert found.classes == ("ape", "dog", "cat") and found.targets.tolist() == [2, 1]
    assert folders.stream(tmp_path / "val", 8).targets.tolist() == [0, 1]  # nobody asks for the network's numbers
    with pytest.raises(
        ValueError, match=r"^.*/classes\.txt names 3 classes, but the network has 4: one a line, in the"
    ):
        folders.stream(tmp_path / "val", 8, classes=4, labelled=True)
    (tmp_path / "classes.txt").write_text("dog\nape\n")
    with pytest.raises(ValueError, match=r"/val: classes that .*/classes\.txt does not name: cat; add or remove them$"):
        folders.stream(tmp_path / "val", 8, labelled=True)


def test_images_that_are_elsewhere_too_are_told_whether_copied_linked_or_renamed(folder, tmp_path):
    other = tmp_path / "other"
    (other / "c").mkdir(parents=True)
    shutil.copy(folder / "b/1.jpg", other / "c/copied.jpg")
    (other / "linked.bmp").symlink_to(folder / "a/9.bmp")
    Image.new("RGB", (16, 16), (1, 2, 3)).save(other / "deep.png")  # of that name, but not that image
    stream = folders.stream(folder, 8, labelled=True)
    found = stream.among([folders.stream(other, 8)])
    assert [name for name, there in zip(names(stream), found, strict=True) if there] == ["9.bmp", "1.jpg"]
    left = stream.only(~found)
    assert names(left) == ["grey.png", "deep.png", "2.png"] and left.classes == stream.classes
    assert left.targets.tolist() == [0, 0, 1] and left.places.tolist() == [1, 2, 4]
    assert not stream.among([]).any() and stream.among([stream]).all()


@pytest.mark.parametrize(("last", "line"), [
    (9, ""), (10, "folders come by name, 10 before 2, so that 10 is label 2: if that is not the order"),
])  # fmt: skip
def test_numbered_folders_that_come_in_another_order_than_counted_are_told(tmp_path, caplog, last, line):
    for number in range(last + 1):
        (tmp_path / f"images/{number}").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / f"images/{number}/0.png")
    folders.stream(tmp_path / "images", 8)
    assert not caplog.messages  # without labels their order means nothing
    assert folders.stream(tmp_path / "images", 8, labelled=True).classes[2] == ("10" if line else "2")
    assert line in "".join(caplog.messages) and len(caplog.messages) == bool(line)
    (tmp_path / "classes.txt").write_text("\n".join(map(str, range(last + 1))))
    caplog.clear()
    assert folders.stream(tmp_path / "images", 8, labelled=True).classes[2] == "2" and not caplog.messages
