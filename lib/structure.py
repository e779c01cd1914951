"""Structural pruning: layers that really shrink, where masks only silence their units.

Enters: a trained model, scores (N,), one per unit, an example and a budget. Leaves: a plan of what goes, what stays
and what that saves, and a smaller network of the same classes, with a file format of its own. Channels that a
residual sum, a concatenation or a grouped convolution ties together go together, as the dependency graph of
torch-pruning finds them (Fang et al. 2023, arXiv 2301.12900); a group is worth the sum of its units' scores. Groups
go in the order of their worth, the least first, until the network is first within the budget.
"""

import json
import warnings
from collections import Counter, namedtuple
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib import checks, models, saving
from lib.flow import Flow
from lib.folding import full_precision
from lib.models import alike
from lib.units import LAYERS, Unit, along, tapped, units
from lib.uses import Use, Uses

BUDGETS = ("units", "parameters", "macs")  # what a budget may be a fraction of
_SHRINKABLE = (*LAYERS, _BatchNorm)
_SCALES = (0.3, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 10.0)  # of the noise on which smaller networks are tried
_MOST_VISITS = 1000  # of one operation by the channels of one layer; more go round in a circle
_Channel = namedtuple("_Channel", "idx root_idx")  # as torch-pruning's index mappings take and make them


def slim(model: nn.Module, scores: Tensor, example: Tensor, *, budget: float = 0.5, of: str = "macs") -> nn.Module:
    """A smaller copy of `model`, without its least important channels; `model` is left as it was.

    Arguments:
        scores: (N,), one per unit in the order of `units(model)`.
        example: one input (1, C, H, W); multiply-adds are counted at its size.
        budget: the fraction to remove, between 0 and 1, of all `of`: "units", "parameters" or "macs" (multiply-adds of
            convolutions and linear layers).

    Raises ValueError as `plan` and `Slimming.apply` do.
    """
    return plan(model, scores, example, budget=budget, of=of).apply(model)


def plan(model: nn.Module, scores: Tensor, example: Tensor, *, budget: float = 0.5, of: str = "macs") -> "Slimming":
    """What `slim` with the same arguments removes, without removing it; for many budgets or scores, `trace` once.

    Raises ValueError where the model is in training mode or has parts that cannot shrink, where scores are not one
    finite number per unit, and where the budget is none or cannot be reached.
    """
    return trace(model, example).plan(scores, budget=budget, of=of)


