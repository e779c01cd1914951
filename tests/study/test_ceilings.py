"""study.ceilings: orders that no criterion knows beforehand, on a run of the smoke profile and on a toy."""

from dataclasses import replace
from itertools import pairwise

import pandas
import pytest
import torch
import toys

from lib import importance, pruning
from lib.study import ceilings, loading, measurements, sampling
from lib.study.columns import Cell
from lib.study.profiles import Run

COUNT = 32  # images of the smoke profile's oracle


@pytest.fixture(scope="module")
def judged(run):
    return measurements.measure_oracle(run, "cpu")


@pytest.fixture(scope="module")
def measured(run, judged):
    return ceilings.measure(run, judged, "cpu")


def test_there_are_curves_and_scores_of_the_oracle_the_greedy_order_and_its_criterion(run, judged, measured):
    curves, scores = measured
    names = ["oracle:loss", "oracle:output", "greedy", "sq:rand:norm"]
    for table in (curves, scores):
        cells = list(table[list(Cell._fields)].drop_duplicates().itertuples(index=False, name=None))
        assert cells == [Cell(name, COUNT, 0, "oracle") for name in names]
    for name in ("loss", "output"):
        assert scores.query(f"criterion == 'oracle:{name}'")["score"].tolist() == judged[name].tolist()
    model, data = loading.model(run, "cpu"), sampling.Data.of(run, "cpu")
    orders = {name: measurements.order_of(here) for name, here in scores.groupby("criterion")}
    assert orders["greedy"].tolist() != orders["sq:rand:norm"].tolist()
    for name, order in orders.items():
        table = pruning.curve(model, order, data.test_images, data.test_labels, 5)
        assert curves.loc[curves["criterion"] == name, "accuracy"].tolist() == table["accuracy"].tolist()


def test_nothing_that_reads_curves_takes_them_for_criteria(run, measured, monkeypatch, tmp_path):
    curves, _ = measured
    plan = replace(run.plan, results=tmp_path)
    (there,) = plan.runs
    there.folder.mkdir(parents=True)
    curves.to_parquet(there.curves)
    assert measurements.measured(plan).empty


def test_in_the_greedy_order_those_go_next_that_score_lowest_without_those_that_are_off():
    model, (images, labels) = toys.make(toys.Residual), toys.examples(toys.Residual, 24)
    batches = [(images, labels, torch.arange(24))]
    order = ceilings.greedy_order(model, batches, 5, seed=3)
    layers = importance.units(model, images[:1])
    total = sum(unit.size for unit in layers)
    assert order.sort().values.tolist() == list(range(total))
    numbers = pruning.steps(total, 5)
    for k, following in pairwise(numbers):
        with pruning.masked(model, order, k, layers):
            scores = importance.score(model, batches, ["sq:rand:norm"], seed=3)["sq:rand:norm"]
        chosen, rest = order[k:following], order[following:]
        assert scores[chosen].max() <= scores[rest].min()
        assert scores[chosen].tolist() == sorted(scores[chosen].tolist())
        assert not scores[order[:k]].any()  # what is off contributes nothing
    once = pruning.order(importance.score(model, batches, ["sq:rand:norm"], seed=3)["sq:rand:norm"])
    assert order[: numbers[1]].tolist() == once[: numbers[1]].tolist()


def test_without_the_notebook_there_are_no_rows(run, judged, monkeypatch):
    monkeypatch.setattr(Run, "plan", replace(run.plan, notebooks=("80-cost",)))
    curves, scores = ceilings.measure(run, judged, "cpu")
    assert curves.empty and scores.empty and {"dataset", *Cell._fields} <= set(curves)
    assert isinstance(curves, pandas.DataFrame)
