"""What goes wrong outside of the study: disks, memory, interruptions, odd names. One clear line, and nothing lost."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas
import pytest
import torch
import toys
from torch import nn
from waiting import until
from written import PARAMETERS, write_notebook

from lib import importance, pruning
from lib.network import saving
from lib.running import execute, publish, reproduce
from lib.study import loading, measurements, paths, profiles, records, reuse
from lib.study.columns import Cell

RUN = "digits-resnet8/seed-0"
ROOT = paths.ROOT  # whatever tests put in its place


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, as the repository's root is for make, without images in its `data`."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture
def disk(folder):
    """Mounts a disk of 64 KiB at `out`, with given options, if this process may."""
    where = folder / "out"
    where.mkdir()

    def mount(options="rw"):
        words = ["mount", "-t", "tmpfs", "-o", f"size=64k,{options}", "none", os.fspath(where)]
        try:
            refused = subprocess.run(words, capture_output=True, text=True).stderr.strip()
        except OSError as error:
            refused = str(error)
        if refused:
            pytest.skip(f"no disk can be mounted here: {refused}")
        return where

    yield mount
    if os.path.ismount(where):
        subprocess.run(["umount", os.fspath(where)], check=True)


# Disks


def test_a_disk_that_a_notebook_fills_is_told_and_with_room_it_runs(disk, folder, capsys):
    out = disk()
    write_notebook(folder / "a.ipynb", PARAMETERS, "open('out/big', 'wb').write(bytes(2**20))")
    assert execute.main(["a.ipynb", "out/b.ipynb"]) == 1
    line, copy = capsys.readouterr().err.splitlines()
    assert line == (
        "b failed in cell [2]: OSError: [Errno 28] No space left on device: make room, then start again to go on"
    )
    assert copy == "  its copy: out/b.failed.ipynb"
    (out / "big").unlink()
    write_notebook(folder / "a.ipynb", PARAMETERS, "1")
    assert execute.main(["a.ipynb", "out/b.ipynb"]) == 0
    assert os.listdir(out) == ["b.ipynb"]


def test_a_copy_that_does_not_fit_is_not_half_there(disk, folder, capsys):
    out = disk()
    write_notebook(folder / "a.ipynb", PARAMETERS, "print('y' * 300_000)")
    assert execute.main(["a.ipynb", "out/b.ipynb"]) == 1
    assert capsys.readouterr().err == "out/b.ipynb: No space left on device: make room, then start again to go on\n"
    assert os.listdir(out) == []


def test_tables_and_checkpoints_that_do_not_fit_leave_the_earlier_ones(disk):
    out = disk()
    small, large = pandas.DataFrame({"a": [1.0]}), pandas.DataFrame({"a": torch.rand(50_000).numpy()})
    records.save_table(small, out / "a.parquet")
    saving.save(nn.Linear(2, 2), out / "b.safetensors", {"which": "old"})
    before = (out / "b.safetensors").read_bytes()
    with pytest.raises(OSError, match="No space left on device"):
        records.save_table(large, out / "a.parquet")
    with pytest.raises(Exception, match="No space left on device") as caught:
        saving.save(nn.Linear(200, 200), out / "b.safetensors", {"which": "new"})
    assert execute._advice(caught.typename, str(caught.value)) == ": make room, then start again to go on"
    assert pandas.read_parquet(out / "a.parquet").equals(small)
    assert (out / "b.safetensors").read_bytes() == before
    assert not (out / "a.parquet.part").exists()


def refused(words, capsys):
    """The one line with which the front door refuses."""
    assert reproduce.main(["--profile", "smoke", "--device", "cpu", *words]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err.strip()


def test_a_results_folder_on_a_read_only_disk(disk, folder, capsys, monkeypatch):
    disk("ro")
    shutil.copy(ROOT / "study.yaml", folder)
    monkeypatch.setattr(reproduce, "check", lambda profile: None)  # of notebooks, of which there are none here
    line = refused(["--results", "out"], capsys)
    assert line == "out/smoke: Read-only file system: make it writable, then start again to go on"


@pytest.mark.parametrize("name", ["DATA", "CHECKPOINTS", "MEASURED"])
def test_a_folder_that_is_named_but_not_there(folder, capsys, name):
    assert (
        refused([f"--{name.lower()}", "/nowhere"], capsys)
        == f"{name}=/nowhere: there is no such folder: make it first, or leave {name} out"
    )
    assert os.listdir(folder) == ["data"]


@pytest.mark.parametrize("name", ["DATA", "CHECKPOINTS", "MEASURED"])
def test_a_file_that_is_named_as_a_folder(folder, capsys, name):
    (folder / "note").write_text("")
    line = refused([f"--{name.lower()}", str(folder / "note")], capsys)
    assert line == f"{name}={folder}/note is a file: name the folder that it is in, or another"


def test_an_empty_name_of_the_data_folder(folder, capsys):
    assert refused(["--data", ""], capsys) == "DATA=: there is no such folder: make it first, or leave DATA out"


@pytest.mark.parametrize("place", ["results", "results/smoke", f"results/smoke/{RUN.split('/')[0]}"])
def test_a_file_where_results_should_be(folder, capsys, monkeypatch, place):
    shutil.copy(ROOT / "study.yaml", folder)
    monkeypatch.setattr(reproduce, "check", lambda profile: None)
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    Path(place).write_text("mine")
    line = refused([], capsys)
    assert line.startswith("results") and line.endswith("a file is where a folder must be; move it away")
    assert Path(place).read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "a/b: Permission denied: make it writable, then"),
        (OSError(errno.ENOSPC, "No space left on device"), "here: No space left on device: make room, then start"),
        (OSError(errno.EIO, "Input/output error"), "here: Input/output error"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a"), "[Errno 2] No such file: 'a'"),
        (FileNotFoundError("no images: put them there"), "no images: put them there"),
        (
            OSError(errno.EMFILE, "Too many open files", "a"),
            "a: Too many open files: allow more of them (ulimit -n), then",
        ),
        (OSError(errno.EFBIG, "File too large", "a"), "a: File too large: allow larger files (ulimit -f), then start"),
        (
            ImportError("a.so: failed to map segment from shared object"),
            "a.so: failed to map segment from shared object: allow more memory (ulimit -v), then start again",
        ),
        (ImportError("no module named a"), "no module named a"),
        (ValueError("plain"), "plain"),
    ],
)
def test_errors_in_one_line(error, line):
    assert execute.in_one_line(error, "here").startswith(line)


def test_publishing_from_nothing_is_one_line(capsys, tmp_path):
    assert publish.main(["--profile", "smoke", "--results", os.fspath(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


# Memory


def test_a_notebook_out_of_cuda_memory_is_told_to_take_smaller_batches(folder):
    said = "CUDA out of memory. Tried to allocate 20.00 MiB.\\nMore."
    write_notebook(folder / "a.ipynb", PARAMETERS, f"import torch\nraise torch.OutOfMemoryError('{said}')")
    with pytest.raises(RuntimeError) as caught:
        execute.run("a.ipynb", "b.ipynb", {})
    assert str(caught.value).splitlines()[0] == (
        "b failed in cell [2]: OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.: "
        "give the profile a smaller batch, under training or measuring in study.yaml"
    )


def test_scoring_out_of_memory_names_the_batch():
    model = toys.make(toys.Mlp)
    images, _ = toys.examples(toys.Mlp, 7)

    def full(module, inputs, output):
        if len(output) == 7:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried.\nMore.")

    model.second.register_forward_hook(full)
    line = r"^7 images at once are too many .*: give smaller batches \(CUDA out of memory. Tried.\)$"
    with pytest.raises(torch.OutOfMemoryError, match=line):
        importance.score(model, [(images, None)], ["sq:rand"])


# More than there is


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"panels": [10, 4000]}, "12-first-experiments: 4000 examples asked for, but there are only 1347 training"),
        ({"scarcity": [1348]}, "40-label-scarcity: 1348 examples asked for"),
        ({"test_images": 451}, ".test_images: 451 images of digits asked for, but there are only 450 test images"),
    ],
)
def test_more_images_than_there_are_are_refused_before_anything_is_trained(tmp_path, settings, error):
    plan = profiles.load("smoke", data=tmp_path)
    asking = replace(plan, measuring=plan.measuring | settings)
    with pytest.raises(ValueError, match=r"^study\.yaml: profiles\.smoke\.measuring") as caught:
        reproduce.data_digests(asking)
    assert error in str(caught.value) and "\n" not in str(caught.value)


def test_numbers_that_no_notebook_asks_for_do_not_matter(tmp_path):
    plan = profiles.load("smoke", data=tmp_path)
    asking = replace(plan, measuring=plan.measuring | {"scarcity": [10**6]}, notebooks=("30-sign",))
    assert list(reproduce.data_digests(asking)) == ["digits"]


# Files that were altered


@pytest.fixture
def measured(own_study, monkeypatch):
    """The smoke profile's run in a copy of its own."""
    monkeypatch.chdir(own_study.root)
    monkeypatch.setattr(paths, "ROOT", own_study.root)
    return profiles.Run("smoke", "digits", "resnet8", 0, device="cpu")


