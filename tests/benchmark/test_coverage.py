"""lib.benchmark.coverage: what can be done with a network is tried, and what cannot is a row, too."""

import pandas
import pytest

from lib.benchmark import coverage


def test_a_network_is_scored_masked_and_shrunk_beside_torch_pruning():
    row = coverage.attempt("resnet8") | coverage.by_torch_pruning("resnet8")
    assert {name: row[name] for name in ("scored", "masked", "shrunk", "torch_pruning")} == dict.fromkeys(
        ("scored", "masked", "shrunk", "torch_pruning"), "yes"
    )
    assert row["without"] >= 0.5 and row["pixels"] == 64 and row["units_that_stay"] == 0 and row["said"] == ""


@pytest.mark.parametrize("digest", ["ab12", "12e4", "0012"])
def test_what_fails_is_a_row_and_what_is_there_is_not_tried_again(tmp_path, monkeypatch, capsys, digest):
    monkeypatch.setattr(coverage, "_code", lambda: digest)
    assert coverage.main(["--only", "resnet7", "--folder", str(tmp_path)]) == 0
    table = pandas.read_csv(tmp_path / "coverage.csv")
    assert "unknown network 'resnet7'" in table["scored"][0] and table["torch"][0] != "none"
    assert "resnet7 | scored: ValueError: unknown network" in capsys.readouterr().out
    monkeypatch.setattr(coverage, "_in_a_process", lambda name, theirs: pytest.fail(name))
    assert coverage.main(["--only", "resnet7", "--folder", str(tmp_path)]) == 0


def test_other_code_is_tried_anew_and_torch_pruning_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(coverage, "_code", lambda: "old")
    monkeypatch.setattr(coverage, "_in_a_process", lambda name, theirs: {"network": name, "torch_pruning": "no"})
    coverage.main(["--only", "resnet8", "--folder", str(tmp_path)])
    monkeypatch.undo()
    coverage.main(["--only", "resnet8", "--folder", str(tmp_path)])
    found = pandas.read_csv(tmp_path / "coverage.csv").iloc[0]
    assert found["shrunk"] == "yes" and found["torch_pruning"] == "no" and found["code"] == coverage._code()
    monkeypatch.setattr(coverage, "versions", lambda packages: dict.fromkeys(packages, "newer"))
    coverage.main(["--only", "resnet8", "--folder", str(tmp_path)])
    assert pandas.read_csv(tmp_path / "coverage.csv").iloc[0]["torch_pruning"] == "yes"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet7", "resnet7 is not among the networks that are counted there"),
        ("timm:resnet18", "timm is not installed"),
    ],
)
def test_what_would_be_counted_for_nothing_is_refused(name, said, monkeypatch, capsys):
    monkeypatch.setattr(coverage, "_in_a_process", lambda name, theirs: pytest.fail(name))
    monkeypatch.setattr(coverage.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        coverage.main(["--only", name])
    assert said in capsys.readouterr().err


def test_rows_are_in_the_order_of_the_libraries_lists(tmp_path, monkeypatch):
    monkeypatch.setattr(coverage, "_in_a_process", lambda name, theirs: {"network": name, "scored": "yes"})
    monkeypatch.setattr(coverage.importlib.util, "find_spec", lambda name: True)
    for names in (["vgg11", "timm:resnet18"], ["alexnet"], ["mine"]):
        coverage.main(["--only", *names, "--folder", str(tmp_path)])
    found = pandas.read_csv(tmp_path / "coverage.csv")["network"].tolist()
    assert found == ["alexnet", "vgg11", "timm:resnet18", "mine"]
