"""Being interrupted: Ctrl-C, a request to end (SIGTERM), a terminal that closes (SIGHUP), a reader who goes away.

Enters: signals. Leaves: one KeyboardInterrupt in the main thread, whichever it was and however often.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
happened = threading.Event()  # the user need not be told what failed of it
unread = threading.Event()  # since nobody reads what is printed
LATER = 0.01  # seconds until an interruption that comes at a bad moment is tried again


@contextmanager
def heard(first: Callable[[], None] | None = None) -> Iterator[None]:
    """While open, a signal has `first` done and raises KeyboardInterrupt; those that follow do nothing."""

    def interrupt(_: int, frame: FrameType | None) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        happened.set()
        if _holds_locks(frame):
            signal.setitimer(signal.ITIMER_REAL, LATER)
            return
        if first is not None:
            first()
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)}
    if before[signal.SIGHUP] is signal.SIG_IGN:  # nohup
        del before[signal.SIGHUP]
    happened.clear()
    unread.clear()
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _holds_locks(frame: FrameType | None) -> bool:
    """Whether the main thread is logging or starts a thread: an exception there would leave locks held, for which
    others, and in the end the main thread, would wait for ever."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == "logging" or frame.f_code is threading.Thread.start.__code__:
            return True
        frame = frame.f_back
    return False


def is_read() -> bool:
    """Whether somebody still reads what this process prints, as `head` does not when it has its lines."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return not poll.poll(0)
    except (AttributeError, OSError, ValueError):  # not open, or of no file
        return True


def give_up() -> None:
    """Interrupts this process, from any of its threads, since nobody reads what it prints."""
    unread.set()
    os.kill(os.getpid(), signal.SIGINT)


def say(line: str) -> None:
    """Prints a program's last line; ends it where nobody reads that."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        end_unread()


def end_unread() -> None:
    """Ends this process as others end of which nobody reads what they print: without a word."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
