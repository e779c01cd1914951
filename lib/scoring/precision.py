"""In which numbers passes compute: float32, bfloat16, or whichever of them is to be chosen.

Enters: a device, and what scores a batch in one of them. Leaves: a `Choice`, with the reason.

bfloat16 is chosen where the device multiplies it, every criterion orders the units of the batch as in float32 (a rank
correlation of `ALIKE`) and it is `QUICKER` there, by the clock. Without the clock a rule would be simpler, and the same
on the next run, but there is none that holds. On a CPU with avx512_bf16, torch 2.14 and one thread, passes of most
networks were 1.1 to 2.9 times as fast in bfloat16; not those with depthwise convolutions that have a stride, through
which oneDNN takes some 40 times as long back (0.5 to 0.7 for MobileNet-v2, MnasNet and EfficientNet-B0 at 96 to 128
pixels, 1.3 for MobileNet-v2 at 224), nor those of a vision transformer with 197 tokens (0.3; 1.2 with 17).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

COMPUTED = ("float32", "bfloat16")
PRECISIONS = (*COMPUTED, "auto")
MOST = 128  # images that it is tried on, lest that take long where all come in one batch
ALIKE = 0.999
QUICKER = 1.1
ROUNDS = 2  # of which the quicker counts: in the first, much is prepared
_MULTIPLYING = ("avx512_bf16", "amx_bf16", "bf16")  # as torch names what x86 and ARM processors can


@dataclass(frozen=True)
class Choice:
    """Which of `COMPUTED`, and why, if it was chosen, in words that follow its name and a comma."""

    precision: str
    why: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.precision, self.why]))


def multiplies(device: torch.device) -> bool:
    """Whether the device itself multiplies bfloat16, in place of widening it first."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return (
        device.type == "cpu" and torch.backends.mkldnn.is_available() and any(able.get(name) for name in _MULTIPLYING)
    )


def choose(device: torch.device, score: Callable[[str], Mapping[str, Tensor]], images: int) -> Choice:
    """Tries both on a batch of so many images.

    Arguments:
        score: from a name among `COMPUTED` to scores (N,) by name of criterion, on the CPU.

    Raises what scoring in float32 raises.
    """
    if not multiplies(device):
        return Choice(
            "float32", f"as this {'GPU' if device.type == 'cuda' else 'processor'} does not multiply bfloat16"
        )
    found, seconds = {}, dict.fromkeys(COMPUTED, math.inf)
    for name in ROUNDS * COMPUTED:
        began = perf_counter()
        try:
            found[name] = score(name)
        except ValueError as error:
            if name == "float32":
                raise
            return Choice("float32", f"as passes in bfloat16 fail here ({error})")
        seconds[name] = min(seconds[name], perf_counter() - began)
    alike = {name: agreement(values, found["bfloat16"][name]) for name, values in found["float32"].items()}
    return judged(alike, seconds["float32"] / seconds["bfloat16"], images)


def judged(alike: Mapping[str, float], speed: float, images: int) -> Choice:
    """What is chosen for rank correlations by name of criterion, where bfloat16 is `speed` times as fast."""
    worst = min(alike, key=lambda name: alike[name] if alike[name] >= -1 else -2)  # nan is worse than any
    on = f"on {images:,} image{'s' * (images != 1)}"
    if not alike[worst] >= ALIKE:
        said = f"as bfloat16 orders units otherwise: {on} by {worst} to {_floored(alike[worst])}"
        return Choice("float32", f"{said}, where {ALIKE} would do")
    if not speed >= QUICKER:
        return Choice("float32", f"as bfloat16 is only {speed:.2g} times as fast here, where {QUICKER} would do")
    return Choice("bfloat16", f"{speed:.1f} times as fast here; order of units {on} agrees to {_floored(alike[worst])}")


def agreement(one: Tensor, other: Tensor) -> float:
    """The rank correlation (Spearman) of two orders of the same things (N,), ties averaged: 1 where ranks are the same,
    else nan where one has no order."""
    ranks = torch.stack([_ranks(one), _ranks(other)])
    return 1.0 if torch.equal(*ranks) else torch.corrcoef(ranks)[0, 1].item()


def _ranks(values: Tensor) -> Tensor:
    _, places, counts = values.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[places]


def _floored(share: float) -> str:
    """With five digits, none of them rounded up: 1 is all the same."""
    return "nan" if math.isnan(share) else f"{math.floor(share * 1e5) / 1e5:.5f}"
