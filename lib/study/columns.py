"""The columns that say what a row of the study's tables is of: which run, and which of its curves."""

from pathlib import Path
from typing import NamedTuple

import pandas

from lib.study import profiles

RUN = ("dataset", "network", "seed")
PANEL = ["dataset", "network"]


class Cell(NamedTuple):
    """One curve to measure: a criterion on one draw of so many examples (0 for criteria that use none).

    `sample`: "random"; "stratified", as many of each class as can be; "long-tailed", the commonest class a hundred
    times as often as the rarest; "oracle", the images on which units are judged one by one, for orders that are known
    only afterwards and are no criteria: see `ceilings`.
    """

    criterion: str
    examples: int
    draw: int = 0
    sample: str = "random"


def read_own(run: profiles.Run, path: Path, **of: object) -> pandas.DataFrame:
    """A table of the run, or what `of` (as of `pandas.read_parquet`) asks for of it.

    Raises ValueError where its rows say that they are of another run.
    """
    table = pandas.read_parquet(path, **of)
    own = columns_of(run)
    for name in [name for name in RUN if name in table and len(table)]:
        if (odd := table[name] != own[name]).any():
            other = table[name][odd].iloc[0]
            raise ValueError(f"{path} has rows of {name} {other}, but is {run.label}'s: take that run's own instead")
    return table


def columns_of(run: profiles.Run) -> dict[str, object]:
    """What the columns `RUN` hold for a run."""
    return {name: getattr(run, name) for name in RUN}
