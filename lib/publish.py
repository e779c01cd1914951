"""Publishing: a finished profile, small enough to be committed, copied to where readers and the README find it.

    python -m lib.publish --profile quick --results results

Enters: results/<profile>/, finished. Leaves: results/published/<profile>/, the same files in the same places without
large ones that can be made again, and SHA256SUMS (`sha256sum -c SHA256SUMS` checks them), and a README that quotes
what is published. The copy is made aside, and replaces what was published before as a whole.
"""

import argparse
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lib import execute, profiles, readme, report, reproduce, reuse

MIB = 2**20
LIMIT = 7 * MIB  # of all files together but the networks' weights: room for two networks in ten notebooks
WEIGHTS = 8 * MIB  # which are left out where they weigh more
OPTIONAL = ("scores.parquet", "checkpoint.safetensors")
READABLE = (".html", ".md", ".csv", ".svg", ".ipynb", ".json")
SUMS = "SHA256SUMS"


def publish(profile: profiles.Profile) -> tuple[Path, int]:
    """Publishes the profile, with the seeds that its report covers, and with no more than the trainings of its other
    seeds, where they are finished; returns the published folder and its size in bytes.

    Raises FileNotFoundError or ValueError, one line, where the profile is not finished, its report is not of what is
    there, a file names a place on this machine, or all is too large; what was published before stays as it was.
    """
    record = profile.record(report.FRONT)
    if not record.exists():
        raise FileNotFoundError(f"{record} is missing, so there is no report yet: {_again(profile)}")
    with reproduce.alone(profile):
        seeds = report.read_record(record)["parameters"]["seeds"]
        others = [run for run in profile.runs if run.seed not in seeds]
        profile = replace(profile, seeds=tuple(seeds))
        files = chosen(profile, others)
        if not report.is_current(profile):
            raise ValueError(f"{profile.report} is not of the results that are there now: {_again(profile)}")
        for path in files:
            _require_no_places(path)
        return _replace_published(profile, files), _size(files)


def chosen(profile: profiles.Profile, others: Iterable[profiles.Run] = ()) -> list[Path]:
    """The files of a finished profile that are published, with the trainings of those `others` that are finished.

    Raises FileNotFoundError where one that must be there is not, and ValueError, listing the largest, above the limit.
    """
    files = [profile.report, profile.report.with_suffix(".md")]
    for notebook in (*profile.notebooks, report.FRONT):
        files += [profile.executed(notebook), profile.record(notebook)]
    trained = [run for run in others if run.executed(reuse.TRAIN).exists()]
    files += [path for run in profile.runs for notebook in report.PER_RUN for path in reuse.outputs(run, notebook)]
    files += [path for run in trained for path in reuse.outputs(run, reuse.TRAIN)]
    files = [path for path in files if path.name not in OPTIONAL]
    if missing := [path for path in files if not path.exists()]:
        raise FileNotFoundError(f"{missing[0]} is missing: {_again(profile)}")
    files += report.tables_and_figures(profile)
    _require_small(files)
    scores = [run.scores for run in profile.runs if run.scores.exists()]
    weights = [run.checkpoint for run in [*profile.runs, *trained] if run.checkpoint.exists()]
    files += scores if _size(scores) <= LIMIT - _size(files) else []
    files += weights if _size(weights) <= WEIGHTS else []
    return files


def _again(profile: profiles.Profile) -> str:
    return f"run make reproduce PROFILE={profile.name}"


def _size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def _require_small(files: Sequence[Path]) -> None:
    if _size(files) > LIMIT:
        largest = sorted(files, key=lambda path: -path.stat().st_size)[:5]
        named = ", ".join(f"{path} ({path.stat().st_size / MIB:.1f} MiB)" for path in largest)
        total, most = _size(files) / MIB, LIMIT / MIB
        raise ValueError(f"{total:.1f} MiB to publish, {most:g} MiB at most: make the largest smaller: {named}")


def _require_no_places(path: Path) -> None:
    if path.suffix not in READABLE:
        return
    here = {str(profiles.ROOT), str(Path.home()), sys.prefix} - {"/", "/usr"}
    text = re.sub(r"[A-Za-z0-9+/=]{200,}", "", path.read_text())  # pictures
    names = [*map(re.escape, here), re.escape(tempfile.gettempdir()) + r"/ipykernel_\d+/\d+\.py"]  # of a warning
    if found := re.search(rf"(?<![\w.-])({'|'.join(names)})(?![\w.-]).{{0,60}}", text):
        raise ValueError(f"{path} names a place on this machine, {found[0]!r}: mend the notebook that wrote it")


def _replace_published(profile: profiles.Profile, files: Sequence[Path]) -> Path:
    target = profiles.from_here(Path(profile.results) / "published" / profile.name)
    aside, old = (profile.folder / f".{state}" for state in ("to-publish", "published-before"))
    if old.exists() and not target.exists():  # a kill came between the two renames below
        os.replace(old, target)
    for folder in (aside, old):
        shutil.rmtree(folder, ignore_errors=True)
    sums = []
    for path in files:
        name = path.relative_to(profile.folder).as_posix()
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, aside / name)
        sums.append(f"{hashlib.sha256((aside / name).read_bytes()).hexdigest()}  {name}\n")
    (aside / SUMS).write_text("".join(sorted(sums, key=lambda line: line.split("  ")[1])))
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        os.replace(target, old)
    os.replace(aside, target)
    shutil.rmtree(old, ignore_errors=True)
    return target


def main(words: Iterable[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lib.publish", description="Copy a finished profile for readers.")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--results", default="results")
    asked = parser.parse_args(words)
    results = os.path.relpath(asked.results)
    os.chdir(profiles.ROOT)
    try:
        folder, size = publish(profiles.load(asked.profile, results=results))
        if folder == profiles.from_here("results/published") / asked.profile:
            readme.fill(Path("README.md"), folder.parent)
    except (ValueError, OSError, RuntimeError) as error:
        print(execute.in_one_line(error, results), file=sys.stderr)
        return 1
    print(f"{folder}: {size / MIB:.2f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
