"""study.columns: what a row is of."""

import pandas
import pytest

from lib.study import profiles, statistics
from lib.study.columns import PANEL, RUN, columns_of, read_own


def test_the_columns_of_a_run_are_those_of_a_block():
    (run,) = profiles.load("smoke").runs
    assert columns_of(run) == {"dataset": "digits", "network": "resnet8", "seed": 0}
    assert (list(RUN), PANEL) == (statistics.BLOCK, statistics.GROUP)


def test_a_table_of_another_run_is_refused(tmp_path):
    run = profiles.Run("smoke", "digits", "resnet8", 1, "cpu")
    path, own = tmp_path / "curves.parquet", columns_of(run)
    table = pandas.DataFrame([own | {"pruned": pruned} for pruned in range(3)])
    table.to_parquet(path)
    assert read_own(run, path, filters=[("pruned", ">", 0)])["pruned"].tolist() == [1, 2]
    for name, other in {"network": "vgg8", "seed": 2, "dataset": "cifar10"}.items():
        table.assign(**{name: [own[name], other, own[name]]}).to_parquet(path)
        with pytest.raises(ValueError, match=rf"curves.parquet has rows of {name} {other}, but is digits-resnet8"):
            read_own(run, path)
