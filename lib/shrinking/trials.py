"""What cannot go for a reason that nothing but trying shows, such as code that counts on the number of channels.

Enters: parts of a network, and whether it is right without some of them. Leaves: the parts without which it is not.
"""

from collections.abc import Callable, Sequence

_MOST = 64  # trials, each of which runs the network twice


def culprits(parts: Sequence, is_right: Callable[[Sequence], bool], most: int = _MOST) -> list:
    """The parts, in their order, each of which makes a network wrong where it goes, found by halving what goes wrong.

    Takes one trial where there are none, and of k among n parts some 2 k log2(n). What is not found to be right in
    `most` trials counts as wrong. Parts that are wrong only together are not found: whoever takes them out must try
    that anyway.
    """
    pending, wrong = [range(len(parts))] if len(parts) else [], []
    for trial, places in enumerate(pending):  # which grows meanwhile
        if trial < most and is_right([parts[place] for place in places]):
            continue
        if trial >= most or len(places) == 1:
            wrong += places
        else:
            middle = len(places) // 2
            pending += [places[:middle], places[middle:]]
    return [parts[place] for place in sorted(wrong)]
