"""Tables as people read them: rounded, under headers in plain words, as Markdown.

Enters: tidy tables with the study's column names. Leaves: Markdown, which notebooks show and the report takes up.
"""

import re
from collections.abc import Iterator, Sequence

import pandas

from lib.study import finetuning

WORDS = {  # column -> header; what is not here only loses its underscores
    "dataset": "data set",
    "draw": "draw of examples",
    "sample": "kind of draw",
    "draw_sd": "SD of relative auc between draws",
    "examples": "examples at hand",
    "units": "units in all",
    "pruned": "units off",
    "share": "units off (%)",
    "emptied": "layers left empty",
    "labels": "needs labels",
    "auc_relative_macs": "over multiply-adds",
    "auc_relative_parameters": "over parameters",
    "auc_relative": "relative auc",
    "auc_relative_repaired": "relative auc with repair",
    "auc_ours": "auc here",
    "auc_paper": "auc in the paper",
    "auc_relative_ours": "relative auc here",
    "auc_relative_paper": "relative auc in the paper",
    "accuracy": "test accuracy (%)",
    "accuracy_unpruned": "accuracy, nothing off (%)",
    "accuracy_repaired": "test accuracy with repair (%)",
    "accuracy_10pct": "accuracy, 10 % off (%)",
    "accuracy_25pct": "accuracy, 25 % off (%)",
    "accuracy_50pct": "accuracy, 50 % off (%)",
    "accuracy_10pct_repaired": "with repair, 10 % off (%)",
    "accuracy_25pct_repaired": "with repair, 25 % off (%)",
    "accuracy_50pct_repaired": "with repair, 50 % off (%)",
    "oracle:loss": "of the way to oracle:loss (%)",
    "oracle:output": "of the way to oracle:output (%)",
    "greedy": "of the way to greedy (%)",
    "furthest": "of the way to the furthest of them (%)",
    "repaired_on": "repaired on (images)",
    "device": "measured on",
    "accuracy_macs_25pct": "accuracy, 25 % of multiply-adds gone (%)",
    "accuracy_parameters_25pct": "accuracy, 25 % of parameters gone (%)",
    "spearman": "rank correlation (Spearman)",
    "kendall": "rank correlation (Kendall)",
    "difference": "mean difference in auc",
    "criteria": "criteria compared",
    "pairs": "pairs of draws",
    "paper": "in the paper",
    "compared": "pairs of criteria",
    "sd": "SD of a pair's difference over our networks",
    "disagree": "pairs in opposite orders, two of our networks (%)",
    "disagree_paper": "pairs in opposite orders, the paper and one of ours (%)",
    "twins": "pairs that are one ranking on the same examples",
    "twins_differ": "their differences in the paper (rms)",
    "probes": "random vectors per example",
    "vectors": "kind of vectors",
    "top_1%": "squared length held by the longest 1 %",
    "top_10%": "squared length held by the longest 10 %",
    "top_50%": "squared length held by the longest 50 %",
    "effective_share": "effective share of examples",
    "label": "contrast",
    "part": "part of the claim",
    "against": "against",
    "overtakes_at": "examples from which on it is as good",
    "test_images": "test images",
    "standard_error": "standard error of relative auc",
    "classes": "classes in the set",
    "behind": "relative auc, mask after BatchNorm",
    "in_front": "relative auc, mask in front of it",
    "least": "least that is left of a layer (%)",
    "spread": "SD over layers (%)",
    "auc_relative_common": "commonest classes",
    "auc_relative_middle": "middle classes",
    "auc_relative_rare": "rarest classes",
    "used": "examples used",
    "used_a": "examples used by the first",
    "used_b": "examples used by the second",
    "best": "in the first place",
    "best_auc_relative": "its relative auc",
    "gone": "gone (%)",
    "kept": "importance kept",
    "lasted": "lasted (% of units)",
    "by_chance": "lasted by chance (% of units)",
    "entropy": "entropy of scores",
    "limit": "alarm from",
    "rise": "rise in accuracy (points)",
    "together": "joint over single changes",
    "interval": "95 % interval",
    "p_holm": "p, adjusted (Holm)",
    "smallest_p": "smallest p possible",
    "smallest_p_holm": "smallest possible",
    "ahead": "networks in which it is above 0",
    "other_order": "verdict if averaged over pairs first",
    "signs": "sign in each data set and network",
    "dropped": "blocks left out",
    "chi2": "Friedman's chi-squared",
    "chi2_p": "its p",
    "f": "Iman and Davenport's F",
    "f_p": "p of F",
    "critical_difference": "critical difference of mean ranks",
    "min": "lowest",
    "max": "highest",
    "loss": "training loss (nats)",
    "learning_rate": "learning rate",
    "epochs": "epochs trained",
    "trained_by": "trained by",
    "curves": "curves",
    "training_seconds": "training (s)",
    "measuring_seconds": "measuring, since its last start (s)",
    "seconds": "time (s)",
    "multiply_adds": "multiply-adds",
    "units_removed": "share of units removed",
    "reached": "share removed",
    "parameters_left": "share of parameters left",
    "why": "why it cannot shrink",
    "of": "what goes",
    "among": "among how many",
    "budget": "share to go",
    "training": "how trained",
    "late_gain": "gain in the last third (points)",
    "spearman_size": "rank correlation of accuracy after with what else is kept",
    "before": "accuracy before fine-tuning (%)",
    "after": "accuracy after (%)",
    "recovered": "share of runs recovered",
    "epochs_to_recover": "epochs to recover",
    "inference_mb": "peak memory, inference (MB)",
    "training_mb": "peak memory, training (MB)",
    "disk_mb": "size on disk (MB)",
    "peak_mb": "peak memory (MB)",
    "step_ms": "training step (ms)",
    "step_low": "training step, from (ms)",
    "step_high": "training step, to (ms)",
    "epoch_seconds": "epoch of training (s)",
    "score_seconds": "scoring (s)",
    "slim_seconds": "shrinking (s)",
    "images_per_second": "images a second",
    "peak_memory_mb": "peak memory (MB)",
    "peak_cuda_memory_mb": "peak GPU memory (MB)",
    "torch": "PyTorch",
}
SAID = {  # column -> value -> how it is said
    "of": finetuning.RESOURCES,
    "training": {finetuning.PRICED: "fine-tuned, ranked by score per multiply-add"},
}
CODE = ("criterion", "best")  # columns whose values are set as code
SHARES = ("before", "after", "late_gain", "rise", "disagree", "disagree_paper")  # in percent, as is every accuracy...
SHARES += ("oracle:loss", "oracle:output", "greedy", "furthest", "least", "spread")
CHANCES = ("p", "p_holm", "smallest_p", "smallest_p_holm", "chi2_p", "f_p")  # in which almost 0 is told from 0


