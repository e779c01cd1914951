"""Tensors of modules' own that become shorter with the channels or heads that they meet, whatever their names.

Enters: a network, an example and its parts. Leaves: the parts with such tensors among them, as the scales of
FrozenBatchNorm, layer scale, tables of positions and biases for each head are, and what is tied to what with them.
Along which axis a tensor has its channels is found by trying: it has one number for each channel that it meets, where
along another axis it has all of them.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy
from torch import Tensor, nn

from lib.network.layers import can_narrow
from lib.shrinking.channels import FIXED
from lib.shrinking.shrinkable import Part, tensor_of
from lib.shrinking.ties import Ties, starts_of, tied


def tied_with_own_tensors(model: nn.Module, example: Tensor, parts: Sequence[Part]) -> tuple[tuple[Part, ...], Ties]:
    """Which channels of `parts` are tied (see `ties.tied`) where modules' own tensors may become shorter; and the parts
    with these tensors, in front of the last."""
    parts, ties = tuple(parts), tied(model, example, parts)
    options = _options(model, parts, ties)
    while options:
        tensors = [first for first, *_ in options.values()]
        together = (*parts[:-1], *tensors, parts[-1])
        found = tied(model, example, together)
        wrong = _mistaken(tensors, together, found) or _useless(tensors, together, found)
        options = {name: some[name in wrong :] for name, some in options.items()}  # the next axis, if there is one
        options = {name: some for name, some in options.items() if some}
        if not wrong:
            return together, found
    return parts, ties


def _options(model: nn.Module, parts: Sequence[Part], ties: Ties) -> dict[str, list[Part]]:
    """The tensors that may have an axis of channels or heads which must stay while these do, by name, with a part for
    each axis that is as long as there are such."""
    stuck = {part.outputs for part, labels in zip(parts, ties.labels[1::2], strict=True)
             if part.units and numpy.isin(labels, ties.fixed).any()}  # fmt: skip
    stuck |= {len(each.labels) for each in ties.heads if numpy.isin(each.labels, ties.fixed).any()}
    found: dict[str, list[Part]] = {}
    for module, name, value in _tensors(model):
        for axis, size in enumerate(value.shape):
            if 1 < size in stuck:
                part = tensor_of(module, name, value, axis)
                found.setdefault(part.name, []).append(part)
    return found


def _tensors(model: nn.Module) -> Iterator[tuple[str, str, Tensor]]:
    """What modules that are not narrowed as a whole keep with weights: module, name and parameter or buffer."""
    for module, own in model.named_modules():
        if not can_narrow(own):
            yield from ((module, name, value) for name, value in own.named_parameters("", False))
            yield from ((module, name, value) for name, value in own.named_buffers("", False)
                        if value.is_floating_point() and name not in own._non_persistent_buffers_set)  # fmt: skip


def _mistaken(tensors: Sequence[Part], parts: Sequence[Part], ties: Ties) -> set[str]:
    """The tensors several of whose entries meet one channel, as where there is an entry for each position. What tensors
    meet that are not mistaken tells of others."""
    starts, number = starts_of(parts), {part.name: number for number, part in enumerate(tensors)}
    owner = numpy.full(starts[-1], -1)  # of each label: the tensor that has it, or -1
    for place, part in enumerate(parts):
        if part.name in number:
            owner[starts[2 * place] : starts[2 * place + 2]] = number[part.name]
    known = owner < 0
    known[FIXED] = False
    pairs = numpy.concatenate([ties.pairs, ties.pairs[::-1]], axis=1)
    pairs = numpy.unique(pairs[:, (owner[pairs[1]] >= 0) & (owner[pairs[0]] != owner[pairs[1]])], axis=1)
    of_tensor = {each: pairs[:, owner[pairs[1]] == each] for each in range(len(tensors))}
    wrong, is_new = set(), True
    while is_new:
        is_new = False
        for each, (others, _) in list(of_tensor.items()):
            others = others[known[others]]
            if len(others):
                del of_tensor[each]
                if len(numpy.unique(others)) < len(others):
                    wrong.add(tensors[each].name)
                else:
                    known |= owner == each
                    is_new = True
    return wrong


def _useless(tensors: Sequence[Part], parts: Sequence[Part], ties: Ties) -> set[str]:
    """The tensors of which not every entry goes with units that may."""
    labels: Mapping[str, numpy.ndarray] = {part.name: some for part, some in zip(parts, ties.labels[1::2], strict=True)}
    units = numpy.concatenate([labels[part.name] for part in parts if part.units])
    goes = numpy.setdiff1d(units, ties.fixed)
    return {tensor.name for tensor in tensors if not numpy.isin(labels[tensor.name], goes).all()}
