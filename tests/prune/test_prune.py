"""python -m lib.prune: a folder with a smaller network that others can load, and one line for bad input."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import cycle

import onnxruntime
import pandas
import pytest
import torch
from safetensors import SafetensorError

from lib import importance, slim_files
from lib.images import folders, networks, sources
from lib.network import saving
from lib.prune import __main__ as command
from lib.prune import exporting, quickstart
from lib.prune.__main__ import main
from lib.scoring import precision
from lib.study.paths import ROOT

MINE = """
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(8, 10))

def nothing():
    return 3
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    return folders.write_digits(folder, "train", 16, 40), folders.write_digits(folder, "test", 16, 20)


@pytest.fixture
def words(digits, tmp_path):
    saving.save(networks.build("resnet8", 10, seed=1), tmp_path / "weights.safetensors", {})
    given = {"weights": tmp_path / "weights.safetensors", "out": tmp_path / "out", "classes": 10, "pixels": 16}
    return ["resnet8", str(digits[0]), *(str(word) for name, value in given.items() for word in (f"--{name}", value)),
            "--mean", "0.5", "0.5", "0.5", "--std", "0.2", "0.2", "0.2", "--device", "cpu"]  # fmt: skip


def test_it_leaves_networks_that_answer_alike_and_says_what_was_done(words, digits, tmp_path, capsys):
    assert main([*words, "--distil", "--epochs", "1", "--test", str(digits[1])]) == 0
    out, said = tmp_path / "out", capsys.readouterr()
    assert said.out == f"{out}/report.html\n" and "left out" not in said.err
    left = ["costs.csv", "plan.csv", "pruned.onnx", "pruned.pt2", "pruned.safetensors", "report.html", "steps.csv"]
    assert sorted(path.name for path in out.iterdir()) == left
    small = slim_files.load(networks.build("resnet8", 10), out / "pruned.safetensors")
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = small(images)
    exported = torch.export.load(out / "pruned.pt2").module()
    assert torch.allclose(exported(images), expected, atol=1e-4)
    session = onnxruntime.InferenceSession(str(out / "pruned.onnx"), providers=["CPUExecutionProvider"])
    answers = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    assert torch.allclose(torch.from_numpy(answers), expected, atol=1e-4)
    assert list(pandas.read_csv(out / "steps.csv")["done"]) == ["whole", "shrunk", "repaired", "distilled"]
    plan = pandas.read_csv(out / "plan.csv").set_index("layer")
    assert plan.loc["conv1", "before"] == 16 and plan.loc["conv1", "after"] == small.conv1.out_channels
    assert json.loads(saving.read(out / "pruned.safetensors")[1]["study"])["network"] == "resnet8"
    page = (out / "report.html").read_text()
    space, lines = {}, html.unescape(re.search(r"<pre>(.*?)</pre>", page, re.DOTALL)[1])
    assert len(lines.splitlines()) == 2
    exec(lines, space)
    assert torch.equal(space["small"](images), expected)
    assert "pruned.safetensors, pruned.pt2, pruned.onnx give logits for images (M, 3, 16, 16)" in page
    assert (
        "Accuracy on 20 test images" in page
        and f"40 without labels, of {digits[0]}<" in page
        and "python -m lib.prune resnet8" in page
        and "conv1" in page
    )


def test_the_same_command_leaves_the_same_file(words, tmp_path):
    found = []
    for _ in range(2):
        assert main([*words, "--distil", "--epochs", "1"]) == 0
        found.append((tmp_path / "out/pruned.safetensors").read_bytes())
    assert found[0] == found[1]


