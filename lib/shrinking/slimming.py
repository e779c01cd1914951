"""What goes and what stays of a network for one budget, and the network without it: smaller, or masked.

Enters: a model and the plan that `structure` has made for it. Leaves: a smaller copy of the same classes, once it has
been tried and answers as the model with the same channels off; or the model itself with these channels silent.
"""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor, nn

from lib.network import contexts, copies, models
from lib.network.layers import all_widths, can_narrow, narrow, renumber, shorten, widths, works_on_channels
from lib.network.taps import Unit, ahead, along, tapped, units_in
from lib.shrinking.agreeing import SCALES, agree, is_coarse, probes, require_numbers, shows_nothing
from lib.shrinking.idle import Taken, left_by


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
    _larger: Tensor | None = field(default=None, repr=False)  # images of another size that the network takes, if any

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

        It is tried on the example, on noise of its shape and several scales, and on larger images if the network takes
        them: ValueError where it does not run, or does not answer as `model` does with the same channels off, as where
        a network reorders channels or has their number in its code; also where the model gives NaN for the example, the
        plan is for another network, or the model in training mode, or with units off. A warning names layers that the
        example does not run through: what they meet cannot be tried.
        """
        model = self._planned_for(model)
        models.require_eval_mode(model)
        copies.require_units_on(model)
        unseen, logits = left_by(model, models.ready(model, self.example[:1].repeat_interleave(2, 0)))
        require_numbers(model, logits)
        images = models.ready(model, probes(self.example, SCALES))
        result = self._narrowed(model)
        if fault := self._fault(model, result, images) or self._fault_at_another_size(model, result):
            raise ValueError(f"{type(model).__name__} cannot shrink: {fault}")
        self._tell_what_shows_nothing(result, images)
        self._tell_what_is_idle(model, result, unseen, images)
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
            stack.enter_context(tapped(model, touched, lambda n, tap, x: _only(x, masks[n], tap.axis)))
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
        images = models.ready(model, probes(self.example, SCALES[::3]))
        smaller = self._narrowed(model)
        return not (self._fault(model, smaller, images) or self._fault_at_another_size(model, smaller))

    def _fault_at_another_size(self, model: nn.Module, smaller: nn.Module) -> str | None:
        """What is wrong for images of another size that the whole network takes, if there are such and anything is.
        Copies run, on the CPU: a network may keep something of a size, and a GPU is of no use any more after a table
        has been asked for more than it holds."""
        if self._larger is None:
            return None
        with torch.inference_mode(False):
            model, smaller = (copies.copied(each).cpu() for each in (model, smaller))
        fault = self._fault(model, smaller, models.ready(model, self._larger))
        return fault and f"for images of {' x '.join(map(str, self._larger.shape[2:]))} {fault}"

    @torch.no_grad()
    def _fault(self, model: nn.Module, smaller: nn.Module, images: Tensor) -> str | None:
        """What is wrong with the smaller network, if anything, as found on these images."""
        with contexts.full_precision(), contexts.as_written():
            with self.masked(model):
                expected = model(images)
            try:
                found = smaller(images)
            except models.OF_THE_MACHINE:  # which say nothing of the network
                raise
            except Exception as error:  # a user's code may fail in any way
                why = f"perhaps since its code counts on their number ({models.first_line(error)})"
                return f"it does not run without the channels that go, {why}"
        if agree(found, expected) and not is_coarse(expected):
            return None
        try:
            if self._is_rounding(model, smaller, images):
                return None
        except models.OF_THE_MACHINE:
            raise
        except Exception as error:  # a user's code may want one precision
            return (
                "without the channels that go it answers otherwise than with them off, or its precision is too coarse"
                f" to tell, and in double precision, which would tell, it does not run ({models.first_line(error)})"
            )
        why = "perhaps since it counts or reorders them"
        return f"without the channels that go it answers otherwise than with them off, {why}"

    def _is_rounding(self, model: nn.Module, smaller: nn.Module, images: Tensor) -> bool:
        """Whether both answer alike where they compute in double: some networks, such as deep ones whose weights are
        random, magnify rounding until nothing is left of their answers, and of logits that have much in common rounding
        leaves little. Fails where they do not run in that."""
        whole, smaller, images = copies.copied(model).double(), copies.copied(smaller).double(), images.double()
        with contexts.as_written(), contexts.in_double_precision():
            with self.masked(whole):
                expected = whole(images)
            return agree(smaller(images), expected)

    @torch.no_grad()
    def _tell_what_shows_nothing(self, smaller: nn.Module, images: Tensor) -> None:
        """Warns where the network answers all that it was tried on alike: so would one that is wrong."""
        with contexts.full_precision(), contexts.as_written():
            answers = smaller(images)
        if shows_nothing(answers):
            warnings.warn(
                f"{type(smaller).__name__} without the channels that go gives the same logits for all that it was"
                " tried on, the example and noise, so that nothing shows whether it is right: compare its answers to"
                " images with those of the network with these units off, or give an image as the example",
                stacklevel=6,
            )

    def _tell_what_is_idle(self, model: nn.Module, smaller: nn.Module, unseen: set[str], images: Tensor) -> None:
        """Warns of layers and tensors, some `unseen`, that the example did not run through: what they meet is not
        known, so they stay as they are. Those for training alone do no harm where the smaller network runs in training
        mode, if the whole one does."""
        idle = [*self.layers[0].idle, *self._tensors_left(smaller)]
        if not (idle or self._owners(model, unseen)):
            return
        in_training, runs = _in_training(model, images)
        if idle and runs and not _in_training(smaller, images)[1]:
            warnings.warn(
                f"{_few(idle)} did not run for the example, so their width stays, and in training mode,"
                f" where they run, {type(smaller).__name__} fails without the channels that go: leave such layers out"
                " of a network that is to shrink, or keep what they take in",
                stacklevel=5,
            )
        if never := self._owners(model, unseen & in_training):
            warnings.warn(
                f"{_few(never)} did not run for the example, so their width stays, and where they run, as for images"
                f" of another size, {type(smaller).__name__} may fail or be wrong without the channels that go: keep"
                " what they take in, or leave them out of a network that is to shrink",
                stacklevel=5,
            )

    def _owners(self, model: nn.Module, tensors: Collection[str]) -> list[str]:
        """The layers all of whose parameters are among these tensors; of other modules the tensors, if they are as long
        as a layer was that is narrower now."""
        layers = [name for name, module in model.named_modules() if can_narrow(module)
                  if (own := [each for each, value in module.named_parameters(name, False) if value.numel()])
                  and tensors >= {*own}]  # fmt: skip
        return [*layers, *(name for name in self._tensors_left(model) if name in tensors)]

    def _tensors_left(self, smaller: nn.Module) -> list[str]:
        """Tensors of modules' own that have not become shorter, though an axis is as long as a narrower layer was."""
        lengths = {self._widths[name][0] for name in self.kept}
        return [
            f"{name}.{each}".lstrip(".")
            for name, module in smaller.named_modules() if not can_narrow(module)
            for each, value in chain(module.named_parameters("", False), module.named_buffers("", False))
            if (name, each) not in self.tensors and not lengths.isdisjoint(value.shape)
        ]  # fmt: skip


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])} and {len(names) - 3} more" if len(names) > 3 else ", ".join(names)


