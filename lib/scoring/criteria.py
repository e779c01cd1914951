"""The criteria: what is sent back from the logits, how contributions are reduced to scores, and the notation for both.

Enters: a name in the paper's notation, `reduction[:cotangent[@P]][:norm|:batch|:score|:score-layer][:layer]`, such
as `sq:rand:norm`. Leaves: a `Criterion`, whose parts are entries of the literal tables below; adding one is one entry
and one test.

- no cotangent: the cross-entropy gradient with the true label
- `@P`: P cotangents per example, reduced one by one, then averaged
- `norm`: each cotangent divided by its L2 norm (arXiv 2310.20203)
- `batch`: divided by the mean norm over the minibatch
- `score`: each example's contributions divided by their L2 norm over all units; `score-layer`: within each layer
- `layer`: the final scores divided by their L2 norm within each layer
"""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lib.network import checks
from lib.scoring.noise import Noise
from lib.scoring.rivals import RIVALS

Vectors = Callable[[Tensor, Tensor | None, Noise], Tensor]  # (logits (M, K), labels (M,), noise) -> (M, K)

_PAPER = "Sapkota & Bhattarai 2023, arXiv 2310.20203"
_TAYLOR = "Molchanov et al. 2019, arXiv 1906.10771"


@dataclass(frozen=True)
class Reduction:
    """From contributions to scores: the mean over examples of `term(rows)`, then `final`.

    `rows` says which contributions: "sum" over space of x * delta, "abs-pixel" (sum of absolute values), "sq-pixel"
        (root of the sum of squares), or "weights" (gradient of the unit's weights; by minibatch only). With
        `per_minibatch` the rows of a minibatch are averaged before `term`. With `layer` the scores are always divided
        by their L2 norm within each layer.
    """

    term: Callable[[Tensor], Tensor]
    source: str
    rows: str = "sum"
    final: Callable[[Tensor], Tensor] = lambda mean: mean
    per_minibatch: bool = False
    layer: bool = False


REDUCTIONS: dict[str, Reduction] = {
    "taylorfo": Reduction(lambda s: s, _TAYLOR, final=torch.abs),
    "abs": Reduction(torch.abs, _PAPER),
    "sq": Reduction(torch.square, _PAPER),
    "signed": Reduction(lambda s: s, "this study"),
    "pos": Reduction(lambda s: s.clamp(min=0), "this study"),
    "neg": Reduction(lambda s: (-s).clamp(min=0), "this study"),
    "abs-pixel": Reduction(torch.abs, "this study", rows="abs-pixel"),
    "sq-pixel": Reduction(torch.square, "this study", rows="sq-pixel"),
    "molchanov2017": Reduction(torch.abs, "Molchanov et al. 2017, arXiv 1611.06440, eq. 8", layer=True),
    "molchanov-bn": Reduction(torch.square, _TAYLOR, per_minibatch=True),
    "molchanov-group": Reduction(torch.square, _TAYLOR, rows="weights", per_minibatch=True),
}


@dataclass(frozen=True)
class Cotangent:
    """What is sent back from the logits: `vectors(logits, labels, noise)`, (M, K) float64.

    With `family`, `vectors` takes the number of probes as well, None for all, and gives them together, (P, M, K).
    With `joint`, the root of the sum of squares over the probes takes the place of a single probe's contributions.
    """

    vectors: Callable[..., Tensor]
    source: str
    needs_labels: bool = False
    random: bool = False
    family: bool = False
    joint: bool = False


def label_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """softmax - onehot, (M, K); the label's entry as minus the sum of the others, which keeps its digits near 1."""
    others = functional.softmax(logits, 1).scatter(1, labels[:, None], 0.0)
    return others.scatter(1, labels[:, None], -others.sum(1, keepdim=True))


def _gaussian(logits: Tensor, noise: Noise) -> Tensor:
    return noise.normal(logits.shape[1]).to(logits.device)


def _random_at_label_length(logits: Tensor, labels: Tensor, noise: Noise) -> Tensor:
    return functional.normalize(_gaussian(logits, noise)) * label_gradient(logits, labels).norm(dim=1, keepdim=True)


