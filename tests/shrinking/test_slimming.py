"""lib.slimming: the shrunk network answers as the full one does with the same channels off."""

import warnings
from contextlib import ExitStack

import pytest
import torch
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from shrunk import RESIDUAL, SIZES, Idle, Shuffled, in_order, measured, noise, off, prepared, some_scores, steady
from torch import nn

from lib import pruning, structure
from lib.images import networks
from lib.structure import BUDGETS, plan, slim, trace


@pytest.mark.filterwarnings("ignore:.* gives the same logits for all")  # a deep one of random weights does
@pytest.mark.parametrize("of", BUDGETS)
@pytest.mark.parametrize("name", SIZES)
@torch.no_grad()
def test_shrunk_is_masked_and_costs_what_was_planned(name, of):
    model, example, made = prepared(name)
    slimming = made.plan(some_scores(len(made.groups)), budget=0.5, of=of)
    smaller = slimming.apply(model)
    assert slimming.before == measured(model, example)
    assert slimming.after == measured(smaller, example)
    assert slimming.reached == (slimming.before[of] - slimming.after[of]) / slimming.before[of] >= 0.5
    images = noise(3, *example.shape[1:], seed=2)
    found, expected = smaller(images), []
    for mask in (off(model, slimming), slimming.masked(model)):
        with mask:
            expected.append(model(images))
    for logits in expected:
        torch.testing.assert_close(found, logits, rtol=0, atol=1e-5 * logits.abs().max().item())
    assert (found - model(images)).abs().max() > 1e-2 * found.abs().max()  # it is another network than the full one


@pytest.mark.parametrize("network", [toys.Mlp, toys.Plain, toys.Residual, toys.Twice])
@given(st.data())
@settings(steady, max_examples=25)
@torch.no_grad()
def test_shrunk_is_masked_in_toys(network, data):
    model, (images, _) = toys.make(network), toys.examples(network, 4)
    made = trace(model, images[:1])
    scores = torch.tensor(data.draw(st.permutations(range(len(made.groups))))).double()
    slimming = made.plan(
        scores, budget=data.draw(st.sampled_from([0.05, 0.3, 0.5])), of=data.draw(st.sampled_from(BUDGETS))
    )
    smaller = slimming.apply(model)
    assert measured(smaller, images[:1]) == slimming.after
    with pruning.masked(model, in_order(slimming), len(slimming.removed), slimming.layers):
        torch.testing.assert_close(smaller(images), model(images), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_what_does_not_keep_zero_is_masked_where_it_is_taken():
    model, (images, _) = toys.make(toys.Overwritten), toys.examples(toys.Overwritten, 4)
    slimming = plan(model, torch.arange(7.0), images[:1], budget=0.7, of="units")
    smaller = slimming.apply(model)
    with slimming.masked(model):
        torch.testing.assert_close(smaller(images), model(images), rtol=1e-12, atol=1e-12)
    with pruning.masked(model, torch.arange(7), 5, slimming.layers):
        assert not torch.allclose(smaller(images), model(images))  # sigmoid(0) is taken there


def test_a_network_can_shrink_twice():
    model, example = toys.make(toys.Residual), toys.examples(toys.Residual, 1)[0]
    once = slim(model, torch.arange(13.0), example, budget=0.2, of="units")
    left = measured(once, example)["units"]
    twice = slim(once, torch.arange(float(left)), example, budget=0.2, of="units")
    assert measured(twice, example)["units"] < left < 13


def test_a_plan_is_for_one_network():
    slimming = RESIDUAL.plan(torch.arange(13.0), budget=0.2)
    with pytest.raises(ValueError, match=f"the plan is for {RESIDUAL.parameters} parameters, but the network has 68"):
        slimming.apply(toys.make(toys.Overwritten))


@pytest.mark.parametrize("how", ["apply", "masked"])
def test_a_plan_for_another_network_says_so(how):
    def use(plan, model):
        with plan.masked(model) if how == "masked" else ExitStack():
            return plan.apply(model)

    model, _, made = prepared("resnet20")
    whole = made.plan(some_scores(len(made.groups)), budget=0.4)
    smaller, other = whole.apply(model), networks.build("vgg8", 10).eval()
    for wrong in (smaller, other):
        counts = [sum(parameter.numel() for parameter in net.parameters()) for net in (model, wrong)]
        said = f"the plan is for {counts[0]} parameters, but the network has {counts[1]}: make a plan for it"
        with pytest.raises(ValueError) as caught:
            use(whole, wrong)
        assert str(caught.value) == said
    with pytest.raises(ValueError) as caught:
        use(whole, nn.Sequential(model))  # the same, under other names
    said = "the plan is for another network than this one, as 0.blocks.0.bn1 shows: make a plan for it"
    assert str(caught.value) == said


class Full(nn.Module):
    """Has room for three channels alone."""

    def forward(self, values):
        if values.shape[1] == 3:
            return values
        raise torch.OutOfMemoryError("CUDA out of memory. Tried")


def test_a_head_that_runs_for_nothing_shrinks_with_what_it_takes_in():
    made = trace(Idle().eval(), noise(1, 3, 4, 4))
    assert made.groups.tolist() == [*range(14)]
    smaller = made.plan(torch.arange(14.0), budget=0.2, of="units").apply(Idle().eval())
    assert smaller.first.out_channels == smaller.head.in_channels == 1


class Magnifying(nn.Module):
    """What differs by rounding alone differs in all after it."""

    def __init__(self, times):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 24, 3), nn.Conv2d(24, 40, 3), nn.Linear(40, 4)
        self.times = times

    def forward(self, images):
        x = self.second(self.first(images).relu()).mean((2, 3))
        for _ in range(self.times):
            x = torch.sin(9 * x)
        return self.last(x)


