"""Nothing of the user's surroundings changes a result or ends a run: variables, start-up files, repositories around."""

import ctypes
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
import warnings

import pytest
from soak import results
from studies import Study, copy_of_the_repository
from written import NOTHING_TO_DO, PARAMETERS, outputs, write_notebook

from lib.running import execute
from lib.study import paths, records, surroundings

# What people have in their environments, each with a value that would be noticed.
HOSTILE = {
    "PYTHONSTARTUP": "{here}/startup.py", "PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2", "PYTHONHASHSEED": "random",
    "PYTHONPATH": "{here}/site", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0",
    "PYTHONINSPECT": "1", "PYTHONDEVMODE": "1", "PYTHONSAFEPATH": "1", "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONBREAKPOINT": "nothing", "PYTHONTRACEMALLOC": "9", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "",
    "IPYTHONDIR": "{here}/ipython", "JUPYTER_PATH": "{here}", "JUPYTER_PLATFORM_DIRS": "1", "PAPERMILL_OUTPUT": "x",
    "LANG": "tr_TR.ISO-8859-9", "LC_ALL": "tr_TR.ISO-8859-9", "LC_NUMERIC": "de_DE", "LANGUAGE": "tr",
    "MPLBACKEND": "TkAgg", "MATPLOTLIBRC": "{here}/matplotlibrc", "MPLCONFIGDIR": "{here}",
    "OMP_NUM_THREADS": "7", "MKL_NUM_THREADS": "7", "OPENBLAS_NUM_THREADS": "7", "OMP_THREAD_LIMIT": "1",
    "OMP_DYNAMIC": "true", "OMP_DISPLAY_ENV": "true", "KMP_AFFINITY": "verbose,compact", "GOMP_CPU_AFFINITY": "0",
    "MKL_CBWR": "COMPATIBLE", "MKL_VERBOSE": "1", "ATEN_CPU_CAPABILITY": "default", "ONEDNN_VERBOSE": "1",
    "ONEDNN_MAX_CPU_ISA": "SSE41", "ONEDNN_DEFAULT_FPMATH_MODE": "BF16", "OPENBLAS_CORETYPE": "Prescott",
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3", "TORCH_LOGS": "+all", "TORCH_CPP_LOG_LEVEL": "INFO", "PYTORCH_JIT": "0",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1", "NVIDIA_TF32_OVERRIDE": "1", "CUDA_LAUNCH_BLOCKING": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":0:0", "PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "PYTORCH_CUDA_ALLOC_CONF": "nonsense",
    "SNAKEMAKE_PROFILE": "{here}", "SNAKEMAKE_OUTPUT_CACHE": "{here}", "BASH_ENV": "{here}/bash", "ENV": "{here}/bash",
    "CDPATH": "{here}", "SHELLOPTS": "noglob:xtrace", "BASHOPTS": "failglob", "POSIXLY_CORRECT": "1",
    "BASH_FUNC_rm%%": "() {{ return 1; }}", "GLOBIGNORE": "*", "GIT_DIR": "{here}", "GIT_WORK_TREE": "{here}",
    "GIT_INDEX_FILE": "{here}/index", "GIT_CONFIG_COUNT": "nonsense", "GIT_TRACE": "1", "PIP_USER": "1",
    "PIP_TARGET": "{here}", "PIP_REQUIRE_VIRTUALENV": "1", "PIP_NO_BINARY": ":all:", "UV_SYSTEM_PYTHON": "1",
    "UV_PROJECT_ENVIRONMENT": "{here}", "VIRTUAL_ENV": "{here}", "CONDA_PREFIX": "{here}", "LD_PRELOAD": "",
    "TZ": "Asia/Kathmandu", "COLUMNS": "20", "FORCE_COLOR": "1", "PYTEST_ADDOPTS": "-x", "SBATCH_EXPORT": "NONE",
    "SQUEUE_STATES": "RUNNING", "SLURM_JOB_ID": "7",
}  # fmt: skip

TOO_FEW = "only 64 files may be open at a time: allow more (ulimit -n 256)"


@pytest.fixture
def hostile(tmp_path):
    """An environment in which all of these are set, beside what this process has, and the files that they name."""
    here = tmp_path / "here"
    for folder in ("site", "ipython/profile_default/startup"):
        (here / folder).mkdir(parents=True)
    spoil = "import torch\ntorch.set_default_dtype(torch.float64)\nspoilt = True\n"
    for name in ("startup.py", "site/sitecustomize.py", "ipython/profile_default/startup/00.py"):
        (here / name).write_text(spoil)
    (here / "site/papermill.py").write_text("raise SystemExit('not papermill')")
    (here / "matplotlibrc").write_text("text.usetex: True\nlines.linewidth: 9\n")
    (here / "config.yaml").write_text("forceall: true\nquiet: all\n")
    (here / "bash").write_text("exit 3\n")
    return os.environ | {name: value.format(here=here) for name, value in HOSTILE.items()}


