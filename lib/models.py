"""Somebody's model, as everything here runs it: the module inside its wrappers, run as it is written.

Enters: any `nn.Module`. Leaves: the module that does the work, without what compiles or replicates it; a context in
which nothing is compiled and no part of a forward pass runs again during the backward pass; copies; and its images,
logits and labels, checked in one way for everybody, each fault in one line.
"""

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from numbers import Integral
from threading import Lock

import numpy
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils import checkpoint
from torch.utils._pytree import tree_leaves


def inside(model: nn.Module) -> nn.Module:
    """The module that `torch.compile`, `DataParallel` or `DistributedDataParallel` has wrapped; else `model`."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):  # as torch.compile calls it
            model = model._orig_mod
        else:
            return model


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
            if hasattr(checkpoint, "_checkpoint_impl"):  # elsewhere `units.tapped` notices what runs again
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
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()

    def states() -> list[object]:
        _, keys, *rest = numpy.random.get_state()
        found = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, devices)]
        return [random.getstate(), keys.tobytes(), rest, *(state.numpy().tobytes() for state in found)]

    theirs, own, before = numpy.random.get_state(), random.getstate(), states()
    with torch.random.fork_rng(devices):
        try:
            yield lambda: states() == before
        finally:
            numpy.random.set_state(theirs)
            random.setstate(own)


def copied(model: nn.Module, *, sharing: bool = False) -> nn.Module:
    """A copy of the model; with `sharing`, one with the same parameters and buffers. Activations that it keeps, which
    `deepcopy` refuses, come along without their history."""
    known = {}
    for name, module in model.named_modules():
        forward = vars(module).get("forward")
        compiled = "_orig_mod" in module._modules  # whose copies are right
        if forward is not None and not compiled and getattr(forward, "__self__", None) is not module:
            raise ValueError(f"the forward of {name or type(model).__name__} has been replaced, so that a copy would "
                             "run the original: wrap the model in a module instead")  # fmt: skip
        for kept in vars(module).values():
            for value in tree_leaves(kept):
                if isinstance(value, Tensor) and not value.is_leaf:
                    known[id(value)] = value.detach().clone()
    if sharing:
        known |= {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return deepcopy(model, known)


def with_plain_weights(model: nn.Module) -> nn.Module:
    """The model, if its weights are parameters; if some are computed from others (as by weight_norm, spectral_norm or
    torch.nn.utils.prune), a copy in which they are parameters of the same values. To be called after a forward pass."""
    computed = [name for name, module in model.named_modules() if computes_weights(module)]
    if not computed:
        return model
    result = copied(model)
    for module in map(result.get_submodule, computed):
        values = {
            name: getattr(module, name) for name in (*getattr(module, "parametrizations", ()), *_computed(module))
        }
        if parametrize.is_parametrized(module):  # not removed: the original has the same class, which would lose them
            module.__class__ = parametrize.type_before_parametrizations(module)
            del module.parametrizations
        for number, hook in list(module._forward_pre_hooks.items()):
            if type(hook).__module__.startswith("torch.nn.utils."):
                del module._forward_pre_hooks[number]
        for name, value in values.items():
            vars(module).pop(name, None)
            module.register_parameter(name, nn.Parameter(value.detach().clone(), requires_grad=False))
    return result


def computes_weights(module: nn.Module) -> bool:
    """Whether a module's own weights are computed from others in every pass."""
    return parametrize.is_parametrized(module) or bool(_computed(module))


def _computed(module: nn.Module) -> list[str]:
    """By hooks before each pass."""
    return [name for name in ("weight", "bias") if isinstance(vars(module).get(name), Tensor)]


