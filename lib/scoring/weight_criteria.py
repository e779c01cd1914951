"""Criteria by weights: gradients of each unit's own weights, averaged over a minibatch.

Enters: a model whose weights are parameters, its units and a minibatch. Leaves: the sums over examples behind each
criterion (N,), that minibatch's added.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lib.network import models
from lib.network.taps import Unit, tapped
from lib.scoring.cotangents import Answered
from lib.scoring.criteria import REDUCTIONS, Criterion
from lib.scoring.derivatives import derivatives, differentiable, requiring_grad
from lib.scoring.normalising import inverse, lengths_after
from lib.scoring.sums import Sums


class WeightPass:
    """One forward pass that gradients come back from to the weights of every layer that has units; to be made and used
    while `watched` is open."""

    def __init__(self, model: nn.Module, layers: Sequence[Unit], images: Tensor):
        self._model, self._modules = model, _modules(model, layers)
        self._graph = differentiable(models.answers(model, images))
        self.logits = self._graph.detach()

    def send_back(self, vectors: Tensor, term: Callable[[Tensor], Tensor]) -> Tensor:
        """For every unit (N,) the sum, over its weights, of `term` of weight x gradient, for the cotangents (M, K)."""
        parameters = _parameters(self._modules)
        found = derivatives(self._model, self._graph, parameters, vectors.to(self._graph.dtype), retain_graph=True)
        gradients = dict(zip(parameters, found, strict=True))
        return torch.cat([_sum_over_weights(module, gradients, term) for module in self._modules])


@contextmanager
def watched(model: nn.Module, layers: Sequence[Unit]) -> Iterator[None]:
    """While open, gradients flow to the weights of these layers, and it is noticed what runs again."""
    with requiring_grad(_parameters(_modules(model, layers))), tapped(model, layers, lambda *_: None):
        yield


def add(sums: Sums, groups: Sequence[Sequence[Criterion]], passed: WeightPass, batch: Answered) -> None:
    """Sends back what each of the `groups`, which share a source, asks for, and adds what comes of it to `sums`."""
    count = len(batch.logits)
    for criteria in groups:
        for probe, vectors in enumerate(batch.cotangents(criteria)):
            lengths = vectors.norm(dim=1)
            for criterion in (c for c in criteria if c.probes > probe):
                new = lengths_after(criterion.normalisation, lengths) * inverse(lengths) / count
                row = passed.send_back(vectors * new[:, None], REDUCTIONS[criterion.reduction].term)
                sums.add(criterion, probe, row * count)


def _modules(model: nn.Module, layers: Sequence[Unit]) -> list[nn.Module]:
    return [model.get_submodule(unit.name) for unit in layers]


def _parameters(modules: Sequence[nn.Module]) -> list[Tensor]:
    return [parameter for module in modules for parameter in _own(module)]


def _own(module: nn.Module) -> list[Tensor]:
    return [parameter for parameter in (module.weight, module.bias) if parameter is not None]


def _sum_over_weights(module: nn.Module, gradients: Mapping[Tensor, Tensor | None], term) -> Tensor:
    total = 0.0
    for parameter in _own(module):
        gradient = gradients[parameter]
        product = parameter.detach() * (torch.zeros_like(parameter) if gradient is None else gradient)
        terms = term(product.double())
        total = total + (terms.flatten(1).sum(1) if product.ndim > 1 else terms)
    return total
