"""Networks that others have trained: taken as they are, where they are what study.yaml says.

Enters: a run whose weights are given (`Run.is_given`), and their file below the data folder. Leaves: the network, a
log of no training, and a checkpoint that refers to the weights without holding them, since they are not ours to
publish; for any run, how its images are prepared.
"""

import json
from pathlib import Path

import pandas
import torch
from torch import Tensor, nn

from lib.images import datasets, public, training
from lib.network import saving
from lib.study import paths, profiles

TOLERANCE = 0.01  # by which the accuracy found may differ from the one that study.yaml names, on other test images, say


def take(run: profiles.Run, test_set: datasets.ImageSet, device: torch.device | str) -> pandas.DataFrame:
    """Checks the run's network on all test images, writes a checkpoint that refers to it, and returns the log that a
    training would have: one row, of epoch 0.

    Raises what `model` raises, and ValueError where the accuracy is further than `TOLERANCE` from what study.yaml says.
    """
    found, settings = model(run, len(test_set.classes)), run.settings
    found.to(device, memory_format=torch.channels_last)
    images = public.PUBLIC[run.network].preparation(test_set.images).to(device)
    accuracy = training.evaluate(found, images, test_set.labels, batch=settings["measuring"]["batch"])
    if abs(accuracy - settings["training"]["accuracy"]) > TOLERANCE:
        where = f"{paths.STUDY} says {settings['training']['accuracy']:.4f}, by at most {TOLERANCE} off"
        raise ValueError(f"{run.label}: the weights given are right on {accuracy:.4f} of the test images, but {where}")
    about = {name: getattr(run, name) for name in ("dataset", "network", "seed")}
    about |= {"classes": test_set.classes, "sha256": settings["training"]["sha256"]}
    saving.write(run.checkpoint, {}, {"study": json.dumps(about)})
    none = float("nan")
    return pandas.DataFrame([{"epoch": 0, "learning_rate": none, "loss": none, "accuracy": accuracy, "seconds": 0.0}])


def model(run: profiles.Run, num_classes: int) -> nn.Module:
    """The run's network, in eval mode, from the file that study.yaml names.

    Raises FileNotFoundError where it is not there, ValueError where it holds other weights.
    """
    settings = run.settings["training"]
    return public.load(run.network, require_file(run), settings["sha256"], num_classes)


def require_file(run: profiles.Run) -> Path:
    """The file of the run's weights. Raises FileNotFoundError, saying where one may have it from."""
    path = paths.from_here(Path(run.data) / run.settings["training"]["weights"])
    if not path.is_file():
        source = public.PUBLIC[run.network].source
        raise FileNotFoundError(f"there are no weights {path} of {run.network} ({source}): see data/README.md")
    return path


def require_reference(run: profiles.Run) -> None:
    """Raises ValueError where the run's checkpoint refers to other weights than study.yaml names."""
    _, metadata = saving.read(run.checkpoint)
    if json.loads(metadata.get("study", "{}")).get("sha256") != run.settings["training"]["sha256"]:
        problem = f"{run.checkpoint} does not refer to the weights that {paths.STUDY} names"
        raise ValueError(f"{problem}: make reproduce makes it anew")


def origin(run: profiles.Run) -> dict[str, object]:
    """Whose weights a run's network has, for its record: nothing where the study has trained it."""
    if not run.is_given:
        return {}
    theirs = public.PUBLIC[run.network]
    return {"given": {"source": theirs.source, "licence": theirs.licence} | run.settings["training"]}


def preparation(run: profiles.Run, images: Tensor) -> public.Preparation:
    """How images become what the run's network takes: as its weights want it, or, where it is trained here, by the
    moments of the training `images`."""
    return public.PUBLIC[run.network].preparation if run.is_given else public.Preparation.of(images)
