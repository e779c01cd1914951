"""What is left of a network whose units are off: the share of its multiply-adds and of its parameters.

Enters: a model, its units, an order of them and numbers of units that are off. Leaves: shares between 0 and 1 for each
number. A weight counts if changing it can change a logit, whatever the other weights are. So with a unit go the weights
that make it, what only it had a use for, and those that would multiply its zeros: on a residual stream, once all that
write to the channel are off. What is not zero stays: a bias, or what BatchNorm makes of a channel that is. A pair of an
output and an input channel counts with its whole kernel. Multiply-adds are those of convolutions, transposed ones and
linear layers, called as modules or as functions; not those between activations, nor any within MultiheadAttention. A
mask may empty a layer, and separate units whose channels must go together where layers really shrink: so structural
pruning at the same number of units leaves another share.

What reaches what is found by a pass of one image, and one back from the logits, through a stand-in (`surrogate`) in
which nothing cancels that does not always: an input is gone where it is exactly 0, and an output where the derivative
of the logits is. Where either is so small beside others that it may be rounding, it goes through in double precision
again, in which rounding is another; where a network does not run in that, it counts. All numbers of units go through at
once, each as an example of its own.

Shares are NaN, and a warning says why, where the stand-in does not go the way of the network: where code goes by values
or picks as many as they say, and where there is something that is not a number. What only a truth value or a whole
number made of values depends on, counts as nothing; so does what a custom `autograd.Function` gives no derivative for,
and where that is a whole layer a warning names it.
"""

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import pandas
import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from lib.network import checks, contexts, models
from lib.network.surrogate import Straightened, mixed, positive, with_random_weights
from lib.network.taps import Unit, tapped, units_in
from lib.network.units import units
from lib.network.uses import Use

_VALUES = 2**21  # of all images in one pass, so that memory is bounded
_SMALL = 1e-5  # of the largest number in a tensor, below which it may be what rounding leaves of others


def remaining(
    model: nn.Module, order: Tensor, counts: Sequence[int], example: Tensor, layers: Sequence[Unit] | None = None
) -> pandas.DataFrame:
    """What is left with the first k units of `order` (N,) off, for every k in `counts`.

    Arguments:
        example: one input, (1, C, H, W) or whatever the model takes; of it only the shape matters.
        layers: `units(model, example)`, where it is known already.

    Returns one row per k: pruned (k), macs and parameters (shares of the whole network's, 0 to 1; NaN where nothing is
        seen to matter, as where a model's own code silences positive values, and where they cannot be known, of which
        a warning says why).
    """
    return Footprint(model, example, layers).remaining(order, counts)


