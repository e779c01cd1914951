"""What notebooks say and show, in order and without their code.

Enters: notebooks as they are written, and executed copies with their records. Leaves: blocks; and copies that begin
with their answer, to be published.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from lib.report import page, provenance, results
from lib.report.blocks import Block, Figure, Text
from lib.study import paths, profiles


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


def section(profile: profiles.Profile, notebook: str) -> list[Block]:
    """What the executed copy of an ablation notebook tells and shows: its markdown cells, and its tables and figures.

    A figure is the saved one that its cell names, else the picture in the notebook, which is saved for it. Raises
    FileNotFoundError where there is no executed copy, ValueError where it is no notebook or where the notebook has been
    run by hand since, so that the saved figures may not be this copy's.
    """
    copy = _read(results.there(profile.executed(notebook)))
    _require_own_record(profile, notebook, copy)
    blocks, prose = [], ""
    for number, (kind, source, outputs) in enumerate(_cells(copy)):
        if kind == "markdown":
            blocks.append(Text(source))
            prose += f"\n\n{source}"
        else:
            blocks += _shown(profile, f"{notebook}-cell-{number}", source, outputs, prose)
    return blocks


def answered(notebook: str, report: str) -> str:
    """The text of an executed notebook, with what a report in Markdown answers below its title; as it is where the
    report has no answer to it."""
    copy = json.loads(notebook)
    for cell in copy["cells"]:
        source = "".join(cell["source"])
        title, _, rest = source.partition("\n")
        if cell["cell_type"] == "markdown" and title.startswith("# "):
            found = re.search(rf"^#{re.escape(title)}\n\n(.+)\n\n<details>", report, re.MULTILINE)
            if found and found[1] not in source:
                cell["source"] = f"{title}\n\n{found[1]}\n{rest}".splitlines(keepends=True)
                return json.dumps(copy, indent=1, ensure_ascii=False) + "\n"
    return notebook


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
    begun = datetime.fromisoformat(provenance.read_record(profile.record(notebook))["begun"])
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
    results.write({path: base64.b64decode("".join(encoded))})
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
