"""Repair without labels: the statistics of every BatchNorm, estimated anew on unlabelled images.

Enters: a network of which units are off or gone, and images. Leaves: the same network, in which every BatchNorm
normalises by the mean and variance that its input has now. Without units, what later layers take in is shifted, and
their BatchNorms still subtract what it was in the whole network. Known as adaptive BatchNorm (Li et al. 2020, EagleEye,
arXiv 2007.02491). Where the whole network is at hand, a `Reference` does so on fewer images.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib.network import checks, contexts, models


def reestimate(model: nn.Module, images: Tensor, *, batch: int | None = None) -> None:
    """Gives every BatchNorm of the model, in place, the mean and variance of its input on these images.

    In one pass: a BatchNorm sees what those before it, normalising by the images at hand, make of them. One that does
    not run, as in a head that is for training alone, keeps what it has.

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
    with torch.no_grad(), contexts.as_written():
        laid_out = models.quickest_layout(model, images)
    try:
        with _estimating(norms), torch.no_grad(), contexts.as_written():
            for part in parts:
                models.require_finite(models.answers(model, laid_out(models.ready(model, part))))
    except BaseException:
        _restore(norms, before)
        raise
    for norm, statistics in zip(norms, before, strict=True):
        if not norm.num_batches_tracked:
            _restore([norm], [statistics])


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


FAR = 10  # a ratio of variances beyond which, and below the inverse of which, nothing is carried over


class Reference:
    """What the BatchNorms of a whole network take in on some images, beside what they took in where it was trained.

    What a few images give differs by chance from what all images of the training gave; on 300 photographs that costs as
    much as repair gains. Chance is much the same in the smaller network on the same images, so only the difference
    that shrinking made there is carried over to the statistics of the training (control variates): a mean moves by the
    difference of both means, variance + eps changes by the ratio of both. A network of which nothing went stays as it
    is, bit for bit. Where that ratio is far from 1, as where channels cancel on these images alone, nothing is shared,
    and the variance is the one found there.
    """

    def __init__(self, whole: nn.Module, images: Tensor, *, batch: int | None = None):
        """Arguments: as `reestimate` takes them, and raises for; `whole` stays as it is."""
        self._images, self._batch, norms = images, batch, norms_of(models.inside(whole))
        with reestimated(whole, images, batch=batch):
            self._found = dict(zip(_names(whole), _moments(norms), strict=True))

    def repair(self, model: nn.Module, kept: Mapping[str, Tensor]) -> None:
        """Gives every BatchNorm of `model`, in place, the statistics of its input, as far as shrinking changed them.

        Arguments:
            model: the whole network without some channels, still with the statistics that it had of the others.
            kept: which channels a BatchNorm still has, by its name; all of one that is not named, as `Slimming.kept`.

        Raises what `reestimate` does, and ValueError for a BatchNorm that the whole network has not or that has not
        the channels said to be kept; leaves the model as it was then.
        """
        model = models.inside(model)
        norms = norms_of(model)
        whole = [self._of(name, norm, kept.get(name)) for name, norm in zip(_names(model), norms, strict=True)]
        trained, seen = _moments(norms), [norm.num_batches_tracked.clone() for norm in norms]
        reestimate(model, self._images, batch=self._batch)
        for norm, before, (mean, variance), count in zip(norms, whole, trained, seen, strict=True):
            ratio = (norm.running_var + norm.eps) / (before[1] + norm.eps)
            norm.running_mean.copy_(mean + (norm.running_mean - before[0]))
            carried = (variance + (variance + norm.eps) * (ratio - 1)).clamp_min(0)
            shared = (ratio > 1 / FAR) & (ratio < FAR)
            norm.running_var.copy_(torch.where(shared, carried, norm.running_var))
            norm.num_batches_tracked.copy_(count)

    def _of(self, name: str, norm: _BatchNorm, kept: Tensor | None) -> list[Tensor]:
        """What the whole network's BatchNorm of that name found in the channels that this one still has."""
        if name not in self._found:
            raise ValueError(f"{name or 'the network'} is a BatchNorm that the whole network has not")
        found = [part.to(norm.running_mean.device) for part in self._found[name]]
        channels = len(found[0])
        if kept is not None:
            if len(kept) and not 0 <= int(kept.min()) <= int(kept.max()) < channels:
                raise ValueError(f"{name}: channels up to {int(kept.max())} of {channels} cannot be kept")
            found = [part[kept.to(part.device)] for part in found]
        if len(found[0]) != norm.num_features:
            has = norm.num_features
            raise ValueError(f"{name}: it has {has} channels, and {len(found[0])} of {channels} were kept")
        return found


def _names(model: nn.Module) -> list[str]:
    norms = set(norms_of(models.inside(model)))
    return [name for name, module in models.inside(model).named_modules() if module in norms]


def _moments(norms: Iterable[_BatchNorm]) -> list[tuple[Tensor, Tensor]]:
    return [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]


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
