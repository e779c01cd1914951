"""Derivatives of the logits, with as little that requires a gradient as they need.

Enters: a model, and what its logits are to be differentiated by. Leaves: contexts in which gradients flow to that
alone, and the derivatives; or, in one line, why there are none.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lib.network import models


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """While open, gradients flow, but to no parameter; afterwards every parameter is as before."""
    models.require_values(model)
    with requiring_grad(list(model.parameters()), False), torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def requiring_grad(parameters: Sequence[Tensor], flag: bool = True) -> Iterator[None]:
    """While open, these parameters require gradients, or do not."""
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(flag)
        yield
    finally:
        for parameter, old in zip(parameters, before, strict=True):
            parameter.requires_grad_(old)


def differentiable(logits: Tensor) -> Tensor:
    """The logits, with their history. Raises ValueError where they have none."""
    if not logits.requires_grad:
        raise ValueError("the logits do not depend on any unit of the network")
    return logits


def derivatives(
    model: nn.Module, logits: Tensor, taken: Sequence[Tensor], vectors: Tensor, *, retain_graph: bool
) -> tuple[Tensor | None, ...]:
    """Those of `vectors` (M, K) times the logits by each of `taken`, None where they do not depend on it.

    Raises ValueError where the model cannot be differentiated.
    """
    try:
        return torch.autograd.grad(logits, taken, vectors, retain_graph=retain_graph, allow_unused=True)
    except models.OF_THE_MACHINE:
        raise
    except RuntimeError as error:
        said = models.first_line(error)
        raise ValueError(f"{type(model).__name__} cannot be differentiated, as scores need it ({said})") from error
