"""The obvious ways: what one writes first, against which this study's code is timed.

Enters: a model in eval mode and images, or images to train on. Leaves: the work done, with nothing to show for it.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib import pruning
from lib.benchmark import subjects
from lib.images import datasets
from lib.images.training import Recipe
from lib.network.taps import Unit, units_in


def plain_pass(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """One forward and one backward pass to every weight: the yardstick."""
    model.zero_grad(set_to_none=True)
    functional.cross_entropy(model(images), labels).backward()


def each(batches: Iterable[tuple[Tensor, Tensor]], call: Callable[[Tensor, Tensor], object]) -> None:
    """The call for each batch of images and labels."""
    for images, labels in batches:
        call(images, labels)


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, repeats: int = 1) -> None:
    """The classes of all images, so many times."""
    for _ in range(repeats):
        for part in images.split(subjects.BATCH):
            model(part).argmax(1)


def masked_curve(model: nn.Module, order: Tensor, layers: Sequence[Unit], images: Tensor, points: int) -> None:
    """A pruning curve by masked passes over all images, one for each point."""
    for k in pruning.steps(len(order), points):
        with pruning.masked(model, order, k, layers):
            evaluate(model, images)


def masked_passes(model: nn.Module, layers: Sequence[Unit], images: Tensor, numbers: Iterable[int]) -> None:
    """The oracle by a masked pass for each unit of these numbers."""
    total = units_in(layers)
    for number in numbers:
        with pruning.masked(model, torch.arange(total).roll(-number), 1, layers):
            evaluate(model, images)


def train_with_loader(model: nn.Module, images: datasets.ImageSet, recipe: Recipe, device: str, workers: int) -> None:
    """The usual loop over a DataLoader, with torchvision's transforms: `recipe.epochs` epochs, in float32."""
    model.to(device).train()
    loader = torch.utils.data.DataLoader(
        _Pictures(images, recipe.crop), recipe.batch, shuffle=True, num_workers=workers, pin_memory=device == "cuda"
    )
    optimizer = torch.optim.SGD(model.parameters(), recipe.learning_rate, recipe.momentum, nesterov=True)
    for _ in range(recipe.epochs):
        for pixels, labels in loader:
            loss = functional.cross_entropy(model(pixels.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


class _Pictures(torch.utils.data.Dataset):
    """Images as torchvision's data sets give them: pictures, transformed one by one."""

    def __init__(self, images: datasets.ImageSet, crop: int):
        from torchvision import transforms

        mean, std = datasets.statistics(images.images)
        steps = [transforms.RandomCrop(images.images.shape[-1], crop), transforms.RandomHorizontalFlip()]
        steps += [transforms.ToTensor(), transforms.Normalize(mean.flatten().tolist(), std.flatten().tolist())]
        self._change = transforms.Compose([transforms.ToPILImage(), *steps])
        self._pixels, self._labels = images.images.permute(0, 2, 3, 1).numpy(), images.labels.tolist()

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self._change(self._pixels[number]), self._labels[number]
