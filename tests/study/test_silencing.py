"""study.silencing on a run of the smoke profile: which curves, and with which mask."""

from dataclasses import replace

import pandas
import pytest

from lib import pruning
from lib.study import ablations, loading, measurements, sampling, silencing
from lib.study.columns import Cell
from lib.study.profiles import Run


@pytest.fixture(scope="module")
def scores(run):
    """Of some of the criteria on few examples and on more."""
    wanted = [Cell(name, examples) for name in ("sq:norm", "taylorfo", "abs") for examples in (10, 40)]
    wanted += [Cell("random", 0, draw) for draw in (0, 1)] + [Cell("l2", 0)]
    return measurements.measure(run, wanted, "cpu")[1]


def test_first_draws_on_the_most_examples_are_silenced_in_front_of_batchnorm(run, scores, monkeypatch):
    monkeypatch.setattr(silencing, "CRITERIA", ("sq:norm", "l2", "random"))
    found = silencing.measure(run, scores, "cpu")
    of_cell = dict(list(found.groupby(list(Cell._fields))))
    assert sorted(of_cell) == sorted([Cell("sq:norm", 40), Cell("l2", 0), Cell("random", 0)])
    model, data = loading.model(run, "cpu"), sampling.Data.of(run, "cpu")
    order = measurements.order_of(scores[(scores["criterion"] == "sq:norm") & (scores["examples"] == 40)])
    table = pruning.curve(model, order, data.test_images, data.test_labels, 5, in_front=True)
    assert of_cell[Cell("sq:norm", 40)]["accuracy"].tolist() == table["accuracy"].tolist()


def test_every_criterion_is_one_of_the_replication():
    assert set(silencing.CRITERIA) <= set(ablations.ABLATIONS[silencing.NOTEBOOK].criteria)


def test_without_the_notebook_there_are_no_rows(run, scores, monkeypatch):
    monkeypatch.setattr(Run, "plan", replace(run.plan, notebooks=("80-cost",)))
    found = silencing.measure(run, scores, "cpu")
    assert found.empty and isinstance(found, pandas.DataFrame) and {"criterion", "accuracy"} <= set(found)
