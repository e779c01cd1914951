"""Recipes of networks: a short literal that alone determines one, weights included; its source text and its module.

The steps of a recipe are tuples: the name of an entry of `STEPS`, the numbers of the values that it takes in (0 is the
input, n what the n-th step makes), then further arguments. What is true of a network by definition (its units and
where they are tapped) is derived here from the recipe, without running anything.
"""

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import torch
from steps import STEPS, Shape, Step, functional_line, require
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

USES = ("again", "functional", "twin")  # of a layer: its module once more, its weights in a call, shared with another
UNITS = ("conv", "linear", "transposed")


@dataclass(frozen=True)
class Operation:
    """A step of a recipe, looked up: `name`, `sources` and `args` as of `STEPS`, `owner` the step whose module it
    uses, and `use`, one of `USES` or nothing."""

    number: int
    name: str
    sources: tuple[int, ...]
    args: tuple
    owner: int
    use: str = ""
    of: int | None = None

    @property
    def step(self) -> Step:
        return STEPS[self.name]

    @property
    def module(self) -> str:
        """The name of its module or parameter, where it has one."""
        return f"{self.name.replace(' ', '_')}{self.owner}"


@dataclass(frozen=True)
class Layer:
    """A layer with units, as it is to be found: `taps` are the values that are gated, one for every use."""

    name: str
    size: int
    norm: str | None
    uses: tuple[int, ...]
    taps: tuple[int, ...]


@dataclass(frozen=True)
class Recipe:
    """All that a network is made from, and what follows from it; `str` gives a literal that `parse` takes.

    `input` is the shape of an example: kind, channels, space. `blocks` (first step, last, how) run in an entry of
    `BLOCKS`, `parametrized` (step, how) get a parametrization, `frozen` are no (0), all (1) or every other (2)
    parameter, `backwards` registers modules in the opposite order, `alias` registers that step's once more, `wrapper`
    is an entry of `WRAPPERS`, `flaw` of `FLAWS`. A network is of `double` precision (1), with images of single (2);
    with `many`, there are more of them than in a minibatch.
    """

    seed: int
    input: tuple
    steps: tuple[tuple, ...]
    blocks: tuple[tuple[int, int, str], ...] = ()
    parametrized: tuple[tuple[int, str], ...] = ()
    double: int = 0
    frozen: int = 0
    backwards: int = 0
    alias: int = 0
    many: int = 0
    wrapper: str = ""
    flaw: str = ""

    @classmethod
    def parse(cls, text: str) -> "Recipe":
        return cls(**ast.literal_eval(text))

    def __str__(self) -> str:
        given = {name: value for name, value in vars(self).items() if name in self.__dataclass_fields__}
        defaults = {name: each.default for name, each in self.__dataclass_fields__.items()}
        return repr({name: value for name, value in given.items() if value != defaults[name]})

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        found = []
        for number, (name, *rest) in enumerate(self.steps, start=1):
            if name in USES:
                source, of = rest
                layer = found[of - 1]
                owner = number if name == "twin" else layer.owner
                found.append(Operation(number, layer.name, (source,), layer.args, owner, name, of))
            else:
                sources = STEPS[name].sources
                found.append(Operation(number, name, tuple(rest[:sources]), tuple(rest[sources:]), number))
        return tuple(found)

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Of every value, the input first. Raises Misfit where a step cannot take in what it is given."""
        kind, channels, *space = self.input
        shapes = [Shape(kind, channels, tuple(space))]
        for operation in self.operations:
            sources = [shapes[source] for source in operation.sources]
            shapes.append(operation.step.shape(*sources, *operation.args))
            if operation.use:
                require(sources[0].channels == shapes[self.operations[operation.of - 1].sources[0]].channels)
                require(sources[0].kind == shapes[self.operations[operation.of - 1].sources[0]].kind)
        return tuple(shapes)

    def names_of(self, value: int) -> set[int]:
        """The value, and those that are the same one under another number."""
        found = {value}
        for operation in self.operations:
            if operation.step.result == "same" and operation.sources[0] in found:
                found.add(operation.number)
        return found

    def takers(self, value: int) -> list[Operation]:
        """The operations that take in a value and make another one, once for every time."""
        names = self.names_of(value)
        others = [operation for operation in self.operations if operation.step.result != "same"]
        return [operation for operation in others for source in operation.sources if source in names]

    @cached_property
    def classifiers(self) -> set[str]:
        """The modules whose output channels are those of the logits."""
        found, stack = set(), [len(self.steps)]
        while stack:
            operation = self.operations[stack.pop() - 1]
            if operation.name in UNITS and operation.use != "functional":
                found.add(operation.module)
            elif not operation.step.mixes:
                stack += [source for source in operation.sources if source]
        return found

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers with units, in the order in which they first run."""
        uses: dict[str, list[Operation]] = {}
        for operation in self.operations:
            if operation.name in UNITS and operation.use != "functional" and operation.module not in self.classifiers:
                uses.setdefault(operation.module, []).append(operation)
        return tuple(self._layer(name, found) for name, found in uses.items())

    def _layer(self, name: str, uses: list[Operation]) -> Layer:
        norms, taps = [], []
        for use in uses:
            takers = self.takers(use.number)
            norm = takers[0] if len(takers) == 1 and takers[0].name == "norm" else None
            norm = None if norm and "function" in norm.args else norm  # called by itself, not as a module
            norms.append(norm and norm.module)
            taps.append(norm.number if norm else use.number)
        return Layer(name, uses[0].args[0], norms[0], tuple(use.number for use in uses), tuple(taps))

    def weights_of_outputs(self, name: str) -> list[tuple]:
        """For each unit of a layer, where its weights are in the layer's weight."""
        layer = next(operation for operation in self.operations if operation.module == name)
        if layer.name != "transposed":
            return [(row,) for row in range(layer.args[0])]
        groups = layer.args[4]
        seen, made = self.shapes[layer.sources[0]].channels // groups, layer.args[0] // groups
        return [(slice(group * seen, (group + 1) * seen), row) for group in range(groups) for row in range(made)]

    @property
    def total(self) -> int:
        """N, the number of units."""
        return sum(layer.size for layer in self.layers)