def header(column: object) -> str:
    """The name of a column in plain words."""
    if latency := re.fullmatch(r"latency_(\d+)_(ms|low|high)", str(column)):
        end = {"ms": "", "low": ", from", "high": ", to"}[latency[2]]
        return f"latency, batch {latency[1]}{end} (ms)"
    return WORDS.get(str(column), str(column).replace("_", " "))


def markdown(table: pandas.DataFrame, digits: int = 3, *, empty: str = "") -> str:
    """The table as Markdown: numbers rounded and to the right, headers in plain words, no cell's text read as markup.

    Numbers of a column share their decimals: `digits`, less one for every place from the tens on that the largest has,
    and none where all are whole. Chances that would be rounded to 0 have two figures instead (1.2e-05), accuracies are
    in percent, and the ends of an interval, `low` and `high`, share a column.

    Arguments:
        empty: what to say where the table has no rows.
    """
    if table.empty:
        return f"*{empty or 'There is nothing to list here.'}*"
    columns = list(_columns(table, digits))
    lines = [[escape(header(name)) for name, _, _ in columns], ["---:" if right else "---" for _, right, _ in columns]]
    lines += zip(*(cells for _, _, cells in columns), strict=True)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(table: pandas.DataFrame, *, digits: int = 3, empty: str = "", note: str = "") -> None:
    """Shows a table in a notebook as the report will: rounded, under headers in plain words, or, where it has no rows,
    the sentence `empty`; then the sentence `note`."""
    from IPython.display import Markdown, display

    display(Markdown("\n\n".join(filter(None, [markdown(table, digits, empty=empty), note]))))


def escape(text: str) -> str:
    """The text on one line, with nothing in it that Markdown would read as markup."""
    return re.sub(r"([\\`*_\[\]<>|~])", r"\\\1", " ".join(text.split()))


def _columns(table: pandas.DataFrame, digits: int) -> Iterator[tuple[object, bool, Sequence[str]]]:
    """Name, whether to the right, and cells of every column that is shown."""
    has_interval = {"low", "high"} <= set(table.columns)
    for position, name in enumerate(table.columns):
        column = table.iloc[:, position]
        if has_interval and name == "low":
            yield "interval", True, _intervals(column, table["high"], digits)
        elif not (has_interval and name == "high"):
            yield name, _is_numeric(column), _cells(name, column, digits)


def _intervals(low: pandas.Series, high: pandas.Series, digits: int) -> list[str]:
    ends = _numbers(pandas.concat([low, high]), digits, exact_near_0=False)
    pairs = zip(ends[: len(low)], ends[len(low) :], strict=True)
    return [start if start == end == "–" else f"{start} to {end}" for start, end in pairs]


def _is_numeric(column: pandas.Series) -> bool:
    return pandas.api.types.is_numeric_dtype(column) and not pandas.api.types.is_bool_dtype(column)


def _cells(name: object, column: pandas.Series, digits: int) -> Sequence[str]:
    if _is_numeric(column):
        in_percent = name in SHARES or str(name).startswith("accuracy")
        return _numbers(100 * column if in_percent else column, digits, exact_near_0=name in CHANCES)
    said = SAID.get(str(name), {})
    values = ["" if pandas.isna(value) else _plain(said.get(value, value)) for value in column]
    if name in CODE:
        return [f"`{value}`".replace("|", r"\|") if value else "" for value in values]
    return [escape(value) for value in values]


def _numbers(column: pandas.Series, digits: int, *, exact_near_0: bool) -> list[str]:
    known = column.dropna().astype(float)
    places = len(f"{known.abs().max():.0f}") - 1
    decimals = 0 if (known % 1 == 0).all() else max(digits - places, 0)
    return [_number(value, decimals, exact_near_0) for value in column.astype(float)]


def _number(value: float, decimals: int, exact_near_0: bool) -> str:
    if pandas.isna(value):
        return "–"
    rounded = round(value, decimals) + 0.0  # + 0.0: no "-0.000"
    return f"{value:.2g}" if exact_near_0 and value and not rounded else f"{rounded:,.{decimals}f}"


def _plain(value: object) -> str:
    return {"True": "yes", "False": "no"}.get(str(value), str(value))
