"""Training from scratch: the whole data set on the device, augmentation on tensors, one cycle of SGD or AdamW.

Enters: a network, images uint8 (M, C, H, W) with labels, a `Recipe` and a seed. Leaves: the trained network in
eval mode and a log, one row an epoch. Interrupted training goes on from the last finished epoch with the same
result, since everything random in an epoch depends on (seed, epoch) alone. One cycle: Smith & Topin 2018 (arXiv
1708.07120).
"""

import hashlib
import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy
import pandas
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from lib.images import datasets
from lib.network import checks, saving
from lib.network.models import answers, classes, predict

_log = logging.getLogger(__name__)

PRECISIONS = ("float32", "bfloat16")
OPTIMIZERS = ("sgd", "adamw")
TEMPERATURE = 2.0  # of distillation: above 1, so that the classes that a teacher thinks unlikely count, too

_ENTRIES = {  # tensors that an optimizer keeps of each parameter; of these, `step` stays on the CPU
    torch.optim.SGD: ("momentum_buffer",),
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
}


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults suit ResNets on 32-pixel images.

    `learning_rate` is the peak, for batches of `batch` images; `warmup` the fraction of all steps spent rising to it;
    `crop` the pixels of padding before a random crop; `flip` mirrors half the images (not for digits). `precision`
    "bfloat16" computes in it, though weights stay float32: faster where a device multiplies it, and another network.
    `optimizer` "sgd" has Nesterov's `momentum`, which "adamw", for transformers, takes for its first moment's.
    """

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.25
    crop: int = 4
    flip: bool = True
    precision: str = "float32"
    optimizer: str = "sgd"

    def __post_init__(self):
        positive = ("epochs", "batch", "learning_rate")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"training setting {name}={getattr(self, name)!r} must be positive")
        for name in ("epochs", "batch", "crop"):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"training setting {name}={getattr(self, name)!r} must be a whole number")
        if self.crop < 0 or not 0 <= self.warmup <= 1:
            raise ValueError(f"training settings crop={self.crop}, warmup={self.warmup}: from 0, warmup to 1")
        for name, known in (("precision", PRECISIONS), ("optimizer", OPTIMIZERS)):
            if (given := getattr(self, name)) not in known:
                raise ValueError(f"training setting {name}={given!r} must be one of {', '.join(known)}")


def train(
    model: nn.Module,
    train_set: datasets.ImageSet,
    test_set: datasets.ImageSet,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    moments: tuple[Tensor, Tensor] | None = None,
    teacher: nn.Module | None = None,
    state: Path | None = None,
    report: Callable[[Mapping], None] = lambda row: None,
) -> pandas.DataFrame:
    """Trains `model` in place, leaves it in eval mode, and returns the log.

    Arguments:
        seed: of batch order and augmentation.
        moments: mean and deviation (C,) of the channels, in [0, 1] units, by which all images are normalised; without
            them those of the training set.
        teacher: a network in eval mode, on the device, whose answers to the same images are learnt (`distillation`)
            instead of labels.
        state: where to keep the state after every epoch, and to go on from if it is of this network, data, moments,
            recipe, seed, kind of device and code (of `datasets`, `networks` and this module). Where it is of another,
            as after an edit, training starts anew, which only the log tells; where it is damaged, a warning says so.
        report: called with every row of the log as soon as it is there.

    Returns a table with one row an epoch: epoch, learning_rate, loss (mean over training images), accuracy (test),
        seconds.

    Raises ValueError for a teacher beside a state, a loss that is no number, and as `evaluate` does.
    """
    if teacher is not None and state is not None:
        raise ValueError("what a teacher gives is not kept between epochs: leave `state` out")
    device = torch.device(device)
    model.to(device, memory_format=torch.channels_last)
    optimizer = optimizer_of(model, recipe)
    moments = [*map(torch.as_tensor, datasets.statistics(train_set.images) if moments is None else moments)]
    identity = _identity(recipe, seed, (train_set.digest, test_set.digest, *(m.tolist() for m in moments)), device)
    rows = restore_state(state, model, optimizer, identity)
    pixels, labels = functional.pad(train_set.images.to(device), [recipe.crop] * 4), train_set.labels.to(device)
    for epoch in range(len(rows), recipe.epochs):
        started = time.perf_counter()
        model.train()
        with dropout_seeded(epoch_seed(seed, epoch), device):
            loss = _train_epoch(model, optimizer, pixels, labels, moments, recipe, teacher, seed=seed, epoch=epoch)
        model.eval()
        require_finite(loss, epoch + 1, "give a smaller learning_rate")
        accuracy = evaluate(model, datasets.normalise(test_set.images, *moments), test_set.labels)
        row = {"epoch": epoch + 1, "learning_rate": optimizer.param_groups[0]["lr"], "loss": loss, "accuracy": accuracy}
        rows.append(row | {"seconds": time.perf_counter() - started})
        if state is not None:
            save_state(state, model, optimizer, identity, rows)
        report(rows[-1])
    model.eval()
    return pandas.DataFrame(rows)


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, *, batch: int = 500) -> float:
    """The share of `images` (M, C, H, W), normalised, whose largest logit is at `labels` (M,).

    Raises ValueError where there are no images, not one label for each, which is the number of a class, or where logits
    are not finite.
    """
    if len(images) != len(labels) or not len(labels):
        raise ValueError(
            f"accuracy on {len(images)} images with {len(labels)} labels: it takes one each, and at least one"
        )
    labels = checks.labels(labels, len(images), classes(model, images)).cpu()
    return (predict(model, images, batch=batch) == labels).sum().item() / len(labels)


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """What the recipe says, without weight decay of vectors (biases, BatchNorm)."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, recipe.learning_rate, (recipe.momentum, 0.999))
    return torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, nesterov=True)


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of everything random in an epoch."""
    return int(numpy.random.SeedSequence([seed, epoch]).generate_state(1)[0])


@contextmanager
def dropout_seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout knows only the global random state: while open, that comes from `seed`; afterwards it is as before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.default_generators[device.index or 0].manual_seed(seed)
        yield


def _identity(recipe: Recipe, seed: int, data: tuple[object, ...], device: torch.device) -> str:
    """Of everything that decides what a training gives, in one text."""
    sources = (Path(__file__).with_name(f"{module}.py").read_text() for module in ("datasets", "networks", "training"))
    code = hashlib.sha256("\0".join(sources).encode()).hexdigest()
    return json.dumps([asdict(recipe), seed, data, [device.type, torch.__version__], code])


def _train_epoch(model, optimizer, pixels, labels, moments, recipe, teacher, *, seed: int, epoch: int) -> float:
    device, count = labels.device, len(labels)
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    order = torch.randperm(count, generator=generator)
    offsets = torch.randint(0, 2 * recipe.crop + 1, (count, 2), generator=generator)
    flips = torch.rand(count, generator=generator) < (0.5 if recipe.flip else 0.0)
    order, offsets, flips = (drawn.to(device) for drawn in (order, offsets, flips))
    total = torch.zeros((), device=device)
    size = pixels.shape[-1] - 2 * recipe.crop
    views = pixels.unfold(2, size, 1).unfold(3, size, 1)  # (M, C, 2 crop + 1, 2 crop + 1, H, W)
    steps = math.ceil(count / recipe.batch)
    for step, chosen in enumerate(order.split(recipe.batch)):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * one_cycle(
                (epoch * steps + step) / (recipe.epochs * steps), recipe.warmup
            )
        x = views[chosen, :, offsets[chosen, 0], offsets[chosen, 1]]
        x = torch.where(flips[chosen].view(-1, 1, 1, 1), x.flip(3), x)
        x = datasets.normalise(x, *moments).contiguous(memory_format=torch.channels_last)
        with _computing(recipe.precision, device):
            logits = model(x)
        if teacher is None:
            loss = functional.cross_entropy(logits.float(), labels[chosen])
        else:
            with torch.no_grad():
                wanted = answers(teacher, x)
            loss = distillation(logits.float(), wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(chosen)
    return total.item() / count


@contextmanager
def _computing(precision: str, device: torch.device) -> Iterator[None]:
    """A forward pass in this precision; in bfloat16 on a CPU with attention as products of matrices, since its fused
    kernel, which is none of oneDNN's, takes half of all time there."""
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"), ExitStack() as stack:
        if precision == "bfloat16" and device.type == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def require_finite(loss: float, epoch: int, remedy: str) -> None:
    """Raises ValueError, in one line, where the mean loss of this epoch, counted from 1, is no number."""
    if not math.isfinite(loss):
        raise ValueError(f"training has failed in epoch {epoch}: its loss is {loss}, since weights have grown beyond"
                         f" all numbers; {remedy}, or look at the images")  # fmt: skip


