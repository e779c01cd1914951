"""Whose turn it is on which GPU: never more runs on one than stated, and all GPUs used before one is shared."""

import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from lib.running import gpus, reproduce
from lib.study import profiles


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_every_gpu_has_one_run_before_any_has_two():
    with ExitStack() as stack:
        assert [stack.enter_context(gpus.turn(["0", "1", "2"], 2)) for _ in range(6)] == ["0", "1", "2"] * 2


def test_eight_runs_on_two_gpus_never_meet_on_one():
    busy, most, ran, guard = Counter(), Counter(), [], threading.Lock()

    def run():
        with gpus.turn(["GPU-a/1", "GPU-b/1"]) as gpu:
            with guard:
                busy[gpu] += 1
                most[gpu] = max(most[gpu], busy[gpu])
                ran.append(gpu)
            time.sleep(0.01)
            with guard:
                busy[gpu] -= 1

    runs = [threading.Thread(target=run) for _ in range(8)]
    for one in runs:
        one.start()
    for one in runs:
        one.join()
    assert most == {"GPU-a/1": 1, "GPU-b/1": 1} and len(ran) == 8


def test_a_place_is_free_again_after_an_error():
    with pytest.raises(ZeroDivisionError), gpus.turn(["0"]):
        _ = 1 / 0
    with gpus.turn(["0"]) as gpu:
        assert gpu == "0"


@pytest.mark.parametrize(
    ("variable", "count", "names"),
    [(None, 2, ["0", "1"]), ("", 0, []), ("3, 5", 2, ["3", "5"]), ("GPU-x,-1,2", 1, ["GPU-x"])],
)
def test_gpus_are_named_as_the_user_names_them(monkeypatch, variable, count, names):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert gpus.visible() == names


def placed(monkeypatch, device, **asked):
    monkeypatch.setattr(gpus, "visible", lambda: ["0", "1"])
    words = {"cluster": "", "jobs": "8", "gpus": "", "runs_per_gpu": ""} | asked
    return reproduce.place(reproduce.argparse.Namespace(**words), profiles.load("smoke", device=device))


@pytest.mark.parametrize(
    ("asked", "names", "limit"),
    [
        ({}, ("0", "1"), "gpu=2"),
        ({"runs_per_gpu": "3"}, ("0", "1"), "gpu=6"),
        ({"gpus": "1", "runs_per_gpu": "2"}, ("0",), "gpu=2"),
    ],
)
def test_snakemake_is_told_how_many_runs_the_gpus_take(monkeypatch, asked, names, limit):
    place = placed(monkeypatch, "cuda", **asked)
    assert place.gpus == names
    assert place.words(profiles.load("smoke")) == ["--cores", "8", "--resources", limit]


def test_runs_on_the_cpu_have_no_gpu_and_more_than_there_are_is_refused(monkeypatch):
    assert placed(monkeypatch, "cpu").gpus == ()
    for device in ("cpu", "auto"):
        with pytest.raises(ValueError, match="GPUS=5, but runs are on the CPU: DEVICE says so, or no GPU"):
            placed(monkeypatch, device, gpus="5")
    with pytest.raises(ValueError, match="GPUS=3, but 2 can be seen"):
        placed(monkeypatch, "cuda", gpus="3")
    with pytest.raises(ValueError, match=r"^GPUS=1 is of this machine, but CLUSTER=slurm: leave one out$"):
        placed(monkeypatch, "cuda", gpus="1", cluster="slurm")
