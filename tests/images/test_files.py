"""images.files: what is an image, a class, a size, a depth, and which files are left out: one rule for every way in."""

import logging
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lib.images import files
from lib.images.files import SUFFIXES

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
RGB = Image.fromarray(PIXELS)


def make(folder, *names):
    """Images under these names; others get a line of text."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.lower().endswith(SUFFIXES):
            RGB.save(path)
        else:
            path.write_text("no image")
    return folder


def refused(call, *given):
    """The one line that this call is refused with."""
    with pytest.raises(ValueError) as caught:
        call(*given)
    (line,) = str(caught.value).splitlines()
    return line


# Folders


def test_classes_and_their_images_at_any_depth_are_in_torchvisions_order(tmp_path):
    from torchvision.datasets import ImageFolder

    inside = ["2.png", "10.png", "B.PNG", "a/x/0.png", "a/1.png", "a-b/1.png", "a.png", "Z/0.jpeg", "9.png/0.png"]
    make(tmp_path, *(f"{name}/{image}" for name in ("dog", "cat", "cat-like", "Ünïcode") for image in inside))
    found, theirs = files.below(tmp_path), ImageFolder(tmp_path)
    assert list(found.classes) == theirs.classes == ["cat", "cat-like", "dog", "Ünïcode"]
    assert [str(tmp_path / name) for name in found.images] == [path for path, _ in theirs.samples]
    assert len(found.images) == 4 * 9 and not found.loose and not found.left_out


def test_what_is_left_out_is_said_in_one_line(tmp_path, caplog):
    make(tmp_path, "cat/1.png", "cat/.hidden.png", "cat/.old/2.png", "cat/notes.txt", "list.csv", "cat/3.gif", "dog")
    found = files.below(tmp_path)
    assert found.images == ["cat/1.png"] and list(found.classes) == ["cat"]
    assert sorted(found.left_out) == ["cat/.hidden.png", "cat/.old", "cat/3.gif", "cat/notes.txt", "dog", "list.csv"]
    found.tell()
    line = f"{tmp_path}: left out: 4 not images (no ending .csv .gif .txt), 2 hidden; such as cat/3.gif"
    assert caplog.record_tuples == [("lib.images.files", logging.WARNING, line)]
    caplog.clear()
    files.below(tmp_path / "cat/.old").tell()
    assert not caplog.records


def test_what_is_left_out_is_counted_by_its_reason(tmp_path, caplog):
    make(tmp_path, "a/1.png", "a/.x", *(f"{n}.txt" for n in range(3)), "b.TXT", *(f"1.{letter}" for letter in "edcba"))
    (tmp_path / "round").symlink_to(".")
    (tmp_path / "again").symlink_to("a")
    files.below(tmp_path).tell()
    others = "9 not images (.txt .a .b .c .d ...), 1 hidden, 2 links to what is read anyway"
    assert caplog.messages == [f"{tmp_path}: left out: {others}; such as 0.txt"]


def test_images_beside_classes_are_loose(tmp_path):
    found = files.below(make(tmp_path, "b.png", "a.png", "cat/1.png"))
    assert found.loose == ["a.png", "b.png"] and found.images == ["a.png", "b.png", "cat/1.png"]
    assert refused(found.require_classes) == (
        f"images of {tmp_path} lie outside the folders of classes, such as a.png: lay it out as <class>/<image>"
    )


def test_every_folder_is_a_class_and_an_empty_one_is_named(tmp_path):
    make(tmp_path, "a/1.png", "c/deep/1.png")
    (tmp_path / "b/deep").mkdir(parents=True)
    found = files.below(tmp_path)
    assert found.classes == {"a": ["a/1.png"], "b": [], "c": ["c/deep/1.png"]}
    remedy = f"put images ({' '.join(SUFFIXES)}) into it, or remove the folder if it is no class"
    assert refused(found.require_classes) == f"class {tmp_path}/b is empty: {remedy}"
    line = refused(files.below(tmp_path / "b/deep").require_classes)
    assert line == f"{tmp_path}/b/deep has no classes: give it one folder of images for each class"


def test_thousands_of_classes(tmp_path):
    for number in range(3000):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}/1.png").write_bytes(b"")
    found = files.below(tmp_path)
    found.require_classes()
    assert list(found.classes) == sorted(map(str, range(3000)))
    assert found.images == [f"{name}/1.png" for name in found.classes]


# Links


def test_links_in_a_circle_are_followed_by_nobody(tmp_path):
    images = [f"{name}/{number}.png" for name in ("a", "b") for number in range(8)]
    make(tmp_path, *images)
    for name, target in {"a/round": "..", "b/round": "../b", "a/other": "../b", "self": ".", "up": ".."}.items():
        (tmp_path / name).symlink_to(target)
    found = files.below(tmp_path)
    assert found.images == images
    assert sorted(found.left_out) == ["a/other", "a/round", "b/round", "self", "up"]
    assert refused(found.require_classes).startswith(f"class {tmp_path}/self leads to a folder that is read already: ")


def test_links_lead_anywhere_but_no_folder_is_read_twice(tmp_path):
    make(tmp_path / "far", "x/1.png", "x/y/2.png", "z/3.png")
    folder = make(tmp_path / "here", "a/0.png")
    (folder / "b").symlink_to(tmp_path / "far/x")
    (folder / "c").symlink_to(tmp_path / "far")  # x again is left out
    (folder / "d").symlink_to(tmp_path / "far/x/y")
    (folder / "e.png").symlink_to(tmp_path / "far/z/3.png")  # one image, not a folder: as often as it is linked
    (folder / "a/e.png").symlink_to("0.png")
    found = files.below(folder)
    assert found.images == ["e.png", "a/0.png", "a/e.png", "b/1.png", "b/y/2.png", "c/z/3.png"]
    assert sorted(found.left_out) == ["c/x", "d"]
    (tmp_path / "there").symlink_to(folder)
    assert files.below(tmp_path / "there").images == found.images


def test_a_link_to_a_hidden_folder_within_is_the_only_way_to_it(tmp_path):
    make(tmp_path, ".store/v1/1.png")
    (tmp_path / "cat").symlink_to(".store/v1")
    assert files.below(tmp_path).images == ["cat/1.png"]


@pytest.mark.parametrize("kind", ["dangling", "itself", "pipe"])
def test_what_is_named_like_an_image_and_is_no_file_is_named(tmp_path, kind):
    make(tmp_path, "cat/1.png")
    odd = tmp_path / "cat/2.png"
    os.mkfifo(odd) if kind == "pipe" else odd.symlink_to("2.png" if kind == "itself" else "nowhere")
    assert refused(files.below, tmp_path) == f"cannot read image {odd} (not a file): replace or remove it"


def test_links_that_lead_nowhere_and_are_no_images_are_left_out(tmp_path):
    make(tmp_path, "cat/1.png")
    (tmp_path / "cat/nowhere").symlink_to("nothing")
    (tmp_path / "cat/round").symlink_to("round")
    found = files.below(tmp_path)
    assert found.images == ["cat/1.png"] and sorted(found.left_out) == ["cat/nowhere", "cat/round"]


# Names


def test_odd_names_are_read_and_shown_in_one_line(tmp_path):
    odd = ["new\nline.png", "tab\t.png", "ünï\u2028.png", "\udcff.png", "'quoted' \"twice\".png", "-rf.png", "日本.png"]
    make(tmp_path, *(f"{name.removesuffix('.png')}/{name}" for name in odd))
    found = files.below(tmp_path)
    assert {name.split("/")[1] for name in found.images} == set(odd)
    for name in found.images:
        files.read(tmp_path / name)
        (tmp_path / name).write_bytes(b"")
        assert refused(files.read, tmp_path / name).startswith("cannot read image ")
    assert files.shown("a/new\nline\t\udcff ü.png") == r"a/new\nline\t\udcff ü.png"


def test_a_name_that_is_not_utf8_is_refused_where_it_has_to_be():
    files.require_utf8("é.parquet")
    assert refused(files.require_utf8, "\udcff.parquet") == r"\udcff.parquet is not a name in UTF-8: take another"


def test_the_fingerprint_tells_names_sizes_and_dates(tmp_path):
    make(tmp_path, "a.png", "b.png")
    before = files.fingerprint(tmp_path, ["a.png", "b.png"])
    assert before.startswith("2 files, ") and before == files.fingerprint(str(tmp_path), ["a.png", "b.png"])
    assert len({before, files.fingerprint(tmp_path, ["b.png", "a.png"]), files.fingerprint(tmp_path, ["a.png"])}) == 3
    os.utime(tmp_path / "b.png", ns=(1, 1))
    dated = files.fingerprint(tmp_path, ["a.png", "b.png"])
    (tmp_path / "b.png").write_bytes(b"")
    os.utime(tmp_path / "b.png", ns=(1, 1))
    assert len({before, dated, files.fingerprint(tmp_path, ["a.png", "b.png"])}) == 3


# Pixels


def png(bits, kind, channels):
    """A black PNG of 7 x 5 pixels, as Pillow does not write them."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = (b"\0" + bytes(7 * channels * bits // 8)) * 5
    header = struct.pack(">IIBBBBB", 7, 5, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(bits, planes):
    """A black RGB TIFF of 7 x 5 pixels, its channels interleaved or one after another."""
    size, count = 7 * 5 * 3 * bits // 8, 3 if planes else 1
    strips = [[8 + size // count * number for number in range(count)], [size // count] * count]
    after = struct.pack(f"<3H{2 * count}I", bits, bits, bits, *strips[0], *strips[1])
    offsets, sizes = (8 + size + 6, 8 + size + 6 + 4 * count) if planes else (8, size)
    tags = [(256, 7), (257, 5), (258, 8 + size), (259, 1), (262, 2), (273, offsets), (277, 3), (278, 5), (279, sizes)]
    lengths = {258: 3, 273: count, 279: count}
    entries = [struct.pack("<HHII", tag, 3 if tag == 258 else 4, lengths.get(tag, 1), v) for tag, v in tags]
    entries.append(struct.pack("<HHII", 284, 3, 1, 2 if planes else 1))
    table = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + size + len(after)) + bytes(size) + after + table


DEEP = {
    "grey.png": png(16, 0, 1), "colour.png": png(16, 2, 3), "alpha.png": png(16, 6, 4), "grey-alpha.png": png(16, 4, 2),
    "colour.ppm": b"P6 7 5 65535\n" + bytes(210), "odd.ppm": b"P6 7 5 1023\n" + bytes(210),
    "grey.pgm": b"P5 7 5 1023\n" + bytes(70), "plain.ppm": b"P3 1 1 1023\n 1 2 3\n",
    "colour.tif": tiff(16, planes=False), "planes.tif": tiff(16, planes=True),
}  # fmt: skip


@pytest.mark.parametrize("name", DEEP)
def test_more_than_eight_bits_are_refused_whatever_the_format(tmp_path, name):
    (tmp_path / name).write_bytes(DEEP[name])
    expected = f"cannot read image {tmp_path / name} (more than 8 bits per channel): replace or remove it"
    assert refused(files.read, tmp_path / name) == expected


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.uint16])
def test_so_are_floats_and_whole_numbers_in_tiff(tmp_path, kind):
    Image.fromarray(PIXELS[..., 0].astype(kind)).save(tmp_path / "deep.tif")
    assert "(more than 8 bits per channel)" in refused(files.read, tmp_path / "deep.tif")


