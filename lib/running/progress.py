"""What the terminal shows of Snakemake: what is there, a line for every step that ends, its warnings and its errors.

Enters: Snakemake's log records, as one of its logger plugins. Leaves: lines such as

    8 of 25 notebooks are there; running 17
    [ 7 of 17] 10-measure digits-resnet8 seed 2 (14 s)
    running: 10-measure digits-resnet20 seed 2 (3 min)

the last where nothing else has been said for a minute. The times are from the step's start, on a cluster from its
submission.
"""

import re
import sys
import threading
import time
from dataclasses import dataclass, field
from logging import WARNING, LogRecord
from pathlib import Path

from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from lib.system import interruptions

PATIENCE = 60  # seconds without a word
SHOWN = 3  # of what runs
TARGET = "all"  # the rule that only asks for files, and is no step
KNOWN = re.compile(  # warnings that are no news
    r"No (SLURM )?account (was )?given|Unable to guess SLURM account"  # as study.yaml says, where it says null
    r"|WorkflowError:\s+Failed to clean up metadata"  # asked to forget a training taken up, of which it never knew
)


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Snakemake makes options of its command line of them: --logger-progress-notebooks."""

    notebooks: int = field(default=0, metadata={"help": "how many there are, those that need not run among them"})


class LogHandler(LogHandlerBase):
    """Snakemake finds its plugins' handlers by this name."""

    writes_to_stream = True  # so that Snakemake's own handler keeps silent
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.total = self.finished = 0
        self.failed = False
        self.labels: dict[int, str] = {}  # job -> its rule's message
        self.begun: dict[int, float] = {}  # job -> seconds since the epoch
        self.over: set[int] = set()  # jobs that have ended
        self.spoke = time.time()
        self._ended = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)

    def close(self) -> None:
        """Ends what tells of running jobs, too."""
        self._ended.set()
        super().close()

    def _watch(self) -> None:
        while not self._ended.wait(PATIENCE / 4):
            with self.lock:  # which is held while a record is told
                now = time.time()
                if now - self.spoke < PATIENCE or interruptions.happened.is_set():
                    continue
                try:
                    self._tell_running(now)
                except BrokenPipeError:
                    interruptions.give_up()
                    return
                except (OSError, ValueError):  # a terminal or file that is gone
                    return

    def _tell_running(self, now: float) -> None:
        """Says which jobs are running at `now`, seconds since the epoch, and for how long, if any are."""
        running = [job for job in self.labels if job not in self.over]
        if running and not self.common_settings.dryrun:
            parts = [f"{self.labels[job]} ({(now - self.begun[job]) / 60:.0f} min)" for job in running[:SHOWN]]
            more = f" and {len(running) - SHOWN} more" if len(running) > SHOWN else ""
            self._say(f"running: {', '.join(parts)}{more}")

    def _say(self, line: str) -> None:
        self.spoke = time.time()
        print(line, flush=True)

    def emit(self, record: LogRecord) -> None:
        """Prints what the record has to say, if anything."""
        if interruptions.happened.is_set():
            return
        try:
            self._tell(record)
        except BrokenPipeError:
            interruptions.give_up()

    def _tell(self, record: LogRecord) -> None:
        handle = {
            LogEvent.RUN_INFO: self._count,
            LogEvent.JOB_INFO: self._note,
            LogEvent.JOB_FINISHED: self._tell_finished,
            LogEvent.JOB_ERROR: self._tell_failed,
        }.get(getattr(record, "event", None))
        if handle is not None:
            handle(record)
        elif record.getMessage() == NOTHING_TO_BE_DONE_MSG:
            self._tell_plan()
        elif record.levelno >= WARNING and not self._is_said(record):
            print(record.getMessage(), file=sys.stderr, flush=True)

    def _is_said(self, record: LogRecord) -> bool:
        # A failing step prints its own error; Snakemake wraps it in one of its own, and others follow at the end.
        is_wrapped = bool(self.begun) and getattr(record, "exception", None) == "RuleException"
        return self.failed or is_wrapped or KNOWN.match(record.getMessage()) is not None

    def _count(self, record: LogRecord) -> None:
        self.total = record.stats["total"] - record.stats.get(TARGET, 0)
        self._tell_plan()

    def _tell_plan(self) -> None:
        if not self.common_settings.dryrun:
            notebooks, running = self.settings.notebooks, f"; running {self.total}" if self.total else ""
            self._say(f"{notebooks - self.total} of {notebooks} notebooks are there{running}")

    def _note(self, record: LogRecord) -> None:
        if record.rule_name == TARGET:
            return
        self.labels[record.jobid] = record.rule_msg
        self.over.discard(record.jobid)  # which runs again, perhaps
        self.begun[record.jobid] = record.created
        if not self.common_settings.dryrun and not self._watching.ident:
            self._watching.start()
        if self.common_settings.dryrun:
            print(record.rule_msg, flush=True)

    def _tell_finished(self, record: LogRecord) -> None:
        if record.job_id not in self.labels:
            return
        self.finished += 1
        self.over.add(record.job_id)
        place = f"[{self.finished:{len(str(self.total))}} of {self.total}]"
        seconds = record.created - self.begun[record.job_id]
        self._say(f"{place} {self.labels[record.job_id]} ({seconds:.0f} s)")

    def _tell_failed(self, record: LogRecord) -> None:
        self.failed = True
        self.over.add(record.jobid)
        self._say(f"[  failed] {self.labels[record.jobid]}")
        if record.rule_msg:  # from another machine, or about it
            print(_why(self.labels[record.jobid], record), file=sys.stderr, flush=True)


def _why(label: str, record: LogRecord) -> str:
    # What the step itself said is in its job's log, among what the Snakemake around it did; else the cluster's reason.
    logs = [Path(name) for name in record.log if name]
    text = "".join(path.read_text(errors="replace") for path in logs if path.is_file())
    notebook = re.escape(label.split()[0])
    own = re.search(rf"^{notebook} (failed in .*(\n  its copy: .*)?|interrupted)$", text, re.MULTILINE)
    said = [own.group(0)] if own else []
    reason = re.split(r"\n    sbatch call:|For further error details", record.rule_msg)[0].rstrip()
    return "\n".join([*said, reason, *(f"  its log: {path}" for path in logs)])
