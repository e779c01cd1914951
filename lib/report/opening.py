"""What was found, in the words that the README and every report open with.

Enters: finished or published profiles, whose saved tables are all that is read. Leaves: Markdown, whose every number
comes from a table and every judgement from a verdict or from which number is larger.
"""

import re
from collections import Counter
from collections.abc import Sequence

import pandas

from lib.report import claim_answers, reach, tuning_answers, verdict_table
from lib.report.words import counted, listed, spread
from lib.study import claims, panels, profiles
from lib.study.analyses import over_panels
from lib.study.columns import RUN
from lib.study.finetuning import in_words
from lib.study.statistics import MARGIN, TOO_FEW

OWN, WEIGHTS = claims.RECOMMENDED, "l2"
YARDSTICK = (
    "The yardstick, *relative auc*, is the mean accuracy while units are switched off step by step, the lowest first, "
    "up to half of all, divided by the accuracy with all of them: 1 if nothing is lost."
)
FEW = 10  # percent of all units: as far as one would go
_NAMED = re.compile(r"(?<=; )C\d+")


def blocks(plans: Sequence[profiles.Profile]) -> pandas.DataFrame:
    """`claims.by_block` of all these profiles, without the claims that their tables do not suffice for."""
    return pandas.concat([claims.by_block(plan, strict=False) for plan in plans], ignore_index=True)


def answer(plans: Sequence[profiles.Profile], verdicts: pandas.DataFrame, where: str = "") -> str:
    """The answer in one sentence and its limit, then, each with its effect and verdict, what labels, weight magnitude,
    repair and fine-tuning have to do with it.

    Arguments:
        verdicts: of `claims.judged`, over the networks of these profiles.
        where: the report whose tables the claims' names link into; by default the one that holds this text.
    """
    measured, numbers = _measured(plans), panels.table(plans, "90-report-curves-numbers")
    parts = panels.table(plans, "90-report-parts") if len(plans) == 1 else pandas.DataFrame()
    parts = parts.fillna({"pair": ""}) if len(parts) else parts  # an empty text in a CSV is read as missing
    lines = panels.table(plans, "90-report-curves-units")
    points = [labels(verdicts, parts), against_weights(verdicts, measured, lines), repaired(verdicts)]
    points += [trained(verdicts, panels.table(plans, "80-cost-summary"))]
    found = [point for point in points if point]
    listing = "\n".join(f"- {point}" for point in ([YARDSTICK, *found] if found else []))
    said = [in_short(verdicts), limit(plans, measured, numbers), _linked(listing, where)]
    return "\n\n".join(filter(None, said))


def _linked(said: str, where: str) -> str:
    """The text with a link on every claim's name, to its row in the table of claims; see `page`."""
    return _NAMED.sub(lambda found: f'[{found[0]}]({where}#{verdict_table.ANCHOR} "{found[0]}")', said)


def _measured(plans: Sequence[profiles.Profile]) -> pandas.DataFrame:
    tables = [plan.tables / f"{name}.csv" for plan in plans for name in over_panels.TABLES]
    return over_panels.measured(plans) if any(path.exists() for path in tables) else pandas.DataFrame()


def in_short(verdicts: pandas.DataFrame) -> str:
    """The answer to the study's question, as the verdicts have it. Arguments: verdicts: of `claims.judged`."""
    if (row := _row(verdicts, "C3")) is None:
        return ""
    count = int(row["blocks"])
    where = f"in the {count} networks measured" if count > 1 else "in the one network measured"
    ranking, beside = "anking units without labels, by random gradients, works", "ranking them with labels"
    words = {
        "supported": f"Yes, {where}. R{ranking} as well as {beside}",
        "contradicted": f"No, {where}. R{ranking} less well than {beside}",
    }
    said = words.get(row["verdict"], f"Open. Whether r{ranking} as well as {beside} cannot be told yet")
    weights = _row(verdicts, "C13")
    better = {"supported": "better", "contradicted": "less well"}.get(weights["verdict"] if weights else "")
    if better:
        joint = ", and" if row["verdict"] in words else "; it works"
        said += f"{joint} {better} than ranking them by weight magnitude{_only(verdicts)}"
    return f"**{said}.**"


