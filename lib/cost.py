"""What a network costs: parameters, multiply-adds, time, memory and size on disk, for several variants side by side.

Enters: networks and one example input. Leaves: one tidy table, one row per variant. Counts are exact. Times are medians
over rounds in which the variants take turns, so that a machine that slows down slows all of them; on CUDA they are
taken between events on the device. Peak memory is what is alive at once of parameters, buffers, inputs and all that
the pass makes: on CUDA as the allocator says; on a CPU the storages that operations return, each from its making to its
release (scratch space inside one operation is not seen; the size of the process, which allocators and libraries
blur, is not asked).
"""

import math
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy
import pandas
import torch
from safetensors.torch import save as serialised
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lib.network import checks, contexts, copies, models, saving
from lib.network.models import inside, ready, require_eval_mode
from lib.network.uses import Use, Uses

MB = 2**20  # bytes
QUARTILES = (25, 75)  # percent: the spread that goes with a median


@contexts.random_state_kept()
def table(
    models: Mapping[str, nn.Module],
    example: Tensor,
    *,
    batches: Sequence[int] = (1, 64),
    repeats: int = 20,
    images: int | None = None,
) -> pandas.DataFrame:
    """What each of `models` costs: one row per variant, in the order given, each on its own device and left as it was.

    Copies are measured, all in the memory format that networks are trained with (channels last), if all of them can be.

    Arguments:
        example: (1, C, H, W), one normalised image, or whatever one input of the networks is.
        batches: the numbers of examples in a pass whose latency is taken; memory is that of the largest.
        repeats: rounds of the timings, after two that do not count.
        images: of an epoch of training; without it the time of an epoch is left out.

    Returns the columns variant, parameters, multiply_adds (of one example), for every batch b latency_b_ms with
        latency_b_low and latency_b_high (quartiles), inference_mb and training_mb (peak), disk_mb, step_ms with
        step_low and step_high (forward, backward and SGD with momentum on the largest batch) and epoch_seconds (as many
        median steps as an epoch has, without loading and augmentation).

    Raises ValueError without models, for a network in training mode or an example that one does not take, and for
    numbers that are not whole ones of at least 1.
    """
    _require_usable(models)
    example = checks.images(example)[:1]
    batches = [checks.whole("batch", batch, 1) for batch in checks.several("batches", batches)]
    repeats = checks.whole("repeats", repeats, 1)
    images = None if images is None else checks.whole("images", images, 1)
    if not batches:
        raise ValueError("there are no batches to time: give one number of examples at least")
    models, laid_out = _in_one_layout(models, example)
    most = _copies(example, max(batches))
    found = pandas.DataFrame({"variant": list(models)})
    found["parameters"] = [parameters(model) for model in models.values()]
    found["multiply_adds"] = [multiply_adds(model, example) for model in models.values()]
    for batch in batches:
        found = found.join(spread(latencies(models, _copies(example, batch), repeats=repeats), f"latency_{batch}"))
    found["inference_mb"] = [inference_memory(model, most) / MB for model in models.values()]
    found["training_mb"] = [training_memory(model, most) / MB for model in models.values()]
    found["disk_mb"] = [size_on_disk(model) / MB for model in models.values()]
    steps = {name: _TrainingStep(model, laid_out(ready(model, most))) for name, model in models.items()}
    found = found.join(spread(interleaved(steps, repeats, device=_device(models)), "step"))
    if images is not None:
        found["epoch_seconds"] = found["step_ms"] / 1000 * math.ceil(images / max(batches))
    return found


