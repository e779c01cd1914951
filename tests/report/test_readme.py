"""What README.md shows runs as it stands, and says what is published."""

import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import made_up_panels
import pandas
import pytest
import torch

from lib import cost
from lib.prune import __main__ as prune
from lib.report import readme
from lib.study import paths

ROOT = paths.ROOT
TEXT = (ROOT / "README.md").read_text()


def test_the_snippet_of_a_network_of_your_own_shrinks_it_and_keeps_it(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    torch.manual_seed(0)
    made = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter
        exec(snippet, made)
    parameters = cost.parameters(made["small"])
    assert capsys.readouterr().out.splitlines()[-1] == f"11,689,512 parameters, shrunk {parameters:,} parameters"
    example = made["images"][:1]
    before, after = (cost.multiply_adds(made[name], example) for name in ("model", "small"))
    assert 0.65 * before < after <= 0.7 * before


def test_the_line_that_reads_scores_shows_the_least_important(tmp_path):
    (words,) = re.findall(r'^python -c "(.*)"', (ROOT / "docs/tool.md").read_text(), flags=re.MULTILINE)
    (tmp_path / "results").mkdir()
    scores = pandas.DataFrame({"layer": "a", "unit": range(12), "sq:rand:norm": [float(12 - n) for n in range(12)]})
    scores.to_parquet(tmp_path / "results/scores.parquet")
    done = subprocess.run([sys.executable, "-c", words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].split()[1:] == ["a", "11", "1.0"] and len(done.stdout.splitlines()) == 11


def test_every_command_of_the_tool_says_all_that_it_needs():
    shown = [text for page in (ROOT / "README.md", ROOT / "docs/tool.md") for text in page.read_text().splitlines()]
    commands = [line.partition("  #")[0] for line in shown if line.startswith("python -m lib.prune ")]
    assert len(commands) > 3
    for command in commands:
        asked = prune.parser().parse_args(shlex.split(command)[3:])
        assert (asked.minutes or asked.epochs) or not (asked.distil or asked.fine_tune), command


def test_it_is_short_and_what_it_links_to_is_there():
    assert len(TEXT.splitlines()) <= 150
    for text, folder in [(TEXT, ROOT), *((path.read_text(), path.parent) for path in (ROOT / "docs").glob("*.md"))]:
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", text)
        assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize("folder", sorted(path.parent for path in (ROOT / "results/published").glob("*/report.md")))
def test_what_published_reports_link_to_is_there_and_is_what_its_sums_say(folder):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)", (folder / "report.md").read_text())
    links += re.findall(r'(?:href|src)="(?!https?:|#|data:)([^"#]+)', (folder / "report.html").read_text())
    assert links and [link for link in links if not (folder / link).exists()] == []
    sums = [line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
    own = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"SHA256SUMS"}
    assert {name for _, name in sums} == own
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == said for said, name in sums)


def test_every_folder_and_every_module_of_the_method_is_named():
    map_of_it = (ROOT / "docs/code.md").read_text()
    folders = ("", "network", "scoring", "masking", "shrinking")
    there = {path.stem for folder in folders for path in (ROOT / "lib" / folder).glob("*.py")} - {"__init__"}
    there |= {f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "lib").rglob("__init__.py")}
    assert {name for name in there if f"`{name}`" not in map_of_it} == set()


# ---- what it quotes -----------------------------------------------------------------------------------------------

BARE = """# Study
<!-- opening -->
outdated
<!-- /opening -->
middle
<!-- claims -->
<!-- /claims -->
<!-- advice -->
<!-- /advice -->
- fast?
  <!-- speed -->
  <!-- /speed -->
end
"""


@pytest.fixture
def published(root):
    """Two panels and a demonstration that nobody measured."""
    made_up_panels.study(root)
    made_up_panels.publish(Path("results"), "one", "demo")
    return Path("results/published")


def test_it_quotes_what_is_published():
    assert readme.filled(TEXT, Path("results/published")) == TEXT, "run python -m lib.report.readme"
    assert (ROOT / readme.PICTURE).is_file()
    for page in readme.PAGES:
        text = (ROOT / page).read_text()
        assert readme.filled(text, Path("results/published")) == text, "run python -m lib.report.readme"


def test_marked_places_are_filled_from_the_panels_and_from_no_demonstration(published):
    text = readme.filled(BARE, published)
    assert "outdated" not in text and text.endswith("end\n") and "\nmiddle\n" in text
    assert "Measured on 3 trained networks (cifar100: resnet20 from 3 seeds)" in text and "digits" not in text
    assert "![Test accuracy" in text and "](docs/answer.png)" in text
    assert '| [C10](results/published/one/report.md#the-claims "C10") | Squares rank better' in text
    assert readme.filled(text, published) == text
    assert readme.filled("no places", published) == "no places"


