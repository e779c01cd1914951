"""What happens along with the work: somebody who waits is told how far it is, and what takes long is kept.

Enters: lines, and how much is done. Leaves: these lines, now and then one more, and the places of files that a later
run goes on from.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from lib.scoring import ranks

PATIENCE = 15  # seconds without a word


class Along:
    """What is told by `report`, which the first of several processes alone calls, and kept in a folder, if in any.

    Raises ValueError for a report that cannot be called, and a folder that is none.
    """

    def __init__(self, report: Callable[[str], object] = lambda line: None, kept: str | os.PathLike | None = None):
        if not callable(report):
            raise ValueError(f"report={report!r} must be a function of a line")
        if kept is not None and not isinstance(kept, (str, os.PathLike)):
            raise ValueError(f"kept={kept!r} must be a folder")
        self._report, self._folder = report, None if kept is None else Path(kept)

    def tell(self, line: str) -> None:
        """Says a line."""
        if leads():
            self._report(line)

    def file(self, name: str) -> Path | None:
        """Where what is called so is kept, if anywhere."""
        return None if self._folder is None else self._folder / name

    def going(self, doing: str, total: float | None) -> Callable[[int], None]:
        """What is to be called with how many images are done, and says so after a while without a word; `total` is None
        where it is not known."""
        began = told = time.monotonic()

        def say(done: int) -> None:
            nonlocal told
            now = time.monotonic()
            if now - told >= PATIENCE and (total is None or done < total):
                told = now
                rest = "" if total is None else f", {in_words((now - began) / done * (total - done))} to go"
                self.tell(f"{doing}: {done:,} images done{rest}")

        return say


def leads() -> bool:
    """Whether this process is the first, which does alone what is not for all of them."""
    return ranks.place()[0] == 0


def in_words(seconds: float) -> str:
    """A time as one says it."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
