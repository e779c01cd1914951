"""Running one notebook: checked parameters, fixed threads, whole copies, and a line that says what went wrong."""

import ast
import json
import os
import signal
import subprocess
import sys
import tempfile

import pytest
from waiting import until
from written import PARAMETERS, outputs, write_notebook

from lib.running import execute, gpus
from lib.study import paths

ROOT = paths.ROOT  # whatever tests put in its place


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, as the repository's root is for make."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def test_a_notebook_runs_in_the_root_with_typed_parameters_threads_and_this_interpreter(folder):
    write_notebook(
        folder / "a.ipynb",
        PARAMETERS,
        "import os, sys\nprint([seed, name, rate, flip, seeds])",
        "print([os.getcwd(), sys.executable])",
        "print({pool: os.environ[pool] for pool in os.environ if pool.endswith('_THREADS')})",
    )
    given = {"seed": "3", "name": "7", "rate": "1", "flip": "True", "seeds": "[1, 2]"}
    execute.run("a.ipynb", "out/b.ipynb", given, threads=2)
    parameters, where, threads = map(ast.literal_eval, outputs(folder / "out/b.ipynb"))
    assert parameters == [3, "7", 1.0, True, [1, 2]]
    assert where == [str(folder), sys.executable]
    assert threads == threads | dict.fromkeys(execute.POOLS, "2")
    assert os.listdir("out") == ["b.ipynb"]
    metadata = json.loads((folder / "out/b.ipynb").read_text())["metadata"]["papermill"]
    assert (metadata["input_path"], metadata["output_path"]) == ("a.ipynb", "out/b.ipynb")


def test_a_run_sees_only_the_gpu_whose_turn_it_has(folder, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    write_notebook(folder / "a.ipynb", PARAMETERS, "import os\nprint(os.environ['CUDA_VISIBLE_DEVICES'])")
    with gpus.turn(["3", "7"]):
        execute.run("a.ipynb", "b.ipynb", {}, among=["3", "7"])
    assert outputs(folder / "b.ipynb") == ["7\n"]


def test_a_failing_cell_is_named_and_its_copy_kept_until_the_next_success(folder):
    write_notebook(folder / "a.ipynb", PARAMETERS, "1 + 1", "raise ValueError('no such thing\\nat all')", "never = 1")
    with pytest.raises(RuntimeError) as caught:
        execute.run("a.ipynb", "out/b.ipynb", {})
    assert str(caught.value) == "b failed in cell [3]: ValueError: no such thing\n  its copy: out/b.failed.ipynb"
    assert os.listdir("out") == ["b.failed.ipynb"]
    assert "no such thing" in (folder / "out/b.failed.ipynb").read_text()
    write_notebook(folder / "a.ipynb", PARAMETERS)
    execute.run("a.ipynb", "out/b.ipynb", {})
    assert os.listdir("out") == ["b.ipynb"]


def test_a_failure_leaves_an_earlier_copy_as_it_was(folder):
    write_notebook(folder / "a.ipynb", PARAMETERS, "1 + 1")
    execute.run("a.ipynb", "b.ipynb", {})
    before = (folder / "b.ipynb").read_bytes()
    write_notebook(folder / "a.ipynb", PARAMETERS, "1 / 0")
    with pytest.raises(RuntimeError, match=r"cell \[2\]: ZeroDivisionError: division by zero"):
        execute.run("a.ipynb", "b.ipynb", {})
    assert (folder / "b.ipynb").read_bytes() == before


def test_a_kernel_that_dies_is_told_apart_from_one_that_fails(folder):
    write_notebook(folder / "a.ipynb", PARAMETERS, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(RuntimeError, match=r"b failed in cell \[2\]: its kernel died \(was it killed"):
        execute.run("a.ipynb", "b.ipynb", {})
    assert sorted(os.listdir()) == ["a.ipynb", "b.failed.ipynb"]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("sed", "1", r"a.ipynb has no parameter 'sed': valid are seed, name, rate, flip, seeds"),
        ("seed", "one", r"a.ipynb: seed must be of type int, as its default 0, not 'one'"),
        ("seed", "1.5", r"seed must be of type int"),
        ("rate", "fast", r"rate must be of type float"),
        ("flip", "1", r"flip must be of type bool"),
    ],
)
def test_a_wrong_parameter_is_refused_in_one_line_before_anything_runs(folder, name, value, error):
    write_notebook(folder / "a.ipynb", PARAMETERS)
    with pytest.raises(ValueError, match=error) as caught:
        execute.run("a.ipynb", "out/b.ipynb", {name: value})
    assert "\n" not in str(caught.value)
    assert not os.path.exists("out")


def test_a_notebook_without_parameters_or_no_notebook_says_so(folder, capsys):
    write_notebook(folder / "a.ipynb", "1 + 1", tags=())
    with pytest.raises(ValueError, match=r"no parameter 'seed': valid are none: no cell is tagged parameters"):
        execute.run("a.ipynb", "b.ipynb", {"seed": "1"})
    assert execute.main(["c.ipynb", "b.ipynb"]) == 1
    assert capsys.readouterr().err == "no notebook c.ipynb\n"


@pytest.fixture
def start(folder):
    """Starts `lib.running.execute` on a notebook that lasts, and returns it when its kernel is in the long cell."""
    began = []

    def begin(*before):
        touch = f"open({os.fspath(folder / 'begun')!r}, 'w').close()"
        write_notebook(folder / "a.ipynb", PARAMETERS, touch, "import time\ntime.sleep(60)")
        command = [*before, sys.executable, "-m", "lib.running.execute", "a.ipynb", "out/b.ipynb"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # jobs in the background ignore it
        began.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **heard))
        until(lambda: os.path.exists("begun") or began[0].poll() is not None)
        return began[0]

    yield begin
    for process in began:
        process.kill()
        process.wait()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_told_and_leaves_nothing(start, how):
    process = start()
    process.send_signal(how)
    assert (process.communicate()[1], process.returncode) == ("b interrupted\n", 130)
    assert os.listdir("out") == []


def test_it_stops_when_what_started_it_is_gone(start):
    parent = start("sh", "-c", '"$@" --parent $$ & wait', "sh")
    parent.kill()
    assert parent.communicate()[1] == "b interrupted\n"
    assert os.listdir("out") == []


def test_the_last_line_that_a_long_notebook_printed_is_shown_now_and_then(folder, capsys, monkeypatch):
    notebook = write_notebook(folder / "a.ipynb", PARAMETERS, "print('1 of 2\\n2 of 2')")
    execute.run(notebook, folder / "out.ipynb", {"seed": "3"})
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(execute, "PATIENCE", 0)
    execute.run(notebook, folder / "out.ipynb", {"seed": "3"})
    assert capsys.readouterr().out == "out seed 3: 2 of 2\n"
