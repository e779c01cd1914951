"""benchmark.measuring measures what it says it does, and the peers that it times find what this study's code finds."""

import itertools
import json
import math
import subprocess
from importlib.metadata import version

import pandas
import pytest
import torch
from awkward import randomised

from lib import importance, pruning
from lib.benchmark import measuring, peers
from lib.benchmark.measuring import Effort, measure, peak, shares
from lib.images import networks


@pytest.fixture
def small():
    model = randomised(networks.build("resnet8", 10))
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return model, images, torch.arange(8)


# ---- peers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hooks and loss.backward()", "captum"])
def test_peers_find_what_scoring_finds(name, small):
    if name == "captum":
        pytest.importorskip("captum", reason="captum is of the bench extra")
    model, images, labels = small
    expected = importance.score(model, [(images, labels)], ["taylorfo"])["taylorfo"]
    for _ in range(2):
        found = peers.PEERS[name](model, images, labels)()
        torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-5 * expected.max().item())
    assert not any(module._forward_hooks for module in model.modules())


def test_torch_pruning_rates_every_group(small):
    model, images, labels = small
    scores = peers.torch_pruning(model, images, labels)()
    assert len(scores) == 16 + 16 + 32 + 32 + 64 + 64  # channels that a stream ties together count once
    assert scores.isfinite().all() and (scores > 0).any()


def test_a_missing_peer_is_left_out_with_a_message(small, monkeypatch, capsys):
    model, images, labels = small

    def missing(*_):
        raise ImportError("No module named 'captum'")

    monkeypatch.setitem(peers.PEERS, "captum", missing)
    calls = measuring._peers(model, [(images, labels)])
    assert list(calls) == ["hooks and loss.backward()", "torch-pruning"]
    assert "captum is left out: it is not installed (" in capsys.readouterr().err


# ---- measuring ----------------------------------------------------------------------------------------------------


def test_medians_and_quartiles_of_turns_by_hand(monkeypatch):
    # one round that does not count, then three: the yardstick takes 2, 4, 8 s; the other 1, 4, 2 s of half the work
    clock = itertools.accumulate([0, 9, 0, 9, *(0, 1, 0, 2), *(0, 4, 0, 4), *(0, 2, 0, 8)])
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: next(clock))
    order = []
    calls = {"yardstick": lambda: order.append("yardstick"), "other": lambda: order.append("other")}
    table = measure(calls, Effort(rounds=3), times={"other": 2})
    assert order == ["yardstick", "other", "other", "yardstick"] * 2  # each comes first as often
    assert table["task"].tolist() == ["yardstick", "other"]
    assert table["seconds"].tolist() == [4, 4] and table["share"].tolist() == [1, 1]  # 1, 2 and 0.5 of the yardstick
    assert table["seconds_low"].tolist() == [3, 3] and table["share_low"].tolist() == [1, 0.75]
    assert table["seconds_high"].tolist() == [6, 6] and table["share_high"].tolist() == [1, 1.5]


def test_peak_memory_is_that_of_tensors_that_live_at_once():
    def call():
        first = torch.ones(2**20)  # 4 MB
        first = first + 1  # both for a while
        del first
        torch.ones(2**19)

    assert peak(call, []) == pytest.approx(8, abs=0.1)


def test_what_is_there_before_does_not_count():
    there = torch.ones(2**20)  # 4 MB, which the view below shares
    assert peak(lambda: there.view(2, -1)[0].add_(1), [there, there[:5]]) == 0
    assert peak(lambda: there + 1, [there]) == 4


def test_scoring_takes_no_more_memory_than_a_plain_pass_and_the_same_for_more(small):
    model, images, labels = small
    images, labels = images.repeat(8, 1, 2, 2), labels.repeat(8)  # two minibatches
    there = [*model.parameters(), *model.buffers(), images, labels]
    plain = peak(lambda: peers.plain_pass(model, images, labels), there)
    model.zero_grad(set_to_none=True)

    def scoring(count, criteria):
        return peak(lambda: importance.score(model, [(images, labels)] * count, criteria), there)

    one = scoring(1, ["sq"])
    assert one <= plain
    assert scoring(4, ["sq"]) == pytest.approx(one, rel=0.02)
    assert scoring(1, measuring.SETS["one cotangent"]) == pytest.approx(one, rel=0.05)


