"""What was found, in the words that the README and every report open with.

Enters: finished or published profiles, whose saved tables are all that is read. Leaves: Markdown, whose every number
comes from a table and every judgement from a verdict or from which number is larger.
"""

import re
from collections import Counter
from collections.abc import Sequence

import pandas

from lib.report import claim_answers, magnitude_answers, reach, supported, tuning_answers, verdict_table
from lib.report.words import counted, listed, signed, spread
from lib.study import claims, panels, profiles
from lib.study.analyses import over_panels
from lib.study.columns import PANEL
from lib.study.finetuning import in_words
from lib.study.statistics import LEVEL, MARGIN, TOO_FEW

OWN, WEIGHTS = claims.RECOMMENDED, magnitude_answers.WEIGHTS
NOTHING = pandas.DataFrame()
YARDSTICK = (
    "The yardstick, *relative auc*, is the mean accuracy while units are switched off step by step, the lowest first, "
    "up to half of all, divided by the accuracy with all of them: 1 if nothing is lost."
)
_NAMED = re.compile(r"(?<=; )C\d+")


def blocks(plans: Sequence[profiles.Profile]) -> pandas.DataFrame:
    """`claims.by_block` of all these profiles, with the column panel, without the claims that their tables do not
    suffice for."""
    tables = [claims.by_block(plan, strict=False).assign(panel=plan.name) for plan in plans]
    return pandas.concat(tables, ignore_index=True)


def answer(plans: Sequence[profiles.Profile], verdicts: pandas.DataFrame, where: str = "") -> str:
    """The answer in one sentence and its limit, then, each with its effect and verdict, what labels, weight magnitude,
    repair and fine-tuning have to do with it.

    Arguments:
        verdicts: of `claims.judged`, over the networks of these profiles.
        where: the report whose tables the claims' names link into; by default the one that holds this text.
    """
    measured, numbers = over_panels.measured(plans), panels.table(plans, "90-report-curves-numbers")
    on_most = over_panels.measured(plans, [claims.CLAIMS["C13"].table])  # in some panels on more images than `measured`
    parts = panels.table(plans, "90-report-parts") if len(plans) == 1 else pandas.DataFrame()
    parts = parts.fillna({"pair": ""}) if len(parts) else parts  # an empty text in a CSV is read as missing
    lines = reach.curves(plans)
    means = panels.table(plans, "65-repair-means")
    magnitude, mended, each = magnitude_answers.against(verdicts, on_most, lines), repaired(verdicts), blocks(plans)
    more = magnitude_answers.since(each) + magnitude_answers.like_chance(measured)
    more += magnitude_answers.within_layers(measured, means, "auc_relative")
    c3 = [rows for plan in plans if len(rows := claims.on_most("C3", plan))]
    points = [labels(verdicts, parts, pandas.concat(c3) if c3 else NOTHING, each), magnitude and magnitude + more]
    points += [mended and mended + magnitude_answers.within_layers(measured, means, "auc_relative_repaired")]
    points += [magnitude_answers.shrunk(panels.table(plans, "65-repair-shrunk"))]
    points += [trained(verdicts, panels.table(plans, "80-cost-summary"))]
    found = [point for point in points if point]
    listing = "\n".join(f"- {point}" for point in ([YARDSTICK, *found] if found else []))
    short = " ".join(filter(None, [in_short(verdicts), how_far(lines, verdicts)]))
    said = [short, limit(plans, pandas.concat([measured, lines]), numbers), _linked(listing, where)]
    return "\n\n".join(filter(None, said))


def _linked(said: str, where: str) -> str:
    """The text with a link on every claim's name, to its row in the table of claims; see `page`."""
    return _NAMED.sub(lambda found: f'[{found[0]}]({where}#{verdict_table.ANCHOR} "{found[0]}")', said)


