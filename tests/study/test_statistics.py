"""Statistics against values worked out by hand, enumerated in full, or published (Demsar, JMLR 7, 2006)."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from demsar import DEMSAR
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lib.study import statistics


def tidy(*rows, columns="network seed criterion examples draw auc_relative"):
    return pd.DataFrame(rows, columns=columns.split()).assign(dataset="digits")


def runs(differences, network="cnn"):
    """Two criteria whose values differ by `differences`, one per seed, on one number of examples."""
    rows = []
    for seed, difference in enumerate(differences):
        rows += [(network, seed, "a", 2, 0, 0.5 + difference), (network, seed, "b", 2, 0, 0.5)]
    return tidy(*rows)


# ---- intervals and the signed-rank test ---------------------------------------------------------------------------


def test_the_interval_of_three_values_by_hand():
    quantile = 0.95 * np.sqrt(2 / (4 * 0.975 * 0.025))  # of t with 2 degrees of freedom at .975: 4.303
    half = quantile * 1 / np.sqrt(3)  # the standard deviation is 1
    assert statistics.interval([1, 2, 3]) == pytest.approx((2 - half, 2 + half), rel=1e-9)


def test_one_value_has_no_interval_and_equal_values_have_no_width():
    assert np.isnan(statistics.interval([0.3])).all()
    assert statistics.interval([0.25] * 5) == statistics.interval([0.25] * 25) == (0.25, 0.25)


def test_the_bootstrap_takes_over_at_twenty_values():
    values = np.arange(20.0) ** 2
    t_interval = stats.t.interval(0.95, 18, values[:19].mean(), stats.sem(values[:19]))
    assert statistics.interval(values[:19]) == pytest.approx(t_interval)
    low, high = statistics.interval(values)
    plain = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    assert plain.low < low < values.mean() < plain.high < high  # BCa: corrected for the values' skewness


def test_the_bootstrap_depends_on_the_seed_alone():
    values = np.random.default_rng(3).normal(size=30)
    np.random.seed(0)
    first = statistics.interval(values, seed=1)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    assert statistics.interval(values, seed=1) == first != statistics.interval(values, seed=2)
    assert (np.random.get_state()[1] == before).all()


def test_the_bootstrap_of_many_normal_values_is_near_the_normal_interval():
    values = np.random.default_rng(0).normal(size=400)
    half = 1.96 * values.std() / 20
    expected = (values.mean() - half, values.mean() + half)
    assert statistics.interval(values) == pytest.approx(expected, abs=0.1 * half)


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=20, max_size=24), st.sampled_from([1, 1e-9, 1e6]))
def test_the_bootstrap_answers_for_any_ties_and_scales(values, scale):
    low, high = statistics.interval(np.array(values) * scale)
    assert min(values) * scale <= low <= high <= max(values) * scale


def all_sign_flips(differences):
    """T and p of the signed-rank test, by its definition."""
    sizes = np.abs(differences)
    ranks = [2 * sum(sizes < size) + sum(sizes == size) + 1 for size in sizes]  # doubled mean ranks
    signs = [(1, -1) if difference else (0,) for difference in differences]
    sums = [abs(np.dot(flip, ranks)) for flip in product(*signs)]
    observed = abs(np.dot(np.sign(differences), ranks))
    return (sum(ranks) - observed) / 4, np.mean([total >= observed for total in sums])


@settings(deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_the_signed_rank_p_is_the_share_of_all_sign_flips_with_ties_and_zeros(differences):
    assert statistics.signed_rank(differences) == pytest.approx(all_sign_flips(np.array(differences)), rel=1e-12)


@settings(deadline=None)
@given(st.permutations(range(1, 13)), st.lists(st.booleans(), min_size=12, max_size=12))
def test_the_signed_rank_p_is_scipys_where_there_are_no_ties(sizes, signs):
    differences = np.where(signs, 1, -1) * sizes
    expected = stats.wilcoxon(differences, method="exact")
    assert statistics.signed_rank(differences) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)


def test_the_signed_rank_test_on_demsars_example():
    t, p = statistics.signed_rank(DEMSAR["C4.5+m"] - DEMSAR["C4.5"])
    assert t == 12  # as published: 10.5, and half of the two zeros' ranks 1 and 2
    thousandths = ((DEMSAR["C4.5+m"] - DEMSAR["C4.5"]) * 1000).round().to_numpy()
    assert p == pytest.approx(all_sign_flips(thousandths)[1], rel=1e-12)
    assert p < 0.05  # as published: 12 is below the critical 21


def test_the_signed_rank_p_stays_exact_for_many_blocks():
    assert statistics.signed_rank(np.arange(1, 61))[1] == 2.0**-59
    assert statistics.signed_rank([0.0] * 7)[1] == 1


@pytest.mark.parametrize(("blocks", "expected"), [(1, 1), (2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_the_smallest_p_is_reached_when_every_block_agrees(blocks, expected):
    assert statistics.smallest_p(blocks) == statistics.signed_rank(np.arange(1, blocks + 1))[1] == expected


@pytest.mark.parametrize(("blocks", "few"), [(1, True), (5, True), (6, False)])
def test_networks_are_too_few_where_no_p_can_be_below_the_level(blocks, few):
    assert statistics.too_few(blocks) == few


def test_holm_by_hand():
    # sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, of which the last may not be below the one before
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.7]).tolist() == [1, 1]
    assert statistics.holm([]).tolist() == []


# ---- verdicts -----------------------------------------------------------------------------------------------------

UP = np.array([3, 4, 5, 6, 7, 8]) / 100  # six blocks: p = 2 / 64 when all agree


def test_a_difference_that_every_block_shows():
    row = statistics.paired(UP, list("xxxyyy"))
    half = 2.5705818366147395 * np.sqrt(3.5 / 6) / 100  # t at .975 with 5 degrees of freedom; variance 3.5 / 100^2
    assert row == {
        "kind": "difference",
        "effect": pytest.approx(0.055),
        "low": pytest.approx(0.055 - half),
        "high": pytest.approx(0.055 + half),
        "p": 0.03125,
        "blocks": 6,
        "ahead": 6,
        "smallest_p": 0.03125,
        "signs": "x +, y +",
        "verdict": "supported",
        "side": "above",
        "again": 1.0,
        "close": False,
    }


@pytest.mark.parametrize(
    ("differences", "groups", "verdict"),
    [
        (UP, "xxxxxx", "supported"),
        (-UP, "xxxyyy", "contradicted"),
        (UP[:5], "xxxxx", "too few networks"),  # p = .0625 however large the effect
        ([*UP, *UP, -0.001], "xxxxxxxxxxxxy", "open"),  # p and interval clear, but y has another sign
        ([*-UP, *-UP, 0.001], "xxxxxxxxxxxxy", "open"),
        ([*UP, *UP, 0.0], "xxxxxxxxxxxxy", "open"),  # nor does no difference have the same sign
        ([*UP / 100, 2.0], "xxxxxxx", "open"),  # p clear, but one block spreads the interval over 0
        ([0.01, -0.01, 0.02, -0.02, 0.03, -0.03], "xxxxxx", "open"),
    ],
)
def test_the_verdict_on_a_difference(differences, groups, verdict):
    assert statistics.paired(differences, list(groups))["verdict"] == verdict


def test_a_group_of_another_sign_is_what_keeps_a_clear_difference_open():
    row = statistics.paired([*UP, *UP, -0.001], list("xxxxxxxxxxxxy"))
    assert row["p"] < 0.05 and row["low"] > 0 and row["signs"] == "x +, y -" and row["ahead"] == 12
    wide = statistics.paired([*UP / 100, 2.0])
    assert wide["p"] < 0.05 and wide["low"] < 0 < wide["effect"]


@pytest.mark.parametrize(
    ("differences", "margin", "verdict"),
    [
        ([0.0, 0.001, -0.001], 0.01, "supported"),  # 0 +- .0025
        ([-0.004, -0.005, -0.006], 0.01, "supported"),  # below 0 throughout, and yet nothing lost to speak of
        ([-0.0085, -0.0095, -0.0105], 0.01, "open"),  # -.0095 +- .0025
        ([-0.019, -0.02, -0.021], 0.01, "contradicted"),
        ([-0.019, -0.02, -0.021], 0.03, "supported"),  # the same with a wider margin
        ([0.2, 0.3, 0.4], 0.01, "supported"),  # better is no worse
        ([-0.1, 0.0, 0.1], 0.01, "open"),
        ([0.0], 0.01, "too few networks"),  # no interval
    ],
)
def test_the_verdict_on_non_inferiority(differences, margin, verdict):
    assert statistics.paired(differences, kind="non-inferiority", margin=margin)["verdict"] == verdict


@pytest.mark.parametrize(
    ("differences", "kind", "side"),
    [
        ([0.1, 0.2, 0.3], "difference", "on both sides"),  # .2 +- .248
        ([0.19, 0.2, 0.21], "difference", "above"),
        ([-0.19, -0.2, -0.21], "difference", "below"),
        ([0.2], "difference", ""),
        ([-0.0085, -0.0095, -0.0105], "non-inferiority", "on both sides"),  # of -.01
        ([-0.004, -0.005, -0.006], "non-inferiority", "above"),
    ],
)
def test_where_the_interval_lies_is_said_whatever_the_verdict(differences, kind, side):
    assert statistics.paired(differences, kind=kind)["side"] == side


def test_a_verdict_comes_again_as_often_as_other_networks_of_the_kind_would_give_it():
    values = np.array([1, 2, 3, 4, 5, 6.0])  # every sign must be the same, for p, and then the interval is above 0
    row = statistics.paired(values)
    chance = stats.norm.cdf(values.mean() / values.std(ddof=1)) ** 6
    assert (row["verdict"], row["close"]) == ("supported", True)
    assert row["again"] == pytest.approx(chance, abs=0.03)  # .88
    far = statistics.paired(values + 2)
    assert far["again"] == pytest.approx(stats.norm.cdf(5.5 / values.std(ddof=1)) ** 6, abs=0.03) and not far["close"]


def test_others_are_drawn_about_the_mean_of_their_group():
    values, groups = np.array([1.0, 1.1, 0.9, 9.0, 9.1, 8.9]), ["x"] * 3 + ["y"] * 3
    assert statistics.paired(values, groups)["again"] == 1  # spread of .1 within groups, about means of 1 and 9
    assert statistics.paired(values)["again"] < 0.8  # of about 4 in all
    assert statistics.paired(values, list("abcdef"))["again"] == statistics.paired(values)["again"]


def test_what_needs_no_test_comes_again_by_its_interval_alone():
    middle, n = 0.01, 4
    values = middle + np.array([-1, -1, 1, 1]) * 0.01
    row = statistics.paired(values, kind="non-inferiority", margin=0.01)  # 0 +- .0184, against a mean of .02
    centre, scale = (middle + 0.01) * np.sqrt(n) / values.std(ddof=1), stats.t.ppf(0.975, n - 1)
    chance = 1 - stats.nct.cdf(scale, n - 1, centre)  # of a t beyond its quantile
    assert row["verdict"] == "supported" and row["again"] == pytest.approx(chance, abs=0.04)


def test_too_few_networks_are_close_where_the_side_of_the_interval_hangs_on_a_hair():
    half = 4.302652729911275 * 0.01 / np.sqrt(3)  # t at .975 with 2 degrees of freedom
    around = np.array([-0.01, 0.0, 0.01])
    near, far = (statistics.paired(around + times * half) for times in (1.1, 3))
    assert (near["verdict"], near["side"], near["close"]) == ("too few networks", "above", True)
    assert (far["verdict"], far["side"], far["close"]) == ("too few networks", "above", False)


def test_p_of_many_sets_at_once_is_that_of_each():
    values = np.random.default_rng(3).standard_normal((20, 7)) + 0.5
    assert statistics._signed_rank_p(values) == pytest.approx([statistics.signed_rank(row)[1] for row in values])


def test_one_block_decides_nothing():
    row = statistics.paired([0.4], ["x"])
    assert np.isnan([row["low"], row["high"]]).all()
    assert (row["effect"], row["p"], row["smallest_p"], row["verdict"]) == (0.4, 1, 1, "too few networks")
    assert (row["side"], row["close"], row["ahead"]) == ("", False, 1)


def test_ties_are_ties_even_when_rounding_blurs_them():
    assert 0.1 + 0.2 - 0.3 > 0 and 0.3 - 0.1 < 0.2 and sum([0.1, 0.2, -0.3]) > 0
    row = statistics.paired([0.1 + 0.2 - 0.3, 0.2, 0.1, 0.2, -0.3], list("xyzzz"))
    assert (row["ahead"], row["signs"]) == (3, "x 0, y +, z 0")  # ties are not
    assert statistics.signed_rank([0.3 - 0.1, -0.2, 0.1])[0] == 2.5


@pytest.mark.parametrize("shift", [0.0, 1e-15, -1e-15])
def test_an_interval_that_ends_on_the_limit_is_not_beyond_it_whatever_rounding_says(shift):
    half = 4.302652729911275 * 0.01 / np.sqrt(3)  # t at .975 with 2 degrees of freedom
    row = statistics.paired(np.array([-0.01, 0.0, 0.01]) + half - 0.01 + shift, kind="non-inferiority")
    assert (row["low"], row["side"], row["verdict"]) == (-0.01, "on both sides", "open")
    same = statistics.paired([-0.01 + shift] * 3, kind="non-inferiority")  # an interval without width
    assert (same["side"], same["verdict"]) == ("on both sides", "open")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"differences": []}, "one or more finite"),
        ({"differences": [0.1, np.nan]}, "one or more finite"),
        ({"differences": [1e300, 1.7e308]}, "numbers up to 1e.100"),
        ({"differences": [0.1], "kind": "same"}, "'same'"),
        ({"differences": [0.1], "margin": -1}, "-1"),
        ({"differences": [0.1, 0.2], "groups": ["x", np.nan]}, "each of 2 differences needs the group"),
        ({"differences": [0.1, 0.2], "groups": ["x", None]}, "each of 2 differences needs the group"),
        ({"differences": [0.1, 0.2], "groups": ["x"]}, "each of 2 differences needs the group"),
    ],
)
def test_paired_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        statistics.paired(**arguments)


# ---- from tables to blocks ----------------------------------------------------------------------------------------


def test_draws_are_averaged_first_however_many_there_are():
    table = tidy(
        ("cnn", 0, "a", 2, 0, 0.2),
        ("cnn", 0, "a", 2, 1, 0.4),
        ("cnn", 0, "a", 2, 2, 0.6),  # at 2 examples three draws: .4
        ("cnn", 0, "a", 10, 0, 0.8),  # at 10 one: .8
        ("cnn", 0, "b", 2, 0, 0.1),
        ("cnn", 0, "b", 2, 1, 0.3),  # .2
        ("cnn", 0, "b", 10, 0, 0.5),
    )
    both = statistics.sides(table, "a", "b")
    assert both.index.tolist() == [("digits", "cnn", 0)]
    assert both.iloc[0].tolist() == pytest.approx([0.6, 0.35])
    assert statistics.compare(table, "a", "b")["effect"] == pytest.approx(0.25)
    pooled = statistics.compare(table, "a", "b", pair_by=())["effect"]
    assert pooled == pytest.approx(0.25)  # draws first here too, not .5 - .3
    found = statistics.summarise(table, ["criterion"])
    assert found["mean"].tolist() == pytest.approx([0.6, 0.35])


def test_only_examples_that_both_sides_have_are_compared():
    table = tidy(
        ("cnn", 0, "a", 2, 0, 0.5),
        ("cnn", 0, "a", 10, 0, 0.9),
        ("cnn", 0, "b", 2, 0, 0.4),
        ("cnn", 0, "b", 50, 0, 0.1),
    )
    assert statistics.compare(table, "a", "b")["effect"] == pytest.approx(0.1)
    assert statistics.compare(table, "a", "b", pair_by=())["effect"] == pytest.approx(0.45)  # .7 - .25
    with pytest.raises(ValueError, match="same"):
        statistics.compare(table[table["examples"] != 2], "a", "b")


def test_each_criterion_meets_its_counterpart_and_pairs_weigh_the_same():
    values = {"a": (0.9, 0.7), "b": (0.8, 0.4), "c": (0.5,), "d": (0.6,)}  # at 2 and 10 examples; c and d at 2 only
    rows = [("cnn", 0, name, 8 * i + 2, 0, v) for name, of in values.items() for i, v in enumerate(of)]
    table = tidy(*rows)
    assert statistics.compare(table, ["a", "c"], ["b", "d"])["effect"] == pytest.approx((0.2 - 0.1) / 2)
    assert statistics.compare(table, ["a", "c"], ["d", "b"])["effect"] == pytest.approx((0.3 - 0.3) / 2)
    assert statistics.compare(table, ["a", "c"], ["b", "b"])["effect"] == pytest.approx((0.2 - 0.3) / 2)


def test_pairs_may_be_averaged_before_numbers_of_examples():
    values = {"a": (0.9, 0.7), "b": (0.8, 0.4), "c": (0.5,), "d": (0.6,)}  # at 2 and 10 examples; c and d at 2 only
    rows = [("cnn", 0, name, 8 * i + 2, 0, v) for name, of in values.items() for i, v in enumerate(of)]
    row = statistics.compare(tidy(*rows), ["a", "c"], ["b", "d"], pairs_first=True)
    assert row["effect"] == pytest.approx(((0.1 - 0.1) / 2 + 0.3) / 2)  # at 2 both pairs, at 10 one
    whole = runs([0.1, 0.2, 0.4]).assign(examples=np.nan)
    assert statistics.compare(whole, "a", "b", pairs_first=True)["effect"] == pytest.approx(0.7 / 3)
    partly = pd.concat([tidy(*rows), tidy(*rows[:4]).assign(seed=1)])  # a block that lacks a pair goes either way
    assert statistics.compare(partly, ["a", "c"], ["b", "d"], pairs_first=True)["blocks"] == 1


def test_blocks_without_both_sides_are_dropped_and_counted():
    table = pd.concat([runs([0.1, 0.2, 0.3]), tidy(("vgg", 0, "a", 2, 0, 0.5), ("vgg", 1, "c", 2, 0, 0.5))])
    row = statistics.compare(table, "a", "b", claim="C1", label="a against b")
    assert {"claim", "label", "effect", "p", "smallest_p", "verdict", "ahead"} < set(row)
    assert (row["claim"], row["label"], row["blocks"], row["dropped"]) == ("C1", "a against b", 3, 2)
    assert (row["effect"], row["signs"]) == (pytest.approx(0.2), "digits/cnn +")
    # a block that lacks one of two pairs would mean something else than the others
    partly = pd.concat([table, tidy(("cnn", 2, "c", 2, 0, 0.4))])
    row = statistics.compare(partly, ["a", "c"], ["b", "b"])
    assert (row["blocks"], row["dropped"], row["effect"]) == (1, 4, pytest.approx((0.3 - 0.1) / 2))


def test_compare_judges_as_paired_does():
    table = pd.concat([runs(UP[:3]), runs(UP[3:], network="vgg")])
    row = statistics.compare(table, "a", "b")
    expected = statistics.paired(UP, ["digits/cnn"] * 3 + ["digits/vgg"] * 3)
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row["verdict"] == "supported"
    lost = statistics.compare(table, "b", "a", kind="non-inferiority", margin=0.02)
    assert (lost["kind"], lost["effect"], lost["verdict"]) == ("non-inferiority", pytest.approx(-0.055), "contradicted")


def test_the_order_of_rows_and_their_types_do_not_matter():
    table = pd.concat([runs(UP), runs(-UP, network="vgg")])
    row = statistics.compare(table, "a", "b")
    shuffled = table.sample(frac=1, random_state=0).astype({"criterion": "category", "network": "category"})
    assert statistics.compare(shuffled, "a", "b") == row


def test_criteria_that_use_no_examples_can_be_paired():
    table = runs([0.1, 0.2, 0.4]).assign(examples=np.nan)
    assert statistics.compare(table, "a", "b")["effect"] == pytest.approx(0.7 / 3)


def scarcity(gains, network="cnn"):
    """Criterion a is better than b by gains[examples] + seed / 100."""
    cells = [(seed, examples, gain) for seed in (0, 1) for examples, gain in gains.items()]
    rows = [(s, e, n, 0.5 + (n == "a") * (g + s / 100)) for s, e, g in cells for n in "ab"]
    return tidy(*rows, columns="seed examples criterion auc_relative").assign(network=network)


def test_an_interaction_is_a_difference_of_differences():
    small = scarcity({2: 0.3, 10: 0.2, 100: 0.1})
    big = scarcity({5: 0.3, 1000: -0.2}, network="vgg")  # other numbers of examples: its own smallest and largest
    row = statistics.interaction(pd.concat([small, big]), "a", "b", claim="C4")
    assert (row["claim"], row["kind"], row["blocks"], row["dropped"]) == ("C4", "difference", 4, 0)
    assert row["effect"] == pytest.approx((0.2 + 0.5) / 2)
    assert row["signs"] == "digits/cnn +, digits/vgg +"
    assert statistics.interaction(small, "a", "b", high_examples=10)["effect"] == pytest.approx(0.1)
    assert statistics.interaction(small, "a", "b", low_examples=10)["effect"] == pytest.approx(0.1)


def test_an_interaction_leaves_out_blocks_that_lack_an_end():
    table = scarcity({2: 0.3, 100: 0.1})
    row = statistics.interaction(table[(table["seed"] == 0) | (table["examples"] == 2)], "a", "b")
    assert (row["blocks"], row["dropped"]) == (1, 1)
    with pytest.raises(ValueError, match="two numbers of examples"):
        statistics.interaction(scarcity({2: 0.3}), "a", "b")
    with pytest.raises(ValueError, match="measure what is missing"):
        statistics.interaction(table, "a", "b", low_examples=3)


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        ("a", "c", {}, r"criterion 'c' is not in the table; it has \['a', 'b'\]"),
        (["a", "x"], ["y", "b"], {}, "criterion 'x', 'y'"),
        (["a", "a"], ["b"], {}, "counterpart"),
        ([], [], {}, "counterpart"),
        ("a", "b", {"value": "loss"}, "column 'loss' is not in the table"),
        ("a", "b", {"pair_by": ("subset",)}, "column 'subset' is not in the table"),
        ("a", "b", {"kind": "better"}, "'better'"),
    ],
)
def test_compare_refuses(a, b, options, message):
    with pytest.raises(ValueError, match=message):
        statistics.compare(runs([0.1, 0.2]), a, b, **options)


def test_a_row_that_stands_twice_is_refused():
    table = runs([0.1, 0.2])
    with pytest.raises(ValueError, match=r"^a row of 'a' is there more than once: draws would weigh more"):
        statistics.compare(pd.concat([table, table[:1]]), "a", "b")


def test_missing_values_are_not_passed_over():
    table = runs([0.1, np.nan])
    with pytest.raises(ValueError, match="'auc_relative' has missing or infinite values"):
        statistics.compare(table, "a", "b")
    with pytest.raises(ValueError, match="'auc_relative' has missing or infinite values"):
        statistics.summarise(table)


def test_a_summary_has_a_row_for_each_combination():
    table = pd.concat([runs([0.1, 0.2, 0.3]), tidy(("cnn", 0, "a", 10, 0, 0.25))])
    found = statistics.summarise(table).set_index(["criterion", "examples"])
    assert found.index.tolist() == [("a", 2), ("a", 10), ("b", 2)]
    assert found.loc[("a", 2)].tolist() == pytest.approx([0.7, *statistics.interval([0.6, 0.7, 0.8]), 3])
    assert found.loc[("b", 2)].tolist() == [0.5, 0.5, 0.5, 3]
    assert found.loc[("a", 10), ["mean", "blocks"]].tolist() == [0.25, 1]
    assert found.loc[("a", 10), ["low", "high"]].isna().all()
    assert statistics.summarise(table, "examples")["blocks"].tolist() == [3, 1]
    with pytest.raises(ValueError, match="column 'depth'"):
        statistics.summarise(table, ["depth"])
