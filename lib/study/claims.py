"""The claims of the paper and of this study, each with the one contrast that decides it, and their verdicts.

Enters: the tables of summaries that the ablation notebooks save. Leaves: the claims table, one row a claim, its parts,
by number of examples and by pair of criteria, the secondary rows behind it, one a pair and number of examples, and the
contrasts beside those of the paper's own curves. The contrasts are those of the study's design, fixed before anything
was measured, but for six: it leaves C7 to estimates and ranks, and the contrast here, settled after a first look at
the digits, is exploratory; it gives C8 no threshold, and "above 0" was chosen for this study; C11 and C12 were settled
after a look at one network, which has no part in them; C13 and C14, which say by the same rules what a reader asks
first, after the first seven networks, and are exploratory. C4 is judged by 40-label-scarcity, as designed; in networks
without that notebook (`wider`) it is exploratory, and has no verdict. The rules of the verdicts are in
`lib.study.statistics`.

One value per block: differences are averaged over numbers of examples first, pair by pair, then over pairs, so that
every pair of criteria weighs the same. Where a pair lacks a number the other order gives another mean; the claims table
has its verdict, too. Pairs that are one ranking by construction (`paper.without_twins`) and rows of criteria that a CPU
limits to fewer examples than the other side sees do not count.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy
import pandas

from lib.study import contrasts, finetuning, paper, profiles, statistics
from lib.study.ablations import NO_GRADIENT
from lib.study.columns import PANEL, RUN, Cell

_REDUCTIONS = ("taylorfo", "abs", "sq", "molchanov-bn", "molchanov-group")
_COTANGENTS = ("", ":norm", ":rand", ":rand:norm")
RECOMMENDED = "sq:rand:norm"
_SEEN = (("cifar100", "resnet20", 0),)  # where repair was tried before C11 and C12 were fixed
LOOKED_AT = (  # measured before C13 was fixed, which counts them all the same and so is exploratory
    *(("cifar10", f"resnet{depth}a", 0) for depth in (20, 32, 44, 56)),
    *(("cifar100", "resnet20", seed) for seed in range(3)),
)


@dataclass(frozen=True)
class Claim:
    """`a` minus `b` (`short`: in few words), pair by pair, in column `value` of `table`; with `ends`, at the fewest
    examples minus at the most.

    Two criteria meet where they have the same `pair_by`. `more` names further tables whose rows count, too; `apart`,
    pairs of criteria that are reported beside the secondary rows, but have no part in the contrast (`short_apart`: in
    few words). `seen`: blocks that had been looked at before the claim was fixed, and have no part in it. `most`: it is
    about the most examples alone.
    """

    text: str
    short: str
    a: tuple[str, ...]
    b: tuple[str, ...]
    kind: str = "difference"
    ends: bool = False
    table: str = "15-replication-summary"
    value: str = "auc_relative"
    pair_by: str = "examples"
    more: tuple[str, ...] = ()
    apart: tuple[tuple[str, str], ...] = ()
    short_apart: str = ""
    seen: tuple[tuple[str, str, int], ...] = ()
    most: bool = False

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(zip(self.a, self.b, strict=True))


CLAIMS: dict[str, Claim] = {
    "C1": Claim(
        "Normalising the label gradient of each example helps",
        "normalised labels, against plain ones",
        tuple(f"{reduction}:norm" for reduction in _REDUCTIONS),
        _REDUCTIONS,
        apart=tuple((f"{reduction}:rand:norm", f"{reduction}:rand") for reduction in _REDUCTIONS),
        short_apart="normalised random, against plain",
    ),
    "C2": Claim(
        "Absolute values or squares beat the signed mean",
        "abs and sq, against the signed mean",
        tuple(f"{reduction}{cotangent}" for reduction in ("abs", "sq") for cotangent in _COTANGENTS),
        tuple(f"taylorfo{cotangent}" for cotangent in _COTANGENTS) * 2,
    ),
    "C3": Claim(
        "Random gradients lose nothing against labels",
        "random gradients, against labels",
        ("abs:rand:norm", "sq:rand:norm"),
        ("abs:norm", "sq:norm"),
        kind="non-inferiority",
    ),
    "C4": Claim(
        "The gain of random gradients over taylorfo is largest when examples are few",
        "gain of random gradients, few against many",
        ("sq:rand:norm",),
        ("taylorfo",),
        ends=True,
        table="40-label-scarcity-summary",
    ),
    "C5": Claim(
        "Random, normalised gradients improve the two criteria of Molchanov et al.",
        "molchanov, random against labels",
        ("molchanov-bn:rand:norm", "molchanov-group:rand:norm"),
        ("molchanov-bn", "molchanov-group"),
    ),
    "C6": Claim(
        "One random vector per example is enough",
        "one random vector, against all classes",
        ("sq:rand:norm",),
        ("sq:exact",),
        kind="non-inferiority",
        pair_by="used",  # on a CPU exact sees fewer examples than its row asks for
        more=("50-gradient-source-summary",),  # where both see as many
    ),
    "C7": Claim(  # the answer is the leaderboard of 60-rivals: to beat the average is easy, the best is known too late
        f"The recommended criterion, {RECOMMENDED}, beats criteria without gradients on average (exploratory)",
        "recommended, against no gradients",
        (RECOMMENDED,) * (2 * len(NO_GRADIENT)),
        (*NO_GRADIENT, *(f"{rival}:layer" for rival in NO_GRADIENT)),
        table="60-rivals-summary",
    ),
    "C9": Claim(
        "Equal weight per example costs rare classes nothing",
        "rare classes, normalised against plain",
        ("abs:norm", "sq:norm"),
        ("abs", "sq"),
        kind="non-inferiority",
        table="20-normalization-tail",
        value="auc_relative_rare",
    ),
    "C10": Claim(
        "Squares rank better than absolute values",
        "sq, against abs",
        tuple(f"sq{cotangent}" for cotangent in _COTANGENTS),
        tuple(f"abs{cotangent}" for cotangent in _COTANGENTS),
    ),
    "C12": Claim(
        f"With repair without labels, too, {RECOMMENDED} beats weight magnitude",
        "recommended, against l2, both repaired",
        (RECOMMENDED,),
        ("l2",),
        table="65-repair-summary",
        seen=_SEEN,
    ),
    "C13": Claim(
        f"Where nothing is trained or repaired, {RECOMMENDED} beats weight magnitude (exploratory)",
        "recommended, against l2",
        (RECOMMENDED,),
        ("l2",),
        most=True,
    ),
}

ORDER_KEPT, GIVEN_BACK, AFTER_TUNING = "C8", "C11", "C14"  # whose tables have one value per block already
BUDGET = ("macs", 0.5)  # of C8 and C14; other budgets are in 80-cost, and no kinds of budget are averaged
WORTH = 0.25  # of C11: of what is lost
CORRELATION, SHARE, ACCURACY = "rank correlation", "share", "accuracy"  # their kinds
_WORDS = {
    ORDER_KEPT: "The criteria's orders before and after fine-tuning are positively correlated (the effect is the mean "
    "correlation)",
    GIVEN_BACK: f"A repair without labels gives back at least a quarter of the accuracy lost with 25 % of the units "
    f"off by {RECOMMENDED} (the effect is the mean share)",
    AFTER_TUNING: f"After fine-tuning, too, {RECOMMENDED} beats weight magnitude (exploratory; the effect is in "
    f"accuracy)",
}
_KINDS = {ORDER_KEPT: CORRELATION, GIVEN_BACK: SHARE, AFTER_TUNING: ACCURACY}
UNTESTED = ("non-inferiority", SHARE)  # kinds of claims that rest on the interval alone
NOTHING = pandas.DataFrame()


def verdicts(plan: profiles.Profile) -> pandas.DataFrame:
    """One row per claim: claim, label (its words), effect, low, high, p, blocks, smallest_p, verdict, and what else
    `statistics.compare` says; claims whose notebook the profile does not run are left out.

    Also p_holm (p adjusted for the number of claims that rest on a test) and smallest_p_holm (the smallest it could
    be), NaN for claims that rest on the interval alone; other_verdict, other_side and other_effect: the same with pairs
    averaged before numbers of examples, missing where there is one order only.

    Raises FileNotFoundError where a notebook has not left its table, ValueError where the table lacks a criterion.
    """
    return judged(by_block(plan))


def judged(blocks: pandas.DataFrame) -> pandas.DataFrame:
    """The table of `verdicts` over these rows of `by_block`, which may be of several profiles."""
    rows = [_verdict(name, here) for name in names() if len(here := blocks[blocks["claim"] == name])]
    return _adjusted(pandas.DataFrame(rows)) if rows else NOTHING


def names() -> list[str]:
    """Of all claims, "C1" first."""
    return sorted([*CLAIMS, *_WORDS], key=lambda name: int(name[1:]))


def label(name: str) -> str:
    """What a claim says."""
    return CLAIMS[name].text if name in CLAIMS else _WORDS[name]


def kind(name: str) -> str:
    """Of a claim: one of `statistics.KINDS`, `CORRELATION`, `SHARE` or `ACCURACY`."""
    return CLAIMS[name].kind if name in CLAIMS else _KINDS[name]


def bar(kind: str) -> float:
    """What the effect of a claim of this kind should be above; networks in which it is count as `ahead`."""
    return WORTH if kind == SHARE else 0.0


def is_on_most(name: str) -> bool:
    """Whether a claim is about the most examples alone."""
    return name in CLAIMS and CLAIMS[name].most


def _verdict(name: str, blocks: pandas.DataFrame) -> dict[str, object]:
    there = blocks.dropna(subset="difference")
    row = {"claim": name, "label": label(name), **judge(name, there["difference"], statistics.groups_of(there))}
    row["dropped"] = len(blocks) - len(there)
    if there["other"].isna().any():
        return row
    other = judge(name, there["other"], statistics.groups_of(there))
    return row | {f"other_{column}": other[column] for column in ("verdict", "side", "effect")}


def judge(name: str, values: Sequence[float], groups: Sequence[str]) -> dict[str, object]:
    """What `statistics.paired` says of one value of a claim per block, or per whatever else counts as independent."""
    if kind(name) != SHARE:
        test = kind(name) if kind(name) in statistics.KINDS else "difference"
        found = statistics.paired(values, groups, kind=test) | {"kind": kind(name)}
        if kind(name) == CORRELATION:  # which is nowhere beyond 1, as Student's interval of few of them can be
            found |= {end: float(numpy.clip(found[end], -1, 1)) for end in ("low", "high")}
        return found
    found = statistics.paired([value - WORTH for value in values], groups, kind="non-inferiority", margin=0)
    found |= {column: found[column] + WORTH for column in ("effect", "low", "high")}
    return found | {"kind": SHARE}


BLOCKS = ["claim", *RUN, "difference", "other"]


def by_block(plan: profiles.Profile, *, strict: bool = True) -> pandas.DataFrame:
    """What the verdicts rest on: one row per claim and block, with claim, dataset, network, seed, difference (the value
    of the claim's contrast, NaN for a block that lacks a part of it) and other (the same with pairs averaged before
    numbers of examples; NaN where there is one order only).

    Arguments:
        strict: else claims whose table is missing or lacks a criterion are left out, as are those whose notebook the
            profile does not run.

    Raises what `verdicts` does.
    """
    tables = []
    for name in names():
        try:
            tables.append(_blocks_of(name, plan).assign(claim=name))
        except (FileNotFoundError, statistics.Lacking):
            if strict:
                raise
    there = [table for table in tables if len(table)]
    found = pandas.concat(there, ignore_index=True) if there else NOTHING
    return found.reindex(columns=BLOCKS)


def _blocks_of(name: str, plan: profiles.Profile) -> pandas.DataFrame:
    if name in _KINDS:
        return {ORDER_KEPT: _order_kept, GIVEN_BACK: _given_back, AFTER_TUNING: _after_tuning}[name](plan)
    return _contrast(CLAIMS[name], plan)


def on_most(name: str, plan: profiles.Profile) -> pandas.DataFrame:
    """As the rows of `by_block`, of a claim of `CLAIMS`, on the most examples alone that its table has of a network;
    no rows where there is no such table."""
    try:
        return _contrast(replace(CLAIMS[name], most=True), plan)
    except (FileNotFoundError, statistics.Lacking):
        return NOTHING


def wider(name: str, plan: profiles.Profile) -> pandas.DataFrame:
    """As the rows of `by_block`, of a claim of `CLAIMS`, on all numbers of examples that its own table and that of
    15-replication have, which more networks have; no rows where there is none of it."""
    claim, every = CLAIMS[name], "15-replication-summary"
    try:
        return _contrast(replace(claim, table=every, more=(claim.table,) if claim.table != every else claim.more), plan)
    except (FileNotFoundError, statistics.Lacking):
        return NOTHING


def _contrast(claim: Claim, plan: profiles.Profile) -> pandas.DataFrame:
    if not _is_run(plan, claim.table) or not len(summary := _read(plan, claim)):
        return NOTHING
    if claim.ends:
        return statistics.differences(statistics.ends(summary, claim.a, claim.b, value=claim.value), summary)
    rest, pairs = _counted(claim, summary)
    if not pairs:
        return NOTHING
    a, b = ([pair[side] for pair in pairs] for side in (0, 1))
    first, other = (
        statistics.sides(rest, a, b, value=claim.value, pair_by=(claim.pair_by,), pairs_first=pairs_first)
        for pairs_first in (False, True)
    )
    others = statistics.differences(other, rest).rename(columns={"difference": "other"})
    return statistics.differences(first, rest).merge(others, on=list(RUN))


def _counted(of: Claim, summary: pandas.DataFrame) -> tuple[pandas.DataFrame, list[tuple[str, str]]]:
    """The rows that have a part in the contrast, and its pairs: without rows of criteria that are limited to fewer
    examples than the other side sees, nor of rankings that count under another name, nor pairs of which none is left
    or that are nowhere on as many examples."""
    limited = _limited(summary) if of.pair_by == "examples" else pandas.Series(False, summary.index)
    rest = paper.without_twins(summary[~limited])
    gone = set(summary["criterion"]) - set(rest["criterion"])
    return rest, [pair for pair in of.pairs if not gone & set(pair) and not _are_apart(rest, pair, of.pair_by)]


def _are_apart(table: pandas.DataFrame, pair: tuple[str, str], by: str) -> bool:
    """Whether both criteria are there, and nowhere with the same `by`, as where a CPU takes few images for one."""
    own, other = (table.loc[table["criterion"] == name, [*RUN, by]] for name in pair)
    return len(own) > 0 and len(other) > 0 and own.merge(other).empty


def _limited(summary: pandas.DataFrame) -> pandas.Series:
    return summary["used"].between(1, summary["examples"], inclusive="left")  # 0: of weights alone


def _adjusted(table: pandas.DataFrame) -> pandas.DataFrame:
    tested = contrasts.adjusted(table[~table["kind"].isin(UNTESTED)])
    return table.join(tested[["p_holm", "smallest_p_holm"]])


PARTS = ["claim", "examples", "pair", "kind", "effect", "low", "high", "blocks", "ahead"]


def parts(plan: profiles.Profile) -> pandas.DataFrame:
    """What a claim's contrast is made of: one row per claim and number of examples, over all its pairs, and one per
    claim and pair, over all numbers; none where there is one number, or one pair, only.

    Columns: claim, examples (NaN for a pair), pair ("a minus b"; "" for a number), kind, effect, low, high, blocks and
    ahead. For a claim about how a difference changes with the number: the difference at each. Raises what `verdicts`
    does.
    """
    rows = []
    for name, claim, summary in _with_tables(plan):
        table, pairs = _counted(claim, summary)
        by_number = [_part(claim, here, pairs, examples=number) for number, here in table.groupby(claim.pair_by)]
        by_pair = [_part(claim, table, [(a, b)], pair=f"{a} minus {b}") for a, b in pairs]
        for some in (by_number, by_pair):
            there = [{"claim": name} | row for row in some if row]
            rows += there if len(there) > 1 else []
    return pandas.DataFrame(rows, columns=PARTS)


def _part(claim: Claim, table: pandas.DataFrame, pairs: list[tuple[str, str]], **named: object) -> dict[str, object]:
    """One row of `parts`; empty where none of the pairs is in the table."""
    here = [pair for pair in pairs if set(pair) <= set(table["criterion"])]
    if not here:
        return {}
    found = statistics.compare(
        table, *zip(*here, strict=True), value=claim.value, kind=claim.kind, pair_by=[claim.pair_by]
    )
    return {"examples": float("nan"), "pair": ""} | named | {name: found[name] for name in PARTS[3:]}


def _order_kept(plan: profiles.Profile) -> pandas.DataFrame:
    """Of C8, where the profile fine-tunes at its budget: one rank correlation over criteria per block, of the accuracy
    before and after."""
    if not _is_run(plan, "80-cost-orders"):
        return NOTHING
    table = _table(plan, "80-cost-orders", "of", "budget")
    return _at_budget(table)[[*RUN, "spearman"]].rename(columns={"spearman": "difference"})


def _after_tuning(plan: profiles.Profile) -> pandas.DataFrame:
    """Of C14, where the profile fine-tunes at its budget: by how much the network shrunk by the recommended criterion
    ends above the one shrunk by weight magnitude, in accuracy, one value per block."""
    if not _is_run(plan, "80-cost-summary"):
        return NOTHING
    table = _at_budget(finetuning.as_now(_table(plan, "80-cost-summary", "after")))
    ends = finetuning.ends(table, RECOMMENDED, "l2")
    if ends.empty:
        return NOTHING
    found = (ends[RECOMMENDED] - ends["l2"]).rename("difference").reset_index()
    return table[list(RUN)].drop_duplicates().merge(found[[*RUN, "difference"]], how="left", on=list(RUN))


def _at_budget(table: pandas.DataFrame) -> pandas.DataFrame:
    return table[(table["of"] == BUDGET[0]) & (table["budget"] == BUDGET[1])]


def _given_back(plan: profiles.Profile) -> pandas.DataFrame:
    """Of C11, where the profile repairs: one share per block, on the most examples; nothing where too little was lost,
    or nothing repaired."""
    name = "65-repair-given-back"
    if not _is_run(plan, name):
        return NOTHING
    table = unseen(_table(plan, name), _SEEN)
    own = table[(table["criterion"] == RECOMMENDED) & (table["share"] == 25)]
    here = own[own["examples"] == own.groupby(PANEL)["examples"].transform("max")].dropna(subset="given_back")
    if here.empty:
        return NOTHING
    shares = here[[*RUN, "given_back"]].rename(columns={"given_back": "difference"})
    return table[list(RUN)].drop_duplicates().merge(shares, how="left", on=list(RUN))


def secondary(plan: profiles.Profile) -> pandas.DataFrame:
    """What is behind the verdicts: one row per claim, pair of criteria and number of examples; for C4 also label-free
    on all examples against labels on few.

    Columns: claim, label, examples (at hand), used_a, used_b (by the first criterion and by the second, 0 where weights
    alone count), part ("contrast", or "apart" from it), effect, low, high, p (of no difference), p_holm (adjusted for
    the number of the claim's rows), smallest_p_holm (the smallest it could be), blocks and ahead. There is no verdict
    on a row of its own. Raises what `verdicts` does.
    """
    behind = {name: _rows_behind(claim, summary) for name, claim, summary in _with_tables(plan)}
    tables = [contrasts.adjusted(pandas.DataFrame(rows).assign(claim=name)) for name, rows in behind.items() if rows]
    return pandas.concat(tables, ignore_index=True)[SECONDARY] if tables else pandas.DataFrame(columns=SECONDARY)


SECONDARY = ["claim", "label", "examples", "used_a", "used_b", "part", "effect", "low", "high", "p", "p_holm"]
SECONDARY += ["smallest_p_holm", "blocks", "ahead"]


def _rows_behind(claim: Claim, summary: pandas.DataFrame) -> list[dict]:
    summary, rows = paper.without_twins(summary), []
    for part, pairs in (("contrast", claim.pairs), ("apart", claim.apart)):
        for (a, b), (number, here) in product(pairs, summary.groupby(claim.pair_by)):
            if {a, b} <= set(here["criterion"]):
                options = {"value": claim.value, "kind": claim.kind, "pair_by": (claim.pair_by,)}
                found = statistics.compare(here, a, b, label=f"{a} minus {b}", **options)
                used = here.groupby("criterion")["used"].max()
                alike = len({used[a], used[b]} - {0}) <= 1  # else one is limited: see `_counted`
                found |= {"used_a": used[a], "used_b": used[b], "part": part if alike else "apart"}
                rows.append(found | {"examples": number})
    if claim.ends:
        uneven = contrasts.all_against_few(summary, claim.a[0], [*claim.b, "sq:norm"])
        rows += uneven.assign(part="apart").to_dict("records")
    return rows


def beside_paper(summary: pandas.DataFrame, theirs: pandas.DataFrame) -> pandas.DataFrame:
    """The claims' contrasts in the paper's own curves, one run each, and in ours: one row per claim, panel of the
    paper's that `summary` (of 15-replication) has, too, and set of pairs, of which the paper shows all or none.

    Columns: claim, label, kind (of the claim), part ("contrast" or "apart", as in `secondary`; apart is also the gain
    at each number of examples, for a claim about how it changes with them), dataset, network, examples, differences
    (the pairs), paper (their mean difference in relative auc, NaN where it shows none), effect, lowest and highest (the
    same in ours: mean over runs, and their range), blocks.

    Arguments:
        theirs: `paper.auc` over as many points as our curves have.
    """
    theirs, rows = theirs.pivot(index=paper.PANEL, columns="criterion", values="auc_relative"), []
    panels = {panel: here for panel, here in paper.without_twins(summary).groupby(paper.PANEL) if panel in theirs.index}
    for (named, pairs), (panel, here) in product(_pairs_beside(theirs.columns), panels.items()):
        present = [pair for pair in pairs if set(pair) <= set(here["criterion"])]
        if present:
            a, b = zip(*present, strict=True)
            curves = theirs.loc[panel].reindex([*a, *b])  # NaN where the paper shows none
            found = {"differences": ", ".join(f"{first} − {second}" for first, second in present)}
            found |= {"paper": curves[: len(a)].mean() - curves[len(a) :].mean()}
            both = statistics.sides(here, a, b)
            ours = both["a"] - both["b"]
            found |= {"effect": ours.mean(), "lowest": ours.min(), "highest": ours.max(), "blocks": len(ours)}
            rows.append(named | dict(zip(paper.PANEL, panel, strict=True)) | found)
    columns = ["claim", "label", "kind", "part", *paper.PANEL, "differences", "paper", "effect", "lowest", "highest"]
    return pandas.DataFrame(rows, columns=[*columns, "blocks"])


def _pairs_beside(shown: Iterable[str]) -> Iterator[tuple[dict[str, str], list[tuple[str, str]]]]:
    """What names a row of `beside_paper`, and its pairs, of every claim of which the paper shows a pair: those it
    shows, those it does not."""
    for name, claim in CLAIMS.items():
        parts = [(claim.short, "contrast", claim.pairs), (claim.short_apart, "apart", claim.apart)]
        if claim.ends:
            parts = [(f"{a}, against {b}", "apart", [(a, b)]) for a, b in claim.pairs]
        for label, part, pairs in parts:
            inside = [pair for pair in pairs if set(pair) <= set(shown)]
            outside = [pair for pair in pairs if pair not in inside]
            named = {"claim": name, "label": label, "kind": claim.kind, "part": part}
            yield from ((named, some) for some in (inside, outside) if inside and some)


def _with_tables(plan: profiles.Profile) -> Iterator[tuple[str, Claim, pandas.DataFrame]]:
    """Those whose tables come from a notebook of the profile and are not empty, with their summaries."""
    for name, claim in CLAIMS.items():
        if _is_run(plan, claim.table) and len(summary := _read(plan, claim)):
            yield name, claim, summary


def _is_run(plan: profiles.Profile, table: str) -> bool:
    return any(table.startswith(f"{notebook}-") for notebook in plan.notebooks)


def _read(plan: profiles.Profile, claim: Claim) -> pandas.DataFrame:
    names = (claim.table, *(name for name in claim.more if _is_run(plan, name)))
    tables = [_table(plan, name) for name in names]
    summary = pandas.concat(tables, ignore_index=True).drop_duplicates([*RUN, *Cell._fields])
    if claim.most:
        summary = summary[summary["examples"] == summary.groupby(PANEL)["examples"].transform("max")]
    return unseen(summary[summary["sample"] != "stratified"], claim.seen)  # which takes labels to draw


def _table(plan: profiles.Profile, name: str, *columns: str) -> pandas.DataFrame:
    path = plan.tables / f"{name}.csv"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run its notebook again, or make reproduce")
    table = pandas.read_csv(path)
    for column in columns:
        if column not in table:
            raise statistics.Lacking(f"{path} has no column {column!r}: run its notebook again, or make reproduce")
    return table


def unseen(table: pandas.DataFrame, blocks: Sequence[tuple[str, str, int]]) -> pandas.DataFrame:
    """The table without the rows of these blocks."""
    return table[~pandas.MultiIndex.from_frame(table[list(RUN)]).isin(blocks)] if len(table) else table
