"""Is all installed that the study needs? Asked of an interpreter that is used as it is, with nothing but Python's own.

    python -m lib.running.requirements

Enters: pyproject.toml. Leaves: nothing, or one line that names what is missing and the remedy, and exit status 1.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
OLDEST = (3, 11)
SOME = 3  # names in a line


def missing() -> list[str]:
    """What pyproject.toml says that the method and the study need and this interpreter has not, in whatever version."""
    import tomllib  # not there before Python 3.11

    project = tomllib.loads(PROJECT.read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["study"]]
    return [name for name in (re.match(r"[\w.-]+", text)[0] for text in wanted) if not _is_there(name)]


def _is_there(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def main() -> int:
    """The command line; returns the exit status."""
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:2]))
        said = f"{sys.executable} is Python {found}, but the study needs 3.11 or newer"
    elif names := missing():
        more = f" and {len(names) - SOME} more" if len(names) > SOME else ""
        said = f"{sys.executable} has no {', '.join(names[:SOME])}{more}: "
        said += f"{sys.executable} -m pip install -r requirements.lock"
    else:
        return 0
    print(f"{said}, or leave PYTHON out, so that make sets up .venv", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
