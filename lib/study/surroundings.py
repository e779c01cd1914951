"""What of the user's surroundings reaches the study: nothing that could change a result or end a run.

    python -E -m lib.study.surroundings -m lib.running.reproduce --profile quick     # as make starts whatever it starts

Enters: the environment in which somebody starts the study. Leaves: the same without whatever `KEPT` does not name, and
with what `SET` says. What make starts has it, `reproduce`, `execute` and `publish` of `running` start themselves again
in it where they are started by hand, and every notebook's kernel is given it, whoever starts it. What is not named
cannot act: start-up files, languages and encodings, settings of plots, of threads and of arithmetic, options of
Python, of shells, of git and of tools that install packages.

Not a variable, and so the interpreter's own: what is installed beside it, its sitecustomize and *.pth files.
"""

from __future__ import annotations  # read by whatever python3 there is, to say that it is too old

import ctypes
import os
import resource
import signal
import sys
import warnings
from collections.abc import Mapping
from fnmatch import fnmatchcase

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = f"{ROOT}/.cache"  # never committed
FEWEST_FILES = 256  # that a process must be allowed to have open

KEPT = {  # why -> names, of which * may be any letters
    "where programs are, and the libraries that they are linked with": (
        "PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH",
    ),
    "who works here, and where files of theirs go": (
        "HOME", "USER", "LOGNAME", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
        "XDG_RUNTIME_DIR", "TORCH_HOME", "CUDA_CACHE_PATH",
    ),
    "the screen, for JupyterLab and its terminals": (
        "TERM", "SHELL", "SSH_AUTH_SOCK", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS",
        "BROWSER", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR",
    ),
    "which GPUs may be used": (
        "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_MPS_PIPE_DIRECTORY", "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
    ),
    "which cluster, and at whose expense": (
        "SLURM_CONF", "SLURM_CONF_SERVER", "SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "SBATCH_RESERVATION",
    ),
    "the way to the network, where data sets and packages are checked by their digests": (
        "http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "PIP_CLIENT_CERT",
        "PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_PROXY",
        "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "PIP_CACHE_DIR", "UV_CONFIG_FILE", "UV_DEFAULT_INDEX", "UV_INDEX*",
        "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX", "UV_OFFLINE", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS",
        "UV_INSECURE_HOST", "UV_HTTP_TIMEOUT", "UV_CACHE_DIR",
    ),
    "the system's own": ("_", "__*"),
}  # fmt: skip

SET = {  # name -> value, why
    "PYTHONPATH": (ROOT, "this code, and no other that is called like it"),
    "PYTHONHASHSEED": ("0", "sets of texts in the same order every time"),
    "PYTHONUTF8": ("1", "files and terminals are UTF-8, whatever the language"),
    "LC_ALL": ("C", "numbers, dates and messages of programs as everywhere"),
    "MPLBACKEND": ("module://matplotlib_inline.backend_inline", "figures go into the notebook"),
    "MPLCONFIGDIR": (f"{CACHE}/matplotlib", "no matplotlibrc or styles but matplotlib's, and room for its cache"),
    "IPYTHONDIR": (f"{CACHE}/ipython", "no start-up files of the user's in notebooks opened by hand"),
    "JUPYTER_PREFER_ENV_PATH": ("1", "a kernel of this interpreter, not of one that the user has named alike"),
    "CUBLAS_WORKSPACE_CONFIG": (":4096:8", "products of matrices the same every time, on CUDA"),
    "MALLOC_MMAP_THRESHOLD_": (
        f"{2**30}",
        "memory that is freed stays with the process: a tenth of the time went into"
        " giving it back to the system and getting it cleared again (Linux)",
    ),
    "MALLOC_TRIM_THRESHOLD_": (f"{2**31 - 1}", "likewise"),
    "MALLOC_TOP_PAD_": (f"{2**26}", "likewise, in large pieces"),
    "PYDEVD_DISABLE_FILE_VALIDATION": ("1", "or the debugger, which nobody uses here, warns"),
    "PIP_USER": ("0", "into .venv, whatever pip.conf says"),
    "PIP_NO_BINARY": (":none:", "nothing is compiled, whatever pip.conf says"),
    "PIP_REQUIRE_HASHES": ("0", "uv itself is installed by its version; all else has hashes"),
}


