"""Which networks can be scored, masked and shrunk, as reports, the README and docs/networks.md tell it.

Enters: the table of `make coverage`, a row per network. Leaves: counts by family and one sentence, in Markdown; blocks
of a report, with a copy of the table beside the profile's own.
"""

import re
from pathlib import Path

import pandas

from lib.report import results, tables, words
from lib.report.blocks import Block, Text, table
from lib.study import profiles

FILE = "coverage.csv"  # within results/benchmarks/
LIBRARIES = ("torchvision", "timm")
PACKAGES = ("torch", "torchvision", "timm", "torch-pruning")
OTHERWISE = "it answers otherwise than masked"
_DONE = ["scored", "masked", "shrunk", "torch_pruning"]  # columns that say "yes", or why not


def family(name: str) -> str:
    """The network's name without what tells sizes and versions apart."""
    short = name.removeprefix("timm:")
    found = re.match(r"(?:(?:tf|dm|wide)_)?[a-z]+?(?:2net)?(?=v?\d|_|-|$)", short)
    return ("timm: " if short != name else "") + (found[0] if found else short)


def counted(tried: pandas.DataFrame) -> pandas.DataFrame:
    """A row per family: networks, and of how many `scored`, `masked`, `shrunk`, and so by torch-pruning;
    `share_gone_at_least` is of multiply-adds, for that of those shrunk of which the fewest can go, half being tried
    first."""
    yes = (tried.reindex(columns=_DONE) == "yes").assign(family=tried["network"].map(family), networks=1)
    yes["share_gone_at_least"] = tried.reindex(columns=["without"])["without"].where(yes["shrunk"])
    how = dict.fromkeys(["networks", *_DONE], "sum") | {"share_gone_at_least": "min"}
    return pandas.concat([yes.groupby("family", sort=False, as_index=False).agg(how),
                          yes.assign(family="all").groupby("family", as_index=False).agg(how)],
                         ignore_index=True)  # fmt: skip


def in_short(tried: pandas.DataFrame) -> str:
    """How many of each library's networks can be scored, masked and shrunk, in a sentence."""
    said = "; ".join(_of(library, here) for library in LIBRARIES if len(here := _from(tried, library)))
    wrong = int((tried["shrunk"] == OTHERWISE).sum())
    right = f"{wrong} of those shrunk do not answer" if wrong else "all that were shrunk answer"
    return (
        f"Tried with random weights, beside the library torch-pruning with its default settings: {said}. Checked: "
        f"{right} as the whole ones do with the same channels off. What torch-pruning makes was not checked."
    )


def _from(tried: pandas.DataFrame, library: str) -> pandas.DataFrame:
    return tried[tried["network"].str.startswith("timm:") == (library == "timm")]


def _of(library: str, tried: pandas.DataFrame) -> str:
    yes = (tried.reindex(columns=_DONE) == "yes").sum()
    done = f"{yes['scored']}" if yes["scored"] < len(tried) else "all"
    shrunk = "all" if yes["shrunk"] == len(tried) else f"{yes['shrunk']}"
    shrunk = "and shrunk" if shrunk == done else f"and {shrunk} shrunk"
    of = f"of {words.counted(len(tried), 'network')} of {library}"
    memory = int(tried["torch_pruning"].str.contains("MemoryError").sum()) if "torch_pruning" in tried else 0
    out = f", and runs out of memory on {memory}" if memory else ""
    return f"{of} {done} are scored {shrunk} (torch-pruning shrinks {yes['torch_pruning']}{out})"


def shown(tried: pandas.DataFrame) -> str:
    """Sentences, versions and the counts by family."""
    used = [f"{name} {'/'.join(map(str, tried[name].unique()))}" for name in PACKAGES if (tried[name] != "none").any()]
    return f"{in_short(tried)} With {', '.join(used)}.\n\n{tables.markdown(counted(tried))}"


def blocks(profile: profiles.Profile) -> list[Block]:
    """The report's section, if networks have been tried; the table is copied beside the profile's own."""
    path = profile.folder.parent / "benchmarks" / FILE
    if not path.exists():
        return []
    copied, tried = profile.tables / f"{results.FRONT}-{FILE}", read(path)
    results.write({copied: path.read_bytes()})
    return [Text(f"# Which networks can be pruned\n\n{in_short(tried)} By family:"), table(counted(tried), "", copied)]


def read(path: Path) -> pandas.DataFrame:
    """The table, with versions and digests as texts, some of which look like numbers."""
    return pandas.read_csv(path, dtype=dict.fromkeys((*PACKAGES, "code"), str))
