"""lib.importance: scores equal the slow, obvious ones, and leave everything as it was."""

import copy
import math
from itertools import cycle

import pytest
import torch
import toys
from reference import COTANGENTS, REDUCTIONS, Reference
from scored import calibrated, close, named, split, toy, whole
from torch import nn
from torch.nn import functional
from unchanged import EVERYTHING, same, state_of

from lib import importance
from lib.importance import Scoring, contributions, score
from lib.scoring import precision
from lib.scoring.criteria import Criterion

SOURCES = [*((name, 1) for name in COTANGENTS), ("rand", 3), ("sign", 2), ("sampled", 2), ("orth", 2)]  # @P


pytestmark = pytest.mark.usefixtures("small_minibatches")


@pytest.fixture
def bfloat16_takes(monkeypatch):
    """Sets how long passes in bfloat16 take, where those in float32 take 1."""

    def set_to(seconds):
        clock = cycle((0, 1, 0, seconds))
        monkeypatch.setattr(precision, "multiplies", lambda device: True)
        monkeypatch.setattr(precision, "perf_counter", lambda: next(clock))

    return set_to


def trained():
    """A network whose units differ more than bfloat16 rounds, and 80 images."""
    model, _ = calibrated("resnet8")
    with torch.no_grad():
        for tensor in (module.weight for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            tensor *= 1.3 ** torch.arange(len(tensor)).remainder(16)
    return model, torch.randn(80, 3, 16, 16, generator=torch.Generator().manual_seed(2))


# Exact values, worked out by hand


def linear_by_hand():
    """Hidden values are (x, 2x), logits (x, -2x): with v sent back, s = (x v_1, -2 x v_2)."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 2, bias=False)).double().eval()
    model[0].weight.data[:] = torch.tensor([[1], [2]])
    model[1].weight.data[:] = torch.tensor([[1, 0], [0, -1]])
    return model


def three_four_and_minus_one(logits, labels, noise):
    return torch.tensor([[3.0, 4.0], [-1.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("reduction", "normalisation", "layer", "expected"),
    [  # examples x = 1, 2 have s = (3, -8) and (-2, 0); |v| = 5 and 1
        ("taylorfo", "", False, [0.5, 4]),
        ("abs", "", False, [2.5, 4]),
        ("sq", "", False, [6.5, 32]),
        ("signed", "", False, [0.5, -4]),
        ("pos", "", False, [1.5, 0]),
        ("neg", "", False, [1, 4]),
        ("molchanov-bn", "", False, [0.25, 16]),
        ("molchanov-group", "", False, [0.25, 16]),
        ("taylorfo", "norm", False, [0.7, 0.8]),  # s = (.6, -1.6), (-2, 0)
        ("abs", "norm", False, [1.3, 0.8]),
        ("sq", "norm", False, [2.18, 1.28]),
        ("molchanov-group", "norm", False, [0.49, 0.64]),
        ("abs", "batch", False, [2.5 / 3, 4 / 3]),  # mean |v| = 3
        ("sq", "batch", False, [6.5 / 9, 32 / 9]),
        ("sq", "score", False, [(9 / 73 + 1) / 2, 32 / 73]),  # |s| = sqrt(73) and 2
        ("abs", "score-layer", False, [(3 / math.sqrt(73) + 1) / 2, 4 / math.sqrt(73)]),  # there is one layer
        ("abs", "", True, [2.5 / math.sqrt(22.25), 4 / math.sqrt(22.25)]),
        ("molchanov2017", "", False, [2.5 / math.sqrt(22.25), 4 / math.sqrt(22.25)]),
    ],
)
def test_linear_network_by_hand(reduction, normalisation, layer, expected):
    criterion = Criterion(reduction, three_four_and_minus_one, 1, normalisation, layer)
    found = score(linear_by_hand(), whole(torch.tensor([[1.0], [2.0]])), [criterion])[str(criterion)]
    close(found, expected, 1e-15)


def test_label_gradient_criteria_by_hand():
    # x = 0: p = (1/2, 1/2), but s = 0. x = ln(2)/3: logits differ by ln 2, p = (2/3, 1/3), label 1: v = (2/3, -2/3)
    x = math.log(2) / 3
    batch = [(torch.tensor([[0.0], [x]], dtype=torch.float64), torch.tensor([0, 1]))]
    found = score(linear_by_hand(), batch, ["taylorfo", "sq", "abs:norm"])
    close(found["taylorfo"], [x / 3, 2 * x / 3], 1e-15)
    close(found["sq"], [(2 * x / 3) ** 2 / 2, (4 * x / 3) ** 2 / 2], 1e-15)
    close(found["abs:norm"], [x / math.sqrt(2) / 2, 2 * x / math.sqrt(2) / 2], 1e-15)


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [("sq", 2), ("taylorfo", 1), ("abs-pixel", 2.5), ("sq-pixel", 3.5), ("molchanov-bn", 1), ("molchanov2017", 1)],
)
def test_convolution_with_batchnorm_by_hand(reduction, expected):
    # the tap is 2x + 1, delta 1/2 at both pixels: x = (1, -2) gives (1.5, -1.5), x = (1, 0) gives (1.5, 0.5)
    model = nn.Sequential(
        nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0), nn.AvgPool2d((1, 2)), nn.Flatten(), nn.Linear(1, 2)
    )
    for parameter, value in zip(model.parameters(), (1, 0, 2, 1, torch.tensor([[1.0], [-1.0]]), 0), strict=True):
        parameter.data[:] = value
    images = torch.tensor([[1.0, -2.0], [1.0, 0.0]]).view(2, 1, 1, 2)
    first = Criterion(reduction, lambda z, y, noise: torch.tensor([[1.0, 0.0]]).expand(2, 2))
    close(score(model.eval(), whole(images), [first])[str(first)], [expected], 1e-6)


# Against the slow, obvious way: every reduction x cotangent x normalisation


@pytest.mark.parametrize(("cotangent", "probes"), SOURCES, ids=lambda value: str(value))
@pytest.mark.parametrize("network", toys.NETWORKS)
def test_equals_the_slow_reference(network, cotangent, probes):
    model, images, labels = toy(network)  # one minibatch of 32 and one of 3
    reference, wanted = Reference(model, images, labels, seed=5), {}
    assert all(reference.score("sq", cotangent, probes))  # else there would be little to compare
    for reduction in [*REDUCTIONS, "molchanov-group"]:
        for normalisation in ("", "norm", "batch", "score", "score-layer"):
            if not goes(reduction, cotangent, normalisation):
                continue
            for layer in (False, True):
                wanted[named(reduction, cotangent, probes, normalisation, layer)] = (reduction, normalisation, layer)
    found = score(model, split(images, labels, 10), wanted, seed=5)
    assert list(found) == list(wanted)
    for name, (reduction, normalisation, layer) in wanted.items():
        assert found[name].dtype == torch.float64 and found[name].device.type == "cpu"
        close(found[name], reference.score(reduction, cotangent, probes, normalisation, layer))


def goes(reduction, cotangent, normalisation):
    if cotangent == "exact" and reduction not in ("abs", "sq"):
        return False
    return reduction != "molchanov-group" or not normalisation.startswith("score")


def test_resnet20_in_float32_equals_the_reference_in_float64():
    model, images = calibrated("resnet20")
    images, labels = images[:4], torch.tensor([3, 1, 4, 1])
    precise = copy.deepcopy(model).double()

    def gated(x, gate):
        norms, handles = [m for m in precise.modules() if isinstance(m, nn.BatchNorm2d)], []
        for number, norm in enumerate(norms):  # nothing overwrites their outputs, so hooks will do
            handles.append(norm.register_forward_hook(lambda m, i, out, number=number: gate(number, out)))
        logits = precise(x)
        for handle in handles:
            handle.remove()
        return logits

    reference = Reference(precise, images.double(), labels, gated)
    for reduction in ("taylorfo", "abs", "sq", "abs-pixel", "sq-pixel", "molchanov-bn"):
        for cotangent in ("label", "rand"):
            for normalisation in ("", "norm", "score"):
                name = named(reduction, cotangent, 1, normalisation, False)
                found, expected = (
                    score(model, whole(images, labels), [name])[name],
                    torch.tensor(reference.score(reduction, cotangent, 1, normalisation), dtype=torch.float64),
                )
                assert len(found) == 784
                assert (found - expected).norm() <= 1e-4 * expected.norm(), name


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_bfloat16_ranks_units_as_float32_does(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    model, images = calibrated("resnet20")
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(256, *images.shape[1:], generator=generator)
    batches, names = (
        whole(images.to(device), torch.arange(256, device=device) % 10),
        ["sq:rand:norm", "abs", "abs-pixel"],
    )
    exact, rough = (score(model.to(device), batches, names, precision=name) for name in ("float32", "bfloat16"))
    for name in names:
        ranks = torch.stack([exact[name], rough[name]]).argsort(1).argsort(1).double()
        assert torch.corrcoef(ranks)[0, 1] >= 0.999
        assert not torch.equal(exact[name], rough[name])
    with pytest.raises(ValueError, match="precision 'int8' is none of float32, bfloat16, auto"):
        score(model, batches, names, precision="int8")


@pytest.mark.parametrize(("faster", "expected"), [(2, "bfloat16"), (0.5, "float32")])
@pytest.mark.parametrize("kind", [list, iter])
def test_auto_gives_what_the_precision_that_it_chooses_gives(kind, faster, expected, bfloat16_takes, monkeypatch):
    bfloat16_takes(1 / faster)
    monkeypatch.setattr(precision, "ALIKE", 0.9)  # molchanov-bn, of few examples, is a square of what nearly cancels
    model, images = trained()
    names = ["sq:rand:norm", "abs", "molchanov-bn:layer", "molchanov-group", "act-std", "l2"]
    batches, said = split(images, torch.arange(80) % 10, 32), []
    found = score(model, kind(batches), names, precision="auto", chosen=said.append)
    assert [choice.precision for choice in said] == [expected]
    wanted, other = (
        score(model, batches, names, precision=name) for name in sorted(precision.COMPUTED, key=expected.__ne__)
    )
    assert all(torch.equal(found[name], wanted[name]) for name in names)
    assert {name for name in names if torch.equal(found[name], other[name])} == {"molchanov-group", "l2"}


def test_auto_takes_bfloat16_only_where_every_criterion_orders_units_alike(bfloat16_takes, monkeypatch):
    model, images = trained()
    result = Scoring._result

    def spoilt(self, criterion):
        found = result(self, criterion)
        return found.flip(0) if self.precision == "bfloat16" and str(criterion) == "abs-pixel:rand" else found

    bfloat16_takes(0.5)
    monkeypatch.setattr(Scoring, "_result", spoilt)
    for names, expected in ((["sq:rand:norm"], "bfloat16"), (["sq:rand:norm", "abs-pixel:rand"], "float32")):
        said = []
        score(model, whole(images), names, precision="auto", chosen=said.append)
        assert said[0].precision == expected
    assert said[0].why.startswith("as bfloat16 orders units otherwise: on 80 images by abs-pixel:rand to ")


def test_auto_is_float32_where_bfloat16_is_not_multiplied_or_nothing_would_be_in_it(monkeypatch):
    model, images = trained()
    monkeypatch.setattr(precision, "multiplies", lambda device: False)
    said = []
    for net, name in ((model, "sq:rand"), (model, "l2"), (model, "apoz"), (model, "molchanov-group:rand")):
        found = score(net, whole(images), name, precision="auto", chosen=said.append)
        assert torch.equal(found[name], score(net, whole(images), name)[name])
    score(copy.deepcopy(model).double(), whole(images), "sq:rand", precision="auto", chosen=said.append)
    none = "float32, as none of these criteria has passes that would be in bfloat16"
    assert [str(choice) for choice in said] == [
        "float32, as this processor does not multiply bfloat16", none, none, none,
        "float32, which leaves this network in its own float64",
    ]  # fmt: skip


def test_a_choice_adds_nothing_and_looks_at_few_images(bfloat16_takes, monkeypatch):
    bfloat16_takes(0.5)
    model, images = trained()
    scoring = Scoring(model, images[:1], ["sq:rand", "act-std"], precision="auto")
    with pytest.raises(ValueError, match="precision='auto' is yet to be chosen: call choose"):
        scoring.add(whole(images))
    earlier = Scoring(model, images[:1], ["sq:rand", "act-std"])
    earlier.add(whole(images[:5]))
    scoring.load(earlier.state())
    monkeypatch.setattr("lib.importance.MOST", 7)
    before = state_of(model)
    assert " on 7 images " in scoring.choose((images, None)).why and scoring.precision == "bfloat16"
    assert torch.equal(scoring.state(), earlier.state()) and same(before, state_of(model))
    with pytest.raises(ValueError, match="SmallResNet does not take images of shape"):
        scoring.choose((images[0, 0, 0], None))
    assert scoring.precision == "bfloat16" and torch.equal(scoring.state(), earlier.state())


# Reproducible


@pytest.mark.parametrize("name", ["sq:rand:norm", "abs:sampled", "random"])
def test_same_seed_same_bits_another_seed_not(name):
    model, images, _ = toy()
    first, again, other = (score(model, whole(images), [name], seed=seed)[name] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, rtol=1e-3)


def test_other_criteria_and_their_order_change_nothing():
    model, images, labels = toy()
    together = score(model, split(images, labels, 10), EVERYTHING)
    backwards = score(model, split(images, labels, 10), EVERYTHING[::-1])
    assert list(backwards) == EVERYTHING[::-1]
    for name in EVERYTHING:
        assert torch.equal(together[name], backwards[name])
        close(score(model, split(images, labels, 10), [name])[name], together[name], 1e-12)


@pytest.mark.parametrize("name", ["sq:rand", "abs:sampled:norm", "molchanov-bn:rand"])
def test_several_calls_count_on_and_give_what_one_does(name, monkeypatch):
    monkeypatch.setattr("lib.scoring.batches.MINIBATCH", 8)
    model, images, _ = toy()
    parts = [(part, None) for part in images.split(16)]
    expected = score(model, parts, [name])[name]
    scoring, resumed = Scoring(model, images[:1], [name]), Scoring(model, images[:1], [name])
    for part in parts[:-1]:
        scoring.add([part])
    resumed.load(scoring.state())
    for each in (scoring, resumed):
        each.add(iter(parts[-1:]))
        assert torch.equal(each.results()[name], expected)


def test_among_several_ranks_later_calls_take_indices(monkeypatch):
    model, images, _ = toy()
    scoring, resumed = Scoring(model, images[:1], ["sq:rand"]), Scoring(model, images[:1], ["sq:rand"])
    monkeypatch.setattr("lib.scoring.ranks.place", lambda: (1, 2))
    scoring.add([(images[:20], None)])
    resumed.load(scoring.state())
    for each in (scoring, resumed):
        with pytest.raises(
            ValueError, match=r"^a batch has no indices, and how many .*: give \(images, labels, indices\)$"
        ):
            each.add([(images[20:], None)])
        each.add([(images[20:], None, torch.arange(20, 35))])


# Leaves everything as it was


def used_model():
    """A model with a frozen parameter, a gradient of the user's and a hook of the user's."""
    model, images, labels = toy()
    model.conv1.weight.requires_grad_(False)
    functional.cross_entropy(model(images), labels).backward()
    model.conv2.register_forward_hook(lambda *_: None)
    return model, images, labels


def test_scoring_leaves_everything_as_it_was():
    model, images, labels = used_model()
    before = state_of(model)
    score(model, split(images, labels, 10), EVERYTHING)
    contributions(model, images, torch.ones(35, 3))
    assert same(before, state_of(model))


class Midway(Exception):
    pass


def breaking_stream(model, images, labels):
    yield images, labels
    raise Midway


def breaking_labels(model, images, labels):
    return [(images, labels), (images, labels + 3)]


def breaking_forward(model, images, labels):
    def fail_late(module, inputs):
        if len(inputs[0]) == 5:
            raise Midway

    model.classifier.register_forward_pre_hook(fail_late)
    return [(images, labels), (images[:5], labels[:5])]


@pytest.mark.parametrize("broken", [breaking_stream, breaking_labels, breaking_forward])
@pytest.mark.parametrize("names", [["sq", "abs:rand"], EVERYTHING])
def test_so_does_scoring_that_fails_midway(broken, names):
    model, images, labels = used_model()
    batches = broken(model, images[:32], labels[:32])
    before = state_of(model)
    with pytest.raises((Midway, ValueError)):
        score(model, batches, names)
    assert same(before, state_of(model))


# Bad input


def labels_of(*values):
    return torch.tensor(values)


@pytest.mark.parametrize(
    ("batches", "names", "message"),
    [
        (lambda x: whole(x), ["sq:rnd"], "criterion 'sq:rnd': unknown token 'rnd', did you mean 'rand'?"),
        (lambda x: [], ["sq"], "there are no examples: `batches` is empty"),
        (lambda x: [x], ["sq:rand"], "a batch must be (images, labels or None) or (images, "),
        (lambda x: x, ["sq:rand"], ", labels or None, indices), not a tensor: give [(images, None)]"),
        (lambda x: [(x,)], ["sq:rand"], "not a tuple of 1"),
        (lambda x: [{"images": x, "labels": None}], ["sq:rand"], "not a dict"),
        (
            lambda x: iter([(x, None), x]),
            ["sq:rand"],
            ", labels or None, indices), not a tensor: give [(images, None)]",
        ),
        (
            lambda x: [(x, None), x],
            ["molchanov-bn:rand"],
            ", labels or None, indices), not a tensor: give [(images, None)]",
        ),
        (
            lambda x: iter([(x[:0], None)]),
            ["sq:rand", "molchanov-bn:rand"],
            "no examples: `batches` is empty, perhaps by now: a generator gives what it has only once",
        ),
        (lambda x: whole(x), ["sq:rand", "abs"], "criterion abs needs labels, but a batch comes without them"),
        (lambda x: whole(x), ["molchanov-group:norm"], "criterion molchanov-group:norm needs labels"),
        (
            lambda x: [(x, labels_of(0, 1, 2, 0)), (x, None)],
            ["molchanov-bn"],
            "needs labels, but a batch comes without",
        ),
        (
            lambda x: whole(x, labels_of(0, 1, 2, 3)),
            ["sq"],
            "labels must be 4 whole numbers from 0 to 2, one per image",
        ),
        (lambda x: whole(x, labels_of(0, 1, 2, -1)), ["sq"], "labels must be 4 whole numbers from 0 to 2"),
        (lambda x: whole(x, labels_of(0.0, 1, 2, 1)), ["sq"], "labels must be 4 whole numbers"),
        (
            lambda x: whole(x, torch.eye(4, 3).long()),
            ["sq"],
            "labels must be a tensor (4,), one per image, not of shape (4, 3)",
        ),
        (
            lambda x: whole(x, labels_of(0, 1)),
            ["sq:rand"],
            "a batch has 4 images but other numbers of labels or indices",
        ),
        (
            lambda x: [(x, None, torch.arange(3))],
            ["sq:rand"],
            "a batch has 4 images but other numbers of labels or indices",
        ),
        (
            lambda x: whole(x * torch.nan),
            ["sq:rand"],
            "sq:rand: logits or scores are not finite; check the model's weights",
        ),
        (lambda x: whole(x * torch.nan), ["l2", "molchanov-group:rand"], "logits or scores are not finite"),
        (lambda x: whole(x), ["sq:orth@4"], "orth@4: there are only 3 orthogonal directions among 3 logits"),
        (
            lambda x: whole(x),
            [Criterion("sq", lambda z, y, n: z[:, :2])],
            "sq:<lambda>: its cotangents are (4, 2), not (4, 3)",
        ),
        (lambda x: [(x, None, torch.arange(4) - 1)], ["sq:rand"], "indices of examples must not be negative"),
    ],
)
def test_bad_examples_and_criteria_end_in_one_clear_line(batches, names, message):
    model, images, _ = toy(count=4)
    with pytest.raises(ValueError) as caught:
        score(model, batches(images), names)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_may_be_missing_where_nothing_needs_them():
    model, images, labels = toy(count=40)
    free = [name for name in EVERYTHING if not importance.parse(name).needs_labels]
    mixed = [(images[:20], labels[:20]), (images[20:], None)]
    for batches in (mixed, iter(mixed), [*mixed[::-1], (images[:1], labels[:1], torch.tensor([0]))]):
        assert score(model, batches, free).keys() == set(free)


class Odd(nn.Module):
    """Layers 2 -> 3 -> 2, whose output `twist` spoils."""

    def __init__(self, twist):
        super().__init__()
        self.first, self.last, self.twist = nn.Linear(2, 3), nn.Linear(3, 2), twist

    def forward(self, x):
        return self.twist(x, self.last(self.first(x)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Odd(lambda x, z: z).train(), "Odd is in training mode: call model.eval() first"),
        (Odd(lambda x, z: (z, z)).eval(), "the model gives a tuple, not one tensor of logits (M, K)"),
        (Odd(lambda x, z: z[:, 0]).eval(), "the model gives an output of shape (2,) for 2 images, not logits (M, K)"),
        (Odd(lambda x, z: x).eval(), "Odd gives the same logits whatever its units do"),
        (Odd(lambda x, z: z / 0).eval(), "logits or scores are not finite"),
        (Odd(lambda x, z: (z - z).sqrt()).eval(), "logits or scores are not finite"),  # only the gradient is infinite
        (nn.Linear(2, 2).eval(), "Linear has no units"),
        (nn.Flatten().eval(), "Flatten has no units"),
    ],
)
def test_bad_models_end_in_one_clear_line(model, message):
    for name in ("sq:rand", "molchanov-group:rand"):
        with pytest.raises(ValueError) as caught:
            score(model, whole(torch.ones(4, 2)), [name])
        assert message in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_scores():
    model, images, labels = toy()
    expected = score(model, split(images, labels, 10), EVERYTHING)
    for batches in (split(images, labels, 10), split(images.cuda(), labels.cuda(), 10)):
        for name, scores in score(model.cuda(), batches, EVERYTHING).items():
            close(scores, expected[name], 1e-9)