# ---- from a recipe to a module ---------------------------------------------------------------------------------------

INDENT = "        "

BLOCKS = {
    "checkpoint": "{last} = checkpoint({block}, use_reentrant=False)",
    "reentrant": "{last} = checkpoint({block}, use_reentrant=True)",
    "no gradient": "with torch.no_grad():\n    {last} = call({block})",
}
FLAWS = {  # what a network returns instead of logits
    "tuple": "({z}, {z})", "dict": "{{'logits': {z}}}", "three axes": "{z}[:, :, None]",
    "training": "{z}", "no statistics": "self.unsteady({z})",
}  # fmt: skip


def source(recipe: Recipe) -> str:
    """The network as somebody would write it."""
    made = [f"{INDENT}{line}" for line in _init_lines(recipe)]
    if recipe.backwards:
        made = made[::-1]
    made += [
        f"{INDENT}self.{operation.module}.weight = self.{recipe.operations[operation.of - 1].module}.weight"
        for operation in recipe.operations
        if operation.use == "twin"
    ]
    text = ["class Net(nn.Module):", "    def __init__(self):", f"{INDENT}super().__init__()", *made, ""]
    if recipe.alias:
        text[-1:-1] = [f"{INDENT}self.alias = self.{recipe.operations[recipe.alias - 1].module}"]
    starts = {first: (last, how) for first, last, how in recipe.blocks}
    for first, last, _ in recipe.blocks:
        names = ", ".join(["self", *_taken(recipe, first, last)])
        text += [f"    def block{last}({names}):", *_lines(recipe, first, last), f"{INDENT}return x{last}", ""]
    text += ["    def forward(self, x0):"]
    number = 1
    while number <= len(recipe.steps):
        last, how = starts.get(number, (number, None))
        if how is None:
            text += _lines(recipe, number, number)
        else:
            names = ", ".join([f"self.block{last}", *_taken(recipe, number, last)])
            text += [INDENT + line for line in BLOCKS[how].format(last=f"x{last}", block=names).splitlines()]
        number = last + 1
    result = FLAWS.get(recipe.flaw, "{z}").format(z=f"x{len(recipe.steps)}")
    return "\n".join([*text, f"{INDENT}return {result}", ""])


def _init_lines(recipe: Recipe) -> Iterator[str]:
    for operation in recipe.operations:
        if operation.step.module and operation.owner == operation.number:
            sources = [recipe.shapes[number] for number in operation.sources]
            text = operation.step.module(*sources, *operation.args)
            if text:
                yield f"self.{operation.module} = {text}"


