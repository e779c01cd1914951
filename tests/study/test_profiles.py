"""The plan read from study.yaml: grids, settings and files of profiles and runs, and names that there are not."""

from dataclasses import asdict, fields
from pathlib import Path

import little
import pytest

from lib.images import datasets, networks, public, training
from lib.running import reproduce
from lib.scoring import criteria
from lib.study import finetuning, paths, profiles, schema, vocabulary


def test_every_profile_of_the_study_loads_and_each_run_has_all_settings():
    for name in profiles.names():
        profile = profiles.load(name)
        for run in profile.runs:
            section = schema.Given if run.is_given else schema.Training
            assert set(run.settings["training"]) == set(section.model_fields)
            assert set(run.settings["measuring"]) == set(schema.Measuring.model_fields)
            if not run.is_given:
                assert asdict(training.Recipe(**run.settings["training"])) == run.settings["training"]


def test_runs_train_in_float32_whatever_the_processor_multiplies_but_for_those_that_say_so():
    trained = [name for name in profiles.names() if any(not run.is_given for run in profiles.load(name).runs)]
    found = {name: {run.settings["training"]["precision"] for run in profiles.load(name).runs} for name in trained}
    assert found.pop("vit") == found.pop("stl10") == found.pop("resnet56") == {"bfloat16"}
    assert set().union(*found.values()) == {"float32"}


def test_the_grid_is_the_one_of_the_design():
    assert profiles.load("smoke").grid == {"digits": ("resnet8",)}
    assert profiles.load("quick").grid == {"digits": ("resnet8", "vgg8")}
    assert profiles.load("first").grid == {"cifar10": ("resnet20a", "resnet32a", "resnet44a", "resnet56a")}
    lite = tuple(f"efficientnet-lite{number}" for number in range(3))
    assert profiles.load("imagenet").grid == {"imagenet1300": (*lite, "squeezenet1_1")}
    assert profiles.load("cifar").grid == {"cifar100": ("resnet20",)}
    alone = {"stl10": {"stl10": ("resnet18",)}, "resnet56": {"cifar100": ("resnet56",)},
             "vgg19": {"cifar100": ("vgg19",)}, "vit": {"cifar100": ("vit-small-images",)}}  # fmt: skip
    assert {name: profiles.load(name).grid for name in alone} == alone
    assert profiles.load("paper").grid == {"cifar100": ("resnet20", "resnet56", "vgg19"), "stl10": ("resnet18",)}
    assert [len(profiles.load(name).seeds) for name in ("smoke", "quick", "cifar", "paper")] == [1, 3, 6, 5]
    assert profiles.load("smoke").threads == profiles.load("quick").threads == 1


def test_names_kept_apart_because_torch_is_slow_are_those_of_the_modules_that_own_them():
    assert set(vocabulary.DATASETS) == set(datasets.NAMES)
    assert (vocabulary.PRECISIONS, vocabulary.OPTIMIZERS) == (training.PRECISIONS, training.OPTIMIZERS)
    assert set(vocabulary.PUBLIC) == set(public.PUBLIC)
    assert vocabulary.TUNING == finetuning.NOTEBOOK
    assert set(vocabulary.REDUCTIONS) <= set(criteria.REDUCTIONS)
    assert set(schema.Training.model_fields) == {field.name for field in fields(training.Recipe)}
    assert set(reproduce.NETWORKS) <= {*networks.NETWORKS, "resnet18"}


def test_a_run_knows_its_files_and_label(root):
    run = profiles.Run("little", "digits", "vgg8", 3)
    assert run.label == "digits-vgg8 seed 3"
    assert run.folder == Path("results/little/digits-vgg8/seed-3")
    assert run.checkpoint == run.folder / "checkpoint.safetensors"
    assert run.record("10-measure") == run.folder / "10-measure.json"
    assert run.executed("10-measure") == run.folder / "10-measure.ipynb"


def test_paths_are_relative_to_wherever_one_works(root, monkeypatch):
    monkeypatch.chdir(root / "notebooks")
    run = profiles.Run("little", "digits", "vgg8", 3)
    assert run.curves == Path("../results/little/digits-vgg8/seed-3/curves.parquet")
    assert run.data_folder == Path("../data")
    assert profiles.load("little").report == Path("../results/little/report.html")


