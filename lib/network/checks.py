"""What callers give to the public functions, checked in one way for all of them, each fault in one line.

Enters: images, labels, batches, scores, orders and numbers as a caller has them. Leaves: the same, in the form that is
computed with; or a ValueError that names what is wrong and, where there is one, the remedy.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

_BATCH = "a batch must be (images, labels or None) or (images, labels or None, indices)"
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_INDICES = (torch.int64, torch.int32)  # torch takes other whole numbers for masks, or not at all


# ---- numbers --------------------------------------------------------------------------------------------------------


def whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """The number, if it is a whole one from `least` to `most`."""
    if not _is_whole(value) or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {_power(most)}"
        raise ValueError(f"{name}={value!r} must be a whole number {bounds}")
    return int(value)


def several(name: str, values: object) -> list:
    """The numbers, if they are several: a list, a range, a vector."""
    if isinstance(values, Tensor) and values.ndim == 1:
        values = values.tolist()
    if isinstance(values, (str, Tensor)) or not isinstance(values, Iterable):
        raise ValueError(f"{name} must be several numbers, such as [2], not {values!r}")
    return list(values)


def share(name: str, value: object, *, may_be_all: bool = False) -> float:
    """The number, if it is above 0 and below 1, or 1 itself where that may be."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not (0 < value < 1 or (may_be_all and value == 1)):
        most = "at most 1" if may_be_all else "below 1"
        raise ValueError(f"{name}={value!r} must be a fraction to remove, above 0 and {most}")
    return float(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _power(number: int) -> str:
    """A bound as people write it."""
    return f"2**{number.bit_length()} - 1" if number >= 2**32 - 1 else str(number)


# ---- names ----------------------------------------------------------------------------------------------------------


def path(given: object) -> Path:
    """The path, if it is one: a text or what stands for a file."""
    if not isinstance(given, (str, PathLike)) or not str(given):
        raise ValueError(f"path={given!r} must be the name of a file")
    return Path(given)


# ---- channels -------------------------------------------------------------------------------------------------------


def moments(given: object) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and the deviation of the three channels, or of the one of grey images, if they are that."""
    parts = given.tolist() if isinstance(given, Tensor) else given
    parts = [part.tolist() if isinstance(part, Tensor) else part for part in _listed(parts)]
    if [len(_listed(part)) for part in parts] not in ([3, 3], [1, 1]):
        raise ValueError(f"moments={given!r} must be the means of the 3 channels and their deviations, such as"
                         " ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)), or those of 1 channel")  # fmt: skip
    mean, std = map(tuple, parts)
    for value in mean:
        if not isinstance(value, Real) or not 0 <= value <= 1:
            raise ValueError(f"a mean of the channels must be a number from 0 to 1, not {value}{_of_bytes(value)}")
    for value in std:
        if not isinstance(value, Real) or not 0 < value <= 1:
            more = _of_bytes(value)
            raise ValueError(f"a deviation of the channels must be a number above 0, at most 1, not {value}{more}")
    return tuple(map(float, mean)), tuple(map(float, std))


def _of_bytes(value: object) -> str:
    return ", which is of pixels from 0 to 255: divide it by 255" if isinstance(value, Real) and value > 1 else ""


def _listed(given: object) -> list:
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str) else []


# ---- tensors --------------------------------------------------------------------------------------------------------


def tensor(name: str, given: object, form: str) -> Tensor:
    """What is given, if it is a tensor that has values and an axis to tell them apart."""
    if not isinstance(given, Tensor):
        raise ValueError(f"{name} must be a tensor {form}, not a {type(given).__name__}{_made_of(given)}")
    if not _plain(name, given).ndim:
        raise ValueError(f"{name} must be a tensor {form}, not of shape ()")
    return given


def images(given: object) -> Tensor:
    """The images (M, ...), if they can be normalised ones: a tensor of floating-point numbers that has values."""
    images = tensor("images", given, "(M, C, H, W)")
    if not images.is_floating_point():
        raise ValueError(f"images are {_kind(images)}, not normalised as for training: datasets.normalise(images, mean,"
                         " std) does it")  # fmt: skip
    if images.dtype not in _FLOATS:
        raise ValueError(f"images are {_kind(images)}, in which nothing can be computed: give images.float()")
    return images


def labels(given: object, count: int, classes: int) -> Tensor:
    """Labels (M,) as int64, if they are labels of `count` images in so many classes."""
    labels = tensor("labels", given, f"({count},), one per image")
    if labels.shape != (count,):
        raise ValueError(f"labels must be a tensor ({count},), one per image, not of shape {tuple(labels.shape)}")
    found = labels.to(torch.int64) if _counts(labels) else None
    if found is None or (count and (found.min() < 0 or found.max() >= classes)):
        raise ValueError(f"labels must be {count} whole numbers from 0 to {classes - 1}, one per image")
    return found


def cotangents(given: object, like: Tensor) -> Tensor:
    """The cotangents (M, K), if they are finite numbers of the shape of the logits `like`."""
    vectors = tensor("vectors", given, f"{tuple(like.shape)}, one per image")
    if vectors.shape != like.shape:
        raise ValueError(f"vectors must be of the shape of the logits, {tuple(like.shape)}, not {tuple(vectors.shape)}")
    if not vectors.is_floating_point():
        raise ValueError(f"vectors are {_kind(vectors)}, not floating-point numbers: give vectors.float()")
    if not vectors.isfinite().all():
        raise ValueError("vectors are not finite: find those with NaN or infinity, and leave them out")
    return vectors


def groups(given: object, count: int) -> dict[str, Tensor]:
    """The groups, name -> (M,) bool on the CPU, if they say of each of `count` images whether it belongs there."""
    form = f"a dict of names and tensors ({count},) of bool, such as {{'rare': labels == 1}}"
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"groups must be {form}, not a {type(given).__name__}")
    for name, group in (given or {}).items():
        what = f"groups[{name!r}]"
        group = tensor(what, group, f"({count},) of bool")
        if group.dtype != torch.bool or group.shape != (count,):
            raise ValueError(f"groups must be {form}, but {what} is {_kind(group)} of shape {tuple(group.shape)}")
    return {name: group.cpu() for name, group in (given or {}).items()}


def scores(given: object, total: int | None = None) -> Tensor:
    """The scores, if they are a vector of finite numbers, one for each of `total` units."""
    if isinstance(given, Mapping):
        name = next(iter(given), "sq:rand:norm")
        raise ValueError(f"scores must be those of one criterion, not a dict of {len(given)}: give scores[{name!r}]")
    scores = tensor("scores", given, "(N,), one per unit")
    if scores.ndim != 1 or (total is not None and len(scores) != total):
        units = "one per unit" if total is None else f"one for each of the {total} units"
        raise ValueError(f"scores must be a vector, {units}, not of shape {tuple(scores.shape)}")
    if scores.is_complex() or scores.dtype == torch.bool:
        raise ValueError(f"scores are {_kind(scores)}, not numbers that say which unit is worth more")
    if scores.dtype in _INDICES and len(scores) > 1 and scores.sort().values.tolist() == [*range(len(scores))]:
        remedy = "give the scores, or ranks as floating-point numbers"
        raise ValueError(f"scores are an order of units, as pruning.order(scores) gives it: {remedy}")
    if not scores.isfinite().all():
        raise ValueError(f"scores must be finite, but {int((~scores.isfinite()).sum())} of {len(scores)} are not")
    return scores


def order(given: object, total: int) -> Tensor:
    """The order (N,), if it names each of `total` units once."""
    remedy = ": pruning.order(scores) gives one"
    if not isinstance(given, Tensor) or given.dtype not in _INDICES:
        what = _kind(given) if isinstance(given, Tensor) else type(given).__name__
        raise ValueError(f"order must be unit indices (N,), a tensor of int64, not {what}{remedy}")
    order = _plain("order", given)
    if order.ndim != 1 or len(order) != total:
        raise ValueError(f"order must name each of the {total} units once, but has {order.numel()} entries of shape"
                         f" {tuple(order.shape)}{remedy}")  # fmt: skip
    found = order.long().sort().values.cpu()
    if not torch.equal(found, torch.arange(total)):
        outside, twice = found[(found < 0) | (found >= total)], found[1:][found.diff() == 0]
        what = f"{int(outside[0])}, which is no unit" if len(outside) else f"{int(twice[0])} more than once"
        raise ValueError(f"order must name each of the {total} units once, from 0 on, but names {what}{remedy}")
    return order


def orders(given: object) -> list[Tensor]:
    """The orders, if they are several; each is checked where it is known of how many units."""
    if isinstance(given, Tensor) or not isinstance(given, Iterable):
        raise ValueError(f"orders must be a list of orders, as pruning.order gives them, not a {type(given).__name__}")
    return list(given)


def some(name: str, given: object, total: int) -> Tensor:
    """Numbers (k,) of some of `total` units, if they are that."""
    numbers = tensor(name, given, f"(k,), whole numbers of units from 0 to {total - 1}")
    if numbers.ndim != 1 or numbers.dtype not in _INDICES:
        remedy = f": give {name}.nonzero().flatten()" if numbers.dtype == torch.bool and numbers.ndim == 1 else ""
        raise ValueError(f"{name} must be whole numbers of units, a tensor (k,), not {_kind(numbers)} of shape"
                         f" {tuple(numbers.shape)}{remedy}")  # fmt: skip
    outside = numbers[(numbers < 0) | (numbers >= total)]
    if len(outside):
        raise ValueError(f"{name} must be numbers of units, from 0 to {total - 1}, but {int(outside[0])} is none")
    return numbers


def count(k: object, total: int) -> int:
    """The number `k` of units, if so many of `total` can be off."""
    if not _is_whole(k) or not 0 <= k <= total:
        raise ValueError(f"k={k!r} units cannot be off: give a whole number from 0 to {total}")
    return int(k)


def transforms() -> None:
    """Raises ValueError within torch.vmap and its like, where tensors have no values to look at."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise ValueError("nothing here runs within torch.vmap or another transform of torch.func: call it outside")


def _plain(name: str, given: Tensor) -> Tensor:
    """The tensor, if its values are there and lie as computing needs them."""
    if torch._C._functorch.is_functorch_wrapped_tensor(given):
        transforms()
    if given.is_meta:
        raise ValueError(f"{name}: a tensor on the meta device has no values, give one on another device")
    if given.is_nested:
        raise ValueError(f"{name}: a nested tensor is none of one shape, give torch.stack(...) of parts of one size")
    if given.layout != torch.strided:
        layout = str(given.layout).removeprefix("torch.")
        raise ValueError(f"{name}: a tensor of layout {layout} is not dense, give {name}.to_dense()")
    return given


def _made_of(given: object) -> str:
    """How a tensor is made of what is none."""
    if type(given).__module__ == "numpy":
        return ": torch.from_numpy(...) makes one of it"
    return ": torch.tensor(...) makes one of it" if isinstance(given, (list, tuple)) else ""


def _kind(given: Tensor) -> str:
    return str(given.dtype).removeprefix("torch.")


def _counts(given: Tensor) -> bool:
    """Whether these are whole numbers."""
    return not (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool)


# ---- batches --------------------------------------------------------------------------------------------------------


def batches(given: object) -> Iterator[Sequence]:
    """Each batch, if it is one as `importance.score` takes them."""
    if not isinstance(given, Iterable):
        raise ValueError(f"batches must be a list of (images, labels or None), or another iterable, not a"
                         f" {type(given).__name__}")  # fmt: skip
    return map(batch, given)


def batch(given: object) -> Sequence:
    """The batch, if it is one as `importance.score` takes them."""
    if isinstance(given, Tensor):
        raise ValueError(f"{_BATCH}, not a tensor: give [(images, None)]")
    if not (isinstance(given, Sequence) and not isinstance(given, str) and len(given) in (2, 3)):
        size = f" of {len(given)}" if isinstance(given, Sequence) else ""
        raise ValueError(f"{_BATCH}, not a {type(given).__name__}{size}")
    for name, part in zip(("images", "labels"), given, strict=False):
        if part is None and name == "labels":
            continue
        if not isinstance(part, Tensor):
            raise ValueError(f"{_BATCH}, all tensors, not a {type(part).__name__}{_made_of(part)}")
        tensor(name, part, "with an axis of examples")
    return given


def indices(given: object, count: int) -> Tensor:
    """The indices (M,) of `count` examples, int64 on the CPU, if they are whole numbers from 0 on."""
    try:
        indices = _plain("indices", torch.as_tensor(given)).cpu()
    except (RuntimeError, TypeError, ValueError) as error:
        if isinstance(given, Tensor):
            raise
        raise ValueError(f"indices must be {count} whole numbers, not a {type(given).__name__}") from error
    if indices.ndim != 1 or len(indices) != count:
        raise ValueError(f"a batch has {count} images but other numbers of labels or indices")
    if not _counts(indices):
        raise ValueError(f"indices of examples must be {count} whole numbers, not {_kind(indices)}")
    if (indices < 0).any():
        raise ValueError("indices of examples must not be negative: random vectors are counted from example 0")
    return indices.long()


def none_in(batches: object = None) -> ValueError:
    """The error for no examples."""
    once = ", perhaps by now: a generator gives what it has only once, so make it anew or give a list"
    return ValueError(f"there are no examples: `batches` is empty{once if isinstance(batches, Iterator) else ''}")