def test_an_altered_checkpoint_is_named(measured):
    model = loading.model(measured, "cpu")
    saving.save(model, measured.checkpoint, {"dataset": "digits"})
    with pytest.raises(ValueError, match=r"checkpoint.safetensors is not the one that .*00-train.json tells of"):
        loading.model(measured, "cpu")
    measured.record("00-train").unlink()
    loading.model(measured, "cpu")


def test_a_truncated_table_is_named(measured):
    content = measured.curves.read_bytes()
    measured.curves.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"seed-0/curves\.parquet") as caught:
        measurements.curves(profiles.load("smoke"), "30-sign")
    assert execute._advice(type(caught.value).__name__, str(caught.value)) == " Delete it to have it made again."


def test_what_was_run_by_hand_with_other_code_settings_or_data_runs_again(own_study):
    def change(path, **fields):
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    assert own_study.plan() == []
    change(own_study.smoke / "notebooks/30-sign.json", code="0" * 64)
    assert own_study.plan() == ["30-sign", "90-report"]
    change(own_study.smoke / RUN / "10-measure.json", data="0" * 64)
    steps = own_study.plan()
    assert "10-measure digits-resnet8 seed 0" in steps and "00-train digits-resnet8 seed 0" not in steps
    assert "90-report" in own_study.plan("--report") and "10-measure" not in " ".join(own_study.plan("--report"))
    change(own_study.smoke / RUN / "00-train.json", code="0" * 64)  # taken up from elsewhere, perhaps
    assert own_study.plan() == steps
    change(own_study.smoke / RUN / "00-train.json", settings={})
    assert "00-train digits-resnet8 seed 0" in own_study.plan()


