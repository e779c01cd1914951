"""Runs one notebook in a process of its own: papermill, with checked parameters, fixed threads and no half-made copies.

    python -m lib.running.execute notebooks/00-train.ipynb OUTPUT --threads 1 --gpus 0,1 -p seed 2 -p dataset digits

Enters: a notebook, and values for its cell tagged `parameters`. Leaves: the executed copy at OUTPUT, or, where a cell
failed, <OUTPUT>.failed.ipynb beside it and two lines on the terminal. It may be killed at any moment: the copy is made
aside and renamed when it is whole. Where GPUs are named, the run has one of them, which no other run has meanwhile.
Nothing of the user's environment reaches the notebook but what `lib.study.surroundings` lets through.
"""

from lib.study import surroundings

if __name__ == "__main__":  # before anything else could act
    surroundings.settle()

import argparse
import ast
import base64
import errno
import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from lib.report import pictures
from lib.running import gpus
from lib.study import paths
from lib.system import interruptions

POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# Starts a kernel, for which there are no settings and no start-up files of IPython on this machine.
LAUNCH = """
from IPython.core import application
application.SYSTEM_CONFIG_DIRS.clear()
application.ENV_CONFIG_DIRS.clear()
from ipykernel import kernelapp
kernelapp.launch_new_instance()
"""

LONGEST = 70  # bytes of a temporary folder's name: with those of a kernel's socket there may be 107, on a Mac 103
PATIENCE = 60  # seconds without a word, of a notebook that prints how far it is

_WRITABLE = "make it writable, then start again to go on"
_ROOM = "make room, then start again to go on"
_MEMORY = "allow more memory (ulimit -v), then start again to go on"
_LIMIT = "allow more of them (ulimit -n), then start again to go on"
_SIZE = "allow larger files (ulimit -f), then start again to go on"
_FOLDER = "a file is where a folder must be; move it away"
REMEDIES = {  # for what the system has to say: error number -> what helps
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _WRITABLE),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _ROOM),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), _FOLDER),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _LIMIT),
    errno.EFBIG: _SIZE,
}
_SMALLER = "give the profile a smaller batch, under training or measuring in study.yaml"


def run(
    notebook: str | os.PathLike,
    output: str | os.PathLike,
    values: Mapping[str, str],
    *,
    threads: int = 1,
    among: Sequence[str] = (),
    runs_per_gpu: int = 1,
) -> None:
    """Executes `notebook` with this interpreter in the repository's root and leaves the copy at `output`.

    Arguments:
        values: of parameters, as text; each is read as the type that its default in the notebook has.
        threads: of every pool of threads in the kernel.
        among: GPUs, of which the kernel sees one; the run waits until fewer than `runs_per_gpu` others have it.

    Raises ValueError for a parameter the notebook does not have or whose value is of another type, and RuntimeError,
    naming cell and error, for a notebook that fails; its copy is then <output>.failed.ipynb.
    """
    import nbclient.exceptions
    import papermill

    notebook, output = Path(os.path.relpath(notebook)), Path(os.path.relpath(output))
    parameters = typed(notebook, values)
    aside, failed = (output.with_name(f"{output.stem}.{state}.ipynb") for state in ("part", "failed"))
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with gpus.turn(among, runs_per_gpu) if among else nullcontext() as gpu, _kernel(threads, gpu) as kernel:
            settings = {"cwd": paths.ROOT, "progress_bar": False, "shutdown_kernel": "immediate"}
            told = {"stdout_file": _Now(output.stem, parameters)}
            papermill.execute_notebook(notebook, aside, parameters, kernel_name="python3", **told, **kernel, **settings)
    except (papermill.PapermillExecutionError, nbclient.exceptions.DeadKernelError) as error:
        message = f"{output.stem} failed in {_where_and_why(error, aside)}\n  its copy: {failed}"
        _move(aside, failed)
        raise RuntimeError(message) from error
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _move(aside, output)
    failed.unlink(missing_ok=True)


class _Now:
    """A file that shows on the terminal, now and then, the last line of what a long notebook prints."""

    def __init__(self, name: str, parameters: Mapping[str, object]):
        of = [str(parameters[key]) for key in ("dataset", "network") if key in parameters]
        seed = f" seed {parameters['seed']}" if "seed" in parameters else ""
        self._label, self._last = " ".join([name, *(["-".join(of)] if of else [])]) + seed, time.monotonic()

    def write(self, text: str) -> None:
        lines = text.strip().splitlines()
        if lines and time.monotonic() - self._last >= PATIENCE:
            self._last = time.monotonic()
            with suppress(BrokenPipeError):  # which whoever has started it notices, too
                print(f"{self._label}: {lines[-1]}", flush=True)

    def flush(self) -> None:
        """Nothing is held back."""


def typed(notebook: str | os.PathLike, values: Mapping[str, str]) -> dict[str, object]:
    """`values` as the types that the notebook's parameters have by default; a default of None takes any literal.

    Raises FileNotFoundError without such a notebook, ValueError for an unknown parameter, listing those there are, or
    for a value of another type.
    """
    import papermill

    if not Path(notebook).is_file():
        raise FileNotFoundError(f"no notebook {notebook}")
    known = papermill.inspect_notebook(notebook)
    for name in values:
        if name not in known:
            there = ", ".join(known) or "none: no cell is tagged parameters"
            raise ValueError(f"{notebook} has no parameter {name!r}: valid are {there}")
    return {name: _typed(value, known[name]["default"], f"{notebook}: {name}") for name, value in values.items()}


