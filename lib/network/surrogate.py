"""A stand-in for a network, in which what depends on what can be read off: nothing cancels, and nothing is stuck.

Enters: a model. Leaves: a copy with random positive weights, and a context in which activation functions and what
rounds are lines that bend with the value, maxima are sums, and what chooses by a comparison of values, or picks by
indices or an order made of them, mixes all that there is to choose from. There a value is 0 only where it always is,
and so is a derivative. Not followed is what depends on values by nothing but truth values or whole numbers that are
made of them: they may be anything, but nothing counts for what makes them. Where the network's code goes by them, or
makes as many numbers as they say, `unknown` says so, since the stand-in's values are others. The derivatives of a
custom `autograd.Function` are taken to be what it gives; a softmax is not taken to be blind to what all its values have
in common.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves, tree_map

from lib.network import copies, models, picking
from lib.network.activations import ACTIVATIONS, GATES, straightened
from lib.network.functions import bound, in_precision, makes_numbers, overwrites, plain_name
from lib.network.single import called
from lib.network.uses import Uses, uses_weights

_ROUNDED = {
    "ceil", "fake_quantize_per_channel_affine", "fake_quantize_per_tensor_affine", "fix", "floor", "hardshrink",
    "heaviside", "round", "sgn", "sign", "softshrink", "trunc",
}  # fmt: skip
_LINES = ACTIVATIONS | _ROUNDED | {
    "__abs", "abs", "absolute", "atan", "clamp", "clamp_max", "clamp_min", "clip", "erf", "rrelu", "softsign",
    "threshold",
}  # fmt: skip
_MAXIMA = {"amax", "amin", "fmax", "fmin", "max", "maximum", "median", "min", "minimum"}
_INDEXED = "_with_indices"
_POOLS = {f"{kind}max_pool{axes}d{also}" for kind in ("", "adaptive_") for axes in (1, 2, 3) for also in ("", _INDEXED)}
_OF_A_MAXIMUM = 0.7  # so that it differs from its only value that is not 0
_HIDDEN = 1e8  # below the largest, of which softmax makes an exact zero in any precision
_ORDERS = {"kthvalue", "msort", "sort", "topk"}
_READ = {"__bool", "__index", "__int", "allclose", "equal", "is_nonzero"}  # by code, as a number of Python's
_FINITE = {"isfinite", "isinf", "isnan", "isneginf", "isposinf"}  # the same of the network's values, if it works
_COUNTED = {"argwhere", "nonzero", "unique", "unique_consecutive"}
_CHOICES = {"where", "masked_fill", "__setitem"}
_SPLITS = {"chunk", "dsplit", "hsplit", "split", "split_with_sizes", "tensor_split", "unbind", "vsplit"}


@torch.no_grad()
def with_random_weights(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """A copy in single precision, whose weights are positive and whose BatchNorms shift upwards, so that no ReLU is
    silent."""
    network = copies.copied(model).float()
    for parameter in filter(_counts, network.parameters()):
        inputs = math.prod(parameter.shape[1:]) or 1  # so that values stay in range through many layers
        parameter.copy_(positive(parameter.shape, generator) / inputs)
    for module in network.modules():
        module._backward_hooks.clear()  # which may change what comes back
        module._backward_pre_hooks.clear()
        if isinstance(module, _BatchNorm):
            module.running_mean.copy_(-positive(module.running_mean.shape, generator))
            module.running_var.copy_(positive(module.running_var.shape, generator))
    for parameter in network.parameters():
        parameter.requires_grad_(_counts(parameter))
    return network


def _counts(parameter: Tensor) -> bool:
    """Whether it can be differentiated by; whole numbers, such as a table of indices, cannot."""
    return parameter.is_floating_point() or parameter.is_complex()


def positive(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Numbers from 0.5 to 1.5."""
    return torch.empty(shape, dtype=torch.float32).uniform_(0.5, 1.5, generator=generator)


