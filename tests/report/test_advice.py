"""report.advice: what is said is what the tables hold, and what they do not hold is not said."""

import pandas
import pytest

from lib.report import advice
from lib.study import claims

OWN = claims.RECOMMENDED


def summary(values, sample="random", dataset="digits"):
    """Two runs of one draw and one run of two, around each mean; values: (criterion, examples) -> relative auc."""
    rows = [
        (dataset, "vgg8", seed, name, number, draw, sample, mean + shift)
        for (name, number), mean in values.items()
        for seed, draw, shift in ((0, 0, -0.1), (1, 0, 0.2), (1, 1, 0.0))
    ]
    columns = ["dataset", "network", "seed", "criterion", "examples", "draw", "sample", "auc_relative"]
    return pandas.DataFrame(rows, columns=columns)


def said(**tables):
    return advice.advice(**tables)


def test_without_tables_nothing_is_said():
    assert said() == ""
    assert said(numbers=summary({("sq", 10): 0.5}), sources=summary({(OWN, 10): 0.5})) == ""
    assert said(seconds=pandas.DataFrame({"criterion": ["l2"], "seconds": [1.0]}), machine="a GPU") == ""
    assert said(seconds=pandas.DataFrame({"criterion": [OWN, "l2"], "seconds": 1.0})) == ""  # of whatever machine


RANK = "1. **Rank by `sq:rand:norm`, without labels**, if nothing is trained afterwards."


def test_what_about_a_hundred_and_a_thousand_images_give_is_set_beside_all():
    table = summary({(OWN, 2): 0.4, (OWN, 71): 0.63, (OWN, 1000): 0.693, (OWN, 50000): 0.7, ("l2", 0): 0.9})
    about = "About 100 images ({}) gave {} % of the relative auc that all gave in {} networks ({}), about 1,000 images"
    there = f"{about.format('71', '88 to 91', 2, 'digits')} gave 99 % in 2 networks (digits)"
    assert said(numbers=table) == f"{RANK} {there}."
    stratified = summary({(OWN, 71): 0.1}, sample="stratified")
    assert said(numbers=pandas.concat([table, stratified])) == said(numbers=table)
    other = summary({(OWN, 103): 0.2, (OWN, 1000): 0.2}, dataset="stl10")  # of which 1,000 are all
    assert said(numbers=pandas.concat([table, other])).startswith(
        f"{RANK} {about.format('71 to 103', '88 to 100', 4, 'digits and stl10')} gave 99 % in 2 networks (digits)"
    )
    assert said(numbers=summary({(OWN, 10): 0.1, (OWN, 60): 0.2})) == RANK


def test_where_few_images_rank_better_than_all_it_is_said():
    table = summary({(OWN, 10): 0.42, (OWN, 30): 0.9, (OWN, 40): 0.35})
    more = "On digits 10 images gave more than 40 in the mean (0.42 and 0.35), and in all 2 networks."  # and the shift
    assert said(numbers=table) == f"{RANK} {more}"


@pytest.mark.parametrize(
    ("labelled", "words"),
    [
        ((0.5, 0.7), "2. **Use labels where you have few images (`sq:norm`)**: on 10 images they added up to "
         "0.10 of relative auc."),
        ((0.5, 0.75), "2. **If you have labels, they may help (`sq:norm`)**: on 10 and 20 images they added up to "
         "0.10 of relative auc."),
        ((0.4, 0.7), "2. **Do not label images for this**: at every number of images tried labels (`sq:norm`) "
         "added no more than 0.01 of relative auc in the mean over a data set's networks."),
    ],
)  # fmt: skip
def test_labels_are_worth_it_where_they_add_something(labelled, words):
    both = zip([("sq:norm", 10), ("sq:norm", 20)], labelled, strict=True)
    table = summary({(OWN, 10): 0.4, (OWN, 20): 0.7} | dict(both))
    assert said(numbers=table).splitlines()[1] == words


def test_what_labels_add_in_a_single_network_is_said_beside_the_mean():
    table = summary({(OWN, 10): 0.4, ("sq:norm", 10): 0.4})
    table.loc[(table["criterion"] == "sq:norm") & (table["seed"] == 0), "auc_relative"] += 0.05
    table.loc[(table["criterion"] == "sq:norm") & (table["seed"] == 1), "auc_relative"] -= 0.05
    assert said(numbers=table).endswith("in the mean over a data set's networks, and at most 0.05 in a single network.")