# The table


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_hostile_is_kept(name, tmp_path):
    expected = {known: value for known, (value, _) in surroundings.SET.items()} | {"HOME": os.fspath(tmp_path)}
    expected |= {"PYTHONNOUSERSITE": "1"} if surroundings.is_closed() else {}
    assert surroundings.calm({name: "mine", "HOME": os.fspath(tmp_path)}) == expected


@pytest.mark.parametrize("name", [name for names in surroundings.KEPT.values() for name in names])
def test_what_the_table_keeps_is_kept(name, tmp_path):
    name, value = name.replace("*", "SOME"), os.fspath(tmp_path)
    assert surroundings.calm({name: value})[name] == value


@pytest.mark.parametrize("name", surroundings.SET)
def test_what_the_table_sets_is_set_whatever_it_was(name):
    value, why = surroundings.SET[name]
    assert surroundings.calm({name: "mine"})[name] == surroundings.calm({})[name] == value
    assert why


@pytest.mark.parametrize("home", ["a folder", "a file", "", None])
def test_a_calm_environment_stays_as_it_is(home, tmp_path):
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a file").touch()
    given = {"PYTHONSTARTUP": "x", "HOME": home and os.fspath(tmp_path / home), "_": "y"}
    calm = surroundings.calm({name: value for name, value in given.items() if value is not None})
    assert surroundings.calm(calm) == calm
    assert calm.get("XDG_CACHE_HOME") == (None if home == "a folder" else surroundings.CACHE)


@pytest.mark.parametrize(("place", "is_room"), [("new", True), ("file", False), ("", False)])
def test_caches_are_the_users_where_there_is_room_for_them(tmp_path, monkeypatch, place, is_room):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    place = os.fspath(tmp_path / place) if place else "relative"
    expected = place if is_room else surroundings.CACHE
    assert surroundings.calm({"HOME": os.fspath(tmp_path), "XDG_CACHE_HOME": place})["XDG_CACHE_HOME"] == expected
    assert sorted(os.listdir()) == (["file", "new"] if is_room else ["file"])


@pytest.mark.parametrize(
    ("prefix", "conda", "closed"), [("here", False, False), ("v", False, True), ("here", True, True)]
)
def test_packages_of_the_users_count_where_the_interpreter_has_no_environment_of_its_own(
    tmp_path, monkeypatch, prefix, conda, closed
):
    monkeypatch.setattr(sys, "base_prefix", os.fspath(tmp_path / "here"))
    monkeypatch.setattr(sys, "prefix", os.fspath(tmp_path / prefix))
    if conda:
        (tmp_path / prefix / "conda-meta").mkdir(parents=True)
    assert ("PYTHONNOUSERSITE" in surroundings.calm({})) == closed


def test_what_make_starts_has_its_own_options_and_a_calm_environment(hostile):
    say = "import os, sys; flags = sys.flags; "
    say += "print(flags.no_user_site, flags.optimize, flags.ignore_environment, *sys.argv[1:], *sorted(os.environ))"
    words = [sys.executable, "-E", "-s", "-m", "lib.study.surroundings", "-c", say, "a b"]
    said = subprocess.run(words, env=hostile, cwd=surroundings.ROOT, capture_output=True, text=True)
    assert said.stderr == ""
    assert said.stdout.split() == ["1", "0", "0", "a", "b", *sorted(surroundings.calm(hostile))]


# What is started


SAY = "import os, sys\nprint(dict(os.environ))\nprint('spoilt' in globals(), sys.flags.optimize, sys.stdout.encoding)"


