"""benchmark.comparisons: what is compared is as the README says, and comes as a table."""

from importlib.metadata import version

import pandas
import pytest

from lib import importance
from lib.benchmark import command, obvious, subjects
from lib.benchmark.measuring import peak


def test_scoring_takes_no_more_memory_than_a_plain_pass_and_the_same_for_more(small):
    model, images, labels = small
    images, labels = images.repeat(8, 1, 2, 2), labels.repeat(8)  # two minibatches
    there = [*model.parameters(), *model.buffers(), images, labels]
    plain = peak(lambda: obvious.plain_pass(model, images, labels), there)
    model.zero_grad(set_to_none=True)

    def scoring(count, criteria):
        return peak(lambda: importance.score(model, [(images, labels)] * count, criteria), there)

    one = scoring(1, ["sq"])
    assert one <= plain
    assert scoring(4, ["sq"]) == pytest.approx(one, rel=0.02)
    assert scoring(1, subjects.SETS["one cotangent"]) == pytest.approx(one, rel=0.05)


def test_quick_memory_comes_as_a_table(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(subjects, "BATCH", 2)
    monkeypatch.setattr(subjects, "weights", lambda network: "random")
    words = ["--quick", "--threads", "1", "--device", "cpu", "--only", "memory"]
    assert command.main([*words, "--folder", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["memory.csv"]  # nothing to draw
    table = pandas.read_csv(tmp_path / "memory.csv")
    assert set(table["device"]) == {"cpu"} and set(table["threads"]) == {1}
    assert set(table["torch"]) == {version("torch")} and {"date", "commit"} <= set(table)
    assert "memory" in capsys.readouterr().out
