"""Somebody's model, as everything here runs it: the module inside its wrappers, with images as it takes them.

Enters: any `nn.Module`. Leaves: the module that does the work, without what compiles or replicates it; its images as it
takes them, and its logits; what it fails at in one line.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from lib.network import checks, contexts

OF_THE_MACHINE = (torch.OutOfMemoryError, torch.AcceleratorError)  # which say nothing of the model
_OF_THE_MODEL = (AssertionError, IndexError, RuntimeError, TypeError, ValueError)  # what PyTorch raises of wrong images
_FEW, _MANY = 4, 64  # images on which a way is tried, and so many that trying it pays
_NONE = -1  # instead of a class, where logits are not finite
_CONVOLUTIONS = {  # with how many axes of space
    nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3, nn.ConvTranspose1d: 1, nn.ConvTranspose2d: 2, nn.ConvTranspose3d: 3,
}  # fmt: skip


def inside(model: nn.Module) -> nn.Module:
    """The module that `torch.compile`, `DataParallel` or `DistributedDataParallel` has wrapped; else `model`.

    Raises ValueError, in one line, for what is no module, or one without modules inside, as torch.export makes them.
    """
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):  # as torch.compile calls it
            model = model._orig_mod
        else:
            return _usable(model)


def _usable(model: object) -> nn.Module:
    if isinstance(model, type):
        raise ValueError(f"the model is the class {model.__name__}, not a network of it: give {model.__name__}(...)")
    if isinstance(model, Mapping):
        raise ValueError("the model is a dict, as of weights, not a network: build one and model.load_state_dict(...)")
    if isinstance(model, (str, PathLike)):
        raise ValueError(f"the model is the name {str(model)!r}, not a network: build one and load its weights")
    if type(model).__name__ == "ExportedProgram" or (isinstance(model, fx.GraphModule) and _is_exported(model)):
        raise ValueError("the model is what torch.export makes of one, in which nothing is run as a module: give the"
                         " model that it was made from")  # fmt: skip
    if not isinstance(model, nn.Module):
        raise ValueError(f"the model must be an nn.Module, not a {type(model).__name__}")
    return model


def _is_exported(model: fx.GraphModule) -> bool:
    return any(isinstance(node.target, torch._ops.OpOverload) for node in model.graph.nodes)


def place(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where images have to be for this model, and of which type."""
    like = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), torch.empty(0))
    return like.device, like.dtype


def ready(model: nn.Module, images: Tensor, first: int | None = None) -> Tensor:
    """Normalised images (M, ...) as the model takes them: on its device, of its type, out of inference mode; of many
    the `first` few.

    Raises ValueError for what cannot be normalised images (see `checks.images`), or are none.
    """
    images = checks.images(images)[:first]
    if not len(images):
        raise ValueError(f"there is no image in a tensor of shape {tuple(images.shape)}: give one at least")
    images = images.clone() if images.is_inference() else images.detach()
    return images.to(*place(model), non_blocking=True)


def logits(output: object, count: int) -> Tensor:
    """The output of a model for `count` images, if it is logits (M, K); ValueError in one line if not."""
    if not isinstance(output, Tensor):
        raise ValueError(f"the model gives a {type(output).__name__}, not one tensor of logits (M, K): wrap it in a "
                         "module that returns these alone")  # fmt: skip
    if output.ndim != 2 or len(output) != count:
        squeezed = ": it drops the axis of a batch of one, as squeeze() does without a number" if count == 1 else ""
        raise ValueError(f"the model gives an output of shape {tuple(output.shape)} for {count} "
                         f"image{'s' * (count != 1)}, not logits (M, K){squeezed}")  # fmt: skip
    if not output.shape[1]:
        raise ValueError(f"the model gives an output of shape {tuple(output.shape)}, which holds no logits")
    if not output.is_floating_point():
        raise ValueError(f"the model gives {str(output.dtype).removeprefix('torch.')} numbers, not logits (M, K)")
    return output


def answers(model: nn.Module, images: Tensor) -> Tensor:
    """The logits (M, K) of a pass of images as the model takes them.

    Raises ValueError, in one line, for another output, and as `run` does.
    """
    return logits(run(model, images), len(images))


