"""Repair without labels: the statistics of every BatchNorm, estimated anew on unlabelled images.

Enters: a network of which units are off or gone, and images. Leaves: the same network, in which every BatchNorm
normalises by the mean and variance that its input has now. Without units, what later layers take in is shifted, and
their BatchNorms still subtract what it was in the whole network. Known as adaptive BatchNorm (Li et al. 2020, EagleEye,
arXiv 2007.02491).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib.network import checks, contexts, models


def reestimate(model: nn.Module, images: Tensor, *, batch: int | None = None) -> None:
    """Gives every BatchNorm of the model, in place, the mean and variance of its input on these images.

    In one pass: a BatchNorm sees what those before it, normalising by the images at hand, make of them.

    Arguments:
        model: in eval mode, as it is afterwards.
        images: (M, C, H, W), normalised as for training; some 1,000 do.
        batch: images at once, in parts of about equal size over which statistics are averaged; without it all of them,
            which is the most accurate.

    Raises ValueError, and leaves the model as it was, where it is in training mode, has no BatchNorm with running
    statistics or does not take the images, and for fewer than two images or statistics that are not finite.
    """
    model, images = models.inside(model), checks.images(images)
    models.require_eval_mode(model)
    if not (norms := norms_of(model)):
        raise ValueError(f"{type(model).__name__} has no BatchNorm with running statistics: there is nothing to repair")
    if len(images) < 2:
        raise ValueError(f"statistics of {len(images)} image{'s' * (len(images) != 1)}: give two or more")
    batch = len(images) if batch is None else checks.whole("batch", batch, 2)
    parts = images.tensor_split(min(-(-len(images) // batch), len(images) // 2))  # none of a single image
    before = _statistics(norms)
    try:
        with _estimating(norms), torch.no_grad(), contexts.as_written():
            for part in parts:
                models.require_finite(models.answers(model, models.ready(model, part)))
    except BaseException:
        _restore(norms, before)
        raise


@contextmanager
def reestimated(model: nn.Module, images: Tensor, *, batch: int | None = None) -> Iterator[None]:
    """While open, BatchNorms have the statistics that `reestimate` gives them, which raises the same errors."""
    norms = norms_of(models.inside(model))
    before = _statistics(norms)
    try:
        reestimate(model, images, batch=batch)
        yield
    finally:
        _restore(norms, before)


def norms_of(model: nn.Module) -> list[_BatchNorm]:
    """The BatchNorms that normalise by running statistics."""
    return [norm for norm in model.modules() if isinstance(norm, _BatchNorm) and norm.running_mean is not None]


@contextmanager
def _estimating(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    # Nothing else of the model changes its mode: dropout stays off.
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average over batches
            norm.train()
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


def _statistics(norms: Iterable[_BatchNorm]) -> list[list[Tensor]]:
    return [[buffer.clone() for buffer in _buffers(norm)] for norm in norms]


@torch.no_grad()
def _restore(norms: Iterable[_BatchNorm], statistics: Iterable[list[Tensor]]) -> None:
    for norm, values in zip(norms, statistics, strict=True):
        for buffer, value in zip(_buffers(norm), values, strict=True):
            buffer.copy_(value)


def _buffers(norm: _BatchNorm) -> list[Tensor]:
    return [norm.running_mean, norm.running_var, norm.num_batches_tracked]
