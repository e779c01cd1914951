"""The criteria that need no gradient: from weights alone, or from activations on unlabelled images.

Enters: a model, its units, an example (1, ...) and, for activations, forward passes to watch. Leaves: one score per
unit, float64 on the CPU, higher is more important. Each criterion is an entry of `RIVALS`, with its source; adding one
is one entry and one test.

*After the activation* means: a unit's tapped value put through the activation function that directly consumes it in
this network, with its own settings (found by running one example, whether the function is a module's or called by
itself); where none does, as before a residual sum, through ReLU.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from lib.network import copies, models
from lib.network.activations import ACTIVATIONS, GATES, straightened
from lib.network.functions import plain_name
from lib.network.layers import WITH_CHANNELS, by_output
from lib.network.single import Plain
from lib.network.taps import Tap, Unit, along, tapped, units_in
from lib.scoring.noise import Noise

_STREAM = 1 << 32  # of `random`: far from those of cotangents, which count probes
_CHUNK = 32  # examples at a time in `chip`, to bound its memory
_STEP, _SPAN = 0.5, 20.0  # of the integral in `chip`: log(x / largest singular value) from -20 to 20


@dataclass(frozen=True)
class Rival:
    """A criterion without gradient: its source, and one of two functions.

    `weights(model, layers, example, seed)` gives the scores (N,). `activations(maps, pivot)` gives, of a layer's
    activations (M, C, H, W), 1 x 1 for linear layers, float64 terms (M, C) or several, (k, M, C), whose means over
    examples `final` turns into scores; `pivot` (C, 1, 1) is some typical value of each unit. A layer used twice counts
    as twice the examples.
    """

    source: str
    weights: Callable[[nn.Module, Sequence[Unit], Tensor, int], Tensor] | None = None
    activations: Callable[[Tensor, Tensor], Tensor] | None = None
    final: Callable[[Tensor], Tensor] = lambda mean: mean


# ---- from weights --------------------------------------------------------------------------------------------------


def _random(model: nn.Module, layers: Sequence[Unit], example: Tensor, seed: int) -> Tensor:
    return Noise(seed, torch.arange(units_in(layers)), _STREAM).uniform(1)[:, 0]


def _in_each_layer(measure: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Sequence[Unit], Tensor, int], Tensor]:
    """`measure` takes the flattened weights of a layer, a row per unit."""

    def scores(model: nn.Module, layers: Sequence[Unit], example: Tensor, seed: int) -> Tensor:
        found = [model.get_submodule(unit.name) for unit in layers]
        weights = [by_output(layer, layer.weight.detach().double()) for layer in found]
        return torch.cat([measure(weight.flatten(1)).cpu() for weight in weights])

    return scores


def _sum_of_distances(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(0)  # by way of products, 100 times faster, what they have in common would cost digits
    return torch.cdist(centred, centred, compute_mode="use_mm_for_euclid_dist").fill_diagonal_(0).sum(1)


def _share_of_those_not_smaller(rows: Tensor) -> Tensor:
    ordered, places = rows.square().sum(1).sort(stable=True)
    not_smaller = ordered.flip(0).cumsum(0).flip(0)
    return torch.empty_like(ordered).scatter(0, places, ordered / not_smaller.where(not_smaller > 0, 1.0))


def _bn_scale(model: nn.Module, layers: Sequence[Unit], example: Tensor, seed: int) -> Tensor:
    gammas = [model.get_submodule(unit.norm).weight if unit.norm else None for unit in layers]
    return torch.cat([
        torch.ones(unit.size, dtype=torch.float64) if gamma is None else gamma.detach().double().abs().cpu()
        for unit, gamma in zip(layers, gammas, strict=True)
    ])  # fmt: skip


def _synflow(model: nn.Module, layers: Sequence[Unit], example: Tensor, seed: int) -> Tensor:
    """The derivative, along a gate on each unit, of the sum of logits R of a positive copy, for an input of ones.

    R is then the sum over paths from input to output of the product of their absolute weights, BatchNorm's gamma being
    one of them. Biases go the way of beta: to zero, since no path from the input passes through them; so the scores of
    a layer that all paths cross add up to R. Activation functions act as the identity, which ReLU is on positive
    values; else ReLU6 would stop the flow. Sigmoid gates stay what they are: wide open, so that layers behind score 0.
    """
    with torch.inference_mode(False), torch.enable_grad():
        network = _positive_copy(model)
        ones = torch.ones_like(example, dtype=torch.float64)
        gates = [ones.new_ones(unit.size).requires_grad_() for unit in layers]
        gated = tapped(network, list(layers), lambda n, tap, value: value * along(gates[n], tap.axis, value))
        with gated, Plain(), _WithoutActivations():
            flow = models.answers(network, ones).sum()
        return torch.cat(torch.autograd.grad(flow, gates, materialize_grads=True)).cpu()


@torch.no_grad()
def _positive_copy(model: nn.Module) -> nn.Module:
    network = copies.copied(model).double()
    for parameter in network.parameters():
        parameter.abs_()
    for module in network.modules():
        if isinstance(module, WITH_CHANNELS) and module.bias is not None:
            module.bias.zero_()
        if isinstance(module, _BatchNorm):
            module.running_mean.zero_()
            module.running_var.fill_(1 - module.eps)  # to which BatchNorm adds eps
    return network


class _WithoutActivations(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if args and plain_name(function) in ACTIVATIONS - GATES:
            return straightened(function, args, kwargs or {})
        return function(*args, **(kwargs or {}))


# ---- from activations ----------------------------------------------------------------------------------------------


def _share_positive(maps: Tensor, pivot: Tensor) -> Tensor:
    return (maps > 0).mean((2, 3), dtype=torch.float64)


def _mean_over_space(maps: Tensor, pivot: Tensor) -> Tensor:
    return maps.mean((2, 3), dtype=torch.float64)


def _moments(maps: Tensor, pivot: Tensor) -> Tensor:
    shifted = maps - pivot  # so that a small deviation around a large mean keeps its digits
    return torch.stack([_mean_over_space(shifted, pivot), _mean_over_space(shifted.square(), pivot)])


def _deviation(moments: Tensor) -> Tensor:
    return (moments[1] - moments[0].square()).clamp(min=0).sqrt()


def _rank(maps: Tensor, pivot: Tensor) -> Tensor:
    """Singular values above the largest x max(H, W) x the precision of the network's type count, as in the paper."""
    return torch.linalg.matrix_rank(_for_lapack(maps)).double()