# Interruptions


@pytest.mark.parametrize("how", ["Ctrl-C in its terminal", "SIGTERM to make"])
def test_an_interruption_is_told_in_one_line_and_leaves_a_state_that_goes_on(own_study, how):
    for path in (own_study.smoke / "notebooks").glob("*"):
        path.unlink()
    before = own_study.plan()
    run = subprocess.Popen(
        own_study.command("reproduce"), cwd=own_study.root, env=own_study.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    until(lambda: run.poll() is not None or list(own_study.smoke.rglob("*.part.ipynb")))
    os.killpg(run.pid, signal.SIGINT) if how.startswith("Ctrl-C") else run.terminate()
    _, said = run.communicate(timeout=60)
    assert run.returncode != 0
    ours = [line for line in said.splitlines() if line and not line.startswith("make")]
    assert ours[-1] == "interrupted: start again to go on"
    assert [line for line in ours[:-1] if not line.endswith(" interrupted")] == []
    until(lambda: not list(own_study.smoke.rglob("*.part*")))
    assert set(own_study.plan()) <= set(before) and "90-report" in own_study.plan()


@pytest.mark.parametrize("lost", [[], ["notebooks/30-sign.ipynb"]], ids=["the last line", "a line of Snakemake's"])
def test_who_is_not_read_any_more_ends_without_a_word(own_study, lost):
    for name in lost:
        (own_study.smoke / name).unlink()
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "lib.running.reproduce", "--profile", "smoke", "--device", "cpu", "--jobs", "2"]
    given = {"cwd": own_study.root, "env": own_study.environment, "stdout": writing, "stderr": subprocess.PIPE}
    done = subprocess.run([*words, *(["--dry-run"] if lost else [])], **given, timeout=120)
    os.close(writing)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


