"""Fine-tuning on a run of the smoke profile, and what is said of made-up tables, worked out by hand."""

from dataclasses import replace

import numpy
import pandas
import pytest
import torch

from lib import importance
from lib.images import datasets, networks, training
from lib.network import saving
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


NETWORK = list(finetuning.Network._fields)


def test_every_network_has_a_row_before_and_one_after_each_epoch(run, measured):
    asked = finetuning.wanted(run.settings["measuring"])
    found = measured[NETWORK].drop_duplicates().itertuples(index=False, name=None)
    assert list(found) == [tuple(network) for network in asked]
    for (*_, how), table in measured.groupby(NETWORK):
        epochs = 3 if how == finetuning.FRESH else 1  # a quarter of three epochs, rounded, is one
        assert list(table["epoch"]) == [*range(epochs + 1)]
        assert table["seconds"].iloc[0] == 0 and (table["seconds"].iloc[1:] > 0).all()
    assert measured["accuracy"].between(0, 1).all()
    assert (measured[["dataset", "network", "seed"]] == ["digits", "resnet8", 0]).all(axis=None)


def test_a_profile_says_which_networks_it_wants():
    settings = {"budgets": ["macs 0.5", "parameters 0.25"], "tuned": 2, "priced": 1, "distilled": 2, "scratch": 1}
    tuned = [("sq:rand:norm", "fine-tuned"), ("l2", "fine-tuned")]
    others = [("sq:rand:norm", "distilled"), ("l2", "distilled"), ("sq:rand:norm", "from scratch")]
    priced = [("sq:rand:norm", finetuning.PRICED)]
    assert finetuning.wanted(settings) == [
        *(("macs", 0.5, *one) for one in tuned + priced + others),
        *(("parameters", 0.25, *one) for one in tuned + others),
    ]
    assert finetuning.in_words("parameters", 0.25) == "25 % of parameters"


def test_each_budget_is_met_and_the_accuracies_are_those_of_the_networks(run, measured):
    assert ((measured["reached"] >= measured["budget"]) & (measured["reached"] < measured["budget"] + 0.05)).all()
    model, test_set = loading.model(run, "cpu"), datasets.load("digits", "test", run.data_folder)
    moments = datasets.statistics(datasets.load("digits", "train", run.data_folder).images)
    images = datasets.normalise(test_set.images, *moments)
    assert measured["accuracy_unpruned"].unique() == [training.evaluate(model, images, test_set.labels)]
    from lib import cost, pruning

    scores = finetuning.score(run, model, ("l2",), "cpu")["l2"]
    for of, budget in (("macs", 0.5), ("parameters", 0.25)):
        small = pruning.slim(model, scores, images[:1], budget=budget, of=of)
        here = (measured["criterion"] == "l2") & (measured["epoch"] == 0) & (measured["of"] == of)
        row = measured[here].iloc[0]
        assert row["accuracy"] == training.evaluate(small, images, test_set.labels)
        assert row["parameters"] == cost.parameters(small)
        assert row["multiply_adds"] == cost.multiply_adds(small, images[:1])
        kept = row["multiply_adds"] / cost.multiply_adds(model, images[:1])
        kept = kept if of == "macs" else row["parameters"] / cost.parameters(model)
        assert row["reached"] == pytest.approx(1 - kept)


def test_from_scratch_the_same_network_starts_with_other_weights_and_is_trained_by_the_whole_recipe(run, measured):
    both = measured[(measured["criterion"] == "sq:rand:norm") & (measured["epoch"] == 0) & (measured["of"] == "macs")]
    tuned, priced, distilled, fresh = both.to_dict("records")
    assert {**tuned, "training": "distilled"} == distilled
    assert (tuned["training"], fresh["training"]) == ("fine-tuned", "from scratch")
    assert all(tuned[name] == fresh[name] for name in ("reached", "parameters", "multiply_adds"))
    assert fresh["accuracy"] != tuned["accuracy"]
    assert priced["training"] == finetuning.PRICED and priced["parameters"] != tuned["parameters"]
    assert finetuning.recipe(run.settings, "from scratch") == training.Recipe(**run.settings["training"])


