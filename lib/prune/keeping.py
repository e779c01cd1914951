"""What a run that was stopped had found out by trying, for the one that goes on from it.

Enters: numbers, and what decides them. Leaves: a small file; or the numbers again, for the same.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.images import sources
from lib.network import models
from lib.system.whole_files import written_whole


def kept(path: Path | None, identity: str) -> dict[str, object] | None:
    """What `keep` wrote of this identity; None where there is nothing, or something else."""
    try:
        found = {} if path is None else dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # none, or damaged: it is found anew
        return None
    return found["values"] if "values" in found and found.get("identity") == identity else None


def keep(path: Path | None, identity: str, values: Mapping[str, object]) -> None:
    """Writes `values` for `kept`."""
    if path is None:
        return
    with written_whole(path) as aside:
        aside.write_text(json.dumps({"identity": identity, "values": dict(values)}))


def identity(settings: list[object], model: nn.Module, tensors: Iterable[Tensor], code: Iterable[Path]) -> str:
    """Of everything that decides what is made of a network, in one text: settings, weights, tensors, the files in which
    the code is, the kind of device."""
    digest = hashlib.sha256()
    for tensor in (*model.state_dict().values(), *tensors):
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    for path in code:
        digest.update(path.read_bytes())
    place = models.place(model)[0].type
    return json.dumps([settings, place, torch.__version__, sources.code_of(model), digest.hexdigest()])
