"""report.notebooks: what is told and shown, and what is refused."""

import json
from collections import Counter

import made_up
import pytest

from lib.report import notebooks
from lib.report.blocks import Figure, Text
from lib.study import paths


def test_a_section_is_prose_tables_and_figures_in_order(plan):
    saved, unsaved = (plan.figures / f"15-replication-{name}.png" for name in ("curves", "cell-6-0"))
    assert notebooks.section(plan, "15-replication") == [
        Text("# Does it *work*?\n\nFirst words.\n\nSome `code` in a sentence:"),
        Figure(saved, "Does it work?", "Some code in a sentence"),
        Text("## The table"),
        Text(made_up.TABLE, (plan.tables / "15-replication-auc.csv",)),
        Text("## A *picture* that nobody saved"),
        Figure(unsaved, "A picture that nobody saved", "A picture that nobody saved"),
    ]
    assert unsaved.read_bytes() == made_up.png((30, 20))


def test_words_about_a_figure_are_those_below_its_own_heading():
    below = notebooks._heading_and_last_paragraph("# A\n\nOf A.\n\n## B\n\nFirst.\n\nOf `B`:\n\n| a |\n| --- |")
    assert below == ("B", "Of B")
    assert notebooks._heading_and_last_paragraph("# A\n\nOf A.\n\n## B\n\n") == ("B", "B")


def test_no_paragraph_of_a_notebook_is_copied_into_another():
    seen = Counter()
    for path in (paths.ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "markdown":
                seen.update(part for part in "".join(cell["source"]).split("\n\n") if len(part) > 300)
    assert len(seen) > 20 and seen.most_common(1)[0][1] == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}'])
def test_what_is_no_notebook_is_named(plan, content):
    plan.executed("30-sign").write_text(content)
    with pytest.raises(ValueError, match=r"notebooks/30-sign\.ipynb is not a notebook"):
        notebooks.section(plan, "30-sign")


@pytest.mark.parametrize("begun", ["2026-01-02T03:04:04+00:00", "2026-01-02T03:04:10+00:00"])
def test_a_notebook_run_by_hand_since_is_refused(plan, begun):
    made_up.change(plan.record("30-sign"), begun=begun)
    with pytest.raises(ValueError, match=r"notebooks/30-sign\.ipynb is not of 30-sign's last run"):
        notebooks.section(plan, "30-sign")


def test_front_matter_can_follow_the_notebooks_own_prose(tmp_path, monkeypatch):
    cells = [
        made_up.markdown("# Title"),
        made_up.code("1"),
        made_up.markdown("## Claims\n\nWhy."),
        made_up.markdown("End."),
    ]
    made_up.write_notebook(tmp_path / "90.ipynb", cells)
    monkeypatch.setattr(paths, "notebook", lambda name: tmp_path / f"{name}.ipynb")
    shown = Text("shown")
    expected = [Text("# Title"), Text("## Claims\n\nWhy."), shown, Text("End.")]
    assert notebooks.told("90", {"Claims": [shown]}) == expected
    with pytest.raises(ValueError, match="90 has no heading 'Clams'"):
        notebooks.told("90", {"Clams": [shown]})


def test_a_published_copy_begins_with_the_answer_that_the_report_has():
    def copy(*sources):
        return json.dumps({"cells": [{"cell_type": "markdown", "source": list(parts)} for parts in sources]})

    report = "# R\n\n## Is it?\n\n**Yes.** It is.\n\n<details>\n<summary>What</summary>\n\n## Other\n\nWords.\n"
    once = notebooks.answered(copy(["# Is it?\n", "\n", "Asked."], ["# Is it?"]), report)
    first, second = json.loads(once)["cells"]
    assert "".join(first["source"]) == "# Is it?\n\n**Yes.** It is.\n\nAsked." and second["source"] == ["# Is it?"]
    for other in (copy(["# Other\n", "\n", "Asked."]), copy(["## Is it?"])):
        assert notebooks.answered(other, report) == other
