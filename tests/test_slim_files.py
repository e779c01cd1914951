"""lib.slim_files: a file brings the slimmed network back."""

import json

import pytest
import torch
from shrunk import Skip, noise, prepared, randomised, some_scores
from torch import nn

from lib import cost, slim_files, structure
from lib.images import networks
from lib.network import saving
from lib.network.taps import units_in
from lib.network.units import units


@pytest.mark.parametrize("name", ["resnet20", "Skip"])
def test_a_file_brings_the_network_back(name, tmp_path):
    model, example, made = prepared(name)
    smaller = made.plan(some_scores(len(made.groups)), budget=0.4).apply(model)
    slim_files.save(smaller, tmp_path / "new" / "small.safetensors", {"criterion": "sq:rand:norm"})
    fresh = Skip() if name == "Skip" else networks.build(name, 10, seed=3)
    before = {key: value.clone() for key, value in fresh.state_dict().items()}
    found = slim_files.load(fresh, tmp_path / "new" / "small.safetensors")
    assert torch.equal(found(example), smaller(example))
    assert str(found) == str(smaller)
    assert not any(module.training for module in found.modules())
    assert all(torch.equal(value, before[key]) for key, value in fresh.state_dict().items())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["small.safetensors"]


class TwoNames(Skip):
    """One layer goes by two names, as in CoaT."""

    def __init__(self):
        super().__init__()
        self.again = self.narrow


def test_a_file_of_a_layer_with_two_names_brings_the_network_back(tmp_path):
    model, example = randomised(TwoNames()), noise(1, 3, 8, 8)
    smaller = structure.slim(model, some_scores(units_in(units(model, example))), example, budget=0.4)
    slim_files.save(smaller, tmp_path / "small")
    found = slim_files.load(TwoNames(), tmp_path / "small")
    assert found.again is found.narrow and torch.equal(found(example), smaller(example))
    assert cost.size_on_disk(smaller) == pytest.approx((tmp_path / "small").stat().st_size, abs=2000)


def test_a_file_of_a_group_that_has_shrunk_brings_the_network_back(tmp_path):
    def build():
        layers = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(8, 3)).eval()

    example = noise(1, 3, 8, 8)
    once = structure.slim(build(), torch.arange(14.0), example, budget=0.4, of="units")
    twice = structure.slim(once, torch.tensor([0.0, 5, 5, 5, 5, 5, 5]), example, budget=0.1, of="units")
    assert [(layer.groups, *layer.weight.shape[:2]) for layer in (once[2], twice[2])] == [(1, 4, 3), (1, 4, 2)]
    for smaller in (once, twice):
        slim_files.save(smaller, tmp_path / "net.safetensors")
        assert torch.equal(slim_files.load(build(), tmp_path / "net.safetensors")(example), smaller(example))


def test_a_file_says_its_widths_and_what_it_was_given(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 5))
    slim_files.save(model, tmp_path / "a", {"seed": 1})
    _, metadata = saving.read(tmp_path / "a")
    assert json.loads(metadata["study"]) == {"seed": 1, "widths": {"0": [2, 3], "1": [2, 2], "3": [5, 8]}}


CIRCLE = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a": torch.ones(1)}, "metadata cannot be kept as JSON (Object of type Tensor is not JSON serializable): "),
        ({"a": {(1, 2): 3}}, "metadata cannot be kept as JSON (keys must be str, int, float, bool or None, not tuple)"),
        ({"a": CIRCLE}, "metadata cannot be kept as JSON (Circular reference detected): give a dict of numbers, texts"),
        ("hello", "metadata must be a dict, not a str: give a dict of numbers, texts, lists and dicts, of a tensor"),
        ([1], "metadata must be a dict, not a list: give a dict of numbers"),
        ({"widths": 3}, 'metadata has "widths" already, where those of layers are kept: give it another name'),
        ({"full": 3}, 'metadata has "full" already, where those before are kept: give it another name'),
    ],
)
def test_metadata_that_cannot_be_kept_is_refused(tmp_path, metadata, message):
    with pytest.raises(ValueError) as caught:
        slim_files.save(nn.Linear(2, 2), tmp_path / "a", metadata)
    assert str(caught.value).startswith(message) and list(tmp_path.iterdir()) == []


