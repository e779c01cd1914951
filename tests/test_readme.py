"""What README.md shows runs as it stands."""

import re

import torch

from lib import cost
from lib.profiles import ROOT

TEXT = (ROOT / "README.md").read_text()


def test_the_snippet_of_a_network_of_your_own_halves_it():
    (snippet,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    torch.manual_seed(0)
    made = {}
    exec(snippet, made)
    example = made["images"][:1]
    before, after = (cost.multiply_adds(made[name], example) for name in ("model", "small"))
    assert 0.4 * before < after <= 0.5 * before
    assert made["logits"].shape == (64, 1000)
    assert made["order"].sort().values.tolist() == list(range(4800))  # the units of ResNet-18
    assert not torch.equal(made["logits"], made["model"](made["images"]))  # without the first 1000


def test_every_module_is_named():
    there = {path.stem for path in (ROOT / "lib").glob("*.py")} - {"__init__"}
    assert {name for name in there if f"`{name}`" not in TEXT} == set()
