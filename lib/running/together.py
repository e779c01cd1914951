"""The report over all published panels: `make report PROFILE=all`.

    python -m lib.running.together --panels "cifar stl10"

Enters: results/published/. Leaves: results/all/ with a report, whose path is printed. Nothing is measured.
"""

from lib.study import surroundings

if __name__ == "__main__":  # before anything else could act
    surroundings.settle()

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from lib.report import results
from lib.running import execute, reproduce
from lib.study import panels, paths, profiles
from lib.system import interruptions


def report(plan: profiles.Profile, names: Sequence[str] | None = None) -> Path:
    """Writes the report over the published panels `names` (those of study.yaml) anew, and returns its path.

    Arguments:
        plan: of `profiles.over_panels`.

    Raises FileNotFoundError or ValueError as `panels.published` does, and RuntimeError where the notebook fails.
    """
    panels.published(plan.results, names)
    notebook = results.OVER_PANELS
    with reproduce.alone(plan):
        before = [*results.tables_and_figures(plan), *plan.figures.glob("*.svg")]
        for path in before:  # the notebook alone knows their names
            path.unlink()
        values = plan.parameters | {"panels": names}
        text = {name: str(value) for name, value in values.items()}
        execute.run(paths.notebook(notebook), plan.executed(notebook), text, threads=plan.threads)
    return plan.report


def main(words: Iterable[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.running.together", description="Report on all published panels."
    )
    parser.add_argument("--panels", default="", help='profiles, such as "cifar quick" (those of study.yaml)')
    parser.add_argument("--data", default="data", help="folder of the data sets")
    parser.add_argument("--results", default="results")
    asked = parser.parse_args(words)
    folders = (os.path.relpath(asked.data), os.path.relpath(asked.results))
    os.chdir(paths.ROOT)
    try:
        with interruptions.heard():
            interruptions.say(str(report(profiles.over_panels(*folders), asked.panels.split() or None)))
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(execute.in_one_line(error, asked.results), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: start again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # an interruption leaves asyncio tasks behind, which would complain at the usual exit