def _typed(text: str, default: str, where: str) -> object:
    usual = _literal(default)
    if isinstance(usual, str):
        return text
    value = _literal(text)
    if isinstance(usual, float) and type(value) is int:
        value = float(value)
    if usual is not None and type(value) is not type(usual):
        raise ValueError(f"{where} must be of type {type(usual).__name__}, as its default {default}, not {text!r}")
    return value


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@contextmanager
def _kernel(threads: int, gpu: str | None) -> Iterator[dict[str, type]]:
    # A kernel of this interpreter, whatever kernels and IPython settings the user has, and gone at the end, whatever
    # happens. It is reached through files: ports, the usual way, are chosen before the kernel binds them, so that two
    # kernels that start at once can meet.
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    words = [sys.executable, "-c", LAUNCH, "-f", "{connection_file}"]
    words += ["--IPKernelApp.log_level=ERROR"]  # one that is interrupted as it starts would have much to say
    made = []
    with tempfile.TemporaryDirectory(prefix="kernel-", dir=_short(), ignore_cleanup_errors=True) as folder:
        environment = surroundings.calm(os.environ) | dict.fromkeys(POOLS, str(threads)) | {"IPYTHONDIR": folder}
        environment |= {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}

        class Kernel(AsyncKernelManager):
            kernel_spec = KernelSpec(argv=words, display_name="Python 3", language="python")

            def __init__(self, **settings):
                super().__init__(transport="ipc", connection_file=f"{folder}/kernel.json", **settings)
                made.append(self)

            async def start_kernel(self, **settings):
                await super().start_kernel(env=environment, **settings)

        try:
            yield {"kernel_manager_class": Kernel}
        finally:
            for kernel in made:
                if process := getattr(kernel.provisioner, "process", None):
                    process.kill()


def _short() -> str:
    # A socket's path must be, and a temporary folder's may not.
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= LONGEST else "/tmp"


def _where_and_why(error: Exception, copy: Path) -> str:
    if hasattr(error, "ename"):
        line = (error.evalue.strip() or "-").splitlines()[0]
        return f"cell [{error.exec_count}]: {error.ename}: {line}{_advice(error.ename, error.evalue)}"
    cells = [cell for cell in json.loads(copy.read_text())["cells"] if cell["cell_type"] == "code"]
    begun = sum(cell["metadata"].get("papermill", {}).get("start_time") is not None for cell in cells)
    return f"cell [{begun}]: its kernel died (was it killed, the memory full, or a limit of ulimit -a reached?)"


def _advice(name: str, said: str) -> str:
    """What helps against an error that a cell ended with, where the error itself does not say so."""
    if name == "OutOfMemoryError":  # torch's, on CUDA
        return f": {_SMALLER}"
    if name == "ArrowInvalid":  # of a table, which it names
        return " Delete it to have it made again."
    if name == "ImportError" and "failed to map segment" in said:
        return f": {_MEMORY}"
    number = re.search(r"\[Errno (\d+)\]|\(os error (\d+)\)", said)  # Python's words, or those of safetensors
    remedy = REMEDIES.get(int(number[1] or number[2])) if number else None
    return f": {remedy}" if remedy else ""


def in_one_line(error: Exception, place: str | os.PathLike) -> str:
    """What to print of an error that ends a program: what is wrong, with which file or else at `place`, and what
    helps."""
    if isinstance(error, ImportError):
        return f"{error}{_advice('ImportError', str(error))}"
    if not isinstance(error, OSError) or not error.errno:
        return str(error)
    remedy = REMEDIES.get(error.errno)
    said = str(error) if error.filename and not remedy else f"{error.filename or place}: {error.strerror}"
    return f"{said}: {remedy}" if remedy else said


def _move(aside: Path, output: Path) -> None:
    copy = json.loads(aside.read_text())
    copy["metadata"]["papermill"]["output_path"] = os.fspath(output)
    for data in [output.get("data", {}) for cell in copy["cells"] for output in cell.get("outputs", ())]:
        if "image/png" in data:
            small = pictures.shrunk(base64.b64decode("".join(data["image/png"])))
            data["image/png"] = base64.b64encode(small).decode()
    aside.write_text(json.dumps(copy, indent=1, ensure_ascii=False) + "\n")
    os.replace(aside, output)


def _stop_with(parent: int) -> None:
    # A killed Snakemake cannot stop what it started, and the next one must not meet it.
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main(words: Iterable[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lib.running.execute", description="Run one notebook.")
    parser.add_argument("notebook")
    parser.add_argument("output", help="where the executed copy goes")
    parser.add_argument("--threads", type=int, default=1, help="of every pool of threads (1)")
    parser.add_argument("--gpus", default="", help='one of which the run is to have, such as "0,1"')
    parser.add_argument("--runs-per-gpu", type=int, default=1, help="how many runs share a GPU (1)")
    parser.add_argument("--discard", nargs="+", default=[], help="folders that nobody needs once the copy is there")
    parser.add_argument("-p", dest="values", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--parent", type=int, help="stop when this process is no longer the parent")
    asked = parser.parse_args(words)
    # jupyterlab brings a checker of web addresses that jsonschema imports, for seconds, and no notebook needs.
    sys.modules.setdefault("rfc3987_syntax", None)
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it would say, `run` says
    among = {"among": asked.gpus.split(",") if asked.gpus else (), "runs_per_gpu": asked.runs_per_gpu}
    try:
        with interruptions.heard():
            if asked.parent is not None:
                _stop_with(asked.parent)
            run(asked.notebook, asked.output, dict(asked.values), threads=asked.threads, **among)
            for folder in asked.discard:
                shutil.rmtree(folder, ignore_errors=True)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(in_one_line(error, asked.output), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if interruptions.is_read():
            print(f"{Path(asked.output).stem} interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # an interruption leaves asyncio tasks behind, which would complain at the usual exit
