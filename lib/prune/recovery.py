"""Getting back what shrinking has cost: by the labels of images, or without any by the whole network's own answers.

Enters: a smaller network in eval mode, normalised images and what it should answer. Leaves: the same network, trained.
Without labels its logits are drawn to those of the whole network (Hinton et al. 2015, arXiv 1503.02531).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.images.training import Recipe, dropout_seeded, epoch_seed, one_cycle, optimizer_of
from lib.network import checks, models

TEMPERATURE = 2.0  # above 1, so that the classes that the whole network thinks unlikely count, too
RECIPE = {"batch": 32, "learning_rate": 0.01}  # gentler than from scratch
Report = Callable[[int, float], object]


def distil(
    model: nn.Module, whole: nn.Module, images: Tensor, *, epochs: int, seed: int = 0, report: Report = lambda *_: None
) -> None:
    """Trains `model`, in place, to answer as `whole` does on unlabelled `images` (M, C, H, W); both in eval mode.

    Arguments:
        seed: of the order of images and of dropout.
        report: called after every epoch with how many are done, and the mean loss.

    Raises ValueError for fewer than two images, and epochs that are none.
    """
    answers = torch.cat([models.answers(whole, models.ready(whole, part)).detach() for part in images.split(64)])
    wanted = (answers / TEMPERATURE).softmax(1)

    def loss(logits: Tensor, chosen: Tensor) -> Tensor:
        found = (logits / TEMPERATURE).log_softmax(1)
        return functional.kl_div(found, wanted[chosen], reduction="batchmean") * TEMPERATURE**2

    _train(model, images, loss, epochs, seed, report)


def fine_tune(
    model: nn.Module, images: Tensor, labels: Tensor, *, epochs: int, seed: int = 0, report: Report = lambda *_: None
) -> None:
    """Trains `model`, in place, on `images` (M, C, H, W) with `labels` (M,); otherwise as `distil`.

    Raises ValueError where there is not one label for each image, and as `distil` does.
    """
    if len(images) != len(labels):
        raise ValueError(f"fine-tuning on {len(images)} images with {len(labels)} labels: it takes one each")
    labels = labels.to(models.place(model)[0])
    _train(model, images, lambda logits, chosen: functional.cross_entropy(logits, labels[chosen]), epochs, seed, report)


def _train(model: nn.Module, images: Tensor, loss_of, epochs: int, seed: int, report: Report) -> None:
    recipe = Recipe(epochs=checks.whole("epochs", epochs, 1), **RECIPE)
    if len(images) < 2:
        raise ValueError(f"training on {len(images)} image{'s' * (len(images) != 1)}: give two or more")
    device, _ = models.place(model)
    optimizer = optimizer_of(model, recipe)
    parts = max(1, min(-(-len(images) // recipe.batch), len(images) // 2))  # none of a single image, for BatchNorm
    try:
        model.train()
        for epoch in range(epochs):
            drawn = torch.Generator().manual_seed(epoch_seed(seed, epoch))
            order, total = torch.randperm(len(images), generator=drawn), 0.0
            with dropout_seeded(epoch_seed(seed, epoch), device), torch.enable_grad():
                for step, chosen in enumerate(order.tensor_split(parts)):
                    rate = recipe.learning_rate * one_cycle((epoch + step / parts) / epochs, recipe.warmup)
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    loss = loss_of(model(models.ready(model, images[chosen])), chosen.to(device))
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()
                    total += loss.item() * len(chosen)
            report(epoch + 1, total / len(images))
    finally:
        model.eval()