def test_a_kernel_is_calm_whoever_starts_it(hostile, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(os, "environ", hostile)
    write_notebook(tmp_path / "a.ipynb", PARAMETERS, SAY)
    execute.run("a.ipynb", "b.ipynb", {}, threads=2)
    found, spoilt = "".join(outputs(tmp_path / "b.ipynb")).splitlines()
    found = eval(found)
    own = {"JPY_PARENT_PID", "JPY_SESSION_NAME", "PYDEVD_USE_FRAME_EVAL", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR"}
    own |= {"PAGER", "GIT_PAGER", "TERM", *execute.POOLS}  # IPython's, for its kernels
    expected = surroundings.calm(hostile)
    assert {name: found[name] for name in found if name not in own | {"IPYTHONDIR"}} == {
        name: expected[name] for name in expected if name not in own | {"IPYTHONDIR"}
    }
    assert {found[pool] for pool in execute.POOLS} == {"2"} and found["IPYTHONDIR"] != expected["IPYTHONDIR"]
    assert spoilt == "False 0 UTF-8"


def own_python(folder):
    """An interpreter in an environment of its own, which has the packages of this one."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "here.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    return os.fspath(folder / "bin/python")


def test_settings_of_ipython_for_the_whole_machine_do_not_act(tmp_path, monkeypatch):
    python = own_python(tmp_path / "v")  # for which v/etc is what /etc is for all
    (tmp_path / "v/etc/ipython/startup").mkdir(parents=True)
    (tmp_path / "v/etc/ipython/startup/00.py").write_text("spoilt = True")
    (tmp_path / "v/etc/ipython/ipython_config.py").write_text("c.InteractiveShellApp.exec_lines = ['spoilt = True']")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "executable", python)
    write_notebook(tmp_path / "a.ipynb", PARAMETERS, "import sys\nprint(sys.prefix, 'spoilt' in globals())")
    execute.run("a.ipynb", "b.ipynb", {})
    assert outputs(tmp_path / "b.ipynb") == [f"{tmp_path}/v False\n"]


def test_streams_that_are_closed_and_a_mask_that_hides_what_is_written():
    say = "import os, sys\nfrom lib.study import surroundings\nsurroundings.settle()\n"
    say += "sys.stderr.write(f'{os.path.samestat(os.fstat(1), os.stat(os.devnull))} {os.umask(0):o}')"
    words = ["sh", "-c", 'umask 0747; exec "$@" >&-', "sh", sys.executable, "-c", say]
    done = subprocess.run(words, cwd=surroundings.ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "True 47")


@pytest.mark.parametrize(("limit", "said"), [("-S -n", "256"), ("-n", f"{TOO_FEW}\n")])
def test_files_that_may_be_open_are_enough_or_it_is_said(limit, said):
    say = "import resource, sys\nfrom lib.study import surroundings\nsurroundings.settle()\n"
    say += "sys.stderr.write(f'{resource.getrlimit(resource.RLIMIT_NOFILE)[0]}')"
    words = ["sh", "-c", f'ulimit {limit} 64; exec "$@"', "sh", sys.executable, "-c", say]
    done = subprocess.run(words, cwd=surroundings.ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (int(said != "256"), "", said)


def test_a_temporary_folder_with_a_long_name(tmp_path, monkeypatch):
    long = tmp_path / ("l" * 100)
    long.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr("tempfile.tempdir", os.fspath(long))
    write_notebook(tmp_path / "a.ipynb", PARAMETERS, "print(1)")
    execute.run("a.ipynb", "b.ipynb", {})
    assert outputs(tmp_path / "b.ipynb") == ["1\n"] and os.listdir(long) == []


def test_by_hand_in_the_worst_of_environments_the_same_tables_come_out(own_study, hostile):
    before = results(own_study.smoke)
    run = own_study.smoke / "digits-resnet8/seed-0"
    for record in (run / "00-train.json", run / "10-measure.json", own_study.smoke / "notebooks/30-sign.json"):
        python, *words = shlex.split(json.loads(record.read_text())["command"])
        record.unlink()
        again = [sys.executable, *words] if python == "python" else []
        done = subprocess.run(
            again, cwd=own_study.root, env=hostile | {"PYTHONPATH": "."}, capture_output=True, text=True
        )
        said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]  # before our turn
        told = [line for line in done.stdout.splitlines() if not re.search(r": \d+ of \d+ \w+$", line)]  # how far it is
        assert (done.returncode, told, said) == (0, [], [])
        assert record.exists()
    shutil.rmtree(run / "parts")  # which stay where nobody has asked to discard them
    assert results(own_study.smoke) == before


def test_make_in_the_worst_of_environments_finds_nothing_to_do(study, hostile):
    words = study.command("reproduce")
    hostile = {name: value for name, value in hostile.items() if name in study.environment or name in HOSTILE}
    again = subprocess.run(words, cwd=study.root, env=hostile, capture_output=True, text=True)
    assert (again.returncode, again.stdout, again.stderr) == (0, NOTHING_TO_DO, "")


# Folders


def git(folder, *words):
    told = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(told, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder in a repository, itself one with a commit."""
    folder = tmp_path / "outer" / "inner"
    folder.mkdir(parents=True)
    for place in (folder.parent, folder):
        git(place, "init")
        git(place, "commit", "--allow-empty", "-m", "first")
    monkeypatch.setattr(paths, "ROOT", folder)
    return folder


def test_a_record_names_the_commit_of_this_repository_and_no_other(clone):
    commit = git(clone, "rev-parse", "HEAD")
    assert records._git() == {"commit": commit, "dirty": False}
    shutil.rmtree(clone / ".git")
    assert records._git() is None  # though the folder around is a repository


def test_nothing_that_is_set_about_git_changes_what_a_record_says(clone, tmp_path, monkeypatch):
    commit = git(clone, "rev-parse", "HEAD")
    settings = "[status]\nshowUntrackedFiles = no\n[core]\nexcludesFile = {0}/ignored\nfsmonitor = {0}/hook\n"
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(settings.format(home))
    (home / "ignored").write_text("*\n")
    (home / "hook").write_text(f"#!/bin/sh\ntouch {home}/run\n")
    (home / "hook").chmod(0o755)
    monkeypatch.setenv("HOME", os.fspath(home))
    for name, value in (("GIT_DIR", clone.parent / ".git"), ("GIT_WORK_TREE", clone.parent), ("GIT_CONFIG_COUNT", "x")):
        monkeypatch.setenv(name, os.fspath(value))
    assert records._git() == {"commit": commit, "dirty": False}
    (clone / "new").touch()
    assert records._git() == {"commit": commit, "dirty": True}
    assert not (home / "run").exists()


def test_the_study_may_be_in_a_folder_of_any_name(study, tmp_path):
    copied = Study(tmp_path / 'it\'s a "é"#$HOME:{c}\\*[d]?;&(数)')
    shutil.copytree(study.root, copied.root)
    (copied.smoke / "report.md").unlink()
    made = copied.make("reproduce")
    assert (made.returncode, made.stderr) == (0, ""), made.stdout + made.stderr
    assert made.stdout.startswith("13 of 14 notebooks are there; running 1\n[1 of 1] 90-report (")


def test_the_interpreter_may_be_in_a_folder_of_any_name(tmp_path):
    python = own_python(tmp_path / "{x} it's")
    copied = copy_of_the_repository(tmp_path / "study")
    settings = {"profile": "smoke", "device": "cpu", "digests": {"digits": ["of train", "of test"]}}
    (copied.root / "settings.json").write_text(json.dumps(settings))
    words = ["--configfile", "settings.json", "--dry-run", "--printshellcmds", "--cores", "1", "--profile", "none"]
    command = [python, "-m", "snakemake", *words, "--workflow-profile", "none"]
    planned = subprocess.run(command, cwd=copied.root, env=copied.environment, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    assert f"exec {shlex.quote(python)} -m lib.running.execute" in planned.stdout


def test_warnings_are_said_in_lines_of_their_own(capsys, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    surroundings.warn_in_lines()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("all units of stem stay", stacklevel=1)
    assert capsys.readouterr().err == "warning: all units of stem stay\n"


KEEPING = """
import ctypes
from lib.study import surroundings

class Memory(ctypes.Structure):  # mallinfo2 of malloc.h
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

allocator = ctypes.CDLL(None)
allocator.mallinfo2.restype = Memory
allocator.malloc.restype = ctypes.c_void_p
allocator.free.argtypes = [ctypes.c_void_p]
kept = {keep} and surroundings.keep_freed_memory()
before = allocator.mallinfo2()
block = allocator.malloc(ctypes.c_size_t(2**26))
during = allocator.mallinfo2()
allocator.free(block)
after = allocator.mallinfo2()
print(kept, during.hblkhd - before.hblkhd >= 2**26, after.arena - before.arena + before.fordblks >= 2**26)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc 2.33 or newer tells of its memory")
def test_memory_that_is_freed_stays_with_the_process():
    calm = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | {"PYTHONPATH": "."}
    said = {}
    for keep in (False, True):
        words = [sys.executable, "-c", KEEPING.format(keep=keep)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=calm, cwd=surroundings.ROOT)
        kept, mapped, stays = done.stdout.split()
        assert kept == str(keep)
        said[keep] = (mapped, stays)
    # without: mapped for itself and given back to the system; with: taken from memory that stays with the process
    assert said == {False: ("True", "False"), True: ("False", "True")}
