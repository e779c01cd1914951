"""Attributes of modules that must become smaller with heads of attention, such as their number.

Enters: a network, where its modules tell heads apart (`ties`), and whether it is right with some attributes changed.
Leaves: the fewest attributes with which it is; or of which heads none help, so that they stay.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice

import numpy
from torch import nn

from lib.shrinking.ties import Heads

_MOST = 32  # trials for modules of one class


@dataclass(frozen=True, eq=False)
class Number:
    """An attribute that is `each` times the number of heads; `groups` has that of every head."""

    module: str
    name: str
    each: int
    groups: numpy.ndarray


def numbers_needed(
    model: nn.Module, heads: Sequence[Sequence[Heads]], is_right: Callable[[int, Sequence[Number]], bool]
) -> tuple[list[Number], list[int]]:
    """The attributes to be changed where heads go, and the places in `heads` of those that no attributes help.

    Arguments:
        heads: in blocks, of which each may go without the others, with a group for each head.
        is_right: whether the network is right without some heads of one block, if these attributes are changed.

    What is found for a block is taken for all others whose modules are of the same classes, without a trial.
    """
    known: dict[tuple, list[tuple[int, str]] | None] = {}
    needed, wrong = [], []
    for block, own in enumerate(heads):
        modules = [*dict.fromkeys(each.module for each in own)]
        kind = tuple(type(model.get_submodule(name)) for name in modules)
        taken = {(number.module, number.name) for number in needed}
        numbers = {(modules.index(number.module), number.name): number for number in _numbers(model, own)
                   if (number.module, number.name) not in taken}  # fmt: skip
        if kind not in known or not {*(known[kind] or ())} <= numbers.keys():
            some = chain.from_iterable(combinations(numbers, count) for count in range(len(numbers) + 1))
            right = (names for names in islice(some, _MOST) if is_right(block, [numbers[name] for name in names]))
            known[kind] = next(right, None)
        if known[kind] is None:
            wrong.append(block)
        else:
            needed += [numbers[name] for name in known[kind]]
    return needed, wrong


def _numbers(model: nn.Module, heads: Sequence[Heads]) -> list[Number]:
    """The attributes that may count heads, or channels of all heads; the first by which an attribute may do so."""
    found = {}
    for own in heads:
        for name, value in vars(model.get_submodule(own.module)).items():
            each, rest = divmod(value, len(own.labels)) if type(value) is int else (0, 1)
            if not rest and each in own.numbers:
                found.setdefault((own.module, name), Number(own.module, name, each, own.labels))
    return [*found.values()]