def test_fewer_bits_are_read(tmp_path):
    shallow = {"8.png": png(8, 2, 3), "8a.png": png(8, 4, 2), "15.ppm": b"P6 7 5 15\n" + bytes(105)}
    for name, content in (shallow | {"8.tif": tiff(8, planes=False), "planes.tif": tiff(8, planes=True)}).items():
        (tmp_path / name).write_bytes(content)
        assert np.asarray(files.read(tmp_path / name)[0]).tolist() == np.zeros((5, 7, 3)).tolist()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_kind_of_pixel_becomes_rgb_as_torchvision_has_it(tmp_path, mode):
    from torchvision.datasets.folder import default_loader

    path = tmp_path / ("cmyk.tif" if mode == "CMYK" else "image.png")
    RGB.convert(mode).save(path)
    image, grey = files.read(path)
    assert np.array_equal(image, default_loader(path)) and image.mode == "RGB"
    assert grey == (mode in ("1", "L", "LA"))


@pytest.mark.parametrize("transparency", [3, bytes(range(256))])
def test_transparent_palettes_show_the_colours_behind_without_a_warning(tmp_path, transparency):
    RGB.convert("P").save(tmp_path / "palette.png", transparency=transparency)
    image, grey = files.read(tmp_path / "palette.png")
    assert np.array_equal(image, RGB.convert("P").convert("RGB")) and not grey


