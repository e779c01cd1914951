"""A sample measured again: what is drawn, and from where on a difference is one."""

import numpy
import pandas
import pytest
import torch

from lib import importance
from lib.images import datasets, networks
from lib.study import digests, loading, measurements, sampling, verification
from lib.study.columns import Cell

CELLS = [Cell("l2", 0), Cell("sq:rand:norm", 40), Cell("taylorfo", 40), Cell("sq", 40, 0, "long-tailed")]


@pytest.fixture(scope="module")
def tables(run):
    return measurements.measure(run, CELLS, "cpu")


def differing(run, curves, scores):
    return {row["criterion"]: row["differs"] for row in verification.cells(run, curves, scores, "cpu", len(CELLS))}


def test_what_was_measured_by_the_same_code_agrees_to_the_last_digit(run, tables):
    rows = list(verification.cells(run, *tables, "cpu", len(CELLS)))
    assert sorted(Cell(*(row[name] for name in Cell._fields)) for row in rows) == sorted(CELLS)
    assert all(row["differs"] == "" and row["images"] == 0 and row["scores"] == 0 for row in rows)
    assert all(row["before"] == row["now"] for row in rows)


def test_scores_in_single_precision_agree(run, tables):
    curves, scores = tables
    assert set(differing(run, curves, scores.astype({"score": "float32"})).values()) == {""}


@pytest.mark.parametrize(("images", "said"), [(2, ""), (3, "3 images at a point")])
def test_rounding_may_flip_two_images_at_a_point(run, tables, images, said):
    curves, scores = tables
    changed = (curves["criterion"] == "taylorfo") & (curves["pruned"] == curves["pruned"].max())
    total = len(datasets.load("digits", "test", run.data_folder))
    curves = curves.assign(accuracy=curves["accuracy"] + changed * images / total)
    found = differing(run, curves, scores)
    assert said in found.pop("taylorfo") and set(found.values()) == {""}
    assert bool(said) == bool(differing(run, curves, scores)["taylorfo"])


def test_where_single_precision_cannot_tell_which_units_are_off_a_point_is_not_compared():
    scores = numpy.array([1.0, 2.0 + 1e-12, 2.0, 3.0])
    assert list(verification._sure(scores, range(5))) == [True, True, False, True, True]
    curve = pandas.DataFrame({"pruned": [0, 1, 2], "accuracy": [0.9, 0.8, 0.5], "joint": 1.0, "emptied": 0})
    curve = curve.assign(macs=[1.0, 0.9, 0.8], parameters=[1.0, 0.9, 0.8])
    other = curve.assign(accuracy=[0.9, 0.8, 0.1], parameters=[1.0, 0.9, 0.7])
    assert verification._compared(curve, other, {"accuracy": 100}, scores) == (0, [])
    sure = numpy.arange(4.0)
    assert verification._compared(curve, other, {"accuracy": 100}, sure) == (
        40,
        ["40 images at a point", "parameters was 0.8, is 0.7"],
    )


@pytest.mark.parametrize(("share", "agrees"), [(0.9, True), (1.1, False)])
def test_scores_may_differ_by_a_share_of_the_largest(run, tables, share, agrees):
    curves, scores = tables
    mine = scores["criterion"] == "sq:rand:norm"
    first = mine & (scores["unit"] == scores.loc[mine, "score"].idxmax() - scores.index[mine][0])
    off = share * verification.SCORES * scores.loc[mine, "score"].max()
    found = differing(run, curves, scores.assign(score=scores["score"] + off * first))["sq:rand:norm"]
    assert (found == "") == agrees and (agrees or "scores differ by 1e-02 of the largest" in found)


def test_low_scores_must_have_the_same_order(run, tables, monkeypatch):
    curves, scores = tables
    mine = scores["criterion"] == "sq:rand:norm"
    low = mine & (scores["score"] < scores.loc[mine, "score"].quantile(0.3))
    monkeypatch.setattr(verification, "SCORE", 1e9)  # whatever their sizes
    noise = numpy.random.default_rng(0).uniform(0, 2, len(scores)) * scores.loc[low, "score"].max()
    found = differing(run, curves, scores.assign(score=scores["score"].where(~low, noise)))["sq:rand:norm"]
    assert "scores have a rank correlation of 0.9" in found and "of the largest" not in found


def test_a_curve_is_that_of_the_scores_beside_it(run, tables, monkeypatch):
    curves, scores = tables
    mine = scores["criterion"] == "sq:rand:norm"
    monkeypatch.setattr(verification, "_scored", lambda before, now, layers: [])
    turned = scores.assign(score=scores["score"].where(~mine, -scores["score"]))  # whose curve is another
    assert " images at a point" in differing(run, curves, turned)["sq:rand:norm"]
    slightly = scores["score"] * numpy.random.default_rng(0).uniform(0.995, 1.005, len(scores))
    other = measurements.evaluate(run, *evaluating(run), scores.assign(score=slightly)[mine], [CELLS[1]])
    assert differing(run, pandas.concat([curves[curves["criterion"] != "sq:rand:norm"], other]),
                     scores.assign(score=slightly.where(mine, scores["score"])))["sq:rand:norm"] == ""  # fmt: skip


