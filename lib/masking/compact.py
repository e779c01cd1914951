"""A network with units off that does not compute them: the same logits as a masked pass, in less time.

Enters: a model that torch.fx can trace, its units, and which of them are off. Leaves: a network in which, wherever the
structure allows, channels that are zero because their unit is off do not exist: BatchNorm is merged into the
convolution before it, rows of weights that make such channels and columns that take them in are cut out, and zeros
are put back only where an operation needs all channels, as a sum does that adds a branch to a residual stream.
Whether it gives the logits of a masked pass is for the caller to check: see `pruning.curve`.
"""

import operator
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from lib.network.folding import layout
from lib.network.graphs import Graph
from lib.network.models import channels_last
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
_ADDS, _RELUS = {torch.add, operator.add, "add"}, {nn.ReLU, functional.relu, torch.relu, "relu"}
_BLOCK = 16  # output channels that a convolution makes at once: fewer take as long

Step = Callable[[Mapping[fx.Node, Tensor]], Tensor]


class Compact(nn.Module):
    """The traced `model`; after `switch_off` its logits are those without some of its units.

    Arguments:
        layers, example: as of `units.units`; the example decides the sizes that later images must have, too.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Unit], example: Tensor):
        super().__init__()
        self.model = model  # whose parameters say where images belong
        self._graph = Graph(model, example)
        taps = [(unit, tap) for unit in layers for tap in unit.taps]
        self._taps = {self._graph.runs[tap.module, tap.call]: (unit, tap.axis_of_rows) for unit, tap in taps}
        self._kept: dict[fx.Node, Tensor] = {}  # which channels (C',) a value has, if not all; the others are zero
        self._steps: dict[fx.Node, Step] = {}

    def switch_off(self, off: Tensor) -> None:
        """From here on, exactly the units in `off`, (N,) bool, are off."""
        self._kept, self._steps = {}, {}
        for node in self._graph.nodes:
            self._steps[node] = self._step(node, off)

    def forward(self, images: Tensor) -> Tensor:
        """The logits (M, K)."""
        first, *rest = self._graph.nodes
        values = {first: channels_last(images)}
        for node in rest:
            values[node] = self._steps[node](values)
            for dead in self._graph.freed[node]:
                values.pop(dead, None)
        return values[node]

    def _step(self, node: fx.Node, off: Tensor) -> Step:
        unit, axis = self._taps.get(node, (None, 1))
        if self._graph.takes_channels(node):
            return self._layer(node, None if unit is None else ~off[unit.slice])
        if unit is None and self._may_overwrite(node):
            return self._relu_in_place(node)
        cut = self._kept.keys() & node.all_input_nodes
        if unit is None and cut and self._channels_stay(node):
            return self._channelwise(node)
        if unit is None and cut and self._adds(node):
            return self._sum(node)
        whole = [(source, self._widening(source)) for source in cut]
        keep = None if unit is None or not off[unit.slice].any() else (~off[unit.slice]).to(self._graph.seen[node])

        def run(values):
            value = self._graph.run(node, {**values, **{source: widen(values[source]) for source, widen in whole}})
            return value if keep is None else value * along(keep, axis, value)

        return run

    def _layer(self, node: fx.Node, on: Tensor | None) -> Step:
        """A convolution or linear layer of the channels that there are, to those that are worth making."""
        layer, (source,) = self._graph.module(node), node.all_input_nodes
        weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
        if on is not None and not on.all():
            kept = self._worth_making(node, on).to(weight.device)
            alive = on.to(weight.device)[kept].to(weight.dtype)  # what is off may be made, but is zero
            weight = weight[kept] * along(alive, 0, weight)
            bias = None if bias is None else bias[kept] * alive
            if len(kept) < len(on):
                self._kept[node] = kept
        if source in self._kept:
            weight = weight[:, self._kept[source]]
        if isinstance(layer, nn.Linear):
            return lambda values: functional.linear(values[source], weight, bias)
        liked, rest = layout(self._graph.seen[node].shape, weight.device), (layer.stride, layer.padding, layer.dilation)
        weight = weight.contiguous(memory_format=liked)
        return lambda values: functional.conv2d(values[source].contiguous(memory_format=liked), weight, bias, *rest)

    def _worth_making(self, node: fx.Node, on: Tensor) -> Tensor:
        """The channels to make: what is on, but at least one; or all, where zeros would be put back for no gain."""
        count = int(on.sum())
        if not self._stays_narrow(node) and -(-count // _BLOCK) == -(-len(on) // _BLOCK):
            return torch.arange(len(on))
        return on.nonzero().flatten() if count else torch.arange(1)

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
        """Whether it is a ReLU of a value that was made anew and that nothing else takes in."""
        if self._graph.kind(node) not in _RELUS:
            return False
        source = node.all_input_nodes[0]
        return len(source.users) == 1 and (self._graph.takes_channels(source) or self._adds(source))

    def _relu_in_place(self, node: fx.Node) -> Step:
        (source,) = node.all_input_nodes
        if source in self._kept:
            self._kept[node] = self._kept[source]
        return lambda values: values[source].relu_()

    def _channelwise(self, node: fx.Node) -> Step:
        (source,) = node.all_input_nodes
        kept, each = self._kept[source], self._graph.seen[node].shape[1] // self._graph.seen[source].shape[1]
        if self._graph.kind(node) in _FLATTENS and each > 1:
            kept = (kept[:, None] * each + torch.arange(each, device=kept.device)).flatten()
        self._kept[node] = kept
        return lambda values: self._graph.run(node, values)

    def _adds(self, node: fx.Node) -> bool:
        if self._graph.kind(node) not in _ADDS or node.kwargs or len(node.args) != 2:
            return False
        shapes = {getattr(self._graph.seen.get(source), "shape", None) for source in node.args}
        return len(shapes) == 1 and None not in shapes

    def _sum(self, node: fx.Node) -> Step:
        """The sum, with the channels that either of the two has."""
        both = [self._kept.get(source) for source in node.args]
        union = None
        if all(kept is not None for kept in both):
            union = self._kept[node] = torch.cat(both).unique()
        widen = [self._widening(source, union) for source in node.args]
        return lambda values: widen[0](values[node.args[0]]) + widen[1](values[node.args[1]])

    def _widening(self, source: fx.Node, onto: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        """Puts zeros back, for all channels or those in `onto`."""
        kept, like = self._kept.get(source), self._graph.seen[source]
        if kept is None or (onto is not None and len(onto) == len(kept)):
            return lambda value: value
        place, count = (kept, like.shape[1]) if onto is None else (torch.searchsorted(onto, kept), len(onto))
        if like.ndim == 4 and like.device.type == "cpu":  # ten times as fast as by index, and as exact
            spread = like.new_zeros(count, len(kept), 1, 1)
            spread[place, torch.arange(len(kept))] = 1.0
            return lambda value: functional.conv2d(value, spread)
        return lambda value: value.new_zeros(len(value), count, *value.shape[2:]).index_copy_(1, place, value)
