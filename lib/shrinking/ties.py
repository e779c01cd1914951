"""Which channels of a network are tied: where one goes, all that are tied to it go.

Enters: a network, an example and its parts (`shrinkable`). Leaves: for every channel at either end of every part, the
label of those that it is tied to by residual sums, concatenations and grouped convolutions, and the labels of those
that must stay: what reaches the network's output, what has to do with parameters that do not shrink, such as those of
LayerNorm, and what cannot be followed. Found by following one example (`channels`); whether it is right is for the
caller to try: see `slimming`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations

import numpy
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from lib.network import contexts
from lib.network.layers import has_one_for_all
from lib.network.taps import ahead
from lib.shrinking.channels import FIXED, Channels, Split
from lib.shrinking.shrinkable import Part


@dataclass(frozen=True, eq=False)
class Heads:
    """Where a module tells heads apart: the label of each, and the numbers that its code may have of each, such as 1,
    or how many channels."""

    module: str
    labels: numpy.ndarray
    numbers: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Ties:
    """`labels`: of every channel at every end, the inputs of part i at 2i and its outputs at 2i + 1; `fixed`: those of
    the channels that must stay; `lost`: layers whose outputs stay since it could not be followed where they go; `met`:
    since products or a softmax go over all of them, as in attention of one head; `given`: since the
    network is given or gives them, and for no other reason; `heads`: of attention; `pairs` (2, ...): the labels, as
    `starts_of` numbers them, that are tied by themselves."""

    labels: list[numpy.ndarray]
    fixed: numpy.ndarray
    lost: tuple[str, ...]
    met: tuple[str, ...]
    given: tuple[str, ...]
    heads: tuple[Heads, ...]
    pairs: numpy.ndarray


@torch.inference_mode(False)
@torch.no_grad()
def tied(model: nn.Module, example: Tensor, parts: Sequence[Part]) -> Ties:
    """Which channels of `parts`, all of the network and as a last one the channels of the image, are tied."""
    starts, channels = starts_of(parts), Channels()
    channels.pairs += _ties_inside(parts, starts)
    ran, logits = _followed(model, example, parts, starts, channels)
    of_parts = [_labels(starts, 2 * number + 1) for number in range(len(parts))]
    outside = [_of_image(starts), logits] + [
        some
        for part, some in zip(parts, of_parts, strict=True)
        if part.name not in ran or (part.each and not part.units)
    ]
    inside = _classes(channels.pairs, starts[-1])
    channels.fix(*outside)
    unfixed = _classes([pairs[:, (pairs != FIXED).all(0)] for pairs in channels.pairs], starts[-1])
    classes, shorter = _tie_splits(channels.splits, _classes(channels.pairs, starts[-1]), unfixed)
    classes = _tie_partial(channels.partial, classes)
    together = _among(classes, channels.together)
    labels = numpy.split(classes, starts[:-1])[1:]
    own = {part.name: numpy.unique(some) for part, some in zip(parts, labels[1::2], strict=True) if part.units}
    single = {name: some[0] for name, some in own.items() if len(some) == 1 and some[0] in together - {classes[FIXED]}}

    def within(numbers: numpy.ndarray, known: set[int]) -> set[str]:
        return {part.name for part, some in zip(parts, of_parts, strict=True)
                if part.units and known.issuperset(numbers[some.long().numpy()])}  # fmt: skip

    lost = within(classes, _among(classes, channels.unknown))
    met = within(unfixed, _among(unfixed, channels.met)) | {*single}
    given = within(unfixed, _among(unfixed, [some.long().numpy().ravel() for some in outside]))
    given -= within(inside, {inside[FIXED]})
    heads = (_heads(split, axis, classes) for split, axis in zip(channels.splits, shorter, strict=True))
    found = tuple(each for each in heads if together.issuperset(each.labels))
    named = (tuple(name for name in own if name in some) for some in (lost, met - lost, given - lost - met))
    fixed, pairs = numpy.array([*{classes[FIXED], *single.values()}]), numpy.concatenate(channels.pairs, axis=1)
    return Ties(labels, fixed, *named, found, pairs)


def starts_of(parts: Sequence[Part]) -> numpy.ndarray:
    """The first label of every end, and the number of all labels: those of the inputs of part i begin at 2i."""
    return FIXED + 1 + numpy.cumsum([0, *(width for part in parts for width in (part.inputs, part.outputs))])


def _among(classes: numpy.ndarray, labels: Iterable[numpy.ndarray]) -> set[int]:
    """The classes of these labels."""
    return {int(label) for some in labels for label in classes[numpy.unique(some)]}


def _heads(split: Split, axis: int, classes: numpy.ndarray) -> Heads:
    """Those of an axis that has been split, if the one that becomes shorter is of heads."""
    labels, others = split.labels.movedim(axis, 0), [split.labels.shape[other] for other in split.axes if other != axis]
    numbers = {math.prod(some) for count in range(len(others) + 1) for some in combinations(others, count)}
    return Heads(split.module, classes[labels.flatten(1)[:, 0].long().numpy()], tuple(sorted(numbers)))


def _followed(
    model: nn.Module, example: Tensor, parts: Sequence[Part], starts, channels: Channels
) -> tuple[set[str], Tensor]:
    """Follows the example; the names of the parts that run, among them that of the image, and the logits' labels."""
    ran = {""}

    def begin(name: str):
        return lambda module, taken: channels.within.append(name)

    def end(module, taken, made) -> None:
        channels.within.pop()

    def enter(number: int, axis: int):
        def run(module, taken, named):
            channels.paused += 1
            value = next(value for value in (*taken, *named.values()) if isinstance(value, Tensor))
            labels = channels.of(value)
            channels.tie(labels.movedim(axis, -1), _labels(starts, 2 * number))

        return run

    def leave(number: int, axis: int):
        def run(module, taken, made):
            ran.add(parts[number].name)
            labels = _labels(starts, 2 * number + 1)
            channels.put(made, labels.reshape(_along(axis, made.ndim)))
            channels.paused -= 1

        return run

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):  # which takes no hooks: its work is that of what calls it
                continue
            stack.callback(module.register_forward_pre_hook(begin(name)).remove)
            stack.callback(module.register_forward_hook(end).remove)
        for number, part in enumerate(parts[:-1]):
            if part.axis is not None:
                table = getattr(model.get_submodule(part.owner[0]), part.owner[1])
                channels.put(table, _labels(starts, 2 * number + 1).reshape(_along(part.axis, table.ndim)))
                ran.add(part.name)
                continue
            module = model.get_submodule(part.name)
            if has_one_for_all(module):
                continue
            axis = -1 if isinstance(module, nn.Linear) else 1
            stack.callback(module.register_forward_pre_hook(enter(number, axis), with_kwargs=True).remove)
            stack.callback(ahead(module, leave(number, axis)).remove)
        stack.enter_context(contexts.as_written())
        example = example.clone()
        channels.put(example, _of_image(starts).reshape([1] * example.ndim))
        stack.enter_context(channels)
        logits = model(example)
    return ran, channels.of(logits)


