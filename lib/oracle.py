"""The oracle: what really happens when one unit is switched off, which importance criteria only estimate.

Enters: a trained model in eval mode and batches of images, with labels or without. Leaves: for every unit, how much
the mean loss and the logits change without it, as one masked pass per unit gives them (the oracle of Molchanov et al.
2017, arXiv 1611.06440); and how much more, or less, units do together than one by one.

Nothing that a unit cannot influence is computed again. The model is traced by torch.fx; one intact pass is walked
through operation by operation, and at each tap only what depends on it is run, for many (unit, example) pairs at
once. Until the first operation that mixes channels, one channel is all that differs: a convolution there adds that
channel's change to its intact output, and pairs without any change (a ReLU silences the unit anyway) are left out. A
model that cannot be traced, as its control flow depends on data, takes one masked pass per unit.
"""

import operator
from collections import ChainMap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from lib import checks, models
from lib.folding import full_precision
from lib.graphs import Graph, descendants
from lib.models import alike, channels_last
from lib.pruning import masked
from lib.units import Unit, units

# operations whose output channel c depends on input channel c alone
_CHANNELWISE = {
    *(nn.Identity, nn.Dropout, nn.Dropout2d, nn.BatchNorm1d, nn.BatchNorm2d),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Sigmoid, nn.Tanh),
    *(functional.relu, functional.relu6, functional.leaky_relu, functional.silu, functional.gelu),
    *(torch.relu, torch.add, operator.add, "relu", "add"),
}
_ELEMENTS = {"cpu": 2**19, "cuda": 2**26}  # of a tensor: what the caches of a core hold, or what keeps a GPU busy
_FEWEST_PAIRS = 8  # at once: else all weights would be read again for every pair

Batch = tuple[Tensor, Tensor | None] | tuple[Tensor, Tensor | None, Tensor]


