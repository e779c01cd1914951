"""One page for a person: what went where, what it costs now, how well it works, how it was made.

Enters: a `Pruned`, and what is to be said of how it was made. Leaves: HTML that needs nothing besides itself.
"""

import math
from collections.abc import Iterable, Mapping
from html import escape

from lib.prune.making import Pruned

STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:52em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ccc}"
    "td:first-child,th:first-child{text-align:left}"
    ".bar{background:#ddd;width:12em;height:.8em}.left{background:#27639b;height:.8em}"
    "code{overflow-wrap:anywhere}h2{margin-top:2em}"
    "@media(max-width:40em){.bar{width:5em}td,th{padding:.2em .4em}}"
)
COSTS = {
    "parameters": ("parameters", "{:,}"),
    "multiply_adds": ("multiply-adds of one image", "{:,}"),
    "latency_ms": ("latency of one image (ms, median)", "{:.1f}"),
    "memory_mb": ("peak memory of one image (MiB)", "{:.1f}"),
    "disk_mb": ("size on disk (MiB)", "{:.2f}"),
}


def render(pruned: Pruned, made: Mapping[str, object]) -> str:
    """The page; `made` says how the network was made, name by name."""
    costs = pruned.costs.set_index("variant")
    saved = 1 - costs.loc["after", "multiply_adds"] / costs.loc["before", "multiply_adds"]
    time = costs.loc["after", "latency_ms"] / costs.loc["before", "latency_ms"]
    first, last = pruned.quality.iloc[0, 1], pruned.quality.iloc[-1, 1]
    body = [
        "<h1>A smaller network</h1>",
        f"<p>{saved:.1%} of the multiply-adds are gone, and one image takes {time:.0%} of the time. ",
        f"{_meaning(pruned.measure)} is {last:.1%}; of the whole network it is {first:.1%}.</p>",
        "<h2>How well it works</h2>",
        _table(["the network", pruned.measure, "", "answers that this changed"], map(_step, pruned.quality.values)),
        "<h2>What it costs</h2>",
        _table(["", "before", "after"], [(said, *(form.format(value) for value in costs[name]))
                                         for name, (said, form) in COSTS.items()]),
        "<h2>What went where</h2>",
        _table(["layer", "units before", "after", "what is left", "scores: lowest", "median", "highest"],
               map(_layer, pruned.layers.values)),
        "<h2>How it was made</h2>",
        _table(["", ""], [(name, f"<code>{escape(str(value))}</code>") for name, value in made.items()]),
    ]  # fmt: skip
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f"<title>A smaller network</title><style>{STYLE}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _meaning(measure: str) -> str:
    if measure == "accuracy":
        return "Accuracy on the test images"
    return "Agreement with the whole network on images held out"


def _step(row: Iterable) -> tuple:
    done, value, changed = row
    return done, f"{value:.1%}", _bar(value), "" if changed is None or math.isnan(changed) else f"{changed:.1%}"


def _layer(row: Iterable) -> tuple:
    name, before, after, *scores = row
    return escape(name), before, after, _bar(after / before), *(f"{score:.2g}" for score in scores)


def _bar(share: float) -> str:
    return f'<div class="bar"><div class="left" style="width:{share:.1%}"></div></div>'


def _table(header: Iterable[str], rows: Iterable[Iterable]) -> str:
    """Cells are HTML."""
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    top = "".join(f"<th>{cell}</th>" for cell in header)
    return f"<table><tr>{top}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