def _only(verdicts: pandas.DataFrame) -> str:
    """As long as what: where a repair (C12) or training (C14) was tried afterwards, and the lead may not outlast it."""
    done = {"C12": "repaired", "C14": "trained further"}
    tried = {what: row for claim, what in done.items() if (row := _row(verdicts, claim)) is not None}
    doubtful = [what for what, row in tried.items() if row["verdict"] != "supported"]
    return f", as long as nothing is {' or '.join(doubtful)} afterwards" if doubtful else ""


def labels(verdicts: pandas.DataFrame, parts: pandas.DataFrame) -> str:
    """What labels would add (C3). Arguments: verdicts, parts: of `claims.judged` and `claims.parts`."""
    if (row := _row(verdicts, "C3")) is None:
        return ""
    words = {"supported": "Labels add nothing that counts", "contradicted": "Labels add something"}
    words |= {TOO_FEW: "Networks are too few to tell whether labels add anything"}
    said = f"**{words.get(row['verdict'], 'Whether labels add anything is open')}**"
    fixed = f" A loss of up to {MARGIN:g} would have counted as none, as settled before anything was measured."
    margin = fixed if row["verdict"] == "supported" else ""
    beside = "random gradients, against label gradients of the same length"
    return f"{said}: {beside}, {_evidence(row, verdicts)}.{margin}{claim_answers.by_number(parts, 'C3')}"


def against_weights(verdicts: pandas.DataFrame, measured: pandas.DataFrame, lines: pandas.DataFrame) -> str:
    """Whether the recommended criterion beats weight magnitude where nothing is trained or repaired (C13).

    Arguments:
        verdicts: of `claims.judged`.
        measured: of `over_panels.measured`.
        lines: of `mean_curves.along`, over units.
    """
    row = _row(verdicts, "C13")
    if row is None or "criterion" not in measured or not {OWN, WEIGHTS} <= set(measured["criterion"]):
        return ""
    words = {"supported": "Random gradients beat weight magnitude", "contradicted": "Weight magnitude beats them"}
    words |= {"open": "Whether they beat weight magnitude is open"}
    said = words.get(row["verdict"], "Networks are too few to tell whether they beat weight magnitude")
    values = measured.pivot_table(index=["panel", *RUN], columns="criterion", values="auc_relative")
    own, weights = 100 * values[[OWN, WEIGHTS]].dropna().mean()
    return (
        f"**{said}** (`{WEIGHTS}`), which takes no labels either: on the way to half of all units off they keep "
        f"{own:.0f} % of the whole network's accuracy in the mean, `{WEIGHTS}` {weights:.0f} %"
        f"{_with_few_off(lines)}; {_evidence(row, verdicts)}.{_by_weights(measured)}"
    )


def _with_few_off(lines: pandas.DataFrame) -> str:
    """What both keep where few units are off, the mean over networks."""
    if (shown := reach.on_most(lines)).empty:
        return ""
    kept = {name: reach.kept_with(line, FEW) for name, line in shown.groupby("criterion")}
    return f" (with {FEW} % of the units off {100 * kept[OWN]:.0f} and {100 * kept[WEIGHTS]:.0f} %)"


def _by_weights(measured: pandas.DataFrame) -> str:
    """Of the best criterion that looks at weights alone, chance left out, in the networks where most were tried."""
    if "used" not in measured:
        return ""
    blind = measured[(measured["used"] == 0) & ~measured["criterion"].str.match("random(:|$)")]
    values = blind.pivot_table(index=["panel", *RUN], columns="criterion", values="auc_relative")
    tried = values.notna().sum(axis=1)
    means = values[tried == tried.max()].dropna(axis=1).mean()
    if len(means) < 2:
        return ""
    best = f"`{means.idxmax()}` is best" + (f" ({100 * means.max():.0f} %)" if means.idxmax() != WEIGHTS else "")
    where = f", in the {counted(int((tried == tried.max()).sum()), 'network')} where they were measured"
    return f" Of {len(means)} criteria that look at weights alone {best}{where if tried.nunique() > 1 else ''}."


