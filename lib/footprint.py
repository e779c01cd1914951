"""What is left of a network whose units are off: the share of its multiply-adds and of its parameters.

Enters: a model, its units, an order of them and numbers of units that are off. Leaves: shares between 0 and 1 for each
number. Multiply-adds are those of convolutions and linear layers; parameters are theirs and BatchNorm's. With a unit go
the weights that make it, and an input of a later layer goes once every unit that could reach it is off, or receives
nothing itself: on a residual stream, once all that write to the channel are. What nothing uses any more stays. A mask
may empty a layer, and separate units whose channels must go together where layers really shrink: so structural pruning
at the same number of units leaves another share.

What reaches what is found by one pass of ones through a copy in which every weight is 1 and every layer's output is
cut to 0 or 1, all numbers of units at once, each as an example of its own. An input is gone where it is exactly 0.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod

import pandas
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from lib.units import LAYERS, Unit, tapped, units

_NORMS = (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.GroupNorm)


@torch.inference_mode(False)  # whatever the caller's: a copy's weights are written to
@torch.no_grad()
def remaining(
    model: nn.Module, order: Tensor, counts: Sequence[int], example: Tensor, layers: Sequence[Unit] | None = None
) -> pandas.DataFrame:
    """What is left with the first k units of `order` (N,) off, for every k in `counts`.

    Arguments:
        example: one input, (1, C, H, W) or whatever the model takes; of it only the shape matters.
        layers: `units(model, example)`, where it is known already.

    Returns one row per k: pruned (k), macs and parameters (shares of the whole network's, 0 to 1).
    """
    layers = units(model, example) if layers is None else layers
    keep = torch.ones(len(counts) + 1, len(order), dtype=torch.bool)  # the first row: nothing is off
    for row, k in enumerate(counts, start=1):
        keep[row, order[:k].cpu()] = False
    keep = keep.to(next(model.parameters()).device)
    network, ones = _all_ones(model), torch.ones(len(keep), *example.shape[1:], device=keep.device)
    count = _Count(layers, keep)
    masks = [keep[:, unit.slice].float() for unit in layers]

    def switch_off(number, tap, value):
        shape = [1] * value.ndim
        shape[0], shape[tap.axis] = masks[number].shape
        return value * masks[number].view(shape)

    with _cut_to_ones(network), tapped(network, list(layers), switch_off), count.watching(network):
        network(ones)
    macs, parameters = count.macs.cpu(), count.parameters().cpu()
    left = {"pruned": list(counts), "macs": macs[1:] / macs[0], "parameters": parameters[1:] / parameters[0]}
    return pandas.DataFrame(left)


def _all_ones(model: nn.Module) -> nn.Module:
    network = copy.deepcopy(model).float()
    for module in network.modules():
        if isinstance(module, LAYERS):
            module.weight.fill_(1)
            if module.bias is not None:
                module.bias.zero_()
    return network


@contextmanager
def _cut_to_ones(network: nn.Module) -> Iterator[None]:
    """Layers say only whether anything reaches them, lest long products leave the range of floats; norms do nothing."""
    handles = []
    for module in network.modules():
        if isinstance(module, LAYERS):
            handles.append(module.register_forward_hook(lambda module, inputs, output: (output > 0).to(output.dtype)))
        elif isinstance(module, _NORMS):  # a copy: the activation that follows may overwrite it
            handles.append(module.register_forward_hook(lambda module, inputs, output: inputs[0].clone()))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Count:
    """Adds up what is left in each row of `keep` (rows, N) while the layers of a network run.

    `macs` (rows,) grows with every use of a layer; its parameters are those that any use needs.
    """

    def __init__(self, layers: Sequence[Unit], keep: Tensor):
        self._made = {unit.name: keep[:, unit.slice] for unit in layers}
        self._rows, self._taken, self._norms, self._modules = len(keep), {}, {}, {}
        self.macs = torch.zeros(len(keep), dtype=torch.float64, device=keep.device)

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """To be opened last, so that it sees outputs as they go on."""
        self._modules = dict(network.named_modules())
        handles = []
        for name, module in self._modules.items():
            if isinstance(module, LAYERS):
                handles.append(module.register_forward_hook(partial(self._layer, name)))
            elif isinstance(module, _BatchNorm) and module.affine:
                handles.append(module.register_forward_hook(partial(self._norm, name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def parameters(self) -> Tensor:
        total = 2 * sum(used.sum(1) for used in self._norms.values())  # gamma and beta
        for name, taken in self._taken.items():
            layer = self._modules[name]
            total = total + self._weights(name, taken) * prod(layer.weight.shape[2:])
            total = total + (0 if layer.bias is None else self._kept(name).sum(1))
        return total.double()

    def _layer(self, name: str, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        taken = _reached(inputs[0], -1 if isinstance(layer, nn.Linear) else 1)
        self._taken[name] = taken | self._taken.get(name, False)
        places = output[0].numel() // len(layer.weight)
        self.macs += self._weights(name, taken) * prod(layer.weight.shape[2:]) * places

    def _norm(self, name: str, norm: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        self._norms[name] = _reached(output, 1) | self._norms.get(name, False)

    def _kept(self, name: str) -> Tensor:
        weight = self._modules[name].weight
        everything = torch.ones(self._rows, len(weight), dtype=torch.bool, device=weight.device)  # of the classifier
        return self._made.get(name, everything)

    def _weights(self, name: str, taken: Tensor) -> Tensor:
        """How many pairs of an output and an input that reaches it are left, (rows,)."""
        groups = getattr(self._modules[name], "groups", 1)
        made, taken = (each.unflatten(1, (groups, -1)).sum(2) for each in (self._kept(name), taken))
        return (made * taken).sum(1)


def _reached(values: Tensor, axis: int) -> Tensor:
    """Which channels are not 0 everywhere: (rows, channels)."""
    channels = values.movedim(axis, 1)
    return channels.reshape(*channels.shape[:2], -1).ne(0).any(2)