@dataclass(frozen=True, eq=False)
class Slimming:
    """What goes and what stays for one budget.

    `removed` (k,) are the units that go, in the order in which they do, so that a larger budget's begins with a smaller
    one's. `kept` and `inputs` name, for every layer that becomes narrower, the channels that stay at its output (for
    BatchNorm: at all) and its input. `reached` is the fraction of `of` that goes, `overshoot` how far that is beyond
    `budget`; `before` and `after` count units, parameters and macs of one example; `skipped` counts the groups that
    would have gone but held some layer's last channel.
    """

    budget: float
    of: str
    reached: float
    removed: Tensor = field(repr=False)
    kept: Mapping[str, Tensor] = field(repr=False)
    inputs: Mapping[str, Tensor] = field(repr=False)
    before: Mapping[str, int]
    after: Mapping[str, int]
    skipped: int
    layers: tuple[Unit, ...] = field(repr=False)
    shape: tuple[int, ...] = field(repr=False)
    _widths: Mapping[str, tuple[int, int]] = field(repr=False)  # of all layers, before: outputs, inputs

    @property
    def overshoot(self) -> float:
        """By how much more than the budget goes, as a fraction of all `of`."""
        return self.reached - self.budget

    @models.random_state_kept()
    @torch.inference_mode(False)  # whatever the caller's: the copy is to be trained and scored
    def apply(self, model: nn.Module) -> nn.Module:
        """The smaller copy of `model`, in eval mode as it is, and on the same device.

        It is tried on noise of the example's shape and of several scales: ValueError where it does not run, or does
        not answer as `model` does with the same channels off, as where a network reorders channels or has their number
        in its code; also where the plan is for another network, or the model in training mode, or with units off.
        """
        model = self._planned_for(model)
        models.require_eval_mode(model)
        models.require_units_on(model)
        result = models.copied(model)
        for name in dict.fromkeys([*self.kept, *self.inputs]):
            _narrow(result.get_submodule(name), self.kept.get(name), self.inputs.get(name))
        self._try(model, result)
        return result

    @contextmanager
    def masked(self, model: nn.Module) -> Iterator[None]:
        """While open, the channels that would go are zero: at their taps, at the output of every BatchNorm that they
        reach after a sum or a concatenation, and where a layer takes them (which differs only where an activation does
        not keep zero). Meanwhile the model can be neither copied nor shrunk.

        Raises ValueError where the plan is for another network.
        """
        model, names = self._planned_for(model), dict.fromkeys([*self.kept, *self.inputs])
        with ExitStack() as stack:
            stack.enter_context(models.units_off(map(model.get_submodule, names)))
            for name in names:
                module = model.get_submodule(name)
                if isinstance(module, _BatchNorm):
                    handle = module.register_forward_hook(_silencing(module, module.num_features, self.kept[name]))
                    stack.callback(handle.remove)
                elif name in self.inputs:
                    before = _silencing(module, _widths(module)[1], self.inputs[name])
                    handle = module.register_forward_pre_hook(_first_argument(before), with_kwargs=True)
                    stack.callback(handle.remove)
            keep = torch.ones(sum(unit.size for unit in self.layers))
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
        if other := self._widths.items() ^ _all_widths(model).items():
            name = min(name for name, _ in other)
            raise ValueError(f"the plan is for another network than this one, as {name} shows: {remedy}")
        return model

    @torch.no_grad()
    def _try(self, model: nn.Module, smaller: nn.Module) -> None:
        noise = torch.randn(len(_SCALES), *self.shape[1:], generator=torch.Generator().manual_seed(0))
        noise = models.ready(model, noise * torch.tensor(_SCALES).view(-1, *[1] * (noise.ndim - 1)))
        with full_precision(), models.as_written():
            with self.masked(model):
                expected = model(noise)
            try:
                found = smaller(noise)
            except torch.OutOfMemoryError:  # which says nothing of the network
                raise
            except Exception as error:  # a user's code may fail in any way
                raise ValueError(
                    f"{type(model).__name__} cannot shrink: it does not run without the channels that go,"
                    f" {_cause(_in_vain(model, self.layers, noise))} ({models.first_line(error)})"
                ) from error
        if not all(map(alike, found, expected)):
            raise ValueError(
                f"{type(model).__name__} cannot shrink: without the channels that go it answers otherwise than with"
                f" them off, perhaps since it reorders channels"
            )


def _in_vain(model: nn.Module, layers: Sequence[Unit], images: Tensor) -> str | None:
    """The first layer that runs although no logit depends on what it makes, if any: torch-pruning, which goes back from
    the logits, does not see which channels it takes in."""
    flow, made = Flow(), [[] for _ in layers]
    with flow, tapped(model, layers, lambda number, tap, value: made[number].append((value, len(flow)))):
        relevant = flow.leading_to(model(images))
    for unit, uses in zip(layers, made, strict=True):
        if all(relevant.isdisjoint(flow.readers(value, done)) for value, done in uses):
            return unit.name
    return None


def _cause(in_vain: str | None) -> str:
    if in_vain is None:
        return "perhaps since its code counts on their number"
    return f"which {in_vain} may take in, although no logit depends on what it makes: do not run it"


