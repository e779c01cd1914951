"""What do units with high and with low scores make of an image? The maps of one layer on one test image.

Enters: a profile with measured runs. Leaves: the image, the maps, and a table of what the units have.
"""

from typing import NamedTuple

import pandas
import torch
from torch import Tensor

from lib import importance
from lib.images import datasets
from lib.network.taps import tapped
from lib.study import devices, loading, measurements, profiles, references, sampling
from lib.study.columns import read_own


class UnitMaps(NamedTuple):
    """The first test image (H, W, C), uint8; maps (units, H, W) on it, the most important unit's first; and a row for
    each: dataset, network, seed, layer, unit (within the layer), score, share (of the layer's largest score), place
    (%, of all units of the network: what is switched off with so many off)."""

    image: Tensor
    maps: Tensor
    units: pandas.DataFrame


def of_first_layer(plan: profiles.Profile, criterion: str) -> UnitMaps:
    """Of the first layer of the first run with weights, at its taps, by the criterion on its most examples."""
    run = references.with_weights(plan)[0]
    loading.complete(run)
    device = devices.pick(run.device)
    model, data = loading.model(run, device), sampling.Data.of(run, device)
    layers, seen = importance.units(model, data.test_images[:1]), []
    with torch.no_grad(), tapped(model, layers[:1], lambda number, tap, value: seen.append(_maps(value, tap.axis))):
        model(data.test_images[:1])
    wanted = [("criterion", "=", criterion), ("sample", "=", "random"), ("draw", "=", 0)]
    scores = measurements.on_most_examples(read_own(run, run.scores, filters=wanted)).sort_values("unit")
    order = measurements.order_of(scores)
    places = torch.empty(len(order)).scatter(0, order, 100 * (torch.arange(len(order)) + 1.0) / len(order))
    own = scores[: layers[0].size].assign(layer=layers[0].name, place=places[: layers[0].size].numpy())
    own = own.assign(share=own["score"] / own["score"].max())
    own = own.sort_values("score", ascending=False, kind="stable", ignore_index=True)
    image = datasets.load(run.dataset, "test", run.data_folder).images[0].permute(1, 2, 0)
    columns = ["dataset", "network", "seed", "layer", "unit", "score", "share", "place"]
    return UnitMaps(image, seen[0][own["unit"].tolist()], own[columns])


def _maps(values: Tensor, axis: int) -> Tensor:
    """(units, H, W) of one example's values, whose units lie along the axis; H is 1 where these have no height."""
    first = values.movedim(axis, 1)[0].cpu()
    return first if first.dim() == 3 else first.reshape(len(first), 1, -1)
