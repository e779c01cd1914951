"""What goes and what stays of a network for one budget, and the network without it: smaller, or masked.

Enters: a model and the plan that `structure` has made for it. Leaves: a smaller copy of the same classes, once it has
been tried and answers as the model with the same channels off; or the model itself with these channels silent.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor, nn

from lib.network import contexts, copies, models
from lib.network.layers import all_widths, can_narrow, narrow, renumber, shorten, widths, works_on_channels
from lib.network.models import alike
from lib.network.taps import Unit, ahead, along, tapped, units_in

_ROUNDING = 1e-6  # of the largest logit
_SCALES = (0.3, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 10.0)  # of the noise on which smaller networks are tried


@dataclass(frozen=True, eq=False)
class Slimming:
    """What goes and what stays for one budget.

    `removed` (k,) are the units that go, in the order in which they do, so that a larger budget's begins with a smaller
    one's. `kept` and `inputs` name, for every layer that becomes narrower, the channels that stay at its output (for
    BatchNorm: at all) and its input; `numbers`, for other modules, attributes that count heads or their channels, and
    what they become; `tensors`, by module and name, the axis of their heads or channels, and which of these stay.
    `reached` is the fraction of `of` that goes, `overshoot` how far that is beyond `budget`, `per_cost` whether
    channels go by score for each of `of` that goes with them, else by score alone; `before` and `after` count units,
    parameters and macs of one example; `skipped` counts the groups that would have gone but held some layer's last
    channel, or what was to be kept, or still waited for as many more as `multiple_of` takes.
    """

    budget: float
    of: str
    per_cost: bool
    reached: float
    removed: Tensor = field(repr=False)
    kept: Mapping[str, Tensor] = field(repr=False)
    inputs: Mapping[str, Tensor] = field(repr=False)
    numbers: Mapping[str, Mapping[str, int]] = field(repr=False)
    tensors: Mapping[tuple[str, str], tuple[int, Tensor]] = field(repr=False)
    before: Mapping[str, int]
    after: Mapping[str, int]
    skipped: int
    layers: tuple[Unit, ...] = field(repr=False)
    example: Tensor = field(repr=False)
    _widths: Mapping[str, tuple[int, int]] = field(repr=False)  # of all layers, before: outputs, inputs

    @property
    def widths(self) -> dict[str, tuple[int, int]]:
        """Layer with units -> how many it has, and how many of them stay."""
        stays = {unit.name: len(self.kept[unit.name]) if unit.name in self.kept else unit.size for unit in self.layers}
        return {unit.name: (unit.size, stays[unit.name]) for unit in self.layers}

    @property
    def overshoot(self) -> float:
        """By how much more than the budget goes, as a fraction of all `of`."""
        return self.reached - self.budget

    @contexts.random_state_kept()
    @torch.inference_mode(False)  # whatever the caller's: the copy is to be trained and scored
    def apply(self, model: nn.Module) -> nn.Module:
        """The smaller copy of `model`, in eval mode as it is, and on the same device.

        It is tried on the example, and on noise of its shape and several scales: ValueError where it does not run, or
        does not answer as `model` does with the same channels off, as where a network reorders channels or has their
        number in its code; also where the plan is for another network, or the model in training mode, or with units
        off.
        """
        model = self._planned_for(model)
        models.require_eval_mode(model)
        copies.require_units_on(model)
        result = self._narrowed(model)
        if fault := self._fault(model, result, probes := self._probes(model, _SCALES)):
            raise ValueError(f"{type(model).__name__} cannot shrink: {fault}")
        self._tell_what_shows_nothing(result, probes)
        self._tell_what_cannot_train(model, result, probes)
        return result

    def _narrowed(self, model: nn.Module) -> nn.Module:
        result = copies.copied(model)
        for name in dict.fromkeys([*self.kept, *self.inputs]):
            narrow(result.get_submodule(name), self.kept.get(name), self.inputs.get(name))
        for name, numbers in self.numbers.items():
            renumber(result.get_submodule(name), numbers)
        for (module, name), (axis, kept) in self.tensors.items():
            shorten(result.get_submodule(module), name, axis, kept)
        return result

    @contextmanager
    def masked(self, model: nn.Module) -> Iterator[None]:
        """While open, the channels that would go are zero: at their taps, at the output of every norm that they
        reach after a sum or a concatenation, and where a layer takes them (which differs only where an activation does
        not keep zero). Meanwhile the model can be neither copied nor shrunk.

        Raises ValueError where the plan is for another network.
        """
        model, names = self._planned_for(model), dict.fromkeys([*self.kept, *self.inputs])
        with ExitStack() as stack:
            stack.enter_context(copies.units_off(map(model.get_submodule, names)))
            for name in names:
                module = model.get_submodule(name)
                if works_on_channels(module):
                    handle = ahead(module, _silencing(module, widths(module)[0], self.kept[name]))
                    stack.callback(handle.remove)
                elif name in self.inputs:
                    before = _silencing(module, widths(module)[1], self.inputs[name])
                    handle = module.register_forward_pre_hook(_first_argument(before), with_kwargs=True)
                    stack.callback(handle.remove)
            keep = torch.ones(units_in(self.layers))
            keep[self.removed] = 0
            touched = [unit for unit in self.layers if not keep[unit.slice].all()]
            masks = [keep[unit.slice] for unit in touched]
            stack.enter_context(tapped(model, touched, lambda n, tap, x: x * along(masks[n].to(x), tap.axis, x)))
            yield

    def _planned_for(self, model: nn.Module) -> nn.Module:
        """The module inside, if it is a network as the plan was made for."""
        model, remedy = models.inside(model), "make a plan for it"
        models.require_values(model)
        total = sum(parameter.numel() for parameter in model.parameters())
        if total != self.before["parameters"]:
            raise ValueError(
                f"the plan is for {self.before['parameters']} parameters, but the network has {total}: {remedy}"
            )
        if other := self._widths.items() ^ all_widths(model).items():
            name = min(name for name, _ in other)
            raise ValueError(f"the plan is for another network than this one, as {name} shows: {remedy}")
        return model

    def is_right(self, model: nn.Module) -> bool:
        """Whether the smaller network answers as `model` with the same channels off, tried on less than `apply` does,
        which refuses it otherwise."""
        return self._fault(model, self._narrowed(model), self._probes(model, _SCALES[::3])) is None

    def _probes(self, model: nn.Module, scales: Sequence[float]) -> Tensor:
        """What smaller networks are tried on: noise, all but the first with a colour, as photographs have, since means
        of noise are all alike; and the example, mirrored and darker, brighter, and with its channels the other way
        round, since a network may take what noise is not, such as values from 0 to 1 or to 255."""
        own, drawn = self.example[0], torch.Generator().manual_seed(0)
        noise = torch.randn(len(scales), *own.shape, generator=drawn)
        noise[1:] += torch.randn(len(noise) - 1, len(own), *[1] * (own.ndim - 1), generator=drawn)
        noise *= torch.tensor(scales).view(-1, *[1] * own.ndim)
        variants = torch.stack([own, own.flip(-1) / 2, 2 * own, own.flip(0)])
        return torch.cat([models.ready(model, noise), models.ready(model, variants)])

    @torch.no_grad()
    def _fault(self, model: nn.Module, smaller: nn.Module, probes: Tensor) -> str | None:
        """What is wrong with the smaller network, if anything, as found on probes for which the whole one gives
        numbers."""
        with contexts.full_precision(), contexts.as_written():
            with self.masked(model):
                expected = model(probes)
            try:
                found = smaller(probes)
            except torch.OutOfMemoryError:  # which says nothing of the network
                raise
            except Exception as error:  # a user's code may fail in any way
                why = f"perhaps since its code counts on their number ({models.first_line(error)})"
                return f"it does not run without the channels that go, {why}"
        if not _agree(found, expected) and not self._is_rounding(model, smaller, probes):
            why = "perhaps since it counts or reorders them"
            return f"without the channels that go it answers otherwise than with them off, {why}"
        return None

    def _is_rounding(self, model: nn.Module, smaller: nn.Module, probes: Tensor) -> bool:
        """Whether both answer alike, up to single precision, where they compute in double: some networks, such as deep
        ones whose weights are random, magnify rounding until nothing is left of their answers."""
        try:
            whole, smaller, probes = copies.copied(model).double(), copies.copied(smaller).double(), probes.double()
            with contexts.as_written():
                with self.masked(whole):
                    expected = whole(probes)
                return _agree(smaller(probes).float(), expected.float())
        except torch.OutOfMemoryError:
            raise
        except Exception:  # a user's code may want one precision
            return False

    @torch.no_grad()
    def _tell_what_shows_nothing(self, smaller: nn.Module, probes: Tensor) -> None:
        """Warns where the network answers all that it was tried on alike: so would one that is wrong."""
        with contexts.full_precision(), contexts.as_written():
            answers = smaller(probes)
        answers = answers[answers.isfinite().all(1)]
        if answers.numel() and (answers - answers[0]).abs().max() <= _ROUNDING * answers.abs().max():
            warnings.warn(
                f"{type(smaller).__name__} without the channels that go gives the same logits for all that it was"
                " tried on, the example and noise, so that nothing shows whether it is right: compare its answers to"
                " images with those of the network with these units off, or give an image as the example",
                stacklevel=6,
            )

    def _tell_what_cannot_train(self, model: nn.Module, smaller: nn.Module, probes: Tensor) -> None:
        """Warns where what the example did not run through, as layers and tensors for training alone, keeps the smaller
        network from running in training mode, as the whole one does: what it meets is not known, so it stays as it is.
        """
        idle = [*self.layers[0].idle, *self._tensors_left(smaller)]
        if idle and _fails_in_training(smaller, probes) and not _fails_in_training(model, probes):
            more = f" and {len(idle) - 3} more" if len(idle) > 3 else ""
            warnings.warn(
                f"{', '.join(idle[:3])}{more} did not run for the example, so their width stays, and in training mode,"
                f" where they run, {type(smaller).__name__} fails without the channels that go: leave such layers out"
                " of a network that is to shrink, or keep what they take in",
                stacklevel=5,
            )

    def _tensors_left(self, smaller: nn.Module) -> list[str]:
        """Tensors of modules' own that have not become shorter, though an axis is as long as a narrower layer was."""
        lengths = {self._widths[name][0] for name in self.kept}
        return [
            f"{name}.{each}".lstrip(".")
            for name, module in smaller.named_modules() if not can_narrow(module)
            for each, value in chain(module.named_parameters("", False), module.named_buffers("", False))
            if (name, each) not in self.tensors and not lengths.isdisjoint(value.shape)
        ]  # fmt: skip


@torch.no_grad()
def _fails_in_training(model: nn.Module, images: Tensor) -> bool:
    with models.attempted(), contexts.as_written():
        copies.copied(model).train()(images)
        return False
    return True


def _agree(found: Tensor, expected: Tensor) -> bool:
    """Whether logits (M, K) are alike, each example's by itself, but for those that are not expected to be finite."""
    return all(alike(*pair) for pair in zip(found, expected, strict=True) if pair[1].isfinite().all())


def _silencing(module: nn.Module, width: int, kept: Tensor):
    """A hook that lets only the channels `kept` of `width` pass."""
    keep, axis = torch.zeros(width), -1 if isinstance(module, nn.Linear) else 1
    keep[kept] = 1

    def run(module, inputs, value):
        return value * along(keep.to(value), axis, value)

    return run


def _first_argument(change):
    """A hook that changes what a layer takes in, whether that is given by position or by name; but not a size that it
    is given beside that, as transposed convolutions may be."""

    def run(module, taken, named):
        values = [change(module, taken, value) if isinstance(value, Tensor) else value
                  for value in (*taken, *named.values())]  # fmt: skip
        return tuple(values[: len(taken)]), dict(zip(named, values[len(taken) :], strict=True))

    return run
