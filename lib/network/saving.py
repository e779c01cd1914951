"""A network's weights in a file: written whole or not at all, and read whole or not at all.

Enters: a network or tensors by name, and what is to be known of them. Leaves: a safetensors file, or the same again.
"""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lib.system.whole_files import written_whole


def save(model: nn.Module, path: Path, metadata: Mapping[str, object]) -> None:
    """Writes all weights and buffers to a safetensors file, with `metadata` as JSON; aside first, then renamed.

    Raises ValueError for metadata that JSON has no words for.
    """
    path, about = Path(path), _as_json(metadata)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file in it")
    write(path, tensors_of(model), {"study": about})


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers by name, as a file has them: on the CPU, contiguous, and each by itself, also that of a
    module with two names."""
    found, seen = {}, set()
    for name, value in model.state_dict().items():
        held = value.detach().cpu().contiguous()
        place = held.untyped_storage()._cdata
        found[name] = held.clone() if place in seen else held
        seen.add(place)
    return found


def _as_json(metadata: object) -> str:
    remedy = "give a dict of numbers, texts, lists and dicts, of a tensor .tolist()"
    if not isinstance(metadata, Mapping):
        raise ValueError(f"metadata must be a dict, not a {type(metadata).__name__}: {remedy}")
    try:
        return json.dumps(metadata)
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"metadata cannot be kept as JSON ({error}): {remedy}") from error


def restore(model: nn.Module, path: Path) -> dict:
    """Loads what `save` wrote into `model`, puts it in eval mode, and returns the metadata.

    Raises ValueError naming the file where it is damaged or belongs to another network.
    """
    tensors, metadata = read(path)
    if "study" not in metadata:
        raise ValueError(f"{path} is no checkpoint of this study: it has no metadata")
    try:
        load(model, tensors)
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
    model.eval()
    return json.loads(metadata["study"])


def load(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Loads weights and buffers, by name; all or nothing, unlike `load_state_dict`, which loads what fits before it
    complains.

    Raises ValueError, naming one of them, where their names or shapes are not the model's.
    """
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if found != expected:
        name = min(name for name, _ in expected.items() ^ found.items())
        has, wants = found.get(name, "absent"), expected.get(name, "absent")
        remedy = ": run the network once before, if its first pass makes that" if wants == "absent" else ""
        raise ValueError(f"it holds another network, in which {name} is {has}, here {wants}{remedy}")
    model.load_state_dict(tensors)


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes tensors on the CPU, contiguous, to a safetensors file with `metadata`; aside first, then renamed, so that
    whoever is killed meanwhile leaves the file as it was. Raises OSError that names the file where it cannot be
    written."""
    try:
        with written_whole(path) as aside:
            aside.touch()  # with the rights that any new file has here: safetensors makes files for their owner alone
            rights = stat.S_IMODE(aside.stat().st_mode)
            save_file(tensors, aside, metadata)
            aside.chmod(rights)
    except SafetensorError as error:  # as on a full disk
        raise OSError(f"{path} cannot be written ({error})") from error


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, by name, and the metadata that `write` wrote.

    Raises FileNotFoundError where there is no file, IsADirectoryError for a folder, ValueError naming it where it is
    damaged.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder: name a file in it")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except Exception as error:  # safetensors raises its own kinds
        raise ValueError(f"{path} is damaged ({error}): delete it to have it made again") from error
