"""PyTorch's functions as a `TorchFunctionMode` sees them called: their names, what they are given, what they do.

Enters: a call of a function. Leaves: its name, whichever way it is spelt; its first arguments, given by position or by
name; whether it works in place; whether it makes plain numbers of a tensor's values, where nobody can follow them; the
same call in another precision.
"""

from collections.abc import Callable

import torch
from torch import Tensor

_PRECISIONS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
_CASTS = (Tensor.bfloat16, Tensor.double, Tensor.float, Tensor.half)
_NUMBERS = {"__array__", "__complex__", "__dlpack__", "__float__", "item", "numpy", "tolist"}


def name_of(function: Callable) -> str:
    """The name by which PyTorch calls it, "" for what has none."""
    return getattr(function, "__name__", "")


def plain_name(function: Callable) -> str:
    """The name without the underscore of what works in place."""
    return name_of(function).rstrip("_")


def bound(args: tuple, kwargs: dict, *names: str) -> list:
    """What a function is given for its first arguments `names`, by position or by name; None where it is not."""
    return [args[place] if len(args) > place else kwargs.get(name) for place, name in enumerate(names)]


def overwrites(function: Callable, args: tuple, kwargs: dict) -> bool:
    """Whether the function works in place."""
    by_name = function.__name__.endswith("_") and not function.__name__.startswith("__")
    return by_name or kwargs.get("inplace") is True or (bool(args) and args[-1] is True)


def makes_numbers(function: Callable) -> bool:
    """Whether the function takes values out of their tensor, be it as numbers of Python's or an array of another
    library's. Whole numbers and truth values do not count: they are steps, without a slope that could be missing."""
    return name_of(function) in _NUMBERS


def in_precision(dtype: torch.dtype, function: Callable, args: tuple, kwargs: dict) -> tuple[Callable, tuple, dict]:
    """The same call where whatever precision code names is this one, single or double."""
    if function in _CASTS:
        function = Tensor.double if dtype == torch.float64 else Tensor.float
    named = lambda value: dtype if isinstance(value, torch.dtype) and value in _PRECISIONS else value  # noqa: E731
    return function, tuple(map(named, args)), {key: named(value) for key, value in kwargs.items()}
