"""study.sampling: what is drawn of a long-tailed set."""

from collections import Counter

import torch

from lib.study import sampling


def test_bands_are_thirds_of_the_classes_by_how_often_they_are_drawn():
    labels = torch.arange(10).repeat(100)
    drawn = Counter(labels[sampling.long_tailed(labels, 5)].tolist())
    bands = sampling.bands(torch.arange(10), 10, 5)
    assert torch.stack(list(bands.values())).sum(0).tolist() == [1] * 10
    counts = [{drawn[label] for label in bands[name].nonzero().flatten().tolist()} for name in sampling.BANDS]
    assert [len(each) for each in counts] == [4, 3, 3]
    assert min(counts[0]) > max(counts[1]) > min(counts[1]) > max(counts[2])