def test_from_scratch_training_sees_all_images(run, monkeypatch):
    seen = []
    limited = run.settings["measuring"] | {
        "tuning_images": 64,
        "tuned": 1,
        "priced": 0,
        "distilled": 0,
        "budgets": ["macs 0.5"],
    }
    monkeypatch.setattr(Run, "settings", run.settings | {"measuring": limited})
    trained = training.train
    monkeypatch.setattr(training, "train", lambda *of, **how: seen.append(len(of[1])) or trained(*of, **how))
    finetuning.measure(run, "cpu")
    assert seen == [64, len(datasets.load("digits", "train", run.data_folder))]


def test_distilling_takes_no_labels(run, monkeypatch):
    limited = run.settings["measuring"] | {
        "tuning_images": 64,
        "tuned": 0,
        "priced": 0,
        "scratch": 0,
        "budgets": ["macs 0.5"],
    }
    monkeypatch.setattr(Run, "settings", run.settings | {"measuring": limited})
    first, trained = finetuning.measure(run, "cpu"), training.train
    wrong = lambda model, images, *of, **how: trained(model, replace(images, labels=0 * images.labels), *of, **how)  # noqa: E731
    monkeypatch.setattr(training, "train", wrong)
    again = finetuning.measure(run, "cpu")
    assert first["training"].unique() == ["distilled"] and first["accuracy"].nunique() > 1
    pandas.testing.assert_frame_equal(first.drop(columns="seconds"), again.drop(columns="seconds"))


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
    limited = run.settings["measuring"] | {"tuning_images": 64, "budgets": ["macs 0.5"], "scratch": 0}
    monkeypatch.setattr(Run, "settings", run.settings | {"measuring": limited})
    trained = training.train
    monkeypatch.setattr(training, "train", lambda *of, **how: given.append(how["moments"]) or trained(*of, **how))
    finetuning.measure(run, "cpu")
    expected = datasets.statistics(datasets.load("digits", "train", run.data_folder).images)
    assert len(given) == 5 and all(torch.equal(mean, expected[0]) for mean, _ in given)


def test_nothing_is_fine_tuned_where_no_notebook_asks_for_it(run, measured, monkeypatch):
    assert finetuning.NOTEBOOK not in profiles.load("first").notebooks
    plan = replace(profiles.load("smoke"), notebooks=("12-first-experiments",))
    monkeypatch.setattr(profiles, "named", lambda *_, **__: plan)
    found = finetuning.measure(run, "cpu")
    assert found.empty and list(found) == list(measured)


def test_all_criteria_are_different_and_known():
    assert len(set(finetuning.CRITERIA)) == len(finetuning.CRITERIA)
    assert [str(importance.parse(name)) for name in finetuning.CRITERIA] == [*finetuning.CRITERIA]
    for name in profiles.names():
        settings = profiles.load(name).measuring
        assert settings["tuned"] <= len(finetuning.CRITERIA)
        assert all(settings[name] <= len(finetuning.ALSO[how]) for how, name in finetuning.SETTINGS.items())
        assert "{} {}".format(*claims.BUDGET) in settings["budgets"]


def epochs(criterion, accuracies, seed=0, network="resnet8", **more):
    table = pandas.DataFrame({"epoch": range(len(accuracies)), "accuracy": accuracies})
    key = {"dataset": "digits", "network": network, "seed": seed, "criterion": criterion}
    key |= {"of": "macs", "budget": 0.5, "training": "fine-tuned", "parameters": ord(criterion), "multiply_adds": 7}
    return table.assign(**key | {"accuracy_unpruned": 0.9, "reached": 0.5} | more)


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
    assert (row["parameters"], row["multiply_adds"]) == (ord("a"), 7)


