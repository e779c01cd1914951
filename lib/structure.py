"""Structural pruning: layers that really shrink, where masks only silence their units.

Enters: a trained model, scores (N,), one per unit, an example and a budget. Leaves: a plan of what goes, what stays
and what that saves (`slimming`), and with it a smaller network of the same classes. Channels that a residual sum, a
concatenation or a grouped convolution ties together go together (`ties`); a group is worth the sum of its units'
scores. Groups go in the order of their worth, the least first, as far as there is `room`, until the network is first
within the budget.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy
import torch
from torch import Tensor, nn

from lib.network import checks, contexts, copies, models
from lib.network.taps import Unit
from lib.network.units import units
from lib.shrinking.agreeing import of_another_size, require_numbers
from lib.shrinking.heads import Number, numbers_needed
from lib.shrinking.own_tensors import tied_with_own_tensors
from lib.shrinking.room import Room, fewest
from lib.shrinking.shrinkable import Part, has_what_stays, parts_of, refuse_parts
from lib.shrinking.slimming import Slimming
from lib.shrinking.ties import Heads, Ties
from lib.shrinking.trials import culprits, outspoken

BUDGETS = ("units", "parameters", "macs")  # what a budget may be a fraction of


class OutOfReach(ValueError):
    """A budget that cannot be met, since too little may go."""


def slim(
    model: nn.Module,
    scores: Tensor,
    example: Tensor,
    *,
    budget: float = 0.5,
    of: str = "macs",
    keep: Iterable[str] = (),
    at_most: float = 1.0,
    multiple_of: int = 1,
    per_cost: bool = False,
) -> nn.Module:
    """A smaller copy of `model`, without its least important channels; `model` is left as it was.

    Arguments:
        scores: (N,), one per unit in the order of `units(model)`.
        example: one input (1, C, H, W); multiply-adds are counted at its size. What the network does for other sizes
            alone is tried for one that is larger by half, or by as much again, where the network takes it, and for no
            others; layers that the example does not run through stay as they are, and a warning names them.
        budget: the fraction to remove, between 0 and 1, of all `of`: "units", "parameters" or "macs" (multiply-adds of
            convolutions and linear layers).
        keep: names of layers, or of modules that hold some, all units of which stay; what they take in may shrink.
        at_most: the largest share of any one layer's units that may go, above 0 and at most 1.
        multiple_of: layers that shrink keep a multiple of so many units, as some processors are faster with; a layer
            that has no smaller multiple stays as it is.
        per_cost: what has the lowest score for each of `of` that goes with it goes first, instead of the lowest score.
            For scores that add up, as the change of the output that gradients estimate does, and such as differ in
            cost: at as many multiply-adds such networks keep more accuracy. Others, such as sizes of weights, do worse.

    Raises ValueError as `plan` and `Slimming.apply` do.
    """
    limits = {"keep": keep, "at_most": at_most, "multiple_of": multiple_of, "per_cost": per_cost}
    return plan(model, scores, example, budget=budget, of=of, **limits).apply(model)


def plan(
    model: nn.Module,
    scores: Tensor,
    example: Tensor,
    *,
    budget: float = 0.5,
    of: str = "macs",
    keep: Iterable[str] = (),
    at_most: float = 1.0,
    multiple_of: int = 1,
    per_cost: bool = False,
) -> Slimming:
    """What `slim` with the same arguments removes, without removing it; for many budgets or scores, `trace` once.

    Raises ValueError where the model is in training mode or has parts that cannot shrink, where scores are not one
    finite number per unit, where the budget is none, and for limits that are none; OutOfReach, which is one, where the
    budget cannot be reached.
    """
    limits = {"keep": keep, "at_most": at_most, "multiple_of": multiple_of, "per_cost": per_cost}
    return trace(model, example).plan(scores, budget=budget, of=of, **limits)


@contexts.random_state_kept()
@torch.inference_mode(False)  # whatever the caller's: the network is followed and tried as it is used
def trace(model: nn.Module, example: Tensor) -> "Structure":
    """Finds which channels of `model` are tied together, by running `example` (1, C, H, W) through a copy of it.

    What is tied to parameters that do not shrink, such as those of LayerNorm, stays whole, and so does what cannot be
    followed, and that without which the network is found to be wrong when it is tried; a warning names the layers.
    Raises ValueError where the model is in training mode, has no units, gives NaN for the example, computes its weights
    from others or shares them between layers, and where units are off.
    """
    model = models.inside(model)
    copies.require_units_on(model)
    example = models.ready(model, example, 1).repeat_interleave(2, 0)  # for some models do not take a single image
    found = units(model, example)
    with torch.no_grad(), contexts.as_written():
        require_numbers(model, models.answers(model, example)[:1])
    refuse_parts(model)
    parts, elsewhere = parts_of(model, example, {unit.name for unit in found})
    parts, ties = tied_with_own_tensors(model, example, parts)
    outputs = {part.name: end for part, end in zip(parts, ties.labels[1::2], strict=True)}
    of_units = numpy.concatenate([outputs[unit.name] for unit in found])
    groups = _numbered(of_units, ties.fixed, sum(map(len, ties.labels)))
    ends = tuple(groups[end] for end in ties.labels)
    total = sum(parameter.numel() for parameter in model.parameters())
    heads = (replace(each, labels=groups[each.labels]) for each in ties.heads)
    heads = tuple(each for each in heads if (each.labels >= 0).all())
    with torch.inference_mode(False):
        larger = of_another_size(copies.copied(model).cpu(), found, example.cpu())
    made = Structure(
        torch.from_numpy(groups[of_units]), tuple(found), example, total, elsewhere, parts, ends, heads, larger
    )
    whole, tried = made.whole, made.tried(model)
    wrong = [name for name in tried.whole if name not in whole]
    _tell_what_stays(ties, whole, wrong, tried.undivided, some_parameters_stay=has_what_stays(model, parts))
    return tried


def _tell_what_stays(
    ties: Ties, whole: Sequence[str], wrong: Sequence[str], undivided: Sequence[str], *, some_parameters_stay: bool
) -> None:
    """Warns, once, of layers all of whose units must stay for another reason than that they are the network's
    input or output."""
    others = [name for name in whole if name not in {*ties.lost, *ties.met, *ties.given}]
    if some_parameters_stay:
        why = "they are tied to parameters that do not shrink, such as those of LayerNorm"
    else:
        why = "they are normalised over, tied to constants, or taken in by a function with weights of a layer"
    said = {
        "they cannot be followed to where they are read": ties.lost,
        "all of their channels meet in products or a softmax, as in attention of one head": ties.met,
        why: others,
        "their channels go all together, as in front of GroupNorm of one group, and every layer keeps one": undivided,
        "the network was tried without some of them, and does not run or answers otherwise than with them off": wrong,
    }
    for why, names in said.items():
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            warnings.warn(f"all units of {', '.join(names[:3])}{more} stay, since {why}", stacklevel=4)


def _numbered(of_units: numpy.ndarray, fixed: numpy.ndarray, count: int) -> numpy.ndarray:
    """Label -> number of its group, in the order of the units; -1 for labels without units and for `fixed` ones."""
    free = of_units[~numpy.isin(of_units, fixed)]
    first = numpy.sort(numpy.unique(free, return_index=True)[1])
    groups = numpy.full(count, -1)
    groups[free[first]] = numpy.arange(len(first))
    return groups


@dataclass(frozen=True, eq=False)
class Structure:
    """Which channels of a network are tied to which, and what its layers cost: what plans are made from.

    `groups` (N,) numbers the group of every unit, from 0 in the order of the groups' first units; -1 where a unit must
    stay, as where it is tied to the network's input or output.
    """

    groups: Tensor
    layers: tuple[Unit, ...] = field(repr=False)
    example: Tensor = field(repr=False)
    parameters: int
    elsewhere: int  # multiply-adds of what does not shrink
    _parts: tuple[Part, ...] = field(repr=False)
    # The groups of the channels at every end: the inputs of part i are end 2i, its outputs end 2i + 1.
    _ends: tuple[numpy.ndarray, ...] = field(repr=False)
    _heads: tuple[Heads, ...] = field(default=(), repr=False)  # of attention, with the group of each
    _larger: Tensor | None = field(default=None, repr=False)  # images of another size that the network takes, if any
    _numbers: tuple[Number, ...] = field(default=(), repr=False)  # attributes that become smaller with them

    @property
    def whole(self) -> list[str]:
        """The layers all of whose units must stay."""
        return [unit.name for unit in self.layers if (self.groups[unit.slice] < 0).all()]

    @property
    def undivided(self) -> list[str]:
        """The layers all of whose units go together, and so cannot, as every layer keeps one."""
        of_layers = ((unit, self.groups[unit.slice]) for unit in self.layers)
        return [unit.name for unit, own in of_layers if unit.size > 1 and own[0] >= 0 and (own == own[0]).all()]

    def tried(self, model: nn.Module) -> "Structure":
        """The same, but that those groups stay without some of which `model` does not run, or answers otherwise than
        with them off, whatever attributes of its modules count heads."""
        blocks: dict[int, list[int]] = {}
        of_groups = self._room(self._members).blocks
        for group, block in enumerate(of_groups):
            blocks.setdefault(block, []).append(group)
        heads = {block: [each for each in self._heads if of_groups[each.labels[0]] == block] for block in blocks}
        heads = {block: own for block, own in heads.items() if own}
        of_heads = [blocks.pop(block) for block in heads]

        telling = outspoken(model, models.ready(model, self.example)) if heads else model

        def is_right(number: int, numbers: Sequence[Number]) -> bool:
            return replace(self, _numbers=tuple(numbers))._without_some([of_heads[number]]).is_right(telling)

        numbers, wrong = numbers_needed(model, [*heads.values()], is_right)
        made = replace(self, _numbers=tuple(numbers))
        stay = [of_heads[number] for number in wrong]
        rest = [*(block for number, block in enumerate(of_heads) if number not in wrong), *blocks.values()]
        stay += culprits(rest, lambda some: made._without_some(some).is_right(model))
        return made._keeping([group for block in stay for group in block]) if stay else made

    def _without_some(self, blocks: Sequence[Sequence[int]]) -> Slimming:
        """What goes where a quarter of the groups of each of these blocks do, but for layers' last channels. So many
        that an odd number is left, which code that counts on halves does not stand."""
        drawn, members = torch.Generator().manual_seed(0), self._members
        room, widths = self._room(members), [len(end) for end in self._ends]
        before, after, gone = self._totals(), self._totals(), []
        for block in blocks:
            count = len(block) // 4 + (len(block) - len(block) // 4 + 1) % 2
            for place in torch.randperm(len(block), generator=drawn)[: max(1, count)].tolist():
                for group in room.take(block[place]):
                    self._remove(members[group], widths, after)
                    gone.append(group)
        return self._slimming(0.0, "units", False, gone, before, after, 0)

    def _keeping(self, stay: Sequence[int]) -> "Structure":
        """The same without these groups, whose channels stay."""
        goes = torch.ones(self._size + 1, dtype=torch.bool)  # the last is of channels that stay already
        goes[[*stay, -1]] = False
        numbers = torch.where(goes, goes.cumsum(0) - 1, -1)
        anew = numbers.numpy()
        return replace(
            self,
            groups=numbers[self.groups],
            _ends=tuple(anew[end] for end in self._ends),
            _heads=tuple(replace(each, labels=anew[each.labels]) for each in self._heads),
            _numbers=tuple(replace(number, groups=anew[number.groups]) for number in self._numbers),
        )

    def plan(
        self,
        scores: Tensor,
        *,
        budget: float = 0.5,
        of: str = "macs",
        keep: Iterable[str] = (),
        at_most: float = 1.0,
        multiple_of: int = 1,
        per_cost: bool = False,
    ) -> Slimming:
        """What goes for these `scores` (N,), this `budget` and these limits; see `slim` of this module."""
        if of not in BUDGETS:
            raise ValueError(f"a budget of {of!r} is not known: use one of {', '.join(BUDGETS)}")
        budget = checks.share("budget", budget)
        members, widths = self._members, [len(end) for end in self._ends]
        room = self._room(members, keep, at_most, multiple_of)
        before = self._totals()
        after, gone = dict(before), []
        for offered, group in enumerate(self._order(scores, members, of if per_cost else None), 1):
            for other in (together := room.take(group)):
                self._remove(members[other], widths, after)
            gone += together
            if _fraction(before, after, of) >= budget:
                return self._slimming(budget, of, bool(per_cost), gone, before, after, offered - len(gone))
        limited = keep or at_most != 1 or multiple_of != 1
        raise OutOfReach(_out_of_reach(budget, of, _fraction(before, after, of) if gone else None, bool(limited)))

    def _room(self, members, keep: Iterable[str] = (), at_most: float = 1.0, multiple_of: int = 1) -> Room:
        least = fewest(self.layers, keep, at_most)
        ends = {2 * number + 1: least[part.name] for number, part in enumerate(self._parts) if part.units}
        return Room([*map(len, self._ends)], ends, members, checks.whole("multiple_of", multiple_of, 1))

    def _order(self, scores: Tensor, members, cost: str | None) -> list[int]:
        """The groups, those that go first in front: by the sum of their units' scores, or by that for each of `cost`
        that goes with them; below 0, where what saves much would be worth less for it, times that."""
        scores = checks.scores(scores, len(self.groups))
        free = self.groups >= 0
        worth = torch.zeros(self._size, dtype=torch.float64)
        worth.index_add_(0, self.groups[free], scores.detach().cpu().double()[free])
        if cost is not None:
            saved = self._savings(members, cost)
            worth = torch.where(worth > 0, worth / saved, worth * saved)
        return torch.argsort(worth, stable=True).tolist()

    def _savings(self, members, of: str) -> Tensor:
        """How many of `of` (units, parameters or macs) go with each group, were it the only one; at least one."""
        before, widths, found = self._totals(), [len(end) for end in self._ends], []
        for ends in members:
            after = dict(before)
            self._remove(ends, list(widths), after)
            found.append(before[of] - after[of])
        return torch.tensor(found, dtype=torch.float64).clamp(min=1)

    @property
    def _size(self) -> int:
        return int(self.groups.max()) + 1

    @cached_property
    def _members(self) -> list[list[tuple[int, int]]]:
        """For each group, the ends at which it has channels, and how many."""
        found = [[] for _ in range(self._size)]
        for end, groups in enumerate(self._ends):
            for group, count in zip(*numpy.unique(groups[groups >= 0], return_counts=True), strict=True):
                found[group].append((end, int(count)))
        return found

    def _totals(self) -> dict[str, int]:
        macs = self.elsewhere + sum(part.cost(part.outputs, part.inputs)[1] for part in self._parts)
        return {"units": len(self.groups), "parameters": self.parameters, "macs": macs}

    def _remove(self, members: list[tuple[int, int]], widths: list[int], counts: dict[str, int]) -> None:
        """Takes a group out of `widths` and `counts`."""
        touched = {end // 2 for end, _ in members}
        costs = [self._parts[i].cost(widths[2 * i + 1], widths[2 * i]) for i in touched]
        for end, count in members:
            widths[end] -= count
            counts["units"] -= count * (end % 2) * self._parts[end // 2].units
        for i, (parameters, macs) in zip(touched, costs, strict=True):
            fewer = self._parts[i].cost(widths[2 * i + 1], widths[2 * i])
            counts["parameters"] += fewer[0] - parameters
            counts["macs"] += fewer[1] - macs

    def _slimming(self, budget, of, per_cost: bool, gone: list[int], before, after, skipped: int) -> Slimming:
        rank = torch.full((self._size + 1,), len(gone))  # the last is of channels that must stay
        rank[gone] = torch.arange(len(gone))
        when = rank[self.groups]
        removed = torch.argsort(when, stable=True)[: before["units"] - after["units"]]
        stays = (rank == len(gone)).numpy()
        sides, tensors = [{}, {}], {}  # of inputs and of outputs; of modules' own tensors
        for end, groups in enumerate(self._ends):
            kept, part = numpy.flatnonzero(stays[groups]), self._parts[end // 2]
            if len(kept) < len(groups) and part.axis is None:
                sides[end % 2][part.name] = torch.from_numpy(kept)
            elif len(kept) < len(groups):
                tensors[part.owner] = part.axis, torch.from_numpy(kept)
        reached = _fraction(before, after, of)
        inputs, kept = sides
        widths = {part.name: (part.outputs, part.inputs) for part in self._parts[:-1] if part.axis is None}
        numbers: dict[str, dict[str, int]] = {}
        for number in self._numbers:
            if not stays[number.groups].all():
                numbers.setdefault(number.module, {})[number.name] = number.each * int(stays[number.groups].sum())
        return Slimming(
            budget,
            of,
            per_cost,
            reached,
            removed,
            kept,
            inputs,
            numbers,
            tensors,
            before,
            after,
            skipped,
            self.layers,
            self.example,
            widths,
            self._larger,
        )


def _out_of_reach(budget: float, of: str, reached: float | None, limited: bool) -> str:
    """What is to be said where a budget cannot be met; `reached` is None where nothing at all can go."""
    if limited:
        gone = "nothing can go" if reached is None else f"{reached:.4f} of them are gone when"
        left = "" if reached is None else " all has gone that may"
        return (
            f"a budget of {budget:g} of all {of} cannot be reached: {gone}{left} by keep, at_most and multiple_of:"
            f" loosen one of them"
        )
    if reached is None:
        return (
            "nothing can go: every unit is tied to the network's input or output, to parameters that do not shrink, or"
            " together with all others of its layer, or the network was tried and is wrong without some of them"
        )
    return (
        f"a budget of {budget:g} of all {of} cannot be reached: {reached:.4f} of them are gone when every layer is down"
        f" to channels that must stay"
    )


def _fraction(before: Mapping[str, int], after: Mapping[str, int], of: str) -> float:
    return (before[of] - after[of]) / before[of]
