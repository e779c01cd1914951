"""analyses.masks: both masks and the paper, side by side."""

import pandas
from by_hand import rows

from lib.study.analyses import masks


def test_masks_stand_beside_each_other_and_the_paper_on_the_most_examples():
    behind = rows(
        "criterion examples auc_relative", ("sq", 10, 0.1), ("sq", 40, 0.4), ("l2", 40, 0.3), ("abs", 40, 0.9)
    )
    behind = pandas.concat([behind, behind.assign(seed=1, auc_relative=behind["auc_relative"] + 0.25)])
    behind = pandas.concat([behind, behind.assign(draw=1, auc_relative=9.0)])
    in_front = rows("criterion examples auc_relative", ("sq", 40, 0.25), ("l2", 0, 0.5))
    theirs = rows("criterion examples auc_relative", ("sq", 10, 0.7), ("sq", 40, 0.75), ("taylorfo", 40, 0.5))
    found = masks.beside(behind, in_front, theirs.drop(columns=["seed", "draw", "sample"]))
    assert found["criterion"].tolist() == ["sq", "l2"]
    assert found["behind"].round(9).tolist() == [0.525, 0.425]
    assert found["in_front"].tolist() == [0.25, 0.5]
    assert found["paper"].fillna(-1).tolist() == [0.75, -1]


def test_where_the_paper_has_no_such_network_its_column_is_empty():
    both = rows("criterion examples auc_relative", ("sq", 40, 0.5))
    theirs = both.assign(network="vgg19").drop(columns=["seed", "draw", "sample"])
    assert masks.beside(both, both, theirs)["paper"].isna().tolist() == [True]
