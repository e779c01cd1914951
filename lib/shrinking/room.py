"""How far the layers of a network may shrink, and which channels go together so that what stays is of a wanted width.

Enters: the channels at every end of every layer, and limits. Leaves: for groups of tied channels, one after the other,
whether they may go, and when.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence

import numpy
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lib.network import checks
from lib.network.taps import Unit


class Room:
    """How many channels every end still has to give. Groups wait until all layers that they narrow, and those tied to
    these, have a multiple of `multiple_of` units left, and then go together."""

    def __init__(
        self,
        widths: Sequence[int],
        least: Mapping[int, int],
        members: Sequence[Sequence[tuple[int, int]]],
        multiple_of: int,
    ):
        """Takes the channels at every end, the fewest that must stay at the ends of units (elsewhere 1), and for each
        group the ends at which it has channels, and how many."""
        self._left, self._least, self._members, self._multiple_of = list(widths), least, members, multiple_of
        self.blocks = _blocks(members, least)  # the number of that of each group
        self._ends: dict[int, set[int]] = {}
        for group, block in enumerate(self.blocks):
            self._ends.setdefault(block, set()).update(end for end, _ in members[group] if end in least)
        self._waiting: dict[int, list[int]] = {}

    def take(self, group: int) -> list[int]:
        """The groups that go now that this one may: none where it must stay or wait, or those that waited for it."""
        if any(self._left[end] - count < self._least.get(end, 1) for end, count in self._members[group]):
            return []
        for end, count in self._members[group]:
            self._left[end] -= count
        block = self.blocks[group]
        self._waiting.setdefault(block, []).append(group)
        if any(self._left[end] % self._multiple_of for end in self._ends[block]):
            return []
        return self._waiting.pop(block)


def _blocks(members: Sequence[Sequence[tuple[int, int]]], of_units: Iterable[int]) -> list[int]:
    """For each group, the number of its block: groups of one block have channels in the same layers with units, or are
    linked by others that do."""
    ends = {end: number for number, end in enumerate(of_units)}
    pairs = [(group, len(members) + ends[end]) for group, own in enumerate(members) for end, _ in own if end in ends]
    total = len(members) + len(ends)
    graph = coo_array((numpy.ones(len(pairs)), numpy.array(pairs, int).reshape(-1, 2).T), (total, total))
    return connected_components(graph, directed=False)[1][: len(members)].tolist()


def fewest(layers: Sequence[Unit], keep: Iterable[str], at_most: float) -> dict[str, int]:
    """How many units of every layer must stay, at least: all of those that `keep` names, one of every other.

    Arguments:
        keep: names of layers, or of modules that hold some.
        at_most: the share of any layer's units that may go, above 0; 1 for all but one.

    Raises ValueError for names of no layer and for a share that is none.
    """
    at_most = checks.share("at_most", at_most, may_be_all=True)
    if not isinstance(keep, Iterable):
        raise ValueError(f"keep must be names of layers, such as {[layers[0].name]}, not {keep!r}")
    kept = set().union(*(_named(layers, name) for name in ([keep] if isinstance(keep, str) else keep)))
    if kept == {unit.name for unit in layers}:
        raise ValueError("keep names every layer, so nothing can go: leave some out")
    return {unit.name: unit.size if unit.name in kept else _stays(unit.size, at_most) for unit in layers}


def _stays(size: int, at_most: float) -> int:
    may_go = int(at_most * size + 1e-9)  # a share such as 0.29 times 100 is a little less than it says
    return max(1, size - may_go)


def _named(layers: Sequence[Unit], name: object) -> set[str]:
    names = [unit.name for unit in layers]
    if not isinstance(name, str):
        such = ", ".join(map(repr, names[:3]))
        raise ValueError(f"keep names {name!r} ({type(name).__name__}), but names of layers are texts, such as {such}")
    found = {other for other in names if name and f"{other}.".startswith(f"{name}.")}
    if not found:
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[:3]
        raise ValueError(f"keep names {name!r}, which is no layer with units and holds none: such are"
                         f" {', '.join(close)}")  # fmt: skip
    return found
