"""lib.detached: every way past the gradients is refused where logits depend on it, and nothing else is."""

import warnings

import numpy
import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lib import importance, oracle, pruning

IMAGES, LABELS = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0, 1])
REFUSED = (
    "Net cuts gradients off on the way to its logits, by detach(), no_grad(), .data, or item() and the like: scores by"
    " gradients would miss what goes through there"
)


class Net(nn.Module):
    """Two convolutions, the second called by `how(net, layer, x)`, and a classifier."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.classifier, self.how, self.scale = nn.Linear(4, 4), how, nn.Parameter(torch.tensor(2.0))
        self.kept = None

    def forward(self, x):
        return self.classifier(self.how(self, self.second, self.first(x).relu()).mean((2, 3)))


def gate(x):
    """Of each example's channels, (M, C, 1, 1)."""
    return x.mean((2, 3), keepdim=True).sigmoid()


def inside(x):
    """As the second layer crops it."""
    return x[:, :, 1:-1, 1:-1]


# What is refused


def detached(net, layer, x):
    return layer(x.detach()) + inside(x)


def without_gradients(net, layer, x):
    with torch.no_grad():
        x = layer(x)
    return x * 2


def overwritten_without_gradients(net, layer, x):
    with torch.no_grad():
        x.mul_(gate(x))
    return layer(x)


def a_part_overwritten_without_gradients(net, layer, x):
    with torch.no_grad():
        x[:, :2].mul_(3)
    return layer(x)


def overwritten_by_an_activation_without_gradients(net, layer, x):
    with torch.no_grad():
        functional.hardtanh(x, 0, 0.5, inplace=True)
    return layer(x)


def copied_to_a_buffer(net, layer, x):
    kept = torch.zeros_like(x)
    with torch.no_grad():
        kept.copy_(x)
    return layer(kept) + inside(x)


def copied_to_a_part_of_a_buffer(net, layer, x):
    kept = torch.zeros(2, *x.shape)
    with torch.no_grad():
        kept[1].copy_(x)
    return layer(kept.sum(0)) + inside(x)


def set_in_a_part_of_a_buffer(net, layer, x):
    kept = torch.zeros(2, *x.shape)
    part = kept.flatten(0, 1)
    part[: len(x)] = x.detach()
    return layer(kept.sum(0)) + inside(x)


def copied_to_what_shares_with_a_buffer(net, layer, x):
    kept = torch.zeros(x.shape)
    kept.detach().copy_(x)
    return layer(kept) + inside(x)


def given_as_out(net, layer, x):
    with torch.no_grad():
        kept = torch.empty_like(x)
        torch.mul(x, gate(x), out=kept)
    return layer(kept) + inside(x)


def data_multiplied(net, layer, x):
    x.data *= gate(x.data)
    return layer(x)


def data_multiplied_in_place(net, layer, x):
    x.data.mul_(2)
    return layer(x)


def data_set(net, layer, x):
    x.data = x.data * 2
    return layer(x)


def a_part_of_data_set(net, layer, x):
    x.data[:, 0] = 0
    return layer(x)


def written_in_inference_mode(net, layer, x):
    kept = torch.zeros(x.shape)
    with torch.inference_mode():
        kept.copy_(x)
    return layer(kept) + inside(x)


def through_complex_numbers(net, layer, x):
    return layer(torch.fft.irfft2(torch.fft.rfft2(x.detach()), s=x.shape[2:])) + inside(x)


def detached_before_a_custom_function(net, layer, x):
    return layer(Swish.apply(x + x.detach()))


def required_anew(net, layer, x):
    copy = x.detach()
    copy.requires_grad = True
    return layer(copy * 1) + inside(x)


