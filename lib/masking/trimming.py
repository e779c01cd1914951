"""The operations of a model's graph with units off: each leaves out the channels that are zero then.

Enters: a graph, where its units are read, and which of them are off. Leaves: a step for every operation, which gives
its value from those of the others. Rows of weights that make channels of zeros and columns that take them in are cut
out, and zeros are put back only where an operation needs all channels, as a sum does that adds a branch to a residual
stream.
"""

import operator
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from lib.network.folding import layout
from lib.network.graphs import Graph
from lib.network.taps import Unit, along

# operations that work on each channel by itself, and make zeros of zeros
_KEEPS_ZEROS = {
    *(nn.Identity, nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Tanh),
    *(functional.relu, functional.relu6, functional.leaky_relu, functional.silu, functional.gelu),
    *(functional.max_pool2d, functional.avg_pool2d, functional.adaptive_avg_pool2d),
    *(torch.relu, torch.tanh, "relu", "tanh", "contiguous"),
}
_MEANS, _FLATTENS = {torch.mean, "mean"}, {nn.Flatten, torch.flatten, "flatten"}
_ADDS = {torch.add, operator.add, "add"}
_OVERWRITING = {  # the same, in place
    **dict.fromkeys((nn.ReLU, functional.relu, torch.relu, "relu"), Tensor.relu_),
    **dict.fromkeys((nn.ReLU6, functional.relu6), partial(functional.relu6, inplace=True)),
}
_BLOCK = 16  # output channels that a convolution makes at once: fewer take as long

Step = Callable[[Mapping[fx.Node, Tensor]], Tensor]