def require_eval_mode(model: nn.Module, called: str = "") -> None:
    """Raises ValueError, in one line, where the model, or what of it is named, is in training mode."""
    for name, module in model.named_modules():
        if module.training:
            raise ValueError(f"{called or name or type(model).__name__} is in training mode: call model.eval() first")


def require_values(model: nn.Module) -> None:
    """Raises ValueError, in one line, where parameters or buffers have no values yet."""
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(value):
            raise ValueError(f"{name} gets its shape in the first pass: run the model once, and load its weights")
        if value.is_inference():
            raise ValueError(f"{name} was made in inference mode, where nothing can be differentiated: build the model"
                             " outside of it, and run it under no_grad() instead")  # fmt: skip
        if value.is_meta:
            raise ValueError(f"{name} is on the meta device and has no values: build the model on another, or load its"
                             " weights first, as by model.load_state_dict(..., assign=True)")  # fmt: skip


def require_finite(logits: Tensor) -> None:
    """Raises ValueError, in one line, where logits are not finite."""
    if not logits.isfinite().all():
        raise _not_finite()


def _not_finite(when: str = "") -> ValueError:
    return ValueError(f"logits are not finite{when and ' '}{when}; check the model's weights and its inputs")


def largest(logits: Tensor) -> Tensor:
    """The place of the largest of logits (..., K), and -1 for an example of which any is not finite: (...).

    The largest of NaN would be a class like any other; and to look at all of them here would have a GPU wait.
    """
    return logits.argmax(-1).where(logits.isfinite().all(-1), _NONE)


def classes(model: nn.Module, images: Tensor) -> int:
    """Into how many classes a model sorts images, by a pass of the first one, twice, since some squeeze a single one.

    Raises ValueError for a single number, of which the largest is the same for all images, and as `answers` does.
    """
    first = ready(model, images, 1)
    with torch.no_grad():
        count = answers(model, first.repeat_interleave(2, 0)).shape[1]
    if count == 1:
        raise ValueError("the model gives one number z for an image, and answers are the largest of several: for yes or"
                         " no wrap it in a module that gives torch.cat([-z, z], 1)")  # fmt: skip
    return count


def run(model: nn.Module, images: Tensor, by: Callable[[Tensor], object] | None = None) -> object:
    """The output of a pass of images as the model takes them, `by` what stands in for it, if anything.

    Raises ValueError, in one line, where the model does not take them, as ones of another size, or a single one where
    it squeezes its values.
    """
    try:
        return (by or model)(images)
    except _OF_THE_MODEL as error:
        if isinstance(error, OF_THE_MACHINE) or _is_ours(error):
            raise
        raise ValueError(_not_taken(model, images, error)) from error


def _is_ours(error: BaseException) -> bool:
    """Whether it says what it says in one line already: a ValueError of this library's, as its hooks raise."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return isinstance(error, ValueError) and trace.tb_frame.f_globals.get("__name__", "").startswith("lib.")


def _not_taken(model: nn.Module, images: Tensor, error: BaseException) -> str:
    name, said, remedy = type(model).__name__, first_line(error), _remedy(model, tuple(images.shape))
    if not remedy and len(images) == 1 and takes(model, images.repeat_interleave(2, 0)):
        return (f"{name} does not take a single image ({said}): give batches of two images or more, or have its"
                " squeeze() name an axis")  # fmt: skip
    return f"{name} does not take images of shape {tuple(images.shape[1:])} each ({said}){remedy}"


def _remedy(model: nn.Module, shape: tuple[int, ...]) -> str:
    """What to do with images of this shape, by the layer that the model lists first, where that tells."""
    kinds = (*_CONVOLUTIONS, nn.Linear, nn.Embedding, nn.EmbeddingBag)
    layer = next((module for module in model.modules() if isinstance(module, kinds)), None)
    axes = next((axes for kind, axes in _CONVOLUTIONS.items() if isinstance(layer, kind)), None)
    if axes is None:
        return ""
    if len(shape) == axes + 1:
        return f": {axes + 2} axes are needed, of images first; a single one is images[None]"
    if len(shape) != axes + 2 or shape[1] == layer.in_channels:
        return ""
    give = ""
    if layer.in_channels == shape[-1]:
        give = ": give images.movedim(-1, 1)"
    elif shape[1] == 1:
        give = f": give images.expand(-1, {layer.in_channels}{', -1' * axes})"
    return f", its first layer takes {layer.in_channels} channels{give}"


def channels_last(images: Tensor) -> Tensor:
    """The same images in the layout in which convolutions are fastest."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, *, batch: int = 500, when: str = "") -> Tensor:
    """The class of the largest logit for each of `images` (M, ...), normalised, `batch` at a time: (M,) on the CPU.

    Raises ValueError where logits are not finite, of which the error says `when`, such as "with 3 units off"; and as
    `answers` does.
    """
    require_values(inside(model))
    images, batch = checks.images(images), checks.whole("batch", batch, 1)
    laid_out = quickest_layout(model, images)
    return known([largest(answers(model, laid_out(ready(model, part)))) for part in images.split(batch)], when)


