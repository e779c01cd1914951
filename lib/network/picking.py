"""Picking by indices that are made of values: in a stand-in, all that could be picked is mixed into what is.

Enters: a call that gathers, looks up or scatters, and which of its tensors are made of values. Leaves: the same call,
in which what lies along the axes that are picked from has a share in every place; or None, where that is not simple.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from lib.network.functions import bound, overwrites, plain_name

GATHERS = {"__getitem", "embedding", "embedding_bag", "gather", "index_select", "take_along_dim"}
_SECOND = {
    "gather": ("dim", "index"), "index_select": ("dim", "index"), "take_along_dim": ("indices", "dim"),
}  # fmt: skip
SCATTERS = {"scatter", "scatter_add"}
OPEN_ENDED = {  # makes as many as values have it, or writes to where they say in ways that are not followed here
    "argwhere", "bincount", "index_add", "index_copy", "index_fill", "index_put", "masked_scatter", "masked_select",
    "nonzero", "put", "scatter_reduce", "take", "unique", "unique_consecutive",
}  # fmt: skip
Mix = Callable[[Tensor, int], Tensor]  # of what lies along an axis


def gathered(function: Callable, args: tuple, kwargs: dict, made_of_values: Callable[[object], bool], mix: Mix):
    """What a call of one of GATHERS gives when everything along the axes is mixed first; None where it cannot be."""
    name = plain_name(function)
    if name.startswith("embedding"):
        return _looked_up(function, args, kwargs, mix)
    if name == "__getitem":
        value, key = args
        axes = _axes(value, key, made_of_values)
    else:
        value, second, third = bound(args, kwargs, "input", *_SECOND[name])
        axis = third if name == "take_along_dim" else second
        axes = None if axis is None else [axis]
    if axes is None:
        return None
    for axis in axes:
        value = mix(value, axis)
    if args:
        return function(value, *args[1:], **kwargs)
    return function(**kwargs | {"input": value})


def _axes(value: Tensor, key: object, made_of_values: Callable[[object], bool]) -> list[int] | None:
    """Which axes of `value` a key picks from by whole numbers made of values; None where truth values are."""
    key = key if isinstance(key, tuple) else (key,)
    taken = sum(1 for one in key if one is not None and one is not Ellipsis)
    axis, axes = 0, []
    for one in key:
        if made_of_values(one):
            if one.dtype == torch.bool:
                return None
            axes.append(axis)
        if one is Ellipsis:
            axis += value.ndim - taken
        elif one is not None:
            axis += one.ndim if isinstance(one, Tensor) and one.dtype == torch.bool else 1
    return axes


def _looked_up(function: Callable, args: tuple, kwargs: dict, mix: Mix) -> Tensor:
    """From a table (rows, D) by indices, which may be larger than any image makes them."""
    index, table, *_ = bound(args, kwargs, "input", "weight")
    index = index.clamp(0, len(table) - 1)
    mixed = mix(table, 0)
    if plain_name(function) == "embedding":
        return functional.embedding(index, mixed)  # not with `max_norm`, which would write to the table
    kwargs = {name: value for name, value in kwargs.items() if name not in ("input", "weight", "max_norm")}
    return function(index, mixed, *args[2:], **kwargs)


def scattered(function: Callable, args: tuple, kwargs: dict) -> Tensor | None:
    """What a call of one of SCATTERS gives when everything may have been written anywhere along its axis; None where it
    writes to a part of the other axes only."""
    _, axis, index, source = bound(args, kwargs, "input", "dim", "index", "src")
    source = kwargs.get("value") if source is None else source
    made = function(*args, **kwargs)
    if not made.is_floating_point():
        return made
    if isinstance(source, Tensor) and source.ndim:
        others = [own for own in range(made.ndim) if own != axis % made.ndim]
        if any(not index.shape[own] == made.shape[own] == source.shape[own] for own in others):
            return None
        source = (source * ramp(source, axis)).mean(axis, keepdim=True)
    share = source * ramp(made, axis) / 2  # another one in every place, lest they cancel
    return made.add_(share) if overwrites(function, args, kwargs) else made + share


def ramp(like: Tensor, axis: int) -> Tensor:
    """From 0.5 to 1.5 along an axis."""
    shape = [1] * like.ndim
    shape[axis] = -1
    return torch.linspace(0.5, 1.5, like.shape[axis], dtype=like.dtype, device=like.device).view(shape)
