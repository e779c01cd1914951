"""study.yaml and the plan read from it: paths, settings, errors of one line, and the code behind a notebook."""

import json
import os
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from lib.images import datasets, networks, training
from lib.running import reproduce
from lib.study import profiles

DEFAULTS = yaml.safe_load((profiles.ROOT / profiles.FILE).read_text())["defaults"]
MEASURING = DEFAULTS["measuring"] | {"points": 5}
LITTLE = f"""
defaults:
  seeds: [0, 1]
  threads: 1
  cluster: {{partition: null, account: null, qos: null, gpus: 0, mem_mb: 1000, runtime: 5, options: ''}}
  notebooks: [15-replication]
  training: {{epochs: 2, batch: 8, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0, warmup: 0.5,
             crop: 0, flip: false, precision: float32}}
  measuring: {json.dumps(MEASURING)}
  larger: {json.dumps(DEFAULTS["larger"])}
profiles:
  little:
    runs: {{digits: [resnet8, vgg8], cifar10: [resnet20]}}
    seeds: [3]
    training: {{epochs: {{digits: 1, cifar10: 7}}}}
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A repository that holds only the study LITTLE."""
    (tmp_path / "study.yaml").write_text(LITTLE)
    for name in ("lib", "notebooks"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(profiles, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_profile_of_the_study_loads_and_each_run_has_all_settings():
    for name in profiles.names():
        profile = profiles.load(name)
        for run in profile.runs:
            assert set(run.settings["training"]) == set(profiles.TRAINING)
            assert set(run.settings["measuring"]) == set(profiles.MEASURING)
            training.Recipe(**run.settings["training"])


def test_the_grid_is_the_one_of_the_design():
    assert profiles.load("smoke").grid == {"digits": ("resnet8",)}
    assert profiles.load("quick").grid == {"digits": ("resnet8", "vgg8")}
    assert profiles.load("first").grid == {"cifar10": ("resnet20",)}
    assert profiles.load("cifar").grid == {"cifar100": ("resnet20",)}
    assert profiles.load("paper").grid == {"cifar100": ("resnet20", "resnet56", "vgg19"), "stl10": ("resnet18",)}
    assert [len(profiles.load(name).seeds) for name in ("smoke", "quick", "cifar", "paper")] == [1, 3, 6, 5]
    assert profiles.load("smoke").threads == profiles.load("quick").threads == 1


def test_names_kept_here_because_torch_is_slow_are_those_of_the_modules_that_own_them():
    assert set(profiles.DATASETS) == set(datasets.NAMES)
    assert set(profiles.TRAINING) == {field.name for field in fields(training.Recipe)}
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
    text = LITTLE.replace("gpus: 0", "gpus: {train: 2, measure: 1, ablation: 0, report: 0}")
    (root / "study.yaml").write_text(text + "    cluster: {runtime: 9, partition: fast}\n")
    asked = {"partition": "fast", "account": None, "qos": None, "gpus": 2, "mem_mb": 1000, "runtime": 9, "options": ""}
    assert profiles.load("little").job("train") == asked
    assert [profiles.load("little", device="cuda").job(rule)["gpus"] for rule in profiles.RULES] == [2, 1, 0, 0]
    assert [profiles.load("little", device="cpu").job(rule)["gpus"] for rule in profiles.RULES] == [0, 0, 0, 0]


def test_a_folder_of_images_is_a_data_set(root):
    (root / "study.yaml").write_text(LITTLE.replace("cifar10", "flowers"))
    with pytest.raises(ValueError, match=r"unknown data set 'flowers'.*make data/flowers/train"):
        profiles.load("little")
    (root / "data/flowers/train").mkdir(parents=True)
    assert profiles.load("little").grid["flowers"] == ("resnet20",)


def test_a_folder_of_images_may_be_elsewhere(root):
    (root / "study.yaml").write_text(LITTLE.replace("cifar10", "flowers"))
    (root / "elsewhere/flowers/train").mkdir(parents=True)
    plan = profiles.load("little", data="elsewhere")
    run = plan.runs[-1]
    assert (run.dataset, run.data, run.threads, run.plan) == ("flowers", "elsewhere", 1, plan)
    assert run.settings == plan.settings("flowers") and run.settings["training"]["epochs"] == 7


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("epochs: 2", "epochs: two", "study.yaml: defaults.training.epochs must be a whole number, 1 or more, not 't"),
        ("epochs: 2", "epochs: true", "defaults.training.epochs must be a whole number, 1 or more, not True"),
        ("digits: 1,", "digits: 0,", "study.yaml: profiles.little.training.epochs.digits must be .* not 0"),
        ("digits: 1,", "", "profiles.little.training.epochs has no value for digits, only for cifar10"),
        ("epochs: 2", "epoch: 2", "study.yaml: defaults.training: unknown key 'epoch': valid are epochs, batch"),
        ("batch: 8, learning", "learning", "study.yaml: profiles.little.training.batch is missing"),
        ("learning_rate: 0.1", "learning_rate: 1e-1", "learning_rate must be a number above 0 .in YAML 1.0e-4"),
        ("weight_decay: 0.0", "weight_decay: .nan", "weight_decay must be a number"),
        ("    seeds: [3]", "    sedes: [3]", "study.yaml: profiles.little: unknown key 'sedes': valid are runs, seeds"),
        ("seeds: [3]", "seeds: [3, 3]", "profiles.little.seeds must be a list of different whole numbers"),
        ("seeds: [3]", "seeds: [-1]", "profiles.little.seeds must be"),
        ("seeds: [3]", "seeds: 3", "profiles.little.seeds must be"),
        ("[resnet8, vgg8]", "[]", "profiles.little.runs.digits must be a list of different names"),
        ("runs: {digits: [resnet8, vgg8], cifar10: [resnet20]}", "runs: [digits]", "runs must be a mapping"),
        ("cifar10: [", "../cifar10: [", "profiles.little.runs must be a name"),
        ('"points": 5', '"points": 1', "defaults.measuring.points must be a whole number, 2 or more, not 1"),
        ("runtime: 5", "time: 5", "defaults.cluster: unknown key 'time': valid are partition, account, qos, gpus"),
        ("account: null", "account: a b", "cluster.account must be a name of letters, digits and _ . -, or null"),
        ("gpus: 0", "gpus: {tran: 1}", "defaults.cluster.gpus must be one of train, measure, ablation, report, not"),
        ("gpus: 0", "gpus: {train: -1}", "defaults.cluster.gpus.train must be a whole number, 0 or more, not -1"),
        ("gpus: 0", "gpus: {train: 1}", "profiles.little.cluster.gpus has no value for measure, only for train"),
        ("options: ''", 'options: "a\\nb"', "defaults.cluster.options must be a text of one line"),
        ('"pixels": 96', '"pixels": 0', "defaults.larger.pixels must be a whole number, 1 or more, not 0"),
        ('"images": [16, ', '"images": [0, ', "defaults.larger.images must be a list of different whole numbers"),
        ('"pretrained": false', '"pretrained": 0', "defaults.larger.pretrained must be true or false"),
        ('"tuned": 8', '"tuned": 0', "defaults.measuring.tuned must be a whole number, 1 or more, not 0"),
        ("  little:", "  lit/tle:", "study.yaml: profiles must be a name"),
        ("seeds: [3]", "seeds: [3", "study.yaml is not YAML"),
        ("profiles:", "profile:", "study.yaml: unknown key 'profile': valid are defaults, profiles"),
    ],
)
def test_what_is_wrong_in_the_study_is_named_in_one_line(root, old, new, error):
    assert old in LITTLE
    (root / "study.yaml").write_text(LITTLE.replace(old, new, 1))
    with pytest.raises(ValueError, match=error) as caught:
        profiles.load("little")
    assert "\n" not in str(caught.value)


