"""study.parts: what an interrupted computation finished is taken up, and nothing of another one."""

import pandas
import pytest

from lib.study.parts import Parts


def made(calls, value):
    def make():
        calls.append(value)
        return pandas.DataFrame({"value": [value], "name": ["a"]})

    return make


def test_each_part_is_made_once_whoever_asks(tmp_path):
    calls = []
    first = [Parts(tmp_path / "parts", ["code", 1], "one").table(["curves", n], made(calls, n)) for n in (0, 1)]
    again = [Parts(tmp_path / "parts", ["code", 1], "one").table(["curves", n], made(calls, n)) for n in (0, 1, 2)]
    assert calls == [0, 1, 2]
    for one, other in zip(first, again, strict=False):
        pandas.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_part_of_something_else_is_not_taken_up_and_goes(tmp_path):
    calls = []
    Parts(tmp_path, "old code", "one").table("x", made(calls, 1))
    found = Parts(tmp_path, "new code", "one").table("x", made(calls, 2))
    assert found["value"].tolist() == [2]
    assert len(list(tmp_path.iterdir())) == 1


def test_what_fails_leaves_what_was_finished(tmp_path):
    def fail():
        raise RuntimeError("no")

    calls, parts = [], Parts(tmp_path, 1, "one")
    parts.table("x", made(calls, 1))
    with pytest.raises(RuntimeError, match="no"):
        parts.table("y", fail)
    parts.table("x", made(calls, 1))
    parts.table("y", made(calls, 2))
    assert calls == [1, 2]


@pytest.mark.parametrize("damage", [b"", b"PAR1 and no more"])
def test_a_damaged_part_is_made_again(tmp_path, damage):
    calls, parts = [], Parts(tmp_path, 1, "one")
    parts.table("x", made(calls, 1))
    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(damage)
    again = Parts(tmp_path, 1, "one")
    assert again.table("x", made(calls, 1))["value"].tolist() == [1]
    assert (calls, again.taken) == ([1, 1], 0)
    again.table("x", made(calls, 1))
    assert (calls, again.taken) == ([1, 1], 1)


def test_what_else_lies_there_is_no_hindrance(tmp_path):
    (tmp_path / "stray").write_text("of an editor")
    assert Parts(tmp_path, 1, "one").table("x", made([], 1))["value"].tolist() == [1]


def test_it_is_known_on_what_each_part_was_made(tmp_path):
    first = Parts(tmp_path, 1, "one processor")
    first.table("x", made([], 1))
    assert first.devices == ["one processor"]
    second = Parts(tmp_path, 1, "another")
    assert second.table("x", made([], 2))["value"].tolist() == [1]
    assert second.devices == ["one processor"]
    fresh = second.table("y", made([], 3))
    assert (second.devices, second.taken, fresh.attrs) == (["one processor", "another"], 1, {})
