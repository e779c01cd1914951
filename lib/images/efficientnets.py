"""EfficientNet-Lite: EfficientNets without squeeze-and-excitation, with ReLU6 in place of swish.

Enters: a width, a depth, numbers of classes and of input channels. Leaves: an `nn.Module` from images (M, C, H, W) to
logits (M, num_classes). Blocks: Sandler et al. 2018 (arXiv 1801.04381); their numbers: Tan & Le 2019 (arXiv
1905.11946). As in the Lite variant, neither the stem and the head are scaled in width, nor the first and the last stage
in depth. Convolutions pad alike on both sides.
"""

import math
from collections import OrderedDict

from torch import Tensor, nn

STEM, HEAD = 32, 1280  # channels
DIVISOR = 8  # of all other numbers of channels
# widening within the block, side of the depthwise convolution, stride of the first block, channels, blocks
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class EfficientNetLite(nn.Module):
    """A stem, stages of inverted residual blocks, a head and a linear classifier."""

    def __init__(self, width: float, depth: float, num_classes: int, in_channels: int = 3):
        super().__init__()
        self.stem = _convolution(in_channels, STEM, 3, stride=2)
        blocks, inputs = [], STEM
        for stage, (widening, side, stride, channels, count) in enumerate(STAGES):
            outputs = _rounded(channels * width)
            fixed = stage in (0, len(STAGES) - 1)
            for block in range(count if fixed else math.ceil(count * depth)):
                blocks.append(InvertedResidual(inputs, outputs, widening, side, 1 if block else stride))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = _convolution(inputs, HEAD, 1)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(HEAD, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.head(self.blocks(self.stem(images)))  # (M, HEAD, H, W)
        return self.classifier(self.dropout(x.mean((2, 3))))


class InvertedResidual(nn.Module):
    """A 1x1 convolution that widens, a depthwise one and a 1x1 one that narrows, which has no activation; around them
    a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, widening: int, side: int, stride: int):
        super().__init__()
        wide = inputs * widening
        layers = OrderedDict({"widen": _convolution(inputs, wide, 1)} if widening > 1 else {})
        layers["depthwise"] = _convolution(wide, wide, side, stride=stride, groups=wide)
        layers["narrow"] = _convolution(wide, outputs, 1, activated=False)
        self.layers = nn.Sequential(layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.shortcut else self.layers(x)


def _convolution(inputs: int, outputs: int, side: int, *, activated: bool = True, **more: int) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False, **more)]
    layers += [nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)]
    return nn.Sequential(*layers, *([nn.ReLU6()] if activated else []))


def _rounded(channels: float) -> int:
    """To the nearest multiple, unless that takes away more than a tenth."""
    nearest = max(DIVISOR, int(channels + DIVISOR / 2) // DIVISOR * DIVISOR)
    return nearest if nearest >= 0.9 * channels else nearest + DIVISOR