def test_runs_are_panels_by_seeds_and_given_seeds_go_before_the_profiles(root):
    profile = profiles.load("little", [5, 6], device="cpu")
    assert [(run.network, run.seed) for run in profile.runs] == [
        (network, seed) for network in ("resnet8", "vgg8", "resnet20") for seed in (5, 6)
    ]
    assert {run.device for run in profile.runs} == {"cpu"}
    assert profiles.load("little").seeds == (3,)


def test_settings_are_merged_from_the_defaults_and_settled_for_the_data_set(root):
    settings = profiles.Run("little", "cifar10", "resnet20", 0).settings
    assert settings["training"]["epochs"] == 7 and settings["training"]["batch"] == 8
    assert profiles.Run("little", "digits", "vgg8", 0).settings["training"]["epochs"] == 1
    assert settings["measuring"]["points"] == 5


def test_a_job_asks_for_its_rules_values_and_on_the_cpu_for_no_gpu(root):
    text = little.STUDY.replace("gpus: 0", "gpus: {train: 2, measure: 1, ablation: 0, report: 0}")
    (root / "study.yaml").write_text(text + "    cluster: {runtime: 9, partition: fast}\n")
    asked = {"partition": "fast", "account": None, "qos": None, "gpus": 2, "mem_mb": 1000, "runtime": 9, "options": ""}
    assert profiles.load("little").job("train") == asked
    assert [profiles.load("little", device="cuda").job(rule)["gpus"] for rule in vocabulary.RULES] == [2, 1, 0, 0]
    assert [profiles.load("little", device="cpu").job(rule)["gpus"] for rule in vocabulary.RULES] == [0, 0, 0, 0]


def test_a_folder_of_images_is_a_data_set(root):
    (root / "study.yaml").write_text(little.STUDY.replace("cifar10", "flowers"))
    with pytest.raises(ValueError, match=r"unknown data set 'flowers'.*make data/flowers/train"):
        profiles.load("little")
    (root / "data/flowers/train").mkdir(parents=True)
    assert profiles.load("little").grid["flowers"] == ("resnet20",)


def test_a_folder_of_images_may_be_elsewhere(root):
    (root / "study.yaml").write_text(little.STUDY.replace("cifar10", "flowers"))
    (root / "elsewhere/flowers/train").mkdir(parents=True)
    plan = profiles.load("little", data="elsewhere")
    run = plan.runs[-1]
    assert (run.dataset, run.data, run.threads, run.plan) == ("flowers", "elsewhere", 1, plan)
    assert run.settings == plan.settings("flowers", "resnet20") and run.settings["training"]["epochs"] == 7


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (("litle", "digits", "vgg8", 0), "study.yaml: unknown profile 'litle': valid are little"),
        (("little", "digit", "vgg8", 0), "profiles.little.runs: unknown data set 'digit': valid are digits, cifar10"),
        (("little", "digits", "vgg9", 0), "unknown network for digits 'vgg9': valid are resnet8, vgg8"),
        (("little", "digits", "vgg8", -1), "seeds must be a list of different whole numbers, 0 .* 2..63, not .-1."),
        (("little", "digits", "vgg8", "0"), "seeds must be"),
        (("little", "digits", "vgg8", 0, "gpu"), "unknown device 'gpu': valid are auto, cpu, cuda"),
    ],
)
def test_an_unknown_name_lists_the_valid_ones(root, given, error):
    with pytest.raises(ValueError, match=error):
        profiles.Run(*given)


def test_panels_are_the_profiles_that_say_so(root):
    assert profiles.panels() == ["little"]
    assert profiles.over_panels(results="elsewhere").runs == []
    assert profiles.over_panels(results="elsewhere").report == paths.from_here("elsewhere/all/report.html")


def test_no_profile_has_the_name_of_the_report_over_panels(root):
    (root / "study.yaml").write_text(little.STUDY.replace("  little:\n", "  all:\n"))
    with pytest.raises(ValueError, match=r"study.yaml: profiles.all: the name is taken by the report over all panels"):
        profiles.names()
