"""What every process of test_ranks.py does: torchrun starts three of them, and the first one saves what they found.

torchrun --nproc-per-node 3 tests/in_ranks.py FOLDER OUTPUT
"""

import os
import sys
from itertools import cycle
from pathlib import Path

import torch
from torch import distributed

import lib.scoring.batches
from lib import importance, pruning
from lib.images import datasets, folders, networks
from lib.scoring import precision, ranks
from lib.study import larger

KINDS = ["abs", "sq:rand:norm", "molchanov-bn", "molchanov-group", "sq:sampled:batch", "abs:exact", "sq:orth@2"]
KINDS += ["taylorfo:layer", "apoz", "hrank", "act-std", "chip", "l2", "random"]
FEW = ["sq:rand:norm", "molchanov-group", "act-std"]


def model():
    """In float64, so that rounding is far below any mistake, with BatchNorms that know the digits."""
    network = networks.build("resnet8", 10, 1, seed=3)
    with torch.no_grad():
        network(digits()[0].float())
    return network.double().eval()


def digits(count=75):
    """Three minibatches, the last of 11."""
    found = datasets.load("digits", "test")
    mean, std = datasets.statistics(found.images)
    return datasets.normalise(found.images[:count], mean, std, torch.float64), found.labels[:count]


def stream(folder, **more):
    return folders.stream(folder, 8, batch=20, labelled=True, **more)


class Grey(torch.nn.Module):
    """The network of `model` on images of three equal channels."""

    def __init__(self):
        super().__init__()
        self.network = model()
        self.eval()

    def forward(self, x):
        return self.network(x[:, :1])


def results(folder):
    """Scores and curves by what they are of, each as one tensor or a dictionary of them."""
    images, labels = digits()
    batches = list(zip(images.split(10), labels.split(10), strict=True))
    shuffled = [(images[i], None, i) for i in torch.randperm(75, generator=torch.Generator().manual_seed(0)).split(13)]
    network, photographs = model(), stream(folder)
    order = pruning.order(importance.score(network, batches, ["l2"])["l2"])
    rare = {"rare": labels < 2}
    return {
        "batches": importance.score(network, batches, KINDS, seed=5),
        "one batch": importance.score(network, [(images, labels)], FEW, seed=5),
        "an iterator": importance.score(network, iter(batches), FEW, seed=5),
        "an iterator in any order": importance.score(network, iter(shuffled), ["abs:rand", "apoz"]),
        "shuffled": importance.score(network, shuffled, ["abs:rand", "molchanov-bn:rand"]),
        "fewer than ranks": importance.score(network, [(images[:20], labels[:20])], KINDS, seed=5),
        "a folder": importance.score(Grey(), photographs, FEW, seed=5),
        "curve": torch.tensor(pruning.curve(network, order, images, labels, 3, groups=rare).to_numpy()),
        "curve of few": torch.tensor(pruning.curve(network, order, images[:2], labels[:2], 2).to_numpy()),
        "curve of a folder": torch.tensor(larger.curve(Grey().float(), order, photographs, 3).to_numpy()),
        "curve of batches": torch.tensor(larger.curve(network, order, [(images, labels)], 3).to_numpy()),
    }


def failures():
    """What each call says that goes wrong in the second minibatch alone, which is the second rank's if there is one."""
    images, labels = digits()
    wrong, infinite = labels.clone(), images.clone()
    wrong[40], infinite[40] = 10, torch.inf

    order = torch.arange(336)
    calls = {
        "labels out of range": lambda: importance.score(model(), [(images, wrong)], ["abs"]),
        "labels missing": lambda: importance.score(
            model(), [(images[i : i + 32], None if i == 32 else labels[i : i + 32]) for i in (0, 32, 64)], ["sq"]
        ),
        "not finite": lambda: importance.score(model(), [(infinite, None)], ["sq:rand"]),
        "activations not finite": lambda: importance.score(model(), [(infinite, None)], ["apoz"]),
        "no examples": lambda: importance.score(model(), [], ["sq"]),
        "curve without labels": lambda: larger.curve(
            model(), order, [(images[:32], labels[:32]), (images[32:64], None)]
        ),
        "another kind": lambda: _fail_in_the_second_rank(),
    }
    return {name: _said(call) for name, call in calls.items()}


def _fail_in_the_second_rank():
    with ranks.together():
        if ranks.place()[0] == min(1, ranks.place()[1] - 1):
            raise KeyError("a key")


def _said(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def choices(folder):
    """What was chosen for precision="auto", and whether scores are those of that; where the first rank finds bfloat16
    faster, the others slower; and what is said where its first batch is wrong."""
    images, labels = digits()
    images, network, found = images.float(), model().float(), []
    seconds = cycle((0, 2, 0, 1) if ranks.place()[0] == 0 else (0, 1, 0, 2))
    precision.multiplies, precision.perf_counter = lambda device: True, lambda: next(seconds)
    # one minibatch, of which all but one rank have nothing; several; a stream
    for net, batches in ((network, [(images[:20], labels[:20])]), (network, [(images, labels)]),
                         (Grey().float(), stream(folder))):  # fmt: skip
        said = []
        auto = importance.score(net, batches, FEW, seed=5, precision="auto", chosen=said.append)
        for name in precision.COMPUTED:
            expected = importance.score(net, batches, FEW, seed=5, precision=name)
            if all(torch.equal(auto[kind], expected[kind]) for kind in FEW):
                said.append(name)
        found.append((said[0].precision, *map(str, said[1:])))
    said = _said(lambda: importance.score(network, [(images, None)], ["abs"], precision="auto"))
    return found, said


def reads(folder):
    """How many images this rank decodes to score a folder."""
    seen, pixels = [], folders._pixels
    folders._pixels = lambda path, *how: seen.append(path) or pixels(path, *how)
    try:
        importance.score(Grey(), stream(folder), ["sq:rand"])
    finally:
        folders._pixels = pixels
    return len(seen)


def main(folder, output):
    """Three processes, then two of them, then one: writes what each of them found, number -> a list, to `output`."""
    torch.set_num_threads(1)
    rank, everything = int(os.environ["RANK"]), {}
    for count in range(int(os.environ["WORLD_SIZE"]), rank, -1):
        meeting = f"file://{output.with_name(f'meeting-{count}')}"
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
        everything[count] = [None] * count
        distributed.all_gather_object(everything[count], (results(folder), failures(), reads(folder), choices(folder)))
        distributed.destroy_process_group()
    if rank == 0:
        torch.save(everything, output)


if __name__ == "__main__":
    lib.scoring.batches.MINIBATCH = 32  # lest all images be in one
    main(*map(Path, sys.argv[1:]))
