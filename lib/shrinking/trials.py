"""What cannot go for a reason that nothing but trying shows, such as code that counts on the number of channels.

Enters: parts of a network, and whether it is right without some of them. Leaves: the parts without which it is not.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

Part = TypeVar("Part")


def culprits(parts: Sequence[Part], is_right: Callable[[Sequence[Part]], bool]) -> list[Part]:
    """The parts each of which makes a network wrong where it goes, found by halving what goes wrong.

    Takes one trial where there are none, and of k among n parts some 2 k log2(n). Parts that are wrong only together
    are not found: whoever takes them out must try that anyway.
    """
    if not parts or is_right(parts):
        return []
    if len(parts) == 1:
        return [*parts]
    middle = len(parts) // 2
    return culprits(parts[:middle], is_right) + culprits(parts[middle:], is_right)
