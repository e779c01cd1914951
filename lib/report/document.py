"""The report: what a profile's executed notebooks say and show, in order and without their code.

Enters: executed notebooks, run records, and the blocks that 90-report puts in front. Leaves: report.md, whose pictures
lie beside it, and the same as report.html, which needs nothing besides itself.

    front = [report.Text("# A title"), report.table(verdicts, "The claims.", plan.tables / "90-report-claims.csv")]
    display(*front)                                                                   # in the notebook too
    report.write(plan, front)                                     # last, when all tables and figures are saved
"""

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

import pandas

from lib.report import outlook, page, tables
from lib.study import paths, profiles

PER_RUN = {"00-train": "training", "10-measure": "measuring"}  # notebook -> the settings it runs with
FRONT = "90-report"
FIELDS = ("parameters", "settings", "code", "git", "versions", "lock", "device", "threads", "begun", "seconds")
BENCHMARKS = """Medians over rounds in which everything that is compared takes turns, in one run of `make benchmark`.
*Relative* is to the first line of the same network: the median, with its quartiles, of the ratios within each round,
which is not the ratio of the medians beside it. *Target*: what that should be at most, and whether it is within; a dash
where none was set.

A *plain pass* is a forward and a backward pass of the network over the same images, with nothing scored, in PyTorch's
default layout. *One cotangent* scores criteria that share what is sent back from the logits, the label gradient; *label
and random* as many again with a random vector, and so with two cotangents."""
BENCHMARK_TITLES = {  # file -> what it is about
    "curves": "Pruning curves, against as many plain evaluations",
    "growth-images": "How scoring grows with the number of images",
    "growth-units": "How scoring grows with the number of units",
    "growth-criteria": "How scoring grows with the number of criteria",
    "growth-processes": "How scoring grows with the number of processes",
    "imagenet": "ResNet-50 on images of 224 pixels, and decoding them",
    "memory": "Peak memory of scoring, against a plain pass",
    "oracle": "The oracle, against a masked pass per unit",
    "scoring": "Time of scoring, against a plain pass",
    "training": "Training, against a loop over a DataLoader",
}
BENCHMARK_WORDS = {  # column of a benchmark -> header
    "network": "network", "grows": "what grows", "series": "in", "size": "to", "task": "what",
    "criteria": "criteria scored", "seconds": "s", "steps_per_second": "steps a second",
    "images_per_second": "images a second", "seconds_exponent": "exponent of s", "peak_mb": "peak (MB)",
    "peak_mb_exponent": "its exponent",
    "share": "relative", "share_low": "from", "share_high": "up to", "target": "target", "within": "within the target",
    "device": "device", "device_name": "processor", "threads": "threads", "torch": "PyTorch",
    "date": "measured on", "commit": "code",
}  # fmt: skip


# ---- blocks -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """Markdown, a table included; `files` are linked below it."""

    markdown: str
    files: tuple[Path, ...] = ()

    def _repr_markdown_(self) -> str:
        return self.markdown


@dataclass(frozen=True)
class Figure:
    """A saved picture (PNG), with its SVG and `files` linked below it; `alt` is for those who cannot see it."""

    png: Path
    caption: str
    alt: str = ""
    files: tuple[Path, ...] = ()

    def _repr_png_(self) -> bytes:
        return self.png.read_bytes()


Block = Text | Figure


def table(
    frame: pandas.DataFrame, caption: str = "", csv: Path | None = None, *, digits: int = 3, empty: str = ""
) -> Text:
    """A block with the table and a line above it; `csv` is the file that holds its numbers, `empty` what to say where
    it has no rows."""
    parts = [caption, tables.markdown(frame, digits, empty=empty)]
    return Text("\n\n".join(part for part in parts if part), (csv,) if csv else ())


def told(notebook: str, shown: Mapping[str, Sequence[Block]]) -> list[Block]:
    """The notebook's own markdown cells as blocks, each followed by the blocks in `shown` under its heading's text.

    Raises ValueError for a heading that the notebook does not have.
    """
    blocks, waiting = [], dict(shown)
    for kind, source, _ in _cells(_read(paths.notebook(notebook))):
        if kind == "markdown":
            blocks.append(Text(source))
            for heading in _headings(source):
                blocks += waiting.pop(heading, ())
    if waiting:
        raise ValueError(f"{notebook} has no heading {next(iter(waiting))!r}")
    return blocks


