"""What tests share: a repository that holds only a little study, and a copy of this one, in which the smoke profile
has been run once. And for those of the report: a profile that nobody ran, and figures that are closed.

`make test` runs tests in several processes at a time, each with one thread; the copy is made by the one that first
needs it.
"""

import json
import os
import shutil
import time
from pathlib import Path

import little
import pytest
from filelock import FileLock
from studies import Study, copy_of_the_repository

from lib.study import paths

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch, which nothing here has imported yet


@pytest.fixture
def small_minibatches(monkeypatch):
    """Minibatches of 32 examples: the slow reference would take long for several as they are."""
    for module in ("lib.scoring.batches", "reference"):
        monkeypatch.setattr(f"{module}.MINIBATCH", 32)


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Study:
    """The copy in which the smoke profile has been run: not to be changed."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder  # which all workers see
    with FileLock(folder / "study.lock"):
        if not (folder / "study.json").exists():
            (folder / "study.json").write_text(json.dumps(_smoke(folder / "study")))
    made = Study(folder / "study", *json.loads((folder / "study.json").read_text()))
    if made.status:
        pytest.fail(f"make reproduce PROFILE=smoke failed:\n{made.said}{made.complained}", pytrace=False)
    return made


def _smoke(root: Path) -> tuple[int, str, str, float]:
    """What comes after the folder in a `Study`, of a new copy there."""
    started = time.perf_counter()
    done = copy_of_the_repository(root).make("reproduce")
    return done.returncode, done.stdout, done.stderr, time.perf_counter() - started


@pytest.fixture
def own_study(study, tmp_path) -> Study:
    """A copy of that copy, results and dates included, to be changed at will."""
    shutil.copytree(study.root, tmp_path / "study")
    return Study(tmp_path / "study", seconds=study.seconds)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A repository that holds only the study of `little`, in which one works."""
    (tmp_path / paths.STUDY).write_text(little.STUDY)
    for name in ("lib", "notebooks"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plan(tmp_path):
    """A finished profile that nobody ran, without its report."""
    import made_up  # imports torch

    return made_up.profile(tmp_path / "results")


@pytest.fixture
def closed_figures():
    """Closes all figures after the test."""
    yield
    from matplotlib import pyplot

    pyplot.close("all")
