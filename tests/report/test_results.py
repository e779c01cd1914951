"""report.results: whether a report is of what is there."""

import made_up
import pytest

from lib.report import results


@pytest.mark.parametrize("change", ["table", "figure", "notebook", "record"])
def test_a_report_knows_when_its_sources_have_changed(plan, change):
    made_up.finish(plan)
    assert results.is_current(plan)
    changed = {
        "table": plan.tables / "30-sign-auc.csv",
        "figure": plan.figures / "30-sign-curves.png",
        "notebook": plan.executed("30-sign"),
        "record": plan.runs[1].record("10-measure"),
    }[change]
    changed.write_bytes(changed.read_bytes() + b"\n")
    assert not results.is_current(plan)
