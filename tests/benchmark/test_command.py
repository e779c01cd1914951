"""benchmark.command: what is said on the terminal."""

import subprocess

import pandas
import pytest

from lib.benchmark import command


@pytest.fixture
def one_table(monkeypatch):
    """A benchmark of two rows, one of which is wide."""
    found = {"network": "resnet20", "task": ["plain pass", "one cotangent"], "seconds": [1.0, 1.0]}
    found |= {"seconds_low": [1.0, 0.5], "seconds_high": [2.0, 1.1], "share": [1.0, 1.0], "batch": 64}
    monkeypatch.setitem(command.BENCHMARKS, "curves", lambda effort: pandas.DataFrame(found))
    return ["--quick", "--device", "cpu", "--only", "curves"]


@pytest.mark.parametrize(("load", "busy"), [(1.0, False), (1.1, True)])
def test_a_busy_machine_and_wide_quartiles_are_told(one_table, load, busy, monkeypatch, capsys):
    monkeypatch.setattr(command.os, "getloadavg", lambda: (load, 9.0, 9.0))
    monkeypatch.setattr(command.reproduce, "cores", lambda: 2)
    assert command.main(one_table) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line.startswith("The load average is 1.1 on 2 cores") for line in said] == [True, False][not busy :]
    assert said[-1].startswith("curves: in 1 of 2 rows the upper quartile of the seconds is over 2 times the lower")


def test_the_terminal_shows_main_columns_and_facts_once(one_table, capsys):
    assert command.main(one_table) == 0
    facts, _, name, header, *rows = capsys.readouterr().out.splitlines()
    assert ", device cpu, device_name " in facts and ", threads 2, torch " in facts and name == "curves"
    assert header.split() == [
        "network", "task", "seconds", "seconds_low", "seconds_high", "share",
    ] and len(rows) == 2  # fmt: skip


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--device", "gpu"], "unknown device 'gpu': valid are auto, cpu, cuda"),
        (["--threads", "0"], "THREADS='0' is not a whole number, 1 or more: write THREADS=2"),
    ],
)
def test_bad_input_is_one_line(words, line, capsys):
    assert command.main(["--quick", *words]) == 1
    assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize(("quick", "is_quick"), [("1", True), ("0", False), ("", False)])
def test_make_takes_zero_for_no(quick, is_quick):
    words = ["make", "--dry-run", "PYTHON=python3", "benchmark", f"QUICK={quick}", "THREADS=1"]
    said = subprocess.run(words, cwd=command.paths.ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in said.splitlines() if "lib.benchmark.command" in line]
    assert ("--quick" in line) == is_quick and '--threads="$THREADS"' in line
