"""What is true of a random network, found the slow, obvious way, in float64: nothing of `lib` but its random numbers.

A recipe of `tests/recipes.py` is interpreted step by step, out of place, with a gate on every use of a unit. From that
follow its logits with units off, the scores of criteria, the oracle, and, by brute force, which weights count.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from types import SimpleNamespace
from zlib import crc32

import torch
from recipes import Recipe, random_values
from steps import AVERAGE_POOLS, by_heads
from torch import Tensor, nn
from torch.nn import functional

from lib.scoring.noise import Noise

WEIGHED = ("conv", "linear", "transposed", "own", "cosine")  # whose weights take multiply-adds
State = Mapping[str, Tensor]  # by name, as in a state_dict; what modules share is one tensor


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers in float64."""
    found, seen = {}, {}
    parameters = model.named_parameters(remove_duplicate=False)
    for name, tensor in [*parameters, *model.named_buffers(remove_duplicate=False)]:
        found[name] = seen.setdefault(id(tensor), tensor.detach().double())
    return found


@dataclass(frozen=True)
class Program:
    """A recipe with weights, to be run; with `generic`, whatever may stop a change by accident lets it pass."""

    recipe: Recipe
    state: State
    generic: bool = False
    dtype: torch.dtype = torch.float64

    def single(self) -> "Program":
        """The same in single precision: by how much its results differ is rounding that nobody can avoid."""
        fresh = {id(tensor): tensor.float() for tensor in self.state.values()}
        state = {name: fresh[id(tensor)] for name, tensor in self.state.items()}
        return replace(self, state=state, dtype=torch.float32)

    def run(
        self,
        images: Tensor,
        gates: Mapping[int, Tensor] | None = None,
        uses: Mapping[int, Tensor] | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The logits (M, K) of images (M, ...); arguments as of `values`."""
        return self.values(images, gates, uses, weights)[-1]

    def values(
        self,
        images: Tensor,
        gates: Mapping[int, Tensor] | None = None,
        uses: Mapping[int, Tensor] | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> list[Tensor]:
        """The values by number, the images first, the logits (M, K) last.

        Arguments:
            gates: what values, by number, are multiplied by along their channels: (C,) or (M, C).
            uses: what the weights of operations, by number, are multiplied by: (., .), for all of a kernel at once.
            weights: take the place of those of modules, by name.
        """
        values = [images.to(self.dtype)]
        for operation in self.recipe.operations:
            at, sources = self.recipe.shapes[operation.sources[0]], [values[n] for n in operation.sources]
            own = self.weights(operation.module, (weights or {}).get(operation.module))
            if uses and operation.number in uses:
                own.use = _stretched(uses[operation.number], own.weight)
                if operation.name != "cosine":  # where it comes after what is done to the weight
                    own.itself = own.weight = own.use * own.weight
            pure = GENERIC.get(operation.name, operation.step.pure) if self.generic else operation.step.pure
            value = pure(own, at, *sources, *operation.args)
            if gates and operation.number in gates:
                value = value * self.recipe.shapes[operation.number].spread(gates[operation.number])
            values.append(value)
        return values

    def weights(self, module: str, weight: Tensor | None = None) -> SimpleNamespace:
        """The parameters and buffers of a module, the weight as it is used; `itself` where it is a parameter."""
        own = {name: self.state.get(f"{module}.{name}") for name in ("bias", "running_mean", "running_var")}
        found = SimpleNamespace(**own, weight=self.effective(module) if weight is None else weight)
        found.itself, found.use = self.state.get(module), 1.0
        if found.weight is None:
            found.weight = found.itself
        return found

    def effective(self, module: str) -> Tensor | None:
        """The weight that the module computes with, whatever it is made from."""
        part = f"{module}.parametrizations.weight."
        if f"{part}0._u" in self.state:
            whole = self.state[f"{part}original"]
            rows = whole.transpose(0, 1) if module.startswith("transposed") else whole  # whatever the groups
            largest = self.state[f"{part}0._u"] @ rows.flatten(1) @ self.state[f"{part}0._v"]
            return whole / (largest + self.generic)  # lest the sign of a single weight be all that is left of it
        if f"{part}original1" in self.state:
            length, direction = self.state[f"{part}original0"], self.state[f"{part}original1"]
            return length * direction / _stretched(direction.flatten(1).norm(dim=1) + self.generic, direction)
        if f"{module}.weight_mask" in self.state:
            return self.state[f"{module}.weight_orig"] * self.state[f"{module}.weight_mask"]
        return self.state.get(f"{module}.weight")

    def gates(self, on: Tensor) -> dict[int, Tensor]:
        """The gates of every use of every unit: of (N,) or (M, N) numbers, a part for each."""
        parts = on.split([layer.size for layer in self.recipe.layers], -1)
        return {tap: part for layer, part in zip(self.recipe.layers, parts, strict=True) for tap in layer.taps}

    def masked(self, images: Tensor, off: Tensor) -> Tensor:
        """The logits with the units in `off`, (N,) bool, off."""
        return self.run(images, self.gates((~off).double()))


def _stretched(values: Tensor, like: Tensor) -> Tensor:
    return values.view(*values.shape, *[1] * (like.ndim - values.ndim))


# ---- scores ----------------------------------------------------------------------------------------------------------

Cotangent = Callable[[int, Tensor], Tensor]  # (number of the example, its logits (K,)) -> (K,)


def label_cotangent(labels: Tensor) -> Cotangent:
    """softmax - onehot."""
    return lambda m, z: z.softmax(0) - functional.one_hot(labels[m], len(z))


def random_cotangent(seed: int) -> Cotangent:
    """A Gaussian vector of length one."""

    def vector(m: int, z: Tensor) -> Tensor:
        v = Noise(seed, torch.tensor([m])).normal(len(z))[0].to(z)
        return v / v.norm()

    return vector


def contributions(program: Program, images: Tensor, *cotangents: Cotangent) -> list[Tensor]:
    """For each kind of cotangent the derivatives (M, N) along gates on every use of every unit, example by example."""
    taps = [(layer, tap) for layer in program.recipe.layers for tap in layer.taps]
    rows = [[] for _ in cotangents]
    for m in range(len(images)):
        ones = [torch.ones(layer.size, dtype=program.dtype, requires_grad=True) for layer, _ in taps]
        (z,) = program.run(images[m : m + 1], {tap: gate for (_, tap), gate in zip(taps, ones, strict=True)})
        for cotangent, row in zip(cotangents, rows, strict=True):
            scalar = z @ cotangent(m, z.detach())
            found = torch.autograd.grad(scalar, ones, retain_graph=True, materialize_grads=True)
            total = {layer.name: torch.zeros(layer.size, dtype=program.dtype) for layer, _ in taps}
            for (layer, _), part in zip(taps, found, strict=True):
                total[layer.name] += part
            row.append(torch.cat([*total.values()]))
    return [torch.stack(row) for row in rows]


def scores(program: Program, images: Tensor, labels: Tensor, seed: int, minibatch: int) -> dict[str, Tensor]:
    """Name of a criterion -> (N,)."""
    label, rand = contributions(program, images, label_cotangent(labels), random_cotangent(seed))
    parts = label.split(minibatch)
    return {
        "taylorfo": label.mean(0).abs(),
        "abs": label.abs().mean(0),
        "sq": label.square().mean(0),
        "sq:rand:norm": rand.square().mean(0),
        "molchanov-bn": sum(len(part) * part.mean(0).square() for part in parts) / len(label),
        "molchanov-group": group(program, images, label_cotangent(labels), minibatch),
    }


def group(program: Program, images: Tensor, cotangent: Cotangent, minibatch: int) -> Tensor:
    """Mean over minibatches of the sum of (weight x its gradient)^2 over a unit's weights, as used, and its bias."""
    names = [layer.name for layer in program.recipe.layers]
    weights = _leaves({name: program.effective(name) for name in names})
    biases = [f"{name}.bias" for name in names]
    biases = _leaves({name: program.state[name] for name in biases if name in program.state})
    both, total = {**weights, **biases}, 0.0
    with_leaves = replace(program, state={**program.state, **biases})
    for part, numbers in zip(images.split(minibatch), torch.arange(len(images)).split(minibatch), strict=True):
        z = with_leaves.run(part, weights=weights)
        v = torch.stack([cotangent(m, row.detach()) for m, row in zip(numbers.tolist(), z, strict=True)])
        found = torch.autograd.grad((z * v).sum() / len(part), [*both.values()], materialize_grads=True)
        squares = {name: (each * by).square().detach() for (name, each), by in zip(both.items(), found, strict=True)}
        rows = [torch.stack([squares[name][place].sum() for place in program.recipe.weights_of_outputs(name)])
                + squares.get(f"{name}.bias", 0.0) for name in names]  # fmt: skip
        total = total + torch.cat(rows) * len(part) / len(images)
    return total


def _leaves(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that gradients reach, one of each tensor."""
    found: dict[int, Tensor] = {}
    return {name: found.setdefault(id(each), each.detach().clone().requires_grad_()) for name, each in tensors.items()}


VANISHES = 80  # the sigmoid of less than minus this is 0 in single precision, or nearly


def shares_positive(program: Program, images: Tensor, margin: float) -> tuple[Tensor, Tensor] | None:
    """Bounds of the shares (N,) of positive values after each unit's activation function, where values are exact to
    `margin`; None where different functions take in the same value."""
    values, bounds = program.values(images), []
    for layer in program.recipe.layers:
        low, high = [], []
        for tap in layer.taps:
            always = [kind == "sigmoid" for kind in _activations(program.recipe, tap)]
            if any(always) != all(always):
                return None
            value = values[tap].movedim(program.recipe.shapes[tap].axis, 1).reshape(len(images), layer.size, -1)
            least = margin * value.abs().max().clamp(min=1)
            if any(always):  # but for what is too small for a number
                low.append((value > -VANISHES).double().mean((0, 2)))
                high.append(torch.ones(layer.size))
            else:
                low.append((value > least).double().mean((0, 2)))
                high.append((value > -least).double().mean((0, 2)))
        bounds.append(torch.stack([torch.stack(low).mean(0), torch.stack(high).mean(0)]))
    low, high = torch.cat(bounds, 1)
    return low, high


def _activations(recipe: Recipe, value: int) -> list[str]:
    """Those that take in the value as it is; ReLU where none does."""
    found, names = [], recipe.names_of(value)
    for taker in recipe.takers(value):
        if taker.name == "act":
            found.append(taker.args[0])
        elif taker.name == "gate" and taker.sources[1] in names:
            found.append("sigmoid")
    return found or ["relu"]


# ---- the oracle ------------------------------------------------------------------------------------------------------


def oracle(program: Program, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What changes with each unit off, (N,): the mean square of the logits' change, and that of the mean loss."""
    total, count = program.recipe.total, len(images)
    on = 1 - torch.eye(total, dtype=torch.float64)
    repeated = images.double().repeat(total, *[1] * (images.ndim - 1))
    changed = program.run(repeated, program.gates(on.repeat_interleave(count, 0))).unflatten(0, (total, count))
    intact = program.run(images)
    losses = [functional.cross_entropy(z.mT, labels.expand(len(z), -1), reduction="none").mean(1)
              for z in (changed, intact[None])]  # fmt: skip
    return {
        "output": (changed - intact).square().sum(2).mean(1),
        "loss": (losses[0] - losses[1]).abs(),
    }


# ---- what counts -----------------------------------------------------------------------------------------------------

DRAWS = 3  # of all weights and images, lest a change pass unseen by accident
UNSEEN = 1e-11  # of the largest derivative: rounding
NOTHING = 1e-13  # so large is the largest derivative, of values around 1, where all are rounding: then none counts


def _open(x: Tensor, kind: str = "") -> Tensor:
    """An activation function that keeps zero, is never flat and nowhere straight; each kind another one."""
    return functional.leaky_relu(x, 0.2 + crc32(kind.encode()) / 2**33) + 0.2 * x.square() / (1 + x.square())


GENERIC: Mapping[str, Callable[..., Tensor]] = {
    "act": lambda w, at, x, kind, style: (x / 4).sigmoid() if kind == "sigmoid" else _open(x, kind),
    "negative": lambda w, at, x: _open(-x),
    "crelu": lambda w, at, x: torch.cat([_open(x), _open(-x)], at.axis),
    "maximum": lambda w, at, x, y: _open(x) + 0.7 * _open(y),
    "max pool": lambda w, at, x, size: AVERAGE_POOLS[at.dims - 1](_open(x), size),
    "gate": lambda w, at, x, y: x * at.spread((y / 4).sigmoid()),
    "cosine": lambda w, at, x, out: functional.linear(
        x / (1 + x.norm(dim=-1, keepdim=True)), w.use * w.weight / (1 + w.weight.norm(dim=-1, keepdim=True))
    ),
    "attention": lambda w, at, q, k, v: (q @ k.mT / 4).sigmoid() @ v,
    "heads": lambda w, at, q, k, v, heads, how: by_heads(heads, partial(GENERIC["attention"], w, at), q, k, v),
    "layer norm": lambda w, at, x: functional.layer_norm(x, (at.channels,), w.weight, w.bias, 1.0),
    "softmax": lambda w, at, x: x,
    "log softmax": lambda w, at, x: x,
}


def counted(program: Program, off: Tensor, unseen: float = UNSEEN) -> dict[str, int]:
    """How many multiply-adds and parameters count with the units in `off`, (N,) bool, off; not what makes a change of
    less than `unseen` of the largest, which is rounding; nothing where the logits are constant.

    A weight counts if changing it can change a logit for some values of all others and of the images, where nothing is
    flat: see `GENERIC`. What cancels whatever the values are does not count. Of a convolution all the weights of a pair
    of channels count as soon as one does, but those that a mask sets to zero.
    """
    uses, parameters = {}, {}
    for draw in range(DRAWS):
        for name, change in _changes(program, off, draw).items():
            found = uses if isinstance(name, int) else parameters
            found[name] = found.get(name, 0.0) + change
    largest = max(change.max() for change in (*uses.values(), *parameters.values()))
    least = unseen * largest if largest > NOTHING else largest
    at = {number: _positions(program.recipe, number) for number in uses}
    return {
        "macs": sum(at[number] * _entries(program, number, change > least) for number, change in uses.items()),
        "parameters": sum(_whole(program, name, change > least) for name, change in parameters.items()),
    }


def _changes(program: Program, off: Tensor, draw: int) -> dict[int | str, Tensor]:
    """Absolute derivatives of some combination of the logits, by every parameter and by every use of weights."""
    recipe, generator = program.recipe, torch.Generator().manual_seed(draw)
    state = _redrawn(program.state, generator)
    parameters = {id(tensor): (name, tensor) for name, tensor in state.items() if tensor.requires_grad}
    fresh = Program(recipe, state, generic=True)
    weighed = [operation for operation in recipe.operations if operation.name in WEIGHED]
    uses = {operation.number: torch.ones(fresh.weights(operation.module).weight.shape[:2], dtype=torch.float64)
            .requires_grad_() for operation in weighed}  # fmt: skip
    images = torch.randn(2, *recipe.shapes[0].sizes, dtype=torch.float64, generator=generator)
    logits = fresh.run(images, fresh.gates((~off).double()), uses)
    combined = (logits * torch.randn(logits.shape, dtype=torch.float64, generator=generator)).sum()
    leaves = {**uses, **dict(parameters.values())}
    found = torch.autograd.grad(combined, [*leaves.values()], materialize_grads=True)
    return {name: change.abs() for name, change in zip(leaves, found, strict=True)}


_FIXED = ("weight_mask", "_u", "_v", "num_batches_tracked")
_BUFFERS = ("running_mean", "running_var")


def _redrawn(state: State, generator: torch.Generator) -> dict[str, Tensor]:
    fresh, found = {}, {}
    for name, tensor in state.items():
        if name.endswith(_FIXED):
            found[name] = tensor
            continue
        if id(tensor) not in fresh:
            values = random_values(name, tensor, generator)
            fresh[id(tensor)] = values.requires_grad_(not name.endswith(_BUFFERS))
        found[name] = fresh[id(tensor)]
    return found


def _positions(recipe: Recipe, number: int) -> int:
    """Where the weights of an operation are applied, in one example."""
    operation = recipe.operations[number - 1]
    shape = recipe.shapes[operation.sources[0] if operation.name == "transposed" else number]
    return prod(shape.space)


def _entries(program: Program, number: int, pairs: Tensor) -> int:
    """The weights of an operation that belong to these pairs (., .) of channels."""
    module = program.recipe.operations[number - 1].module
    weight = program.weights(module).weight
    mask = program.state.get(f"{module}.weight_mask", torch.ones_like(weight))
    return int((_stretched(pairs, weight) * mask).sum())


def _whole(program: Program, name: str, changes: Tensor) -> int:
    """The entries of a parameter that count, where some make a change."""
    mask = program.state.get(name.replace("weight_orig", "weight_mask")) if name.endswith("weight_orig") else None
    if changes.ndim > 2:
        changes = _stretched(changes.flatten(2).any(2), changes).expand_as(changes)
    return int(changes.sum() if mask is None else (changes * mask).sum())
