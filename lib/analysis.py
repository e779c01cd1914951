"""What the ablation notebooks ask of the measured tables, beyond reading them.

Enters: a profile and tables of `lib.study`. Leaves: tidy tables of contrasts, of how examples differ, and of how
rankings agree.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy
import pandas
import torch

from lib import importance, oracle, profiles, pruning, statistics, study
from lib.criteria import label_gradient

PANEL = ["dataset", "network"]


def paired(
    summary: pandas.DataFrame, pairs: Mapping[str, str], *, claim: str = "", pair_by: Sequence[str] = ("examples",)
) -> pandas.DataFrame:
    """One row per pair a: b of criteria: a minus b in relative auc, with p also adjusted for the number of rows
    (`p_holm`)."""
    rows = [
        statistics.compare(summary, a, b, claim=claim, label=f"{a} minus {b}", pair_by=pair_by)
        for a, b in pairs.items()
    ]
    table = pandas.DataFrame(rows)
    return table.assign(p_holm=statistics.holm(table["p"]))


def normalisation_pairs(summary: pandas.DataFrame, normalisations: Iterable[str]) -> dict[str, str]:
    """Every criterion of the table with one of these normalisations, and the same criterion without."""
    present = list(dict.fromkeys(summary["criterion"]))
    return {
        name: name.removesuffix(f":{normalisation}")
        for normalisation in normalisations
        for name in present
        if name.endswith(f":{normalisation}") and name.removesuffix(f":{normalisation}") in present
    }


def all_against_few(summary: pandas.DataFrame, label_free: str, labelled: Sequence[str]) -> pandas.DataFrame:
    """`label_free` on all examples minus each of `labelled` on every smaller number, as rows of `paired`."""
    summary = summary[summary["sample"] == "random"]
    most = summary.groupby(PANEL, observed=True)["examples"].transform("max")
    full = summary[(summary["criterion"] == label_free) & (summary["examples"] == most)]
    few = summary[summary["criterion"].isin(labelled) & (summary["examples"] < most)]
    few = few.assign(criterion=few["criterion"] + " on " + few["examples"].map("{:,}".format))
    full = full.assign(criterion=f"{label_free} on all")
    names = sorted(
        few["criterion"].unique(), key=lambda name: (name.split(" on ")[0], int(name.split(" on ")[1].replace(",", "")))
    )
    both = pandas.concat([full, few])
    rows = [
        statistics.compare(both, f"{label_free} on all", name, label=f"{label_free} on all minus {name}", pair_by=())
        for name in names
    ]
    table = pandas.DataFrame(rows)
    return table.assign(p_holm=statistics.holm(table["p"]))


def gradient_lengths(plan: profiles.Profile) -> pandas.DataFrame:
    """The length of the label gradient at the logits, one row per training image of every run: dataset, network,
    seed, length."""
    tables = []
    for run in plan.runs:
        study.complete(run)
        device = profiles.device(run.device)
        data, model = study.Data.of(run, device), study.load_model(run, device)
        with torch.no_grad():
            logits = torch.cat([model(images).double() for images in data.train_images.split(500)]).cpu()
        lengths = label_gradient(logits, data.train.labels).norm(dim=1)
        tables.append(
            pandas.DataFrame(
                {"dataset": run.dataset, "network": run.network, "seed": run.seed, "length": lengths.numpy()}
            )
        )
    return pandas.concat(tables, ignore_index=True)


def concentration(lengths: pandas.DataFrame, shares: Sequence[float] = (0.01, 0.1, 0.5)) -> pandas.DataFrame:
    """What part of all squared gradient length the longest 1, 10 and 50 % of the examples hold, run by run, and the
    effective number.

    The effective number of examples is (sum of w)^2 / sum of w^2 for weights w = squared length (Kish 1965), as a
    share of all.
    """
    rows = []
    for key, table in lengths.groupby(list(study.RUN), observed=True):
        weights = numpy.sort(table["length"].to_numpy() ** 2)[::-1]
        held = weights.cumsum() / weights.sum()
        top = {f"top_{share:.0%}": held[max(round(share * len(weights)), 1) - 1] for share in shares}
        effective = weights.sum() ** 2 / (weights**2).sum() / len(weights)
        rows.append(dict(zip(study.RUN, key, strict=True)) | top | {"effective_share": effective})
    return pandas.DataFrame(rows)


def draw_agreement(plan: profiles.Profile, criteria: Sequence[str]) -> pandas.DataFrame:
    """Spearman correlation of the scores from different draws of equally many examples: mean over pairs of draws and
    runs.

    Columns: dataset, network, examples, sample, criterion, pairs (their number), spearman.
    """
    rows = []
    for run in plan.runs:
        scores = pandas.read_parquet(run.scores, filters=[("criterion", "in", list(criteria))])
        for (examples, sample, criterion), table in scores.groupby(["examples", "sample", "criterion"], observed=True):
            draws = table.pivot_table(index="unit", columns="draw", values="score")
            ranked = draws.rank()
            for a, b in combinations(ranked, 2):
                rho = numpy.corrcoef(ranked[a], ranked[b])[0, 1]
                rows.append(
                    {
                        "dataset": run.dataset,
                        "network": run.network,
                        "examples": examples,
                        "sample": sample,
                        "criterion": criterion,
                        "spearman": rho,
                    }
                )
    keys = [*PANEL, "examples", "sample", "criterion"]
    table = pandas.DataFrame(rows, columns=[*keys, "spearman"])
    return table.groupby(keys, observed=True)["spearman"].agg(pairs="size", spearman="mean").reset_index()


LIMITS = {"entropy": 0.99, "kept": 0.95, "emptied": 1, "rise": 0.05}  # from where on a signature is worth an alarm
ALARMS = {
    "entropy": "scores too alike to rank",
    "kept": "accuracy fell although nearly all importance was kept",
    "emptied": "a layer lost all its units",
    "rise": "accuracy rose again while more units went",
}


def signatures(plan: profiles.Profile, curves: pandas.DataFrame) -> pandas.DataFrame:
    """Known ways to fail, as numbers with an alarm in plain words: one row per criterion, the worst over runs and
    draws.

    entropy: of the scores as shares of their sum, divided by log N (1: all alike). kept: the share of all scores
        still kept where accuracy has first fallen below 90 % of the unpruned. emptied: layers without a unit at the
        end. rise: the largest gain in accuracy as units go. A criterion whose accuracy never falls that low keeps
        nothing too much (kept is 0).
    """
    keys = [*study.RUN, *study.Cell._fields]
    scores = pandas.concat([pandas.read_parquet(run.scores) for run in plan.runs])
    ranked = {
        key: numpy.abs(numpy.sort(table["score"].to_numpy())) for key, table in scores.groupby(keys, observed=True)
    }
    rows = []
    for key, points in curves.groupby(keys, observed=True):
        values = ranked.get(key)
        if values is None:  # measured on the spot, or repeated for every number of examples
            values = ranked.get((*key[:4], 0, 0, "random"))
        if values is not None:
            rows.append({"criterion": key[3]} | _signature(points.sort_values("pruned"), values))
    table = pandas.DataFrame(rows).groupby("criterion", as_index=False).max()
    said = [
        ", ".join(text for name, text in ALARMS.items() if row[name] >= LIMITS[name]) for _, row in table.iterrows()
    ]
    return table.assign(alarm=said)


def _signature(points: pandas.DataFrame, values: numpy.ndarray) -> dict[str, float]:
    total = values.sum()
    shares = values[values > 0] / total if total else numpy.ones(1)
    accuracy = points["accuracy"].to_numpy()
    fallen = numpy.flatnonzero(accuracy < 0.9 * accuracy[0])
    gone = values[: points["pruned"].iloc[fallen[0]]].sum() if len(fallen) else total
    return {
        "entropy": float(-(shares * numpy.log(shares)).sum() / numpy.log(len(values))),
        "kept": float(1 - gone / total) if total else 0.0,
        "emptied": int(points["emptied"].iloc[-1]),
        "rise": float((accuracy - numpy.minimum.accumulate(accuracy)).max()),
    }


def spread(plan: profiles.Profile, *, examples: int = 100) -> pandas.DataFrame:
    """How far scores from few random vectors are from the exact ones, predicted and measured, on `examples` examples.

    With a_n the derivatives of the K logits along a unit's gate, a vector v_n uniform on the unit sphere gives the
    square (v_n . a_n)^2 with mean |a_n|^2 / K and relative variance 2 (K - 1) / (K + 2); P orthonormal ones give
    2 (K - P) / (P (K + 2)). Over independent examples that predicts the relative error of a score.

    Returns one row per run, kind of vectors ("independent", "orthonormal") and number of probes: predicted and measured
    (root mean square over units of the relative error), spearman (with the exact scores).
    """
    tables = []
    for run in plan.runs:
        study.complete(run)
        data, model = study.Data.of(run, "cpu"), study.load_model(run, "cpu")
        batches = data.batches(min(examples, len(data.train)), "random", seed=run.seed, size=examples)
        squares = _exact_squares(model, batches[0][0], len(data.train.classes))
        tables.append(_spread_of(run, model, batches, squares, len(data.train.classes)))
    return pandas.concat(tables, ignore_index=True)


def _exact_squares(model: torch.nn.Module, images: torch.Tensor, classes: int) -> torch.Tensor:
    """|a_n|^2 for every example and unit, (M, N)."""
    rows = (torch.eye(classes)[k].expand(len(images), -1) for k in range(classes))
    return sum(importance.contributions(model, images, vectors).square() for vectors in rows)


def _spread_of(run, model, batches, squares: torch.Tensor, classes: int) -> pandas.DataFrame:
    exact, fourth = squares.sum(0), squares.square().sum(0)
    alive = exact > 0
    probes = [p for p in (1, 2, 4, 8, 16, 32, 64) if p < classes] + [classes]
    variance = {
        "independent": {p: 2 * (classes - 1) / (classes + 2) / p for p in probes},
        "orthonormal": {p: 2 * (classes - p) / (classes + 2) / p for p in probes},
    }
    names = {
        (kind, p): f"sq:{'rand' if kind == 'independent' else 'orth'}@{p}:norm" for kind in variance for p in probes
    }
    scores = importance.score(model, batches, [name.replace("@1:", ":") for name in names.values()], seed=run.seed)
    rows = []
    for (kind, p), name in names.items():
        found = scores[name.replace("@1:", ":")] * classes * len(squares)
        error = ((found - exact) / exact)[alive].square().mean().sqrt()
        predicted = (variance[kind][p] * fourth / exact.square())[alive].mean().sqrt()
        rho = statistics.rank_agreement(pandas.DataFrame({"found": found, "exact": exact}), ["spearman"])["spearman"]
        row = {"vectors": kind, "probes": p, "predicted": float(predicted), "measured": float(error)}
        rows.append({name: getattr(run, name) for name in study.RUN} | row | {"spearman": rho.iloc[0, 1]})
    return pandas.DataFrame(rows)


def on_most_examples(summary: pandas.DataFrame) -> pandas.DataFrame:
    """Of every criterion the rows on the largest number of examples that it was measured on, in each data set."""
    most = summary.groupby([*PANEL, "criterion"])["examples"].transform("max")
    return summary[summary["examples"] == most]


def leaderboard(summary: pandas.DataFrame) -> pandas.DataFrame:
    """One row per criterion, best first: mean relative auc over all runs, its place, and the mean for each network."""
    mean = summary.groupby("criterion")["auc_relative"].mean()
    panels = summary.pivot_table(index="criterion", columns=PANEL, values="auc_relative")
    panels.columns = [", ".join(panel) for panel in panels.columns]
    board = pandas.DataFrame({"auc_relative": mean}).join(panels).sort_values("auc_relative", ascending=False)
    return board.reset_index().assign(place=range(1, len(board) + 1))


RANKED = (  # chosen before anything was measured
    *("sq:rand:norm", "abs:rand:norm", "sq:pseudo", "sq:mas", "synflow"),
    *("act-mean", "bn-scale", "fpgm", "l2", "random"),
)


def ranks(summary: pandas.DataFrame, criteria: Sequence[str] = RANKED) -> tuple[pandas.DataFrame, ...]:
    """Friedman's and Nemenyi's tests over trained networks, for at most ten criteria.

    Returns the mean ranks (criterion, mean_rank; 1 is best), Nemenyi's p for every pair, and one row of facts about
    both tests: chi2, chi2_p, f, f_p, blocks, critical_difference. A single trained network gives nothing to test: then
    only `blocks` is there.
    """
    matrix = statistics.block_values(summary, list(criteria), pair_by=()).dropna()
    if len(matrix) < 2:
        nothing = pandas.DataFrame({"criterion": [], "mean_rank": []})
        return nothing, pandas.DataFrame(), pandas.DataFrame({"blocks": [len(matrix)]})
    facts, pairs = statistics.friedman(matrix), statistics.nemenyi(matrix)
    table = facts.pop("ranks").rename("mean_rank").rename_axis("criterion").reset_index().sort_values("mean_rank")
    return table, pairs["p"], pandas.DataFrame([facts | {"critical_difference": pairs["critical_difference"]}])


def scoring_seconds(plan: profiles.Profile, criteria: Iterable[str], *, examples: int = 256) -> pandas.DataFrame:
    """How long each criterion alone takes on the same examples of the profile's first run: the median of three."""
    run = plan.runs[0]
    device = profiles.device(run.device)
    data, model = study.Data.of(run, device), study.load_model(run, device)
    batches = data.batches(min(examples, len(data.train)), "random", seed=0, size=run.settings["measuring"]["batch"])
    rows = []
    for name in criteria:
        times = []
        for _ in range(3):
            started = time.perf_counter()
            importance.score(model, batches, [name])
            times.append(time.perf_counter() - started)
        rows.append({"criterion": name, "seconds": sorted(times)[1]})
    return pandas.DataFrame(rows)


