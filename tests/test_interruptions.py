"""Interruptions: whichever signal it is, and however often, one KeyboardInterrupt; and readers who go away."""

import os
import signal
import subprocess
import sys

import pytest

from lib import interruptions


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


def test_signals_are_taken_back_from_whoever_has_asked_for_them_meanwhile():
    with interruptions.heard():
        signal.signal(signal.SIGTERM, lambda *_: None)
        interruptions.hear_again()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_where_nobody_hears_nothing_is_taken():
    before = signal.getsignal(signal.SIGTERM)
    interruptions.hear_again()
    assert signal.getsignal(signal.SIGTERM) is before


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
    code = "from lib import interruptions\nprint('lost')\ninterruptions.end_unread()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")
