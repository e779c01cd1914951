"""benchmark.subjects: what is made up for benchmarks is the same each time."""

import torch

from lib.benchmark.subjects import Generated


def test_generated_images_depend_on_their_numbers_alone():
    whole = torch.cat([images for images, _, _ in Generated(70, pixels=4)])
    assert whole.shape == (70, 3, 4, 4) and len(whole.unique()) == whole.numel()
    shares = [Generated(70, pixels=4).share(rank, 2, 32) for rank in range(2)]
    assert [(share.start, share.end) for share in shares] == [(0, 32), (32, 70)]
    assert torch.equal(torch.cat([images for share in shares for images, _, _ in share]), whole)
    assert torch.cat([indices for _, _, indices in shares[1]]).tolist() == list(range(32, 70))
    assert len(Generated(70).first(3)) == 3
