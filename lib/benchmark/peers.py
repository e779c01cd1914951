"""What people would use instead: torch-pruning, captum, hooks around `loss.backward()`, a loop over a DataLoader.

Enters: a model in eval mode and a batch, or images to train on. Leaves: callables that do one pass each, for
`benchmark` to time, and what they find, for tests to compare. torch-pruning and captum are imported where they are
used; where one is missing, its row is left out.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.images import datasets
from lib.images.training import Recipe
from lib.units import Unit, units

Score = Callable[[], Tensor]


def plain_pass(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """One forward and one backward pass to every weight: the yardstick."""
    model.zero_grad(set_to_none=True)
    functional.cross_entropy(model(images), labels).backward()


def with_hooks(model: nn.Module, images: Tensor, labels: Tensor) -> Score:
    """The textbook's way to `taylorfo`: hooks keep outputs, `loss.backward()` fills their gradients: (N,)."""
    layers, seen = units(model, images[:1]), {}

    def keep(name):
        def hook(module, inputs, output):
            output.retain_grad()
            seen[name] = output

        return hook

    def score() -> Tensor:
        handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in _modules(layers)]
        plain_pass(model, images, labels)
        for handle in handles:
            handle.remove()
        products = [(seen[name] * seen[name].grad).detach() for name in _modules(layers)]
        return torch.cat([product.flatten(2).sum(2).sum(0).abs() for product in products])

    return score


def torch_pruning(model: nn.Module, images: Tensor, labels: Tensor) -> Score:
    """GroupTaylorImportance of every group of its dependency graph; the graph is made before, not timed."""
    from torch_pruning import DependencyGraph
    from torch_pruning.pruner.importance import GroupTaylorImportance

    graph = DependencyGraph().build_dependency(model, example_inputs=images[:1])
    classifier = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
    groups = list(graph.get_all_groups(ignored_layers=classifier, root_module_types=[nn.Conv2d, nn.Linear]))
    rate = GroupTaylorImportance()

    def score() -> Tensor:
        plain_pass(model, images, labels)
        return torch.cat([rate(group) for group in groups])

    return score


def captum(model: nn.Module, images: Tensor, labels: Tensor) -> Score:
    """LayerGradientXActivation over all taps at once, made into `taylorfo` of the mean loss: (N,)."""
    from captum.attr import LayerGradientXActivation

    def losses(inputs: Tensor) -> Tensor:
        return functional.cross_entropy(model(inputs), labels, reduction="none")

    modules = [model.get_submodule(name) for name in _modules(units(model, images[:1]))]
    attribution = LayerGradientXActivation(losses, modules)

    def score() -> Tensor:
        products = attribution.attribute(images)
        return torch.cat([product.detach().flatten(2).sum(2).mean(0).abs() for product in products])

    return score


PEERS = {"hooks and loss.backward()": with_hooks, "torch-pruning": torch_pruning, "captum": captum}


def _modules(layers: Sequence[Unit]) -> list[str]:
    """The modules at whose output the units are tapped, none of which may run twice."""
    return [unit.taps[0].module for unit in layers]


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