# ---- executed notebooks -------------------------------------------------------------------------------------------


def section(profile: profiles.Profile, notebook: str) -> list[Block]:
    """What the executed copy of an ablation notebook tells and shows: its markdown cells, and its tables and figures.

    A figure is the saved one that its cell names, else the picture in the notebook, which is saved for it. Raises
    FileNotFoundError where there is no executed copy, ValueError where it is no notebook or where the notebook has been
    run by hand since, so that the saved figures may not be this copy's.
    """
    copy = _read(_there(profile.executed(notebook)))
    _require_own_record(profile, notebook, copy)
    blocks, prose = [], ""
    for number, (kind, source, outputs) in enumerate(_cells(copy)):
        if kind == "markdown":
            blocks.append(Text(source))
            prose += f"\n\n{source}"
        else:
            blocks += _shown(profile, f"{notebook}-cell-{number}", source, outputs, prose)
    return blocks


def _read(path: Path) -> dict:
    try:
        notebook = json.loads(path.read_text())
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
        return notebook
    except (ValueError, KeyError, TypeError) as error:
        problem = f"{path} is not a notebook ({type(error).__name__}: {error})"
        raise ValueError(f"{problem}: delete it, then run make again") from error


def _cells(notebook: Mapping) -> list[tuple[str, str, list[dict]]]:
    """Kind, source and output data of each cell."""
    return [(cell["cell_type"], cell["source"], _tables_and_pictures(cell)) for cell in notebook["cells"]]


def _tables_and_pictures(cell: Mapping) -> list[dict]:
    found = [output.get("data", {}) for output in cell.get("outputs", ())]
    return [data for data in found if "text/markdown" in data or "image/png" in data]


def _require_own_record(profile: profiles.Profile, notebook: str, copy: Mapping) -> None:
    begun = datetime.fromisoformat(read_record(profile.record(notebook))["begun"])
    try:
        times = copy["metadata"]["papermill"]
        start, end = (datetime.fromisoformat(times[which]) for which in ("start_time", "end_time"))
        is_own = start.replace(microsecond=0) <= begun <= end
    except (KeyError, TypeError, ValueError):
        is_own = False
    if not is_own:
        path = profile.executed(notebook)
        raise ValueError(f"{path} is not of {notebook}'s last run, which was by hand: delete it, then run make again")


def _shown(profile: profiles.Profile, name: str, source: str, outputs: Sequence[dict], prose: str) -> list[Block]:
    named = re.findall(r"""["']([\w.-]+)["']""", source)
    saved = [path for word in named if (path := profile.figures / f"{word}.png").exists()]
    csvs = tuple(path for word in named if word.endswith(".csv") and (path := profile.tables / word).exists())
    pictures = [data["image/png"] for data in outputs if "image/png" in data]
    if len(saved) != len(pictures):
        saved = [_save_picture(profile, f"{name}-{i}", picture) for i, picture in enumerate(pictures)]
    caption, alt = _heading_and_last_paragraph(prose)
    blocks = []
    for data in outputs:
        files = csvs if data is outputs[-1] else ()
        if "image/png" in data:
            blocks.append(Figure(saved.pop(0), caption, alt, files))
        else:
            blocks.append(Text("".join(data["text/markdown"]), files))
    return blocks


def _save_picture(profile: profiles.Profile, name: str, encoded: str | list[str]) -> Path:
    path = profile.figures / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    _write({path: base64.b64decode("".join(encoded))})
    return path


def _headings(markdown: str) -> list[str]:
    return [line.lstrip("#").strip() for line in markdown.splitlines() if re.match(r"#{1,6} ", line)]