class Straightened(Uses):
    """While open, activation functions are bent lines and maxima sums, and so on; notes every use of weights.

    Arguments:
        rows: how many examples a pass has, one after the other along the first axis.
        dtype: of the network's weights, and of whatever has a precision that code names.

    `unknown` says, in a few words, what cannot be followed, if anything; `mixes_rows` whether it only can for one
    example at a time, since something is picked along the first axis, where others may be.
    """

    def __init__(self, parameters: Iterable[Tensor], rows: int = 1, dtype: torch.dtype = torch.float32):
        super().__init__(parameters)
        self._dtype = dtype
        self.unknown, self.mixes_rows, self._rows = "", False, rows
        # truth values and whole numbers that depend on others, held; and where these are not all zero
        self._steps: dict[int, tuple[Tensor, Tensor]] = {}
        self._alike: dict[int, Tensor] = {}  # truth values that are the same in the network; held

    @torch.enable_grad()  # in what the model runs without, too
    def call(self, function: Callable, args: tuple, kwargs: dict) -> object:
        name = "detach" if function == Tensor.data.__get__ else plain_name(function)
        if makes_numbers(function) and args[0].grad_fn is not None:
            self._give_up(name)
            raise ValueError(self.unknown)
        if function == Tensor.data.__set__ and args[0].grad_fn is not None:
            return args[0].copy_(args[1])
        function, args, kwargs = in_precision(self._dtype, function, args, kwargs)
        leaves = tree_leaves((args, kwargs))
        depends = any(isinstance(value, Tensor) and value.requires_grad for value in leaves)  # or is a weight itself
        if any(map(self._is_step, leaves)):
            return self._by_steps(function, name, args, kwargs)
        if depends and (name in _READ or name in _COUNTED):
            self._give_up(name)
        if name in _FINITE:
            made = function(*args, **kwargs)
            self._alike[id(made)] = made
            return made
        if args and isinstance(args[0], Tensor) and not args[0].is_floating_point() and name not in ("where", "detach"):
            return function(*args, **kwargs)  # on whole numbers, such as indices
        return self._by_values(function, name, args, kwargs)

    def _by_values(self, function: Callable, name: str, args: tuple, kwargs: dict) -> object:
        if name in _INSTEAD and args:
            return _INSTEAD[name](function, args, kwargs)
        made = called(function, args, kwargs)
        if uses_weights(function) and made.is_floating_point() and not made.requires_grad:
            return made.requires_grad_() * 1  # a constant, on which logits may depend all the same
        if name in _SPLITS:  # of which parts made together could not be overwritten
            whole = args[0] if args else kwargs.get("input", kwargs.get("tensor"))
            return type(made)(whole.as_strided(part.shape, part.stride(), part.storage_offset()) for part in made)
        # a view would have another history as soon as something overwrites it
        return made.clone() if function is functional.linear and made._is_view() else made

    def _by_steps(self, function: Callable, name: str, args: tuple, kwargs: dict) -> object:
        """A call that is given truth values or whole numbers that are made of values."""
        if name in _CHOICES:
            return self._choice(function, args, kwargs)
        if name in _READ or makes_numbers(function) or name in picking.OPEN_ENDED:
            self._give_up(name)
        if name == "__iter":
            parts = list(function(*args))
            for part in parts:
                self._note([*args], part)
            return iter(parts)
        if name in picking.GATHERS or name in picking.SCATTERS:
            if name in picking.GATHERS:
                made = picking.gathered(function, args, kwargs, self._is_step, self._mixed)
            else:
                made = picking.scattered(function, args, kwargs)
            if made is not None:
                return made
            self._give_up(name)
        if not (args and _is_float(args[0]) and overwrites(function, args, kwargs)):
            made = function(*args, **kwargs)
            if not any(map(_is_float, tree_leaves(made))):
                return made
        with models.attempted():
            return self._by_values(function, name, *self._gated((args, kwargs)))
        self._give_up(name)  # it wants truth values or whole numbers
        return function(*args, **kwargs)

    def _give_up(self, name: str) -> None:
        self.unknown = self.unknown or f"what the network does depends on its values ({name.strip('_')})"

    def _is_step(self, value: object) -> bool:
        return id(value) in self._steps

    def _gated(self, given: object) -> object:
        """The same with truth values and whole numbers made of values as numbers that are not 0, but where all that
        they are made of always is."""
        gate = lambda value: value + self._steps[id(value)][1] / 2 if self._is_step(value) else value  # noqa: E731
        return tree_map(gate, given)

    def _mixed(self, value: Tensor, axis: int) -> Tensor:
        """What depends on all that lies along an axis, in every place."""
        if not (value.is_floating_point() and value.requires_grad and value.numel()):
            return value
        axis %= value.ndim
        self.mixes_rows |= axis == 0 and self.origin(value) is None
        mean = (_seen(value) * picking.ramp(value, axis)).mean(axis, keepdim=True)
        return (value + mean) / 2

    def _follow(self, taken: list, made: object) -> None:
        super()._follow(taken, made)
        for value in tree_leaves(made):
            if isinstance(value, Tensor) and not value.is_floating_point() and not value.is_complex():
                self._note(taken, value)

    def _note(self, taken: list, made: Tensor) -> None:
        where = None
        for value in () if id(made) in self._alike else taken:
            if self._is_step(value):
                own = self._steps[id(value)][1]
            elif isinstance(value, Tensor) and value.requires_grad:
                own = value.detach() != 0
            else:
                continue
            own = self._shaped(own, made)
            where = own if where is None else where | own
        if where is not None:
            self._steps[id(made)] = made, where

    def _shaped(self, where: Tensor, made: Tensor) -> Tensor:
        """Truth values in the shape of `made`: place by place where they fit, or else for each example."""
        with_ends = (1,) * (made.ndim - where.ndim) + tuple(where.shape)
        if len(with_ends) == made.ndim and all(own in (1, to) for own, to in zip(with_ends, made.shape, strict=True)):
            return where.expand(made.shape)
        rows = self._rows
        if made.ndim and where.ndim and len(made) % rows == 0 == len(where) % rows and len(made):
            by_row = where.reshape(rows, -1).any(1).repeat_interleave(len(made) // rows)
            return by_row.view(-1, *[1] * (made.ndim - 1)).expand(made.shape)
        return where.any().expand(made.shape)

    def _choice(self, function: Callable, args: tuple, kwargs: dict) -> object:
        """All that there is to choose from, where values decide between it."""
        if function is torch.where:
            which, value, other = bound(args, kwargs, "condition", "input", "other")
        else:
            names = ("condition", "other") if function is Tensor.where else ("mask", "value")
            value, which, other = bound(args, kwargs, "input", *names)
        writes, chosen_by_steps = function is Tensor.__setitem__, self._is_step(which) and which.dtype == torch.bool
        if value is None or (writes and not chosen_by_steps and any(map(self._is_step, tree_leaves(which)))):
            self._give_up(function.__name__)  # where values say, or as many as they say
            return function(*args, **kwargs)
        if not any(map(_is_float, (value, other) if plain_name(function) == "where" else (value,))):
            if writes:
                self._note([value, *tree_leaves(which), other], value)
            return function(*args, **kwargs)
        value, other = self._gated((value, other))
        if not chosen_by_steps:
            return function(which, value, other) if function is torch.where else function(value, which, other)
        value, other = (torch.as_tensor(given, device=which.device) for given in (value, other))
        if writes and other.numel() > 1:  # as many as are chosen
            self._give_up(function.__name__)
            return function(*args, **kwargs)
        always = torch.where(which, *((value, other) if plain_name(function) == "where" else (other, value)))
        made = _finite(value) + _finite(other) / 2  # other than `value`, lest they cancel
        made = torch.where(self._steps[id(which)][1], made, always)  # the latter where nothing varies that decides
        if function in (Tensor.masked_fill_, Tensor.__setitem__):
            return args[0].copy_(made)
        return made


def _finite(value: Tensor) -> Tensor:
    """What depends on something as it is; a constant no larger than 1, beside which nothing is lost."""
    return value if value.requires_grad else value.clamp(-1, 1)


def _line(function: Callable, args: tuple, kwargs: dict) -> Tensor:
    """Through what the function makes of 0, with a slope that depends on the function and the value: what is not
    always the same must not cancel, and what is always the same must."""
    if plain_name(function) == "prelu":
        above = 1 + args[1].reshape(-1, *[1] * (args[0].ndim - 2 if args[1].numel() > 1 else 0))
        return args[0] * above
    with models.attempted():  # bounds may be of another shape
        at_zero = float(function(args[0].detach().new_zeros(1), *args[1:], **kwargs))
        if plain_name(function) in GATES:  # bounded, or products of them would leave the range of numbers
            value = args[0] * 1  # of its own, whatever is written over
            made = at_zero + value / (10 + 10 * value.abs())
            return args[0].copy_(made) if overwrites(function, args, kwargs) else made
        return straightened(function, args, kwargs, slope=_slope(function, args, kwargs), shift=at_zero)
    return straightened(function, args, kwargs, slope=_slope(function, args, kwargs))


def _slope(function: Callable, args: tuple, kwargs: dict) -> Tensor:
    settings = [value for value in (*args[1:], *kwargs.values()) if type(value) in (int, float)]
    seed = zlib.crc32(repr((plain_name(function), settings)).encode())
    above, below = positive((2,), torch.Generator().manual_seed(seed)).tolist()
    value = args[0].detach()
    return torch.where(value > 0, above, below) * (1 + value.sin() / 4)


def _sum(function: Callable, args: tuple, kwargs: dict) -> object:
    """Instead of a maximum, of two values or along axes, their sum, which depends on all of them."""
    named = next((name for name in ("other", "axis") if name in kwargs), "dim")
    value, second, keepdim = bound(args, kwargs, "input", named, "keepdim")
    made = function(*args, **kwargs)
    if isinstance(second, Tensor):
        if value.requires_grad and second.requires_grad:
            return _seen(value) + _seen(second)
        value, limit = (value, second) if value.requires_grad else (second, value)
        at_zero = _seen(function(torch.zeros_like(value), limit))
        return value * _slope(function, (value,), {}) + at_zero
    if second is None:  # over all examples, too
        return made
    total = _OF_A_MAXIMUM * _seen(value).sum(second, keepdim=keepdim or False)
    return total if isinstance(made, Tensor) else type(made)((total, made.indices))


def _ordered(function: Callable, args: tuple, kwargs: dict) -> object:
    """Instead of values in an order that they have themselves, ones that depend on all of them; with the indices."""
    name, value = plain_name(function), bound(args, kwargs, "input")[0]
    _, axis = bound(args, kwargs, "input", "dim")
    if name in ("topk", "kthvalue"):
        axis = bound(args, kwargs, "input", "k", "dim")[2]
    elif isinstance(axis, bool):  # `stable`
        axis = kwargs.get("dim", args[2] if len(args) > 2 else None)
    axis = (0 if name == "msort" else -1) if axis is None else axis
    made = function(*args, **kwargs)
    values = made if isinstance(made, Tensor) else made.values
    if not value.ndim:
        return made
    mean = (_seen(value) * picking.ramp(value, axis)).mean(axis, keepdim=values.ndim == value.ndim)
    if values.ndim == value.ndim:
        mean = mean * picking.ramp(values, axis)
    return mean if isinstance(made, Tensor) else type(made)((mean, made.indices))


def _is_float(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, Tensor) and value.is_floating_point())