def parameters(model: nn.Module) -> int:
    """The number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in inside(model).parameters())


@contexts.random_state_kept()
def multiply_adds(model: nn.Module, example: Tensor) -> int:
    """Multiplications with a weight, each with its addition, in one pass of `example`: convolutions, transposed ones
    and linear layers, called as modules or as functions.

    A layer used twice counts twice; biases, BatchNorm, activations and pooling do not count, nor do products of
    activations or what is within MultiheadAttention.

    Raises ValueError where the model is in training mode or does not take the example.
    """
    require_eval_mode(inside(model))
    with _Sum(model.parameters()) as counted, contexts.as_written():
        _inference(model, ready(model, example))()
    return counted.multiply_adds


class _Sum(Uses):
    multiply_adds = 0

    def use(self, use: Use) -> None:
        self.multiply_adds += use.multiply_adds


def size_on_disk(model: nn.Module) -> int:
    """Bytes of a safetensors file with all weights and buffers."""
    return len(serialised(saving.tensors_of(model)))


def interleaved(
    calls: Mapping[str, Callable[[], object]], repeats: int, *, warmup: int = 2, device: torch.device | str = "cpu"
) -> pandas.DataFrame:
    """Seconds that each of `calls` takes, in turns: one row per round, one column per call; the warm-up is left out."""
    device = torch.device(device)
    rounds = [{name: _seconds(call, device) for name, call in calls.items()} for _ in range(warmup + repeats)]
    return pandas.DataFrame(rounds[warmup:], columns=list(calls))


def latencies(models: Mapping[str, nn.Module], images: Tensor, *, repeats: int = 20) -> pandas.DataFrame:
    """Seconds of a forward pass of `images` (M, C, H, W) by each of `models`, as `interleaved` gives them; of copies in
    the memory format that networks are trained with (channels last), if all of them can be."""
    variants, laid_out = _in_one_layout(models, images)
    calls = {name: _inference(model, laid_out(ready(model, images))) for name, model in variants.items()}
    return interleaved(calls, repeats, device=_device(variants))


def spread(seconds: pandas.DataFrame, name: str) -> pandas.DataFrame:
    """Median and quartiles, in milliseconds, one row per column of `seconds`: `name`_ms, `name`_low, `name`_high."""
    low, high = numpy.percentile(1000 * seconds, QUARTILES, axis=0)
    median = 1000 * seconds.median().to_numpy()
    return pandas.DataFrame({f"{name}_ms": median, f"{name}_low": low, f"{name}_high": high})


def inference_memory(model: nn.Module, images: Tensor) -> int:
    """Peak bytes of a forward pass of `images` (M, C, H, W): parameters, buffers and the images included."""
    images = _beside(model, images)
    return peak_bytes(_inference(model, images), [*_state(model), images])


def training_memory(model: nn.Module, images: Tensor) -> int:
    """Peak bytes of a step of training on `images` (M, C, H, W) with SGD and momentum, everything included.

    Of two steps, since the first has no momentum yet. The model is left as it was.
    """
    images = _beside(model, images)
    step = _TrainingStep(model, images)
    return peak_bytes(lambda: (step(), step()), [*step.state, images, step.labels])


def peak_bytes(call: Callable[[], object], present: Iterable[Tensor] = ()) -> int:
    """The most bytes that are alive at once while `call` runs: `present` tensors, and what it makes on their device."""
    present = list(present)
    if present and present[0].is_cuda:
        device = present[0].device
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return stored_bytes(present) + torch.cuda.max_memory_allocated(device) - before
    with _Alive(present) as alive:
        call()
    return alive.peak


def stored_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of what holds the tensors; what several share counts once."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


class _Alive(TorchDispatchMode):
    """While open, adds up the storages that operations return, from when they are first seen until they are freed."""

    def __init__(self, present: Iterable[Tensor] = ()):
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0
        for tensor in present:
            self._see(tensor)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # it would be imported for nothing, which takes seconds

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        output = operation(*arguments, **(named or {}))
        for value in tree_leaves(output):
            if isinstance(value, Tensor):
                self._see(value)
        return output

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata  # the address of the storage itself: every view of it has the same
        if key not in self.sizes:
            weakref.finalize(storage, self._forget, key).atexit = False
        self.now += storage.nbytes() - self.sizes.get(key, 0)
        self.sizes[key] = storage.nbytes()
        self.peak = max(self.peak, self.now)

    def _forget(self, key: int) -> None:
        self.now -= self.sizes.pop(key)


class _TrainingStep:
    """Runs a step of training on a copy of `model` when called; keeps everything that lasts between steps. Images are
    as the model takes them."""

    def __init__(self, model: nn.Module, images: Tensor):
        self.model = copies.copied(model).train().requires_grad_(True)
        self.images = images
        self.labels = torch.zeros(len(images), dtype=torch.long, device=self.images.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-6, momentum=0.9, nesterov=True)
        self.state = _state(self.model)

    def __call__(self) -> None:
        loss = functional.cross_entropy(models.answers(self.model, self.images), self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def _inference(model: nn.Module, images: Tensor) -> Callable[[], object]:
    def run() -> Tensor:
        with torch.no_grad():
            return models.run(model, images)

    return run


def _beside(model: nn.Module, images: Tensor) -> Tensor:
    """The images where the model is, channels last if it takes them so: some views cannot be had there."""
    images = models.ready(model, images)
    last = models.channels_last(images)
    return last if models.takes(model, last[:1]) else images


def _in_one_layout(
    variants: Mapping[str, nn.Module], example: Tensor
) -> tuple[dict[str, nn.Module], Callable[[Tensor], Tensor]]:
    """Copies that are all channels last, and what brings images into that layout, if all of them take it; or else
    copies and images as they are."""
    if example.ndim == 4:
        with models.attempted():
            made = {name: copies.copied(model) for name, model in variants.items()}
            for model in made.values():
                model.to(memory_format=torch.channels_last)
            if all(models.takes(each, models.channels_last(models.ready(each, example, 1))) for each in made.values()):
                return made, models.channels_last
    return {name: copies.copied(model) for name, model in variants.items()}, torch.Tensor.detach


def _state(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _device(models: Mapping[str, nn.Module]) -> torch.device:
    return next(next(iter(models.values())).parameters()).device


def _copies(example: Tensor, count: int) -> Tensor:
    return example.repeat(count, *[1] * (example.ndim - 1))


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    with torch.cuda.device(device):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000


def _require_usable(models: Mapping[str, nn.Module]) -> None:
    if not isinstance(models, Mapping):
        raise ValueError(f"models must be a dict, as {{'whole': model}}, not a {type(models).__name__}")
    if not models:
        raise ValueError("there are no networks to measure")
    for name, model in models.items():
        require_eval_mode(inside(model), name)
