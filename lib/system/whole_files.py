"""Files that are there whole or not at all: written aside, then renamed.

Enters: the file meant. Leaves: the same file as it was, until all of the new one is there; also where whoever writes is
killed meanwhile, or the disk is full.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path, *, by_ending: bool = False) -> Iterator[Path]:
    """A file to be written beside the one meant, in its folder, which is made if need be. It becomes that one at the
    end; where anything is raised before, it is gone again, since on a full disk half a file would only take more room.

    Arguments:
        by_ending: whether the file must end as the one meant does, since what writes it goes by that: then it is called
            name.part.ending, else name.ending.part, which no pattern for finished files finds.

    Raises OSError where it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.stem}.part{path.suffix}" if by_ending else f"{path.name}.part")
    aside.unlink(missing_ok=True)  # that of a process that was killed
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
