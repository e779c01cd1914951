"""One lock for everybody: pip and conda users get the versions of requirements.lock, and it answers pyproject.toml."""

import re
import tomllib
from functools import cache

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from lib.profiles import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
WANTED = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]


@cache
def locked() -> list[tuple[Requirement, str]]:
    """Every requirement of the lock, with its text down to the next."""
    entries = re.split(r"^(?=\w)", re.sub(r"^#.*\n|^ +#.*\n", "", LOCK, flags=re.MULTILINE), flags=re.MULTILINE)
    return [(Requirement(re.split(r"\\\n", entry)[0].strip()), entry) for entry in entries if entry.strip()]


def versions(name: str) -> set[str]:
    found = [requirement for requirement, _ in locked() if canonicalize_name(requirement.name) == name]
    return {next(iter(requirement.specifier)).version for requirement in found}


@pytest.mark.parametrize("wanted", [Requirement(wanted) for wanted in WANTED], ids=str)
def test_the_lock_answers_every_dependency_at_an_allowed_version(wanted):
    found = versions(canonicalize_name(wanted.name))
    assert found
    assert all(version in wanted.specifier for version in found)


def test_the_lock_names_exact_versions_with_hashes_and_no_addresses():
    for requirement, entry in locked():
        assert [clause.operator for clause in requirement.specifier] == ["=="], requirement
        assert "--hash=sha256:" in entry, requirement
    assert "://" not in LOCK
    assert "index-url" not in LOCK.replace("--no-emit-index-url", "")


def test_torch_and_torchvision_are_a_matched_pair():
    assert (versions("torch"), versions("torchvision")) == ({"2.14.1"}, {"0.29.1"})


def test_conda_users_install_the_lock_and_nothing_beside_it():
    pip = [entry["pip"] for entry in CONDA if isinstance(entry, dict)]
    assert pip == [["-r requirements.lock"]]
    others = {re.split("[=<>]", entry)[0] for entry in CONDA if isinstance(entry, str)}
    assert others == {"python", "pip", "make", "git"}


def test_conda_gives_a_python_that_the_project_and_the_lock_allow():
    (python,) = (entry for entry in CONDA if isinstance(entry, str) and entry.startswith("python="))
    version = python.removeprefix("python=")
    assert version in SpecifierSet(PROJECT["requires-python"])
    environment = {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": "linux"}
    there = {
        canonicalize_name(requirement.name)
        for requirement, _ in locked()
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }
    assert {canonicalize_name(Requirement(wanted).name) for wanted in WANTED} <= there
