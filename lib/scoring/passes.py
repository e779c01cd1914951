"""Passes that give the contributions of every unit: forward once, and back as often as there are cotangents.

Enters: a model, its units and images. Leaves: a `Pass`, with its logits, which can send any number of cotangents back
to contributions (M, N); and the quickest `Way` of having one, on a copy of the model that gives the same.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lib.network import models
from lib.network.detached import cut, refuse_cut_gradients
from lib.network.folding import folded
from lib.network.lean import Lean
from lib.network.single import Plain
from lib.network.taps import Tap, Unit, tapped, units_in
from lib.scoring.demands import Demands
from lib.scoring.derivatives import derivatives, differentiable


class Pass:
    """One forward pass with every tap watched; can send any number of cotangents back.

    Arguments:
        kinds: the forms in which contributions are wanted, as `criteria.Reduction.rows` names them.
        lean: whether the pass is to hold as little as `lean` allows.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Unit], images: Tensor, kinds: set[str], *, lean: bool):
        self.layers, self._model, self._kinds, self._leaves, self._rows = layers, model, kinds, [], {}
        self._shape = len(images), units_in(layers)
        with tapped(model, layers, self._watch), Plain(), Lean() if lean else nullcontext():
            self._graph = differentiable(models.answers(model, images))
        self.logits = self._graph.detach()

    def send_back(self, vectors: Tensor, *, last: bool = False) -> dict[str, Tensor]:
        """Contributions (M, N) in float64 for the cotangents (M, K), in every form that was asked for; after the
        `last` ones, what was held for more of them is gone."""
        for kind in self._kinds:
            self._rows[kind] = torch.zeros(self._shape, dtype=torch.float64, device=vectors.device)
        vectors = vectors.to(self._graph)
        with tapped(self._model, self.layers, lambda *_: None):  # which notices what runs again
            derivatives(self._model, self._graph, self._leaves, vectors, retain_graph=not last)
        if "sq-pixel" in self._rows:
            self._rows["sq-pixel"].sqrt_()
        return dict(self._rows)

    def _watch(self, number: int, tap: Tap, value: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            raise ValueError(cut(self._model))
        if not value.requires_grad:
            value = value.detach().requires_grad_()
            self._leaves.append(value)
        kept, rows, here = value.detach(), self._rows, self.layers[number].slice
        value.register_hook(lambda delta: _reduce(rows, here, tap.axis, kept * delta))  # self here would never be freed
        return value.clone() if tap.overwritten else value


def _reduce(rows: dict[str, Tensor], here: slice, axis: int, product: Tensor) -> None:
    space = [other for other in range(1, product.ndim) if other != axis % product.ndim]
    for kind, total in rows.items():
        terms = {"sum": lambda p: p, "abs-pixel": torch.abs, "sq-pixel": torch.square}[kind](product)
        total[:, here] += terms.sum(space, dtype=torch.promote_types(terms.dtype, torch.float32)) if space else terms


@dataclass(frozen=True)
class Way:
    """A way of passing images: through a model or a copy of it, whose units are `layers`."""

    model: nn.Module
    layers: Sequence[Unit]
    kinds: set[str]
    lean: bool = False
    channels_last: bool = False  # as a copy is quickest

    def forward(self, images: Tensor) -> Pass:
        """A pass that gradients come back from."""
        return Pass(self.model, self.layers, self._laid_out(images), self.kinds, lean=self.lean)

    def answers(self, images: Tensor) -> Tensor:
        """The logits (M, K) of a pass that nothing is sent back through."""
        return models.answers(self.model, self._laid_out(images))

    def _laid_out(self, images: Tensor) -> Tensor:
        return models.channels_last(images) if self.channels_last else images


def quickest(model: nn.Module, layers: Sequence[Unit], example: Tensor, demands: Demands) -> Way:
    """The quickest way that works for the example, (1, ...): a lean one of the folded copy, a plain one, or one of the
    model itself.

    Raises ValueError where gradients are wanted and are cut off within the network. What PyTorch refuses here, such as
    where something overwrites what a function has taken in, is passed over: the model itself either does not do that,
    or does it again in the first pass that scores, and is told.
    """
    own = fast = Way(model, layers, demands.kinds)
    if demands.by_contributions or demands.activations:
        copy, taps = folded(model, layers, example)
        fast = Way(copy, taps, demands.kinds, channels_last=copy is not model)
    if not demands.gradients:
        return fast
    pair = example.repeat_interleave(2, 0)
    refuse_cut_gradients(model, layers, pair)
    for way in (replace(fast, lean=True), fast, own):
        try:
            passed = way.forward(pair)
            passed.send_back(torch.ones_like(passed.logits), last=True)
            return way
        except ValueError as error:
            if not isinstance(error.__cause__, RuntimeError):
                raise
    return own
