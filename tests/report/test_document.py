"""The report of a profile that nobody ran, and, in a browser, that of one that was run."""

import json
import re
from collections import Counter
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import browser
import made_up
import pandas
import pytest

from lib.report import document
from lib.study import paths, profiles

needs_chromium = pytest.mark.skipif(browser.CHROMIUM is None, reason="Chromium is not installed")
FRONT = [document.Text("# What was found"), document.Text("## In short\n\nNothing was run.")]


@pytest.fixture
def plan(tmp_path):
    return made_up.profile(tmp_path / "results")


def html_links(plan):
    return [unescape(link) for link in re.findall(r'href="([^"]*)"', plan.report.read_text())]


# ---- sections -----------------------------------------------------------------------------------------------------


def test_a_section_is_prose_tables_and_figures_in_order(plan):
    saved, unsaved = (plan.figures / f"15-replication-{name}.png" for name in ("curves", "cell-6-0"))
    assert document.section(plan, "15-replication") == [
        document.Text("# Does it *work*?\n\nFirst words.\n\nSome `code` in a sentence:"),
        document.Figure(saved, "Does it work?", "Some code in a sentence"),
        document.Text("## The table"),
        document.Text(made_up.TABLE, (plan.tables / "15-replication-auc.csv",)),
        document.Text("## A *picture* that nobody saved"),
        document.Figure(unsaved, "A picture that nobody saved", "A picture that nobody saved"),
    ]
    assert unsaved.read_bytes() == made_up.png((30, 20))


def test_words_about_a_figure_are_those_below_its_own_heading():
    below = document._heading_and_last_paragraph("# A\n\nOf A.\n\n## B\n\nFirst.\n\nOf `B`:\n\n| a |\n| --- |")
    assert below == ("B", "Of B")
    assert document._heading_and_last_paragraph("# A\n\nOf A.\n\n## B\n\n") == ("B", "B")


def test_no_paragraph_of_a_notebook_is_copied_into_another():
    seen = Counter()
    for path in (paths.ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "markdown":
                seen.update(part for part in "".join(cell["source"]).split("\n\n") if len(part) > 300)
    assert len(seen) > 20 and seen.most_common(1)[0][1] == 1


def test_a_missing_notebook_is_named_and_an_earlier_report_left_as_it_was(plan):
    document.write(plan, FRONT)
    before = plan.report.read_bytes()
    plan.executed("30-sign").unlink()
    with pytest.raises(FileNotFoundError, match=r"notebooks/30-sign\.ipynb is missing: run make reproduce"):
        document.write(plan, FRONT)
    assert plan.report.read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}'])
def test_what_is_no_notebook_is_named(plan, content):
    plan.executed("30-sign").write_text(content)
    with pytest.raises(ValueError, match=r"notebooks/30-sign\.ipynb is not a notebook"):
        document.section(plan, "30-sign")


@pytest.mark.parametrize("begun", ["2026-01-02T03:04:04+00:00", "2026-01-02T03:04:10+00:00"])
def test_a_notebook_run_by_hand_since_is_refused(plan, begun):
    made_up.change(plan.record("30-sign"), begun=begun)
    with pytest.raises(ValueError, match=r"notebooks/30-sign\.ipynb is not of 30-sign's last run"):
        document.section(plan, "30-sign")


def test_front_matter_can_follow_the_notebooks_own_prose(tmp_path, monkeypatch):
    cells = [
        made_up.markdown("# Title"),
        made_up.code("1"),
        made_up.markdown("## Claims\n\nWhy."),
        made_up.markdown("End."),
    ]
    made_up.write_notebook(tmp_path / "90.ipynb", cells)
    monkeypatch.setattr(paths, "notebook", lambda name: tmp_path / f"{name}.ipynb")
    shown = document.Text("shown")
    expected = [document.Text("# Title"), document.Text("## Claims\n\nWhy."), shown, document.Text("End.")]
    assert document.told("90", {"Claims": [shown]}) == expected
    with pytest.raises(ValueError, match="90 has no heading 'Clams'"):
        document.told("90", {"Clams": [shown]})


