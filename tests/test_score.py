"""python -m lib.score: the scores of lib.importance as a table, the same after a kill, and one line for bad input."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path

import pandas
import pytest
import torch
from safetensors import SafetensorError
from waiting import until

from lib import importance, score
from lib.images import checkpoints, folders, networks, sources
from lib.network import saving
from lib.scoring import precision
from lib.study.paths import ROOT

NAMES = ["sq:rand:norm", "abs", "molchanov-group:norm", "act-std", "random"]
SLOW = """
import sys, time, torch
from lib import score
from lib.network import saving
torch.set_num_threads(int(sys.argv[1]))
write = saving.write
saving.write = lambda *given: (write(*given), time.sleep(1))
sys.exit(score.main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folders.write_digits(tmp_path_factory.mktemp("digits"), "test", 16, 300)


@pytest.fixture
def model():
    return networks.build("resnet8", 10, seed=1).eval()


@pytest.fixture
def words(folder, model, tmp_path):
    """A call that takes 3 shards."""
    saving.save(model, tmp_path / "weights.safetensors", {})
    given = {"classes": 10, "pixels": 16, "batch": 50, "shard": 128, "workers": 0, "seed": 7, "device": "cpu"}
    given |= {"weights": tmp_path / "weights.safetensors", "output": tmp_path / "out/scores.parquet"}
    options = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
    options += ["--mean", "0.485", "0.456", "0.406", "--std", "0.229", "0.224", "0.225"]
    return ["resnet8", str(folder), *options, "--labels", "--criteria", *NAMES]


def table(words):
    return pandas.read_parquet(words[words.index("--output") + 1])


def left(tmp_path):
    return sorted(path.name for path in (tmp_path / "out").iterdir())


def test_the_table_holds_what_scoring_gives(words, model, folder, tmp_path, capsys):
    assert score.main(words) == 0
    found = table(words)
    assert list(found) == ["layer", "unit", *NAMES] and left(tmp_path) == ["scores.parquet"]
    layers = importance.units(model, torch.zeros(1, 3, 16, 16))
    assert list(found["layer"]) == [unit.name for unit in layers for _ in range(unit.size)]
    assert list(found["unit"]) == [number for unit in layers for number in range(unit.size)]
    expected = importance.score(model, folders.stream(folder, 16, labelled=True), NAMES, seed=7)
    for name in NAMES:
        values = torch.from_numpy(found[name].to_numpy().copy())
        assert (values - expected[name]).abs().max() <= 1e-5 * expected[name].abs().max()
    said = capsys.readouterr()
    assert said.out == f"{len(found)} units scored on 300 images: {tmp_path}/out/scores.parquet\n"
    assert said.err == "labels: 0 0, 1 1, 2 2, 3 3, 4 4, 5 5, 6 6, 7 7, 8 8, 9 9\n"


def test_public_weights_are_taken_by_their_own_names_and_images_as_they_want_them(folder, tmp_path, monkeypatch):
    model, seen = networks.build("efficientnet-lite0", 10).eval(), []
    theirs = {f"layer-{number}": value for number, value in enumerate(model.state_dict().values()) if value.ndim}
    torch.save(theirs, tmp_path / "theirs.pth")
    stream = folders.stream
    monkeypatch.setattr(
        folders, "stream", lambda *of, **how: seen.append((of[1], how["moments"])) or stream(*of, **how)
    )
    words = ["efficientnet-lite0", str(folder), "--weights", str(tmp_path / "theirs.pth"), "--classes", "10"]
    words += ["--criteria", "l2", "--device", "cpu", "--output", str(tmp_path / "l2.parquet")]
    assert score.main(words) == 0
    assert seen == [(224, ((127 / 255,) * 3, (128 / 255,) * 3))]
    expected = importance.score(model, [(torch.zeros(1, 3, 32, 32), None)], ["l2"])["l2"]
    assert pandas.read_parquet(tmp_path / "l2.parquet")["l2"].to_numpy() == pytest.approx(expected.numpy())


def test_where_there_is_no_terminal_a_line_comes_now_and_then(words, capsys, monkeypatch):
    words.remove("--labels")
    monkeypatch.setattr(score, "PATIENCE", 0)
    assert score.main([*words, "--criteria", "sq:rand"]) == 0
    said = capsys.readouterr().err
    assert "\r" not in said
    lines = [line.split(" (")[0] for line in said.splitlines()]
    assert lines[0] == "0 of 300 images" and lines[-1] == "300 of 300 images" and "128 of 300 images" in lines


def test_on_a_terminal_a_bar_is_drawn(words, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert score.main([*words, "--criteria", "sq:rand"]) == 0
    said = capsys.readouterr().err
    assert "300/300" in said and "images/s" in said and "\r" in said


def test_after_a_kill_the_same_command_ends_with_the_same_bits(words, tmp_path, capsys, monkeypatch):
    assert score.main(words) == 0
    undisturbed = table(words)
    (tmp_path / "out/scores.parquet").unlink()
    saved = tmp_path / "out/scores.parquet.rank-0-of-1"
    command = [sys.executable, "-c", SLOW, str(torch.get_num_threads()), *words]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, **quiet)
    try:
        until = time.monotonic() + 120
        while not saved.exists() and running.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL and left(tmp_path) == [saved.name]
    done = int(saving.read(saved)[1]["shards"])
    assert 1 <= done < 3
    read, decode = [], folders._pixels
    monkeypatch.setattr(folders, "_pixels", lambda path, *how: read.append(path) or decode(path, *how))
    capsys.readouterr()
    assert score.main(words) == 0
    assert f"Going on after {128 * done} of 300 images" in capsys.readouterr().err
    assert len(read) == 300 - 128 * done + 1  # the example that shows which units there are
    pandas.testing.assert_frame_equal(table(words), undisturbed, check_exact=True)
    assert left(tmp_path) == ["scores.parquet"]


def test_interrupted_it_says_that_it_goes_on_and_does(words, tmp_path, capsys):
    """Ctrl-C, which all processes hear, also those that read images."""
    saved = tmp_path / "out/scores.parquet.rank-0-of-1"
    command = [sys.executable, "-c", SLOW, str(torch.get_num_threads()), *words, "--workers", "1"]
    given = {"cwd": ROOT, "env": os.environ | {"PYTHONPATH": str(ROOT)}, "start_new_session": True, "text": True}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **given) as running:
        until(lambda: saved.exists() or running.poll() is not None)
        os.killpg(running.pid, signal.SIGINT)
        said = running.communicate()[1]
    assert running.returncode == 130
    assert said.splitlines()[1:] == ["stopped; the same command goes on from the last shard"]
    assert score.main(words) == 0
    assert "Going on after " in capsys.readouterr().err


