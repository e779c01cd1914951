"""report.speed: benchmarks in a report."""

import made_up
import pandas

from lib.report import results


def test_benchmarks_come_last_if_there_are_any(plan):
    made_up.finish(plan)
    assert "How fast" not in plan.report.with_suffix(".md").read_text()
    folder = plan.folder.parent / "benchmarks"
    folder.mkdir()
    columns = {"task": ["plain pass", "one cotangent", "oracle"], "share": [1, 0.5, 0.3], "share_low": [1, 0.4, 0.2]}
    columns |= {"target": [None, 0.4, 0.3], "device": "cpu", "device_name": "A Processor", "more": 7}
    pandas.DataFrame({"network": "resnet20", **columns}).to_csv(folder / "scoring.csv", index=False)
    (folder / "scoring.csv.part").write_text("half")
    (folder / "shares.png").write_bytes(made_up.png((30, 20)))
    (folder / "shares.svg").write_text("<svg/>")
    made_up.finish(plan)
    markdown = plan.report.with_suffix(".md").read_text()
    section = markdown[markdown.index("## How fast") : markdown.index("## Files")]
    assert "### Time of scoring, against a plain pass\n\n| network" in section
    assert "| network | what | relative | from | target | within the target | measured on | processor |" in section
    assert "| resnet20 | plain pass | 1.000 | 1.000 | – |  | cpu | A Processor |" in section
    assert "| resnet20 | one cotangent | 0.500 | 0.400 | 0.400 | no | cpu | A Processor |" in section
    assert "| resnet20 | oracle | 0.300 | 0.200 | 0.300 | yes | cpu | A Processor |" in section
    assert "[90-report-benchmarks-scoring.csv](tables/90-report-benchmarks-scoring.csv)" in section
    assert "(figures/90-report-benchmarks.png)" in section and (plan.figures / "90-report-benchmarks.svg").exists()
    assert (plan.tables / "90-report-benchmarks-scoring.csv").read_bytes() == (folder / "scoring.csv").read_bytes()
    assert results.is_current(plan)
