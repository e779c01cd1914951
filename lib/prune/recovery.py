"""Getting back what shrinking has cost: by the labels of images, or without any by the whole network's own answers.

Enters: a smaller network in eval mode, normalised images and what it should answer. Leaves: the same network, trained.
Without labels its logits are drawn to those of the whole network (Hinton et al. 2015, arXiv 1503.02531), which sees the
same shifted and mirrored images as it does (Beyer et al. 2022, arXiv 2106.05237). Interrupted training goes on from
the last finished epoch with the same result.
"""

import hashlib
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.images import sources, training
from lib.images.files import shown
from lib.images.training import Recipe, distillation, dropout_seeded, epoch_seed, one_cycle, optimizer_of
from lib.network import checks, models

RECIPE = {"batch": 32, "learning_rate": 0.02}  # gentler than from scratch
SHIFTED = 8  # by up to this part of their sides
Report = Callable[[int, float, float], object]


def distil(
    model: nn.Module,
    whole: nn.Module,
    images: Tensor,
    *,
    epochs: int,
    flip: bool = True,
    seed: int = 0,
    state: Path | None = None,
    report: Report = lambda *_: None,
) -> None:
    """Trains `model`, in place, to answer as `whole` does on unlabelled `images` (M, C, H, W); both in eval mode.

    Arguments:
        flip: whether half of the images are mirrored.
        seed: of the order of images, of shifts and mirrors, and of dropout.
        state: a file where every epoch is kept, and from which training goes on if it is of the same networks, images,
            settings and code.
        report: called after every epoch with how many are done, the mean loss, and how many seconds are to go.

    Raises ValueError for fewer than two images, and epochs that are none.
    """

    def loss(logits: Tensor, seen: Tensor, _: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = models.answers(whole, seen)
        return distillation(logits, wanted)

    _train(model, images, loss, epochs, flip, seed, state, report, by=list(whole.state_dict().values()))


def fine_tune(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    flip: bool = True,
    seed: int = 0,
    state: Path | None = None,
    report: Report = lambda *_: None,
) -> None:
    """Trains `model`, in place, on `images` (M, C, H, W) with `labels` (M,); otherwise as `distil`.

    Raises ValueError where there is not one label for each image, and as `distil` does.
    """
    if len(images) != len(labels):
        raise ValueError(f"fine-tuning on {len(images)} images with {len(labels)} labels: it takes one each")
    labels = labels.to(models.place(model)[0])

    def loss(logits: Tensor, _: Tensor, chosen: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels[chosen])

    _train(model, images, loss, epochs, flip, seed, state, report, by=[labels])


def _train(model: nn.Module, images: Tensor, loss_of, epochs: int, flip: bool, seed: int, state, report, by) -> None:
    """`by` are the tensors that, beside model and images, decide what `loss_of` gives."""
    recipe = Recipe(epochs=checks.whole("epochs", epochs, 1), flip=flip, **RECIPE)
    if len(images) < 2:
        raise ValueError(f"training on {len(images)} image{'s' * (len(images) != 1)}: give two or more")
    device, _ = models.place(model)
    optimizer = optimizer_of(model, recipe)
    tensors = [*model.state_dict().values(), images, *by]
    identity = "" if state is None else _identity(recipe, seed, model, tensors)
    rows = training.restore_state(state, model, optimizer, identity)
    if state is not None and state.exists() and not rows:
        warnings.warn(f"{shown(state)} is of other networks, images or settings: training starts anew", stacklevel=3)
    began, before = time.monotonic(), len(rows)
    try:
        model.train()
        for epoch in range(before, epochs):
            with dropout_seeded(epoch_seed(seed, epoch), device), torch.enable_grad():
                loss = _epoch(model, optimizer, images, loss_of, recipe, epoch_seed(seed, epoch), epoch)
            rows.append({"loss": loss})
            if state is not None:
                training.save_state(state, model, optimizer, identity, rows)
            done = epoch + 1
            report(done, loss, (time.monotonic() - began) / (done - before) * (epochs - done))
    finally:
        model.eval()


def _epoch(model: nn.Module, optimizer, images: Tensor, loss_of, recipe: Recipe, seed: int, epoch: int) -> float:
    device, _ = models.place(model)
    drawn = torch.Generator().manual_seed(seed)
    order, total = torch.randperm(len(images), generator=drawn), 0.0
    parts = max(1, min(-(-len(images) // recipe.batch), len(images) // 2))  # none of a single image, for BatchNorm
    for step, chosen in enumerate(order.tensor_split(parts)):
        rate = recipe.learning_rate * one_cycle((epoch + step / parts) / recipe.epochs, recipe.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        seen = models.ready(model, _moved(images[chosen], recipe.flip, drawn))
        loss = loss_of(model(seen), seen, chosen.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(chosen)
    return total / len(images)


def _moved(images: Tensor, flip: bool, drawn: torch.Generator) -> Tensor:
    """Images, each shifted over its own mirrored edges and perhaps mirrored; other inputs than images as they are."""
    if images.ndim != 4:
        return images
    count, _, height, width = images.shape
    margin = min(height, width) // SHIFTED
    views = functional.pad(images, [margin] * 4, mode="reflect").unfold(2, height, 1).unfold(3, width, 1)
    down, right = torch.randint(2 * margin + 1, (2, count), generator=drawn).to(images.device)
    moved = views[torch.arange(count, device=images.device), :, down, right]
    mirrored = (torch.rand(count, generator=drawn) < 0.5 * flip).to(images.device)
    return torch.where(mirrored[:, None, None, None], moved.flip(3), moved)


def _identity(recipe: Recipe, seed: int, model: nn.Module, tensors: list[Tensor]) -> str:
    """Of everything that decides what a training gives, in one text."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    for path in (Path(__file__), Path(training.__file__)):
        digest.update(path.read_bytes())
    place = models.place(model)[0].type
    return json.dumps([asdict(recipe), seed, place, torch.__version__, sources.code_of(model), digest.hexdigest()])
