"""The README's answers, taken from the published report that says most, so that none is typed by hand.

Enters: README.md with places marked for them, and results/published/. Leaves: the same README with each place filled:
`<!-- opening -->` with the answer in short, one figure and one table, `<!-- advice -->` with what to do.
"""

import os
import re
from pathlib import Path

PREFERRED = ("paper", "cifar", "quick")  # profiles, of which the first that is published is shown


def filled(readme: str, published: Path) -> str:
    """The README's text with its marked places filled from the folder of published profiles.

    Raises FileNotFoundError where none of `PREFERRED` is there, ValueError for a report without a section it needs.
    """
    folder = next((published / name for name in PREFERRED if (published / name / "report.md").exists()), None)
    if folder is None:
        raise FileNotFoundError(f"{published} holds no report of {', '.join(PREFERRED)}: publish one")
    report = (folder / "report.md").read_text()
    facts = re.search(r"^\*(Profile .*)\*$", report, re.MULTILINE)
    curves = section(report, "The curves in short", folder)
    figure, table = (
        re.search(r"^!\[.*?\]\(.*?\)", curves, re.MULTILINE),
        re.search(r"(?:^\|.*\n?)+", curves, re.MULTILINE),
    )
    if not (facts and figure and table):
        raise ValueError(f"{folder / 'report.md'} has no facts, or no figure or table under 'The curves in short'")
    source = f"*{facts[1]}. From [its report]({folder.as_posix()}/report.md), which says what all this rests on.*"
    answers = section(report, "In short", folder).partition("\n- ")
    blocks = {
        "opening": "\n\n".join([f"- {answers[2].strip()}", figure[0], table[0].strip(), source]),
        "advice": f"{section(report, 'What to do', folder)}\n\n{source}",
    }
    for name, text in blocks.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        readme = marked.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", readme)
    return readme


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
