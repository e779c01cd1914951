"""analyses.smaller: networks that shrink by so much are evaluated before and after a repair; what cannot is told."""

from types import SimpleNamespace

import numpy
import pandas
import pytest
from torch import nn

from lib import structure
from lib.images import training
from lib.repair import Reference, reestimate
from lib.study import finetuning, loading, sampling
from lib.study.analyses import smaller


@pytest.fixture
def plan(run, monkeypatch):
    monkeypatch.setattr(loading, "complete", lambda _: None)
    return SimpleNamespace(runs=[run])


def test_each_network_is_evaluated_shrunk_and_repaired(plan, run):
    found, refused = smaller.shrunk(plan, budgets=(0.2, 0.5))
    assert refused.empty and list(found) == smaller.COLUMNS
    assert found[["criterion", "budget"]].to_numpy().tolist() == [
        [criterion, budget] for criterion in ("sq:rand:norm", "l2") for budget in (0.2, 0.5)
    ]
    assert (found["reached"] >= found["budget"]).all() and (found["parameters_left"] < 1).all()
    model, data = loading.model(run, "cpu"), sampling.Data.of(run, "cpu")
    scores = finetuning.score(run, model, ("l2",), "cpu")["l2"]
    small = structure.slim(model, scores, data.test_images[:1], budget=0.5)
    row = found.iloc[-1]
    assert row["accuracy"] == training.evaluate(small, data.test_images, data.test_labels)
    carried = structure.slim(model, scores, data.test_images[:1], budget=0.5)
    kept = structure.trace(model, data.test_images[:1]).plan(scores, budget=0.5, of="macs").kept
    Reference(model, data.for_repair(run), batch=250).repair(carried, kept)
    assert row["accuracy_carried_over"] == training.evaluate(carried, data.test_images, data.test_labels)
    reestimate(small, data.for_repair(run), batch=250)
    assert row["accuracy_repaired"] == training.evaluate(small, data.test_images, data.test_labels)
    assert row["accuracy_unpruned"] == training.evaluate(model, data.test_images, data.test_labels)


def test_what_cannot_shrink_is_told_and_without_batchnorm_nothing_is_repaired(plan, run, monkeypatch):
    plain = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)).eval()
    monkeypatch.setattr(loading, "model", lambda *_: plain)
    found, _ = smaller.shrunk(plan, budgets=(0.3,))
    assert len(found) == 2 and found["accuracy_repaired"].isna().all() and found["accuracy"].notna().all()
    monkeypatch.setattr(structure, "trace", lambda *_: (_ for _ in ()).throw(ValueError("it is too odd")))
    found, refused = smaller.shrunk(plan)
    assert found.empty and refused[["network", "why"]].to_numpy().tolist() == [["resnet8", "it is too odd"]]


def test_networks_of_a_kind_are_averaged():
    row = {"dataset": "digits", "network": "resnet8", "criterion": "l2", "budget": 0.1}
    values = [{"seed": seed, "accuracy": accuracy} for seed, accuracy in ((0, 0.5), (1, 0.7))]
    table = pandas.DataFrame([row | value for value in values]).reindex(columns=smaller.COLUMNS)
    found = smaller.by_network(table)
    assert len(found) == 1 and found["accuracy"][0] == pytest.approx(0.6) and "seed" not in found
    assert numpy.isnan(found["accuracy_repaired"][0])
