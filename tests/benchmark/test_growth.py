"""benchmark.growth: how time and memory grow."""

import json

import pandas
import pytest

from lib.benchmark import command, growth, outcome, subjects
from lib.benchmark.measuring import exponent


def test_three_sizes_have_an_exponent():
    table = pandas.DataFrame({"grows": "images", "series": "a", "size": [1, 2, 4], "seconds": [1, 2, 4], "peak_mb": 5})
    found = growth._with_exponents(table)
    assert found["seconds_exponent"].tolist() == pytest.approx([1] * 3)
    assert found["peak_mb_exponent"].tolist() == pytest.approx([0] * 3)


def test_quick_growth_comes_without_exponents(monkeypatch, tmp_path):
    monkeypatch.setattr(subjects, "weights", lambda network: "random")
    monkeypatch.setattr(growth, "_scored_in_processes", lambda count, images, device: (8 / count, 5.0))
    names = ["growth-images", "growth-units", "growth-criteria", "growth-processes"]
    words = ["--quick", "--threads", "1", "--device", "cpu", "--folder", str(tmp_path), "--only", *names]
    assert command.main(words) == 0
    tables = {name: pandas.read_csv(tmp_path / f"{name}.csv") for name in names}
    for name, table in tables.items():
        assert set(table["grows"]) == {name.removeprefix("growth-")}
        assert (table["size"] == table[name.removeprefix("growth-")]).all()
        for _, part in table.groupby("series"):
            for what in ("seconds", "peak_mb"):
                expected = exponent(part["size"], part[what])
                assert part[f"{what}_exponent"].tolist() == pytest.approx([expected] * len(part), nan_ok=True)
    first, second = tables["growth-images"]["peak_mb"]
    assert second == pytest.approx(first, rel=0.03)  # whatever their number
    assert tables["growth-units"].groupby("series")["size"].apply(list).to_dict() == {
        "width": [84, 168], "depth": [336, 560],
    }  # fmt: skip
    assert all(table[["seconds_exponent", "peak_mb_exponent"]].isna().all(axis=None) for table in tables.values())
    assert outcome.shares(tmp_path, command.BENCHMARKS).empty


def test_a_process_measures_its_own_part(tmp_path):
    with command._threads(1):
        growth._score_as_one_of(0, 1, 8, "cpu", str(tmp_path))
    seconds, peak_mb = json.loads((tmp_path / "rank-0").read_text())
    weights = 0.3  # MB of ResNet-20 with 100 classes, at the very least
    assert seconds > 0 and peak_mb > weights
