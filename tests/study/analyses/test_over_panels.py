"""analyses.over_panels: values of each panel first, then of all, worked out by hand."""

import made_up_panels
import numpy
import pandas
import pytest

from lib.study import claims, panels, paths
from lib.study.analyses import over_panels

T2 = 4.302652729749464  # Student's t, 2 degrees of freedom, 97.5 %


@pytest.fixture
def plans(root):
    made_up_panels.study(root)
    made_up_panels.publish(root / "results", "one", "two", "three")
    return panels.published(root / "results")[0]


@pytest.fixture
def every(plans):
    found = pandas.concat([claims.by_block(plan, strict=False) for plan in plans], ignore_index=True)
    return panels.with_panel(found, panels.runs(plans))


@pytest.fixture
def blocks(every):
    """Those of C10, whose values are `made_up_panels.GAINS`."""
    return every[every["claim"] == "C10"]


def test_claims_whose_criteria_a_panel_lacks_are_left_out_of_it(every, blocks):
    assert set(every["claim"]) == {"C3", "C10", "C13"}
    assert blocks.groupby("panel").size().to_dict() == {"one": 3, "three": 1, "two": 4}


def test_over_panels_each_weighs_the_same_and_over_networks_each_network_does(blocks):
    networks, panels_ = over_panels.claims_over(blocks).to_dict("records")
    assert (networks["over"], networks["count"], networks["ahead"]) == ("networks", 8, 8)
    assert networks["effect"] == pytest.approx(0.05)  # of 0.01, 0.02, 0.03, 0.05, 0.06, 0.06, 0.07 and 0.10
    assert networks["verdict"] == "supported" and networks["p"] == 2 / 2**8
    assert (panels_["over"], panels_["count"], panels_["ahead"]) == ("panels", 3, 3)
    half = T2 * 0.04 / 3**0.5  # of 0.02, 0.06 and 0.10
    assert [panels_[name] for name in ("effect", "low", "high")] == pytest.approx([0.06, 0.06 - half, 0.06 + half])
    assert panels_["verdict"] == "too few networks" and panels_["side"] == "on both sides"
    assert panels_["smallest_p"] == 0.25
    assert numpy.isnan(panels_["tau"]) and numpy.isnan(panels_["i2"])  # the third panel has one network


def test_six_panels_of_one_mind_can_be_tested():
    rows = [{"panel": f"p{n}", "dataset": f"d{n}", "network": "a", "seed": 0, "given": False} for n in range(6)]
    values = pandas.DataFrame(rows).assign(claim="C1", difference=[0.1, 0.11, 0.12, 0.13, 0.14, 0.15], other=0.0)
    networks, over = over_panels.claims_over(values).to_dict("records")
    assert over["verdict"] == networks["verdict"] == "supported" and over["p"] == 2 / 2**6


def test_how_different_panels_are():
    values = pandas.DataFrame({"panel": ["a"] * 3 + ["b"] * 3, "x": [0.01, 0.02, 0.03, 0.05, 0.06, 0.07]})
    found = over_panels.heterogeneity(values.groupby("panel")["x"])
    between, within = 0.0008, 0.0001 / 3  # of 0.02 and 0.06; of each mean
    assert found == {"tau": pytest.approx((between - within) ** 0.5), "i2": pytest.approx(1 - within / between)}


def test_panels_that_differ_no_more_than_their_networks_do_not_differ():
    values = pandas.DataFrame({"panel": ["a"] * 3 + ["b"] * 3, "x": [0.1, 0.2, 0.3, 0.11, 0.21, 0.31]})
    assert over_panels.heterogeneity(values.groupby("panel")["x"]) == {"tau": 0, "i2": 0}


@pytest.mark.parametrize("x", [[0.1, 0.2, 0.3], [0.1, 0.1, 0.1]])
def test_one_panel_or_one_without_spread_says_nothing_of_it(x):
    alone = pandas.DataFrame({"panel": "a", "x": x}).groupby("panel")["x"]
    both = pandas.DataFrame({"panel": ["a"] * 3 + ["b"] * 3, "x": [*x, 1, 1, 1]}).groupby("panel")["x"]
    for values in (alone, both):
        assert all(map(numpy.isnan, over_panels.heterogeneity(values).values()))


def test_panel_by_panel_every_claim_has_a_row(blocks):
    found = over_panels.claims_by_panel(blocks, ["one", "two", "three"])
    assert len(found) == 3 * 14 and (found.loc[found["claim"] != "C10", "count"] == 0).all()
    here = found[found["claim"] == "C10"].set_index("panel")
    assert here["count"].to_dict() == {"one": 3, "two": 4, "three": 1}
    assert here["effect"].to_dict() == pytest.approx({"one": 0.02, "two": 0.06, "three": 0.10})
    assert here["verdict"].unique().tolist() == ["too few networks"]


