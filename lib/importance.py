"""Importance scores: how much each unit of a trained network matters, by many criteria at once.

Enters: a model in eval mode, batches of images, the names of criteria. Leaves: one score per unit and criterion. For
every example n and unit c the contribution s_nc, the sum over space of x * delta with delta the derivative of v_n
. logits at the unit's tap, is exact for each example although a whole batch is sent back at once, because in eval
mode examples do not influence each other (Sapkota & Bhattarai 2023, arXiv 2310.20203; Molchanov et al. 2019,
arXiv 1906.10771).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from lib import checks, models, ranks
from lib.criteria import REDUCTIONS, Criterion, parse
from lib.detached import cut, refuse_cut_gradients
from lib.folding import folded
from lib.lean import Lean
from lib.noise import MOST_SEED, Noise
from lib.rivals import RIVALS, WEIGHT_RIVALS, Activations
from lib.units import Tap, Unit, tapped, units

__all__ = ["MINIBATCH", "Criterion", "Scoring", "Unit", "contributions", "parse", "score", "units"]

MINIBATCH = 128  # examples, for the criteria that average gradients over a minibatch first (see data/README.md)
PRECISIONS = ("float32", "bfloat16")

Batch = tuple[Tensor, Tensor | None] | tuple[Tensor, Tensor | None, Tensor]


def score(
    model: nn.Module,
    batches: Iterable[Batch],
    criteria: str | Criterion | Iterable[str | Criterion],
    *,
    seed: int = 0,
    precision: str = "float32",
    report: Callable[[int], object] = lambda examples: None,
) -> dict[str, Tensor]:
    """Scores every unit of `model` by every criterion: name -> (N,) float64 on the CPU, higher is more important.

    One forward pass a batch and one backward pass per distinct cotangent, whatever the number of criteria;
    `molchanov-group` adds a forward pass, and a backward pass per cotangent and normalisation. Criteria without
    gradient look at the same forward pass, or at weights and the first example alone. The model is left exactly as it
    was found, and so is global random state. Derivatives are those that the model's functions give: a straight-through
    one, say, is scored by the gradient that it pretends to have.

    Arguments:
        model: made of convolutions, linear layers and BatchNorm, in eval mode; from images (M, C, H, W) to logits (M,
            K).
        batches: tuples (images, labels (M,) or None) or (images, labels, indices (M,)). Without indices examples are
            counted from 0. For criteria that work on minibatches (`molchanov-bn`, `molchanov-group`, `:batch`)
            examples are regrouped into 32 consecutive ones by index, so indices must ascend; a list of batches is
            sorted where they do not. Under `torch.distributed` every rank is given the same ones, takes its share of
            them, whole minibatches, and returns the same scores; a stream that has a method `share`, such as that of
            `lib.images.folders`, reads each rank's share alone.
        seed: of all random vectors; the one for the example of index i depends on `seed` and i alone.
        precision: "bfloat16" has passes compute in it where autocast thinks it safe, with sums in float32 or more, as a
            GPU or CPU may be faster then; not those of `molchanov-group`. "float32" leaves the model's own as it is.
        report: called after every batch with how many examples have been seen, under `torch.distributed` by this rank.

    Raises ValueError for no criteria or an unknown one, an unknown precision or a seed that is none, batches of another
    form, images that the model does not take, missing or wrong labels, a model in training mode or without units, no
    examples, or logits or scores that are not finite, on every rank, whichever of them saw it; torch.OutOfMemoryError,
    a RuntimeError, for batches that are too large for the device.
    """
    if not callable(report):
        raise ValueError(f"report={report!r} must be a function of how many examples have been seen")
    with ranks.together():
        example, batches = _peeked(batches)
        scoring = Scoring(model, example, criteria, seed=seed, precision=precision)
        scoring.add(batches, lambda examples: report(scoring.count))
    return scoring.results()


@models.random_state_kept()
def contributions(model: nn.Module, images: Tensor, vectors: Tensor) -> Tensor:
    """The contributions (M, N), float64, of all units on the examples `images` (M, C, H, W) for the cotangents (M,
    K).

    Raises ValueError for cotangents of another shape than the logits or that are not finite, and as `score` does.
    """
    model = models.inside(model)
    with _frozen(model):
        images = models.ready(model, images)
        layers = units(model, images[:1])
        refuse_cut_gradients(model, layers, images[:2])
        passed = _Pass(model, layers, images, {"sum"}, lean=False)
        models.require_finite(passed.logits)
        return passed.send_back(checks.cotangents(vectors, passed.logits))["sum"]


class Scoring:
    """Scores in the making: what `score` does in one go, in steps that can be saved and gone on from.

    Accumulates, in float64 on the device, the sums over examples behind every criterion asked for.

    Arguments:
        example: one input, (1, C, H, W), that shows which units there are: the first one, and the same on every rank.

    The others, and what is raised, as for `score`.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        criteria: Iterable[str | Criterion],
        *,
        seed: int = 0,
        precision: str = "float32",
    ):
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
        self.seed, self._wanted = checks.whole("seed", seed, 0, MOST_SEED), _by_name(criteria)
        self.model = models.inside(model)
        self.device, _ = models.place(self.model)
        low = partial(torch.autocast, self.device.type, torch.bfloat16)
        self.casting = low if precision == "bfloat16" else nullcontext
        with _frozen(self.model), models.random_state_kept() as is_untouched:
            self.example = models.ready(self.model, example, 1).clone()  # or it would hold all its batch
            self.layers = units(self.model, self.example)
            self._plan(self._wanted.values())
            self.drawing = nullcontext if is_untouched() else models.random_state_kept

    def add(self, batches: Iterable[Batch], report: Callable[[int], object] = lambda examples: None) -> None:
        """Adds the examples of `batches`, as `score` takes them; under `torch.distributed` this rank's share.

        Where batches are added in several calls, all but the last are to be of whole minibatches, on every rank.

        Arguments:
            report: called with the number of examples after every batch.
        """
        if not self.needs_examples:
            return
        with _frozen(self.model):
            for images, labels, indices in ranks.mine(batches, MINIBATCH, self._in_order):
                with _memory_told(len(images)):
                    self._add(images, labels, indices)
                report(len(images))

    def state(self) -> Tensor:
        """All that is summed up so far, by this rank alone: (S,) float64 on the CPU."""
        counts = torch.stack([torch.tensor(self.count, device=self.device), ~self.finite]).double()
        return torch.cat([counts, *(total.flatten() for total in self._totals())]).cpu()

    def load(self, state: Tensor) -> None:
        """Goes on from a `state` of the same model, example and criteria. Raises ValueError where it cannot be one."""
        totals = self._totals()
        sizes = [total.numel() for total in totals]
        if state.shape != (2 + sum(sizes),) or state.dtype != torch.float64:
            raise ValueError(f"a state of {state.dtype} {tuple(state.shape)} is not of this scoring, which has "
                             f"{2 + sum(sizes)} float64 sums")  # fmt: skip
        self.count, self.finite = int(state[0]), (state[1] == 0).to(self.device)
        for total, values in zip(totals, state[2:].split(sizes), strict=True):
            total.copy_(values.view_as(total))

    def results(self) -> dict[str, Tensor]:
        """What `score` returns, of the examples that all ranks have added; every rank is to call it."""
        own = self.state()
        self.load(ranks.total(own))
        try:
            if self.needs_examples and not self.count:
                raise checks.none_in()
            return {name: self._result(criterion) for name, criterion in self._wanted.items()}
        finally:
            self.load(own)

    def _plan(self, criteria: Iterable[Criterion]) -> None:
        gradient = {replace(c, layer=False): None for c in criteria if c.reduction not in RIVALS}
        self.by_weights = _by_cotangent(c for c in gradient if REDUCTIONS[c.reduction].rows == "weights")
        self.by_rows = _by_cotangent(c for c in gradient if REDUCTIONS[c.reduction].rows != "weights")
        self.kinds = {REDUCTIONS[c.reduction].rows for group in self.by_rows.values() for c in group} | {"sum"}
        self.labelled = next((c for c in gradient if c.needs_labels), None)
        self.by_minibatch = any(_works_on_minibatches(c) for c in gradient)
        seen = [c.reduction for c in criteria if c.reduction in RIVALS and c.reduction not in WEIGHT_RIVALS]
        self.needs_examples = bool(gradient or seen)
        self.plain = models.with_plain_weights(self.model) if self.by_weights else self.model
        self.fast, self.taps = self.model, self.layers
        if self.by_rows or seen:
            self.fast, self.taps = folded(self.model, self.layers, self.example)
        self.lean = False
        if gradient:
            self._rehearse()
        self.activations = Activations(self.fast, self.taps, self.example.repeat_interleave(2, 0), seen)
        self.count, self.finite = 0, torch.ones((), dtype=torch.bool, device=self.device)
        size = sum(unit.size for unit in self.layers)
        self.sums = {
            (criterion, probe): torch.zeros(size, dtype=torch.float64, device=self.device)
            for criterion in gradient
            for probe in range(_probes(criterion))
        }

    def _rehearse(self) -> None:
        """Settles on the quickest way of passing that gradients come back from: a lean one of the folded copy, a plain
        one, or one of the model itself. Raises ValueError where gradients are cut off within the network.

        What PyTorch refuses here, such as where something overwrites what a function has taken in, is passed over: the
        model itself either does not do that, or does it again in the first pass that scores, and is told.
        """
        refuse_cut_gradients(self.model, self.layers, self.example.repeat_interleave(2, 0))
        copy, own = (self.fast, self.taps), (self.model, self.layers)
        for (self.fast, self.taps), self.lean in ((copy, True), (copy, False), (own, False)):
            try:
                passed = self._passed(self.example.repeat_interleave(2, 0))
                passed.send_back(torch.ones_like(passed.logits), last=True)
                return
            except ValueError as error:
                if not isinstance(error.__cause__, RuntimeError):
                    raise

    def _passed(self, images: Tensor) -> "_Pass":
        return _Pass(self.fast, self.taps, self._laid_out(images), self.kinds, lean=self.lean)

    def _laid_out(self, images: Tensor) -> Tensor:
        """As the copy is quickest."""
        return images if self.fast is self.model else models.channels_last(images)

    def _totals(self) -> list[Tensor]:
        return [*self.sums.values(), *self.activations.sums.values()]

    def _in_order(self, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        return _regrouped(_indexed(_ascending(batches))) if self.by_minibatch else _indexed(batches)

    def _add(self, images: Tensor, labels: Tensor | None, indices: Tensor) -> None:
        self.count += len(images)
        images = models.ready(self.model, images)
        with self.activations.watching():
            if self.by_rows:
                self._add_rows(images, labels, indices)
            elif self.activations.names:
                with self.drawing():
                    logits = models.answers(self.fast, self._laid_out(images))
                self._checked(logits, labels)
        if self.by_weights:
            parts = [None] * len(images) if labels is None else labels.split(MINIBATCH)
            for chunk, part, numbers in zip(images.split(MINIBATCH), parts, indices.split(MINIBATCH), strict=False):
                self._add_weight_gradients(chunk, part, numbers)

    def _result(self, criterion: Criterion) -> Tensor:
        if criterion.reduction in WEIGHT_RIVALS:
            with self.drawing():
                scores = RIVALS[criterion.reduction].weights(self.model, self.layers, self.example, self.seed)
        elif criterion.reduction in RIVALS:
            scores = self.activations.score(criterion.reduction, self.count)
        else:
            scores = self._mean_over_probes(replace(criterion, layer=False)).cpu()
        if not (self.finite and scores.isfinite().all()):
            raise ValueError(f"{criterion}: logits or scores are not finite; check the model's weights and its inputs")
        always = criterion.reduction in REDUCTIONS and REDUCTIONS[criterion.reduction].layer
        return _normalised_within(self.layers, scores) if criterion.layer or always else scores

    def _mean_over_probes(self, criterion: Criterion) -> Tensor:
        final, probes = REDUCTIONS[criterion.reduction].final, _probes(criterion)
        return sum(final(self.sums[criterion, probe] / self.count) for probe in range(probes)) / probes

    def _add_rows(self, images: Tensor, labels: Tensor | None, indices: Tensor) -> None:
        with self.casting(), self.drawing():
            passed = self._passed(images)
        logits, labels = self._checked(passed.logits, labels)
        *_, final = self.by_rows.values()
        for criteria in self.by_rows.values():
            drawn = self._cotangents(criteria, logits, labels, indices)
            if criteria[0].source.joint:
                self._add_scaled(
                    criteria, 0, _root_of_squares(passed, drawn), torch.ones(len(images), device=self.device)
                )
                continue
            for probe, vectors in enumerate(drawn):
                lengths = vectors.norm(dim=1)
                directions = vectors / lengths.where(lengths > 0, 1.0)[:, None]  # so that float32 never underflows
                last = criteria is final and probe + 1 == max(c.probes for c in criteria)
                rows = passed.send_back(directions, last=last)
                self._add_scaled([c for c in criteria if c.probes > probe], probe, rows, lengths)

    def _add_scaled(self, criteria: Sequence[Criterion], probe: int, rows: dict[str, Tensor], lengths: Tensor) -> None:
        scales = {name: self._scale(name, rows["sum"], lengths) for name in {c.normalisation for c in criteria}}
        scaled = {}
        for criterion in criteria:
            reduction, normalisation = REDUCTIONS[criterion.reduction], criterion.normalisation
            key = reduction.rows, normalisation
            if key not in scaled:
                scaled[key] = rows[reduction.rows] * scales[normalisation]
            if reduction.per_minibatch:
                parts = scaled[key].split(MINIBATCH)
                total = sum(len(part) * reduction.term(part.mean(0)) for part in parts)
            else:
                total = reduction.term(scaled[key]).sum(0)
            self.sums[criterion, probe] += total

    def _scale(self, normalisation: str, s: Tensor, lengths: Tensor) -> Tensor:
        """What the contributions (M, N) of cotangents of length one are multiplied by: (M, 1) or (M, N)."""
        if normalisation == "score":
            return _inverse(s.norm(dim=1, keepdim=True))
        if normalisation == "score-layer":
            return torch.cat(
                [_inverse(s[:, u.slice].norm(dim=1, keepdim=True)).expand(-1, u.size) for u in self.layers], 1
            )
        return _lengths_after(normalisation, lengths)[:, None]

    def _add_weight_gradients(self, images: Tensor, labels: Tensor | None, indices: Tensor) -> None:
        modules = [self.plain.get_submodule(unit.name) for unit in self.layers]
        parameters = [p for m in modules for p in (m.weight, m.bias) if p is not None]
        with _requiring_grad(parameters), tapped(self.plain, self.layers, lambda *_: None):
            with self.drawing():
                graph = _differentiable(models.answers(self.plain, images))
            logits, labels = self._checked(graph.detach(), labels)
            for criteria in self.by_weights.values():
                for probe, vectors in enumerate(self._cotangents(criteria, logits, labels, indices)):
                    lengths = vectors.norm(dim=1)
                    for criterion in (c for c in criteria if c.probes > probe):
                        new = _lengths_after(criterion.normalisation, lengths) * _inverse(lengths) / len(images)
                        vector = (vectors * new[:, None]).to(graph.dtype)
                        found = _derivatives(self.plain, graph, parameters, vector, retain_graph=True)
                        gradients = dict(zip(parameters, found, strict=True))
                        term = REDUCTIONS[criterion.reduction].term
                        row = torch.cat([_sum_over_weights(m, gradients, term) for m in modules])
                        self.sums[criterion, probe] += row * len(images)

    def _checked(self, logits: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Logits (M, K) in float64, and labels beside them."""
        self.finite &= logits.isfinite().all()
        if self.labelled is None:  # but a caller's own cotangent may look at them
            return logits.double(), None if labels is None else labels.to(self.device)
        if labels is None:
            raise ValueError(f"criterion {self.labelled} needs labels, but a batch comes without them")
        return logits.double(), checks.labels(labels, *logits.shape).to(self.device)

    def _cotangents(
        self, criteria: Sequence[Criterion], logits: Tensor, labels: Tensor | None, indices: Tensor
    ) -> Iterator[Tensor]:
        """As many cotangents (M, K) as the most demanding of `criteria`, which share a source, asks for."""
        source, probes = criteria[0].source, max(c.probes for c in criteria)
        if source.family:
            yield from source.vectors(logits, labels, Noise(self.seed, indices), probes)
            return
        for probe in range(probes):
            vectors = source.vectors(logits, labels, Noise(self.seed, indices, probe))
            if vectors.shape != logits.shape:
                raise ValueError(f"{criteria[0]}: its cotangents are {tuple(vectors.shape)}, not {tuple(logits.shape)}")
            yield vectors.to(logits)


class _Pass:
    """One forward pass with every tap watched; can send any number of cotangents back."""

    def __init__(self, model: nn.Module, layers: Sequence[Unit], images: Tensor, kinds: set[str], *, lean: bool):
        self._model, self._layers, self._kinds, self._leaves, self._rows = model, layers, kinds, [], {}
        self._shape = len(images), sum(unit.size for unit in layers)
        with tapped(model, layers, self._watch), Lean() if lean else nullcontext():
            self._graph = _differentiable(models.answers(model, images))
        self.logits = self._graph.detach()

    def send_back(self, vectors: Tensor, *, last: bool = False) -> dict[str, Tensor]:
        """Contributions (M, N) in float64 for the cotangents (M, K), in every form that was asked for; after the
        `last` ones, what was held for more of them is gone."""
        for kind in self._kinds:
            self._rows[kind] = torch.zeros(self._shape, dtype=torch.float64, device=vectors.device)
        vectors = vectors.to(self._graph)
        with tapped(self._model, self._layers, lambda *_: None):  # which notices what runs again
            _derivatives(self._model, self._graph, self._leaves, vectors, retain_graph=not last)
        if "sq-pixel" in self._rows:
            self._rows["sq-pixel"].sqrt_()
        return dict(self._rows)

    def _watch(self, number: int, tap: Tap, value: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            raise ValueError(cut(self._model))
        if not value.requires_grad:
            value = value.detach().requires_grad_()
            self._leaves.append(value)
        kept, rows, here = value.detach(), self._rows, self._layers[number].slice
        value.register_hook(lambda delta: _reduce(rows, here, tap.axis, kept * delta))  # self here would never be freed
        return value.clone() if tap.overwritten else value


def _differentiable(logits: Tensor) -> Tensor:
    if not logits.requires_grad:
        raise ValueError("the logits do not depend on any unit of the network")
    return logits


def _derivatives(
    model: nn.Module, graph: Tensor, taken: Sequence[Tensor], vectors: Tensor, *, retain_graph: bool
) -> tuple[Tensor | None, ...]:
    try:
        return torch.autograd.grad(graph, taken, vectors, retain_graph=retain_graph, allow_unused=True)
    except models.OF_THE_MACHINE:
        raise
    except RuntimeError as error:
        said = models.first_line(error)
        raise ValueError(f"{type(model).__name__} cannot be differentiated, as scores need it ({said})") from error


def _reduce(rows: dict[str, Tensor], here: slice, axis: int, product: Tensor) -> None:
    space = [other for other in range(1, product.ndim) if other != axis % product.ndim]
    for kind, total in rows.items():
        terms = {"sum": lambda p: p, "abs-pixel": torch.abs, "sq-pixel": torch.square}[kind](product)
        total[:, here] += terms.sum(space, dtype=torch.promote_types(terms.dtype, torch.float32)) if space else terms


def _by_name(criteria: str | Criterion | Iterable[str | Criterion]) -> dict[str, Criterion]:
    found, example = {}, "give a name such as 'sq:rand:norm', a Criterion, or several"
    if not isinstance(criteria, Iterable | Criterion):
        raise ValueError(f"criteria={criteria!r} are none: {example}")
    for given in [criteria] if isinstance(criteria, (str, Criterion)) else criteria:
        criterion = given if isinstance(given, Criterion) else parse(given)
        if found.setdefault(str(given), criterion) != criterion:
            raise ValueError(f"two different criteria are named {given}: give their cotangents different __name__s")
    if not found:
        raise ValueError(f"there are no criteria to score by: {example}")
    return found


def _by_cotangent(criteria: Iterable[Criterion]) -> dict[object, list[Criterion]]:
    groups = defaultdict(list)
    for criterion in criteria:
        groups[criterion.cotangent].append(criterion)
    return dict(groups)


def _probes(criterion: Criterion) -> int:
    return 1 if criterion.source.joint else criterion.probes


def _works_on_minibatches(criterion: Criterion) -> bool:
    return criterion.reduction in REDUCTIONS and (
        REDUCTIONS[criterion.reduction].per_minibatch or criterion.normalisation == "batch"
    )


def _root_of_squares(passed: _Pass, vectors: Iterable[Tensor]) -> dict[str, Tensor]:
    return {"sum": sum(passed.send_back(vector)["sum"].square() for vector in vectors).sqrt()}


def _lengths_after(normalisation: str, lengths: Tensor) -> Tensor:
    """The lengths (M,) that cotangents of these lengths have after normalisation; zero stays zero."""
    if normalisation == "norm":
        return (lengths > 0).to(lengths)
    if normalisation == "batch":
        return torch.cat([part * _inverse(part.mean()) for part in lengths.split(MINIBATCH)])
    return lengths


def _inverse(values: Tensor) -> Tensor:
    return values.where(values > 0, torch.inf).reciprocal()


def _sum_over_weights(module: nn.Module, gradients: dict, term) -> Tensor:
    total = 0.0
    for parameter in (module.weight, module.bias):
        if parameter is not None:
            gradient = gradients[parameter]
            product = parameter.detach() * (torch.zeros_like(parameter) if gradient is None else gradient)
            total = (
                total + term(product.double()).flatten(1).sum(1) if product.ndim > 1 else total + term(product.double())
            )
    return total


def _normalised_within(layers: Sequence[Unit], scores: Tensor) -> Tensor:
    parts = [scores[unit.slice] * _inverse(scores[unit.slice].abs().max()) for unit in layers]  # squares could overflow
    return torch.cat([part * _inverse(part.norm()) for part in parts])


@contextmanager
def _memory_told(count: int) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        problem = f"{count} images at once are too many for the memory of the device: give smaller batches"
        raise torch.OutOfMemoryError(f"{problem} ({str(error).splitlines()[0]})") from error


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Gradients flow, but to no parameter; afterwards every parameter is as before."""
    models.require_values(model)
    with _requiring_grad(list(model.parameters()), False), torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def _requiring_grad(parameters: Sequence[Tensor], flag: bool = True) -> Iterator[None]:
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(flag)
        yield
    finally:
        for parameter, old in zip(parameters, before, strict=True):
            parameter.requires_grad_(old)


def _peeked(batches: Iterable[Batch]) -> tuple[Tensor, Iterable[Batch]]:
    """The first example, (1, ...), the same on every rank, and all batches, that one included."""
    if ranks.place()[1] > 1 and hasattr(batches, "share"):
        return next(iter(batches.first(1)))[0], batches
    rest, held = checks.batches(batches), []
    for batch in rest:
        held.append(batch)
        if len(batch[0]):
            whole = batches if isinstance(batches, Sequence) else chain(held, rest)
            return batch[0][:1], whole
    raise checks.none_in(batches)


def _indexed(batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
    start = 0
    for images, labels, *rest in checks.batches(batches):
        indices = checks.indices(rest[0], len(images)) if rest else torch.arange(start, start + len(images))
        if labels is not None and len(labels) != len(images):
            raise ValueError(f"a batch has {len(images)} images but other numbers of labels or indices")
        start += len(images)
        if len(images):
            yield images, labels, indices


def _ascending(batches: Iterable[Batch]) -> Iterable[Batch]:
    """The same examples in ascending order of index, where that can be had without reading a stream twice."""
    if not isinstance(batches, Sequence):
        return batches
    whole = list(_indexed(batches))
    if not whole:
        return whole
    numbers = torch.cat([indices for _, _, indices in whole])
    if (numbers.diff() >= 0).all():
        return batches
    order = numbers.argsort(stable=True)
    images = _joined([images for images, _, _ in whole])[order]
    missing = any(labels is None for _, labels, _ in whole)
    labels = None if missing else _joined([labels for _, labels, _ in whole])[order]
    return [(images, labels, numbers[order])]


def _regrouped(
    stream: Iterator[tuple[Tensor, Tensor | None, Tensor]],
) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
    """The same examples in batches of whole minibatches, but for a last partial one."""
    held, last = None, -1
    for batch in stream:
        numbers = batch[2]
        if numbers[0] < last or (numbers.diff() < 0).any():
            raise ValueError("molchanov-* and :batch need examples in ascending order of index: do not shuffle them")
        last = numbers[-1]
        held = batch if held is None else tuple(map(_after, held, batch))
        whole = len(held[2]) // MINIBATCH * MINIBATCH
        if whole:
            yield tuple(None if part is None else part[:whole] for part in held)
            held = tuple(None if part is None else part[whole:] for part in held) if len(held[2]) > whole else None
    if held is not None:
        yield held


def _after(old: Tensor | None, new: Tensor | None) -> Tensor | None:
    return None if old is None or new is None else _joined([old, new])


def _joined(parts: Sequence[Tensor]) -> Tensor:
    shapes = list(dict.fromkeys(tuple(part.shape[1:]) for part in parts))
    if len(shapes) > 1:
        raise ValueError(f"examples of shape {shapes[1]} cannot be in one minibatch with those of shape {shapes[0]}")
    return torch.cat(parts)