def oracle_agreement(plan: profiles.Profile) -> pandas.DataFrame:
    """Spearman correlation of every criterion with both oracles, on the most examples it was scored on.

    Returns one row per run, criterion, oracle ("loss", "output") and scope ("all units", "within layers": the mean over
    layers): spearman.
    """
    rows = []
    for run in plan.runs:
        study.complete(run)
        truth = pandas.read_parquet(run.oracle).set_index("unit")
        scores = pandas.read_parquet(run.scores, filters=[("sample", "=", "random"), ("draw", "=", 0)])
        for criterion, table in scores.groupby("criterion"):
            most = table[table["examples"] == table["examples"].max()].set_index("unit")["score"]
            for name in ("loss", "output"):
                both = pandas.DataFrame({"score": most, "truth": truth[name], "layer": truth["layer"]})
                inside = [_spearman(part) for _, part in both.groupby("layer")]
                found = {"all units": _spearman(both), "within layers": float(numpy.nanmean(inside))}
                here = {key: getattr(run, key) for key in study.RUN} | {"criterion": criterion, "oracle": name}
                rows += [here | {"scope": scope, "spearman": rho} for scope, rho in found.items()]
    return pandas.DataFrame(rows)


def _spearman(table: pandas.DataFrame) -> float:
    return statistics.rank_agreement(table[["score", "truth"]], ["spearman"])["spearman"].iloc[0, 1]


