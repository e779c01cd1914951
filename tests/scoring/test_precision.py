"""lib.scoring.precision: bfloat16 only where it is multiplied, orders units alike and is faster."""

import math

import pytest
import torch
from scipy import stats

from lib.scoring import precision
from lib.scoring.precision import Choice

CPU = torch.device("cpu")


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_agreement_is_scipy_s_rank_correlation_with_ties(levels):
    generator = torch.Generator().manual_seed(levels)
    one, other = torch.randint(0, levels, (2, 60), generator=generator).double()
    found = precision.agreement(one, one + other)
    assert found == pytest.approx(stats.spearmanr(one, one + other).statistic, abs=1e-12)
    assert 0.1 < found < 1


def test_orders_that_are_the_same_agree_and_where_there_is_none_nothing_does():
    ascending = torch.arange(4.0)
    assert precision.agreement(ascending, ascending.exp()) == 1
    assert precision.agreement(ascending, -ascending) == pytest.approx(-1)
    assert precision.agreement(torch.zeros(3), torch.ones(3)) == precision.agreement(torch.ones(1), torch.zeros(1)) == 1
    assert math.isnan(precision.agreement(torch.zeros(4), ascending))


@pytest.mark.parametrize(
    ("alike", "speed", "expected"),
    [
        ({"sq": 0.9999696}, 1.66, "bfloat16, 1.7 times as fast here; order of units on 1,250 images agrees to 0.99996"),
        ({"sq": 0.999}, 1.1, "bfloat16, 1.1 times as fast here; order of units on 1,250 images agrees to 0.99900"),
        ({"sq": 1.0}, 1.09, "float32, as bfloat16 is only 1.1 times as fast here, where 1.1 would do"),
        ({"sq": 1.0}, 0.567, "float32, as bfloat16 is only 0.57 times as fast here, where 1.1 would do"),
        ({"sq": 1.0, "abs": 0.998999}, 2.0,
         "float32, as bfloat16 orders units otherwise: on 1,250 images by abs to 0.99899, where 0.999 would do"),
        ({"abs": 0.5, "sq": math.nan}, 2.0,
         "float32, as bfloat16 orders units otherwise: on 1,250 images by sq to nan, where 0.999 would do"),
    ],
)  # fmt: skip
def test_what_is_chosen_and_why(alike, speed, expected):
    assert str(precision.judged(alike, speed, 1250)) == expected


def test_where_it_is_not_multiplied_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(precision, "multiplies", lambda device: False)
    assert precision.choose(CPU, None, 1) == Choice("float32", "as this processor does not multiply bfloat16")


def test_passes_that_fail_in_bfloat16_are_in_float32_and_others_fail(monkeypatch):
    def score(name):
        if name == failing:
            raise ValueError(f"not in {name}")
        return {"sq": torch.arange(3.0)}

    monkeypatch.setattr(precision, "multiplies", lambda device: True)
    failing = "bfloat16"
    assert precision.choose(CPU, score, 1) == Choice("float32", "as passes in bfloat16 fail here (not in bfloat16)")
    failing = "float32"
    with pytest.raises(ValueError, match=r"^not in float32$"):
        precision.choose(CPU, score, 1)


@pytest.mark.parametrize(
    ("able", "onednn", "expected"),
    [({"avx512_bf16": True}, True, True), ({"bf16": True, "neon": True}, True, True),
     ({"amx_bf16": True}, False, False), ({"avx512_bf16": False, "avx512_f": True}, True, False), ({}, True, False)],
)  # fmt: skip
def test_what_a_processor_can_is_asked_of_torch(able, onednn, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)
    assert precision.multiplies(CPU) is expected


def test_names_of_what_processors_can_are_those_that_torch_knows():
    known = torch.cpu.get_capabilities()
    wanted = {"x86_64": ("avx512_bf16", "amx_bf16")}.get(known["architecture"], ())
    assert set(wanted) <= known.keys()


def test_on_the_meta_device_nothing_is_multiplied():
    assert not precision.multiplies(torch.device("meta"))
