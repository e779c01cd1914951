"""study.contrasts: rows that are tested together."""

import pandas
from by_hand import rows

from lib.study import contrasts


def test_adjusted_p_comes_with_the_smallest_that_it_could_be():
    found = contrasts.adjusted(pandas.DataFrame({"p": [0.0625, 0.5, 0.125], "smallest_p": [0.0625, 0.5, 0.0625]}))
    assert found["p_holm"].tolist() == [0.1875, 0.5, 0.25]
    assert found["smallest_p_holm"].tolist() == [0.1875, 0.5, 0.1875]


def test_pairs_of_criteria_are_adjusted_for_their_number():
    table = pandas.concat(
        rows("examples criterion auc_relative", (10, "a", 0.5 + seed / 10), (10, "b", 0.3), (10, "c", 0.2), seed=seed)
        for seed in range(3)
    )
    found = contrasts.paired(table, {"a": "b", "b": "c"})
    assert found["smallest_p"].tolist() == [0.25, 0.25] and found["smallest_p_holm"].tolist() == [0.5, 0.5]
    few = table.assign(examples=10, criterion="b")
    uneven = contrasts.all_against_few(pandas.concat([table.assign(examples=100), few]), "a", ["b"])
    assert uneven["smallest_p_holm"].tolist() == [0.25]
