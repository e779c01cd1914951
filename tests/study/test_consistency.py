"""study.consistency: tables that are as they should be pass, and each way in which they are not is named."""

import numpy
import pandas
import pytest

from lib.study import consistency, measurements, verification
from lib.study.columns import Cell, columns_of
from lib.study.finetuning import Network, recipe, wanted

CELLS = [Cell("l2", 0), *(Cell("sq", 40, draw) for draw in range(2))]


@pytest.fixture(scope="module")
def tables(run):
    curves, scores = measurements.measure(run, CELLS, "cpu")
    oracle = measurements.measure_oracle(run, "cpu")
    orders = [
        oracle[["unit"]].assign(**columns_of(run), **Cell(f"oracle:{name}", 9, 0, "oracle")._asdict(),
                                used=9, units=len(oracle), score=oracle[name].astype("float32"))
        for name in ("loss", "output")
    ]  # fmt: skip
    facts = {"reached": 0.5, "parameters": 9, "multiply_adds": 99, "accuracy_unpruned": 0.9, "accuracy": 0.8}
    trained = [
        pandas.DataFrame({"epoch": range(recipe(run.settings, network.training).epochs + 1)}).assign(
            **network._asdict(), **facts
        )
        for network in wanted(run.settings["measuring"])[:3]
    ]
    scores = pandas.concat([scores, *orders], ignore_index=True)
    return {"curves": curves, "scores": scores, "oracle": oracle, "finetuning": pandas.concat(trained)}


def odd(run, tables, **changed):
    return consistency.odd(run, tables | changed, verification.layers_of(run, "cpu"))


def test_tables_as_they_are_measured_pass(run, tables):
    assert odd(run, tables) == [] == odd(run, tables, repaired=tables["curves"], silenced=tables["curves"][:0])


def of(table, criterion):
    return table["criterion"] == criterion


def test_a_curve_has_every_point_once_and_numbers_that_can_be(run, tables):
    curves = tables["curves"]
    count = curves["pruned"].nunique()
    said = f"curves: not each of {count} points once: "
    assert odd(run, tables, curves=pandas.concat([curves, curves[of(curves, "l2")]])) == [
        f"{said}l2 on 0 images, draw 0 (random)"
    ]
    assert odd(run, tables, curves=curves[curves["pruned"] > 0]) == [
        f"{said}l2 on 0 images, draw 0 (random) and 2 more"
    ]
    assert odd(run, tables, curves=curves.assign(units=7)) == [
        "curves: not of 336 units: l2 on 0 images, draw 0 (random) and 2 more"
    ]
    for name, value in (("accuracy", 1.2), ("macs", -0.1), ("parameters", numpy.nan)):
        (line,) = odd(run, tables, repaired=curves.assign(**{name: value}))
        assert line.startswith("repaired: accuracies and shares that are not from 0 to 1: l2 on 0")


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.assign(unit=rows["unit"].to_numpy()[::-1]),
        lambda rows: rows.assign(units=335),
        lambda rows: rows[1:],
        lambda rows: pandas.concat([rows, rows[:1]]),
    ],
)
def test_scores_are_of_every_unit_once_and_in_order(run, tables, change):
    scores = tables["scores"]
    own = of(scores, "l2")
    (said,) = odd(run, tables, scores=pandas.concat([change(scores[own]), scores[~own]]))
    assert said == "scores: not each of 336 units once and in order: l2 on 0 images, draw 0 (random)"


def test_scores_are_finite_and_no_draw_is_another_once_more(run, tables):
    scores = tables["scores"]
    (said,) = odd(run, tables, scores=scores.assign(score=scores["score"].where(~of(scores, "l2"), numpy.inf)))
    assert said == "scores: scores that are not finite: l2 on 0 images, draw 0 (random)"
    first = scores[of(scores, "sq") & (scores["draw"] == 0)]
    again = pandas.concat([scores[~(of(scores, "sq") & (scores["draw"] == 1))], first.assign(draw=1)])
    assert odd(run, tables, scores=again) == ["scores: the same as of another draw: sq on 40 images, draw 1 (random)"]
    flat = scores.assign(score=scores["score"].where(~of(scores, "sq"), 1.0))  # which says nothing
    assert odd(run, tables, scores=flat) == []


def test_the_oracle_is_of_the_networks_units_and_its_orders_are_by_it(run, tables):
    oracle, scores = tables["oracle"], tables["scores"]
    assert odd(run, tables, oracle=oracle.assign(layer=oracle["layer"].to_numpy()[::-1])) == [
        "oracle: units of other layers than the network's"
    ]
    first, *_ = odd(run, tables, oracle=oracle[:5])
    assert first == "oracle: not each of 336 units once and in order, but 5 rows"
    names = {"oracle:loss": "oracle:output", "oracle:output": "oracle:loss"}
    assert odd(run, tables, scores=scores.replace({"criterion": names})) == [
        "scores: oracle:loss is not the oracle's change of the loss",
        "scores: oracle:output is not the oracle's change of the output",
    ]
    (line,) = odd(run, tables, oracle=oracle.assign(loss=oracle["loss"].where(oracle["unit"] != 3)))[:1]
    assert line == "oracle: changes that are not finite"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table[table["epoch"] < table["epoch"].max()], "not each of {} epochs once and in order: "),
        (lambda table: table.assign(accuracy=1.1), "accuracies that are not from 0 to 1: "),
        (lambda table: table.assign(reached=table["epoch"] / 9), "more than one size, share or accuracy before: "),
    ],
)
def test_networks_are_trained_as_long_as_is_said_and_say_the_same_in_all_rows(run, tables, change, said):
    network = Network(*tables["finetuning"][[*Network._fields]].iloc[0])
    lines = odd(run, tables, finetuning=change(tables["finetuning"]))
    until = recipe(run.settings, network.training).epochs
    assert lines[0] == f"finetuning: {said.format(until)}{network.in_words()}"


def test_all_networks_come_of_one(run, tables):
    table = tables["finetuning"]
    first = table["criterion"] == table["criterion"].iloc[0]
    changed = table.assign(accuracy_unpruned=table["accuracy_unpruned"].where(first, 0.7))
    assert odd(run, tables, finetuning=changed) == ["finetuning: more than one accuracy of the whole network"]
