"""The report: what a profile's executed notebooks say and show, in order and without their code.

Enters: executed notebooks, run records, and the blocks that 90-report puts in front. Leaves: report.md, whose pictures
lie beside it, and the same as report.html, which needs nothing besides itself.

    front = [Text("# A title"), blocks.table(verdicts, "The claims.", plan.tables / "90-report-claims.csv")]
    display(*front)                                                                   # in the notebook too
    document.write(plan, front)                                   # last, when all tables and figures are saved
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from lib.report import notebooks, page, provenance, results, speed, supported, tables
from lib.report.blocks import Block, Figure, Text
from lib.study import profiles


def write(
    profile: profiles.Profile, front: Sequence[Block], facts: str = "", answers: Mapping[str, str] | None = None
) -> None:
    """Writes report.html and report.md: `front`, then a section per ablation, and where the profile has runs benchmarks
    and links to every run's files.

    Arguments:
        facts: what the report is of, by default the profile's grid and seeds.
        answers: what a section begins with, by its notebook; what the notebook asks is folded below it.

    Its first line, a heading of level 1, is the title. Tables and figures must have been saved before. Raises
    FileNotFoundError for an executed notebook or record that is missing, and ValueError as `notebooks.section` and
    `provenance.check_consistent` do.
    """
    provenance.check_consistent(profile)
    numbers = count(1)
    title, _, first = "\n\n".join(_in_markdown(profile, front, numbers)).partition("\n")
    if not title.startswith("# "):
        raise ValueError(f"a report begins with its title, '# ...', not with {title!r}")
    parts = [first.strip(), _files_of_notebook(results.front(profile), profile)]
    for notebook in profile.notebooks:
        section = _answered(notebooks.section(profile, notebook), (answers or {}).get(notebook, ""))
        parts += map(_lowered, _in_markdown(profile, section, numbers))
        parts.append(_files_of_notebook(notebook, profile))
    if profile.runs:
        last = [*supported.blocks(profile), *speed.benchmarks(profile)]
        parts += map(_lowered, _in_markdown(profile, last, numbers))
        parts.append(_files_of_runs(profile))
    head, body = f"{title}\n\n*{facts or _facts(profile)}*\n", "\n\n".join(parts) + "\n"
    html = page.render(f"{head}\n{body}", profile.folder, compiled_from=results.digest(profile))
    contents = [f"- [{found.text}](#{found.anchor})" for found in page.contents(f"{head}\n{body}", profile.folder)]
    markdown = "\n".join([head, *contents, "", body])
    results.write({profile.report: html.encode(), profile.report.with_suffix(".md"): markdown.encode()})


def _answered(section: Sequence[Block], answer: str) -> list[Block]:
    """The section with the answer below its heading, and the paragraphs that were there folded below that."""
    first, *rest = section
    heading, _, asked = first.markdown.partition("\n") if isinstance(first, Text) else ("", "", "")
    if not answer or not heading.startswith("# "):
        return list(section)
    folded = [page.folded("What is asked, and how", asked.strip())] if asked.strip() else []
    return [Text("\n\n".join([heading, answer, *folded])), *rest]


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
    picture = f"![{tables.escape(block.alt or block.caption)}]({results.relative(block.png, profile)})"
    caption = tables.escape(block.caption)
    stop = "" if caption.endswith((".", "?", "!")) else "."
    return f"{picture}\\\n*Figure {number}. {caption}{stop}* {f'data: {links}' if links else ''}".strip()


def _facts(profile: profiles.Profile) -> str:
    grid = "; ".join(f"{dataset}: {', '.join(networks)}" for dataset, networks in profile.grid.items())
    seeds = f"seed{'s' if len(profile.seeds) > 1 else ''} {', '.join(map(str, profile.seeds))}"
    others = ", ".join(network for networks in profile.given.values() for network in networks)
    trained = f" · trained by others: {tables.escape(others)}" if others else ""
    return f"Profile {profile.name} · {tables.escape(grid)} · {seeds}{trained}"


def _files_of_notebook(notebook: str, profile: profiles.Profile) -> str:
    found = [profile.executed(notebook), *sorted(profile.tables.glob(f"{notebook}-*.csv"))]
    return f"*Files:* {_links(found, profile)}"


def _files_of_runs(profile: profiles.Profile) -> str:
    lines = []
    for run in profile.runs:
        files = [path for notebook in results.PER_RUN for path in (run.executed(notebook), run.record(notebook))]
        measured = (run.curves, run.scores, run.oracle, run.repaired, run.silenced, run.finetuning)
        lines.append(f"- {run.label}: {_links([*files, run.training, *measured], profile)}")
    about = "Of each run: its executed notebooks with their code, its records, its training log and what was measured."
    return "\n\n".join(["## Files", about, "\n".join(lines)])


def _links(paths: Sequence[Path], profile: profiles.Profile) -> str:
    return ", ".join(f"[{path.name}]({results.relative(path, profile)})" for path in paths)


def _lowered(markdown: str) -> str:
    lines, fenced = [], False
    for line in markdown.splitlines():
        fenced ^= line.startswith("```")
        lines.append(f"#{line}" if not fenced and re.match(r"#{1,5} ", line) else line)
    return "\n".join(lines)