class Trimmed:
    """The steps of a graph's operations with exactly the units in `off`, (N,) bool, off.

    Arguments:
        taps: operation -> the units that are read from its value, and the axis along which they lie.
        before: the steps with other units off, which are taken over wherever that makes no difference.
    """

    def __init__(self, graph: Graph, taps: Mapping[fx.Node, tuple[Unit, int]], off: Tensor, before: "Trimmed | None"):
        self.off, self._graph, self._taps = off, graph, taps
        self.kept: dict[fx.Node, Tensor] = {}  # which channels (C',) a value has, if not all; the others are zero
        self.steps: dict[fx.Node, Step] = {}
        self.anew: list[fx.Node] = []  # whose values differ from those before, in the order in which they run
        for node in graph.nodes:
            if before is None or not self._is_as(before, node):
                self.steps[node] = self._step(node)
                self.anew.append(node)
                continue
            self.steps[node] = before.steps[node]
            if node in before.kept:
                self.kept[node] = before.kept[node]
            if not set(self.anew).isdisjoint(node.all_input_nodes):
                self.anew.append(node)

    def _is_as(self, before: "Trimmed", node: fx.Node) -> bool:
        """Whether the operation does the same as before with the same channels."""
        asked = [self._taps[each][0].slice for each in (node, self._taker(node)) if each in self._taps]
        same = all(torch.equal(self.off[here], before.off[here]) for here in asked)
        return same and all(self.kept.get(source) is before.kept.get(source) for source in node.all_input_nodes)

    def _step(self, node: fx.Node) -> Step:
        unit, axis = self._taps.get(node, (None, 1))
        if self._graph.takes_channels(node) or (unit is not None and self._is_cut_already(node)):
            return self._layer(node)
        if unit is None and self._may_overwrite(node):
            return self._in_place(node)
        cut = self.kept.keys() & node.all_input_nodes
        if unit is None and cut and self._channels_stay(node):
            return self._channelwise(node)
        if unit is None and cut and self._adds(node):
            return self._sum(node)
        whole = [(source, self._widening(source)) for source in cut]
        on = None if unit is None else self._on(node)
        keep = None if on is None or on.all() else on.to(self._graph.seen[node])

        def run(values):
            value = self._graph.run(node, {**values, **{source: widen(values[source]) for source, widen in whole}})
            return value if keep is None else value * along(keep, axis, value)

        return run

    def _on(self, node: fx.Node) -> Tensor:
        """Which of the channels (C,) of a tapped value, or a layer's, are on."""
        if node in self._taps:
            return ~self.off[self._taps[node][0].slice]
        return torch.ones(len(self._graph.module(node).weight), dtype=torch.bool)

    def _layer(self, node: fx.Node) -> Step:
        """A convolution or linear layer of the channels that there are, to those that are worth making."""
        layer, (source,), on = self._graph.module(node), node.all_input_nodes, self._on(node)
        weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
        made = self._worth_making(node, on)
        if len(made) < len(on) or not on.all():
            kept = made.to(weight.device)
            alive = on.to(weight.device)[kept].to(weight.dtype)  # what is off may be made, but is zero
            weight = weight[kept] * along(alive, 0, weight)
            bias = None if bias is None else bias[kept] * alive
        if len(made) < len(on):
            self.kept[node] = kept
        if source in self.kept and self._graph.takes_channels(node):
            weight = weight[:, self.kept[source]]
        if isinstance(layer, nn.Linear):
            return lambda values: functional.linear(values[source], weight, bias)
        liked, rest = layout(self._graph.seen[node].shape, weight.device), [layer.stride, layer.padding, layer.dilation]
        weight = weight.contiguous(memory_format=liked)
        rest.append(1 if self._graph.takes_channels(node) else len(made))
        return lambda values: functional.conv2d(values[source].contiguous(memory_format=liked), weight, bias, *rest)

    def _taker(self, node: fx.Node) -> fx.Node | None:
        """The depthwise convolution with units that alone takes in what this layer makes, channel by channel, if one
        does: of what it does not give on nothing need be made."""
        users = list(node.users) if self._graph.takes_channels(node) else []
        while len(users) == 1 and users[0] not in self._taps and self._channels_stay(users[0]):
            users = list(users[0].users)
        return users[0] if len(users) == 1 and users[0] in self._taps and self._graph.is_depthwise(users[0]) else None

    def _is_cut_already(self, node: fx.Node) -> bool:
        """Whether it is a depthwise convolution that takes in just the channels that it is to make."""
        there = self.kept.get(node.all_input_nodes[0]) if self._graph.is_depthwise(node) else None
        return there is not None and torch.equal(there.cpu(), _numbers(self._on(node)))

    def _worth_making(self, node: fx.Node, on: Tensor) -> Tensor:
        """The channels to make: what is on, but at least one; or all, where zeros would be put back for no gain."""
        if self._graph.is_depthwise(node):
            return _numbers(on)
        if (taker := self._taker(node)) is not None:
            return _numbers(self._on(taker))
        count = int(on.sum())
        if not self._stays_narrow(node) and -(-count // _BLOCK) == -(-len(on) // _BLOCK):
            return torch.arange(len(on))
        return _numbers(on)

    def _stays_narrow(self, node: fx.Node) -> bool:
        return all(
            self._graph.takes_channels(user)
            or (user not in self._taps and self._channels_stay(user) and self._stays_narrow(user))
            for user in node.users
        )

    def _channels_stay(self, node: fx.Node) -> bool:
        """Whether channels keep apart and zero; `flatten` may make several features of each."""
        kind, sources = self._graph.kind(node), node.all_input_nodes
        if len(sources) != 1 or node.args[:1] != (sources[0],):
            return False
        value, taken = self._graph.seen[node], self._graph.seen[sources[0]]
        if kind in _FLATTENS:
            return value.ndim == 2 and taken.ndim > 2
        if kind in _MEANS:
            axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", (1,))
            return not {0, 1} & {axis % taken.ndim for axis in ((axes,) if isinstance(axes, int) else axes)}
        return kind in _KEEPS_ZEROS and taken.ndim in (2, 4) and value.shape[:2] == taken.shape[:2]

    def _may_overwrite(self, node: fx.Node) -> bool:
        """Whether it can overwrite what it takes in: a value that was made anew and that nothing else takes in."""
        if self._graph.kind(node) not in _OVERWRITING:
            return False
        source = node.all_input_nodes[0]
        is_layer = self._graph.takes_channels(source) or self._graph.is_depthwise(source)
        return len(source.users) == 1 and (is_layer or self._adds(source))

    def _in_place(self, node: fx.Node) -> Step:
        (source,) = node.all_input_nodes
        if source in self.kept:
            self.kept[node] = self.kept[source]
        overwrite = _OVERWRITING[self._graph.kind(node)]
        return lambda values: overwrite(values[source])

    def _channelwise(self, node: fx.Node) -> Step:
        (source,) = node.all_input_nodes
        kept, each = self.kept[source], self._graph.seen[node].shape[1] // self._graph.seen[source].shape[1]
        if self._graph.kind(node) in _FLATTENS and each > 1:
            kept = (kept[:, None] * each + torch.arange(each, device=kept.device)).flatten()
        self.kept[node] = kept
        return lambda values: self._graph.run(node, values)

    def _adds(self, node: fx.Node) -> bool:
        if self._graph.kind(node) not in _ADDS or node.kwargs or len(node.args) != 2:
            return False
        shapes = {getattr(self._graph.seen.get(source), "shape", None) for source in node.args}
        return len(shapes) == 1 and None not in shapes

    def _sum(self, node: fx.Node) -> Step:
        """The sum, with the channels that either of the two has."""
        both = [self.kept.get(source) for source in node.args]
        union = None
        if all(kept is not None for kept in both):
            union = self.kept[node] = torch.cat(both).unique()
        widen = [self._widening(source, union) for source in node.args]
        return lambda values: widen[0](values[node.args[0]]) + widen[1](values[node.args[1]])

    def _widening(self, source: fx.Node, onto: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        """Puts zeros back, for all channels or those in `onto`."""
        kept, like = self.kept.get(source), self._graph.seen[source]
        if kept is None or (onto is not None and len(onto) == len(kept)):
            return lambda value: value
        place, count = (kept, like.shape[1]) if onto is None else (torch.searchsorted(onto, kept), len(onto))
        if like.ndim == 4 and like.device.type == "cpu":  # ten times as fast as by index, and as exact
            spread = like.new_zeros(count, len(kept), 1, 1)
            spread[place, torch.arange(len(kept))] = 1.0
            return lambda value: functional.conv2d(value, spread)
        return lambda value: value.new_zeros(len(value), count, *value.shape[2:]).index_copy_(1, place, value)


def _numbers(on: Tensor) -> Tensor:
    """The channels that are on, but at least one."""
    return on.nonzero().flatten() if on.any() else torch.arange(1)
