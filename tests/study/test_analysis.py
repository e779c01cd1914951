"""study.analysis: crossings, curves over what they cost, thirds of classes and signs of failure, worked out by hand."""

import numpy
import pandas
import pytest

from lib.study import analysis, measurements, profiles

BLOCK = {"dataset": "digits", "network": "resnet8", "seed": 0}


def rows(columns, *values, **more):
    return pandas.DataFrame(values, columns=columns.split()).assign(**BLOCK | {"draw": 0, "sample": "random"} | more)


# Where curves cross


def crossing(labelled, free=(0.5, 0.5, 0.5)):
    """Of a labelled criterion at 10, 100 and 1,000 examples with a label-free one: on as many, on all."""
    table = [(n, "label", a) for n, a in zip((10, 100, 1000), labelled, strict=True)]
    table += [(n, "free", b) for n, b in zip((10, 100, 1000), free, strict=True)]
    found = analysis.crossings(rows("examples criterion auc_relative", *table), "free", ["label"])
    assert found["against"].tolist() == ["free on as many", "free on all"]
    return found["overtakes_at"].tolist()


@pytest.mark.parametrize(
    ("labelled", "at"),
    [
        ((0.4, 0.6, 0.7), "32"),  # half way between 10 and 100 in logarithms: 10^1.5
        ((0.3, 0.4, 0.5), "1000"),
        ((0.5, 0.6, 0.7), "always"),
        ((0.6, 0.7, 0.4), "never"),  # ahead where examples are few, behind where there are many
        ((0.6, 0.4, 0.6), "316"),  # from there on for good
    ],
)
def test_a_crossing_is_on_a_line_over_the_logarithm(labelled, at):
    assert crossing(labelled) == [at, at]


def test_all_examples_are_another_opponent_than_as_many():
    assert crossing((0.4, 0.5, 0.6), free=(0.3, 0.4, 0.6)) == ["always", "1000"]


def test_crossings_average_draws_and_leave_stratified_ones_out():
    table = rows(
        "examples criterion auc_relative", (10, "label", 0.3), (10, "free", 0.5), (90, "label", 0.9), (90, "free", 0.5)
    )
    more = rows("examples criterion auc_relative", (10, "label", 0.9), draw=1)  # .6 with the other
    by_class = rows("examples criterion auc_relative", (10, "label", 0.0), sample="stratified")
    found = analysis.crossings(pandas.concat([table, more, by_class]), "free", ["label"])
    assert found["overtakes_at"].tolist() == ["always"] * 2


# Curves over units and over what they cost


def curve(accuracy, macs, **more):
    pruned = numpy.linspace(0, 50, len(accuracy)).astype(int)
    cell = {"criterion": "sq", "examples": 10, "used": 10, "units": 100, "joint": 1.0, "emptied": 0}
    return rows("pruned accuracy macs", *zip(pruned, accuracy, macs, strict=True), **cell | more)


def test_curves_on_a_common_grid_by_hand():
    both = pandas.concat([curve([1, 0.5, 0], [1, 0.8, 0.6]), curve([0.8, 0.5, 0.2], [1, 0.5, 0.4], seed=1)])
    table = analysis.along(both, "units", step=12.5)
    assert table["gone"].tolist() == [0, 12.5, 25, 37.5, 50]
    assert table["accuracy"].tolist() == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1])
    half = 12.706204736 * 0.1  # t of one degree of freedom; the standard error of 1 and .8 is .1
    assert table.iloc[0][["low", "high", "blocks"]].tolist() == pytest.approx([0.9 - half, 0.9 + half, 2])
    table = analysis.along(both, "macs", step=10)
    assert table["gone"].tolist() == [0, 10, 20, 30, 40]  # where the first curve ends
    # the first run has lost 10 % half way to its second point; the second a fifth of the way
    assert table["accuracy"].tolist() == pytest.approx(
        [0.9, (0.75 + 0.74) / 2, (0.5 + 0.68) / 2, (0.25 + 0.62) / 2, 0.28]
    )