def in_short(verdicts: pandas.DataFrame) -> str:
    """The answer to the study's question, as the verdicts have it. Arguments: verdicts: of `claims.judged`."""
    if (row := claim_answers.row(verdicts, "C3")) is None:
        return ""
    count = int(row["blocks"])
    where = f"in the {count} networks measured" if count > 1 else "in the one network measured"
    ranking, beside = "anking units without labels, by random gradients, works", "ranking them with labels"
    words = {
        "supported": f"Yes, {where}. R{ranking} as well as {beside}",
        "contradicted": f"No, {where}. R{ranking} less well than {beside}",
    }
    said = words.get(row["verdict"], f"Open. Whether r{ranking} as well as {beside} cannot be told yet")
    weights = claim_answers.row(verdicts, "C13")
    better = {"supported": "better", "contradicted": "less well"}.get(weights["verdict"] if weights else "")
    if better:
        joint = ", and" if row["verdict"] in words else "; it works"
        said += f"{joint} {better} than ranking them by weight magnitude (exploratory){_only(verdicts)}"
    return f"**{said}.**"


def _only(verdicts: pandas.DataFrame) -> str:
    """As long as what: a repair (C12) or training (C14) afterwards, unless it was tried and found to change nothing."""
    of = verdicts.set_index("claim")["verdict"]
    done = {"C12": "repaired", "C14": "trained further"}
    doubtful = [what for claim, what in done.items() if of.get(claim) != of["C13"]]
    return f", as long as nothing is {' or '.join(doubtful)} afterwards" if doubtful else ""


def how_far(lines: pandas.DataFrame, verdicts: pandas.DataFrame) -> str:
    """How many units can go where nothing is done afterwards, and that the order is better where it is (C13).

    Arguments:
        lines: of `reach.curves`.
        verdicts: of `claims.judged`.
    """
    shown = reach.on_most(lines)
    if shown.empty:
        return ""
    own = shown[shown["criterion"] == OWN]
    first, *others = (f"{_until(here)}{{}} on {dataset}" for dataset, here in own.groupby("dataset", sort=False))
    each = listed([first.format(" of the units off"), *(other.format("") for other in others)])
    better = (claim_answers.row(verdicts, "C13") or {}).get("verdict") == "supported"
    said = "A better order, but no free cut" if better else "There is no free cut"
    return f"**{said}**: without repair {100 - 100 * reach.KEPT:.0f} % of the accuracy is gone with {each}."


def _until(lines: pandas.DataFrame) -> str:
    """How much can go, of two networks by name."""
    names = lines["network"].unique()
    if len(names) != 2:
        return f"{reach.until(lines)} %"
    return listed(f"{reach.until(lines[lines['network'] == name])} % (`{name}`)" for name in names)


def labels(
    verdicts: pandas.DataFrame,
    parts: pandas.DataFrame,
    on_most: pandas.DataFrame = NOTHING,
    each: pandas.DataFrame = NOTHING,
) -> str:
    """What labels would add (C3).

    Arguments:
        verdicts, parts: of `claims.judged` and `claims.parts`.
        on_most, each: of `claims.on_most` and `blocks`; without parts, for what it is on the most images, and where
            more is lost than counts as nothing.
    """
    if (row := claim_answers.row(verdicts, "C3")) is None:
        return ""
    words = {"supported": "Labels add nothing that counts", "contradicted": "Labels add something"}
    words |= {TOO_FEW: "Networks are too few to tell whether labels add anything"}
    said = f"**{words.get(row['verdict'], 'Whether labels add anything is open')}**"
    fixed = f" A loss of up to {MARGIN:g} would have counted as none, as settled before anything was measured."
    margin = fixed if row["verdict"] == "supported" else ""
    side = "ahead of" if row["effect"] > 0 else "behind"
    beside = f"random gradients are {side} label gradients of the same length"
    by_number = claim_answers.by_number(parts, "C3") or _on_most(on_most)
    return f"{said}: {beside}, {verdict_table.evidence(row, verdicts)}.{margin}{_losing(each)}{by_number}"


def _losing(each: pandas.DataFrame) -> str:
    """Which networks lose more than counts as nothing, without labels."""
    means = (
        each[each["claim"] == "C3"].groupby(PANEL, sort=False)["difference"].mean() if len(each) else pandas.Series()
    )
    losing = means[means < -MARGIN]
    named = listed(f"`{network}` ({signed(loss)})" for (_, network), loss in losing.items()) if len(losing) else ""
    return f" More than {MARGIN:g} is lost in {named}." if named else ""


