"""The least that scoring takes: a network's convolutions and linear layers alone.

Enters: a network in eval mode and one of its batches. Leaves: a call that runs these layers forward and back to what
they take in, with each BatchNorm merged into its convolution, on values that are made before, and each in the layout in
which it is quicker. What scoring takes beyond that are activations, sums over space, and Python.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib.network.folding import folded
from lib.network.models import channels_last
from lib.network.units import units

LAYOUTS = (torch.channels_last, torch.contiguous_format)
TRIED = 3  # times, of which the quickest counts


@torch.no_grad()
def layers_alone(model: nn.Module, images: Tensor) -> Callable[[], None]:
    """A call that does once what these layers do in a pass of `images` (M, C, H, W) and in one back from its logits."""
    copy, _ = folded(model, units(model, images[:1]), images[:1])
    taken, handles = [], []
    for module in copy.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            handles.append(module.register_forward_hook(lambda *seen: taken.append((seen[0], seen[1][0], seen[2]))))
    copy(channels_last(images))
    for handle in handles:
        handle.remove()
    calls = []
    for position, (module, values, made) in enumerate(taken):
        make = _convolution if isinstance(module, nn.Conv2d) else _linear
        ways = [make(module, values, made, layout, bool(position)) for layout in LAYOUTS]
        calls.append(min(ways, key=_seconds))
    return lambda: [call() for call in calls] and None


def _convolution(module: nn.Conv2d, taken: Tensor, made: Tensor, layout: torch.memory_format, back: bool):
    taken, weight = (value.detach().contiguous(memory_format=layout) for value in (taken, module.weight))
    delta, bias = torch.randn_like(made).contiguous(memory_format=layout), module.bias
    settings = list(module.stride), list(module.padding), list(module.dilation)
    only_input = None, *settings, False, [0, 0], module.groups, [True, False, False]

    def run() -> None:
        torch.conv2d(taken, weight, bias, *settings, module.groups)
        if back:
            torch.ops.aten.convolution_backward(delta, taken, weight, *only_input)

    return torch.no_grad()(run)


def _linear(module: nn.Linear, taken: Tensor, made: Tensor, _: torch.memory_format, back: bool):
    taken, weight, delta = taken.detach(), module.weight.detach(), torch.randn_like(made)

    def run() -> None:
        nn.functional.linear(taken, weight, module.bias)
        if back:
            delta @ weight

    return torch.no_grad()(run)


def _seconds(call: Callable[[], None]) -> float:
    taken = []
    for _ in range(TRIED):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return min(taken)