def _sampled_label_gradient(logits: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
    cumulative = functional.softmax(logits, 1).cpu().cumsum(1)  # whose sums on CUDA differ from time to time
    drawn = (cumulative < noise.uniform(1)).sum(1).clamp(max=logits.shape[1] - 1)
    return label_gradient(logits, drawn.to(logits.device))


def _gauss_newton(logits: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
    p, g = functional.softmax(logits, 1), _gaussian(logits, noise)
    return p.sqrt() * g - p * (p.sqrt() * g).sum(1, keepdim=True)


def _every_onehot(logits: Tensor, labels: Tensor | None, noise: Noise, probes: int | None) -> Tensor:
    count, classes = logits.shape
    return torch.eye(classes, dtype=logits.dtype, device=logits.device)[:, None].expand(classes, count, classes)


def _orthonormal(logits: Tensor, labels: Tensor | None, noise: Noise, probes: int | None) -> Tensor:
    classes, probes = logits.shape[1], probes or 1
    if probes > classes:
        raise ValueError(f"orth@{probes}: there are only {classes} orthogonal directions among {classes} logits")
    columns = torch.stack([noise.normal(classes) for _ in range(probes)], 2)  # (M, K, P); fewer are the first of more
    q, r = torch.linalg.qr(columns)
    q = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]  # makes q uniform among all rotations
    return q.permute(2, 0, 1).to(logits.device)


COTANGENTS: dict[str, Cotangent] = {
    "label": Cotangent(lambda z, y, noise: label_gradient(z, y), _TAYLOR, needs_labels=True),
    "rand": Cotangent(lambda z, y, noise: _gaussian(z, noise), _PAPER, random=True),
    "rand-length": Cotangent(_random_at_label_length, _PAPER, needs_labels=True, random=True),
    "rand-sign": Cotangent(
        lambda z, y, noise: _gaussian(z, noise).abs() * label_gradient(z, y).sign(),
        "this study", needs_labels=True, random=True,
    ),
    "sign": Cotangent(lambda z, y, noise: noise.sign(z.shape[1]).to(z.device), "Hutchinson 1990", random=True),
    "pseudo": Cotangent(lambda z, y, noise: label_gradient(z, z.argmax(1)), "Lee 2013, pseudo-labels"),
    "sampled": Cotangent(_sampled_label_gradient, "true Fisher: Martens 2020, arXiv 1412.1193", random=True),
    "ggn": Cotangent(_gauss_newton, "Schraudolph 2002; Dangel et al. 2020, arXiv 1912.10985", random=True),
    "mas": Cotangent(lambda z, y, noise: z, "Aljundi et al. 2018, arXiv 1711.09601"),
    "top": Cotangent(lambda z, y, noise: functional.one_hot(z.argmax(1), z.shape[1]).to(z.dtype), "this study"),
    "exact": Cotangent(_every_onehot, "this study", family=True, joint=True),
    "orth": Cotangent(_orthonormal, "this study", random=True, family=True),
}  # fmt: skip

NORMALISATIONS = ("norm", "batch", "score", "score-layer")
_AFTER_REDUCTIONS = (*COTANGENTS, *NORMALISATIONS, "layer")


@dataclass(frozen=True)
class Criterion:
    """One way to score units; `cotangent` is a name in `COTANGENTS` or any callable (logits, labels, noise) -> (M, K).

    A rival that needs no gradient has its own name as `reduction` and nothing else but `layer`.

    Raises ValueError, listing what there is, where a part is unknown or does not go with the others.
    """

    reduction: str
    cotangent: str | Vectors = "label"
    probes: int = 1
    normalisation: str = ""
    layer: bool = False

    def __post_init__(self):
        _known("reduction", self.reduction, [*REDUCTIONS, *RIVALS])
        if not callable(self.cotangent):
            _known("cotangent", self.cotangent, COTANGENTS)
        if self.normalisation:
            _known("normalisation", self.normalisation, NORMALISATIONS)
        if self.reduction in RIVALS:
            _require((self.cotangent, self.probes, self.normalisation) == ("label", 1, ""),
                     f"{self.reduction} uses no gradient, so only :layer can follow it")  # fmt: skip
            return
        source = self.source
        checks.whole("probes", self.probes, 1)
        _require(self.probes == 1 or source.random, f"{self}: {self.cotangent} is not random, so it takes no @")
        _require(
            not source.joint or self.reduction in ("abs", "sq"), f"{self}: {self.cotangent} goes with abs and sq only"
        )
        by_example = REDUCTIONS[self.reduction].rows != "weights"
        _require(
            by_example or not (self.normalisation.startswith("score") or source.joint),
            f"{self}: {self.reduction} has no contributions per example to normalise",
        )

    @property
    def source(self) -> Cotangent:
        """The table's entry, or one made of the callable (taken as random, since it may use its noise)."""
        if callable(self.cotangent):
            return Cotangent(self.cotangent, "the caller", random=True)
        return COTANGENTS[self.cotangent]

    @property
    def needs_labels(self) -> bool:
        """Whether this criterion cannot be computed without labels."""
        return self.reduction in REDUCTIONS and self.source.needs_labels

    @property
    def adds_up(self) -> bool:
        """Whether scores estimate by how much the output, or the loss, changes without a unit, so that those of several
        say what goes with all of them, and can be set against what they cost. Where each layer is brought to one length
        they do not."""
        by_layer = self.layer or self.normalisation == "score-layer"
        return self.reduction in REDUCTIONS and not (by_layer or REDUCTIONS[self.reduction].layer)

    def __str__(self) -> str:
        """The name in the notation; `parse` of it gives the criterion back unless the cotangent is a callable."""
        cotangent = self.cotangent if isinstance(self.cotangent, str) else getattr(self.cotangent, "__name__", "custom")
        parts = [self.reduction]
        if cotangent != "label":
            parts.append(cotangent + (f"@{self.probes}" if self.probes > 1 else ""))
        return ":".join([*parts, *filter(None, [self.normalisation]), *["layer"] * self.layer])


def parse(name: str) -> Criterion:
    """The criterion that `name` stands for; raises ValueError naming the token that is unknown or out of place."""
    if not isinstance(name, str):
        raise ValueError(f"a criterion is a name, such as 'sq:rand:norm', or a Criterion, not {name!r}")
    reduction, *tokens = name.split(":")
    layer = tokens[-1:] == ["layer"]
    tokens = tokens[:-1] if layer else tokens
    normalisation = tokens.pop() if tokens and tokens[-1] in NORMALISATIONS else ""
    cotangent, probes = "label", 1
    if tokens:
        cotangent, probes = _split_probes(name, tokens.pop(0))
    if tokens:
        culprit = next((token for token in tokens if token not in _AFTER_REDUCTIONS), tokens[0])
        hint = _suggestion(culprit, _AFTER_REDUCTIONS)
        raise ValueError(f"criterion {name!r}: {culprit!r} is unknown or out of place{hint or ';'} the"
                         f" order is reduction[:cotangent[@P]][:{'|:'.join(NORMALISATIONS)}][:layer]")  # fmt: skip
    try:
        _known("token", cotangent, _AFTER_REDUCTIONS)
        return Criterion(reduction, cotangent, probes, normalisation, layer)
    except ValueError as error:
        raise ValueError(f"criterion {name!r}: {error}") from None


def _split_probes(name: str, token: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.*)@([0-9]+)", token)
    if "@" in token and not match:
        raise ValueError(f"criterion {name!r}: {token!r} must end in @ and a number of probes, such as rand@4")
    return (match[1], int(match[2])) if match else (token, 1)


def _known(kind: str, name: str, table: Iterable[str]) -> None:
    table = list(table)
    if name not in table:
        hint = _suggestion(str(name), table)
        raise ValueError(f"unknown {kind} {name!r}{hint or '.'} There are: {', '.join(table)}")


def _suggestion(name: str, table: Iterable[str]) -> str:
    """What may have been meant by a name that is none, in capitals or not."""
    close = [] if name in table else difflib.get_close_matches(name.lower(), table, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
