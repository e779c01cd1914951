"""Folders as streams: what comes in which order, the usual resizing, and never more than a batch in memory."""

from dataclasses import replace

import numpy
import pytest
import torch
from PIL import Image

from lib import cost, datasets, folders, importance, networks


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


def test_what_cannot_be_read_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no images .* in .*nothing"):
        folders.stream(tmp_path / "nothing", 8)
    (folder / "a/9.bmp").write_bytes(b"BM no more")
    with pytest.raises(ValueError, match=r"cannot read image .*9.bmp .*: replace or remove it"):
        list(folders.stream(folder, 8))


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
