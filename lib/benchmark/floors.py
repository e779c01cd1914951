"""The least that scoring takes: its convolutions and products of matrices alone.

Enters: a network in eval mode and one of its batches. Leaves: a call that does the products of a scoring pass and of
one back to every unit once more, with what they took in then, convolutions in the layout in which they are quicker.
What scoring takes beyond that are activations, sums over space, and Python.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lib.importance import Scoring

LAYOUTS = (torch.channels_last, torch.contiguous_format)
TRIED = 3  # times, of which the quickest counts
PRODUCTS = ("convolution", "mm", "scaled_dot_product")  # in names of PyTorch's operations and of their backward


def products(model: nn.Module, images: Tensor, criterion: str) -> Callable[[], None]:
    """A call that does the products of scoring `images` (M, C, H, W) by `criterion`, which takes one cotangent without
    labels, and nothing else."""
    scoring = Scoring(model, images[:1], [criterion])
    with _Recording() as recording:
        scoring.add([(images, None)])
    calls = [min(_ways(*product), key=_seconds) for product in recording.products]
    return lambda: [call() for call in calls] and None


class _Recording(TorchDispatchMode):
    """While open, keeps the products that are done, and what they take in."""

    def __init__(self):
        self.products: list[tuple[Callable, tuple, dict]] = []
        super().__init__()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if any(name in function.overloadpacket.__name__ for name in PRODUCTS):
            self.products.append((function, args, kwargs or {}))
        return function(*args, **(kwargs or {}))


def _ways(function: Callable, args: tuple, kwargs: dict) -> list[Callable[[], None]]:
    """The product, with maps in either layout."""
    if not any(isinstance(value, Tensor) and value.ndim == 4 for value in args) or "dot" in str(function):
        return [lambda: function(*args, **kwargs)]
    laid_out = [tuple(_in(layout, value) for value in args) for layout in LAYOUTS]
    return [lambda args=args: function(*args, **kwargs) for args in laid_out]


def _in(layout: torch.memory_format, value: object) -> object:
    return value.contiguous(memory_format=layout) if isinstance(value, Tensor) and value.ndim == 4 else value


def _seconds(call: Callable[[], None]) -> float:
    taken = []
    for _ in range(TRIED):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return min(taken)