def _seen(value: Tensor) -> Tensor:
    """Without what never is the largest, as where minus infinity hides what is not to be chosen."""
    return torch.where(value.isfinite(), value, 0) if value.is_floating_point() else value


def _pooled(function: Callable, args: tuple, kwargs: dict) -> object:
    """The maxima within windows, but with slopes in all that is in these, whichever is the largest: after a pixel
    shuffle, in several channels. As the values are those of the maxima, what pads them, such as minus infinity, stays
    unseen, and so does what is no maximum where it is compared with them."""
    name, made = plain_name(function).removesuffix(_INDEXED), function(*args, **kwargs)
    largest = made if isinstance(made, Tensor) else made[0]
    axes, value = int(name[-2]), bound(args, kwargs, "input")[0]
    at = value.detach()
    sloping = torch.where(at.isfinite(), (value - at) * (1 + at.sin() / 4), 0)  # 0, and those of x and -x do not cancel
    if name.startswith("adaptive"):
        mean = getattr(functional, name.replace("max", "avg"))(sloping, largest.shape[-axes:])
    else:
        _, *settings = bound(args, kwargs, "input", "kernel_size", "stride", "padding", "dilation")
        mean = _means(sloping, largest.shape, *(_for_each(axes, given) for given in settings))
    largest = largest.detach() + mean * _OF_A_MAXIMUM
    return largest if isinstance(made, Tensor) else (largest, *made[1:])


