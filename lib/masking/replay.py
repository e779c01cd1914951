"""Passes with one unit off, in which nothing that the unit cannot influence is computed again.

Enters: a model that torch.fx can trace, its units and images. Leaves: the logits of every image with each of the units
off. One intact pass is walked through operation by operation, and at each layer's taps only what depends on them is
run (`cuts`), for many (unit, example) pairs at once. Until the first operation that mixes channels, one channel is all
that differs: a convolution there adds that channel's change to its intact output, and pairs without any change (a ReLU
silences the unit anyway) are left out.
"""

from collections import ChainMap
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from lib.masking.cuts import Cut, CutGraph
from lib.network.models import channels_last
from lib.network.taps import Unit


class Replay:
    """The traced model, which can go on from the taps of any layer.

    Raises whatever tracing raises, which is anything, for it runs the model's own code on stand-ins.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Unit], example: Tensor):
        self._graph = CutGraph(model, channels_last(example))
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
        """Numbers of units (R,) and of examples (R,), and the logits (R, K) of each example with that unit off.

        Only of those pairs in which anything can have changed, `pairs` at once, or as many as suit the device.
        """
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
        self, cut: Cut, values: dict, wanted: Tensor, pairs: int
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

    def _beyond(self, cut: Cut, values: dict, off: dict, change: dict, numbers: Tensor, examples: Tensor) -> Tensor:
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
