"""The oracle: what really happens when one unit is switched off, which importance criteria only estimate.

Enters: a trained model in eval mode and batches of images, with labels or without. Leaves: for every unit, how much
the mean loss and the logits change without it, as one masked pass per unit gives them (the oracle of Molchanov et al.
2017, arXiv 1611.06440); and how much more, or less, units do together than one by one.

Nothing that a unit cannot influence is computed again (`replay`); only a model that torch.fx cannot trace, as its
control flow depends on data, and images that a replay answers otherwise than the model does take one masked pass per
unit.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy
import pandas
import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.masking.replay import Replay
from lib.network import checks, contexts, models
from lib.network.models import alike, attempted
from lib.network.taps import Unit, units_in
from lib.network.units import units
from lib.pruning import masked
from lib.scoring.batches import Batch, with_examples


def score(model: nn.Module, batches: Iterable[Batch], *, only: Tensor | None = None) -> dict[str, Tensor]:
    """What changes with one unit off, for each of the N units in the order of `units.units`: (N,) float64 on the CPU.

    Arguments:
        model: in eval mode, from images (M, C, H, W) to logits (M, K); left as it was found.
        batches: tuples (images, labels (M,) or None); further entries are ignored. They are gone through one by one.
        only: (k,) numbers of the units to judge, from 0 to N - 1; what is said of the others is 0. Without it, all.

    Returns "output", the mean over examples of |f(x) - f(x; unit off)|^2, and, where there are labels, "loss", the
    absolute change of the mean cross-entropy.

    Raises ValueError for labels that are out of range or missing in some batches only, `only` of other than numbers of
    units, images that the model does not take, no examples, logits that are not finite, or a model that is in training
    mode or has no units.
    """
    model, singles = models.inside(model), None
    for images, labels in with_examples(batches):
        with _quietly():
            images = models.ready(model, images)
            singles = singles or _Singles(model, units(model, images[:1]), images, only)
            singles.add(images, labels)
    return singles.results()


def interactions(model: nn.Module, order: Tensor, counts: Sequence[int], batches: Iterable[Batch]) -> pandas.DataFrame:
    """Whether units matter together: the output change with the first k units of `order` off, for every k in `counts`.

    Arguments:
        order: (N,) unit indices, as of `pruning.order`.
        batches: as for `score`; labels are ignored.

    Returns one row per k: pruned (k), joint (the mean over examples of |f(x) - f(x; all k off)|^2), single (the sum of
    the same for each of the k off alone) and ratio (of both, see `ratio`: above 1 where the units' effects add up or
    each stood in for the others, below 1 where they cancel).

    Raises ValueError as `score` does, or where `order` is not a permutation of the units or a k not between 0 and N.
    """
    model, counts = models.inside(model), checks.several("counts", counts)
    offs, joint, layers, singles = [(order, k) for k in counts], [0.0] * len(counts), None, None
    for images, _ in with_examples(batches):
        with _quietly():
            images = models.ready(model, images)
            layers = layers or _layers(model, images, [order], counts)
            singles = singles or _Singles(model, layers, images, order[: max(counts, default=0)])
            joint = [a + b for a, b in zip(joint, _joint(model, offs, images, layers), strict=True)]
            singles.add(images, None)
    change = singles.results()["output"][order.cpu()]
    table = pandas.DataFrame({"pruned": [int(k) for k in counts], "joint": joint})
    table["joint"] /= singles.count
    table["single"] = [change[:k].sum().item() for k in counts]
    table["ratio"] = ratio(table["joint"], table["single"])
    return table


def ratio(joint: float | pandas.Series, single: float | pandas.Series) -> float | pandas.Series:
    """How much more units change together than one by one, joint / single: infinite where none changes anything alone,
    but all of them do; NaN where nothing changes at all."""
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.divide(joint, single)


def joint(model: nn.Module, orders: Sequence[Tensor], k: int, batches: Iterable[Batch]) -> list[float]:
    """Only the joint changes of `interactions`, for the first `k` units of each of `orders`; errors as there."""
    model, orders = models.inside(model), checks.orders(orders)
    offs, total, examples, layers = [(order, k) for order in orders], [0.0] * len(orders), 0, None
    for images, _ in with_examples(batches):
        with _quietly():
            images = models.ready(model, images)
            layers = layers or _layers(model, images, orders, [k])
            total = [a + b for a, b in zip(total, _joint(model, offs, images, layers), strict=True)]
            examples += len(images)
    return [change / examples for change in total]


def _layers(model: nn.Module, images: Tensor, orders: Iterable[Tensor], counts: Iterable[int]) -> list[Unit]:
    """The units of the model, if they are what `orders` and `counts` are of."""
    layers = units(model, images[:1])
    total = units_in(layers)
    for order in orders:
        checks.order(order, total)
    for k in counts:
        checks.count(k, total)
    return layers


def _joint(model: nn.Module, offs: Iterable[tuple[Tensor, int]], images: Tensor, layers) -> list[float]:
    """Summed over images: |f(x) - f(x; the first k of the order off)|^2, for each (order, k) in `offs`."""
    intact, changes = models.answers(model, images), []
    models.require_finite(intact)
    for order, k in offs:
        with masked(model, order, k, layers):
            changes.append(_squared_distance(models.answers(model, images), intact).sum().item())
    return changes


@contextmanager
def _quietly() -> Iterator[None]:
    """Without gradients, and as the model is written; not to be open while a caller's batches are made."""
    with torch.inference_mode(False), torch.no_grad(), contexts.as_written(), contexts.random_state_kept():
        yield


