"""A grammar of small networks as people write them: `draw` makes the recipe with a number.

`IDIOMS` are the ways in which people combine steps, `head` how they end; then some steps overwrite what they take in.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

from recipes import BLOCKS, FLAWS, PARAMETRIZED, UNITS, Operation, Recipe, build, examples
from steps import ACTIVATIONS, HAS_NO_INPLACE, KEEPS_ITS_NAME_IN_PLACE, OVERWRITING, Misfit, Shape, require

CLASSES = 3
MOST_CHANNELS, MOST_NUMBERS, MOST_UNITS, MOST_STEPS = 8, 200, 36, 30


class Draft:
    """A recipe in the making; a call adds a step and returns its number."""

    def __init__(self, rng: random.Random, first: tuple):
        self.rng, self.input, self.steps, self.blocks = rng, first, [], []

    def __call__(self, name: str, *rest) -> int:
        require(name != "subtract" or rest[0] != rest[1])
        self.steps.append((name, *rest))
        at = self.at(-1)  # raises where it does not fit
        require(at.channels <= MOST_CHANNELS or name == "flatten")
        require(math.prod(at.sizes) <= MOST_NUMBERS)
        return len(self.steps)

    def at(self, value: int) -> Shape:
        return Recipe(0, self.input, tuple(self.steps)).shapes[value]

    def try_one(self, idiom: Callable[["Draft", int], int], x: int) -> int:
        """The idiom's result, or `x` itself where it does not fit."""
        steps, blocks = len(self.steps), len(self.blocks)
        try:
            return idiom(self, x)
        except Misfit:
            del self.steps[steps:], self.blocks[blocks:]
            return x

    def chance(self, percent: int) -> bool:
        return self.rng.randrange(100) < percent


