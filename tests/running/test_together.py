"""running.together: the report over published panels, made and published."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from lib.running import publish, reproduce, together
from lib.study import paths

NEEDED = ("notebooks/*.json", "tables/*.csv", "*/seed-*/00-train.json", "*/seed-*/oracle.parquet")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results in which `quick` is published, though a demonstration, with no more than the report needs of it."""
    folder = tmp_path_factory.mktemp("results")
    published = paths.ROOT / "results/published/quick"
    for path in (path for pattern in NEEDED for path in published.glob(pattern)):
        target = folder / "published/quick" / path.relative_to(published)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


@pytest.fixture(scope="module")
def report(results):
    """The folder of the report on it, and on `smoke`, which is missing."""
    assert together.main(["--panels", "quick smoke", "--results", str(results)]) == 0
    return results / "all"


def test_a_report_on_what_is_published_names_what_is_missing(report):
    text = (report / "report.md").read_text()
    assert "*Profile all · panels quick (6 networks) · not measured yet: smoke*" in text
    assert "Not measured yet: `smoke` (`make reproduce PROFILE=<name>`, then `make publish PROFILE=<name>`)." in text
    for heading in (
        "The answer",
        "The panels",
        "The claims",
        "Panel by panel",
        "The curves in short",
        "The leaderboard",
    ):
        assert f"\n## {heading}\n" in text
    for link in re.findall(r"\]\(([^#)][^)]*)\)", text):
        assert (report / unquote(link)).is_file(), link
    record = json.loads((report / "notebooks/95-panels.json").read_text())
    assert (record["panels"], record["missing"]) == (["quick"], ["smoke"])


def test_it_is_published_without_the_panels_own_files(report, results, capsys):
    assert publish.main(["--profile", "all", "--results", str(results)]) == 0
    assert re.fullmatch(r"\S*published/all: \d\.\d\d MiB\n", capsys.readouterr().out)
    there = {path.relative_to(results / "published/all") for path in (results / "published/all").rglob("*.*")}
    assert {path.parts[0] for path in there} == {"report.html", "report.md", "notebooks", "tables", "figures"}
    assert (results / "published/quick").is_dir()


def test_where_nothing_is_published_there_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(paths.ROOT)
    assert together.main(["--results", str(tmp_path)]) == 1
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1
    assert "published holds none of the panels " in error and not (tmp_path / "all").exists()
    assert publish.main(["--profile", "all", "--results", str(tmp_path)]) == 1
    assert (
        "95-panels.json is missing, so there is no report yet: run make report PROFILE=all" in capsys.readouterr().err
    )


def test_it_is_no_profile_to_run(monkeypatch, capsys):
    monkeypatch.chdir(paths.ROOT)
    assert reproduce.main(["--profile", "all"]) == 1
    expected = "PROFILE=all is no profile to run, but a report on published ones: make report PROFILE=all\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (["PROFILE=all", "PANELS=quick"], '-m lib.running.together --panels="$PANELS" --data="$DATA"'),
        (["PROFILE=quick", "SEEDS=0"], "-m lib.running.reproduce --profile="),
        (["PROFILE=all", "SEEDS=0"], "make report takes no SEEDS: leave it out"),
        (["PROFILE=quick", "PANELS=quick"], "make report takes no PANELS: leave it out"),
    ],
)
def test_make_knows_which_report_is_meant(variables, expected):
    words = ["make", "-n", "report", f"PYTHON={sys.executable}", *variables]
    made = subprocess.run(words, cwd=Path(paths.ROOT), capture_output=True, text=True, check=False)
    assert expected in made.stdout + made.stderr
