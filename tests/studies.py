"""A copy of this repository, in which make may run the study."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lib.study.paths import ROOT

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
        names += ("CHECKPOINTS", "MEASURED", "CELLS", "PANELS", "GPUS", "RUNS_PER_GPU", "CLUSTER", "OMP_NUM_THREADS")
        return {name: value for name, value in os.environ.items() if name not in names}

    def _run(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False)


def copy_of_the_repository(root: Path) -> Study:
    """A copy in which nothing has been run yet."""
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, root / name)
    return Study(root)
