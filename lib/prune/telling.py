"""One page for a person: what went where, what it costs now, how well it works, how it was made.

Enters: a `Pruned`, and what is to be said of how it was made. Leaves: HTML that needs nothing besides itself.
"""

import math
from collections.abc import Iterable, Mapping
from html import escape

from lib.prune.making import Pruned
from lib.shrinking.slimming import Slimming

STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:56em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ccc;vertical-align:top}"
    "td:first-child,th:first-child,.text td,.text th{text-align:left}"
    ".table{overflow-x:auto}.bar{background:#ddd;width:10em;height:.8em;margin:.4em 0}"
    ".left{background:#27639b;height:.8em}"
    "code{overflow-wrap:anywhere}pre{background:#f4f4f4;padding:.8em;white-space:pre-wrap;overflow-wrap:anywhere}"
    "h2{margin-top:2em}"
    ".doubt{border-left:.3em solid #b35900;padding-left:.8em}"
    "@media(max-width:40em){.bar{width:5em}td,th{padding:.2em .4em}}"
)
DONE = {
    "shrunk": "its channels are gone, and nothing else has changed",
    "repaired": "its BatchNorms have statistics that fit what is left, by the unlabelled images",
    "distilled": "trained to answer as the whole network does, on the unlabelled images",
    "fine-tuned": "trained on labelled images",
}
ONE_OF = {"units": "unit", "parameters": "parameter", "macs": "multiply-add"}  # what budgets are of
COSTS = {
    "parameters": ("parameters", "{:,}"),
    "multiply_adds": ("multiply-adds of one image", "{:,}"),
    "latency_ms": ("latency of one image (ms, median)", "{:.2f}"),
    "latency_low": ("its lower quartile", "{:.2f}"),
    "latency_high": ("its upper quartile", "{:.2f}"),
    "memory_mb": ("peak memory of one image (MiB)", "{:.1f}"),
    "disk_mb": ("size on disk (MiB)", "{:.2f}"),
}


def render(pruned: Pruned, made: Mapping[str, object], load: str = "", takes: str = "") -> str:
    """The page.

    Arguments:
        made: how the network was made, name by name.
        load: the lines of Python that load it.
        takes: which images it takes.
    """
    costs = pruned.costs.set_index("variant")
    saved = 1 - costs.loc["after", "multiply_adds"] / costs.loc["before", "multiply_adds"]
    first, last = pruned.quality.iloc[0, 1], pruned.quality.iloc[-1, 1]
    body = [
        "<h1>A smaller network</h1>",
        f"<p>{saved:.1%} of the multiply-adds are gone, and {_time(*costs.to_dict('index').values())}. ",
        f"{_meaning(pruned)} is {last:.1%}; of the whole network it is {first:.1%}.</p>",
        *(f'<p class="doubt">{escape(doubt)}</p>' for doubt in pruned.doubts),
        "<h2>How well it works</h2>",
        _table(["the network", pruned.measure, "", "answers that this changed"], map(_step, pruned.quality.values)),
        f"<p>{_explained(pruned.quality['done'])}</p>",
        "<h2>What it costs</h2>",
        _table(["", "before", "after", "left"], [(said, *(form.format(value) for value in costs[name]),
                                                 f"{costs.loc['after', name] / costs.loc['before', name]:.0%}")
                                                 for name, (said, form) in COSTS.items()]),
        "<h2>How to use it</h2>" if load or takes else "",
        f"<p>{escape(takes)}</p>" if takes else "",
        f"<pre>{escape(load)}</pre>" if load else "",
        "<h2>What went where</h2>",
        f"<p>{_order(pruned.plans[0], bool((pruned.scores < 0).any()))}</p>",
        _table(["layer", "units before", "after", "", "scores: lowest", "median", "highest"],
               map(_layer, pruned.layers.values)),
        "<h2>How it was made</h2>",
        _table(["", ""], [(name, f"<code>{escape(str(value))}</code>") for name, value in made.items()], "text"),
    ]  # fmt: skip
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f"<title>A smaller network</title><style>{STYLE}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _order(plan: Slimming, below: bool) -> str:
    """By what channels go; `below` is whether any score is below 0."""
    worth = "the sum of the scores of all their units"
    if plan.per_cost:
        one = ONE_OF[plan.of]
        divided = "divided by (where it is below 0: times)" if below else "divided by"
        worth = f"score per {one}, which is {worth}, {divided} the {one}s that go with them"
    return (f"Channels go by {worth}, the lowest first. Those that are added up or concatenated, or go through one"
            " depthwise convolution, go together.")  # fmt: skip


def _time(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """What one image takes, in words; where quartiles overlap, other programs may have made the difference."""
    if after["latency_high"] < before["latency_low"]:
        return f"one image takes {after['latency_ms'] / before['latency_ms']:.0%} of the time"
    if after["latency_low"] > before["latency_high"]:
        return f"one image takes {after['latency_ms'] / before['latency_ms']:.0%} of the time, which is more"
    return "whether one image takes less time could not be told, since times varied too much: see below"


def _explained(steps: Iterable[str]) -> str:
    there = {step.split()[0] for step in steps}
    return "; ".join(f"<i>{name}</i>: {said}" for name, said in DONE.items() if name in there) + "."


def _meaning(pruned: Pruned) -> str:
    images = f"{pruned.tested:,} {{}}image{'s' * (pruned.tested != 1)}"
    if pruned.measure == "accuracy":
        return f"Accuracy on {images.format('test ')}"
    return f"Agreement with the whole network on {images.format('')} held out"


def _step(row: Iterable) -> tuple:
    done, value, changed = row
    return done, f"{value:.1%}", _bar(value), "" if changed is None or math.isnan(changed) else f"{changed:.1%}"


def _layer(row: Iterable) -> tuple:
    name, before, after, *scores = row
    return escape(name), before, after, _bar(after / before), *(f"{score:.2g}" for score in scores)


def _bar(share: float) -> str:
    return f'<div class="bar"><div class="left" style="width:{share:.1%}"></div></div>'


def _table(header: Iterable[str], rows: Iterable[Iterable], kind: str = "") -> str:
    """Cells are HTML."""
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    header = list(header)
    top = f"<tr>{''.join(f'<th>{cell}</th>' for cell in header)}</tr>" if any(header) else ""
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="table"><table class="{kind}">{top}{body}</table></div>'