@pytest.mark.parametrize("module", ["lib.score", "lib.prune", "lib.prune.quickstart"])
def test_interrupted_while_it_still_imports_it_ends_without_a_word(module, tmp_path):
    for name in ("torch", "numpy", "pandas"):  # whichever it imports first
        (tmp_path / f"{name}.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    given = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    given["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # which a shell's & has ignored
    done = subprocess.run([sys.executable, "-m", module, "--help"], **given)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


class Stop(Exception):
    pass


@pytest.fixture
def stopped(words, monkeypatch):
    """A run that ends after its second shard."""
    stop_after_two_shards(words, monkeypatch)
    return words


def stop_after_two_shards(words, monkeypatch):
    write, times = saving.write, []

    def stop(*given):
        write(*given)
        times.append(1)
        if len(times) == 2:
            raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(saving, "write", stop)
        with pytest.raises(Stop):
            score.main(words)


@pytest.mark.parametrize(
    "changed",
    [["--seed", "8"], ["--criteria", "sq"], ["--images", "299"], ["--weights", "untrained"], ["--batch", "49"]],
    ids=lambda words: words[0],
)
def test_what_other_arguments_left_is_not_gone_on_from(stopped, changed, capsys, monkeypatch):
    assert score.main([*stopped, *changed]) == 0
    said = capsys.readouterr().err
    assert "rank-0-of-1 is not gone on from (it is of other arguments, weights or code" in said
    assert "Going on" not in said
    again = table(stopped)
    assert score.main([*stopped, *changed, "--overwrite"]) == 0
    pandas.testing.assert_frame_equal(table(stopped), again, check_exact=True)


@pytest.fixture
def bfloat16_takes(monkeypatch):
    """Sets how long passes in bfloat16 take, where those in float32 take 1, and has any order do for a random network
    on few images."""

    def set_to(seconds):
        clock = cycle((0, 1, 0, seconds))
        monkeypatch.setattr(precision, "multiplies", lambda device: True)
        monkeypatch.setattr(precision, "ALIKE", 0.9)
        monkeypatch.setattr(precision, "perf_counter", lambda: next(clock))

    return set_to


@pytest.mark.parametrize(("seconds", "chosen"), [(0.5, "bfloat16"), (2, "float32")])
def test_a_stopped_run_goes_on_in_the_precision_that_it_chose(
    words, seconds, chosen, bfloat16_takes, tmp_path, capsys, monkeypatch
):
    assert score.main([*words, "--precision", chosen]) == 0
    expected = table(words)
    assert expected.attrs == {"precision": chosen}
    (tmp_path / "out/scores.parquet").unlink()
    capsys.readouterr()
    words += ["--precision", "auto"]
    bfloat16_takes(seconds)
    stop_after_two_shards(words, monkeypatch)
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("precision: "))
    assert line.startswith(f"precision: {chosen}, ")
    bfloat16_takes(1 / seconds)  # another would be chosen now
    read, decode = [], folders._pixels
    monkeypatch.setattr(folders, "_pixels", lambda path, *how: read.append(path) or decode(path, *how))
    assert score.main(words) == 0
    said = capsys.readouterr().err.splitlines()
    assert line in said and "Going on after 256 of 300 images" in said
    assert len(read) == 300 - 256 + 1  # nothing is tried again
    pandas.testing.assert_frame_equal(table(words), expected, check_exact=True)
    assert f"precision: {table(words).attrs['precision']}" == line and left(tmp_path) == ["scores.parquet"]