def test_what_every_profile_has_the_defaults_need_not_have(root):
    (root / "study.yaml").write_text(LITTLE.replace("epochs: 2, ", ""))
    assert profiles.load("little").settings("digits")["training"]["epochs"] == 1


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


def test_a_fingerprint_follows_names_sizes_and_dates_of_images_at_any_depth(tmp_path):
    file = tmp_path / "images/cat/1.png"
    assert profiles.fingerprint(tmp_path / "images") is None
    file.parent.mkdir(parents=True)
    file.write_bytes(b"abc")
    (file.parent / "gone").symlink_to("nowhere")
    (tmp_path / "images/round").symlink_to("..")  # in a circle
    found = [profiles.fingerprint(tmp_path / "images")]
    date = file.stat().st_mtime_ns
    file.write_bytes(b"xyz")  # content is not read
    os.utime(file, ns=(date, date))
    assert profiles.fingerprint(tmp_path / "images") == found[0]
    os.utime(file, ns=(date, date + 1_000_000))
    found.append(profiles.fingerprint(tmp_path / "images"))
    file.write_bytes(b"abcd")
    found.append(profiles.fingerprint(tmp_path / "images"))
    file.rename(file.with_name("2.png"))
    found.append(profiles.fingerprint(tmp_path / "images"))
    file.with_name("2.png").unlink()
    found.append(profiles.fingerprint(tmp_path / "images"))
    assert len(set(found)) == 5
    assert found[0].startswith("1 files, ") and found[4].startswith("0 files, ")
    (tmp_path / "images").rename(tmp_path / "moved")
    assert profiles.fingerprint(tmp_path / "moved") == found[4]


