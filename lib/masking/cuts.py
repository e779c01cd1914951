"""A model's graph, cut at the taps of one layer: what depends on them, and what can be had without running it anew.

Enters: a model that torch.fx can trace, an example, and the units of a layer. Leaves: the graph's operations behind
the layer's taps, apart by what they do: those that keep channels apart, where with one unit off one channel is all
that differs, those that first mix channels, and everything beyond.
"""

import operator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from lib.network.graphs import Graph, descendants
from lib.network.taps import Unit

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


@dataclass(frozen=True)
class Cut:
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
        """The tap that runs first."""
        return next(iter(self.taps))

    @property
    def axis(self) -> int:
        """The one along which the units lie at the first tap."""
        return self.taps[self.first]


class CutGraph(Graph):
    """The model's graph, cut at the taps of a layer."""

    def __init__(self, model: nn.Module, example: Tensor):
        super().__init__(model, example)
        self.per_example = descendants(self.nodes, self.nodes[:1])

    def cut(self, unit: Unit) -> Cut:
        """How to go on from the taps of the layer of these units.

        Raises ValueError where examples have several rows there, or hooks run.
        """
        if any(tap.folded for tap in unit.taps):
            raise ValueError(f"{unit.name} runs on several rows of each example")
        taps = {self.read_at(tap): tap.axis for tap in unit.taps}
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
        return Cut(unit, taps, near, exits, wide, narrow, self.in_order(beyond), ahead, pairs)

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