def known(classes: Sequence[Tensor], when: str = "") -> Tensor:
    """The classes of some images after others, as `largest` gives them, on the CPU; ValueError where there are none, as
    `predict` says it."""
    found = torch.cat([*classes]).cpu()
    if (found == _NONE).any():
        raise _not_finite(when)
    return found


def quickest_layout(model: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """What brings images into the layout that takes up to half the time, if the model answers alike there, as tried on
    a few of many images; else what leaves them as they are. It need not: code may go by strides, and some views cannot
    be had there."""
    if images.ndim == 4 and len(images) >= _MANY:
        few = ready(model, images, _FEW)
        with contexts.full_precision(), attempted():
            if alike(answers(model, channels_last(few)), answers(model, few)):
                return channels_last
    return torch.Tensor.detach


def takes(model: nn.Module, images: Tensor) -> bool:
    """Whether it runs for these images.

    What is passed over here is not lost: whoever asks runs the model again, or raises what it failed at before.
    """
    with attempted(), torch.no_grad(), contexts.as_written():
        model(images)
        return True
    return False


def alike(found: Tensor, truth: Tensor, beside: Tensor | None = None) -> bool:
    """Whether logits computed in another way are the same but for rounding.

    By 1,000 times the precision of their numbers, of the largest logit: sums taken in another order through many
    layers differ by far less (1e-6 of it in float32, where this is 1e-4), a network that is another one by far more.
    What all logits have in common counts a tenth, lest it hide a difference. In half precision that would let
    everything pass, so there it is one percent.

    Arguments:
        beside: logits of other examples, which count for how large logits are: a single one may happen to be near zero.
    """
    values = truth.flatten() if beside is None else torch.cat([truth.flatten(), beside[beside.isfinite()]])
    size = max((values - values.mean()).abs().max(), values.abs().max() / 10)
    tolerance = min(1000 * torch.finfo(truth.dtype).eps, 0.01) * size
    return found.shape == truth.shape and bool((found - truth).abs().max() <= tolerance)


def distance(found: Tensor, truth: Tensor) -> Tensor:
    """How far logits (M, K) computed in another way are from the true ones: (M,), for each example by the size of its
    own, as `alike` takes it, or that of the middle example, where that is larger. Infinite where they are not finite.
    """
    size = torch.maximum((truth - truth.mean(1, keepdim=True)).abs().amax(1), truth.abs().amax(1) / 10)
    far = (found - truth).abs().amax(1)
    return torch.where(far == 0, 0, far / torch.maximum(size, size.median())).nan_to_num(torch.inf)


def furthest(images: Tensor, far: Tensor) -> Tensor:
    """A few of the images (M, ...), those at the largest distances (M,), in the layout that they have."""
    places = far.topk(min(_FEW, len(far))).indices.tolist()
    return torch.cat([images[place : place + 1] for place in places])


@contextmanager
def attempted() -> Iterator[None]:
    """Passes over whatever fails within, since a stranger's model may fail in any way; but not over what is the
    machine's fault, such as a full memory, and must be told."""
    try:
        yield
    except OF_THE_MACHINE:
        raise
    except Exception:
        return


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its type where it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
