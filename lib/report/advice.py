"""What somebody who wants to prune a network like those measured should do, in a few lines made of tables.

Enters: tables that notebooks save, of one profile or of several, without those that a profile has not. Leaves:
Markdown, in which every number comes from a table. Means are over trained networks, on the first draw of so many
images; nothing here is tested.
"""

from collections.abc import Sequence

import pandas

from lib.report import provenance, tuning_answers
from lib.report.words import listed, on_images, spread
from lib.study import measurements, panels, profiles
from lib.study.analyses import over_panels
from lib.study.analyses.scoring_time import SCORED
from lib.study.claims import RECOMMENDED
from lib.study.columns import RUN

ENOUGH = 0.99  # of what all images give counts as all of it
LABELS, MORE_VECTORS, WEIGHTS = "sq:norm", "sq:rand@16:norm", "l2"
WORTH = 0.01  # in relative auc: a gain that would be worth having
TABLES = {  # argument of `advice` -> table of the notebooks
    "scarcity": "40-label-scarcity-summary",
    "sources": "50-gradient-source-summary",
    "tuned": "80-cost-summary",
    "repaired": "65-repair-means",
    "seconds": "60-rivals-seconds",
}
TIMED = "60-rivals"  # the notebook that leaves `seconds`
NOTHING = pandas.DataFrame()


def of(plans: Sequence[profiles.Profile]) -> str:
    """`advice` by the tables that these profiles have saved."""
    found = {part: panels.table(plans, name) for part, name in TABLES.items()}
    found |= {"measured": over_panels.measured(plans), "networks": sum(len(plan.runs) for plan in plans)}
    timed = [plan for plan in plans if len(panels.table([plan], TABLES["seconds"]))]
    if not timed:
        return advice(**found)
    networks = dict.fromkeys(run.network for plan in timed for run in plan.runs)
    return advice(
        **found, machine=f"{listed(f'`{name}`' for name in networks)}, on {provenance.machines(timed, TIMED)}"
    )


def advice(
    *,
    scarcity: pandas.DataFrame = NOTHING,
    sources: pandas.DataFrame = NOTHING,
    tuned: pandas.DataFrame = NOTHING,
    repaired: pandas.DataFrame = NOTHING,
    seconds: pandas.DataFrame = NOTHING,
    measured: pandas.DataFrame = NOTHING,
    networks: int = 0,
    machine: str = "",
) -> str:
    """A numbered Markdown list of at most five: what to rank by, on how many images and random vectors, what labels
    add, what a repair gives, what to do where networks are trained on, and what ranking costs.

    Arguments:
        scarcity, sources: summaries (as of `measurements.summaries`) of the notebooks on label scarcity and on what is
            sent back.
        tuned: of `finetuning.summary`.
        repaired: of `given_back.by_criterion`.
        seconds: of `scoring_time.seconds`.
        measured: of `over_panels.measured`.
        networks: how many trained networks these profiles have; of what fewer were measured in, it is said which.
        machine: which networks these are of, and on what, as `provenance.machine` says it; nothing is said of seconds
            without it.
    """
    pairs = [(_images(scarcity, networks), _better(measured), _vectors(sources))]
    pairs += [(_labels(scarcity, networks),), (_repair(repaired),)]
    pairs += [(tuning_answers.rank_by(tuned),), (_cost(seconds, machine),)]
    said = (" ".join(filter(None, sentences)) for sentences in pairs)
    return "\n".join(f"{number}. {line}" for number, line in enumerate(filter(None, said), 1))


def _images(scarcity: pandas.DataFrame, networks: int) -> str:
    enough, more = [], []
    for means in _by_dataset(scarcity):
        if RECOMMENDED in means:
            own = means[RECOMMENDED].dropna()
            enough.append(own.index[own >= ENOUGH * own.iloc[-1]][0])
            more.append(own.index[-1] > enough[-1])
    if not enough:
        return ""
    where = _where(scarcity, networks)
    said = f"**Rank by `{RECOMMENDED}`, without labels**, if nothing is trained afterwards"
    if not any(more):
        return f"{said}, on all images that you have: up to {_numbers(enough)} of them, more helped{where}."
    kept = f"at least {100 * ENOUGH:.0f} % of the relative auc that all images give"
    return f"{said}. {_numbers(enough)} images gave {kept}{where}."


def _where(summary: pandas.DataFrame, networks: int) -> str:
    """In how many trained networks, and on which data sets, where these are not all."""
    count = len(summary[[*RUN]].drop_duplicates())
    if count >= networks:
        return ""
    return f" (measured in {count} of {networks} networks, on {listed(summary['dataset'].unique())})"


def _better(measured: pandas.DataFrame) -> str:
    """On which data sets the criterion that leads over all panels, of those without labels, kept more."""
    board = over_panels.board(measured) if len(measured) else NOTHING
    free = board.loc[~board["labels"], "criterion"] if len(board) else board
    if not len(free) or free.iloc[0] == RECOMMENDED or RECOMMENDED not in set(free):
        return ""
    best = free.iloc[0]
    values = measured[measured["criterion"].isin([best, RECOMMENDED])]
    values = values.pivot_table(index="dataset", columns="criterion", values="auc_relative", sort=False)
    gain = values[best] - values[RECOMMENDED]
    more = gain[gain > WORTH]
    numbers = listed(f"{number:.2f}" for number in more) if len(more) else ""
    return (
        f"Without a repair `{best}` kept more on {listed(more.index)} ({numbers} of relative auc)." if numbers else ""
    )


