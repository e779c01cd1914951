"""lib.system.whole_files: the new file whole, or the old one as it was."""

import resource
import signal
from contextlib import contextmanager

import pytest

from lib.system.whole_files import written_whole


@pytest.mark.parametrize(("by_ending", "aside"), [(False, "a.b.csv.part"), (True, "a.b.part.csv")])
def test_the_file_meant_changes_at_the_end_and_at_once(tmp_path, by_ending, aside):
    path = tmp_path / "new/a.b.csv"
    for text in ("one", "two"):
        before = path.read_text() if path.exists() else None
        with written_whole(path, by_ending=by_ending) as part:
            assert part == path.with_name(aside) and not part.exists()
            part.write_text(text)
            assert (path.read_text() if path.exists() else None) == before
        assert path.read_text() == text and [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_is_stopped_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path, error):
    (tmp_path / "a").write_text("old")
    with pytest.raises(error), written_whole(tmp_path / "a") as aside:
        aside.write_text("half")
        raise error
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "old")]


def test_what_a_killed_process_has_left_is_not_written_into(tmp_path):
    (tmp_path / "a.part").write_text("half")
    with written_whole(tmp_path / "a") as aside:
        assert not aside.exists()
        aside.write_text("new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "new")]


def test_a_file_that_was_not_written_is_told_and_leaves_the_old_one(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "a"):
        pass
    assert (tmp_path / "a").read_text() == "old"


@contextmanager
def no_room():
    """While open, no file of this process may become larger than 100 bytes: what is written behind that fails as on a
    full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_where_there_is_no_room_nothing_of_it_stays(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(OSError), no_room(), written_whole(path) as aside, open(aside, "wb", buffering=0) as file:
        assert file.write(bytes(200)) == 100  # half a file
        file.write(bytes(100))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "old")]
