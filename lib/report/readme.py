"""The README's answers, taken from the published reports that say most, so that none is typed by hand.

Enters: README.md with places marked for them, and results/published/. Leaves: the same README with each place filled:
`<!-- opening -->` with the answer in short, one figure and one table, from the report over all panels where that is
published, `<!-- advice -->` with what to do.
"""

import os
import re
from pathlib import Path

from lib.study import vocabulary

PREFERRED = ("paper", "cifar", "quick")  # profiles, of which the first that is published is shown


def filled(readme: str, published: Path) -> str:
    """The README's text with its marked places filled from the folder of published profiles.

    Raises FileNotFoundError where none of `PREFERRED` is there, ValueError for a report without a section it needs.
    """
    there = [published / name for name in (vocabulary.ALL, *PREFERRED) if (published / name / "report.md").exists()]
    own = next((folder for folder in there if folder.name != vocabulary.ALL), None)
    if own is None:
        raise FileNotFoundError(f"{published} holds no report of {', '.join(PREFERRED)}: publish one")
    for name, text in {"opening": _opening(there[0]), "advice": _advice(own)}.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        readme = marked.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", readme)
    return readme


def _opening(folder: Path) -> str:
    report = (folder / "report.md").read_text()
    curves = section(report, "The curves in short", folder)
    found = [re.search(form, curves, re.MULTILINE) for form in (r"^!\[.*?\]\(.*?\)", r"(?:^\|.*\n?)+")]
    if not all(found):
        raise ValueError(f"{folder / 'report.md'} has no figure or no table under 'The curves in short'")
    answers = section(report, "In short", folder).partition("\n- ")
    figure, table = (part[0].strip() for part in found)
    return "\n\n".join([f"- {answers[2].strip()}", figure, table, _source(report, folder)])


def _advice(folder: Path) -> str:
    report = (folder / "report.md").read_text()
    return f"{section(report, 'What to do', folder)}\n\n{_source(report, folder)}"


def _source(report: str, folder: Path) -> str:
    facts = re.search(r"^\*(Profile .*)\*$", report, re.MULTILINE)
    if not facts:
        raise ValueError(f"{folder / 'report.md'} has no line that says what it is of (*Profile ...*)")
    return f"*{facts[1]}. From [its report]({folder.as_posix()}/report.md), which says what all this rests on.*"


def fill(readme: Path, published: Path) -> None:
    """Fills the places in the file `readme`, if there is one; aside first, then renamed. Raises what `filled` does."""
    if not readme.exists():
        return
    aside = readme.with_name(readme.name + ".part")
    aside.write_text(filled(readme.read_text(), published))
    os.replace(aside, readme)


def section(report: str, heading: str, folder: Path) -> str:
    """What a report says under a heading of the second level, with its links as they are from the root.

    Raises ValueError where there is no such heading.
    """
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", report, re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError(f"{folder / 'report.md'} has no section {heading!r}")
    return re.sub(r"\]\((?!https?:|#)([^)]+)\)", rf"]({folder.as_posix()}/\1)", found[1].strip())