def _labels(scarcity: pandas.DataFrame, networks: int) -> str:
    gains = [
        (means[LABELS] - means[RECOMMENDED]).dropna()
        for means in _by_dataset(scarcity)
        if {RECOMMENDED, LABELS} <= set(means)
    ]
    if not gains:
        return ""
    where = _where(scarcity, networks)
    helping = sorted({number for gain in gains for number in gain.index[gain > WORTH]})
    if helping:
        most = max(gain.max() for gain in gains)
        few = all((gain[gain > WORTH].index < gain.index[-1]).all() for gain in gains)
        words = "Use labels where you have few images (`{}`)" if few else "If you have labels, they may help (`{}`)"
        return (
            f"**{words.format(LABELS)}**: on {on_images(helping)} they added up to {most:.2f} of relative auc{where}."
        )
    return (
        f"**Do not label images for this**: at every number of images tried labels (`{LABELS}`) added no more than "
        f"{WORTH:g} of relative auc in the mean{where}."
    )


def _vectors(sources: pandas.DataFrame) -> str:
    gains = [
        (means[MORE_VECTORS] - means[RECOMMENDED]).dropna()
        for means in _by_dataset(sources)
        if {RECOMMENDED, MORE_VECTORS} <= set(means)
    ]
    if not gains:
        return ""
    last = max(gain.iloc[-1] for gain in gains)
    first = max(gain.iloc[0] for gain in gains)
    fewest = _numbers([gain.index[0] for gain in gains])
    if last > WORTH:
        return f"Send several random vectors back for each: 16 added {last:.2f} of relative auc."
    many = _numbers([gain.index[-1] for gain in gains])
    few = f", but {first:.2f} on only {fewest}: send several there" if first > WORTH else ""
    return (
        f"On {many} images one random vector for each will do: 16 of them added no more than {WORTH:g} of relative "
        f"auc in the mean{few} (C6 is over all numbers of images)."
    )


def _repair(repaired: pandas.DataFrame) -> str:
    if repaired.empty or RECOMMENDED not in set(repaired["criterion"]):
        return ""
    own = measurements.on_most_examples(repaired[repaired["criterion"] == RECOMMENDED])
    ends = ("", "_repaired")
    kept = own[[f"accuracy_25pct{end}" for end in ends]].mul(100 / own["accuracy_unpruned"], axis=0)
    by_dataset = kept.set_axis(["without", "with"], axis=1).groupby(own["dataset"], sort=False).mean()
    said = f"with a quarter of the units off networks kept {listed(_by_repair(by_dataset))}"
    better, worse = ((sign * (by_dataset["with"] - by_dataset["without"]) > 0).all() for sign in (1, -1))
    if better or worse:
        anew = "Estimate BatchNorms anew afterwards**, which takes no labels"
        return f"**{anew if better else 'Leave BatchNorms as they are**'}: {said}."
    return f"**Try whether BatchNorms estimated anew help**, which takes no labels: {said}."


def _by_repair(kept: pandas.DataFrame) -> list[str]:
    first, *others = ((f"{row['with']:.0f}", f"{row['without']:.0f}", dataset) for dataset, row in kept.iterrows())
    said = "{} % of their accuracy with such a repair and {} % without on {}".format(*first)
    return [said, *("{} and {} % on {}".format(*other) for other in others)]


def _cost(seconds: pandas.DataFrame, machine: str) -> str:
    means = seconds.groupby("criterion")["seconds"].mean() if len(seconds) else pandas.Series(dtype=float)
    if not machine or not {RECOMMENDED, WEIGHTS} <= set(means.index):
        return ""
    return (
        f"**It costs a forward and a backward pass over the images**: {_time(means[RECOMMENDED])} for {SCORED} "
        f"images through {machine}, where `{WEIGHTS}`, which looks at none, takes {_time(means[WEIGHTS])}."
    )


def _time(seconds: float) -> str:
    number, unit = (seconds, "s") if seconds >= 1 else (1000 * seconds, "ms")
    return f"{float(f'{number:.2g}'):g} {unit}"


def _by_dataset(summary: pandas.DataFrame) -> list[pandas.DataFrame]:
    """Of each data set, mean relative auc: a row per number of images, ascending, a column per criterion that sees
    images."""
    if "criterion" not in summary:
        return []
    seen = summary[(summary["sample"] == "random") & (summary["examples"] > 0)]
    runs = seen.groupby([*RUN, "examples", "criterion"], observed=True)["auc_relative"].mean().reset_index()
    return [
        here.pivot_table(index="examples", columns="criterion", values="auc_relative").sort_index()
        for _, here in runs.groupby("dataset", sort=False)
    ]


def _numbers(values: Sequence[int]) -> str:
    return spread(pandas.Series(values), ",")
