"""The plan: profiles from study.yaml, the cells of their grids, where each keeps its files, and what code it rests on.

Enters: study.yaml, and names from a command line or from a notebook's parameters. Leaves: a `Profile` or a `Run`,
checked, with its settings and paths; the modules of `lib` behind a notebook, and a digest of them. Nothing slow is
imported, since the Snakefile reads this module at every start.

Paths handed in are relative to the repository's root, wherever the caller works (JupyterLab: notebooks/); paths handed
out are relative to the working directory, so that no notebook or record names a place on this machine.
"""

import ast
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = "study.yaml"
DATASETS = ("digits", "cifar10", "cifar100", "stl10")  # besides folders of images
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")
REDUCTIONS = ("taylorfo", "abs", "sq", "molchanov-bn", "molchanov-group")  # that 20-normalization compares
LARGER_NETWORKS = "85-larger-networks"  # the notebook with the settings `larger`, and images of its own
TIMING = ("80-cost", LARGER_NETWORKS)  # notebooks beside which no other runs on the same machine
RULES = ("train", "measure", "ablation", "report")  # of the Snakefile, those that run a notebook
LOCK = "requirements.lock"
PACKAGES = ("torch", "torchvision", "torch-pruning", "numpy", "scipy", "pandas", "pillow", "scikit-learn")


class Kind(NamedTuple):
    """What a value must be: `accepts` says whether it is, `description` follows "must be" in the error."""

    accepts: Callable[[object], bool]
    description: str


def _is_whole(value: object, least: int = 0) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= least


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\w[\w.-]*", value) is not None


def _is_amount(value: object) -> bool:
    return value == "all" or _is_whole(value, 1)


def _is_list(value: object, accepts: Callable[[object], bool]) -> bool:
    return isinstance(value, list) and bool(value) and all(map(accepts, value)) and len(set(value)) == len(value)


