"""analyses.normalisation: thirds of classes."""

import pytest
from by_hand import rows

from lib.study.analyses import normalisation


def test_what_normalising_adds_in_each_third_of_the_classes():
    names = "criterion examples auc_relative auc_relative_common auc_relative_middle auc_relative_rare"
    tail = rows(names, ("sq", 9, 0.7, 0.9, 0.7, 0.5), ("sq:norm", 9, 0.7, 0.8, 0.7, 0.8), sample="long-tailed")
    found = normalisation.band_contrasts(normalisation.by_band(tail), {"sq:norm": "sq"})
    assert found["classes"].tolist() == ["common", "middle", "rare"]
    assert found["effect"].tolist() == pytest.approx([-0.1, 0, 0.3])
