"""What the tool has made of real networks, as the README and docs/tool.md quote it.

Enters: the table of `python -m lib.benchmark.demonstration`. Leaves: Markdown.
"""

from pathlib import Path

import pandas

TABLE = Path("tool/prune.csv")  # within results/
STEPS = ("whole", "shrunk", "repaired", "distilled", "fine-tuned")


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
    return f"{body}\n\n*Test accuracy after each step; every row is one run.*"


def commands(path: Path) -> str:
    """The commands of all trials, as a block of shell."""
    return "\n".join(["```sh", *dict.fromkeys(pandas.read_csv(path)["command"]), "```"])
