"""The quickstart, executed: with a network and images of one's own, without labels, and as it stands."""

import json
import re

import pytest
import torch

from lib import cost, slim_files
from lib.images import datasets, folders, networks, training
from lib.network import saving
from lib.running import execute
from lib.study import paths

NOTEBOOK = paths.ROOT / "notebooks/quickstart.ipynb"


def run(folder, **values):
    """Executes it into `folder`, and returns what it printed and showed."""
    given = {"output": str(folder), "device": "cpu"} | {name: str(value) for name, value in values.items()}
    execute.run(NOTEBOOK, folder / "executed.ipynb", given)
    cells = json.loads((folder / "executed.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return "".join("".join(output.get("text", output.get("data", {}).get("text/markdown", ""))) for output in outputs)


def shrunk(folder, network, classes):
    return slim_files.load(networks.build(network, classes), folder / f"{network}-half.safetensors")


def test_a_network_of_ones_own_shrinks_by_half_without_any_label(tmp_path):
    model = networks.build("mobilenet_v2", 7, seed=3).eval()
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    folders.write_digits(tmp_path / "made", "test", 40, 10)
    flat = tmp_path / "photographs"
    flat.mkdir()
    for path in sorted((tmp_path / "made/test").rglob("*.png")):
        path.rename(flat / path.name)
    given = {"network": "mobilenet_v2", "classes": 7, "weights": tmp_path / "mine.pth", "images": flat}
    said = run(tmp_path / "out", **given)
    small, example = shrunk(tmp_path / "out", "mobilenet_v2", 7), torch.zeros(1, 3, 32, 32)
    before, after = cost.multiply_adds(model, example), cost.multiply_adds(small, example)
    assert 0.4 * before < after <= 0.5 * before
    assert f"{before:,}" in said and f"{after:,}" in said
    assert not re.search(r"\d%", said)  # no accuracy without labels
    line = (tmp_path / "out/quickstart.txt").read_text()
    assert line == f"multiply-adds: {before:,} whole, {after:,} shrunk\n"


def test_labelled_images_given_alone_are_ranked_on_and_normalised_as_the_weights_expect(tmp_path):
    mine = tmp_path / "mine"
    for split, count in (("train", 24), ("test", 10)):
        folders.write_digits(mine, split, 16, count)
    model = networks.build("resnet8", 10, seed=3)
    saving.save(model, tmp_path / "mine.safetensors", {})
    given = {"network": "resnet8", "weights": tmp_path / "mine.safetensors", "labelled": mine}
    said = run(tmp_path / "out", **given, pixels=16, epochs=1)
    assert not (tmp_path / "out/digits").exists()  # they would go before the images given
    _, metadata = saving.read(tmp_path / "out/resnet8-half.safetensors")
    assert json.loads(metadata["study"])["moments"] == [pytest.approx(values) for values in folders.IMAGENET]
    test_set = folders.image_set(mine / "test", 16)
    images = datasets.normalise(test_set.images, *map(torch.tensor, folders.IMAGENET))
    accuracy = training.evaluate(model.eval(), images, test_set.labels)
    assert re.search(rf"\| whole +\|.*{accuracy:.1%}", said)


def test_as_it_stands_it_trains_shrinks_and_fine_tunes_on_the_embedded_digits(tmp_path):
    said = run(tmp_path, epochs=1)
    whole, small, tuned = (float(value) for value in re.findall(r"([\d.]+)%", said))
    assert whole > 50 and tuned > small
    line = (tmp_path / "quickstart.txt").read_text()
    assert line.endswith(f"; test accuracy: {whole}% whole, {small}% shrunk, {tuned}% fine-tuned\n")
    assert cost.parameters(shrunk(tmp_path, "resnet18", 10)) < cost.parameters(networks.build("resnet18", 10)) / 2


def test_neither_weights_nor_labels_is_refused(tmp_path):
    folders.write_digits(tmp_path, "test", 32, 3)
    with pytest.raises(RuntimeError, match="AssertionError: give weights of the network, or labelled images"):
        run(tmp_path / "out", images=tmp_path / "test")


def test_it_is_under_thirty_lines():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    parameters, *rest = cells
    assert parameters["metadata"]["tags"] == ["parameters"]
    lines = "".join("".join([*cell["source"], "\n"]) for cell in rest).splitlines()
    assert sum(bool(line.strip()) and not line.startswith(("import", "from")) for line in lines) < 30