def evaluating(run):
    data = sampling.Data.of(run, "cpu")
    return data, loading.model(run, "cpu"), data.for_oracle(run)


def test_a_curve_that_is_off_by_an_image_nearly_everywhere_differs(run, tables):
    curves, scores = tables
    total = len(datasets.load("digits", "test", run.data_folder))
    lower = curves["accuracy"] - (curves["pruned"] > 0) / total
    found = differing(run, curves.assign(accuracy=lower), scores)
    assert all(" images too many or too few on average" in said for said in found.values())


def test_what_is_drawn_is_of_every_kind(run):
    kinds = [("random", 10, 0), ("random", 10, 1), ("random", 99, 0), ("stratified", 10, 0), ("long-tailed", 10, 0)]
    table = cells_table([Cell(name, *place[1:], place[0]) for place in kinds for name in ("sq", "abs", "l2", "fpgm")])
    drawn = [one.cell for one in verification.draw(run, table, table, 10, classes=10)]
    for some in (drawn[:5], drawn[5:]):
        assert sorted((cell.sample, cell.examples, cell.draw) for cell in some) == sorted(kinds)


@pytest.mark.parametrize("column", ["macs", "joint", "emptied", "accuracy_rare"])
def test_every_column_of_a_curve_counts(run, tables, column):
    curves, scores = tables
    found = differing(run, curves.assign(**{column: curves[column] * 1.1 + 1}), scores)
    assert column.partition("_")[0] in found["sq"] or "images at a point" in found["sq"]


def test_a_difference_names_the_cell_and_both_numbers(run, tables):
    curves, scores = tables
    said = differing(run, curves.assign(accuracy=1.0), scores)["taylorfo"]
    assert said.startswith("taylorfo on 40 images, draw 0 (random): relative auc was 1.0000, is ")


def test_a_curve_without_what_is_measured_today_or_of_other_points_differs(run, tables):
    curves, scores = tables
    assert "there was no joint" in differing(run, curves.drop(columns="joint"), scores)["l2"]
    assert "its points are others" in differing(run, curves[curves["pruned"] > 0], scores)["l2"]


def test_a_curve_whose_scores_leave_open_which_units_go_does_not_agree(run, tables):
    curves, scores = tables
    flat = scores.assign(score=1.0)
    for drawn in verification.draw(run, curves, scores, 1, 10):
        points = verification._of_cell(curves, drawn.cell)
        counts, own = {"accuracy": 450}, verification._of_cell(flat, drawn.cell)["score"].to_numpy()
        assert verification._compared(points, points, counts, own)[1] == ["its scores tie wherever units go"]


def test_cells_that_one_of_the_tables_lacks_are_named(run, tables, monkeypatch):
    curves, scores = tables
    monkeypatch.setattr(verification.ablations, "wanted", lambda run: CELLS)
    monkeypatch.setattr(verification.ceilings, "wanted", lambda run, count: [])
    mine = cells_table([CELLS[0]])
    ways = [("by hand", None, mine, {CELLS[0]})]
    monkeypatch.setattr(verification, "_ways", lambda run, scores, device: ways)
    assert verification.lacking(run, curves, scores, "cpu") == []
    (said,) = verification.lacking(run, curves, scores[scores["criterion"] != "sq"], "cpu")
    assert said == "1 curves without scores, such as sq on 40 images, draw 0 (long-tailed)"
    first, second = verification.lacking(run, curves[curves["criterion"] == "sq"], scores, "cpu")
    assert first.startswith(f"{len(CELLS) - 1} scores without curves, such as ")
    assert second.startswith(f"{len(CELLS) - 1} curves that are asked for are not there, such as ")
    ways[0] = ("by hand", None, mine[:0], {CELLS[0]})
    (said,) = verification.lacking(run, curves, scores, "cpu")
    assert said == "1 curves by hand that are asked for are not there, such as l2 on 0 images, draw 0 (random)"
    ways[0] = ("by hand", None, mine, set())
    (said,) = verification.lacking(run, curves, scores, "cpu")
    assert said == "1 curves by hand that nobody asks for, such as l2 on 0 images, draw 0 (random)"


def heavy_tailed(count):
    return pandas.Series(numpy.random.default_rng(0).pareto(1, count) + 1)


