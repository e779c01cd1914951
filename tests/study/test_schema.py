"""study.yaml as it may be, and one line for whatever it may not be."""

import little
import pytest
import yaml

from lib.study import schema


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("epochs: 2", "epochs: two", "study.yaml: defaults.training.epochs must be a whole number, 1 or more, not 't"),
        ("epochs: 2", "epochs: true", "defaults.training.epochs must be a whole number, 1 or more, not True"),
        ("digits: 1,", "digits: 0,", "study.yaml: profiles.little.training.epochs.digits must be .* not 0"),
        ("digits: 1,", "", "profiles.little.training.epochs has no value for digits, only for cifar10"),
        ("epochs: 2", "epoch: 2", "study.yaml: defaults.training: unknown key 'epoch': valid are epochs, batch"),
        (
            "epochs: 2",
            'epochs: "2"',
            "^study.yaml: defaults.training.epochs must be a whole number, 1 or more, not '2'$",
        ),
        (
            "epochs: 2",
            "epochs: 2.0",
            "^study.yaml: defaults.training.epochs must be a whole number, 1 or more, not 2.0$",
        ),
        (
            "epochs: 2",
            "epochs: [2]",
            "^study.yaml: defaults.training.epochs must be a whole number, 1 or more, not .2.$",
        ),
        ("epochs: 2", "1: 2", "^study.yaml: defaults.training: unknown key 1: valid are epochs, batch, learning_rate"),
        ("epochs: 2", "epochs: {one value: 2}", "epochs must be a name of letters, digits and _ . -, not 'one value'$"),
        ("momentum: 0.9", "momentum: 1", r"momentum must be a number from 0 to below 1 .1.0e-4, not 1e-4., not 1$"),
        ("momentum: 0.9", "momentum: true", "momentum must be a number from 0 to below 1"),
        ("learning_rate: 0.1", "learning_rate: .inf", "learning_rate must be a number above 0 .* not inf$"),
        ("flip: false", "flip: 0", "^study.yaml: defaults.training.flip must be true or false, not 0$"),
        (
            "float32",
            "half",
            "^study.yaml: defaults.training.precision must be one of float32, bfloat16, not 'half'$",
        ),
        ('"maps": 500', '"maps": "most"', "maps must be a whole number, 1 or more, or all, not 'most'$"),
        ("seeds: [3]", "seeds: [9223372036854775808]", "0 or more, below 2..63, not .9223372036854775808.$"),
        (
            "notebooks: [15-replication]",
            "notebooks: [a/b]",
            "defaults.notebooks must be a list of different names, not",
        ),
        (
            "notebooks: [15-replication]",
            "",
            "^study.yaml: profiles.little.notebooks is missing, and the defaults have none$",
        ),
        ("resnet8, vgg8", "resnet8, vgg8, vgg8", "profiles.little.runs.digits must be a list of different names, not"),
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
        ('"repair": 1000', '"repair": 1', "defaults.measuring.repair must be a whole number, 2 or more, not 1"),
        ('"tuned": 7', '"tuned": 0', "defaults.measuring.tuned must be a whole number, 1 or more, not 0"),
        (
            '"macs 0.5"',
            '"macs 1.5"',
            "budgets must be a list of different budgets, such as macs 0.5 or parameters 0.25, not",
        ),
        ('"macs 0.5"', '"units 0.5"', "budgets must be a list of different budgets, such as macs 0.5 or parameters"),
        ("  little:", "  lit/tle:", "study.yaml: profiles must be a name"),
        ("seeds: [3]", "seeds: [3", "study.yaml is not YAML"),
        ("profiles:", "profile:", "study.yaml: unknown key 'profile': valid are defaults, profiles"),
    ],
)
def test_what_is_wrong_in_the_study_is_named_in_one_line(root, old, new, error):
    assert old in little.STUDY
    (root / "study.yaml").write_text(little.STUDY.replace(old, new, 1))
    with pytest.raises(ValueError, match=error) as caught:
        schema.read()
    assert "\n" not in str(caught.value)


def test_a_study_that_is_no_mapping_is_none(root):
    for text, error in (
        ("", "study.yaml must be a mapping, not None"),
        ("profiles: [a]", "profiles must be a mapping"),
    ):
        (root / "study.yaml").write_text(text)
        with pytest.raises(ValueError, match=error):
            schema.read()


def test_values_are_handed_out_as_they_are_written_and_in_their_order(root):
    text = little.STUDY.replace("epochs: 2, batch: 8", "batch: 8, epochs: 2").replace("momentum: 0.9", "momentum: 0")
    (root / "study.yaml").write_text(text)
    written, read = yaml.safe_load(text), schema.read()["little"]
    training = written["defaults"]["training"] | written["profiles"]["little"]["training"]
    assert repr(read["training"]) == repr(training) and list(training)[:2] == ["batch", "epochs"]
    assert type(read["training"]["momentum"]) is int
    assert repr(read["larger"]) == repr(written["defaults"]["larger"])


def test_what_every_profile_has_the_defaults_need_not_have(root):
    (root / "study.yaml").write_text(little.STUDY.replace("epochs: 2, ", ""))
    assert schema.read()["little"]["training"]["epochs"] == {"digits": 1, "cifar10": 7}
