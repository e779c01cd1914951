"""Weights from files that others have written: training scripts, torchvision, wrappers of networks.

Enters: a .safetensors file, or one that torch.save wrote. Leaves: tensors by the names that the network itself gives
them. No code in the file is run: of what is no tensor only plain values and a few harmless objects are read, the rest
is refused by name.
"""

import argparse
import mmap
import os
import pathlib
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy
import safetensors.torch
import torch
from torch import Tensor

from lib.images.files import require_utf8, shown

HOLDERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")  # of weights beside other things
WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")  # compiled, checkpointed, sharded
OUTER = ("module", "model")  # data-parallel or averaged; a script's own class around the network
AVERAGED = "n_averaged"  # a counter of averaged weights beside them
# The options that torchvision's training script keeps, and numbers and paths that others do.
_HARMLESS = [argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath, numpy.dtype]
_HARMLESS += [kind for kind in vars(numpy.dtypes).values() if isinstance(kind, type)]
_HARMLESS += [(numpy.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]


def weights(path: str | os.PathLike, names: Collection[str] = ()) -> dict[str, Tensor]:
    """Weights and buffers by name, from a .safetensors file or one that torch.save wrote, also as what a training
    script keeps under "state_dict" or "model" beside other things.

    Names lose what wrappers have put into them: `_orig_mod.` anywhere, and `module.` and `model.` in front where all of
    them begin so, unless they fit without that.

    Arguments:
        names: which are expected, if that is known.

    Raises OSError where there is no file, ValueError in one line that names it where it holds something else.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{shown(path)} is a folder: name the file of weights in it")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights {shown(path)}")
    if path.suffix == ".safetensors":
        require_utf8(path)
    return _unwrapped(_state_dict(_read(path), path), names)


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is a scripted model, say, before it is refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes them raise
        raise ValueError(f"{shown(path)}{_what_is_wrong(path, error)}") from error


def _what_is_wrong(path: Path, error: Exception) -> str:
    if _mentions(path, b"torch.nn.modules."):
        return ": it holds a whole model: save model.state_dict() instead"
    if others := ", ".join(_objects(path)[:3]):
        return f": it holds more than tensors ({others}), which could run code: save model.state_dict() instead"
    return f" cannot be read as weights: it takes .safetensors, or a state_dict by torch.save ({type(error).__name__})"


def _mentions(path: Path, text: bytes) -> bool:
    with path.open("rb") as file:
        if not os.path.getsize(path):
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(text) >= 0


def _objects(path: Path) -> list[str]:
    """What a file that torch.save wrote holds beside tensors and plain values."""
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # another kind of file, or a damaged one
        return []


def _state_dict(found: object, path: Path) -> Mapping[str, Tensor]:
    held = found
    while isinstance(held, Mapping) and not _is_state_dict(held):
        holder = next((name for name in HOLDERS if isinstance(held.get(name), Mapping)), None)
        if holder is None:
            break
        held = held[holder]
    if _is_state_dict(held):
        return held
    kind = f"a {type(found).__name__}"
    if isinstance(found, Mapping):
        kind = ", ".join(shown(str(name)) for name in list(found)[:5]) or "nothing"
    raise ValueError(f"{shown(path)} holds no state_dict, names with tensors, but {kind}: save model.state_dict()")


def _is_state_dict(found: object) -> bool:
    if not isinstance(found, Mapping) or not found:
        return False
    return all(isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items())


def _unwrapped(found: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    found = {".".join(part for part in name.split(".") if part not in WRAPPERS): value for name, value in found.items()}
    while not (names and set(names) <= found.keys()):
        inner = {name: value for name, value in found.items() if name != AVERAGED}
        outer = next((outer for outer in OUTER if inner and all(name.startswith(f"{outer}.") for name in inner)), None)
        if outer is None:
            break
        found = {name.removeprefix(f"{outer}."): value for name, value in inner.items()}
    return found
