"""The README's answers, made of what is published, so that none is typed by hand.

Enters: README.md and pages of docs/ with places marked for them, and results/. Leaves: the same with each place filled,
`<!-- opening -->` with the answer, `<!-- claims -->` with a picture, how far one can go and the claims,
`<!-- advice -->` with what to do, `<!-- speed -->` with how much faster networks get, `<!-- trials -->` and
`<!-- commands -->` with what the tool makes of real networks, `<!-- networks -->` and `<!-- coverage -->` with which
can be pruned, `<!-- words -->` with the words of the reports; and the picture.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent

import pandas
from matplotlib import pyplot

from lib.report import (
    advice,
    answers,
    claim_answers,
    curve_figures,
    effects,
    glossary,
    opening,
    provenance,
    reach,
    style,
    supported,
    tool,
    verdict_table,
)
from lib.report.words import listed
from lib.study import claims, panels, profiles
from lib.study.analyses import over_panels
from lib.study.columns import RUN
from lib.system.whole_files import written_whole

DEMONSTRATION = "quick"  # what is quoted where no panel is published
PICTURE = Path("docs/answer.png")
WIDER = ("C4",)  # of which more networks tell than those that it is judged by
NOTHING = pandas.DataFrame()
TIMED = "80-cost"  # the notebook that times networks
PAGES = [Path("docs/tool.md"), Path("docs/reading-results.md"), Path("docs/networks.md")]


def filled(readme: str, published: Path) -> str:
    """The text of the README, or another page, with its marked places filled from the folder of published profiles.

    Raises FileNotFoundError where nothing is published that could be quoted.
    """
    plans = quoted(published)
    measured, tried = published.parent / tool.TABLE, published.parent / "benchmarks" / supported.FILE
    places = {
        "opening": lambda: _opening(plans), "claims": lambda: _claims(plans), "advice": lambda: advice.of(plans),
        "speed": lambda: _speed(plans), "trials": lambda: tool.table(measured),
        "commands": lambda: tool.commands(measured), "words": glossary.words,
        "networks": lambda: supported.in_short(supported.read(tried)),
        "coverage": lambda: supported.shown(supported.read(tried)),
    }  # fmt: skip
    for name, make in places.items():
        marked = re.compile(rf"^( *)<!-- {name} -->\n.*?<!-- /{name} -->", re.DOTALL | re.MULTILINE)
        if place := marked.search(readme):
            text = indent(f"<!-- {name} -->\n{make()}\n<!-- /{name} -->", place[1])  # or it would end a list
            readme = f"{readme[: place.start()]}{text}{readme[place.end() :]}"
    return readme


def quoted(published: Path) -> list[profiles.Profile]:
    """The published profiles that the README quotes: all panels, and where there is none the demonstration. Raises
    FileNotFoundError where that is not there either."""
    try:
        return panels.published(published.parent)[0]
    except FileNotFoundError:
        return panels.published(published.parent, [DEMONSTRATION])[0]


def _opening(plans: Sequence[profiles.Profile]) -> str:
    verdicts = claims.judged(opening.blocks(plans))
    return "\n\n".join(filter(None, [opening.answer(plans, verdicts, _report(plans)), _paper(plans, verdicts)]))


def _claims(plans: Sequence[profiles.Profile]) -> str:
    each, lines = opening.blocks(plans), reach.curves(plans)
    verdicts, over = claims.judged(each), over_panels.claims_over(each) if len(plans) > 1 else None
    parts = [f"![{curve_figures.caption(lines)}]({PICTURE.as_posix()})"]
    parts += [reach.table(lines, panels.table(plans, "65-repair-means"))]
    parts += [verdict_table.table(verdicts, _report(plans), over)]
    return "\n\n".join(filter(None, [*parts, f"{verdict_table.note(verdicts, over is not None)} {_sources(plans)}"]))


def _report(plans: Sequence[profiles.Profile]) -> str:
    folder = Path(plans[0].folder)
    return (folder.parent / "all/report.md" if len(plans) > 1 else folder / "report.md").as_posix()


def _paper(plans: Sequence[profiles.Profile], verdicts: pandas.DataFrame) -> str:
    """Whether the paper's own curves come out again, where it has the same data sets and networks."""
    agreement, contrasts, single = (
        panels.table(plans, f"15-replication-{name}") for name in ("agreement", "contrasts", "single-runs")
    )
    said = answers.beside_paper(agreement, contrasts, single, short=True)
    wider = [rows.assign(claim=name) for plan in plans for name in WIDER if len(rows := claims.wider(name, plan))]
    against = _against(verdicts, contrasts, pandas.concat(wider) if wider else NOTHING)
    return f"Does what the paper shows come out again? {said}{against}" if said else ""


