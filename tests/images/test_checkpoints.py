"""images.checkpoints: weights as others save them, under the network's own names, and one line for everything else."""

import argparse
import collections
import pathlib

import numpy
import pytest
import safetensors.torch
import torch
from torch import nn

from lib.images import checkpoints, networks


@pytest.fixture(scope="module")
def model():
    return networks.build("resnet8", 10, seed=1).eval()


class Lightning(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model


def torchvisions(model):
    options = argparse.Namespace(lr=0.1, data_path=pathlib.Path("imagenet"), weights=None, milestones=[30, 60])
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9).state_dict()
    return {"model": model.state_dict(), "optimizer": optimizer, "lr_scheduler": {}, "epoch": 3, "args": options}


SAVED = {
    "alone": lambda model: model.state_dict(),
    "state_dict": lambda model: {"state_dict": model.state_dict(), "epoch": 3},
    "torchvision's": torchvisions,
    "best": lambda model: {"model": model.state_dict(), "best": numpy.float64(0.5), "epoch": numpy.int64(3)},
    "nested": lambda model: {"model": {"state_dict": model.state_dict(), "step": 1}, "epoch": 2},
    "compiled": lambda model: torch.compile(model).state_dict(),
    "parallel": lambda model: nn.DataParallel(model).state_dict(),
    "compiled parallel": lambda model: torch.compile(nn.DataParallel(model)).state_dict(),
    "parallel compiled": lambda model: nn.DataParallel(torch.compile(model)).state_dict(),
    "a script's": lambda model: {"state_dict": Lightning(torch.compile(nn.DataParallel(model))).state_dict()},
    "averaged": lambda model: torch.optim.swa_utils.AveragedModel(model).state_dict(),
    "a compiled part": lambda model: {
        name.replace("blocks.", "blocks._orig_mod."): value for name, value in model.state_dict().items()
    },
}


@pytest.mark.parametrize("kind", SAVED)
@pytest.mark.parametrize("old", [False, True])
def test_weights_come_under_the_networks_own_names(model, tmp_path, kind, old):
    expected = model.state_dict()
    torch.save(SAVED[kind](model), tmp_path / "weights.pth", _use_new_zipfile_serialization=not old)
    for names in ((), expected):
        found = checkpoints.weights(tmp_path / "weights.pth", names)
        assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_safetensors_are_read_likewise(model, tmp_path):
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    assert checkpoints.weights(tmp_path / "weights.safetensors").keys() == model.state_dict().keys()


def test_names_lose_only_what_all_of_them_have_in_front_and_keep_what_fits(model, tmp_path):
    state = Lightning(model).state_dict()
    torch.save(nn.DataParallel(Lightning(model)).state_dict(), tmp_path / "weights.pth")
    assert checkpoints.weights(tmp_path / "weights.pth", list(state)).keys() == state.keys()
    assert checkpoints.weights(tmp_path / "weights.pth").keys() == model.state_dict().keys()
    torch.save(state | {"loss.weight": torch.ones(1)}, tmp_path / "more.pth")
    assert checkpoints.weights(tmp_path / "more.pth").keys() == state.keys() | {"loss.weight"}


class Other:
    pass


class Code:
    def __reduce__(self):
        return print, ("it ran",)


WHOLE = ": it holds a whole model: save model.state_dict() instead"
MORE = ": it holds more than tensors ({}), which could run code: save model.state_dict() instead"
UNREADABLE = " cannot be read as weights: it takes .safetensors, or a state_dict by torch.save ({})"
NONE = " holds no state_dict, names with tensors, but {}: save model.state_dict()"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda model: model, WHOLE),
        (lambda model: {"model": model, "epoch": 1}, WHOLE),
        (lambda model: {"model": model.state_dict(), "settings": Other()}, MORE.format(f"{__name__}.Other")),
        (lambda model: {"seen": collections.deque([1])}, MORE.format("collections.deque")),
        (lambda model: {"conv1.weight": Code()}, MORE.format("builtins.print")),
        (lambda model: [1, 2], NONE.format("a list")),
        (lambda model: torch.ones(3), NONE.format("a Tensor")),
        (lambda model: {}, NONE.format("nothing")),
        (lambda model: {"epoch": 1, "optimizer\n": {}}, NONE.format(r"epoch, optimizer\n")),
        (lambda model: {3: torch.ones(1)}, NONE.format("3")),
    ],
)
def test_what_else_a_file_holds_is_said_in_one_line(model, tmp_path, content, said, capsys):
    torch.save(content(model), tmp_path / "odd.pth")
    with pytest.raises(ValueError) as caught:
        checkpoints.weights(tmp_path / "odd.pth")
    assert str(caught.value) == f"{tmp_path}/odd.pth{said}"
    assert capsys.readouterr().out == ""  # no code ran


def test_a_whole_model_in_an_old_file_is_told_too(model, tmp_path):
    torch.save(model, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"it holds a whole model: save model\.state_dict"):
        checkpoints.weights(tmp_path / "old.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated")
def test_so_is_a_scripted_one(model, tmp_path):
    torch.jit.script(model).save(tmp_path / "script.pt")
    with pytest.raises(ValueError, match=r"it holds a whole model: save model\.state_dict"):
        checkpoints.weights(tmp_path / "script.pt")


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [("a.pth", b"", "EOFError"), ("a.pt", b"<html>", "UnpicklingError"), ("a.safetensors", b"{}", "SafetensorError")],
)
def test_damaged_files_are_named(tmp_path, name, content, kind):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        checkpoints.weights(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}{UNREADABLE.format(kind)}"
    with pytest.raises(FileNotFoundError, match="there is no file of weights"):
        checkpoints.weights(tmp_path / "none")
    with pytest.raises(IsADirectoryError, match=f"^{tmp_path} is a folder: name the file of weights in it$"):
        checkpoints.weights(tmp_path)