@torch.no_grad()
def _in_training(model: nn.Module, images: Tensor) -> tuple[set[str], bool]:
    """The tensors that a pass in training mode does not take, by name, and whether it comes to its end."""
    made, runs = copies.copied(model).train(), False
    with contexts.as_written(), Taken() as taken, models.attempted():
        made(images)
        runs = True
    return taken.left(made), runs


def _only(value: Tensor, keep: Tensor, axis: int) -> Tensor:
    """The value with zeros in all channels along an axis but those of which `keep` is not 0, whatever is there: what is
    infinite would be NaN times zero."""
    return value.where(along(keep.to(value.device) != 0, axis, value), 0)


def _silencing(module: nn.Module, width: int, kept: Tensor):
    """A hook that lets only the channels `kept` of `width` pass."""
    keep, axis = torch.zeros(width), -1 if isinstance(module, nn.Linear) else 1
    keep[kept] = 1
    return lambda module, inputs, value: _only(value, keep, axis)


def _first_argument(change):
    """A hook that changes what a layer takes in, whether that is given by position or by name; but not a size that it
    is given beside that, as transposed convolutions may be."""

    def run(module, taken, named):
        values = [change(module, taken, value) if isinstance(value, Tensor) else value
                  for value in (*taken, *named.values())]  # fmt: skip
        return tuple(values[: len(taken)]), dict(zip(named, values[len(taken) :], strict=True))

    return run
