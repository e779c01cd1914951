"""lib.images.sources: networks of every kind of name, and one line for what is none or does not fit."""

import sys
import types

import pytest
import torch
from torch import nn

from lib.images import networks, public, sources
from lib.network import saving
from lib.study.paths import ROOT

MINE = """
from torch import nn
from beside import WIDTH

def build():
    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 4))

def number():
    return 3

def broken():
    raise RuntimeError("a line\\nand another")

def taking(width, depth=2):
    return nn.Linear(width, depth)

MADE = nn.Identity()
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "beside.py").write_text("WIDTH = 5")
    yield tmp_path / "mine.py"
    sys.modules.pop("beside", None)


def test_a_function_of_ones_own_builds_it_with_what_lies_beside(mine, tmp_path):
    before = list(sys.path)
    model = sources.build(f"{mine}:build", 1000, sources.UNTRAINED)
    assert model[0].out_channels == 5 and not model.training and sys.path == before
    torch.save({"state_dict": model.state_dict()}, tmp_path / "mine.pt")
    again = sources.build(f"{mine}:build", 1000, tmp_path / "mine.pt")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    assert sources.own_file(f"{mine}:build") == mine and sources.own_file("resnet18") is None


def test_the_example_in_docs_is_the_network_that_the_public_weights_are_of():
    example = sources.build(f"{ROOT}/docs/examples/mine.py:resnet56", 3, sources.UNTRAINED)  # has 10 classes of its own
    ours = networks.build("resnet56a", 10, seed=1)
    saving.load(ours, ours.state_dict() | public.named_here("resnet56a", ours.state_dict(), _moved(example)))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(example(images), ours.eval()(images), rtol=1e-5, atol=1e-5)


def _moved(model):
    """Its weights, after statistics of BatchNorms have left where they begin; without counters, as old files are."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                values.data += 0.1 * torch.rand(values.shape, generator=generator)
    return {name: value for name, value in model.state_dict().items() if not name.endswith(public.COUNTER)}


def test_a_file_of_ones_own_may_hold_dataclasses_with_late_annotations(mine):
    mine.write_text("from __future__ import annotations\nfrom dataclasses import dataclass\n" + MINE
                    + "\n@dataclass\nclass Config:\n    width: int = 3\n")  # fmt: skip
    assert sources.build(f"{mine}:build", 4, sources.UNTRAINED)[0].out_channels == 5
    assert "mine" not in sys.modules


def test_a_script_that_ends_the_program_is_named(mine, monkeypatch):
    mine.write_text(MINE + "import argparse\nargparse.ArgumentParser().parse_args()\n")
    monkeypatch.setattr(sys, "argv", ["python", "resnet18", "photos"])
    with pytest.raises(ValueError, match=r"mine\.py gives no network: it ends the program, as a script does"):
        sources.build(f"{mine}:build", 4, sources.UNTRAINED)
    assert "mine" not in sys.modules and str(mine.parent) not in sys.path


def test_the_code_of_a_network_is_told_from_other_code(mine):
    first = networks.build("resnet8", 4)
    assert sources.code_of(first) == sources.code_of(networks.build("resnet8", 4, seed=1))
    assert sources.code_of(first) != sources.code_of(networks.build("resnet8", 5))
    body = "class Net(nn.Module):\n    def forward(self, x):\n        return x.{}()\n\ndef net():\n    return Net()\n"
    found = []
    for function in ("relu", "tanh"):
        mine.write_text("from torch import nn\n" + body.format(function))
        found.append(sources.code_of(sources.build(f"{mine}:net", 4, sources.UNTRAINED)))
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine.py", "mine.py:build"),
        ("mine.py:number", "mine.py gives no network: number() returns a int, not an nn.Module"),
        (
            "mine.py:other",
            "mine.py gives no network: there is no function other in it, but build, number, broken, taking",
        ),
        ("mine.py:MADE", "mine.py gives no network: MADE is a network already: name a function that builds it"),
        ("mine.py:taking", "(missing a required argument: 'width'): name a function that gives them"),
        ("mine.py:broken", "mine.py gives no network: a line"),
        ("none.py:build", "none.py, which should hold the function build"),
    ],
)
def test_what_gives_no_network_is_told_in_one_line(mine, tmp_path, name, message):
    with pytest.raises((ValueError, OSError)) as caught:
        sources.build(f"{tmp_path}/{name}", 4, sources.UNTRAINED)
    assert str(caught.value).endswith(message)


def test_python_s_own_way_to_name_a_function_is_told_how_it_is_here(tmp_path):
    with pytest.raises(
        ValueError, match=r"^mine:build is no network: one of your own is FILE\.py:FUNCTION, such as mi"
    ):
        sources.build("mine:build", 4, sources.UNTRAINED)


def test_weights_of_another_network_are_refused(mine, tmp_path):
    torch.save(networks.build("resnet8", 4).state_dict(), tmp_path / "other.pt")
    with pytest.raises(
        ValueError, match=r"other\.pt does not fit .*mine\.py:build: it holds another network, in which"
    ):
        sources.build(f"{mine}:build", 4, tmp_path / "other.pt")


def test_timm_builds_networks_where_it_is_installed(monkeypatch):
    timm = types.ModuleType("timm")

    def create_model(name, pretrained, num_classes, in_chans=3):
        if name != "little":
            raise RuntimeError(f"Unknown model ({name})")
        return nn.Sequential(nn.Flatten(), nn.Linear(4 * in_chans, num_classes))

    timm.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", timm)
    assert sources.build("timm:little", 7, sources.UNTRAINED)[1].out_features == 7
    assert [sources.build("timm:little", 7, sources.UNTRAINED, channels)[1].in_features for channels in (1, 3)] == [
        4,
        12,
    ]
    with pytest.raises(ValueError, match=r"^timm:large cannot be built: Unknown model \(large\)$"):
        sources.build("timm:large", 7, sources.UNTRAINED)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"^timm:little needs the package timm, which is not installed: pip install"):
        sources.build("timm:little", 7, sources.UNTRAINED)