@pytest.mark.parametrize("damage", ["damaged", "other"])
def test_where_nothing_can_be_gone_on_from_the_precision_is_chosen_anew(
    words, damage, bfloat16_takes, tmp_path, capsys, monkeypatch
):
    words += ["--precision", "auto"]
    bfloat16_takes(0.5)
    stop_after_two_shards(words, monkeypatch)
    saved = tmp_path / "out/scores.parquet.rank-0-of-1"
    if damage == "damaged":
        saved.write_bytes(saved.read_bytes()[:-9])
    more = ["--seed", "8"] if damage == "other" else []
    bfloat16_takes(2)
    capsys.readouterr()
    assert score.main([*words, *more]) == 0
    said = capsys.readouterr().err
    assert "precision: float32, as bfloat16 is only 0.5 times as fast here" in said and "Going on" not in said
    assert "scoring starts anew" in said
    found = table(words)
    assert score.main([*words, *more, "--precision", "float32", "--overwrite"]) == 0
    pandas.testing.assert_frame_equal(found, table(words), check_exact=True)


@pytest.fixture
def copied(words, folder, tmp_path):
    """The same on images of its own."""
    shutil.copytree(folder, tmp_path / "images")
    words[1] = str(tmp_path / "images")
    return words


def image(words, place):
    return Path(words[1], folders.stream(words[1], 16).names[place])


def anew(words, capsys):
    """The table as it is without anything to go on from."""
    assert score.main([*words, "--output", words[words.index("--output") + 1].replace("scores", "anew")]) == 0
    capsys.readouterr()
    return pandas.read_parquet(words[words.index("--output") + 1].replace("scores", "anew"))


@pytest.mark.parametrize("mended", ["removed", "replaced", "more"])
def test_an_image_that_cannot_be_read_costs_no_more_than_its_shard(copied, mended, capsys):
    bad, good = image(copied, 260), image(copied, 259).read_bytes()  # in the third shard
    bad.write_bytes(b"")
    assert score.main(copied) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"python -m lib.score: cannot read image {bad} (") and line.endswith("replace or remove it")
    bad.unlink() if mended == "removed" else bad.write_bytes(good)
    if mended == "more":
        (bad.parent / "zzz.png").write_bytes(good)
    count = {"removed": 299, "replaced": 300, "more": 301}[mended]
    expected = anew(copied, capsys)
    assert score.main(copied) == 0
    assert f"Going on after 256 of {count} images" in capsys.readouterr().err
    pandas.testing.assert_frame_equal(table(copied), expected, check_exact=True)