@dataclass(frozen=True)
class _Part:
    """The numbers of a convolution, linear layer or BatchNorm, at its full width."""

    name: str
    outputs: int
    inputs: int
    groups: int  # of channels that only see each other
    each: int = 0  # weights per pair of an output and an input channel that see each other
    vectors: int = 0  # parameters per output channel beside these
    positions: int = 0  # at which the weights are applied, in one example
    units: bool = False  # whether outputs are units

    def cost(self, outputs: int, inputs: int) -> tuple[int, int]:
        """Parameters and multiply-adds at these widths; whole groups go, so what one output sees shrinks only in one
        that has no others."""
        seen = inputs if self.groups == 1 else self.inputs // self.groups
        weights = outputs * seen * self.each
        return weights + self.vectors * outputs, weights * self.positions


@dataclass(frozen=True, eq=False)
class Structure:
    """Which channels of a network are tied to which, and what its layers cost: what plans are made from.

    `groups` (N,) numbers the group of every unit, from 0 in the order of the groups' first units; -1 where a unit must
    stay, since it is tied to the network's input or output.
    """

    groups: Tensor
    layers: tuple[Unit, ...] = field(repr=False)
    shape: tuple[int, ...] = field(repr=False)
    parameters: int
    elsewhere: int  # multiply-adds of what does not shrink
    _parts: tuple[_Part, ...] = field(repr=False)
    # The groups of the channels at every end: the inputs of part i are end 2i, its outputs end 2i + 1.
    _ends: tuple[numpy.ndarray, ...] = field(repr=False)

    def plan(self, scores: Tensor, *, budget: float = 0.5, of: str = "macs") -> Slimming:
        """What goes for these `scores` (N,) and this `budget`; see `plan` of this module."""
        if of not in BUDGETS:
            raise ValueError(f"a budget of {of!r} is not known: use one of {', '.join(BUDGETS)}")
        budget = checks.share("budget", budget)
        members, widths = self._members(), [len(end) for end in self._ends]
        before = self._totals()
        after, gone, skipped = dict(before), [], 0
        for group in self._order(scores):
            if any(widths[end] <= count for end, count in members[group]):
                skipped += 1
                continue
            self._remove(members[group], widths, after)
            gone.append(group)
            if _fraction(before, after, of) >= budget:
                return self._slimming(budget, of, gone, before, after, skipped)
        if not gone:
            raise ValueError(
                "nothing can go: every unit is tied to the network's input or output, or together with all others of"
                " its layer"
            )
        raise ValueError(
            f"a budget of {budget:g} of all {of} cannot be reached: {_fraction(before, after, of):.4f} of them are gone"
            f" when every layer is down to channels that must stay"
        )

    def _order(self, scores: Tensor) -> list[int]:
        scores = checks.scores(scores, len(self.groups))
        free = self.groups >= 0
        worth = torch.zeros(self._size, dtype=torch.float64)
        worth.index_add_(0, self.groups[free], scores.detach().cpu().double()[free])
        return torch.argsort(worth, stable=True).tolist()

    @property
    def _size(self) -> int:
        return int(self.groups.max()) + 1

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

    def _slimming(self, budget, of, gone: list[int], before, after, skipped: int) -> Slimming:
        rank = torch.full((self._size + 1,), len(gone))  # the last is of channels that must stay
        rank[gone] = torch.arange(len(gone))
        when = rank[self.groups]
        removed = torch.argsort(when, stable=True)[: before["units"] - after["units"]]
        stays = (rank == len(gone)).numpy()
        sides = [{}, {}]  # of inputs and of outputs
        for end, groups in enumerate(self._ends):
            kept = numpy.flatnonzero(stays[groups])
            if len(kept) < len(groups):
                sides[end % 2][self._parts[end // 2].name] = torch.from_numpy(kept)
        reached = _fraction(before, after, of)
        inputs, kept = sides
        widths = {part.name: (part.outputs, part.inputs) for part in self._parts[:-1]}
        return Slimming(
            budget, of, reached, removed, kept, inputs, before, after, skipped, self.layers, self.shape, widths
        )


@models.random_state_kept()
@torch.inference_mode(False)  # whose tensors torch-pruning could not follow
def trace(model: nn.Module, example: Tensor) -> Structure:
    """Finds which channels of `model` are tied together, by running `example` (1, C, H, W) through a copy of it.

    Raises ValueError where the model is in training mode, has no units or has parts that cannot shrink: LayerNorm,
    GroupNorm, and parameters other than those of convolutions, linear layers and BatchNorm; or where units are off.
    """
    model = models.inside(model)
    models.require_units_on(model)
    example = models.ready(model, example, 1).repeat_interleave(2, 0)  # for some models do not take a single image
    found = units(model, example)
    _refuse_parts(model)
    parts, elsewhere = _parts(model, example, {unit.name for unit in found})
    starts = numpy.cumsum([0, *(width for part in parts for width in (part.inputs, part.outputs))])
    ties, fixed = _ties(model, example, parts, starts)
    graph = coo_array((numpy.ones(ties.shape[1]), ties), (starts[-1], starts[-1]))
    labels = connected_components(graph, directed=False)[1]
    number = {part.name: number for number, part in enumerate(parts)}
    of_units = numpy.concatenate([labels[_end(starts, 2 * number[unit.name] + 1)] for unit in found])
    groups = _numbered(of_units, labels[fixed], len(labels))
    ends = tuple(groups[labels[_end(starts, end)]] for end in range(len(starts) - 1))
    total = sum(parameter.numel() for parameter in model.parameters())
    return Structure(
        torch.from_numpy(groups[of_units]), tuple(found), tuple(example.shape), total, elsewhere, parts, ends
    )


def _numbered(of_units: numpy.ndarray, fixed: numpy.ndarray, count: int) -> numpy.ndarray:
    """Label -> number of its group, in the order of the units; -1 for labels without units and for `fixed` ones."""
    free = of_units[~numpy.isin(of_units, fixed)]
    first = numpy.sort(numpy.unique(free, return_index=True)[1])
    groups = numpy.full(count, -1)
    groups[free[first]] = numpy.arange(len(first))
    return groups


def _end(starts: numpy.ndarray, end: int) -> slice:
    return slice(starts[end], starts[end + 1])


def _refuse_parts(model: nn.Module) -> None:
    modules, seen = dict(model.named_modules()), set()
    for name, module in modules.items():
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            raise ValueError(
                f"{name} is {type(module).__name__}: networks with LayerNorm or GroupNorm cannot shrink yet"
            )
    for name, module in modules.items():
        own, name = list(module.parameters(recurse=False)), name or type(model).__name__
        if models.computes_weights(module):
            raise ValueError(
                f"{name} computes its weights from others, as weight_norm and prune do, so it cannot shrink: make them"
                f" permanent first (parametrize.remove_parametrizations, prune.remove)"
            )
        if not isinstance(module, _SHRINKABLE) and any(parameter.numel() > 1 for parameter in own):
            raise ValueError(
                f"{name} has parameters of its own, so it cannot shrink: only convolutions, linear layers and BatchNorm"
                f" can"
            )
        if not seen.isdisjoint(map(id, own)):
            raise ValueError(f"{name} shares a parameter with another layer, so it cannot shrink")
        seen.update(map(id, own))


@torch.no_grad()
def _parts(model: nn.Module, example: Tensor, with_units: set[str]) -> tuple[tuple[_Part, ...], int]:
    """All that can shrink, and as a last one, without name or cost, the channels of the image; and the multiply-adds of
    what is not among it, such as fixed filters."""
    modules = {name: module for name, module in model.named_modules() if isinstance(module, _SHRINKABLE)}
    runs: Counter[str] = Counter()
    with ExitStack() as stack:
        for name, module in modules.items():
            see = lambda *_, name=name: runs.update([name])  # noqa: E731
            stack.callback(module.register_forward_hook(see).remove)
        seen = stack.enter_context(_Positions(modules, len(example)))
        stack.enter_context(models.as_written())
        model(example)
    for name in with_units:
        if seen.uses[name] > runs[name]:
            raise ValueError(f"{name} runs as a module, and a function takes its weight, too, so it cannot shrink: call"
                             f" {name}(x) both times")  # fmt: skip
    found = [_part(name, module, seen.positions[name], name in with_units) for name, module in modules.items()]
    return (*found, _Part("", example.shape[1], example.shape[1], example.shape[1])), seen.elsewhere_macs


class _Positions(Uses):
    """While open, counts how often the weights of each layer are used, and at how many positions, for one example.

    Weights that are computed from a layer's own, as those of a cosine classifier, are the layer's.
    """

    def __init__(self, modules: Mapping[str, nn.Module], examples: int):
        owned = {name: module.weight for name, module in modules.items() if module.weight is not None}
        super().__init__(owned.values())
        self.positions, self.elsewhere_macs = dict.fromkeys(modules, 0), 0
        self.uses: Counter[str] = Counter()
        self._owners, self._examples = {id(weight): name for name, weight in owned.items()}, examples

    def use(self, use: Use) -> None:
        owner = self._owners.get(id(self.origin(use.weight)))
        if owner is None:
            self.elsewhere_macs += use.multiply_adds // self._examples
        else:
            self.uses[owner] += 1
            self.positions[owner] += use.positions // self._examples


def _part(name: str, module: nn.Module, positions: int, has_units: bool) -> _Part:
    outputs, inputs = _widths(module)
    if isinstance(module, _BatchNorm):
        return _Part(name, outputs, inputs, outputs, vectors=2 * module.affine)
    groups, bias = getattr(module, "groups", 1), module.bias is not None
    return _Part(name, outputs, inputs, groups, module.weight[0, 0].numel(), int(bias), positions, has_units)


def _widths(module: nn.Module) -> tuple[int, int]:
    """Output and input channels."""
    if isinstance(module, _BatchNorm):
        return module.num_features, module.num_features
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    return module.out_channels, module.in_channels


def _ties_inside(parts: Iterable[_Part], starts: numpy.ndarray) -> Iterator[numpy.ndarray]:
    """Pairs (2, ...) of channels: in a part of several groups, each is tied to the first output of its group."""
    for number, part in enumerate(parts):
        if part.groups > 1:
            for end, width in ((2 * number, part.inputs), (2 * number + 1, part.outputs)):
                channels = numpy.arange(width)
                first = channels // (width // part.groups) * (part.outputs // part.groups)
                yield numpy.stack([starts[end] + channels, starts[2 * number + 1] + first])


class _Inlet(_BatchNorm):
    """What images pass on their way into the traced network, so that the graph knows their channels."""

    def _check_input_dim(self, images: Tensor) -> None:
        pass


@torch.enable_grad()
def _graph(model: nn.Module, inlet: nn.Module, example: Tensor):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its sources' old escapes, when they are compiled
        import torch_pruning
    traced = nn.Sequential(inlet, model).requires_grad_().to(example.device, example.dtype)
    try:
        with models.as_written():
            return torch_pruning.DependencyGraph().build_dependency(traced, [example.clone()], verbose=False)
    except Exception as error:  # whatever of its many parts meets what it does not know
        raise ValueError(f"torch-pruning cannot follow {type(model).__name__}: {models.first_line(error)}") from error


def _ties(model: nn.Module, example: Tensor, parts: tuple[_Part, ...], starts: numpy.ndarray):
    """Pairs (2, ...) of channels that are tied, and the channels (...,) that must stay."""
    copy, inlet = models.copied(model), _Inlet(parts[-1].outputs).eval()
    for module in copy.modules():
        if getattr(module, "padding_mode", "zeros") != "zeros":
            module.padding_mode = "zeros"  # which ties channels as any other does, and is followed
    nodes = _graph(copy, inlet, example).module2node
    modules = [*(copy.get_submodule(part.name) for part in parts[:-1]), inlet]
    numbers = {id(nodes[module]): number for number, module in enumerate(modules) if module in nodes}
    pairs, fixed = [numpy.empty((2, 0), int), *_ties_inside(parts, starts)], [numpy.arange(starts[-3], starts[-1])]
    for number, (part, module) in enumerate(zip(parts, modules, strict=True)):
        node, start = nodes.get(module), starts[2 * number + 1]
        classifies = part.each and not part.units
        if node is None or not node.outputs or classifies:
            fixed.append(start + numpy.arange(part.outputs))
        for end, (theirs, mine) in _reached(node, part.outputs, numbers) if node else ():
            if end is None:
                fixed.append(start + mine)
            elif _aligned(part, parts[end // 2], starts[end + 1] - starts[end], theirs):
                pairs.append(numpy.stack([start + mine, starts[end] + theirs]))
    return numpy.concatenate(pairs, axis=1), numpy.concatenate(fixed)


def _lost(name: str) -> str:
    return (
        f"the channels of {name} are split, reshaped or reordered behind it, where torch-pruning cannot follow them, so"
        f" the network cannot shrink"
    )


def _aligned(part: _Part, other: _Part, width: int, channels: numpy.ndarray) -> bool:
    """Whether a tie is one of channel with channel; one channel that is spread over many is tied to none of them."""
    if 1 in (part.outputs, width):
        return False
    if channels.max(initial=0) < width:
        return True
    if "" in (part.name, other.name):  # an image whose channels are not along axis 1
        return False
    raise ValueError(_lost(part.name))


def _reached(node, width: int, numbers: Mapping[int, int]) -> Iterator[tuple[int | None, numpy.ndarray]]:
    """What the output channels of a layer's `node` meet before the next layer in whichever direction.

    Yields an end, None for that of the network, and (2, ...): channels there, and the node's own that meet them.
    """
    start, seen, visits = [_Channel(channel, channel) for channel in range(width)], set(), Counter()
    stack = [(dependency, False, start) for dependency in node.dependencies[len(node.inputs) :]]
    while stack:
        dependency, upward, channels = stack.pop()
        for mapping in dependency.index_mapping:
            channels = channels if mapping is None else mapping(channels)
        target, state = dependency.target, (id(dependency.target), frozenset(channels))
        if id(target) in numbers:
            yield 2 * numbers[id(target)] + upward, numpy.array(channels, int).reshape(-1, 2).T
        elif channels and state not in seen:
            seen.add(state)
            visits[id(target)] += 1
            if visits[id(target)] > _MOST_VISITS:
                raise ValueError(_lost(node.name.split()[0]))
            if not target.outputs:
                yield None, numpy.array(channels, int).T
            # A node's dependencies are on its inputs, then on its outputs, in their order.
            stack += [(d, n < len(target.inputs), channels) for n, d in enumerate(target.dependencies)]


def _narrow(module: nn.Module, outputs: Tensor | None, inputs: Tensor | None) -> None:
    """Keeps only these channels of a layer, in place; None keeps all."""
    if outputs is not None:
        for name in ("weight", "bias", "running_mean", "running_var"):
            _select(module, name, outputs, 0)
    if inputs is not None and not isinstance(module, _BatchNorm):
        if getattr(module, "groups", 1) > 1:  # of which only whole ones go, and what is left sees as much as before
            module.groups = module.groups * len(inputs) // module.in_channels
        else:
            _select(module, "weight", inputs, 1)
    for name, kept in (("num", outputs), ("out", outputs), ("in", inputs)):
        for size in (f"{name}_features", f"{name}_channels"):
            if kept is not None and hasattr(module, size):
                setattr(module, size, len(kept))


def _select(module: nn.Module, name: str, kept: Tensor, axis: int) -> None:
    value = getattr(module, name, None)
    if value is None:
        return
    fewer = value.detach().index_select(axis, kept.to(value.device))
    if _is_channels_last(value):  # which index_select does not keep, and a layer would be slower without
        fewer = fewer.to(memory_format=torch.channels_last)
    is_parameter = isinstance(value, nn.Parameter)
    setattr(module, name, nn.Parameter(fewer, value.requires_grad) if is_parameter else fewer)


def _is_channels_last(value: Tensor) -> bool:
    """By strides, which tell it of 1 x 1 kernels too; in the usual layout they never rise."""
    strides = list(value.stride())
    return value.ndim == 4 and strides != sorted(strides, reverse=True)


def _silencing(module: nn.Module, width: int, kept: Tensor):
    """A hook that lets only the channels `kept` of `width` pass."""
    keep, axis = torch.zeros(width), -1 if isinstance(module, nn.Linear) else 1
    keep[kept] = 1

    def run(module, inputs, value):
        return value * along(keep.to(value), axis, value)

    return run


def _first_argument(change):
    """A hook that changes what a layer takes in, whether that is given by position or by name."""

    def run(module, taken, named):
        values = [change(module, taken, value) for value in (*taken, *named.values())]
        return tuple(values[: len(taken)]), dict(zip(named, values[len(taken) :], strict=True))

    return run


def _fraction(before: Mapping[str, int], after: Mapping[str, int], of: str) -> float:
    return (before[of] - after[of]) / before[of]


def save(model: nn.Module, path: Path, metadata: Mapping[str, object] | None = None) -> None:
    """Writes a slimmed network to a safetensors file: its weights, and the width of every layer as JSON.

    Arguments:
        metadata: whatever else is worth keeping, as JSON; not under "widths".

    Raises ValueError for a model or a path that is none, and for metadata that cannot be kept.
    """
    model, path, metadata = models.inside(model), checks.path(path), {} if metadata is None else metadata
    if isinstance(metadata, Mapping):
        if "widths" in metadata:
            raise ValueError('metadata has "widths" already, where those of layers are kept: give it another name')
        metadata = {**metadata, "widths": _all_widths(model)}
    saving.save(model, path, metadata)


def load(model: nn.Module, path: Path) -> nn.Module:
    """The network in `path`, made from `model`, a freshly built one of the same architecture at its full width.

    `model` is left as it was; the result is on its device, in eval mode. Raises ValueError naming the file where it is
    damaged or no slimmed network of this architecture, and for a model or a path that is none.
    """
    model, path = models.inside(model), checks.path(path)
    full, result = _all_widths(model), models.copied(model)
    widths = _recipe(path)
    if widths.keys() != full.keys():
        name = min(widths.keys() ^ full.keys())
        raise ValueError(f"{path} cannot be used: {name} is a layer only {'there' if name in widths else 'here'}")
    for name, (outputs, inputs) in widths.items():
        if not (0 < outputs <= full[name][0] and 0 < inputs <= full[name][1]):
            raise ValueError(
                f"{path} cannot be used: {name} has {inputs} inputs and {outputs} outputs there, {full[name][1]} and"
                f" {full[name][0]} here"
            )
        _narrow(result.get_submodule(name), torch.arange(outputs), torch.arange(inputs))
    saving.restore(result, path)
    return result


def _recipe(path: Path) -> dict[str, tuple[int, int]]:
    _, metadata = saving.read(path)
    try:
        widths = json.loads(metadata["study"])["widths"]
        return {name: (int(outputs), int(inputs)) for name, (outputs, inputs) in widths.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no slimmed network: it lists no widths of layers") from error


def _all_widths(model: nn.Module) -> dict[str, tuple[int, int]]:
    return {name: _widths(module) for name, module in model.named_modules() if isinstance(module, _SHRINKABLE)}
