"""lib.system.commands: words that say nothing are told in one line, and so is what fails."""

import signal

import pytest

from lib.system import commands


@pytest.fixture
def parser():
    made = commands.Parser({"--names": "names", "--more": "other things"}, prog="it", epilog="one\n  two")
    made.add_argument("first")
    made.add_argument("second")
    made.add_argument("--names", nargs="+")
    made.add_argument("--more", nargs="+")
    made.add_argument("--number", type=int, required=True)
    return made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--number 3 --names a b", "first, second: put them first, since all that follows --names is taken for names"),
        ("a --number 3 --more b", "second: put them first, since all that follows --more is taken for other things"),
        ("a --number 3", "the following arguments are required: second (--help says more)"),
        ("a b --names c", "the following arguments are required: --number (--help says more)"),
        ("a b --number x --names c", "argument --number: invalid int value: 'x' (--help says more)"),
        ("a b --number 3 --names c --odd", "unrecognized arguments: --odd (--help says more)"),
    ],
)
def test_words_that_are_wrong_are_told_with_the_remedy(parser, words, said):
    with pytest.raises(ValueError) as caught:
        parser.parse_args(words.split())
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_words_of_the_process_are_taken_where_none_are_given(parser, monkeypatch):
    monkeypatch.setattr("sys.argv", ["it", "--number", "3", "--names", "a", "b"])
    with pytest.raises(ValueError, match="put them first, since all that follows --names is taken for names"):
        parser.parse_args()
    monkeypatch.setattr("sys.argv", ["it", "a", "b", "--number", "3"])
    assert parser.parse_args().second == "b"


def test_examples_are_shown_as_they_are(parser):
    assert parser.format_help().endswith("\n\none\n  two\n")


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "said"),
    [(ValueError("one\ntwo"), "it: one\n"), (OSError("full"), "it: full\n"), (RuntimeError(), "it: RuntimeError\n")],
)
def test_what_fails_is_told_in_one_line_by_the_first_process(error, said, capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert commands.status("it", raising(error), "stopped") == 1
    assert capsys.readouterr() == ("", said)
    monkeypatch.setenv("RANK", "1")
    assert commands.status("it", raising(error), "stopped") == 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_stopped_says_what_comes_next(number, capsys):
    before = signal.getsignal(number)
    assert commands.status("it", lambda: signal.raise_signal(number), "stopped; it goes on") == 130
    assert capsys.readouterr() == ("", "stopped; it goes on\n") and signal.getsignal(number) is before
    assert commands.status("it", lambda: None, "stopped") == 0 and capsys.readouterr() == ("", "")


def test_faults_of_the_code_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        commands.status("it", raising(ZeroDivisionError()), "stopped")
