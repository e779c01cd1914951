"""What somebody else makes of a profile's measured files: the same numbers, by arithmetic of his own.

Enters: a profile's folder, with curves.parquet, repaired.parquet, finetuning.parquet and 10-measure.json of every run.
Leaves: the claims table, its parts, the leaderboard. Nothing of `lib` is used, and claims and rules are written down
anew.
"""

import json
from itertools import product
from pathlib import Path

import numpy
import pandas

BLOCK = ["dataset", "network", "seed"]
T_975 = {1: 12.7062047364, 2: 4.3026527297, 3: 3.1824463053, 4: 2.7764451052, 5: 2.5705818366}  # by degrees of freedom
TWINS_UP_TO = 128  # examples, on which molchanov-bn ranks as taylorfo
WEIGHTS = ("random", "l1", "l2", "bn-scale", "fpgm", "lamp", "synflow")
ACTIVATIONS = ("apoz", "act-mean", "act-std", "hrank", "chip")
FREE = ("rand", "sign", "pseudo", "sampled", "ggn", "mas", "top", "exact", "orth")
FIVE = ("taylorfo", "abs", "sq", "molchanov-bn", "molchanov-group")
FOUR = ("", ":norm", ":rand", ":rand:norm")
RIVALS = [name for name in (*WEIGHTS, *ACTIVATIONS) if name != "random"]
PAIRS = {
    "C1": [(f"{name}:norm", name) for name in FIVE],
    "C2": [(f"{name}{end}", f"taylorfo{end}") for name, end in product(("abs", "sq"), FOUR)],
    "C3": [(f"{name}:rand:norm", f"{name}:norm") for name in ("abs", "sq")],
    "C4": [("sq:rand:norm", "taylorfo")],
    "C5": [(f"{name}:rand:norm", name) for name in ("molchanov-bn", "molchanov-group")],
    "C6": [("sq:rand:norm", "sq:exact")],
    "C7": [("sq:rand:norm", f"{name}{end}") for end, name in product(("", ":layer"), RIVALS)],
    "C9": [(f"{name}:norm", name) for name in ("abs", "sq")],
    "C10": [(f"sq{end}", f"abs{end}") for end in FOUR],
    "C12": [("sq:rand:norm", "l2")],
    "C13": [("sq:rand:norm", "l2")],
}
NOTHING_LOST = ("C3", "C6", "C9")
LIMITS = dict.fromkeys(NOTHING_LOST, -0.01) | {"C11": 0.0}  # of claims that rest on the interval alone
WORTH = 0.25  # of what is lost: C11 is about what comes back beyond that