def _against(verdicts: pandas.DataFrame, contrasts: pandas.DataFrame, wider: pandas.DataFrame = NOTHING) -> str:
    """Which claims, of those that the paper's curves show something of, were found, or point, the other way, and, by
    data set, what our curves and the paper's say of it.

    Arguments:
        wider: of `claims.wider`, of the claims that some panels do not judge, with the column claim.
    """
    shown = contrasts.dropna(subset="paper") if len(contrasts) else contrasts.reindex(columns=["claim"])
    verdicts = verdicts[verdicts["claim"].isin(shown["claim"])]
    rows = verdicts[(verdicts["verdict"] == "contradicted") | (verdicts["side"] == "below")]
    rows = rows[~rows["kind"].isin(claims.UNTESTED)]
    each = []
    for row in rows.to_dict("records"):
        does = "is contradicted" if row["verdict"] == "contradicted" else "is open, but points the other way"
        own = _by_dataset(shown[shown["claim"] == row["claim"]], row)
        more = wider[wider["claim"] == row["claim"]].dropna(subset="difference") if len(wider) else wider
        rest = f"; over all networks {claim_answers.over(row['claim'], more)}, exploratory" if len(more) else ""
        each.append(f' {row["claim"]} ("{verdict_table.plain(row["label"])}") {does}: {listed(own)}{rest}.')
    return "".join(each)


def _by_dataset(shown: pandas.DataFrame, row: dict[str, object]) -> list[str]:
    """A claim's effect here and in the paper's curves, on each data set of the paper's that is here, too. Arguments:
    shown: rows of `claims.beside_paper`; row: of `claims.judged`."""
    said = []
    for dataset, here in shown.sort_values("examples", kind="stable").groupby("dataset", sort=False):
        if claims.CLAIMS[row["claim"]].ends:
            ends = here.groupby(["label", "network"])[["effect", "paper"]].agg(["first", "last"])
            both = [(ends[name, "first"] - ends[name, "last"]).mean() for name in ("effect", "paper")]
        else:
            both = here.loc[here["part"] == "contrast", ["effect", "paper"]].mean()
        ours, theirs = (effects.value(row | {"effect": value}) for value in both)
        said.append(f"on {dataset} {ours} here and {theirs} in the paper's own curves")
    return said


def _speed(plans: Sequence[profiles.Profile]) -> str:
    costs = panels.table(plans, f"{TIMED}-costs")
    return speed(costs, provenance.machines(plans, TIMED)) if len(costs) else ""


def speed(costs: pandas.DataFrame, machine: str) -> str:
    """What is left of the time where half of the multiply-adds go, as one sentence.

    Arguments:
        costs: of `shrinking.costs`.
        machine: what its times are of, as `provenance.machine` says it.
    """
    if "latency_64_ms" not in costs:
        return ""
    keys = ["panel", *RUN]
    whole, half = (
        costs[costs["budget"] == budget].groupby(keys)[["latency_1_ms", "latency_64_ms", "parameters"]].mean()
        for budget in (0.0, 0.5)
    )
    left = (100 * half / whole).groupby("network", sort=False).mean()
    each = (
        f"`{name}` takes {row['latency_64_ms']:.0f} % of the time for 64 images ({row['latency_1_ms']:.0f} % for one "
        f"image) and has {row['parameters']:.0f} % of the parameters"
        for name, row in left.iterrows()
    )
    return f"Without half of its multiply-adds {listed(each)}. The time is on {machine}."


def _sources(plans: Sequence[profiles.Profile]) -> str:
    links = ", ".join(f"[{plan.name}]({Path(plan.folder).as_posix()}/report.md)" for plan in plans)
    return f"What it rests on, and in which networks: the report{'s' * (len(plans) > 1)} of {links}."


def draw(plans: Sequence[profiles.Profile], folder: Path) -> None:
    """Saves the picture that the README shows as `PICTURE` in the folder."""
    style.theme()
    figure = curve_figures.opening(panels.table(plans, "90-report-curves-units"))
    style.save(figure, folder / PICTURE.parent, PICTURE.stem, kinds=("png",))
    pyplot.close(figure)


def fill(readme: Path, published: Path) -> None:
    """Fills the places in the file `readme` and in `PAGES` beside it, where they are, and draws the picture; aside
    first, then renamed. Raises what `filled` does."""
    if not readme.exists():
        return
    pages = [path for path in (readme, *(readme.parent / page for page in PAGES)) if path.exists()]
    texts = {path: filled(path.read_text(), published) for path in pages}
    draw(quoted(published), readme.parent)
    for path, text in texts.items():
        with written_whole(path) as aside:
            aside.write_text(text)


if __name__ == "__main__":
    fill(Path("README.md"), Path("results/published"))