def test_what_is_transparent_keeps_its_colour(tmp_path):
    clear = RGB.copy()
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    assert np.array_equal(files.read(tmp_path / "clear.png")[0], PIXELS)


@pytest.mark.parametrize("name", ["moving.png", "moving.webp", "pages.tif", "pair.jpg"])
def test_of_several_frames_the_first_counts(tmp_path, name):
    other, options = Image.fromarray(255 - PIXELS), {"lossless": True} if name.endswith("webp") else {}
    options |= {"format": "MPO", "quality": 100, "subsampling": 0} if name == "pair.jpg" else {}
    RGB.save(tmp_path / name, save_all=True, append_images=[other], **options)
    with Image.open(tmp_path / name) as both:
        assert both.n_frames == 2
    found = np.asarray(files.read(tmp_path / name)[0]).astype(int)
    assert abs(found - PIXELS).max() <= (20 if name == "pair.jpg" else 0)


def test_images_are_not_turned_as_exif_would_have_it(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    RGB.save(tmp_path / "turned.png", exif=turned)
    assert np.array_equal(files.read(tmp_path / "turned.png")[0], PIXELS)


def test_the_suffix_need_not_be_that_of_the_format(tmp_path):
    RGB.save(tmp_path / "really-png.jpg", "PNG")
    assert np.array_equal(files.read(tmp_path / "really-png.jpg")[0], PIXELS)
    RGB.save(tmp_path / "really-gif.png", "GIF")
    assert "cannot identify image file" in refused(files.read, tmp_path / "really-gif.png")


def test_a_cut_jpeg_and_an_empty_file_are_named(tmp_path):
    RGB.save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-60])
    (tmp_path / "empty.png").write_bytes(b"")
    for name, why in {"cut.jpg": "image file is truncated", "empty.png": "cannot identify image file"}.items():
        assert refused(files.read, tmp_path / name).startswith(f"cannot read image {tmp_path / name} ({why}")


def test_large_images_are_read_without_a_warning_and_too_large_ones_named(tmp_path, monkeypatch):
    RGB.save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # warns from there on, and fails from twice as many
    with files.quietly():
        assert files.read(tmp_path / "large.png")[0].size == (7, 5)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 17)
    line = refused(files.read, tmp_path / "large.png")
    assert line.startswith(f"cannot read image {tmp_path}/large.png (Image size (35 pixels) exceeds limit of 34 pixels")


def test_pillow_fails_where_we_think_it_does():
    assert files.LARGEST == 2 * Image.MAX_IMAGE_PIXELS
