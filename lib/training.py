"""Training from scratch: the whole data set on the device, augmentation on tensors, one-cycle SGD.

Enters: a fresh network, images uint8 (M, C, H, W) with labels, a `Recipe` and a seed. Leaves: the trained network in eval
mode and a log, one row an epoch. Interrupted training goes on from the last finished epoch with the same result, since
everything random in an epoch depends on (seed, epoch) alone. One cycle: Smith & Topin 2018 (arXiv 1708.07120).
"""

import json
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy
import pandas
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from lib import datasets

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults suit ResNets on 32-pixel images.

    `learning_rate` is the peak, for batches of `batch` images; `warmup` the fraction of all steps spent rising to it; `crop` the
    pixels of padding before a random crop; `flip` mirrors half the images (not for digits). `precision` "auto" computes in
    bfloat16 (weights stay float32) on CUDA and on CPUs with matrix units for it, else in float32.
    """

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.25
    crop: int = 4
    flip: bool = True
    precision: str = "auto"

    def __post_init__(self):
        positive = ("epochs", "batch", "learning_rate")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"training setting {name}={getattr(self, name)!r} must be positive")
        for name in ("epochs", "batch", "crop"):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"training setting {name}={getattr(self, name)!r} must be a whole number")
        if self.crop < 0 or not 0 <= self.warmup <= 1:
            raise ValueError(f"training settings crop={self.crop}, warmup={self.warmup}: at least 0, and warmup at most 1")
        if self.precision not in PRECISIONS:
            raise ValueError(f"training setting precision={self.precision!r} must be one of {', '.join(PRECISIONS)}")


def train(
    model: nn.Module,
    train_set: datasets.ImageSet,
    test_set: datasets.ImageSet,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    report: Callable[[Mapping], None] = lambda row: None,
) -> pandas.DataFrame:
    """Trains `model` in place, leaves it in eval mode, and returns the log.

    Arguments:
        seed: of batch order and augmentation.
        state: where to keep the state after every epoch, and to go on from if it fits this network, data, recipe and seed.
        report: called with every row of the log as soon as it is there.

    Returns a table with one row an epoch: epoch, learning_rate, loss (mean over training images), accuracy (test), seconds.
    """
    device = torch.device(device)
    model.to(device, memory_format=torch.channels_last)
    optimizer = _optimizer(model, recipe)
    identity = json.dumps([asdict(recipe), seed, train_set.digest, test_set.digest])
    rows = _restore_state(state, model, optimizer, identity)
    images, labels = train_set.images.to(device), train_set.labels.to(device)
    mean, std = datasets.statistics(train_set.images)
    pixels = functional.pad(images, [recipe.crop] * 4)
    for epoch in range(len(rows), recipe.epochs):
        started = time.perf_counter()
        model.train()
        with _seeded(seed, epoch, device):
            loss = _train_epoch(model, optimizer, pixels, labels, (mean, std), recipe, epoch=epoch)
        model.eval()
        seen = datasets.normalise(test_set.images, mean, std)
        accuracy = evaluate(model, seen, test_set.labels)
        rate = optimizer.param_groups[0]["lr"]
        row = {"epoch": epoch + 1, "learning_rate": rate, "loss": loss, "accuracy": accuracy}
        rows.append(row | {"seconds": time.perf_counter() - started})
        if state is not None:
            _save_state(state, model, optimizer, identity, rows)
        report(rows[-1])
    model.eval()
    return pandas.DataFrame(rows)


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor, *, batch: int = 500) -> float:
    """The share of `images` (M, C, H, W), normalised, whose largest logit is at `labels` (M,)."""
    device = next(model.parameters()).device
    correct = torch.zeros((), dtype=torch.int64, device=device)
    for chunk, truth in zip(images.split(batch), labels.split(batch), strict=True):
        chunk = chunk.to(device, memory_format=torch.channels_last, non_blocking=True)
        correct += (model(chunk).argmax(1) == truth.to(device, non_blocking=True)).sum()
    return correct.item() / len(labels)


def save(model: nn.Module, path: Path, metadata: Mapping[str, object]) -> None:
    """Writes all weights and buffers to a safetensors file, with `metadata` as JSON; aside first, then renamed."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    _write(path, tensors, {"study": json.dumps(metadata)})


