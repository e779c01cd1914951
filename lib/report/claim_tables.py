"""The tables of the claims as they are shown: verdicts in words, and no column that says nothing of any row.

Enters: tables of `study.claims` and `study.contrasts`. Leaves: tables for readers.
"""

from collections.abc import Mapping, Sequence

import pandas

from lib.report import effects
from lib.study import claims, statistics

ADJUSTED = ["p_holm", "smallest_p_holm"]
MOST_PAIRS = 8  # of a claim whose pairs are shown one by one


def verdicts(table: pandas.DataFrame) -> pandas.DataFrame:
    """The table of `claims.verdicts`: verdicts `in_words`, with a mark where they are close, without p (NaN) where it
    has no part in the verdict, without adjusted p where `left_out` says why, and what the other order of averaging
    gives."""
    if table.empty:
        return table
    idle, rows = table["kind"].isin(claims.UNTESTED), table.to_dict("records")
    chances = ["p", "smallest_p", *([] if claims_left_out(table) else ADJUSTED)]
    shown = table.assign(
        verdict=[f"{in_words(row)}{', close' if row['close'] else ''}" for row in rows],
        other_order=[_other_order(row) for row in rows],
        ahead=share_of(table) + [f", above {bar}" if (bar := effects.bar(row["kind"])) != "0" else "" for row in rows],
    )
    shown.loc[idle, chances] = float("nan")
    return shown[["claim", "label", "kind", "verdict", "effect", "low", "high", *chances, "ahead", "other_order"]]


def in_words(row: Mapping[str, object]) -> str:
    """The verdict of a row of `claims.verdicts`, and where networks are too few for one, which way it points."""
    return row["verdict"] if row["verdict"] != statistics.TOO_FEW else f"{row['verdict']} to test; {pointing(row)}"


def pointing(row: Mapping[str, object]) -> str:
    """Where the interval of a row of `claims.verdicts` lies: "interval above 0"."""
    if not row["side"]:
        return "no interval"
    limit = f"{-statistics.MARGIN:g}" if row["kind"] == "non-inferiority" else "0"
    return f"interval {row['side']} {'of ' if row['side'] == 'on both sides' else ''}{limit}"


def _other_order(row: Mapping[str, object]) -> str:
    if not isinstance(row.get("other_verdict"), str):
        return "–"
    words = in_words(row | {"verdict": row["other_verdict"], "side": row["other_side"]})
    return "the same" if words == in_words(row) else f"{words} ({row['other_effect']:+.3f})"


def claims_left_out(table: pandas.DataFrame) -> str:
    """Why the table of `verdicts` has no adjusted p; "" where it has."""
    return left_out(table[~table["kind"].isin(claims.UNTESTED)]) if len(table) else ""


def share_of(rows: pandas.DataFrame) -> pandas.Series:
    """In how many networks of how many the difference is above 0 ("2 of 3"), row by row."""
    return rows["ahead"].astype(int).astype(str) + " of " + rows["blocks"].astype(int).astype(str)


def by_number(parts: pandas.DataFrame) -> pandas.DataFrame:
    """Of `claims.parts` those by number of examples: one row per claim, a column per number with the effect, and in how
    many networks it is above 0."""
    some = parts[parts["pair"] == ""]
    if some.empty:
        return some
    cells = some["effect"].map("{:+.3f}".format).str.cat(share_of(some), sep=" (") + ")"
    wide = some.assign(cell=cells).pivot(index="claim", columns="examples", values="cell").fillna("")
    wide.columns = [f"{int(number):,} examples" for number in wide.columns]
    return wide.reindex(some["claim"].unique()).reset_index()


def by_pair(parts: pandas.DataFrame) -> pandas.DataFrame:
    """Of `claims.parts` those by pair, of the claims with no more than `MOST_PAIRS` of them."""
    some = parts[parts["pair"] != ""]
    some = some[some.groupby("claim")["pair"].transform("size") <= MOST_PAIRS]
    shown = some.rename(columns={"pair": "label"}).assign(ahead=share_of(some))
    return shown[["claim", "label", "effect", "low", "high", "ahead"]]


def secondary(rows: pandas.DataFrame) -> pandas.DataFrame:
    """Rows of `claims.secondary`: examples used only where they differ from those at hand (else NaN)."""
    shown = contrasts(rows, ["label", "part", "examples", "used_a", "used_b"])
    for used in ("used_a", "used_b"):
        shown = shown.assign(**{used: shown[used].where(shown[used] != shown["examples"])})
    idle = [used for used in ("used_a", "used_b") if shown[used].isna().all()]
    return shown.drop(columns=idle + ["part"] * bool((shown["part"] == "contrast").all()))


def contrasts(rows: pandas.DataFrame, first: Sequence[str] = ("label",)) -> pandas.DataFrame:
    """Rows of `contrasts.adjusted`, after the columns `first`; without p where `left_out` says why."""
    chances = [] if left_out(rows) else ["p", *ADJUSTED]
    return rows.assign(ahead=share_of(rows))[[*first, "effect", "low", "high", *chances, "ahead"]]


def left_out(rows: pandas.DataFrame) -> str:
    """Why no adjusted p is shown for rows of `contrasts.adjusted`; "" where it is."""
    if rows.empty or rows["smallest_p_holm"].min() < 1:
        return ""
    return f"No adjusted p is here: for {len(rows)} rows and so few networks it would be 1, whatever was found."
