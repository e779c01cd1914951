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
import warnings
from collections.abc import Sequence

import pandas
import torch
from torch import Tensor, nn

from lib.masking.counting import Run, Watch
from lib.network import checks, contexts, copies, models
from lib.network.surrogate import positive, with_random_weights
from lib.network.taps import Unit, tapped, units_in
from lib.network.units import units

_VALUES = 2**21  # of all images in one pass, so that memory is bounded


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
        self._runs: Sequence[Run] = ()
        few, more = (self._passed(torch.ones(rows, units_in(self._layers), dtype=torch.bool)) for rows in (3, 5))
        self._runs = few.runs(more)
        # or examples are not along the first axis, or something is picked along it
        self._by_row = all(use.by_row for use in (*few.uses, *more.uses)) and not (few.mixes_rows or more.mixes_rows)

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
            found.append([left[: len(rows)] for left in watch.left(finer, whole)])
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

    def _in_double_precision(self, keep: Tensor, row: int) -> Watch | None:
        """What runs then with those units on that this row says; None where the network does not."""
        self._double  # noqa: B018 - made outside of what may fail
        with models.attempted():
            found = self._passed(keep[min(row, len(keep) - 1)][None], torch.float64)
            return None if found.unknown else found

    def _warn_of_what_counts_nowhere(self, whole: Watch) -> None:
        """Of layers that take in values of which no logit seems to depend on what they make, with nothing off."""
        names = {id(weight): name.rpartition(".")[0] for name, weight in self._network.named_parameters()}
        named = [names.get(id(whole.origin(use.weight)), "") for use in whole.uses]
        counted = {name for name, reached in zip(named, whole.reached, strict=True) if reached[0].any()}
        lost = [name for name in dict.fromkeys(named) if name and name not in counted]
        if lost:
            shown = ", ".join(lost[:3]) + " and others" * (len(lost) > 3)
            warnings.warn(f"shares left are without {shown}, on which the logits do not seem to depend, as where a"
                          " custom autograd.Function gives no derivative",
                          stacklevel=5)  # fmt: skip

    @torch.enable_grad()
    def _passed(self, keep: Tensor, dtype: torch.dtype = torch.float32) -> Watch:
        """What runs with those units on that `keep` (rows, N) says, each row for an example of its own; a single one
        for two, since code may treat a single example otherwise."""
        keep = keep if len(keep) > 1 else keep.repeat(2, 1)
        masks = [keep[:, unit.slice].to(self._image.device) for unit in self._layers]
        network, ran = self._network if dtype == torch.float32 else self._double, set()

        def switch_off(number: int, tap, value: Tensor) -> Tensor:
            ran.add((number, tap.module, tap.call))
            shape = [1] * value.ndim
            shape[0], shape[tap.axis] = (len(keep) if len(value) == len(keep) else 1), masks[number].shape[1]
            on = (masks[number] if shape[0] > 1 else masks[number][0]).view(shape)
            return torch.where(on, value, 0)  # and not times zero, which leaves a derivative without bounds as it is

        parameters = [weight for weight in network.parameters() if weight.requires_grad]
        watch = Watch(len(keep), parameters, dtype, self._runs)
        with contexts.default_dtype(dtype), tapped(network, self._layers, switch_off), watch:
            images = self._image.to(dtype).repeat_interleave(len(keep), 0).requires_grad_()
            try:
                watch.logits = models.answers(network, images.clone())
            except ValueError:
                if not watch.unknown:
                    raise
        all_taps = ((number, tap.module, tap.call) for number, unit in enumerate(self._layers) for tap in unit.taps)
        if not watch.unknown and (idle := next((tap for tap in all_taps if tap not in ran), None)):
            watch.unknown = f"with other weights {self._layers[idle[0]].name} does not run as often"
        return watch

    @functools.cached_property
    def _double(self) -> nn.Module:
        return copies.copied(self._network).double()
