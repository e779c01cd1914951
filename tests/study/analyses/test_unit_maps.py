"""analyses.unit_maps: the maps of the first layer, the most important unit's first."""

from types import SimpleNamespace

import pytest
import torch
from by_hand import rows

from lib import importance
from lib.study import loading, sampling
from lib.study.analyses import unit_maps


@pytest.fixture
def plan(run, monkeypatch):
    """Scores that rise with the unit, on the most examples."""
    monkeypatch.setattr(loading, "complete", lambda _: None)
    count = sum(
        unit.size for unit in importance.units(loading.model(run, "cpu"), sampling.Data.of(run, "cpu").test_images[:1])
    )
    up = [("sq", 100, unit, float(unit)) for unit in range(count)]
    down = [("sq", 10, unit, -float(unit)) for unit in range(count)]
    rows("criterion examples unit score", *up, *down, seed=0).to_parquet(run.scores)
    return SimpleNamespace(runs=[run])


def test_maps_are_of_the_first_layer_by_score(plan, run):
    image, maps, units = unit_maps.of_first_layer(plan, "sq")
    model, example = loading.model(run, "cpu"), sampling.Data.of(run, "cpu").test_images[:1]
    first, *_ = layers = importance.units(model, example)
    assert units["unit"].tolist() == list(range(first.size))[::-1]
    assert units["share"].iloc[0] == 1 and units["score"].is_monotonic_decreasing
    total = sum(unit.size for unit in layers)
    assert units["place"].tolist() == pytest.approx([100 * (unit + 1) / total for unit in units["unit"]])
    module = model.get_submodule(first.taps[0].module)
    with torch.no_grad():
        values = []
        module.register_forward_hook(lambda module, inputs, output: values.append(output.clone()))
        model(example)
    assert torch.equal(maps, values[0][0].flip(0))
    assert image.shape[:2] == maps.shape[1:] and image.dtype == torch.uint8


def test_values_without_height_are_one_line():
    assert unit_maps._maps(torch.arange(6.0).reshape(1, 2, 3), 2).tolist() == [[[0, 3]], [[1, 4]], [[2, 5]]]
    assert unit_maps._maps(torch.zeros(1, 4), 1).shape == (4, 1, 1)
