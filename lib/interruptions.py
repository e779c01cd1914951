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

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
happened = threading.Event()  # the user need not be told what failed of it
unread = threading.Event()  # since nobody reads what is printed
_handlers: list[Callable] = []


@contextmanager
def heard(first: Callable[[], None] | None = None) -> Iterator[None]:
    """While open, a signal has `first` done and raises KeyboardInterrupt; those that follow do nothing."""

    def interrupt(*_: object) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        happened.set()
        if first is not None:
            first()
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in SIGNALS}
    if before[signal.SIGHUP] is signal.SIG_IGN:  # nohup
        del before[signal.SIGHUP]
    happened.clear()
    unread.clear()
    _handlers.append(interrupt)
    hear_again()
    try:
        yield
    finally:
        _handlers.pop()
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def hear_again() -> None:
    """Takes signals back from whoever else has asked for them since `heard` was opened; nothing where it is not."""
    for number in SIGNALS if _handlers and not happened.is_set() else ():
        if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:
            signal.signal(number, _handlers[-1])


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
    os.kill(os.getpid(), signal.SIGTERM)


def end_unread() -> None:
    """Ends this process as others end of which nobody reads what they print: without a word."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