def calm(environment: Mapping[str, str]) -> dict[str, str]:
    """What of `environment` is kept, and what is set instead; a calm one stays as it is."""
    patterns = [pattern for names in KEPT.values() for pattern in names]
    kept = {name: environment[name] for name in environment if any(fnmatchcase(name, like) for like in patterns)}
    kept.update({name: value for name, (value, _) in SET.items()})
    if is_closed():
        kept["PYTHONNOUSERSITE"] = "1"
    if not _is_room(environment):
        kept["XDG_CACHE_HOME"] = CACHE
    return kept


def _is_room(environment: Mapping[str, str]) -> bool:
    # Snakemake, among others, stops where it cannot have its cache.
    place = environment.get("XDG_CACHE_HOME") or os.path.join(environment.get("HOME", ""), ".cache")
    if not os.path.isabs(place):
        return False
    try:
        os.makedirs(place, exist_ok=True)
    except OSError:
        return False
    return os.access(place, os.W_OK)


def is_closed() -> bool:
    """Whether this interpreter's packages are an environment of their own (venv's or conda's), to which those that the
    user has installed for all interpreters (~/.local) do not belong."""
    return sys.prefix != sys.base_prefix or os.path.isdir(os.path.join(sys.prefix, "conda-meta"))


def settle() -> None:
    """Starts this process again, with the same words, where its environment is not calm; opens what is closed of its
    three streams, and allows itself to read what it writes and to have enough files open. Ends it, with one line, where
    that is refused."""
    _open_streams()
    _allow_files()
    os.umask(os.umask(0o077) & 0o077)  # what it writes it must be able to read
    if (wanted := calm(os.environ)) != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)


def speak_utf8() -> None:
    """Starts this process again, with the same words, where it takes names of files for anything but UTF-8, as Python
    does in some old languages: libraries take them for UTF-8 always."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != SET["PYTHONUTF8"][0]:
        os.environ["PYTHONUTF8"] = SET["PYTHONUTF8"][0]
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def keep_freed_memory() -> bool:
    """Has this process keep the memory that it frees, as `SET` has it where make starts one; returns whether it does,
    as it can with the allocator of Linux alone (glibc's mallopt, malloc.h)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another system's
        return False
    numbers = {"MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_TOP_PAD_": -2}
    done = [mallopt(number, int(SET[name][0])) for name, number in numbers.items()]
    return all(done)


def end_silently() -> None:
    """Has Ctrl-C end this process without a word until something else is asked for: while it still imports what it
    needs it has done nothing of which it could tell."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored, as a shell script may have it
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def warn_in_lines() -> None:
    """Has this process say a warning in a line of its own, without the place in the code, which is nobody's who types a
    command."""
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr, flush=True)


def _open_streams() -> None:
    for stream in range(3):  # or the next file to be opened would be the one that everybody prints to
        try:
            os.fstat(stream)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _allow_files() -> None:
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < FEWEST_FILES:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (FEWEST_FILES, most))
        except (OSError, ValueError):
            sys.exit(f"only {most} files may be open at a time: allow more (ulimit -n {FEWEST_FILES})")


def main() -> None:
    """The command line: this interpreter, with the words that follow and its own options but -E."""
    words = getattr(sys, "orig_argv", [])[1:]  # not there before Python 3.10
    own = [word for word in words[: len(words) - len(sys.argv) - 1] if word != "-E"]
    os.execve(sys.executable, [sys.executable, *own, *sys.argv[1:]], calm(os.environ))


if __name__ == "__main__":
    main()
