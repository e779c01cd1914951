"""The front door: numbers as they are typed, what is measured, what is stale, and one process at a time."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from lib.running import reproduce
from lib.study import digests, profiles, vocabulary


def test_measured_seeds_are_those_of_which_every_run_is_there(root):
    profile = profiles.load("little", [0, 1, 2])
    with pytest.raises(FileNotFoundError, match="no seed is measured yet"):
        reproduce.measured_seeds(profile)
    for run in profile.runs:
        if run.seed != 1 or run.network != "vgg8":
            run.folder.mkdir(parents=True, exist_ok=True)
            run.executed("10-measure").touch()
    assert reproduce.measured_seeds(profile) == [0, 2]


@pytest.mark.parametrize(("text", "seeds"), [("", None), (" ", None), ("0 1 2", [0, 1, 2]), (" 3\t1\n", [3, 1])])
def test_seeds_are_read(text, seeds):
    assert reproduce.parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["0; touch x", "-1", "1.5", "$(touch x)", "one", "²", "٣", "0 --x", "0,1", "0, 1", "0-2"]
)
def test_what_is_not_seeds_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match=r'is not a whole number, 0 or more: write SEEDS="0 1 2"$') as caught:
        reproduce.parse_seeds(text)
    assert "\n" not in str(caught.value)


def test_jobs_are_read_and_by_default_fill_the_cores(monkeypatch):
    assert reproduce.parse_jobs("3", threads=2) == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)), raising=False)
    assert [reproduce.parse_jobs("", threads) for threads in (1, 2, 8)] == [7, 3, 1]
    for text in ("0", "-1", "two", "1;x"):
        with pytest.raises(ValueError, match="JOBS="):
            reproduce.parse_jobs(text, 1)


def test_a_profile_is_run_by_one_process_at_a_time(root):
    profile = replace(profiles.load("little"), results=str(root / "results"))
    error = f"PROFILE=little is being run already, by process {os.getpid()}"
    with reproduce.alone(profile), pytest.raises(RuntimeError, match=error), reproduce.alone(profile):
        pytest.fail("two at a time")
    with reproduce.alone(profile):
        assert profile.folder.is_dir()


def seen(plan):
    return [digests.fingerprint(folder) for folder in plan.larger_folders]


@pytest.fixture
def ran_by_hand(tmp_path):
    """The smoke profile, with executed copies and records of two notebooks that are up to date."""
    plan = profiles.load("smoke", data=str(tmp_path / "data"), results=str(tmp_path / "results"))
    plan = replace(plan, notebooks=("30-sign", vocabulary.LARGER_NETWORKS))
    for notebook in plan.notebooks:
        plan.executed(notebook).parent.mkdir(parents=True, exist_ok=True)
        plan.executed(notebook).touch()
        both = {"measuring": plan.measuring, "larger": plan.larger}
        record = {"settings": both, "code": digests.code(notebook), "data": seen(plan)}
        plan.record(notebook).write_text(json.dumps(record))
    return plan


def test_larger_networks_are_stale_with_other_settings_of_theirs_or_other_images(ran_by_hand):
    def stale(plan):
        data = {"digits": ["of train", "of test"], vocabulary.LARGER_NETWORKS: seen(plan)}
        return [Path(path).stem for path in reproduce.stale(plan, data)]

    assert stale(ran_by_hand) == []
    assert stale(replace(ran_by_hand, larger=ran_by_hand.larger | {"repeats": 9})) == [vocabulary.LARGER_NETWORKS]
    assert stale(replace(ran_by_hand, measuring=ran_by_hand.measuring | {"draws": 9})) == ["30-sign"]
    (ran_by_hand.larger_folders[1] / "cat").mkdir(parents=True)
    assert stale(ran_by_hand) == [vocabulary.LARGER_NETWORKS]
