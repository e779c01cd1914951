"""What somebody who wants to prune a network like those measured should do, in a few lines made of tables.

Enters: tables that notebooks save, of one profile or of several, without those that a profile has not. Leaves:
Markdown, in which every number comes from a table. Means are over trained networks, on the first draw of so many
images; nothing here is tested.
"""

from collections.abc import Sequence

import numpy
import pandas

from lib.report import provenance, tuning_answers
from lib.report.words import capital, counted, listed, of_networks, on_images, spread
from lib.study import measurements, panels, profiles
from lib.study.analyses import over_panels
from lib.study.analyses.scoring_time import SCORED
from lib.study.analyses.smaller import CARRIED
from lib.study.claims import RECOMMENDED
from lib.study.columns import RUN, Cell

ABOUT = {100: (50, 200), 1000: (500, 2000)}  # numbers of images that are called about that many
LABELS, MORE_VECTORS, WEIGHTS = "sq:norm", "sq:rand@16:norm", "l2"
WORTH = 0.01  # in relative auc, or of the accuracy: a gain that would be worth having
REPAIRED = {10: "a tenth", 25: "a quarter", 50: "half"}  # percent of all units that are off, in words
NUMBERS = ["15-replication-summary", "40-label-scarcity-summary"]  # criteria on several numbers of images
TABLES = {  # argument of `advice` -> table of the notebooks
    "sources": "50-gradient-source-summary",
    "tuned": "80-cost-summary",
    "repaired": "65-repair-means",
    "shrunk": "65-repair-shrunk",
    "seconds": "60-rivals-seconds",
}
TIMED = "60-rivals"  # the notebook that leaves `seconds`
NOTHING = pandas.DataFrame()


def of(plans: Sequence[profiles.Profile]) -> str:
    """`advice` by the tables that these profiles have saved."""
    found = {part: panels.table(plans, name) for part, name in TABLES.items()}
    found |= {"measured": over_panels.measured(plans), "networks": sum(len(plan.runs) for plan in plans)}
    there = [table for name in NUMBERS if len(table := panels.table(plans, name))]
    if there:
        found["numbers"] = pandas.concat(there, ignore_index=True).drop_duplicates(["panel", *RUN, *Cell._fields])
    timed = [plan for plan in plans if len(panels.table([plan], TABLES["seconds"]))]
    if not timed:
        return advice(**found)
    networks = dict.fromkeys(run.network for plan in timed for run in plan.runs)
    return advice(
        **found, machine=f"{listed(f'`{name}`' for name in networks)}, on {provenance.machines(timed, TIMED)}"
    )


def advice(
    *,
    numbers: pandas.DataFrame = NOTHING,
    sources: pandas.DataFrame = NOTHING,
    tuned: pandas.DataFrame = NOTHING,
    repaired: pandas.DataFrame = NOTHING,
    shrunk: pandas.DataFrame = NOTHING,
    seconds: pandas.DataFrame = NOTHING,
    measured: pandas.DataFrame = NOTHING,
    networks: int = 0,
    machine: str = "",
) -> str:
    """A numbered Markdown list of at most five: what to rank by, on how many images and random vectors, what labels
    add, what a repair gives, what to do where networks are trained on, and what ranking costs.

    Arguments:
        numbers, sources: summaries (as of `measurements.summaries`), of criteria on several numbers of images, and of
            the notebook on what is sent back.
        tuned: of `finetuning.summary`.
        repaired: of `given_back.by_criterion`.
        shrunk: of `smaller.shrunk`.
        seconds: of `scoring_time.seconds`.
        measured: of `over_panels.measured`.
        networks: how many trained networks these profiles have; of what fewer were measured in, it is said which.
        machine: which networks these are of, and on what, as `provenance.machine` says it; nothing is said of seconds
            without it.
    """
    pairs = [(_images(numbers), _better(measured, repaired), _vectors(sources, networks))]
    mended = _repair(repaired)
    pairs += [(_labels(numbers, networks),), (mended, mended and _carried_over(shrunk))]
    pairs += [(tuning_answers.rank_by(tuned),), (_cost(seconds, machine),)]
    said = (" ".join(filter(None, sentences)) for sentences in pairs)
    return "\n".join(f"{number}. {line}" for number, line in enumerate(filter(None, said), 1))


