"""What the panels say together, in words: sentences made of the tables of the report over panels.

Enters: tables of `study.panels` and `analyses.over_panels`. Leaves: Markdown, in which every number comes from a table
or from the rules of the verdicts, and every judgement from a verdict or from which number is larger.
"""

import itertools
from collections.abc import Sequence

import pandas

from lib.report import effects, panel_tables
from lib.report.answers import BASELINES, beside_paper
from lib.report.words import capital, listed, spread
from lib.study import claims
from lib.study.analyses.over_panels import FEWEST_NETWORKS
from lib.study.statistics import LEVEL, TOO_FEW, too_few

QUESTIONS = {
    "C3": "What are labels worth? Random gradients minus those of labels, all of the same length",
    "C1": "Does the same length for every example help? Label gradients with it minus those without",
    "C4": "Is the gain largest when examples are few? The gain over `taylorfo` on the fewest minus that on the most",
}


def in_short(
    *,
    networks: pandas.DataFrame,
    missing: Sequence[str],
    over: pandas.DataFrame,
    board: pandas.DataFrame,
    stability: pandas.DataFrame,
    sizes: pandas.DataFrame,
    trainers: pandas.DataFrame,
    agreement: pandas.DataFrame,
    contrasts: pandas.DataFrame,
    single: pandas.DataFrame,
) -> str:
    """A Markdown list of what the panels say together.

    Arguments:
        networks, missing: of `panels.runs` and `panels.published`.
        over, board, stability, sizes, trainers: of `over_panels.claims_over`, `board`, `stability`, `with_size` and
            `by_trainer`.
        agreement, contrasts, single: as of `answers.in_short`, of all panels.
    """
    said = [_basis(networks, missing), _without_labels(board), _places(board, stability)]
    said += [_claim(name, question, over) for name, question in QUESTIONS.items()]
    said += [_all_claims(over), _sizes(sizes), _trainers(trainers, over), _paper(agreement, contrasts, single)]
    return "\n".join(f"- {sentences}" for sentences in said if sentences)


def _basis(networks: pandas.DataFrame, missing: Sequence[str]) -> str:
    names, blocks = networks["panel"].nunique(), len(networks)
    given = int(networks["given"].sum())
    said = (
        f"**What is this from?** {_count(names, 'panel')}, {listed(f'`{name}`' for name in networks['panel'].unique())}"
    )
    said += f": {_count(blocks, 'trained network')} on {listed(networks['dataset'].unique())}, "
    said += f"{blocks - given} of them trained here, {given} by others."
    if missing:
        one = "`make reproduce PROFILE=<name>`, then `make publish PROFILE=<name>`"
        said += f" Not measured yet: {listed(f'`{name}`' for name in missing)} ({one})."
    return said


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _without_labels(board: pandas.DataFrame) -> str:
    own = board[board["criterion"] == claims.RECOMMENDED].set_index("panel")
    if own.empty:
        return ""
    said = f"**Can you tell without labels?** `{claims.RECOMMENDED}`, which needs none, has a mean relative auc of "
    said += f"{own['mean'].iloc[0]:.3f} over panels{_among(own['auc_relative'], '.3f')}"
    beside = []
    for name, words in BASELINES.items():
        rival = board[board["criterion"] == name].set_index("panel")
        if len(rival):
            ahead = int((own["auc_relative"] > rival["auc_relative"]).sum())
            beside.append(f"{words} (`{name}`) {rival['mean'].iloc[0]:.3f}, behind it in {ahead} of {len(own)}")
    return f"{'; '.join([said, *beside])}."


def _among(values: pandas.Series, form: str, what: str = "") -> str:
    """The least and the largest of the panels' values, in brackets, where there are several."""
    return f" ({what}{spread(values, form)} among them)" if len(values) > 1 else ""


def _places(board: pandas.DataFrame, stability: pandas.DataFrame) -> str:
    if board.empty:
        return ""
    of, best = board["criterion"].nunique(), board.iloc[0]
    firsts = board[board["criterion"] == best["criterion"]]
    said = f"**Is the best always the best?** Of {of} criteria that every panel has, with labels and without, "
    said += f"`{best['criterion']}` is first in the mean over panels{_among(firsts['place'], 'g', 'places ')}"
    own = board[board["criterion"] == claims.RECOMMENDED]
    if len(own) and best["criterion"] != claims.RECOMMENDED:
        said += f", `{claims.RECOMMENDED}` in place {own['overall'].iloc[0]}{_among(own['place'], 'g')}"
    if stability.empty:
        return f"{said}. One panel says nothing of how stable places are."
    rho = stability["spearman"]
    return f"{said}. Two panels order them with a rank correlation of {spread(rho, '.2f')} (mean {rho.mean():.2f})."