def _for_each(axes: int, given: object) -> tuple[int, ...]:
    """A setting for each axis; none where there is none."""
    given = tuple(given) if isinstance(given, Sequence) else () if given is None else (given,)
    return given * axes if len(given) == 1 else given


def _means(value: Tensor, shape: torch.Size, size: tuple, stride: tuple, padding: tuple, dilation: tuple) -> Tensor:
    """Of windows of this size in the last axes; `shape` is that of what they make."""
    axes, stride = len(size), stride or size
    padding, dilation = padding or (0,) * axes, dilation or (1,) * axes
    sides = []
    for axis in range(-1, -axes - 1, -1):  # as `pad` takes them: as far as the last window reaches
        reach = (shape[axis] - 1) * stride[axis] + dilation[axis] * (size[axis] - 1) + 1
        sides += [padding[axis], max(0, reach - value.shape[axis] - padding[axis])]
    windows = functional.pad(value.reshape(-1, 1, *value.shape[-axes:]), sides)
    weights = positive((1, 1, *size), torch.Generator().manual_seed(0)).to(value) / math.prod(size)
    made = getattr(functional, f"conv{axes}d")(windows, weights, stride=stride, dilation=dilation)
    return made.reshape(shape)


def _quotient(function: Callable, args: tuple, kwargs: dict) -> Tensor:
    """Not rounded."""
    if plain_name(function) not in ("floor_divide", "__floordiv"):
        return function(*args, **{name: value for name, value in kwargs.items() if name != "rounding_mode"})
    value, divisor = bound(args, kwargs, "input", "other")
    return value.div_(divisor) if overwrites(function, args, kwargs) else value / divisor


