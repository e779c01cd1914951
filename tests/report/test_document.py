"""The report of a profile that nobody ran, and, in a browser, that of one that was run."""

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import browser
import made_up
import pandas
import pytest

from lib.report import blocks, document
from lib.report.blocks import Figure, Text
from lib.study import paths

needs_chromium = pytest.mark.skipif(browser.CHROMIUM is None, reason="Chromium is not installed")
FRONT = [Text("# What was found"), Text("## In short\n\nNothing was run.")]


def test_networks_that_others_have_trained_are_named(plan):
    theirs = replace(plan, given={"digits": {"resnet8": {}}})
    assert document._facts(theirs) == "Profile smoke · digits: resnet8 · seeds 0, 1 · trained by others: resnet8"


def test_a_missing_notebook_is_named_and_an_earlier_report_left_as_it_was(plan):
    document.write(plan, FRONT)
    before = plan.report.read_bytes()
    plan.executed("30-sign").unlink()
    with pytest.raises(FileNotFoundError, match=r"notebooks/30-sign\.ipynb is missing: run make reproduce"):
        document.write(plan, FRONT)
    assert plan.report.read_bytes() == before


def test_runs_that_do_not_belong_together_have_no_report(plan):
    made_up.change(plan.runs[1].record("10-measure"), code="xyz")
    with pytest.raises(ValueError, match="differ in the code of 10-measure: make"):
        document.write(plan, FRONT)
    assert not plan.report.exists()


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
*Figure 1. Does it work?*

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
    for word in ("style.save", "records.save_table", 'profile = "smoke"', "noise", "bare", "Figure size"):
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
    front = [*FRONT, Figure(picture, "Up [front]", "Words", (plan.tables / "30-sign-auc.csv",))]
    document.write(plan, front)
    text = plan.report.with_suffix(".md").read_text()
    links = "data: [30-sign-auc.csv](tables/30-sign-auc.csv)"
    assert f"![Words](figures/30-sign-curves.png)\\\n*Figure 1. Up \\[front\\].* {links}" in text
    assert "*Figure 5. " in text


def test_a_report_needs_a_title(plan):
    with pytest.raises(ValueError, match=r"begins with its title, '# ...', not with 'Words'"):
        document.write(plan, [Text("Words")])


def test_a_section_begins_with_its_answer_and_what_is_asked_is_folded(plan):
    cell = made_up.markdown("# Title\n\nFirst words.\n\nMore.")
    made_up.write_notebook(plan.executed("30-sign"), [cell, made_up.markdown("## Below")])
    document.write(plan, FRONT, answers={"30-sign": "**Yes.** It is.", "none": "?"})
    text = plan.report.with_suffix(".md").read_text()
    folded = "<details>\n<summary>What is asked, and how</summary>\n\nFirst words.\n\nMore.\n\n</details>"
    assert f"## Title\n\n**Yes.** It is.\n\n{folded}\n\n### Below" in text
    assert "<details>\n<summary>What is asked, and how</summary>" in plan.report.read_text()


def test_fences_hide_what_looks_like_a_heading(plan):
    cell = made_up.markdown("# Title\n\n```\n# a remark\n```\n\n## Below")
    made_up.write_notebook(plan.executed("30-sign"), [cell])
    document.write(plan, FRONT)
    assert "## Title\n\n```\n# a remark\n```\n\n### Below" in plan.report.with_suffix(".md").read_text()


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
    long_word = Text("## Long\n\n" + "unbreakable" * 20)
    made_up.finish(plan)
    document.write(plan, [*FRONT, blocks.table(wide), long_word])
    seen = look(plan.report)
    assert seen["images"] == 4
    assert "Nothing was run." in seen["text"] and "style.save" not in seen["text"]


@needs_chromium
def test_the_report_of_the_smoke_profile_in_a_browser(study):
    seen = look(study.smoke / "report.html")
    assert seen["images"] == len(list((study.smoke / "figures").glob("*.png"))) > 0
    for name, width in (("phone", 390), ("wide", 1280)):
        picture = paths.ROOT / f"results/screenshots/{name}.png"
        browser.screenshot(study.smoke / "report.html", picture, width)
        assert picture.stat().st_size > 10_000
