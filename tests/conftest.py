"""What tests share: a repository that holds only a little study, and a copy of this one, in which the smoke profile
has been run once. And for those of the report: a profile that nobody ran, and figures that are closed.

`make test` runs tests in several processes at a time, each with one thread; the copy is made by the one that first
needs it.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import little
import pytest
from filelock import FileLock

from lib.study import paths
from lib.study.paths import ROOT

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch, which nothing here has imported yet

SOURCES = ("Makefile", "Snakefile", "study.yaml", "requirements.lock", "pyproject.toml")
SOURCES += ("lib", "notebooks", "data/paper")


@dataclass
class Study:
    """A copy of the repository, and how `make reproduce PROFILE=smoke` ended in it."""

    root: Path
    status: int = 0
    said: str = ""
    complained: str = ""
    seconds: float = 0.0  # that it took

    @property
    def smoke(self) -> Path:
        return self.root / "results/smoke"

    def command(self, target: str, *variables: str) -> list[str]:
        """`make target` with this interpreter, on the smoke profile and the CPU where the target takes that; a later
        variable goes before an earlier one."""
        taken = {"PROFILE=smoke": ("reproduce", "report", "publish", "verify", "clean")}
        taken |= dict.fromkeys(("DEVICE=cpu", "JOBS=2"), ("reproduce", "report"))
        usual = [variable for variable, targets in taken.items() if target in targets]
        return ["make", target, f"PYTHON={sys.executable}", *usual, *variables]

    def make(self, target: str, *variables: str) -> subprocess.CompletedProcess:
        """Runs that command."""
        return self._run(*self.command(target, *variables))

    def plan(self, *words: str) -> list[str]:
        """The steps that `make reproduce PROFILE=smoke` would run, sorted; nothing else must be said."""
        usual = ("--profile", "smoke", "--device", "cpu", "--jobs", "2", "--dry-run")
        done = self._run(sys.executable, "-m", "lib.running.reproduce", *usual, *words)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return sorted(done.stdout.splitlines())

    def change(self, name: str, edit: Callable[[str], str]) -> None:
        """Rewrites one of its files."""
        path = self.root / name
        path.write_text(edit(path.read_text()))

    @property
    def environment(self) -> dict[str, str]:
        """In which nothing of the make or the pytest that runs these tests reaches the make in the copy."""
        names = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON", "PYTHONPATH", "SEEDS", "DATA")
        names += ("CHECKPOINTS", "MEASURED", "CELLS", "GPUS", "RUNS_PER_GPU", "CLUSTER", "OMP_NUM_THREADS")
        return {name: value for name, value in os.environ.items() if name not in names}

    def _run(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False)


@pytest.fixture
def small_minibatches(monkeypatch):
    """Minibatches of 32 examples: the slow reference would take long for several as they are."""
    for module in ("lib.scoring.batches", "reference"):
        monkeypatch.setattr(f"{module}.MINIBATCH", 32)


def copy_of_the_repository(root: Path) -> Study:
    """A copy in which nothing has been run yet."""
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, root / name)
    return Study(root)


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