def _unbroken(function: Callable, args: tuple, kwargs: dict) -> Tensor:
    """With gradients; it shares its values, as what is detached does."""
    return args[0] * 1 if args[0].is_leaf else args[0].view_as(args[0])


def _soft_choice(function: Callable, args: tuple, kwargs: dict) -> Tensor:
    """Instead of a softmax, whose derivative may be too small for numbers: every weight depends on all values, as the
    sum of what is not hidden is divided by, to which 1 is added lest one value alone be constant. Nothing is left of
    what minus infinity, or what is as good as that, hides."""
    value, dim = bound(args, kwargs, "input", "dim")
    at = value.detach()
    hidden = (at == -torch.inf) | (at < at.amax(dim, keepdim=True) - _HIDDEN)
    value = value.masked_fill(hidden, 0)
    each = 1 + value / (2 + 2 * value.detach().abs().amax(dim, keepdim=True))
    each = each.masked_fill(hidden, 0)
    return each / (1 + each.sum(dim, keepdim=True))


def _normalised(function: Callable, args: tuple, kwargs: dict) -> Tensor:
    """Instead of what leaves nothing of a single value but the sign."""
    value, _, dim = bound(args, {"dim": 1} | kwargs, "input", "p", "dim")
    return value / (1 + value.norm(dim=dim, keepdim=True))


_INSTEAD = (
    dict.fromkeys(_LINES, _line)
    | dict.fromkeys(_MAXIMA, _sum)
    | dict.fromkeys(_ORDERS, _ordered)
    | dict.fromkeys(("div", "divide", "floor_divide", "__floordiv"), _quotient)
    | dict.fromkeys(_POOLS, _pooled)
    | {"detach": _unbroken, "softmax": _soft_choice, "normalize": _normalised}
)


def mixed(logits: Tensor) -> Tensor:
    """A sum of all logits in which they do not cancel."""
    return (logits * positive(logits.shape[1:], torch.Generator().manual_seed(1)).to(logits)).sum()