def test_accuracy_has_settled_where_the_last_third_adds_next_to_nothing():
    still, settled = [0.1, 0.5, 0.8, 0.85, 0.9, 0.905, 0.91], [0.1, 0.5, 0.8, 0.85, 0.904, 0.8, 0.908]
    found = finetuning.summary(pandas.concat([epochs("a", still), epochs("b", settled), epochs("c", [0.1, 0.7])]))
    assert list(found["late_gain"]) == pytest.approx([0.01, 0.004, 0.6])
    assert list(finetuning.recovery(found)["settled"]) == [False, True, False]


def test_budgets_are_never_averaged_nor_networks_from_scratch_with_others():
    rows = [epochs("a", [0.1, 0.9]), epochs("a", [0.1, 0.5], budget=0.25), epochs("a", [0.1, 0.7], of="parameters")]
    rows.append(epochs("a", [0.1, 0.6], training="from scratch"))
    found = finetuning.recovery(finetuning.summary(pandas.concat(rows)))
    columns = ["of", "budget", "training", "after"]
    assert found[columns].to_numpy().tolist() == [
        ["macs", 0.25, "fine-tuned", 0.5],
        ["macs", 0.5, "fine-tuned", 0.9],
        ["macs", 0.5, "from scratch", 0.6],
        ["parameters", 0.5, "fine-tuned", 0.7],
    ]


def test_orders_correlate_ranks_run_by_run():
    same = [epochs(name, [value, value / 2]) for name, value in (("a", 0.1), ("b", 0.4), ("c", 0.3))]
    turned = [epochs(name, [value, 1 - value], 1) for name, value in (("a", 0.1), ("b", 0.4), ("c", 0.3))]
    flat = [epochs(name, [value, 0.9], 2) for name, value in (("a", 0.1), ("b", 0.4), ("c", 0.3))]
    found = finetuning.orders(finetuning.summary(pandas.concat([*same, *turned, *flat])))
    assert list(found["spearman"]) == pytest.approx([1, -1, 0]) and list(found["criteria"]) == [3, 3, 3]
    assert list(found["spearman_size"]) == pytest.approx([0.5, -0.5, 0])  # more parameters from a to c


def test_orders_are_of_one_budget_and_of_tuned_networks_alone():
    rows = [epochs(name, [value, value]) for name, value in (("a", 0.1), ("b", 0.4))]
    rows += [
        epochs(name, [value, -value], of="parameters", multiply_adds=-value) for name, value in (("a", 0.1), ("b", 0.4))
    ]
    rows.append(epochs("b", [0.1, 0.0], training="from scratch"))
    found = finetuning.orders(finetuning.summary(pandas.concat(rows)))
    assert found[["of", "budget", "criteria"]].to_numpy().tolist() == [["macs", 0.5, 2], ["parameters", 0.5, 2]]
    assert list(found["spearman"]) == pytest.approx([1, -1]) and list(found["spearman_size"]) == pytest.approx([1, 1])


def orders(values, networks=("resnet8", "vgg8")):
    rows = [("digits", network, seed, value) for network in networks for seed, value in enumerate(values)]
    table = pandas.DataFrame(rows, columns=["dataset", "network", "seed", "spearman"]).assign(of="macs", budget=0.5)
    return pandas.concat([table, table.assign(of="parameters", spearman=0.0), table.assign(budget=0.25, spearman=0.0)])


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
    plan = replace(profiles.load("smoke", results=str(tmp_path)), notebooks=("80-cost",))
    with pytest.raises(FileNotFoundError, match=r"80-cost-orders.csv is missing"):
        claims.verdicts(plan)
    plan.tables.mkdir(parents=True)
    orders(values).to_csv(plan.tables / "80-cost-orders.csv", index=False)
    one = {"criterion": "random", "of": "macs", "budget": 0.5, "training": "fine-tuned", "after": 0.5}
    one |= {"dataset": "digits", "network": "vgg8", "seed": 0}
    pandas.DataFrame([one]).to_csv(plan.tables / "80-cost-summary.csv", index=False)  # which says nothing of C14
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