def test_all_images_that_cannot_be_read_are_told_at_once(copied, capsys):
    bad = [image(copied, place) for place in (10, 11, 40, 63)]  # in the first shard
    for path in bad:
        path.write_bytes(b"")
    assert score.main(copied) == 1
    said = ", ".join(f"{path} (cannot identify image file '{path}')" for path in bad)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"python -m lib.score: cannot read 4 images {said}: replace or remove them"


@pytest.mark.parametrize("change", ["removed", "replaced", "renamed", "before"])
def test_images_of_finished_shards_that_have_changed_are_scored_anew(copied, change, capsys):
    image(copied, 260).write_bytes(b"")
    assert score.main(copied) == 1
    image(copied, 260).unlink()
    seen = image(copied, 100)
    if change == "replaced":
        seen.write_bytes(image(copied, 5).read_bytes())
    elif change == "renamed":
        seen.rename(seen.with_name("000.png"))
    elif change == "before":
        (seen.parent / "000.png").write_bytes(seen.read_bytes())
    else:
        seen.unlink()
    expected = anew(copied, capsys)
    assert score.main(copied) == 0
    assert "rank-0-of-1 is not gone on from (images that it has seen are others now)" in capsys.readouterr().err
    pandas.testing.assert_frame_equal(table(copied), expected, check_exact=True)


