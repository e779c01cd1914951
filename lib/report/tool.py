"""What the tool has made of real networks, as the README and docs/tool.md quote it.

Enters: the table of `python -m lib.benchmark.demonstration`. Leaves: Markdown.
"""

from pathlib import Path

import pandas

from lib.report.words import spread

TABLE = Path("tool/prune.csv")  # within results/
STEPS = ("whole", "shrunk", "repaired", "distilled", "fine-tuned")


def table(path: Path) -> str:
    """Accuracy after each step: a row per network, images and what goes, of one trial or, where it was trained in
    several ways, of all of them."""
    rows = pandas.read_csv(path)
    done = [step for step in STEPS if step in set(rows["done"])]
    head = ["network", "unlabelled images", "multiply-adds gone", "goes first: the lowest"]
    lines = [[*head, *done, "epochs"], ["---", "---:", "---:", "---", *["---:"] * (len(done) + 1)]]
    alike = ["network", "data", "images", "criterion", "per_cost", "multiply_adds"]
    for _, trials in rows.groupby(alike, sort=False):
        first, accuracy = trials.iloc[0], trials.drop_duplicates("done").set_index("done")["accuracy"]
        gone = f"{100 * (1 - first['multiply_adds']):.0f} %"
        cells = [f"{100 * accuracy[step]:.1f} %" if step in accuracy else "" for step in done]
        order = f"`{first['criterion']}`{' per multiply-add' if first['per_cost'] else ''}"
        images = f"{first['images']:,} of {first['data']}"
        lines.append([f"`{first['network']}`", images, gone, order, *cells, spread(trials["epochs"], ",")])
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    tested = spread(rows["tested"], ",.0f")
    return f"{body}\n\n*Accuracy on {tested} test images, of one network each; trained on the images named.*"


def commands(path: Path) -> str:
    """The commands of all trials, as a block of shell."""
    return "\n".join(["```sh", *dict.fromkeys(pandas.read_csv(path)["command"]), "```"])
