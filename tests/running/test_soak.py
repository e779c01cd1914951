"""The short form of `make soak`: three kills at random moments."""

import shutil

import pytest
from soak import results, soak


def test_killed_runs_end_as_undisturbed_ones(study, own_study):
    undisturbed = results(study.smoke)
    assert len(undisturbed) > 10
    shutil.rmtree(own_study.root / "results")
    assert soak(own_study, 3, seed=0, undisturbed=undisturbed, seconds=study.seconds) >= 1


def test_a_table_that_differs_is_named(study, own_study):
    table = next(own_study.smoke.rglob("curves.parquet"))
    other = next(own_study.smoke.rglob("scores.parquet"))
    shutil.copy(other, table)
    undisturbed, found = results(study.smoke), results(own_study.smoke)
    assert [name for name in undisturbed if undisturbed[name] != found[name]] == [
        "digits-resnet8/seed-0/curves.parquet"
    ]


@pytest.mark.parametrize("column", ["training_seconds", "peak_memory_mb"])
def test_times_do_not_count(own_study, column):
    table = own_study.smoke / "tables/90-report-runs.csv"
    before = results(own_study.smoke)
    assert column in table.read_text().splitlines()[0]
    header, row = table.read_text().splitlines()
    values = dict(zip(header.split(","), row.split(","), strict=True)) | {column: "9.9"}
    table.write_text(f"{header}\n{','.join(values.values())}\n")
    assert results(own_study.smoke) == before
