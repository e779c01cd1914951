"""lib.network.saving: whole files, or none."""

import os
import stat

import pytest
import torch
from safetensors import SafetensorError

from lib.network import saving


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_have_the_rights_that_any_new_file_has(tmp_path, mask):
    before = os.umask(mask)
    (tmp_path / "a.safetensors.part").touch(0o600)  # of a process that was killed
    try:
        saving.write(tmp_path / "a.safetensors", {"x": torch.zeros(2)}, {})
        (tmp_path / "b").touch()
    finally:
        os.umask(before)
    one, other = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.safetensors", "b"))
    assert one == other == 0o666 & ~mask


def test_a_full_disk_leaves_the_file_as_it_was_and_is_told_by_its_name(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    saving.write(path, {"x": torch.ones(2)}, {"a": "b"})

    def full(tensors, aside, metadata):
        aside.write_bytes(b"half")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(saving, "save_file", full)
    with pytest.raises(OSError, match=r"a\.safetensors cannot be written \(No space left on device\)"):
        saving.write(path, {"x": torch.zeros(2)}, {})
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    tensors, metadata = saving.read(path)
    assert tensors["x"].tolist() == [1, 1] and metadata == {"a": "b"}
