"""Pruning by scores: which units go, switching them off, and how accuracy falls as more of them do.

Enters: a trained model and scores (N,), one per unit. Leaves: an order, masks, pruning curves and their summaries.
All units are ranked together, the least important first, and exactly the first k are switched off at their tap
(after BatchNorm), so that no constant is left behind; nothing is fine-tuned (Sapkota & Bhattarai 2023, arXiv
2310.20203, section 4).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import numpy
import pandas
import torch
from torch import Tensor, nn

from lib.masking.compact import Compact
from lib.masking.footprint import Footprint
from lib.network import checks, contexts, copies, models
from lib.network.layers import LAYERS, widths
from lib.network.models import alike, attempted, predict
from lib.network.taps import Tap, Unit, along, before_norms, tapped, units_in
from lib.network.units import units
from lib.repair import reestimated
from lib.scoring import ranks
from lib.structure import slim as slim  # for whoever prunes

SHARES = (0.10, 0.25, 0.50)  # of all units, or of a resource, at which summaries quote the accuracy
RESOURCES = ("macs", "parameters")
QUARTER = 0.25  # of a resource: how far its auc goes, since a curve ends at half of the units
_SAME = 1e-12  # shares that differ by less are one: 1 - .9 is not quite .1
_PIXELS = {"cpu": 2**16, "cuda": 2**20}  # of all images at once: what caches hold, or what keeps a GPU busy
_FEWEST_IMAGES = 16  # at once
_STORED = 2**29  # bytes of weights of such networks at once


def order(scores: Tensor) -> Tensor:
    """The unit indices (N,), least important first; ties keep the order of the units.

    Raises ValueError where scores are not one finite number per unit.
    """
    scores = checks.scores(scores)
    return torch.argsort(scores, stable=True)


@contextmanager
def masked(
    model: nn.Module, order: Tensor, k: int, layers: Sequence[Unit] | None = None, *, example: Tensor | None = None
) -> Iterator[None]:
    """While open, the first `k` units of `order` (N,) are off: their tapped outputs are multiplied by zero.

    Meanwhile nothing that torch.compile has compiled runs compiled, and activation checkpointing holds what it would
    compute again, so that masks act in every pass, training included; and the model can be neither copied nor shrunk.

    Arguments:
        layers: `units(model)`, where it is known already.
        example: one input, for `units`; not needed with `layers`, or where the model takes images of a usual size.

    Raises ValueError where `order` is not a permutation of the units, `k` is not between 0 and N, or `layers` are of
    another network, and as `units` does.
    """
    model = models.inside(model)
    layers = units(model, example) if layers is None else _units_of(model, layers)
    total = units_in(layers)
    checks.order(order, total)
    checks.count(k, total)
    keep = torch.ones(total)
    keep[order[:k].cpu()] = 0.0
    touched = [unit for unit in layers if not keep[unit.slice].all()] or layers[:1]
    masks = [keep[unit.slice].to(models.place(model)[0]) for unit in touched]

    def switch_off(number: int, tap: Tap, value: Tensor) -> Tensor:
        return value * along(masks[number].to(value.device, value.dtype), tap.axis, value)

    silent = [model.get_submodule(tap.module) for unit in touched for tap in unit.taps] if k else []
    with tapped(model, touched, switch_off), copies.units_off(silent):
        yield


def _units_of(model: nn.Module, layers: object) -> list[Unit]:
    """The layers, if they can be `units(model)`."""
    remedy = "give units(model), or leave `layers` out"
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        raise ValueError(f"layers must be a list of units, not a {type(layers).__name__}: {remedy}")
    layers, modules, start = list(layers), dict(model.named_modules()), 0
    if not layers:
        raise ValueError(f"layers must be a list of units, but it is empty: {remedy}")
    for unit in layers:
        if not isinstance(unit, Unit):
            raise ValueError(f"layers must be a list of units, but there is a {type(unit).__name__} in it: {remedy}")
        if unit.start != start:
            raise ValueError(f"layers must be units in their order, but {unit.name} is not in its place: {remedy}")
        start += unit.size
        module, taps = modules.get(unit.name), {tap.module for tap in unit.taps}
        if not isinstance(module, LAYERS) or widths(module)[0] != unit.size or not taps <= modules.keys():
            raise ValueError(
                f"layers are units of another network, in which {unit.name} has {unit.size}, not those of"
                f" {type(model).__name__}: {remedy}"
            )
    return layers


def steps(total: int, points: int) -> list[int]:
    """How many units are off at each point of a curve: int(linspace(0, N/2, points))."""
    points = checks.whole("points", points, 2)
    return [int(k) for k in numpy.linspace(0, total / 2, points)]


def predicted(
    model: nn.Module,
    order: Tensor,
    k: int,
    images: Tensor,
    layers: Sequence[Unit],
    *,
    batch: int,
    repair_on: Tensor | None = None,
) -> Tensor:
    """The classes (M,) that a model gives images (M, ...) without the first `k` units of `order`, on the CPU.

    The arguments and errors are those of `curve`, with `layers` as for `masked`; nothing is repaired with nothing off.
    """
    repaired = nullcontext() if not k or repair_on is None else reestimated(model, repair_on)
    with masked(model, order, k, layers), repaired:
        return predict(model, images, batch=batch, when=f"with {k} unit{'s' * (k != 1)} off" if k else "")


def curve(
    model: nn.Module,
    order: Tensor,
    images: Tensor,
    labels: Tensor,
    points: int = 31,
    *,
    groups: Mapping[str, Tensor] | None = None,
    batch: int | None = None,
    repair_on: Tensor | None = None,
    in_front: bool = False,
) -> pandas.DataFrame:
    """Accuracy as units go, from none to half of them.

    Arguments:
        order: (N,) unit indices, least important first.
        images, labels: (M, C, H, W), normalised as for training, and (M,).
        groups: name -> (M,) bool, parts of the images whose accuracy is wanted as well; NaN for one of no images.
        batch: images at once; without it, as many as suit the device.
        repair_on: images without labels, on which the statistics of every BatchNorm are estimated anew at every point
            with a unit off (see `lib.repair`); without them nothing is repaired.
        in_front: whether units are silenced in front of their BatchNorm, which leaves a constant behind instead of
            nothing: no removal, but what some mean by a mask.

    Under `torch.distributed` every rank is given the same images, answers its share of them, and returns the whole
    curve.

    Returns one row per point: pruned (number of units off), accuracy (0 to 1), accuracy_<name> for each of the
        groups, emptied (layers without any unit left), macs and parameters (shares left, 0 to 1: see
        `lib.masking.footprint`).

    Raises ValueError where images and labels are not as many, or none, where the model does not take the images, where
    `order` is not a permutation of the units, where groups are not of bool, for fewer than 2 points, or for logits that
    are not finite at one of them; and with `repair_on` what `repair.reestimate` raises.
    """
    how = {"groups": groups, "batch": batch, "repair_on": repair_on, "in_front": in_front}
    (table,) = curves(model, [order], images, labels, points, **how)
    return table


@contexts.random_state_kept()
def curves(
    model: nn.Module,
    orders: Sequence[Tensor],
    images: Tensor,
    labels: Tensor,
    points: int = 31,
    *,
    groups: Mapping[str, Tensor] | None = None,
    batch: int | None = None,
    repair_on: Tensor | None = None,
    in_front: bool = False,
) -> list[pandas.DataFrame]:
    """A `curve` for each of `orders`, which costs less than one by one: they share what is computed with nothing off.

    Arguments, result and errors as there.
    """
    model, orders, points = models.inside(model), checks.orders(orders), checks.whole("points", points, 2)
    batch = None if batch is None else checks.whole("batch", batch, 1)
    images, count = checks.images(images), len(checks.tensor("labels", labels, "(M,), one per image"))
    if len(images) != count or not count:
        raise ValueError(f"accuracy on {len(images)} images with {count} labels: it takes one each, at least one")
    groups, example = checks.groups(groups, count), models.ready(model, images, 1)
    layers, parts = units(model, example), {"accuracy": torch.ones(count)}
    if not all(chunk.isfinite().all() for chunk in images.split(1000)):
        raise ValueError("images are not finite: find those with NaN or infinity, and leave them out")
    for order in orders:
        checks.order(order, units_in(layers))
    with contexts.as_written():
        labels = checks.labels(labels, count, models.classes(model, example))
    parts |= {f"accuracy_{name}": group for name, group in groups.items()}
    members = torch.stack([*parts.values()]).double()  # (G, M)
    mine = slice(*ranks.bounds(len(labels), *ranks.place()))
    with ranks.together(), contexts.as_written():
        silenced = before_norms(layers) if in_front else layers
        pruned = _Pruned(model, silenced, images[mine], batch, repair_on) if len(labels[mine]) else None
        right = [_right(pruned, order, points, labels[mine].cpu(), members[:, mine]) for order in orders]
    accuracies = [(ranks.total(found) / members.sum(1)).T.tolist() for found in right]
    tables = [pandas.DataFrame(dict(zip(parts, accuracy, strict=True))) for accuracy in accuracies]
    whole = Footprint(model, example, layers)
    return [
        _with_what_is_left(table, order, points, whole, layers) for order, table in zip(orders, tables, strict=True)
    ]


def _with_what_is_left(table: pandas.DataFrame, order: Tensor, points: int, whole: Footprint, layers):
    """A table of accuracies as `curve` returns it."""
    numbers = steps(len(order), points)
    emptied = [sum(bool(off[unit.slice].all()) for unit in layers) for off in _off(order, numbers)]
    left = whole.remaining(order, numbers)
    table.insert(0, "pruned", numbers)
    return table.assign(emptied=emptied, macs=left["macs"], parameters=left["parameters"])


def _right(pruned: "_Pruned | None", order: Tensor, points: int, labels: Tensor, members: Tensor) -> Tensor:
    """How many of the images in each of the groups (G, M) are answered with their labels (M,): (points, G) float64."""
    if not len(labels):  # a rank without a share
        return members.new_zeros(points, len(members))
    right = pruned.classes(order, steps(len(order), points)) == labels
    return torch.stack([members @ point.double() for point in right])


def _off(order: Tensor, numbers: Iterable[int]) -> Iterator[Tensor]:
    """For every k in `numbers`, whether each unit (N,) is among the first k."""
    for k in numbers:
        off = torch.zeros(len(order), dtype=torch.bool)
        off[order[:k].cpu()] = True
        yield off


class _Pruned:
    """The model's answers with units off, repaired where there are images to repair it on; what is zero then is not
    computed, where that can be had."""

    def __init__(
        self, model: nn.Module, layers: Sequence[Unit], images: Tensor, batch: int | None, repair_on: Tensor | None
    ):
        self._model, self._layers, self._repair_on = model, layers, repair_on
        pixels = _PIXELS.get(models.place(model)[0].type, _PIXELS["cuda"])
        batch = batch or max(_FEWEST_IMAGES, pixels // images.shape[2:].numel())
        self._images, self._batch = images, batch
        self._whole = self._compact = None  # what the model answers with nothing off; the model without its zeros
        self._few = images[:0]  # on which the latter is held against masks: where the two differ most with nothing off
        if repair_on is not None:  # since its copy has merged BatchNorms, and of each network anew would be slower
            return
        with attempted():  # tracing runs the model's own code on stand-ins
            compact = Compact(model, layers, models.ready(model, images, 1))
            compact.switch_off(torch.zeros(units_in(layers), dtype=torch.bool))
            self._compact = compact

    def classes(self, order: Tensor, numbers: Sequence[int]) -> Tensor:
        """The classes (P, M) of the images without the first k units of `order`, for each k of `numbers`, of which the
        first is 0."""
        if self._whole is None:
            self._whole = self._with_nothing_off(order)
        together = max(1, _STORED // sum(parameter.nbytes for parameter in self._model.parameters()))
        parts = [numbers[start : start + together] for start in range(1, len(numbers), together)]
        return torch.cat([self._whole, *(self._classes(order, part) for part in parts)])

    @torch.no_grad()
    def _with_nothing_off(self, order: Tensor) -> Tensor:
        """The classes (1, M) that the model itself gives the images as they are. A compact network that answers any of
        them otherwise, as where tracing has lost a branch for few of them, is used no more."""
        classes, far = [], []
        with masked(self._model, order, 0, self._layers):
            for part in self._images.split(self._batch):
                part = models.ready(self._model, part)
                truth = models.answers(self._model, part)
                classes.append(models.largest(truth))
                far.append(self._far(part, truth))
        classes = models.known(classes)[None]
        if self._compact is not None:
            self._few = models.ready(self._model, models.furthest(self._images, torch.cat(far)))
            if not all(self._switches_off(order, [0])):
                self._compact = None
        return classes

    def _far(self, images: Tensor, truth: Tensor) -> Tensor:
        """How far the compact network's logits for these images are from the true ones, (M,)."""
        if self._compact is not None:
            with attempted():
                return models.distance(self._compact(images)[0], truth)
            self._compact = None
        return truth.new_zeros(len(truth))

    def _classes(self, order: Tensor, numbers: Sequence[int]) -> Tensor:
        right = self._switches_off(order, numbers) if self._compact else [False] * len(numbers)
        if not right:  # one of them is to blame
            return torch.cat([self._classes(order, [k]) for k in numbers])
        compact = self._compactly() if any(right) else numbers
        each = zip(numbers, right, compact, strict=True)
        # What is not finite here need not be so by masks; if it is, that is said there.
        return torch.stack(
            [found if is_right and (found >= 0).all() else self._by_masks(order, k) for k, is_right, found in each]
        )

    def _switches_off(self, order: Tensor, numbers: Sequence[int]) -> list[bool]:
        """For each k of `numbers`, whether the compact network without the first k units gives a few images the logits
        of a masked one; nothing where several of them fail."""
        truth = []
        with torch.no_grad(), contexts.full_precision():
            for k in numbers:
                with masked(self._model, order, k, self._layers):
                    truth.append(self._model(self._few))
            with attempted():
                self._compact.switch_off(*_off(order, numbers))
                return [alike(*both) for both in zip(self._compact(self._few), truth, strict=True)]
        return [] if len(numbers) > 1 else [False]

    @torch.no_grad()
    def _compactly(self) -> Tensor:
        """The classes (P, M) by the compact network, as `models.largest`."""
        parts = [models.ready(self._model, part) for part in self._images.split(self._batch)]
        return torch.cat([models.largest(models.run(self._compact, part)).cpu() for part in parts], 1)

    def _by_masks(self, order: Tensor, k: int) -> Tensor:
        """The classes (M,) of a masked network, repaired where that is asked for."""
        how = {"batch": self._batch, "repair_on": self._repair_on}
        return predicted(self._model, order, k, self._images, self._layers, **how)


