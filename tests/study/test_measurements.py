"""study.measurements: tables that are empty, and which draws a table shows."""

import pandas
from by_hand import curve

from lib.images import datasets, networks
from lib.network import saving
from lib.study import ablations, measurements, profiles, sampling
from lib.study.columns import RUN, Cell


def test_a_profile_whose_notebooks_ask_for_no_curves_has_empty_tables(tmp_path):
    (run, *_) = profiles.load("smoke", results=tmp_path).runs
    dataset = datasets.load(run.dataset, "train", run.data_folder)
    model = networks.build(run.network, len(dataset.classes), dataset.images.shape[1])
    saving.save(model, run.checkpoint, {})
    curves, scores = measurements.measure(run, [], "cpu")
    assert curves.empty and scores.empty and {*RUN, *Cell._fields} <= set(curves)
    assert measurements.summaries(curves).empty and {"criterion", "auc_relative"} <= set(measurements.summaries(curves))


def test_tables_show_the_first_draw_of_examples_and_all_rankings_of_chance(tmp_path):
    plan = profiles.load("smoke", results=tmp_path)
    (run,) = plan.runs
    run.folder.mkdir(parents=True)
    for path in (run.checkpoint, run.finetuning):
        path.touch()
    cells = ablations.cells("40-label-scarcity", run.settings["measuring"], sampling.labels_of(run))
    pandas.concat([curve([1, 0.5], [1, 0.8], **cell._asdict()) for cell in cells]).to_parquet(run.curves)
    draws = {
        everything: measurements.curves(plan, "40-label-scarcity", all_draws=everything)
        .groupby("criterion")["draw"]
        .max()
        for everything in (False, True)
    }
    assert draws[False].to_dict() == {"taylorfo": 0, "sq:norm": 0, "sq:rand:norm": 0, "l2": 0, "random": 1}
    assert draws[True].to_dict() == {"taylorfo": 1, "sq:norm": 1, "sq:rand:norm": 1, "l2": 0, "random": 1}
