"""Importance scores the slow, obvious way: one example at a time, a gate of ones at every tap, plain Python sums.

The specification that `lib.importance` is held against. Only the random numbers themselves come from `lib`.
"""

from functools import lru_cache
from itertools import pairwise
from math import fsum, sqrt

import torch

from lib.scoring.noise import Noise

MINIBATCH = 128


def _label(z, y):
    return z.softmax(0) - torch.nn.functional.one_hot(y, len(z))


def _sampled(z, u):
    below = 0.0
    for k, probability in enumerate(z.softmax(0)):
        below += probability
        if u <= below:
            return _label(z, torch.tensor(k))


def _ggn(z, g):
    p = z.softmax(0)
    return (torch.diag(p.sqrt()) - torch.outer(p, p.sqrt())) @ g


def _gram_schmidt(noise, classes, probe):
    basis = []
    for _ in range(probe + 1):
        g = noise.normal(classes)[0]
        for earlier in basis:
            g = g - (g @ earlier) * earlier
        basis.append(g / g.norm())
    return basis[probe]


# (logits (K,), label, noise of this example alone, number of the probe) -> (K,)
COTANGENTS = {
    "label": lambda z, y, noise, probe: _label(z, y),
    "rand": lambda z, y, noise, probe: noise.normal(len(z))[0],
    "rand-length": lambda z, y, noise, probe: (g := noise.normal(len(z))[0]) / g.norm() * _label(z, y).norm(),
    "rand-sign": lambda z, y, noise, probe: noise.normal(len(z))[0].abs() * _label(z, y).sign(),
    "sign": lambda z, y, noise, probe: noise.sign(len(z))[0],
    "pseudo": lambda z, y, noise, probe: _label(z, z.argmax()),
    "sampled": lambda z, y, noise, probe: _sampled(z, noise.uniform(1)[0, 0]),
    "ggn": lambda z, y, noise, probe: _ggn(z, noise.normal(len(z))[0]),
    "mas": lambda z, y, noise, probe: z,
    "top": lambda z, y, noise, probe: torch.eye(len(z), dtype=z.dtype)[z.argmax()],
    "exact": lambda z, y, noise, probe: torch.eye(len(z), dtype=z.dtype)[probe],
    "orth": lambda z, y, noise, probe: _gram_schmidt(noise, len(z), probe),
}


def _mean(values):
    return fsum(values) / len(values)


def _over_minibatches(values):
    parts = [values[i : i + MINIBATCH] for i in range(0, len(values), MINIBATCH)]
    return fsum(len(part) / len(values) * _mean(part) ** 2 for part in parts)


# (which contributions, one unit's values over the examples -> its score)
REDUCTIONS = {
    "taylorfo": ("sum", lambda s: abs(_mean(s))),
    "abs": ("sum", lambda s: _mean([abs(x) for x in s])),
    "sq": ("sum", lambda s: _mean([x * x for x in s])),
    "signed": ("sum", _mean),
    "pos": ("sum", lambda s: _mean([max(x, 0) for x in s])),
    "neg": ("sum", lambda s: _mean([max(-x, 0) for x in s])),
    "abs-pixel": ("abs-pixel", _mean),
    "sq-pixel": ("sq-pixel", _mean),
    "molchanov2017": ("mean", lambda s: _mean([abs(x) for x in s])),
    "molchanov-bn": ("sum", _over_minibatches),
}


