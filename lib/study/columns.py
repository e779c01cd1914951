"""The columns that say what a row of the study's tables is of: which run, and which of its curves."""

from typing import NamedTuple

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


def columns_of(run: profiles.Run) -> dict[str, object]:
    """What the columns `RUN` hold for a run."""
    return {name: getattr(run, name) for name in RUN}
