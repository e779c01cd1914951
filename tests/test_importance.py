"""lib.importance: scores equal the slow, obvious ones, obey the study's identities, and leave everything as it was."""

import copy
import gc
import math

import numpy
import pytest
import reference
import torch
import toys
from reference import COTANGENTS, REDUCTIONS, Reference, group_of_gradients
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional
from unchanged import EVERYTHING, same, state_of

from lib import importance
from lib.criteria import Criterion, label_gradient
from lib.images import networks
from lib.importance import contributions, score

SOURCES = [*((name, 1) for name in COTANGENTS), ("rand", 3), ("sign", 2), ("sampled", 2), ("orth", 2)]  # @P


@pytest.fixture(autouse=True)
def small_minibatches(monkeypatch):
    """The slow reference would take long for several minibatches as they are."""
    assert reference.MINIBATCH == importance.MINIBATCH == 128
    for module in (importance, reference):
        monkeypatch.setattr(module, "MINIBATCH", 32)


def close(actual, expected, tolerance=1e-10):
    """The largest difference is within `tolerance` of the largest expected value."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


def whole(images, labels=None):
    return [(images, labels)]


def split(images, labels, size):
    return [(x, y) for x, y in zip(images.split(size), labels.split(size), strict=True)]


def toy(network=toys.Residual, count=35):
    return toys.make(network), *toys.examples(network, count)


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


def named(reduction, cotangent, probes, normalisation, layer):
    source = cotangent + (f"@{probes}" if probes > 1 else "") if cotangent != "label" else ""
    return ":".join(filter(None, [reduction, source, normalisation, "layer" if layer else ""]))


@pytest.mark.parametrize("network", [toys.Plain, toys.Residual, toys.Twice])
def test_molchanovs_are_what_loss_backward_gives(network):
    model, images, labels = toy(network)
    group, gates = 0, 0
    for x, y in split(images, labels, 32):
        model.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        share = len(y) / len(labels)
        group += share * group_of_gradients(model)
        norms = [model.get_submodule(norm) for _, _, norm, *_ in network.UNITS if norm]
        gates += share * torch.cat([m.weight * m.weight.grad + m.bias * m.bias.grad for m in norms]).detach() ** 2
    found = score(model, whole(images, labels), ["molchanov-group", "molchanov-bn"])
    close(found["molchanov-group"], group)
    has_norm = torch.cat([torch.full((size,), norm is not None) for _, size, norm, *_ in network.UNITS])
    close(found["molchanov-bn"][has_norm], gates)


def calibrated(name, size=16):
    """A network whose BatchNorms hold the statistics of some random images, so that logits are of ordinary size."""
    model = networks.build(name, 10, seed=3)
    images = torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(0))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # plain average
    with torch.no_grad():
        model(images)
    return model.eval(), images


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
    with pytest.raises(ValueError, match="precision 'int8' is none of float32, bfloat16"):
        score(model, batches, names, precision="int8")


# The study's identities


@pytest.mark.parametrize("network", toys.NETWORKS)
def test_contributions_are_linear_in_the_cotangent(network):
    model, images, _ = toy(network, 6)
    basis = torch.eye(network.CLASSES, dtype=torch.float64)
    a = torch.stack([contributions(model, images, v.expand(6, -1)) for v in basis], 1)  # (M, K, N)
    v = torch.randn(6, network.CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    close(contributions(model, images, v), torch.einsum("mk,mkn->mn", v, a), 1e-12)
    lengths = v.norm(dim=1, keepdim=True)
    close(contributions(model, images, v / lengths), contributions(model, images, v) / lengths, 1e-12)


def derivatives(network=toys.Residual):
    """(K, N): the derivatives of the K logits along every unit's gate, for one example; and that example."""
    model, images, _ = toy(network, 1)
    classes = network.CLASSES
    return contributions(model, images.expand(classes, *network.SHAPE), torch.eye(classes)), model, images


def many_draws(*names, copies=2048, seed=0):
    """The scores on `copies` times the same example, each with random vectors of its own."""
    a, model, images = derivatives()
    batch = whole(images.expand(copies, *images.shape[1:]), torch.ones(copies, dtype=torch.int64))
    found = score(model, batch, names, seed=seed)
    return a, *(found[name] for name in names)