def test_several_panels_are_quoted_together(published):
    made_up_panels.publish(Path("results"), "three")
    text = readme.filled(BARE, published)
    assert "Measured on 4 trained networks (cifar100: resnet20 from 3 seeds; stl10: resnet18-small)" in text
    assert "(results/published/all/report.md#the-claims " in text
    assert "the reports of [one](results/published/one/report.md), [three](results/published/three/report.md)." in text


def test_the_demonstration_is_quoted_where_there_is_no_panel(published, monkeypatch):
    monkeypatch.setattr(readme, "DEMONSTRATION", "demo")
    shutil.rmtree(published / "one")
    assert "a first look" in readme.filled(BARE, published)
    shutil.rmtree(published / "demo")
    with pytest.raises(FileNotFoundError, match="holds none of the panels demo: make reproduce PROFILE=demo"):
        readme.filled(BARE, published)


def test_the_picture_is_drawn_beside_it_and_other_pages_are_filled(published):
    Path("README.md").write_text(BARE)
    tool, reading, networks = readme.PAGES
    tool.parent.mkdir(exist_ok=True)
    tool.write_text("<!-- commands -->\n<!-- /commands -->\n")
    reading.write_text("<!-- words -->\n<!-- /words -->\n")
    networks.write_text("no places")
    table = published.parent / "tool/prune.csv"
    table.parent.mkdir()
    pandas.DataFrame({"command": ["python -m lib.prune a", "python -m lib.prune b"]}).to_csv(table)
    readme.fill(Path("README.md"), published)
    assert "outdated" not in Path("README.md").read_text() and readme.PICTURE.stat().st_size > 10_000
    assert not list(Path("docs").glob("*.svg"))
    assert "```sh\npython -m lib.prune a\npython -m lib.prune b\n```" in tool.read_text()
    assert "\n| unit | an output channel" in reading.read_text()
    readme.fill(Path("none.md"), published)
    assert not Path("none.md").exists()


def test_how_much_faster_is_said_of_every_network():
    rows = [(0, 0.0, 10.0, 100.0, 200), (0, 0.5, 9.0, 60.0, 100), (0, 0.75, 1.0, 1.0, 1)]
    costs = pandas.DataFrame(rows, columns=["seed", "budget", "latency_1_ms", "latency_64_ms", "parameters"])
    assert readme.speed(costs.assign(panel="p", dataset="digits", network="vgg8"), "a GPU (one)") == (
        "Without half of its multiply-adds `vgg8` takes 60 % of the time for 64 images (90 % for one image) and has "
        "50 % of the parameters. The time is on a GPU (one)."
    )
    assert readme.speed(pandas.DataFrame(), "") == ""


def test_what_points_the_other_way_is_set_beside_what_the_papers_own_curves_say():
    key = {"label": "l", "dataset": "cifar100", "network": "resnet20", "claim": "C4", "part": "apart"}
    contrasts = pandas.DataFrame([key | {"examples": number, "paper": paper, "effect": paper / 2}
                                  for number, paper in ((10, 0.3), (2, 0.1), (103, 0.5))])  # fmt: skip
    unlike = contrasts.assign(dataset="stl10", effect=[0.2, 0.1, 0.1], paper=[0.2, 0.1, 0.3])  # 0 and -0.2
    contrasts = pandas.concat([contrasts, unlike, contrasts.assign(claim="C2", part="contrast", paper=[0.1, 0.2, 0.3])])
    verdict = {"claim": "C4", "label": "It falls (a word)", "kind": "difference", "verdict": "open", "side": "below"}
    rows = pandas.DataFrame([verdict | {"effect": -0.9}, verdict | {"claim": "C2", "side": "above", "effect": 0.1}])
    end = "on cifar100 -0.200 here and -0.400 in the paper's own curves and on stl10 0.000 here and -0.200 in the "
    end += "paper's own curves"
    assert readme._against(rows, contrasts) == f' C4 ("It falls") is open, but points the other way: {end}.'
    rows["verdict"] = "contradicted"
    more = pandas.DataFrame({"claim": "C4", "dataset": "a", "network": "n", "difference": [-0.1, -0.1, float("nan")]})
    wide = "over all networks -0.100 (95 % interval -0.100 to -0.100; above 0 in none of 2 networks), exploratory"
    both = readme._against(rows, contrasts, more)
    assert both.startswith(f' C4 ("It falls") is contradicted: {end}; {wide}. C2 ("It falls") is contradicted: on c')
    assert (
        readme._against(rows, contrasts.assign(paper=float("nan"))) == readme._against(rows, pandas.DataFrame()) == ""
    )
