"""A small network in which one step is the test's own, images for it, and what may be asked of any model."""

from collections.abc import Callable

import torch
from torch import nn

from lib import cost, importance, oracle, pruning, structure
from lib.masking import footprint
from lib.network import contexts

IMAGES, LABELS = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0, 1])


class Net(nn.Module):
    """Two convolutions, the second called by `how`, and a classifier, whose logits go through `out`."""

    def __init__(self, how: Callable = lambda layer, x: layer(x), out: Callable = lambda logits: logits):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.classifier, self.how, self.out = nn.Linear(4, 4), how, out

    def forward(self, x):
        return self.out(self.classifier(self.how(self.second, self.first(x).relu()).mean((2, 3))))


def everything(model):
    """What the public functions say of a model."""
    scores = importance.score(model, [(IMAGES, LABELS)], ["sq", "abs:rand:norm", "molchanov-group", "apoz", "synflow"])
    order = pruning.order(scores["sq"])
    with torch.no_grad(), pruning.masked(model, order, 4):
        masked = model(IMAGES)
    found = [*scores.values(), *oracle.score(model, [(IMAGES, LABELS)]).values(), masked]
    curve = pruning.curve(model, order, IMAGES, LABELS, 3)
    with contexts.as_written(), torch.no_grad():
        small = pruning.slim(model, scores["sq"], IMAGES[:1], budget=0.3)(IMAGES)
    return [*found, torch.from_numpy(curve.to_numpy()), small]


ORDER, SCORES = torch.arange(8), torch.arange(8.0)
PUBLIC = {
    "units": importance.units,
    "score": lambda model: importance.score(model, [(IMAGES, LABELS)] * 2, ["sq:rand", "molchanov-group"]),
    "score by activations": lambda model: importance.score(model, [(IMAGES, None)] * 2, ["apoz", "synflow"]),
    "contributions": lambda model: importance.contributions(model, IMAGES, torch.ones(6, 4)),
    "curve": lambda model: pruning.curve(model, ORDER, IMAGES, LABELS, 3),
    "oracle": lambda model: oracle.score(model, [(IMAGES, LABELS)]),
    "interactions": lambda model: oracle.interactions(model, ORDER, [2], [(IMAGES, LABELS)]),
    "slim": lambda model: structure.slim(model, SCORES, IMAGES[:1], budget=0.3),
    "remaining": lambda model: footprint.remaining(model, ORDER, [2], IMAGES[:1]),
    "multiply_adds": lambda model: cost.multiply_adds(model, IMAGES),
    "table": lambda model: cost.table({"net": model}, IMAGES[:1], batches=(2,), repeats=1),
}
