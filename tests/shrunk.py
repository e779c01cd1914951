"""Networks to be shrunk, and the obvious way to say what comes of it."""

import functools
from contextlib import ExitStack, contextmanager

import torch
import toys
from hypothesis import settings
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from lib import pruning
from lib.images import networks
from lib.network.units import units
from lib.structure import trace

steady = settings(deadline=None, derandomize=True)  # the machine may be busy; the same cases every time


def randomised(model, seed=0):
    """In eval mode, with statistics and affine parameters of BatchNorm by which every mistake would show."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(generator=generator)
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


class Skip(nn.Module):
    """What a user may write: a projection around a block in which pairs of channels only see each other, concatenated
    with the image, normalised, flattened."""

    def __init__(self):
        super().__init__()
        self.stem, self.narrow = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 1, bias=False)
        self.paired, self.norm = nn.Conv2d(6, 12, 3, padding=1, groups=3), nn.BatchNorm2d(12)
        self.project, self.after = nn.Conv2d(8, 12, 1), nn.BatchNorm2d(15)
        self.hidden, self.classifier = nn.Linear(15 * 16, 9), nn.Linear(9, 5)

    def forward(self, images):
        x = functional.silu(self.stem(images))
        y = self.norm(self.paired(functional.relu(self.narrow(x))))
        y += self.project(x)
        y = functional.relu(self.after(torch.cat([images, y], 1)))
        return self.classifier(functional.relu(self.hidden(functional.adaptive_avg_pool2d(y, 4).flatten(1))))


SIZES = {
    "resnet20": 32, "resnet56": 32, "vgg19": 32, "resnet18": 32, "resnet50": 32, "densenet121": 32, "mobilenet_v2": 32,
    "Skip": 8,
}  # fmt: skip


@functools.cache
def prepared(name):
    """A network, which no test may change, an image of its size and its structure."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = randomised(Skip() if name == "Skip" else networks.build(name, 10))
    example = noise(1, 3, SIZES[name], SIZES[name])
    return model, example, trace(model, example)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_scores(total, seed=1):
    return torch.rand(total, generator=torch.Generator().manual_seed(seed))


def in_order(slimming):
    """All units, those that go first."""
    gone = slimming.removed.tolist()
    return torch.tensor(gone + sorted(set(range(slimming.before["units"])) - set(gone)))


@contextmanager
def off(model, slimming):
    """The design's mask: removed units are zero at their taps, removed channels at the output of every BatchNorm."""
    with ExitStack() as stack:
        for name, kept in slimming.kept.items():
            module = model.get_submodule(name)
            if isinstance(module, nn.BatchNorm2d):
                keep = torch.zeros(module.num_features, 1, 1).index_fill_(0, kept, 1)
                handle = module.register_forward_hook(lambda m, i, out, keep=keep: out * keep)
                stack.callback(handle.remove)
        stack.enter_context(pruning.masked(model, in_order(slimming), len(slimming.removed), slimming.layers))
        yield


def measured(model, example):
    """Units, parameters and multiply-adds as others count them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(example)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "units": sum(unit.size for unit in units(model, example)),
        "parameters": parameters,
        "macs": counter.get_total_flops() // 2,
    }


RESIDUAL = trace(toys.make(toys.Residual), toys.examples(toys.Residual, 1)[0])


# What cannot shrink


class Shuffled(nn.Module):
    """Channels are dealt into two heaps between two convolutions."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.classifier = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

    def forward(self, images):
        x = self.first(images).relu()
        x = x.view(len(x), 2, 2, *x.shape[2:]).transpose(1, 2).reshape(len(x), 4, *x.shape[2:])
        return self.classifier(self.second(x).relu().mean((2, 3)))


class Idle(Shuffled):
    """A head that runs, whose output nobody uses."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(4, 6, 1)

    def forward(self, images):
        x = self.first(images).relu()
        self.head(x)
        return self.classifier(self.second(x).relu().mean((2, 3)))
