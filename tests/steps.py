"""The steps of which random networks are made, each in four ways: its shape, source text, a pure function, a module.

`STEPS` is the table; the functions above it are its columns. What combines them is in `tests/grammar.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Shape(NamedTuple):
    """What one example's value is: a "map" (C, ...), "tokens" (T, C) or a "vector" (C,); `space` is all but C."""

    kind: str
    channels: int
    space: tuple[int, ...] = ()

    @property
    def axis(self) -> int:
        """Where the channels are, examples included."""
        return 1 if self.kind == "map" else -1

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of one example."""
        return (self.channels, *self.space) if self.kind == "map" else (*self.space, self.channels)

    @property
    def dims(self) -> int:
        """Of a convolution or BatchNorm that takes it in."""
        return max(len(self.space), 1)

    def along(self, text: str) -> str:
        """Source text that has a vector of one number per channel broadcast against such values."""
        ones = ", 1" * len(self.space)
        return f"{text}.view(-1{ones})" if self.kind == "map" and self.space else text

    def spread(self, values: Tensor) -> Tensor:
        """The same for a tensor whose last axis is of channels: (C,), or (M, C) for values (M, ...)."""
        if self.kind == "map":
            return values[(..., *[None] * len(self.space))]
        return values[:, None] if self.kind == "tokens" and values.ndim == 2 else values


@dataclass(frozen=True)
class Step:
    """What a step is, in four ways; each function is given the shapes of the `sources` or what they are, then the
    further arguments.

    `shape` raises Misfit where sources do not suit. `line` is the right side of an assignment in `forward`; it is given
    the name of the module, or parameter, that `__init__` makes of `module`, and the source's first shape. `pure` is
    given the parameters by name, and that shape. `result` says how it may share memory with the first source: not at
    all, as a "view", or as the "same" value. `mixes` says that it is not one operation on each channel by itself.
    """

    shape: Callable[..., Shape]
    line: Callable[..., str]
    pure: Callable[..., Tensor]
    module: Callable[..., str] | None = None
    sources: int = 1
    result: str = "new"
    mixes: bool = True


class Misfit(ValueError):
    """A step cannot take in what it is given."""


def require(condition: object) -> None:
    """Raises Misfit unless `condition` holds."""
    if not condition:
        raise Misfit


# ---- what shapes come out -------------------------------------------------------------------------------------------


def same(x: Shape, *_) -> Shape:
    return x


def alike(x: Shape, y: Shape, *_) -> Shape:
    require(x == y)
    return x


def convolved(x: Shape, out: int, kernel: int, stride: int, padding: int, groups: int, bias: int, how="") -> Shape:
    require(x.kind == "map" and x.channels % groups == out % groups == 0)
    if how == "same":
        return Shape("map", out, x.space)
    kernel = 2 * kernel - 1 if how == "dilated" else kernel
    require(how != "circular" or padding <= min(x.space))
    space = tuple((size + 2 * padding - kernel) // stride + 1 for size in x.space)
    require(min(space) > 0)
    return Shape("map", out, space)


def convolved_back(x: Shape, out: int, kernel: int, stride: int, padding: int, groups: int, bias: int, how="") -> Shape:
    require(x.kind == "map" and x.channels % groups == out % groups == 0)
    kernel = 2 * kernel - 1 if how == "dilated" else kernel
    more = 1 if how in ("more", "sized") else 0
    space = tuple((size - 1) * stride - 2 * padding + kernel + more for size in x.space)
    require(min(space) > 0 and more < stride)
    return Shape("map", out, space)


def projected(x: Shape, out: int, *rest) -> Shape:
    require(x.kind != "map" and (x.kind == "tokens" or "folded" not in rest))
    return x._replace(channels=out)


def attended(q: Shape, k: Shape, v: Shape, heads: int, how: str) -> Shape:
    require(q.kind == "tokens" and q == k == v and q.channels % heads == 0)
    return q


def normed(x: Shape, *_) -> Shape:
    require(x.kind != "tokens")
    return x


def pooled(x: Shape, size: int) -> Shape:
    require(x.kind == "map" and min(x.space) >= size)
    return x._replace(space=tuple(n // size for n in x.space))


def only(kind: str, then: Callable[[Shape], Shape]) -> Callable[..., Shape]:
    """The shape function of a step that takes in nothing else."""

    def shape(x: Shape, *_) -> Shape:
        require(x.kind == kind)
        return then(x)

    return shape


def part(x: Shape, pieces: int, index: int, style: str) -> Shape:
    require(x.channels % pieces == 0)
    return x._replace(channels=x.channels // pieces)


def pixels_from_channels(x: Shape) -> Shape:
    require(x.kind == "map" and len(x.space) == 2 and x.channels % 4 == 0)
    return Shape("map", x.channels // 4, tuple(2 * size for size in x.space))


def joined(x: Shape, y: Shape) -> Shape:
    require(x._replace(channels=1) == y._replace(channels=1))
    return x._replace(channels=x.channels + y.channels)


def opened(x: Shape, gate: Shape) -> Shape:
    require(gate.kind == "vector" and gate.channels in (1, x.channels))
    return x


# ---- what a user writes ---------------------------------------------------------------------------------------------

ACTIVATIONS = {
    "relu": "ReLU", "leaky_relu": "LeakyReLU", "silu": "SiLU", "gelu": "GELU", "tanh": "Tanh", "sigmoid": "Sigmoid",
    "elu": "ELU", "relu6": "ReLU6", "hardswish": "Hardswish",
}  # fmt: skip
OVERWRITING = {"module": "overwriting module", "function": "overwriting function", "method": "overwriting method"}
KEEPS_ITS_NAME_IN_PLACE = {"relu", "tanh", "sigmoid"}  # as a method, with an underscore
HAS_NO_INPLACE = {"gelu", "tanh", "sigmoid"}  # as a module or function


def convolution_module(x: Shape, out, kernel, stride, padding, groups, bias, how="") -> str:
    more = {"": "", "same": "", "dilated": ", dilation=2", "circular": ", padding_mode='circular'"}[how]
    padding = repr("same") if how == "same" else padding
    return (f"nn.Conv{x.dims}d({x.channels}, {out}, {kernel}, {stride}, {padding}, groups={groups}, "
            f"bias={bool(bias)}{more})")  # fmt: skip


def transposed_module(x: Shape, out, kernel, stride, padding, groups, bias, how="") -> str:
    more = {"": "", "more": ", output_padding=1", "sized": "", "dilated": ", dilation=2"}[how]
    return (f"nn.ConvTranspose{x.dims}d({x.channels}, {out}, {kernel}, {stride}, {padding}, groups={groups}, "
            f"bias={bool(bias)}{more})")  # fmt: skip


def transposed_line(at: Shape, me: str, x: str, *args) -> str:
    if args[-1] != "sized":
        return f"{me}({x})"
    return f"{me}({x}, output_size={convolved_back(at, *args).space})"


def norm_line(at: Shape, me: str, x: str, affine: int, how: str = "") -> str:
    if how == "function":
        return f"F.batch_norm({x}, {me}.running_mean, {me}.running_var, {me}.weight, {me}.bias)"
    return f"{me}({'input=' if how == 'keyword' else ''}{x})"


def flatten_line(at: Shape, me: str, x: str, style: str = "") -> str:
    return {"": f"{x}.flatten(1)", "view": f"{x}.reshape({x}.size(0), -1)", "module": f"{me}({x})"}[style]


def activation_module(x: Shape, kind: str, style: str) -> str | None:
    if not style.endswith("module"):
        return None
    return f"nn.{ACTIVATIONS[kind]}({'inplace=True' if style != 'module' else ''})"


def activation_line(at: Shape, me: str, x: str, kind: str, style: str) -> str:
    if style.endswith("module"):
        return f"{me}({x})"
    if style.endswith("function"):
        return f"F.{kind}({x}{', inplace=True' if style != 'function' else ''})"
    return f"{x}.{kind}{'_' if style != 'method' else ''}()"


def binary_line(operator: str) -> Callable[..., str]:
    def line(at: Shape, me: str, x: str, y: str, style: str = "") -> str:
        return f"{x} {operator}{'=' if style == 'overwriting' else ''} {y}"

    return line


def elsewhere_line(at: Shape, me: str, x: str, out: int, how: str) -> str:
    """A layer that runs on something else than rows of one example after the other, in their order."""
    if how == "positions first":
        return f"{me}({x}.transpose(0, 1)).transpose(0, 1)"
    return f"{me}({x}.flip(0)).flip(0)"


def linear_line(at: Shape, me: str, x: str, out: int, bias: int, how: str = "") -> str:
    """Of values as they are, or with all tokens as rows."""
    return f"{me}({x}.flatten(0, 1)).unflatten(0, (-1, {at.space[0]}))" if how == "folded" else f"{me}({x})"


def heads_line(at: Shape, me: str, q: str, k: str, v: str, heads: int, how: str) -> str:
    """Attention of several heads, of which the code has the number, its own or among the network's attributes, or only
    that of the channels in each."""
    sizes = {"number": f"{heads}, -1", "attribute": f"{me}, -1", "size": f"-1, {at.channels // heads}"}[how]
    q, k, v = (f"{x}.unflatten(2, ({sizes})).transpose(1, 2)" for x in (q, k, v))
    return f"(({q} @ {k}.mT).softmax(-1) @ {v}).transpose(1, 2).flatten(2)"


def part_line(at: Shape, me: str, x: str, pieces: int, index: int, style: str) -> str:
    size, axis = at.channels // pieces, at.axis
    if style == "chunk":
        return f"{x}.chunk({pieces}, {axis})[{index}]"
    if style == "split":
        return f"torch.split({x}, {size}, {axis})[{index}]"
    every = ":, " if axis == 1 else "..., "
    if style == "by shape":
        size = f"{x}.shape[{axis}] // {pieces}"
        return f"{x}[{every}{index} * ({size}) : {index + 1} * ({size})]"
    return f"{x}[{every}{index * size}:{(index + 1) * size}]"


def shuffled_line(at: Shape, me: str, x: str, groups: int, style: str = "") -> str:
    if style == "function":
        return f"F.channel_shuffle({x}, {groups})"
    if style == "by shape":
        return f"{x}.unflatten(1, ({groups}, -1)).transpose(1, 2).flatten(1, 2)"
    rest = "".join(f", {size}" for size in at.space)
    return f"{x}.view(-1, {groups}, {at.channels // groups}{rest}).transpose(1, 2).reshape(-1, {at.channels}{rest})"


def global_line(at: Shape, me: str, x: str, style: str) -> str:
    if style == "module":
        return f"{me}({x}).flatten(1)"
    if style == "squeeze":
        return f"F.adaptive_avg_pool{at.dims}d({x}, 1).squeeze()"
    return f"{x}.mean({tuple(range(2, 2 + len(at.space)))})"


def functional_line(at: Shape, me: str, x: str, name: str, *args) -> str:
    if name == "linear":
        return f"F.linear({x}, {me}.weight, {me}.bias)"
    _, _, stride, padding, groups, _, *how = args
    require(not any(how))
    if name == "transposed":
        return f"F.conv_transpose{at.dims}d({x}, {me}.weight, {me}.bias, {stride}, {padding}, 0, {groups})"
    return f"F.conv{at.dims}d({x}, {me}.weight, {me}.bias, {stride}, {padding}, 1, {groups})"


# ---- what it is ------------------------------------------------------------------------------------------------------

CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)
TRANSPOSED = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
MAX_POOLS = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
AVERAGE_POOLS = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


def convolution(w, at, x, out, kernel, stride, padding, groups, bias, how=""):
    if how == "same":
        padding = kernel // 2
    if how == "circular":
        x, padding = functional.pad(x, [padding] * 2 * at.dims, mode="circular"), 0
    return CONVOLUTIONS[at.dims - 1](x, w.weight, w.bias, stride, padding, 2 if how == "dilated" else 1, groups)


def transposed_convolution(w, at, x, out, kernel, stride, padding, groups, bias, how=""):
    more, dilation = int(how in ("more", "sized")), 2 if how == "dilated" else 1
    return TRANSPOSED[at.dims - 1](x, w.weight, w.bias, stride, padding, more, groups, dilation)


def batch_norm(w, at, x, affine, how=""):
    scaled = (x - at.spread(w.running_mean)) / at.spread((w.running_var + 1e-5).sqrt())
    return scaled * at.spread(w.weight) + at.spread(w.bias) if affine else scaled


def take_part(w, at, x, pieces, index, style):
    size = at.channels // pieces
    return x.narrow(at.axis, index * size, size)


def shuffle(w, at, x, groups, style=""):
    order = torch.arange(at.channels).view(groups, -1).T.flatten()
    return x.index_select(at.axis, order)


def pixel_shuffle(w, at, x):
    apart = x.unflatten(1, (-1, 2, 2))  # examples, channels, 2, 2, height, width
    return apart.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)


def mean_over_space(x: Tensor) -> Tensor:
    return x.flatten(2).mean(2)


def attention(w, at, q, k, v):
    return (q @ k.mT).softmax(-1) @ v


def by_heads(heads: int, attend: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Attention of each head, whose channels lie beside one another."""
    apart = [x.unflatten(2, (heads, -1)).transpose(1, 2) for x in values]
    return attend(*apart).transpose(1, 2).flatten(2)


