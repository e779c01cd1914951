"""What a notebook's results rest on: the modules behind it, digests of its code and text, fingerprints of images."""

import json
import os

import pytest

from lib.study import digests


def test_a_fingerprint_follows_names_sizes_and_dates_of_images_at_any_depth(tmp_path):
    file = tmp_path / "images/cat/1.png"
    assert digests.fingerprint(tmp_path / "images") is None
    file.parent.mkdir(parents=True)
    file.write_bytes(b"abc")
    (file.parent / "gone").symlink_to("nowhere")
    (tmp_path / "images/round").symlink_to("..")  # in a circle
    found = [digests.fingerprint(tmp_path / "images")]
    date = file.stat().st_mtime_ns
    file.write_bytes(b"xyz")  # content is not read
    os.utime(file, ns=(date, date))
    assert digests.fingerprint(tmp_path / "images") == found[0]
    os.utime(file, ns=(date, date + 1_000_000))
    found.append(digests.fingerprint(tmp_path / "images"))
    file.write_bytes(b"abcd")
    found.append(digests.fingerprint(tmp_path / "images"))
    file.rename(file.with_name("2.png"))
    found.append(digests.fingerprint(tmp_path / "images"))
    file.with_name("2.png").unlink()
    found.append(digests.fingerprint(tmp_path / "images"))
    assert len(set(found)) == 5
    assert found[0].startswith("1 files, ") and found[4].startswith("0 files, ")
    (tmp_path / "images").rename(tmp_path / "moved")
    assert digests.fingerprint(tmp_path / "moved") == found[4]


def write_notebook(root, *cells, name="15-replication"):
    """Cells that start with # are prose."""
    kinds = [{"cell_type": "markdown" if cell.startswith("#") else "code", "source": [cell]} for cell in cells]
    (root / f"notebooks/{name}.ipynb").write_text(json.dumps({"cells": kinds}))


@pytest.fixture
def modules(root):
    sources = {
        "__init__": "",
        "a": "from lib import b",
        "b": "def late():\n    import lib.c",
        "c": "import os",
        "d": "from lib.a import x",
        "e": "",
        "f": "from . import e",
    }
    for name, source in sources.items():
        (root / f"lib/{name}.py").write_text(source)
    return root


def stems(notebook="15-replication"):
    return [path.stem for path in digests.modules_used(notebook)]


def test_modules_are_found_through_modules_and_inside_functions(modules):
    write_notebook(modules, "%matplotlib inline\n!ls\nfrom lib import a\nimport numpy")
    assert stems() == ["__init__", "a", "b", "c"]
    write_notebook(modules, "import lib.d as other")
    assert stems() == ["__init__", "a", "b", "c", "d"]
    write_notebook(modules, "from lib import f")
    assert stems() == ["__init__", "e", "f"]
    write_notebook(modules, "# from lib import a", "x = 'from lib import e'", "from lib import (broken")
    assert stems() == ["__init__"]


def test_the_code_digest_follows_code_and_modules_and_nothing_else(modules):
    write_notebook(modules, "# prose", "from lib import a")
    before, text = digests.code("15-replication"), digests.text("15-replication")
    write_notebook(modules, "# other prose", "from lib import a")
    assert digests.code("15-replication") == before
    assert digests.text("15-replication") != text
    (modules / "lib/e.py").write_text("unused = 1")
    os.utime(modules / "lib/c.py", (0, 0))
    assert digests.code("15-replication") == before
    (modules / "lib/c.py").write_text("import sys")
    changed = digests.code("15-replication")
    assert changed != before
    write_notebook(modules, "from lib import a; 1")
    assert digests.code("15-replication") not in (before, changed)


def test_a_notebook_that_is_not_there_or_is_none_is_named(modules):
    write_notebook(modules, "1")
    with pytest.raises(FileNotFoundError, match=r"no notebook notebooks/50-x.ipynb; those there are: 15-replication"):
        digests.code("50-x")
    (modules / "notebooks/50-x.ipynb").write_text("{}")
    with pytest.raises(ValueError, match=r"notebooks/50-x.ipynb is not a notebook"):
        digests.code("50-x")
