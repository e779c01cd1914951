"""Criteria by weights: gradients of each unit's own weights, averaged over a minibatch.

Enters: a model whose weights are parameters, its units and a minibatch. Leaves: the sums over examples behind each
criterion (N,), that minibatch's added.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lib.network import models
from lib.network.layers import by_output
from lib.network.taps import Unit, tapped
from lib.scoring.cotangents import Answered
from lib.scoring.criteria import REDUCTIONS, Criterion
from lib.scoring.derivatives import derivatives, differentiable, requiring_grad
from lib.scoring.normalising import inverse, lengths_after
from lib.scoring.sums import Sums


class WeightPass:
    """A minibatch whose gradients come back to the weights of every layer that has units; to be made and used while
    `watched` is open.

    Arguments:
        at_once: how many of the images pass at a time; with fewer than all of them, they pass again for whatever is
            sent back, so that no more is held.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Unit], images: Tensor, at_once: int):
        self._model, self._modules, self._parts = model, _modules(model, layers), images.split(at_once)
        self._graph = differentiable(models.answers(model, images)) if len(self._parts) == 1 else None
        if self._graph is None:
            with torch.no_grad():
                self.logits = torch.cat([models.answers(model, part) for part in self._parts])
        else:
            self.logits = self._graph.detach()

    def send_back(self, vectors: Sequence[Tensor], terms: Sequence[Callable[[Tensor], Tensor]]) -> list[Tensor]:
        """For every unit (N,) the sum, over its weights, of a term of weight x gradient, for each of the cotangents,
        (M, K), and its term."""
        if self._graph is not None:
            return [
                self._row(self._gradients(self._graph, *of), term) for *of, term in zip(vectors, terms, strict=True)
            ]
        totals: list[list[Tensor] | None] = [None] * len(vectors)
        start = 0
        for part in self._parts:
            graph, end = differentiable(models.answers(self._model, part)), start + len(part)
            for number, vector in enumerate(vectors):
                found, before = self._gradients(graph, vector[start:end]), totals[number]
                totals[number] = found if before is None else [a.add_(b) for a, b in zip(before, found, strict=True)]
            del graph  # or the next part's would be held beside it
            start = end
        return [self._row(total, term) for total, term in zip(totals, terms, strict=True)]

    def _gradients(self, graph: Tensor, vector: Tensor) -> list[Tensor]:
        """Of the weights of all layers, by the logits in `graph`."""
        parameters = _parameters(self._modules)
        found = derivatives(self._model, graph, parameters, vector.to(graph.dtype), retain_graph=True)
        pairs = zip(parameters, found, strict=True)
        return [torch.zeros_like(parameter) if gradient is None else gradient for parameter, gradient in pairs]

    def _row(self, gradients: Sequence[Tensor], term: Callable[[Tensor], Tensor]) -> Tensor:
        by_parameter = dict(zip(_parameters(self._modules), gradients, strict=True))
        return torch.cat([_sum_over_weights(module, by_parameter, term) for module in self._modules])


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
            lengths, asked = vectors.norm(dim=1), [c for c in criteria if c.probes > probe]
            new = [lengths_after(c.normalisation, lengths) * inverse(lengths) / count for c in asked]
            terms = [REDUCTIONS[c.reduction].term for c in asked]
            rows = passed.send_back([vectors * each[:, None] for each in new], terms)
            for criterion, row in zip(asked, rows, strict=True):
                sums.add(criterion, probe, row * count)


def _modules(model: nn.Module, layers: Sequence[Unit]) -> list[nn.Module]:
    return [model.get_submodule(unit.name) for unit in layers]


def _parameters(modules: Sequence[nn.Module]) -> list[Tensor]:
    return [parameter for module in modules for parameter in _own(module)]


def _own(module: nn.Module) -> list[Tensor]:
    return [parameter for parameter in (module.weight, module.bias) if parameter is not None]


def _sum_over_weights(module: nn.Module, gradients: Mapping[Tensor, Tensor], term) -> Tensor:
    total = 0.0
    for parameter in _own(module):
        product = parameter.detach() * gradients[parameter]
        terms = term(product.double())
        total = total + (by_output(module, terms).flatten(1).sum(1) if product.ndim > 1 else terms)
    return total
