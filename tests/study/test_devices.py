"""The devices that names stand for."""

import pytest

from lib.study import devices


def test_cuda_without_cuda_says_what_to_do(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeError, match="use DEVICE=cpu or auto"):
        devices.pick("cuda")
    assert devices.pick("auto").type == devices.pick("cpu").type == "cpu"
