"""Parts of a long computation, kept as they are finished, so that one that was killed goes on where it was.

Enters: a folder, and all that decides what the parts hold. Leaves: tables, each made once, and taken from the folder by
the next start that is of the same. That may be on another processor, which rounds otherwise, so each table says where
it was made. What another start left, of other code or settings, is thrown away; whoever has saved the whole deletes the
folder.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas

from lib.study import records

_DEVICE = "made on"  # in what a table's file says of it besides its rows


class Parts:
    """Tables in a folder, by name.

    Arguments:
        of: what decides their content, but for rounding, as JSON can say it; parts of anything else are not taken up.
        made_on: what this start computes on.

    `taken` counts those that were there already, `devices` names what all were made on, each once.
    """

    def __init__(self, folder: Path, of: object, made_on: str):
        self._folder, self._made_on = folder / _short(of), made_on
        self.taken, self.devices = 0, []
        for other in set(folder.glob("*")) - {self._folder}:
            shutil.rmtree(other, ignore_errors=True)  # what stays is of another name, and nobody reads it

    def table(self, name: object, make: Callable[[], pandas.DataFrame]) -> pandas.DataFrame:
        """The table `name`, which `make` makes where it is not there whole; read from its file either way, so that
        whoever was interrupted gets the same."""
        path = self._folder / f"{_short(name)}.parquet"
        try:
            found = pandas.read_parquet(path)
            self.taken += 1
        except (OSError, ValueError):  # not there, or damaged
            made = make()
            made.attrs[_DEVICE] = self._made_on
            records.save_table(made, path)
            found = pandas.read_parquet(path)
        device = found.attrs.pop(_DEVICE)
        if device not in self.devices:
            self.devices.append(device)
        return found


def _short(name: object) -> str:
    return hashlib.sha256(json.dumps(name).encode()).hexdigest()[:16]
