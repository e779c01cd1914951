"""A run's record: what it holds, and that its command would run the same cell of the grid."""

import json
import re
import shlex

import pytest

from lib import execute, profiles, records

RUN = profiles.Run("smoke", "digits", "resnet8", 3, device="cpu")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose folder is a temporary one."""
    monkeypatch.setattr(profiles.Run, "folder", tmp_path)
    return RUN


def test_a_record_holds_what_a_reader_needs_to_run_the_cell_again(run):
    fields = records.begin("10-measure", run).finish(data="abc", checkpoint="def")
    assert fields == json.loads(run.record("10-measure").read_text())
    assert fields["parameters"] == run.parameters and fields["parameters"]["seed"] == 3
    assert fields["settings"] == run.settings
    assert fields["code"] == profiles.code_digest("10-measure")
    assert fields["lock"] == records.digest(profiles.ROOT / "requirements.lock")
    assert fields["device"]["type"] == "cpu" and fields["device"]["name"]
    assert fields["threads"] == 1 and fields["seconds"] >= 0 and fields["peak_memory_mb"] > 10
    assert set(fields["versions"]) == {"python", *profiles.PACKAGES}
    assert (fields["data"], fields["checkpoint"]) == ("abc", "def")
    assert re.fullmatch("[0-9a-f]{40}", fields["git"]["commit"]) if fields["git"] else fields["git"] is None


def test_a_record_names_no_place_on_this_machine(run):
    records.begin("10-measure", run).finish()
    assert str(profiles.ROOT) not in run.record("10-measure").read_text()
    assert not list(run.folder.glob("*.part"))


@pytest.mark.parametrize(
    ("notebook", "of"), [("00-train", RUN), ("15-replication", profiles.load("smoke", [4, 5], device="cpu"))]
)
def test_the_command_gives_the_notebook_exactly_the_parameters_of_the_cell(notebook, of, monkeypatch):
    called = {}
    monkeypatch.setattr(execute, "run", lambda *where, **how: called.update(where=where, **how))
    words = shlex.split(records.command(notebook, of))
    assert words[:3] == ["python", "-m", "lib.execute"]
    assert execute.main(words[3:]) == 0
    source, output, values = called["where"]
    assert source == f"notebooks/{notebook}.ipynb" and output.endswith(f"{notebook}.ipynb")
    assert execute.typed(profiles.ROOT / source, values) == of.parameters
    assert called["threads"] == of.threads


def test_an_unfinished_record_is_not_there(run):
    records.begin("10-measure", run)
    assert not run.record("10-measure").exists()
