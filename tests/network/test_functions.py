"""lib.functions: PyTorch's functions are known by name, whichever way they are called."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lib.network import functions


@pytest.mark.parametrize(
    ("function", "name"), [(torch.relu_, "relu"), (Tensor.add_, "add"), (functional.relu, "relu"), (3, "")]
)
def test_names_are_without_the_underscore_of_what_works_in_place(function, name):
    assert functions.plain_name(function) == name


def test_arguments_are_found_by_position_or_by_name():
    assert functions.bound((1, 2), {"bias": 3}, "input", "weight", "bias", "stride") == [1, 2, 3, None]


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "overwrites"),
    [
        (torch.relu_, (1,), {}, True),
        (functional.relu, (1,), {"inplace": True}, True),
        (functional.relu, (1, True), {}, True),
        (functional.relu, (1, False), {}, False),
        (Tensor.__setitem__, (1, 2, 3), {}, False),  # by its name it is none
    ],
)
def test_what_overwrites_its_input(function, args, kwargs, overwrites):
    assert functions.overwrites(function, args, kwargs) == overwrites


@pytest.mark.parametrize(
    ("call", "numbers"),
    [
        (Tensor.item, True),
        (Tensor.tolist, True),
        (Tensor.numpy, True),
        (float, True),
        (complex, True),
        (int, False),  # a step
        (bool, False),
        (Tensor.detach, False),
        (torch.relu, False),
    ],
)
def test_what_makes_plain_numbers_of_values(call, numbers):
    made = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            made.append(functions.makes_numbers(function))
            return function(*args, **kwargs or {})

    value = torch.tensor(1.0)
    with Watch():
        call(value)
    assert any(made) == numbers
