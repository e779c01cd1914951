"""Parts of a long computation, kept as they are finished, so that one that was killed goes on where it was.

Enters: a folder, and all that decides what the parts hold. Leaves: tables, each made once, and taken from the folder by
the next start that is of the same. What another start left, of other code or settings, is thrown away; whoever has
saved the whole deletes the folder.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas

from lib.study import records


class Parts:
    """Tables in a folder, by name.

    Arguments:
        of: what decides their content, as JSON can say it; parts of anything else are not taken up.

    `taken` counts those that were there already.
    """

    def __init__(self, folder: Path, of: object):
        self._folder, self.taken = folder / _short(of), 0
        for other in set(folder.glob("*")) - {self._folder}:
            shutil.rmtree(other, ignore_errors=True)  # what stays is of another name, and nobody reads it

    def table(self, name: object, make: Callable[[], pandas.DataFrame]) -> pandas.DataFrame:
        """The table `name`, which `make` makes where it is not there whole; read from its file either way, so that
        whoever was interrupted gets the same."""
        path = self._folder / f"{_short(name)}.parquet"
        try:
            found = pandas.read_parquet(path)
        except (OSError, ValueError):  # not there, or damaged
            records.save_table(make(), path)
            return pandas.read_parquet(path)
        self.taken += 1
        return found


def _short(name: object) -> str:
    return hashlib.sha256(json.dumps(name).encode()).hexdigest()[:16]