def test_images_that_come_after_the_last_shard_was_done_are_scored_with_it(copied, capsys, monkeypatch):
    def stop(self):
        raise RuntimeError("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(importance.Scoring, "results", stop)
        assert score.main(copied) == 1
    last = image(copied, 299)
    last.with_name("zzz.png").write_bytes(last.read_bytes())
    expected = anew(copied, capsys)
    assert score.main(copied) == 0
    assert "scoring starts anew" in capsys.readouterr().err
    pandas.testing.assert_frame_equal(table(copied), expected, check_exact=True)


def test_nor_is_what_is_damaged_and_other_workers_do_not_matter(stopped, tmp_path, capsys):
    saved = tmp_path / "out/scores.parquet.rank-0-of-1"
    whole = saved.read_bytes()
    assert score.main([*stopped, "--workers", "1"]) == 0
    assert "Going on after 256 of 300 images" in capsys.readouterr().err
    expected = table(stopped)
    saved.write_bytes(whole[:-9])
    assert score.main([*stopped, "--overwrite"]) == 0
    assert "rank-0-of-1 is damaged" in capsys.readouterr().err
    pandas.testing.assert_frame_equal(table(stopped), expected, check_exact=True)


def test_a_finished_table_is_replaced_only_when_asked(words, tmp_path, capsys):
    words.remove("--labels")
    words += ["--criteria", "l2"]
    assert score.main(words) == 0
    before = (tmp_path / "out/scores.parquet").read_bytes()
    assert score.main([*words, "--criteria", "l1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("out/scores.parquet is there already: give --overwrite, or another --output")
    assert (tmp_path / "out/scores.parquet").read_bytes() == before
    assert score.main([*words, "--criteria", "l1", "--overwrite"]) == 0
    assert list(table(words)) == ["layer", "unit", "l1"]


def test_weights_alone_read_one_image(words, monkeypatch, capsys):
    words.remove("--labels")
    read, decode = [], folders._pixels
    monkeypatch.setattr(folders, "_pixels", lambda path, *how: read.append(path) or decode(path, *how))
    assert score.main([*words, "--criteria", "l2", "random"]) == 0
    assert list(table(words)) == ["layer", "unit", "l2", "random"] and len(read) == 1
    assert f"{len(table(words))} units scored by weights alone, without images: " in capsys.readouterr().out


def test_processes_of_torchrun_write_one_table(words, tmp_path):
    assert score.main(words) == 0
    alone = table(words)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "lib.score",
        *words,
        "--overwrite",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for more, status in (([], 0), (["--criteria", "sq:odd"], 1)):
        done = subprocess.run([*command, *more], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert done.stderr.count("python -m lib.score: criterion 'sq:odd': unknown token 'odd'") == status
    assert left(tmp_path) == ["scores.parquet"]
    found = table(words)
    for name in NAMES:
        assert (found[name] - alone[name]).abs().max() <= 1e-5 * alone[name].abs().max()


# ---- weights ------------------------------------------------------------------------------------------------------


def test_torchvisions_own_checkpoints_are_taken(words, model, tmp_path):
    assert score.main(words) == 0
    options = argparse.Namespace(lr=0.1, data_path=Path("imagenet"))
    state = {f"_orig_mod.module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"model": state, "epoch": 3, "args": options}, tmp_path / "checkpoint.pth")
    before = table(words)
    assert score.main([*words, "--weights", str(tmp_path / "checkpoint.pth"), "--overwrite"]) == 0
    pandas.testing.assert_frame_equal(table(words), before, check_exact=True)


def test_a_whole_model_as_weights_says_what_to_save_instead(words, model, tmp_path, capsys):
    torch.save(model, tmp_path / "model.pth")
    assert score.main([*words, "--weights", str(tmp_path / "model.pth")]) == 1
    said = f"{tmp_path}/model.pth: it holds a whole model: save model.state_dict() instead"
    assert capsys.readouterr().err == f"python -m lib.score: {said}\n"


# ---- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--criteria", "sq:odd"], "criterion 'sq:odd': unknown token 'odd'"),
        (["--pixels", "x"], "argument --pixels: invalid int value: 'x' (--help says more)"),
        (["--pixels", "0"], "--pixels 0 must be 1 or more"),
        (["--shard", "200"], "--shard 200 must be a multiple of 128"),
        (["--output", "scores.csv"], "--output scores.csv must end in .parquet"),
        (["--images", "301"], "cannot stream 301 images: there are 300"),
        (["--classes", "9", "--weights", "untrained"], "has 10 folders of classes, but the network has 9: labels"),
        (["--classes", "11", "--weights", "untrained"], "has 10 folders of classes, but the network has 11: labels"),
        (["--weights", "nowhere.pth"], "there is no file of weights nowhere.pth"),
        (["--weights", "README.md"], "README.md cannot be read as weights"),
        (["--criteria", "sq:orth@11"], "orth@11: there are only 10 orthogonal directions"),
        (["--mean", "nan", "0", "0"], "a mean of the channels must be a number from 0 to 1, not nan"),
        (["--std", "1", "nan", "1"], "a deviation of the channels must be a number above 0, at most 1, not nan"),
        (["--std", "1", "1", "inf"], "a deviation of the channels must be a number above 0, at most 1, not inf"),
        (["--criteria", "sq:rand:nrom"], "'nrom' is unknown or out of place, did you mean 'norm'?"),
        (["--oops"], "unrecognized arguments: --oops (--help says more)"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_bad_input_ends_in_one_clear_line(words, changed, message, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert score.main([*words, *changed]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("python -m lib.score: ") and message in said


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--images 0", "--images 0 must be 1 or more"),
        ("--images -3", "--images -3 must be 1 or more"),
        ("--seed 18446744073709551616", "--seed 18446744073709551616 must be below 2**64"),
        ("--mean 2 0 0", "a mean of the channels must be a number from 0 to 1, not 2.0"),
        ("--std 0 1 1", "a deviation of the channels must be a number above 0, at most 1, not 0.0"),
        ("--output {folder}.parquet --overwrite", "is a folder: name a file in it"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(words, tmp_path, more, message, monkeypatch, capsys):
    def fail(*_, **__):
        raise AssertionError

    monkeypatch.setattr(folders, "_pixels", fail)
    monkeypatch.setattr(sources, "build", fail)
    (tmp_path / "made.parquet").mkdir()
    assert score.main([*words, *more.format(folder=tmp_path / "made").split()]) == 1
    assert message in capsys.readouterr().err
    words[1] = str(tmp_path / "nowhere")
    assert score.main(words) == 1
    assert f"there is no folder {tmp_path / 'nowhere'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "word", "message"),
    [
        (0, "resnet9", "unknown network 'resnet9'"),
        (0, "vgg8", "weights.safetensors does not fit vgg8 with 10 classes: it holds another network, in which"),
        (1, "nowhere", "there is no folder nowhere"),
    ],
)
def test_so_do_networks_and_folders_that_are_not_there(words, place, word, message, capsys):
    words[place] = word
    assert score.main(words) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("python -m lib.score: ") and message in said and "\n" not in said


@pytest.mark.parametrize("name", ["resnet8", "vgg8"])
def test_weights_for_other_classes_tell_which_option_to_give(words, tmp_path, capsys, name):
    torch.save(networks.build(name, 7).state_dict(), tmp_path / "seven.pth")
    words[0] = name
    words[words.index("--weights") + 1] = str(tmp_path / "seven.pth")
    assert score.main(words) == 1
    said = f"{tmp_path}/seven.pth does not fit {name} with 10 classes: it has 7, so pass --classes 7"
    assert capsys.readouterr().err == f"python -m lib.score: {said}\n"
    words.remove("--labels")
    assert score.main([*words, "--classes", "7", "--criteria", "l2"]) == 0


@pytest.mark.parametrize("lost", ["conv1.weight", "classifier.bias"])
def test_a_network_that_differs_in_more_than_classes_is_another(words, tmp_path, capsys, lost):
    state = networks.build("resnet8", 7).state_dict()
    state[lost] = state[lost][:, :, :1] if lost == "conv1.weight" else state[lost][:3]
    torch.save(state, tmp_path / "odd.pth")
    words[words.index("--weights") + 1] = str(tmp_path / "odd.pth")
    assert score.main(words) == 1
    assert "with 10 classes: it holds another network, in which classifier.bias is (" in capsys.readouterr().err


def test_a_network_of_grey_images_is_called_one(words, tmp_path, capsys):
    colours = words[words.index("--weights") + 1]
    torch.save(networks.build("resnet8", 10, 1).state_dict(), tmp_path / "grey.pth")
    words[words.index("--weights") + 1] = str(tmp_path / "grey.pth")
    assert score.main(words) == 1
    assert "it takes images of 1 channel, not of 3: --grey MEAN STD reads them so" in capsys.readouterr().err
    place = words.index("--mean")
    words[place : place + 8] = ["--grey", "0.5", "0.25"]
    assert score.main([*words, "--criteria", "abs"]) == 0 and len(table(words)) > 0
    words[words.index("--weights") + 1] = colours
    assert score.main([*words, "--overwrite"]) == 1
    assert "it takes images of 3 channels, not of 1: leave --grey out" in capsys.readouterr().err


def test_heads_for_training_alone_are_left_out(words, tmp_path):
    state = networks.build("resnet8", 10).state_dict() | {
        "aux1.fc.weight": torch.ones(3),
        "AuxLogits.fc.bias": torch.ones(2),
    }
    torch.save(state, tmp_path / "with_heads.pth")
    words[words.index("--weights") + 1] = str(tmp_path / "with_heads.pth")
    assert score.main(words) == 0


def test_networks_of_other_sizes_than_imagenets_are_told_theirs(words, capsys):
    place = words.index("--pixels")
    assert score.main(words[:place] + words[place + 2 :]) == 1
    said = "--pixels missing: say how the images that resnet8 was trained on were made: their size, and"
    assert said in capsys.readouterr().err


def test_parts_of_a_data_set_are_no_classes(words, folder, tmp_path, capsys):
    (tmp_path / "both").mkdir()
    for part in ("train", "test"):
        (tmp_path / "both" / part).symlink_to(folder, target_is_directory=True)
    words[1] = str(tmp_path / "both")
    assert score.main(words) == 1
    assert "are test and train, which are no classes: name the one whose images are meant" in capsys.readouterr().err


def test_scores_that_are_all_zero_are_told(words, model, tmp_path, capsys):
    saving.save(model.apply(_silence), tmp_path / "weights.safetensors", {})
    assert score.main([*words[: words.index("--labels")], "--criteria", "sq:rand"]) == 0
    assert "all scores by sq:rand are 0: nothing of these images reaches the logits\n" in capsys.readouterr().err


def _silence(module):
    for parameter in module.parameters(recurse=False):
        parameter.data.zero_()


def test_a_file_in_place_of_the_folder_is_called_one(words, tmp_path, capsys):
    words[1] = str(tmp_path / "weights.safetensors")
    assert score.main(words) == 1
    said = f"{words[1]} is a file: name the folder that it is in, or another"
    assert capsys.readouterr().err == f"python -m lib.score: {said}\n"


def test_criteria_in_front_of_the_network_are_told_to_come_later(words, capsys):
    network, folder, *options = words
    assert score.main([*options, network, folder]) == 1
    said = "network, folder: put them first, since all that follows --criteria is taken for criteria (--help says more)"
    assert capsys.readouterr().err == f"python -m lib.score: the following arguments are required: {said}\n"
    assert score.main([*options, "--", network, folder]) == 0


def test_labels_without_need_are_noted(words, capsys):
    assert score.main([*words, "--criteria", "l2", "apoz"]) == 0
    noted = capsys.readouterr().err.splitlines()[0]
    assert noted == "--labels is not needed: none of these criteria looks at labels"


def test_labels_that_nobody_asked_for_and_images_that_cannot_be_read(words, folder, tmp_path, capsys):
    words.remove("--labels")
    assert score.main(words) == 1
    assert "criterion abs needs labels: add --labels, if" in capsys.readouterr().err
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/1.png").write_bytes(b"no picture")
    words[1] = str(tmp_path / "bad")
    assert score.main([*words, "--criteria", "sq:rand", "--workers", "1"]) == 1
    assert capsys.readouterr().err.startswith("python -m lib.score: cannot read image")


def test_a_name_that_is_not_utf8_is_refused_at_the_start(words, capsys):
    assert score.main([*words, "--output", "\udcff.parquet"]) == 1
    said = r"python -m lib.score: \udcff.parquet is not a name in UTF-8: take another"
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_names_are_utf8_in_every_language(words, model, tmp_path, ending):
    words.remove("--labels")
    weights, output = tmp_path / f"ä.{ending}", tmp_path / "é/ö.parquet"
    torch.save(model.state_dict(), weights) if ending == "pth" else saving.save(model, weights, {})
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "lib.score", *words, "--weights", weights, "--output", output, "--criteria", "l2"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | plain, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().endswith(f" units scored by weights alone, without images: {output}\n")
    assert output.exists()


def test_whose_last_line_nobody_reads_ends_without_a_word(words):
    words.remove("--labels")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "lib.score", *words, "--criteria", "l2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")
    assert list(table(words)) == ["layer", "unit", "l2"]


def test_an_empty_class_shifts_no_labels(copied, tmp_path, capsys):
    (tmp_path / "images/45").mkdir()
    assert score.main([*copied, "--classes", "11", "--weights", "untrained"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"python -m lib.score: class {tmp_path}/images/45 is empty: put images (")
    assert said.count("\n") == 1
    copied.remove("--labels")
    assert score.main([*copied, "--criteria", "l2"]) == 0


def test_an_error_that_says_nothing_is_told_by_its_kind(words, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr(score, "run", fail)
    assert score.main(words) == 1
    assert capsys.readouterr().err == "python -m lib.score: RuntimeError\n"


def test_help_shows_examples_and_every_option_says_what_it_is(capsys):
    with pytest.raises(SystemExit) as ended:
        score.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "torchrun --nproc-per-node 8 -m lib.score resnet50" in said
    assert f"a checkpoint under {', '.join(checkpoints.HOLDERS)}," in " ".join(said.split())
    assert all(action.help for action in score.parser()._actions)


def test_labels_of_fewer_classes_than_a_network_of_ones_own_has_are_refused(words, folder, tmp_path, capsys):
    lines = ["from lib.images import networks", "def build():", "    return networks.build('resnet8', 10)"]
    (tmp_path / "mine.py").write_text("\n".join(lines))
    mine = [f"{tmp_path}/mine.py:build", str(tmp_path / "fewer"), *words[2:]]
    shutil.copytree(folder, tmp_path / "fewer")
    assert score.main([*mine[:1], str(folder), *words[2:]]) == 0
    shutil.rmtree(tmp_path / "fewer/3")  # all behind it would have the labels of others
    assert score.main([*mine, "--overwrite"]) == 1
    assert f"{tmp_path / 'fewer'} has 9 classes, but the network has 10: labels are" in capsys.readouterr().err
    (tmp_path / "classes.txt").write_text("\n".join("0123456789"))
    assert score.main([*mine, "--overwrite"]) == 0


def test_a_full_disk_is_told_in_one_line(words, monkeypatch, capsys):
    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(saving, "save_file", full)
    assert score.main(words) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("python -m lib.score: ") and last.endswith("No space left on device (os error 28))")
