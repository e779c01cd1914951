"""How fast scoring is, against a plain forward and backward pass of the same network.

    python -m lib.benchmark --rounds 5 --threads 2

Enters: names of networks. Leaves: results/benchmarks/scoring.csv, one row per network and task: the median over
interleaved rounds, with their spread, as a share of the plain pass; device and versions on each row.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas
import torch
from torch import nn
from torch.nn import functional

from lib import importance, networks, profiles, records

NETWORKS = {"resnet20": 32, "vgg19": 32, "resnet18": 96}  # name -> pixels of the images
_ONE = ["taylorfo", "abs", "sq", "molchanov-bn", "taylorfo:norm", "abs:norm", "sq:norm", "molchanov-bn:norm"]
TASKS = {  # name -> criteria scored in one call
    "one cotangent": _ONE,
    "label and random": _ONE + [f"{name.removesuffix(':norm')}:rand{':norm' * (':norm' in name)}" for name in _ONE],
    "molchanov-group": [f"molchanov-group{suffix}" for suffix in ("", ":norm", ":rand", ":rand:norm")],
}


def scoring(network: str, *, batch: int = 64, rounds: int = 5, device: str = "cpu") -> pandas.DataFrame:
    """Times of the plain pass and of every task on one batch of random images, one row each.

    Columns: network, task, batch, seconds (median over interleaved rounds, after one that does not count), low and high
    (extremes), share (median over rounds of the time relative to the plain pass of the same round).
    """
    model = networks.build(network, 100).to(device).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, NETWORKS[network], NETWORKS[network], generator=generator).to(device)
    labels = torch.randint(0, 100, (batch,), generator=generator).to(device)
    calls = {"plain pass": lambda: _plain_pass(model, images, labels)}
    for task, criteria in TASKS.items():
        calls[task] = lambda criteria=criteria: importance.score(model, [(images, labels)], criteria)
    times = [{task: _seconds(call, device) for task, call in calls.items()} for _ in range(rounds + 1)][1:]
    rows = []
    for task in calls:
        taken = [round_[task] for round_ in times]
        share = statistics.median(round_[task] / round_["plain pass"] for round_ in times)
        spread = {"seconds": statistics.median(taken), "low": min(taken), "high": max(taken), "share": share}
        rows.append({"network": network, "task": task, "batch": batch} | spread)
    return pandas.DataFrame(rows)


def _plain_pass(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    model.zero_grad(set_to_none=True)
    functional.cross_entropy(model(images), labels).backward()


def _seconds(call: Callable[[], object], device: str) -> float:
    started = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main(words: Iterable[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lib.benchmark", description="Time scoring.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    asked = parser.parse_args(words)
    torch.set_num_threads(asked.threads)
    device = profiles.device(asked.device).type
    tables = []
    for network in NETWORKS:
        tables.append(scoring(network, rounds=asked.rounds, device=device))
        print(tables[-1].round(3).to_string(index=False), flush=True)
    facts = {
        "device": device,
        "threads": asked.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    path = Path(profiles.from_here("results/benchmarks/scoring.csv"))
    records.save_table(pandas.concat(tables).assign(**facts), path)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
