"""study.paper: the paper's curves as they were read off, and what is set beside them."""

import re

import numpy
import pandas
import pytest

from lib.report import answers, claim_figures, style
from lib.scoring.batches import MINIBATCH
from lib.study import claims, paper, paths, records

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


def test_their_aucs_are_of_as_many_points_as_ours():
    whole = pandas.read_csv(paths.ROOT / "data/paper/auc.csv")
    keys = ["dataset", "network", "examples", "criterion"]
    both = paper.auc().merge(whole, on=keys, suffixes=("", "_there"))
    assert len(both) == 256 and both["auc"].to_numpy() == pytest.approx(both["auc_there"].to_numpy(), abs=6e-4)
    (curve,) = (part for key, part in paper.curves().groupby(keys) if key == ("cifar100", "resnet20", 103, "taylorfo"))
    found = paper.auc(3).set_index(keys)["auc"]["cifar100", "resnet20", 103, "taylorfo"]
    start, middle, end = curve.sort_values("pruned")["accuracy"].iloc[[0, 15, 30]]
    assert found == pytest.approx((start + 2 * middle + end) / 4)


def test_ours_is_the_mean_over_runs_and_only_what_both_have_is_shown():
    table = pandas.concat([ours(103, [[0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.5, 0.6]]), ours(7, [[0.1, 0.2, 0.3, 0.4]])])
    both = paper.beside(table, paper.auc()).set_index("criterion")
    assert both["auc_relative_ours"].to_dict() == pytest.approx(dict(zip(NAMES, [0.2, 0.3, 0.4, 0.5], strict=True)))
    assert both["auc_ours"].to_numpy() == pytest.approx(both["auc_relative_ours"].to_numpy() / 2)
    assert both["auc_relative_paper"].to_dict() == pytest.approx(theirs(103)[both.index].to_dict())


@pytest.mark.parametrize(("sign", "rho"), [(1, 1.0), (-1, -1.0)])
def test_agreement_is_that_of_the_orders_and_of_the_sizes(sign, rho):
    both = pandas.DataFrame({"auc_paper": [0.1, 0.2, 0.4], "dataset": "d", "network": "n", "examples": 9})
    both = both.assign(criterion=["sq", "abs", "taylorfo"], auc_ours=sign * both["auc_paper"] + 0.1)
    twin = both[:1].assign(criterion="molchanov-bn", auc_ours=7.0)
    (row,) = paper.agreement(pandas.concat([both, twin])).to_dict("records")
    assert row["criteria"] == 3 and row["spearman"] == pytest.approx(rho)
    assert row["difference"] == pytest.approx(0.1 if sign == 1 else 0.1 - 2 * 0.7 / 3)


def test_one_run_tells_what_another_would_tell_too():
    first, second = [0.5, 0.4, 0.6, 0.7], [0.5, 0.4, 0.6, 0.3]  # abs:norm is the best, then the worst: 3 pairs of 6
    (row,) = paper.single_runs(ours(50000, [first, second]), paper.auc()).to_dict("records")
    assert row["blocks"] == 2 and row["compared"] == 6 and row["twins"] == 0 and numpy.isnan(row["twins_differ"])
    assert row["sd"] == pytest.approx(0.4 / numpy.sqrt(2) * numpy.sqrt(3 / 6))  # of two numbers that are .4 apart
    assert row["disagree"] == 3 / 6
    orders = [
        numpy.sign(numpy.subtract.outer(values, values)) for values in (theirs(50000)[NAMES].to_list(), first, second)
    ]
    differ = numpy.mean([(orders[0] != other).sum() / 2 / 6 for other in orders[1:]])
    assert row["disagree_paper"] == pytest.approx(differ)
    assert 0 < row["disagree_paper"] < 1


def test_one_ranking_under_two_names_is_no_pair_but_tells_how_much_the_papers_curves_vary():
    (row,) = paper.single_runs(ours(10, [[0.5, 0.5, 0.6, 0.7]]), paper.auc()).to_dict("records")
    assert row["compared"] == 3 and row["twins"] == 1 and numpy.isnan(row["sd"]) and numpy.isnan(row["disagree"])
    assert row["twins_differ"] == pytest.approx(abs(theirs(10)["taylorfo"] - theirs(10)["molchanov-bn"]))


def test_one_ranking_is_left_out_up_to_a_whole_minibatch():
    cells = [("molchanov-bn:norm", number) for number in (0, 1, MINIBATCH, MINIBATCH + 1)] + [("taylorfo", MINIBATCH)]
    kept = paper.without_twins(pandas.DataFrame(cells, columns=["criterion", "examples"]))
    assert kept.to_numpy().tolist() == [["molchanov-bn:norm", 0], ["molchanov-bn:norm", 129], ["taylorfo", 128]]


def test_the_papers_44_curves_of_one_ranking_tell_its_run_to_run_noise():
    ours_as_the_papers = paper.auc().assign(seed=0)
    in_auc = paper.auc().assign(auc_relative=lambda table: table["auc"])
    table = paper.single_runs(ours_as_the_papers, in_auc)
    assert len(table) == 16 and table["twins"].sum() == 44
    squares = (table["twins"] * table["twins_differ"].fillna(0) ** 2).sum()
    assert numpy.sqrt(squares / 44) == pytest.approx(0.0285, abs=0.0001)
    assert (paper.single_runs(ours_as_the_papers, paper.auc())["disagree_paper"] == 0).all()


def test_where_the_paper_shows_nothing_there_is_nothing_to_show():
    table = ours(103, [[0.1, 0.2, 0.3, 0.4]], network="resnet8")
    assert paper.beside(table, paper.auc()).empty and paper.single_runs(table, paper.auc()).empty
    assert paper.agreement(paper.beside(table, paper.auc())).empty


def test_all_that_is_set_beside_the_paper_goes_through_files_into_a_figure_and_words(tmp_path):
    """As notebooks 15 and 90 do it, on curves of two networks that are the paper's, shifted."""
    table = pandas.concat([paper.auc().assign(seed=seed, auc=lambda t, by=seed: t["auc"] + by / 50) for seed in (0, 1)])
    table["auc_relative"] = table["auc"] / table["accuracy_unpruned"]
    table = table[table["network"].isin(["resnet20", "vgg19"])]
    found = {"agreement": paper.agreement(paper.beside(table, paper.auc()))}
    found |= {"contrasts": claims.beside_paper(table, paper.auc()), "single": paper.single_runs(table, paper.auc())}
    for name, part in found.items():
        records.save_table(part, tmp_path / f"{name}.csv")
    found = {name: pandas.read_csv(tmp_path / f"{name}.csv") for name in found}
    style.save(claim_figures.beside_paper(found["contrasts"]), tmp_path, "contrasts", shown=False)
    said = answers.by_section(**found)["15-replication"]
    assert said.startswith(
        "**Largely: its order of criteria and ours have a rank correlation of 1.00** on each number of images. Of"
    )
    shown = re.search(r"Of (\d+) differences that its curves show for our claims, (\d+) have", said)
    assert shown[1] == shown[2]
    assert "two of our networks put 0 % of the pairs of criteria in opposite orders" in said
