"""Batches on their way to the passes: which index each example has, in which order they come, how many at once.

Enters: batches as a caller gives them, (images, labels or None), or with the indices of the examples as well. Leaves:
the same examples, with their indices; for criteria that work on minibatches in ascending order of index, and in
batches of whole minibatches.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from lib.network import checks
from lib.scoring import ranks

MINIBATCH = 128  # examples, for the criteria that average gradients over a minibatch first (see data/README.md)

Batch = tuple[Tensor, Tensor | None] | tuple[Tensor, Tensor | None, Tensor]
Indexed = tuple[Tensor, Tensor | None, Tensor]


def peeked(batches: Iterable[Batch], most: int = 1) -> tuple[Batch, Iterable[Batch]]:
    """The first batch that has examples, and all batches, that one included.

    Of a stream that ranks share, the batch has at most so many of its examples, and its first one is the same whatever
    their number. Raises ValueError where there are no examples.
    """
    if ranks.place()[1] > 1 and hasattr(batches, "share"):
        return next(iter(batches.first(1 if most == 1 else min(most, len(batches))))), batches
    rest, held = checks.batches(batches), []
    for batch in rest:
        held.append(batch)
        if len(batch[0]):
            whole = batches if isinstance(batches, Sequence) else chain(held, rest)
            return batch, whole
    raise checks.none_in(batches)


def with_examples(batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The images and labels of each batch that has any. Raises ValueError where there are no examples."""
    empty = True
    for images, labels, *_ in checks.batches(batches):
        if len(images):
            empty = False
            yield images, labels
    if empty:
        raise checks.none_in(batches)


def shared(batches: Iterable[Batch], *, by_minibatch: bool, start: int | None = 0) -> Iterable[Indexed]:
    """This rank's share of the examples, with their indices; with `by_minibatch` in order, and in whole minibatches.

    Raises ValueError as `indexed`, which says what `start` is, and `in_minibatches` do.
    """
    return ranks.mine(batches, MINIBATCH, partial(in_minibatches if by_minibatch else indexed, start=start))


def parted(batch: Indexed, size: int) -> Iterator[Indexed]:
    """The same examples, at most `size` of them at a time."""
    for start in range(0, len(batch[0]), size):
        yield tuple(None if part is None else part[start : start + size] for part in batch)


def in_wholes(batch: Indexed, size: int) -> Iterator[Indexed]:
    """The same examples, which begin with a whole minibatch: as many minibatches at a time as have at most `size` of
    them, or one."""
    return parted(batch, max(1, size // MINIBATCH) * MINIBATCH)


def minibatches(values: Tensor) -> tuple[Tensor, ...]:
    """The rows of each minibatch, of which a batch begins with a whole one."""
    return values.split(MINIBATCH)


def indexed(batches: Iterable[Batch], start: int | None = 0) -> Iterator[Indexed]:
    """Each batch that has examples, with their indices, counted from `start` where it comes without.

    Raises ValueError for another number of labels or indices than of images, and for none where `start` is not known.
    """
    seen = 0
    for images, labels, *rest in checks.batches(batches):
        if rest:
            indices = checks.indices(rest[0], len(images))
        elif start is not None:
            indices = torch.arange(start + seen, start + seen + len(images))
        else:
            raise ValueError("a batch has no indices, and how many examples all processes have added is known to none"
                             " of them: give (images, labels, indices)")  # fmt: skip
        if labels is not None and len(labels) != len(images):
            raise ValueError(f"a batch has {len(images)} images but other numbers of labels or indices")
        seen += len(images)
        if len(images):
            yield images, labels, indices


def in_minibatches(batches: Iterable[Batch], start: int | None = 0) -> Iterator[Indexed]:
    """The same examples as `indexed` gives, in ascending order of index and in batches of whole minibatches, but for a
    last partial one.

    Raises ValueError where a stream, which is read but once, is in another order, and as `indexed` does.
    """
    return _regrouped(indexed(_ascending(batches, start), start))


def _ascending(batches: Iterable[Batch], start: int | None) -> Iterable[Batch]:
    """The same examples in ascending order of index, where that can be had without reading a stream twice."""
    if not isinstance(batches, Sequence):
        return batches
    whole = list(indexed(batches, start))
    if not whole:
        return whole
    numbers = torch.cat([indices for _, _, indices in whole])
    if (numbers.diff() >= 0).all():
        return batches
    order = numbers.argsort(stable=True)
    images = _joined([images for images, _, _ in whole])[order]
    missing = any(labels is None for _, labels, _ in whole)
    labels = None if missing else _joined([labels for _, labels, _ in whole])[order]
    return [(images, labels, numbers[order])]


def _regrouped(stream: Iterator[Indexed]) -> Iterator[Indexed]:
    held, last = None, -1
    for batch in stream:
        numbers = batch[2]
        if numbers[0] < last or (numbers.diff() < 0).any():
            raise ValueError("molchanov-* and :batch need examples in ascending order of index: do not shuffle them")
        last = numbers[-1]
        held = batch if held is None else tuple(map(_after, held, batch))
        whole = len(held[2]) // MINIBATCH * MINIBATCH
        if whole:
            yield tuple(None if part is None else part[:whole] for part in held)
            held = tuple(None if part is None else part[whole:] for part in held) if len(held[2]) > whole else None
    if held is not None:
        yield held


def _after(old: Tensor | None, new: Tensor | None) -> Tensor | None:
    return None if old is None or new is None else _joined([old, new])


def _joined(parts: Sequence[Tensor]) -> Tensor:
    shapes = list(dict.fromkeys(tuple(part.shape[1:]) for part in parts))
    if len(shapes) > 1:
        raise ValueError(f"examples of shape {shapes[1]} cannot be in one minibatch with those of shape {shapes[0]}")
    return torch.cat(parts)
