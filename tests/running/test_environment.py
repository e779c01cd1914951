"""One lock for everybody: pip and conda users get the versions of requirements.lock, and it answers pyproject.toml."""

import os
import re
import subprocess
import sys
import tomllib
from functools import cache

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from lib.running import requirements
from lib.study.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
CLEAN = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
STUDY = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["study"]]
ALL_OF_THE_STUDY, *TESTS = PROJECT["optional-dependencies"]["test"]
WANTED = [*STUDY, *TESTS]


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


def test_what_tests_need_is_what_the_study_needs_and_more():
    assert f"{PROJECT['name']}[study]" == ALL_OF_THE_STUDY


def test_the_commands_need_nothing_of_the_study():
    names = {"scikit-learn": "sklearn", "pyyaml": "yaml"}
    others = [names.get(name, name.replace("-", "_")) for name in PROJECT["optional-dependencies"]["study"]]
    code = f"import sys; sys.modules.update(dict.fromkeys({others})); import lib.prune.__main__"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=CLEAN | {"PYTHONPATH": str(ROOT)}, check=True)


def test_the_lock_names_exact_versions_with_hashes_and_no_addresses():
    for requirement, entry in locked():
        assert [clause.operator for clause in requirement.specifier] == ["=="], requirement
        assert "--hash=sha256:" in entry, requirement
    assert "://" not in LOCK
    assert "index-url" not in LOCK.replace("--no-emit-index-url", "")


def test_weights_from_packages_have_a_lock_of_their_own():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["weights"]
    text = (ROOT / "weights.lock").read_text()
    assert re.findall(r"^([\w-]+)==[\d.]+ \\\n    --hash=sha256:", text, re.MULTILINE) == wanted
    assert "://" not in text


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


# ---- an interpreter that is used as it is -------------------------------------------------------------------------


def test_this_interpreter_lacks_nothing(capsys):
    assert requirements.missing() == [] and requirements.main() == 0
    assert capsys.readouterr() == ("", "")


def test_a_bare_interpreter_is_told_in_one_line_what_it_lacks(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # -S: nothing but Python's own
    bare.chmod(0o755)
    words = ["make", "reproduce", f"PYTHON={bare}", "PROFILE=smoke"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    line, *made = done.stderr.splitlines()
    first, second, third = PROJECT["dependencies"][:3]
    assert done.returncode and all(said.startswith("make") for said in made)
    assert f"has no {first}, {second}, {third} and {len(STUDY) - 3} more: " in line
    assert line.endswith("-m pip install -r requirements.lock, or leave PYTHON out, so that make sets up .venv")


def test_a_single_missing_package_is_named_alone(monkeypatch, capsys):
    monkeypatch.setattr(requirements, "_is_there", lambda name: name != "safetensors")
    assert requirements.main() == 1
    assert "has no safetensors: " in capsys.readouterr().err


def test_torchs_build_for_the_cpu_is_as_good(monkeypatch, capsys):
    builds = {"torch": "2.14.1+cpu", "torchvision": "0.29.1+cpu"}
    monkeypatch.setattr(requirements, "version", lambda name: builds.get(name, "1.0"))
    assert requirements.main() == 0
    assert capsys.readouterr() == ("", "")
    for name, build in builds.items():  # which is what the lock has, for those who install by it
        assert Requirement(f"{name}=={next(iter(versions(name)))}").specifier.contains(build)


def test_an_old_interpreter_is_told_its_age(monkeypatch, capsys):
    monkeypatch.setattr(requirements.sys, "version_info", (3, 10, 1))
    assert requirements.main() == 1
    assert "is Python 3.10, but the study needs 3.11 or newer, or leave PYTHON out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["reproduce", "THREADS=2"], "make reproduce takes no THREADS: leave it out."),
        (["test", "PROFILE=smoke"], "make test takes no PROFILE: leave it out."),
        (["SEEDS=1"], "make help takes no SEEDS: leave it out."),
        (["benchmark", "QUICK=no"], "QUICK=no is neither 0 nor 1: write QUICK=1."),
        (["-e", "help"], "make -e lets the environment change this file: leave it out."),
        (["help", "MAKEFILES=mine"], "unknown variable MAKEFILES: valid are PROFILE SEEDS DEVICE"),
    ],
)
def test_what_make_does_not_take_is_refused_in_one_line(words, line):
    done = subprocess.run(["make", *words], cwd=ROOT, env=CLEAN, capture_output=True, text=True)
    assert done.returncode and done.stdout == "" and done.stderr.count("\n") == 1
    assert line in done.stderr


def test_what_the_environment_says_by_chance_is_used_and_said():
    given = CLEAN | {"DATA": "$(shell touch x)", "PYTHON": sys.executable}
    done = subprocess.run(["make", "reproduce"], cwd=ROOT, env=given, capture_output=True, text=True)
    data, python, refused, _ = done.stderr.splitlines()
    assert data.endswith("DATA=$(shell touch x) is from the environment")
    assert python.endswith(f"PYTHON={sys.executable} is from the environment")
    assert refused.startswith("DATA=$(shell touch x): there is no such folder")


def test_other_makefiles_may_not_change_this_one(tmp_path):
    (tmp_path / "mine").write_text("KNOWN := NOTHING\n")
    given = CLEAN | {"MAKEFILES": f"{tmp_path}/mine"}
    done = subprocess.run(["make", "help"], cwd=ROOT, env=given, capture_output=True, text=True)
    assert done.returncode and "MAKEFILES is set in the environment" in done.stderr


def test_make_help_tells_every_variable():
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    makefile = (ROOT / "Makefile").read_text()
    variables = re.findall(r"^([A-Z_]+) \?=$|^([A-Z_]+) \?= \w+$", makefile, flags=re.MULTILINE)
    names = {first or second for first, second in variables} | {"PYTHON"}
    assert {"QUICK", "JOBS", "DATA"} < names
    assert {name for name in names if f"{name}=" not in said} == set()
    assert "as many as there are cores for" in said and "expand" not in said
