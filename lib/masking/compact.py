"""A network with units off that does not compute them: the same logits as a masked pass, in less time.

Enters: a model that torch.fx can trace, its units, and which of them are off, once or several times. Leaves: a network
with each BatchNorm merged into the convolution before it, in which, wherever the structure allows, channels that are
zero because their unit is off do not exist (`trimming`). Of several such networks each computes only what differs from
the one before: the points of a pruning curve share their first layers until the first unit that goes. Whether they give
the logits of masked passes is for the caller to check: see `pruning.curve`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from lib.masking.trimming import Trimmed
from lib.network.graphs import Graph
from lib.network.models import channels_last
from lib.network.taps import Unit


class Compact(nn.Module):
    """The traced `model`; its logits are those without some of its units, for every set that `switch_off` was given.

    Arguments:
        layers, example: as of `units.units`; the example decides the sizes that later images must have, too.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Unit], example: Tensor):
        super().__init__()
        self.model = model  # whose parameters say where images belong
        self._graph = Graph(model, example)
        taps = [(unit, tap) for unit in layers for tap in unit.taps]
        self._taps = {self._graph.read_at(tap): (unit, tap.axis_of_rows) for unit, tap in taps}
        self._networks: list[Trimmed] = []
        self._freed: list[dict[fx.Node, list[fx.Node]]] = []  # what of all values is dropped after each that is made

    def switch_off(self, *offs: Tensor) -> None:
        """From here on the logits are those with exactly the units of each of `offs`, (N,) bool, off."""
        self._networks = []
        for off in offs:
            self._networks.append(Trimmed(self._graph, self._taps, off, self._networks[-1] if self._networks else None))
        self._freed = self._last_uses()

    def forward(self, images: Tensor) -> Tensor:
        """The logits (S, M, K), for each of the S sets of units."""
        first, last = self._graph.nodes[0], self._graph.nodes[-1]
        values, logits = {first: channels_last(images)}, []
        for network, freed in zip(self._networks, self._freed, strict=True):
            for node in network.anew:
                if node is not first:
                    values[node] = network.steps[node](values)
                for dead in freed[node]:
                    del values[dead]
            logits.append(values[last])
        return torch.stack(logits)

    def _last_uses(self) -> list[dict[fx.Node, list[fx.Node]]]:
        """For each set of units, after each value that is made: what is taken in no more, by this set or by others."""
        freed, last = [], self._graph.nodes[-1]
        needed = set()  # of values as they are now
        for network in reversed(self._networks):
            needed.add(last)  # its logits
            dead = {}
            for node in reversed(network.anew):
                dead[node] = [value for value in (node, *node.all_input_nodes) if value not in needed]
                needed.discard(node)  # as it was before
                needed.update(node.all_input_nodes)
            freed.insert(0, dead)
        return freed
