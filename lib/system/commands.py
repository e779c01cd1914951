"""How the commands of this tool take what is asked of them, and how they end.

Enters: words of a command line. Leaves: what they ask for, and an exit status: 0, 1 with one line that says what is
wrong, or 130 where the command was stopped.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping

from lib.system import interruptions


class Parser(argparse.ArgumentParser):
    """Raises ValueError, in one line, for words that it does not know; shows `epilog` as it is.

    Arguments:
        several: options that take all words up to the next option, and what these words are taken for.
        given: as for any parser.
    """

    def __init__(self, several: Mapping[str, str], **given: object):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **given)
        self._several, self._words = several, []

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: argparse.Namespace | None = None):
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._words, namespace)

    def error(self, message: str) -> None:
        said, _, names = message.partition(": ")
        names = names.split(", ") if said == "the following arguments are required" else []
        if any(action.dest in names for action in self._actions if not action.option_strings):
            for option in filter(self._words.__contains__, self._several):
                words = self._several[option]
                message = f"{message}: put them first, since all that follows {option} is taken for {words}"
        raise ValueError(f"{message} (--help says more)")


def status(name: str, work: Callable[[], object], stopped: str) -> int:
    """Does the work of a command, and returns its exit status.

    Arguments:
        name: how the command is called.
        work: what it does; ValueError, OSError or RuntimeError say in their first line why it cannot.
        stopped: what is said where it is interrupted.
    """
    try:
        with interruptions.heard():
            work()
        return 0
    except (OSError, ValueError, RuntimeError) as error:
        if os.environ.get("RANK", "0") == "0":  # of the processes of torchrun every one has it
            said = str(error).strip() or type(error).__name__
            print(f"{name}: {said.splitlines()[0]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