def test_blocks_show_themselves_in_a_notebook(plan):
    block = document.table(pandas.DataFrame({"dataset": ["digits"]}), "Of what.", plan.tables / "x.csv")
    assert block._repr_markdown_() == "Of what.\n\n| data set |\n| --- |\n| digits |"
    assert block.files == (plan.tables / "x.csv",)
    assert document.Figure(plan.figures / "30-sign-curves.png", "A")._repr_png_() == made_up.png()


# ---- records ------------------------------------------------------------------------------------------------------


def test_runs_says_what_was_run_on_what(plan):
    row = {"dataset": "digits", "network": "resnet8", "seed": 0, "accuracy": 0.5, "epochs": 3, "device": "A Processor"}
    row |= {"torch": "2.14.1", "training_seconds": 1.5, "measuring_seconds": 20.25, "peak_memory_mb": 900.0}
    row |= {"commit": "0123456+"}
    expected = pandas.DataFrame([row, row | {"seed": 1, "accuracy": 0.6}])
    pandas.testing.assert_frame_equal(document.runs(plan), expected)


def test_runs_without_git_have_no_commit(plan):
    made_up.change(plan.runs[0].record("10-measure"), git=None)
    assert list(document.runs(plan)["commit"]) == ["none", "0123456+"]


@pytest.mark.parametrize("notebook", ["00-train", "10-measure"])
@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"code": "xyz"}, "code of {}"),
        ({"data": ["d2"]}, "data of {}"),
        ({"settings": {"training": {"epochs": 9}, "measuring": {"points": 9}}}, "settings of {}"),
        ({"checkpoint": "other"}, "checkpoint"),
    ],
    ids=["code", "data", "settings", "checkpoint"],
)
def test_runs_that_do_not_belong_together_are_refused(plan, notebook, fields, what):
    made_up.change(plan.runs[1].record(notebook), **fields)
    with pytest.raises(
        ValueError, match=rf"digits-resnet8 seed 1.* differ in the {what.format(notebook)}: make"
    ) as error:
        document.write(plan, FRONT)
    assert "\n" not in str(error.value)
    assert not plan.report.exists()


def test_settings_of_the_other_notebook_do_not_matter(plan):
    settings = plan.runs[0].settings
    made_up.change(plan.runs[1].record("00-train"), settings=settings | {"measuring": {"points": 99}})
    assert document.check_consistent(plan).empty


def test_an_ablation_over_other_seeds_is_refused(plan):
    made_up.change(plan.record("30-sign"), parameters=plan.parameters | {"seeds": [0]})
    with pytest.raises(ValueError, match="the report against 30-sign differ in the seeds"):
        document.check_consistent(plan)


def test_other_differences_are_listed(plan):
    assert document.check_consistent(plan).empty
    made_up.change(plan.runs[1].record("10-measure"), device={"type": "cuda", "name": "A GPU"}, threads=4)
    found = document.check_consistent(plan)
    all_but_one = "digits-resnet8 seed 0 00-train, digits-resnet8 seed 1 00-train, digits-resnet8 seed 0 10-measure"
    assert found.to_dict("records") == [
        {"field": "device", "value": "A Processor", "runs": all_but_one},
        {"field": "device", "value": "A GPU", "runs": "digits-resnet8 seed 1 10-measure"},
        {"field": "threads", "value": "1", "runs": all_but_one},
        {"field": "threads", "value": "4", "runs": "digits-resnet8 seed 1 10-measure"},
    ]


def test_data_sets_may_differ_in_data_and_settings(tmp_path):
    plan = profiles.load("paper", [0], results=tmp_path)
    for run in plan.runs:
        for notebook in document.PER_RUN:
            run.folder.mkdir(parents=True, exist_ok=True)
            fields = made_up.run_record(run, notebook) | {"data": run.dataset}
            made_up.write_record(run.record(notebook), fields)
    plan.executed("x").parent.mkdir()
    for notebook in plan.notebooks:
        made_up.write_record(plan.record(notebook), made_up.ablation_record(plan))
    assert document.check_consistent(plan).empty


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_a_damaged_record_is_named(plan, content):
    plan.runs[0].record("00-train").write_text(content)
    with pytest.raises(ValueError, match=r"seed-0/00-train\.json is no whole record"):
        document.runs(plan)


