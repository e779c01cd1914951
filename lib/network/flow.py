"""What flows into what in one forward pass: the operations that tensors go through, as PyTorch runs them.

Enters: a forward pass, run while a `Flow` is open. Leaves: which operations read a tensor, and which tensors reach the
output without being mixed with others of their channels. Below autograd and modules, so that nothing of a model's
style matters: functions, methods and in-place operations are all seen.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# operations that make each output of many inputs, with weights: products of matrices and the like
_MIXING = re.compile(
    r"conv(?!ert)|(^|_)(mm|addmm|bmm|baddbmm|addbmm|mv|addmv|dot|vdot)($|_act)|(^|_)linear$|attention|cdist"
    r"|euclidean_dist|(^|_)(lstm|gru|rnn)|trilinear|transformer"
)


@dataclass(frozen=True)
class _Operation:
    """Of storages, which are the same for all views of a tensor."""

    reads: frozenset[int]
    writes: frozenset[int]
    mixes: bool
    in_place: bool
    draws: bool  # random numbers


def _is_idle(operation: object, arguments: tuple, named: dict) -> bool:
    """Whether an operation that could draw random numbers is told not to, as attention with a dropout of 0 is."""
    given = {
        argument.name: argument.default_value
        for argument in operation._schema.arguments
        if argument.has_default_value()
    }
    given |= dict(zip((argument.name for argument in operation._schema.arguments), arguments, strict=False)) | named
    return given.get("dropout_p", given.get("p")) == 0 or given.get("training", given.get("train")) is False


class Flow(TorchDispatchMode):
    """While open, notes every operation that makes or changes values; `len` is how many there have been so far."""

    def __init__(self):
        super().__init__()
        self._operations: list[_Operation] = []
        self._readers: dict[int, list[int]] = defaultdict(list)  # of each storage: numbers of operations
        self._held: dict[int, object] = {}  # storages, so that no other takes their address

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # it would be imported for nothing, which takes seconds: `contexts.as_written` compiles nothing

    def __len__(self) -> int:
        return len(self._operations)

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        output = operation(*arguments, **(named or {}))
        reads, made = self._storages((arguments, named or {})), self._storages(output)
        changes = operation._schema.is_mutable
        writes = made | self._storages(arguments[:1]) if changes else made - reads
        if writes:  # or it makes a view
            mixes = bool(_MIXING.search(operation._schema.name.split("::")[-1]))
            for place in reads:
                self._readers[place].append(len(self))
            draws = torch.Tag.nondeterministic_seeded in operation.tags and not _is_idle(
                operation, arguments, named or {}
            )
            self._operations.append(_Operation(reads, writes, mixes, changes, draws))
        return output

    def readers(self, value: Tensor, since: int) -> list[int]:
        """The numbers of the operations after the first `since` that read `value`."""
        return [number for number in self._readers[self._storage(value)] if number >= since]

    def leading_to(self, output: Tensor) -> set[int]:
        """The numbers of the operations that `output` depends on."""
        needed, found = {self._storage(output)}, set()
        for number in reversed(range(len(self))):
            if self._makes(number, needed):
                needed = self._before(number, needed) | self._operations[number].reads
                found.add(number)
        return found

    def led_from(self, value: Tensor, others: Sequence[Tensor]) -> list[bool]:
        """For each of the others, whether it depends on `value`."""
        found = {self._storage(value)}
        for operation in self._operations:
            if not operation.reads.isdisjoint(found):
                found |= operation.writes
        return [self._storage(other) in found for other in others]

    def draws_for(self, output: Tensor) -> bool:
        """Whether `output` depends on random numbers, whatever generator they are from."""
        return any(self._operations[number].draws for number in self.leading_to(output))

    def unmixed(self, values: Sequence[tuple[Tensor, int]], output: Tensor) -> list[bool]:
        """For each (value, number of operations when it was made), whether channels of it reach `output` without being
        mixed with others by weights."""
        needed, found = {self._storage(output)}, {}
        made = defaultdict(list)
        for place, (value, since) in enumerate(values):
            made[since].append((place, self._storage(value)))
        for number in range(len(self), -1, -1):
            found |= {place: storage in needed for place, storage in made.get(number, ())}
            if number and self._makes(number - 1, needed):
                mixes, reads = self._operations[number - 1].mixes, self._operations[number - 1].reads
                needed = self._before(number - 1, needed) | (frozenset() if mixes else reads)
        return [found[place] for place in range(len(values))]

    def _makes(self, number: int, needed: set[int]) -> bool:
        return not needed.isdisjoint(self._operations[number].writes)

    def _before(self, number: int, needed: set[int]) -> set[int]:
        """What is needed of what there was before the operation, besides what it reads."""
        operation = self._operations[number]
        return needed if operation.in_place else needed - operation.writes

    def _storages(self, values: object) -> frozenset[int]:
        return frozenset(self._storage(value) for value in tree_leaves(values) if isinstance(value, Tensor))

    def _storage(self, value: Tensor) -> int:
        try:
            storage = value.untyped_storage()
        except NotImplementedError as error:
            if value.layout != torch.strided:
                layout = str(value.layout).removeprefix("torch.")
                raise ValueError(f"the network computes with a tensor of layout {layout}, which cannot be followed:"
                                 " make it dense, as by its to_dense()") from error  # fmt: skip
            raise ValueError("the network runs transforms of torch.func within, such as vmap, whose tensors cannot be"
                             " followed: write it without") from error  # fmt: skip
        return self._held.setdefault(storage._cdata, storage)._cdata