def within(actual, expected, relative_variance, sigmas=4.5):
    """`relative_variance` is that of the estimator itself, over expected squared."""
    error = (
        sigmas * math.sqrt(relative_variance)
        if not torch.is_tensor(relative_variance)
        else sigmas * relative_variance.sqrt()
    )
    assert ((actual - expected).abs() <= error * expected + 1e-12).all()


def test_squares_of_random_contributions_expect_the_exact_ones():
    a, plain, normed, exact, absolute = many_draws("sq:rand", "sq:rand:norm", "sq:exact", "abs:rand")
    classes, copies = len(a), 2048
    close(exact, a.square().sum(0), 1e-12)
    within(plain, exact, 2 / copies)
    within(normed, exact / classes, 2 * (classes - 1) / (classes + 2) / copies)
    within(absolute, exact.sqrt() * math.sqrt(2 / math.pi), (math.pi / 2 - 1) / copies)


@pytest.mark.parametrize("classes", [2, 5, 30])
def test_normalising_lowers_the_relative_variance_of_squares(classes):
    # by linearity s = v . a; the spread of the spread is estimated from the draws themselves
    a = torch.randn(classes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v = importance.Noise(0, torch.arange(100_000)).normal(classes)
    for vectors, mean, predicted in ((v, a.square().sum(), 2), (functional.normalize(v), a.square().sum() / classes,
                                                               2 * (classes - 1) / (classes + 2))):  # fmt: skip
        deviations = ((vectors @ a).square() / mean - 1).square()
        assert abs(deviations.mean() - predicted) < 4.5 * deviations.std() / len(v) ** 0.5


def test_signed_means_vanish_and_halves_are_alike():
    _, signed, pos, neg, absolute, sq = many_draws("signed:rand", "pos:rand", "neg:rand", "abs:rand", "sq:rand:norm")
    close(pos + neg, absolute, 1e-12)
    close(pos - neg, signed, 1e-12)
    deviation = (3 * sq / 2048).sqrt()  # of the mean: E s^2 = K E s^2 with norm
    assert (signed.abs() <= 4.5 * deviation + 1e-12).all()
    assert ((pos - absolute / 2).abs() <= 4.5 * deviation / 2 + 1e-12).all()


def test_sampled_labels_and_gauss_newton_expect_the_same():
    a, sampled, ggn = many_draws("sq:sampled", "sq:ggn")
    _, model, images = derivatives()
    p = model(images).detach().softmax(1)[0]
    squares = ((p - torch.eye(3)) @ a).square()  # (K, N): the contribution squared, should class k be drawn
    expected = p @ squares
    close(expected, torch.einsum("kn,kl,ln->n", a, torch.diag(p) - torch.outer(p, p), a), 1e-12)
    within(ggn, expected, 2 / 2048)
    within(sampled, expected, (p @ squares.square() / expected.clamp(min=1e-30) ** 2 - 1).clamp(min=0) / 2048)


@pytest.mark.parametrize("examples", [8, 64])
def test_signed_sums_expect_the_exact_squares_with_few_effective_draws(examples):
    # per probe: (mean over m of s)^2, a chi-square with one degree of freedom for each minibatch
    model, images, labels = toy(count=examples)
    probes, minibatch = 400, min(examples, importance.MINIBATCH)
    names = (f"molchanov-bn:rand@{probes}", "sq:exact", f"taylorfo:rand@{probes}")
    molchanov, exact, taylor = score(model, whole(images, labels), names).values()
    within(molchanov * minibatch, exact, 2 / probes)  # so taylorfo squared expects sq:exact / M, see below
    within(taylor, (exact / examples * 2 / math.pi).sqrt(), (math.pi / 2 - 1) / probes)


@pytest.mark.parametrize("source", ["", ":rand", ":norm", ":rand:norm", ":batch", ":score"])
def test_within_one_minibatch_molchanov_is_taylor_squared(source):
    model, images, labels = toy(count=32)
    found = score(model, split(images, labels, 5), ["molchanov-bn" + source, "taylorfo" + source])
    close(found["molchanov-bn" + source], found["taylorfo" + source] ** 2, 1e-12)


@pytest.mark.parametrize("network", toys.NETWORKS)
def test_all_orthonormal_probes_are_exact_without_variance(network):
    model, images, _ = toy(network)
    name = f"sq:orth@{network.CLASSES}"
    for seed in (0, 1):
        found = score(model, whole(images), [name, "sq:exact", "sq:orth"], seed=seed)
        close(found[name], found["sq:exact"] / network.CLASSES, 1e-12)
    assert not torch.allclose(found["sq:orth"], found[name])


@pytest.mark.parametrize("normalisation", ["", ":norm"])
def test_molchanov_2017_is_abs_by_layer(normalisation):
    model, images, labels = toy()
    names = ["molchanov2017" + normalisation, "abs" + normalisation + ":layer"]
    first, second = score(model, whole(images, labels), names).values()
    close(first, second, 1e-14)


def test_signs_all_have_the_same_length():
    model, images, _ = toy()
    found = score(model, whole(images), ["abs:sign", "abs:sign:norm", "sq:sign", "sq:sign:norm"])
    close(found["abs:sign"], found["abs:sign:norm"] * math.sqrt(3), 1e-12)
    close(found["sq:sign"], found["sq:sign:norm"] * 3, 1e-12)


def agreement_by_chance(a, probes, draws=200):
    """Rank correlation of exact squares with those from vectors uniform on the sphere, drawn here: one value a draw.

    `a` (M, K, N) are the derivatives of the logits along each unit's gate.
    """
    random, (examples, classes, _) = numpy.random.default_rng(probes), a.shape
    exact, found = (a**2).sum((0, 1)), []
    for _ in range(draws):
        vectors = random.normal(size=(examples, probes, classes))
        vectors /= numpy.linalg.norm(vectors, axis=2, keepdims=True)
        found.append(spearmanr(((vectors @ a) ** 2).sum((0, 1)), exact).statistic)
    return numpy.array(found)


def test_more_probes_agree_better_with_exact_as_predicted():
    model, images = calibrated("resnet8", size=8)
    images, classes, counts, seeds = images[:2], 10, (1, 4, 16), range(4)
    exact = score(model, whole(images), ["sq:exact"])["sq:exact"]
    a = torch.stack(
        [contributions(model, x.expand(10, -1, -1, -1), torch.eye(10)) for x in images.split(1)]
    )  # (M, K, N)
    weights = a.square().sum(1)  # (M, N): |a|^2
    share = (weights / weights.sum(0)).square().sum(0)  # 1/M where the examples weigh alike
    used = exact > 0
    found = [score(model, whole(images), [f"sq:rand@{p}:norm" for p in counts], seed=seed) for seed in seeds]
    agreement = []
    for probes in counts:
        scores = [each[f"sq:rand@{probes}:norm"] for each in found]
        agreement.append(numpy.mean([spearmanr(each[used], exact[used]).statistic for each in scores]))
        errors = torch.stack([(each * classes / exact - 1)[used] for each in scores])
        predicted = (2 * (classes - 1) / (classes + 2) / probes * share)[used].mean()
        spread = errors.square().mean(1)  # one value a seed; units are correlated, seeds are not
        assert abs(spread.mean() - predicted) < 4.5 * spread.std() / len(seeds) ** 0.5
        chance = agreement_by_chance(a[:, :, used].double().numpy(), probes)
        assert abs(agreement[-1] - chance.mean()) < 4.5 * chance.std() / len(seeds) ** 0.5
    assert agreement == sorted(agreement)
    assert agreement[-1] > 0.95 and agreement[-1] - agreement[0] > 0.05


# Zero vectors, unused units


@pytest.mark.parametrize("normalisation", ["", "norm", "batch", "score", "score-layer"])
def test_zero_cotangents_contribute_zero(normalisation):
    model, images, _ = toy(count=8)

    def first_half(logits, labels, noise):
        return noise.normal(3) * (torch.arange(len(logits)) < 4)[:, None]

    criterion = Criterion("abs", first_half, 1, normalisation)
    half = score(model, whole(images), [criterion])[str(criterion)]
    alone = "abs:rand" + (f":{normalisation}" if normalisation else "")
    expected = score(model, whole(images[:4]), [alone])[alone] / 2
    close(half, expected * (2 if normalisation == "batch" else 1), 1e-12)  # zeros halve the mean length too


def test_units_that_nothing_uses_score_zero():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.idle, self.used, self.classifier = nn.Linear(2, 3), nn.Linear(2, 4), nn.Linear(4, 2)

        def forward(self, x):
            self.idle(x)
            return self.classifier(self.used(x))

    found = score(
        Idle().eval(), whole(torch.randn(5, 2)), ["sq:rand", "sq:rand:score-layer", "molchanov-group:rand:layer"]
    )
    for scores in found.values():
        assert (scores[:3] == 0).all() and (scores[3:] > 0).all()


# The caller's own cotangent


def test_a_callable_equals_the_named_one():
    model, images, labels = toy()

    def normal(logits, labels, noise):
        return noise.normal(logits.shape[1])

    def gradient(logits, labels, noise):
        return label_gradient(logits, labels)

    for mine, name in ((normal, "rand@2"), (gradient, "label")):
        probes = 2 if mine is normal else 1
        for reduction, normalisation in (("sq", "norm"), ("molchanov-bn", ""), ("molchanov-group", "batch")):
            own = Criterion(reduction, mine, probes, normalisation)
            theirs = ":".join(filter(None, [reduction, name, normalisation]))
            assert torch.equal(
                score(model, whole(images, labels), [own])[str(own)],
                score(model, whole(images, labels), [theirs])[theirs],
            )


def test_callables_of_one_name_are_told_apart():
    model, images, _ = toy(count=4)
    with pytest.raises(ValueError, match="two different criteria are named sq:<lambda>"):
        score(model, whole(images), [Criterion("sq", lambda z, y, n: z), Criterion("sq", lambda z, y, n: 2 * z)])


# Reproducible


@pytest.mark.parametrize("name", ["sq:rand:norm", "abs:sampled", "random"])
def test_same_seed_same_bits_another_seed_not(name):
    model, images, _ = toy()
    first, again, other = (score(model, whole(images), [name], seed=seed)[name] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, rtol=1e-3)


def recorded(batches, model):
    """The random vectors that a call draws, in the order of its examples."""
    seen = []

    def spy(logits, labels, noise):
        seen.append(noise.normal(3))
        return seen[-1]

    score(model, batches, [Criterion("sq", spy)])
    return torch.cat(seen)


def test_the_vector_of_an_example_depends_on_its_index_alone():
    model, images, labels = toy()
    vectors = recorded(whole(images), model)
    chosen = torch.randperm(35, generator=torch.Generator().manual_seed(0))[:20]
    assert torch.equal(recorded(split(images, labels, 4), model), vectors)
    assert torch.equal(recorded([(images[chosen], None, chosen)], model), vectors[chosen])
    assert not torch.equal(recorded([(images, None, torch.arange(1, 36))], model), vectors)


def test_minibatches_are_of_32_examples_however_many_come_at_once():
    model, images, labels = toy(count=75)
    reference = Reference(model, images, labels)
    wanted = {"sq:batch": ("sq", "batch"), "molchanov-bn": ("molchanov-bn", "")}
    wanted["molchanov-group:batch"] = ("molchanov-group", "batch")
    for name, scores in score(model, whole(images, labels), wanted).items():
        reduction, normalisation = wanted[name]
        close(scores, reference.score(reduction, normalisation=normalisation))


@pytest.mark.parametrize("size", [1, 7, 32, 33])
def test_batches_and_order_change_nothing_beyond_rounding(size):
    model, images, labels = toy()
    shuffled = torch.randperm(35, generator=torch.Generator().manual_seed(size))
    permuted = [(images[i], labels[i], i) for i in shuffled.split(size)]
    expected = score(model, whole(images, labels), EVERYTHING)
    free = [name for name in EVERYTHING if "molchanov-" not in name and "batch" not in name]
    for batches, names in ((split(images, labels, size), EVERYTHING), (permuted, EVERYTHING), (iter(permuted), free)):
        for name, scores in score(model, batches, names).items():
            close(scores, expected[name], 1e-12)


def test_other_criteria_and_their_order_change_nothing():
    model, images, labels = toy()
    together = score(model, split(images, labels, 10), EVERYTHING)
    backwards = score(model, split(images, labels, 10), EVERYTHING[::-1])
    assert list(backwards) == EVERYTHING[::-1]
    for name in EVERYTHING:
        assert torch.equal(together[name], backwards[name])
        close(score(model, split(images, labels, 10), [name])[name], together[name], 1e-12)


def test_minibatches_of_a_stream_need_its_order():
    model, images, _ = toy()
    for batches in (
        [(images, None, torch.arange(35).flip(0))],
        [(images[:3], None, torch.arange(3) + 9), (images[:2], None)],
    ):
        with pytest.raises(ValueError, match="need examples in ascending order of index: do not shuffle them"):
            score(model, iter(batches), ["molchanov-bn:rand"])


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


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_whatever_the_callers_gradient_mode(mode):
    model, images, labels = toy()
    expected, s = score(model, split(images, labels, 10), EVERYTHING), contributions(model, images, torch.ones(35, 3))
    with mode():
        mine = images.clone()  # in inference mode such tensors cannot take part in autograd
        found = score(model, split(mine, labels, 10), EVERYTHING)
        assert torch.equal(contributions(model, mine, torch.ones(35, 3)), s)
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode) and not torch.is_grad_enabled()
    assert all(torch.equal(found[name], expected[name]) for name in EVERYTHING)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_images_that_require_gradients_are_no_obstacle():
    model, images, _ = toy()
    expected = score(model, whole(images), ["sq:rand"])["sq:rand"]
    assert torch.equal(score(model, whole(images.requires_grad_()), ["sq:rand"])["sq:rand"], expected)
    assert images.grad is None