@pytest.fixture
def ran_by_hand(tmp_path):
    """The smoke profile, with executed copies and records of two notebooks that are up to date."""
    plan = profiles.load("smoke", data=str(tmp_path / "data"), results=str(tmp_path / "results"))
    plan = replace(plan, notebooks=("30-sign", profiles.LARGER_NETWORKS))
    for notebook in plan.notebooks:
        plan.executed(notebook).parent.mkdir(parents=True, exist_ok=True)
        plan.executed(notebook).touch()
        both = {"measuring": plan.measuring, "larger": plan.larger}
        record = {"settings": both, "code": profiles.code_digest(notebook), "data": plan.larger_digests()}
        plan.record(notebook).write_text(json.dumps(record))
    return plan


def test_larger_networks_are_stale_with_other_settings_of_theirs_or_other_images(ran_by_hand):
    def stale(plan):
        digests = {"digits": ["of train", "of test"], profiles.LARGER_NETWORKS: plan.larger_digests()}
        return [Path(path).stem for path in reproduce.stale(plan, digests)]

    assert stale(ran_by_hand) == []
    assert stale(replace(ran_by_hand, larger=ran_by_hand.larger | {"repeats": 9})) == [profiles.LARGER_NETWORKS]
    assert stale(replace(ran_by_hand, measuring=ran_by_hand.measuring | {"draws": 9})) == ["30-sign"]
    (ran_by_hand.larger_folders[1] / "cat").mkdir(parents=True)
    assert stale(ran_by_hand) == [profiles.LARGER_NETWORKS]


def test_cuda_without_cuda_says_what_to_do(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RuntimeError, match="use DEVICE=cpu or auto"):
        profiles.device("cuda")
    assert profiles.device("auto").type == profiles.device("cpu").type == "cpu"


def write_notebook(root, *cells, name="15-replication"):
    """Cells that start with # are prose."""
    kinds = [{"cell_type": "markdown" if cell.startswith("#") else "code", "source": [cell]} for cell in cells]
    (root / f"notebooks/{name}.ipynb").write_text(json.dumps({"cells": kinds}))


@pytest.fixture
def modules(root):
    sources = {
        "__init__": "",
        "a": "from lib import b",
        "b": "def late():\n    import lib.c",
        "c": "import os",
        "d": "from lib.a import x",
        "e": "",
        "f": "from . import e",
    }
    for name, source in sources.items():
        (root / f"lib/{name}.py").write_text(source)
    return root


