"""Copies of a model, and what stands in the way of one: units that are off, weights that are computed in every pass.

Enters: any `nn.Module`. Leaves: a copy of it, with its own weights or the same; a copy whose weights are parameters;
or, in one line, why there can be none.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from types import ModuleType
from typing import NoReturn

from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

_CONTAINERS = (deque, dict, frozenset, list, set, tuple)
_NO_COPY = (AttributeError, NotImplementedError, RuntimeError, TypeError)  # what deepcopy raises of what it cannot copy


def copied(model: nn.Module, *, sharing: bool = False) -> nn.Module:
    """A copy of the model; with `sharing`, one with the same parameters and buffers. Activations that it keeps, which
    `deepcopy` refuses, come along without their history; what else it refuses, such as a lock or an open file, is the
    same in both.

    Raises ValueError, in one line, where that holds tensors, and where the forward of a module has been replaced.
    """
    known = {}
    for name, module in model.named_modules():
        forward = vars(module).get("forward")
        compiled = "_orig_mod" in module._modules or isinstance(module, ScriptModule)  # whose copies are right
        if forward is not None and not compiled and getattr(forward, "__self__", None) is not module:
            raise ValueError(f"the forward of {name or type(model).__name__} has been replaced, so that a copy would "
                             "run the original: wrap the model in a module instead")  # fmt: skip
        for kept in vars(module).values():
            for value in tree_leaves(kept):
                if isinstance(value, Tensor) and not value.is_leaf:
                    known[id(value)] = value.detach().clone()
    known[id(_units_off)] = _units_off  # the copy is not given away while they are off
    if sharing:
        known |= {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    made = _deep(model, known)
    for module, copy in zip(model.modules(), made.modules(), strict=True):
        if isinstance(module, ScriptModule):  # the copies of whose parameters are none, so that they would not train
            for name, own in module.named_parameters(recurse=False):
                setattr(copy, name, own if sharing else nn.Parameter(own.detach().clone(), own.requires_grad))
    return made


def _deep(model: nn.Module, known: dict) -> nn.Module:
    """A deep copy, which has the same of what cannot be copied and holds no tensors, such as a lock or an open file."""
    try:
        return deepcopy(model, {**known})
    except _NO_COPY as error:
        first = error
    shared, seen = {}, {}
    alone = known | {id(module): module for module in model.modules()}
    for path, value in _kept(model):
        before = len(shared)
        _share_what_has_no_copy(value, alone, shared, seen)
        for fixed in [*shared.values()][before:]:
            if any(isinstance(held, (Tensor, nn.Module)) for held in _all_in(fixed, {})):
                raise ValueError(f"{path} cannot be copied ({first}), and holds tensors: take it out of the model, or"
                                 " give its class a __deepcopy__") from first  # fmt: skip
    try:
        return deepcopy(model, known | shared)
    except _NO_COPY:
        raise ValueError(f"{type(model).__name__} cannot be copied: {first}") from first


def _kept(model: nn.Module) -> Iterator[tuple[str, object]]:
    """What its modules keep besides parameters, buffers and modules, with where it is."""
    own = vars(nn.Module())
    for name, module in model.named_modules():
        path = f"{name or type(model).__name__}."
        for attribute, value in vars(module).items():
            if attribute in own and isinstance(value, dict):  # such as hooks
                if attribute not in ("_parameters", "_buffers", "_modules"):
                    yield from ((path + attribute, one) for one in value.values())
            else:
                yield path + attribute, value


def _share_what_has_no_copy(value: object, known: dict, shared: dict, seen: dict) -> None:
    """Adds what cannot be copied of a value, by id: of a dict with a lock, the lock. Other objects are not taken apart:
    half of one may close what the other half holds."""
    if id(value) in seen:
        return
    seen[id(value)] = value  # held, so that no other takes its id
    if not _has_copy(value, known | shared):
        for held in _inside(value) if type(value) in _CONTAINERS else ():
            _share_what_has_no_copy(held, known, shared, seen)
        if not _has_copy(value, known | shared):
            shared[id(value)] = value


def _has_copy(value: object, known: dict) -> bool:
    try:
        deepcopy(value, known)
        return True
    except _NO_COPY:
        return False


def _all_in(value: object, seen: dict[int, object]) -> Iterator[object]:
    """A value, and all that it holds, however deep, but not what a tensor or a module holds."""
    if id(value) not in seen:
        seen[id(value)] = value  # held, so that no other takes its id
        yield value
        if not isinstance(value, (type, ModuleType, Tensor, nn.Module)):
            for held in (*_inside(value), *getattr(value, "__dict__", {}).values()):
                yield from _all_in(held, seen)


def _inside(value: object) -> list[object]:
    """What is in a container."""
    if isinstance(value, Mapping):
        return [*value.values()]
    return [*value] if isinstance(value, _CONTAINERS) else []


class _UnitsOff:
    """A hook that changes nothing, on every module of which units are off."""

    def __call__(self, *_: object) -> None:
        pass

    def __deepcopy__(self, _: dict) -> NoReturn:
        raise ValueError("units of this model are off, and a copy would keep them off for good: copy it before"
                         " masked(...) opens, or after it has closed")  # fmt: skip


_units_off = _UnitsOff()


@contextmanager
def units_off(modules: Iterable[nn.Module]) -> Iterator[None]:
    """While open, these modules say that units of theirs are off: whoever copies them or makes them narrower is told.

    `copied` still copies them, for what is computed meanwhile.
    """
    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_pre_hook(_units_off).remove)
        yield


def require_units_on(model: nn.Module) -> None:
    """Raises ValueError, in one line, where units of the model are off."""
    if any(hook is _units_off for module in model.modules() for hook in module._forward_pre_hooks.values()):
        raise ValueError(f"units of {type(model).__name__} are off, so it cannot shrink: shrink it before masked(...)"
                         " opens, or after it has closed")  # fmt: skip


def with_plain_weights(model: nn.Module) -> nn.Module:
    """The model, if its weights are parameters; if some are computed from others (as by weight_norm, spectral_norm or
    torch.nn.utils.prune), a copy in which they are parameters of the same values. To be called after a forward pass."""
    computed = [name for name, module in model.named_modules() if computes_weights(module)]
    if not computed:
        return model
    result = copied(model)
    for module in map(result.get_submodule, computed):
        values = {
            name: getattr(module, name) for name in (*getattr(module, "parametrizations", ()), *_computed(module))
        }
        if parametrize.is_parametrized(module):  # not removed: the original has the same class, which would lose them
            module.__class__ = parametrize.type_before_parametrizations(module)
            del module.parametrizations
        for number, hook in list(module._forward_pre_hooks.items()):
            if type(hook).__module__.startswith("torch.nn.utils."):
                del module._forward_pre_hooks[number]
        for name, value in values.items():
            vars(module).pop(name, None)
            module.register_parameter(name, nn.Parameter(value.detach().clone(), requires_grad=False))
    return result


def computes_weights(module: nn.Module) -> bool:
    """Whether a module's own weights are computed from others in every pass."""
    return parametrize.is_parametrized(module) or bool(_computed(module))


def _computed(module: nn.Module) -> list[str]:
    """By hooks before each pass."""
    return [name for name in ("weight", "bias") if isinstance(vars(module).get(name), Tensor)]