# ---- the pages ----------------------------------------------------------------------------------------------------


def test_the_report_in_markdown(plan):
    document.write(plan, FRONT)
    text = plan.report.with_suffix(".md").read_text()
    start = """# What was found

*Profile smoke · digits: resnet8 · seeds 0, 1*

- [In short](#in-short)
- [Does it work?](#does-it-work)
- [Does it work?](#does-it-work-1)
- [Files](#files)

## In short

Nothing was run.

*Files:* [90-report.ipynb](notebooks/90-report.ipynb)

## Does it *work*?

First words.

Some `code` in a sentence:

![Some code in a sentence](figures/15-replication-curves.png)\\
*Figure 1. Does it work?* [SVG](figures/15-replication-curves.svg)

### The table

| criterion | relative auc |
| --- | ---: |
| `sq:norm` | 0.912 |

*Data:* [15-replication-auc.csv](tables/15-replication-auc.csv)

### A *picture* that nobody saved

![A picture that nobody saved](figures/15-replication-cell-6-0.png)\\
*Figure 2. A picture that nobody saved.*

*Files:* [15-replication.ipynb](notebooks/15-replication.ipynb), [15-replication-auc.csv](tables/15-replication-auc.csv)

## Does it *work*?
"""
    assert text.startswith(start)
    assert re.findall(r"\*Figure (\d+)\.", text) == ["1", "2", "3", "4"]
    for link in re.findall(r"\]\(([^#)][^)]*)\)", text):
        assert link == "notebooks/90-report.ipynb" or (plan.folder / link).is_file(), link


@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_code_parameters_and_bare_outputs_stay_out(plan, suffix):
    document.write(plan, FRONT)
    text = plan.report.with_suffix(suffix).read_text()
    for word in ("figures.save", "records.save_table", 'profile = "smoke"', "noise", "bare", "Figure size"):
        assert word not in text


def test_both_are_written_whole_and_again_the_same(plan):
    document.write(plan, FRONT)
    before = {path: path.read_bytes() for path in plan.folder.glob("report.*")}
    document.write(plan, FRONT)
    assert {path: path.read_bytes() for path in plan.folder.glob("report.*")} == before
    assert sorted(path.name for path in before) == ["report.html", "report.md"]
    assert not list(plan.folder.rglob("*.part*"))


def test_figures_and_tables_of_the_front_are_numbered_and_linked(plan):
    picture = plan.figures / "30-sign-curves.png"
    front = [*FRONT, document.Figure(picture, "Up [front]", "Words", (plan.tables / "30-sign-auc.csv",))]
    document.write(plan, front)
    text = plan.report.with_suffix(".md").read_text()
    links = "[SVG](figures/30-sign-curves.svg) · data: [30-sign-auc.csv](tables/30-sign-auc.csv)"
    assert f"![Words](figures/30-sign-curves.png)\\\n*Figure 1. Up \\[front\\].* {links}" in text
    assert "*Figure 5. " in text


