"""lib.report.tool: a table and commands as the pages quote them."""

import pandas
import pytest

from lib.report import tool


@pytest.fixture
def path(tmp_path):
    columns = [
        "trial",
        "network",
        "data",
        "images",
        "tested",
        "criterion",
        "per_cost",
        "done",
        "accuracy",
        "multiply_adds",
    ]
    columns += ["epochs", "command"]
    rows = [
        ("one", "a", "pets", 1300, 1000.0, "sq", True, "whole", 0.82, 0.7996, 12, "python -m lib.prune a"),
        ("one", "a", "pets", 1300, 1000.0, "sq", True, "shrunk", 0.5, 0.7996, 12, "python -m lib.prune a"),
        ("one", "a", "pets", 1300, 1000.0, "sq", True, "distilled", 0.7, 0.7996, 12, "python -m lib.prune a"),
        ("more", "a", "pets", 1300, 1000.0, "sq", True, "whole", 0.82, 0.7996, 5, "python -m lib.prune a --other"),
        ("more", "a", "pets", 1300, 1000.0, "sq", True, "fine-tuned", 0.6, 0.7996, 5, "python -m lib.prune a --other"),
        ("two", "a", "pets", 50, 10000.0, "l2", False, "whole", 0.82, 0.5, 3, "python -m lib.prune a --more"),
        ("two", "a", "pets", 50, 10000.0, "l2", False, "fine-tuned", 0.71, 0.5, 3, "python -m lib.prune a --more"),
    ]
    pandas.DataFrame(rows, columns=columns).to_csv(tmp_path / "prune.csv", index=False)
    return tmp_path / "prune.csv"


def test_a_row_for_each_trial_with_the_steps_that_any_has(path):
    assert tool.table(path).splitlines() == [
        "| network | ranked and trained on | multiply-adds gone | goes first: the lowest | whole | shrunk | distilled "
        "| fine-tuned | epochs | test images |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| `a` | 1,300 of pets | 20 % | `sq` per multiply-add | 82.0 % | 50.0 % | 70.0 % |  | 12 | 1,000 |",
        "| `a` | 1,300 of pets | 20 % | `sq` per multiply-add | 82.0 % |  |  | 60.0 % | 5 | 1,000 |",
        "| `a` | 50 of pets | 50 % | `l2` | 82.0 % |  |  | 71.0 % | 3 | 10,000 |",
        "",
        "*Test accuracy after each step; every row is one run.*",
    ]


def test_networks_that_were_trained_are_set_beside_those_by_weight_magnitude(path):
    table = pandas.read_csv(path).replace({"criterion": {"sq": "sq:rand:norm"}}).assign(parameters=0.8)
    other = table[table["trial"].isin(["one", "more"])].replace({"trial": {"one": "w", "more": "v"}})
    other = other.assign(criterion="l2", per_cost=False, accuracy=0.66, parameters=0.6)
    pandas.concat([table, other]).to_csv(path, index=False)
    said = (
        "per multiply-add ended at +4.0 points distilled (`a`) and -6.0 points fine-tuned (`a`); it kept 80 % of the "
    )
    said += "parameters, `l2` 60 %.*"
    assert tool.table(path).endswith(f" Set against `l2`, `sq:rand:norm` {said}")


def test_each_command_is_named_once(path):
    commands = [f"python -m lib.prune a{more}" for more in ("", " --other", " --more")]
    assert tool.commands(path) == "\n".join(["```sh", *commands, "```"])