def cosine(w, at, x, out):  # with an eps that keeps rounding small, where that is all that is left of x
    return 4 * functional.linear(functional.normalize(x, dim=-1, eps=1e-3), functional.normalize(w.weight, dim=-1))


STEPS: dict[str, Step] = {
    # layers, whose outputs are units, and the same weights used otherwise
    "conv": Step(
        convolved, lambda at, me, x, *_: f"{me}({x})", convolution, convolution_module,
    ),
    "linear": Step(
        projected, linear_line, lambda w, at, x, out, bias, how="": functional.linear(x, w.weight, w.bias),
        lambda x, out, bias, how="": f"nn.Linear({x.channels}, {out}, bias={bool(bias)})",
    ),
    "elsewhere": Step(
        projected, elsewhere_line, lambda w, at, x, out, how: functional.linear(x, w.weight, w.bias),
        lambda x, out, how: f"nn.Linear({x.channels}, {out})",
    ),
    "transposed": Step(
        convolved_back, transposed_line, transposed_convolution, transposed_module,
    ),
    # layers without units
    "own": Step(
        projected, lambda at, me, x, *_: f"F.linear({x}, {me})",
        lambda w, at, x, out: functional.linear(x, w.itself),
        lambda x, out: f"nn.Parameter(torch.ones({out}, {x.channels}))",
    ),
    "cosine": Step(
        projected, lambda at, me, x, *_: f"4 * F.linear(F.normalize({x}, dim=-1, eps=1e-3), "
        f"F.normalize({me}.weight, dim=-1))",
        cosine, lambda x, out: f"nn.Linear({x.channels}, {out}, bias=False)",
    ),
    "norm": Step(
        normed, norm_line, batch_norm,
        lambda x, affine, how="": f"nn.BatchNorm{x.dims}d({x.channels}, affine={bool(affine)})", mixes=False,
    ),
    "layer norm": Step(
        only("tokens", same), lambda at, me, x: f"{me}({x})",
        lambda w, at, x: functional.layer_norm(x, (at.channels,), w.weight, w.bias),
        lambda x: f"nn.LayerNorm({x.channels})",
    ),
    "scale": Step(
        same, lambda at, me, x: f"{x} * {at.along(me)}", lambda w, at, x: x * at.spread(w.itself),
        lambda x: f"nn.Parameter(torch.ones({x.channels}))", mixes=False,
    ),
    "rezero": Step(
        same, lambda at, me, x: f"{me} * {x}", lambda w, at, x: w.itself * x,
        lambda x: "nn.Parameter(torch.ones(1))", mixes=False,
    ),
    # on each number by itself
    "act": Step(
        same, activation_line, lambda w, at, x, kind, style: getattr(functional, kind)(x), activation_module,
        mixes=False,
    ),
    "negative": Step(same, lambda at, me, x: f"F.relu(-{x})", lambda w, at, x: functional.relu(-x), mixes=False),
    "abs": Step(same, lambda at, me, x: f"{x}.abs()", lambda w, at, x: x.abs(), mixes=False),
    "square": Step(same, lambda at, me, x: f"{x} ** 2", lambda w, at, x: x.square(), mixes=False),
    "half": Step(same, lambda at, me, x: f"{x} / 2", lambda w, at, x: x / 2, mixes=False),
    "dropout": Step(
        same, lambda at, me, x: f"{me}({x})", lambda w, at, x: x, lambda x: "nn.Dropout()", result="same", mixes=False,
    ),
    "keep": Step(same, lambda at, me, x: f"self.kept = {x}", lambda w, at, x: x, result="same", mixes=False),
    "detach": Step(same, lambda at, me, x: f"{x}.detach()", lambda w, at, x: x, result="view", mixes=False),
    "depends": Step(same, lambda at, me, x: f"{x} if {x}.sum() > -1e9 else -{x}", lambda w, at, x: x, result="same",
                    mixes=False),
    "random": Step(same, lambda at, me, x: f"F.dropout({x}, 0.5)", lambda w, at, x: x, mixes=False),
    # of two
    "add": Step(alike, binary_line("+"), lambda w, at, x, y, *_: x + y, sources=2, mixes=False),
    "subtract": Step(alike, binary_line("-"), lambda w, at, x, y, *_: x - y, sources=2, mixes=False),
    "multiply": Step(alike, binary_line("*"), lambda w, at, x, y, *_: x * y, sources=2, mixes=False),
    "maximum": Step(alike, lambda at, me, x, y: f"torch.maximum({x}, {y})", lambda w, at, x, y: torch.maximum(x, y),
                    sources=2, mixes=False),
    "average": Step(alike, lambda at, me, x, y: f"({x} + {y}) / 2", lambda w, at, x, y: (x + y) / 2, sources=2,
                    mixes=False),
    "gate": Step(
        opened, lambda at, me, x, y: f"{x} * {y}.sigmoid(){'[:, :' + ', None' * len(at.space) + ']'}"
        if at.kind == "map" else f"{x} * {y}.sigmoid(){'[:, None]' if at.kind == 'tokens' else ''}",
        lambda w, at, x, y: x * at.spread(y.sigmoid()), sources=2,
    ),
    "join": Step(
        joined, lambda at, me, x, y: f"torch.cat([{x}, {y}], {at.axis})",
        lambda w, at, x, y: torch.cat([x, y], at.axis), sources=2,
    ),
    "attention": Step(
        lambda q, k, v: only("tokens", same)(alike(q, alike(k, v))),
        lambda at, me, q, k, v: f"({q} @ {k}.mT).softmax(-1) @ {v}", attention, sources=3,
    ),
    "heads": Step(
        attended, heads_line, lambda w, at, q, k, v, heads, how: by_heads(heads, partial(attention, w, at), q, k, v),
        lambda q, k, v, heads, how: str(heads) if how == "attribute" else None, sources=3,
    ),
    # among channels
    "crelu": Step(
        lambda x: x._replace(channels=2 * x.channels), lambda at, me, x: f"F.relu(torch.cat([{x}, -{x}], {at.axis}))",
        lambda w, at, x: torch.cat([functional.relu(x), functional.relu(-x)], at.axis),
    ),
    "centre": Step(
        same, lambda at, me, x: f"{x} - {x}.mean({at.axis}, keepdim=True)",
        lambda w, at, x: x - x.sum(at.axis, keepdim=True) / at.channels,
    ),
    "part": Step(part, part_line, take_part, result="view"),
    "shuffle": Step(
        lambda x, groups, style="": only("map", same)(x), shuffled_line, shuffle, result="view",
    ),
    "pixel shuffle": Step(
        pixels_from_channels, lambda at, me, x: f"F.pixel_shuffle({x}, 2)", pixel_shuffle,
    ),
    # in space
    "max pool": Step(
        pooled, lambda at, me, x, size: f"{me}({x})", lambda w, at, x, size: MAX_POOLS[at.dims - 1](x, size),
        lambda x, size: f"nn.MaxPool{x.dims}d({size})", mixes=False,
    ),
    "average pool": Step(
        pooled, lambda at, me, x, size: f"F.avg_pool{at.dims}d({x}, {size})",
        lambda w, at, x, size: AVERAGE_POOLS[at.dims - 1](x, size), mixes=False,
    ),
    "upsample": Step(
        only("map", lambda x: x._replace(space=tuple(2 * size for size in x.space))),
        lambda at, me, x: f"F.interpolate({x}, scale_factor=2)",
        lambda w, at, x: functional.interpolate(x, scale_factor=2), mixes=False,
    ),
    "global pool": Step(
        only("map", lambda x: Shape("vector", x.channels)), global_line, lambda w, at, x, style: mean_over_space(x),
        lambda x, style: f"nn.AdaptiveAvgPool{x.dims}d(1)" if style == "module" else None, mixes=False,
    ),
    "flatten": Step(
        only("map", lambda x: Shape("vector", math.prod(x.sizes))), flatten_line, lambda w, at, x, *_: x.flatten(1),
        lambda x, style="": "nn.Flatten()" if style == "module" else None, result="view",
    ),
    "tokens": Step(
        only("map", lambda x: Shape("tokens", x.channels, (math.prod(x.space),))),
        lambda at, me, x: f"{x}.flatten(2).transpose(1, 2)", lambda w, at, x: x.flatten(2).mT, result="view",
    ),
    "token mean": Step(
        only("tokens", lambda x: Shape("vector", x.channels)), lambda at, me, x: f"{x}.mean(1)",
        lambda w, at, x: x.mean(1), mixes=False,
    ),
    "first token": Step(
        only("tokens", lambda x: Shape("vector", x.channels)), lambda at, me, x: f"{x}[:, 0]",
        lambda w, at, x: x[:, 0], result="view", mixes=False,
    ),
    # at the end
    "softmax": Step(only("vector", same), lambda at, me, x: f"{x}.softmax(1)", lambda w, at, x: x.softmax(1),
                    mixes=False),
    "log softmax": Step(only("vector", same), lambda at, me, x: f"F.log_softmax({x}, 1)",
                        lambda w, at, x: x.log_softmax(1), mixes=False),
}  # fmt: skip