def test_benchmarks_come_last_if_there_are_any(plan):
    document.write(plan, FRONT)
    assert "How fast" not in plan.report.with_suffix(".md").read_text()
    folder = plan.folder.parent / "benchmarks"
    folder.mkdir()
    columns = {"task": ["plain pass", "one cotangent", "oracle"], "share": [1, 0.5, 0.3], "share_low": [1, 0.4, 0.2]}
    columns |= {"target": [None, 0.4, 0.3], "device": "cpu", "device_name": "A Processor", "more": 7}
    pandas.DataFrame({"network": "resnet20", **columns}).to_csv(folder / "scoring.csv", index=False)
    (folder / "scoring.csv.part").write_text("half")
    (folder / "shares.png").write_bytes(made_up.png((30, 20)))
    (folder / "shares.svg").write_text("<svg/>")
    document.write(plan, FRONT)
    markdown = plan.report.with_suffix(".md").read_text()
    section = markdown[markdown.index("## How fast") : markdown.index("## Files")]
    assert "### Time of scoring, against a plain pass\n\n| network" in section
    assert "| network | what | relative | from | target | within the target | device | processor |" in section
    assert "| resnet20 | plain pass | 1.000 | 1.000 | – |  | cpu | A Processor |" in section
    assert "| resnet20 | one cotangent | 0.500 | 0.400 | 0.400 | no | cpu | A Processor |" in section
    assert "| resnet20 | oracle | 0.300 | 0.200 | 0.300 | yes | cpu | A Processor |" in section
    assert "[90-report-benchmarks-scoring.csv](tables/90-report-benchmarks-scoring.csv)" in section
    assert "(figures/90-report-benchmarks.png)" in section and "(figures/90-report-benchmarks.svg)" in section
    assert (plan.tables / "90-report-benchmarks-scoring.csv").read_bytes() == (folder / "scoring.csv").read_bytes()
    assert document.is_current(plan)


def test_a_report_needs_a_title(plan):
    with pytest.raises(ValueError, match=r"begins with its title, '# ...', not with 'Words'"):
        document.write(plan, [document.Text("Words")])


def test_fences_hide_what_looks_like_a_heading(plan):
    cell = made_up.markdown("# Title\n\n```\n# a remark\n```\n\n## Below")
    made_up.write_notebook(plan.executed("30-sign"), [cell])
    document.write(plan, FRONT)
    assert "## Title\n\n```\n# a remark\n```\n\n### Below" in plan.report.with_suffix(".md").read_text()


@pytest.mark.parametrize("change", ["table", "figure", "notebook", "record"])
def test_a_report_knows_when_its_sources_have_changed(plan, change):
    document.write(plan, FRONT)
    assert document.is_current(plan)
    changed = {
        "table": plan.tables / "30-sign-auc.csv",
        "figure": plan.figures / "30-sign-curves.png",
        "notebook": plan.executed("30-sign"),
        "record": plan.runs[1].record("10-measure"),
    }[change]
    changed.write_bytes(changed.read_bytes() + b"\n")
    assert not document.is_current(plan)


# ---- in a browser -------------------------------------------------------------------------------------------------


def look(page: Path) -> dict:
    """What a phone makes of a page in which nothing is broken, missing or fetched, and which fits phone and screen."""
    seen, on_screen = browser.look(page, 390, 1280)
    assert seen["scrollWidth"] <= 390 and on_screen["scrollWidth"] <= 1280
    assert seen["images"] == seen["embedded"] > 0 and seen["broken"] == [] and seen["speechless"] == 0
    assert seen["fetched"] == [] and seen["astray"] == []
    assert len(set(seen["ids"])) == len(seen["ids"])
    assert [link for link in seen["links"] if not (page.parent / unquote(link)).is_file()] == []
    assert seen["headers"] and not [header for header in seen["headers"] if "_" in header or not header.strip()]
    return seen


@needs_chromium
def test_a_report_in_a_browser(plan):
    wide = pandas.DataFrame({f"column {i}": ["a-very-long-word-without-any-break"] for i in range(20)})
    long_word = document.Text("## Long\n\n" + "unbreakable" * 20)
    made_up.finish(plan)
    document.write(plan, [*FRONT, document.table(wide), long_word])
    seen = look(plan.report)
    assert seen["images"] == 4
    assert "Nothing was run." in seen["text"] and "figures.save" not in seen["text"]


@needs_chromium
def test_the_report_of_the_smoke_profile_in_a_browser(study):
    seen = look(study.smoke / "report.html")
    assert seen["images"] == len(list((study.smoke / "figures").glob("*.png"))) > 0
    for name, width in (("phone", 390), ("wide", 1280)):
        picture = paths.ROOT / f"results/screenshots/{name}.png"
        browser.screenshot(study.smoke / "report.html", picture, width)
        assert picture.stat().st_size > 10_000
