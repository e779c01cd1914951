"""lib.criteria: the notation, what may be combined, and the distribution of every cotangent."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.scoring.criteria import COTANGENTS, NORMALISATIONS, REDUCTIONS, RIVALS, Criterion, label_gradient, parse
from lib.scoring.noise import Noise

steady = settings(deadline=None, derandomize=True)  # the machine may be busy; the same cases every time

# The notation, from the design's table: which parts go together.
plain = [name for name in REDUCTIONS if name != "molchanov-group"]
with_probes = ("rand", "rand-length", "rand-sign", "sign", "sampled", "ggn", "orth")
cotangents = st.one_of(
    st.sampled_from(["", "rand", "rand-length", "rand-sign", "sign", "pseudo", "sampled", "ggn", "mas", "top", "orth"]),
    st.builds("{}@{}".format, st.sampled_from(with_probes), st.integers(2, 64)),
)
layer = st.sampled_from(["", "layer"])
names = st.one_of(
    st.tuples(st.sampled_from(plain), cotangents, st.sampled_from(["", *NORMALISATIONS]), layer),
    st.tuples(st.just("molchanov-group"), cotangents, st.sampled_from(["", "norm", "batch"]), layer),
    st.tuples(st.sampled_from(["abs", "sq"]), st.just("exact"), st.sampled_from(["", *NORMALISATIONS]), layer),
    st.tuples(st.sampled_from(list(RIVALS)), layer),
).map(lambda parts: ":".join(filter(None, parts)))


@given(names)
@steady
def test_a_name_survives_parsing(name):
    criterion = parse(name)
    assert str(criterion) == name
    assert parse(str(criterion)) == criterion
    reduction, *tokens = name.split(":")
    assert criterion.reduction == reduction
    assert criterion.layer == ("layer" in tokens)
    assert criterion.normalisation == next((token for token in tokens if token in NORMALISATIONS), "")


def test_parts_land_where_they_belong():
    assert parse("sq:rand@4:score-layer:layer") == Criterion("sq", "rand", 4, "score-layer", True)
    assert parse("abs:norm") == parse("abs:label:norm") == Criterion("abs", "label", 1, "norm")
    assert parse("sq:rand@1:norm") == parse("sq:rand:norm")


@given(
    st.lists(
        st.sampled_from([*REDUCTIONS, *COTANGENTS, *NORMALISATIONS, *RIVALS, "layer", "rand@3", "x", ""]), max_size=5
    )
)
@steady
def test_anything_else_is_one_line_of_error(tokens):
    name = ":".join(tokens)
    try:
        assert parse(str(parse(name))) == parse(name)
    except ValueError as error:
        assert repr(name) in str(error)
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sqq", ["unknown reduction 'sqq'", "did you mean 'sq'?", *REDUCTIONS, *RIVALS]),
        ("zzzz", ["unknown reduction 'zzzz'. There are: "]),
        ("sq:rnd", ["unknown token 'rnd'", "did you mean 'rand'?", *COTANGENTS]),
        ("sq:nrm", ["unknown token 'nrm'", "did you mean 'norm'?", *NORMALISATIONS]),
        ("sq:rand:nrm", ["'nrm' is unknown or out of place, did you mean 'norm'? the order", *NORMALISATIONS]),
        ("sq:rand:norm:layr", ["'layr' is unknown or out of place, did you mean 'layer'? the order is reduction"]),
        ("sq:rand:NORM", ["'NORM' is unknown or out of place, did you mean 'norm'?"]),
        ("SQ:rand", ["unknown reduction 'SQ', did you mean 'sq'?"]),
        ("sq:rand:layer:norm", ["'layer' is unknown or out of place; the order is reduction"]),
        ("sq:norm:rand", ["'rand' is unknown or out of place", "reduction[:cotangent[@P]]"]),
        ("sq:layer:norm", ["unknown cotangent 'layer'"]),
        ("sq:rand:norm:batch", ["'norm' is unknown or out of place"]),
        ("sq:rand@", ["'rand@' must end in @ and a number of probes"]),
        ("sq:rand@two", ["'rand@two' must end in @ and a number"]),
        ("sq:rand@-1", ["'rand@-1' must end in @ and a number"]),
        ("sq:rand@0", ["probes=0 must be a whole number of at least 1"]),
        ("sq:mas@2", ["mas is not random, so it takes no @"]),
        ("sq:exact@2", ["exact is not random, so it takes no @"]),
        ("taylorfo:exact", ["exact goes with abs and sq only"]),
        ("molchanov-bn:exact", ["exact goes with abs and sq only"]),
        ("molchanov-group:score", ["molchanov-group has no contributions per example to normalise"]),
        ("molchanov-group:rand:score-layer", ["molchanov-group has no contributions per example"]),
        ("l2:rand", ["l2 uses no gradient, so only :layer can follow it"]),
        ("random:norm", ["random uses no gradient"]),
    ],
)
def test_errors_name_the_culprit_and_what_there_is(name, words):
    with pytest.raises(ValueError) as caught:
        parse(name)
    assert str(caught.value).startswith(f"criterion {name!r}: ")
    for word in words:
        assert word in str(caught.value)


def test_objects_are_checked_like_names():
    with pytest.raises(ValueError, match="unknown normalisation 'nrm', did you mean 'norm'"):
        Criterion("sq", normalisation="nrm")
    with pytest.raises(ValueError, match="molchanov-group has no contributions"):
        Criterion("molchanov-group", lambda z, y, noise: z, normalisation="score")


def test_a_callable_takes_part_under_its_own_name():
    def mine(logits, labels, noise):
        return logits

    assert str(Criterion("abs", mine, 2, "norm")) == "abs:mine@2:norm"
    assert not Criterion("abs", mine).needs_labels


def test_only_these_need_labels():
    needy = {name for name in COTANGENTS if Criterion("sq", name).needs_labels}
    assert needy == {"label", "rand-length", "rand-sign"}
    assert not any(parse(name).needs_labels for name in RIVALS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sq:rand:norm", True), ("signed:mas", True), ("sq:rand:score", True), ("sq:rand:norm:layer", False),
     ("sq:rand:score-layer", False), ("molchanov2017:rand", False), ("l2", False)],
)  # fmt: skip
def test_scores_of_layers_that_have_one_length_each_do_not_add_up(name, expected):
    assert parse(name).adds_up is expected


def test_every_entry_cites_its_source():
    assert all(entry.source for entry in [*REDUCTIONS.values(), *COTANGENTS.values()])


# Cotangents. Many draws of the same three logits; p is their softmax.

LOGITS = torch.tensor([[1.0, -0.5, 0.25]], dtype=torch.float64)
P = LOGITS.softmax(1)[0]
DRAWS = 40_000


def draws(name, label=None, logits=LOGITS, count=DRAWS):
    """(count, K): one row per example, all with the same logits."""
    entry, labels = COTANGENTS[name], None if label is None else torch.full((count,), label)
    arguments = logits.expand(count, -1), labels, Noise(3, torch.arange(count))
    return entry.vectors(*arguments, None) if entry.family else entry.vectors(*arguments)


def mean_is(samples, expected):
    """Within 4.5 standard errors, which the samples tell themselves."""
    error = samples.std(0) / len(samples) ** 0.5
    assert ((samples.mean(0) - expected).abs() <= 4.5 * error + 1e-12).all()


def covariance_is(samples, expected):
    mean_is((samples[:, :, None] * samples[:, None]).flatten(1), expected.flatten())


def test_label_gradient_by_hand():
    logits = torch.tensor([[0.0, math.log(3)], [math.log(4), 0]], dtype=torch.float64)
    expected = torch.tensor([[-0.75, 0.75], [0.8, -0.8]], dtype=torch.float64)
    torch.testing.assert_close(label_gradient(logits, torch.tensor([0, 1])), expected)


def test_label_gradient_keeps_its_digits_where_the_network_is_sure():
    gradient = label_gradient(torch.tensor([[60.0, 0, 0]], dtype=torch.float64), torch.tensor([0]))[0]
    tiny = math.exp(-60) / (1 + 2 * math.exp(-60))  # 1 - softmax would be 0
    assert gradient.tolist() == pytest.approx([-2 * tiny, tiny, tiny], rel=1e-13, abs=0)


def test_label_gradient_is_autograds():
    logits = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.arange(7) % 5
    torch.nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
    torch.testing.assert_close(label_gradient(logits.detach(), labels), logits.grad)


def test_rand_is_standard_normal():
    samples = draws("rand")
    mean_is(samples, torch.zeros(3))
    covariance_is(samples, torch.eye(3))
    mean_is(samples**4, torch.full((3,), 3.0))


def test_rand_length_has_the_label_gradients_length_in_a_uniform_direction():
    samples, length = draws("rand-length", label=2), label_gradient(LOGITS, torch.tensor([2])).norm()
    torch.testing.assert_close(samples.norm(dim=1), length.expand(DRAWS))
    mean_is(samples, torch.zeros(3))
    covariance_is(samples, length**2 / 3 * torch.eye(3))


def test_rand_sign_has_the_label_gradients_sign():
    samples = draws("rand-sign", label=0)
    assert torch.equal(samples.sign(), torch.tensor([[-1.0, 1, 1]], dtype=torch.float64).expand(DRAWS, -1))
    mean_is(samples.abs(), torch.full((3,), math.sqrt(2 / math.pi)))
    mean_is(samples**2, torch.ones(3))


def test_sign_is_plus_or_minus_one():
    samples = draws("sign")
    assert torch.equal(samples.abs(), torch.ones(DRAWS, 3))
    mean_is(samples, torch.zeros(3))
    covariance_is(samples, torch.eye(3))


def test_pseudo_mas_and_top_take_the_logits_at_their_word():
    assert torch.equal(draws("pseudo")[0], label_gradient(LOGITS, torch.tensor([0]))[0])
    assert torch.equal(draws("mas")[0], LOGITS[0])
    assert draws("top")[0].tolist() == [1, 0, 0]


@pytest.mark.parametrize("name", ["sampled", "ggn"])
def test_sampled_and_ggn_have_the_covariance_of_the_softmax(name):
    samples = draws(name)
    mean_is(samples, torch.zeros(3))
    covariance_is(samples, torch.diag(P) - torch.outer(P, P))


def test_sampled_draws_classes_by_their_probability():
    samples = draws("sampled")
    drawn = samples.argmin(1)  # only the drawn label's entry is negative
    torch.testing.assert_close(samples, label_gradient(LOGITS.expand(DRAWS, -1), drawn))
    mean_is(torch.nn.functional.one_hot(drawn, 3).double(), P)


def test_exact_is_every_onehot():
    assert torch.equal(draws("exact", count=2)[:, 1], torch.eye(3))


@pytest.mark.parametrize("probes", [1, 2, 3])
def test_orth_is_orthonormal_and_uniform(probes):
    vectors = COTANGENTS["orth"].vectors(
        LOGITS.expand(DRAWS, -1), None, Noise(0, torch.arange(DRAWS)), probes
    )  # (P, M, K)
    products = torch.einsum("pmk,qmk->mpq", vectors, vectors)
    torch.testing.assert_close(products, torch.eye(probes).double().expand_as(products))
    for samples in vectors:
        mean_is(samples, torch.zeros(3))
        covariance_is(samples, torch.eye(3) / 3)


def test_fewer_orthonormal_probes_are_the_first_of_more():
    two, three = (COTANGENTS["orth"].vectors(LOGITS, None, Noise(0, torch.arange(1)), probes) for probes in (2, 3))
    torch.testing.assert_close(two, three[:2])


def test_orth_refuses_more_probes_than_directions():
    with pytest.raises(ValueError, match="orth@4: there are only 3 orthogonal directions among 3 logits"):
        COTANGENTS["orth"].vectors(LOGITS, None, Noise(0, torch.arange(1)), 4)