def test_draws_are_averaged_before_intervals_are_taken():
    draws = [
        curve([1, a], [1, 0.5], criterion="random", draw=n, seed=s)
        for s, n, a in [(0, 0, 0.2), (0, 1, 0.4), (1, 0, 0.3)]
    ]
    last = analysis.along(pandas.concat(draws), "units").iloc[-1]
    assert last[["accuracy", "low", "high", "blocks"]].tolist() == pytest.approx([0.3, 0.3, 0.3, 2])


# Thirds of classes


def test_what_normalising_adds_in_each_third_of_the_classes():
    names = "criterion examples auc_relative auc_relative_common auc_relative_middle auc_relative_rare"
    tail = rows(names, ("sq", 9, 0.7, 0.9, 0.7, 0.5), ("sq:norm", 9, 0.7, 0.8, 0.7, 0.8), sample="long-tailed")
    found = analysis.band_contrasts(analysis.by_band(tail), {"sq:norm": "sq"})
    assert found["classes"].tolist() == ["common", "middle", "rare"]
    assert found["effect"].tolist() == pytest.approx([-0.1, 0, 0.3])


# Signs of failure


@pytest.fixture
def plan(tmp_path):
    """The smoke profile with one run: ten units in two layers, scores 1 to 10, and two random orders."""
    made = profiles.load("smoke", results=tmp_path)
    (run,) = made.runs
    run.folder.mkdir(parents=True)
    scores = [pandas.DataFrame({"unit": range(10), "score": numpy.arange(1.0, 11), "criterion": "sq", "examples": 10})]
    scores += [scores[0].assign(criterion="random", examples=0), scores[0].assign(criterion="flat", score=1.0)]
    pandas.concat(scores).assign(draw=0, sample="random").to_parquet(run.scores)
    pandas.DataFrame({"unit": range(10), "output": [0.5, *[1.0] * 9]}).to_parquet(run.oracle)
    chance = [curve([1, 0.95, 0.85], [1] * 3, criterion="random", examples=0, units=10).assign(pruned=[0, 2, 4])]
    chance += [curve([1, 0.8, 0.2], [1] * 3, criterion="random", examples=0, units=10, draw=1).assign(pruned=[0, 2, 4])]
    pandas.concat(chance).to_parquet(run.curves)
    return made


def signs(plan, accuracy, **more):
    table = curve(accuracy, [1] * len(accuracy), **{"units": 10} | more)
    (row,) = analysis.signatures(plan, table.assign(pruned=range(len(table)))).to_dict("records")
    return row


def test_the_numbers_behind_the_signs_by_hand(plan):
    row = signs(plan, [1, 0.95, 0.85, 0.5, 0.7, 0.2], joint=2.0)
    shares = numpy.arange(1, 11) / 55
    assert row["entropy"] == pytest.approx(-(shares * numpy.log(shares)).sum() / numpy.log(10))
    assert row["kept"] == pytest.approx(1 - 3 / 55)  # the first two are off where accuracy is below .9
    assert row["lasted"] == pytest.approx(15)  # .9 is half way from the first to the second
    assert row["by_chance"] == pytest.approx((30 + 10) / 2)
    assert row["rise"] == pytest.approx(0.2)
    assert row["together"] == pytest.approx(2 / 0.5)  # a tenth of ten units: the first, alone .5
    assert (row["criterion"], row["examples"], row["curves"], row["emptied"]) == ("sq", 10, 1, 0)
    assert (row["used"], signs(plan, [1, 0.9], used=4)["used"]) == (10, 4)


EARLY = "accuracy fell no later than by chance, although nearly all importance was kept (1 of 1)"
ROSE = "accuracy rose again while more units went (1 of 1)"