def layer(d: Draft, x: int, out: int | None = None, plain: bool = False) -> int:
    """A convolution that keeps the space, or a linear layer."""
    at, out, bias = d.at(x), out or d.rng.randint(2, 4), int(d.chance(60))
    if at.kind != "map":
        return d("linear", x, out, bias, *(["folded"] if at.kind == "tokens" and d.chance(15) else []))
    kernel, name = d.rng.choice([1, 3]), "transposed" if d.chance(8) else "conv"
    fitting = [groups for groups in (2, 3, 4) if at.channels % groups == out % groups == 0]
    groups = d.rng.choice(fitting) if fitting and not plain and d.chance(25) else 1
    return d(name, x, out, kernel, 1, kernel // 2, groups, bias)


def shrinking(d: Draft, x: int) -> int:
    """A convolution that leaves less space, or pads otherwise."""
    out, bias = d.rng.randint(2, 4), int(d.chance(60))
    if d.chance(25):
        how = d.rng.choice(["same", "circular", "dilated"])
        return d("conv", x, out, 3, 1, 1, 1, bias, how)
    kernel, stride = d.rng.choice([(2, 2), (3, 1), (3, 2), (2, 1)])
    return d("conv", x, out, kernel, stride, d.rng.randint(0, 1), 1, bias)


def norm(d: Draft, x: int) -> int:
    if d.at(x).kind == "tokens":
        return d("layer norm", x) if d.at(x).channels > 1 and d.chance(20) else x  # one alone is always 0
    how = d.rng.choices(["", "keyword", "function"], [92, 4, 4])[0]
    return d("norm", x, int(d.chance(85)), *([how] if how else []))


def act(d: Draft, x: int) -> int:
    kind = "relu" if d.chance(60) else d.rng.choice([*ACTIVATIONS])
    styles = ["module", "function", "method"] if kind in KEEPS_ITS_NAME_IN_PLACE else ["module", "function"]
    return d("act", x, kind, d.rng.choice(styles))


def maybe(d: Draft, percent: int, production: Callable[[Draft, int], int], x: int) -> int:
    return production(d, x) if d.chance(percent) else x


def plain(d: Draft, x: int) -> int:
    y = shrinking(d, x) if d.at(x).kind == "map" and d.chance(35) else layer(d, x)
    y = maybe(d, 5, lambda d, y: d("dropout", y), maybe(d, 55, norm, y))
    return maybe(d, 80, act, y)


def norm_after_activation(d: Draft, x: int) -> int:
    return norm(d, act(d, layer(d, x)))


def branch(d: Draft, x: int, out: int) -> int:
    """What stands beside a shortcut."""
    y = act(d, maybe(d, 60, norm, layer(d, x)))
    if d.at(y).channels == out and d.chance(40):
        return y
    return maybe(d, 50, norm, layer(d, y, out))


def residual(d: Draft, x: int) -> int:
    y = branch(d, x, d.at(x).channels)
    x, y = (x, y) if d.chance(50) else (y, x)
    return maybe(d, 60, act, d(d.rng.choice(["add", "add", "add", "subtract", "multiply"]), x, y))


def projected(d: Draft, x: int) -> int:
    out = d.rng.randint(2, 4)
    y, shortcut = branch(d, x, out), maybe(d, 50, norm, layer(d, x, out))
    return maybe(d, 60, act, d(d.rng.choice(["add", "add", "average", "subtract"]), y, shortcut))


def before_activation(d: Draft, x: int) -> int:
    """A pre-activation block behind a bare layer: its BatchNorm and the shortcut take in the same."""
    x = maybe(d, 70, layer, x)
    return d("add", x, layer(d, act(d, norm(d, x)), d.at(x).channels))


def beside(d: Draft, x: int) -> int:
    """A layer that feeds a BatchNorm and something else."""
    x = layer(d, x)
    y = maybe(d, 70, act, norm(d, x))
    other = x if d.chance(50) else norm(d, x) if d.chance(40) else act(d, x)
    return d(d.rng.choice(["join", "add", "subtract", "multiply"]), y, other)


def dense(d: Draft, x: int) -> int:
    return d("join", x, layer(d, act(d, norm(d, x)) if d.chance(60) else act(d, x)))


def two_branches(d: Draft, x: int) -> int:
    """Their difference or product, as in networks that compare or gate."""
    out = d.rng.randint(2, 3)
    y, z = (maybe(d, 70, act, maybe(d, 30, norm, layer(d, x, out))) for _ in range(2))
    return maybe(d, 40, act, d(d.rng.choice(["subtract", "multiply", "average", "maximum"]), y, z))


def squeeze(d: Draft, x: int) -> int:
    """Channels, or all of them at once, gated by what is in all of space."""
    x = maybe(d, 60, layer, x)
    at = d.at(x)
    y = vector(d, x) if at.kind == "vector" else d("token mean", x) if at.kind == "tokens" else global_pool(d, x)
    y = act(d, d("linear", y, 2, 1)) if d.chance(60) else y
    return d("gate", x, d("linear", y, 1 if d.chance(20) else at.channels, int(d.chance(70))))


def both_signs(d: Draft, x: int) -> int:
    x = layer(d, x, d.rng.randint(2, 3))
    if d.chance(50):
        return d("crelu", maybe(d, 40, norm, x))
    return d("negative", x) if d.chance(50) else d("join", act(d, x), d("negative", x))


def centred(d: Draft, x: int) -> int:
    x = maybe(d, 70, layer, x)
    return maybe(d, 50, act, d("centre", x) if d.at(x).channels > 1 else x)  # one alone is always 0


def halves(d: Draft, x: int) -> int:
    """Channels in two parts, one of which is worked on, or which gate each other."""
    x = maybe(d, 70, norm, layer(d, x, d.rng.choice([2, 4]))) if d.chance(70) else x
    style, size = d.rng.choice(["chunk", "chunk", "by shape", "split", "slice"]), d.at(x).channels // 2
    a, b = (d("part", x, 2, index, style) for index in range(2))
    if d.chance(50):
        return d(d.rng.choice(["add", "multiply", "subtract"]), a, act(d, b))
    a = act(d, a) if d.chance(50) else layer(d, a, size)
    return d("join", a, b)


def shuffled(d: Draft, x: int) -> int:
    x = maybe(d, 50, act, layer(d, x, d.rng.choice([4, 8])))
    if d.chance(30):
        return maybe(d, 50, layer, d("pixel shuffle", x))
    how = d.rng.choice(["", "by shape", "function"])
    return maybe(d, 50, layer, d("shuffle", x, 2, *([how] if how else [])))


def separable(d: Draft, x: int) -> int:
    at = d.at(x)
    y = d("conv", x, at.channels * d.rng.choice([1, 1, 2]), 3, 1, 1, at.channels, int(d.chance(50)))
    return maybe(d, 50, norm, layer(d, maybe(d, 60, act, maybe(d, 60, norm, y)), plain=True))


def once_more(d: Draft, x: int) -> int:
    """The same layer twice in a row, by its module, its weights alone, or with another's."""
    x = maybe(d, 50, act, layer(d, x)) if d.chance(60) else x
    y = layer(d, x, d.at(x).channels)
    of, use = y, d.rng.choice(["again", "again", "functional", "twin"])
    number = norm(d, y) if d.chance(50) and d.at(x).kind != "tokens" else y
    z = d(use, act(d, number), of)
    if number != y and use == "again" and d.chance(60):
        z = d("again", z, number)
    return z if d.chance(60) else d("add", z, x)


def siamese(d: Draft, x: int) -> int:
    """Two inputs through one layer, compared."""
    if d.at(x).channels % 2 == 0 and d.chance(50):
        a, b = (d("part", x, 2, index, "chunk") for index in range(2))
    else:
        a = act(d, layer(d, x, 2))
        b = act(d, layer(d, x, 2))
    y = layer(d, a)
    z = d("again", b, y)
    y, z = (act(d, y), act(d, z)) if d.chance(50) else (y, z)
    return maybe(d, 50, act, d(d.rng.choice(["subtract", "multiply", "average", "add"]), y, z))


def scaled(d: Draft, x: int) -> int:
    y = layer(d, maybe(d, 50, act, x), d.at(x).channels)
    y = d("scale" if d.chance(70) else "rezero", y)
    return d("add", x, y) if d.chance(70) else y


def in_space(d: Draft, x: int) -> int:
    name = d.rng.choice(["max pool", "average pool", "upsample", "transposed"])
    if name == "transposed":
        kernel, stride, padding = d.rng.choice([(2, 2, 0), (1, 2, 0), (3, 1, 0), (2, 1, 0), (3, 2, 1)])
        out = d.rng.choice([2, 3, 4])
        groups = 2 if d.at(x).channels % 2 == out % 2 == 0 and d.chance(25) else 1
        how = d.rng.choice(["more", "sized"] if stride == 2 else ["dilated"]) if d.chance(40) else ""
        rest = [kernel, stride, padding, groups, int(d.chance(60)), *([how] if how else [])]
        return maybe(d, 60, act, maybe(d, 30, norm, d(name, x, out, *rest)))
    return d(name, x) if name == "upsample" else d(name, x, 2)


def among_tokens(d: Draft, x: int) -> int:
    """Attention of one head or several, with a shortcut or without."""
    y, width = maybe(d, 30, norm, x), d.at(x).channels
    if d.chance(60):
        heads, inner = d.rng.choice([(2, 2), (2, 4), (3, 3), (3, 6)])
        how = d.rng.choice(["number", "attribute", "attribute", "size"])
        y = layer(d, d("heads", *(layer(d, y, inner) for _ in range(3)), heads, how), width)
    else:
        y = d("attention", *(layer(d, y, width) for _ in range(3)))
    return d("add", x, y) if d.chance(60) else y


def own_weights(d: Draft, x: int) -> int:
    return act(d, d("own", x, d.rng.randint(2, 4)))


def kept(d: Draft, x: int) -> int:
    return d("keep", act(d, layer(d, x)))


def block(d: Draft, x: int) -> int:
    """A part that is kept from remembering, or from gradients."""
    require(x > 0 and not d.blocks)
    first = len(d.steps) + 1
    y = d.rng.choice([plain, residual, two_branches, before_activation, separable, norm_after_activation])(d, x)
    require(y == len(d.steps))
    d.blocks.append((first, y, d.rng.choices([*BLOCKS], [60, 30, 10])[0]))
    return y


def odd(d: Draft, x: int) -> int:
    """What is rare, and must not mislead."""
    x = maybe(d, 60, layer, x)
    return d(d.rng.choice(["abs", "square", "dropout", "depends", "detach"]), x)


def global_pool(d: Draft, x: int) -> int:
    require(d.at(x).channels > 1)  # which squeezing would take for space
    return d("global pool", x, d.rng.choices(["module", "mean", "squeeze"], [49, 49, 2])[0])


def vector(d: Draft, x: int) -> int:
    at = d.at(x)
    if at.kind == "tokens":
        return d("token mean" if d.chance(70) else "first token", x)
    if at.kind == "map":
        if math.prod(at.sizes) <= 40 and d.chance(40):
            return d("flatten", x, d.rng.choice(["", "view", "module"]))
        return global_pool(d, x)
    return x


def tokens(d: Draft, x: int) -> int:
    return d("tokens", x)


IDIOMS: Mapping[Callable[[Draft, int], int], int] = {  # how often people do it, more or less
    plain: 10, norm_after_activation: 2, residual: 6, projected: 4, before_activation: 4, beside: 4, dense: 3,
    two_branches: 4, squeeze: 4, both_signs: 4, centred: 3, halves: 4, shuffled: 4, separable: 3, once_more: 5,
    siamese: 3, scaled: 4, in_space: 7, among_tokens: 3, own_weights: 1, kept: 1, block: 2, odd: 3, vector: 2,
    tokens: 1,
}  # fmt: skip


def one_head(d: Draft, x: int) -> int:
    return d("linear", x, CLASSES, int(d.chance(80)))


def two_heads(d: Draft, x: int) -> int:
    return d(d.rng.choice(["average", "add"]), one_head(d, x), one_head(d, x))


def functional_head(d: Draft, x: int) -> int:
    return d(d.rng.choice(["cosine", "cosine", "own"]), x, CLASSES)


def convolutional_head(d: Draft, x: int) -> int:
    require(d.at(x).kind == "map")
    return global_pool(d, d("conv", x, CLASSES, 1, 1, 0, 1, int(d.chance(60))))


def head(d: Draft, x: int) -> int:
    """Logits, mostly as they are."""
    z = d.try_one(convolutional_head, x) if d.chance(20) else x
    if z == x:
        x = vector(d, x)
        x = maybe(d, 20, act, d("linear", x, 3, 1)) if d.chance(30) else x
        z = d.rng.choice([one_head] * 7 + [two_heads, functional_head, functional_head])(d, x)
    return d(d.rng.choice(["softmax", "log softmax", "scale", "half"]), z) if d.chance(20) else z


def elsewhere(d: Draft, x: int) -> int:
    """A hidden layer on other rows than examples."""
    ways = ["positions first", "reversed"] if d.at(x).kind == "tokens" else ["reversed"]
    return layer(d, d("elsewhere", x, d.rng.randint(2, 4), d.rng.choice(ways)))


INPUTS = [("map", 2, 5, 5), ("map", 3, 4, 4), ("map", 1, 6, 5), ("map", 2, 8), ("map", 1, 3, 3, 3), ("vector", 5),
          ("tokens", 3, 4)]  # fmt: skip


def draw(seed: int) -> Recipe:
    """The recipe with this number: any two calls give the same."""
    rng = random.Random(seed)
    while True:
        d = Draft(rng, rng.choice(INPUTS + INPUTS[:3]))
        x = 0
        for _ in range(rng.randint(1, 5)):
            x = d.try_one(rng.choices([*IDIOMS], [*IDIOMS.values()])[0], x)
        x = d.try_one(lambda d, x: d("random", x), x) if d.chance(1) and x else x
        x = d.try_one(elsewhere, x) if d.chance(1) else x
        try:
            head(d, x)
            recipe = _finished(d, seed)
        except Misfit:
            continue
        if recipe.layers and recipe.total <= MOST_UNITS and len(recipe.steps) <= MOST_STEPS:
            return recipe


def _finished(d: Draft, seed: int) -> Recipe:
    rng, recipe = d.rng, Recipe(seed, d.input, tuple(d.steps), tuple(d.blocks))
    of_modules = [operation.number for operation in recipe.operations if operation.name in UNITS
                  and operation.owner == operation.number and operation.use != "twin"]  # fmt: skip
    some = rng.sample(of_modules, min(len(of_modules), rng.randint(1, 2))) if d.chance(8) else []
    tied = {recipe.operations[operation.of - 1].owner for operation in recipe.operations if operation.use == "twin"}
    parametrized = tuple(
        each
        for each in [(number, rng.choice([*PARAMETRIZED])) for number in some if number not in tied]
        if not _weighs_one_number(recipe.operations[each[0] - 1], recipe)
    )
    names = {name for name, *_ in recipe.steps}
    wrappers = {"": 85, "parallel": 3, "sequential": 2, "hooked": 4}
    if not names & {"depends", "random"} and not recipe.blocks:  # which they cannot follow
        wrappers |= {"fx": 2, "jit": 1}
    if "keep" not in names:  # which cannot be copied once it has run
        wrappers |= {"copy": 3}
    flaw = rng.choice([*FLAWS]) if d.chance(2) else ""
    return _overwriting(replace(
        recipe,
        parametrized=parametrized,
        double=rng.choices([0, 1, 2], [50, 45, 5])[0], frozen=rng.choice([0] * 8 + [1, 2]),
        backwards=int(d.chance(30)), alias=rng.choice(of_modules) if of_modules and d.chance(3) else 0,
        many=int(d.chance(1)), wrapper="" if flaw else rng.choices([*wrappers], [*wrappers.values()])[0], flaw=flaw,
    ), rng)  # fmt: skip


def _weighs_one_number(layer: Operation, recipe: Recipe) -> bool:
    """Whether each output is of a single number and its weight, if not of padding: of the weight a norm would leave
    nothing but the sign, and rounding, and pruning nothing."""
    at = recipe.shapes[layer.sources[0]]
    if layer.name == "linear":
        return at.channels == 1
    seen = layer.args[0] if layer.name == "transposed" else at.channels  # by what a norm is taken over
    return math.prod(at.space) == 1 or (layer.args[1] == 1 and seen == layer.args[4])


# ---- in place --------------------------------------------------------------------------------------------------------


def _overwriting(recipe: Recipe, rng: random.Random) -> Recipe:
    """The same, with some steps that overwrite what they take in, where nobody sees that and training would work."""
    for operation in recipe.operations:
        if rng.random() < 0.5 and _may_overwrite(recipe, operation):
            step = list(recipe.steps[operation.number - 1])
            if operation.name == "act":
                step[-1] = OVERWRITING[step[-1]]
            else:
                step[3:] = ["overwriting"]
            steps = [*recipe.steps]
            steps[operation.number - 1] = tuple(step)
            changed = replace(recipe, steps=tuple(steps))
            recipe = changed if _trains(changed) else recipe
    return recipe


def _may_overwrite(recipe: Recipe, operation: Operation) -> bool:
    if operation.name == "act":
        kind, style = operation.args
        if style.startswith("overwriting") or (kind in HAS_NO_INPLACE and style != "method"):
            return False
    elif operation.name not in ("add", "subtract", "multiply"):
        return False
    target = operation.sources[0]
    lost = {value for value in range(operation.number) if _overlap(recipe, target, value)}
    later = recipe.operations[operation.number :]
    inside = all(target >= first or operation.number < first for first, *_ in recipe.blocks)
    return 0 not in lost and inside and operation.sources.count(target) == 1 and not any(
        lost.intersection(other.sources) for other in later
    ) and not lost.intersection(operation.sources[1:])  # fmt: skip


def _overlap(recipe: Recipe, a: int, b: int) -> bool:
    """Whether two values may share memory."""
    ways = [dict(pairwise(_origins(recipe, value)[::-1])) for value in (a, b)]  # value -> the view made of it
    if _origins(recipe, a)[-1] != _origins(recipe, b)[-1]:
        return False
    for value in ways[0].keys() & ways[1].keys():
        steps = [recipe.operations[way[value] - 1] for way in ways]
        if all(step.name == "part" for step in steps) and steps[0].args[1] != steps[1].args[1]:
            return False
    return True


def _origins(recipe: Recipe, value: int) -> list[int]:
    """The value, what it is a view of, what that is a view of, and so on."""
    found = [value]
    while found[-1]:
        operation = recipe.operations[found[-1] - 1]
        overwrites = any(str(arg).startswith("overwriting") for arg in operation.args)
        if operation.step.result == "new" and not overwrites:
            break
        found.append(operation.sources[0])
    return found


def _trains(recipe: Recipe) -> bool:
    """Whether autograd has all that it needs, as it must for whoever trained the network."""
    model = build(replace(recipe, frozen=0, double=1, parametrized=(), blocks=(), flaw=""))
    try:
        model(examples(recipe, 2).double()).sum().backward()
    except RuntimeError:
        return False
    return True
