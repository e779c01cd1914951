"""Reasons to doubt what a network is found to be worth: each one line, or nothing.

Enters: a whole network with images, and what it answers to them. Leaves: what looks wrong and what may mend it. Nothing
here is proof: what is certain to be wrong is refused elsewhere.
"""

from contextlib import ExitStack

import pandas
import torch
from torch import Tensor, nn

from lib import repair
from lib.network import contexts, models

FEW = 200  # images, below which shares of 90 % are 2 points off and more by chance
LEAST = 5  # test images that a class must have, for what most of them are answered to tell of it
SEEN = 64  # at most so many images tell how far they are from those of the training
SEEN_LEAST = 8  # at least so many images, and SEEN values of each channel
# In nats: the public ResNet-20 and -56 and EfficientNet-Lite0 were 0.01 to 0.04 from their training on images of its
# data set, at most 0.18 on those of others, and 0.48 and more on the same ones with other usual moments, as long as
# these were not those of a data set alike.
STRANGE = 0.3
SAME, SAME_LEAST = 0.9, 10  # of so many answers or more, beyond which agreeing with them is little
_PREPARED = "its weights, and how images are prepared (--pixels, --mean, --std)"


def strangeness(whole: nn.Module, images: Tensor, *, batch: int) -> str:
    """Why to doubt that images (M, C, H, W) are prepared as those that the network was trained on: what reaches its
    first BatchNorm is far from what reached it there. Else nothing; as for a network without any, or with one that was
    never trained. Takes `batch` of them at once."""
    found, passes = [], 0

    def note(norm: nn.Module, given: tuple, named: dict) -> None:
        if len(found) < passes:  # the first of this pass
            values = next(iter((*given, *named.values()))).detach().transpose(0, 1).flatten(1).double()
            found.append((norm, values.shape[1], *torch.var_mean(values, 1, correction=0)))

    some = images[:: -(-len(images) // SEEN)]
    with ExitStack() as hooks, contexts.as_written(), torch.no_grad():
        for norm in repair.norms_of(whole):
            hooks.callback(norm.register_forward_pre_hook(note, with_kwargs=True).remove)
        for part in some.split(batch):
            passes += 1
            models.answers(whole, models.ready(whole, part))
    if not found or len(some) < SEEN_LEAST or sum(count for _, count, *_ in found) < SEEN:
        return ""
    norm = found[0][0]
    variance, mean = _of_all(*map(list, zip(*(noted[1:] for noted in found), strict=True)))
    there, variance_there = norm.running_mean.double(), norm.running_var.double()
    if not there.any() and (variance_there == 1).all():
        return ""
    variance, variance_there = variance + norm.eps, variance_there + norm.eps
    if not divergence(mean, variance, there, variance_there) >= STRANGE:
        return ""
    wide = (variance / variance_there).log().mean().div(2).exp().item()
    off = ((mean - there).square() / variance_there).mean().sqrt().item()
    return (f"what reaches the network's first BatchNorm is {wide:.2g} times as widely spread as in its training, and"
            f" lies {off:.2g} standard deviations from there: check {_PREPARED}")  # fmt: skip


def _of_all(counts: list[int], variances: list[Tensor], means: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Variance and mean of parts of so many values together, (C,) each."""
    weights = torch.tensor(counts, dtype=torch.float64, device=means[0].device)[:, None] / sum(counts)
    mean = (weights * torch.stack(means)).sum(0)
    return (weights * (torch.stack(variances) + (torch.stack(means) - mean).square())).sum(0), mean


def divergence(mean: Tensor, variance: Tensor, there: Tensor, variance_there: Tensor) -> float:
    """Of normal distributions from others (Kullback and Leibler), in nats, in the mean over channels."""
    ratio = variance / variance_there
    return (ratio - 1 - ratio.log() + (mean - there).square() / variance_there).mean().item() / 2


def guessing(answers: Tensor, labels: Tensor) -> str:
    """Why to doubt that the network knows the test images: it is no more often right, within two standard errors, than
    its answers would be in any other order. Else nothing; and where all are of one class, unless none is right."""
    count, right = len(labels), (answers == labels).double().mean().item()
    most = int(max(answers.max(), labels.max())) + 1
    chance = (answers.bincount(minlength=most) * labels.bincount(minlength=most)).sum().item() / count**2
    knows = right == 1 or right > chance + 2 * (chance * (1 - chance) / count) ** 0.5
    if knows or (right and len(labels.unique()) == 1):
        return ""
    return (f"the whole network is right on {right:.1%} of the test images, as it would be by chance: check the order"
            f" of labels (a file classes.txt beside the folder gives it), {_PREPARED}")  # fmt: skip


def sameness(answers: Tensor) -> str:
    """Why to doubt that agreement tells anything: nearly all answers are one class. Else nothing."""
    most, label = answers.bincount().max(0)
    if len(answers) < SAME_LEAST or most < SAME * len(answers):
        return ""
    return (f"the whole network answers {most} of the {len(answers)} images held out alike (label {label}), with which"
            f" it is easy to agree: give --test, if most are of that class; else check {_PREPARED}")  # fmt: skip


def disorder(answers: Tensor, labels: Tensor) -> str:
    """Why to doubt that labels are in the order of the network's outputs: most images of several classes, of each of
    these, are answered as one other class, nearly each as another. Else nothing."""
    pairs = pandas.DataFrame({"label": labels.tolist(), "answer": answers.tolist()}).value_counts().reset_index()
    counts = pairs.groupby("label")["count"].sum()
    usual = pairs.drop_duplicates("label").set_index("label").sort_index()
    judged = usual[(counts >= LEAST) & (2 * usual["count"] > counts)]
    odd = judged[judged["answer"] != judged.index]["answer"]
    if len(odd) < 2 or 5 * odd.nunique() < 4 * len(odd) or 10 * len(odd) <= len(judged):
        return ""
    named = ", ".join(f"{label} as {answer}" for label, answer in odd.head(3).items())
    return (f"the whole network answers most test images of {len(odd)} classes as one other class (label {named}):"
            " are the labels in the order of its outputs? A file classes.txt beside the folder, which names all classes"
            " one a line, gives their order")  # fmt: skip


def few(tested: int) -> str:
    """Why to doubt what so few images tell of a budget that was searched for. Else nothing."""
    if tested >= FEW:
        return ""
    return (
        f"a budget is searched for on about {tested} images and told of on {tested} others, each of which is"
        f" {1 / tested:.1%}: on further images a few points less may be left. Give more images, or --test"
    )


def loss(name: str, before: float, after: float) -> str:
    """Why to doubt that training was of use: it has left less than there was, by what shows. Else nothing."""
    told = f"{name} is {after:.1%} after it and was {before:.1%} before"
    if after >= before or f"{after:.1%}" == f"{before:.1%}":
        return ""
    return f"training has not helped: {told}; leave it out, or train longer or on more images"