def interactions(
    plan: profiles.Profile, criteria: Sequence[str], shares: Sequence[float] = (0.05, 0.1, 0.25)
) -> pandas.DataFrame:
    """Joint change of the output over the sum of single changes, with the lowest-ranked units off: see `lib.oracle`.

    Returns one row per run, criterion and share of units: share (%), ratio.
    """
    tables = []
    for run in plan.runs:
        device = profiles.device(run.device)
        data, model = study.Data.of(run, device), study.load_model(run, device)
        batches = data.batches(64, "random", seed=run.seed, size=64)
        scores = pandas.read_parquet(run.scores, filters=[("sample", "=", "random"), ("draw", "=", 0)])
        for criterion in criteria:
            table = scores[scores["criterion"] == criterion]
            most = table[table["examples"] == table["examples"].max()].sort_values("unit")
            values = torch.tensor(most["score"].to_list(), dtype=torch.float64)
            counts = [max(1, round(share * len(values))) for share in shares]
            found = oracle.interactions(model, pruning.order(values), counts, batches)
            found = found.assign(share=[100 * share for share in shares], criterion=criterion)
            tables.append(found.assign(**{key: getattr(run, key) for key in study.RUN}))
    return pandas.concat(tables, ignore_index=True)[[*study.RUN, "criterion", "share", "ratio"]]