MORE = ", where several may be worth their time"
ENOUGH = "1. On 10 images one random vector for each will do: 16 of them added no more than 0.01 of relative auc in the"


@pytest.mark.parametrize(
    ("few", "many", "words"),
    [
        (0.5, 0.6, f"{ENOUGH} mean (C6 is over all numbers of images)."),
        (0.6, 0.6, f"{ENOUGH} mean, but 0.100 on only 2{MORE} (C6 is over all numbers of images)."),
        (0.5112, 0.6, f"{ENOUGH} mean, but 0.011 on only 2{MORE} (C6 is over all numbers of images)."),
        (0.5, 0.6112, "1. Send several random vectors back for each: 16 added 0.011 of relative auc."),
        (0.5, 0.7, "1. Send several random vectors back for each: 16 added 0.100 of relative auc."),
    ],
)
def test_random_vectors_are_enough_where_more_add_nothing(few, many, words):
    more = "sq:rand@16:norm"
    assert said(sources=summary({(OWN, 2): 0.5, (more, 2): few, (OWN, 10): 0.6, (more, 10): many})) == words


def repaired(*of_shares, dataset="digits"):
    """A network, on 40 images: accuracy without repair and with one, with a tenth, a quarter and half of it off."""
    shares = [f"accuracy_{share}pct" for share in (10, 25, 50)]
    values = {name: pair[0] for name, pair in zip(shares, of_shares, strict=True)}
    values |= {f"{name}_repaired": pair[1] for name, pair in zip(shares, of_shares, strict=True)}
    row = {"dataset": dataset, "network": "vgg8", "criterion": OWN, "examples": 40, "accuracy_unpruned": 0.8} | values
    few, other = row | {"examples": 10} | dict.fromkeys(values, 0.0), row | {"criterion": "l2"}
    return pandas.DataFrame([few, row, other])


def test_a_repair_is_set_beside_none_on_the_most_examples():
    helps = repaired((0.72, 0.76), (0.4, 0.6), (0.2, 0.4))
    kept = "of their accuracy networks kept, with such a repair and without, with a tenth of the units off {}; with a "
    kept += "quarter off {}; with half off {}."
    digits = kept.format("95 and 90 % on digits", "75 and 50 % on digits", "50 and 25 % on digits")
    assert said(repaired=helps) == f"1. **Estimate BatchNorms anew afterwards**, which takes no labels: {digits}"
    assert said(repaired=repaired((0.76, 0.72), (0.6, 0.4), (0.4, 0.2))).startswith("1. **Leave BatchNorms as they are")
    little = repaired((0.8, 0.72), (0.4, 0.6), (0.2, 0.4))
    split = "1. **Where much goes, estimate BatchNorms anew; where little goes, that can harm**: of their accuracy"
    assert said(repaired=little).startswith(split)
    both = said(repaired=pandas.concat([little, helps.assign(dataset="stl10")]))
    tenth = "with a tenth of the units off 90 and 100 % on digits and 95 and 90 % on stl10; with a quarter"
    assert both.startswith(split) and tenth in both  # in the mean over both 2.5 points are lost
    other_way = said(repaired=repaired((0.72, 0.76), (0.6, 0.4), (0.4, 0.2)))
    level = said(repaired=repaired((0.8, 0.796), (0.4, 0.6), (0.2, 0.4)))
    anew = "1. **Try whether it helps to estimate BatchNorms anew**, which takes no labels: of their accuracy"
    assert other_way.startswith(anew) and level.startswith(anew)
    assert said(repaired=helps[helps["criterion"] == "l2"]) == said(repaired=helps.head(0)) == ""
    assert said(repaired=helps[["dataset", "network", "criterion", "examples", "accuracy_unpruned"]]) == ""


