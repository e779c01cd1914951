"""What README.md shows runs as it stands, and says what is published."""

import re
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import torch

from lib import cost
from lib.report import readme
from lib.study.paths import ROOT

TEXT = (ROOT / "README.md").read_text()


def test_the_snippet_of_a_network_of_your_own_halves_it(capsys):
    (snippet,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    torch.manual_seed(0)
    made = {}
    exec(snippet, made)
    first, second = capsys.readouterr().out.splitlines()
    least = made["order"][:3].tolist()
    assert first == f"4,800 units, the least important: {least}; logits with 1000 off: (64, 1000)"
    assert second == f"11,689,512 parameters, shrunk {cost.parameters(made['small']):,} parameters"
    example = made["images"][:1]
    before, after = (cost.multiply_adds(made[name], example) for name in ("model", "small"))
    assert 0.4 * before < after <= 0.5 * before
    assert made["logits"].shape == (64, 1000)
    assert made["order"].sort().values.tolist() == list(range(4800))  # the units of ResNet-18
    assert not torch.equal(made["logits"], made["model"](made["images"]))  # without the first 1000


def test_the_line_that_reads_scores_shows_the_least_important(tmp_path):
    (words,) = re.findall(r'^python -c "(.*)"', TEXT, flags=re.MULTILINE)
    (tmp_path / "results").mkdir()
    scores = pandas.DataFrame({"layer": "a", "unit": range(12), "sq:rand:norm": [float(12 - n) for n in range(12)]})
    scores.to_parquet(tmp_path / "results/scores.parquet")
    done = subprocess.run([sys.executable, "-c", words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].split()[1:] == ["a", "11", "1.0"] and len(done.stdout.splitlines()) == 11


def test_every_folder_and_every_module_of_the_method_is_named():
    folders = ("", "network", "scoring", "masking", "shrinking")
    there = {path.stem for folder in folders for path in (ROOT / "lib" / folder).glob("*.py")} - {"__init__"}
    there |= {f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "lib").rglob("__init__.py")}
    assert {name for name in there if f"`{name}`" not in TEXT} == set()


# ---- what it quotes -----------------------------------------------------------------------------------------------

REPORT = """# A question?

*Profile quick \u00b7 digits: a \u00b7 seeds 0*

## In short

Some words.

- **One?** Yes.
- **Two?** [See](tables/a.csv).

## What to do

- **This.**

## The curves in short

Lines.

![Curves](figures/90-report-curves-units.png)\\
*Figure 2.*

| a | b |
| --- | --- |
| 1 | 2 |

## Behind
"""
BARE = "# Study\n<!-- opening -->\nold\n<!-- /opening -->\nmiddle\n<!-- advice -->\n<!-- /advice -->\nend\n"


def publish(root, name="quick", report=REPORT):
    (root / name).mkdir(parents=True)
    (root / name / "report.md").write_text(report)


def test_it_quotes_what_is_published():
    assert readme.filled(TEXT, Path("results/published")) == TEXT, "run make publish"


def test_marked_places_are_filled_from_the_report_with_links_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    publish(Path("published"))
    text = readme.filled(BARE, Path("published"))
    opening, advice = (
        re.search(rf"<!-- {name} -->\n(.*)<!-- /{name} -->", text, re.DOTALL)[1] for name in ("opening", "advice")
    )
    assert opening.startswith(
        "- **One?** Yes.\n- **Two?** [See](published/quick/tables/a.csv).\n\n![Curves](published/quick/"
    )
    assert "| a | b |\n| --- | --- |\n| 1 | 2 |\n\n*Profile quick" in opening
    assert advice.startswith("- **This.**\n\n*Profile quick")
    assert "old" not in text and text.endswith("end\n") and "\nmiddle\n" in text
    assert readme.filled(text, Path("published")) == text
    assert readme.filled("no places", Path("published")) == "no places"


def test_the_profile_that_says_most_is_quoted(tmp_path):
    publish(tmp_path)
    publish(tmp_path, "cifar", REPORT.replace("Profile quick", "Profile cifar"))
    assert "Profile cifar" in readme.filled(BARE, tmp_path)


def test_the_opening_is_of_all_panels_where_these_are_published(tmp_path):
    publish(tmp_path)
    publish(tmp_path, "all", REPORT.replace("Profile quick", "Profile all").replace("## What to do", "## Other"))
    text = readme.filled(BARE, tmp_path)
    opening, advice = text.split("middle")
    assert "*Profile all" in opening and "Profile quick" not in opening
    assert "- **This.**" in advice and "*Profile quick" in advice


def test_a_report_over_panels_alone_does_not_do(tmp_path):
    publish(tmp_path, "all")
    with pytest.raises(FileNotFoundError, match="holds no report of paper, cifar, quick"):
        readme.filled(BARE, tmp_path)


@pytest.mark.parametrize("heading", ["In short", "What to do", "The curves in short"])
def test_a_report_without_what_it_quotes_is_named(tmp_path, heading):
    with pytest.raises(FileNotFoundError, match="holds no report of paper, cifar, quick: publish one"):
        readme.filled(BARE, tmp_path)
    publish(tmp_path, report=REPORT.replace(f"## {heading}", "## Other"))
    with pytest.raises(ValueError, match=f"report.md has no section '{heading}'"):
        readme.filled(BARE, tmp_path)
