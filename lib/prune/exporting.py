"""What is left in a folder: the smaller network for Python, for ONNX and for torch.export, and what went where.

Enters: a `Pruned`, and what is to be said of it. Leaves: pruned.safetensors, pruned.onnx, pruned.pt2, plan.csv,
steps.csv, costs.csv; or a line for each that could not be made.
"""

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from lib import slim_files
from lib.network import contexts, models
from lib.prune.making import Pruned
from lib.system.whole_files import written_whole

WEIGHTS, ONNX, EXPORTED = "pruned.safetensors", "pruned.onnx", "pruned.pt2"
TABLES = ("plan.csv", "steps.csv", "costs.csv")
FILES = (WEIGHTS, ONNX, EXPORTED, *TABLES)


def save(pruned: Pruned, folder: Path, about: Mapping[str, object], tell: Callable[[str], object] = print) -> list[str]:
    """Writes all that can be made of `pruned` into `folder`; files there of these names are replaced, each whole.

    Arguments:
        about: kept in pruned.safetensors beside weights and widths, as JSON.
        tell: called with a line for each file that could not be made, which says why.

    Returns the names of the networks' files that were made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    slim_files.save(pruned.model, folder / WEIGHTS, about)
    for name, table in zip(TABLES, (pruned.layers, pruned.quality, pruned.costs), strict=True):
        with written_whole(folder / name) as path:
            table.to_csv(path, index=False)
    model, example = pruned.model, models.ready(pruned.model, pruned.example)
    made = [WEIGHTS]
    for name, write in {EXPORTED: _export, ONNX: _export_onnx}.items():
        (folder / name).unlink(missing_ok=True)  # of another network, if this one's cannot be made
        try:
            with written_whole(folder / name, by_ending=True) as path:
                write(model, example, path)
            made.append(name)
        except Exception as error:  # exporters fail in any way at what they do not know
            tell(f"{name} is left out: {models.first_line(error)}")
    return made


def _program(model: nn.Module, example: torch.Tensor) -> torch.export.ExportedProgram:
    """Of the network, for any number of images."""
    images = {0: torch.export.Dim("images")}
    with contexts.random_state_kept(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(model, (torch.cat([example, example]),), dynamic_shapes=(images,))


def _export(model: nn.Module, example: torch.Tensor, path: Path) -> None:
    torch.export.save(_program(model, example), path)
    _compare(model, example, torch.export.load(path).module(), "torch.export")


def _export_onnx(model: nn.Module, example: torch.Tensor, path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"it needs the package {package}: pip install onnx onnxscript onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(_program(model, example), dynamo=True, verbose=False)
    program.save(path, external_data=False)
    if importlib.util.find_spec("onnxruntime") is not None:
        _compare(model, example, _session(path), "ONNX Runtime")


def _session(path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network in a file, run by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {name: images.cpu().numpy()})[0])


@torch.no_grad()
def _compare(model: nn.Module, example: torch.Tensor, exported: Callable, called: str) -> None:
    """Raises ValueError where what was exported answers otherwise than the network, on one image or on three."""
    for images in (example, torch.cat([example, -example, example.flip(-1)])):
        if not models.alike(exported(images).cpu(), model(images).cpu()):
            raise ValueError(f"{called} answers otherwise than the network, so the file would mislead")
