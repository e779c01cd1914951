"""The files of a profile's results that a report rests on: there or said to be missing, and written whole.

Enters: a profile. Leaves: their paths, and a digest of all, which says whether a report is of what is there.
"""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from lib.study import profiles, vocabulary
from lib.system import whole_files

PER_RUN = {"00-train": "training", "10-measure": "measuring"}  # notebook -> the settings it runs with
FRONT = "90-report"
OVER_PANELS = "95-panels"


def front(profile: profiles.Profile) -> str:
    """The notebook whose blocks stand first in the profile's report."""
    return OVER_PANELS if profile.name == vocabulary.ALL else FRONT


def sources(profile: profiles.Profile) -> list[Path]:
    """The files that a report is compiled from. Raises FileNotFoundError where one that must be there is not."""
    of_runs = [path for run in profile.runs for path in (run.training, run.curves, *map(run.record, PER_RUN))]
    of_ablations = [path for name in profile.notebooks for path in (profile.executed(name), profile.record(name))]
    return [there(path) for path in [*of_runs, *of_ablations]] + tables_and_figures(profile)


def tables_and_figures(profile: profiles.Profile) -> list[Path]:
    """All its tables and figures (CSV, PNG), without what a kill left half-made. Beside each figure is an SVG, which
    nothing links to and which is not published: it weighs as much again."""
    found = [*profile.tables.glob("*.csv"), *profile.figures.glob("*.png")]
    return sorted(path for path in found if ".part" not in path.suffixes)


def digest(profile: profiles.Profile) -> str:
    """SHA-256 (hex) of all `sources`, names and contents; a report holds that of what it was compiled from."""
    total = hashlib.sha256()
    for path in sources(profile):
        total.update(f"{relative(path, profile)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def is_current(profile: profiles.Profile) -> bool:
    """Whether the profile's report.html was compiled from the sources as they are."""
    start = there(profile.report).read_text()[:2000]
    return f'<meta name="compiled-from" content="{digest(profile)}">' in start


def there(path: Path) -> Path:
    """The path itself. Raises FileNotFoundError, with what to do, where nothing is there."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run make reproduce for its profile")
    return path


def relative(path: Path, profile: profiles.Profile) -> str:
    """The path as a report of the profile links to it."""
    return Path(os.path.relpath(path, profile.folder)).as_posix()


def write(contents: Mapping[Path, bytes]) -> None:
    """Writes files, all aside first, then all renamed."""
    with contextlib.ExitStack() as stack:
        asides = {path: stack.enter_context(whole_files.written_whole(path)) for path in contents}
        for path, aside in asides.items():
            aside.write_bytes(contents[path])
