"""Publishing: a finished profile, small enough to be committed, copied to where readers and the README find it.

    python -m lib.running.publish --profile quick --results results

Enters: results/<profile>/, finished. Leaves: results/published/<profile>/, the same files in the same places: scores in
single precision, tables with one row a unit packed, notebooks with the report's answers to them, report.html with links
to the pictures beside it instead of copies, without what is too large and can be made again (of weights a reference
stays), and SHA256SUMS (`sha256sum -c SHA256SUMS` checks them), and a README that quotes what is published. The copy is
made aside, and replaces what was published before as a whole; trainings of seeds that the report does not cover stay.
"""

from lib.study import surroundings

if __name__ == "__main__":  # before anything else could act
    surroundings.settle()

import argparse
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas

from lib.report import notebooks, page, provenance, readme, results
from lib.running import execute, reproduce
from lib.study import paths, profiles, references, reuse, vocabulary
from lib.system import interruptions

MIB = 2**20
LIMIT = 12 * MIB  # of all files together but those below: room for four networks in four notebooks
WEIGHTS, SCORES = "checkpoint.safetensors", "scores.parquet"  # which can be made again
BY_UNIT = (SCORES, "oracle.parquet")  # tables with one row a unit
WEIGHTS_LIMIT = 4 * MIB  # of each: a reference is published in place of larger ones
SCORES_LIMIT = 4 * MIB  # of all together, or none is published
READABLE = (".html", ".md", ".csv", ".ipynb", ".json")


def publish(profile: profiles.Profile) -> tuple[Path, int, list[str]]:
    """Publishes the profile, with the seeds that its report covers, and with no more than the trainings of its other
    seeds, where they are finished; returns the published folder, its size in bytes and what was left out, in words.

    Raises FileNotFoundError or ValueError, one line, where the profile is not finished, its report is not of what is
    there, a file names a place on this machine, all is too large, or what was published of another seed was trained
    with other settings or images; what was published before stays as it was.
    """
    record = profile.record(results.front(profile))
    if not record.exists():
        raise FileNotFoundError(f"{record} is missing, so there is no report yet: {_again(profile)}")
    with reproduce.alone(profile):
        seeds = provenance.read_record(record)["parameters"]["seeds"]
        numbers = (folder.name.removeprefix("seed-") for folder in _published(profile).glob("*/seed-*"))
        there = {*profile.seeds, *(int(number) for number in numbers if number.isdecimal())}
        others = replace(profile, seeds=tuple(sorted(there.difference(seeds))))
        profile = replace(profile, seeds=tuple(seeds))
        _finish_interrupted(profile)
        _keep_published(others)
        files = chosen(profile, others.runs)
        if not results.is_current(profile):
            raise ValueError(f"{profile.report} is not of the results that are there now: {_again(profile)}")
        for path in files:
            _require_no_places(path)
        aside = _laid_out(profile, files)
        left_out = _without_large(aside)
        _write_sums(aside)
        size = _size(aside.rglob("*"))
        return _replace_published(profile, aside), size, left_out


def _published(profile: profiles.Profile) -> Path:
    return paths.from_here(Path(profile.results) / "published" / profile.name)


def _finish_interrupted(profile: profiles.Profile) -> None:
    """Puts back what was published before, where a kill came between the two renames of `_replace_published`."""
    old = _before(profile)
    if old.exists() and not _published(profile).exists():
        os.replace(old, _published(profile))
    shutil.rmtree(old, ignore_errors=True)


def _before(profile: profiles.Profile) -> Path:
    return profile.folder / ".published-before"


def _keep_published(others: profiles.Profile) -> None:
    """Takes up the published trainings of seeds that have none here, so that they are published again.

    Raises ValueError, one line, where more is published of one than a training: measurements without the weights.
    """
    folder = _published(others)
    published = [run for run in others.runs if references.within(folder, run).joinpath(f"{reuse.TRAIN}.ipynb").exists()]
    for run in published:
        at = references.within(folder, run)
        with_it = f"with seed {run.seed} in SEEDS"
        take = f"take it up first (make reproduce PROFILE={others.name} MEASURED={folder}, {with_it})"
        own = f"measure it here, too (make reproduce PROFILE={others.name}, {with_it})"
        again = own if run.executed(reuse.TRAIN).exists() else take
        references.require_weights(run, at, f"{again}, or delete {at} to give it up")
    if published:
        reuse.take(others, folder, "published", reuse.TRAIN)


def chosen(profile: profiles.Profile, others: Iterable[profiles.Run] = ()) -> list[Path]:
    """The files of a finished profile that are published, with the trainings of those `others` that are finished; of
    weights and scores those that are there.

    Raises FileNotFoundError where one that must be there is not, and ValueError, listing the largest, above the limit.
    """
    files = [profile.report, profile.report.with_suffix(".md")]
    for notebook in (*profile.notebooks, results.front(profile)):
        files += [profile.executed(notebook), profile.record(notebook)]
    trained = [run for run in others if run.executed(reuse.TRAIN).exists()]
    files += [path for run in profile.runs for notebook in results.PER_RUN for path in reuse.outputs(run, notebook)]
    files += [path for run in trained for path in reuse.outputs(run, reuse.TRAIN)]
    optional = [path for path in files if path.name in (WEIGHTS, SCORES)]
    files = [path for path in files if path not in optional]
    if missing := [path for path in files if not path.exists()]:
        raise FileNotFoundError(f"{missing[0]} is missing: {_again(profile)}")
    files += results.tables_and_figures(profile)
    _require_small(files)
    return [*files, *(path for path in optional if path.exists())]


