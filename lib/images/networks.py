"""Networks by name: the paper's for small images, two small ones for 8-pixel digits, and every torchvision classifier.

Enters: a name, the number of classes and of input channels. Leaves: a freshly initialised `nn.Module` from images
(M, C, H, W) to logits (M, num_classes). CIFAR ResNets: He et al. 2016 (arXiv 1512.03385, section 4.2) with 1x1
convolutions as shortcuts, or, where a name ends in "a", with their option A, shortcuts without parameters; VGG with
BatchNorm and without hidden linear layers: Simonyan & Zisserman 2015 (arXiv 1409.1556), as the paper uses it; a small
vision transformer, of `transformers`. No operation of these overwrites a BatchNorm's output, so scoring needs no
copies.
"""

import difflib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.images.efficientnets import EfficientNetLite
from lib.images.transformers import VisionTransformer


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class Padded(nn.Module):
    """Option A: every `stride`-th pixel, and channels of zeros, half of them in front, where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride, self.before = stride, (outputs - inputs) // 2
        self.behind = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        thinned = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(thinned, (0, 0, 0, 0, self.before, self.behind))


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, made by `changing` where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, changing: Callable[[int, int, int], nn.Module]):
        super().__init__()
        self.conv1 = _convolution(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = _convolution(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = changing(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self.shortcut(x))


class SmallResNet(nn.Module):
    """A ResNet with a 3x3 stem for images of 8 to 64 pixels: one stage per width, each halving the resolution but the
    first."""

    def __init__(
        self,
        blocks: int,
        num_classes: int,
        in_channels: int,
        widths: Sequence[int] = (16, 32, 64),
        changing: Callable[[int, int, int], nn.Module] = _projection,
    ):
        super().__init__()
        self.conv1 = _convolution(in_channels, widths[0], 3)
        self.bn1 = nn.BatchNorm2d(widths[0])
        stages, inputs = [], widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stages.append(BasicBlock(inputs, width, 2 if stage and not block else 1, changing))
                inputs = width
        self.blocks = nn.Sequential(*stages)
        self.classifier = nn.Linear(inputs, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(images)))
        x = self.blocks(x)  # (M, C, H, W)
        return self.classifier(x.mean((2, 3)))


class SmallVGG(nn.Module):
    """A VGG with BatchNorm and one linear layer: stages of 3x3 convolutions, with max-pooling between them."""

    def __init__(self, stages: Sequence[Sequence[int]], num_classes: int, in_channels: int):
        super().__init__()
        layers, inputs = [], in_channels
        for number, widths in enumerate(stages):
            layers += [nn.MaxPool2d(2)] if number else []
            for width in widths:
                layers += [_convolution(inputs, width, 3), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)  # (M, C, H, W)
        return self.classifier(x.mean((2, 3)))


def _small_image_resnet18(num_classes: int, in_channels: int) -> nn.Module:
    model = _from_torchvision("resnet18", num_classes)
    model.conv1 = _convolution(in_channels, 64, 3)
    model.maxpool = nn.Identity()
    return model


def _option_a(blocks: int) -> Callable[[int, int], nn.Module]:
    return lambda classes, channels: SmallResNet(blocks, classes, channels, changing=Padded)


def _efficientnet_lite(width: float, depth: float) -> Callable[[int, int], nn.Module]:
    return lambda classes, channels: EfficientNetLite(width, depth, classes, channels)


_VGG19 = [[64] * 2, [128] * 2, [256] * 4, [512] * 4, [512] * 4]

# name -> builder of (num_classes, in_channels); any other name is looked up in torchvision
NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet8": lambda classes, channels: SmallResNet(1, classes, channels),
    "resnet20": lambda classes, channels: SmallResNet(3, classes, channels),
    "resnet56": lambda classes, channels: SmallResNet(9, classes, channels),
    "resnet20a": _option_a(3),
    "resnet32a": _option_a(5),
    "resnet44a": _option_a(7),
    "resnet56a": _option_a(9),
    "vgg8": lambda classes, channels: SmallVGG([[16] * 2, [32] * 2, [64] * 3], classes, channels),
    "vgg19": lambda classes, channels: SmallVGG(_VGG19, classes, channels),
    "resnet18-small": _small_image_resnet18,
    "vit-small-images": lambda classes, channels: VisionTransformer(4, 96, 6, 3, classes, channels),
    "efficientnet-lite0": _efficientnet_lite(1.0, 1.0),
    "efficientnet-lite1": _efficientnet_lite(1.0, 1.1),
    "efficientnet-lite2": _efficientnet_lite(1.1, 1.2),
}


def build(name: str, num_classes: int, in_channels: int = 3, *, seed: int = 0) -> nn.Module:
    """A freshly initialised network from images (M, in_channels, H, W) to logits (M, num_classes).

    Arguments:
        name: an entry of `NETWORKS`, or any classification network of torchvision ("resnet18", "densenet121", ...).
        seed: of the initial weights; the global random state is left as it was.

    Raises ValueError for an unknown name, for no classes, or for `in_channels` that a torchvision network cannot have.
    """
    if num_classes < 1 or in_channels < 1:
        raise ValueError(f"a network needs at least 1 class and 1 input channel, not {num_classes} and {in_channels}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # manual_seed would touch CUDA's too
        if name in NETWORKS:
            model = NETWORKS[name](num_classes, in_channels)
            _initialise(model)
            return model
        if in_channels != 3:
            raise ValueError(
                f"network {name!r} takes 3 input channels, not {in_channels}: use one of {', '.join(NETWORKS)}"
            )
        return _from_torchvision(name, num_classes)


def _from_torchvision(name: str, num_classes: int) -> nn.Module:
    from torchvision import models  # takes seconds to import

    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, [*NETWORKS, *known], n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(
            f"unknown network {name!r}: use one of {', '.join(NETWORKS)} or a torchvision classifier{hint}"
        )
    extra = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, weights=None, num_classes=num_classes, **extra)


def _initialise(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
