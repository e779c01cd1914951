"""One look for all figures, readable in grey and for the colour-blind, and how they are saved.

Enters: names of criteria, tables, matplotlib figures. Leaves: colours, dashes, markers and labels; figures saved as PNG
(for pages) and SVG beside it. A criterion's colour says of what family it is, in every figure the same; within a family
criteria differ by shade, and all of them by dash and marker, too. Bands and bars show the range over runs where there
are few of them.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy
import pandas
from matplotlib import colors, pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, Formatter, MaxNLocator

from lib import importance
from lib.report import pictures
from lib.scoring.rivals import RIVALS, WEIGHT_RIVALS
from lib.study.ceilings import GREEDY, ORACLES
from lib.system.whole_files import written_whole

FAMILIES = {  # of criteria -> colour, which also the colour-blind can tell apart
    "gradients without labels": "#0173b2",
    "gradients with labels": "#de8f05",
    "weights": "#029e73",
    "activations": "#cc78bc",
    "chance": "#949494",
    "known afterwards": "#333333",
}
_FIRST = ("sq:rand:norm", "sq:norm", "l2", "random")
_SHADES = (0, 0.45, -0.35, 0.65, -0.55, 0.25, -0.2)  # of a family: lighter by so much, or darker
MARKERS = "osD^vPX"
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
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.edgecolor": "0.6",
        "grid.color": "0.92",
        "legend.frameon": False,
    }
    seaborn.set_theme("notebook", "whitegrid", "colorblind", rc=settings)


def save(figure: Figure, folder: Path, name: str, *, shown: bool = True, kinds: Sequence[str] = ("png", "svg")) -> None:
    """Writes `<folder>/<name>.png` and `.svg`, aside first; the same figure gives the same bytes.

    Arguments:
        kinds: which of both to write.
        shown: whether the notebook's cell shows the figure too, as Jupyter does with all that are open at its end.
    """
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    for kind in kinds:
        with written_whole(folder / f"{name}.{kind}", by_ending=True) as aside:
            figure.savefig(aside, bbox_inches="tight", metadata=metadata[kind])
            smaller = {"png": pictures.shrunk, "svg": pictures.trimmed}[kind]
            aside.write_bytes(smaller(aside.read_bytes()))
    if not shown:
        pyplot.close(figure)


_EVEN = MaxNLocator(5, steps=[1, 2, 5, 10])


def make_logarithmic(axes: Axes, words: str | Formatter = "{x:g}") -> None:
    """A logarithmic x axis with ticks at powers of ten, and the more between them the fewer of these it spans, or at
    even distances where it spans hardly any; written as `words` says."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    powers = 10.0 ** numpy.arange(numpy.floor(numpy.log10(low)), numpy.log10(high) + 1)
    few = {10: (1, 2, 3, 5, 7), 1000: (1, 2, 5)}
    between = next((few[span] for span in few if high < span * low), (1,))
    ticks = numpy.outer(powers, between).ravel() if high >= 3 * low else _EVEN.tick_values(low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks[(ticks >= low) & (ticks <= high)]))
    axes.xaxis.set_major_formatter(words)
    axes.minorticks_off()


def with_panels(table: pandas.DataFrame) -> pandas.DataFrame:
    """The table with what figures show of it: panel (data set and network) and, where it has the columns, share (units
    off, %) and percent (accuracy)."""
    shown = table.assign(panel=table["dataset"] + ", " + table["network"])
    if "pruned" in table:
        shown = shown.assign(share=100 * table["pruned"] / table["units"])
    if "accuracy" in table:
        shown = shown.assign(percent=100 * table["accuracy"])
    return shown.reset_index(drop=True)


def family(criterion: str) -> str:
    """Which of `FAMILIES` a criterion is of. Raises ValueError for a name that is none's."""
    if criterion in (*ORACLES, GREEDY):
        return "known afterwards"
    found = importance.parse(criterion)
    if found.reduction == "random":
        return "chance"
    if found.reduction in RIVALS:
        return "weights" if found.reduction in WEIGHT_RIVALS else "activations"
    return f"gradients {'with' if found.needs_labels else 'without'} labels"


def colours(criteria: Sequence[str]) -> list[tuple[float, float, float]]:
    """A colour for each: that of its family, in a shade of its own where others of the family come before it; `_FIRST`
    of all come those that stand for their family."""
    seen, found = Counter(), {}
    for name in sorted(criteria, key=lambda name: name not in _FIRST):
        of = family(name)
        found[name] = _shade(FAMILIES[of], _SHADES[seen[of] % len(_SHADES)])
        seen[of] += 1
    return [found[name] for name in criteria]


def _shade(colour: str, lighter: float) -> tuple[float, float, float]:
    """The colour mixed with white, or by less than 0 with black."""
    end = 1.0 if lighter > 0 else 0.0
    return tuple(part + abs(lighter) * (end - part) for part in colors.to_rgb(colour))


def palette(count: int) -> list:
    """So many colours, which also the colour-blind can tell apart where there are at most ten."""
    import seaborn

    return seaborn.color_palette("colorblind", count) if count <= 10 else seaborn.color_palette("husl", count)
