"""The GPUs of this machine, and whose turn it is on which: runs side by side are spread over them.

Enters: how many GPUs to use and how many runs may share one. Leaves: one GPU's name for as long as a run lasts. Places
are locked files in a folder of the user's on this machine, so runs of other profiles count too, and whoever dies gives
its place back.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def visible() -> list[str]:
    """The GPUs that this process may use, each as CUDA_VISIBLE_DEVICES calls it; none where torch sees none."""
    import torch  # takes seconds

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [name.strip() for name in named.split(",")][:count] if named.strip() else [str(n) for n in range(count)]


@contextmanager
def turn(gpus: Sequence[str], runs: int = 1) -> Iterator[str]:
    """While open, one of the `runs` places on one of `gpus` is held, and yielded is that GPU's name.

    Waits where all places are taken; every GPU has one run before any has two. Raises OSError where the folder of locks
    cannot be used.
    """
    folder = Path(tempfile.gettempdir()) / f"gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    places = [(gpu, folder / f"{gpu.replace('/', '-')}.{run}") for run in range(runs) for gpu in gpus]
    while True:
        for gpu, path in places:
            with open(path, "a") as place:
                if _lock(place.fileno()):
                    yield gpu
                    return
        time.sleep(0.5)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
