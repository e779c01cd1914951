"""What is sent back from the logits of a batch.

Enters: the logits that a pass gives, with the labels and the indices of the examples. Leaves: cotangents (M, K), those
that criteria with a common source ask for; the random ones of an example depend on the seed and its index alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from lib.scoring.criteria import Criterion
from lib.scoring.noise import Noise


@dataclass(frozen=True)
class Answered:
    """A batch that a network has answered: its logits (M, K) in float64, labels (M,) or None, and indices (M,)."""

    logits: Tensor
    labels: Tensor | None
    indices: Tensor
    seed: int

    def cotangents(self, criteria: Sequence[Criterion]) -> Iterator[Tensor]:
        """As many cotangents (M, K) as the most demanding of `criteria`, which share a source, asks for.

        Raises ValueError where a caller's own source gives another shape.
        """
        source, probes = criteria[0].source, max(c.probes for c in criteria)
        if source.family:
            yield from source.vectors(self.logits, self.labels, Noise(self.seed, self.indices), probes)
            return
        for probe in range(probes):
            vectors = source.vectors(self.logits, self.labels, Noise(self.seed, self.indices, probe))
            if vectors.shape != self.logits.shape:
                found, expected = tuple(vectors.shape), tuple(self.logits.shape)
                raise ValueError(f"{criteria[0]}: its cotangents are {found}, not {expected}")
            yield vectors.to(self.logits)
