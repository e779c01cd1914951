"""Costs worked out by hand on toy networks; times are only checked for who is timed, how often and in which order."""

import copy
from typing import ClassVar

import pandas
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from lib import cost
from lib.images import networks
from lib.prune import prune
from tests import toys

FLOAT = 4  # bytes


class Toy(nn.Module):
    """Sizes small enough for a sheet of paper: 3 x 4 x 4 inputs, a grouped convolution, a linear layer used twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.square = nn.Linear(6, 6)
        self.classifier = nn.Linear(6, 2)

    def forward(self, x):
        x = self.norm(self.conv(x)).mean((2, 3))
        return self.classifier(self.square(self.square(x)))


def test_parameters_and_multiply_adds_by_hand():
    toy = Toy().eval()
    assert cost.parameters(toy) == 6 * 1 * 9 + 2 * 6 + (36 + 6) + (12 + 2)
    convolution = 6 * (2 * 2) * 9  # six 2 x 2 maps, nine weights each: every group has one input channel
    assert cost.multiply_adds(toy, torch.zeros(1, 3, 4, 4)) == convolution + 2 * 36 + 12
    assert cost.multiply_adds(toy, torch.zeros(5, 3, 4, 4)) == 5 * (convolution + 2 * 36 + 12)


def test_multiply_adds_of_a_known_network():
    # ResNet-20 on 32 pixels has 40.55 million by He et al. 2016 without shortcuts; its two 1x1 shortcuts add theirs.
    shortcuts = 16 * 16 * 16 * 32 + 8 * 8 * 32 * 64
    assert (
        cost.multiply_adds(networks.build("resnet20", 10).eval(), torch.zeros(1, 3, 32, 32)) == 40_551_040 + shortcuts
    )


def test_shared_parameters_count_once():
    twice = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    twice[1].weight = twice[0].weight
    assert cost.parameters(twice) == 9 + 3 + 3


@pytest.mark.parametrize("network", toys.NETWORKS)
def test_multiply_adds_agree_with_an_explicit_count_on_every_toy(network):
    model, (images, _) = toys.make(network), toys.examples(network, 1)
    total = []

    def count(layer, inputs, output):
        each = layer.in_features if isinstance(layer, nn.Linear) else layer.weight[0].numel()
        total.append(each * (inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output).numel())

    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model(images)
    assert cost.multiply_adds(model, images) == sum(total) // 2 > 0  # the hooks above have run in both passes


def test_size_on_disk_is_that_of_the_file(tmp_path):
    toy = Toy()
    save_file(toy.state_dict(), tmp_path / "toy.safetensors")
    assert cost.size_on_disk(toy) == (tmp_path / "toy.safetensors").stat().st_size


def linear_chain():
    return nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 5))


def test_peak_of_inference_by_hand():
    chain = linear_chain()
    resident = 10 * 20 + 20 + 20 * 5 + 5 + 7 * 10  # weights, biases, images
    # While tanh runs, its input and output are alive; when the last layer runs, only 7 x 20 and 7 x 5.
    assert cost.inference_memory(chain, torch.zeros(7, 10)) == FLOAT * (resident + 7 * 20 + 7 * 20)


def test_in_place_operations_views_and_what_is_freed_take_nothing():
    x = torch.zeros(8, 4)

    def call():
        y = x + 1  # 32 floats
        y.relu_()
        y.view(4, 8).t()
        del y
        return x * 2  # 32 others, when the first are gone

    assert cost.peak_bytes(call, [x]) == FLOAT * (32 + 32)
    assert cost.peak_bytes(lambda: [x + 1 for _ in range(3)], [x]) == FLOAT * (32 + 3 * 32)
    assert cost.peak_bytes(lambda: None, [x, x.view(4, 8)]) == FLOAT * 32
    assert cost.peak_bytes(lambda: None) == 0


def test_what_the_backward_pass_needs_stays_alive():
    weight = torch.zeros(16, 16, requires_grad=True)
    x = torch.zeros(4, 16)

    def kept():
        y = x @ weight
        for _ in range(5):
            y = torch.sin(y)  # keeps its input, 64 floats, for the backward pass
        return y

    def not_kept():
        with torch.no_grad():
            return kept()

    resident = 16 * 16 + 4 * 16
    assert cost.peak_bytes(kept, [weight, x]) == FLOAT * (resident + 6 * 64)
    assert cost.peak_bytes(not_kept, [weight, x]) == FLOAT * (resident + 2 * 64)


def test_peak_of_a_training_step_by_hand():
    layer = nn.Sequential(nn.Linear(1000, 2, bias=False))
    # Weights, momentum, the gradient and, while Nesterov's step is taken, a look-ahead gradient; then images, labels
    # (8 bytes each) and the loss.
    expected = FLOAT * (4 * 2000 + 3 * 1000 + 1) + 3 * 8
    assert cost.training_memory(layer, torch.zeros(3, 1000)) == expected


def test_training_takes_more_than_inference_and_grows_with_the_batch():
    model = networks.build("resnet8", 10, 1).eval()
    images = torch.zeros(4, 1, 8, 8)
    inference, training = cost.inference_memory(model, images), cost.training_memory(model, images)
    assert training > inference > FLOAT * cost.parameters(model)
    assert cost.training_memory(model, images.repeat(2, 1, 1, 1)) > training


def test_memory_is_the_same_every_time():
    model, images = networks.build("vgg8", 10, 1).eval(), torch.zeros(4, 1, 8, 8)
    assert len({cost.training_memory(model, images) for _ in range(3)}) == 1
    assert len({cost.inference_memory(model, images) for _ in range(3)}) == 1


def test_calls_take_turns_after_the_warm_up():
    said = []
    calls = {"a": lambda: said.append("a"), "b": lambda: said.append("b")}
    seconds = cost.interleaved(calls, 3, warmup=1)
    assert said == ["a", "b"] * 4
    assert seconds.shape == (3, 2) and list(seconds) == ["a", "b"] and (seconds >= 0).all(axis=None)


def test_spread_is_median_and_quartiles_in_milliseconds():
    found = cost.spread(pandas.DataFrame({"a": [0.001, 0.002, 0.003, 0.004, 0.1]}), "latency_1")
    assert found.iloc[0].round(9).to_dict() == {"latency_1_ms": 3.0, "latency_1_low": 2.0, "latency_1_high": 4.0}


def test_table_has_a_row_per_variant_and_leaves_the_models_as_they_were():
    models = {"whole": networks.build("resnet8", 10, 1).eval(), "other": networks.build("vgg8", 10, 1).eval()}
    models["whole"].conv1.weight.requires_grad_(False)
    before = copy.deepcopy(models["whole"].state_dict())
    example = torch.zeros(1, 1, 8, 8)
    found = cost.table(models, example, batches=(1, 4), repeats=2, images=10)
    assert list(found["variant"]) == ["whole", "other"]
    assert list(found["parameters"]) == [cost.parameters(model) for model in models.values()]
    assert list(found["multiply_adds"]) == [cost.multiply_adds(model, example) for model in models.values()]
    for name in ("latency_1", "latency_4", "step"):
        assert ((found[f"{name}_low"] <= found[f"{name}_ms"]) & (found[f"{name}_ms"] <= found[f"{name}_high"])).all()
    assert found["inference_mb"][0] == cost.inference_memory(models["whole"], example.repeat(4, 1, 1, 1)) / 2**20
    assert list(found["epoch_seconds"]) == pytest.approx(list(3 * found["step_ms"] / 1000))  # 10 images, 4 at a time
    after = models["whole"].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not models["whole"].training and models["whole"].classifier.weight.grad is None
    assert not models["whole"].conv1.weight.requires_grad and not models["whole"]._forward_hooks
    assert "epoch_seconds" not in cost.table({"a": models["other"]}, example, batches=(2,), repeats=1)


class Seen(nn.Module):
    """Notes how its weights lie in memory whenever it runs."""

    layouts: ClassVar[list[bool]] = []

    def __init__(self):
        super().__init__()
        self.conv, self.classifier = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        self.layouts.append(self.conv.weight.is_contiguous(memory_format=torch.channels_last))
        return self.classifier(self.conv(x).mean((2, 3)))


def test_all_variants_are_measured_in_the_same_layout():
    models = {"usual": Seen().eval(), "channels last": Seen().eval().to(memory_format=torch.channels_last)}
    before = [model.conv.weight.stride() for model in models.values()]
    cost.table(models, torch.zeros(1, 3, 5, 5), batches=(1, 2), repeats=1)
    assert all(Seen.layouts) and len(Seen.layouts) > 20
    assert [model.conv.weight.stride() for model in models.values()] == before and before[0] != before[1]


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="no networks"):
        cost.table({}, torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"shrunk is in training mode: call model.eval\(\) first"):
        cost.table({"shrunk": networks.build("resnet8", 10, 1)}, torch.zeros(1, 1, 8, 8))


def test_a_failing_pass_leaves_no_hooks():
    model = networks.build("resnet8", 10, 1).eval()
    with pytest.raises(ValueError, match=r"not take images of shape \(3, 8, 8\) each .*, its first layer takes 1 chan"):
        cost.multiply_adds(model, torch.zeros(1, 3, 8, 8))
    assert not any(module._forward_hooks for module in model.modules())


def test_the_step_that_is_timed_trains():
    step = cost._TrainingStep(linear_chain().eval(), torch.ones(3, 10))
    before = [parameter.detach().clone() for parameter in step.model.parameters()]
    loss = functional.cross_entropy(step.model(step.images), step.labels).item()
    step.optimizer.param_groups[0]["lr"] = 0.1
    step()
    assert functional.cross_entropy(step.model(step.images), step.labels).item() < loss
    assert not all(torch.equal(a, b) for a, b in zip(before, step.model.parameters(), strict=True))


class Viewed(nn.Module):
    """A view that cannot be had channels last, or a parameter of five axes, which cannot be laid out so."""

    def __init__(self, five: bool):
        super().__init__()
        self.conv, self.hidden, self.classifier = nn.Conv2d(3, 8, 4, 4), nn.Linear(128, 10), nn.Linear(10, 4)
        self.scale = nn.Parameter(torch.ones(1, 1, 8, 1, 1) if five else torch.ones(8, 1, 1))

    def forward(self, x):
        x = self.conv(x) * self.scale.view(-1, 1, 1)
        x = x.view(len(x), -1) if self.scale.ndim == 3 else x.flatten(1)
        return self.classifier(self.hidden(x).relu())


@pytest.mark.parametrize("five", [False, True])
def test_what_cannot_be_laid_out_channels_last_is_measured_as_it_is(five):
    model, images = Viewed(five).eval(), torch.randn(5, 3, 16, 16)
    assert cost.multiply_adds(model, images[:1]) == 8 * 16 * 48 + 128 * 10 + 10 * 4
    table = cost.table({"one": model, "other": networks.build("resnet8", 4).eval()}, images, batches=[1, 3], repeats=1)
    assert (table[["latency_1_ms", "latency_3_ms", "step_ms", "inference_mb", "training_mb"]] > 0).all(axis=None)
    assert cost.inference_memory(model, images) > cost.inference_memory(model, images[:1])
    small = prune(model, torch.cat([images] * 12), budget=0.2, distil=True, epochs=1, repair=False)
    assert (small.costs[["latency_ms", "memory_mb"]] > 0).all(axis=None)
    with pytest.raises(ValueError, match=r"^Viewed does not take images of shape \(3, 8, 8\) each"):
        cost.table({"one": model}, images[..., :8, :8])


def test_variants_are_channels_last_if_all_of_them_can_be():
    def layouts(*models):
        images = torch.randn(1, 3, 16, 16)
        made, laid_out = cost._in_one_layout({str(number): model for number, model in enumerate(models)}, images)
        last = laid_out(images).is_contiguous(memory_format=torch.channels_last)
        return [
            last and next(made[name].parameters()).is_contiguous(memory_format=torch.channels_last) for name in made
        ]

    resnet = networks.build("resnet8", 4).eval()
    assert layouts(resnet, resnet) == [True, True]
    assert layouts(resnet, Viewed(five=False).eval()) == [False, False]
    assert layouts(resnet, Viewed(five=True).eval()) == [False, False]
    assert next(resnet.parameters()).is_contiguous()