def _on_most(blocks: pandas.DataFrame) -> str:
    """What C3 is on the most images of each network. Arguments: blocks: of `claims.on_most`."""
    there = blocks.dropna(subset="difference") if len(blocks) else blocks
    return f" On the most images alone it is {claim_answers.over('C3', there)}." if len(there) else ""


def repaired(verdicts: pandas.DataFrame) -> str:
    """Whether it also does where BatchNorms are estimated anew (C12). Arguments: verdicts: of `claims.judged`."""
    if (row := claim_answers.row(verdicts, "C12")) is None:
        return ""
    said = _ahead(row, verdicts, "ahead of {}, too")
    evidence = verdict_table.evidence(row, verdicts)
    return f"**After a repair without labels {said}**: with BatchNorms estimated anew, {evidence}."


def _ahead(row: dict, verdicts: pandas.DataFrame, again: str) -> str:
    """Who is ahead, as the verdict on the row has it; `again` says so where it is whoever is ahead without repair and
    training: "ahead of {}, too"."""
    before = claim_answers.row(verdicts, "C13")
    ahead = again if before and before["verdict"] == row["verdict"] else "ahead of {}"
    words = {"supported": f"random gradients are {ahead.format('weight magnitude')}"}
    words |= {"contradicted": f"weight magnitude is {ahead.format('random gradients')}"}
    words |= {"open": "it is undecided"}
    said = words.get(row["verdict"], "it is undecided, for too few networks")
    doubtful = row["verdict"] in ("supported", "contradicted") and not row["p_holm"] < LEVEL
    return f"{said}, if not by a test that allows for the number of claims" if doubtful else said


def trained(verdicts: pandas.DataFrame, tuned: pandas.DataFrame) -> str:
    """Which of both is ahead once shrunk networks are trained a little more (C14), and what C14 leaves out.

    Arguments:
        verdicts: of `claims.judged`.
        tuned: of `finetuning.summary`.
    """
    row, ends = claim_answers.row(verdicts, "C14"), tuning_answers.of_both(tuned)
    if row is None or ends.empty:
        return ""
    said = _ahead(row, verdicts, "still ahead of {}")
    of, share = claims.BUDGET
    here = 100 * ends.xs((of, share), level=tuning_answers.BUDGET).mean()
    return (
        f"**After fine-tuning {said}**: {here[OWN]:.1f} % by `{OWN}` and {here[WEIGHTS]:.1f} % by `{WEIGHTS}` with "
        f"{in_words(of, share)} gone; {verdict_table.evidence(row, verdicts)}."
        f"{tuning_answers.beyond(tuned, claims.BUDGET)}"
    )


def limit(plans: Sequence[profiles.Profile], measured: pandas.DataFrame, numbers: pandas.DataFrame) -> str:
    """What all of it was measured on, and what it does not say.

    Arguments:
        measured, numbers: of whatever criteria were measured on how many images, and, where it is known on how many
            test images, of `tested.standard_errors`.
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
        f"{_kinds(runs)}Nothing is said of other data and networks.{toys}"
    )


def _kinds(runs: Sequence[profiles.Run]) -> str:
    """Of which families they are, where these are fewer."""
    families = list(dict.fromkeys(supported.family(run.network) for run in runs))
    if len(families) == len(runs):
        return ""
    kinds = f"{len(families)} families" if len(families) > 1 else "one family"
    return f"The networks are of {kinds} ({listed(families)}), and less independent than their number says. "


def _most(measured: pandas.DataFrame) -> str:
    """The most images that criteria have seen, by data set where networks differ: "300 (a) and 5,000 to 9,000 (b)"."""
    of_networks = measured.groupby(PANEL, sort=False)["examples"].max()
    if of_networks.nunique() == 1:
        return f"{of_networks.iloc[0]:,}"
    return listed(f"{spread(here, ',')} ({name})" for name, here in of_networks.groupby(level="dataset", sort=False))