def _images(numbers: pandas.DataFrame) -> str:
    """What to rank by, and on how many images: what about so many give, beside all, and where few give more."""
    own = _own(numbers)
    if own.empty:
        return ""
    shares = []
    for about, (least, most) in ABOUT.items():
        here = own[own["examples"].between(least, most) & (own["most"] > most)]
        if len(here):
            exactly = spread(here["examples"], ",")
            how_many = f" ({exactly})" if exactly != f"{about:,}" else ""
            kept = f"{spread(100 * here['auc_relative'] / here['of_most'], '.0f')} %"
            kept += "" if shares else " of the relative auc that all gave"
            count = counted(len(here[[*RUN]].drop_duplicates()), "network")
            where = f"{count} ({listed(here['dataset'].unique())})"
            shares.append(f"about {about:,} images{how_many} gave {kept} in {where}")
    said = [f"**Rank by `{RECOMMENDED}`, without labels**, if nothing is trained afterwards."]
    said += [f"{capital(', '.join(shares))}."] if shares else []
    return " ".join([*said, *_fewer_better(own)])


def _own(numbers: pandas.DataFrame) -> pandas.DataFrame:
    """Relative auc of the recommended criterion for each trained network and number of images, with most (the largest
    number) and of_most (relative auc there)."""
    if "criterion" not in numbers:
        return NOTHING
    own = _means(numbers[numbers["criterion"] == RECOMMENDED]).reset_index()
    ends = own.groupby([*RUN])[["examples", "auc_relative"]].last()
    return own.join(ends.set_axis(["most", "of_most"], axis=1), on=[*RUN])


def _fewer_better(own: pandas.DataFrame) -> list[str]:
    """On which data sets the fewest images ranked better than the most."""
    said = []
    for dataset, here in own.groupby("dataset", sort=False):
        fewest = here[here["examples"] == here.groupby([*RUN])["examples"].transform("min")]
        few, many = fewest["auc_relative"].mean(), fewest["of_most"].mean()
        if few > many + WORTH:
            numbers = f"{spread(fewest['examples'], ',')} images gave more than {spread(fewest['most'], ',')}"
            more = of_networks(int((fewest["auc_relative"] > fewest["of_most"]).sum()), len(fewest))
            said.append(f"On {dataset} {numbers} in the mean ({few:.2f} and {many:.2f}), and in {more}.")
    return said


def _where(summary: pandas.DataFrame, networks: int) -> str:
    """In how many trained networks, and on which data sets, where these are not all."""
    count = len(summary[[*RUN]].drop_duplicates())
    if count >= networks:
        return ""
    return f" (measured in {count} of {networks} networks, on {listed(summary['dataset'].unique())})"


def _better(measured: pandas.DataFrame, repaired: pandas.DataFrame) -> str:
    """On which data sets the criterion that leads over all panels, of those without labels, kept more, and what it
    keeps after a repair."""
    board = over_panels.board(measured) if len(measured) else NOTHING
    free = board.loc[~board["labels"], "criterion"] if len(board) else board
    if not len(free) or free.iloc[0] == RECOMMENDED or RECOMMENDED not in set(free):
        return ""
    best = free.iloc[0]
    values = measured[measured["criterion"].isin([best, RECOMMENDED])]
    values = values.pivot_table(index="dataset", columns="criterion", values="auc_relative", sort=False)
    gain = values[best] - values[RECOMMENDED]
    more = gain[gain > WORTH]
    if not len(more):
        return ""
    numbers = listed(f"{number:.2f}" for number in more)
    said = f"Without a repair `{best}` kept more on {listed(more.index)} ({numbers} of relative auc)"
    return f"{said}{_better_repaired(repaired, best, measured)}."


