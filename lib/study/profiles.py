"""The plan: the profiles of study.yaml, the cells of their grids, and where each keeps its files.

Enters: what `schema` reads, and names from a command line or from a notebook's parameters. Leaves: a `Profile` or a
`Run`, with its settings and paths. Nothing slow is imported, since whatever starts reads this module.

Paths handed in are relative to the repository's root; paths handed out, as of `paths.from_here`, to the working
directory.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

from lib.study import devices, paths, vocabulary


@dataclass(frozen=True)
class Profile:
    """A grid of runs with its settings; made by `load`."""

    name: str
    grid: Mapping[str, tuple[str, ...]]  # data set -> networks
    seeds: tuple[int, ...]
    threads: int
    cluster: Mapping[str, object]  # mem_mb in MB, runtime in minutes
    notebooks: tuple[str, ...]
    training: Mapping[str, object]
    measuring: Mapping[str, object]
    larger: Mapping[str, object]
    given: Mapping[str, Mapping[str, Mapping[str, object]]]  # data set -> network -> weights that others published
    notes: Mapping[str, str]  # data set -> what a reader must know of it
    device: str = "auto"
    data: str = "data"
    results: str = "results"

    @property
    def runs(self) -> list["Run"]:
        """Every cell of the grid: data sets and networks in study.yaml's order, then seeds."""
        panels = [(dataset, network) for dataset, networks in self.grid.items() for network in networks]
        where = (self.device, self.data, self.results)
        return [Run(self.name, *panel, seed, *where) for panel in panels for seed in self.seeds]

    @property
    def folder(self) -> Path:
        return paths.from_here(Path(self.results) / self.name)

    @property
    def tables(self) -> Path:
        return self.folder / "tables"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def parameters(self) -> dict[str, object]:
        """What its notebooks take as parameters."""
        where = {"device": self.device, "data": self.data, "results": self.results}
        return {"profile": self.name, "seeds": list(self.seeds)} | where

    def executed(self, notebook: str) -> Path:
        """Where the executed copy of `notebook` ("15-replication") is."""
        return self.folder / "notebooks" / f"{notebook}.ipynb"

    def record(self, notebook: str) -> Path:
        """Where the record of `notebook` is."""
        return self.folder / "notebooks" / f"{notebook}.json"

    def settings(self, dataset: str, network: str) -> dict[str, dict[str, object]]:
        """The settings "training" and "measuring" as they are for one of the profile's panels; where the network's
        weights are given, what is said of them stands under "training"."""
        given = self.given.get(dataset, {}).get(network)
        training = _settled(self.training, dataset) if given is None else dict(given)
        return {"training": training, "measuring": _settled(self.measuring, dataset)}

    def settings_of(self, notebook: str) -> tuple[str, dict[str, object]]:
        """The settings that a notebook over all runs rests on: the name of their section, and them."""
        section = "larger" if notebook == vocabulary.LARGER_NETWORKS else "measuring"
        return section, dict(getattr(self, section))

    @property
    def larger_folders(self) -> list[Path]:
        """Where images for the larger networks may be: to score on and to test on."""
        return [paths.from_here(Path(self.data) / self.larger["folder"] / split) for split in ("train", "val")]

    def job(self, rule: str) -> dict[str, object]:
        """What a job of `rule` ("train") asks of a cluster: `cluster` as it is for that rule, no GPU if on the CPU."""
        return _settled(self.cluster, rule) | ({"gpus": 0} if self.device == "cpu" else {})