def distillation(logits: Tensor, wanted: Tensor) -> Tensor:
    """The divergence of a network's answers from those that another gives, logits (B, K) both, which alone is a loss
    without labels; softened by `TEMPERATURE` (Hinton et al. 2015, arXiv 1503.02531)."""
    wanted, found = (wanted / TEMPERATURE).softmax(1), (logits / TEMPERATURE).log_softmax(1)
    return functional.kl_div(found, wanted, reduction="batchmean") * TEMPERATURE**2


def one_cycle(progress: float, warmup: float) -> float:
    """The share of the peak learning rate at `progress` from 0 to 1: up in a line, down as a cosine."""
    rising = progress < warmup
    return progress / warmup if rising else 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def save_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, identity: str, rows: list[dict]) -> None:
    """Writes what training goes on from after a kill: weights, the optimizer's tensors, the log so far, and what all
    that is of."""
    tensors = {f"model.{name}": value for name, value in saving.tensors_of(model).items()}
    for name, parameter in model.named_parameters():
        for entry, value in optimizer.state[parameter].items():  # none where it has never had a gradient
            tensors[f"{entry}.{name}"] = value.cpu().contiguous()
    saving.write(path, tensors, {"identity": identity, "rows": json.dumps(rows)})


def restore_state(path: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer, identity: str) -> list[dict]:
    """Loads what `save_state` wrote, where it is of this `identity`, and returns the log so far; else none of it."""
    if path is None or not path.exists():
        return []
    try:
        tensors, metadata = saving.read(path)
    except ValueError as error:
        warnings.warn(f"{path} cannot be used ({error}): training starts anew", stacklevel=3)
        return []
    try:
        if metadata.get("identity") != identity:
            raise ValueError("it is of another recipe, seed, data set, normalisation, kind of device or code")
        saving.load(model, {name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    except ValueError as error:  # the usual thing after an edit
        _log.info("%s is not gone on from (%s): training starts anew", path, error)
        return []
    for name, parameter in model.named_parameters():
        for entry in _ENTRIES[type(optimizer)]:
            if (value := tensors.get(f"{entry}.{name}")) is not None:
                optimizer.state[parameter][entry] = value if entry == "step" else value.to(parameter.device)
    return json.loads(metadata["rows"])
