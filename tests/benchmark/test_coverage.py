"""lib.benchmark.coverage: what can be done with a network is tried, and what cannot is a row, too."""

import pandas
import pytest

from lib.benchmark import coverage


def test_a_network_is_scored_masked_and_shrunk_beside_torch_pruning():
    row = coverage.tried("resnet8") | coverage.by_torch_pruning("resnet8")
    assert {name: row[name] for name in ("scored", "masked", "shrunk", "torch_pruning")} == dict.fromkeys(
        ("scored", "masked", "shrunk", "torch_pruning"), "yes"
    )
    assert row["without"] >= 0.5 and row["pixels"] == 64 and row["units_that_stay"] == 0 and row["said"] == ""


@pytest.mark.parametrize(
    ("name", "family"),
    [("resnet50", "resnet"), ("vit_b_16", "vit"), ("timm:convnextv2_atto", "timm: convnextv"), ("swin_v2_t", "swin")],
)
def test_families(name, family):
    assert coverage.family(name) == family


def test_families_are_counted():
    yes = dict.fromkeys(("scored", "masked", "shrunk", "torch_pruning"), "yes")
    rows = [{"network": "vgg11", **yes}, {"network": "vgg16", **yes, "shrunk": "why"}, {"network": "alexnet", **yes}]
    found = coverage.counted(pandas.DataFrame(rows)).set_index("family")
    assert found.loc["vgg"].tolist() == [2, 2, 2, 1, 2] and found.loc["all"].tolist() == [3, 3, 3, 2, 3]


def test_what_is_shown_counts_networks_and_wrong_answers():
    versions = {"torch": "2.0", "torchvision": "1.0", "timm": "none", "torch-pruning": "1.6"}
    rows = [{"network": name, "shrunk": coverage.OTHERWISE, **versions} for name in ("vgg11", "timm:vgg11")]
    said = coverage.shown(pandas.DataFrame(rows)).splitlines()[0]
    expected = "1 networks of torchvision's and 1 of timm's, with torch 2.0, torchvision 1.0, torch-pruning 1.6."
    assert said == f"{expected} Shrunk networks that answer otherwise than masked ones: 2."


@pytest.mark.parametrize("digest", ["ab12", "12e4", "0012"])
def test_what_fails_is_a_row_and_what_is_there_is_not_tried_again(tmp_path, monkeypatch, capsys, digest):
    monkeypatch.setattr(coverage, "_code", lambda: digest)
    assert coverage.main(["--only", "resnet7", "--folder", str(tmp_path)]) == 0
    table = pandas.read_csv(tmp_path / "coverage.csv")
    assert "unknown network 'resnet7'" in table["scored"][0] and table["torch"][0] != "none"
    assert "resnet7 | scored: ValueError: unknown network" in capsys.readouterr().out
    monkeypatch.setattr(coverage, "_in_a_process", lambda name: pytest.fail(name))
    assert coverage.main(["--only", "resnet7", "--folder", str(tmp_path)]) == 0
    assert (tmp_path / "coverage.md").read_text().startswith("| family |")
