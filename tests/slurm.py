"""A Slurm of one node on this machine's loopback: munge, controller and node's daemon, for the length of a test.

Slurm reads /etc/slurm (Snakemake's plugin drops SLURM_CONF), so its configuration must be there: it is written only
where there is none, or one that this module wrote, and taken away at the end.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

FOLDER = Path("/etc/slurm")
MARK = "# written by tests/slurm.py, which overwrites and deletes it\n"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
OWN = {"SLURM_CONF", "SLURM_CONF_SERVER"}  # variables that lead to another cluster

SLURM = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=5
MinJobAge=7200
GresTypes=gpu
NodeName=here NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000 Gres=gpu:1
PartitionName=runs Nodes=here Default=YES MaxTime=INFINITE
PartitionName=others Nodes=here MaxTime=INFINITE
"""
CGROUP = "CgroupPlugin=cgroup/v1\nIgnoreSystemd=yes\n"
GRES = "NodeName=here Name=gpu File=/dev/null\n"  # any device will do: no job computes on it


class Job(NamedTuple):
    """A line of the queue, ended jobs included."""

    number: str
    state: str  # such as RUNNING
    rule: str


def why_not() -> str | None:
    """Why no Slurm can be started here, or None where one can: a configuration of somebody else's is never touched."""
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        return f"Slurm is not installed: no {', '.join(missing)}"
    if os.geteuid():
        return "only root can start a Slurm"
    if OWN & set(os.environ) or Path("/run/slurm/conf").exists():
        return "this machine belongs to a cluster"
    for name in ("slurm.conf", "cgroup.conf", "gres.conf"):
        path = FOLDER / name
        if path.exists() and not path.read_text().startswith(MARK):
            return f"{path} is somebody else's"
    if not (FOLDER / "slurm.conf").exists() and _said("sinfo"):  # configured where this module does not look
        return "another Slurm answers here"
    return None


@contextmanager
def running() -> Iterator[None]:
    """While open, a Slurm of this machine alone is running; one at a time, whoever else runs these tests."""
    with ExitStack() as stack:
        lock = stack.enter_context(open(Path(tempfile.gettempdir()) / "slurm-of-the-tests.lock", "w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True)))
        stack.enter_context(_configured(folder))
        for command in _daemons(folder):
            stack.enter_context(_daemon(command, folder))
        until(lambda: _said("sinfo", "--noheader", "--Node", "--format=%T").startswith("idle"), 60, folder)
        stack.callback(_empty)
        yield


def jobs() -> list[Job]:
    """Those of the running Slurm, in the order of their submission; ended ones stay for two hours."""
    lines = _said("squeue", "--states=all", "--noheader", "--sort=i", "--format=%i %T %k").splitlines()
    parts = [line.split(maxsplit=2) for line in lines]
    return [Job(number, state, comment.removeprefix("rule_").split("_")[0]) for number, state, comment in parts]


def asked(job: Job) -> dict[str, str]:
    """What `scontrol show job` says of it, such as {"Partition": "runs"}."""
    words = _said("scontrol", "--oneliner", "show", "job", job.number).split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def cancel(job: Job) -> None:
    """Does what a user does who wants one job gone."""
    subprocess.run(["scancel", job.number], check=True)


def until(condition: Callable[[], object], seconds: float, folder: Path | None = None) -> object:
    """Waits for a condition and returns what it gave. Raises TimeoutError, with what daemons said, after `seconds`."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            said = [f"{log.name}:\n{log.read_text()[-2000:]}" for log in folder.glob("*.log")] if folder else []
            raise TimeoutError("\n".join([f"{seconds} s were not enough", *said]))
        time.sleep(0.2)
    return found


@contextmanager
def _configured(folder: Path) -> Iterator[None]:
    host, ports = socket.gethostname().split(".")[0], _free_ports(2)
    texts = {"slurm": SLURM.format(host=host, ports=ports, folder=folder), "cgroup": CGROUP, "gres": GRES}
    for part in ("state", "spool"):
        (folder / part).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    try:
        for name, text in texts.items():
            (FOLDER / f"{name}.conf").write_text(MARK + text)
        yield
    finally:
        for name in texts:
            (FOLDER / f"{name}.conf").unlink(missing_ok=True)


def _daemons(folder: Path) -> list[list[str]]:
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "seed-file": "munge.seed"}
    munge = [f"--{option}={folder / name}" for option, name in (files | {"log-file": "munge.out"}).items()]
    here = ["-D", "-c", "-f", str(FOLDER / "slurm.conf")]
    return [["munged", "--foreground", "--force", *munge], ["slurmctld", *here], ["slurmd", *here]]


@contextmanager
def _daemon(command: list[str], folder: Path) -> Iterator[None]:
    with open(folder / f"{command[0]}.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        if command[0] == "munged":
            until(lambda: (folder / "munge.socket").exists() or process.poll() is not None, 20, folder)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _empty() -> None:
    left = _said("squeue", "--noheader", "--format=%i").split()
    if left:
        subprocess.run(["scancel", *left], check=False)
        until(lambda: not _said("squeue", "--noheader", "--format=%i").split(), 60)


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
