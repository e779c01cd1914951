"""What the results of a notebook rest on, in digests: its own code and that of `lib`, versions, folders of images.

Enters: names of notebooks and folders. Leaves: the modules of `lib` behind a notebook, digests of them, of its text and
of images, and the versions that the lock names. No notebook runs and no module is imported for it.
"""

import ast
import hashlib
import json
import os
import re
from functools import cache
from pathlib import Path

from lib.study import paths

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "pillow", "scikit-learn")


def modules_used(notebook: str) -> list[Path]:
    """The files of `lib` that the notebook imports, directly or through another; found without running anything."""
    pending = [source for kind, source in _cells(notebook) if kind == "code"]
    found, asked = {"lib/__init__.py"}, set()
    while pending:
        named = _imported(pending.pop()) - asked
        fresh = {file for file in named if (paths.ROOT / file).is_file()}
        found, asked = found | fresh, asked | named
        pending += [(paths.ROOT / file).read_text() for file in fresh]
    return sorted(paths.from_here(file) for file in found)


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


def fingerprint(folder: str | os.PathLike) -> str | None:
    """`files.fingerprint` of all images below `folder`, None without a folder. Raises what `files.below` raises."""
    from lib.images import files  # imports Pillow

    return files.fingerprint(folder, files.below(folder).images) if os.path.isdir(folder) else None


def _cells(notebook: str) -> list[tuple[str, str]]:
    path = paths.notebook(notebook)
    try:
        cells = json.loads(path.read_text())["cells"]
        return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a notebook ({type(error).__name__}: {error})") from error


@cache
def _imported(source: str) -> frozenset[str]:
    """The files that the modules of `lib` would be in which `source` imports, and the packages that they are in."""
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
    places = {"/".join(name[:length]) for name in ours for length in range(2, len(name) + 1)}
    return frozenset(f"{place}{ending}" for place in places for ending in (".py", "/__init__.py"))