def _independence(maps: Tensor, pivot: Tensor) -> Tensor:
    return torch.cat([_nuclear_norm_lost(part.flatten(2).double()) for part in _for_lapack(maps).split(_CHUNK)])


def _nuclear_norm_lost(rows: Tensor) -> Tensor:
    """By how much the nuclear norms of the matrices A (M, C, HW) fall with each row in turn set to zero: (M, C).

    The nuclear norm is 1/pi times the integral over x > 0 of log det(1 + A A^T / x^2), since that of
    log(1 + s^2 / x^2) is pi s. Without row a the determinant is 1 - l(x) times as large, l(x) = a^T (A^T A + x^2)^-1 a;
    so what is lost is -1/pi times the integral of log(1 - l(x)): one eigendecomposition instead of C. By the trapezoid
    rule in log x it is within 1e-7 of the largest singular value: the rule's error falls as exp(-pi^2 / step), the ends
    that are cut off hold 1e-8, and 1 - l(x) has no digits left where x is below 1e-8 of the largest.
    """
    flat = rows.shape[1] <= rows.shape[2]
    squares, vectors = torch.linalg.eigh(rows @ rows.mT if flat else rows.mT @ rows)  # of the singular values
    squares = squares.clamp(min=0)[:, :, None]
    parts = vectors.square() * squares.mT if flat else (rows @ vectors).square()  # (M, C, min(C, HW))
    largest = squares[:, -1:].sqrt()
    nodes = torch.arange(-_SPAN, _SPAN, _STEP, dtype=rows.dtype, device=rows.device).exp()
    x = largest.where(largest > 0, 1.0) * nodes  # (M, 1, nodes)
    leverage = parts @ (squares + x.square()).reciprocal()  # (M, C, nodes)
    integrals = (torch.log1p(-leverage.clamp(max=1 - torch.finfo(rows.dtype).eps)) * x).sum(2) * _STEP
    return (-integrals / math.pi).where(rows.any(2), 0.0)


def _for_lapack(maps: Tensor) -> Tensor:
    return maps.nan_to_num()  # it would stop here; whoever scores sees that the logits are not finite, and says so