def _heading_and_last_paragraph(markdown: str) -> tuple[str, str]:
    """The last heading, and the last paragraph below it; the heading again where there is none."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", markdown)]
    start = max((number for number, part in enumerate(paragraphs) if part.startswith("#")), default=-1)
    said = [part for part in paragraphs[start + 1 :] if part and not part.startswith(("|", "```"))]
    heading = page.plain((_headings(markdown) or [""])[-1])
    return heading, page.plain(said[-1]).removesuffix(":") if said else heading


# ---- run records --------------------------------------------------------------------------------------------------


def runs(profile: profiles.Profile) -> pandas.DataFrame:
    """What was run on what: one row per run, from its records and training log.

    Columns: dataset, network, seed, accuracy (test, nothing pruned), epochs, device, torch, training_seconds,
    measuring_seconds, peak_memory_mb (the larger of the two), commit ("+": with changes not committed). Raises
    FileNotFoundError naming what is missing.
    """
    rows = []
    for run in profile.runs:
        trained, measured = (read_record(run.record(notebook)) for notebook in PER_RUN)
        row = {"dataset": run.dataset, "network": run.network, "seed": run.seed, "accuracy": trained["accuracy"]}
        log = pandas.read_parquet(_there(run.training))  # its times count where a training was interrupted, too
        row |= {"epochs": len(log)}
        row |= {"device": measured["device"]["name"], "torch": measured["versions"]["torch"]}
        row |= {"training_seconds": log["seconds"].sum(), "measuring_seconds": measured["seconds"]}
        peak = max(trained["peak_memory_mb"], measured["peak_memory_mb"])
        rows.append(row | {"peak_memory_mb": peak, "commit": _commit(measured)})
    return pandas.DataFrame(rows)


def check_consistent(profile: profiles.Profile) -> pandas.DataFrame:
    """Refuses to report on runs that do not belong together, and returns in what else they differ: field, value, runs.

    Raises ValueError, one line, where runs differ in code or, on one data set, in data or settings, where a checkpoint
    was measured that is not the one trained, and where an ablation covers other seeds than the profile.
    """
    records = {notebook: {run: read_record(run.record(notebook)) for run in profile.runs} for notebook in PER_RUN}
    for notebook, of_runs in records.items():
        _require_one(profile, f"code of {notebook}", {run.label: record["code"] for run, record in of_runs.items()})
        for dataset in profile.grid:
            here = {run.label: record for run, record in of_runs.items() if run.dataset == dataset}
            _require_one(profile, f"data of {notebook}", {label: record["data"] for label, record in here.items()})
            settings = {label: record["settings"][PER_RUN[notebook]] for label, record in here.items()}
            _require_one(profile, f"settings of {notebook}", settings)
    for run in profile.runs:
        trained, measured = (of_runs[run]["checkpoint"] for of_runs in records.values())
        _require_one(profile, "checkpoint", {f"{run.label} as trained": trained, "as measured": measured})
    for notebook in profile.notebooks:
        seeds = read_record(profile.record(notebook))["parameters"]["seeds"]
        _require_one(profile, "seeds", {"the report": list(profile.seeds), notebook: seeds})
    return _differences(records)


def read_record(path: Path) -> dict:
    """The fields of a run record. Raises FileNotFoundError where it is missing, ValueError where it is damaged."""
    try:
        record = json.loads(_there(path).read_text())
        return record | {field: record[field] for field in FIELDS}
    except (ValueError, KeyError, TypeError) as error:
        problem = f"{path} is no whole record ({type(error).__name__}: {error})"
        raise ValueError(f"{problem}: delete it and the notebook beside it, then run make again") from error


def _require_one(profile: profiles.Profile, what: str, values: Mapping[str, object]) -> None:
    alike = _grouped(values)
    if len(alike) > 1:
        sides = " against ".join(", ".join(labels) for labels in alike.values())
        remedy = f"make reproduce PROFILE={profile.name} runs again what is out of date"
        raise ValueError(f"{profile.folder}: {sides} differ in the {what}: {remedy}")


def _grouped(values: Mapping[str, object]) -> dict[str, list[str]]:
    alike = {}
    for label, value in values.items():
        alike.setdefault(value if isinstance(value, str) else json.dumps(value, sort_keys=True), []).append(label)
    return alike


def _differences(records: Mapping[str, Mapping[profiles.Run, Mapping]]) -> pandas.DataFrame:
    fields: dict[str, Callable[[Mapping], object]] = {
        "device": lambda record: record["device"]["name"],
        "python": lambda record: record["versions"]["python"],
        "torch": lambda record: record["versions"]["torch"],
        "torchvision": lambda record: record["versions"]["torchvision"],
        "numpy": lambda record: record["versions"]["numpy"],
        "lock": lambda record: record["lock"][:7],
        "threads": lambda record: record["threads"],
        "commit": _commit,
    }
    rows = []
    labelled = {f"{run.label} {name}": record for name, of_runs in records.items() for run, record in of_runs.items()}
    for name, read in fields.items():
        alike = _grouped({label: read(record) for label, record in labelled.items()})
        if len(alike) > 1:
            rows += [{"field": name, "value": value, "runs": ", ".join(labels)} for value, labels in alike.items()]
    return pandas.DataFrame(rows, columns=["field", "value", "runs"])


def _commit(record: Mapping) -> str:
    git = record["git"]
    return git["commit"][:7] + ("+" if git["dirty"] else "") if git else "none"


def _there(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run make reproduce for its profile")
    return path


# ---- what a report rests on ---------------------------------------------------------------------------------------


def sources(profile: profiles.Profile) -> list[Path]:
    """The files that a report is compiled from. Raises FileNotFoundError where one that must be there is not."""
    of_runs = [path for run in profile.runs for path in (run.training, run.curves, *map(run.record, PER_RUN))]
    of_ablations = [path for name in profile.notebooks for path in (profile.executed(name), profile.record(name))]
    return [_there(path) for path in [*of_runs, *of_ablations]] + tables_and_figures(profile)


def tables_and_figures(profile: profiles.Profile) -> list[Path]:
    """All its tables and figures (CSV, PNG, SVG), without what a kill left half-made."""
    found = [*profile.tables.glob("*.csv"), *profile.figures.glob("*.png"), *profile.figures.glob("*.svg")]
    return sorted(path for path in found if ".part" not in path.suffixes)


def digest(profile: profiles.Profile) -> str:
    """SHA-256 (hex) of all `sources`, names and contents; a report holds that of what it was compiled from."""
    total = hashlib.sha256()
    for path in sources(profile):
        total.update(f"{_relative(path, profile)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def is_current(profile: profiles.Profile) -> bool:
    """Whether the profile's report.html was compiled from the sources as they are."""
    start = _there(profile.report).read_text()[:2000]
    return f'<meta name="compiled-from" content="{digest(profile)}">' in start


