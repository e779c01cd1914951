"""Where the repository's files are, wherever the caller works.

Enters: paths relative to the repository's root, and names of notebooks. Leaves: the same paths relative to the working
directory (JupyterLab: notebooks/), so that no notebook or record names a place on this machine.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUDY = "study.yaml"
LOCK = "requirements.lock"


def from_here(path: str | os.PathLike) -> Path:
    """`path`, given relative to the repository's root, as it is called from the working directory."""
    return Path(os.path.relpath(ROOT / path))


def notebook(name: str) -> Path:
    """The source of notebook `name` ("00-train"). Raises FileNotFoundError listing those there are."""
    path = from_here(f"notebooks/{name}.ipynb")
    if not path.is_file():
        there = ", ".join(sorted(found.stem for found in path.parent.glob("*.ipynb"))) or "none"
        raise FileNotFoundError(f"no notebook {path}; those there are: {there}")
    return path
