"""Networks by what a command line calls them.

Enters: a name of torchvision's or this study's, `timm:NAME`, or `FILE.py:FUNCTION` of the user's own; a file of
weights. Leaves: the network in eval mode with these weights; or, in one line, why they do not fit it.
"""

import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from lib.images import networks, public
from lib.images.checkpoints import HOLDERS, weights
from lib.images.files import shown
from lib.network import models, saving

NETWORK = "of torchvision or this study, timm:NAME, or FILE.py:FUNCTION that builds it"
UNTRAINED = "untrained"
WEIGHTS = (
    f"a state_dict, .safetensors or by torch.save (.pt, .pth), alone or in a checkpoint under {', '.join(HOLDERS)}, its"
    f" names with module., model. or _orig_mod. in front or without; or the word {UNTRAINED}"
)
_FOR_TRAINING = ("aux1.", "aux2.", "AuxLogits.")  # heads in torchvision's files, which networks here do without


def build(name: str, classes: int, path: str | os.PathLike, channels: int = 3) -> nn.Module:
    """The network called `name` for images of so many channels, in eval mode, with the weights in `path`, or as built
    where that is `UNTRAINED`.

    A function of the user's own is called without arguments; what it returns has its own number of classes, and takes
    its own number of channels.

    Raises ValueError or OSError, in one line that names the culprit, where there is no such network or file, or weights
    do not fit.
    """
    model = models.inside(_built(name, classes, channels))
    if str(path) == UNTRAINED:
        return model.eval()
    own = model.state_dict()
    counters = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
    tensors = weights(path, own.keys() - counters.keys())
    tensors = {key: value for key, value in tensors.items() if key in own or not key.startswith(_FOR_TRAINING)}
    tensors = public.named_here(name, own, tensors)
    try:
        saving.load(model, counters | tensors)  # old files do not have the counters, and eval mode does not use them
    except ValueError as error:
        network = shown(name) if own_file(name) else f"{name} with {classes} classes"
        found = None if own_file(name) else _classes(own, counters | tensors, classes)
        colours = _of_other_colours(own, tensors, channels)
        why = f"it has {found}, so pass --classes {found}" if found else colours or error
        raise ValueError(f"{shown(path)} does not fit {network}: {why}") from error
    return model.eval()


def code_of(model: nn.Module) -> str:
    """SHA-256 (hex) of what a network of somebody's own is besides its weights: its modules with their settings, and
    the files in which their classes are written."""
    digest = hashlib.sha256(repr(model).encode())
    kinds = {type(module) for module in model.modules() if not type(module).__module__.startswith("torch.")}
    files = {_written_in(kind) or getattr(sys.modules.get(kind.__module__), "__file__", None) for kind in kinds}
    for file in sorted(file for file in files if file):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def _written_in(kind: type) -> str | None:
    """Where a class has its `forward`: its module need not be among those that are imported."""
    code = getattr(vars(kind).get("forward"), "__code__", None)
    return code.co_filename if code is not None and Path(code.co_filename).is_file() else None


def own_file(name: str) -> Path | None:
    """The file in `FILE.py:FUNCTION`; None for networks that are called otherwise."""
    file, colon, _ = name.rpartition(":")
    return Path(file) if colon and file.endswith(".py") else None


def _built(name: str, classes: int, channels: int) -> nn.Module:
    if name.startswith("timm:"):
        return _from_timm(name.removeprefix("timm:"), classes, channels)
    if file := own_file(name):
        return _from_file(file, name.rpartition(":")[2])
    if name.endswith(".py"):
        raise ValueError(f"{shown(name)} is a file: name the function in it, too, as in {shown(name)}:build")
    if ":" in name:
        raise ValueError(f"{shown(name)} is no network: one of your own is FILE.py:FUNCTION, such as mine.py:build")
    return networks.build(name, classes, channels)


def _from_timm(name: str, classes: int, channels: int) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise ValueError(f"timm:{name} needs the package timm, which is not installed: pip install timm") from None
    grey = {} if channels == 3 else {"in_chans": channels}
    try:
        return timm.create_model(name, pretrained=False, num_classes=classes, **grey)
    except Exception as error:  # whatever it raises for a name that it does not know
        raise ValueError(f"timm:{name} cannot be built: {models.first_line(error)}") from error


def _from_file(path: Path, function: str) -> nn.Module:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {shown(path)}, which should hold the function {function}")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    known = sys.modules.setdefault(path.stem, module) is not module  # where dataclasses look for the module of theirs
    sys.path.insert(0, str(path.parent.resolve()))  # where it may import its neighbours from
    try:
        specification.loader.exec_module(module)
        _require_builder(module, function)
        if not isinstance(model := getattr(module, function)(), nn.Module):
            raise ValueError(f"{function}() returns a {type(model).__name__}, not an nn.Module")
    except SystemExit as error:
        raise ValueError(f"{shown(path)} gives no network: it ends the program, as a script does that takes arguments:"
                         " put what is not the network under if __name__ == '__main__'") from error  # fmt: skip
    except Exception as error:  # a user's code may fail in any way
        raise ValueError(f"{shown(path)} gives no network: {models.first_line(error)}") from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
        if not known:
            sys.modules.pop(path.stem, None)
    return model


def _require_builder(module: ModuleType, function: str) -> None:
    """Raises ValueError where there is no such function in a file of the user's own, or it cannot be called without
    arguments."""
    builder = getattr(module, function, None)
    if isinstance(builder, nn.Module):
        raise ValueError(f"{function} is a network already: name a function that builds it")
    if not callable(builder):
        there = [name for name, value in vars(module).items()
                 if callable(value) and getattr(value, "__module__", None) == module.__name__]  # fmt: skip
        raise ValueError(f"there is no function {function} in it, but {', '.join(there) or 'none at all'}")
    try:
        with suppress(ValueError):  # of callables that tell nothing of their arguments
            inspect.signature(builder).bind()
    except TypeError as error:
        raise ValueError(
            f"{function}() is called without arguments ({error}): name a function that gives them"
        ) from None


def _classes(own: Mapping[str, Tensor], found: Mapping[str, Tensor], classes: int) -> int | None:
    """How many classes the network `found` has, if it is `own` in all but their number."""
    mine, theirs = ({name: tuple(value.shape) for name, value in part.items()} for part in (own, found))
    others = [name for name in mine.keys() & theirs.keys() if mine[name] != theirs[name]]
    number = next((theirs[name][0] for name in others if theirs[name]), None)
    widened = mine | {name: (number, *mine[name][1:]) for name in others if mine[name][:1] == (classes,)}
    return number if widened == theirs else None


def _of_other_colours(own: Mapping[str, Tensor], found: Mapping[str, Tensor], channels: int) -> str:
    """What is to be said of a network that takes images of other than so many channels."""
    for name in own.keys() & found.keys():
        meant, others = own[name].shape[1:2], found[name].shape[1:2]
        if own[name].ndim == 4 and meant == (channels,) and others != meant:
            remedy = {1: ": --grey MEAN STD reads them so", 3: ": leave --grey out"}.get(others[0], "")
            return f"it takes images of {others[0]} channel{'s' * (others[0] != 1)}, not of {channels}{remedy}"
    return ""