def _claim(name: str, question: str, over: pandas.DataFrame) -> str:
    rows = {row["over"]: row for row in over[over["claim"] == name].to_dict("records")}
    if not rows:
        return ""
    opening, compared = question.split("? ")
    networks, panels = rows["networks"], rows["panels"]
    said = f"**{opening}?** {compared}: {effects.long(panels)} in the mean over panels"
    said += f" ({_ends(panels)}above {effects.bar(panels['kind'])} in {panels['ahead']} of {panels['count']} panels; "
    said += f"{name}: {panel_tables.in_words(panels, 'panels')})"
    verdict = panel_tables.in_words(networks, "networks")
    said += f"; over networks {effects.value(networks)} ({_ends(networks)}{verdict})."
    return f"{said} {_differ(panels)}".strip()


def _ends(row: dict) -> str:
    return f"95 % interval {ends}; " if (ends := effects.interval(row)) else ""


def _differ(row: dict) -> str:
    if row["i2"] != row["i2"]:
        return ""
    return (
        f"Panels differ with a standard deviation of {row['tau']:.3f} beyond what their networks leave uncertain, "
        f"{100 * row['i2']:.0f} % of the variance between them."
    )


def _all_claims(over: pandas.DataFrame) -> str:
    said = []
    for what in ("panels", "networks"):
        rows = over[over["over"] == what]
        if what == "panels" and len(rows) and (rows["verdict"] == TOO_FEW).all():
            fewest = next(count for count in itertools.count(1) if not too_few(count))
            test = f"{fewest} are the fewest whose signed-rank test can reach p < {LEVEL}"
            said.append(f"Over panels nothing can be tested yet: {test}")
            continue
        parts = [_with_verdict(rows, verdict, what) for verdict in ("supported", "contradicted", "open", TOO_FEW)]
        said.append(f"over {what}: {'; '.join(filter(None, parts))}")
    unknown = [name for name in claims.names() if name not in set(over["claim"])]
    said += [f"not measured in any panel: {listed(unknown)}"] if unknown else []
    return f"**What holds up?** {'. '.join(map(capital, said))}."


def _with_verdict(rows: pandas.DataFrame, verdict: str, what: str) -> str:
    names = rows.loc[rows["verdict"] == verdict, "claim"]
    word = f"too few {what} to test" if verdict == TOO_FEW else verdict
    return f"{word} {listed(names)}" if len(names) else ""


def _sizes(sizes: pandas.DataFrame) -> str:
    there = sizes.dropna(subset="spearman")
    if there.empty:
        most = int(sizes["networks"].max()) if len(sizes) else 0
        return (
            f"**What changes with size?** Too few networks to say: of {FEWEST_NETWORKS} that it takes, seeds averaged, "
            f"there are {most}."
        )
    parts = []
    for rival, here in there.groupby("lead", sort=False):
        each = listed(f"{rho:+.2f} with {size}" for rho, size in zip(here["spearman"], here["with"], strict=True))
        parts.append(f"over `{rival}` {each}")
    lead = f"the lead of `{claims.RECOMMENDED}` in relative auc"
    return (
        f"**What changes with size?** Over {there['networks'].max()} networks (means over seeds), {lead} "
        f"has these rank correlations: {'; '.join(parts)}. Data sets differ with size, too."
    )


def _trainers(trainers: pandas.DataFrame, over: pandas.DataFrame) -> str:
    both = trainers.dropna(subset=["here", "others"])
    both = both[both["claim"].isin(over.loc[over["kind"] != claims.CORRELATION, "claim"])]
    if both.empty:
        return ""
    alike = int((both["here"] * both["others"] > 0).sum())
    return (
        f"**Does it matter who trained?** Of {len(both)} claims that were measured on both kinds, {alike} have an "
        f"effect of the same sign on networks trained here and on those that others trained."
    )


def _paper(*tables: pandas.DataFrame) -> str:
    said = beside_paper(*tables).replace("**", "")
    return f"**Do the paper's curves come out again?** {said}" if said else ""
