"""A run's trained network, and what to do where a run lacks something.

Enters: a run. Leaves: its network as its checkpoint has it, or the run with what was missing.
"""

import json
import subprocess
import sys

import torch
from torch import nn

from lib.images import datasets, networks
from lib.network import saving
from lib.study import given, paths, profiles, records


def model(run: profiles.Run, device: torch.device | str) -> nn.Module:
    """The run's trained network, in eval mode on `device`; of a run whose weights are given, from their file.

    Raises FileNotFoundError before it has been trained, ValueError naming the file where it is damaged or not the one
    that the training's record tells of.
    """
    train = datasets.load(run.dataset, "train", run.data_folder)
    if run.is_given:
        given.require_reference(run)
        model = given.model(run, len(train.classes))
    else:
        model = networks.build(run.network, len(train.classes), train.images.shape[1])
        saving.restore(model, run.checkpoint)
    _require_as_recorded(run)
    return model.to(device, memory_format=torch.channels_last)


def _require_as_recorded(run: profiles.Run) -> None:
    path = run.record("00-train")
    if not path.exists():  # a training by hand, without its notebook
        return
    told = json.loads(path.read_text()).get("checkpoint")
    if told != records.digest(run.checkpoint):
        problem = f"{run.checkpoint} is not the one that {path} tells of (SHA-256)"
        raise ValueError(f"{problem}: delete both, and make reproduce trains {run.label} anew")


def complete(run: profiles.Run) -> None:
    """Makes what is missing of a run, by the commands of its records; raises RuntimeError where that fails."""
    for notebook, output in (("00-train", run.checkpoint), ("10-measure", run.finetuning)):
        if not output.exists():
            words = [sys.executable, *records.command_words(notebook, run)]
            done = subprocess.run(words, cwd=paths.ROOT, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{run.label}: {done.stderr.strip() or done.stdout.strip()}")
