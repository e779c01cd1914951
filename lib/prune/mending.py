"""BatchNorms that fit what is left of a network, by images without labels.

Enters: networks. Leaves: the same, with statistics that are estimated anew.
"""

from torch import Tensor, nn

from lib.repair import Reference, norms_of, reestimate


class Mending:
    """What is done to BatchNorms, by `images` (M, C, H, W), so many at once, if that is `wanted` and there are any."""

    def __init__(self, images: Tensor, *, batch: int, wanted: bool):
        self._images, self._batch, self._wanted = images, max(2, batch), wanted

    def reference(self, model: nn.Module) -> Reference | None:
        """What repairs the networks that are made of this one, by comparing with it."""
        return Reference(model, self._images, batch=self._batch) if self._wanted and norms_of(model) else None

    def settle(self, model: nn.Module, images: Tensor) -> None:
        """BatchNorms that have been trained on these images get, on the same ones, the statistics of the weights that
        they have in the end: what momentum has left them is of weights that they had before."""
        if self._wanted and norms_of(model):
            reestimate(model, images, batch=self._batch)