def _better_repaired(repaired: pandas.DataFrame, best: str, measured: pandas.DataFrame) -> str:
    """What both criteria keep after a repair, in the mean over trained networks that have both."""
    most = measurements.on_most_examples(repaired) if len(repaired) else repaired
    rows, seeds = over_panels.of_each([most], (best, RECOMMENDED), "auc_relative_repaired", measured)
    if (rows := rows.dropna()).empty:
        return ""
    theirs, own = numpy.average(rows, axis=0, weights=seeds[rows.index])
    beside = "as much" if abs(theirs - own) < WORTH else "more" if theirs > own else "less"
    return f"; with one, {beside} in the mean ({theirs:.2f} where `{RECOMMENDED}` has {own:.2f})"


def _labels(numbers: pandas.DataFrame, networks: int) -> str:
    gains = _gains(numbers, LABELS)
    if gains.empty:
        return ""
    where = _where(numbers, networks)
    means = gains.groupby(["dataset", "examples"]).mean()
    helping = means[means > WORTH]
    if len(helping):
        most = means.groupby("dataset").transform(lambda gain: gain.index.get_level_values("examples").max())
        few = (helping.index.get_level_values("examples") < most[helping.index]).all()
        words = "Use labels where you have few images (`{}`)" if few else "If you have labels, they may help (`{}`)"
        there = on_images(sorted(set(helping.index.get_level_values("examples"))))
        return f"**{words.format(LABELS)}**: on {there} they added up to {helping.max():.2f} of relative auc{where}."
    single = f", and at most {gains.max():.2f} in a single network" if gains.max() > WORTH else ""
    return (
        f"**Do not label images for this**: at every number of images tried labels (`{LABELS}`) added no more than "
        f"{WORTH:g} of relative auc in the mean over a data set's networks{single}{where}."
    )


def _vectors(sources: pandas.DataFrame, networks: int) -> str:
    gains = _gains(sources, MORE_VECTORS)
    if gains.empty:
        return ""
    means = gains.groupby(["dataset", "examples"]).mean().reset_index(name="gain")
    ends = means.groupby("dataset")
    first, last = ends["gain"].first().max(), ends["gain"].last().max()
    fewest, many = (spread(number, ",") for number in (ends["examples"].min(), ends["examples"].max()))
    where = _where(sources, networks)
    if last > WORTH:
        return f"Send several random vectors back for each{where}: 16 added {last:.3f} of relative auc."
    few = f", but {first:.3f} on only {fewest}, where several may be worth their time" if first > WORTH else ""
    return (
        f"On {many} images one random vector for each will do{where}: 16 of them added no more than {WORTH:g} of "
        f"relative auc in the mean{few} (C6 is over all numbers of images)."
    )


def _carried_over(shrunk: pandas.DataFrame) -> str:
    """What networks that shrink keep where BatchNorms move by what that changed in them, estimated anew and left as
    they are, and whether the first keeps the most, or the least, throughout: on every data set, with every budget."""
    if CARRIED not in shrunk:
        return ""
    here = shrunk[shrunk["criterion"] == RECOMMENDED].dropna(subset=[CARRIED])
    kept = here[[CARRIED, "accuracy_repaired", "accuracy"]].mul(100 / here["accuracy_unpruned"], axis=0)
    if kept.empty:
        return ""
    means, each = kept.groupby(here["budget"]).mean(), kept.groupby([here["dataset"], here["budget"]]).mean()
    others = each.drop(columns=CARRIED)
    more, less = each[CARRIED] - others.max(axis=1), others.min(axis=1) - each[CARRIED]
    throughout = {"Better still": more, "Worse where it was tried": less}
    found = [words for words, by in throughout.items() if (by >= -100 * WORTH).all() and by.max() > 100 * WORTH]
    said = found[0] if found else "Another way"
    gone = listed(f"{100 * budget:.0f}" for budget in means.index)
    so, anew, without = (f"{listed(f'{share:.0f}' for share in means[name])} %" for name in means)
    where = f"{counted(len(here[[*RUN]].drop_duplicates()), 'network')}, on {listed(here['dataset'].unique())}"
    return (
        f"{said}: moving them only by what shrinking changed in them, as the tool does. With {gone} % of the "
        f"multiply-adds really gone that kept {so} of the accuracy; {anew} was kept with BatchNorms estimated anew, as "
        f"in C11 and C12, and {without} without ({where})."
    )


