"""Contexts in which somebody's model runs, which leave the rest of the process as it was.

Enters: nothing; they hold for every model that runs while they are open. Leaves: a state in which nothing is compiled
and no part of a forward pass runs again during the backward pass; one whose random numbers are forgotten afterwards;
one in which a GPU rounds no more than its numbers do.
"""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

import numpy
import torch
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint
from torch.utils._pytree import tree_leaves

from lib.network import checks
from lib.network.functions import in_precision


class _AsWritten:
    """How many contexts of `as_written` are open, in all threads, and what it was like before the first."""

    def __init__(self):
        self.lock, self.count, self.before = Lock(), 0, ExitStack()

    def open(self) -> None:
        with self.lock:
            self.count += 1
            if self.count > 1:
                return
            if "torch._dynamo" in sys.modules:  # nothing can have been compiled without it, and it takes a second
                self.before.enter_context(torch.compiler.set_stance("force_eager"))
            if hasattr(checkpoint, "_checkpoint_impl"):  # elsewhere `taps.tapped` notices what runs again
                self.before.callback(setattr, checkpoint, "_checkpoint_impl", checkpoint._checkpoint_impl)
                checkpoint._checkpoint_impl = lambda function, args, named, **_: function(*args, **named)

    def close(self) -> None:
        with self.lock:
            self.count -= 1
            if not self.count:
                self.before.close()


_as_written = _AsWritten()


@contextmanager
def as_written() -> Iterator[None]:
    """While open, what was compiled runs as it is written, so that hooks run; and what torch would run again during
    the backward pass, to hold less meanwhile, is run once and held (activation checkpointing)."""
    _as_written.open()
    try:
        yield
    finally:
        _as_written.close()


@contextmanager
def random_state_kept() -> Iterator[Callable[[], bool]]:
    """Afterwards every generator that code can draw from without being given one is as before. Yields a function that
    tells whether it still is."""
    checks.transforms()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()

    def states() -> list:
        theirs = tree_leaves((numpy.random.get_state(), *map(torch.cuda.get_rng_state, devices), torch.get_rng_state()))
        return [*(numpy.asarray(part).tobytes() for part in theirs), random.getstate()]

    theirs, own, before = numpy.random.get_state(), random.getstate(), states()
    with torch.random.fork_rng(devices):
        try:
            yield lambda: states() == before
        finally:
            numpy.random.set_state(theirs)
            random.setstate(own)


@contextmanager
def full_precision() -> Iterator[None]:
    """While open, convolutions on a GPU do without cuDNN, whose rounding to TF32 would hide what is wrong."""
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before


@contextmanager
def memory_told(count: int) -> Iterator[None]:
    """Where the device's memory is full within, the torch.OutOfMemoryError says that `count` images were too many."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        problem = f"{count} images at once are too many for the memory of the device: give smaller batches"
        raise torch.OutOfMemoryError(f"{problem} ({str(error).splitlines()[0]})") from error


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """While open, tensors that code makes of plain numbers are of this type, as weights are."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def in_double_precision() -> Iterator[None]:
    """While open, whatever precision code names is double, in which weights and images must be."""
    with default_dtype(torch.float64), _Doubled():
        yield


class _Doubled(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        function, args, kwargs = in_precision(torch.float64, function, args, kwargs or {})
        return function(*args, **kwargs)