class Outsider:
    """Of one profile's folder."""

    def __init__(self, folder: Path):
        runs = sorted(folder.glob("*/seed-*"))
        self.settings = json.loads((runs[0] / "10-measure.json").read_text())["settings"]["measuring"]
        points = pandas.concat([pandas.read_parquet(run / "curves.parquet") for run in runs], ignore_index=True)
        self.points = points[points["sample"] != "oracle"]  # orders that no criterion could know
        self.values = self._values(self.points)
        repaired = pandas.concat([pandas.read_parquet(run / "repaired.parquet") for run in runs], ignore_index=True)
        self.repaired = self._values(repaired[repaired["sample"] != "oracle"])
        self.runs = runs

    @staticmethod
    def _values(points: pandas.DataFrame) -> pandas.DataFrame:
        """One row per block, criterion, number of examples and kind of draw: relative auc, of the first draw (of random
        rankings the mean over all)."""
        first = points[(points["draw"] == 0) | (points["examples"] == 0)]
        keys = [*BLOCK, "criterion", "examples", "sample", "used", "draw"]
        rows = []
        for key, curve in first.groupby(keys):
            curve = curve.sort_values("pruned")
            row = dict(zip(keys, key, strict=True))
            for name in ("accuracy", "accuracy_rare"):
                y = curve[name].to_numpy() if name in curve else numpy.array([numpy.nan])
                x = curve["pruned"].to_numpy()
                if not numpy.isnan(y).any():
                    area = ((y[1:] + y[:-1]) / 2 * numpy.diff(x)).sum() / (x[-1] - x[0])
                    row[name.replace("accuracy", "auc")] = area / y[0]
            row["whole"] = y0(curve)
            for share in (10, 25, 50):
                row[f"at_{share}"] = numpy.interp(share / 100 * curve["units"].iloc[0], x, curve["accuracy"])
                row[f"kept_{share}"] = row[f"at_{share}"] / row["whole"]
            rows.append(row)
        return pandas.DataFrame(rows).groupby(keys[:-1], as_index=False).mean(numeric_only=True)

    def numbers(self, setting: str) -> list[int]:
        most = self.points["examples"].max()
        return [most if number == "all" else number for number in self.settings[setting]]

    def table(self, claim: str) -> pandas.DataFrame:
        """Differences: a row per block, a column per (pair, number of examples), those that count."""
        kind, value = ("long-tailed", "auc_rare") if claim == "C9" else ("random", "auc")
        values = self.repaired if claim == "C12" else self.values
        here = values[(values["sample"] == kind) | (values["examples"] == 0)]
        by = "used" if claim == "C6" else "examples"
        if claim == "C9":
            numbers = sorted(here.loc[here["examples"] > 0, "examples"].unique())
        else:
            setting = {"C4": "scarcity", "C7": "ablations", "C12": "ablations"}.get(claim, "panels")
            numbers = self.numbers(setting)
            numbers = [max(numbers)] if claim == "C13" else numbers
        if claim == "C6":
            exact = self.settings["exact"]
            limit = max(self.numbers("panels")) if exact == "all" else exact
            here = here[here["examples"].isin(numbers + [min(number, limit) for number in self.numbers("ablations")])]
            numbers = sorted(here["used"].unique())
        else:
            here = here[(here["used"] == here["examples"]) | (here["used"] == 0)]
        found = {}
        for (a, b), number in product(PAIRS[claim], numbers):
            sides = [self._side(here[here["criterion"] == name], by, number, value) for name in (a, b)]
            twin = a.startswith("molchanov-bn") and number <= TWINS_UP_TO
            if not twin and len(sides[0]) and len(sides[1]):
                found[f"{a} minus {b}", number] = (sides[0] - sides[1]).dropna()
        return pandas.DataFrame(found)

    @staticmethod
    def _side(rows: pandas.DataFrame, by: str, number: int, value: str) -> pandas.Series:
        return rows[(rows[by] == number) | (rows["examples"] == 0)].groupby(BLOCK)[value].mean()

    def contrast(self, claim: str) -> tuple[pandas.Series, pandas.Series]:
        """One difference per block: over numbers first and then over pairs, and the other way round."""
        table = self.table(claim)
        if claim == "C4":
            low, high = table.columns.get_level_values(1).min(), table.columns.get_level_values(1).max()
            pair = table.columns[0][0]
            return (table[pair, low] - table[pair, high],) * 2
        return tuple(table.T.groupby(level=level).mean().mean() for level in (0, 1))

    def tuned(self) -> list[pandas.DataFrame]:
        """Of every run what was fine-tuned without half of the multiply-adds."""
        tables = [pandas.read_parquet(run / "finetuning.parquet") for run in self.runs]
        return [
            table[(table["of"] == "macs") & (table["budget"] == 0.5) & (table["training"] == "fine-tuned")]
            for table in tables
        ]

    def after_tuning(self) -> pandas.Series:
        """For every block how much more accuracy the recommended criterion's network ends with than that of l2."""
        found = {}
        for tuned in self.tuned():
            last = tuned.sort_values("epoch").groupby("criterion")["accuracy"].last()
            found[tuple(tuned[BLOCK].iloc[0])] = last["sq:rand:norm"] - last["l2"]
        return pandas.Series(found)

    def kept_orders(self) -> pandas.Series:
        """For every block the rank correlation of accuracy before and after fine-tuning."""
        found = {}
        for tuned in self.tuned():
            ends = tuned.sort_values("epoch").groupby("criterion")["accuracy"].agg(["first", "last"]).rank()
            constant = (ends.std() == 0).any()
            key = tuple(tuned[BLOCK].iloc[0])
            found[key] = 0.0 if constant else numpy.corrcoef(ends["first"], ends["last"])[0, 1]
        return pandas.Series(found)

    def given_back(self) -> pandas.Series:
        """For every block how much of the accuracy lost with a quarter of the units off comes back with repair."""
        most = max(self.numbers("ablations"))
        before, after = (
            values[
                (values["criterion"] == "sq:rand:norm") & (values["examples"] == most) & (values["sample"] == "random")
            ].set_index(BLOCK)
            for values in (self.values, self.repaired)
        )
        lost = before["whole"] - before["at_25"]
        back = (after["at_25"] - before["at_25"]) / lost
        return back[lost >= 0.02]

    def claims(self, names=(*PAIRS, "C8", "C11", "C14")) -> pandas.DataFrame:
        """The claims table, in order."""
        rows, own = {}, {"C8": self.kept_orders, "C11": self.given_back, "C14": self.after_tuning}
        for name in sorted(names, key=lambda claim: int(claim[1:])):
            first, other = (own[name](), None) if name in own else self.contrast(name)
            beyond = WORTH if name == "C11" else 0.0
            rows[name] = judged(first - beyond, LIMITS.get(name))
            rows[name] |= {key: rows[name][key] + beyond for key in ("effect", "low", "high")}
            if name == "C8":
                rows[name] |= {key: min(max(rows[name][key], -1), 1) for key in ("low", "high")}
            if other is not None and name != "C4":
                again = judged(other, LIMITS.get(name))
                rows[name] |= {f"other_{key}": again[key] for key in ("verdict", "effect")}
        found = pandas.DataFrame(rows).T
        tested = [name for name in rows if name not in LIMITS]
        adjusted, so_far = {}, 0.0
        for rank, name in enumerate(sorted(tested, key=lambda name: rows[name]["p"])):
            so_far = max(so_far, rows[name]["p"] * (len(tested) - rank))
            adjusted[name] = min(1.0, so_far)
        return found.assign(p_holm=pandas.Series(adjusted))

    def leaderboard(self, *, labels: bool) -> pandas.DataFrame:
        """Relative auc and examples used, best first, of all that need labels or of all that need none, on the most
        examples of the rivals' ablation."""
        most = max(self.numbers("ablations"))
        here = self.values[(self.values["sample"] == "random") & self.values["examples"].isin([0, most])]
        here = here[here["criterion"].map(needs_labels) == labels]
        board = here.groupby("criterion").agg(auc=("auc", "mean"), used=("used", "max"))
        return board.sort_values("auc", ascending=False)