def test_where_it_is_best_to_move_batchnorms_by_what_changed_that_is_advised():
    columns = ["criterion", "budget", "accuracy", "accuracy_repaired", "accuracy_carried_over"]
    rows = [(OWN, 0.1, 0.8, 0.76, 0.8), (OWN, 0.2, 0.6, 0.72, 0.76), ("l2", 0.1, 0.8, 0.8, 0.0)]
    table = pandas.DataFrame(rows, columns=columns)
    table = table.assign(dataset="digits", network="vgg8", seed=0, accuracy_unpruned=0.8)
    mended = repaired((0.72, 0.76), (0.4, 0.6), (0.2, 0.4))
    assert said(shrunk=table, repaired=mended) == (
        f"{said(repaired=mended)} Better still: moving them only by what shrinking changed in them, as the tool "
        "does. With 10 and 20 % of the multiply-adds really gone that kept 100 and 95 % of the accuracy; 95 and 90 % "
        "was kept with BatchNorms estimated anew, as in C11 and C12, and 100 and 75 % without (1 network, on digits)."
    )
    for carried, words in (((0.75, 0.76), "Another way"), ((0.766, 0.5), "Worse where it was tried")):
        other = table.assign(accuracy_carried_over=[*carried, 0.0])
        assert f". {words}: moving them only by" in said(shrunk=other, repaired=mended)
    assert said(shrunk=table) == ""  # where nothing is said of a repair
    without = table.assign(accuracy_carried_over=float("nan"))
    assert said(shrunk=without) == said(shrunk=table.drop(columns="accuracy_carried_over")) == ""


def test_costs_are_in_milliseconds_or_seconds():
    seconds = pandas.DataFrame({"criterion": [OWN, "l2"], "seconds": [0.7893, 0.0008]})
    machine = "`vgg8`, on one core of a processor (A)"
    end = f"which `l2` does without: {{}} for 256 images through {machine}."
    assert said(seconds=seconds, machine=machine).endswith(end.format("790 ms"))
    assert said(seconds=seconds.assign(seconds=[64.31, 0.0008]), machine=machine).endswith(end.format("64 s"))


def test_a_criterion_that_kept_more_without_labels_is_named_with_where_it_did():
    rows = [("p", "digits", OWN, 0.5), ("p", "digits", "abs:rand", 0.6), ("p", "digits", "abs", 0.9)]
    rows += [("q", "stl10", OWN, 0.5), ("q", "stl10", "abs:rand", 0.5), ("q", "stl10", "abs", 0.9)]
    table = pandas.DataFrame(rows, columns=["panel", "dataset", "criterion", "auc_relative"])
    assert said(measured=table) == "1. Without a repair `abs:rand` kept more on digits (0.10 of relative auc)."
    assert said(measured=table.assign(auc_relative=[0.5, 0.505, 0.9] * 2)) == ""  # no more than is worth having
    assert said(measured=table.assign(auc_relative=[0.7, 0.6, 0.9] * 2)) == ""  # it leads itself
    assert said(measured=table[table["criterion"] != OWN]) == said(measured=table.head(0)) == ""


def test_what_a_criterion_that_kept_more_keeps_after_a_repair_is_said():
    rows = [("p", "digits", OWN, 0.5), ("p", "digits", "abs:rand", 0.6)]
    table = pandas.DataFrame(rows, columns=["panel", "dataset", "criterion", "auc_relative"])
    mended = repaired((0.72, 0.76), (0.4, 0.6), (0.2, 0.4)).assign(auc_relative_repaired=0.7, panel="p")
    with_one = "abs:rand` kept more on digits (0.10 of relative auc); with one, {} in the mean ({} where `sq:rand:norm`"
    for theirs, words in ((0.6, "less"), (0.8, "more"), (0.705, "as much")):
        other = mended[mended["criterion"] == OWN].assign(criterion="abs:rand", auc_relative_repaired=theirs)
        found = said(measured=table, repaired=pandas.concat([mended, other]))
        assert with_one.format(words, f"{theirs:.2f}") in found
    seeds = pandas.concat([table.assign(network="vgg8", seed=seed) for seed in range(3)])
    both = pandas.concat([mended, other]).query("criterion != 'l2'")  # three networks of vgg8, one of resnet8
    both = pandas.concat([both, both.assign(network="resnet8", auc_relative_repaired=[0.1, 0.1, 0.305, 0.305])])
    assert "(0.60 where `sq:rand:norm` has 0.55)" in said(measured=seeds, repaired=both)
    assert "with one" not in said(measured=table, repaired=mended).splitlines()[0]


def test_of_what_fewer_networks_were_measured_in_it_is_said_which():
    cells = [(name, number) for name in (OWN, "sq:norm", "sq:rand@16:norm") for number in (10, 20)]
    few = summary(dict.fromkeys(cells, 0.5))
    where = " (measured in 2 of 9 networks, on digits)"
    assert f"will do{where}: 16" in said(sources=few, networks=9)
    assert said(numbers=few, networks=9).endswith(f"networks{where}.")
    assert "measured in" not in said(numbers=few, sources=few, networks=2)
