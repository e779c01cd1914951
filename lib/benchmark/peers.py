"""Other tools that score units: torch-pruning, captum, hooks around `loss.backward()`.

Enters: a model in eval mode and a batch. Leaves: callables that do one pass each, to be timed, and what they find, for
tests to compare. torch-pruning and captum are imported where they are used; where one is missing, it is left out.
"""

import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.benchmark.measuring import Calls
from lib.benchmark.obvious import plain_pass
from lib.network.taps import Unit
from lib.network.units import units
from lib.study import paths

Score = Callable[[], Tensor]


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


def shrinking(model: nn.Module, images: Tensor, labels: Tensor) -> Calls:
    """torch-pruning's own loop, by name, where it is installed: rank by GroupTaylorImportance, and take half of the
    channels out of a copy, which is made within."""
    try:
        import torch_pruning
    except ImportError:
        _left_out("torch-pruning")
        return {}

    def shrink() -> nn.Module:
        copy = deepcopy(model)
        classifier = [module for module in copy.modules() if isinstance(module, nn.Linear)][-1:]
        pruner = torch_pruning.pruner.BasePruner(
            copy, images[:1], torch_pruning.importance.GroupTaylorImportance(), pruning_ratio=0.5,
            global_pruning=True, ignored_layers=classifier,
        )  # fmt: skip
        plain_pass(copy, images, labels)
        pruner.step()
        return copy

    return {"torch-pruning": shrink}


def _left_out(name: str) -> None:
    python = Path(sys.executable)
    python = python.relative_to(paths.ROOT) if python.is_relative_to(paths.ROOT) else python
    print(f"{name} is left out: it is not installed ({python} -m pip install '.[bench]')", file=sys.stderr)


def _modules(layers: Sequence[Unit]) -> list[str]:
    """The modules at whose output the units are tapped, none of which may run twice."""
    return [unit.taps[0].module for unit in layers]


PEERS = {"hooks and loss.backward()": with_hooks, "torch-pruning": torch_pruning, "captum": captum}


def installed(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> Calls:
    """A pass over all batches by each peer that is installed; of the others it is said that they are left out."""
    calls = {}
    for name, peer in PEERS.items():
        try:
            scores = [peer(model, images, labels) for images, labels in batches]
        except ImportError:
            _left_out(name)
            continue
        calls[name] = lambda scores=scores: [score() for score in scores]
    return calls
