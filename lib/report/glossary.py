"""The study's words and how criteria are written, in the one text that reports and the page on reading them share.

Enters: glossary.md. Leaves: Markdown.
"""

from pathlib import Path

from lib.report import page

TEXT = Path(__file__).with_suffix(".md")


def words() -> str:
    """A table of words, how the name of a criterion is made up, and a table of reductions."""
    return TEXT.read_text().strip()


def folded() -> str:
    """The same as one line until a reader opens it."""
    return page.folded("Words: unit, criterion, relative auc, ...", words())