def y0(curve: pandas.DataFrame) -> float:
    return curve["accuracy"].iloc[0]


def needs_labels(criterion: str) -> bool:
    reduction, *rest = criterion.split(":")
    return reduction not in (*WEIGHTS, *ACTIVATIONS) and not any(part.split("@")[0] in FREE for part in rest)


def judged(differences: pandas.Series, above: float | None) -> dict:
    """Effect, interval, p and verdict of one difference per block; by the interval alone where it must lie `above`."""
    values, groups = differences.to_numpy().round(12), [label[:2] for label in differences.index]
    found = reached(values, groups, above)
    again = [reached(row, groups, above)["verdict"] == found["verdict"] for row in redrawn(values, groups)]
    close = len(values) > 1 and numpy.mean(again) < 0.9
    return found | {
        "ahead": int((values > max(above or 0, 0)).sum()),
        "close": close,
        "verdict": found["verdict"].rstrip("-01 "),
    }


def reached(values: numpy.ndarray, groups: list, above: float | None) -> dict:
    n, effect = len(values), values.mean()
    half = T_975[n - 1] * values.std(ddof=1) / n**0.5 if n > 1 else numpy.nan
    low, high, p, limit = effect - half, effect + half, signed_rank(values), above or 0
    side = 1 if low > limit else -1 if high < limit else 0
    found = {"effect": effect, "low": low, "high": high, "p": p, "blocks": n}
    if n < 6 if above is None else n < 2:  # 2 / 2^5 is above .05
        return found | {"verdict": f"too few networks {side}"}
    signs = {numpy.sign(values[[one == name for one in groups]].mean().round(12)) for name in set(groups)}
    sure = side and (above is not None or (p < 0.05 and signs == {side}))
    return found | {"verdict": {1: "supported", -1: "contradicted"}[side] if sure else "open"}


def redrawn(values: numpy.ndarray, groups: list) -> numpy.ndarray:
    """1,000 times as many differences, normal about the mean of their data set and network; (1000, blocks)."""
    groups = groups if len(set(groups)) < len(groups) else ["all"] * len(groups)
    means = numpy.array([values[[one == name for one in groups]].mean() for name in groups])
    spread = (((values - means) ** 2).sum() / max(1, len(groups) - len(set(groups)))) ** 0.5
    return means + spread * numpy.random.default_rng(0).standard_normal((1000, len(values)))


def signed_rank(values: numpy.ndarray) -> float:
    """The exact two-sided p, by all signs that the differences could have had."""
    sizes = numpy.abs(values)
    ranks = numpy.array([(sizes < size).sum() + ((sizes == size).sum() + 1) / 2 for size in sizes])
    flips = [abs(numpy.dot(signs, ranks)) for signs in product(*[(1, -1) if value else (0,) for value in values])]
    return float(numpy.mean(numpy.array(flips) >= abs(numpy.dot(numpy.sign(values), ranks)) - 1e-9))


def standard_error(curve: pandas.DataFrame, images: int, draws: int = 4000) -> float:
    """Of a curve's relative auc, by drawing images anew: each is right from the start up to some point, or never."""
    accuracy = numpy.minimum.accumulate(curve["accuracy"].to_numpy())
    gone = curve["pruned"].to_numpy() / curve["pruned"].iloc[-1]
    chances = numpy.append(-numpy.diff(numpy.append(1.0, accuracy)), accuracy[-1])
    counts = numpy.random.default_rng(0).multinomial(images, chances, size=draws)
    still = images - counts.cumsum(1)[:, :-1]  # (draws, points)
    area = ((still[:, 1:] + still[:, :-1]) / 2 * numpy.diff(gone)).sum(1)
    return float((area / still[:, 0]).std())
