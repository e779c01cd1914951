"""benchmark.subjects: what is made up for benchmarks is the same each time."""

import pandas
import torch

from lib.benchmark import subjects
from lib.benchmark.subjects import Generated


def test_generated_images_depend_on_their_numbers_alone():
    whole = torch.cat([images for images, _, _ in Generated(70, pixels=4)])
    assert whole.shape == (70, 3, 4, 4) and len(whole.unique()) == whole.numel()
    shares = [Generated(70, pixels=4).share(rank, 2, 32) for rank in range(2)]
    assert [(share.start, share.end) for share in shares] == [(0, 32), (32, 70)]
    assert torch.equal(torch.cat([images for share in shares for images, _, _ in share]), whole)
    assert torch.cat([indices for _, _, indices in shares[1]]).tolist() == list(range(32, 70))
    assert len(Generated(70).first(3)) == 3


def test_rankings_are_the_published_ones_on_most_images(monkeypatch, tmp_path):
    rows = [("l2", 0, 0, 0.5, 1), ("l2", 0, 0, 0.25, 0), ("sq", 10, 0, 9.0, 0), ("sq", 10, 0, 9.0, 1)]
    rows += [("sq", 50, 1, 8.0, 0), ("sq", 50, 1, 8.0, 1), ("sq", 50, 0, 1.0, 1), ("sq", 50, 0, 2.0, 0)]
    table = pandas.DataFrame(rows, columns=["criterion", "examples", "draw", "score", "unit"])
    table.to_parquet(tmp_path / "scores.parquet")
    monkeypatch.setattr(subjects, "weights", lambda network: str(tmp_path / "checkpoint.safetensors"))
    found = subjects.rankings("resnet20", ["sq", "l2"])
    assert {name: scores.tolist() for name, scores in found.items()} == {"sq": [2, 1], "l2": [0.25, 0.5]}
    monkeypatch.setattr(subjects, "weights", lambda network: "random")
    assert subjects.rankings("resnet20", ["sq"]) == {}
