"""What is measured on: networks, trained where this study has a checkpoint, and images of their own.

Enters: names and sizes. Leaves: networks in eval mode; batches, a stream and files of random images; sets of criteria.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from lib.images import datasets, folders, networks
from lib.network import saving
from lib.network.taps import units_in
from lib.network.units import units
from lib.scoring import ranks
from lib.study import paths, references

PIXELS = {"resnet20": 32, "vgg19": 32, "resnet18": 96}  # sizes of the images
MORE = {"mobilenet_v2": 96, "efficientnet-lite0": 96, "vit-small-images": 32}  # whose scoring is timed, too
CLASSES, BATCH = 100, 64


def _with_random_gradient(name: str) -> str:
    """The criterion with a random vector in place of the label gradient, so without labels."""
    return f"{name.removesuffix(':norm')}:rand{':norm' * name.endswith(':norm')}"


_ONE = ["taylorfo", "abs", "sq", "molchanov-bn", "taylorfo:norm", "abs:norm", "sq:norm", "molchanov-bn:norm"]
SETS = {  # name -> criteria scored in one call
    "one cotangent": _ONE,
    "label and random": _ONE + list(map(_with_random_gradient, _ONE)),
    "molchanov-group": [f"molchanov-group{suffix}" for suffix in ("", ":norm", ":rand", ":rand:norm")],
}
RANDOM = list(dict.fromkeys(map(_with_random_gradient, ("sq:norm", *_ONE))))  # the recommended one first
SOURCES = [f"sq:{source}" for source in ("rand", "sign", "pseudo", "sampled", "ggn", "mas", "top", "orth")]


def weights(network: str) -> str:
    """The checkpoint that a published or another profile has of this network, or "random"."""
    there = sorted((paths.ROOT / "results").glob(f"**/cifar100-{network}/seed-*/checkpoint.safetensors"))
    found = [path for path in there if references.weights(path) is None]
    return found[0].relative_to(paths.ROOT).as_posix() if found else "random"


def network(name: str, device: str) -> nn.Module:
    """In eval mode and the default layout; trained, where there is a checkpoint of this study."""
    model = networks.build(name, CLASSES)
    if (checkpoint := weights(name)) != "random":
        saving.restore(model, paths.ROOT / checkpoint)
    return model.to(device).eval()


def rankings(network: str, criteria: Iterable[str]) -> dict[str, Tensor]:
    """The published scores (N,) of the trained network by these criteria, each on as many images as there are; none of
    a network that is not trained."""
    file = (paths.ROOT / weights(network)).with_name("scores.parquet")
    if not file.exists():
        return {}
    table = pandas.read_parquet(file).query("draw == 0").sort_values(["examples", "unit"])
    last = {name: table[table["criterion"] == name] for name in criteria}
    last = {name: rows[rows["examples"] == rows["examples"].max()] for name, rows in last.items()}
    return {name: torch.tensor(rows["score"].to_numpy()) for name, rows in last.items()}


def size(model: nn.Module) -> int:
    """How many units it has."""
    example = torch.zeros(1, 3, 32, 32, device=next(model.parameters()).device)
    return units_in(units(model.eval(), example))


def batches(pixels: int, count: int, device: str, size: int | None = None) -> list[tuple[Tensor, Tensor]]:
    """So many batches of random images (size, 3, pixels, pixels), of `BATCH` each without a size, and labels."""
    size, generator = size or BATCH, torch.Generator().manual_seed(0)
    images = torch.randn(count * size, 3, pixels, pixels, generator=generator).to(device)
    labels = torch.randint(0, CLASSES, (count * size,), generator=generator).to(device)
    return list(zip(images.split(size), labels.split(size), strict=True))


@dataclass(frozen=True)
class Generated:
    """Batches of random images (3, pixels, pixels), made as they are asked for, so that any number takes the memory of
    one batch; an image depends on its number alone. A stream, as `importance.score` shares among processes."""

    end: int
    start: int = 0
    pixels: int = 32

    def __len__(self) -> int:
        return self.end - self.start

    def __iter__(self) -> Iterator[tuple[Tensor, None, Tensor]]:
        for start in range(self.start, self.end, BATCH):
            indices = torch.arange(start, min(start + BATCH, self.end))
            yield torch.stack([self._image(index) for index in indices.tolist()]), None, indices

    def first(self, count: int) -> "Generated":
        """The first `count` of them."""
        return replace(self, end=self.start + count)

    def share(self, rank: int, count: int, whole: int) -> "Generated":
        """What `rank` among `count` takes, in runs of `whole`: see `ranks.mine`."""
        start, end = ranks.bounds(len(self), rank, count, whole)
        return replace(self, start=self.start + start, end=self.start + end)

    def _image(self, index: int) -> Tensor:
        return torch.randn(3, self.pixels, self.pixels, generator=torch.Generator().manual_seed(index))


def pictures(count: int) -> datasets.ImageSet:
    """A data set of random pixels, to train on."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    return datasets.ImageSet(pixels, labels, tuple(map(str, range(CLASSES))), "random", "train")


def photographs(folder: Path, count: int) -> folders.Stream:
    """Files as ImageNet has them: JPEGs of 500 x 375 pixels, some 100 kB each."""
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        coarse = functional.interpolate(torch.rand(1, 3, 24, 32, generator=generator), (375, 500), mode="bicubic")[0]
        noisy = 255 * coarse + 12 * torch.randn(3, 375, 500, generator=generator)
        pixels = noisy.clamp(0, 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{number:06d}.jpg", quality=90)
    return folders.stream(folder, 224)
