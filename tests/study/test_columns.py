"""study.columns: what a row is of."""

from lib.study import profiles, statistics
from lib.study.columns import PANEL, RUN, columns_of


def test_the_columns_of_a_run_are_those_of_a_block():
    (run,) = profiles.load("smoke").runs
    assert columns_of(run) == {"dataset": "digits", "network": "resnet8", "seed": 0}
    assert (list(RUN), PANEL) == (statistics.BLOCK, statistics.GROUP)
