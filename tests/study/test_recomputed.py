"""What an outsider makes of the measured files is what the tables and the sentences of the report say."""

import json
import re
import shutil
from dataclasses import replace

import numpy
import outsider
import pandas
import pytest

from lib.study import claims, measurements, profiles, records, repairs
from lib.study.analyses import given_back, leaderboards

NUMBERS = ["effect", "low", "high", "p", "blocks", "ahead", "p_holm", "other_effect"]
WORDS = ["verdict", "other_verdict", "close"]


def same(found, expected):
    """A claims table of ours and an outsider's."""
    assert found["claim"].tolist() == expected.index.tolist()
    found = found.set_index("claim")
    for name in NUMBERS:
        assert found[name].tolist() == pytest.approx(expected[name].astype(float).tolist(), nan_ok=True), name
    for name in WORDS:
        assert found[name].fillna("").tolist() == expected[name].fillna("").tolist(), name


def same_parts(found, other):
    """The parts of every claim: by number over all pairs, and by pair over all numbers."""
    seen = 0
    for claim, rows in found.groupby("claim"):
        table = other.table(claim)
        by_number, by_pair = (table.T.groupby(level=level).mean().mean(axis=1) for level in (1, 0))
        for row in rows.itertuples():
            expected = by_pair[row.pair] if isinstance(row.pair, str) and row.pair else by_number[row.examples]
            assert row.effect == pytest.approx(expected), (claim, row)
            seen += 1
    assert seen == len(found) > 0


@pytest.fixture(scope="module")
def smoke(study):
    return outsider.Outsider(study.smoke)


def test_claims_and_their_parts_are_those_of_the_measured_files(study, smoke):
    tables = study.smoke / "tables"
    same(pandas.read_csv(tables / "90-report-claims.csv"), smoke.claims())
    same_parts(pandas.read_csv(tables / "90-report-parts.csv"), smoke)


@pytest.mark.parametrize(("name", "labels"), [("60-rivals-leaderboard", False), ("90-report-labelled", True)])
def test_leaderboards_are_those_of_the_measured_files(study, smoke, name, labels):
    table, board = pandas.read_csv(study.smoke / f"tables/{name}.csv"), smoke.leaderboard(labels=labels)
    assert set(table["criterion"]) == set(board.index) and len(board) > 5
    means = table.groupby("criterion")["auc_relative"].mean()
    assert means.to_dict() == pytest.approx(board["auc"].to_dict())
    if not labels:
        assert table["auc_relative"].is_monotonic_decreasing and table["used"].tolist() == [
            board["used"][criterion] for criterion in table["criterion"]
        ]


def section(study, heading):
    report = (study.smoke / "report.md").read_text()
    return re.search(rf"^## {heading}\n(.*?)^## ", report, re.MULTILINE | re.DOTALL)[1]


def beside(lead):
    """How it is said that a criterion has so much more relative auc than the recommended one, in the one network."""
    if abs(lead) < 0.0005:
        return "level with it"
    return f"{'ahead of it' if lead > 0 else 'behind it'} by {abs(lead):.3f}, in 1 of 1 network"


def test_the_sentences_about_criteria_have_the_numbers_of_the_measured_files(study, smoke):
    own, said = "sq:rand:norm", section(study, r"Which label-free criterion\?")
    free, labelled = (smoke.leaderboard(labels=labels)["auc"] for labels in (False, True))
    ahead, best = (free > free[own]).sum(), free.index[0]
    place = f"`{own}` is number {ahead + 1} of {len(free)} criteria that need no labels**; the best, `{best}`, is "
    place += beside(free[best] - free[own])
    assert (place if ahead else f"`{own}` is the best of {len(free)} criteria that need no labels") in said
    weights = free[[name for name in free.index if name.split(":")[0] in outsider.WEIGHTS and "random" not in name]]
    by_weights = f"The best of {len(weights)} that look at weights alone, `{weights.index[0]}`, is "
    assert by_weights + beside(weights.iloc[0] - free[own]) in said
    by_labels = f"the best of {len(labelled)} criteria with labels, `{labelled.index[0]}`, is "
    assert by_labels + beside(labelled.iloc[0] - free[own]) in section(study, "The best label-free criteria")
    here = smoke.values[(smoke.values["criterion"] == own) & (smoke.values["sample"] == "random")]
    kept = here[here["examples"] == max(smoke.numbers("ablations"))]
    left = [f"{100 * kept[f'kept_{share}'].mean():.0f}" for share in (10, 25, 50)]
    shares = f"a network keeps {left[0]}, {left[1]} and {left[2]} % of its accuracy"
    assert shares in section(study, "The curves in short")


def test_the_answer_and_its_table_have_the_numbers_of_the_measured_files(study, smoke):
    said, free = section(study, "The answer"), smoke.leaderboard(labels=False)["auc"]
    said = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", said)  # without its links
    kept = f"they keep {100 * free['sq:rand:norm']:.0f} % of the whole network's accuracy, and "
    assert f"{kept}`l2` {100 * free['l2']:.0f} %" in said
    verdicts = smoke.claims()
    for claim in ("C1", "C3", "C6"):
        effect, ahead, blocks = verdicts.loc[claim, ["effect", "ahead", "blocks"]]
        shown = f"{effect:+.3f}" if round(effect, 3) else "0.000"
        row = re.search(rf"^\| {claim} \|.*$", said, re.MULTILINE)[0]
        assert re.search(r"\| ○ open: too few networks[^|]* \| [^|]* \| [^|]* \|$", row)
        assert row.endswith(f" | {shown} | {ahead} of {blocks} |")


