"""analyses.joint_effects: means of ratios."""

from by_hand import rows

from lib.study.analyses import joint_effects


def test_joint_effects_are_means_over_runs_with_an_alarm_where_they_are_large():
    tenth = [("sq", 10.0, 1.0), ("sq", 10.0, 2.0), ("l2", 10.0, 2.0), ("l2", 10.0, 4.0)]
    ratios = rows("criterion share ratio", *tenth, ("sq", 25.0, 9.0), ("sq", 25.0, 9.0))
    ratios["seed"] = [0, 1, 0, 1, 0, 1]
    found = joint_effects.means(ratios)
    assert found[joint_effects.TOGETHER].tolist() == [1.5, 3.0]
    assert found["joint over single, 25 % off"].tolist()[0] == 9.0  # no alarm: its limit is for a tenth
    assert found["alarm"].tolist() == ["", "units matter together"]