def test_what_is_no_file_and_no_network_is_refused(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2))
    for call in (slim_files.save, slim_files.load):
        for path in (None, 5, "", model):
            with pytest.raises(ValueError) as caught:
                call(model, path)
            assert str(caught.value) == f"path={path!r} must be the name of a file"
        with pytest.raises(ValueError, match=r"^the model must be an nn.Module, not a NoneType$"):
            call(None, tmp_path / "a")
    with pytest.raises(IsADirectoryError, match=f"^{tmp_path} is a folder: name a file in it$"):
        slim_files.load(model, tmp_path)


def test_a_compiled_network_is_kept_as_what_is_inside(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2))
    slim_files.save(torch.compile(model), tmp_path / "a")
    assert torch.equal(slim_files.load(model, tmp_path / "a")[0].weight, model[0].weight)


def test_files_that_do_not_fit_are_refused(tmp_path):
    path, model = tmp_path / "file", prepared("resnet20")[0]
    wide = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    narrow = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1))
    slim_files.save(wide, path)
    for other, message in [
        (model, "cannot be used: 0 is a layer only there"),
        (narrow, "cannot be used: 0 has 3 inputs and 4 outputs there, 3 and 2 here"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)),
            "cannot be used: it holds another network, in which 0.weight",
        ),
    ]:
        with pytest.raises(ValueError, match=f"{path} {message}") as caught:
            slim_files.load(other, path)
        assert "\n" not in str(caught.value)
    saving.save(wide, path, {"seed": 0})
    with pytest.raises(ValueError, match="is no slimmed network: it lists no widths of layers"):
        slim_files.load(wide, path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="is damaged"):
        slim_files.load(wide, path)
    with pytest.raises(FileNotFoundError):
        slim_files.load(wide, tmp_path / "none")


def of_classes(classes, hidden=8):
    return nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 6), nn.ReLU(), nn.Linear(6, classes)).eval()


def slimmed(model):
    first = model[0].out_features
    return structure.slim(model, torch.arange(float(first + 6)), noise(1, 4), budget=2 / (first + 6), of="units")


def test_what_has_not_shrunk_must_be_as_wide_here(tmp_path):
    path, smaller = tmp_path / "small", slimmed(of_classes(3))  # the first layer has lost two units
    slim_files.save(smaller, path)
    _, metadata = saving.read(path)
    assert json.loads(metadata["study"])["full"] == {"0": {"": [8, 4]}, "2": {"": [6, 8]}}
    for other, said in [
        (of_classes(10), "4 has 6 inputs and 3 outputs there, 6 and 10 here"),
        (of_classes(3, hidden=9), "0 has 4 inputs and 8 outputs there, 4 and 9 here"),
    ]:
        with pytest.raises(ValueError) as caught:
            slim_files.load(other, path)
        assert str(caught.value) == f"{path} cannot be used: at full width {said}"
    found = slim_files.load(of_classes(3), path)
    assert torch.equal(found(noise(2, 4)), smaller(noise(2, 4)))
    for again in (slimmed(found), found):  # the widths before come along
        slim_files.save(again, path)
        assert torch.equal(slim_files.load(of_classes(3), path)(noise(2, 4)), again(noise(2, 4)))
        with pytest.raises(ValueError, match="at full width"):
            slim_files.load(of_classes(3, hidden=9), path)


def test_a_file_that_does_not_say_what_was_before_is_still_read(tmp_path):
    path, smaller = tmp_path / "small", slimmed(of_classes(3))
    saving.save(smaller, path, {"widths": {"0": [6, 4], "2": [6, 6], "4": [3, 6]}})
    assert torch.equal(slim_files.load(of_classes(3), path)(noise(2, 4)), smaller(noise(2, 4)))


def test_a_network_without_values_is_none_to_load_into(tmp_path):
    slim_files.save(slimmed(of_classes(3)), tmp_path / "small")
    with pytest.raises(ValueError) as caught:
        slim_files.load(of_classes(3).to("meta"), tmp_path / "small")
    assert str(caught.value).startswith("0.weight is on the meta device and has no values: build the model on")