def test_keeps_nothing_in_memory():
    model, images, labels = toy()
    score(model, split(images, labels, 10), EVERYTHING)  # whatever is made once, is made here

    def tensors():
        return sum(type(thing) is torch.Tensor for thing in gc.get_objects())

    gc.collect()
    gc.disable()  # nothing may wait for the collector either
    try:
        before = tensors()
        score(model, split(images, labels, 10), EVERYTHING)
        assert tensors() <= before
    finally:
        gc.enable()


# One forward and one backward pass per distinct cotangent


def passes(monkeypatch, names, batches, model):
    """The numbers of examples in every forward pass, and how many backward passes there were."""
    forwards, backwards, grad = [], [], torch.autograd.grad
    model.register_forward_hook(lambda module, inputs, output: forwards.append(len(inputs[0])))
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **more: backwards.append(1) or grad(*args, **more))
    score(model, batches, names)
    return forwards, len(backwards)


@pytest.mark.parametrize(
    ("names", "backwards"),
    [
        (["sq"], 1),
        (
            [
                "taylorfo",
                "abs",
                "sq:norm",
                "sq:score",
                "pos",
                "abs-pixel:norm",
                "sq-pixel",
                "molchanov2017",
                "molchanov-bn:layer",
            ],
            1,
        ),
        (["sq:rand", "sq:rand:norm", "abs:rand:batch", "molchanov-bn:rand:norm"], 1),
        (["sq", "abs:rand", "abs:rand:norm", "sq:sign"], 3),
        (["sq:rand", "sq:rand@3", "abs:rand@2:norm"], 3),
        (["sq:orth@2", "sq:orth", "abs:orth@2:norm"], 2),
        (["sq:exact", "abs:exact:score", "sq:mas"], 4),
        (["l2", "sq:top"], 1),
    ],
)
def test_one_forward_and_one_backward_pass_per_distinct_cotangent(monkeypatch, names, backwards):
    model, images, labels = toy(count=64)
    forwards, found = passes(monkeypatch, names, split(images, labels, 32), model)
    assert forwards == [2, 2, 4, 2, 2, 32, 32]  # three find the units, the others see whether gradients get through
    assert found == 1 + 2 * backwards  # one of them tried before


def test_weight_gradients_cost_a_forward_pass_and_a_backward_pass_for_each_normalisation(monkeypatch):
    model, images, labels = toy(count=64)
    names = ["molchanov-group", "molchanov-group:norm", "molchanov-group:rand", "molchanov-group:rand:layer", "sq"]
    forwards, backwards = passes(monkeypatch, names, whole(images, labels), model)
    assert forwards == [2, 2, 4, 2, 2, 64, 32, 32]
    assert backwards == 1 + 1 + 2 * 3  # one of them tried before


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
