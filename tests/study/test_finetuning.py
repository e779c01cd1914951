"""Fine-tuning on a run of the smoke profile, and what is said of made-up tables, worked out by hand."""

from dataclasses import replace

import numpy
import pandas
import pytest
import torch

from lib import importance, saving
from lib.images import datasets, networks, training
from lib.study import claims, finetuning, loading, profiles
from lib.study.profiles import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose network has been trained for a moment."""
    run = Run("smoke", "digits", "resnet8", 0, "cpu", results=str(tmp_path_factory.mktemp("results")))
    model = networks.build("resnet8", 10, 1, seed=0)
    sets = (datasets.load("digits", split, run.data_folder) for split in ("train", "test"))
    training.train(model, *sets, training.Recipe(**run.settings["training"]), seed=0)
    saving.save(model, run.checkpoint, {})
    return run


@pytest.fixture(scope="module")
def measured(run):
    return finetuning.measure(run, "cpu")


def test_every_criterion_has_a_row_before_and_one_after_each_epoch(run, measured):
    assert list(dict.fromkeys(measured["criterion"])) == list(finetuning.CRITERIA[:3])  # the profile's `tuned`
    for _, table in measured.groupby("criterion"):
        assert list(table["epoch"]) == [0, 1]  # a quarter of three epochs, rounded, is one
        assert table["seconds"].iloc[0] == 0 < table["seconds"].iloc[1]
    assert measured["accuracy"].between(0, 1).all()
    assert (measured[["dataset", "network", "seed"]] == ["digits", "resnet8", 0]).all(axis=None)


def test_the_same_budget_for_all_is_met_and_the_accuracies_are_those_of_the_networks(run, measured):
    assert ((measured["reached"] >= 0.5) & (measured["reached"] < 0.55)).all()
    model, test_set = loading.model(run, "cpu"), datasets.load("digits", "test", run.data_folder)
    moments = datasets.statistics(datasets.load("digits", "train", run.data_folder).images)
    images = datasets.normalise(test_set.images, *moments)
    assert measured["accuracy_unpruned"].unique() == [training.evaluate(model, images, test_set.labels)]
    from lib import cost, pruning

    scores = finetuning.score(run, model, ("l2",), "cpu")["l2"]
    small = pruning.slim(model, scores, images[:1], budget=0.5, of="macs")
    row = measured[(measured["criterion"] == "l2") & (measured["epoch"] == 0)].iloc[0]
    assert row["accuracy"] == training.evaluate(small, images, test_set.labels)
    assert row["parameters"] == cost.parameters(small)
    assert row["multiply_adds"] == cost.multiply_adds(small, images[:1])
    assert row["reached"] == pytest.approx(1 - row["multiply_adds"] / cost.multiply_adds(model, images[:1]))


def test_measuring_is_the_same_every_time(run, measured):
    pandas.testing.assert_frame_equal(
        finetuning.measure(run, "cpu").drop(columns="seconds"), measured.drop(columns="seconds")
    )


def test_the_recipe_is_that_of_training_in_shares(run):
    settings = {
        "training": run.settings["training"] | {"epochs": 30, "learning_rate": 0.2, "flip": True},
        "measuring": run.settings["measuring"] | {"tuning_epochs": 0.25, "tuning_rate": 0.1},
    }
    found, usual = finetuning.recipe(settings), training.Recipe(**settings["training"])
    assert found.epochs == 8 and found.learning_rate == pytest.approx(0.02)
    assert (found.batch, found.flip, found.crop, found.precision) == (usual.batch, True, usual.crop, usual.precision)
    settings["training"]["epochs"] = 1
    assert finetuning.recipe(settings).epochs == 1


def test_the_limits_on_images_hold_on_a_cpu_alone(run, monkeypatch):
    limited = run.settings["measuring"] | {"tuning_images": 100, "test_images": 50}
    monkeypatch.setattr(Run, "settings", {"measuring": limited})
    *sets, moments = finetuning._sets(run, "cpu")
    whole = datasets.load("digits", "train", run.data_folder).images
    assert all(map(torch.equal, moments, datasets.statistics(whole)))  # not those of the 100
    assert not torch.equal(moments[0], datasets.statistics(sets[0].images)[0])
    assert [len(images) for images in sets] == [100, 50]
    assert all(numpy.bincount(images.labels).tolist() == [len(images) // 10] * 10 for images in sets)
    assert [len(images) for images in finetuning._sets(run, "cuda")[:2]] == [1347, 450]


def test_training_normalises_as_the_network_was_trained(run, monkeypatch):
    given = []
    limited = run.settings["measuring"] | {"tuning_images": 64}
    monkeypatch.setattr(Run, "settings", run.settings | {"measuring": limited})
    trained = training.train
    monkeypatch.setattr(training, "train", lambda *of, **how: given.append(how["moments"]) or trained(*of, **how))
    finetuning.measure(run, "cpu")
    expected = datasets.statistics(datasets.load("digits", "train", run.data_folder).images)
    assert len(given) == 3 and all(torch.equal(mean, expected[0]) for mean, _ in given)


def test_nothing_is_fine_tuned_where_no_notebook_asks_for_it(run, measured, monkeypatch):
    assert finetuning.NOTEBOOK not in profiles.load("first").notebooks
    plan = replace(profiles.load("smoke"), notebooks=("12-first-experiments",))
    monkeypatch.setattr(profiles, "load", lambda *_, **__: plan)
    found = finetuning.measure(run, "cpu")
    assert found.empty and list(found) == list(measured)


def test_all_criteria_are_different_and_known():
    assert len(set(finetuning.CRITERIA)) == len(finetuning.CRITERIA)
    assert all(importance.parse(name) for name in finetuning.CRITERIA)
    for name in profiles.names():
        assert profiles.load(name).measuring["tuned"] in (3, len(finetuning.CRITERIA))


def epochs(criterion, accuracies, seed=0, network="resnet8"):
    table = pandas.DataFrame({"epoch": range(len(accuracies)), "accuracy": accuracies})
    key = {"dataset": "digits", "network": network, "seed": seed, "criterion": criterion}
    return table.assign(**key, accuracy_unpruned=0.9, reached=0.5)


def test_recovery_is_the_first_epoch_with_99_percent():
    table = pandas.concat([epochs("a", [0.5, 0.9, 0.8]), epochs("b", [0.891, 0.1, 0.2]), epochs("c", [0.1, 0.5, 0.89])])
    found = finetuning.summary(table.sample(frac=1, random_state=0)).set_index("criterion").loc[list("abc")]
    assert list(found["before"]) == [0.5, 0.891, 0.1] and list(found["after"]) == [0.8, 0.2, 0.89]
    assert list(found["recovery"][:2]) == [1, 0] and numpy.isnan(found["recovery"]["c"])  # 0.891 is enough, 0.89 not


def test_recovery_over_runs():
    runs = [epochs("a", [0.5, 0.9, 0.9], 0), epochs("a", [0.7, 0.8, 0.9], 1), epochs("a", [0.3, 0.4, 0.6], 2)]
    found = finetuning.recovery(finetuning.summary(pandas.concat([*runs, epochs("b", [0.1, 0.2, 0.9], 0)])))
    assert list(found["criterion"]) == ["b", "a"]  # best after fine-tuning first
    row = found.iloc[1]
    assert (row["before"], row["after"]) == pytest.approx((0.5, 0.8))
    assert row["recovered"] == pytest.approx(2 / 3) and row["epochs_to_recover"] == 1.5


def test_orders_correlate_ranks_run_by_run():
    same = [epochs(name, [value, value / 2]) for name, value in (("a", 0.1), ("b", 0.4), ("c", 0.3))]
    turned = [epochs(name, [value, 1 - value], 1) for name, value in (("a", 0.1), ("b", 0.4), ("c", 0.3))]
    flat = [epochs(name, [value, 0.9], 2) for name, value in (("a", 0.1), ("b", 0.4), ("c", 0.3))]
    found = finetuning.orders(finetuning.summary(pandas.concat([*same, *turned, *flat])))
    assert list(found["spearman"]) == pytest.approx([1, -1, 0]) and list(found["criteria"]) == [3, 3, 3]


def orders(values, networks=("resnet8", "vgg8")):
    rows = [("digits", network, seed, value) for network in networks for seed, value in enumerate(values)]
    return pandas.DataFrame(rows, columns=["dataset", "network", "seed", "spearman"])


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.5, 0.6, 0.7], "supported"),
        ([-0.5, -0.6, -0.7], "contradicted"),
        ([0.5, -0.6, 0.7], "open"),
        ([0.5], "too few networks"),
    ],
)
def test_c8_is_supported_where_the_mean_correlation_is_surely_above_0(tmp_path, monkeypatch, values, verdict):
    monkeypatch.setattr(claims, "CLAIMS", {})
    plan = profiles.load("smoke", results=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"80-cost-orders.csv is missing"):
        claims.verdicts(plan)
    plan.tables.mkdir(parents=True)
    orders(values).to_csv(plan.tables / "80-cost-orders.csv", index=False)
    (row,) = claims.verdicts(plan).itertuples()
    assert (row.claim, row.verdict, row.kind) == ("C8", verdict, "rank correlation")
    assert row.effect == pytest.approx(numpy.mean(values))
    assert row.blocks == 2 * len(values) and row.smallest_p == 2.0 ** (1 - row.blocks)
    assert claims.verdicts(replace(plan, notebooks=("15-replication",))).empty


def test_scores_see_at_most_so_many_images(run, monkeypatch):
    seen = []
    monkeypatch.setattr(finetuning.importance, "score", lambda model, batches, *_, **__: seen.extend(batches) or {})
    monkeypatch.setattr(finetuning, "EXAMPLES", 30)
    finetuning.score(run, None, ("l2",), "cpu")
    indices = torch.cat([part for _, _, part in seen])
    assert len(indices) == 30 and (indices.diff() > 0).all()
