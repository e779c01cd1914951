"""Plants errors in `lib`, one at a time, and shows which test catches each: are the tests worth their name?

    python tests/mutations.py            all of them, one after the other, a few minutes
    python tests/mutations.py 3 17       these two

Each error is planted in a copy of the repository, where the test files named beside it run until the first of them
fails. The exit status is 1 where an error escapes.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("lib", "tests", "notebooks", "data/paper", "Makefile", "Snakefile", "study.yaml", "requirements.lock")
COPIED += ("pyproject.toml", "environment.yml")
SECONDS = 900  # that a set of tests may take


class Planted(NamedTuple):
    """An error: in the module of `lib` of this name `old` becomes `new`, and test_<tests>.py ought to notice."""

    what: str
    module: str
    old: str
    new: str
    tests: str


MUTATIONS = (
    # scores
    Planted(
        "label gradient has the wrong sign",
        "criteria",
        "return others.scatter(1, labels[:, None], -others",
        "return -others.scatter(1, labels[:, None], -others",
        "criteria",
    ),
    Planted(
        "the label's own entry has the wrong sign",
        "criteria",
        "labels[:, None], -others.sum",
        "labels[:, None], others.sum",
        "criteria",
    ),
    Planted("taylorfo lacks its abs", "criteria", "_TAYLOR, final=torch.abs)", "_TAYLOR)", "importance"),
    Planted(
        "abs lacks its abs", "criteria", "Reduction(torch.abs, _PAPER)", "Reduction(lambda s: s, _PAPER)", "importance"
    ),
    Planted("neg is pos", "criteria", "(-s).clamp(min=0)", "s.clamp(min=0)", "importance"),
    Planted(
        "orth is not uniform among rotations", "criteria", ".sign()[:, None]", ".abs()[:, None].sign()", "criteria"
    ),
    Planted(
        ":score over examples instead of units",
        "normalising",
        "return inverse(s.norm(dim=1, keepdim=True))",
        "return inverse(s.norm(dim=0, keepdim=True))",
        "normalising",
    ),
    Planted(
        ":layer divides by the L1 norm",
        "normalising",
        "inverse(part.norm()) for",
        "inverse(part.norm(1)) for",
        "normalising",
    ),
    Planted(
        ":batch over all examples at hand, not a minibatch",
        "normalising",
        "[part * inverse(part.mean()) for part in minibatches(lengths)]",
        "[lengths * inverse(lengths.mean())]",
        "batches",
    ),
    Planted(
        "the last minibatch counts as a whole one",
        "contribution_criteria",
        "sum(len(part) * reduction.term",
        "sum(32 * reduction.term",
        "importance",
    ),
    Planted(
        "a cotangent of zeros divides by zero",
        "contribution_criteria",
        "lengths.where(lengths > 0, 1.0)[:, None]",
        "lengths[:, None]",
        "normalising",
    ),
    Planted(
        "scores of zeros divide by zero",
        "normalising",
        "values.where(values > 0, torch.inf).reciprocal()",
        "values.reciprocal()",
        "normalising",
    ),
    Planted(
        "the sum over space takes the units' axis of tokens",
        "passes",
        "if other != axis % product.ndim]",
        "if other != axis]",
        "importance",
    ),
    Planted(
        "the last use of a layer replaces the others",
        "passes",
        "total[:, here] += terms",
        "total[:, here] = terms",
        "importance",
    ),
    Planted(
        "contributions in float32",
        "passes",
        "self._shape, dtype=torch.float64",
        "self._shape, dtype=torch.float32",
        "importance",
    ),
    Planted(
        "noise by position instead of by index",
        "batches",
        "checks.indices(rest[0], len(images)) if rest else torch.arange",
        "torch.arange",
        "batches",
    ),
    Planted(
        "noise begins anew in every batch",
        "batches",
        "start += len(images)\n",
        "start += 0\n",
        "batches",
    ),
    Planted(
        "all probes are the first",
        "cotangents",
        "Noise(self.seed, self.indices, probe)",
        "Noise(self.seed, self.indices)",
        "importance",
    ),
    Planted(
        "probes are added up, not averaged",
        "sums",
        "for probe in range(count)) / count",
        "for probe in range(count))",
        "sums",
    ),
    Planted(
        "exact lacks its root",
        "contribution_criteria",
        "for vector in vectors).sqrt()}",
        "for vector in vectors)}",
        "importance",
    ),
    Planted(
        "molchanov-group sums gradients instead of averaging them",
        "weight_criteria",
        "inverse(lengths) / count",
        "inverse(lengths)",
        "weight_criteria",
    ),
    Planted("the seed is ignored", "noise", "numpy.array([seed, (stream", "numpy.array([0, (stream", "noise"),
    Planted("noise repeats every 1,024 examples", "noise", "counter=[0, 0, 0, block]", "counter=[0, 0, 0, 0]", "noise"),
    Planted(
        "taps before BatchNorm",
        "tracing",
        "run.norm, run.norm_call, run",
        "_, run.norm_call, run",
        "units",
    ),
    Planted(
        "a norm beside something else",
        "tracing",
        "if all(number in within",
        "if any(number in within",
        "tracing",
    ),
    Planted("a classifier is a product of weights away", "flow", "(frozenset() if mixes else reads)", "reads", "units"),
    Planted(
        "checkpoints run again",
        "contexts",
        "checkpoint._checkpoint_impl = lambda",
        "checkpoint.other = lambda",
        "contexts",
    ),
    Planted("gradients may be cut off", "detached", "detached.reaches(output) or", "False and", "detached"),
    Planted(
        "what nothing uses counts",
        "footprint",
        "else self._anywhere(delta, use.axis)",
        "else self._anywhere(delta, use.axis).new_ones(self._rows, use.width)",
        "footprint",
    ),
    Planted(
        "masked entries of weights count",
        "footprint",
        "entries = (weight != 0)",
        "entries = (weight == weight)",
        "footprint",
    ),
    Planted("lamp without squares", "rivals", "rows.square().sum(1).sort", "rows.sum(1).sort", "rivals"),
    # pruning and its outcome
    Planted(
        "the most important units go first",
        "pruning",
        "torch.argsort(scores, stable=True)",
        "torch.argsort(scores, stable=True, descending=True)",
        "pruning",
    ),
    Planted(
        "an unstable sort: ties in the reverse order",
        "pruning",
        "torch.argsort(scores, stable=True)",
        "len(scores) - 1 - torch.argsort(scores.flip(0), stable=True)",
        "pruning",
    ),
    Planted(
        "one unit too many is off",
        "pruning",
        "keep[order[:k].cpu()] = 0.0",
        "keep[order[: k + 1].cpu()] = 0.0",
        "pruning",
    ),
    Planted(
        "one unit too few is off",
        "pruning",
        "keep[order[:k].cpu()] = 0.0",
        "keep[order[: max(k - 1, 0)].cpu()] = 0.0",
        "pruning",
    ),
    Planted("steps of a curve are rounded", "pruning", "[int(k) for k in numpy", "[round(k) for k in numpy", "pruning"),
    Planted(
        "curves go to the last unit",
        "pruning",
        "linspace(0, total / 2, points)",
        "linspace(0, total, points)",
        "pruning",
    ),
    Planted("auc by the number of points", "pruning", "/ (pruned[-1] - pruned[0]))", "/ len(pruned))", "pruning"),
    Planted(
        "shrinking: the most important groups go",
        "structure",
        "argsort(worth, stable=True)",
        "argsort(-worth, stable=True)",
        "structure",
    ),
    Planted(
        "shrinking: a layer may be emptied",
        "structure",
        "if any(widths[end] <= count",
        "if any(widths[end] < count",
        "structure",
    ),
    Planted(
        "the oracle forgets the square",
        "oracle",
        "intact.double()).square().sum(1)",
        "intact.double()).abs().sum(1)",
        "oracle",
    ),
    # what is refused, and what is left
    Planted(
        "examples may lie anywhere", "units", "    _refuse_what_mixes_examples(model, trace, result)\n", "", "units"
    ),
    Planted(
        "a layer may run for some inputs only",
        "taps",
        "if not module.training:",
        "if module.training:",
        "taps",
    ),
    Planted("labels may be one too large", "checks", "found.max() >= classes", "found.max() > classes", "checks"),
    Planted("lines have one slope", "surrogate", " * (1 + value.sin() / 4)", "", "footprint"),
    Planted(
        "a maximum depends on the largest alone",
        "surrogate",
        "| dict.fromkeys(_MAXIMA, _sum)",
        "| dict.fromkeys((), _sum)",
        "footprint",
    ),
    # statistics
    Planted(
        "a contrast the other way round",
        "statistics",
        '(both["a"] - both["b"]).rename',
        '(both["b"] - both["a"]).rename',
        "statistics",
    ),
    Planted(
        "panels weigh by the uncertainty of a network, not of their mean",
        "over_panels",
        "(values.var() / values.size())",
        "values.var()",
        "over_panels",
    ),
    Planted(
        "a network may be in two panels", "panels", "            if key in seen:", "            if False:", "panels"
    ),
    Planted(
        "draws are not averaged first",
        "statistics",
        "together)[value].mean().reset_index()\n    return averaged.",
        "together)[value].mean().reset_index()\n    return table.",
        "statistics",
    ),
    Planted(
        "Holm without the step down", "statistics", "np.arange(len(p), 0, -1)", "np.full(len(p), len(p))", "statistics"
    ),
    Planted(
        "the deviation of a population, not of a sample",
        "statistics",
        "values.std(ddof=1)",
        "values.std()",
        "statistics",
    ),
    Planted(
        "the margin of non-inferiority on the wrong side",
        "statistics",
        '-margin if kind == "non',
        'margin if kind == "non',
        "statistics",
    ),
    Planted(
        "others scatter as their means do",
        "statistics",
        "centre + spread * np",
        "centre + spread / np.sqrt(count) * np",
        "statistics",
    ),
    Planted(
        "a twin on a whole minibatch counts", "paper", "between(1, MINIBATCH)", "between(1, MINIBATCH - 1)", "paper"
    ),
    Planted(
        "random rankings count by the first alone",
        "measurements",
        "not (cell.draw and cell.examples)",
        "not cell.draw",
        "measurements",
    ),
    # what goes before
    Planted("images are mirrored upside down", "training", "x.flip(3)", "x.flip(2)", "training"),
    Planted(
        "pixels keep their mean", "datasets", ".div_(255).sub_(mean).div_(scale)", ".div_(255).div_(scale)", "datasets"
    ),
    Planted("a text in study.yaml passes for a number", "schema", "strict=True, ge=1", "ge=1", "schema"),
    Planted("code that a module imports does not count", "digests", "pending += [", "[", "digests"),
    Planted("a network that was looked at before has a part in the claim", "claims", "seen=_SEEN", "seen=()", "claims"),
    Planted(
        "what repair gives back is a share of what was there",
        "given_back",
        "/ lost).where",
        '/ both["accuracy_unpruned"]).where',
        "given_back",
    ),
    Planted(
        "the greedy order forgets what is off",
        "ceilings",
        "masked(model, order, k,",
        "masked(model, order, 0,",
        "ceilings",
    ),
    Planted(
        "a mask in front of BatchNorm is one after it",
        "pruning",
        "before_norms(layers) if in_front else layers",
        "layers",
        "pruning",
    ),
    Planted("what does not come out again is taken up", "earlier", "    if odd:\n", "    if False:\n", "earlier"),
    Planted(
        "any number of images may differ",
        "verification",
        "[] if images <= IMAGES else",
        "[] if True else",
        "verification",
    ),
    Planted(
        "a cell's curve is that of the scores that are checked",
        "verification",
        "judged, again, [drawn.cell]",
        "judged, values, [drawn.cell]",
        "verification",
    ),
    Planted(
        "from scratch means with the trained weights",
        "finetuning",
        "if network.training != FRESH:",
        "if True:",
        "finetuning",
    ),
)


def catcher(planted: Planted, root: Path) -> str | None:
    """The test that notices the error in a copy of the repository at `root`, or None. Raises ValueError where the
    table is out of date, RuntimeError where the tests do not run."""
    (path,) = (root / "lib").rglob(f"{planted.module}.py")
    sound = path.read_text()
    if sound.count(planted.old) != 1:
        raise ValueError(f"lib/{planted.module}.py has {planted.old!r} {sound.count(planted.old)} times, not once")
    path.write_text(sound.replace(planted.old, planted.new))
    words = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "--tb=no", "-rfE"]
    words += map(str, (root / "tests").rglob(f"test_{planted.tests}.py"))
    try:
        done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=SECONDS)
    finally:
        path.write_text(sound)
    if done.returncode not in (0, 1, 2):
        raise RuntimeError(f"pytest ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    found = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", done.stdout, re.MULTILINE)
    return found[1] if found else None


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Plant errors, and show which test catches each.")
    parser.add_argument("numbers", nargs="*", type=int, help="of the errors to plant (all)")
    asked = parser.parse_args()
    escaped = 0
    print("| | planted in | error | caught by |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / name, Path(folder) / name)
        for number, planted in enumerate(MUTATIONS):
            if not asked.numbers or number in asked.numbers:
                test = catcher(planted, Path(folder))
                escaped += test is None
                print(f"| {number} | {planted.module} | {planted.what} | {test or 'NOTHING'} |", flush=True)
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