def _taken(recipe: Recipe, first: int, last: int) -> list[str]:
    """The names of the values that the steps from `first` to `last` take in from elsewhere."""
    sources = {source for operation in recipe.operations[first - 1 : last] for source in operation.sources}
    return [f"x{source}" for source in sorted(sources) if source < first]


def _lines(recipe: Recipe, first: int, last: int) -> list[str]:
    found = []
    for operation in recipe.operations[first - 1 : last]:
        at, names = recipe.shapes[operation.sources[0]], [f"x{source}" for source in operation.sources]
        me = f"self.{operation.module}"
        if operation.use == "functional":
            line = functional_line(at, me, *names, operation.name, *operation.args)
        else:
            line = operation.step.line(at, me, *names, *operation.args)
        if operation.args[-1:] == ("overwriting",):
            found += [line]
            line = names[0]
        found.append(f"x{operation.number} = {line}")
    return [INDENT + line for line in found]


def build(recipe: Recipe) -> nn.Module:
    """The network, in eval mode, random in every weight and buffer."""
    space: dict = {"nn": nn, "torch": torch, "F": functional, "checkpoint": checkpoint, "call": lambda f, *x: f(*x)}
    exec(source(recipe), space)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = space["Net"]().double()
        generator = torch.Generator().manual_seed(recipe.seed)
        for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()]):
            if tensor.is_floating_point():
                tensor.data.copy_(random_values(name, tensor, generator))
        for number, how in recipe.parametrized:
            PARAMETRIZED[how](model.get_submodule(recipe.operations[number - 1].module))
    for position, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(not (recipe.frozen == 1 or (recipe.frozen == 2 and position % 2)))
    return _flawed(recipe, (model if recipe.double else model.float()).eval())


def _flawed(recipe: Recipe, model: nn.Module) -> nn.Module:
    *_, last = model.modules()
    if recipe.flaw == "training":
        last.train()
    if recipe.flaw == "no statistics":
        model.unsteady = nn.BatchNorm1d(recipe.shapes[-1].channels, track_running_stats=False).eval()
        model.unsteady.to(next(model.parameters()).dtype)
    return model


def random_values(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    """New values for a parameter or buffer of this name, by which every mistake would show."""
    values = torch.randn(like.shape, dtype=torch.float64, generator=generator)
    if name.endswith("running_var"):
        return 0.5 + values.sigmoid()
    if name.endswith("bias") or name.endswith("running_mean"):
        return 0.4 * values
    if like.ndim < 2:  # a factor of every channel, of either sign, not near zero
        return values + 0.5 * values.sign()
    return values * 1.5 / math.sqrt(like[0].numel())


PARAMETRIZED: Mapping[str, Callable[[nn.Module], object]] = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "prune": lambda module: prune.random_unstructured(module, "weight", 0.4),
    "prune rows": lambda module: prune.ln_structured(module, "weight", 0.4, n=2, dim=0),
}

WRAPPERS: Mapping[str, Callable[[nn.Module, Tensor], nn.Module]] = {
    "": lambda model, images: model,
    "parallel": lambda model, images: nn.DataParallel(model).eval(),
    "sequential": lambda model, images: nn.Sequential(model).eval(),
    "copy": lambda model, images: _copied(model, images),
    "hooked": lambda model, images: _with_hooks(model),
    "fx": lambda model, images: torch.fx.symbolic_trace(model),
    "jit": lambda model, images: torch.jit.trace(model, images, check_trace=False),
    "compiled": lambda model, images: torch.compile(model, backend="eager"),
}


def _copied(model: nn.Module, images: Tensor) -> nn.Module:
    """After a pass without gradients, since a weight that a hook has computed with them cannot be copied."""
    with torch.no_grad():
        model(images[:2])
    return deepcopy(model)


def _with_hooks(model: nn.Module) -> nn.Module:
    """With hooks that only look."""
    for module in [*model.modules()][1::2]:
        module.register_forward_hook(lambda module, taken, made: None)
        module.register_forward_pre_hook(lambda module, taken: None)
    return model


def examples(recipe: Recipe, count: int, seed: int = 0) -> Tensor:
    """Inputs (M, ...) of the network's type."""
    generator = torch.Generator().manual_seed(1_000_003 * recipe.seed + seed)
    images = torch.randn(count, *recipe.shapes[0].sizes, dtype=torch.float64, generator=generator)
    return images if recipe.double == 1 else images.float()