def place(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where images have to be for this model, and of which type."""
    like = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), torch.empty(0))
    return like.device, like.dtype


def ready(model: nn.Module, images: Tensor) -> Tensor:
    """Normalised images (M, ...) as the model takes them: on its device, of its type, out of inference mode.

    Raises ValueError for what cannot be normalised images: arrays, whole numbers.
    """
    if not isinstance(images, Tensor):
        remedy = "torch.from_numpy(...)" if isinstance(images, numpy.ndarray) else "a tensor"
        raise ValueError(f"images must be a tensor (M, C, H, W), not {type(images).__name__}: give {remedy}")
    if not images.is_floating_point():
        raise ValueError(f"images are {str(images.dtype).removeprefix('torch.')}, not normalised as for training: "
                         "datasets.normalise(images, mean, std) does it")  # fmt: skip
    images = images.clone() if images.is_inference() else images.detach()
    return images.to(*place(model), non_blocking=True)


def logits(output: object, count: int) -> Tensor:
    """The output of a model for `count` images, if it is logits (M, K); ValueError in one line if not."""
    if not isinstance(output, Tensor):
        raise ValueError(f"the model gives a {type(output).__name__}, not one tensor of logits (M, K): wrap it in a "
                         "module that returns these alone")  # fmt: skip
    if output.ndim != 2 or len(output) != count:
        squeezed = ": it drops the axis of a batch of one, as squeeze() does without a number" if count == 1 else ""
        raise ValueError(f"the model gives an output of shape {tuple(output.shape)} for {count} "
                         f"image{'s' * (count != 1)}, not logits (M, K){squeezed}")  # fmt: skip
    if not output.is_floating_point():
        raise ValueError(f"the model gives {str(output.dtype).removeprefix('torch.')} numbers, not logits (M, K)")
    return output


def answers(model: nn.Module, images: Tensor) -> Tensor:
    """The logits (M, K) of a pass of images as the model takes them.

    Raises ValueError, in one line, for another output, and where a model does not take a single image, as one that
    squeezes its values.
    """
    try:
        output = model(images)
    except (IndexError, RuntimeError) as error:
        if (
            len(images) != 1
            or isinstance(error, torch.OutOfMemoryError)
            or not _takes(model, images.repeat_interleave(2, 0))
        ):
            raise
        raise ValueError(f"{type(model).__name__} does not take a single image ({first_line(error)}): give batches of"
                         " two images or more, or have its squeeze() name an axis") from error  # fmt: skip
    return logits(output, len(images))


def labels(given: Tensor, count: int, classes: int) -> Tensor:
    """Labels (M,) as int64, if they are labels of `count` images in so many classes; ValueError in one line if not."""
    if not isinstance(given, Tensor) or given.shape != (count,):
        shape = f"of shape {tuple(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
        raise ValueError(f"labels must be a tensor ({count},), one per image, not {shape}")
    whole = not (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool)
    if not whole or (len(given) and (given.min() < 0 or given.max() >= classes)):
        raise ValueError(f"labels must be {count} whole numbers from 0 to {classes - 1}, one per image")
    return given.to(torch.int64)


def channels_last(images: Tensor) -> Tensor:
    """The same images in the layout in which convolutions are fastest."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, *, batch: int = 500) -> Tensor:
    """The class of the largest logit for each of `images` (M, ...), normalised: (M,) on the CPU."""
    laid_out = channels_last if _takes(model, channels_last(ready(model, images[:2]))) else lambda chunk: chunk
    return torch.cat([answers(model, laid_out(ready(model, chunk))).argmax(1) for chunk in images.split(batch)]).cpu()


def _takes(model: nn.Module, images: Tensor) -> bool:
    """Whether it runs for these images: in another layout some views of them cannot be had."""
    try:
        model(images)
    except torch.OutOfMemoryError:
        raise
    except (IndexError, RuntimeError):
        return False
    return True


def require_scores(scores: Tensor, total: int | None = None) -> None:
    """Raises ValueError, in one line, where `scores` are not a vector of finite numbers, one for each of `total`
    units."""
    if isinstance(scores, Mapping):
        name = next(iter(scores), "sq:rand:norm")
        raise ValueError(f"scores must be those of one criterion, not a dict of {len(scores)}: give scores[{name!r}]")
    if not isinstance(scores, Tensor):
        raise ValueError(f"scores must be a tensor (N,), one per unit, not {type(scores).__name__}")
    if scores.ndim != 1 or (total is not None and len(scores) != total):
        units = "one per unit" if total is None else f"one for each of the {total} units"
        raise ValueError(f"scores must be a vector, {units}, not of shape {tuple(scores.shape)}")
    if not scores.isfinite().all():
        raise ValueError(f"scores must be finite, but {int((~scores.isfinite()).sum())} of {len(scores)} are not")


def require_order(order: Tensor, total: int) -> None:
    """Raises ValueError, in one line, where `order` does not name each of `total` units once."""
    if not isinstance(order, Tensor) or order.is_floating_point() or order.is_complex() or order.dtype == torch.bool:
        what = str(order.dtype).removeprefix("torch.") if isinstance(order, Tensor) else type(order).__name__
        raise ValueError(
            f"order must be unit indices (N,), a tensor of int64, not {what}: pruning.order(scores) gives one"
        )
    if order.ndim != 1 or not torch.equal(order.long().sort().values.cpu(), torch.arange(total)):
        raise ValueError(
            f"order must name each of the {total} units once, but has {order.numel()} entries of shape"
            f" {tuple(order.shape)}: pruning.order(scores) gives one"
        )


def require_count(k: int, total: int) -> None:
    """Raises ValueError, in one line, where `k` units of `total` cannot be off."""
    if not isinstance(k, Integral) or not 0 <= k <= total:
        raise ValueError(f"k={k} units cannot be off: there are {total}, give a whole number of them")


def checked_batch(batch: object) -> Sequence:
    """The batch, if it is one as `importance.score` takes them; ValueError in one line if not."""
    form = "a batch must be (images, labels or None) or (images, labels or None, indices)"
    if isinstance(batch, Tensor):
        raise ValueError(f"{form}, not a tensor: give [(images, None)]")
    if not (isinstance(batch, Sequence) and not isinstance(batch, str) and len(batch) in (2, 3)):
        size = f" of {len(batch)}" if isinstance(batch, Sequence) else ""
        raise ValueError(f"{form}, not a {type(batch).__name__}{size}")
    for part in batch[:2]:
        if not (isinstance(part, Tensor) or (part is None and part is not batch[0])):
            from_numpy = ": torch.from_numpy(...) makes one of it" if type(part).__module__ == "numpy" else ""
            raise ValueError(f"{form}, all tensors, not a {type(part).__name__}{from_numpy}")
    return batch


def alike(found: Tensor, truth: Tensor) -> bool:
    """Whether logits computed in another way are the same but for rounding.

    By 1,000 times the precision of their numbers, of the largest logit: sums taken in another order through many
    layers differ by far less (1e-6 of it in float32, where this is 1e-4), a network that is another one by far more.
    In half precision that would let everything pass, so there it is one percent.
    """
    tolerance = min(1000 * torch.finfo(truth.dtype).eps, 0.01) * truth.abs().max()
    return found.shape == truth.shape and bool((found - truth).abs().max() <= tolerance)


@contextmanager
def attempted() -> Iterator[None]:
    """Passes over whatever fails within, since a stranger's model may fail in any way; but not over a full memory,
    which is not the model's fault and must be told."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception:
        return


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its type where it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
