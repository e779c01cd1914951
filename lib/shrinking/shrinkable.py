"""What of a network can shrink, and what it costs at which width.

Enters: a network and an example. Leaves: its convolutions, linear layers and norms of channels as numbers, from which
parameters and multiply-adds follow for any number of channels; or, in one line, what of it cannot shrink.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.network import contexts, copies
from lib.network.layers import can_narrow, groups_of, widths, works_on_channels
from lib.network.uses import Use, Uses


@dataclass(frozen=True)
class Part:
    """The numbers of a convolution, linear layer or norm, at its full width; or of a module's own tensor with an `axis`
    of heads or channels."""

    name: str
    outputs: int
    inputs: int
    groups: int  # of channels that only see each other
    each: int = 0  # weights per pair of an output and an input channel that see each other
    vectors: int = 0  # parameters per output channel beside these
    positions: int = 0  # at which the weights are applied, in one example
    units: bool = False  # whether outputs are units
    axis: int | None = None

    @property
    def owner(self) -> tuple[str, str]:
        """The module whose own tensor it is, and its name there."""
        module, _, name = self.name.rpartition(".")
        return module, name

    def cost(self, outputs: int, inputs: int) -> tuple[int, int]:
        """Parameters and multiply-adds at these widths; whole groups go, so what one output sees shrinks only in one
        that has no others."""
        seen = inputs if self.groups == 1 else self.inputs // self.groups
        weights = outputs * seen * self.each
        return weights + self.vectors * outputs, weights * self.positions


@torch.no_grad()
def parts_of(model: nn.Module, example: Tensor, with_units: set[str]) -> tuple[tuple[Part, ...], int]:
    """All that can shrink, and as a last one, without name or cost, the channels of the image; and the multiply-adds of
    what is not among it, such as fixed filters.

    Raises ValueError where a function takes the weight of a layer that has units, beside the layer's own run.
    """
    modules = {name: module for name, module in model.named_modules() if can_narrow(module)}
    runs: Counter[str] = Counter()
    with ExitStack() as stack:
        for name, module in modules.items():
            see = lambda *_, name=name: runs.update([name])  # noqa: E731
            stack.callback(module.register_forward_hook(see).remove)
        seen = stack.enter_context(_Positions(modules))
        stack.enter_context(contexts.as_written())
        model(example)
    with _Positions(modules) as more, contexts.as_written():
        model(torch.cat([example, example[:1]]))

    def of_one(several: int, one_more: int) -> int:  # for what runs on a table of the network's own does so once a pass
        return several - (len(example) - 1) * (one_more - several)

    for name in with_units:
        if seen.uses[name] > runs[name]:
            raise ValueError(f"{name} runs as a module, and a function takes its weight, too, so it cannot shrink: call"
                             f" {name}(x) both times")  # fmt: skip
    found = [
        _part(name, module, of_one(seen.positions[name], more.positions[name]), name in with_units)
        for name, module in modules.items()
    ]
    image = Part("", example.shape[1], example.shape[1], example.shape[1])
    return (*found, image), of_one(seen.elsewhere_macs, more.elsewhere_macs)


def tensor_of(module: str, name: str, value: Tensor, axis: int) -> Part:
    """The part that a module's own tensor is, with channels or heads along an axis."""
    length = value.shape[axis]
    vectors = isinstance(value, nn.Parameter) * value.numel() // length
    return Part(f"{module}.{name}".lstrip("."), length, length, length, vectors=vectors, axis=axis)


class _Positions(Uses):
    """While open, counts how often the weights of each layer are used, and at how many positions, over all examples.

    Weights that are computed from a layer's own, as those of a cosine classifier, are the layer's.
    """

    def __init__(self, modules: Mapping[str, nn.Module]):
        owned = {name: module.weight for name, module in modules.items() if module.weight is not None}
        super().__init__(owned.values())
        self.positions, self.elsewhere_macs = dict.fromkeys(modules, 0), 0
        self.uses: Counter[str] = Counter()
        self._owners = {id(weight): name for name, weight in owned.items()}

    def use(self, use: Use) -> None:
        owner = self._owners.get(id(self.origin(use.weight)))
        if owner is None:
            self.elsewhere_macs += use.multiply_adds
        else:
            self.uses[owner] += 1
            self.positions[owner] += use.positions


def _part(name: str, module: nn.Module, positions: int, has_units: bool) -> Part:
    outputs, inputs = widths(module)
    if works_on_channels(module):
        vectors = sum(parameter.numel() == outputs for parameter in module.parameters(recurse=False))
        return Part(name, outputs, inputs, groups_of(module), vectors=vectors)
    bias = int(module.bias is not None)
    return Part(name, outputs, inputs, groups_of(module), module.weight[0, 0].numel(), bias, positions, has_units)


def refuse_parts(model: nn.Module) -> None:
    """Raises ValueError where a part of the model cannot shrink, nor be left as it is while others do."""
    seen = set()
    for name, module in model.named_modules():
        own, name = list(module.parameters(recurse=False)), name or type(model).__name__
        if copies.computes_weights(module):
            raise ValueError(
                f"{name} computes its weights from others, as weight_norm and prune do, so it cannot shrink: make them"
                f" permanent first (parametrize.remove_parametrizations, prune.remove)"
            )
        if not seen.isdisjoint(map(id, own)):
            raise ValueError(f"{name} shares a parameter with another layer, so it cannot shrink")
        seen.update(map(id, own))


def has_what_stays(model: nn.Module, parts: Iterable[Part]) -> bool:
    """Whether modules have parameters of their own that are none of the parts, as LayerNorm has; what is tied to them
    stays, too."""
    known = {part.name for part in parts}
    own = (f"{name}.{each}".lstrip(".") for name, module in model.named_modules() if not can_narrow(module)
           for each, parameter in module.named_parameters(recurse=False) if parameter.numel() > 1)  # fmt: skip
    return not known.issuperset(own)