@pytest.mark.parametrize(
    ("times", "which", "said"),
    [
        (1.2, slice(500), "scores of 494 of 2000 units differ by more than 0.01 of what is usual"),
        (1.1, slice(0, 2000, 90), "scores of 23 of 2000 units differ by more than 0.01 of what is usual"),
        (1.1, slice(0, 2000, 101), ""),  # 20 of 2,000, in layers of 20 units at most one
        (1.1, slice(40, 42), "scores of 2 of 20 units of layer 3 differ by more than 0.01 of what is usual there"),
        (1.01, slice(None), ""),
    ],
)
def test_few_units_may_differ_by_more_than_a_share_of_their_own_scores(times, which, said):
    before = heavy_tailed(2000)
    now = before.copy()
    now.iloc[which] *= times
    now[before > 60] = before[before > 60]  # SCORES would tell of these
    layers = numpy.arange(2000) // 20
    found = verification._scored(before, now, layers)
    assert found == ([said] if said else [])


def test_scores_of_which_one_side_alone_has_no_order_differ():
    layers, flat = numpy.zeros(4, int), pandas.Series([1.0] * 4)
    assert verification._scored(flat, flat, layers) == []
    (said,) = verification._scored(flat + numpy.array([0, 0, 0, 0.005]), flat, layers)
    assert said == "scores are all the same, before or now alone"


def test_of_layers_without_scores_rounding_is_none():
    layers, dead = numpy.repeat([0, 1], 10), pandas.Series([*range(1, 11), *[0.0] * 10])
    assert verification._scored(dead, dead + (layers == 1) * 1e-9, layers) == []
    (said,) = verification._scored(dead, dead[:19], layers)
    assert said == "scores are of 20 and of 19 units, and the network has 20"
    (said,) = verification._scored(dead + numpy.inf, dead + numpy.inf, layers)
    assert said == "scores differ by inf of the largest"


def cells_table(cells):
    return pandas.DataFrame([{**cell._asdict(), "used": cell.examples} for cell in cells])


def test_what_takes_long_is_not_scored_again(run):
    quick = [Cell("l2", 0), Cell("sq", 6000), Cell("sq:exact", 600), Cell("sq:rand@4", 1500), Cell("hrank", 600)]
    slow = [Cell("sq", 6001), Cell("sq:exact", 601), Cell("sq:rand@4", 1501), Cell("chip", 601)]
    slow += [Cell("oracle:loss", 10, 0, "oracle")]
    table = cells_table(quick + slow)
    drawn = verification.draw(run, table, table, 10, classes=10)
    assert sorted(one.cell for one in drawn if one.rescored) == sorted(quick)
    assert sorted(one.cell for one in drawn if not one.rescored) == sorted(slow)


def test_every_criterion_is_scored_again_where_it_is_quick(run, tables, monkeypatch):
    curves, scores = tables
    names = sorted(cell.criterion for cell in CELLS)
    assert verification.criteria(run, curves, scores, "cpu") == (names, [], [])
    changed = (scores["criterion"] == "sq") & (scores["unit"] == 0)
    (said,) = verification.criteria(run, curves, scores.assign(score=scores["score"] + changed), "cpu")[2]
    assert said.startswith("sq on 40 images, draw 0 (long-tailed): scores differ by ")
    lost = scores.assign(score=scores["score"].where(~changed))
    assert verification.criteria(run, curves, lost, "cpu")[2] != []
    monkeypatch.setattr(verification, "PASSES", 10)
    assert verification.criteria(run, curves, scores, "cpu") == (["l2"], names[1:], [])  # which takes none


def test_the_sample_follows_from_code_and_run_alone(run, monkeypatch):
    table = cells_table([Cell("sq", 10, draw) for draw in range(100)])
    first = verification.draw(run, table, table, 5, classes=10)
    assert len(first) == 5 and verification.draw(run, table.sample(frac=1), table, 5, classes=10) == first
    monkeypatch.setattr(digests, "code", lambda notebook: "other")
    assert verification.draw(run, table, table, 5, classes=10) != first
    assert verification.draw(run, table, table[:0], 5, classes=10) == []  # without scores there is nothing to check


def test_units_of_the_oracle_are_judged_again(run):
    judged = measurements.measure_oracle(run, "cpu")
    total = sum(
        unit.size for unit in importance.units(networks.build("resnet8", 10, 1).eval(), torch.zeros(1, 1, 8, 8))
    )
    assert verification.units(run, judged, "cpu", total) == []
    worst = judged["output"].idxmax()
    odd = judged.assign(output=judged["output"].where(numpy.arange(total) != worst, 0.0))
    (said,) = verification.units(run, odd, "cpu", total)
    assert said.startswith(f"unit {worst}: the change of the output was 0, is ")
    odd = judged.assign(loss=judged["loss"].where(numpy.arange(total) != worst, 9.0))
    (said,) = verification.units(run, odd, "cpu", total)
    assert said.startswith(f"unit {worst}: the change of the loss was 9, is ")
