"""study.repairs on a run of the smoke profile: what is repaired, on what, and when nothing is."""

from dataclasses import replace

import pandas
import pytest
import torch
from torch import nn

from lib import pruning
from lib.images import datasets
from lib.study import ablations, loading, measurements, profiles, repairs, sampling
from lib.study.columns import Cell
from lib.study.parts import Parts
from lib.study.profiles import Run


@pytest.fixture(scope="module")
def cells(run):
    return ablations.cells(repairs.NOTEBOOK, run.settings["measuring"], sampling.labels_of(run))


@pytest.fixture(scope="module")
def measured(run, cells):
    return measurements.measure(run, cells, "cpu")


@pytest.fixture(scope="module")
def repaired(run, measured):
    return repairs.measure(run, measured[1], "cpu")


def test_every_curve_of_the_ablation_has_one_with_repair_that_begins_alike(cells, measured, repaired):
    curves, _ = measured
    of_cell = dict(list(repaired.groupby(list(Cell._fields))))
    assert sorted(of_cell) == sorted(cells)
    for cell, plain in curves.groupby(list(Cell._fields)):
        here = of_cell[cell].reset_index(drop=True)
        for same in ("pruned", "emptied", "macs", "parameters", "used", "units"):
            assert here[same].tolist() == plain[same].tolist()
        assert here["accuracy"].iloc[0] == plain["accuracy"].iloc[0]
    assert repaired["accuracy"].tolist() != curves["accuracy"].tolist()


def test_the_accuracies_are_those_of_the_network_repaired_on_unlabelled_training_images(run, measured, repaired):
    scores = measured[1].query("criterion == 'sq:norm'")["score"]
    model, data = loading.model(run, "cpu"), sampling.Data.of(run, "cpu")
    order = pruning.order(torch.tensor(scores.to_list(), dtype=torch.float64))
    images = data.for_repair(run)
    assert len(images) == run.settings["measuring"]["repair"] == repaired["repaired_on"].unique().item()
    table = pruning.curve(model, order, data.test_images, data.test_labels, 5, repair_on=images)
    assert repaired.query("criterion == 'sq:norm'")["accuracy"].tolist() == table["accuracy"].tolist()


def test_the_orders_of_the_oracle_are_repaired_too_and_no_other_of_its_sample(run, measured, monkeypatch):
    rows = measured[1].query("criterion in ['sq:norm', 'l2']").assign(examples=32, sample="oracle")
    names = {"sq:norm": "oracle:loss", "l2": "sq:rand:norm"}
    orders = rows.assign(criterion=rows["criterion"].map(names))
    monkeypatch.setattr(ablations, "cells", lambda *_: [Cell("sq:norm", 40)])
    found = repairs.measure(run, pandas.concat([measured[1], orders]), "cpu")
    assert found.groupby(["criterion", "examples", "sample"], sort=False).size().to_dict() == {
        ("sq:norm", 40, "random"): 5,
        ("oracle:loss", 32, "oracle"): 5,
    }


def test_there_are_no_more_images_to_repair_on_than_training_images(run, monkeypatch):
    monkeypatch.setattr(Run, "settings", {"measuring": run.settings["measuring"] | {"repair": 10**6}})
    data = sampling.Data.of(run, "cpu")
    assert torch.equal(data.for_repair(run), data.train_images)


def test_what_an_interrupted_start_left_is_taken_up(run, measured, repaired, tmp_path):
    parts = Parts(tmp_path, "all of it", "a processor")
    pandas.testing.assert_frame_equal(repairs.measure(run, measured[1], "cpu", parts), repaired)
    again = Parts(tmp_path, "all of it", "a processor")
    pandas.testing.assert_frame_equal(repairs.measure(run, measured[1], "cpu", again), repaired)
    assert again.taken == 2  # of 14 curves, ten at a time


def test_without_the_notebook_or_a_batchnorm_there_are_no_rows(run, measured, repaired, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Run, "plan", replace(run.plan, notebooks=("80-cost",)))
        none = repairs.measure(run, measured[1], "cpu")
    assert none.empty and list(none) == list(repaired)
    monkeypatch.setattr(loading, "model", lambda run, device: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval())
    assert repairs.measure(run, measured[1], "cpu").empty


def test_criteria_without_examples_are_read_at_every_number(run, repaired, monkeypatch, tmp_path):
    plan = profiles.load("smoke", results=tmp_path)
    monkeypatch.setattr(loading, "complete", lambda run: None)
    (here,) = plan.runs
    here.folder.mkdir(parents=True)
    more = repaired[repaired["criterion"] == "sq:norm"].assign(examples=10)
    pandas.concat([repaired, more]).to_parquet(here.repaired)
    found = repairs.read(plan)
    assert set(found.loc[found["criterion"] == "l2", "examples"]) == {10, 40}
    assert len(found) == len(repaired) + len(more) + (repaired["examples"] == 0).sum()
    repaired.head(0).to_parquet(here.repaired)
    assert repairs.read(plan).empty


def test_the_images_are_drawn_for_each_seed_anew():
    runs = [Run("smoke", "digits", "resnet8", seed, "cpu") for seed in (0, 1)]
    first, second = (sampling.Data.of(run, "cpu").for_repair(run) for run in runs)
    assert len(first) == len(second) == 50 and not torch.equal(first, second)
    whole = datasets.load("digits", "train", "data")
    assert len(whole) > 50
