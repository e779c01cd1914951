"""benchmark.peers: other tools find what this study's code finds."""

import pytest
import torch

from lib import importance
from lib.benchmark import peers


@pytest.mark.parametrize("name", ["hooks and loss.backward()", "captum"])
def test_peers_find_what_scoring_finds(name, small):
    if name == "captum":
        pytest.importorskip("captum", reason="captum is of the bench extra")
    model, images, labels = small
    expected = importance.score(model, [(images, labels)], ["taylorfo"])["taylorfo"]
    for _ in range(2):
        found = peers.PEERS[name](model, images, labels)()
        torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-5 * expected.max().item())
    assert not any(module._forward_hooks for module in model.modules())


def test_torch_pruning_rates_every_group(small):
    model, images, labels = small
    scores = peers.torch_pruning(model, images, labels)()
    assert len(scores) == 16 + 16 + 32 + 32 + 64 + 64  # channels that a stream ties together count once
    assert scores.isfinite().all() and (scores > 0).any()


def test_a_missing_peer_is_left_out_with_a_message(small, monkeypatch, capsys):
    model, images, labels = small

    def missing(*_):
        raise ImportError("No module named 'captum'")

    monkeypatch.setitem(peers.PEERS, "captum", missing)
    calls = peers.installed(model, [(images, labels)])
    assert list(calls) == ["hooks and loss.backward()", "torch-pruning"]
    assert "captum is left out: it is not installed (" in capsys.readouterr().err


def test_torch_pruning_shrinks_a_copy_by_half(small):
    model, images, labels = small
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = peers.shrinking(model, images, labels)["torch-pruning"]()
    assert sum(p.numel() for p in found.parameters()) < 0.5 * sum(p.numel() for p in model.parameters())
    assert found(images).shape == (8, 10)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
