"""lib.paper: the paper's curves as they were read off, and what is set beside them."""

import numpy
import pandas
import pytest

from lib import paper

NAMES = ["taylorfo", "molchanov-bn", "sq:norm", "abs:norm"]


def ours(examples, values, network="resnet20"):
    """Relative aucs of `NAMES`, a row of values per seed; the auc is half of each."""
    rows = [
        ("cifar100", network, seed, name, examples, value / 2, value)
        for seed, of_names in enumerate(values)
        for name, value in zip(NAMES, of_names, strict=True)
    ]
    return pandas.DataFrame(
        rows, columns=["dataset", "network", "seed", "criterion", "examples", "auc", "auc_relative"]
    )


def theirs(examples, network="resnet20"):
    table = paper.auc()
    here = table[(table["network"] == network) & (table["examples"] == examples)]
    return here.set_index("criterion")["auc_relative"]


def test_there_are_256_curves_of_16_criteria_each_with_its_summary():
    curves, auc = paper.curves(), paper.auc()
    columns = ["dataset", "network", "examples", "criterion"]
    assert len(auc) == len(curves[columns].drop_duplicates()) == 256 and auc["criterion"].nunique() == 16
    ends = curves.sort_values("pruned").groupby(columns)["accuracy"].first()
    assert ends.to_numpy() == pytest.approx(auc.set_index(columns)["accuracy_unpruned"].reindex(ends.index), abs=0.02)
    assert (auc["auc_relative"] * auc["accuracy_unpruned"]).to_numpy() == pytest.approx(auc["auc"].to_numpy())


def test_ours_is_the_mean_over_runs_and_only_what_both_have_is_shown():
    table = pandas.concat([ours(103, [[0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.5, 0.6]]), ours(7, [[0.1, 0.2, 0.3, 0.4]])])
    both = paper.beside(table).set_index("criterion")
    assert both["auc_relative_ours"].to_dict() == pytest.approx(dict(zip(NAMES, [0.2, 0.3, 0.4, 0.5], strict=True)))
    assert both["auc_ours"].to_numpy() == pytest.approx(both["auc_relative_ours"].to_numpy() / 2)
    assert both["auc_relative_paper"].to_dict() == pytest.approx(theirs(103)[both.index].to_dict())


@pytest.mark.parametrize(("sign", "rho"), [(1, 1.0), (-1, -1.0)])
def test_agreement_is_that_of_the_orders_and_of_the_sizes(sign, rho):
    both = pandas.DataFrame({"auc_paper": [0.1, 0.2, 0.4], "dataset": "d", "network": "n", "examples": 9})
    (row,) = paper.agreement(both.assign(auc_ours=sign * both["auc_paper"] + 0.1)).to_dict("records")
    assert row["criteria"] == 3 and row["spearman"] == pytest.approx(rho)
    assert row["difference"] == pytest.approx(0.1 if sign == 1 else 0.1 - 2 * 0.7 / 3)


def test_one_run_cannot_tell_what_varies_more_from_one_network_to_the_next():
    first, second = [0.5, 0.5, 0.6, 0.7], [0.5, 0.5, 0.6, 0.8]  # pairs with abs:norm differ by .1, others by nothing
    (row,) = paper.single_runs(ours(103, [first, second])).to_dict("records")
    spread = 0.1 / numpy.sqrt(2)  # of two numbers that are .1 apart
    assert row["compared"] == 6 and row["twins"] == 0 and numpy.isnan(row["twins_differ"])
    assert row["sd"] == pytest.approx(spread * numpy.sqrt(3 / 6))
    curve = theirs(103)[NAMES].to_numpy()
    apart = numpy.abs(curve[:, None] - curve)[numpy.triu_indices(4, 1)]
    assert row["hidden"] == pytest.approx(numpy.mean(apart < 1.959964 * row["sd"])) and 0 < row["hidden"] < 1


def test_one_ranking_under_two_names_is_no_pair_but_tells_how_much_the_papers_curves_vary():
    (row,) = paper.single_runs(ours(10, [[0.5, 0.5, 0.6, 0.7]])).to_dict("records")
    assert row["compared"] == 3 and row["twins"] == 1 and numpy.isnan(row["sd"]) and numpy.isnan(row["hidden"])
    assert row["twins_differ"] == pytest.approx(abs(theirs(10)["taylorfo"] - theirs(10)["molchanov-bn"]))


def test_the_papers_28_curves_of_one_ranking_differ_by_what_the_design_says():
    table = paper.single_runs(paper.auc().assign(seed=0, auc_relative=0.5))
    assert len(table) == 16 and table["twins"].sum() == 28
    half = paper.auc().pivot(index=paper.PANEL, columns="criterion", values="auc").query("examples <= 32")
    names = [name for name in half if name.startswith("molchanov-bn")]
    gaps = half[names].to_numpy() - half[[name.replace("molchanov-bn", "taylorfo") for name in names]].to_numpy()
    assert numpy.sqrt(numpy.mean(gaps**2)) == pytest.approx(0.027, abs=0.001)


def test_where_the_paper_shows_nothing_there_is_nothing_to_show():
    table = ours(103, [[0.1, 0.2, 0.3, 0.4]], network="resnet8")
    assert paper.beside(table).empty and paper.single_runs(table).empty
    assert paper.agreement(paper.beside(table)).empty
