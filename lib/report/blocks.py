"""What a report is put together of: text, tables and figures, which also show themselves in a notebook.

Enters: Markdown, tables, and paths of saved pictures. Leaves: `Text` and `Figure`.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas

from lib.report import tables


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
