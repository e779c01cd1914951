"""Getting back what shrinking has cost: by the labels of images, or without any by the whole network's own answers.

Enters: a smaller network in eval mode, and a `Lesson`: normalised images and what is to be answered. Leaves: the same
network, trained. Without labels its logits are drawn to those of the whole network (Hinton et al. 2015, arXiv
1503.02531), which sees the same shifted and mirrored images as it does (Beyer et al. 2022, arXiv 2106.05237).
Interrupted training goes on from the last finished epoch with the same result.
"""

import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.images import training
from lib.images.files import shown
from lib.images.training import Recipe, distillation, dropout_seeded, epoch_seed, one_cycle, optimizer_of
from lib.network import checks, models
from lib.network.copies import copied
from lib.prune import keeping

RECIPE = {"batch": 32, "learning_rate": 0.005}  # 0.02 left ResNet-20 and ResNet-56 0.3 to 3.3 points less accurate
SHIFTED = 8  # by up to this part of their sides
TRIED = 0.02  # of the time that training may take goes into finding out how long an epoch takes
LEAST = 3  # steps, after a first that is slower, for the same
Report = Callable[[int, float, float], object]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is to be learnt of `images` (M, C, H, W): `loss` takes logits, the images that gave them and which of all
    they are; `by` are the tensors that, beside images and network, decide what it gives."""

    images: Tensor
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    by: tuple[Tensor, ...]

    def __post_init__(self):
        """Raises ValueError for fewer than two images."""
        if len(self.images) < 2:
            raise ValueError(f"training on {len(self.images)} image{'s' * (len(self.images) != 1)}: give two or more")


def answers_of(whole: nn.Module, images: Tensor) -> Lesson:
    """To answer as `whole`, in eval mode, does on unlabelled `images` (M, C, H, W)."""

    def loss(logits: Tensor, seen: Tensor, _: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = models.answers(whole, seen)
        return distillation(logits, wanted)

    return Lesson(images, loss, tuple(whole.state_dict().values()))


def checked(labels: object, count: int, classes: int | None = None) -> Tensor:
    """Labels (M,) of so many images. Raises ValueError where they are not whole numbers, one for each, from 0 to below
    the number of classes, if that is known."""
    if not isinstance(labels, Tensor):
        raise ValueError(f"labels must be a tensor (M,) of whole numbers, not a {type(labels).__name__}")
    if labels.shape != (count,):
        raise ValueError(f"labels of shape {tuple(labels.shape)} for {count} images: it takes one each, of shape (M,)")
    if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        kind = str(labels.dtype).removeprefix("torch.")
        raise ValueError(f"labels are {kind}, not whole numbers: give labels.long()")
    low, high = (labels.min().item(), labels.max().item()) if count else (0, 0)
    if low < 0 or (classes is not None and high >= classes):
        known = "" if classes is None else f" to {classes - 1}, since the network has {classes}"
        raise ValueError(f"labels go from {low} to {high}, but they are numbers of classes, from 0{known}")
    return labels.long()


def labels_of(images: Tensor, labels: Tensor, classes: int | None = None) -> Lesson:
    """To give `images` (M, C, H, W) their `labels` (M,). Raises ValueError as `checked` does."""
    labels = checked(labels, len(images), classes)

    def loss(logits: Tensor, _: Tensor, chosen: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels[chosen.to(labels.device)].to(logits.device))

    return Lesson(images, loss, (labels,))


def train(
    model: nn.Module,
    lesson: Lesson,
    *,
    epochs: int,
    flip: bool = True,
    seed: int = 0,
    state: Path | None = None,
    report: Report = lambda *_: None,
) -> None:
    """Trains `model`, in eval mode before and afterwards, in place.

    Arguments:
        flip: whether half of the images are mirrored.
        seed: of the order of images, of shifts and mirrors, and of dropout.
        state: a file where every epoch is kept, and from which training goes on if it is of the same networks, images,
            settings and code.
        report: called after every epoch with how many are done, the mean loss, and how many seconds are to go.

    Raises ValueError for epochs that are none, and for a loss that is no number.
    """
    recipe = Recipe(epochs=checks.whole("epochs", epochs, 1), flip=flip, **RECIPE)
    device, _ = models.place(model)
    optimizer = optimizer_of(model, recipe)
    identity = "" if state is None else _identity([asdict(recipe), seed], model, [lesson])
    rows = training.restore_state(state, model, optimizer, identity)
    if state is not None and state.exists() and not rows:
        warnings.warn(f"{shown(state)} is of other networks, images or settings: training starts anew", stacklevel=3)
    began, before = time.monotonic(), len(rows)
    with _training(model):
        for epoch in range(before, epochs):
            with dropout_seeded(epoch_seed(seed, epoch), device), torch.enable_grad():
                steps = _epoch(model, optimizer, lesson, recipe, epoch_seed(seed, epoch), epoch)
                loss = sum(steps) / len(lesson.images)
            training.require_finite(loss, epoch + 1, "let less go at once")
            rows.append({"loss": loss})
            if state is not None:
                training.save_state(state, model, optimizer, identity, rows)
            done = epoch + 1
            report(done, loss, (time.monotonic() - began) / (done - before) * (epochs - done))


def epochs_within(
    minutes: float,
    model: nn.Module,
    lessons: Iterable[Lesson],
    *,
    flip: bool = True,
    seed: int = 0,
    state: Path | None = None,
) -> tuple[int, float]:
    """How many epochs of each of these lessons `train` does in about so many minutes in all; at least one. Beside it
    the seconds that one of each takes together.

    Found by trying some steps on a copy; the network stays as it is.

    Arguments:
        flip, seed: as `train` will have them.
        state: a file where the answer is kept: for the same minutes, networks, images, settings and code it is taken
            from there, so that a training that was stopped goes on as it was begun, however fast the machine is now.
    """
    lessons = list(lessons)
    identity = "" if state is None else _identity([minutes, flip, seed, RECIPE], model, lessons)
    if kept := keeping.kept(state, identity):
        return kept["epochs"], kept["seconds"]
    began, recipe = time.monotonic(), Recipe(epochs=1, flip=flip, **RECIPE)
    epoch = sum(_seconds(model, lesson, recipe, 60 * minutes * TRIED / len(lessons)) for lesson in lessons)
    found = max(1, round((60 * minutes - (time.monotonic() - began)) / epoch))
    keeping.keep(state, identity, {"epochs": found, "seconds": epoch})
    return found, epoch


def _seconds(model: nn.Module, lesson: Lesson, recipe: Recipe, patience: float) -> float:
    """What an epoch takes, by the mean of as many steps as there is `patience` (seconds) for."""
    model = copied(model)
    optimizer, done, (device, _) = optimizer_of(model, recipe), 0, models.place(model)
    with _training(model), dropout_seeded(0, device), torch.enable_grad():
        steps = (step for again in itertools.count() for step in _epoch(model, optimizer, lesson, recipe, again, 0))
        next(steps)
        began = time.monotonic()
        while done < LEAST or time.monotonic() - began < patience:
            next(steps)
            done += 1
    return (time.monotonic() - began) / done * _steps(lesson, recipe)


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    try:
        model.train()
        yield
    finally:
        model.eval()


def _steps(lesson: Lesson, recipe: Recipe) -> int:
    count = len(lesson.images)
    return max(1, min(-(-count // recipe.batch), count // 2))  # none of a single image, for BatchNorm


def _epoch(model: nn.Module, optimizer, lesson: Lesson, recipe: Recipe, seed: int, epoch: int) -> Iterator[float]:
    """Goes through all images once; after each step its loss, summed over its images."""
    device, _ = models.place(model)
    drawn, images = torch.Generator().manual_seed(seed), lesson.images
    order, parts = torch.randperm(len(images), generator=drawn), _steps(lesson, recipe)
    for step, chosen in enumerate(order.tensor_split(parts)):
        rate = recipe.learning_rate * one_cycle((epoch + step / parts) / recipe.epochs, recipe.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        seen = models.ready(model, _moved(images[chosen], recipe.flip, drawn))
        loss = lesson.loss(models.answers(model, seen), seen, chosen.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield loss.item() * len(chosen)


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


def _identity(settings: list[object], model: nn.Module, lessons: Iterable[Lesson]) -> str:
    """Of everything that decides what a training gives, in one text."""
    tensors = (part for lesson in lessons for part in (lesson.images, *lesson.by))
    return keeping.identity(settings, model, tensors, [Path(__file__), Path(training.__file__)])