LOCKED = """
import signal
from snakemake.scheduling.job_scheduler import JobScheduler
finish = JobScheduler._finish_jobs  # which has the scheduler's lock
JobScheduler._finish_jobs = lambda self: signal.raise_signal(signal.SIGTERM) or finish(self)
"""


@pytest.mark.parametrize("more", [["--dry-run"], []], ids=["planning", "running"])
def test_a_request_to_end_while_snakemake_holds_its_own_lock(own_study, more):
    own_study.change("Snakefile", lambda text: f"{LOCKED}{text}")
    (own_study.smoke / "notebooks/30-sign.ipynb").unlink()
    words = [
        sys.executable,
        "-m",
        "lib.running.reproduce",
        "--profile",
        "smoke",
        "--device",
        "cpu",
        "--jobs",
        "2",
        *more,
    ]
    given = {"cwd": own_study.root, "env": own_study.environment, "capture_output": True, "text": True}
    done = subprocess.run(words, **given, timeout=120)
    assert (done.returncode, done.stderr) == (130, "interrupted: start again to go on\n")
    assert not (own_study.smoke / "notebooks/30-sign.ipynb").exists()


# Names that a shell would read

ODD = """d; touch x $(touch x) `touch x` 'q' "r" & {s} é"""


def test_names_reach_no_shell_unquoted(own_study):
    told = own_study.root / "told.json"
    own_study.change(  # which then only says how it was called
        "lib/running/execute.py",
        lambda text: text.replace(
            "    status = main()", f"    open({os.fspath(told)!r}, 'w').write(json.dumps(sys.argv))\n    status = 1"
        ),
    )
    shutil.rmtree(own_study.smoke)
    (own_study.root / ODD).mkdir()
    failed = own_study.make("reproduce", f"DATA={ODD}")
    assert failed.returncode != 0 and "00-train" in failed.stdout
    words = json.loads(told.read_text())
    assert words[words.index("data") + 1] == ODD
    assert not list(own_study.root.rglob("x"))


@pytest.mark.parametrize("name", ["a b", "a;touch x", "$(touch x)", "../a", "'"])
def test_names_in_the_study_are_letters_and_digits(folder, name):
    text = (ROOT / "study.yaml").read_text()
    (folder / "study.yaml").write_text(text.replace("  smoke:", f"  {json.dumps(name)}:", 1))
    with pytest.raises(ValueError, match=r"study.yaml: profiles must be a name of letters, digits and _ \. -, not"):
        profiles.load("quick")


# What is never done


def test_nothing_is_unpickled_or_run_from_text():
    sources = {path.name: path.read_text() for path in (ROOT / "lib").rglob("*.py")}
    notebooks = (ROOT / "notebooks").glob("*.ipynb")
    sources |= {path.name: path.read_text() for path in [*notebooks, ROOT / "Snakefile"]}
    for name, source in sources.items():
        for word in ("pickle.", "import pickle", "read_pickle", "allow_pickle", "joblib", "shell=True", "os.system"):
            assert word not in source, (name, word)
        assert source.count("torch.load(") == source.count("weights_only=True"), name


