"""What the ablation notebooks ask of the measured tables, beyond reading them.

Enters: a profile and tables of `measurements`. Leaves: tidy tables of contrasts, of how examples differ, and of how
rankings agree.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product

import numpy
import pandas
import torch

from lib import importance, oracle, pruning
from lib.criteria import label_gradient
from lib.study import devices, measurements, profiles, statistics

PANEL = ["dataset", "network"]
SCORED = 256  # examples, at most, on which the time of a criterion is taken
_TOGETHER = "joint over single, {:.0f} % off"
TOGETHER = _TOGETHER.format(100 * measurements.TENTH)  # column of `interaction_means` that the limit is for


def paired(
    summary: pandas.DataFrame, pairs: Mapping[str, str], *, claim: str = "", pair_by: Sequence[str] = ("examples",)
) -> pandas.DataFrame:
    """One row per pair a: b of criteria: a minus b in relative auc, `adjusted` for the number of rows."""
    rows = [
        statistics.compare(summary, a, b, claim=claim, label=f"{a} minus {b}", pair_by=pair_by)
        for a, b in pairs.items()
    ]
    return adjusted(pandas.DataFrame(rows))


def adjusted(rows: pandas.DataFrame) -> pandas.DataFrame:
    """Rows of `statistics.compare` that are tested together, with `p_holm` (p adjusted for their number) and
    `smallest_p_holm` (the smallest that it could be with as many blocks in every row)."""
    return rows.assign(p_holm=statistics.holm(rows["p"]), smallest_p_holm=statistics.holm(rows["smallest_p"]))


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
    return adjusted(pandas.DataFrame(rows))


def crossings(summary: pandas.DataFrame, label_free: str, labelled: Sequence[str]) -> pandas.DataFrame:
    """From how many examples on each of `labelled` is at least as good as `label_free`, run by run.

    One row per run, labelled criterion and opponent (`label_free` on as many examples, or on all that were measured):
    dataset, network, seed, criterion, against, and overtakes_at, the number of examples, found on a straight line over
    their logarithm between the last number at which it was behind and the next; "always" where it never was behind,
    "never" where it is at the largest number. Draws are averaged first; stratified ones, which need labels, are left
    out.
    """
    drawn, rows = summary[summary["sample"] == "random"], []
    for key, table in drawn.groupby(list(measurements.RUN), sort=False, observed=True):
        values = table.pivot_table(index="examples", columns="criterion", values="auc_relative").sort_index()
        free = values[label_free]
        for name, (against, level) in product(labelled, {"as many": free, "all": free.iloc[-1]}.items()):
            row = dict(zip(measurements.RUN, key, strict=True)) | {
                "criterion": name,
                "against": f"{label_free} on {against}",
            }
            rows.append(row | {"overtakes_at": _overtakes_at((values[name] - level).dropna())})
    return pandas.DataFrame(rows)


def _overtakes_at(lead: pandas.Series) -> str:
    behind = numpy.flatnonzero(lead < 0)
    if not len(behind):
        return "always"
    last = behind[-1]
    if last == len(lead) - 1:
        return "never"
    around = lead.iloc[last : last + 2]
    return f"{numpy.exp(numpy.interp(0, around, numpy.log(around.index))):.0f}"


def along(curves: pandas.DataFrame, over: str, step: float = 2.5) -> pandas.DataFrame:
    """Curves on a common grid of what is gone, with intervals over runs: one row per data set, network, number of
    examples, criterion and grid point.

    Arguments:
        over: "units", or what `pruning.curve` says is left: "macs", "parameters".

    Columns: gone (%, up to 50), accuracy (mean over runs, draws averaged first), low, high (95 %) and blocks. A line
    ends where the first of its runs does.
    """
    grid, tables = numpy.arange(0, 50 + step / 2, step), []
    keys = [*measurements.RUN, *measurements.Cell._fields]
    for key, points in curves.groupby(keys, sort=False, observed=True):
        points = points.sort_values("pruned")
        share = points["pruned"] / points["units"] if over == "units" else 1 - points[over]
        beyond = None if over == "units" else numpy.nan  # half of an odd number of units is a little less
        accuracy = numpy.interp(grid, 100 * share, points["accuracy"], right=beyond)
        tables.append(
            pandas.DataFrame({"gone": grid, "accuracy": accuracy}).assign(**dict(zip(keys, key, strict=True)))
        )
    by = [*PANEL, "examples", "criterion", "gone"]
    table = statistics.summarise(pandas.concat(tables).dropna(subset="accuracy"), by, value="accuracy")
    whole = table["blocks"] == table.groupby(by[:-1], observed=True)["blocks"].transform("max")
    return table[whole].rename(columns={"mean": "accuracy"}).reset_index(drop=True)


def in_numbers(summary: pandas.DataFrame, criteria: Sequence[str]) -> pandas.DataFrame:
    """Means over runs (draws averaged first) on the most examples, a row per data set, network and each of `criteria`,
    in their order.

    Columns: labels (whether it needs them), auc_relative, accuracy_unpruned, accuracy_10pct, _25pct, _50pct.
    """
    values = ["auc_relative", "accuracy_unpruned", *(f"accuracy_{100 * share:.0f}pct" for share in pruning.SHARES)]
    most = summary.groupby(PANEL)["examples"].transform("max")
    chosen = summary["criterion"].isin(criteria) & (summary["examples"] == most)
    runs = summary[chosen].groupby([*measurements.RUN, "examples", "criterion"], observed=True)[values].mean()
    found = runs.groupby([*PANEL, "examples", "criterion"]).mean().reset_index()
    found["criterion"] = pandas.Categorical(found["criterion"], criteria, ordered=True)
    found = found.sort_values([*PANEL, "examples", "criterion"], ignore_index=True).astype({"criterion": str})
    found.insert(4, "labels", [importance.parse(name).needs_labels for name in found["criterion"]])
    return found


def by_band(tail: pandas.DataFrame) -> pandas.DataFrame:
    """Summaries on a long-tailed set, one row per third of the classes: the run, criterion, classes, auc_relative."""
    bands = [tail.assign(classes=name, auc_relative=tail[f"auc_relative_{name}"]) for name in measurements.BANDS]
    return pandas.concat(bands, ignore_index=True)[
        [*measurements.RUN, "criterion", "examples", "classes", "auc_relative"]
    ]


def band_contrasts(bands: pandas.DataFrame, pairs: Mapping[str, str]) -> pandas.DataFrame:
    """Rows as of `paired` for every pair a: b in every third of the classes, adjusted for the number of all of them."""
    rows = []
    for (a, b), name in product(pairs.items(), measurements.BANDS):
        row = statistics.compare(bands[bands["classes"] == name], a, b, label=f"{a} minus {b}")
        rows.append({"classes": name} | row)
    return adjusted(pandas.DataFrame(rows))


def gradient_lengths(plan: profiles.Profile) -> pandas.DataFrame:
    """The length of the label gradient at the logits, one row per training image of every run: dataset, network,
    seed, length."""
    tables = []
    for run in plan.runs:
        measurements.complete(run)
        device = devices.pick(run.device)
        data, model = measurements.Data.of(run, device), measurements.load_model(run, device)
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
    for key, table in lengths.groupby(list(measurements.RUN), observed=True):
        weights = numpy.sort(table["length"].to_numpy() ** 2)[::-1]
        held = weights.cumsum() / weights.sum()
        top = {f"top_{share:.0%}": held[max(round(share * len(weights)), 1) - 1] for share in shares}
        effective = weights.sum() ** 2 / (weights**2).sum() / len(weights)
        rows.append(dict(zip(measurements.RUN, key, strict=True)) | top | {"effective_share": effective})
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


FALLEN = 0.9  # of the unpruned accuracy: below, accuracy has fallen
LIMITS = {
    "entropy": 0.99,
    "kept": 0.95,
    "emptied": 1,
    "rise": 0.05,
    "together": 3,
}  # from where on it is worth an alarm
ALARMS = {
    "entropy": "scores too alike to rank",
    "kept": "accuracy fell no later than by chance, although nearly all importance was kept",
    "emptied": "a layer lost all its units",
    "rise": "accuracy rose again while more units went",
    "together": "units matter together",
}
SIGNS = {  # what the columns of `signatures` are
    "entropy": "how alike scores are: 1 where all are the same, and nothing can be ranked",
    "kept": "share of all importance that is still there where accuracy first falls below "
    f"{100 * FALLEN:g} % of the unpruned; an alarm only where that comes no later than by chance",
    "lasted": "share of units off where it does",
    "by_chance": "the same in random orders",
    "emptied": "layers without any unit at the end",
    "rise": "largest gain in accuracy while more units went",
    "together": "squared change of the logits with a tenth of all units off at once, over the sum of their single "
    "changes; 1 where they are independent",
}


def signatures(plan: profiles.Profile, curves: pandas.DataFrame) -> pandas.DataFrame:
    """Known ways to fail, as numbers with an alarm in plain words: one row per criterion and number of examples.

    Each number is the median over runs and draws (`curves`: how many), and an alarm is given where more than half of
    them reach its limit, with how many do. used: the examples that the scores really come from, fewer than `examples`
    where the criterion is limited on a CPU.

    entropy: of the scores as shares of their sum, divided by log N (1: all alike). kept: the share of all scores
        still kept where the accuracy first falls below 90 % of the unpruned; 0 where it never does. lasted: the share
        of units off by then (%), and by_chance: the same in random orders of the same network. What is kept is worth an
        alarm only where a criterion lasts no longer than chance: squares are so uneven that nearly all is kept anyway.
        emptied: layers without a unit at the end. rise: the largest gain in accuracy as units go. together: the squared
        change of the output with a tenth of all units off, over the sum of the changes with one of them off.
    """
    rows = []
    for run in plan.runs:
        rows += _signatures_of(
            run, curves[(curves[list(measurements.RUN)] == pandas.Series(_columns(run))).all(axis=1)]
        )
    numbers = ["entropy", "kept", "lasted", "by_chance", "emptied", "rise", "together"]
    columns = ["criterion", "examples", "used", *numbers, *(f"{name}?" for name in ALARMS)]
    found = pandas.DataFrame(rows, columns=columns)
    groups = found.groupby(["criterion", "examples"], sort=False)
    table = groups[numbers].median().assign(curves=groups.size(), used=groups["used"].max())
    fired = groups[[f"{name}?" for name in ALARMS]].sum().astype(int)
    alarms = [
        ", ".join(f"{ALARMS[name]} ({row[f'{name}?']} of {size})" for name in ALARMS if 2 * row[f"{name}?"] > size)
        for size, (_, row) in zip(table["curves"], fired.iterrows(), strict=True)
    ]
    return table.assign(alarm=alarms).reset_index()[["criterion", "examples", "used", "alarm", *numbers, "curves"]]


def _signatures_of(run: profiles.Run, curves: pandas.DataFrame) -> list[dict]:
    scores, single = pandas.read_parquet(run.scores), pandas.read_parquet(run.oracle)["output"].to_numpy()
    fields = list(measurements.Cell._fields)
    by_cell = {cell: table["score"].to_numpy() for cell, table in scores.groupby(fields, observed=True)}
    measured = pandas.read_parquet(run.curves, filters=[("criterion", "=", "random")]).groupby("draw")
    chance = numpy.mean([_lasted(points) for _, points in measured]) if len(measured) else numpy.nan
    rows, seen = [], set()
    for cell, points in curves.groupby(fields, sort=False, observed=True):
        if cell not in by_cell:  # repeated for every number of examples, or measured on the spot
            cell = (cell[0], 0, cell[2], "random")
        if cell in by_cell and cell not in seen:
            seen.add(cell)
            by_chance = numpy.nan if cell[0].startswith("random") else chance
            found = _signature(points.sort_values("pruned"), by_cell[cell], single, by_chance)
            rows.append({"criterion": cell[0], "examples": cell[1], "used": points["used"].iloc[0]} | found)
    return rows


def _signature(points: pandas.DataFrame, values: numpy.ndarray, single: numpy.ndarray, chance: float) -> dict:
    order, sizes = numpy.argsort(values, kind="stable"), numpy.abs(values)
    total, first = sizes.sum(), order[: measurements.tenth(len(values))]
    shares = sizes[sizes > 0] / total if total else numpy.ones(1)
    accuracy = points["accuracy"].to_numpy()
    fallen = numpy.flatnonzero(accuracy < FALLEN * accuracy[0])
    gone = sizes[order[: points["pruned"].iloc[fallen[0]]]].sum() if len(fallen) else total
    found = {
        "entropy": float(-(shares * numpy.log(shares)).sum() / numpy.log(len(values))),
        "kept": float(1 - gone / total) if total else 0.0,
        "lasted": _lasted(points),
        "by_chance": chance,
        "emptied": int(points["emptied"].iloc[-1]),
        "rise": float((accuracy - numpy.minimum.accumulate(accuracy)).max()),
        "together": float(points["joint"].iloc[0] / single[first].sum()) if single[first].sum() else numpy.nan,
    }
    alarms = {f"{name}?": found[name] >= limit for name, limit in LIMITS.items()}
    return found | alarms | {"kept?": alarms["kept?"] and found["lasted"] <= chance}


def _lasted(points: pandas.DataFrame) -> float:
    """The share of units off (%) where the accuracy first falls below 90 % of the unpruned, or where the curve ends."""
    points = points.sort_values("pruned")
    share, relative = 100 * points["pruned"] / points["units"], points["accuracy"] / points["accuracy"].iloc[0]
    below = numpy.flatnonzero(relative < FALLEN)
    if not len(below):
        return float(share.iloc[-1])
    around = slice(below[0] - 1, below[0] + 1)
    return float(numpy.interp(-FALLEN, -relative.iloc[around], share.iloc[around]))


def _columns(run: profiles.Run) -> dict[str, object]:
    return {name: getattr(run, name) for name in measurements.RUN}


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
        measurements.complete(run)
        data, model = measurements.Data.of(run, "cpu"), measurements.load_model(run, "cpu")
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
        rows.append({name: getattr(run, name) for name in measurements.RUN} | row | {"spearman": rho.iloc[0, 1]})
    return pandas.DataFrame(rows)


def on_most_examples(summary: pandas.DataFrame) -> pandas.DataFrame:
    """Of every criterion the rows on the largest number of examples that it was measured on, in each data set."""
    most = summary.groupby([*PANEL, "criterion"])["examples"].transform("max")
    return summary[summary["examples"] == most]


def label_free(plan: profiles.Profile, curves: pandas.DataFrame) -> pandas.DataFrame:
    """Of every data set the `curves` on its most examples, and beside them all curves of the profile on as many whose
    criteria need no labels, whatever notebook asked for them."""
    others = measurements.measured(plan)
    free = [name for name in others["criterion"].unique() if not importance.parse(name).needs_labels]
    both = pandas.concat([curves, others[others["criterion"].isin(free)]], ignore_index=True)
    most = both["dataset"].map(curves.groupby("dataset")["examples"].max())
    cells = [*measurements.RUN, *measurements.Cell._fields, "pruned"]
    return both[both["examples"] == most].drop_duplicates(cells, ignore_index=True)


def labelled(plan: profiles.Profile, free: pandas.DataFrame) -> pandas.DataFrame:
    """All curves of the profile whose criteria need labels, of every data set on the most examples in `free`, a table
    of criteria that need none."""
    curves = measurements.measured(plan)
    needing = [name for name in curves["criterion"].unique() if importance.parse(name).needs_labels]
    most = curves["dataset"].map(free.groupby("dataset")["examples"].max())
    return curves[curves["criterion"].isin(needing) & (curves["examples"] == most)].reset_index(drop=True)


def leaderboard(summary: pandas.DataFrame) -> pandas.DataFrame:
    """One row per criterion, best first: mean relative auc over all runs, the mean for each network, over the first
    quarter of the multiply-adds and of the parameters that go (NaN where a curve ends before), used (on how many
    examples at most) and place."""
    mean, used = (summary.groupby("criterion")[name] for name in ("auc_relative", "used"))
    mean, used = mean.mean(), used.max()
    panels = summary.pivot_table(index="criterion", columns=PANEL, values="auc_relative")
    panels.columns = [", ".join(panel) for panel in panels.columns]
    costs = [name for name in (f"auc_relative_{what}" for what in pruning.RESOURCES) if name in summary]
    panels = panels.join(summary.groupby("criterion")[costs].agg(lambda values: values.mean(skipna=False)))
    board = pandas.DataFrame({"auc_relative": mean}).join(panels).sort_values("auc_relative", ascending=False)
    return board.reset_index().assign(used=used[board.index].to_numpy(), place=range(1, len(board) + 1))


def standing(board: pandas.DataFrame, criterion: str) -> pandas.DataFrame:
    """Where a criterion stands on a `leaderboard`: one row with criterion, auc_relative, place, of (how many), and the
    criterion in the first place (best) with its relative auc (best_auc_relative)."""
    first, of = board.iloc[0], len(board)
    here = board.loc[board["criterion"] == criterion, ["criterion", "auc_relative", "place"]]
    best = {"best": first["criterion"], "best_auc_relative": first["auc_relative"]}
    return here.assign(of=of, **best).reset_index(drop=True)


def matched(summary: pandas.DataFrame) -> pandas.DataFrame:
    """Accuracy with a quarter of the units gone, of the multiply-adds and of the parameters, on the most examples.

    One row per data set, network and criterion, best first at equal multiply-adds: means over runs, NaN where the curve
    of one ends before.
    """
    columns = ["accuracy_25pct", "accuracy_macs_25pct", "accuracy_parameters_25pct"]
    groups = on_most_examples(summary).groupby([*PANEL, "criterion"], sort=False)[columns]
    table = groups.mean().where(groups.count().eq(groups.size(), axis=0)).reset_index()
    return table.sort_values([*PANEL, columns[1]], ascending=[True, True, False], kind="stable", ignore_index=True)


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


def scoring_seconds(plan: profiles.Profile, criteria: Iterable[str], *, examples: int = SCORED) -> pandas.DataFrame:
    """How long each criterion alone takes on the same examples of the profile's first run: the median of three."""
    run = plan.runs[0]
    device = devices.pick(run.device)
    data, model = measurements.Data.of(run, device), measurements.load_model(run, device)
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
    for here, both in _beside_the_oracle(plan):
        inside = [_spearman(part) for _, part in both.groupby("layer")]
        found = {"all units": _spearman(both), "within layers": float(numpy.nanmean(inside))}
        rows += [here | {"scope": scope, "spearman": rho} for scope, rho in found.items()]
    return pandas.DataFrame(rows)


