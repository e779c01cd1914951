"""The folders of `lib` show its architecture: imports point one way, and tests lie where what they test does."""

import ast
from pathlib import Path

import pytest

from lib.study.paths import ROOT

METHOD = ("system", "network", "scoring", "masking", "shrinking", "")
# Each imports those before it, commands all of them.
ORDER = (*METHOD, "images", "prune", "study", "study/analyses", "report", "running", "benchmark")
COMMANDS = ("score.py", "prune/__main__.py", "prune/quickstart.py", "benchmark/demonstration.py")
MODULES = sorted((ROOT / "lib").rglob("*.py"))


def place(path: Path) -> int:
    """The place in the order of a module of `lib`; a command, which uses all, has the last."""
    inside = path.relative_to(ROOT / "lib")
    if inside.as_posix() in COMMANDS:
        return len(ORDER)
    return ORDER.index(inside.parent.as_posix().replace(".", ""))


def imported(path: Path) -> set[Path]:
    """The modules of `lib` that one imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name} imports by dots"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = {ROOT / f"{name.replace('.', '/')}.py" for name in names if name.split(".")[0] == "lib"}
    return {file for file in files if file.is_file()}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_one_way_between_folders(path):
    later = {found.relative_to(ROOT).as_posix() for found in imported(path) if place(found) > place(path)}
    assert later == set()


def test_imports_make_no_circle():
    pending = {path: imported(path) for path in MODULES}
    while free := [path for path, needs in pending.items() if not needs & pending.keys()]:
        for path in free:
            del pending[path]
    assert [path.relative_to(ROOT).as_posix() for path in pending] == []


def test_the_method_needs_neither_the_study_nor_its_tools():
    for path in MODULES:
        if place(path) < len(METHOD):
            names = {alias.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import)
                     for alias in node.names}  # fmt: skip
            assert names & {"yaml", "papermill", "snakemake", "seaborn", "matplotlib", "jinja2"} == set(), path.name


def test_tests_lie_in_the_folder_of_the_module_that_they_are_named_after():
    folders = {path.stem: path.parent.relative_to(ROOT / "lib") for path in MODULES}
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        assert folder == folders.get(path.stem.removeprefix("test_"), folder), path.name