class Footprint:
    """A model whose weights can be counted for many orders; arguments as for `remaining`."""

    @contexts.random_state_kept()
    @torch.inference_mode(False)  # whatever the caller's: a copy's weights are written to
    def __init__(self, model: nn.Module, example: Tensor, layers: Sequence[Unit] | None = None):
        model, example = models.inside(model), models.ready(model, example, 1)
        self._layers = list(units(model, example) if layers is None else layers)
        generator = torch.Generator().manual_seed(0)
        self._network = with_random_weights(model, generator)
        self._image = positive(example.shape, generator).to(models.place(self._network)[0])
        trial = self._passed(torch.ones(3, units_in(self._layers), dtype=torch.bool))
        # or examples are not along the first axis, or something is picked along it
        self._by_row = all(use.by_row for use in trial.uses) and not trial.mixes_rows

    @contexts.random_state_kept()
    @torch.inference_mode(False)
    def remaining(self, order: Tensor, counts: Sequence[int]) -> pandas.DataFrame:
        """As the function `remaining`."""
        total = units_in(self._layers)
        checks.order(order, total)
        counts = [checks.count(k, total) for k in checks.several("counts", counts)]
        keep = torch.ones(len(counts) + 1, total, dtype=torch.bool)  # the first row: nothing is off
        for row, k in enumerate(counts, start=1):
            keep[row, order[:k].cpu()] = False
        at_a_time = max(1, _VALUES // self._image.numel()) if self._by_row else 1
        found, whole = [], None
        for rows in keep.split(at_a_time):
            watch = self._passed(rows)
            finer = functools.cache(functools.partial(self._in_double_precision, rows))  # for each row once
            found.append(watch.left(finer, whole))
            whole = whole or watch
            if watch.unknown:
                break
        if watch.unknown:
            warnings.warn(f"shares left are not known: {watch.unknown}", stacklevel=4)
            return pandas.DataFrame({"pruned": counts, "macs": torch.nan, "parameters": torch.nan})
        self._warn_of_what_counts_nowhere(whole)
        macs, parameters = (torch.cat(values).cpu() for values in zip(*found, strict=True))
        left = {"macs": macs[1:] / macs[0], "parameters": parameters[1:] / parameters[0]}
        return pandas.DataFrame({"pruned": counts} | {name: share.tolist() for name, share in left.items()})

    def _in_double_precision(self, keep: Tensor, row: int) -> "_Watch | None":
        """What runs then with those units on that this row says; None where the network does not."""
        with models.attempted():
            return self._passed(keep[row : row + 1], torch.float64)

    def _warn_of_what_counts_nowhere(self, whole: "_Watch") -> None:
        """Of layers that take in values of which no logit seems to depend on what they make, with nothing off."""
        names = {id(weight): name.rpartition(".")[0] for name, weight in self._network.named_parameters()}
        named = [names.get(id(whole.origin(use.weight)), "") for use in whole.uses]
        counted = {name for name, reached in zip(named, whole.reached, strict=True) if reached[0].any()}
        lost = [name for name in dict.fromkeys(named) if name and name not in counted]
        if lost:
            shown = ", ".join(lost[:3]) + " and others" * (len(lost) > 3)
            warnings.warn(f"shares left are without {shown}, on which the logits do not seem to depend, as where a"
                          " custom autograd.Function gives no derivative",
                          stacklevel=4)  # fmt: skip

    @torch.enable_grad()
    def _passed(self, keep: Tensor, dtype: torch.dtype = torch.float32) -> "_Watch":
        """What runs with those units on that `keep` (rows, N) says, each row for an example of its own."""
        masks = [keep[:, unit.slice].to(self._image.device) for unit in self._layers]
        network = self._network if dtype == torch.float32 else self._double()

        def switch_off(number: int, tap, value: Tensor) -> Tensor:
            shape = [1] * value.ndim
            shape[0], shape[tap.axis] = (len(keep) if len(value) == len(keep) else 1), masks[number].shape[1]
            on = (masks[number] if shape[0] > 1 else masks[number][0]).view(shape)
            return torch.where(on, value, 0)  # and not times zero, which leaves a derivative without bounds as it is

        watch = _Watch(len(keep), [weight for weight in network.parameters() if weight.requires_grad], dtype)
        with _default(dtype), tapped(network, self._layers, switch_off), watch:
            images = self._image.to(dtype).repeat_interleave(len(keep), 0).requires_grad_()
            try:
                watch.logits = models.answers(network, images.clone())
            except ValueError:
                if not watch.unknown:
                    raise
        return watch

    @functools.cache  # noqa: B019
    def _double(self) -> nn.Module:
        return deepcopy(self._network).double()


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    """While open, what the network makes of nothing is of this type, as its weights are."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What is kept of one use of weights."""

    weight: Tensor | None
    vectors: tuple[Tensor, ...]
    transposed: bool
    axis: int  # of channels
    taken: Tensor  # (rows, I): the largest that each input is anywhere, 0 where it always is
    positions: float  # at which the weight is applied, in one example
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


class _Watch(Straightened):
    """While open, notes how large what every use of weights takes in is; later, on what the logits depend."""

    def __init__(self, rows: int, parameters: Sequence[Tensor], dtype: torch.dtype):
        super().__init__(parameters, rows, dtype)
        self.uses, self.logits, self.reached = [], torch.empty(0), []
        self._weights: dict[int, Tensor] = {}  # that parameters are, or that are made of them

    def use(self, use: Use) -> None:
        taken, by_row = self._largest(use.taken.detach(), use.axis), len(use.made) == self._rows
        where, width = get_gradient_edge(use.made), use.made.shape[use.axis]
        positions, kept = use.positions / self._rows, (use.weight, use.vectors, use.transposed, use.axis)
        self.uses.append(_Seen(*kept, taken, positions, where, width, by_row))
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
            nothing.expand(-1, use.width) if delta is None else self._largest(delta, use.axis)
            for use, delta in zip(self.uses, deltas, strict=True)
        ]

    def left(self, finer: "Finer", whole: "_Watch | None") -> tuple[Tensor, Tensor]:
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
            inputs.append(self._not_zero(use.taken, like[0], lambda fine, at=number: fine.uses[at].taken[0], finer))
            self.reached.append(self._not_zero(slopes, like[1], lambda fine, at=number: fine.slopes[at][0], finer))
        macs = self.logits.new_zeros(self._rows, dtype=torch.float64)
        for use, taken, reached in zip(self.uses, inputs, self.reached, strict=True):
            macs += 0 if use.weight is None else use.count(taken, reached) * use.positions
        return macs, self._parameters_left(inputs, self.reached, finer)

    def _not_zero(
        self, found: Tensor, like: Tensor, same: Callable[["_Watch"], Tensor], finer: "Finer", first: int = 0
    ) -> Tensor:
        """What of these rows (..., ...), of which the first has this number, is other than 0 not only by rounding, in
        bool; `same` finds it for one of them in double precision."""
        if found.isnan().any():
            self.unknown = self.unknown or "in the stand-in for it there are values that are not numbers"
        matters, size = found != 0, found.abs()
        if not like.numel() or not matters.any():
            return matters  # which spares empty ones, too
        largest = size.reshape(len(size), -1).amax(1)
        small = largest < _SMALL * like.abs().max() / 10
        small |= (matters & (size < _SMALL * largest.view(-1, *[1] * (size.ndim - 1)))).reshape(len(size), -1).any(1)
        for row in small.nonzero().flatten().tolist():
            fine = finer(first + row)
            if fine is not None:
                matters[row] &= same(fine).abs() > size[row] / 2
        return matters

    def _largest(self, values: Tensor, axis: int) -> Tensor:
        """How large something gets in the channels of each row: (rows, channels)."""
        by_row = len(values) == self._rows
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
        parameters, counts, like = [*self.parameters.values()], [], None
        for row in range(self._rows):
            deltas = self.slopes_of(places, row)
            like = torch.stack([delta.abs().amax() for delta in deltas if delta.numel()] or [deltas[0].sum()])
            # of all of them, and 10 times: each is a sum over all places, in which everything may cancel
            count = 0
            for place, delta in zip(places, deltas, strict=True):
                same = functools.partial(_slope_of, place)
                matters = self._not_zero(delta[None], 10 * like, same, finer, row)[0]
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


def _slope_of(place: int, watch: _Watch) -> Tensor:
    return watch.slopes_of([place], 0)[0]


Finer = Callable[[int], _Watch | None]  # what of a row was watched in double precision
