"""Importance scores: how much each unit of a trained network matters, by many criteria at once.

Enters: a model in eval mode, batches of images, the names of criteria. Leaves: one score per unit and criterion. For
every example n and unit c the contribution s_nc, the sum over space of x * delta with delta the derivative of v_n
. logits at the unit's tap, is exact for each example although a whole batch is sent back at once, because in eval
mode examples do not influence each other (Sapkota & Bhattarai 2023, arXiv 2310.20203; Molchanov et al. 2019,
arXiv 1906.10771).

On the way: `batches` gives examples their indices, `demands` says what all criteria want together, `passes` goes
forward and back, `cotangents` draws what is sent back, `contribution_criteria` and `weight_criteria` add up what comes
of it (`rivals` what needs no gradient), and `normalising` divides. `precision` tells in which numbers.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from lib.network import checks, contexts, copies, models
from lib.network.detached import refuse_cut_gradients
from lib.network.taps import Unit, units_in
from lib.network.units import units
from lib.scoring import contribution_criteria, ranks, weight_criteria
from lib.scoring.batches import Batch, Indexed, in_wholes, indexed, parted, peeked, shared
from lib.scoring.contribution_criteria import SentBack
from lib.scoring.cotangents import Answered
from lib.scoring.criteria import REDUCTIONS, Criterion, parse
from lib.scoring.demands import Demands, by_name
from lib.scoring.derivatives import frozen
from lib.scoring.noise import MOST_SEED
from lib.scoring.normalising import within_layers
from lib.scoring.passes import Pass, quickest
from lib.scoring.precision import MOST, PRECISIONS, Choice, choose
from lib.scoring.rivals import RIVALS, WEIGHT_RIVALS, Activations
from lib.scoring.sums import Sums

_PIXELS = {"cpu": 2**17, "cuda": 2**24}  # of all images of a pass, at most: more is not quicker
_FEWEST = 24  # examples of a pass, however large: with so many it takes no longer for each than with more

__all__ = ["Choice", "Criterion", "Scoring", "Unit", "contributions", "parse", "score", "units"]


def score(
    model: nn.Module,
    batches: Iterable[Batch],
    criteria: str | Criterion | Iterable[str | Criterion],
    *,
    seed: int = 0,
    precision: str = "float32",
    report: Callable[[int], object] = lambda examples: None,
    chosen: Callable[[Choice], object] = lambda choice: None,
) -> dict[str, Tensor]:
    """Scores every unit of `model` by every criterion: name -> (N,) float64 on the CPU, higher is more important.

    One forward pass and one backward pass per distinct cotangent, whatever the number of criteria; `molchanov-group`
    adds a forward pass, and a backward pass per cotangent and normalisation. Criteria without gradient look at the same
    forward pass, or at weights and the first example alone. A pass takes a part of a large batch, so that memory does
    not grow with it. The model is left exactly as it was found, and so is global random state. Derivatives are those
    that the model's functions give: a straight-through one, say, is scored by the gradient that it pretends to have.

    Arguments:
        model: made of convolutions, linear layers and BatchNorm, in eval mode; from images (M, C, H, W) to logits (M,
            K).
        batches: tuples (images, labels (M,) or None) or (images, labels, indices (M,)). Without indices examples are
            counted from 0. For criteria that work on minibatches (`molchanov-bn`, `molchanov-group`, `:batch`)
            examples are regrouped into `batches.MINIBATCH` consecutive ones by index, so indices must ascend; a list of
            batches is sorted where they do not. Under `torch.distributed` every rank is given the same ones, takes its
            share of them, whole minibatches, and returns the same scores; a stream that has a method `share`, such as
            that of `lib.images.folders`, reads each rank's share alone.
        seed: of all random vectors; the one for the example of index i depends on `seed` and i alone.
        precision: "bfloat16" has passes compute in it where autocast thinks it safe, with sums in float32 or more, as a
            GPU or CPU may be faster then; not those of `molchanov-group`. "float32" leaves the model's own as it is.
            "auto" is one of them, as `Scoring.choose` finds on the first batch, and the scores are what that one gives.
            How fast each is counts, so that "auto" may be another next time.
        report: called after every batch with how many examples have been seen, under `torch.distributed` by this rank.
        chosen: called with the `Choice` of "auto", which says what was chosen and why.

    Raises ValueError for no criteria or an unknown one, an unknown precision or a seed that is none, batches of another
    form, images that the model does not take, missing or wrong labels, a model in training mode or without units, no
    examples, or logits or scores that are not finite, on every rank, whichever of them saw it; torch.OutOfMemoryError,
    a RuntimeError, for batches that are too large for the device.
    """
    if not callable(report):
        raise ValueError(f"report={report!r} must be a function of how many examples have been seen")
    with ranks.together():
        tried = precision == "auto" and ranks.place()[0] == 0
        first, batches = peeked(batches, MOST if tried else 1)
        scoring = Scoring(model, first[0][:1], criteria, seed=seed, precision=precision)
    choice = scoring.choose(first) if precision == "auto" else None
    with ranks.together():
        if choice is not None:
            chosen(choice)
        scoring.add(batches, lambda examples: report(scoring.count))
    return scoring.results()


@contexts.random_state_kept()
def contributions(model: nn.Module, images: Tensor, vectors: Tensor) -> Tensor:
    """The contributions (M, N), float64, of all units on the examples `images` (M, C, H, W) for the cotangents (M,
    K).

    Raises ValueError for cotangents of another shape than the logits or that are not finite, and as `score` does.
    """
    model = models.inside(model)
    with frozen(model):
        images = models.ready(model, images)
        layers = units(model, images[:1])
        refuse_cut_gradients(model, layers, images[:2])
        passed = Pass(model, layers, images, {"sum"}, lean=False)
        models.require_finite(passed.logits)
        return passed.send_back(checks.cotangents(vectors, passed.logits))["sum"]


class Scoring:
    """Scores in the making: what `score` does in one go, in steps that can be saved and gone on from.

    Accumulates, in float64 on the device, the sums over examples behind every criterion asked for.

    `precision` is the one that passes compute in; it is "auto" until `choose` has been called.

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
        self.precision, self._begun = precision, False
        self.seed, self._wanted = checks.whole("seed", seed, 0, MOST_SEED), by_name(criteria)
        self.model, self._demands = models.inside(model), Demands(self._wanted.values())
        self._device, self._dtype = models.place(self.model)
        with frozen(self.model), contexts.random_state_kept() as is_untouched:
            self._prepare(example)
            self._drawing = nullcontext if is_untouched() else contexts.random_state_kept

    @property
    def count(self) -> int:
        """How many examples this rank has added."""
        return self._sums.count

    @property
    def needs_examples(self) -> bool:
        """Whether any criterion looks at more than weights."""
        return self._demands.needs_examples

    def choose(self, batch: Batch) -> Choice:
        """Takes the precision that suits these examples, of which the first 128 count, and says why; nothing is added.

        bfloat16 is taken where the device multiplies it, all criteria whose passes it would change order the units as
        in float32 (a rank correlation of at least .999) and it is at least 1.1 times as fast; else float32. Under
        `torch.distributed` every rank is to call this, and takes what the first one finds on its batch.

        Raises ValueError as `add` does, on every rank.
        """
        with ranks.together():
            choice = self._tried(batch) if ranks.place()[0] == 0 else None
        choice = ranks.told(choice)
        self.precision = choice.precision
        return choice

    def add(self, batches: Iterable[Batch], report: Callable[[int], object] = lambda examples: None) -> None:
        """Adds the examples of `batches`, as `score` takes them; under `torch.distributed` this rank's share.

        Where batches are added in several calls, all but the last are to be of whole minibatches, on every rank.
        Examples without indices are counted on from those added before, so that several calls give what one does; but
        among several ranks, none of which knows how many all have added, all calls but the first take indices. Raises
        ValueError where there are none then, and as `score` does.

        Arguments:
            report: called with the number of examples after every batch.
        """
        if self.precision == "auto":
            raise ValueError("precision='auto' is yet to be chosen: call choose(batch) with the first batch")
        if not self.needs_examples:
            return
        with frozen(self.model):
            start = None if self._begun and ranks.place()[1] > 1 else self.count
            self._begun = True
            for images, labels, indices in shared(batches, by_minibatch=self._demands.by_minibatch, start=start):
                with contexts.memory_told(len(images)):
                    self._add(images, labels, indices)
                report(len(images))

    def state(self) -> Tensor:
        """All that is summed up so far, by this rank alone: (S,) float64 on the CPU."""
        return self._sums.state()

    def load(self, state: Tensor) -> None:
        """Goes on from a `state` of the same model, example and criteria, made in the same `precision`, which it does
        not tell. Raises ValueError where it cannot be one."""
        self._sums.load(state)
        self._begun = True

    def results(self) -> dict[str, Tensor]:
        """What `score` returns, of the examples that all ranks have added; every rank is to call it."""
        own = self.state()
        self._sums.load(ranks.total(own))
        try:
            if self.needs_examples and not self._sums.count:
                raise checks.none_in()
            return {name: self._result(criterion) for name, criterion in self._wanted.items()}
        finally:
            self._sums.load(own)

    def _prepare(self, example: Tensor) -> None:
        """Finds the units, and the quickest passes that give what the criteria ask for."""
        self.example = models.ready(self.model, example, 1).clone()  # or it would hold all its batch
        self.layers, demands = units(self.model, self.example), self._demands
        self._plain = copies.with_plain_weights(self.model) if demands.by_weights else self.model
        self._way = quickest(self.model, self.layers, self.example, demands)
        pair = self.example.repeat_interleave(2, 0)
        self._activations = Activations(self._way.model, self._way.layers, pair, demands.activations)
        self._sums = Sums(demands, units_in(self.layers), self._device, self._activations.sums)

    def _tried(self, batch: Batch) -> Choice:
        found, seen = {c for group in self._demands.by_contributions for c in group}, self._activations.names
        wanted = {
            name: c for name, c in self._wanted.items() if replace(c, layer=False) in found or c.reduction in seen
        }
        if not found:
            return Choice("float32", "as none of these criteria has passes that would be in bfloat16")
        if self._dtype != torch.float32:
            return Choice("float32", f"which leaves this network in its own {str(self._dtype).removeprefix('torch.')}")
        given = [None if part is None else part[:MOST] for part in next(indexed([batch]))]
        own, before = self.state(), self.precision

        def score(precision: str) -> dict[str, Tensor]:
            self.precision = precision
            self._sums.load(torch.zeros_like(own))
            self._sums.count += len(given[0])
            self._add_by_passes((models.ready(self.model, given[0]), *given[1:]))
            return {name: self._result(criterion) for name, criterion in wanted.items()}

        try:
            with frozen(self.model), contexts.memory_told(len(given[0])):
                return choose(self._device, score, len(given[0]))
        finally:
            self.precision = before
            self._sums.load(own)

    def _add(self, images: Tensor, labels: Tensor | None, indices: Tensor) -> None:
        self._sums.count += len(images)
        images = models.ready(self.model, images)
        self._add_by_passes((images, labels, indices))
        if self._demands.by_weights:
            for minibatch in in_wholes((images, labels, indices), 1):
                self._add_by_weights(*minibatch)

    def _at_once(self, images: Tensor, share: int = 1) -> int:
        """How many of these examples a pass takes, if it is to take one `share`-th of the pixels that it could."""
        pixels = _PIXELS.get(self._device.type, _PIXELS["cuda"]) // share
        return max(_FEWEST, pixels // images.shape[2:].numel())

    def _add_by_passes(self, batch: Indexed) -> None:
        share = 4 if self._demands.several else 2  # what a pass holds stays until the last cotangent is sent back
        at_once = self._at_once(batch[0], share)
        with self._activations.watching():
            if self._demands.by_contributions:
                for some in (in_wholes if self._demands.by_minibatch else parted)(batch, at_once):
                    parts = [self._sent_back(*part) for part in parted(some, at_once)]
                    contribution_criteria.add(self._sums, self.layers, parts)
            elif self._activations.names:
                for part in parted(batch, at_once):
                    self._add_by_activations(*part)

    def _add_by_activations(self, images: Tensor, labels: Tensor | None, indices: Tensor) -> None:
        with self._drawing():
            logits = self._way.answers(images)
        self._answered(logits, labels, indices)

    def _sent_back(self, images: Tensor, labels: Tensor | None, indices: Tensor) -> Iterator[SentBack]:
        low = self.precision == "bfloat16"
        with torch.autocast(self._device.type, torch.bfloat16) if low else nullcontext(), self._drawing():
            passed = self._way.forward(images)
        answered = self._answered(passed.logits, labels, indices)
        yield from contribution_criteria.sent_back(self._demands.by_contributions, passed, answered)

    def _add_by_weights(self, images: Tensor, labels: Tensor | None, indices: Tensor) -> None:
        with weight_criteria.watched(self._plain, self.layers), self._drawing():
            passed = weight_criteria.WeightPass(self._plain, self.layers, images, self._at_once(images))
            batch = self._answered(passed.logits, labels, indices)
            weight_criteria.add(self._sums, self._demands.by_weights, passed, batch)

    def _answered(self, logits: Tensor, labels: Tensor | None, indices: Tensor) -> Answered:
        """The batch, with labels checked where they are needed; whether logits are finite is told in the end."""
        self._sums.finite &= logits.isfinite().all()
        if self._demands.labelled is not None:
            if labels is None:
                raise ValueError(f"criterion {self._demands.labelled} needs labels, but a batch comes without them")
            labels = checks.labels(labels, *logits.shape)
        labels = None if labels is None else labels.to(self._device)  # a caller's own cotangent may look at them
        return Answered(logits.double(), labels, indices, self.seed)

    def _result(self, criterion: Criterion) -> Tensor:
        if criterion.reduction in WEIGHT_RIVALS:
            with self._drawing():
                scores = RIVALS[criterion.reduction].weights(self.model, self.layers, self.example, self.seed)
        elif criterion.reduction in RIVALS:
            scores = self._activations.score(criterion.reduction, self._sums.count)
        else:
            scores = self._sums.mean(replace(criterion, layer=False)).cpu()
        if not (self._sums.finite and scores.isfinite().all()):
            raise ValueError(f"{criterion}: logits or scores are not finite; check the model's weights and its inputs")
        always = criterion.reduction in REDUCTIONS and REDUCTIONS[criterion.reduction].layer
        return within_layers(self.layers, scores) if criterion.layer or always else scores