class Reference:
    """The scores of `model` on `images` and `labels`; `gated(image, gate)` is its forward pass with every tap gated."""

    def __init__(self, model, images, labels, gated=None, seed=0):
        self.model, self.images, self.labels, self.seed = model, images, labels, seed
        self.passes = [self._forward(gated or model.gated, image[None]) for image in images]
        first = {number: value for number, value, _ in reversed(self.passes[0][1])}
        self.sizes = [first[number].shape[_axis(first[number])] for number in sorted(first)]
        self._vectors, self._contributions = lru_cache(None)(self._vectors), lru_cache(None)(self._contributions)

    def score(self, reduction, cotangent="label", probes=1, normalisation="", layer=False):
        """One float per unit."""
        if cotangent == "exact":
            scores = self._exact(reduction, normalisation)
        else:
            given = range(probes)
            scores = [
                _mean(column)
                for column in zip(*(self._one(reduction, cotangent, p, normalisation) for p in given), strict=True)
            ]
        return self._by_layer(scores) if layer or reduction == "molchanov2017" else scores

    def _one(self, reduction, cotangent, probe, normalisation):
        vectors = self._vectors(cotangent, probe, normalisation)
        if reduction == "molchanov-group":
            return self._group(vectors)
        kind, reduce = REDUCTIONS[reduction]
        rows = self._contributions(cotangent, probe, normalisation if normalisation in ("norm", "batch") else "")
        power = 2 if kind == "sq-pixel" else 1  # it is a sum of squares already
        rows = [self._divided(row[kind], row["sum"], normalisation, power) for row in rows]
        return [reduce(column) for column in zip(*rows, strict=True)]

    def _exact(self, reduction, normalisation):
        """Per example the root of the sum over all K one-hot vectors, which all have length one."""
        per_class = [self._contributions("exact", k, "") for k in range(len(self.passes[0][0]))]
        rows = []
        for classes in zip(*per_class, strict=True):  # of one example
            units = zip(*(row["sum"] for row in classes), strict=True)
            rows.append([sqrt(fsum(s * s for s in unit)) for unit in units])
        rows = [self._divided(row, row, normalisation) for row in rows]
        return [REDUCTIONS[reduction][1](column) for column in zip(*rows, strict=True)]

    @staticmethod
    def _forward(gated, image):
        uses = []

        def gate(number, value):
            ones = torch.ones_like(value).requires_grad_()
            uses.append((number, value.detach(), ones))
            return value * ones

        return gated(image, gate)[0], uses

    def _vectors(self, cotangent, probe, normalisation):
        stream = 0 if cotangent == "orth" else probe
        noises = [Noise(self.seed, torch.tensor([index]), stream) for index in range(len(self.images))]
        each = zip(self.passes, self.labels, noises, strict=True)
        vectors = [COTANGENTS[cotangent](z.detach(), y, noise, probe) for (z, _), y, noise in each]
        lengths = [v.norm().item() for v in vectors]
        if normalisation == "batch":
            parts = [lengths[i : i + MINIBATCH] for i in range(0, len(lengths), MINIBATCH)]
            lengths = [_mean(part) for part in parts for _ in part]
        if normalisation in ("norm", "batch"):
            return [v / length for v, length in zip(vectors, lengths, strict=True)]
        return vectors

    def _contributions(self, cotangent, probe, normalisation):
        """For every example, by kind: one float per unit."""
        vectors = self._vectors(cotangent, probe, normalisation)
        return [self._send_back(z @ v, uses) for (z, uses), v in zip(self.passes, vectors, strict=True)]

    def _send_back(self, scalar, uses):
        products = torch.autograd.grad(scalar, [ones for *_, ones in uses], retain_graph=True)
        layers = [{kind: [0.0] * size for kind in ("sum", "mean", "abs-pixel", "sq-pixel")} for size in self.sizes]
        for (number, value, _), product in zip(uses, products, strict=True):
            for c, positions in enumerate(product.movedim(_axis(value), 0).flatten(1).tolist()):
                layers[number]["sum"][c] += fsum(positions)
                layers[number]["mean"][c] += _mean(positions)
                layers[number]["abs-pixel"][c] += fsum(abs(x) for x in positions)
                layers[number]["sq-pixel"][c] += fsum(x * x for x in positions)
        return {kind: [x for layer in layers for x in layer[kind]] for kind in layers[0]}

    def _divided(self, row, by, normalisation, power=1):
        if not normalisation.startswith("score"):
            return row
        ends = (
            [sum(self.sizes[:i]) for i in range(len(self.sizes) + 1)]
            if normalisation == "score-layer"
            else [0, len(row)]
        )
        parts = [slice(*pair) for pair in pairwise(ends)]
        lengths = [sqrt(fsum(x * x for x in by[part])) for part in parts]
        return [x / (length or 1) ** power for part, length in zip(parts, lengths, strict=True) for x in row[part]]

    def _by_layer(self, scores):
        return self._divided(scores, scores, "score-layer")

    def _group(self, vectors):
        """`loss.backward()` on every minibatch of 32, then (weight x .grad)^2 summed over each unit's weights."""
        total = 0
        for start in range(0, len(vectors), MINIBATCH):
            part = vectors[start : start + MINIBATCH]
            self.model.zero_grad()
            logits = self.model(self.images[start : start + MINIBATCH])
            ((logits * torch.stack(part)).sum() / len(part)).backward()
            total += len(part) / len(vectors) * group_of_gradients(self.model)
        self.model.zero_grad()
        return total.tolist()


def group_of_gradients(model):
    """(w x w.grad)^2 summed over each unit's weights, plus its bias's."""
    total = []
    for module in (model.get_submodule(name) for name, *_ in model.UNITS):
        bias = (module.bias * module.bias.grad) ** 2 if module.bias is not None else 0.0
        squares = (module.weight * module.weight.grad).square()
        rows = [squares[place].sum() for place in weights_of_outputs(module)]
        total.append(torch.stack(rows) + bias)
    return torch.cat(total).detach()


def weights_of_outputs(module):
    """For each output of a layer, one after the other, where its weights are in the layer's weight."""
    if not getattr(module, "transposed", False):
        return [(o,) for o in range(len(module.weight))]
    inputs, outputs = module.in_channels // module.groups, module.out_channels // module.groups
    return [(slice(g * inputs, (g + 1) * inputs), o) for g in range(module.groups) for o in range(outputs)]


def _axis(value):
    return 1 if value.ndim == 4 else -1
