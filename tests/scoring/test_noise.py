"""lib.noise: the random row of an example depends on seed, stream, call and the example's index, on nothing else."""

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.scoring.noise import Noise

KINDS = ("normal", "uniform", "sign")
steady = settings(deadline=None, derandomize=True)  # the machine may be busy; the same cases every time
indices = st.lists(st.integers(0, 3000), min_size=1, max_size=20)

# fixed for good: scores that were published rest on these
GOLDEN = {
    ("normal", 0): [0.15929546600623282, -1.7741885208017214, 1.3265118818830892],
    ("normal", 5000): [-0.1920060547769181, -0.02198674519640474, -0.4084025516512447],
    ("uniform", 0): [0.011546754286331562, 0.24154919656271812, 0.11142585551493822],
    ("uniform", 5000): [0.801643272765607, 0.5994533540208234, 0.9015041142940967],
    ("sign", 0): [-1, -1, -1],
    ("sign", 5000): [1, 1, 1],
}


def draw(kind, where, size=3, seed=0, stream=0):
    return getattr(Noise(seed, torch.as_tensor(where), stream), kind)(size)


@pytest.mark.parametrize(("kind", "index"), GOLDEN)
def test_the_numbers_are_these_and_no_others(kind, index):
    assert draw(kind, [index])[0].tolist() == GOLDEN[kind, index]


def test_a_row_is_philox_keyed_by_seed_and_stream_and_counted_by_blocks_of_1024():
    bits = numpy.random.Philox(key=[7, (2 << 16) + 0], counter=[0, 0, 0, 3])
    block = numpy.random.Generator(bits).standard_normal((1024, 5))
    assert numpy.array_equal(draw("normal", [3 * 1024 + 99], 5, seed=7, stream=2)[0], block[99])


@pytest.mark.parametrize("kind", KINDS)
@given(indices)
@steady
def test_a_row_does_not_depend_on_the_rest_of_the_batch(kind, where):
    together = draw(kind, where)
    assert together.dtype == torch.float64
    assert torch.equal(together, torch.cat([draw(kind, [index]) for index in where]))


@pytest.mark.parametrize("changed", [{"seed": 1}, {"stream": 1}, {"seed": 2**64 - 1}])
def test_seeds_and_streams_are_independent(changed):
    near_zero_correlated(draw("normal", range(20000)), draw("normal", range(20000), **changed))


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_gives_new_rows(kind):
    noise = Noise(0, torch.arange(20000))
    near_zero_correlated(*(getattr(noise, kind)(3) - (0.5 if kind == "uniform" else 0) for _ in range(2)))


def near_zero_correlated(a, b):
    products = a * b
    assert abs(products.mean()) < 5 * products.std() / products.numel() ** 0.5


@pytest.mark.parametrize(
    ("kind", "moments"),  # E x, E x^2, E x^3, E x^4
    [("normal", [0, 1, 0, 3]), ("uniform", [1 / 2, 1 / 3, 1 / 4, 1 / 5]), ("sign", [0, 1, 0, 1])],
)
def test_moments(kind, moments):
    x = draw(kind, range(20000), 4).flatten()
    for power, moment in enumerate(moments, start=1):
        error = (x**power).std() / len(x) ** 0.5  # standard error of the estimate
        assert abs((x**power).mean() - moment) <= 4.5 * error + 1e-12


def test_kinds_stay_within_their_range():
    assert set(draw("sign", range(2000)).flatten().tolist()) == {-1.0, 1.0}
    uniform = draw("uniform", range(2000))
    assert uniform.min() >= 0 and uniform.max() < 1


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_refuses_seeds_that_philox_has_not(seed):
    with pytest.raises(ValueError, match=rf"seed={seed} must be a whole number from 0"):
        Noise(seed, torch.arange(2))


def test_refuses_negative_indices():
    with pytest.raises(ValueError, match="indices of examples must not be negative"):
        Noise(0, torch.tensor([3, -1]))


def test_leaves_global_random_states_alone():
    before = torch.get_rng_state(), numpy.random.get_state()[1].copy()
    draw("normal", range(3000))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert numpy.array_equal(numpy.random.get_state()[1], before[1])
