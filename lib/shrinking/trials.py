"""What cannot go for a reason that nothing but trying shows, such as code that counts on the number of channels.

Enters: parts of a network, and whether it is right without some of them. Leaves: the parts without which it is not; and
the network with weights by which mistakes show.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lib.network import contexts, copies, models

_WEAK = 0.5  # of the size at which a layer gives numbers as large as it takes in
_NONE = 0.1  # below which a vector, such as the scale of a branch that is new, hides what it multiplies
_MOST = 64  # trials, each of which runs the network twice


def culprits(parts: Sequence, is_right: Callable[[Sequence], bool], most: int = _MOST) -> list:
    """The parts, in their order, each of which makes a network wrong where it goes, found by halving what goes wrong.

    Takes one trial where there are none, and of k among n parts some 2 k log2(n). What is not found to be right in
    `most` trials counts as wrong. Parts that are wrong only together are not found: whoever takes them out must try
    that anyway.
    """
    pending, wrong = [range(len(parts))] if len(parts) else [], []
    for trial, places in enumerate(pending):  # which grows meanwhile
        if trial < most and is_right([parts[place] for place in places]):
            continue
        if trial >= most or len(places) == 1:
            wrong += places
        else:
            middle = len(places) // 2
            pending += [places[:middle], places[middle:]]
    return [parts[place] for place in sorted(wrong)]


@torch.no_grad()
def outspoken(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy of a network in which small weights are drawn anew, at the size at which a layer gives numbers as large as
    it takes in. In a new network, attention weighs all alike, and branches add next to nothing: whether its heads are
    still those that they were is not seen in what it answers. The network itself, where the copy's answers to `images`
    are not finite."""
    drawn, result = torch.Generator().manual_seed(0), copies.copied(model)
    for value in (each for each in result.parameters() if each.is_floating_point() and each.numel()):
        if value.ndim > 1:
            each = value[0].numel() ** -0.5
            if value.square().mean().sqrt() < _WEAK * each:
                value.copy_(each * torch.randn(value.shape, generator=drawn))
        elif value.abs().max() < _NONE:
            value.copy_(0.5 + torch.rand(value.shape, generator=drawn))
    with contexts.as_written():
        finite = models.answers(model, images).isfinite()  # but where the network itself rules out classes
        return result if torch.equal(models.answers(result, images).isfinite(), finite) else model