WHOLE = Kind(_is_whole, "a whole number, 0 or more")
COUNT = Kind(lambda value: _is_whole(value, 1), "a whole number, 1 or more")
POINTS = Kind(lambda value: _is_whole(value, 2), "a whole number, 2 or more")
RATE = Kind(lambda value: _is_number(value) and value > 0, "a number above 0 (in YAML 1.0e-4, not 1e-4)")
FRACTION = Kind(lambda value: _is_number(value) and 0 <= value < 1, "a number from 0 to below 1 (1.0e-4, not 1e-4)")
SWITCH = Kind(lambda value: isinstance(value, bool), "true or false")
NAME = Kind(_is_name, "a name of letters, digits and _ . -")
NAMES = Kind(lambda value: _is_list(value, _is_name), "a list of different names")
COUNTS = Kind(
    lambda value: _is_list(value, lambda number: _is_whole(number, 1)), "a list of different whole numbers, 1 or more"
)
PRECISION = Kind(lambda value: value in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
SOME_REDUCTIONS = Kind(
    lambda value: _is_list(value, REDUCTIONS.__contains__), f"a list of some of {', '.join(REDUCTIONS)}"
)
AMOUNT = Kind(_is_amount, "a whole number, 1 or more, or all")
AMOUNTS = Kind(lambda value: _is_list(value, _is_amount), "a list of different whole numbers, 1 or more, or all")
RULE = Kind(lambda value: value in RULES, f"one of {', '.join(RULES)}")
OWN_NAME = Kind(lambda value: value is None or _is_name(value), "a name of letters, digits and _ . -, or null")
LINE = Kind(lambda value: isinstance(value, str) and "\n" not in value, "a text of one line")
SEEDS = Kind(
    lambda value: _is_list(value, _is_whole) and max(value) < 2**63,  # what tables and torch can hold
    "a list of different whole numbers, 0 or more, below 2**63",
)

TRAINING = {
    "epochs": COUNT,
    "batch": COUNT,
    "learning_rate": RATE,
    "momentum": FRACTION,
    "weight_decay": FRACTION,
    "warmup": FRACTION,
    "crop": WHOLE,
    "flip": SWITCH,
    "precision": PRECISION,
}
MEASURING = {
    "points": POINTS,
    "panels": AMOUNTS,
    "ablations": AMOUNTS,
    "scarcity": AMOUNTS,
    "draws": COUNT,
    "chance": COUNT,
    "reductions": SOME_REDUCTIONS,
    "maps": AMOUNT,
    "exact": AMOUNT,
    "oracle": COUNT,
    "test_images": AMOUNT,
    "tuned": COUNT,
    "tuning_epochs": RATE,
    "tuning_rate": RATE,
    "tuning_images": AMOUNT,
    "batch": COUNT,
}
CLUSTER = {
    "partition": OWN_NAME,
    "account": OWN_NAME,
    "qos": OWN_NAME,
    "gpus": WHOLE,
    "mem_mb": COUNT,
    "runtime": COUNT,
    "options": LINE,
}
LARGER = {
    "networks": NAMES,
    "pixels": COUNT,
    "images": COUNTS,
    "batch": COUNT,
    "points": POINTS,
    "repeats": COUNT,
    "folder": NAME,
    "pretrained": SWITCH,
}
PROFILE = {
    "runs": NAMES,
    "seeds": SEEDS,
    "threads": COUNT,
    "cluster": CLUSTER,
    "notebooks": NAMES,
    "training": TRAINING,
    "measuring": MEASURING,
    "larger": LARGER,
}
MAPPED = {"runs": NAME, "training": NAME, "measuring": NAME, "cluster": RULE}  # from data sets or rules, to values


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
        return from_here(Path(self.results) / self.name)

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

    def settings(self, dataset: str) -> dict[str, dict[str, object]]:
        """The settings "training" and "measuring" as they are for one of the profile's data sets."""
        return {"training": _settled(self.training, dataset), "measuring": _settled(self.measuring, dataset)}

    def settings_of(self, notebook: str) -> tuple[str, dict[str, object]]:
        """The settings that a notebook over all runs rests on: the name of their section, and them."""
        section = "larger" if notebook == LARGER_NETWORKS else "measuring"
        return section, dict(getattr(self, section))

    @property
    def larger_folders(self) -> list[Path]:
        """Where images for the larger networks may be: to score on and to test on."""
        return [from_here(Path(self.data) / self.larger["folder"] / split) for split in ("train", "val")]

    def larger_digests(self) -> list[str | None]:
        """Fingerprints of these two folders."""
        return [fingerprint(folder) for folder in self.larger_folders]

    def job(self, rule: str) -> dict[str, object]:
        """What a job of `rule` ("train") asks of a cluster: `cluster` as it is for that rule, no GPU if on the CPU."""
        return _settled(self.cluster, rule) | ({"gpus": 0} if self.device == "cpu" else {})


@dataclass(frozen=True)
class Run:
    """One cell of a profile's grid: a network trained on a data set from a seed.

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
        where = f"{FILE}: profiles.{self.profile}.runs: "
        _one_of(self.dataset, grid, "data set", where)
        _one_of(self.network, grid[self.dataset], f"network for {self.dataset}", where)

    @property
    def plan(self) -> Profile:
        """Its profile, with this run's seed, device and folders."""
        return load(self.profile, [self.seed], self.device, self.data, self.results)

    @property
    def settings(self) -> dict[str, dict[str, object]]:
        """{"training": {...}, "measuring": {...}}, as they are for this run's data set."""
        return self.plan.settings(self.dataset)

    @property
    def threads(self) -> int:
        return self.plan.threads

    @property
    def label(self) -> str:
        return f"{self.dataset}-{self.network} seed {self.seed}"

    @property
    def folder(self) -> Path:
        return from_here(Path(self.results) / self.profile / f"{self.dataset}-{self.network}" / f"seed-{self.seed}")

    @property
    def data_folder(self) -> Path:
        """What `datasets.load` takes as its root."""
        return from_here(self.data)

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
    def finetuning(self) -> Path:
        return self.folder / "finetuning.parquet"

    @property
    def parts(self) -> Path:
        """Where 10-measure keeps what it has finished, until all of it is."""
        return self.folder / "parts"

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
    return list(_study()["profiles"])


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
    _one_of(name, names(), "profile", f"{FILE}: ")
    _one_of(device, DEVICES, "device")
    entry = _study()["profiles"][name]
    where = f"{FILE}: profiles.{name}"
    for dataset in entry["runs"]:
        if dataset not in DATASETS and not (ROOT / data / dataset / "train").is_dir():
            folder = from_here(Path(data) / dataset / "train")
            raise ValueError(f"{where}.runs: unknown data set {dataset!r}: use {', '.join(DATASETS)}, or make {folder}")
    own = tuple(entry["seeds"] if seeds is None else seeds)
    _check(list(own), SEEDS, "seeds")
    return Profile(
        name=name,
        grid={dataset: tuple(networks) for dataset, networks in entry["runs"].items()},
        seeds=own,
        notebooks=tuple(entry["notebooks"]),
        device=device,
        data=os.fspath(data),
        results=os.fspath(results),
        **{key: entry[key] for key in ("threads", "cluster", "training", "measuring", "larger")},
    )


def from_here(path: str | os.PathLike) -> Path:
    """`path`, given relative to the repository's root, as it is called from the working directory."""
    return Path(os.path.relpath(ROOT / path))


def fingerprint(folder: str | os.PathLike) -> str | None:
    """`files.fingerprint` of all images below `folder`, None without a folder. Raises what `files.below` raises."""
    from lib.images import files  # imports Pillow

    if not os.path.isdir(folder):
        return None
    return files.fingerprint(folder, files.below(folder).images)


def device(name: str = "auto"):
    """The torch.device that "auto", "cpu" or "cuda" stands for. Raises RuntimeError for cuda without CUDA."""
    import torch  # takes seconds

    _one_of(name, DEVICES, "device")
    if name == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("DEVICE=cuda, but torch sees no CUDA device: use DEVICE=cpu or auto")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


# ---- the code behind a notebook -----------------------------------------------------------------------------------


def notebook_path(name: str) -> Path:
    """The source of notebook `name` ("00-train"). Raises FileNotFoundError listing those there are."""
    path = from_here(f"notebooks/{name}.ipynb")
    if not path.is_file():
        there = ", ".join(sorted(found.stem for found in path.parent.glob("*.ipynb"))) or "none"
        raise FileNotFoundError(f"no notebook {path}; those there are: {there}")
    return path


def modules_used(notebook: str) -> list[Path]:
    """The files of `lib` that notebook `name` imports, directly or through another; found without running anything."""
    pending = [source for kind, source in _cells(notebook) if kind == "code"]
    found = {ROOT / "lib/__init__.py"}
    while pending:
        named = {ROOT / f"{module}.py" for module in _imported(pending.pop())}
        packages = {folder / "__init__.py" for path in named for folder in path.relative_to(ROOT).parents[:-2]}
        fresh = {path for path in named | {ROOT / path for path in packages} if path.is_file()} - found
        found |= fresh
        pending += [path.read_text() for path in fresh]
    return sorted(from_here(path) for path in found)


def code_digest(notebook: str) -> str:
    """SHA-256 (hex) of the notebook's code cells and of every module it uses: what its results rest on."""
    digest = hashlib.sha256()
    for source in [source for kind, source in _cells(notebook) if kind == "code"]:
        digest.update(f"{source}\0".encode())
    for path in modules_used(notebook):
        digest.update(f"{path.name}\0{path.read_text()}\0".encode())
    return digest.hexdigest()


def text_digest(notebook: str) -> str:
    """SHA-256 (hex) of all the notebook's cells, prose included; outputs and metadata do not count."""
    return hashlib.sha256(json.dumps(_cells(notebook)).encode()).hexdigest()


def pins() -> dict[str, list[str]]:
    """The versions that the lock names, one for each Python, of the packages that can change a number."""
    lock = (ROOT / LOCK).read_text()
    return {name: re.findall(rf"^{re.escape(name)}==([^\s;\\]+)", lock, re.MULTILINE) for name in PACKAGES}


def _cells(notebook: str) -> list[tuple[str, str]]:
    path = notebook_path(notebook)
    try:
        cells = json.loads(path.read_text())["cells"]
        return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a notebook ({type(error).__name__}: {error})") from error


@cache
def _imported(source: str) -> frozenset[str]:
    # What does not parse counts as importing nothing: it will say what is wrong with it when it is executed.
    plain = "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in source.splitlines())
    try:
        nodes = list(ast.walk(ast.parse(plain)))
    except SyntaxError:
        return frozenset()
    dotted = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            package = ("lib." if node.level else "") + (node.module or "")
            dotted += [f"{package.rstrip('.')}.{alias.name}" for alias in node.names]
    ours = [name.split(".") for name in dotted if name.startswith("lib.")]
    return frozenset("/".join(name[:length]) for name in ours for length in range(2, len(name) + 1))


# ---- reading and checking study.yaml ------------------------------------------------------------------------------


def _study() -> dict:
    path = ROOT / FILE
    return _read_study(path, path.stat().st_mtime_ns)


@cache
def _read_study(path: Path, changed: int) -> dict:
    try:
        study = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{FILE} is not YAML: {' '.join(str(error).split())}") from error
    _check_keys(study, ("defaults", "profiles"), FILE)
    defaults, profiles = study.get("defaults", {}), study.get("profiles", {})
    _check_profile(defaults, f"{FILE}: defaults")
    _check_keys(profiles, profiles, f"{FILE}: profiles")
    for name, entry in profiles.items():
        _check(name, NAME, f"{FILE}: profiles")
        _check_profile(entry, f"{FILE}: profiles.{name}")
        profiles[name] = _merge(defaults, entry)
        _check_complete(profiles[name], f"{FILE}: profiles.{name}")
    return {"profiles": profiles}


def _merge(defaults: dict, entry: dict) -> dict:
    sections = [key for key, kind in PROFILE.items() if isinstance(kind, dict)]
    return defaults | entry | {key: defaults.get(key, {}) | entry.get(key, {}) for key in sections}


def _check_profile(entry: object, where: str) -> None:
    _check_keys(entry, PROFILE, where)
    for key, value in entry.items():
        _check(value, PROFILE[key], f"{where}.{key}", by=MAPPED.get(key))


def _check(value: object, kind: Kind | dict, where: str, *, by: Kind | None = None) -> None:
    if isinstance(kind, dict):
        _check_keys(value, kind, where)
        for key, part in value.items():
            _check(part, kind[key], f"{where}.{key}", by=by)
    elif by is not None and isinstance(value, dict):
        for name, part in value.items():
            _check(name, by, where)
            _check(part, kind, f"{where}.{name}")
    elif not kind.accepts(value):
        raise ValueError(f"{where} must be {kind.description}, not {value!r}")


def _check_complete(entry: dict, where: str) -> None:
    for key in PROFILE:
        if key not in entry:
            raise ValueError(f"{where}.{key} is missing, and the defaults have none")
    if not isinstance(entry["runs"], dict) or not entry["runs"]:
        raise ValueError(f"{where}.runs must be a mapping from data set to networks, not {entry['runs']!r}")
    for section, kinds in PROFILE.items():
        names = RULES if section == "cluster" else entry["runs"]
        for key in kinds if isinstance(kinds, dict) else ():
            if key not in entry[section]:
                raise ValueError(f"{where}.{section}.{key} is missing, and the defaults have none")
            value = entry[section][key]
            for name in names if isinstance(value, dict) else ():
                if name not in value:
                    raise ValueError(f"{where}.{section}.{key} has no value for {name}, only for {', '.join(value)}")


def _check_keys(value: object, valid: Iterable[str], where: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a mapping, not {value!r}")
    for key in value:
        if key not in valid:
            raise ValueError(f"{where}: unknown key {key!r}: valid are {', '.join(valid)}")


def _one_of(value: object, valid: Iterable[str], what: str, where: str = "") -> None:
    if value not in (valid := list(valid)):
        raise ValueError(f"{where}unknown {what} {value!r}: valid are {', '.join(valid)}")


def _settled(settings: Mapping[str, object], name: str) -> dict[str, object]:
    return {key: value[name] if isinstance(value, dict) else value for key, value in settings.items()}
