"""lib.cotangents: what different cotangents lead to in expectation."""

import math

import numpy
import pytest
import torch
import toys
from scipy.stats import spearmanr
from scored import calibrated, close, derivatives, toy, whole

from lib.importance import contributions, score
from lib.scoring import batches
from lib.scoring.criteria import Criterion, label_gradient

pytestmark = pytest.mark.usefixtures("small_minibatches")


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
    probes, minibatch = 400, min(examples, batches.MINIBATCH)
    names = (f"molchanov-bn:rand@{probes}", "sq:exact", f"taylorfo:rand@{probes}")
    molchanov, exact, taylor = score(model, whole(images, labels), names).values()
    within(molchanov * minibatch, exact, 2 / probes)  # so taylorfo squared expects sq:exact / M, see below
    within(taylor, (exact / examples * 2 / math.pi).sqrt(), (math.pi / 2 - 1) / probes)


@pytest.mark.parametrize("network", toys.NETWORKS)
def test_all_orthonormal_probes_are_exact_without_variance(network):
    model, images, _ = toy(network)
    name = f"sq:orth@{network.CLASSES}"
    for seed in (0, 1):
        found = score(model, whole(images), [name, "sq:exact", "sq:orth"], seed=seed)
        close(found[name], found["sq:exact"] / network.CLASSES, 1e-12)
    assert not torch.allclose(found["sq:orth"], found[name])


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
