"""Models as graphs of operations, with each BatchNorm merged into its convolution, to be run piece by piece.

Enters: a model in eval mode that torch.fx can trace, and an example. Leaves: its operations in the order in which they
run, none of which overwrites what it takes in; what each is worth for the example; and which operation is the n-th
run of which module. The model itself is left alone: what is rewritten here are copies.
"""

import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import module

from lib.network.copies import copied
from lib.network.folding import can_merge, merged
from lib.network.layers import WITH_CHANNELS
from lib.network.models import channels_last
from lib.network.taps import Tap

_IN_PLACE = {operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul}


class Graph:
    """The model as torch.fx sees it, rewritten for replaying: what takes in what, and how each operation is run.

    Raises whatever tracing raises, which is anything, for it runs the model's own code on stand-ins.
    """

    def __init__(self, model: nn.Module, example: Tensor):
        _refuse_more_than_forward(model)
        model = copied(model, sharing=True)  # tracing runs its code, which may keep stand-ins in it
        self._program = fx.GraphModule(model, _Tracer().trace(model))
        self.runs = _module_runs(self._program.graph)  # (module, number of the call, from 0) -> its node
        _undo_overwriting(self._program)
        self._merge_norms()
        self._interpreter = fx.Interpreter(self._program)
        self._interpreter.args_iter = iter(())  # further arguments of the model keep their defaults
        self.nodes = list(self._program.graph.nodes)
        self.position = {node: position for position, node in enumerate(self.nodes)}
        self.seen = {self.nodes[0]: channels_last(example)}  # the value of every node for the example
        with torch.no_grad():
            for node in self.nodes:
                self.fill(self.seen, node)
        self.freed = self._last_uses()

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that the operation calls, if it does."""
        return self._program.get_submodule(node.target) if node.op == "call_module" else None

    def kind(self, node: fx.Node) -> object:
        """What the operation is: the type of its module, its function, or the name of its method."""
        module = self.module(node)
        return node.target if module is None else type(module)

    def read_at(self, tap: Tap) -> fx.Node:
        """The operation whose value a tap reads.

        Raises ValueError where hooks run with it, since what they make of the value is part of it here.
        """
        node = self.runs[tap.module, tap.call]
        if self.module(node)._forward_hooks:
            raise ValueError(f"{tap.module} has hooks, which tracing does not see")
        return node

    def run(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
        """The value of the operation, from those of the operations that it takes in."""
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        return getattr(self._interpreter, node.op)(node.target, args, kwargs)

    def fill(self, values: dict[fx.Node, Any], node: fx.Node) -> None:
        """Runs the operation unless `values` has its value already."""
        if node not in values:
            values[node] = self.run(node, values)

    def takes_channels(self, node: fx.Node) -> bool:
        """Whether it is a convolution or linear layer all of whose outputs take in every channel, (M, C, ...)."""
        module = self.module(node)
        if type(module) is nn.Conv2d:
            return module.groups == 1 and module.padding_mode == "zeros"
        return type(module) is nn.Linear and self.seen[node.all_input_nodes[0]].ndim == 2

    def is_depthwise(self, node: fx.Node) -> bool:
        """Whether it is a convolution each of whose outputs takes in the channel of its own number."""
        module = self.module(node)
        alone = type(module) is nn.Conv2d and module.groups == module.in_channels == module.out_channels
        return alone and module.groups > 1 and module.padding_mode == "zeros"

    def in_order(self, nodes: Iterable[fx.Node]) -> list[fx.Node]:
        """The nodes in the order in which they run."""
        return sorted(nodes, key=self.position.__getitem__)

    def _last_uses(self) -> dict[fx.Node, list[fx.Node]]:
        """What may be dropped after each node has run; what sizes were read from is kept for as long as they are."""
        last, freed = {}, {node: [] for node in self.nodes}
        for node in reversed(self.nodes):
            uses = [user if isinstance(self.seen[user], Tensor) else last[user] for user in node.users]
            last[node] = max((node, *uses), key=self.position.__getitem__)
        for node in self.nodes[:-1]:
            freed[last[node]].append(node)
        return freed

    def _merge_norms(self) -> None:
        """Puts each BatchNorm into the convolution that it alone follows, whose output then is the tap's value."""
        for run, node in self.runs.items():
            norm, layer = self.module(node), self.module(node.all_input_nodes[0])
            if can_merge(layer, norm) and len(node.all_input_nodes[0].users) == 1:
                source, name = node.all_input_nodes[0], "merged_" + node.name
                self._program.add_module(name, merged(layer, norm))
                source.target, self.runs[run] = name, source
                node.replace_all_uses_with(source)
                self._program.graph.erase_node(node)


def _refuse_more_than_forward(model: nn.Module) -> None:
    """Tracing sees the `forward` of the model, and nothing that is run around it."""
    hooks = (model._forward_hooks, model._forward_pre_hooks, module._global_forward_hooks)
    if any((*hooks, module._global_forward_pre_hooks)) or type(model).__call__ is not nn.Module.__call__:
        raise ValueError(f"{type(model).__name__} runs more than its forward, which tracing does not see")


def descendants(nodes: Sequence[fx.Node], roots: Iterable[fx.Node]) -> set[fx.Node]:
    """The roots and everything that depends on them; `nodes` in the order in which they run."""
    found = set(roots)
    for node in nodes:
        if not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, WITH_CHANNELS) or super().is_leaf_module(m, module_qualified_name)


def _module_runs(graph: fx.Graph) -> dict[tuple[str, int], fx.Node]:
    """The node of the n-th run, counted from 0, of every module, in the order in which they run."""
    runs, calls = {}, Counter()
    for node in graph.nodes:
        if node.op == "call_module":
            runs[node.target, calls[node.target]] = node
            calls[node.target] += 1
    return runs


def _undo_overwriting(program: fx.GraphModule) -> None:
    """Has operations that would overwrite their input make a new value, which later ones then take in instead."""
    earlier = set()
    for node in program.graph.nodes:
        earlier.add(node)
        if _made_anew(program, node):
            node.all_input_nodes[0].replace_all_uses_with(node, lambda user: user not in earlier)
        if (node.op, node.target) == ("call_method", "view"):
            node.target = "reshape"  # values are channels-last here, so some have to be copied


def _made_anew(program: fx.GraphModule, node: fx.Node) -> bool:
    """Rewrites the operation, if it overwrites its input; whether it did. Also, `view` may copy: values are
    channels-last."""
    before = node.target, node.kwargs
    if node.op == "call_module" and getattr(program.get_submodule(node.target), "inplace", False):
        module = copy(program.get_submodule(node.target))  # shares all tensors
        module.inplace, node.target = False, "anew_" + node.name
        program.add_module(node.target, module)
    elif node.op == "call_function":
        node.target = _IN_PLACE.get(node.target, node.target)
        node.kwargs = {name: name != "inplace" and value for name, value in node.kwargs.items()}
    elif node.op == "call_method":
        node.target = node.target.removesuffix("_")
    return before != (node.target, node.kwargs)