def stems(notebook="15-replication"):
    return [path.stem for path in profiles.modules_used(notebook)]


def test_modules_are_found_through_modules_and_inside_functions(modules):
    write_notebook(modules, "%matplotlib inline\n!ls\nfrom lib import a\nimport numpy")
    assert stems() == ["__init__", "a", "b", "c"]
    write_notebook(modules, "import lib.d as other")
    assert stems() == ["__init__", "a", "b", "c", "d"]
    write_notebook(modules, "from lib import f")
    assert stems() == ["__init__", "e", "f"]
    write_notebook(modules, "# from lib import a", "x = 'from lib import e'", "from lib import (broken")
    assert stems() == ["__init__"]


def test_the_code_digest_follows_code_and_modules_and_nothing_else(modules):
    write_notebook(modules, "# prose", "from lib import a")
    before, text = profiles.code_digest("15-replication"), profiles.text_digest("15-replication")
    write_notebook(modules, "# other prose", "from lib import a")
    assert profiles.code_digest("15-replication") == before
    assert profiles.text_digest("15-replication") != text
    (modules / "lib/e.py").write_text("unused = 1")
    os.utime(modules / "lib/c.py", (0, 0))
    assert profiles.code_digest("15-replication") == before
    (modules / "lib/c.py").write_text("import sys")
    changed = profiles.code_digest("15-replication")
    assert changed != before
    write_notebook(modules, "from lib import a; 1")
    assert profiles.code_digest("15-replication") not in (before, changed)


def test_a_notebook_that_is_not_there_or_is_none_is_named(modules):
    write_notebook(modules, "1")
    with pytest.raises(FileNotFoundError, match=r"no notebook notebooks/50-x.ipynb; those there are: 15-replication"):
        profiles.code_digest("50-x")
    (modules / "notebooks/50-x.ipynb").write_text("{}")
    with pytest.raises(ValueError, match=r"notebooks/50-x.ipynb is not a notebook"):
        profiles.code_digest("50-x")


def test_measured_seeds_are_those_of_which_every_run_is_there(root):
    profile = profiles.load("little", [0, 1, 2])
    with pytest.raises(FileNotFoundError, match="no seed is measured yet"):
        reproduce.measured_seeds(profile)
    for run in profile.runs:
        if run.seed != 1 or run.network != "vgg8":
            run.folder.mkdir(parents=True, exist_ok=True)
            run.executed("10-measure").touch()
    assert reproduce.measured_seeds(profile) == [0, 2]


@pytest.mark.parametrize(("text", "seeds"), [("", None), (" ", None), ("0 1 2", [0, 1, 2]), (" 3\t1\n", [3, 1])])
def test_seeds_are_read(text, seeds):
    assert reproduce.parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["0; touch x", "-1", "1.5", "$(touch x)", "one", "²", "٣", "0 --x", "0,1", "0, 1", "0-2"]
)
def test_what_is_not_seeds_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match=r'is not a whole number, 0 or more: write SEEDS="0 1 2"$') as caught:
        reproduce.parse_seeds(text)
    assert "\n" not in str(caught.value)


def test_jobs_are_read_and_by_default_fill_the_cores(monkeypatch):
    assert reproduce.parse_jobs("3", threads=2) == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)), raising=False)
    assert [reproduce.parse_jobs("", threads) for threads in (1, 2, 8)] == [7, 3, 1]
    for text in ("0", "-1", "two", "1;x"):
        with pytest.raises(ValueError, match="JOBS="):
            reproduce.parse_jobs(text, 1)


def test_a_profile_is_run_by_one_process_at_a_time(root):
    profile = replace(profiles.load("little"), results=str(root / "results"))
    error = f"PROFILE=little is being run already, by process {os.getpid()}"
    with reproduce.alone(profile), pytest.raises(RuntimeError, match=error), reproduce.alone(profile):
        pytest.fail("two at a time")
    with reproduce.alone(profile):
        assert profile.folder.is_dir()