@torch.no_grad()
def test_rounding_that_a_network_magnifies_is_not_its_fault():
    torch.manual_seed(0)
    model = Magnifying(times=9).eval()
    made = trace(model, noise(1, 3, 8, 8))
    slimming = made.plan(some_scores(len(made.groups)), budget=0.5)
    smaller, images = slimming.apply(model), noise(3, 3, 8, 8, seed=2)
    with slimming.masked(model):
        assert (smaller(images) - model(images)).abs().max() > 1e-3
    with slimming.masked(model.double()):
        torch.testing.assert_close(smaller.double()(images.double()), model(images.double()), rtol=0, atol=1e-6)


def test_a_full_memory_is_not_the_networks_fault():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Full(), nn.Flatten(), nn.Linear(48, 2)).eval()
    with pytest.raises(torch.OutOfMemoryError):
        slim(model, torch.arange(3.0), noise(1, 3, 4, 4), budget=0.3, of="units")


@pytest.fixture(scope="module")
def exported():
    """A slimmed network, images and its logits."""
    model, _, made = prepared("resnet20")
    smaller = made.plan(some_scores(len(made.groups)), budget=0.5).apply(model)
    images = noise(2, 3, 32, 32, seed=4)
    return smaller, images, smaller(images).detach()


def test_torch_export_takes_it(exported, tmp_path):
    smaller, images, logits = exported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        torch.export.save(torch.export.export(smaller, (images,)), tmp_path / "small.pt2")
        found = torch.export.load(tmp_path / "small.pt2").module()(images)
    torch.testing.assert_close(found, logits, rtol=1e-5, atol=1e-5)


def test_onnx_runtime_gives_the_same_logits(exported, tmp_path):
    smaller, images, logits = exported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        import onnxruntime

        torch.onnx.export(smaller, (images,), tmp_path / "small.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(found), logits, rtol=1e-4, atol=1e-5 * logits.abs().max().item())


class Counting(nn.Module):
    """Two convolutions between which channels are divided by their number, and logits with much in common."""

    def __init__(self, common):
        super().__init__()
        self.first, self.second, self.classifier = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3), nn.Linear(12, 3)
        with torch.no_grad():
            self.classifier.bias += common

    def forward(self, x):
        x = self.first(x).relu()
        return self.classifier(self.second(x / x.shape[1]).relu().mean((2, 3)))


