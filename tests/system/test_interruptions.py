"""Interruptions: whichever signal it is, and however often, one KeyboardInterrupt; and readers who go away."""

import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from lib.system import interruptions


@pytest.fixture(autouse=True)
def signals():
    """Handlers as before, afterwards."""
    before = {number: signal.getsignal(number) for number in interruptions.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    interruptions.happened.clear()
    interruptions.unread.clear()


@pytest.mark.parametrize("number", interruptions.SIGNALS)
def test_every_signal_interrupts_once(number):
    first = []
    with pytest.raises(KeyboardInterrupt), interruptions.heard(lambda: first.append(interruptions.happened.is_set())):
        try:
            signal.raise_signal(number)
        finally:
            for again in interruptions.SIGNALS:
                signal.raise_signal(again)
    assert first == [True] and not interruptions.unread.is_set()


def test_handlers_are_restored():
    signal.signal(signal.SIGTERM, handler := lambda *_: None)
    with interruptions.heard():
        assert signal.getsignal(signal.SIGTERM) is not handler
    assert signal.getsignal(signal.SIGTERM) is handler


def test_nohup_is_respected():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptions.heard():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_line_that_is_being_logged_is_logged_to_its_end():
    written = []

    class Handler(logging.Handler):
        def emit(self, record):
            signal.raise_signal(signal.SIGTERM)
            written.append(record.getMessage())

    logger = logging.Logger("interrupted")
    logger.addHandler(Handler())
    with pytest.raises(KeyboardInterrupt), interruptions.heard(lambda: written.append("interrupted")):
        logger.warning("a line")
        signal.pause()
    assert written == ["a line", "interrupted"]


def test_a_thread_that_is_being_started_is_started(monkeypatch):
    start, ran = threading._start_new_thread, []

    def interrupted(*given):
        signal.raise_signal(signal.SIGTERM)
        return start(*given)

    monkeypatch.setattr(threading, "_start_new_thread", interrupted)
    thread = threading.Thread(target=lambda: ran.append("it ran"))
    with pytest.raises(KeyboardInterrupt), interruptions.heard():
        thread.start()
        signal.pause()
    thread.join()
    assert ran == ["it ran"]


def test_an_interruption_is_over_where_nobody_hears_any_more(monkeypatch):
    monkeypatch.setattr(interruptions, "LATER", 1000)
    before, logger = signal.getsignal(signal.SIGALRM), logging.Logger("interrupted")
    logger.addFilter(lambda record: signal.raise_signal(signal.SIGTERM))
    with interruptions.heard():
        logger.warning("a line")
    assert interruptions.happened.is_set() and signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_giving_up_interrupts_and_is_remembered():
    with pytest.raises(KeyboardInterrupt), interruptions.heard():
        interruptions.give_up()
        signal.pause()
    assert interruptions.unread.is_set()


def test_a_reader_is_missed_when_gone(monkeypatch):
    reading, writing = os.pipe()
    with open(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert interruptions.is_read()
        os.close(reading)
        assert not interruptions.is_read()
    monkeypatch.setattr(sys, "stdout", None)
    assert interruptions.is_read()


def test_the_end_of_what_nobody_reads_is_without_a_word():
    reading, writing = os.pipe()
    os.close(reading)
    code = "from lib.system import interruptions\ninterruptions.say('the last line')"
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")