@pytest.mark.parametrize(
    ("accuracy", "more", "alarm"),
    [
        ([1, 0.99, 0.98, 0.97], {}, ""),
        ([1, 0.99, 0.89, 0.8], {}, ""),  # lasts 19 %, chance 20 %, but only 52/55 are kept
        ([1, 0.8, 0.8, 0.8], {}, EARLY),  # lasts 5 %, with 54/55 kept
        ([1, 1, 1, 0.8], {}, ""),  # lasts 25 %
        ([1, 0.8, 0.9, 0.7], {}, f"{EARLY}, {ROSE}"),
        ([1, 0.99, 0.98, 0.97], {"emptied": 1}, "a layer lost all its units (1 of 1)"),
        ([1, 0.99, 0.98, 0.97], {"joint": 1.5}, "units matter together (1 of 1)"),  # three times the single .5
        ([1, 0.99, 0.98, 0.97], {"joint": 1.49}, ""),
        ([1, 0.99, 0.98, 0.97], {"criterion": "flat"}, "scores too alike to rank (1 of 1)"),
    ],
)
def test_alarms_in_plain_words(plan, accuracy, more, alarm):
    assert signs(plan, accuracy, **more)["alarm"] == alarm


def test_an_alarm_takes_more_than_half_of_the_curves(plan):
    (run,) = plan.runs
    scores = pandas.read_parquet(run.scores)
    again = [scores[scores["criterion"] == "sq"].assign(draw=draw) for draw in (1, 2)]
    pandas.concat([scores, *again]).to_parquet(run.scores)
    flat, rising = [1.0, 0.99, 0.98], [1.0, 0.5, 0.9]
    for accuracies, alarm in (((flat, flat, rising), False), ((flat, rising, rising), True)):
        tables = [
            curve(a, [1] * 3, units=10, draw=n, joint=0.5).assign(pruned=range(3)) for n, a in enumerate(accuracies)
        ]
        (row,) = analysis.signatures(plan, pandas.concat(tables)).to_dict("records")
        assert row["curves"] == 3
        assert ("accuracy rose again while more units went (2 of 3)" in row["alarm"]) == alarm


def test_joint_effects_are_means_over_runs_with_an_alarm_where_they_are_large():
    tenth = [("sq", 10.0, 1.0), ("sq", 10.0, 2.0), ("l2", 10.0, 2.0), ("l2", 10.0, 4.0)]
    ratios = rows("criterion share ratio", *tenth, ("sq", 25.0, 9.0), ("sq", 25.0, 9.0))
    ratios["seed"] = [0, 1, 0, 1, 0, 1]
    found = analysis.interaction_means(ratios)
    assert found[analysis.TOGETHER].tolist() == [1.5, 3.0]
    assert found["joint over single, 25 % off"].tolist()[0] == 9.0  # no alarm: its limit is for a tenth
    assert found["alarm"].tolist() == ["", "units matter together"]


def test_criteria_without_examples_stand_once_however_often_they_are_repeated(plan):
    table = pandas.concat([curve([1, 1, 1], [1] * 3, criterion="random", examples=n, units=10) for n in (10, 40)])
    (row,) = analysis.signatures(plan, table).to_dict("records")
    assert (row["criterion"], row["examples"], row["curves"]) == ("random", 0, 1)
    assert numpy.isnan(row["by_chance"])


def test_accuracies_at_a_quarter_are_means_over_runs_that_all_get_there():
    names = "criterion examples seed accuracy_25pct accuracy_macs_25pct accuracy_parameters_25pct"
    table = pandas.DataFrame(
        [
            ("a", 9, 0, 0.5, 0.4, 0.3),
            ("a", 9, 1, 0.7, 0.6, numpy.nan),
            ("b", 0, 0, 0.1, 0.9, 0.2),
            ("a", 2, 0, 0, 0, 0),
        ],
        columns=names.split(),
    ).assign(dataset="digits", network="resnet8")
    found = analysis.matched(table)
    assert found["criterion"].tolist() == ["b", "a"]
    assert found.iloc[1, 3:].astype(float).tolist() == pytest.approx([0.6, 0.5, numpy.nan], nan_ok=True)


def test_a_leaderboard_says_how_many_examples_were_used():
    best = rows("criterion used auc_relative", ("chip", 500, 0.6), ("sq", 1000, 0.8), ("l2", 0, 0.7))
    board = analysis.leaderboard(best)
    assert board["criterion"].tolist() == ["sq", "l2", "chip"]
    assert board["used"].tolist() == [1000, 0, 500] and board["place"].tolist() == [1, 2, 3]
    assert list(measurements.RUN) == list(BLOCK)
    (row,) = analysis.standing(board, "l2").to_dict("records")
    expected = {"criterion": "l2", "auc_relative": 0.7, "place": 2, "of": 3, "best": "sq", "best_auc_relative": 0.8}
    assert row == pytest.approx(expected, nan_ok=False)