@dataclass(frozen=True)
class Run:
    """One cell of a profile's grid: a network trained on a data set from a seed, or by others.

    Raises ValueError, listing the valid ones, for a profile, data set or network that study.yaml does not name.
    """

    profile: str
    dataset: str
    network: str
    seed: int
    device: str = "auto"
    data: str = "data"
    results: str = "results"

    def __post_init__(self):
        grid = self.plan.grid
        where = f"{paths.STUDY}: profiles.{self.profile}.runs: "
        _one_of(self.dataset, grid, "data set", where)
        _one_of(self.network, grid[self.dataset], f"network for {self.dataset}", where)

    @property
    def plan(self) -> Profile:
        """Its profile, with this run's seed, device and folders."""
        return named(self.profile, [self.seed], self.device, self.data, self.results)

    @property
    def settings(self) -> dict[str, dict[str, object]]:
        """{"training": {...}, "measuring": {...}}, as they are for this run's data set and network."""
        return self.plan.settings(self.dataset, self.network)

    @property
    def is_given(self) -> bool:
        """Whether others have trained its network, whose weights it takes: see `given`."""
        return self.network in self.plan.given.get(self.dataset, {})

    @property
    def threads(self) -> int:
        return self.plan.threads

    @property
    def label(self) -> str:
        return f"{self.dataset}-{self.network} seed {self.seed}"

    @property
    def folder(self) -> Path:
        return paths.from_here(
            Path(self.results) / self.profile / f"{self.dataset}-{self.network}" / f"seed-{self.seed}"
        )

    @property
    def data_folder(self) -> Path:
        """What `datasets.load` takes as its root."""
        return paths.from_here(self.data)

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def oracle(self) -> Path:
        return self.folder / "oracle.parquet"

    @property
    def training(self) -> Path:
        return self.folder / "training.parquet"

    @property
    def curves(self) -> Path:
        return self.folder / "curves.parquet"

    @property
    def scores(self) -> Path:
        return self.folder / "scores.parquet"

    @property
    def repaired(self) -> Path:
        return self.folder / "repaired.parquet"

    @property
    def silenced(self) -> Path:
        return self.folder / "silenced.parquet"

    @property
    def finetuning(self) -> Path:
        return self.folder / "finetuning.parquet"

    @property
    def parts(self) -> Path:
        """Where 10-measure keeps what it has finished, until all of it is."""
        return self.folder / "parts"

    @property
    def earlier(self) -> Path:
        """Where what was measured is kept, once it is out of date, until 10-measure has checked it."""
        return self.folder / "earlier"

    @property
    def offered(self) -> Path:
        """The same of what others measured."""
        return self.folder / "offered"

    @property
    def parameters(self) -> dict[str, object]:
        """What its notebooks take as parameters."""
        return asdict(self)

    def executed(self, notebook: str) -> Path:
        """Where the executed copy of `notebook` ("00-train") is."""
        return self.folder / f"{notebook}.ipynb"

    def record(self, notebook: str) -> Path:
        """Where the record of `notebook` is."""
        return self.folder / f"{notebook}.json"


def names() -> list[str]:
    """The profiles in study.yaml."""
    return list(_schema().read())


def load(
    name: str,
    seeds: Iterable[int] | None = None,
    device: str = "auto",
    data: str | os.PathLike = "data",
    results: str | os.PathLike = "results",
) -> Profile:
    """The profile `name` of study.yaml, with other seeds than its own if they are given.

    Raises ValueError, one line that names the file, the key and the valid ones, for whatever is unknown or ill-typed.
    """
    found = named(name, seeds, device, data, results)
    for dataset in found.grid:
        _require_images(dataset, data, f"{paths.STUDY}: profiles.{name}.runs")
    return found


def named(
    name: str,
    seeds: Iterable[int] | None = None,
    device: str = "auto",
    data: str | os.PathLike = "data",
    results: str | os.PathLike = "results",
) -> Profile:
    """The same whether there are images for it or not, which what is published does without."""
    entries = _schema().read()
    _one_of(name, entries, "profile", f"{paths.STUDY}: ")
    devices.check(device)
    entry = entries[name]
    own = tuple(entry["seeds"] if seeds is None else seeds)
    _schema().check_seeds(own)
    if entry["given"] and len(own) > 1:
        where = f"{paths.STUDY}: profiles.{name}.given"
        raise ValueError(f"{where}: with several seeds one network would count several times: give one seed")
    return Profile(
        name=name,
        grid={dataset: tuple(networks) for dataset, networks in entry["runs"].items()},
        seeds=own,
        notebooks=tuple(entry["notebooks"]),
        device=device,
        data=os.fspath(data),
        results=os.fspath(results),
        **{key: entry[key] for key in ("threads", "cluster", "training", "measuring", "larger", "given", "notes")},
    )


def panels() -> list[str]:
    """The profiles in study.yaml that count as panels where several are reported on together."""
    return [name for name, entry in _schema().read().items() if entry["panel"]]


def over_panels(data: str | os.PathLike = "data", results: str | os.PathLike = "results") -> Profile:
    """`vocabulary.ALL`: a profile without runs, which holds the report over all panels."""
    own = {"name": vocabulary.ALL, "seeds": (), "threads": 1, "notebooks": ()}
    nothing = {field.name: {} for field in fields(Profile) if field.default is MISSING}
    return Profile(**nothing | own, device="cpu", data=os.fspath(data), results=os.fspath(results))


def _schema():
    from lib.study import schema  # imports pydantic

    return schema


def _require_images(dataset: str, data: str | os.PathLike, where: str) -> None:
    known = (*vocabulary.DATASETS, *vocabulary.FOLDERS)
    if dataset not in known and not (paths.ROOT / data / dataset / "train").is_dir():
        folder = paths.from_here(Path(data) / dataset / "train")
        raise ValueError(f"{where}: unknown data set {dataset!r}: use {', '.join(known)}, or make {folder}")


def _one_of(value: object, valid: Iterable[str], what: str, where: str) -> None:
    if value not in (valid := list(valid)):
        raise ValueError(f"{where}unknown {what} {value!r}: valid are {', '.join(valid)}")


def _settled(settings: Mapping[str, object], name: str) -> dict[str, object]:
    return {key: value[name] if isinstance(value, dict) else value for key, value in settings.items()}