@pytest.mark.parametrize("common", [0, 100])
def test_what_logits_have_in_common_hides_no_difference(common, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(structure, "culprits", lambda parts, is_right: [])  # as where only a whole plan shows it
    with pytest.raises(ValueError, match="Counting cannot shrink: without the channels"):
        slim(Counting(common).eval(), torch.rand(20), torch.randn(1, 3, 8, 8), budget=0.3, of="units")


class OfSize(Counting):
    """Where images are large, two channels count besides, by their number."""

    def forward(self, x):
        first = self.first(x).relu()
        if x.shape[-1] > 8:
            first = first + first[:, [0, 1]].mean(1, keepdim=True)
        return self.classifier(self.second(first).relu().mean((2, 3)))


def test_what_goes_is_tried_at_another_size_too(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(structure, "culprits", lambda parts, is_right: [])  # as where the draw of a trial misses it
    with pytest.raises(ValueError, match="OfSize cannot shrink: for images of 12 x 12 without the channels that go"):
        slim(OfSize(0).eval(), torch.arange(20.0), torch.randn(1, 3, 8, 8), budget=0.3, of="units")


class Coarse(Counting):
    """Divides nothing by its number of channels, has logits with much in common, and none in double precision."""

    def forward(self, x):
        if x.dtype != torch.float32:
            raise TypeError("takes float32 alone")
        return self.classifier(self.second(self.first(x).relu()).relu().mean((2, 3)))


def test_what_is_too_coarse_to_tell_is_said(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(structure, "culprits", lambda parts, is_right: [])
    with pytest.raises(ValueError, match="or its precision is too coarse to tell, and in double precision, which"):
        slim(Coarse(1e6).eval(), torch.rand(20), torch.randn(1, 3, 8, 8), budget=0.3, of="units")


class InSinglePrecision(nn.Module):
    """Names its precision in code, as where images are of whole numbers."""

    def __init__(self):
        super().__init__()
        widths = ((3, 8), (8, 8), (8, 8))
        layers = ((nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU()) for i, o in widths)
        self.body, self.classifier = nn.Sequential(*(one for several in layers for one in several)), nn.Linear(8, 4)

    def forward(self, x):
        return self.classifier(self.body(x.float()).mean((2, 3)))


@pytest.mark.parametrize("seed", range(8))  # of which some were refused, or kept layers whole, for rounding alone
def test_a_constant_example_and_a_precision_in_code_are_no_hindrance(seed):
    torch.manual_seed(seed)
    model, example = InSinglePrecision().eval(), torch.zeros(1, 3, 16, 16)
    made = plan(model, torch.rand(24), example, budget=0.3, of="units")
    images = noise(3, 3, 24, 24)
    with torch.no_grad(), made.masked(model):
        expected = model(images)
    torch.testing.assert_close(made.apply(model)(images), expected, rtol=1e-4, atol=1e-5)


def test_what_does_not_run_without_some_channels_is_refused(monkeypatch):
    monkeypatch.setattr(structure, "culprits", lambda parts, is_right: [])
    with pytest.raises(ValueError, match="Shuffled cannot shrink: it does not run"):
        slim(Shuffled().eval(), torch.arange(8.0), noise(1, 3, 4, 4), budget=0.1, of="units")


class OfBytes(Counting):
    """Looks at bright places alone, so that all noise is as black."""

    def forward(self, x):
        bright = (x.amax(1, keepdim=True)[..., 1:-1, 1:-1] > 40).to(x)
        x = self.first(x / 255).relu()
        return self.classifier((self.second(nn.functional.pad(x / x.shape[1], [1] * 4)) * bright).mean((2, 3)))


def test_a_network_is_tried_on_what_the_example_has_and_noise_has_not():
    torch.manual_seed(0)
    model, images = OfBytes(0).eval(), 255 * torch.rand(9, 3, 8, 8)
    with pytest.warns(UserWarning, match="all units of first stay, since the network was tried without some of them"):
        slimming = plan(model, torch.arange(20.0), images[:1], budget=0.3, of="units")
    with torch.no_grad(), slimming.masked(model):
        expected = model(images)
    torch.testing.assert_close(slimming.apply(model)(images), expected, rtol=1e-5, atol=1e-6)


class OfShares(nn.Module):
    """Takes images from 0 to 1, and has no numbers for what is below."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.classifier = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3), nn.Linear(12, 3)

    def forward(self, x):
        return self.classifier(self.second(self.first(x ** (1 / 2.2)).relu()).relu().mean((2, 3)))


def test_a_network_that_has_no_numbers_for_noise_is_tried_on_the_example():
    model, images = OfShares().eval(), torch.rand(9, 3, 8, 8)
    assert model(images - 0.5).isnan().any()
    slimming = plan(model, torch.arange(20.0), images[:1], budget=0.5, of="units")
    with torch.no_grad(), slimming.masked(model):
        expected = model(images)
    torch.testing.assert_close(slimming.apply(model)(images), expected, rtol=1e-5, atol=1e-6)


def test_that_all_trials_are_answered_alike_is_said():
    model, images = OfBytes(0).eval(), 255 * torch.rand(9, 3, 8, 8)
    with pytest.warns(UserWarning, match="^OfBytes without the channels that go gives the same logits for all that it"):
        slim(model, torch.arange(20.0), images[:1] / 255, budget=0.3, of="units")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slim(OfShares().eval(), torch.arange(20.0), images[:1] / 255, budget=0.3, of="units")


class Supervised(nn.Module):
    """In training an auxiliary head reads the first channels, too."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3)
        self.auxiliary, self.classifier = nn.Linear(8, 3), nn.Linear(12, 3)

    def forward(self, x):
        x = self.first(x).relu()
        if self.training:
            self.said = self.auxiliary(x.mean((2, 3)))
        return self.classifier(self.second(x).relu().mean((2, 3)))


def test_a_head_for_training_that_no_longer_fits_is_named():
    model, example = Supervised().eval(), torch.randn(1, 3, 8, 8)
    with pytest.warns(
        UserWarning, match="^auxiliary did not run for the example, so their width stays, and in training"
    ):
        smaller = slim(model, torch.arange(20.0), example, budget=0.3, of="units")
    with pytest.raises(RuntimeError):
        smaller.train()(example)
    assert not hasattr(model, "said") and not model.training
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smaller = slim(model, torch.arange(20.0), example, budget=0.3, of="units", keep="first")
    smaller.train()(example)


class Averaging(nn.Module):
    """In training it keeps means of its first channels, which it may take off in every mode."""

    def __init__(self, centred):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.classifier, self.centred = nn.Conv2d(3, 8, 3), nn.Linear(8, 3), centred
        self.register_buffer("means", torch.zeros(8))

    def forward(self, x):
        x = self.first(x)
        if self.training:
            self.means.lerp_(x.detach().mean((0, 2, 3)), 0.1)
        return self.classifier((x - self.means[:, None, None] if self.centred else x).relu().mean((2, 3)))


def test_a_tensor_for_training_that_no_longer_fits_is_named():
    example = torch.randn(1, 3, 8, 8)
    with pytest.warns(UserWarning, match="^means did not run for the example, so their width stays, and in training"):
        smaller = slim(Averaging(False).eval(), torch.arange(8.0), example, budget=0.3, of="units")
    with pytest.raises(RuntimeError):
        smaller.train()(example)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smaller = slim(Averaging(True).eval(), torch.arange(8.0), example, budget=0.3, of="units")
    smaller.train()(example)
    assert smaller.means.shape == (smaller.first.out_channels,) != (8,) and smaller.means.any()