def test_label_free_curves_of_other_notebooks_join_those_on_the_most_examples(plan):
    (run,) = plan.runs
    elsewhere = [curve([1, 0.9], [1, 0.8], criterion=name, examples=40) for name in ("sq:rand", "sq:rand:norm", "sq")]
    elsewhere += [curve([1, 0.9], [1, 0.8], criterion="abs:rand", examples=10)]
    pandas.concat(elsewhere).to_parquet(run.curves)
    asked = [curve([1, 0.9], [1, 0.8], criterion="sq:rand", examples=n) for n in (10, 40)]
    asked += [curve([1, 0.7], [1, 0.8], criterion="random", examples=40, draw=n) for n in (0, 1)]
    found = analysis.label_free(plan, pandas.concat(asked))
    cells = list(found[["criterion", "examples", "draw"]].drop_duplicates().itertuples(index=False, name=None))
    assert cells == [("sq:rand", 40, 0), ("random", 40, 0), ("random", 40, 1), ("sq:rand:norm", 40, 0)]
    assert len(found) == 2 * len(cells)  # points of each curve once


# Rows that are tested together, and what columns mean


def test_adjusted_p_comes_with_the_smallest_that_it_could_be():
    found = analysis.adjusted(pandas.DataFrame({"p": [0.0625, 0.5, 0.125], "smallest_p": [0.0625, 0.5, 0.0625]}))
    assert found["p_holm"].tolist() == [0.1875, 0.5, 0.25]
    assert found["smallest_p_holm"].tolist() == [0.1875, 0.5, 0.1875]


def test_pairs_of_criteria_are_adjusted_for_their_number():
    table = pandas.concat(
        rows("examples criterion auc_relative", (10, "a", 0.5 + seed / 10), (10, "b", 0.3), (10, "c", 0.2), seed=seed)
        for seed in range(3)
    )
    found = analysis.paired(table, {"a": "b", "b": "c"})
    assert found["smallest_p"].tolist() == [0.25, 0.25] and found["smallest_p_holm"].tolist() == [0.5, 0.5]
    few = table.assign(examples=10, criterion="b")
    uneven = analysis.all_against_few(pandas.concat([table.assign(examples=100), few]), "a", ["b"])
    assert uneven["smallest_p_holm"].tolist() == [0.25]


def test_criteria_that_need_labels_are_taken_on_as_many_examples_as_those_that_need_none(monkeypatch):
    curves = rows("examples criterion", (10, "sq"), (100, "sq"), (100, "sq:rand"), (100, "l2"), (1000, "abs"))
    monkeypatch.setattr(measurements, "measured", lambda plan: curves)
    found = analysis.labelled(None, rows("examples criterion", (10, "sq:rand"), (100, "sq:rand")))
    assert found[["examples", "criterion"]].to_numpy().tolist() == [[100, "sq"]]


def test_curves_in_numbers_are_means_over_runs_on_the_most_examples():
    accuracies = dict.fromkeys(("accuracy_unpruned", "accuracy_10pct", "accuracy_25pct", "accuracy_50pct"), 0.5)
    cells = [("sq", 10, 0, 0.9), ("sq", 99, 0, 0.2), ("sq", 99, 1, 0.4), ("l2", 99, 0, 0.1)]
    first = rows("criterion examples draw auc_relative", *cells, seed=0)
    second = rows("criterion examples draw auc_relative", ("sq", 99, 0, 0.5), ("abs", 99, 0, 0.5), seed=1)
    found = analysis.in_numbers(pandas.concat([first, second]).assign(**accuracies), ["l2", "sq"])
    shown = found[["examples", "criterion", "labels", "auc_relative"]].values.tolist()
    assert shown == [[99, "l2", False, 0.1], [99, "sq", True, pytest.approx(0.4)]]