def score(model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """What changes with one unit off, for each of the N units in the order of `units.units`: (N,) float64 on the CPU.

    Arguments:
        model: in eval mode, from images (M, C, H, W) to logits (M, K); left as it was found.
        batches: tuples (images, labels (M,) or None); further entries are ignored. They are gone through one by one.

    Returns "output", the mean over examples of |f(x) - f(x; unit off)|^2, and, where there are labels, "loss", the
    absolute change of the mean cross-entropy.

    Raises ValueError for labels that are out of range or missing in some batches only, images that the model does not
    take, no examples, logits that are not finite, or a model that is in training mode or has no units.
    """
    model, singles = models.inside(model), None
    for images, labels in _examples(batches):
        with _quietly():
            images = models.ready(model, images)
            singles = singles or _Singles(model, units(model, images[:1]), images)
            singles.add(images, labels)
    return singles.results()


def interactions(model: nn.Module, order: Tensor, counts: Sequence[int], batches: Iterable[Batch]) -> pandas.DataFrame:
    """Whether units matter together: the output change with the first k units of `order` off, for every k in `counts`.

    Arguments:
        order: (N,) unit indices, as of `pruning.order`.
        batches: as for `score`; labels are ignored.

    Returns one row per k: pruned (k), joint (the mean over examples of |f(x) - f(x; all k off)|^2), single (the sum of
    the same for each of the k off alone) and ratio (joint / single: above 1 where the units' effects add up or each
    stood in for the others, below 1 where they cancel, NaN where there is no change at all).

    Raises ValueError as `score` does, or where `order` is not a permutation of the units or a k not between 0 and N.
    """
    model, counts = models.inside(model), checks.several("counts", counts)
    offs, joint, layers, singles = [(order, k) for k in counts], [0.0] * len(counts), None, None
    for images, _ in _examples(batches):
        with _quietly():
            images = models.ready(model, images)
            layers = layers or _layers(model, images, [order], counts)
            singles = singles or _Singles(model, layers, images, order[: max(counts, default=0)])
            joint = [a + b for a, b in zip(joint, _joint(model, offs, images, layers), strict=True)]
            singles.add(images, None)
    change = singles.results()["output"][order.cpu()]
    table = pandas.DataFrame({"pruned": [int(k) for k in counts], "joint": joint})
    table["joint"] /= singles.count
    table["single"] = [change[:k].sum().item() for k in counts]
    table["ratio"] = table["joint"] / table["single"]
    return table


def joint(model: nn.Module, orders: Sequence[Tensor], k: int, batches: Iterable[Batch]) -> list[float]:
    """Only the joint changes of `interactions`, for the first `k` units of each of `orders`; errors as there."""
    model, orders = models.inside(model), checks.orders(orders)
    offs, total, examples, layers = [(order, k) for order in orders], [0.0] * len(orders), 0, None
    for images, _ in _examples(batches):
        with _quietly():
            images = models.ready(model, images)
            layers = layers or _layers(model, images, orders, [k])
            total = [a + b for a, b in zip(total, _joint(model, offs, images, layers), strict=True)]
            examples += len(images)
    return [change / examples for change in total]


def _layers(model: nn.Module, images: Tensor, orders: Iterable[Tensor], counts: Iterable[int]) -> list[Unit]:
    """The units of the model, if they are what `orders` and `counts` are of."""
    layers = units(model, images[:1])
    total = sum(unit.size for unit in layers)
    for order in orders:
        checks.order(order, total)
    for k in counts:
        checks.count(k, total)
    return layers


def _joint(model: nn.Module, offs: Iterable[tuple[Tensor, int]], images: Tensor, layers) -> list[float]:
    """Summed over images: |f(x) - f(x; the first k of the order off)|^2, for each (order, k) in `offs`."""
    intact, changes = models.answers(model, images), []
    models.require_finite(intact)
    for order, k in offs:
        with masked(model, order, k, layers):
            changes.append(_squared_distance(models.answers(model, images), intact).sum().item())
    return changes


@contextmanager
def _quietly() -> Iterator[None]:
    """Without gradients, and as the model is written; not to be open while a caller's batches are made."""
    with torch.inference_mode(False), torch.no_grad(), models.as_written(), models.random_state_kept():
        yield


def _examples(batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor | None]]:
    empty = True
    for images, labels, *_ in checks.batches(batches):
        if len(images):
            empty = False
            yield images, labels
    if empty:
        raise checks.none_in(batches)


def _squared_distance(changed: Tensor, intact: Tensor) -> Tensor:
    return (changed.double() - intact.double()).square().sum(1)


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.double(), labels.long(), reduction="none")


class _Singles:
    """Sums, over all examples seen so far, what every unit changes when it alone is off; or those in `wanted`."""

    def __init__(self, model: nn.Module, layers: Sequence[Unit], images: Tensor, wanted: Tensor | None = None):
        self.layers, self._model = layers, model
        total = sum(unit.size for unit in self.layers)
        self._wanted = torch.ones(total, dtype=torch.bool)
        if wanted is not None:
            self._wanted = torch.isin(torch.arange(total), wanted.cpu())
        self._passes = _replay(model, self.layers, images[:2]) or _OneByOne(model, self.layers)
        self._output = torch.zeros(total, dtype=torch.float64, device=images.device)
        self._loss = torch.zeros_like(self._output)
        self._labelled: bool | None = None
        self.count = 0

    def add(self, images: Tensor, labels: Tensor | None) -> None:
        intact = models.logits(models.run(self._model, images, self._passes.intact), len(images))
        labels = self._checked(intact, labels)
        self.count += len(images)
        output = self._output.new_zeros(len(self._output), len(images))  # (N, M)
        loss = torch.zeros_like(output)
        for numbers, examples, changed in self._passes.changed(images, self._wanted):
            output[numbers, examples] = _squared_distance(changed, intact[examples])
            if labels is not None:
                truth = labels[examples]
                loss[numbers, examples] = _losses(changed, truth) - _losses(intact[examples], truth)
        self._output += output.sum(1)
        self._loss += loss.sum(1)

    def results(self) -> dict[str, Tensor]:
        sums = {"output": self._output, **({"loss": self._loss.abs()} if self._labelled else {})}
        means = {name: (values / self.count).cpu() for name, values in sums.items()}
        if not all(values.isfinite().all() for values in means.values()):
            raise ValueError("logits are not finite with a unit off; check the model's weights")
        return means

    def _checked(self, logits: Tensor, labels: Tensor | None) -> Tensor | None:
        """The labels, beside the logits (M, K)."""
        models.require_finite(logits)
        if self._labelled not in (None, labels is not None):
            raise ValueError("some batches have labels and others have none: give them for all or for none")
        self._labelled = labels is not None
        return checks.labels(labels, *logits.shape).to(logits.device) if self._labelled else None


