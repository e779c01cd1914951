"""What the results of a notebook rest on, in digests: its own code and that of `lib`, versions, folders of images.

Enters: names of notebooks and folders. Leaves: the modules of `lib` behind a notebook, digests of them, of its text and
of images, and the versions that the lock names. No notebook runs and no module is imported for it.
"""

import ast
import hashlib
import json
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from lib.study import paths

PACKAGES = ("torch", "torchvision", "torch-pruning", "numpy", "scipy", "pandas", "pillow", "scikit-learn")


def modules_used(notebook: str) -> list[Path]:
    """The files of `lib` that the notebook imports, directly or through another; found without running anything."""
    pending = [source for kind, source in _cells(notebook) if kind == "code"]
    found = {paths.ROOT / "lib/__init__.py"}
    while pending:
        named = {paths.ROOT / f"{module}.py" for module in _imported(pending.pop())}
        packages = {folder / "__init__.py" for path in named for folder in path.relative_to(paths.ROOT).parents[:-2]}
        fresh = {path for path in named | {paths.ROOT / path for path in packages} if path.is_file()} - found
        found |= fresh
        pending += [path.read_text() for path in fresh]
    return sorted(paths.from_here(path) for path in found)


def code(notebook: str) -> str:
    """SHA-256 (hex) of the notebook's code cells and of every module it uses: what its results rest on."""
    digest = hashlib.sha256()
    for source in [source for kind, source in _cells(notebook) if kind == "code"]:
        digest.update(f"{source}\0".encode())
    for path in modules_used(notebook):
        digest.update(f"{path.name}\0{path.read_text()}\0".encode())
    return digest.hexdigest()


def text(notebook: str) -> str:
    """SHA-256 (hex) of all the notebook's cells, prose included; outputs and metadata do not count."""
    return hashlib.sha256(json.dumps(_cells(notebook)).encode()).hexdigest()


def pins() -> dict[str, list[str]]:
    """The versions that the lock names, one for each Python, of the `PACKAGES`, which can change a number."""
    lock = (paths.ROOT / paths.LOCK).read_text()
    return {name: re.findall(rf"^{re.escape(name)}==([^\s;\\]+)", lock, re.MULTILINE) for name in PACKAGES}


def fingerprints(folders: Iterable[str | os.PathLike]) -> list[str | None]:
    """`files.fingerprint` of all images below each folder, None for one that is not there. Raises what `files.below`
    raises."""
    from lib.images import files  # imports Pillow

    return [files.fingerprint(path, files.below(path).images) if os.path.isdir(path) else None for path in folders]


def _cells(notebook: str) -> list[tuple[str, str]]:
    path = paths.notebook(notebook)
    try:
        cells = json.loads(path.read_text())["cells"]
        return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a notebook ({type(error).__name__}: {error})") from error


@cache
def _imported(source: str) -> frozenset[str]:
    # What does not parse counts as importing nothing: it will say what is wrong with it when it is executed.
    plain = "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in source.splitlines())
    try:
        nodes = list(ast.walk(ast.parse(plain)))
    except SyntaxError:
        return frozenset()
    dotted = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            package = ("lib." if node.level else "") + (node.module or "")
            dotted += [f"{package.rstrip('.')}.{alias.name}" for alias in node.names]
    ours = [name.split(".") for name in dotted if name.startswith("lib.")]
    return frozenset("/".join(name[:length]) for name in ours for length in range(2, len(name) + 1))