def auc(pruned: Sequence[float], accuracy: Sequence[float]) -> float:
    """Mean accuracy under a curve: its trapezoid area over the units pruned, divided by their range."""
    pruned, accuracy = numpy.asarray(pruned, float), numpy.asarray(accuracy, float)
    return float(numpy.trapezoid(accuracy, pruned) / (pruned[-1] - pruned[0]))


def accuracy_at(
    gone: Sequence[float], accuracy: Sequence[float], wanted: Sequence[float], beyond: float | None = None
) -> numpy.ndarray:
    """The accuracy of a curve where as much as `wanted` (W,) is gone: (W,), in a line between two points, and of
    several points where the same is gone that of the first.

    Arguments:
        gone: at every point, in the unit of `wanted`, never falling; the same where units go that cost nothing any
            more.
        beyond: what is said where the curve has ended; without it the accuracy at its end.
    """
    gone, accuracy, wanted = (numpy.asarray(values, float) for values in (gone, accuracy, wanted))
    same = abs(wanted[:, None] - gone) < _SAME
    between = numpy.interp(wanted, gone, accuracy, right=beyond)
    return numpy.where(same.any(1), accuracy[same.argmax(1)], between)


def summarise(points: pandas.DataFrame, total: int) -> Mapping[str, float]:
    """A curve of `curve` in numbers: auc, auc_relative (to the unpruned accuracy), and accuracy_10pct, _25pct, _50pct.

    The same accuracies with as large a share of the multiply-adds or parameters gone (accuracy_macs_10pct, ...;
    NaN where the curve ends before), where the curve says how many are left, and auc_relative_macs, _parameters: over
    the first quarter of them that goes, relative to the unpruned accuracy.

    For every group of images that has an accuracy_<name>, also auc_relative_<name>, relative to that group's own
    unpruned accuracy.

    Arguments:
        total: N, the number of all units; accuracies between two points are interpolated.
    """
    if int(points["pruned"].iloc[-1]) != total // 2:
        ends = int(points["pruned"].iloc[-1])
        raise ValueError(f"the curve ends with {ends} units off, which is not half of total={total}: give all N units")
    area, unpruned = auc(points["pruned"], points["accuracy"]), float(points["accuracy"].iloc[0])
    relative = {
        name.replace("accuracy", "auc_relative"): auc(points["pruned"], values) / values.iloc[0]
        if values.iloc[0]
        else numpy.nan
        for name, values in points.items()
        if name.startswith("accuracy") and values.notna().all()
    }
    paths = {"": points["pruned"] / total} | {f"{name}_": 1 - points[name] for name in RESOURCES if name in points}
    at = {}
    for what, gone in paths.items():
        beyond = numpy.nan if what else None  # a curve ends at half of all units, or half a unit before
        found = accuracy_at(gone, points["accuracy"], SHARES, beyond)
        at |= {f"accuracy_{what}{100 * share:.0f}pct": float(x) for share, x in zip(SHARES, found, strict=True)}
        if what and unpruned:
            before, end = gone < QUARTER, accuracy_at(gone, points["accuracy"], [QUARTER], beyond)
            path = numpy.append(points["accuracy"][before], end)
            relative[f"auc_relative_{what[:-1]}"] = auc(numpy.append(gone[before], QUARTER), path) / unpruned
    return {"accuracy_unpruned": unpruned, "auc": area, **relative, **at}