# ---- writing ------------------------------------------------------------------------------------------------------


def write(profile: profiles.Profile, front: Sequence[Block]) -> None:
    """Writes report.html and report.md: `front`, then a section per ablation, then links to every run's files.

    Its first line, a heading of level 1, is the title. Tables and figures must have been saved before. Raises
    FileNotFoundError for an executed notebook or record that is missing, and ValueError as `section` and
    `check_consistent` do.
    """
    check_consistent(profile)
    numbers = count(1)
    title, _, first = "\n\n".join(_in_markdown(profile, front, numbers)).partition("\n")
    if not title.startswith("# "):
        raise ValueError(f"a report begins with its title, '# ...', not with {title!r}")
    parts = [first.strip(), _files_of_notebook(FRONT, profile)]
    for notebook in profile.notebooks:
        parts += map(_lowered, _in_markdown(profile, section(profile, notebook), numbers))
        parts.append(_files_of_notebook(notebook, profile))
    parts += map(_lowered, _in_markdown(profile, benchmarks(profile), numbers))
    head, body = f"{title}\n\n{_facts(profile)}\n", "\n\n".join([*parts, _files_of_runs(profile)]) + "\n"
    html = page.render(f"{head}\n{body}", profile.folder, compiled_from=digest(profile))
    contents = [f"- [{found.text}](#{found.anchor})" for found in page.contents(f"{head}\n{body}", profile.folder)]
    markdown = "\n".join([head, *contents, "", body])
    _write({profile.report: html.encode(), profile.report.with_suffix(".md"): markdown.encode()})


