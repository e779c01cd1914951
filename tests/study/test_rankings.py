"""Tests over several criteria, against published values (Demsar, JMLR 7, 2006) and those worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from demsar import DEMSAR
from scipy import stats

from lib.study import rankings, statistics


def test_friedman_on_demsars_example():
    found = rankings.friedman(DEMSAR)
    assert found["ranks"].round(3).to_dict() == {"C4.5": 3.143, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}
    assert (round(found["chi2"], 2), round(found["f"], 2), found["blocks"]) == (9.28, 3.69, 14)
    assert found["chi2_p"] == pytest.approx(0.0258, abs=5e-5)
    # published: F(3, 39) exceeds its critical 2.85 at .05; and p falls where f rises
    assert stats.f.isf(0.05, 3, 39) == pytest.approx(2.85, abs=0.005)
    assert stats.f.isf(found["f_p"], 3, 39) == pytest.approx(found["f"])


def test_friedman_is_scipys_where_there_are_no_ties():
    matrix = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 5)))
    expected = stats.friedmanchisquare(*matrix.to_numpy().T)
    found = rankings.friedman(matrix)
    assert (found["chi2"], found["chi2_p"]) == pytest.approx((expected.statistic, expected.pvalue))


def test_friedman_when_all_blocks_agree_and_when_nothing_differs():
    agreed = rankings.friedman(pd.DataFrame([[1, 2, 3]] * 4, columns=list("abc")))
    assert (agreed["chi2"], agreed["f"], agreed["f_p"]) == (pytest.approx(8), np.inf, 0)  # blocks x (criteria - 1)
    assert agreed["ranks"].to_dict() == {"a": 3, "b": 2, "c": 1}
    tied = rankings.friedman(pd.DataFrame(np.ones((4, 3))))
    assert (tied["chi2"], tied["chi2_p"], tied["f"], tied["f_p"]) == (0, 1, 0, 1)


def test_nemenyi_on_demsars_example():
    found = rankings.nemenyi(DEMSAR)
    assert round(found["critical_difference"], 2) == 1.25
    at_ten = rankings.critical_difference(4, 14, level=0.10)
    assert round(at_ten, 2) == 1.12
    p = found["p"]
    assert list(p.index) == list(p.columns) == list(DEMSAR)
    assert 0.05 < p.loc["C4.5", "C4.5+m+cf"] < p.loc["C4.5", "C4.5+m"] < 0.10 < p.loc["C4.5", "C4.5+cf"]
    assert (p.to_numpy() == p.to_numpy().T).all()


@pytest.mark.parametrize(("criteria", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (7, 2.949), (10, 3.164)])
def test_the_critical_difference_uses_demsars_quantiles(criteria, q):
    blocks = criteria * (criteria + 1) // 6 or 1  # then the root is near 1; Demsar's Table 5 has q to 3 decimals
    root = np.sqrt(criteria * (criteria + 1) / (6 * blocks))
    assert rankings.critical_difference(criteria, blocks) / root == pytest.approx(q, abs=1e-3)


def test_nemenyi_of_two_criteria_is_a_test_of_the_normal():
    matrix = pd.DataFrame({"a": [2.0] * 9, "b": [1.0] * 7 + [3.0] * 2})
    found = rankings.nemenyi(matrix)
    assert found["ranks"].tolist() == pytest.approx([(7 + 2 * 2) / 9, (2 + 2 * 7) / 9])
    z = (5 / 9) / np.sqrt(2 * 3 / (6 * 9))
    assert found["p"].loc["a", "b"] == pytest.approx(2 * stats.norm.sf(z), rel=1e-6)


def test_ranks_are_ties_even_when_rounding_blurs_them():
    blurred = pd.DataFrame([[0.1 + 0.2, 0.3], [0.5, 0.5]])
    assert rankings.friedman(blurred)["ranks"].tolist() == [1.5, 1.5]
    assert rankings.nemenyi(blurred)["p"].to_numpy().tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("matrix", [np.ones((1, 3)), np.ones((3, 1)), [[1, np.nan], [1, 2]]])
def test_tests_over_criteria_need_a_complete_matrix(matrix):
    for test in (rankings.friedman, rankings.nemenyi):
        with pytest.raises(ValueError, match="no value missing"):
            test(pd.DataFrame(matrix))


def test_block_values_feed_friedman():
    blocks = {"dataset": "digits", "network": ["cnn", "cnn", "cnn", "vgg"], "seed": [0, 1, 2, 0], "examples": 2}
    table = pd.DataFrame(blocks | {"criterion": "a", "auc_relative": [0.6, 0.7, 0.2, 0.6]})
    table = pd.concat([table, table.assign(criterion="b", auc_relative=0.5)])
    matrix = statistics.block_values(table, ["b", "a"], pair_by=())
    assert list(matrix.columns) == ["b", "a"] and len(matrix) == 4
    assert rankings.friedman(matrix)["ranks"].to_dict() == {"b": 1.75, "a": 1.25}


def test_rank_agreement_by_hand():
    scores = pd.DataFrame({"a": [1, 2, 3, 4], "b": [10, 20, 40, 30], "c": [-1, -2, -3, -4], "flat": [1, 1, 1, 1]})
    found = rankings.rank_agreement(scores)
    assert found["spearman"].loc["a", "b"] == pytest.approx(1 - 6 * 2 / (4 * 15))  # two ranks off by one
    assert found["kendall"].loc["a", "b"] == pytest.approx(4 / 6)  # one of six pairs the other way round
    assert found["spearman"].loc["a", "c"] == found["kendall"].loc["a", "c"] == pytest.approx(-1)
    assert np.isnan(found["spearman"].loc["a", "flat"]) and np.isnan(found["kendall"].loc["a", "flat"])