def test_networks_of_others_are_told_apart(blocks):
    (row,) = over_panels.by_trainer(blocks).to_dict("records")
    assert (row["claim"], row["networks_here"], row["networks_others"]) == ("C10", 4, 4)
    assert [row["here"], row["others"]] == pytest.approx([0.06, 0.06])  # of 0.02 and 0.10, and of 0.06


def test_criteria_on_the_most_examples_rankings_by_chance_averaged(plans):
    found = over_panels.measured(plans)
    assert found.groupby("panel")["examples"].unique().map(list).to_dict() == {
        "one": [50000], "three": [500], "two": [3000]
    }  # fmt: skip
    assert found.loc[found["criterion"] == "random", "auc_relative"].tolist() == pytest.approx([0.2] * 8)
    assert not found.duplicated(["panel", "dataset", "network", "seed", "criterion"]).any()


def test_a_longer_list_of_criteria_says_on_how_many_examples(plans):
    summary = made_up_panels.summary("one").assign(examples=100, auc_relative=0.9)
    summary[summary["criterion"] == "sq"].to_csv(plans[0].tables / "60-rivals-label-free.csv", index=False)
    found = over_panels.measured(plans[:1])
    assert set(found["criterion"]) == {"sq"} and set(found["examples"]) == {100}


def test_other_tables_than_the_usual_say_on_how_many_examples_and_win_where_two_have_the_same(plans):
    summary = made_up_panels.summary("one").assign(examples=100, auc_relative=0.9)
    summary[summary["criterion"] == "sq"].to_csv(plans[0].tables / "first-of-all.csv", index=False)
    found = over_panels.measured(plans[:1], ["first-of-all", "15-replication-summary"])
    assert set(found["criterion"]) == {"sq"} and set(found["examples"]) == {100}  # the other has none on 100
    most = summary[summary["criterion"] == "sq"].assign(examples=made_up_panels.NUMBERS["one"][-1])
    most.to_csv(plans[0].tables / "first-of-all.csv", index=False)
    found = over_panels.measured(plans[:1], ["first-of-all", "15-replication-summary"]).set_index("criterion")
    assert set(found.loc["sq", "auc_relative"]) == {0.9} and set(found.loc["abs", "auc_relative"]) == {0.5}
    assert over_panels.measured(plans[:1], ["of nobody"]).empty


def test_what_each_network_has_by_its_criteria_and_of_how_many_seeds(plans):
    summary = over_panels.measured(plans)
    found, seeds = over_panels.of_each([summary], ["l2", "sq", "rand"], "auc_relative", summary)
    assert found.columns.tolist() == ["l2", "sq", "rand"] and found["rand"].isna().all()
    assert found["l2"].tolist() == pytest.approx([0.4] * 4)
    gains = {key: value - 0.5 for key, value in found["sq"].items()}
    assert gains == {
        ("one", "cifar100", "resnet20"): pytest.approx(0.02),  # of 0.01, 0.02 and 0.03
        ("two", "cifar10", "resnet20"): pytest.approx(0.055),
        ("two", "cifar10", "vgg19"): pytest.approx(0.065),
        ("three", "stl10", "resnet18-small"): pytest.approx(0.1),
    }
    assert seeds.to_dict() == dict(zip(gains, [3, 2, 2, 1], strict=True))


def test_rows_of_all_tables_that_have_the_value_count_alike_and_others_not(plans):
    summary = over_panels.measured(plans)
    one = summary[(summary["panel"] == "one") & (summary["criterion"] == "sq")]
    more = one.assign(auc_relative=0.9).head(1)
    found, seeds = over_panels.of_each([one, more, one.drop(columns="auc_relative")], ["sq"], "auc_relative", one)
    assert found["sq"].tolist() == pytest.approx([(0.51 + 0.52 + 0.53 + 0.9) / 4]) and seeds.tolist() == [3]
    found, seeds = over_panels.of_each([one], ["sq"], "auc_relative", pandas.DataFrame())
    assert seeds.tolist() == [1]
    found, seeds = over_panels.of_each([one], ["sq"], "kept", summary)
    assert found.empty and seeds.empty and found.columns.tolist() == ["sq"]


