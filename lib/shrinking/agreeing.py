"""Whether a smaller network answers as the whole one does with the same channels off, and on what that is tried.

Enters: a network and an example; or the logits of two networks. Leaves: noise and variants of the example, also of
another size if the network takes one; whether logits are alike.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.network import contexts, models
from lib.network.taps import Unit, tapped

SCALES = (0.3, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 10.0)  # of the noise on which smaller networks are tried
_SINGLE = 1000 * torch.finfo(torch.float32).eps  # of how far logits vary: see `models.alike`
_DOUBLE = 1000 * torch.finfo(torch.float64).eps  # of the largest logit
_NOTHING = 1e-6  # of the largest logit
_COARSE = 0.01  # of how far logits vary
_LARGER = (1.5, 2.0)  # times the size, whichever the network takes: some take multiples of 8 or 32 alone


def probes(example: Tensor, scales: Sequence[float]) -> Tensor:
    """What smaller networks are tried on: noise, all but the first with a colour, as photographs have, since means of
    noise are all alike; and the example (1, ...), mirrored and darker, brighter, and with its channels the other way
    round, since a network may take what noise is not, such as values from 0 to 1 or to 255."""
    own, drawn = example[0], torch.Generator().manual_seed(0)
    noise = torch.randn(len(scales), *own.shape, generator=drawn)
    noise[1:] += torch.randn(len(noise) - 1, len(own), *[1] * (own.ndim - 1), generator=drawn)
    noise *= torch.tensor(scales).view(-1, *[1] * own.ndim)
    return torch.cat([noise.to(own), torch.stack([own, own.flip(-1) / 2, 2 * own, own.flip(0)])])


@torch.no_grad()
def of_another_size(model: nn.Module, layers: Sequence[Unit], example: Tensor) -> Tensor | None:
    """Three images of a larger size, the example (1, C, H, W), its darker mirror image, and noise with a colour, if the
    network takes them, runs the same layers and gives numbers; None if not."""
    drawn = torch.Generator().manual_seed(0)
    for times in _LARGER if example.ndim > 2 else ():
        grown = example[:1]
        for axis in range(2, example.ndim):
            size = example.shape[axis]
            grown = grown.index_select(axis, (torch.arange(int(size * times)) / times).long().to(example.device))
        noise = torch.randn(grown.shape, generator=drawn)
        noise += torch.randn(noise.shape[:2], generator=drawn).view(*noise.shape[:2], *[1] * (noise.ndim - 2))
        images = torch.cat([grown, grown.flip(-1) / 2, noise.to(grown)])
        try:
            with contexts.as_written(), tapped(model, layers, lambda *_: None):
                require_numbers(model, models.answers(model, images))
            return images
        except Exception:  # a user's code may fail in any way, and memory for larger images be lacking
            continue
    return None


def require_numbers(model: nn.Module, logits: Tensor) -> None:
    """Raises ValueError, in one line, where logits for the example show nothing: where some are NaN, or none is finite.
    Infinite ones may be meant, as those of classes that are ruled out."""
    if logits.isnan().any() or not logits.isfinite().any():
        what = "NaN" if logits.isnan().any() else "no finite logit"
        raise ValueError(f"{type(model).__name__} gives {what} for the example, so that nothing would show whether a"
                         " smaller network is right: check the model's weights and the example")  # fmt: skip


def agree(found: Tensor, expected: Tensor) -> bool:
    """Whether logits (M, K) are alike, each example's by itself, and some are finite.

    What is not finite must be the same. Beyond that they may differ by a share of how far they vary between examples,
    since what all have in common would hide what is wrong: by 1,000 times the precision of their numbers, but no more
    than 1 % in half precision, and no less than single precision where they are computed in double.
    """
    finite = expected.isfinite()
    if found.shape != expected.shape or not finite.any() or not torch.equal(found.isfinite(), finite):
        return False
    if not torch.equal(found[~finite].nan_to_num(0.0), expected[~finite].nan_to_num(0.0)):
        return False
    share = min(max(1000 * torch.finfo(expected.dtype).eps, _SINGLE), 0.01)
    found, expected = found.to(torch.float64), expected.to(torch.float64)
    size, far = _varying(expected), (found - expected).where(finite, 0).abs().amax(1)
    apart = size[size > _NOTHING * size.max()]  # and not in the middle, as examples are that are all alike
    typical = apart.median() if len(apart) else size.max()
    return bool((far <= share * size.maximum(typical) + _DOUBLE * expected[finite].abs().max()).all())


def is_coarse(logits: Tensor) -> bool:
    """Whether the precision of logits (M, K) leaves so little of how far they vary between examples, beside what all
    have in common, that a mistake could be hidden."""
    step = torch.finfo(logits.dtype).eps * logits[logits.isfinite()].abs().max()
    return bool(step > _COARSE * _varying(logits.double()).max())


def shows_nothing(logits: Tensor) -> bool:
    """Whether all examples get the same logits (M, K): so would they of a network that is wrong."""
    finite = logits.isfinite()
    return bool(finite.any() and _varying(logits.double()).max() <= _NOTHING * logits[finite].abs().max())


def _varying(logits: Tensor) -> Tensor:
    """How far the logits (M, K) of each example are from the middle of each class: (M,), where finite."""
    finite = logits.where(logits.isfinite(), torch.nan)
    return (finite - finite.nanmedian(0).values).abs().nan_to_num(0.0).amax(1)
