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
    assert said(scarcity=summary({("sq", 10): 0.5}), sources=summary({(OWN, 10): 0.5})) == ""
    assert said(seconds=pandas.DataFrame({"criterion": ["l2"], "seconds": [1.0]}), machine="a GPU") == ""
    assert said(seconds=pandas.DataFrame({"criterion": [OWN, "l2"], "seconds": 1.0})) == ""  # of whatever machine


RANK = "1. **Rank by `sq:rand:norm`, without labels**, if nothing is trained afterwards"


def test_images_are_enough_from_the_first_number_on_that_gives_nearly_all():
    table = summary({(OWN, 2): 0.4, (OWN, 10): 0.693, (OWN, 1000): 0.7, ("l2", 0): 0.9})
    assert said(scarcity=table) == f"{RANK}. 10 images gave at least 99 % of the relative auc that all images give."
    stratified = summary({(OWN, 10): 0.1}, sample="stratified")
    assert said(scarcity=pandas.concat([table, stratified])) == said(scarcity=table)
    other = summary({(OWN, 10): 0.1, (OWN, 1000): 0.2}, dataset="stl10")
    assert "10 to 1,000 images gave at least 99 %" in said(scarcity=pandas.concat([table, other]))
    assert said(scarcity=other) == f"{RANK}, on all images that you have: up to 1,000 of them, more helped."


@pytest.mark.parametrize(
    ("labelled", "words"),
    [
        ((0.5, 0.7), "2. **Use labels where you have few images (`sq:norm`)**: on 10 images they added up to "
         "0.10 of relative auc."),
        ((0.5, 0.75), "2. **If you have labels, they may help (`sq:norm`)**: on 10 and 1,000 images they added up to "
         "0.10 of relative auc."),
        ((0.4, 0.7), "2. **Do not label images for this**: at every number of images tried labels (`sq:norm`) "
         "added no more than 0.01 of relative auc in the mean."),
    ],
)  # fmt: skip
def test_labels_are_worth_it_where_they_add_something(labelled, words):
    table = summary(
        {(OWN, 10): 0.4, (OWN, 1000): 0.7} | dict(zip([("sq:norm", 10), ("sq:norm", 1000)], labelled, strict=True))
    )
    assert said(scarcity=table).splitlines()[1] == words


ENOUGH = "1. On 10 images one random vector for each will do: 16 of them added no more than 0.01 of relative auc in the"


@pytest.mark.parametrize(
    ("few", "many", "words"),
    [
        (0.5, 0.6, f"{ENOUGH} mean (C6 is over all numbers of images)."),
        (0.6, 0.6, f"{ENOUGH} mean, but 0.10 on only 2: send several there (C6 is over all numbers of images)."),
        (0.5, 0.7, "1. Send several random vectors back for each: 16 added 0.10 of relative auc."),
    ],
)
def test_random_vectors_are_enough_where_more_add_nothing(few, many, words):
    more = "sq:rand@16:norm"
    assert said(sources=summary({(OWN, 2): 0.5, (more, 2): few, (OWN, 10): 0.6, (more, 10): many})) == words


def test_a_repair_is_set_beside_none_on_the_most_examples():
    columns = ["criterion", "examples", "accuracy_25pct", "accuracy_25pct_repaired", "accuracy_unpruned"]
    rows = [(OWN, 10, 0.1, 0.1, 0.8), (OWN, 40, 0.4, 0.6, 0.8), ("l2", 40, 0.1, 0.2, 0.8)]
    table = pandas.DataFrame(rows, columns=columns).assign(dataset="digits", network="vgg8")
    kept = (
        "with a quarter of the units off networks kept {} % of their accuracy with such a repair and {} % without on "
    )
    digits = f"{kept.format(75, 50)}digits"
    assert said(repaired=table) == f"1. **Estimate BatchNorms anew afterwards**, which takes no labels: {digits}."
    worse = table.assign(accuracy_25pct=0.7)
    assert said(repaired=worse).startswith("1. **Leave BatchNorms as they are**: with")
    other = said(repaired=pandas.concat([table, worse.assign(dataset="stl10")]))
    anew = "1. **Try whether BatchNorms estimated anew help**, which takes no labels"
    assert other == f"{anew}: {digits} and 75 and 88 % on stl10."
    assert said(repaired=table[table["criterion"] == "l2"]) == said(repaired=table.head(0)) == ""


def test_costs_are_in_milliseconds_or_seconds():
    seconds = pandas.DataFrame({"criterion": [OWN, "l2"], "seconds": [0.7893, 0.0008]})
    machine = "`vgg8`, on one core of a processor (A)"
    end = f"{{}} for 256 images through {machine}, where `l2`, which looks at none, takes 0.8 ms."
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


def test_of_what_fewer_networks_were_measured_in_it_is_said_which():
    few = summary({(OWN, 10): 0.5, (OWN, 20): 0.9, ("sq:norm", 10): 0.5, ("sq:norm", 20): 0.9})
    count = len(few[["dataset", "network", "seed"]].drop_duplicates())
    where = f" (measured in {count} of 9 networks, on {few['dataset'].iloc[0]})."
    assert all(line.endswith(where) for line in said(scarcity=few, networks=9).splitlines())
    assert "measured in" not in said(scarcity=few, networks=count)
