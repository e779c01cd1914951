"""What study.yaml may say: each setting in one line, with its type and its limits, and what is said of a wrong one.

Enters: study.yaml, whose head says what each setting means. Leaves: its profiles as they are written there, as plain
dictionaries, each with what it has from the defaults; or a ValueError in one line that names the place in the file,
what is there and what may be. Nothing is converted on the way: 1.0 is no whole number, and "3" is no number.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from lib.study import paths
from lib.study.vocabulary import ALL, OPTIMIZERS, PRECISIONS, PUBLIC, REDUCTIONS, RULES, TUNING

ONE, EACH = "one value", "a value for each"  # forms of a setting; where an error is, they stand behind its key

T = TypeVar("T")
K = TypeVar("K")


# ---- kinds of values ------------------------------------------------------------------------------------------------


def must_be(words: str) -> WrapValidator:
    """Beside a type: of whatever is not of that type it is said what it must be."""

    def check(value: object, accept: Callable[[object], object]) -> object:
        try:
            return accept(value)
        except ValidationError:
            raise PydanticCustomError("must be", words) from None

    return WrapValidator(check)


def mapping(words: str = "a mapping", least: int = 0) -> BeforeValidator:
    """The same of a mapping, with at least so many entries, without a word on what is wrong within it."""

    def check(value: object) -> Mapping:
        if not isinstance(value, dict) or len(value) < least:
            raise PydanticCustomError("must be", words)
        return value

    return BeforeValidator(check)


def _different(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("some are equal")
    return values


Text = Annotated[str, Field(strict=True)]
Some = Annotated[list[T], Field(strict=True, min_length=1), AfterValidator(_different)]

Whole = Annotated[int, Field(strict=True, ge=0), must_be("a whole number, 0 or more")]
Count = Annotated[int, Field(strict=True, ge=1), must_be("a whole number, 1 or more")]
Several = Annotated[int, Field(strict=True, ge=2), must_be("a whole number, 2 or more")]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Rate = Annotated[Number, Field(gt=0), must_be("a number above 0 (in YAML 1.0e-4, not 1e-4)")]
Fraction = Annotated[Number, Field(ge=0, lt=1), must_be("a number from 0 to below 1 (1.0e-4, not 1e-4)")]
Amount = Annotated[Literal["all"] | Count, must_be("a whole number, 1 or more, or all")]
Switch = Annotated[bool, Field(strict=True), must_be("true or false")]
Line = Annotated[Text, Field(pattern=re.compile(r"\A[^\n]*\Z")), must_be("a text of one line")]
Name = Annotated[Text, Field(pattern=re.compile(r"\A\w[\w.-]*\Z")), must_be("a name of letters, digits and _ . -")]
Place = Annotated[Text, Field(pattern=re.compile(r"\A\w[\w.-]*(/\w[\w.-]*)*\Z")), must_be("a path below data/")]
Digest = Annotated[Text, Field(pattern=re.compile(r"\A[0-9a-f]{64}\Z")), must_be("a SHA-256 of 64 digits 0-9 a-f")]
OwnName = Annotated[Name | None, must_be("a name of letters, digits and _ . -, or null")]
Rule = Annotated[Literal[*RULES], must_be(f"one of {', '.join(RULES)}")]
Optimizer = Annotated[Literal[*OPTIMIZERS], must_be(f"one of {', '.join(OPTIMIZERS)}")]
Precision = Annotated[Literal[*PRECISIONS], must_be(f"one of {', '.join(PRECISIONS)}")]

Names = Annotated[Some[Name], must_be("a list of different names")]
Counts = Annotated[Some[Count], must_be("a list of different whole numbers, 1 or more")]
Amounts = Annotated[Some[Amount], must_be("a list of different whole numbers, 1 or more, or all")]
Reductions = Annotated[Some[Literal[*REDUCTIONS]], must_be(f"a list of some of {', '.join(REDUCTIONS)}")]
Budget = Annotated[Text, Field(pattern=re.compile(r"\A(macs|parameters) 0\.\d+\Z"))]
Budgets = Annotated[Some[Budget], must_be("a list of different budgets, such as macs 0.5 or parameters 0.25")]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]  # what tables and torch can hold
Seeds = Annotated[Some[Seed], must_be("a list of different whole numbers, 0 or more, below 2**63")]

# One value for all, or a mapping from names to a value for each.
Each = Annotated[
    Annotated[T, Tag(ONE)] | Annotated[dict[K, T], Tag(EACH)],
    Discriminator(lambda value: EACH if isinstance(value, dict) else ONE),
]
ByData = Each[T, Name]
ByRule = Each[T, Rule]
Grid = Annotated[dict[Name, Names], mapping("a mapping from data set to networks", least=1)]


# ---- the settings ---------------------------------------------------------------------------------------------------


class Section(BaseModel):
    """A mapping whose keys are the names of its fields, each of which somebody must have set in the end."""

    model_config = ConfigDict(defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: object) -> Mapping:
        if not isinstance(value, dict):
            raise PydanticCustomError("must be", "a mapping")
        for key in value:
            if key not in (valid := cls.model_fields):
                raise PydanticCustomError("unknown key", f"unknown key {key!r}: valid are {', '.join(valid)}")
        return value


class Cluster(Section):
    """What a job asks for."""

    partition: ByRule[OwnName]
    account: ByRule[OwnName]
    qos: ByRule[OwnName]
    gpus: ByRule[Whole]
    mem_mb: ByRule[Count]
    runtime: ByRule[Count]
    options: ByRule[Line]


class Training(Section):
    """How networks are trained."""

    epochs: ByData[Count]
    batch: ByData[Count]
    learning_rate: ByData[Rate]
    momentum: ByData[Fraction]
    weight_decay: ByData[Fraction]
    warmup: ByData[Fraction]
    crop: ByData[Whole]
    flip: ByData[Switch]
    precision: ByData[Precision]
    optimizer: ByData[Optimizer]


class Measuring(Section):
    """What is measured of them, and on how many images."""

    points: ByData[Several]
    panels: ByData[Amounts]
    ablations: ByData[Amounts]
    scarcity: ByData[Amounts]
    draws: ByData[Count]
    chance: ByData[Count]
    reductions: ByData[Reductions]
    maps: ByData[Amount]
    exact: ByData[Amount]
    oracle: ByData[Count]
    repair: ByData[Several]
    test_images: ByData[Amount]
    tuned: ByData[Count]
    budgets: ByData[Budgets]
    priced: ByData[Whole]
    distilled: ByData[Whole]
    scratch: ByData[Whole]
    tuning_epochs: ByData[Rate]
    tuning_rate: ByData[Rate]
    tuning_images: ByData[Amount]
    batch: ByData[Count]


class Larger(Section):
    """What 85-larger-networks measures."""

    networks: Names
    pixels: Count
    images: Counts
    batch: Count
    points: Several
    repeats: Count
    folder: Name
    pretrained: Switch


class Given(Section):
    """Weights that others have published, and what they must be."""

    weights: Place
    sha256: Digest
    accuracy: Fraction


class Entry(Section):
    """A profile, or the defaults."""

    runs: Grid
    seeds: Seeds
    given: Annotated[dict[Name, Annotated[dict[Name, Given], mapping()]], mapping()]
    notes: Annotated[dict[Name, Line], mapping()]
    panel: Switch
    threads: Count
    cluster: Cluster
    notebooks: Names
    training: Training
    measuring: Measuring
    larger: Larger


class Study(Section):
    """The file."""

    defaults: Entry
    profiles: Annotated[dict[Name, Entry], mapping()]


# ---- reading and checking the file ----------------------------------------------------------------------------------


def read() -> dict[str, dict]:
    """The profiles of study.yaml, by name, each whole. Raises ValueError, one line, for whatever it may not say."""
    path = paths.ROOT / paths.STUDY
    return _read(path, path.stat().st_mtime_ns)


@cache
def _read(path: Path, changed: int) -> dict[str, dict]:
    try:
        study = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{paths.STUDY} is not YAML: {' '.join(str(error).split())}") from error
    _check(study, merged=False)
    defaults = study.get("defaults", {})
    profiles = {name: _merge(defaults, entry) for name, entry in study.get("profiles", {}).items()}
    _check({"defaults": defaults, "profiles": profiles}, merged=True)
    if ALL in profiles:
        taken = f"the name is taken by the report over all panels (make report PROFILE={ALL}): choose another"
        raise ValueError(f"{paths.STUDY}: profiles.{ALL}: {taken}")
    for name, entry in profiles.items():
        _check_names(entry, f"{paths.STUDY}: profiles.{name}")
    return profiles


def _merge(defaults: dict, entry: dict) -> dict:
    sections = [key for key, field in Entry.model_fields.items() if isinstance(field.annotation, type(Section))]
    return defaults | entry | {key: defaults.get(key, {}) | entry.get(key, {}) for key in sections}


def _check(study: object, *, merged: bool) -> None:
    """Raises ValueError, one line, for what is wrong; keys may be missing unless the profiles are merged."""
    try:
        Study.model_validate(study)
    except ValidationError as found:
        for error in found.errors(include_url=False):
            if error["type"] != "missing" or (merged and error["loc"][0] == "profiles"):
                raise ValueError(_line(error)) from None


def _line(error: Mapping) -> str:
    place = [str(part) for part in error["loc"]]
    if place[-1:] == ["[key]"]:  # of a mapping, whose place it is then
        place = place[:-2]
    where = ": ".join([paths.STUDY, *([".".join(part for part in place if part not in (ONE, EACH))] if place else [])])
    if error["type"] == "missing":
        return f"{where} is missing, and the defaults have none"
    if error["type"] == "unknown key":
        return f"{where}: {error['msg']}"
    return f"{where} must be {error['msg']}, not {error['input']!r}"


def _check_names(entry: Mapping[str, Mapping], where: str) -> None:
    for section, names in {"training": entry["runs"], "measuring": entry["runs"], "cluster": RULES}.items():
        for key, value in entry[section].items():
            for name in names if isinstance(value, dict) else ():
                if name not in value:
                    raise ValueError(f"{where}.{section}.{key} has no value for {name}, only for {', '.join(value)}")
    _check_given(entry, where)


def _check_given(entry: Mapping[str, Mapping], where: str) -> None:
    for dataset, networks in entry["given"].items():
        for network in networks:
            here = f"{where}.given.{dataset}.{network}"
            if network not in entry["runs"].get(dataset, ()):
                raise ValueError(f"{here} is not among the profile's runs: add it there, or leave it out here")
            if network not in PUBLIC:
                raise ValueError(f"{here}: nothing is known of its weights, only of those of {', '.join(PUBLIC)}")
    if entry["given"] and TUNING in entry["notebooks"]:
        raise ValueError(f"{where}.given: {TUNING} trains by the recipe of the run, which is not known: leave it out")


_SEEDS = TypeAdapter(Seeds, config=ConfigDict(defer_build=True))


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises ValueError, one line, for seeds that no profile may have."""
    try:
        _SEEDS.validate_python(list(seeds))
    except ValidationError as found:
        raise ValueError(f"seeds must be {found.errors()[0]['msg']}, not {list(seeds)!r}") from None