@pytest.fixture
def lab(study, tmp_path):
    """What `make lab` starts, without a browser and the settings of whoever runs the tests."""
    (line,) = [line for line in study.make("lab", "-n").stdout.splitlines() if "jupyterlab" in line]
    environment = study.environment | {
        name: os.fspath(tmp_path)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")
    }
    words = f"exec {line.strip()} --no-browser --allow-root --port=0"
    process = subprocess.Popen(
        ["sh", "-c", words], cwd=study.root, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    yield process
    process.terminate()
    process.communicate(timeout=60)


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_jupyterlab_listens_on_loopback_and_asks_for_its_token(lab):
    import re
    import urllib.error
    import urllib.request

    for line in lab.stdout:
        if found := re.search(r"(http://\S+?)/lab\S*\?token=([0-9a-f]{20,})", line):
            break
    else:
        pytest.fail("JupyterLab did not start")
    assert found[1].startswith("http://127.0.0.1:")
    port = int(found[1].rsplit(":", 1)[1])
    until(lambda: accepts(port))  # a loaded machine says so early
    tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
    listening = [row.split()[1] for path in tables if path.exists() for row in path.read_text().splitlines()[1:]]
    assert {address for address in listening if int(address.rsplit(":", 1)[1], 16) == port} <= {f"0100007F:{port:04X}"}
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{found[1]}/api/contents")
    assert urllib.request.urlopen(f"{found[1]}/api/contents?token={found[2]}").status == 200


# Independence


def test_a_cell_does_not_depend_on_what_else_is_measured_nor_in_which_order(measured):
    cells = [
        Cell("sq:rand:norm", 40),
        Cell("taylorfo", 10),
        Cell("sq:sampled", 40),
    ]
    whole = pandas.read_parquet(measured.curves), pandas.read_parquet(measured.scores)
    forwards, backwards = (
        measurements.measure(measured, cells, "cpu"),
        measurements.measure(measured, cells[::-1], "cpu"),
    )
    for cell in cells:
        for table, first, last in zip(whole, forwards, backwards, strict=True):
            one, other, recorded = (of_cell(found, cell) for found in (first, last, table))
            pandas.testing.assert_frame_equal(one, other, rtol=1e-9)
            if len(recorded):
                pandas.testing.assert_frame_equal(one, recorded[list(one)], rtol=1e-6, check_dtype=False)


def test_a_measuring_that_was_interrupted_goes_on_with_the_same_tables(measured, monkeypatch):
    cells = [Cell(name, 40) for name in ("sq:rand:norm", "taylorfo", "abs", "sq")] + [Cell("l2", 0)]
    undisturbed, real, seen = measurements.measure(measured, cells, "cpu"), pruning.curves, []
    monkeypatch.setattr(measurements, "AT_A_TIME", 2)

    def interrupted(model, orders, *arguments, **settings):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.extend(orders)
        return real(model, orders, *arguments, **settings)

    monkeypatch.setattr(pruning, "curves", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measurements.measure(measured, cells, "cpu", measurements.parts_of(measured, "cpu"))
    monkeypatch.setattr(pruning, "curves", lambda *given, **settings: seen.extend(given[1]) or real(*given, **settings))
    parts = measurements.parts_of(measured, "cpu")
    for found, truth in zip(measurements.measure(measured, cells, "cpu", parts), undisturbed, strict=True):
        pandas.testing.assert_frame_equal(found, truth, check_exact=True)
    assert len(seen) == len(cells)
    assert parts.taken == 4  # scores on no images and on 40, and two lots of curves


def test_a_long_measuring_says_how_far_it_is(measured, monkeypatch):
    monkeypatch.setattr(measurements, "PATIENCE", -1)
    lines = []
    measurements.measure(measured, [Cell("sq", 40), Cell("l2", 0)], "cpu", report=lines.append)
    assert lines == ["scoring for 1 curves: 40 of 40 images", "1 of 2 curves", "2 of 2 curves"]


def of_cell(table, cell):
    here = (table[list(Cell._fields)].apply(tuple, axis=1) == tuple(cell)).to_numpy()
    return table[here].reset_index(drop=True)


def test_seed_1_does_not_depend_on_whether_seed_0_ran(measured):
    second = replace(measured, seed=1)
    second.folder.mkdir(parents=True)
    for source, copy in zip(*(reuse.outputs(run, "00-train") for run in (measured, second)), strict=True):
        shutil.copy(source, copy)
    cells = [Cell("sq:rand:norm", 40), Cell("taylorfo", 10)]
    alone = measurements.measure(second, cells, "cpu")
    first = measurements.measure(measured, cells, "cpu")
    after = measurements.measure(second, cells, "cpu")
    for one, other in zip(alone, after, strict=True):
        pandas.testing.assert_frame_equal(one, other, check_exact=True)
    assert not alone[1]["score"].equals(first[1]["score"])
