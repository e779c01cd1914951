"""Several processes that work as one, under torch.distributed: who takes what, sums over all, errors that reach all.

Enters: the same batches on every process (*rank*). Leaves: each rank's own share of them, so that every example is
seen once; sums over the ranks, the same on each; and where one of them fails, an error on each, so that none waits for
ever. Without `torch.distributed.init_process_group` there is one rank that does everything, and nothing here costs
anything.

    torchrun --nproc-per-node 4 my_scoring.py     # nccl for GPUs, gloo for CPUs
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed

PATIENCE = timedelta(days=7)  # ranks wait for the slowest at the end, however long that takes


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """While open, processes that torchrun has started are one group (nccl on GPUs, else gloo), each on the device that
    it is given here; a process that is alone is given `device`.

    Raises ValueError where there are more processes than GPUs.
    """
    if not distributed.is_torchelastic_launched():
        yield device
        return
    if device.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise ValueError(f"{local + 1} processes or more on a machine with {torch.cuda.device_count()} GPUs")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def place() -> tuple[int, int]:
    """This rank, counted from 0, and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def bounds(size: int, rank: int, count: int, whole: int = 1) -> tuple[int, int]:
    """Where the share of `rank` among `count` begins and ends, of `size` things in runs of `whole` that stay together.

    Shares follow one another and differ by one run at most, the last partial one of all apart.
    """
    runs = -(-size // whole)
    return tuple(min(size, runs * end // count * whole) for end in (rank, rank + 1))


def mine(batches: Iterable, whole: int, prepared: Callable[[Iterable], Iterable] = iter) -> Iterable:
    """This rank's share of `batches`, which every rank is given alike, in runs of `whole` consecutive examples.

    A stream with a method `share(rank, count, whole)`, such as one of `images.folders`, is asked for the rank's share
    alone, so that nothing else is read. Of anything else every rank reads all, and keeps each `count`-th run.

    Arguments:
        prepared: what is to be done before examples can be told apart, such as putting them in order.
    """
    rank, count = place()
    if count == 1:
        return prepared(batches)
    if hasattr(batches, "share"):
        return prepared(batches.share(rank, count, whole))
    return _every(prepared(batches), rank, count, whole)


def _every(batches: Iterable, rank: int, count: int, whole: int) -> Iterator[tuple]:
    start = 0
    for batch in batches:
        size = len(batch[0])
        kept = torch.arange(start, start + size) // whole % count == rank
        start += size
        if kept.any():
            yield tuple(None if part is None else part[kept.to(part.device)] for part in batch)


def total(values: Tensor) -> Tensor:
    """The sum of every rank's `values`, the same on all of them, where this rank's are."""
    if place()[1] == 1:
        return values
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    found = values.to(device, copy=True)
    distributed.all_reduce(found)
    return found.to(values.device)


def told(value: object) -> object:
    """What the first rank has, on all of them."""
    found = [value]
    if place()[1] > 1:
        distributed.broadcast_object_list(found)
    return found[0]


@contextmanager
def together() -> Iterator[None]:
    """Ranks wait for each other at the end of what is done while this is open; where one has failed, all of them raise.

    One that fails raises its own error, the others what it says, as a ValueError if it is one, else a RuntimeError.
    """
    _, count = place()
    if count == 1:
        yield
        return
    error = None
    try:
        yield
    except Exception as caught:
        error = caught
    notes = [None] * count
    note = None if error is None else (isinstance(error, ValueError), str(error) or type(error).__name__)
    distributed.all_gather_object(notes, note)
    if error is not None:
        raise error
    for other, said in enumerate(notes):
        if said is not None:
            raise (ValueError if said[0] else RuntimeError)(f"rank {other} of {count}: {said[1]}")
