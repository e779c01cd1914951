"""Larger networks in small: the streamed curve against the one in memory, where images come from, tables."""

from dataclasses import replace

import pandas
import pytest
import torch

from lib import cost, importance, pruning
from lib.images import folders, networks
from lib.study import larger, profiles, shrinking

SMALL = {"networks": ["resnet18"], "pixels": 32, "images": [4, 6], "batch": 2, "points": 3, "repeats": 1}


@pytest.fixture
def plan(tmp_path):
    found = profiles.load("smoke", device="cpu", data=str(tmp_path / "data"), results=str(tmp_path / "results"))
    return replace(found, larger=SMALL | {"folder": "imagenet", "pretrained": False})


@pytest.fixture
def images(plan, tmp_path):
    return larger.images(plan, tmp_path / "aside")


def test_a_streamed_curve_is_the_curve_in_memory(tmp_path):
    stream = folders.stream(folders.write_digits(tmp_path, "test", 16, 30), 16, batch=7, labelled=True)
    model = networks.build("resnet8", 10).eval()
    pixels, labels, _ = (torch.cat(parts) for parts in zip(*stream, strict=True))
    order = pruning.order(importance.score(model, [(pixels, None)], ["l2"])["l2"])
    expected = pruning.curve(model, order, pixels, labels, 4)
    pandas.testing.assert_frame_equal(larger.curve(model, order, stream, 4), expected[["pruned", "accuracy"]])


def test_a_curve_takes_labels_and_images(tmp_path):
    model, order = networks.build("resnet8", 10).eval(), torch.arange(5)
    with pytest.raises(ValueError, match="accuracy takes labels"):
        larger.curve(model, order, [(torch.zeros(1, 3, 8, 8), None)])
    with pytest.raises(ValueError, match="accuracy takes images"):
        larger.curve(model, order, [])


def test_without_a_folder_digits_stand_in_and_are_said_to(plan, images):
    assert not images.real
    assert (len(images.to_score), len(images.to_test)) == (6, 6)  # as many as the largest number asked for
    assert next(iter(images.to_score))[1] is None  # no labels to score with
    assert next(iter(images.to_test))[1] is not None
    assert larger.facts(plan, images).iloc[0][["images", "weights"]].tolist() == ["digits scaled up", "untrained"]


def test_a_folder_in_imagenets_layout_is_used(plan, tmp_path):
    made = folders.write_digits(tmp_path / "made", "train", 8, 6), folders.write_digits(tmp_path / "made", "test", 8, 6)
    root = tmp_path / "data/imagenet"
    root.mkdir(parents=True)
    made[0].rename(root / "train")
    with pytest.raises(FileNotFoundError, match=r"no images .*imagenet.val"):
        larger.images(plan, tmp_path / "aside")
    made[1].rename(root / "val")
    found = larger.images(plan, tmp_path / "aside")
    assert found.real and not (tmp_path / "aside").exists()
    assert (found.to_score.folder.resolve(), found.to_test.folder.resolve()) == (root / "train", root / "val")
    with pytest.raises(ValueError, match="cannot stream 40 images: there are 6"):
        larger.images(replace(plan, larger=plan.larger | {"images": [40]}), tmp_path / "aside")


def test_growth_has_a_row_per_network_task_and_number_and_memory_is_flat(plan, images):
    found = larger.growth(plan, images)
    assert list(found["images"]) == [4, 6, 4, 6]
    assert list(dict.fromkeys(found["task"])) == ["scoring", "two points of a curve"]
    assert (found.groupby("task")["peak_mb"].nunique() == 1).all()
    model = larger.build("resnet18", pretrained=False)
    assert (found["parameters"] == cost.parameters(model)).all() and not found["trained"].any()
    assert (found["peak_mb"] > cost.parameters(model) * 4 / 2**20).all()


def test_a_network_is_compared_with_its_half(plan, images):
    found = larger.slimming(plan, images)
    assert list(found["variant"]) == ["unpruned", "-50 %"]
    whole, half = found["multiply_adds"]
    assert whole == cost.multiply_adds(larger.build("resnet18", pretrained=False), torch.zeros(1, 3, 32, 32))
    assert half <= whole / 2 and found["reached"][1] == pytest.approx(1 - half / whole)
    assert {"latency_1_ms", "latency_2_ms", "inference_mb", "training_mb"} <= set(found)


def test_curves_need_real_weights_and_real_images_of_imagenets_classes(plan, images, monkeypatch):
    empty = larger.curves(plan, images)
    pretrained = replace(plan, larger=plan.larger | {"pretrained": True})
    monkeypatch.setattr(larger, "build", lambda name, **_: networks.build(name, 10).eval())
    real = replace(images, real=True)
    assert empty.empty and larger.curves(pretrained, images).empty and larger.curves(pretrained, real).empty
    monkeypatch.setattr(larger, "CLASSES", len(images.to_test.classes))
    found = larger.curves(pretrained, real)
    assert list(found) == list(empty) and list(found["pruned"]) == [0, 1200, 2400]
    assert (found["units"] == 4800).all() and found["accuracy"].between(0, 1).all()


def test_variants_meet_their_budgets_in_turn_and_relative_costs_begin_at_100():
    model, example = networks.build("vgg8", 10, 1).eval(), torch.zeros(1, 1, 8, 8)
    scores = importance.score(model, [(example, None)], ["l2"])["l2"]
    models, removed = shrinking.variants(model, scores, example)
    assert list(models) == list(removed["variant"]) == ["unpruned", "-25 %", "-50 %", "-75 %"]
    left = [cost.multiply_adds(found, example) for found in models.values()]
    assert list(removed["reached"]) == pytest.approx([1 - count / left[0] for count in left])
    assert (removed["reached"] >= removed["budget"]).all() and models["unpruned"] is model
    costs = pandas.DataFrame({"variant": ["unpruned", "-25 %"], "parameters": [200, 150], "step_ms": [8.0, 2.0]})
    costs = costs.assign(dataset="d", network="n", seed=0, budget=[0, 0.25], reached=[0, 0.3], step_low=[6.0, 1.0])
    found = shrinking.relative(costs)
    assert list(found["parameters"]) == [100, 75] and list(found["step_ms"]) == [100, 25]
    assert list(found["step_low"]) == [75, 12.5] and list(found["reached"]) == [0, 0.3]  # of the median, 8 ms
