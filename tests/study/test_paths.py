"""Paths of the repository as they are called from where one works."""

from pathlib import Path

import pytest

from lib.study import paths


def test_paths_are_relative_to_wherever_one_works(root, monkeypatch):
    assert paths.from_here("results/a.csv") == Path("results/a.csv")
    monkeypatch.chdir(root / "notebooks")
    assert paths.from_here("results/a.csv") == Path("../results/a.csv")


def test_a_notebook_is_found_and_one_that_is_not_there_is_named_with_those_that_are(root):
    with pytest.raises(FileNotFoundError, match=r"^no notebook notebooks/b.ipynb; those there are: none$"):
        paths.notebook("b")
    for name in ("a", "c"):
        (root / f"notebooks/{name}.ipynb").touch()
    assert paths.notebook("a") == Path("notebooks/a.ipynb")
    with pytest.raises(FileNotFoundError, match=r"^no notebook notebooks/b.ipynb; those there are: a, c$"):
        paths.notebook("b")
