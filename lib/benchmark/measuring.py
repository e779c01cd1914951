"""How things are timed and how their memory is found: in turns, so that a busy machine is so for all of them.

Enters: calls by name, the first of which is the yardstick. Leaves: a table with a row per call. Whatever is compared
takes turns within each of several rounds of one run; `share` is the time relative to the yardstick's in the same
round. Seconds and shares are medians over rounds, `_low` and `_high` quartiles.
"""

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy
import pandas
import torch
from torch import Tensor, nn

from lib import cost

Calls = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Effort:
    """How much to measure, and on what."""

    rounds: int = 5
    quick: bool = False
    device: str = "cpu"

    def choose(self, quick, full):
        """The first where a minute must do, else the second."""
        return quick if self.quick else full


def measure(
    calls: Calls, effort: Effort, *, rounds: int | None = None, times: Mapping[str, float] | None = None
) -> pandas.DataFrame:
    """One row per call, in turns over `rounds` rounds after one that does not count; the first one is the yardstick.

    Arguments:
        times: name -> by how much its time counts, for calls that do a part of the work.

    Returns task, seconds, seconds_low, seconds_high, share, share_low, share_high (quartiles), rounds.
    """
    rounds, yardstick, times = rounds or effort.rounds, next(iter(calls)), times or {}
    taken, tasks = [], list(calls)
    for turn in range(rounds + 1):
        start = turn % len(tasks)  # who comes after whom matters: memory that one leaves warm is free for the next
        order = tasks[start:] + tasks[:start]
        taken.append({task: seconds(calls[task], effort.device) * times.get(task, 1) for task in order})
    rows = []
    for task in calls:
        row = {"task": task} | spread("seconds", [turn[task] for turn in taken[1:]])
        row |= spread("share", [turn[task] / turn[yardstick] for turn in taken[1:]])
        rows.append(row | {"rounds": rounds})
    return pandas.DataFrame(rows)


def apart(function: Callable, *given: object) -> object:
    """What the function gives, found by a new process with as many threads: what ran before leaves memory in pieces,
    and the same work took up to a sixth longer there. The function has a name in its module; `given` can be pickled."""
    how = {"mp_context": multiprocessing.get_context("spawn"), "initializer": torch.set_num_threads}
    with ProcessPoolExecutor(1, initargs=(torch.get_num_threads(),), **how) as new:
        return new.submit(function, *given).result()


def spread(name: str, values: list[float]) -> dict[str, float]:
    """The median under this name, and the quartiles under name_low and name_high."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {name: statistics.median(values), f"{name}_low": low, f"{name}_high": high}


def seconds(call: Callable[[], object], device: str) -> float:
    """How long a call takes on the device: "cpu" or "cuda"."""
    if device != "cuda":
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def peak(call: Callable[[], object], there: Iterable[Tensor]) -> float:
    """By how much (MB) the memory of tensors grows at most while `call` runs, beside those that are `there` before."""
    gc.collect()
    there = list(there)
    return (cost.peak_bytes(call, there) - cost.stored_bytes(there)) / cost.MB


def peak_of(call: Callable[[], object], model: nn.Module) -> float:
    """The most memory of tensors (MB) while `call` runs, the model's own among it."""
    return cost.peak_bytes(call, [*model.parameters(), *model.buffers()]) / cost.MB


def exponent(sizes: Iterable[float], values: Iterable[float]) -> float:
    """With which power of the size the values grow: the slope of their logarithms, by least squares; NaN for fewer than
    three sizes, through which a line always fits."""
    sizes, values = list(sizes), list(values)
    return float(numpy.polyfit(numpy.log(sizes), numpy.log(values), 1)[0]) if len(sizes) > 2 else numpy.nan
