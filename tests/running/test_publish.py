"""Publishing a profile that nobody ran."""

import fcntl
import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import made_up
import numpy
import pandas
import pyarrow.parquet
import pytest
from pandas.testing import assert_frame_equal

from lib.running import publish
from lib.study import paths, profiles, references, reuse

PER_RUN = [
    "00-train.ipynb",
    "00-train.json",
    "10-measure.ipynb",
    "10-measure.json",
    "training.parquet",
    "curves.parquet",
    "oracle.parquet",
    "repaired.parquet",
    "silenced.parquet",
    "finetuning.parquet",
]


@pytest.fixture
def plan(plan):
    """With its report."""
    made_up.finish(plan)
    return plan


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def expected(*of_runs):
    found = ["report.html", "report.md"]
    for notebook in ("15-replication", "30-sign"):
        found += [f"notebooks/{notebook}.ipynb", f"notebooks/{notebook}.json", f"tables/{notebook}-auc.csv"]
        found += [f"figures/{notebook}-{name}" for name in ("curves.png", "cell-6-0.png")]
    found += ["notebooks/90-report.ipynb", "notebooks/90-report.json"]
    return found + [f"digits-resnet8/seed-{seed}/{name}" for seed in (0, 1) for name in (*PER_RUN, *of_runs)]


