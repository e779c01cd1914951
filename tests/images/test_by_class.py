"""images.by_class: images that a table labels become a data set, with classes that have none of them."""

import pytest
from PIL import Image

from lib.images import by_class, datasets

TABLE = 'file,split,class,name\ntrain/a.png,train,0,cat\nval/b.png,val,10,"dog, big"\nval/c.png,test,0,cat\n'


@pytest.fixture
def source(tmp_path):
    (tmp_path / "raw/train").mkdir(parents=True)
    (tmp_path / "raw/val").mkdir()
    for number, name in enumerate(("train/a.png", "val/b.png", "val/c.png")):
        Image.new("RGB", (4, 4), (number, 0, 9)).save(tmp_path / "raw" / name)
    (tmp_path / "raw/labels.csv").write_text(TABLE)
    return tmp_path / "raw"


def test_images_are_copied_into_folders_of_classes(source, capsys):
    target = source.with_name("photos")
    assert by_class.main([str(source), str(target), "--classes", "12"]) == 0
    assert capsys.readouterr().out == f"{target}: 3 images\n"
    found = sorted(path.relative_to(target).as_posix() for path in target.rglob("*.png"))
    assert found == ["test/00/c.png", "test/10/b.png", "train/00/a.png"]
    assert (source / "train/a.png").exists()
    train, test = (datasets.load("photos", split, target.parent) for split in datasets.SPLITS)
    assert train.classes == test.classes == tuple(f"{number:02d}" for number in range(12))
    assert (train.labels.tolist(), test.labels.tolist()) == ([0], [0, 10])
    assert test.images[:, 0, 0, 0].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "train/a.png,train,0",
            "train/a.png,training,0",
            "labels.csv, line 2: it needs a file, and as its split one of",
        ),
        ("train/a.png,", ",", "line 2: it needs a file, and as its split one of train, val, test"),
        (",10,", ",12,", "labels.csv, line 3: class '12' must be a number from 0 to 11"),
        (",10,", ",-1,", "labels.csv, line 3: class '-1' must be a number from 0 to 11"),
        ("val/c.png", "val/d.png", "there is no image .*val/d.png, which .*labels.csv names"),
        (TABLE, "file,split,class\n", "labels.csv has no rows: it needs one for each image"),
    ],
)
def test_what_the_table_may_not_say_is_named_in_one_line(source, capsys, old, new, said):
    (source / "labels.csv").write_text(TABLE.replace(old, new))
    with pytest.raises((ValueError, OSError), match=said):
        by_class.sort(source, source.with_name("photos"), 12)
    assert by_class.main([str(source), str(source.with_name("photos")), "--classes", "12"]) == 1
    assert capsys.readouterr().err.count("\n") == 1 and not source.with_name("photos").exists()


def test_nothing_is_overwritten_and_a_table_must_be_there(source):
    with pytest.raises(FileExistsError, match="is there already: remove it first, or name another"):
        by_class.sort(source, source, 12)
    with pytest.raises(
        FileNotFoundError, match=r"there is no table .*labels.csv: name a folder of images that has one"
    ):
        by_class.sort(source / "train", source.with_name("photos"), 12)


def test_two_images_of_one_name_in_one_class_are_refused(source):
    (source / "labels.csv").write_text(f"{TABLE}train/a.png,train,0,cat\n")
    with pytest.raises(ValueError, match=r"labels.csv names two images train/00/a.png: rename one of them"):
        by_class.sort(source, source.with_name("photos"), 12)
    assert not source.with_name("photos").exists()
