"""One page for a person: what went where, what it costs now, how well it works, how it was made.

Enters: a `Pruned`, and what is to be said of how it was made. Leaves: HTML that needs nothing besides itself.
"""

from collections.abc import Iterable, Mapping
from html import escape

from lib.prune.making import Pruned

STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:52em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ccc}"
    "td:first-child,th:first-child{text-align:left}"
    ".bar{background:#ddd;width:16em;height:.8em}.left{background:#27639b;height:.8em}"
    "code{overflow-wrap:anywhere}"
)
COSTS = {"parameters": "{:,}", "multiply_adds": "{:,}", "disk_mb": "{:.2f}"}


def render(pruned: Pruned, made: Mapping[str, object]) -> str:
    """The page; `made` says how the network was made, name by name."""
    costs = pruned.costs.set_index("variant")
    saved = 1 - costs.loc["after", "multiply_adds"] / costs.loc["before", "multiply_adds"]
    last = pruned.quality.iloc[-1]
    body = [
        "<h1>A smaller network</h1>",
        f"<p>{saved:.1%} of the multiply-adds are gone; {_meaning(pruned.measure)}: {last.iloc[1]:.1%}.</p>",
        "<h2>How well it works</h2>",
        _table(["done", pruned.measure], [(done, f"{value:.1%}") for done, value in pruned.quality.values]),
        "<h2>What it costs</h2>",
        _table(["", "before", "after"], [(name.replace("_", " "), *(form.format(v) for v in costs[name]))
                                         for name, form in COSTS.items()]),
        "<h2>What went where</h2>",
        _table(["layer", "units before", "after", "what is left"], map(_layer, pruned.layers.values)),
        "<h2>How it was made</h2>",
        _table(["", ""], [(name, f"<code>{escape(str(value))}</code>") for name, value in made.items()]),
    ]  # fmt: skip
    head = f'<meta charset="utf-8"><title>A smaller network</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _meaning(measure: str) -> str:
    if measure == "accuracy":
        return "accuracy on the test images"
    return "agreement with the whole network on images held out"


def _layer(row: Iterable) -> tuple:
    name, before, after = row
    bar = f'<div class="bar"><div class="left" style="width:{after / before:.1%}"></div></div>'
    return escape(name), before, after, bar


def _table(header: Iterable[str], rows: Iterable[Iterable]) -> str:
    """Cells are HTML."""
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    top = "".join(f"<th>{cell}</th>" for cell in header)
    return f"<table><tr>{top}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