def _squared_distance(changed: Tensor, intact: Tensor) -> Tensor:
    return (changed.double() - intact.double()).square().sum(1)


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.double(), labels.long(), reduction="none")


class _Singles:
    """Sums, over all examples seen so far, what every unit changes when it alone is off; or those in `wanted`."""

    def __init__(self, model: nn.Module, layers: Sequence[Unit], images: Tensor, wanted: Tensor | None = None):
        self.layers, self._model = layers, model
        total = units_in(self.layers)
        self._wanted = torch.ones(total, dtype=torch.bool)
        if wanted is not None:
            self._wanted = torch.isin(torch.arange(total), checks.some("only", wanted, total).cpu())
        self._one_by_one, self._replay = _OneByOne(model, self.layers), _replay(model, self.layers, images[:2])
        self._output = torch.zeros(total, dtype=torch.float64, device=images.device)
        self._loss = torch.zeros_like(self._output)
        self._labelled: bool | None = None
        self.count = 0

    def add(self, images: Tensor, labels: Tensor | None) -> None:
        own = models.answers(self._model, images)
        labels = self._checked(own, labels)
        passes, intact = self._passes(images, own)
        self.count += len(images)
        output = self._output.new_zeros(len(self._output), len(images))  # (N, M)
        loss = torch.zeros_like(output)
        for numbers, examples, changed in passes.changed(images, self._wanted):
            output[numbers, examples] = _squared_distance(changed, intact[examples])
            if labels is not None:
                truth = labels[examples]
                loss[numbers, examples] = _losses(changed, truth) - _losses(intact[examples], truth)
        self._output += output.sum(1)
        self._loss += loss.sum(1)

    def _passes(self, images: Tensor, truth: Tensor) -> tuple["Replay | _OneByOne", Tensor]:
        """What goes through these images with one unit off, and its logits (M, K) with none: a replay, but where it
        answers any of them otherwise than the model does, as where tracing has lost a branch for few of them."""
        if self._replay is None:
            return self._one_by_one, truth
        with attempted():
            intact = self._replay.intact(images)
            few = models.furthest(images, models.distance(intact, truth))
            with contexts.full_precision():
                if alike(self._replay.intact(few), models.answers(self._model, few)):
                    return self._replay, intact
        return self._one_by_one, truth

    def results(self) -> dict[str, Tensor]:
        sums = {"output": self._output, **({"loss": self._loss.abs()} if self._labelled else {})}
        means = {name: (values / self.count).cpu() for name, values in sums.items()}
        if not all(values.isfinite().all() for values in means.values()):
            raise ValueError("logits are not finite with a unit off; check the model's weights")
        return means

    def _checked(self, logits: Tensor, labels: Tensor | None) -> Tensor | None:
        """The labels, beside the logits (M, K)."""
        models.require_finite(logits)
        if self._labelled not in (None, labels is not None):
            raise ValueError("some batches have labels and others have none: give them for all or for none")
        self._labelled = labels is not None
        return checks.labels(labels, *logits.shape).to(logits.device) if self._labelled else None


class _OneByOne:
    """The obvious way: a masked pass per unit."""

    def __init__(self, model: nn.Module, layers: Sequence[Unit]):
        self._model, self._layers = model, layers

    def changed(self, images: Tensor, wanted: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Numbers of units (R,) and of examples (R,), and the logits (R, K) of each example with that unit off."""
        examples = torch.arange(len(images), device=images.device)
        for number in wanted.nonzero().flatten().tolist():
            first = torch.arange(len(wanted)).roll(-number)  # an order that begins with this unit
            with masked(self._model, first, 1, self._layers):
                yield torch.full_like(examples, number), examples, models.answers(self._model, images)


def _replay(model: nn.Module, layers: Sequence[Unit], examples: Tensor) -> Replay | None:
    """A replay of `model`, unless it cannot be traced, or gives other logits than masked passes over `examples` do, all
    pairs at once or each alone, as one may be left over at the end."""
    wanted = torch.zeros(units_in(layers), dtype=torch.bool)
    wanted[[unit.start + offset for unit in layers for offset in (0, unit.size // 2)]] = True
    with contexts.full_precision():
        truth = torch.stack([changed for *_, changed in _OneByOne(model, layers).changed(examples, wanted)])
        try:
            replay = Replay(model, layers, examples[:1])
            found = _replayed(replay, examples, wanted), _replayed(replay, examples[:1], wanted, pairs=1)
        except models.OF_THE_MACHINE:
            raise
        except Exception:  # tracing runs the model's own code on stand-ins, so anything may happen
            return None
    return replay if alike(found[0], truth) and alike(found[1], truth[:, :1]) else None


def _replayed(replay: Replay, examples: Tensor, wanted: Tensor, pairs: int | None = None) -> Tensor:
    """The logits (units, M, K) with each of the wanted units off."""
    place = (wanted.cumsum(0) - 1).to(examples.device)
    found = models.logits(replay.intact(examples), len(examples)).repeat(int(wanted.sum()), 1, 1)
    for numbers, positions, changed in replay.changed(examples, wanted, pairs):
        found[place[numbers], positions] = models.logits(changed, len(numbers))
    return found
