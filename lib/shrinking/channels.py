"""Channels followed through a forward pass: which numbers of every tensor belong to which channel of which layer.

Enters: a pass, run while `Channels` is open, and labels of channels for what layers give. Leaves: pairs of labels that
are tied, since their numbers meet. What moves numbers moves labels alike; of what works on each number, the labels of
those that meet are tied; what makes one of many ties these; and what is of a fixed width, mixes channels in another way
or is not known here keeps all that it meets: it is tied to `FIXED`. Products of one matrix for each head, as attention
makes them, tie all channels of a head.

A label tensor has the axes of the tensor that it is of, with one entry along those on which all labels are alike.
"""

import math
import operator
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

FIXED = 0  # the label of what must stay: parameters, constants, and all that is tied to them

_ON_EACH = {  # besides those that PyTorch marks as such
    "_prelu_kernel", "_to_copy", "celu", "copy", "dropout", "elu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "leaky_relu", "mish", "native_dropout", "selu", "silu", "softplus", "softshrink", "threshold",
}  # fmt: skip
_MOVING = {
    "alias", "channel_shuffle", "detach", "diagonal", "expand", "flip", "im2col", "lift_fresh", "movedim",
    "native_channel_shuffle", "permute", "pixel_shuffle", "pixel_unshuffle", "reflection_pad1d", "reflection_pad2d",
    "repeat", "replication_pad1d", "replication_pad2d", "replication_pad3d", "squeeze", "stack", "t", "transpose",
    "unfold", "unsqueeze",
}  # fmt: skip
_VIEWS = {"_reshape_alias", "_unsafe_view", "reshape", "view"}
_TAKING = {"narrow", "select", "slice", "split", "split_with_sizes", "unbind", "unsafe_chunk", "unsafe_split"}
_BY_NUMBER = {"gather", "index", "index_select", "roll"}  # of a channel, which is another one once some have gone
_ALONG = {"_log_softmax", "_safe_softmax", "_softmax", "argsort", "cummax", "cumprod", "cumsum", "sort", "topk"}
_NORMS = re.compile(r"_norm(_|$)")
_PRODUCTS = {"baddbmm", "bmm"}
_IN_HEADS = re.compile(r"^_scaled_dot_product_.*attention")
_IN_SPACE = re.compile(r"(pool|upsample|_upsample).*?(\d)d")
_MIXING = re.compile(r"conv(?!ert)|(^|_)(mm|addmm|bmm|baddbmm|mv|addmv|dot)$|^linear$|attention")


@dataclass(frozen=True, eq=False)
class Split:
    """An axis of channels that has been viewed as several: their `axes` in `labels`, and the module that did so."""

    labels: Tensor
    axes: range
    module: str


