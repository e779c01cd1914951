"""What is published, measured again by whoever doubts it."""

import json
import shutil

import pandas
import pytest

from lib.images import datasets
from lib.running import verify
from lib.study import profiles


@pytest.fixture
def published(study, tmp_path):
    """A folder in which the smoke profile's run is published."""
    shutil.copytree(study.smoke / "digits-resnet8", tmp_path / "published/smoke/digits-resnet8")
    return tmp_path / "published"


AGREEING = "  oracle: a sample of units from every layer agrees"


def verified(published, capsys, *words):
    status = verify.main(["--profile", "smoke", "--published", str(published), *words])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err


def state(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_what_is_published_agrees_and_stays_as_it_is(published, capsys):
    before = state(published)
    status, (first, *lines, tuning, last), complaints = verified(published, capsys, "--cells", "2")
    (*lines, criteria, oracle), otherwise = lines[:-4], lines[-4:]
    assert criteria.endswith(" criteria scored again (not greedy: that would take long): agree")
    assert (status, complaints, last, oracle) == (0, "", "all agree", AGREEING)
    assert first.startswith("digits-resnet8 seed 0, measured by code ")
    assert 2 <= len(lines) <= 4 and all(line.endswith(" found: agrees") for line in lines + otherwise)
    assert [", with repair: " in line for line in otherwise] == [True, True, False, False]
    assert [", silenced in front of BatchNorm: " in line for line in otherwise] == [False, False, True, True]
    assert tuning == "  fine-tuning: 11 networks, one of them trained again, agree"
    assert state(published) == before


def test_a_number_that_was_tampered_with_is_found(published, capsys):
    path = published / "smoke/digits-resnet8/seed-0/curves.parquet"
    curves = pandas.read_parquet(path)
    curves.assign(accuracy=curves["accuracy"] + 0.01).to_parquet(path)
    status, lines, _ = verified(published, capsys)
    assert status == 1 and lines[-1] == f"{sum('DIFFERS' in line for line in lines)} do not agree"
    curves = [line for line in lines if "scored again: relative" in line or "its curve alone: relative" in line]
    assert curves and all("DIFFERS (" in line for line in curves)
    assert any(line.endswith(" images at a point)") for line in lines)


def test_what_older_code_did_not_measure_is_said_in_one_line(published, capsys):
    (published / "smoke/digits-resnet8/seed-0/repaired.parquet").unlink()
    status, _, complaints = verified(published, capsys)
    assert status == 1 and len(complaints.splitlines()) == 1
    assert "repaired.parquet is missing, as where older code has measured digits-resnet8 seed 0" in complaints


@pytest.mark.parametrize("name", ["repaired", "silenced", "finetuning"])
def test_so_is_one_of_curves_measured_otherwise_and_of_fine_tuned_networks(published, capsys, name):
    path = published / f"smoke/digits-resnet8/seed-0/{name}.parquet"
    table = pandas.read_parquet(path)
    table.assign(accuracy=table["accuracy"] + 0.01).to_parquet(path)
    status, lines, _ = verified(published, capsys)
    ways = {"repaired": ", with repair: ", "silenced": ", silenced in front", "finetuning": "  fine-tuning: shrunk by "}
    assert status == 1 and lines[-1].endswith(" do not agree")
    odd = [line for line in lines[1:-1] if "agree" not in line]
    assert odd and all(ways[name] in line for line in odd)


def test_a_curve_with_repair_whose_ranking_nobody_knows_is_named(published, capsys):
    path = published / "smoke/digits-resnet8/seed-0/repaired.parquet"
    table = pandas.read_parquet(path)
    table.assign(draw=7).to_parquet(path)
    status, lines, _ = verified(published, capsys)
    count = len(table[["criterion", "examples", "draw", "sample"]].assign(draw=7).drop_duplicates())
    assert status == 1 and lines[-1] == "3 do not agree"
    assert any("  repaired: not each of " in line for line in lines)  # three draws of one have become one
    assert any(f"  {count} curves with repair that nobody asks for, such as " in line for line in lines)
    assert any(" curves with repair that are asked for are not there, such as " in line for line in lines)


def said_of_tables(line):
    return line.startswith(("  oracle: not each", "  scores: oracle:"))


def test_what_the_tables_lack_is_named(published, capsys):
    left = {"repaired": ("criterion", ["l2"]), "silenced": ("criterion", []), "oracle": ("unit", [3])}
    left |= {"finetuning": ("training", ["distilled"])}
    for name in ("curves", "scores"):
        left[name] = ("criterion", ["sq:rand:norm", "oracle:loss", "oracle:output"])
    for name, (column, values) in left.items():
        path = published / f"smoke/digits-resnet8/seed-0/{name}.parquet"
        table = pandas.read_parquet(path)
        table[table[column].isin(values)].to_parquet(path)
    status, lines, _ = verified(published, capsys, "--cells", "1")
    for said in (
        " curves that are asked for are not there, such as ",
        " curves with repair that are asked for are not there, such as ",
        " curves silenced in front of BatchNorm that are asked for are not there, such as ",
        " networks that are asked for are not there, such as one shrunk by ",
        "  oracle: it is of 1 units, and the network has ",
    ):
        assert sum(said in line for line in lines) == 1
    assert status == 1 and lines[-1] == f"{sum(map(said_of_tables, lines)) + 5} do not agree"


def test_with_how_many_images_a_curve_was_repaired_counts(published, capsys):
    path = published / "smoke/digits-resnet8/seed-0/repaired.parquet"
    table = pandas.read_parquet(path)
    table.assign(repaired_on=7).to_parquet(path)
    status, lines, _ = verified(published, capsys)
    assert status == 1 and sum("DIFFERS (repaired_on was 7, is " in line for line in lines) == 5


def test_what_is_not_published_is_said(published, capsys):
    status, lines, complaints = verified(published, capsys, "--seeds", "7")
    assert (status, lines) == (1, [])
    assert "nothing there is measured of digits-resnet8 seed 7" in complaints and complaints.count("\n") == 1


@pytest.mark.parametrize(("words", "said"), [(["--cells", "0"], "CELLS='0' is not"), (["--seeds", "x"], "SEEDS='x'")])
def test_what_is_no_number_is_refused_in_one_line(published, capsys, words, said):
    status, lines, complaints = verified(published, capsys, *words)
    assert (status, lines) == (1, []) and complaints.startswith(said) and complaints.count("\n") == 1


def test_images_that_are_missing_are_named(published, tmp_path, capsys, monkeypatch):
    folder = published / "cifar/cifar100-resnet20/seed-0"
    shutil.copytree(published / "smoke/digits-resnet8/seed-0", folder)
    record = json.loads((folder / "10-measure.json").read_text())
    settings = profiles.load("cifar").settings("cifar100", "resnet20")
    (folder / "10-measure.json").write_text(json.dumps(record | {"settings": settings}))

    def refuse(name, split, root):
        raise OSError("no network")

    monkeypatch.setattr(datasets, "_read_cifar", refuse)
    (tmp_path / "empty").mkdir()
    words = ["--profile", "cifar", "--published", str(published), "--data", str(tmp_path / "empty"), "--seeds", "0"]
    assert verify.main(words) == 1
    assert capsys.readouterr().err.startswith("no images of 'cifar100': neither ")


def test_it_is_verified_on_the_kind_of_device_on_which_it_was_measured(published):
    (run,) = profiles.load("smoke", results=published).runs
    assert run.device == "auto" and verify._as_measured(run).device == "cpu"
