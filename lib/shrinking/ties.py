"""Which channels of a network are tied: where one goes, all that are tied to it go.

Enters: a network, an example and its parts (`shrinkable`). Leaves: for every channel at either end of every part, the
label of those that it is tied to by residual sums, concatenations and grouped convolutions, and the labels of those
that must stay: what reaches the network's output, what has to do with parameters that do not shrink, such as those of
LayerNorm, and what cannot be followed. As the dependency graph of torch-pruning finds them (Fang et al. 2023, arXiv
2301.12900); whether it is right is for the caller to try: see `slimming`.
"""

import warnings
from collections import Counter, namedtuple
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib.network import contexts, copies, models
from lib.shrinking.shrinkable import Part

_MOST_VISITS = 1000  # of one operation by the channels of one layer; more go round in a circle
_OVER_CHANNELS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.MultiheadAttention)  # mix them, with parameters or without
_Channel = namedtuple("_Channel", "idx root_idx")  # as torch-pruning's index mappings take and make them


@dataclass(frozen=True, eq=False)
class Ties:
    """`labels`: of every channel at every end, the inputs of part i at 2i and its outputs at 2i + 1; `fixed`: those of
    the channels that must stay; `lost`: layers whose outputs stay since it could not be followed where they go."""

    labels: list[numpy.ndarray]
    fixed: numpy.ndarray
    lost: tuple[str, ...]


def tied(model: nn.Module, example: Tensor, parts: Sequence[Part]) -> Ties:
    """Which channels of `parts`, all of the network and as a last one the channels of the image, are tied.

    Raises ValueError where the network cannot be followed at all.
    """
    starts = numpy.cumsum([0, *(width for part in parts for width in (part.inputs, part.outputs))])
    pairs, fixed, lost = _ties(model, example, parts, starts)
    graph = coo_array((numpy.ones(pairs.shape[1]), pairs), (starts[-1], starts[-1]))
    labels = connected_components(graph, directed=False)[1]
    return Ties(numpy.split(labels, starts[1:-1]), labels[fixed], tuple(lost))


def _ties(model: nn.Module, example: Tensor, parts: Sequence[Part], starts: numpy.ndarray):
    """Pairs (2, ...) of channels that are tied, the channels (...,) that must stay, and layers that got lost."""
    copy, inlet = copies.copied(model), _Inlet(parts[-1].outputs).eval()
    for module in copy.modules():
        if getattr(module, "padding_mode", "zeros") != "zeros":
            module.padding_mode = "zeros"  # which ties channels as any other does, and is followed
    nodes = _graph(copy, inlet, example).module2node
    modules = [*(copy.get_submodule(part.name) for part in parts[:-1]), inlet]
    numbers = {id(nodes[module]): number for number, module in enumerate(modules) if module in nodes}
    pairs, fixed = [numpy.empty((2, 0), int), *_ties_inside(parts, starts)], [numpy.arange(starts[-3], starts[-1])]
    lost = []
    for number, (part, module) in enumerate(zip(parts, modules, strict=True)):
        node, start = nodes.get(module), starts[2 * number + 1]
        all_of_it, classifies = start + numpy.arange(part.outputs), part.each and not part.units
        if node is None or not node.outputs or classifies:
            fixed.append(all_of_it)
        try:
            for end, (theirs, mine) in _reached(node, part.outputs, numbers) if node else ():
                if end is None:
                    fixed.append(start + mine)
                elif _aligned(part, parts[end // 2], starts[end + 1] - starts[end], theirs):
                    pairs.append(numpy.stack([start + mine, starts[end] + theirs]))
        except _Lost:
            fixed.append(all_of_it)
            lost += [part.name] if part.units else []
    return numpy.concatenate(pairs, axis=1), numpy.concatenate(fixed), lost


class _Lost(Exception):
    """Channels are split, reshaped or reordered where they cannot be followed."""


def _ties_inside(parts: Iterable[Part], starts: numpy.ndarray) -> Iterator[numpy.ndarray]:
    """Pairs (2, ...) of channels: in a part of several groups, each is tied to the first output of its group."""
    for number, part in enumerate(parts):
        if part.groups > 1:
            for end, width in ((2 * number, part.inputs), (2 * number + 1, part.outputs)):
                channels = numpy.arange(width)
                first = channels // (width // part.groups) * (part.outputs // part.groups)
                yield numpy.stack([starts[end] + channels, starts[2 * number + 1] + first])


class _Inlet(_BatchNorm):
    """What images pass on their way into the traced network, so that the graph knows their channels."""

    def _check_input_dim(self, images: Tensor) -> None:
        pass


@torch.enable_grad()
def _graph(model: nn.Module, inlet: nn.Module, example: Tensor):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its sources' old escapes, when they are compiled
        import torch_pruning
    traced = nn.Sequential(inlet, model).requires_grad_().to(example.device, example.dtype)
    try:
        with contexts.as_written():
            return torch_pruning.DependencyGraph().build_dependency(traced, [example.clone()], verbose=False)
    except Exception as error:  # whatever of its many parts meets what it does not know
        raise ValueError(f"torch-pruning cannot follow {type(model).__name__}: {models.first_line(error)}") from error


def _aligned(part: Part, other: Part, width: int, channels: numpy.ndarray) -> bool:
    """Whether a tie is one of channel with channel; one channel that is spread over many is tied to none of them."""
    if 1 in (part.outputs, width):
        return False
    if channels.max(initial=0) < width:
        return True
    if "" in (part.name, other.name):  # an image whose channels are not along axis 1
        return False
    raise _Lost


def _reached(node, width: int, numbers: Mapping[int, int]) -> Iterator[tuple[int | None, numpy.ndarray]]:
    """What the output channels of a layer's `node` meet before the next layer in whichever direction.

    Yields an end, None for that of the network and for parameters that do not shrink, and (2, ...): channels there, and
    the node's own that meet them. Raises _Lost where they cannot be followed.
    """
    start, seen, visits = [_Channel(channel, channel) for channel in range(width)], set(), Counter()
    stack = [(dependency, False, start) for dependency in node.dependencies[len(node.inputs) :]]
    while stack:
        dependency, upward, channels = stack.pop()
        for mapping in dependency.index_mapping:
            channels = channels if mapping is None else _mapped(channels, mapping)
        target, state = dependency.target, (id(dependency.target), frozenset(channels))
        if id(target) in numbers:
            yield 2 * numbers[id(target)] + upward, numpy.array(channels, int).reshape(-1, 2).T
        elif channels and state not in seen:
            seen.add(state)
            visits[id(target)] += 1
            if visits[id(target)] > _MOST_VISITS:
                raise _Lost
            if not target.outputs or _keeps_its_width(target.module):
                yield None, numpy.array(channels, int).reshape(-1, 2).T
            # A node's dependencies are on its inputs, then on its outputs, in their order.
            stack += [(d, n < len(target.inputs), channels) for n, d in enumerate(target.dependencies)]


def _mapped(channels: list[_Channel], mapping) -> list[_Channel]:
    try:
        return mapping(channels)
    except Exception as error:  # whatever it does not know
        raise _Lost from error


def _keeps_its_width(module: nn.Module | Tensor) -> bool:
    """Whether what comes by has to do with parameters that do not shrink, or is normalised over all channels."""
    if isinstance(module, (Tensor, *_OVER_CHANNELS)):
        return True
    return any(parameter.numel() > 1 for parameter in module.parameters())