def benchmarks(profile: profiles.Profile) -> list[Block]:
    """How fast the code is, as `make benchmark` measured it last, if it did; copied beside the profile's own."""
    folder = profile.folder.parent / "benchmarks"
    found = [path for path in sorted(folder.glob("*.csv")) if ".part" not in path.suffixes]
    if not found:
        return []
    blocks: list[Block] = [Text(f"# How fast\n\n{BENCHMARKS}")]
    for picture in sorted(folder.glob("shares.*")):
        copied = profile.figures / f"{FRONT}-benchmarks{picture.suffix}"
        profile.figures.mkdir(parents=True, exist_ok=True)
        _write({copied: picture.read_bytes()})
        if picture.suffix == ".png":
            caption = "Time of each task relative to the first of its panel, the obvious way, with quartiles"
            blocks.append(Figure(copied, caption))
    for path in found:
        copied = profile.tables / f"{FRONT}-benchmarks-{path.name}"
        profile.tables.mkdir(parents=True, exist_ok=True)
        _write({copied: path.read_bytes()})
        shown = _with_outcome(pandas.read_csv(path)).rename(columns=BENCHMARK_WORDS)
        shown = shown[[name for name in BENCHMARK_WORDS.values() if name in shown]]
        blocks.append(table(shown, f"## {BENCHMARK_TITLES.get(path.stem, path.stem)}", copied))
    if said := outlook.imagenet(folder):
        blocks.append(Text(f"## {outlook.TITLE}\n\n{said}"))
    return blocks


def _with_outcome(measured: pandas.DataFrame) -> pandas.DataFrame:
    """With a column `within`, yes or no where there is a target, if there are any."""
    if not {"target", "share"} <= set(measured):
        return measured
    within = (measured["share"] <= measured["target"]).map({True: "yes", False: "no"})
    return measured.assign(within=within.where(measured["target"].notna(), ""))


def _in_markdown(profile: profiles.Profile, blocks: Sequence[Block], numbers: Iterator[int]) -> list[str]:
    parts = []
    for block in blocks:
        links = _links(block.files, profile)
        if isinstance(block, Figure):
            parts.append(_figure(block, profile, next(numbers), links))
        else:
            parts += [block.markdown.strip(), *([f"*Data:* {links}"] if links else [])]
    return parts


def _figure(block: Figure, profile: profiles.Profile, number: int, links: str) -> str:
    svg = block.png.with_suffix(".svg")
    more = [f"[SVG]({_relative(svg, profile)})"] if svg.exists() else []
    more += [f"data: {links}"] if links else []
    picture = f"![{tables.escape(block.alt or block.caption)}]({_relative(block.png, profile)})"
    caption = tables.escape(block.caption)
    stop = "" if caption.endswith((".", "?", "!")) else "."
    return f"{picture}\\\n*Figure {number}. {caption}{stop}* {' · '.join(more)}".strip()


def _facts(profile: profiles.Profile) -> str:
    grid = "; ".join(f"{dataset}: {', '.join(networks)}" for dataset, networks in profile.grid.items())
    seeds = f"seed{'s' if len(profile.seeds) > 1 else ''} {', '.join(map(str, profile.seeds))}"
    return f"*Profile {profile.name} · {tables.escape(grid)} · {seeds}*"


def _files_of_notebook(notebook: str, profile: profiles.Profile) -> str:
    found = [profile.executed(notebook), *sorted(profile.tables.glob(f"{notebook}-*.csv"))]
    return f"*Files:* {_links(found, profile)}"


def _files_of_runs(profile: profiles.Profile) -> str:
    lines = []
    for run in profile.runs:
        files = [path for notebook in PER_RUN for path in (run.executed(notebook), run.record(notebook))]
        lines.append(f"- {run.label}: {_links([*files, run.training, run.curves], profile)}")
    about = "Of each run: its executed notebooks with their code, its records, its training log and its curves."
    return "\n\n".join(["## Files", about, "\n".join(lines)])


def _links(files: Sequence[Path], profile: profiles.Profile) -> str:
    return ", ".join(f"[{path.name}]({_relative(path, profile)})" for path in files)


def _relative(path: Path, profile: profiles.Profile) -> str:
    return Path(os.path.relpath(path, profile.folder)).as_posix()


def _lowered(markdown: str) -> str:
    lines, fenced = [], False
    for line in markdown.splitlines():
        fenced ^= line.startswith("```")
        lines.append(f"#{line}" if not fenced and re.match(r"#{1,5} ", line) else line)
    return "\n".join(lines)


def _write(contents: Mapping[Path, bytes]) -> None:
    for path, content in contents.items():
        path.with_name(f"{path.name}.part").write_bytes(content)
    for path in contents:
        os.replace(path.with_name(f"{path.name}.part"), path)
