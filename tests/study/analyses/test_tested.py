"""analyses.tested: how many test images there are, and what they leave uncertain, worked out by hand and by drawing."""

import json

import numpy
import pandas
import pytest
from by_hand import curve

from lib.images import datasets
from lib.study import profiles
from lib.study.analyses import tested


def test_the_standard_error_of_two_points_by_hand():
    # of ten images four are right throughout (1), four at the start alone (1/2), two never: R = .75, each .25 away
    found = tested.standard_error(numpy.array([0, 50]), numpy.array([0.8, 0.4]), 10)
    assert found == pytest.approx(numpy.sqrt(0.8 * 0.25**2 / 10) / 0.8)


def test_the_standard_error_is_what_drawing_test_images_anew_gives():
    random, images = numpy.random.default_rng(0), 1000
    pruned = numpy.array([0, 10, 30, 60, 100])
    wrong_from = random.choice(6, (4000, images), p=[0.3, 0.05, 0.25, 0.3, 0.05, 0.05])  # 5: right to the end
    drawn = numpy.stack([(wrong_from > point).mean(1) for point in range(5)], axis=1)  # (draws, points)
    relative = numpy.trapezoid(drawn, pruned, axis=1) / 100 / drawn[:, 0]
    found = tested.standard_error(pruned, numpy.array([0.7, 0.65, 0.4, 0.1, 0.05]), images)
    assert found == pytest.approx(relative.std(), rel=0.05)


def test_a_network_that_is_never_right_has_no_standard_error():
    assert numpy.isnan(tested.standard_error(numpy.array([0, 50]), numpy.array([0.0, 0.0]), 10))


def test_standard_errors_are_means_over_curves_and_fall_with_the_root_of_images():
    both = pandas.concat([curve([0.8, 0.4], [1, 0.5]), curve([0.8, 0.8], [1, 0.5], seed=1)])
    (row,) = tested.standard_errors(both, {"digits": 10}).to_dict("records")
    assert row["test_images"] == 10
    assert row["standard_error"] == pytest.approx(numpy.sqrt(0.8 * 0.25**2 / 10) / 0.8 / 2)  # the second has none
    (more,) = tested.standard_errors(both, {"digits": 1000}).to_dict("records")
    assert more["standard_error"] == pytest.approx(row["standard_error"] / 10)


@pytest.mark.parametrize(("device", "limit", "expected"), [("cpu", 50, 50), ("cuda", 50, None), ("cpu", "all", None)])
def test_a_gpu_tests_on_all_images_and_a_cpu_on_as_many_as_the_profile_says(
    tmp_path, monkeypatch, device, limit, expected
):
    plan = profiles.load("smoke", results=tmp_path)
    (run,) = plan.runs
    settings = run.settings
    settings["measuring"]["test_images"] = limit
    monkeypatch.setattr(profiles.Run, "settings", settings)
    with pytest.raises(FileNotFoundError, match=r"10-measure\.json is missing: run its notebook again"):
        tested.images(run)
    run.folder.mkdir(parents=True)
    run.record("10-measure").write_text(json.dumps({"device": {"type": device}}))
    everything = len(datasets.load("digits", "test"))
    assert tested.images(run) == (expected or everything) and tested.by_dataset(plan) == {"digits": tested.images(run)}