def _again(profile: profiles.Profile) -> str:
    return f"run make {'report' if profile.name == vocabulary.ALL else 'reproduce'} PROFILE={profile.name}"


def _size(files: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in files if path.is_file())


def _require_small(files: Sequence[Path]) -> None:
    if _size(files) > LIMIT:
        largest = sorted(files, key=lambda path: -path.stat().st_size)[:5]
        named = ", ".join(f"{path} ({path.stat().st_size / MIB:.1f} MiB)" for path in largest)
        total, most = _size(files) / MIB, LIMIT / MIB
        raise ValueError(f"{total:.1f} MiB to publish, {most:g} MiB at most: make the largest smaller: {named}")


def _require_no_places(path: Path) -> None:
    if path.suffix not in READABLE:
        return
    home = os.path.expanduser("~")  # anything, or nothing: whatever HOME says
    here = {str(paths.ROOT), home if os.path.isabs(home) else sys.prefix, sys.prefix} - {"/", "/usr", "/tmp"}
    text = re.sub(r"[A-Za-z0-9+/=]{200,}", "", path.read_text())  # pictures
    names = [*map(re.escape, here), re.escape(tempfile.gettempdir()) + r"/ipykernel_\d+/\d+\.py"]  # of a warning
    if found := re.search(rf"(?<![\w.-])({'|'.join(names)})(?![\w.-]).{{0,60}}", text):
        raise ValueError(f"{path} names a place on this machine, {found[0]!r}: mend the notebook that wrote it")


def _laid_out(profile: profiles.Profile, files: Sequence[Path]) -> Path:
    aside, report = profile.folder / ".to-publish", profile.report.with_suffix(".md").read_text()
    pictures = {results.relative(path, profile): path.read_bytes() for path in files if path.suffix == ".png"}
    shutil.rmtree(aside, ignore_errors=True)
    for path in files:
        target = aside / path.relative_to(profile.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.name in BY_UNIT:
            _pack(path, target)
        elif path.suffix == ".ipynb":
            target.write_text(notebooks.answered(path.read_text(), report))
        elif path == profile.report:
            target.write_text(page.linked(path.read_text(), pictures))
        else:
            shutil.copyfile(path, target)
    return aside


def _pack(path: Path, target: Path) -> None:
    """Copies a table with one row a unit, scores in single precision, all else to the bit, into as few bytes as Parquet
    has a way for."""
    table = pandas.read_parquet(path)
    if "score" in table:
        table = table.assign(score=table["score"].astype("float32"))
    encoded = {"unit": "DELTA_BINARY_PACKED"} | dict.fromkeys(table.select_dtypes("floating"), "BYTE_STREAM_SPLIT")
    plain = table.columns.difference([*encoded])
    how = {"compression": "zstd", "compression_level": 19, "column_encoding": encoded, "use_dictionary": [*plain]}
    table.to_parquet(target, index=False, **how)


def _without_large(folder: Path) -> list[str]:
    """Puts references in the place of weights that are too large, of all runs alike, or else leaves out scores of which
    there is too much; returns what is no longer there, in words."""
    said, weights, scores = [], list(folder.rglob(WEIGHTS)), list(folder.rglob(SCORES))
    if any(path.stat().st_size > WEIGHTS_LIMIT or references.weights(path) for path in weights):
        said.append("weights (named by SHA-256 alone)")
        for path in weights:
            references.refer(path)
            if not path.with_name(f"{reuse.MEASURE}.ipynb").exists():  # of a training nothing is left without them
                shutil.rmtree(path.parent)
    if not said and _size(scores) > SCORES_LIMIT:  # without weights nobody could make them again
        said.append("scores")
        for path in scores:
            path.unlink()
        _without_links(folder, scores)
    return said


def _without_links(folder: Path, gone: Iterable[Path]) -> None:
    """Leaves of every link in the reports to one of these files its name."""
    for report in folder.glob("report.*"):
        text = report.read_text()
        for path in gone:
            where = path.relative_to(folder).as_posix()
            for link in (f"[{path.name}]({where})", f'<a href="{where}">{path.name}</a>'):
                text = text.replace(link, path.name)
        report.write_text(text)


def _write_sums(folder: Path) -> None:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in files]
    (folder / references.SUMS).write_text("".join(lines))


def _replace_published(profile: profiles.Profile, aside: Path) -> Path:
    target, old = _published(profile), _before(profile)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        os.replace(target, old)
    os.replace(aside, target)
    shutil.rmtree(old, ignore_errors=True)
    return target


def main(words: Iterable[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.running.publish", description="Copy a finished profile for readers."
    )
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--data", default="data", help="folder of the data sets")
    parser.add_argument("--results", default="results")
    asked = parser.parse_args(words)
    where = os.path.relpath(asked.results)
    os.chdir(paths.ROOT)
    try:
        load = profiles.over_panels if asked.profile == vocabulary.ALL else partial(profiles.load, asked.profile)
        folder, size, left_out = publish(load(data=asked.data, results=where))
        if folder == paths.from_here("results/published") / asked.profile:
            readme.fill(Path("README.md"), folder.parent)
    except (ValueError, OSError, RuntimeError) as error:
        print(execute.in_one_line(error, where), file=sys.stderr)
        return 1
    without = "".join(f", without {what}: too large" for what in left_out)
    interruptions.say(f"{folder}: {size / MIB:.2f} MiB{without}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