def _of_image(starts: numpy.ndarray) -> Tensor:
    """One label for all of it, which must stay, too."""
    return _labels(starts, len(starts) - 2)[:1]


def _along(axis: int, axes: int) -> list[int]:
    return [-1 if at == axis % axes else 1 for at in range(axes)]


def _labels(starts: numpy.ndarray, end: int) -> Tensor:
    return torch.arange(starts[end], starts[end + 1], dtype=torch.float64)


def _ties_inside(parts: Iterable[Part], starts: numpy.ndarray) -> Iterator[numpy.ndarray]:
    """Pairs (2, ...) of channels: in a part of several groups, or one without weights between channels, each is tied to
    the first output of its group."""
    for number, part in enumerate(parts):
        if part.groups > 1 or not part.each:
            for end, width in ((2 * number, part.inputs), (2 * number + 1, part.outputs)):
                channels = numpy.arange(width)
                first = channels // (width // part.groups) * (part.outputs // part.groups)
                yield numpy.stack([starts[end] + channels, starts[2 * number + 1] + first])


def _classes(pairs: Sequence[numpy.ndarray], count: int) -> numpy.ndarray:
    """Label -> number of those that it is tied to."""
    ends = numpy.concatenate([numpy.empty((2, 0), int), *pairs], axis=1)
    return connected_components(coo_array((numpy.ones(ends.shape[1]), ends), (count, count)), directed=False)[1]


def _tie_splits(
    splits: Sequence[Split], classes: numpy.ndarray, unfixed: numpy.ndarray
) -> tuple[numpy.ndarray, list[int]]:
    """Where one axis has been viewed as several, one of these becomes shorter: the one that costs the fewest ties, of
    several the last, as that of the channels in each group; where each head is tied in itself, that of heads. All that
    lies at the same place along it is tied. Gives the classes with these ties, and for each split that axis. Where all
    must stay, so that no axis costs any, those `unfixed` tell, in which nothing is tied to what must stay."""
    found = []
    for split in splits:
        ways, otherwise = _ways(split, classes), _ways(split, unfixed)
        lengths = [split.labels.shape[axis] for axis in split.axes]
        costs = zip((some.max() for _, some in ways), (some.max() for _, some in otherwise), strict=True)
        best = max(enumerate(costs), key=lambda each: (each[1], lengths[each[0]] > 1, each[0]))[0]
        classes, unfixed = _anew(classes, *ways[best]), _anew(unfixed, *otherwise[best])
        found.append(split.axes[best])
    return classes, found


def _ways(split: Split, classes: numpy.ndarray) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
    """For each axis of a split, were it the one that becomes shorter: the classes of its labels, and numbers of those
    that these would be."""
    own, places = numpy.unique(classes[split.labels.long().numpy()], return_inverse=True)
    places = places.reshape(split.labels.shape)
    found = []
    for shorter in split.axes:
        first = places[
            tuple(slice(None if axis == shorter or axis not in split.axes else 1) for axis in range(places.ndim))
        ]
        pairs = numpy.stack([places, numpy.broadcast_to(first, places.shape)]).reshape(2, -1)
        found.append((own, _classes([pairs], len(own))))
    return found


def _anew(classes: numpy.ndarray, own: numpy.ndarray, numbers: numpy.ndarray) -> numpy.ndarray:
    """The classes, where those of `own` are one that have the same of `numbers`."""
    _, first = numpy.unique(numbers, return_index=True)
    anew = numpy.arange(classes.max() + 1)
    anew[own] = own[first[numbers]]
    return anew[classes]


def _tie_partial(partial: Sequence[tuple[Tensor, Tensor]], classes: numpy.ndarray) -> numpy.ndarray:
    """Where something as long as an axis, such as a parameter for each head, meets what has several channels at each
    place, it matters only if these places may go: if the channels differ between them. Gives the classes with what is
    tied by that."""
    pairs = []
    for labels, other in partial:
        places, (one,) = classes[labels.long().numpy()], classes[other.long().numpy()]
        differing = places[:, (places != places[0]).any(0)].ravel()
        pairs.append(numpy.stack([differing, numpy.full_like(differing, one)]))
    return _classes(pairs, classes.max() + 1)[classes]