def rows(**values):
    """A summary of two panels: criterion -> relative auc in each."""
    made = [(panel, name, value[n]) for name, value in values.items() for n, panel in enumerate(("p", "q"))]
    table = pandas.DataFrame(made, columns=["panel", "criterion", "auc_relative"])
    return table.assign(dataset="d", network="n", seed=0)


def test_places_in_panels_and_by_the_mean_over_them():
    found = over_panels.board(rows(sq=(0.9, 0.1), abs=(0.6, 0.5), l2=(0.5, 0.5), random=(0.2, 0.0)))
    assert found["criterion"].tolist() == [name for name in ("abs", "sq", "l2", "random") for _ in range(2)]
    assert found["place"].tolist() == [2, 1.5, 1, 3, 3, 1.5, 4, 4]
    assert found["overall"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert found["mean"].tolist()[::2] == pytest.approx([0.55, 0.5, 0.5, 0.1])
    assert found["labels"].tolist()[::2] == [True, True, False, False]


def test_a_criterion_that_a_panel_lacks_has_no_place():
    table = rows(sq=(0.9, 0.1), abs=(0.6, 0.5))
    found = over_panels.board(table[(table["criterion"] != "sq") | (table["panel"] == "p")])
    assert found["criterion"].tolist() == ["abs", "abs"] and found["place"].tolist() == [1, 1]


def test_how_alike_two_panels_order_criteria():
    found = over_panels.board(rows(sq=(0.9, 0.1), abs=(0.6, 0.5), l2=(0.5, 0.6)))
    assert over_panels.stability(found).to_dict("records") == [
        {"first": "p", "second": "q", "criteria": 3, "spearman": pytest.approx(-1)}
    ]
    assert over_panels.stability(found[found["panel"] == "p"]).empty


def test_a_row_per_network_says_how_large_it_is_and_what_is_gained(plans):
    found = over_panels.by_network(over_panels.measured(plans), panels.runs(plans))
    assert found["network"].tolist() == ["resnet20", "resnet20", "resnet18-small", "vgg19"]
    assert found["seeds"].tolist() == [3, 2, 1, 2] and found["units"].tolist() == [3] * 4
    here = found[(found["panel"] == "two") & (found["network"] == "vgg19")].iloc[0]
    assert here["given"] and here["examples"] == 3000 and here["accuracy"] == pytest.approx(0.605)
    assert here["lead_l2"] == pytest.approx(0.565 - 0.4) and here["lead_random"] == pytest.approx(0.565 - 0.2)
    assert here["lead_sq:norm"] == pytest.approx(0) and numpy.isnan(here["lead_taylorfo"])


def test_a_trend_takes_five_networks():
    sizes = {"units": [1, 2, 3, 4, 5], "parameters": [5, 4, 3, 2, 1], "layers": [2, 2, 2, 2, 2]}
    leads = {"lead_sq:norm": [1, 2, 3, 4, 5], "lead_taylorfo": [1, 2, 3, 4, None], "lead_l2": [1, 3, 2, 4, 5]}
    found = over_panels.with_size(pandas.DataFrame(sizes | leads)).set_index(["lead", "with"])
    assert found.loc[("sq:norm", "units"), "spearman"] == pytest.approx(1)
    assert found.loc[("l2", "parameters"), "spearman"] == pytest.approx(-0.9)
    assert found["spearman"].isna().to_dict() == {
        (lead, size): lead == "taylorfo" or size == "layers"
        for lead in over_panels.RIVALS
        for size in over_panels.SIZES
    }
    assert found.loc[("taylorfo", "units"), "networks"] == 4


def test_curves_know_the_order_of_their_number_of_examples(plans):
    found = over_panels.curves(panels.table(plans, "90-report-curves-units"))
    orders = found.groupby("panel")[["examples", "order"]].apply(lambda own: sorted(set(map(tuple, own.to_numpy()))))
    assert orders.to_dict() == {"one": [(2, 1), (50000, 2)], "three": [(5, 1), (500, 2)], "two": [(2, 1), (3000, 2)]}
    assert (found["orders"] == 2).all()
    own = found[(found["panel"] == "two") & (found["criterion"] == "l2") & (found["order"] == 1)]
    assert own["accuracy"].tolist() == pytest.approx([0.6, 0.3, 0.0])  # of two networks


def test_the_papers_curves_are_of_the_networks_that_it_has_too(plans, monkeypatch):
    networks = panels.runs(plans)
    monkeypatch.setattr(paths, "ROOT", paths.Path(__file__).resolve().parents[3])
    found = over_panels.papers_curves(networks)
    assert set(found["panel"]) == {"one"} and set(found["examples"]) == {2, 10, 103, 50000}
    assert found["gone"].between(0, 51).all()