class Channels(TorchDispatchMode):
    """While open, and not `paused`, labels what operations make."""

    def __init__(self):
        super().__init__()
        self.pairs: list[numpy.ndarray] = []  # (2, ...) each
        self.unknown: list[numpy.ndarray] = []  # labels of what has met an operation that is not known
        self.splits: list[Split] = []
        self.together: list[numpy.ndarray] = []  # labels of channels that would stay, were they not those of one head
        self.met: list[numpy.ndarray] = []  # labels of channels that stay as products or a softmax are over all of them
        self.partial: list[tuple[Tensor, Tensor]] = []  # labels that only meet where those along an axis differ
        self.within: list[str] = []  # the modules that run, the innermost last
        self.paused = 0
        self._labels: dict[tuple, Tensor] = {}
        self._held: list[Tensor] = []  # so that no other tensor takes the place of one that is known

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # see `flow.Flow`

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        named = named or {}
        strided = operation.overloadpacket.__name__.rstrip("_") == "as_strided" and not self.paused
        same = self.of(arguments[0]) if strided and _is_same(*arguments) else None  # seen before it is changed in place
        made = operation(*arguments, **named)
        if same is not None:
            self.put(made, same)
        elif not self.paused:
            taken = [value for value in tree_leaves((arguments, named)) if isinstance(value, Tensor)]
            is_new = operation.overloadpacket.__name__.startswith("new_")  # of a size that is not said whence
            if not is_new and any(_place(value) in self._labels for value in taken):
                self._follow(operation, taken, arguments, named, made)
        return made

    # ---- labels ------------------------------------------------------------------------------------------------------

    def of(self, value: Tensor) -> Tensor:
        """The labels of a tensor; of an unknown one it is not known where its width comes from."""
        found = self._labels.get(_place(value))
        return torch.full([1] * value.ndim, FIXED, dtype=torch.float64) if found is None else found

    def put(self, value: Tensor, labels: Tensor) -> None:
        """Labels a tensor; one without numbers has nothing to label."""
        if not value.numel():
            return
        self._labels[_place(value)] = labels
        self._held.append(value)

    def tie(self, some: Tensor, others: Tensor) -> None:
        """Ties labels with those at the same place, or to which they are spread."""
        some, others = torch.broadcast_tensors(some, others)
        if some.numel():
            pairs = torch.stack([some.reshape(-1), others.reshape(-1)]).numpy().astype(int)
            self.pairs.append(pairs[:, pairs[0] != pairs[1]])

    def fix(self, *labels: Tensor) -> None:
        """Has channels stay."""
        for some in labels:
            self.tie(some, torch.tensor(FIXED, dtype=torch.float64))

    # ---- operations --------------------------------------------------------------------------------------------------

    def _follow(self, operation, taken: list[Tensor], arguments: tuple, named: dict, made: object) -> None:
        name, labels = operation.overloadpacket.__name__.rstrip("_"), [self.of(value) for value in taken]
        given = {each.name: each.default_value for each in operation._schema.arguments if each.has_default_value()}
        given |= dict(zip((each.name for each in operation._schema.arguments), arguments, strict=False)) | named
        outputs = [value for value in tree_leaves(made) if isinstance(value, Tensor)]
        if outputs and not any(value.numel() for value in outputs):
            return
        first, value = labels[0], taken[0]
        if name.endswith("_like"):
            found = [first]
        elif torch.Tag.pointwise in operation.tags or name in _ON_EACH:
            found = [self._meeting(taken, labels)] * len(outputs)
        elif name in _VIEWS:
            found = [self._viewed(first, value.shape, outputs[0].shape)]
        elif name in _MOVING or name in _TAKING or name in _BY_NUMBER:
            if name in _TAKING:
                self._evenly(first, value, given, name, outputs)
            elif name.endswith("channel_shuffle") and first.shape[1] > 1:
                self._tie_parts(first, 1, value.shape[1] // given["groups"])
            elif name in _BY_NUMBER:
                self._fix_along(first, _numbered(given, value.ndim))
            found = self._moved(operation, arguments, named)
        elif name == "cat":
            found = [self._joined(taken, labels, given.get("dim", 0) % outputs[0].ndim)]
        elif name == "constant_pad_nd":
            found = [self._padded(first, given["pad"])]
        elif name == "glu":
            found = [self._halved(first, given["dim"])]
        elif torch.Tag.reduction in operation.tags:
            found = [self._reduced(first, given, outputs[0].ndim)] * len(outputs)
        elif name in _PRODUCTS:
            found = self._multiplied(taken, labels)
        elif _IN_HEADS.search(name) and any(max(some.shape[:-2], default=1) > 1 for some in labels if some.ndim > 2):
            found = [self._in_heads(taken, labels)]
        elif matched := _IN_SPACE.search(name):
            found = [self._merged(first, range(value.ndim - int(matched[2]), value.ndim))] * len(outputs)
        elif _NORMS.search(name):
            found = [self._normed(name, taken, labels, given)]
        elif name in _ALONG:
            self._meet_along(first, axes := _numbered(given, value.ndim))
            # of fewer places, as topk has, each is any of those, which now are tied
            found = [first if some.shape == value.shape else _first_along(first, axes) for some in outputs]
        else:
            self.fix(*labels)
            if not _MIXING.search(name):
                self.unknown += map(_numbers, labels)
            elif _IN_HEADS.search(name):
                self.met += map(_numbers, labels)
            found = []
        if not operation._schema.is_mutable:
            for output, some in zip(outputs, found, strict=False):
                self.put(output, some)

    def _meeting(self, values: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """What numbers at the same place are labelled: as all of them, but for one label that is spread over many. What
        is spread along some axes and not along others meets labels that differ along these others: see `partial`."""
        axes = max(value.ndim for value in values)
        sizes = [(1,) * (axes - value.ndim) + value.shape for value in values]
        labels = [some.reshape((1,) * (axes - some.ndim) + some.shape) for some in labels]
        many = [axis for axis in range(axes) if any(some.shape[axis] > 1 for some in labels)]
        kept = [some for size, some in zip(sizes, labels, strict=True)
                if some.numel() > 1 or all(size[axis] > 1 for axis in many)]  # fmt: skip
        for other in kept[1:]:
            self.tie(kept[0], other)
        found = torch.broadcast_tensors(*kept)[0]
        for size, some in zip(sizes, labels, strict=True):
            along = [axis for axis in many if size[axis] > 1]
            if some.numel() == 1 and 0 < len(along) < len(many):
                self.partial += [(found.movedim(axis, 0).flatten(1), some.flatten()) for axis in along]
        return found

    def _moved(self, operation, arguments: tuple, named: dict) -> list[Tensor]:
        def label(value: object) -> object:
            whole = isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())
            return self.of(value).expand(value.shape) if whole else value

        return [_thin(made) for made in tree_leaves(operation(*tree_map(label, arguments), **tree_map(label, named)))]

    def _viewed(self, labels: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
        source, target, splits = [], [], []
        for old, new in _blocks(before, after):
            own = labels.shape[len(source) : len(source) + len(old)]
            if all(size == 1 for size in own):
                old, new = [1] * len(old), [1] * len(new)
            elif sum(size > 1 for size in new) > 1:
                splits.append(range(len(target), len(target) + len(new)))
                if sum(size > 1 for size in old) > 1:
                    self.fix(labels)
            source += old
            target += new
        made = labels.expand(source).reshape(target)
        self.splits += [Split(made, axes, self.within[-1]) for axes in splits]
        return _thin(made)

    def _evenly(self, labels: Tensor, value: Tensor, given: dict, name: str, outputs: Sequence[Tensor]) -> None:
        """Ties what lies at the same place in parts of one length, as whoever takes some may count on that; where parts
        differ, all along this axis stay."""
        axis = given.get("dim", 0) % value.ndim
        size = value.shape[axis]
        if labels.shape[axis] == 1 or (name == "slice" and outputs[0].shape == value.shape):
            return
        lengths = {1} if name in ("select", "unbind") else {output.shape[axis] for output in outputs if output.numel()}
        length, start = min(lengths), given.get("start") or 0
        if length and len(lengths) == 1 and size % length == start % length == 0 and given.get("step", 1) == 1:
            self._tie_parts(labels, axis, length)
        else:
            self._fix_along(labels, [axis])

    def _tie_parts(self, labels: Tensor, axis: int, length: int) -> None:
        parts = labels.unflatten(axis, (-1, length))
        self.tie(parts.narrow(axis, 0, 1), parts)

    def _joined(self, values: Sequence[Tensor], labels: Sequence[Tensor], axis: int) -> Tensor:
        values, labels = zip(*(pair for pair in zip(values, labels, strict=True) if pair[0].numel()), strict=True)
        sizes = list(torch.broadcast_shapes(*(some.narrow(axis, 0, 1).shape for some in labels)))
        if all(some.numel() == 1 and some.equal(labels[0]) for some in labels):
            return labels[0]
        parts = [some.expand([*sizes[:axis], value.shape[axis], *sizes[axis + 1 :]])
                 for value, some in zip(values, labels, strict=True) if value.ndim == len(sizes)]  # fmt: skip
        return _thin(torch.cat(parts, axis))

    def _padded(self, labels: Tensor, pad: Sequence[int]) -> Tensor:
        sides = list(pad) + [0] * (2 * labels.ndim - len(pad))
        for axis in range(labels.ndim):
            place = 2 * (labels.ndim - 1 - axis)
            if labels.shape[axis] == 1:
                sides[place : place + 2] = 0, 0  # what lies beside a channel's numbers is of that channel, too
            elif min(sides[place : place + 2]) < 0:
                self.fix(labels)
        return _thin(torch.nn.functional.pad(labels, sides, value=FIXED))

    def _halved(self, labels: Tensor, axis: int) -> Tensor:
        if labels.shape[axis] == 1:
            return labels
        first, second = labels.chunk(2, axis)
        self.tie(first, second)
        return first

    def _reduced(self, labels: Tensor, given: dict, axes: int) -> Tensor:
        found = self._merged(labels, _numbered(given, labels.ndim) or range(labels.ndim))
        if axes == labels.ndim:
            return found
        gone = {axis % labels.ndim for axis in _numbered(given, labels.ndim) or range(labels.ndim)}
        return found.reshape([size for axis, size in enumerate(found.shape) if axis not in gone])

    def _merged(self, labels: Tensor, axes: Sequence[int]) -> Tensor:
        """The labels of what is made of all numbers along these axes, which are tied by that."""
        first = _first_along(labels, axes)
        self.tie(first, labels)
        return first

    def _normed(self, name: str, values: Sequence[Tensor], labels: Sequence[Tensor], given: dict) -> Tensor:
        """What is normalised over channels stays; what is so within each goes with the numbers that are its own."""
        first, axes = labels[0], values[0].ndim
        if "batch_norm" not in name:
            over = given.get("normalized_shape")
            self._fix_along(first, range(axes - len(over), axes) if over else range(1, 2))
        for vector, some in zip(values[1:], labels[1:], strict=True):  # of BatchNorm: a number for each channel
            if "batch_norm" in name and vector.ndim == 1:
                self.tie(first.movedim(1, -1), some)
        return first

    def _multiplied(self, values: Sequence[Tensor], labels: Sequence[Tensor]) -> list[Tensor]:
        """Products of batches of matrices, and what is added to them: what is summed over goes together; rows of the
        first and columns of the second keep apart, and the matrices themselves."""
        summed = {len(values) - 2: -1, len(values) - 1: -2}  # which axis of which
        for which, axis in summed.items():
            self._meet_along(labels[which], [labels[which].ndim + axis])
        values, labels = (
            [each.narrow(summed[which], 0, 1) if which in summed else each for which, each in enumerate(some)]
            for some in (values, labels)
        )
        if all(some.numel() == 1 for some in labels):
            self.fix(*labels)
            return []
        return [self._meeting(list(map(_once, values)), labels)]

    def _in_heads(self, values: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """Attention for each place along the axes before the last two, as for each head: the numbers of one meet each
        other alone, so they go together."""
        matrices = [(value, some) for value, some in zip(values, labels, strict=True) if value.ndim > 1]
        values = [_once(value.narrow(-1, 0, 1).narrow(-2, 0, 1)) for value, _ in matrices]
        labels = [self._as_one(some, range(some.ndim - 2, some.ndim)) for _, some in matrices]
        heads = max(value.shape[-3] for value in values if value.ndim > 2)
        return self._meeting([_for_each(value, heads) for value in values], [_for_each(some, heads) for some in labels])

    def _meet_along(self, labels: Tensor, axes: Sequence[int]) -> None:
        """As `_fix_along`, of what goes over all numbers along these axes, as attention does."""
        if self._fix_along(labels, axes):
            self.met.append(_numbers(labels))

    def _fix_along(self, labels: Tensor, axes: Sequence[int]) -> bool:
        """Has as many places stay along these axes as there are: all channels, or those of each head together, where
        the axis is one of numbers within heads. Gives whether all channels stay."""
        if all(labels.shape[axis] == 1 for axis in axes):
            return False
        if any(size > 1 for axis, size in enumerate(labels.shape) if axis not in axes):
            self._as_one(labels, axes)
            return False
        self.fix(labels)
        return True

    def _as_one(self, labels: Tensor, axes: Sequence[int]) -> Tensor:
        """Ties what lies along these axes at the same place of the others, as the numbers within a head; gives the
        labels of that."""
        self.together.append(_numbers(labels))
        return self._merged(labels, axes)


def _first_along(labels: Tensor, axes: Sequence[int]) -> Tensor:
    for axis in axes:
        labels = labels.narrow(axis, 0, 1)
    return labels


def _numbers(labels: Tensor) -> numpy.ndarray:
    return labels.numpy().astype(int).ravel()


def _place(value: Tensor) -> tuple:
    """Where its numbers are; the labels of a place never change, but for being tied to others."""
    return value.untyped_storage()._cdata, value.storage_offset(), value.shape, value.stride()


def _is_same(value: Tensor, size: Sequence[int], stride: Sequence[int], offset: int | None = None) -> bool:
    """Whether these strides, as pooling changes them where images are channels last, leave all numbers in place."""
    moved = any(old != new for length, old, new in zip(size, value.stride(), stride, strict=False) if length > 1)
    return tuple(size) == tuple(value.shape) and not moved and offset in (None, value.storage_offset())


def _once(value: Tensor) -> Tensor:
    """The value without repetitions along axes on which it has been expanded."""
    for axis, (size, stride) in enumerate(zip(value.shape, value.stride(), strict=True)):
        value = value.narrow(axis, 0, 1) if size > 1 and stride == 0 else value
    return value


def _for_each(value: Tensor, heads: int) -> Tensor:
    """Each head of keys as often as there are heads of queries for it, one after the other."""
    several = value.ndim > 2 and 1 < value.shape[-3] < heads
    return value.repeat_interleave(heads // value.shape[-3], -3) if several else value


def _thin(labels: Tensor) -> Tensor:
    """The labels, with one entry along axes on which all are alike."""
    for axis, (size, stride) in enumerate(zip(labels.shape, labels.stride(), strict=True)):
        if size > 1:
            first = labels.narrow(axis, 0, 1)
            if stride == 0 or torch.equal(labels, first.expand(labels.shape)):
                labels = first
    return labels


def _numbered(given: dict, axes: int) -> list[int]:
    """The axes that an operation is told; those of `index` are where it has one."""
    if "indices" in given:
        return [axis for axis, index in enumerate(given["indices"]) if index is not None]
    found = next((given[name] for name in ("dim", "dims") if given.get(name) is not None), [])
    return [axis % axes for axis in (found if isinstance(found, (list, tuple)) else [found])]


def _blocks(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Sizes of axes in two shapes of as many numbers, in parts of as many: what is viewed anew is so within a part."""
    counts = [[*accumulate(sizes, operator.mul)] for sizes in (before, after)]
    done = [0, 0]
    for count in sorted({*counts[0]} & {*counts[1]} | {math.prod(before)}):
        ends = [bisect_right(each, count) for each in counts]
        yield list(before[done[0] : ends[0]]), list(after[done[1] : ends[1]])
        done = ends