def test_the_masked_curve_and_the_fast_one_do_the_same_work(small, monkeypatch):
    model, images, labels = small
    order, seen = torch.arange(336), []
    monkeypatch.setattr(measuring.pruning, "masked", lambda model, order, k, layers: seen.append(k) or torch.no_grad())
    measuring._masked_curve(model, order, [], images, 5)
    assert seen == pruning.steps(336, 5)
    assert len(pruning.curve(model, order, images, labels, 5)) == 5


def test_quick_memory_comes_as_a_table(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(measuring, "BATCH", 2)
    monkeypatch.setattr(measuring, "_weights", lambda network: "random")
    words = ["--quick", "--threads", "1", "--device", "cpu", "--only", "memory"]
    assert measuring.main([*words, "--folder", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["memory.csv"]  # nothing to draw
    table = pandas.read_csv(tmp_path / "memory.csv")
    assert set(table["device"]) == {"cpu"} and set(table["threads"]) == {1}
    assert set(table["torch"]) == {version("torch")} and {"date", "commit"} <= set(table)
    assert "memory" in capsys.readouterr().out


def test_shares_name_tasks_with_their_numbers_of_criteria(tmp_path):
    columns = {"network": "resnet20", "share": [1.0, 0.5], "share_low": [1, 0.4], "share_high": [1, 0.6]}
    scoring = pandas.DataFrame({"task": ["plain pass", "one cotangent"], "criteria": [0, 8], **columns})
    scoring.to_csv(tmp_path / "scoring.csv", index=False)
    pandas.DataFrame({"task": ["a", "b"], **columns}).to_csv(tmp_path / "curves.csv", index=False)
    pandas.DataFrame({"task": ["a"], "peak_mb": [1.0]}).to_csv(tmp_path / "memory.csv", index=False)
    found = shares(tmp_path)
    assert json.loads(found[["benchmark", "task"]].to_json(orient="values")) == [
        ["scoring", "plain pass"], ["scoring", "one cotangent (8)"], ["curves", "a"], ["curves", "b"],
    ]  # fmt: skip
    measuring._sum_up(tmp_path)
    assert (tmp_path / "shares.png").stat().st_size > 1000 and (tmp_path / "shares.svg").exists()


def test_targets_stand_beside_what_they_are_for():
    table = pandas.DataFrame(
        {"network": ["resnet20", "resnet20", "vgg19"], "task": ["plain pass", *["one cotangent"] * 2]}
    )
    found = measuring.with_targets("scoring", table)["target"]
    assert found.isna().tolist() == [True, False, False] and found[1:].tolist() == [0.65, 0.55]
    memory = pandas.DataFrame({"network": "resnet18", "task": ["plain pass", "sq, 64 examples", "sq, 256 examples"]})
    assert measuring.with_targets("memory", memory)["target"][1:].tolist() == [1, 1]
    assert "target" not in measuring.with_targets("growth-images", table)
    assert set(measuring.TARGETS) <= set(measuring.BENCHMARKS)


# ---- growth -------------------------------------------------------------------------------------------------------


def test_exponents_by_hand():
    assert measuring.exponent([1, 10, 100], [2, 200, 20_000]) == pytest.approx(2)
    assert measuring.exponent([1, 2, 4], [8, 4, 2]) == pytest.approx(-1)
    assert math.isnan(measuring.exponent([1, 2], [1, 2]))  # any line fits two
    # logarithms 0, 1, 2 and 0, 0, 3 in units of log 2: the slope is (-1 x -1 + 1 x 2) / 2
    assert measuring.exponent([1, 2, 4], [1, 1, 8]) == pytest.approx(1.5)


def test_generated_images_depend_on_their_numbers_alone():
    whole = torch.cat([images for images, _, _ in measuring.Generated(70, pixels=4)])
    assert whole.shape == (70, 3, 4, 4) and len(whole.unique()) == whole.numel()
    shares = [measuring.Generated(70, pixels=4).share(rank, 2, 32) for rank in range(2)]
    assert [(share.start, share.end) for share in shares] == [(0, 32), (32, 70)]
    assert torch.equal(torch.cat([images for share in shares for images, _, _ in share]), whole)
    assert torch.cat([indices for _, _, indices in shares[1]]).tolist() == list(range(32, 70))
    assert len(measuring.Generated(70).first(3)) == 3


def test_three_sizes_have_an_exponent():
    table = pandas.DataFrame({"grows": "images", "series": "a", "size": [1, 2, 4], "seconds": [1, 2, 4], "peak_mb": 5})
    found = measuring._with_exponents(table)
    assert found["seconds_exponent"].tolist() == pytest.approx([1] * 3)
    assert found["peak_mb_exponent"].tolist() == pytest.approx([0] * 3)


def test_quick_growth_comes_without_exponents(monkeypatch, tmp_path):
    monkeypatch.setattr(measuring, "_weights", lambda network: "random")
    monkeypatch.setattr(measuring, "_scored_in_processes", lambda count, images, device: (8 / count, 5.0))
    names = ["growth-images", "growth-units", "growth-criteria", "growth-processes"]
    words = ["--quick", "--threads", "1", "--device", "cpu", "--folder", str(tmp_path), "--only", *names]
    assert measuring.main(words) == 0
    tables = {name: pandas.read_csv(tmp_path / f"{name}.csv") for name in names}
    for name, table in tables.items():
        assert set(table["grows"]) == {name.removeprefix("growth-")}
        assert (table["size"] == table[name.removeprefix("growth-")]).all()
        for _, part in table.groupby("series"):
            for what in ("seconds", "peak_mb"):
                expected = measuring.exponent(part["size"], part[what])
                assert part[f"{what}_exponent"].tolist() == pytest.approx([expected] * len(part), nan_ok=True)
    first, second = tables["growth-images"]["peak_mb"]
    assert second == pytest.approx(first, rel=0.03)  # whatever their number
    assert tables["growth-units"].groupby("series")["size"].apply(list).to_dict() == {
        "width": [84, 168], "depth": [336, 560],
    }  # fmt: skip
    assert all(table[["seconds_exponent", "peak_mb_exponent"]].isna().all(axis=None) for table in tables.values())
    assert shares(tmp_path).empty


def test_a_process_measures_its_own_part(tmp_path):
    with measuring._threads(1):
        measuring._score_as_one_of(0, 1, 8, "cpu", str(tmp_path))
    seconds, peak_mb = json.loads((tmp_path / "rank-0").read_text())
    weights = 0.3  # MB of ResNet-20 with 100 classes, at the very least
    assert seconds > 0 and peak_mb > weights


# ---- the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def one_table(monkeypatch):
    """A benchmark of two rows, one of which is wide."""
    found = {"network": "resnet20", "task": ["plain pass", "one cotangent"], "seconds": [1.0, 1.0]}
    found |= {"seconds_low": [1.0, 0.5], "seconds_high": [2.0, 1.1], "share": [1.0, 1.0], "batch": 64}
    monkeypatch.setitem(measuring.BENCHMARKS, "curves", lambda effort: pandas.DataFrame(found))
    return ["--quick", "--device", "cpu", "--only", "curves"]


@pytest.mark.parametrize(("load", "busy"), [(1.0, False), (1.1, True)])
def test_a_busy_machine_and_wide_quartiles_are_told(one_table, load, busy, monkeypatch, capsys):
    monkeypatch.setattr(measuring.os, "getloadavg", lambda: (load, 9.0, 9.0))
    monkeypatch.setattr(measuring.reproduce, "cores", lambda: 2)
    assert measuring.main(one_table) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line.startswith("The load average is 1.1 on 2 cores") for line in said] == [True, False][not busy :]
    assert said[-1].startswith("curves: in 1 of 2 rows the upper quartile of the seconds is over 2 times the lower")


def test_the_terminal_shows_main_columns_and_facts_once(one_table, capsys):
    assert measuring.main(one_table) == 0
    facts, _, name, header, *rows = capsys.readouterr().out.splitlines()
    assert ", device cpu, device_name " in facts and ", threads 2, torch " in facts and name == "curves"
    assert header.split() == [
        "network", "task", "seconds", "seconds_low", "seconds_high", "share",
    ] and len(rows) == 2  # fmt: skip


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--device", "gpu"], "unknown device 'gpu': valid are auto, cpu, cuda"),
        (["--threads", "0"], "THREADS='0' is not a whole number, 1 or more: write THREADS=2"),
    ],
)
def test_bad_input_is_one_line(words, line, capsys):
    assert measuring.main(["--quick", *words]) == 1
    assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize(("quick", "is_quick"), [("1", True), ("0", False), ("", False)])
def test_make_takes_zero_for_no(quick, is_quick):
    words = ["make", "--dry-run", "PYTHON=python3", "benchmark", f"QUICK={quick}", "THREADS=1"]
    said = subprocess.run(words, cwd=measuring.paths.ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in said.splitlines() if "lib.benchmark.measuring" in line]
    assert ("--quick" in line) == is_quick and '--threads="$THREADS"' in line
