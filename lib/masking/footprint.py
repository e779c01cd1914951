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
of the logits is. All numbers of units go through at once, each as an example of its own.
"""

from collections.abc import Sequence
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


def remaining(
    model: nn.Module, order: Tensor, counts: Sequence[int], example: Tensor, layers: Sequence[Unit] | None = None
) -> pandas.DataFrame:
    """What is left with the first k units of `order` (N,) off, for every k in `counts`.

    Arguments:
        example: one input, (1, C, H, W) or whatever the model takes; of it only the shape matters.
        layers: `units(model, example)`, where it is known already.

    Returns one row per k: pruned (k), macs and parameters (shares of the whole network's, 0 to 1; NaN where nothing is
        seen to matter, as where a model's own code silences positive values).
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
        self._by_row = all(use.by_row for use in trial.uses)  # or examples are not along the first axis

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
        found = [self._passed(rows).left() for rows in keep.split(at_a_time)]
        macs, parameters = (torch.cat(values).cpu() for values in zip(*found, strict=True))
        left = {"macs": macs[1:] / macs[0], "parameters": parameters[1:] / parameters[0]}
        return pandas.DataFrame({"pruned": counts} | {name: share.tolist() for name, share in left.items()})

    @torch.enable_grad()
    def _passed(self, keep: Tensor) -> "_Watch":
        """What runs with those units on that `keep` (rows, N) has at 1, each row for an example of its own."""
        masks = [keep[:, unit.slice].to(self._image.device) for unit in self._layers]

        def switch_off(number: int, tap, value: Tensor) -> Tensor:
            shape = [1] * value.ndim
            shape[0], shape[tap.axis] = (len(keep) if len(value) == len(keep) else 1), masks[number].shape[1]
            on = (masks[number] if shape[0] > 1 else masks[number][0]).view(shape)
            return torch.where(on, value, 0)  # and not times zero, which leaves a derivative without bounds as it is

        watch = _Watch(len(keep), [weight for weight in self._network.parameters() if weight.requires_grad])
        with tapped(self._network, self._layers, switch_off), watch:
            images = self._image.repeat_interleave(len(keep), 0).requires_grad_()
            watch.logits = models.answers(self._network, images.clone())
        return watch


@dataclass(frozen=True, eq=False)
class _Seen:
    """What is kept of one use of weights."""

    weight: Tensor | None
    vectors: tuple[Tensor, ...]
    transposed: bool
    axis: int  # of channels
    taken: Tensor  # (rows, I) bool: which inputs are not always zero
    positions: float  # at which the weight is applied, in one example
    made: GradientEdge  # of the output, whatever may overwrite it later
    width: int  # O
    by_row: bool  # whether examples are along the first axis of the output

    def count(self, outputs: Tensor) -> Tensor:
        """How many entries of the weight connect what is not always zero with `outputs` (rows, O): (rows,)."""
        weight, each = self.weight.detach(), self.weight.shape[1]
        groups = (outputs if self.transposed else self.taken).shape[1] // each
        made, taken = (channels.unflatten(1, (groups, -1)).double() for channels in (outputs, self.taken))
        if isinstance(self.weight, nn.Parameter):  # none of whose entries is zero here
            return (made.sum(2) * taken.sum(2)).sum(1) * weight[0, 0].numel()
        entries = (weight != 0).flatten(2).sum(2) if weight.ndim > 2 else weight != 0
        entries = entries.double().unflatten(0, (groups, -1))
        return torch.einsum("rgo,goi,rgi->r", made, entries.mT if self.transposed else entries, taken)


class _Watch(Straightened):
    """While open, notes what of every use of weights is not always zero; later, on what the logits depend."""

    def __init__(self, rows: int, parameters: Sequence[Tensor]):
        super().__init__(parameters, rows)
        self.uses, self.logits = [], torch.empty(0)
        self._weights: dict[int, Tensor] = {}  # that parameters are, or that are made of them

    def use(self, use: Use) -> None:
        taken, by_row = self._anywhere(use.taken.detach(), use.axis), len(use.made) == self._rows
        where, width = get_gradient_edge(use.made), use.made.shape[use.axis]
        positions, kept = use.positions / self._rows, (use.weight, use.vectors, use.transposed, use.axis)
        self.uses.append(_Seen(*kept, taken, positions, where, width, by_row))
        origin = self.origin(use.weight)
        if origin is not None:
            self._weights[id(origin)] = use.weight.detach()

    def left(self) -> tuple[Tensor, Tensor]:
        """The multiply-adds of one example, and the parameters, on which logits depend: (rows,) each."""
        edges = [use.made for use in self.uses]
        try:
            deltas = torch.autograd.grad(mixed(self.logits), edges, retain_graph=True, allow_unused=True)
        except models.OF_THE_MACHINE:
            raise
        except RuntimeError as error:
            raise ValueError(f"the network cannot be differentiated, as its shares left need it: "
                             f"{models.first_line(error)}") from error  # fmt: skip
        nothing = torch.zeros(self._rows, 1, dtype=torch.bool, device=self.logits.device)
        outputs = [
            nothing.expand(-1, use.width) if delta is None else self._anywhere(delta, use.axis)
            for use, delta in zip(self.uses, deltas, strict=True)
        ]
        macs = self.logits.new_zeros(self._rows, dtype=torch.float64)
        for use, reached in zip(self.uses, outputs, strict=True):
            macs += 0 if use.weight is None else use.count(reached) * use.positions
        return macs, self._parameters_left(outputs)

    def _anywhere(self, values: Tensor, axis: int) -> Tensor:
        """In which channels of each row something is not 0: (rows, channels)."""
        by_row = len(values) == self._rows
        others = [other for other in range(int(by_row), values.ndim) if other != axis % values.ndim]
        found = values.ne(0).any(others) if others else values.ne(0)
        return found if by_row else found[None]

    def _parameters_left(self, outputs: Sequence[Tensor]) -> Tensor:
        total, used_once = self.logits.new_zeros(self._rows, dtype=torch.float64), self._used_once(outputs)
        for use, reached, as_weight in used_once.values():
            total += use.count(reached) if as_weight else reached.sum(1)
        rest = [parameter for parameter in self.parameters.values() if id(parameter) not in used_once]
        return total + self._one_by_one(rest) if rest else total

    def _used_once(self, outputs: Sequence[Tensor]) -> dict[int, tuple[_Seen, Tensor, bool]]:
        """The use of each parameter, with the outputs that count and whether it is the weight; but not of parameters
        that something else takes in, too, or that are used again: what that does could cancel."""
        found, again = {}, set(self.elsewhere)
        for use, reached in zip(self.uses, outputs, strict=True):
            for tensor in (use.weight, *use.vectors):
                again |= found.keys() & {id(tensor)}
                if id(tensor) in self.parameters:
                    found[id(tensor)] = use, reached, tensor is use.weight
        return {name: use for name, use in found.items() if name not in again}

    def _one_by_one(self, parameters: Sequence[Tensor]) -> Tensor:
        """On how many entries of these parameters the logits depend, (rows,)."""
        counts = []
        for logits in self.logits.split(len(self.logits) // self._rows):
            deltas = torch.autograd.grad(mixed(logits), parameters, retain_graph=True, materialize_grads=True)
            counts.append(sum(self._count(*pair) for pair in zip(parameters, deltas, strict=True)))
        return torch.tensor(counts, dtype=torch.float64, device=self.logits.device)

    def _count(self, parameter: Tensor, delta: Tensor) -> int:
        matters = delta != 0
        if parameter.ndim > 2 and id(parameter) in self._weights:  # a whole kernel, but for what is always zero
            matters = matters.flatten(2).any(2, keepdim=True) & (self._weights[id(parameter)] != 0).flatten(2)
        return int(matters.sum())