def _repair(repaired: pandas.DataFrame) -> str:
    """What is kept with a repair and without, and where it helps: with much off, or with little, too."""
    if repaired.empty or RECOMMENDED not in set(repaired["criterion"]):
        return ""
    own = measurements.on_most_examples(repaired[repaired["criterion"] == RECOMMENDED])
    said, helps = [], {}
    for share, words in REPAIRED.items():
        ends = [f"accuracy_{share}pct{end}" for end in ("_repaired", "")]
        if not set(ends) <= set(own):
            continue
        kept = own[ends].mul(100 / own["accuracy_unpruned"], axis=0).set_axis(["with", "without"], axis=1)
        by_dataset = kept.groupby(own["dataset"], sort=False).mean()
        helps[share] = by_dataset["with"] - by_dataset["without"]
        said.append(f"with {words}{'' if said else ' of the units'} off {listed(_by_repair(by_dataset))}")
    if not said:
        return ""
    anew = "estimate BatchNorms anew"
    advised = {
        "helps": f"{capital(anew)} afterwards**, which takes no labels",
        "harms": "Leave BatchNorms as they are**",
        "depends": f"Where much goes, {anew}; where little goes, that can harm**",
    }.get(_when(helps), f"Try whether it helps to {anew}**, which takes no labels")
    return f"**{advised}: of their accuracy networks kept, with such a repair and without, {'; '.join(said)}."


def _when(helps: dict[int, pandas.Series]) -> str:
    """Whether a repair helps at all shares that go, harms at all, or depends on them: harms where little goes and helps
    where more does, in the mean over data sets; "" where that cannot be said. Arguments: helps: by share (%), of each
    data set how much more of the accuracy (%) is kept."""
    every = pandas.concat(helps.values())
    if (every > 0).all() or (every < 0).all():
        return "helps" if every.iloc[0] > 0 else "harms"
    gains = pandas.Series({share: gain.mean() for share, gain in helps.items()}).sort_index()
    helped = gains > 0
    clear = (gains.abs() > 100 * WORTH).all()
    return "depends" if clear and helped.is_monotonic_increasing and helped.nunique() == 2 else ""


def _by_repair(kept: pandas.DataFrame) -> list[str]:
    return [f"{row['with']:.0f} and {row['without']:.0f} % on {dataset}" for dataset, row in kept.iterrows()]


def _cost(seconds: pandas.DataFrame, machine: str) -> str:
    means = seconds.groupby("criterion")["seconds"].mean() if len(seconds) else pandas.Series(dtype=float)
    if not machine or RECOMMENDED not in means:
        return ""
    return (
        f"**It costs a forward and a backward pass over the images**, which `{WEIGHTS}` does without: "
        f"{_time(means[RECOMMENDED])} for {SCORED} images through {machine}."
    )


def _time(seconds: float) -> str:
    number, unit = (seconds, "s") if seconds >= 1 else (1000 * seconds, "ms")
    return f"{float(f'{number:.2g}'):g} {unit}"


def _gains(summary: pandas.DataFrame, criterion: str) -> pandas.Series:
    """By how much this one is above the recommended criterion, in relative auc, for each trained network and number of
    images that have both."""
    if "criterion" not in summary:
        return pandas.Series(dtype=float)
    values = _means(summary)["auc_relative"].unstack("criterion").reindex(columns=[criterion, RECOMMENDED])
    return (values[criterion] - values[RECOMMENDED]).dropna()


def _means(summary: pandas.DataFrame) -> pandas.DataFrame:
    """Mean relative auc over draws, for each trained network, number of images and criterion that sees images."""
    seen = summary[(summary["sample"] == "random") & (summary["examples"] > 0)]
    return seen.groupby([*RUN, "examples", "criterion"], observed=True)[["auc_relative"]].mean()
