"""What the tool has made of real networks, as the README and docs/tool.md quote it.

Enters: the table of `python -m lib.benchmark.demonstration`. Leaves: Markdown.
"""

from pathlib import Path

import pandas

from lib.report.words import listed
from lib.study import claims

TABLE = Path("tool/prune.csv")  # within results/
TRAINED = ("distilled", "fine-tuned")
STEPS = ("whole", "shrunk", "repaired", *TRAINED)
OWN, WEIGHTS = f"{claims.RECOMMENDED} per multiply-add", "l2"


def table(path: Path) -> str:
    """A row per trial: accuracy after each step."""
    rows = pandas.read_csv(path)
    done = [step for step in STEPS if step in set(rows["done"])]
    head = ["network", "ranked and trained on", "multiply-adds gone", "goes first: the lowest"]
    lines = [[*head, *done, "epochs", "test images"], ["---", "---:", "---:", "---", *["---:"] * (len(done) + 2)]]
    for _, trial in rows.groupby("trial", sort=False):
        first, accuracy = trial.iloc[0], trial.set_index("done")["accuracy"]
        gone = f"{100 * (1 - first['multiply_adds']):.0f} %"
        cells = [f"{100 * accuracy[step]:.1f} %" if step in accuracy else "" for step in done]
        order = f"`{first['criterion']}`{' per multiply-add' if first['per_cost'] else ''}"
        images = f"{first['images']:,} of {first['data']}"
        cells += [f"{first['epochs']}", f"{first['tested']:,.0f}"]
        lines.append([f"`{first['network']}`", images, gone, order, *cells])
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{body}\n\n*Test accuracy after each step; every row is one run.{_beside_weights(rows)}*"


def _beside_weights(rows: pandas.DataFrame) -> str:
    """By how much networks that were trained end above those that weight magnitude shrank, the rest being alike."""
    ends = rows[rows["done"].isin(TRAINED)].copy()
    ends["by"] = ends["criterion"].where(~ends["per_cost"], ends["criterion"] + " per multiply-add")
    keys, values = ["network", "data", "images", "done"], ["accuracy", "parameters"]
    if not {OWN, WEIGHTS} <= set(ends["by"]):
        return ""
    wide = ends.pivot_table(index=keys, columns="by", values=values, sort=False).swaplevel(axis=1)
    both = 100 * wide[[OWN, WEIGHTS]].dropna()
    gaps, left = both[OWN]["accuracy"] - both[WEIGHTS]["accuracy"], both.mean()
    each = listed(f"{gap:+.1f} points {done} (`{network}`)" for (network, _, _, done), gap in gaps.items())
    kept = [f"{left[name, 'parameters']:.0f} %" for name in (OWN, WEIGHTS)]
    more = f"; it kept {kept[0]} of the parameters, `{WEIGHTS}` {kept[1]}"
    return (
        f" Set against `{WEIGHTS}`, `{claims.RECOMMENDED}` per multiply-add ended at {each}{more}." if len(gaps) else ""
    )


def commands(path: Path) -> str:
    """The commands of all trials, as a block of shell."""
    return "\n".join(["```sh", *dict.fromkeys(pandas.read_csv(path)["command"]), "```"])
