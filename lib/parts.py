"""Parts of a long computation, kept as they are finished, so that one that was killed goes on where it was.

Enters: a folder, and all that decides what the parts hold. Leaves: tables, each made once, and taken from the folder by
the next start that is of the same. What another start left, of other code or settings, is thrown away.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas

from lib import records


class Parts:
    """Tables in a folder, by name.

    Arguments:
        of: what decides their content, as JSON can say it; parts of anything else are not taken up.
    """

    def __init__(self, folder: Path, of: object):
        self._all, self._own = folder, folder / _short(of)
        for other in set(folder.glob("*")) - {self._own}:
            shutil.rmtree(other)

    def table(self, name: object, make: Callable[[], pandas.DataFrame]) -> pandas.DataFrame:
        """The table `name`, which `make` makes where it is not there yet; read from its file either way, so that
        whoever was interrupted gets the same."""
        path = self._own / f"{_short(name)}.parquet"
        if not path.exists():
            records.save_table(make(), path)
        return pandas.read_parquet(path)

    def discard(self) -> None:
        """Deletes them all, when what they are parts of is saved."""
        shutil.rmtree(self._all, ignore_errors=True)


def _short(name: object) -> str:
    return hashlib.sha256(json.dumps(name).encode()).hexdigest()[:16]