class _OneByOne:
    """The obvious way: a masked pass per unit."""

    def __init__(self, model: nn.Module, layers: Sequence[Unit]):
        self._model, self._layers = model, layers

    def intact(self, images: Tensor) -> Tensor:
        """The logits (M, K) with every unit on."""
        return models.answers(self._model, images)

    def changed(self, images: Tensor, wanted: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Numbers of units (R,) and of examples (R,), and the logits (R, K) of each example with that unit off."""
        examples = torch.arange(len(images), device=images.device)
        for number in wanted.nonzero().flatten().tolist():
            first = torch.arange(len(wanted)).roll(-number)  # an order that begins with this unit
            with masked(self._model, first, 1, self._layers):
                yield torch.full_like(examples, number), examples, models.answers(self._model, images)


def _replay(model: nn.Module, layers: Sequence[Unit], examples: Tensor) -> "_Replay | None":
    """A replay of `model`, unless it cannot be traced, or gives other logits than masked passes over `examples` do, all
    pairs at once or each alone, as one may be left over at the end."""
    wanted = torch.zeros(sum(unit.size for unit in layers), dtype=torch.bool)
    wanted[[unit.start + offset for unit in layers for offset in (0, unit.size // 2)]] = True
    with full_precision():
        truth = torch.stack([changed for *_, changed in _OneByOne(model, layers).changed(examples, wanted)])
        try:
            replay = _Replay(model, layers, examples[:1])
            found = _replayed(replay, examples, wanted), _replayed(replay, examples[:1], wanted, pairs=1)
        except models.OF_THE_MACHINE:
            raise
        except Exception:  # tracing runs the model's own code on stand-ins, so anything may happen
            return None
    return replay if alike(found[0], truth) and alike(found[1], truth[:, :1]) else None


def _replayed(replay: "_Replay", examples: Tensor, wanted: Tensor, pairs: int | None = None) -> Tensor:
    """The logits (units, M, K) with each of the wanted units off."""
    place = (wanted.cumsum(0) - 1).to(examples.device)
    found = models.logits(replay.intact(examples), len(examples)).repeat(int(wanted.sum()), 1, 1)
    for numbers, positions, changed in replay.changed(examples, wanted, pairs):
        found[place[numbers], positions] = models.logits(changed, len(numbers))
    return found


@dataclass(frozen=True)
class _Cut:
    """How to go on from the taps of one layer: nodes of the graph, each list in the order in which they run."""

    unit: Unit
    taps: dict[fx.Node, int]  # with the axis along which the units lie; the first one to run comes first
    near: list[fx.Node]  # differ from their intact values in the unit's channel only: the first tap and its like
    exits: list[fx.Node]  # those of `near` that operations of `beyond` take in,
    wide: list[fx.Node]  # as a whole,
    narrow: dict[fx.Node, fx.Node]  # or by that channel alone: convolutions and linear layers, each with its exit
    beyond: list[fx.Node]  # everything else that depends on a tap
    ahead: list[fx.Node]  # run after the first tap, but needed here with their intact values
    pairs: int  # (unit, example) pairs to go through at once

    @property
    def first(self) -> fx.Node:
        return next(iter(self.taps))

    @property
    def axis(self) -> int:
        return self.taps[self.first]


class _Replay:
    """The traced model, which can go on from the taps of any layer. Does what `_OneByOne` does, in less time."""

    def __init__(self, model: nn.Module, layers: Sequence[Unit], example: Tensor):
        self._graph = _Graph(model, channels_last(example))
        cuts = [self._graph.cut(unit) for unit in layers]
        self._cuts = {cut.first: cut for cut in cuts if self._graph.nodes[-1] in cut.beyond}  # all that matter

    def intact(self, images: Tensor) -> Tensor:
        """The logits (M, K) with every unit on."""
        for node, values in self._walk(images):
            logits = values[node]
        return logits

    def changed(
        self, images: Tensor, wanted: Tensor, pairs: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """As `_OneByOne.changed`, but only those pairs in which anything can have changed, so many of them at once."""
        for node, values in self._walk(images):
            cut = self._cuts.get(node)
            if cut is not None and wanted[cut.unit.slice].any():
                here = wanted[cut.unit.slice].to(images.device)
                yield from self._without_each(cut, values, here, pairs or cut.pairs)

    def _walk(self, images: Tensor) -> Iterator[tuple[fx.Node, dict[fx.Node, Any]]]:
        """The intact pass, stopping after every operation; values that nothing will need any more are dropped."""
        values = {self._graph.nodes[0]: channels_last(images)}
        for node in self._graph.nodes:
            self._graph.fill(values, node)
            yield node, values
            for dead in self._graph.freed[node]:
                values.pop(dead, None)

    def _without_each(
        self, cut: _Cut, values: dict, wanted: Tensor, pairs: int
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for node in cut.ahead:
            self._graph.fill(values, node)
        off = {cut.first: torch.zeros_like(values[cut.first])}  # all units at once, for channels do not meet in `near`
        for node in cut.near[1:]:
            off[node] = self._graph.run(node, ChainMap(off, values))
        off = {node: off[node].movedim(cut.axis, 1) for node in cut.exits}
        change = {node: off[node] - values[node].movedim(cut.axis, 1) for node in cut.exits}
        alive = wanted.expand(len(values[cut.first]), -1)  # (M, units of the layer)
        if len(cut.taps) == 1:
            alive = alive & torch.stack([_anywhere(part != 0) for part in change.values()]).any(0)
        for numbers, examples in (part.T for part in alive.T.nonzero().split(pairs) if len(part)):
            logits = self._beyond(cut, values, off, change, numbers, examples)
            yield cut.unit.start + numbers, examples, logits

    def _beyond(self, cut: _Cut, values: dict, off: dict, change: dict, numbers: Tensor, examples: Tensor) -> Tensor:
        """The logits (R, K) of `examples` (R,), each with one unit of the layer off: `numbers` (R,)."""
        rows = _Rows(values, examples, self._graph.per_example)
        place = torch.arange(len(examples), device=examples.device)
        for node in cut.wide:
            rows[node].movedim(cut.axis, 1)[place, numbers] = off[node][examples, numbers]
        for node in cut.beyond:
            if node in cut.narrow:
                channel = change[cut.narrow[node]][examples, numbers]
                rows[node] = _updated(_take(values[node], examples), self._graph.module(node), channel, numbers)
            else:
                rows[node] = self._graph.run(node, rows)
            if node in cut.taps:
                rows[node].movedim(cut.taps[node], 1)[place, numbers] = 0.0
            for dead in self._graph.freed[node]:
                rows.pop(dead, None)
        return rows[node]


class _Rows(dict):
    """Values for (unit, example) pairs; those that no tap influences are taken from the intact pass when asked for."""

    def __init__(self, values: dict[fx.Node, Any], examples: Tensor, per_example: set[fx.Node]):
        self._values, self._examples, self._per_example = values, examples, per_example

    def __missing__(self, node: fx.Node) -> Any:
        self[node] = _take(self._values[node], self._examples) if node in self._per_example else self._values[node]
        return self[node]


def _take(values: Tensor, examples: Tensor) -> Tensor:
    if values.ndim != 4:
        return values.index_select(0, examples)
    return values.movedim(1, -1).index_select(0, examples).movedim(-1, 1)  # whole rows are copied, channels-last


def _updated(output: Tensor, layer: nn.Conv2d | nn.Linear, change: Tensor, numbers: Tensor) -> Tensor:
    """The output (R, ...) of `layer` after `change` (R, ...) is added to channel `numbers` (R,) of its input."""
    if isinstance(layer, nn.Linear):
        return output + change[:, None] * layer.weight.T[numbers]
    channels, counts = numbers.unique_consecutive(return_counts=True)
    counts = counts.tolist()
    for channel, rows, part in zip(channels.tolist(), output.split(counts), change.split(counts), strict=True):
        weight, part = layer.weight[:, channel : channel + 1], part[..., None].movedim(-1, 1)  # channels-last
        rows += functional.conv2d(part, weight, None, layer.stride, layer.padding, layer.dilation)
    return output


def _anywhere(differs: Tensor) -> Tensor:
    return differs.flatten(2).any(2) if differs.ndim > 2 else differs


class _Graph(Graph):
    """The model's graph, cut at the taps of a layer."""

    def __init__(self, model: nn.Module, example: Tensor):
        super().__init__(model, example)
        self.per_example = descendants(self.nodes, self.nodes[:1])

    def cut(self, unit: Unit) -> _Cut:
        taps = {self.runs[tap.module, tap.call]: tap.axis for tap in unit.taps}
        taps = {node: taps[node] for node in self.in_order(taps)}
        first = next(iter(taps))
        behind = descendants(self.nodes, taps)
        has_channels = taps[first] % self.seen[first].ndim == 1
        near = self._near(first, behind) if has_channels and len(taps) == 1 else [first]
        beyond = self._with_sizes(behind.difference(near))
        exits = [node for node in near if beyond.intersection(node.users)]
        takers = [(user, node) for node in exits for user in node.users if user not in taps]
        narrow = {user: node for user, node in takers if has_channels and self.takes_channels(user)}
        wide = [node for node in exits if beyond.intersection(node.users).difference(narrow)]
        needed = {source for node in (*beyond, *near) for source in node.all_input_nodes if source not in behind}
        ahead = self._ahead(first, {*needed, *exits, *narrow})
        largest = max(self._elements(node) for node in (first, *beyond))
        pairs = max(_FEWEST_PAIRS, _ELEMENTS.get(self.seen[first].device.type, _ELEMENTS["cuda"]) // largest)
        return _Cut(unit, taps, near, exits, wide, narrow, self.in_order(beyond), ahead, pairs)

    def _near(self, first: fx.Node, behind: set[fx.Node]) -> list[fx.Node]:
        near, tapped = [first], self.seen[first]
        for node in self.in_order(behind):
            sources = behind.intersection(node.all_input_nodes)
            if node is not first and sources.issubset(near) and self._keeps_channels_apart(node):
                value = self.seen[node]
                if value.ndim == tapped.ndim and value.shape[1] == tapped.shape[1]:
                    near.append(node)
        return near

    def _keeps_channels_apart(self, node: fx.Node) -> bool:
        module = self.module(node)
        if type(module) is nn.Conv2d:
            return module.groups == module.in_channels == module.out_channels
        return self.kind(node) in _CHANNELWISE

    def _with_sizes(self, nodes: set[fx.Node]) -> set[fx.Node]:
        """Adds what is no tensor, such as `images.shape`: it may hold the number of rows, so it has to be found
        anew."""
        for node in reversed(self.nodes):
            if node in nodes:
                sources = self.per_example.intersection(node.all_input_nodes)
                nodes = nodes.union(source for source in sources if not isinstance(self.seen[source], Tensor))
        return nodes

    def _ahead(self, first: fx.Node, nodes: set[fx.Node]) -> list[fx.Node]:
        """What has to run after `first` so that all `nodes` have values."""
        rest = self.nodes[self.position[first] + 1 :]
        for node in reversed(rest):
            if node in nodes:
                nodes = nodes.union(node.all_input_nodes)
        return [node for node in rest if node in nodes]

    def _elements(self, node: fx.Node) -> int:
        value = self.seen[node]
        return value.numel() if isinstance(value, Tensor) else 0