def repaired(verdicts: pandas.DataFrame) -> str:
    """Whether it also does where BatchNorms are estimated anew (C12). Arguments: verdicts: of `claims.judged`."""
    if (row := _row(verdicts, "C12")) is None:
        return ""
    said = _ahead(row, "they are ahead, too")
    return f"**After a repair without labels {said}**: with BatchNorms estimated anew, {_evidence(row, verdicts)}."


def _ahead(row: dict, own: str) -> str:
    """Who is ahead, as the verdict on the row has it; `own`: that it is the recommended criterion."""
    words = {"supported": own, "contradicted": "weight magnitude is ahead", "open": "it is undecided"}
    return words.get(row["verdict"], "it is undecided, for too few networks")


def trained(verdicts: pandas.DataFrame, tuned: pandas.DataFrame) -> str:
    """Which of both is ahead once shrunk networks are trained a little more (C14).

    Arguments:
        verdicts: of `claims.judged`.
        tuned: of `finetuning.summary`.
    """
    row, ends = _row(verdicts, "C14"), tuning_answers.of_both(tuned)
    if row is None or ends.empty:
        return ""
    said = _ahead(row, "they are still ahead")
    of, share = claims.BUDGET
    here = 100 * ends.xs((of, share), level=tuning_answers.BUDGET).mean()
    return (
        f"**After fine-tuning {said}**: {here[WEIGHTS]:.1f} % by `{WEIGHTS}` and {here[OWN]:.1f} % by `{OWN}` with "
        f"{in_words(of, share)} gone; {_evidence(row, verdicts)}."
    )


def _evidence(row: dict, verdicts: pandas.DataFrame) -> str:
    """The effect of a claim with its interval and verdict, and on which data sets, where others were measured, too."""
    own, all_of_them = (
        verdict_table.datasets(rows) for rows in (verdicts[verdicts["claim"] == row["claim"]], verdicts)
    )
    on = f", all on {listed(own)}" if own != all_of_them else ""
    return f"{claim_answers.evidence(row, on)}: {verdict_table.mark(row)})"


def limit(plans: Sequence[profiles.Profile], measured: pandas.DataFrame, numbers: pandas.DataFrame) -> str:
    """What all of it was measured on, and what it does not say.

    Arguments:
        measured, numbers: of `over_panels.measured` and, where it is known on how many test images, of
            `tested.standard_errors`.
    """
    runs = [run for plan in plans for run in plan.runs]
    datasets = {run.dataset: [] for run in runs}
    for (dataset, network), seeds in Counter((run.dataset, run.network) for run in runs).items():
        datasets[dataset].append(f"{network} from {seeds} seeds" if seeds > 1 else network)
    others = set(datasets) - {run.dataset for run in runs if not run.is_given}
    named = "; ".join(
        f"{dataset}: {listed(names)}{', trained by others' if dataset in others else ''}"
        for dataset, names in datasets.items()
    )
    seen = f", ranked on up to {_most(measured)} training images" if "examples" in measured else ""
    tested = f" and judged on {spread(numbers['test_images'], ',.0f')} test images" if "test_images" in numbers else ""
    toys = (
        " These images have 8x8 pixels and the networks are tiny: a first look." if set(datasets) == {"digits"} else ""
    )
    return (
        f"Measured on {counted(len(runs), 'trained network')} ({named}){seen}{tested}. "
        f"It says nothing of other data and networks.{toys}"
    )


def _most(measured: pandas.DataFrame) -> str:
    """The most images that criteria have seen, by data set where these differ: "300 (imagenet) to 50,000 (cifar)"."""
    most = measured.groupby("dataset", sort=False)["examples"].max()
    if most.nunique() == 1:
        return f"{most.iloc[0]:,}"
    return listed(f"{number:,} ({dataset})" for dataset, number in most.items())


def _row(verdicts: pandas.DataFrame, name: str) -> dict | None:
    found = verdicts[verdicts["claim"] == name].to_dict("records") if len(verdicts) else []
    return found[0] if found else None
