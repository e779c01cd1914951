"""The tables of the report over panels as they are shown.

Enters: tables of `study.panels` and `analyses.over_panels`. Leaves: tables for readers.
"""

from collections.abc import Mapping, Sequence

import pandas

from lib.report import claim_tables, effects
from lib.report.words import listed, spread
from lib.study import statistics, vocabulary

NOT_MEASURED = "not measured"


def panels(networks: pandas.DataFrame, numbers: Mapping[str, Sequence[int]]) -> pandas.DataFrame:
    """What each panel holds, one row each.

    Arguments:
        networks: of `panels.runs`.
        numbers: of examples, by panel.
    """
    rows = []
    for panel, here in networks.groupby("panel", sort=False):
        row = {"panel": panel, "dataset": listed(dict.fromkeys(here["dataset"]))}
        row |= {"networks": listed(dict.fromkeys(here["network"])), "blocks": f"{len(here)}", "trained": trained(here)}
        row |= {"examples": listed(f"{number:,}" for number in numbers[panel])}
        rows.append(row | {"accuracy (%)": spread(100 * here["accuracy"], ".1f")})
    columns = ["panel", "dataset", "networks", "blocks", "trained", "examples", "accuracy (%)"]
    return pandas.DataFrame(rows, columns=columns).rename(columns={"blocks": "trained networks"})


def facts(networks: pandas.DataFrame, missing: Sequence[str]) -> str:
    """What the report is of, in one line."""
    counts = networks.groupby("panel", sort=False).size()
    there = ", ".join(f"{panel} ({count} network{'s' * (count > 1)})" for panel, count in counts.items())
    return f"Profile {vocabulary.ALL} · panels {there}" + (
        f" · not measured yet: {', '.join(missing)}" if missing else ""
    )


def trained(networks: pandas.DataFrame) -> str:
    """By whom: "here", "by others", or both."""
    return listed(word for given, word in ((False, "here"), (True, "by others")) if (networks["given"] == given).any())


def claims(over: pandas.DataFrame) -> pandas.DataFrame:
    """The table of `over_panels.claims_over`, a row per claim: effect, interval and verdict over all networks and over
    panels, and how different panels are (tau, and I2 in percent)."""
    rows = []
    for claim, here in over.groupby("claim", sort=False):
        of = {row["over"]: row for row in here.to_dict("records")}
        row = {"claim": claim, "label": of["panels"]["label"], "kind": of["panels"]["kind"]}
        row |= {f"over {what}": _found(of[what], what) for what in ("networks", "panels")}
        rows.append(row | {"tau": of["panels"]["tau"], "I² (%)": 100 * of["panels"]["i2"]})
    return pandas.DataFrame(rows, columns=["claim", "label", "kind", "over networks", "over panels", "tau", "I² (%)"])


def _found(row: Mapping[str, object], what: str) -> str:
    above = f"above {effects.bar(row['kind'])} in {int(row['ahead'])} of {int(row['count'])}"
    return f"{in_words(row, what)}{', close' if row['close'] else ''}: {effects.short(row)}; {above}"


def in_words(row: Mapping[str, object], what: str) -> str:
    """The verdict of a row over `what` ("networks" or "panels")."""
    return claim_tables.in_words(row).replace(statistics.TOO_FEW, f"too few {what}")


def by_panel(claims: pandas.DataFrame) -> pandas.DataFrame:
    """The table of `over_panels.claims_by_panel`, a row per claim and a column per panel: effect, in how many networks
    it is above 0, and the verdict."""
    cells = claims.assign(cell=[_cell(row) for row in claims.to_dict("records")])
    wide = cells.pivot(index=["claim", "label"], columns="panel", values="cell")
    order = list(dict.fromkeys(zip(claims["claim"], claims["label"], strict=True)))
    return wide.reindex(order)[list(dict.fromkeys(claims["panel"]))].reset_index().rename_axis(columns=None)


def _cell(row: Mapping[str, object]) -> str:
    if not row["count"]:
        return NOT_MEASURED
    return f"{effects.value(row)} ({int(row['ahead'])} of {int(row['count'])}): {claim_tables.in_words(row)}"


def board(places: pandas.DataFrame) -> pandas.DataFrame:
    """The table of `over_panels.board`, a row per criterion: its mean over panels, its place by that, the best and the
    worst place that it has in a panel, and in brackets behind each panel's relative auc its place there."""
    cells = places.assign(cell=[f"{row.auc_relative:.3f} ({row.place:g})" for row in places.itertuples()])
    of = cells.groupby("criterion", sort=False)
    shown = pandas.DataFrame({"labels": of["labels"].first(), "auc_relative": of["mean"].first()})
    shown["place"] = of["overall"].first()
    shown["places"] = [spread(here, "g") for _, here in of["place"]]
    wide = cells.pivot(index="criterion", columns="panel", values="cell")[list(dict.fromkeys(places["panel"]))]
    return shown.join(wide).reset_index().rename(columns={"places": "places in panels"})


def networks(found: pandas.DataFrame) -> pandas.DataFrame:
    """The table of `over_panels.by_network`: sizes, and what the recommended criterion leads by."""
    shown = found.assign(given=found["given"].map({False: "here", True: "by others"})).rename(
        columns={"given": "trained"} | {name: f"lead over {name[5:]}" for name in found if name.startswith("lead_")}
    )
    return shown.rename(columns={"units": "units in all", "layers": "layers with units"})


def trainers(found: pandas.DataFrame) -> pandas.DataFrame:
    """The table of `over_panels.by_trainer`."""
    shown = {"here": "trained here", "networks_here": "networks", "others": "by others", "networks_others": "of others"}
    return found.rename(columns=shown)