def oracle_by_layer(plan: profiles.Profile, criteria: Sequence[str]) -> pandas.DataFrame:
    """The same within each layer, for some criteria: one row per data set, network, criterion, oracle and layer, in the
    order in which layers run: spearman (mean over runs)."""
    rows = []
    for here, both in _beside_the_oracle(plan, criteria):
        rows += [
            here | {"layer": layer, "spearman": _spearman(part)} for layer, part in both.groupby("layer", sort=False)
        ]
    table = pandas.DataFrame(rows)
    return table.groupby([*PANEL, "criterion", "oracle", "layer"], sort=False, as_index=False)["spearman"].mean()


def _beside_the_oracle(plan: profiles.Profile, criteria: Sequence[str] = ()) -> Iterator[tuple[dict, pandas.DataFrame]]:
    """Of every run, criterion and oracle: these as a dict, and a table of units with score, truth and layer."""
    for run in plan.runs:
        measurements.complete(run)
        truth = pandas.read_parquet(run.oracle).set_index("unit")
        scores = pandas.read_parquet(run.scores, filters=[("sample", "=", "random"), ("draw", "=", 0)])
        for criterion, table in scores.groupby("criterion"):
            if not criteria or criterion in criteria:
                most = table[table["examples"] == table["examples"].max()].set_index("unit")["score"]
                for name in ("loss", "output"):
                    here = _columns(run) | {"criterion": criterion, "oracle": name}
                    yield here, pandas.DataFrame({"score": most, "truth": truth[name], "layer": truth["layer"]})


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
        device = devices.pick(run.device)
        data, model = measurements.Data.of(run, device), measurements.load_model(run, device)
        batches = data.batches(64, "random", seed=run.seed, size=64)
        scores = pandas.read_parquet(run.scores, filters=[("sample", "=", "random"), ("draw", "=", 0)])
        for criterion in criteria:
            table = scores[scores["criterion"] == criterion]
            most = table[table["examples"] == table["examples"].max()].sort_values("unit")
            values = torch.tensor(most["score"].to_list(), dtype=torch.float64)
            counts = [max(1, round(share * len(values))) for share in shares]
            found = oracle.interactions(model, pruning.order(values), counts, batches)
            found = found.assign(share=[100 * share for share in shares], criterion=criterion)
            tables.append(found.assign(**_columns(run)))
    return pandas.concat(tables, ignore_index=True)[[*measurements.RUN, "criterion", "share", "ratio"]]


def interaction_means(ratios: pandas.DataFrame) -> pandas.DataFrame:
    """Their means over runs, a column for each share, and an alarm where that of a tenth reaches the limit in
    `LIMITS`, which is for a tenth."""
    means = ratios.pivot_table(index=[*PANEL, "criterion"], columns="share", values="ratio", sort=False)
    means.columns = [_TOGETHER.format(share) for share in means.columns]
    alarms = numpy.where(means[TOGETHER] >= LIMITS["together"], ALARMS["together"], "")
    return means.assign(alarm=alarms).reset_index()