class Activations:
    """What the rivals `names` make of every unit's activations, summed over the examples of forward passes it watches.

    `sums` (name -> (..., N) float64) add up over examples and take the same memory whatever their number.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Unit], example: Tensor, names: Iterable[str]):
        self.names, self.sums = tuple(dict.fromkeys(names)), {}
        self._model, self._layers, self._pivots = model, list(layers), {}
        if self.names:
            self._after = _activations_after(model, self._layers, example)
            with torch.no_grad(), tapped(model, self._layers, self._set_pivot):
                model(example)

    def watching(self) -> AbstractContextManager:
        """While open, forward passes of the model are added to `sums`; tapped values are read, not replaced."""
        return tapped(self._model, self._layers, self._add) if self.names else nullcontext()

    def score(self, name: str, count: int) -> Tensor:
        """The scores (N,) by the rival `name` after `count` examples, on the CPU."""
        uses = torch.cat([torch.full((unit.size,), len(unit.taps)) for unit in self._layers])
        return RIVALS[name].final(self.sums[name].cpu() / (count * uses))

    @torch.no_grad()
    def _add(self, number: int, tap: Tap, value: Tensor) -> None:
        self._add_maps(number, self._maps(tap, value))

    def _add_maps(self, number: int, maps: Tensor) -> None:
        for name in self.names:
            terms = RIVALS[name].activations(maps, self._pivots[number]).sum(-2)
            if name not in self.sums:
                self.sums[name] = terms.new_zeros(*terms.shape[:-1], units_in(self._layers))
            self.sums[name][..., self._layers[number].slice] += terms

    def _set_pivot(self, number: int, tap: Tap, value: Tensor) -> None:
        maps = self._maps(tap, value)
        self._pivots.setdefault(number, maps[0].mean((1, 2), keepdim=True))
        self._add_maps(number, maps[:0])  # of no examples: sums have their shapes before there are any

    def _maps(self, tap: Tap, value: Tensor) -> Tensor:
        value = self._after[tap](value.detach().clone()).movedim(tap.axis, 1)  # some activation functions overwrite it
        height = value.shape[2] if value.ndim > 2 else 1
        return value.reshape(*value.shape[:2], height, -1).to(torch.promote_types(value.dtype, torch.float32))


@torch.no_grad()
def _activations_after(
    model: nn.Module, layers: Sequence[Unit], example: Tensor
) -> dict[Tap, Callable[[Tensor], Tensor]]:
    watch = _ActivationsWatched()
    with tapped(model, list(layers), watch.tap), watch:
        model(example)
    return watch.after


class _ActivationsWatched(TorchFunctionMode):
    """Notes for each tap which activation function takes its value as it is; ReLU until one does."""

    def __init__(self):
        super().__init__()
        self.after: dict[Tap, Callable[[Tensor], Tensor]] = {}
        self._tapped: dict[object, tuple[Tap, Tensor, int]] = {}

    def tap(self, number: int, tap: Tap, value: Tensor) -> None:
        self.after[tap] = functional.relu
        name = _place(value) if tap.folded else id(value)  # for what is seen of folded rows is a view
        self._tapped[name] = tap, value, value._version  # holding the value keeps its id and place taken

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if args and plain_name(function) in ACTIVATIONS:
            tap, value, version = self._tapped.get(id(args[0])) or self._tapped.get(_place(args[0]), (None, None, 0))
            if value is not None and value._version == version:
                self.after[tap] = lambda new, rest=args[1:]: function(new, *rest, **kwargs)
        return function(*args, **kwargs)


def _place(value: object) -> tuple[int, int] | None:
    return (value.data_ptr(), value.numel()) if type(value) is Tensor else None


RIVALS: dict[str, Rival] = {
    "random": Rival("chance", _random),
    "l1": Rival("Li et al. 2017, arXiv 1608.08710", _in_each_layer(lambda rows: rows.norm(1, dim=1))),
    "l2": Rival("Li et al. 2017, arXiv 1608.08710, with the L2 norm", _in_each_layer(lambda rows: rows.norm(2, dim=1))),
    "bn-scale": Rival("Liu et al. 2017, arXiv 1708.06519", _bn_scale),
    "fpgm": Rival("He et al. 2019, arXiv 1811.00250", _in_each_layer(_sum_of_distances)),
    "lamp": Rival("Lee et al. 2021, arXiv 2010.07611", _in_each_layer(_share_of_those_not_smaller)),
    "synflow": Rival("Tanaka et al. 2020, arXiv 2006.05467", _synflow),
    "apoz": Rival("Hu et al. 2016, arXiv 1607.03250, one minus theirs", activations=_share_positive),
    "act-mean": Rival("Molchanov et al. 2017, arXiv 1611.06440, section 2.2", activations=_mean_over_space),
    "act-std": Rival("Molchanov et al. 2017, arXiv 1611.06440, section 2.2", activations=_moments, final=_deviation),
    "hrank": Rival("Lin et al. 2020, arXiv 2002.10179", activations=_rank),
    "chip": Rival("Sui et al. 2021, arXiv 2110.13981", activations=_independence),
}

WEIGHT_RIVALS = tuple(name for name, rival in RIVALS.items() if rival.weights)  # need no examples
