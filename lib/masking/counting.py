"""Which weights count: those that connect what is not always zero with what the logits depend on.

Enters: what runs through a stand-in with some units off, each row of a batch with others. Leaves: how many
multiply-adds and parameters count in each row. What is so small beside other numbers that it may be rounding counts if
it is as large in double precision, in which rounding is another.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from lib.network import models
from lib.network.surrogate import Straightened, mixed
from lib.network.uses import Use

_SMALL = 1e-5  # of the largest number in a tensor, below which it may be what rounding leaves of others


@dataclass(frozen=True)
class Run:
    """What is known of one use of weights from passes of several numbers of examples."""

    positions: float  # at which the weight is applied, for one example
    by_row: bool


@dataclass(frozen=True, eq=False)
class _Seen:
    """What is kept of one use of weights."""

    weight: Tensor | None
    vectors: tuple[Tensor, ...]
    transposed: bool
    axis: int  # of channels
    taken: Tensor  # (rows, I): the largest that each input is anywhere, 0 where it always is
    positions: int  # at which the weight is applied, over all examples
    made: GradientEdge  # of the output, whatever may overwrite it later
    width: int  # O
    by_row: bool  # whether examples are along the first axis of the output

    def count(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """How many entries of the weight connect `inputs` (rows, I) with `outputs` (rows, O), both bool: (rows,)."""
        weight, each = self.weight.detach(), self.weight.shape[1]
        groups = (outputs if self.transposed else inputs).shape[1] // each
        made, taken = (channels.unflatten(1, (groups, -1)).double() for channels in (outputs, inputs))
        if isinstance(self.weight, nn.Parameter):  # none of whose entries is zero here
            return (made.sum(2) * taken.sum(2)).sum(1) * math.prod(weight.shape[2:])
        entries = (weight != 0).flatten(2).sum(2) if weight.ndim > 2 else weight != 0
        entries = entries.double().unflatten(0, (groups, -1))
        return torch.einsum("rgo,goi,rgi->r", made, entries.mT if self.transposed else entries, taken)


class Watch(Straightened):
    """While open, notes how large what every use of weights takes in is; later, on what the logits depend. `runs`, of
    every use, tells what runs on a table of the network's own, which may have as many rows as there are examples."""

    def __init__(self, rows: int, parameters: Sequence[Tensor], dtype: torch.dtype, runs: Sequence[Run] = ()):
        super().__init__(parameters, rows, dtype)
        self._runs = runs
        self.uses, self.logits, self.reached = [], torch.empty(0), []
        self._weights: dict[int, Tensor] = {}  # that parameters are, or that are made of them

    def use(self, use: Use) -> None:
        number = len(self.uses)
        by_row = len(use.made) == self._rows and (number >= len(self._runs) or self._runs[number].by_row)
        taken = self._largest(use.taken.detach(), use.axis, by_row)
        where, width = get_gradient_edge(use.made), use.made.shape[use.axis]
        kept = use.weight, use.vectors, use.transposed, use.axis
        self.uses.append(_Seen(*kept, taken, use.positions, where, width, by_row))
        origin = self.origin(use.weight)
        if origin is not None:
            self._weights[id(origin)] = use.weight.detach()

    @functools.cached_property
    def slopes(self) -> list[Tensor]:
        """How much the logits depend on each output of every use, (rows, O) each."""
        edges = [use.made for use in self.uses]
        try:
            deltas = torch.autograd.grad(mixed(self.logits), edges, retain_graph=True, allow_unused=True)
        except models.OF_THE_MACHINE:
            raise
        except RuntimeError as error:
            raise ValueError(f"the network cannot be differentiated, as its shares left need it: "
                             f"{models.first_line(error)}") from error  # fmt: skip
        nothing = self.logits.new_zeros(self._rows, 1)
        return [
            nothing.expand(-1, use.width) if delta is None else self._largest(delta, use.axis, use.by_row)
            for use, delta in zip(self.uses, deltas, strict=True)
        ]

    def runs(self, more: "Watch") -> list[Run]:
        """What every use is for one example, of which `more` has seen more: what runs on a table of the network's own
        does so once a pass. Nothing where there are other uses for other numbers, as where examples run one by one."""
        if len(self.uses) != len(more.uses):
            return []
        others = more._rows - self._rows
        found = []
        for here, there in zip(self.uses, more.uses, strict=True):
            each = (there.positions - here.positions) / others
            found.append(Run(here.positions - (self._rows - 1) * each, here.by_row and there.by_row))
        return found

    def left(self, finer: "Finer", whole: "Watch | None") -> tuple[Tensor, Tensor]:
        """The multiply-adds of one example, and the parameters, on which logits depend: (rows,) each.

        Arguments:
            finer: gives what was watched of a row in double precision, if anything could be.
            whole: of the whole network, where this is not, to tell how large values are.
        """
        if self.unknown:
            return self.logits.new_empty(0), self.logits.new_empty(0)
        inputs, self.reached = [], []
        for number, (use, slopes) in enumerate(zip(self.uses, self.slopes, strict=True)):
            like = (use.taken, slopes) if whole is None else (whole.uses[number].taken, whole.slopes[number])
            taken_size, slopes_size = (_largest_of([values]) / 10 for values in like)
            inputs.append(self._not_zero(use.taken, taken_size, lambda fine, at=number: fine.uses[at].taken[0], finer))
            self.reached.append(self._not_zero(slopes, slopes_size, lambda fine, at=number: fine.slopes[at][0], finer))
        macs = self.logits.new_zeros(self._rows, dtype=torch.float64)
        positions = [run.positions for run in self._runs]
        if len(positions) != len(self.uses):
            positions = [use.positions / self._rows for use in self.uses]
        for use, taken, reached, places in zip(self.uses, inputs, self.reached, positions, strict=True):
            macs += 0 if use.weight is None else use.count(taken, reached) * places
        return macs, self._parameters_left(inputs, self.reached, finer)

    def _not_zero(
        self, found: Tensor, like: float, same: Callable[["Watch"], Tensor], finer: "Finer", first: int = 0
    ) -> Tensor:
        """What of these rows (..., ...), of which the first has this number, is other than 0 not only by rounding, in
        bool. Beside `like` and the largest of the row it may be that; then `same` finds it in double precision."""
        if found.isnan().any():
            self.unknown = self.unknown or "in the stand-in for it there are values that are not numbers"
        matters, size = found != 0, found.abs()
        if not matters.any():
            return matters  # which spares empty ones, too
        largest = size.reshape(len(size), -1).amax(1)
        small = largest < _SMALL * like
        small |= (matters & (size < _SMALL * largest.view(-1, *[1] * (size.ndim - 1)))).reshape(len(size), -1).any(1)
        for row in small.nonzero().flatten().tolist():
            fine = finer(first + row)
            if fine is not None:
                vanishes = (same(fine).abs() <= size[row] / 2) & size[row].isfinite()  # and what is NaN does not
                matters[row] &= ~vanishes
        return matters

    def _largest(self, values: Tensor, axis: int, by_row: bool) -> Tensor:
        """How large something gets in the channels of each row, or of all at once: (rows or 1, channels)."""
        by_row &= len(values) == self._rows
        others = [other for other in range(int(by_row), values.ndim) if other != axis % values.ndim]
        if not values.numel():
            return values.new_zeros(self._rows if by_row else 1, values.shape[axis])
        found = values.abs().amax(others) if others else values.abs()
        return found if by_row else found[None]

    def _parameters_left(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], finer: "Finer") -> Tensor:
        total = self.logits.new_zeros(self._rows, dtype=torch.float64)
        used_once = self._used_once(inputs, outputs)
        for use, taken, reached, as_weight in used_once.values():
            total += use.count(taken, reached) if as_weight else reached.sum(1)
        rest = [place for place, name in enumerate(self.parameters) if name not in used_once]
        return total + self._one_by_one(rest, finer) if rest else total

    def _used_once(
        self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> dict[int, tuple[_Seen, Tensor, Tensor, bool]]:
        """The use of each parameter, with the inputs and outputs that count and whether it is the weight; but not of
        parameters that something else takes in, too, or that are used again: what that does could cancel."""
        found, again = {}, set(self.elsewhere)
        for use, taken, reached in zip(self.uses, inputs, outputs, strict=True):
            for tensor in (use.weight, *use.vectors):
                again |= found.keys() & {id(tensor)}
                if id(tensor) in self.parameters:
                    found[id(tensor)] = use, taken, reached, tensor is use.weight
        return {name: use for name, use in found.items() if name not in again}

    def _one_by_one(self, places: Sequence[int], finer: "Finer") -> Tensor:
        """On how many entries of the parameters at these places the logits depend, (rows,)."""
        parameters, counts = [*self.parameters.values()], []
        for row in range(self._rows):
            deltas = self.slopes_of(places, row)
            # beside all of them, since each is a sum over all places, in which everything may cancel; and beside those
            # by what weights make, since in all of them everything may
            like = _largest_of([*deltas, *(slopes[min(row, len(slopes) - 1)] for slopes in self.slopes)])
            count = 0
            for place, delta in zip(places, deltas, strict=True):
                same = functools.partial(_slope_of, place)
                matters = self._not_zero(delta[None], like, same, finer, row)[0]
                count += self._count(parameters[place], matters)
            counts.append(count)
        return torch.tensor(counts, dtype=torch.float64, device=self.logits.device)

    def slopes_of(self, places: Sequence[int], row: int) -> Sequence[Tensor]:
        """How much the logits of a row depend on the parameters at these places."""
        parameters, logits = [*self.parameters.values()], self.logits.unflatten(0, (self._rows, -1))[row]
        chosen = [parameters[place] for place in places]
        return torch.autograd.grad(mixed(logits), chosen, retain_graph=True, materialize_grads=True)

    def _count(self, parameter: Tensor, matters: Tensor) -> int:
        if parameter.ndim > 2 and id(parameter) in self._weights:  # a whole kernel, but for what is always zero
            matters = matters.flatten(2).any(2, keepdim=True) & (self._weights[id(parameter)] != 0).flatten(2)
        return int(matters.sum())


def _largest_of(several: Sequence[Tensor]) -> float:
    """0 where there is nothing."""
    return max((float(values.abs().max()) for values in several if values.numel()), default=0.0)


def _slope_of(place: int, watch: Watch) -> Tensor:
    return watch.slopes_of([place], 0)[0]


Finer = Callable[[int], Watch | None]  # what of a row was watched in double precision
