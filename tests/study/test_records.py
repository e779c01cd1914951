"""A run's record: what it holds, and that its command would run the same cell of the grid."""

import errno
import json
import os
import re
import shlex

import pandas
import pytest
import torch

from lib.running import execute
from lib.study import devices, digests, paths, profiles, records, surroundings

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
    assert fields["code"] == digests.code("10-measure")
    assert fields["lock"] == records.digest(paths.ROOT / "requirements.lock")
    assert fields["device"]["type"] == "cpu" and fields["device"]["name"]
    assert fields["threads"] == 1 and fields["seconds"] >= 0 and fields["peak_memory_mb"] > 10
    assert set(fields["versions"]) == {"python", *digests.PACKAGES}
    assert (fields["data"], fields["checkpoint"]) == ("abc", "def")
    assert re.fullmatch("[0-9a-f]{40}", fields["git"]["commit"]) if fields["git"] else fields["git"] is None


def test_a_record_names_no_place_on_this_machine(run):
    records.begin("10-measure", run).finish()
    assert str(paths.ROOT) not in run.record("10-measure").read_text()
    assert not list(run.folder.glob("*.part"))


@pytest.mark.parametrize(
    ("notebook", "of"), [("00-train", RUN), ("15-replication", profiles.load("smoke", [4, 5], device="cpu"))]
)
def test_the_command_gives_the_notebook_exactly_the_parameters_of_the_cell(notebook, of, monkeypatch):
    called = {}
    monkeypatch.setattr(execute, "run", lambda *where, **how: called.update(where=where, **how))
    words = shlex.split(records.command(notebook, of))
    assert words[:3] == ["python", "-m", "lib.running.execute"]
    assert execute.main(words[3:]) == 0
    source, output, values = called["where"]
    assert source == f"notebooks/{notebook}.ipynb" and output.endswith(f"{notebook}.ipynb")
    assert execute.typed(paths.ROOT / source, values) == of.parameters
    assert called["threads"] == of.threads


def test_an_unfinished_record_is_not_there(run):
    records.begin("10-measure", run)
    assert not run.record("10-measure").exists()


@pytest.fixture
def imagined_cuda(monkeypatch):
    """A machine whose CUDA device nobody computes on; afterwards torch's settings are as before."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    monkeypatch.setattr(devices, "pick", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "imagined")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def test_on_cuda_a_notebook_begins_with_deterministic_algorithms(run, imagined_cuda):
    assert records.begin("10-measure", run).fields["device"] == {"type": "cuda", "name": "imagined"}
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()  # or a network with an exception could not be used
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == surroundings.SET["CUBLAS_WORKSPACE_CONFIG"][0]
    del os.environ["CUBLAS_WORKSPACE_CONFIG"]


def test_on_a_cpu_a_notebook_leaves_torchs_algorithms_alone(run):
    records.begin("10-measure", run)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("name", profiles.load("smoke").notebooks)
def test_every_notebook_begins_and_finishes_a_record(name):
    code = "".join("".join(source) for kind, source in digests._cells(name) if kind == "code")
    assert f'records.begin("{name}", ' in code and "record.finish(" in code


def test_a_table_that_cannot_be_written_leaves_no_half(tmp_path, monkeypatch):
    def fill(table, file, **_):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    records.save_table(pandas.DataFrame({"a": [1]}), tmp_path / "a.csv")
    monkeypatch.setattr(pandas.DataFrame, "to_csv", fill)
    with pytest.raises(OSError, match="No space left"):
        records.save_table(pandas.DataFrame({"a": [2]}), tmp_path / "a.csv")
    assert os.listdir(tmp_path) == ["a.csv"]
    assert pandas.read_csv(tmp_path / "a.csv")["a"].tolist() == [1]


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_table_may_have_any_name(tmp_path, ending):
    table = pandas.DataFrame({"a": [1.5, 2.5], "b": ["é", "x"]})
    for name in (f"é.{ending}", f"\udcff.{ending}"):  # the other is not UTF-8
        records.save_table(table, tmp_path / name)
        with open(tmp_path / name, "rb") as file:
            read = pandas.read_parquet if ending == "parquet" else pandas.read_csv
            pandas.testing.assert_frame_equal(read(file), table)
