"""What was found, in the words that the README and every report open with.

Enters: finished or published profiles, whose saved tables are all that is read. Leaves: Markdown, whose every number
comes from a table and every judgement from a verdict or from which number is larger.
"""

import re
from collections import Counter
from collections.abc import Sequence

import pandas

from lib.report import claim_answers, tuning_answers, verdict_table
from lib.report.words import counted, listed, spread
from lib.study import claims, panels, profiles
from lib.study.analyses import over_panels
from lib.study.columns import RUN
from lib.study.finetuning import in_words
from lib.study.statistics import MARGIN, TOO_FEW

OWN, WEIGHTS = claims.RECOMMENDED, "l2"
_NAMED = re.compile(r"(?<=; )C\d+")


def blocks(plans: Sequence[profiles.Profile]) -> pandas.DataFrame:
    """`claims.by_block` of all these profiles, without the claims that their tables do not suffice for."""
    return pandas.concat([claims.by_block(plan, strict=False) for plan in plans], ignore_index=True)


def answer(plans: Sequence[profiles.Profile], verdicts: pandas.DataFrame, where: str = "") -> str:
    """The answer in one sentence, then, each with its effect and verdict, what labels, the size of weights, repair and
    fine-tuning have to do with it, and its limit.

    Arguments:
        verdicts: of `claims.judged`, over the networks of these profiles.
        where: the report whose tables the claims' names link into; by default the one that holds this text.
    """
    measured, numbers = _measured(plans), panels.table(plans, "90-report-curves-numbers")
    parts = panels.table(plans, "90-report-parts") if len(plans) == 1 else pandas.DataFrame()
    parts = parts.fillna({"pair": ""}) if len(parts) else parts  # an empty text in a CSV is read as missing
    points = [labels(verdicts, parts), against_weights(verdicts, measured), repaired(verdicts)]
    points += [trained(verdicts, panels.table(plans, "80-cost-summary"))]
    listing = "\n".join(f"- {point}" for point in points if point)
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
    weights, tuned = _row(verdicts, "C13"), _row(verdicts, "C14")
    better = {"supported": "better", "contradicted": "less well"}.get(weights["verdict"] if weights else "")
    if better:
        joint = ", and" if row["verdict"] in words else "; it works"
        said += f"{joint} {better} than ranking them by the size of their weights"
    only = tuned is not None and tuned["verdict"] != "supported"
    return f"**{said}{', as long as nothing is trained afterwards' if only else ''}.**"


def labels(verdicts: pandas.DataFrame, parts: pandas.DataFrame) -> str:
    """What labels would add (C3). Arguments: verdicts, parts: of `claims.judged` and `claims.parts`."""
    if (row := _row(verdicts, "C3")) is None:
        return ""
    words = {"supported": "Labels add nothing that counts", "contradicted": "Labels do add something"}
    words |= {TOO_FEW: "Networks are too few to tell whether labels add anything"}
    said = f"**{words.get(row['verdict'], 'Whether labels add anything is open')}**"
    margin = f" A loss of up to {MARGIN:g} would count as none." if row["verdict"] == "supported" else ""
    beside = "random gradients, against label gradients of the same length"
    return f"{said}: {beside}, {_evidence(row, verdicts)}.{margin}{claim_answers.by_number(parts, 'C3')}"


def against_weights(verdicts: pandas.DataFrame, measured: pandas.DataFrame) -> str:
    """Whether the recommended criterion beats the size of weights where nothing is trained or repaired (C13).

    Arguments:
        verdicts: of `claims.judged`.
        measured: of `over_panels.measured`.
    """
    row = _row(verdicts, "C13")
    if row is None or "criterion" not in measured or not {OWN, WEIGHTS} <= set(measured["criterion"]):
        return ""
    words = {"supported": "Random gradients beat the size of weights", "contradicted": "The size of weights beats them"}
    words |= {"open": "Whether they beat the size of weights is open"}
    said = words.get(row["verdict"], "Networks are too few to tell whether they beat the size of weights")
    values = measured.pivot_table(index=["panel", *RUN], columns="criterion", values="auc_relative")
    own, weights = 100 * values[[OWN, WEIGHTS]].dropna().mean()
    return (
        f"**{said}**, which takes no labels either: averaged over the way to half of all units off, the "
        f"accuracy is {own:.0f} % of the whole network's, and {weights:.0f} % ranked by `{WEIGHTS}`; "
        f"{_evidence(row, verdicts)}.{_by_weights(measured)}"
    )


def _by_weights(measured: pandas.DataFrame) -> str:
    """Of the best criterion that looks at weights alone, chance left out, where that is another one."""
    if "used" not in measured:
        return ""
    blind = measured[(measured["used"] == 0) & ~measured["criterion"].str.match("random(:|$)")]
    values = blind.pivot_table(index=["panel", *RUN], columns="criterion", values="auc_relative")
    means = values.dropna(axis=1).mean()
    if means.empty or means.idxmax() == WEIGHTS:
        return ""
    best = f"`{means.idxmax()}`: {100 * means.max():.0f} %"
    return f" The best of {len(means)} criteria that look at weights alone is {best}."


def repaired(verdicts: pandas.DataFrame) -> str:
    """Whether it also does where BatchNorms are estimated anew (C12). Arguments: verdicts: of `claims.judged`."""
    if (row := _row(verdicts, "C12")) is None:
        return ""
    said = _ahead(row, "they are ahead, too")
    how = "BatchNorm statistics estimated anew"
    return f"**After a repair without labels {said}**: {how} for both, {_evidence(row, verdicts)}."


def _ahead(row: dict, own: str) -> str:
    """Who is ahead, as the verdict on the row has it; `own`: that it is the recommended criterion."""
    words = {"supported": own, "contradicted": "the size of weights is ahead", "open": "either may be ahead"}
    side = own if row["effect"] > 0 else "the size of weights is ahead"
    return words.get(row["verdict"], f"{side}, in too few networks to tell")


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
        f"{in_words(of, share)} gone; {_evidence(row, verdicts, ' in accuracy')}."
    )


def _evidence(row: dict, verdicts: pandas.DataFrame, unit: str = " in relative auc") -> str:
    """The effect of a claim with its interval and verdict, and on which data sets, where others were measured, too."""
    own, all_of_them = (
        verdict_table.datasets(rows) for rows in (verdicts[verdicts["claim"] == row["claim"]], verdicts)
    )
    on = f", all on {listed(own)}" if own != all_of_them else ""
    return f"{claim_answers.evidence(row, unit, on)}: {verdict_table.mark(row)})"


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
    most = spread(measured["examples"], ",") if "examples" in measured else ""
    seen = f", ranked on at most {most} training images" if most else ""
    tested = f" and judged on {spread(numbers['test_images'], ',.0f')} test images" if "test_images" in numbers else ""
    toys = (
        " These images have 8x8 pixels and the networks are tiny: a first look." if set(datasets) == {"digits"} else ""
    )
    return (
        f"Measured on {counted(len(runs), 'trained network')} ({named}){seen}{tested}, unless another number is named. "
        f"It says nothing of other data and networks.{toys}"
    )


def _row(verdicts: pandas.DataFrame, name: str) -> dict | None:
    found = verdicts[verdicts["claim"] == name].to_dict("records") if len(verdicts) else []
    return found[0] if found else None
