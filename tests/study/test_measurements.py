"""study.measurements: tables that are empty."""

from lib import saving
from lib.images import datasets, networks
from lib.study import measurements, profiles
from lib.study.columns import RUN, Cell


def test_a_profile_whose_notebooks_ask_for_no_curves_has_empty_tables(tmp_path):
    (run, *_) = profiles.load("smoke", results=tmp_path).runs
    dataset = datasets.load(run.dataset, "train", run.data_folder)
    model = networks.build(run.network, len(dataset.classes), dataset.images.shape[1])
    saving.save(model, run.checkpoint, {})
    curves, scores = measurements.measure(run, [], "cpu")
    assert curves.empty and scores.empty and {*RUN, *Cell._fields} <= set(curves)
    assert measurements.summaries(curves).empty and {"criterion", "auc_relative"} <= set(measurements.summaries(curves))
