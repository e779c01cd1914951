"""One look for all figures, readable in grey and for the colour-blind, and how they are saved.

Enters: names of criteria, tables, matplotlib figures. Leaves: colours, dashes, markers and labels; figures saved as PNG
(for pages) and SVG beside it. Criteria differ by colour, dash and marker alike. Bands and bars show the range over runs
where there are few of them.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas
from matplotlib import pyplot
from matplotlib.figure import Figure

from lib.report import pictures

_ALWAYS = ("sq:rand:norm", "sq:norm", "taylorfo", "l2", "random")  # have colours of their own in every figure
MARKERS = "osD^vPX"
DASHES = ((1, 0), (4, 1.5), (1, 1), (3, 1, 1.5, 1), (5, 1, 1, 1), (5, 1, 2, 1, 2, 1), (2, 2, 3, 1.5))
BAND = {"errorbar": ("pi", 100), "err_kws": {"alpha": 0.12, "linewidth": 0}}  # the range of the runs
LABELS = {
    "accuracy": "test accuracy (%)",
    "auc_relative": "relative auc",
    "auc": "auc",
    "share": "units switched off (%)",
    "examples": "examples at hand",
    "criterion": "criterion",
    "spearman": "rank correlation (Spearman)",
    "oracle": "with the change of",
    "left": "share of units left",
    "classes": "classes in the set",
}


def theme() -> None:
    """Sets the look; called first thing by every notebook that draws."""
    import seaborn  # takes seconds to import

    settings = {
        "figure.dpi": 110,
        "savefig.dpi": 120,
        "svg.hashsalt": "study",
        "svg.fonttype": "none",  # text stays text, to be searched and restyled, at half the size
        "axes.titlesize": "medium",
        "legend.frameon": False,
    }
    seaborn.set_theme("notebook", "whitegrid", "colorblind", rc=settings)


def save(figure: Figure, folder: Path, name: str, *, shown: bool = True) -> None:
    """Writes `<folder>/<name>.png` and `.svg`, aside first; the same figure gives the same bytes.

    Arguments:
        shown: whether the notebook's cell shows the figure too, as Jupyter does with all that are open at its end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        aside = folder / f"{name}.part.{kind}"
        figure.savefig(aside, bbox_inches="tight", metadata=metadata)
        smaller = {"png": pictures.shrunk, "svg": pictures.trimmed}[kind]
        aside.write_bytes(smaller(aside.read_bytes()))
        os.replace(aside, folder / f"{name}.{kind}")
    if not shown:
        pyplot.close(figure)


def with_panels(table: pandas.DataFrame) -> pandas.DataFrame:
    """The table with what figures show of it: panel (data set and network) and, where it has the columns, share (units
    off, %) and percent (accuracy)."""
    shown = table.assign(panel=table["dataset"] + ", " + table["network"])
    if "pruned" in table:
        shown = shown.assign(share=100 * table["pruned"] / table["units"])
    if "accuracy" in table:
        shown = shown.assign(percent=100 * table["accuracy"])
    return shown.reset_index(drop=True)


def colours(criteria: Sequence[str]) -> list:
    """A colour for each, for those in most figures always the same; where there are too many for that, by their
    order."""
    if len(criteria) > 10:
        return palette(len(criteria))
    own = [name for name in _ALWAYS if name in criteria]
    free = (place for place in range(10) if place >= len(_ALWAYS) or _ALWAYS[place] not in own)
    places = {name: _ALWAYS.index(name) if name in own else next(free) for name in [*own, *criteria]}
    return [palette(10)[places[name]] for name in criteria]


def palette(count: int) -> list:
    """So many colours, which also the colour-blind can tell apart where there are at most ten."""
    import seaborn

    return seaborn.color_palette("colorblind", count) if count <= 10 else seaborn.color_palette("husl", count)