def test_a_finished_profile_is_published_with_its_sums(plan):
    junk = [".lock", "report.html.part", "notebooks/30-sign.failed.ipynb", "figures/x.part.png", "tables/x.csv.part"]
    for name in [*junk, "digits-resnet8/seed-0/training-state.safetensors"]:
        (plan.folder / name).write_text("junk")
    folder, size, left_out = publish.publish(plan)
    assert left_out == [] and folder.resolve() == Path(plan.results).resolve() / "published/smoke"
    published = expected("checkpoint.safetensors", "scores.parquet")
    assert names(folder) == sorted([*published, "SHA256SUMS"])
    assert size == sum((folder / name).stat().st_size for name in names(folder))
    sums = [line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert [name for _, name in sums] == sorted(published)
    for digest, name in sums:
        assert digest == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if name == "report.html":
            copies = re.sub(r"data:image/png;base64,[^\"]+", "", (plan.folder / name).read_text())
            assert re.sub(r'(?<=src=")figures/[^"]+', "", (folder / name).read_text()) == copies
        elif name.endswith("oracle.parquet"):  # packed
            assert_frame_equal(*(pandas.read_parquet(root / name) for root in (folder, plan.folder)), check_exact=True)
        elif not name.endswith("scores.parquet"):  # without answers notebooks are as they were
            assert (folder / name).read_bytes() == (plan.folder / name).read_bytes()
    assert not list(plan.folder.glob(".to-publish")) and not list(plan.folder.glob(".published-before"))


def test_every_link_of_the_published_report_leads_somewhere(plan):
    folder, *_ = publish.publish(plan)
    pages = ((r'href="([^#"][^"]*)"', "report.html"), (r"\]\(([^#)][^)]*)\)", "report.md"))
    assert "data:image/png" not in (folder / "report.html").read_text()
    for pattern, page in (*pages, (r'src="([^"]*)"', "report.html")):
        links = [link for link in re.findall(pattern, (folder / page).read_text()) if not link.startswith("data:")]
        assert len(links) > (10 if (pattern, page) in pages else 1)
        assert [link for link in links if not (folder / unquote(link)).is_file()] == []


@pytest.mark.parametrize("large", [[], ["scores.parquet"], ["checkpoint.safetensors", "scores.parquet"]])
def test_large_files_that_can_be_made_again_are_left_out(plan, large, monkeypatch):
    whole, *_ = publish.publish(plan)
    weights, scores = (
        [path.stat().st_size for path in whole.rglob(name)] for name in (publish.WEIGHTS, publish.SCORES)
    )
    monkeypatch.setattr(publish, "WEIGHTS_LIMIT", max(weights) - (publish.WEIGHTS in large))
    monkeypatch.setattr(publish, "SCORES_LIMIT", sum(scores) - (publish.SCORES in large))
    folder, size, left_out = publish.publish(plan)
    large = large[:1]  # without weights nobody could make scores again
    words = {publish.WEIGHTS: "weights (named by SHA-256 alone)", publish.SCORES: "scores"}
    assert left_out == [words[name] for name in large]
    there = ["checkpoint.safetensors", *["scores.parquet"] * ("scores.parquet" not in large)]
    assert names(folder) == sorted([*expected(*there), "SHA256SUMS"])
    digests = [hashlib.sha256(run.checkpoint.read_bytes()).hexdigest() for run in plan.runs]
    referred = [
        references.weights(folder / f"digits-resnet8/seed-{run.seed}/checkpoint.safetensors") for run in plan.runs
    ]
    assert referred == (digests if "checkpoint.safetensors" in large else [None, None])
    assert size == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    links = re.findall(r"\]\(([^)#]+)\)", (folder / "report.md").read_text())
    links += re.findall(r'<a href="([^"#]+)"', (folder / "report.html").read_text())
    assert [link for link in links if "://" not in link and not (folder / unquote(link)).is_file()] == []


def test_where_some_weights_are_left_out_already_all_are(plan):
    first, second = plan.runs
    left_out = hashlib.sha256(first.checkpoint.read_bytes()).hexdigest()
    references.refer(first.checkpoint)
    whole = hashlib.sha256(second.checkpoint.read_bytes()).hexdigest()
    folder, _, names_left_out = publish.publish(plan)
    published = [folder / f"digits-resnet8/seed-{seed}/checkpoint.safetensors" for seed in (0, 1)]
    assert [references.weights(path) for path in published] == [left_out, whole]
    assert names_left_out == ["weights (named by SHA-256 alone)"] and references.weights(second.checkpoint) is None


def test_scores_are_published_in_single_precision(plan):
    folder, *_ = publish.publish(plan)
    for path in folder.rglob("scores.parquet"):
        score = pandas.read_parquet(path)["score"]
        assert score.dtype == "float32" and score.tolist() == pytest.approx([0.1, 1 / 3], rel=1e-7)
    assert pandas.read_parquet(plan.runs[0].scores)["score"].tolist() == [0.1, 1 / 3]


def test_tables_with_a_row_a_unit_are_published_in_fewer_bytes(plan):
    path = plan.runs[0].folder / "oracle.parquet"
    loss = numpy.random.default_rng(0).normal(1e-3, 1e-4, 2000)
    pandas.DataFrame({"layer": ["a"] * 1000 + ["b"] * 1000, "unit": [*range(1000)] * 2, "loss": loss}).to_parquet(path)
    folder, *_ = publish.publish(plan)
    packed = folder / path.relative_to(plan.folder)
    assert_frame_equal(pandas.read_parquet(packed), pandas.read_parquet(path), check_exact=True)
    assert packed.stat().st_size < 0.7 * path.stat().st_size
    row_group = pyarrow.parquet.ParquetFile(packed).metadata.row_group(0)
    columns = {column.path_in_schema: column for column in map(row_group.column, range(row_group.num_columns))}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert "DELTA_BINARY_PACKED" in columns["unit"].encodings and "BYTE_STREAM_SPLIT" in columns["loss"].encodings
    assert "RLE_DICTIONARY" in columns["layer"].encodings


def test_too_much_is_refused_with_the_largest_named_and_the_old_one_stays(plan):
    folder, *_ = publish.publish(plan)
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    (plan.tables / "30-sign-large.csv").write_bytes(bytes(publish.LIMIT))
    with pytest.raises(
        ValueError, match=r"^12\.\d MiB to publish, 12 MiB at most: .*: \S*30-sign-large\.csv \(12\.0 MiB\), "
    ):
        publish.publish(plan)
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before


@pytest.mark.parametrize(
    "name",
    [
        "report.html",
        "report.md",
        "notebooks/90-report.ipynb",
        "notebooks/90-report.json",
        "notebooks/30-sign.ipynb",
        "notebooks/30-sign.json",
        "digits-resnet8/seed-1/10-measure.ipynb",
        "digits-resnet8/seed-1/00-train.json",
        "digits-resnet8/seed-1/curves.parquet",
    ],
)
def test_what_is_not_finished_is_refused(plan, name):
    (plan.folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{re.escape(name)} is missing.*: run make reproduce PROFILE=smoke"):
        publish.publish(plan)
    assert not (Path(plan.results) / "published").exists()


def test_a_profile_that_was_never_run_is_refused_and_leaves_no_trace(tmp_path):
    plan = profiles.load("smoke", results=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"90-report\.json is missing, so there is no report yet"):
        publish.publish(plan)
    assert list(tmp_path.iterdir()) == []


def test_a_report_older_than_its_tables_is_refused(plan):
    (plan.tables / "30-sign-auc.csv").write_text("other")
    with pytest.raises(ValueError, match=r"report\.html is not of the results that are there now: run make"):
        publish.publish(plan)


def test_of_seeds_that_the_report_has_not_only_the_trainings_are_published(plan):
    shutil.copytree(plan.runs[1].folder, plan.runs[1].folder.with_name("seed-2"))
    folder, *_ = publish.publish(replace(plan, seeds=(0, 1, 2, 3)))
    assert sorted(path.name for path in (folder / "digits-resnet8").iterdir()) == ["seed-0", "seed-1", "seed-2"]
    training = ["00-train.ipynb", "00-train.json", "checkpoint.safetensors", "training.parquet"]
    assert names(folder / "digits-resnet8/seed-2") == training


@pytest.mark.parametrize("seeds", [False, True], ids=["of-the-profile", "of-none"])
@pytest.mark.parametrize("own", [False, True], ids=["not-here", "trained-here-too"])
def test_measurements_whose_weights_are_left_out_are_not_replaced_by_a_report_without_them(plan, own, seeds):
    published = Path(plan.results, "published/smoke/digits-resnet8/seed-2")
    shutil.copytree(plan.runs[1].folder, published)
    references.refer(published / "checkpoint.safetensors")
    if own:
        shutil.copytree(plan.runs[1].folder, plan.runs[1].folder.with_name("seed-2"))
    what = "measure it here, too" if own else "take it up first .*MEASURED=.*"
    said = rf"^the weights of .* seed 2 .*: {what}.*, with seed 2 in SEEDS\), or delete .*/seed-2 to give it up$"
    with pytest.raises(ValueError, match=said):
        publish.publish(plan if seeds else replace(plan, seeds=(0, 1, 2)))
    assert references.weights(published / "checkpoint.safetensors") and (published / "curves.parquet").exists()


def test_of_a_training_nothing_is_published_where_weights_are_left_out(plan):
    shutil.copytree(plan.runs[1].folder, plan.runs[1].folder.with_name("seed-2"))
    references.refer(plan.runs[0].checkpoint)
    folder, *_ = publish.publish(replace(plan, seeds=(0, 1, 2)))
    assert sorted(path.name for path in (folder / "digits-resnet8").iterdir()) == ["seed-0", "seed-1"]


@pytest.mark.parametrize(
    "place",
    [
        *(paths.ROOT / "lib/study/measurements.py", paths.ROOT, Path.home() / "x.py"),
        Path(tempfile.gettempdir(), "ipykernel_17/236.py"),
    ],
    ids=str,
)
def test_a_notebook_that_names_a_place_on_this_machine_is_refused_by_name(plan, place):
    noisy = plan.runs[0].executed("10-measure")
    made_up.write_notebook(noisy, [made_up.code("1", made_up.stream(f"File {place}, line 3"))])
    with pytest.raises(ValueError, match=r"seed-0/10-measure\.ipynb names a place on this machine, '/.*, line 3"):
        publish.publish(plan)


def test_what_only_looks_like_a_place_is_not(plan):
    text = f"results{paths.ROOT} https://example.org{paths.ROOT}-2 {'A' * 300}{paths.ROOT}/{'B' * 300}"
    cell = made_up.code(
        "1", made_up.shown({"image/png": "A" * 300 + f"{paths.ROOT}/" + "B" * 300}), made_up.stream(text)
    )
    made_up.write_notebook(plan.runs[0].executed("10-measure"), [cell])
    publish.publish(plan)


def test_the_old_one_is_replaced_as_a_whole(plan):
    folder, *_ = publish.publish(plan)
    (folder / "tables/of-yore.csv").write_text("old")
    (folder / "report.md").write_text("old")
    assert publish.publish(plan)[0] == folder
    assert names(folder) == sorted([*expected("checkpoint.safetensors", "scores.parquet"), "SHA256SUMS"])
    assert (folder / "report.md").read_bytes() == (plan.folder / "report.md").read_bytes()


def test_a_copy_that_fails_leaves_the_old_one(plan, monkeypatch):
    folder, *_ = publish.publish(plan)
    (folder / "report.md").write_text("old")

    def full(source, target):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space left"):
            publish.publish(plan)
    assert (folder / "report.md").read_text() == "old"
    publish.publish(plan)
    assert (folder / "report.md").read_text() != "old"


def test_a_kill_between_old_and_new_loses_neither(plan, monkeypatch):
    folder, *_ = publish.publish(plan)
    folder.rename(plan.folder / ".published-before")
    monkeypatch.setattr(shutil, "copyfile", lambda source, target: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish.publish(plan)
    assert "SHA256SUMS" in names(folder)


def test_a_profile_that_is_being_run_is_refused(plan):
    with open(plan.folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="PROFILE=smoke is being run already"):
            publish.publish(plan)


def test_published_trainings_of_seeds_that_are_not_here_any_more_stay(plan, monkeypatch):
    monkeypatch.setattr(reuse, "require_fit", lambda *told: None)  # made up as they are
    for name in ("00-train.ipynb", "00-train.json", "training.parquet", "checkpoint.safetensors"):
        for seed in (3, 4):
            made_up_file = Path(plan.results) / f"published/smoke/digits-resnet8/seed-{seed}/{name}"
            made_up_file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(plan.folder / "digits-resnet8/seed-0" / name, made_up_file)
    (Path(plan.results) / "published/smoke/digits-resnet8/seed-4/10-measure.ipynb").write_text("of other code")
    folder, *_ = publish.publish(replace(plan, seeds=(0, 1, 2, 3, 4)))
    assert sorted(path.name for path in (folder / "digits-resnet8").iterdir()) == [f"seed-{n}" for n in (0, 1, 3, 4)]
    assert len(list((folder / "digits-resnet8/seed-4").iterdir())) == 4


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(paths.ROOT)
    words = ["--profile", "smoke", "--results", str(tmp_path)]
    assert publish.main(words) == 1
    out, error = capsys.readouterr()
    assert out == "" and error.count("\n") == 1 and "90-report.json is missing" in error
    made_up.finish(made_up.profile(tmp_path, (0,), profiles.load("smoke").notebooks))
    assert publish.main(words) == 0
    assert re.fullmatch(r"\S*published/smoke: 0\.\d\d MiB\n", capsys.readouterr().out)
    assert publish.main(["--profile", "nosuch"]) == 1
    assert "unknown profile 'nosuch': valid are smoke, " in capsys.readouterr().err


def test_the_smoke_profile_is_published_by_make(own_study):
    done = own_study.make("publish")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"results/published/smoke: [0-6]\.\d\d MiB\n", done.stdout)
    taken = profiles.load("smoke", results=own_study.root / "again", data=own_study.root / "data", device="cpu")
    both = [reuse.TRAIN, reuse.MEASURE]
    assert reuse.take(taken, own_study.root / "results/published/smoke", "MEASURED", *both) == [
        (taken.runs[0], notebook, reuse.DONE[notebook]) for notebook in both
    ]
    record = json.loads((own_study.root / "results/published/smoke/notebooks/90-report.json").read_text())
    assert record["parameters"]["profile"] == "smoke"
