"""What the tool has made of real networks, as the README and docs/tool.md quote it.

Enters: the table of `python -m lib.benchmark.trials`. Leaves: Markdown.
"""

from pathlib import Path

import pandas

from lib.report.words import listed

TABLE = Path("benchmarks/prune.csv")  # within results/
STEPS = ("whole", "shrunk", "repaired", "distilled", "fine-tuned")


def table(path: Path) -> str:
    """A row per trial: accuracy after each step."""
    rows = pandas.read_csv(path)
    done = [step for step in STEPS if step in set(rows["done"])]
    lines = [["network", "unlabelled images", "multiply-adds gone", *done]]
    lines.append(["---", *["---:"] * (len(done) + 2)])
    for _, trial in rows.groupby("trial", sort=False):
        first, accuracy = trial.iloc[0], trial.set_index("done")["accuracy"]
        cells = [f"{100 * accuracy[step]:.1f} %" if step in accuracy else "" for step in done]
        lines.append(
            [f"`{first['network']}`", f"{first['images']:,}", f"{100 * (1 - first['multiply_adds']):.0f} %", *cells]
        )
    trained = (f"{part['epochs'].iloc[0]} epochs of `{name}`" for name, part in rows.groupby("trial", sort=False))
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", f"Trained were {listed(trained)}."])


def commands(path: Path) -> str:
    """The commands of all trials, as a block of shell."""
    return "\n".join(["```sh", *dict.fromkeys(pandas.read_csv(path)["command"]), "```"])
