"""One, two and three processes under torch.distributed score, prune and fail as one does without it."""

import os
import subprocess
import sys

import in_ranks
import pytest
import torch

from lib.images import folders
from lib.scoring import ranks
from lib.study.paths import ROOT

COUNTS = (1, 2, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folders.write_digits(tmp_path_factory.mktemp("digits"), "test", 8, 70)


@pytest.fixture(scope="module")
def alone(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lib.scoring.batches.MINIBATCH", 32)
        return in_ranks.results(folder)


@pytest.fixture(scope="module")
def everything(folder, tmp_path_factory):
    """What each process found: how many they were -> a list. All in one go, as starting them takes the time."""
    output = tmp_path_factory.mktemp("found") / "found.pt"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(max(COUNTS))]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [*command, str(ROOT / "tests/in_ranks.py"), str(folder), str(output)]
    done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return torch.load(output, weights_only=False)


@pytest.fixture(params=COUNTS)
def found(request, everything):
    """What each of so many processes found."""
    return everything[request.param]


def flat(results):
    """name -> tensor, with the entries of dictionaries under names of their own."""
    return {
        f"{name}, {part}": values
        for name, found in results.items()
        for part, values in (found.items() if isinstance(found, dict) else [("", found)])
    }


def test_every_rank_returns_what_one_process_does_to_rounding(found, alone):
    expected = flat(alone)
    for results, *_ in found:
        mine = flat(results)
        assert mine.keys() == expected.keys()
        for name, values in expected.items():
            assert mine[name].shape == values.shape and values.abs().max() > 0
            assert (mine[name] - values).abs().max() <= 1e-11 * values.abs().max(), name


def test_all_ranks_return_the_same_bits(found):
    first, *others = (flat(results) for results, *_ in found)
    assert all(torch.equal(other[name], first[name]) for other in others for name in first)


def test_an_error_on_one_rank_is_one_on_all(found):
    count = len(found)
    for rank, (_, said, *_) in enumerate(found):
        other = f"rank 1 of {count}: " if count > 1 and rank != 1 else ""
        kind = "RuntimeError" if other else "KeyError"
        assert said == {
            "labels out of range": f"ValueError: {other}" + said["labels out of range"].split(": ")[-1],
            "labels missing": f"ValueError: {other}criterion sq needs labels, but a batch comes without them",
            "not finite": "ValueError: sq:rand: logits or scores are not finite; check the model's weights and its "
            "inputs",
            "activations not finite": "ValueError: apoz: logits or scores are not finite; check the model's weights "
            "and its inputs",
            "no examples": "ValueError: there are no examples: `batches` is empty",
            "curve without labels": f"ValueError: {other}accuracy takes labels, but the batches have none",
            "another kind": f"{kind}: {other}'a key'",
        }  # fmt: skip
        assert "whole numbers from 0 to 9, one per image" in said["labels out of range"]


def test_all_ranks_compute_in_the_precision_that_the_first_one_chooses(found):
    for rank, (*_, (chosen, said)) in enumerate(found):
        assert chosen == 3 * [("bfloat16", "bfloat16")]
        other = f"rank 0 of {len(found)}: " if rank else ""
        assert said == f"ValueError: {other}criterion abs needs labels, but a batch comes without them"


def test_each_image_is_decoded_once_but_for_the_example_that_all_share(found):
    read, count = [read for _, _, read, _ in found], len(found)
    assert read == {1: [70], 2: [33, 39], 3: [33, 33, 7]}[count]  # minibatches of 32, 32 and 6


@pytest.mark.parametrize(("size", "count", "whole"), [(0, 3, 32), (1, 2, 1), (70, 3, 32), (75, 2, 32), (100, 7, 1)])
def test_shares_are_everything_once_in_order_and_alike(size, count, whole):
    parts = [ranks.bounds(size, rank, count, whole) for rank in range(count)]
    assert [number for start, end in parts for number in range(start, end)] == list(range(size))
    runs = [-(-(end - start) // whole) for start, end in parts]
    assert max(runs) - min(runs) <= 1
    assert all(start % whole == 0 for start, _ in parts if start < size)


def test_one_process_has_everything_at_no_cost():
    batches, values = [(torch.ones(2), None)], torch.ones(3)
    assert ranks.place() == (0, 1) and next(iter(ranks.mine(batches, 32))) is batches[0]
    assert ranks.total(values) is values
    with pytest.raises(KeyError, match="as it is"), ranks.together():
        raise KeyError("as it is")
