"""Random vectors that belong to examples: the one for example i depends on the seed, the stream and i alone.

Enters: a seed, a stream number (one per probe) and the indices of the examples in a batch. Leaves: one row per
example, the same whatever the batch size, the order, the subset, the device or the number of processes.
Counter-based: numpy's Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") keyed by seed
and stream, its counter by the block of 1,024 indices.
"""

from functools import lru_cache

import numpy
import torch
from torch import Tensor

from lib.network import checks

BLOCK = 1024
MOST_SEED = 2**64 - 1


class Noise:
    """One source of rows for the examples `indices` (M,); every further call gives new, independent rows.

    All methods return float64 (M, size) on the CPU. Raises ValueError for a negative index, or a seed that is no whole
    number from 0 to 2**64 - 1.
    """

    def __init__(self, seed: int, indices: Tensor, stream: int = 0):
        self._seed, self._stream, self._calls = checks.whole("seed", seed, 0, MOST_SEED), stream, 0
        self._blocks, self._rows = numpy.divmod(numpy.asarray(indices, dtype=numpy.int64), BLOCK)
        if (self._blocks < 0).any():
            raise ValueError("indices of examples must not be negative: random vectors are counted from example 0")

    def normal(self, size: int) -> Tensor:
        """Independent standard normal entries."""
        return self._draw("normal", size)

    def uniform(self, size: int) -> Tensor:
        """Independent entries, uniform in [0, 1)."""
        return self._draw("uniform", size)

    def sign(self, size: int) -> Tensor:
        """Independent entries, -1 or +1 with equal chances."""
        return self._draw("sign", size)

    def _draw(self, kind: str, size: int) -> Tensor:
        out = numpy.empty((len(self._rows), size))
        for block in numpy.unique(self._blocks):
            here = self._blocks == block
            out[here] = _block(kind, size, self._seed, self._stream, self._calls, int(block))[self._rows[here]]
        self._calls += 1
        return torch.from_numpy(out)


@lru_cache(maxsize=24)  # consecutive batches come from the same block
def _block(kind: str, size: int, seed: int, stream: int, call: int, block: int) -> numpy.ndarray:
    key = numpy.array([seed, (stream << 16) + call], dtype=numpy.uint64)
    generator = numpy.random.Generator(numpy.random.Philox(key=key, counter=[0, 0, 0, block]))
    if kind == "normal":
        return generator.standard_normal((BLOCK, size))
    uniform = generator.random((BLOCK, size))
    return uniform if kind == "uniform" else numpy.where(uniform < 0.5, -1.0, 1.0)