def made_a_tensor_anew(net, layer, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch advises against it, too
        return layer(x) * x.new_tensor(x.mean((1, 2, 3)))[:, None, None, None]


CUT = [
    detached, without_gradients, overwritten_without_gradients, a_part_overwritten_without_gradients,
    overwritten_by_an_activation_without_gradients, copied_to_a_buffer, copied_to_a_part_of_a_buffer,
    set_in_a_part_of_a_buffer, copied_to_what_shares_with_a_buffer, given_as_out, data_multiplied,
    data_multiplied_in_place, data_set, a_part_of_data_set, written_in_inference_mode, through_complex_numbers,
    detached_before_a_custom_function, required_anew, made_a_tensor_anew,
    lambda net, layer, x: layer(x) * x.mean((1, 2, 3), keepdim=True).data,
    lambda net, layer, x: layer(torch.mul(*torch.broadcast_tensors(x, x.detach().mean((1, 2, 3), keepdim=True)))),
    lambda net, layer, x: layer(x) * x.mean((1, 2, 3), keepdim=True).detach().expand_as(layer(x)),
    lambda net, layer, x: layer(x) * torch.stack([torch.tensor(row.mean().item()) for row in x])[:, None, None, None],
    lambda net, layer, x: layer(x) * torch.tensor([float(row.detach().mean()) for row in x])[:, None, None, None],
    lambda net, layer, x: layer(x) * torch.tensor(x.mean((1, 2, 3)).tolist())[:, None, None, None],
    lambda net, layer, x: layer(x) * torch.from_numpy(x.detach().numpy()).mean((1, 2, 3), keepdim=True),
    lambda net, layer, x: layer(x) * torch.from_numpy(numpy.asarray(x.detach())).mean((1, 2, 3), keepdim=True),
    lambda net, layer, x: layer(x) * torch.from_dlpack(x.detach()).mean((1, 2, 3), keepdim=True),
]  # fmt: skip


@pytest.mark.parametrize("how", CUT)
def test_gradients_that_are_cut_off_are_refused_by_what_needs_them_alone(how):
    model = Net(how).eval()
    for names in ("sq", "molchanov-group"):
        with pytest.raises(ValueError) as caught:
            importance.score(model, [(IMAGES, LABELS)], names)
        assert str(caught.value) == REFUSED
    with pytest.raises(ValueError) as caught:
        importance.contributions(model, IMAGES, torch.ones(6, 4))
    assert str(caught.value) == REFUSED
    oracle.score(model, [(IMAGES, LABELS)])


# What is not


class Swish(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, delta):
        gate = torch.sigmoid(ctx.saved_tensors[0])
        return delta * gate * (1 + ctx.saved_tensors[0] * (1 - gate))


class Doubled(Function):
    """Written over what is made inside."""

    @staticmethod
    def forward(ctx, x):
        made = torch.empty_like(x)
        made[:, :2] = x[:, :2]
        made.view(-1)[:].copy_(x.reshape(-1))
        return made.mul_(2)

    @staticmethod
    def backward(ctx, delta):
        return delta * 2


class DoubledInPlace(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.mul_(2)

    @staticmethod
    def backward(ctx, delta):
        return delta * 2


class DoubledApart(Function):
    """With a context that is set up apart."""

    @staticmethod
    def forward(x):
        return x.clone().mul_(2)

    @staticmethod
    def setup_context(ctx, taken, made):
        pass

    @staticmethod
    def backward(ctx, delta):
        return delta * 2


def kept(net, layer, x):
    net.kept = x.detach()
    return layer(x)


def kept_and_written(net, layer, x):
    net.kept = x.detach().clone().mul_(3)
    with torch.no_grad():
        mean = torch.zeros(x.shape[1])
        mean.mul_(0.9).add_(x.mean((0, 2, 3)), alpha=0.1)
    return layer(x)


def kept_in_a_list(net, layer, x):
    net.kept = [part.data for part in x.split(2, 1)]
    net.kept[0] = net.kept[0] * 2
    return layer(x)


def counted(net, layer, x):
    steps = torch.zeros((), dtype=torch.long)
    with torch.no_grad():
        steps.add_(1)
    return layer(x) * float(steps) * net.scale.item()


def written_with_gradients(net, layer, x):
    room = torch.zeros(2, *x.shape)
    room[0] = x
    room[1].copy_(x).mul_(2)
    x = room.sum(0)
    x.add_(1)
    x[:, :2] *= 2
    x.relu_()
    return layer(x).mul(2).add_(1).tanh_()


def told(net, layer, x):
    assert x.isfinite().all().item() and int(x.max()) < 1000 and f"{x.mean():.3f}"
    return layer(x) if x.max() > -1 else x


FINE = [
    kept, kept_and_written, kept_in_a_list, counted, written_with_gradients, told,
    lambda net, layer, x: layer(x),
    lambda net, layer, x: layer(Swish.apply(x)),
    lambda net, layer, x: layer(Doubled.apply(x)),
    lambda net, layer, x: layer(DoubledInPlace.apply(x.clone())),
    lambda net, layer, x: layer(DoubledApart.apply(x)),
    lambda net, layer, x: checkpoint(layer, x, use_reentrant=False),
    lambda net, layer, x: checkpoint(layer, x, use_reentrant=True),
    lambda net, layer, x: layer(x * (x.detach() > 0).float()),  # as a ReLU does
    lambda net, layer, x: layer(x + torch.zeros_like(x) + torch.ones_like(x.detach()) + x.new_tensor(1.0)),
    lambda net, layer, x: (x.detach().sum(), layer(x))[1],  # for nothing
    lambda net, layer, x: layer(x * torch.ones(1).to(x) + torch.ones(1).type_as(x)),
    lambda net, layer, x: layer(x * torch.full((1, 1, 1, 1), 0.5).expand_as(x)),
    lambda net, layer, x: layer(torch.mul(*torch.broadcast_tensors(x, torch.full((1,), 0.5)))),
    lambda net, layer, x: layer(torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[2:])),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:shares left are not known")  # as code goes by values
@pytest.mark.parametrize("how", FINE)
def test_what_cuts_nothing_off_that_logits_depend_on_is_scored(how):
    model = Net(how).eval()
    importance.score(model, [(IMAGES, LABELS)], ["sq", "molchanov-group"])
    importance.contributions(model, IMAGES, torch.ones(6, 4))
    oracle.score(model, [(IMAGES, LABELS)])
    pruning.curve(model, torch.arange(8), IMAGES, LABELS, 2)
