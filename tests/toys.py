"""Tiny networks that tests share, each written twice.

`forward` is what a user would write, in-place operations included. `gated` computes the same out of place, and passes
every tap through `gate(number of the layer, value)`: multiplying there by ones is the obvious way to a unit's
contribution. `UNITS` lists what `lib.units` must find: (layer, size, its BatchNorm or None, how many taps, whether a
later operation overwrites the tap).
"""

import torch
from torch import nn
from torch.nn import functional


class Mlp(nn.Module):
    """Linear layers only, one with BatchNorm1d; two classes."""

    SHAPE, CLASSES, SEED = (4,), 2, 2
    UNITS = (("hidden", 5, "norm", 1, False), ("second", 3, None, 1, False))

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(3, 2)  # registered first, runs last
        self.norm, self.hidden, self.second = nn.BatchNorm1d(5), nn.Linear(4, 5, bias=False), nn.Linear(5, 3)

    def forward(self, x):
        x = functional.relu(self.norm(self.hidden(x)))
        return self.classifier(functional.relu(self.second(x)))

    def gated(self, x, gate):
        x = functional.relu(gate(0, self.norm(self.hidden(x))))
        return self.classifier(functional.relu(gate(1, self.second(x))))


class Plain(nn.Module):
    """A convolution with BatchNorm, one without, and activations that overwrite their input."""

    SHAPE, CLASSES, SEED = (2, 6, 6), 3, 1
    UNITS = (("layers.0", 4, "layers.1", 1, True), ("layers.4", 3, None, 1, True))

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(4, 3, 3, padding=1), nn.ReLU6(inplace=True), nn.Flatten(), nn.Dropout(), nn.Linear(12, 3),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)

    def gated(self, x, gate):
        conv1, norm, _, _, conv2, _, _, _, classifier = self.layers
        x = functional.max_pool2d(gate(0, norm(conv1(x))).relu(), 2)
        return classifier(gate(1, conv2(x)).clamp(0, 6).flatten(1))


class Residual(nn.Module):
    """A block whose sum is taken in place, around a shortcut with a BatchNorm of its own."""

    SHAPE, CLASSES, SEED = (1, 5, 5), 3, 3
    UNITS = (
        ("stem", 3, "stem_norm", 1, True), ("conv1", 2, "norm1", 1, True), ("conv2", 4, "norm2", 1, True),
        ("shortcut", 4, "shortcut_norm", 1, False),
    )  # fmt: skip

    def __init__(self):
        super().__init__()
        self.stem_norm, self.norm1, self.norm2 = nn.BatchNorm2d(3), nn.BatchNorm2d(2), nn.BatchNorm2d(4)
        self.stem, self.conv1 = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 2, 3, stride=2, bias=False)
        self.conv2, self.shortcut = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(3, 4, 3, stride=2)
        self.shortcut_norm, self.classifier = nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem_norm(self.stem(x)).relu_()
        out = self.norm2(self.conv2(functional.silu(self.norm1(self.conv1(x)), inplace=True)))
        out += self.shortcut_norm(self.shortcut(x))
        return self.classifier(out.relu_().mean((2, 3)))

    def gated(self, x, gate):
        x = gate(0, self.stem_norm(self.stem(x))).relu()
        out = gate(2, self.norm2(self.conv2(functional.silu(gate(1, self.norm1(self.conv1(x)))))))
        out = out + gate(3, self.shortcut_norm(self.shortcut(x)))
        return self.classifier(out.relu().mean((2, 3)))


class Twice(nn.Module):
    """A layer and its BatchNorm used twice around skips, and a convolution for classifier."""

    SHAPE, CLASSES, SEED = (1, 4, 4), 3, 3
    UNITS = (("stem", 3, None, 1, False), ("shared", 3, "norm", 2, False))

    def __init__(self):
        super().__init__()
        self.stem, self.shared = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.norm, self.classifier = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = self.stem(x).tanh()
        for _ in range(2):
            x = x + functional.relu(self.norm(self.shared(x)))
        return self.classifier(x).mean((2, 3))

    def gated(self, x, gate):
        x = gate(0, self.stem(x)).tanh()
        for _ in range(2):
            x = x + functional.relu(gate(1, self.norm(self.shared(x))))
        return self.classifier(x).mean((2, 3))


class Overwritten(nn.Module):
    """A convolution's output overwritten before a BatchNorm takes it, so it is not that convolution's; then tokens
    (M, T, C)."""

    SHAPE, CLASSES, SEED = (2, 3, 3), 3, 0
    UNITS = (("conv", 4, None, 1, True), ("token", 3, None, 1, False))

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 2), nn.BatchNorm2d(4)
        self.token, self.classifier = nn.Linear(4, 3), nn.Linear(3, 3, bias=False)

    def forward(self, x):
        y = self.conv(x)
        y.relu_()
        tokens = self.norm(y).flatten(2).transpose(1, 2)
        return self.classifier(self.token(tokens).sigmoid().mean(1))

    def gated(self, x, gate):
        tokens = self.norm(gate(0, self.conv(x)).relu()).flatten(2).transpose(1, 2)
        return self.classifier(gate(1, self.token(tokens)).sigmoid().mean(1))


class Decoder(nn.Module):
    """Transposed convolutions: in groups with BatchNorm, with padding at one end of the result, dilated, and one to a
    size that is given."""

    SHAPE, CLASSES, SEED = (4, 3, 3), 3, 39
    UNITS = (("up", 6, "norm", 1, True), ("wide", 3, None, 1, True), ("pairs", 6, None, 1, False))

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, bias=False)
        self.norm, self.wide = nn.BatchNorm2d(6), nn.ConvTranspose2d(6, 3, 2, dilation=2)
        self.pairs, self.classifier = nn.ConvTranspose2d(3, 6, 2, stride=2, groups=3), nn.Linear(6, 3)

    def forward(self, x):
        x = functional.relu(self.norm(self.up(x)), inplace=True)
        x = self.wide(x).relu_()
        return self.classifier(self.pairs(x, output_size=(17, 16)).tanh().amax((2, 3)))

    def gated(self, x, gate):
        x = gate(0, self.norm(self.up(x))).relu()
        x = gate(1, self.wide(x)).relu()
        return self.classifier(gate(2, self.pairs(x, output_size=(17, 16))).tanh().amax((2, 3)))


NETWORKS = (Mlp, Plain, Residual, Twice, Overwritten, Decoder)


def make(network):
    """One of `NETWORKS`, float64, in eval mode, random in every weight and buffer; with its SEED no unit is idle."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(network.SEED)
        model = network().double().eval()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.weight.data.normal_()
                module.bias.data.normal_()
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.2, 0.6)
    return model


def examples(network, count, seed=1):
    """Images and labels for one of `NETWORKS`."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, *network.SHAPE, dtype=torch.float64, generator=generator)
    return images, torch.randint(network.CLASSES, (count,), generator=generator)


def close(actual, expected):
    """Raises AssertionError where float64 numbers differ by more than rounding."""
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