def test_the_table_that_the_readme_quotes_has_the_numbers_of_the_measured_files(study, smoke):
    table = pandas.read_csv(study.smoke / "tables/90-report-curves-numbers.csv").set_index("criterion")
    assert list(table.index) == ["sq:rand:norm", "sq:norm", "taylorfo", "l2", "random"]
    tested = json.loads((study.smoke / "digits-resnet8/seed-0/10-measure.json").read_text())["settings"]["measuring"]
    assert tested["test_images"] == "all" and set(table["test_images"]) == {450}
    for criterion, row in table.iterrows():
        here = smoke.values[(smoke.values["criterion"] == criterion) & (smoke.values["sample"] == "random")]
        here = here[here["examples"].isin([0, row["examples"]])]
        assert row["auc_relative"] == pytest.approx(here["auc"].mean())
        assert row["accuracy_25pct"] / row["accuracy_unpruned"] == pytest.approx(here["kept_25"].mean())
        points = smoke.points[(smoke.points["criterion"] == criterion) & (smoke.points["sample"] == "random")]
        points = points[
            points["examples"].isin([0, row["examples"]]) & ((points["draw"] == 0) | (criterion == "random"))
        ]
        errors = [outsider.standard_error(curve, 450) for _, curve in points.groupby("draw")]
        assert row["standard_error"] == pytest.approx(numpy.mean(errors), rel=0.1)
    shown = section(study, "The curves in short")
    assert "on 450 test images, with 95 % intervals" in shown
    (line,) = re.findall(r"^\| digits \| resnet8 \| .*`sq:rand:norm`.*$", shown, re.MULTILINE)
    assert f"| {table.loc['sq:rand:norm', 'auc_relative']:.3f} |" in line and "| 450 |" in line


@pytest.fixture(scope="module")
def several(study, tmp_path_factory):
    """The profile with six networks, whose accuracies are those measured with noise; tables as notebooks leave them."""
    results = tmp_path_factory.mktemp("several")
    plan = profiles.load("smoke", range(6), results=results)
    plan = replace(plan, notebooks=tuple(name for name in plan.notebooks if name != "80-cost"))
    (measured,) = (study.smoke / "digits-resnet8").glob("seed-0")
    for run in plan.runs:
        run.folder.mkdir(parents=True)
        random = numpy.random.default_rng(run.seed)
        for path in (run.curves, run.repaired):
            curves = pandas.read_parquet(measured / path.name).assign(seed=run.seed)
            for name in [name for name in curves if name.startswith("accuracy")]:
                curves[name] = (curves[name] + random.normal(0, 0.1, len(curves))).clip(0.05, 1)
            curves.to_parquet(path)
        shutil.copy(measured / "10-measure.json", run.record("10-measure"))
        for path in (run.checkpoint, run.finetuning):
            path.touch()  # only read where they are asked for
    for notebook in ("15-replication", "40-label-scarcity", "50-gradient-source", "60-rivals"):
        summary = measurements.summaries(measurements.curves(plan, notebook))
        records.save_table(summary, plan.tables / f"{notebook}-summary.csv")
    tail = measurements.summaries(measurements.curves(plan, "20-normalization", long_tailed=True))
    records.save_table(tail, plan.tables / "20-normalization-tail.csv")
    repaired, plain = measurements.summaries(repairs.read(plan)), measurements.curves(plan, "65-repair")
    records.save_table(repaired, plan.tables / "65-repair-summary.csv")
    shares = given_back.shares(given_back.both(measurements.summaries(plain), repaired))
    records.save_table(shares, plan.tables / "65-repair-given-back.csv")
    return plan


def test_intervals_tests_and_verdicts_over_several_networks_are_an_outsiders_too(several):
    other = outsider.Outsider(several.folder)
    expected = other.claims([*outsider.PAIRS, "C11"])
    same(claims.verdicts(several), expected)
    assert set(expected["verdict"]) >= {"supported", "open"} and expected["p"].nunique() > 2
    same_parts(claims.parts(several), other)
    rows = claims.secondary(several)
    for claim, part in rows[rows["part"] == "contrast"].groupby("claim"):
        table = other.table(claim)
        for row in part.itertuples():
            assert row.effect == pytest.approx(table[row.label, row.examples].mean())
            assert row.p == pytest.approx(outsider.signed_rank(table[row.label, row.examples].round(12).to_numpy()))


def test_the_leaderboard_of_several_networks_is_an_outsiders_too(several):
    best = measurements.summaries(leaderboards.label_free(several, measurements.curves(several, "60-rivals")))
    board = leaderboards.leaderboard(best).set_index("criterion")["auc_relative"]
    expected = outsider.Outsider(several.folder).leaderboard(labels=False)["auc"]
    assert list(board.index) == list(expected.index)
    assert board.to_numpy() == pytest.approx(expected.to_numpy())


def test_a_criterion_has_one_value_in_every_table_without_repair(several):
    found = {}
    for path in set(several.tables.glob("*-summary.csv")) - {several.tables / "65-repair-summary.csv"}:
        table = pandas.read_csv(path)
        table = table[table["sample"] == "random"]
        keys = ["seed", "criterion", "examples", "used"]
        for key, value in table.groupby(keys)["auc_relative"].mean().round(9).items():
            found.setdefault(key, set()).add(value)
    assert len(found) > 100 and {len(values) for values in found.values()} == {1}