def test_minutes_leave_the_file_that_as_many_epochs_leave(words, tmp_path, capsys):
    assert main([*words, "--distil", "--minutes", "0.02"]) == 0
    told = re.search(r"^training for (\d+) epochs?, which should take .* --epochs (\d+) in place of --minutes makes the"
                     r" same network again$", capsys.readouterr().err, re.MULTILINE)  # fmt: skip
    first, page = (tmp_path / "out/pruned.safetensors").read_bytes(), (tmp_path / "out/report.html").read_text()
    assert told[1] == told[2] and f"--epochs {told[1]} in place of --minutes" in page
    assert not list((tmp_path / "out").glob("*.part"))
    assert main([*words, "--distil", "--epochs", told[1]]) == 0
    assert (tmp_path / "out/pruned.safetensors").read_bytes() == first


def test_a_dry_run_prints_the_plan_and_writes_nothing(words, tmp_path, capsys):
    assert main([*words, "--dry-run", "--keep", "conv1", "--multiple-of", "4"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last.endswith("% of all macs would go") and not (tmp_path / "out").exists()
    assert lines and not any(line.startswith("conv1:") for line in lines)
    assert all(int(line.split()[3]) % 4 == 0 for line in lines)


def test_a_network_from_a_file_of_ones_own(words, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    space = {}
    exec(MINE, space)
    torch.save(space["build"]().state_dict(), tmp_path / "mine.pt")
    words = [f"{tmp_path}/mine.py:build", *words[1:], "--weights", str(tmp_path / "mine.pt")]
    assert main(words) == 0
    assert "Agreement with the whole network" in (tmp_path / "out/report.html").read_text()
    small = slim_files.load(space["build"](), tmp_path / "out/pruned.safetensors")
    assert small[0].out_channels == 4
    for name, message in [
        ("mine.py:nothing", "mine.py gives no network: nothing() returns a int, not an nn.Module"),
        ("mine.py:other", "mine.py gives no network: there is no function other in it"),
        ("none.py:build", "none.py, which should hold the function build"),
    ]:
        assert main([f"{tmp_path}/{name}", *words[1:]]) == 1
        assert message in capsys.readouterr().err


def test_a_network_of_grey_images_gets_them_and_its_page_brings_it_back(words, tmp_path, capsys):
    place = words.index("--mean")
    words[place : place + 8] = ["--grey", "0.3", "0.25"]
    saving.save(networks.build("resnet8", 10, 1, seed=1), tmp_path / "weights.safetensors", {})
    assert main([*words, "--budget", "0.3", "--distil", "--epochs", "1", "--no-flip"]) == 0
    page, space = (tmp_path / "out/report.html").read_text(), {}
    exec(html.unescape(re.search(r"<pre>(.*?)</pre>", page, re.DOTALL)[1]), space)
    images = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    exported = torch.export.load(tmp_path / "out/pruned.pt2").module()
    assert torch.allclose(exported(images), space["small"](images), atol=1e-4)
    assert "images (M, 1, 16, 16)" in page and "left out" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--epochs", "3"], "--epochs is of training: add --distil, or --fine-tune with a folder of labelled images"),
        (["--distil"], "--minutes is missing: say for how long to train, such as --minutes 10, or --epochs 10"),
        (["--distil", "--epochs", "3", "--minutes", "1"], "--minutes and --epochs both say for how long to train"),
        (["--minutes", "3"], "--minutes is of training: add --distil, or --fine-tune with a folder"),
        (["--take", "0"], "--take 0 must be 1 or more"),
        (["--batch", "0"], "--batch 0 must be 1 or more"),
        (["--target-accuracy", "0.9", "--budget", "0.5"], "target_accuracy is met by as large a budget"),
        (["--of", "latency", "--dry-run"], "--dry-run shows plans of a budget of units, parameters or macs"),
        (["--scores", "none.parquet"], "there is no table none.parquet"),
        (["--fine-tune", "none", "--epochs", "2"], "--fine-tune needs --test: without it accuracy would be told on"),
        (["--dry-run", "--steps", "2"], "--dry-run shows a plan of one step: units are ranked again for the next"),
        (["--dry-run", "--budget", "0"], "budget=0.0 must be a fraction to remove, above 0 and below 1"),
        (["--of", "time"], "argument --of: invalid choice: 'time'"),
        (["--test", "none"], "there is no folder none"),
        (["--classes", "7"], "does not fit resnet8 with 7 classes: it has 10, so pass --classes 10"),
        (["--budget", "1"], "budget=1.0 must be a fraction to remove, above 0 and below 1"),
    ],
)
def test_bad_input_is_told_in_one_line(words, more, message, capsys):
    assert main([*words, *more]) == 1
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("python -m lib.prune: ")]
    assert len(lines) == 1 and message in lines[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--budget 50", "budget=50.0 must be a fraction to remove, above 0 and below 1"),
        ("--budget nan --dry-run", "budget=nan must be a fraction to remove, above 0 and below 1"),
        ("--target-accuracy 98", "target_accuracy=98.0 must be a share of the whole network's, above 0 and at most 1"),
        ("--target-accuracy .9 --of latency", "target_accuracy is met by as large a budget of units"),
        ("--distil --epochs -1", "epochs=-1 must be a whole number of at least 1"),
        ("--distil --epochs -1 --dry-run", "epochs=-1 must be a whole number of at least 1"),
        ("--distil --minutes 0", "minutes=0.0 must be a time to train for, above 0"),
        ("--fine-tune {train} --minutes inf --test {test}", "minutes=inf must be a time to train for, above 0"),
        ("--steps 0", "steps=0 must be a whole number of at least 1"),
        ("--steps 2 --at-most .5", "at_most is of the whole network, but 2 steps each begin with another"),
        ("--at-most 50", "at_most=50.0 must be a fraction to remove, above 0 and at most 1"),
        ("--multiple-of 0", "multiple_of=0 must be a whole number of at least 1"),
        ("--criterion abs", "criterion abs needs labels, which images here have not"),
        ("--classes 0", "--classes 0 must be 1 or more"),
        ("--mean 2 0 0", "a mean of the channels must be a number from 0 to 1, not 2.0"),
        ("--std 0 1 1", "a deviation of the channels must be a number above 0, at most 1, not 0.0"),
        ("--seed -1", "seed=-1 must be a whole number from 0 to 2**64 - 1"),
        ("--seed 18446744073709551616", "must be a whole number from 0 to 2**64 - 1"),
        ("--scores {train}/none.parquet", "there is no table"),
        (
            "--scores {train}/none.parquet --precision auto",
            "precision='auto' is of ranking: leave it out where there are",
        ),
        ("--scores {train}/none.parquet --steps 2", "scores is of the whole network, but 2 steps each begin with"),
        ("--test none", "there is no folder none"),
        ("--fine-tune none --epochs 2 --test {test}", "there is no folder none"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(words, digits, more, message, monkeypatch, capsys):
    def fail(*_, **__):
        raise AssertionError

    monkeypatch.setattr(folders, "_pixels", fail)
    monkeypatch.setattr(sources, "build", fail)
    assert main([*words, *more.format(train=digits[0], test=digits[1]).split()]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--keep conv9", "keep names 'conv9', which is no layer with units"),
        ("--criterion sq:orth@11", "orth@11: there are only 10 orthogonal directions among 10 logits"),
        ("--out {test}/0/{image}/out", "Not a directory"),
        ("--scores {table} --criterion l2", "is of another network: it has other layers or units"),
        ("--dry-run --keep conv9", "keep names 'conv9', which is no layer with units"),
    ],
)
def test_what_does_not_fit_the_network_is_refused_by_two_images(
    words, digits, more, message, tmp_path, monkeypatch, capsys
):
    read, decode = [], folders._pixels
    monkeypatch.setattr(folders, "_pixels", lambda path, *how: read.append(path) or decode(path, *how))
    pandas.DataFrame({"layer": ["conv1"], "unit": [0], "l2": [1.0]}).to_parquet(tmp_path / "table")
    image = next((digits[1] / "0").iterdir()).name
    assert main([*words, *more.format(test=digits[1], image=image, table=tmp_path / "table").split()]) == 1
    assert message in capsys.readouterr().err and len(read) == 2


@pytest.mark.parametrize("place", [".", "0", ".."])
def test_images_that_are_learnt_from_are_no_test(words, digits, place, capsys):
    assert main([*words, "--test", str(digits[0] / place)]) == 1
    said = capsys.readouterr().err
    assert f"holds images that are learnt from, those of {digits[0]}: name others" in said


def test_timm_is_asked_for_where_it_is_not(words, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    assert main(["timm:resnet18", *words[1:], "--mean", "0", "0", "0", "--std", "1", "1", "1"]) == 1
    assert "timm:resnet18 needs the package timm, which is not installed: pip install timm" in capsys.readouterr().err


def test_scores_of_a_table_rank_and_those_of_another_network_are_refused(words, digits, tmp_path, capsys):
    model = networks.build("resnet8", 10, seed=1).eval()
    places = [(unit.name, number) for unit in importance.units(model, torch.zeros(1, 3, 16, 16))
              for number in range(unit.size)]  # fmt: skip
    table = pandas.DataFrame(places, columns=["layer", "unit"]).assign(mine=range(len(places)))
    path = tmp_path / "mine.parquet"
    table.to_parquet(path)
    more = ["--scores", str(path), "--criterion", "mine", "--of", "units", "--budget", "0.1"]
    assert main([*words, *more]) == 0
    plan = pandas.read_csv(tmp_path / "out/plan.csv")
    assert plan["lowest"][0] == 0 and plan["highest"].max() == len(places) - 1
    assert main([*words, *more, "--precision", "auto"]) == 1
    assert "precision='auto' is of ranking: leave it out where there are scores already" in capsys.readouterr().err
    assert main([*words, *more[:2]]) == 1
    assert f"{path} has no scores by sq:rand:norm: it has mine" in capsys.readouterr().err
    table[1:].to_parquet(path)
    assert main([*words, *more]) == 1
    assert f"{path} is of another network: it has other layers or units" in capsys.readouterr().err
    path.write_text("layer,unit")
    assert main([*words, *more]) == 1
    assert f"{path} is no table by lib.score (" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--steps", "2"], ["--test", "{test}", "--distil", "--epochs", "1"]])
def test_processes_of_torchrun_leave_what_one_does(words, digits, tmp_path, more):
    words += [word.format(test=digits[1]) for word in more]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "lib.prune", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/out/report.html\n" and done.stderr.count("whole: ") == 1
    found = {name: pandas.read_csv(tmp_path / f"out/{name}.csv") for name in ("plan", "steps")}
    assert main(words) == 0
    for name, table in found.items():  # scores to rounding
        pandas.testing.assert_frame_equal(table, pandas.read_csv(tmp_path / f"out/{name}.csv"), rtol=1e-5)


def test_the_precision_that_is_chosen_is_on_the_page_and_gone_on_with(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(precision, "multiplies", lambda device: True)
    monkeypatch.setattr(precision, "ALIKE", 0.9)  # of a random network on few images
    files, page = {}, tmp_path / "out/report.html"
    for given, seconds in (("bfloat16", None), ("auto", 0.5), ("auto", 2)):
        clock = cycle((0, 1, 0, seconds))
        monkeypatch.setattr(precision, "perf_counter", lambda clock=clock: next(clock))
        stopped = given == "auto" and seconds < 1
        with monkeypatch.context() as patched:
            if stopped:
                patched.setattr(exporting, "save", lambda *of, **how: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    main([*words, "--precision", given])
                assert (tmp_path / "out/precision.part").exists()
            else:
                assert main([*words, "--precision", given]) == 0
                files[given] = (tmp_path / "out/pruned.safetensors").read_bytes()
        said = capsys.readouterr().err
        assert said.count("precision: bfloat16, 2.0 times as fast here; order of units on 32 images agrees to ") == (
            given == "auto"
        )
        cell = re.search(r"<td>precision to rank in</td><td><code>(.*?)</code>", page.read_text())[1]
        if given == "bfloat16":
            assert cell == "bfloat16"
    assert cell.startswith("bfloat16, 2.0 times as fast here; order of units on 32 images agrees to 0.9")
    assert cell.endswith(": --precision bfloat16 in place of auto makes the same network again")
    assert files["auto"] == files["bfloat16"] and not list((tmp_path / "out").glob("*.part"))
    assert main([*words, "--precision", "auto", "--dry-run"]) == 0
    assert "precision: float32, as bfloat16 is only 0.5 times as fast here" in capsys.readouterr().err


def test_processes_of_torchrun_are_told_once_what_is_wrong(words):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += ["-m", "lib.prune", *words, "--criterion", "sq:odd"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("python -m lib.prune: criterion 'sq:odd': unknown token") == 1


def test_an_accuracy_to_be_left_finds_the_budget(words, digits, tmp_path, capsys):
    assert main([*words, "--target-accuracy", "0.5", "--test", str(digits[1])]) == 0
    said, steps = capsys.readouterr().err, pandas.read_csv(tmp_path / "out/steps.csv")["accuracy"]
    assert "budget found: " in said and steps.iloc[-1] >= 0.5 * steps[0]


def test_asked_to_end_it_says_that_it_goes_on_and_does(words, tmp_path):
    words = [sys.executable, "-m", "lib.prune", *words, "--distil", "--epochs", "200"]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("distilling: epoch 2 of 200"):
                break
        process.terminate()
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.endswith("stopped; the same command goes on after the last epoch of training\n")
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        first = next(line for line in process.stderr if line.startswith("distilling: epoch "))
        process.kill()
    assert int(first.split()[2]) > 2 and not (tmp_path / "out/report.html").exists()


def test_the_quickstart_prints_a_command_and_leaves_a_network_of_half_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quickstart, "RECIPE", replace(quickstart.RECIPE, epochs=1))
    monkeypatch.setattr(quickstart, "EPOCHS", 1)
    monkeypatch.setattr(quickstart, "PIXELS", 16)
    monkeypatch.setattr(sys, "argv", ["quickstart", "--out", str(tmp_path), "--device", "cpu"])
    assert quickstart.main() == 0
    line, page = capsys.readouterr().out.splitlines()
    assert line.startswith("python -m lib.prune resnet20 ") and page == f"{tmp_path}/report.html"
    costs = pandas.read_csv(tmp_path / "costs.csv")["multiply_adds"]
    assert 0.4 * costs[0] < costs[1] <= 0.5 * costs[0]


def test_test_images_that_are_learnt_from_are_left_out_also_as_copies(words, digits, tmp_path, capsys):
    shutil.copytree(digits[1], tmp_path / "test")
    learnt = next((digits[0] / "3").iterdir())
    shutil.copy(learnt, tmp_path / "test/3/again.png")
    assert main([*words, "--budget", "0.1", "--test", str(tmp_path / "test")]) == 0
    said, page = capsys.readouterr().err, (tmp_path / "out/report.html").read_text()
    assert "warning: 1 of the 21 test images are among those that are learnt from and are left out, such as 3/" in said
    assert "labels: 0 0, 1 1, 2 2, 3 3, 4 4, 5 5, 6 6, 7 7, 8 8, 9 9" in said
    assert "Accuracy on 20 test images is " in page and f"20 of {tmp_path / 'test'}<" in page
    shutil.copytree(digits[0], tmp_path / "copied")
    assert main([*words, "--budget", "0.1", "--test", str(tmp_path / "copied")]) == 1
    assert f"--test {tmp_path / 'copied'} holds only images that are learnt from" in capsys.readouterr().err


def test_classes_that_are_called_otherwise_in_training_are_refused(words, digits, tmp_path, capsys):
    shutil.copytree(digits[1], tmp_path / "named")
    (tmp_path / "named/3").rename(tmp_path / "named/three")
    more = ["--fine-tune", str(tmp_path / "named"), "--epochs", "1", "--test", str(digits[1])]
    assert main([*words, *more]) == 1
    said = capsys.readouterr().err
    assert f"{digits[1]} and {tmp_path / 'named'} have other classes, such as 3 and 4: labels are their places" in said


def test_of_many_images_it_says_how_many_are_used(words, digits, tmp_path, capsys):
    assert main([*words, "--budget", "0.1", "--take", "30"]) == 0
    said, page = capsys.readouterr().err, (tmp_path / "out/report.html").read_text()
    assert f"30 of the 40 images of {digits[0]} are used: --take takes more" in said
    assert f"30 without labels, of {digits[0]}, 3 of them held out" in page
    assert "Agreement with the whole network on 3 images held out is" in page


def test_layers_to_keep_that_swallow_the_images_are_told(words, capsys):
    assert main(["--keep", "conv1", *words]) == 1
    assert "put them first, since all that follows --keep is taken for layers" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_done(words, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([*words, "--out", str(tmp_path / "file/out")]) == 1
    said = capsys.readouterr().err
    assert "Not a directory" in said and "whole: " not in said


def test_two_commands_do_not_work_in_one_folder(words, tmp_path, capsys):
    with command._alone(tmp_path / "out"):
        assert main(words) == 1
    said = capsys.readouterr().err
    assert f"another command works in {tmp_path / 'out'}: wait for it, or name another folder by --out" in said
    assert main([*words, "--budget", "0.1"]) == 0


def test_what_was_made_of_another_network_is_not_replaced(words, tmp_path, capsys):
    path = tmp_path / "out/pruned.safetensors"
    path.parent.mkdir()
    saving.save(torch.nn.Linear(1, 1), path, {"network": "mine.py:build"})
    before = path.read_bytes()
    assert main([*words, "--budget", "0.1"]) == 1
    said = capsys.readouterr().err
    assert f"{path} was made of mine.py:build and would be lost: name another folder by --out, or delete it" in said
    assert "whole: " not in said and path.read_bytes() == before
    path.write_bytes(b"no network")
    assert main([*words, "--budget", "0.1"]) == 0
    assert main([*words, "--budget", "0.1", "--seed", "1"]) == 0  # of the same network


@pytest.mark.parametrize("failing", ["_export_onnx", "_export"])
def test_stopped_while_it_writes_it_leaves_what_was_there_before(words, tmp_path, failing, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    assert main([*words, "--budget", "0.1"]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / command.ASIDE).mkdir()  # as kill -9 leaves it
    (tmp_path / "out" / command.ASIDE / "pruned.onnx").write_text("half")
    monkeypatch.setattr(exporting, failing, stop)
    assert main([*words, "--budget", "0.3"]) == 130
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_network_that_cannot_be_exported_leaves_none_of_another_beside_it(words, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no such operator")

    assert main([*words, "--budget", "0.1"]) == 0
    monkeypatch.setattr(exporting, "_export_onnx", fail)
    assert main([*words, "--budget", "0.3"]) == 0
    left = ["costs.csv", "plan.csv", "pruned.pt2", "pruned.safetensors", "report.html", "steps.csv"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == left
    assert "pruned.onnx is left out: no such operator" in capsys.readouterr().err
    assert "pruned.safetensors, pruned.pt2 give logits" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize("wrong", [1, 3])
def test_exported_networks_that_answer_otherwise_are_refused(wrong):
    def exported(images):
        return model(images) + (len(images) == wrong)

    model, example = networks.build("resnet8", 10, seed=1).eval(), torch.randn(1, 3, 8, 8)
    exporting._compare(model, example, model, "ONNX Runtime")
    with pytest.raises(ValueError, match=r"^ONNX Runtime answers otherwise than the network, so the file would misle"):
        exporting._compare(model, example, exported, "ONNX Runtime")


def test_a_full_disk_is_told_in_one_line_and_leaves_what_was_there(words, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    assert main([*words, "--budget", "0.1"]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(saving, "save_file", full)
    assert main([*words, "--budget", "0.3"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("python -m lib.prune: ") and last.endswith("No space left on device (os error 28))")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