def restore(model: nn.Module, path: Path) -> dict:
    """Loads what `save` wrote into `model`, puts it in eval mode, and returns the metadata.

    Raises ValueError naming the file where it is damaged or belongs to another network.
    """
    tensors, metadata = _read(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path} holds another network: {str(error).splitlines()[-1].strip()}") from error
    model.eval()
    return json.loads(metadata["study"])


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, nesterov=True)


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """While open, global random numbers (dropout has no others) come from seed and epoch; afterwards all is as before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        state = int(numpy.random.SeedSequence([seed, epoch]).generate_state(1)[0])
        torch.default_generator.manual_seed(state)
        if device.type == "cuda":
            torch.cuda.manual_seed(state)
        yield


def _train_epoch(model, optimizer, pixels, labels, moments, recipe, *, epoch: int) -> float:
    device, count = labels.device, len(labels)
    order = torch.randperm(count)
    offsets = torch.randint(0, 2 * recipe.crop + 1, (count, 2))
    flips = torch.rand(count) < (0.5 if recipe.flip else 0.0)
    order, offsets, flips = (drawn.to(device) for drawn in (order, offsets, flips))
    total = torch.zeros((), device=device)
    size = pixels.shape[-1] - 2 * recipe.crop
    views = pixels.unfold(2, size, 1).unfold(3, size, 1)  # (M, C, 2 crop + 1, 2 crop + 1, H, W)
    steps = math.ceil(count / recipe.batch)
    for step, chosen in enumerate(order.split(recipe.batch)):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _one_cycle((epoch * steps + step) / (recipe.epochs * steps), recipe.warmup)
        x = views[chosen, :, offsets[chosen, 0], offsets[chosen, 1]]
        x = torch.where(flips[chosen].view(-1, 1, 1, 1), x.flip(3), x)
        x = datasets.normalise(x, *moments).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=_in_bfloat16(recipe.precision, device)):
            logits = model(x)
        loss = functional.cross_entropy(logits.float(), labels[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(chosen)
    return total.item() / count


def _one_cycle(progress: float, warmup: float) -> float:
    rising = progress < warmup
    return progress / warmup if rising else 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def _in_bfloat16(precision: str, device: torch.device) -> bool:
    if precision != "auto":
        return precision == "bfloat16"
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # not there before torch 2.12
    return device.type == "cuda" or bool(capabilities.get("amx_bf16", False))


def _save_state(path: Path, model: nn.Module, optimizer: torch.optim.SGD, identity: str, rows: list[dict]) -> None:
    tensors = {f"model.{name}": value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        tensors[f"momentum.{name}"] = optimizer.state[parameter]["momentum_buffer"].cpu().contiguous()
    _write(path, tensors, {"identity": identity, "rows": json.dumps(rows)})


def _restore_state(path: Path | None, model: nn.Module, optimizer: torch.optim.SGD, identity: str) -> list[dict]:
    if path is None or not path.exists():
        return []
    try:
        tensors, metadata = _read(path)
        if metadata["identity"] != identity:
            return []
        model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
        for name, parameter in model.named_parameters():
            buffer = tensors[f"momentum.{name}"].to(parameter.device).clone(memory_format=torch.preserve_format)
            optimizer.state[parameter]["momentum_buffer"] = buffer
    except (ValueError, KeyError, RuntimeError) as error:
        warnings.warn(f"{path} cannot be used ({error}): training starts anew", stacklevel=3)
        return []
    return json.loads(metadata["rows"])


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    save_file(tensors, aside, metadata)
    os.replace(aside, path)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    except FileNotFoundError:
        raise
    except Exception as error:  # safetensors raises its own kinds
        raise ValueError(f"{path} is damaged ({error}): delete it to have it made again") from error
