"""Which networks can be scored, masked and shrunk, beside torch-pruning on the same ones.

    python -m lib.benchmark.coverage [--library torchvision timm] [--only NAME ...] [--folder results/benchmarks]

Enters: the names of classification networks of torchvision, and of timm where it is installed; weights are random.
Leaves: coverage.csv, a row per network, which reports, the README and docs/networks.md, filled anew, count by family.
Every network is tried in a process of its own, so that one that takes too much memory or time is a row, too; what is in
the table already, of the same code and versions, is not tried again, nor is torch-pruning, where versions are the same.
"""

import argparse
import hashlib
import importlib.util
import json
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas
import torch
from torch import nn

from lib import importance, pruning, repair, structure
from lib.benchmark.command import FOLDER, versions
from lib.images import sources
from lib.network import models
from lib.network.layers import can_narrow, widths
from lib.report import readme, supported
from lib.report.supported import LIBRARIES, OTHERWISE, PACKAGES
from lib.study import paths, records

CRITERION = "sq:rand:norm"
BUDGETS = (0.5, 0.3, 0.2, 0.1, 0.05)  # of the multiply-adds; the first that can be had
SIZES = (64, 96, 224, 256, 240, 299)  # in pixels; the first that a network takes
IMAGES = 2
OF_STATISTICS = 8  # images from which those of BatchNorm are estimated
CLASSES = 10
LONGEST = 900  # seconds for a network
OF_TIMM = [
    "resnet18",
    "convnext_atto",
    "convnextv2_atto",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "mixer_s32_224",
    "efficientformer_l1",
    "fastvit_t8",
    "nfnet_l0",
    "dm_nfnet_f0",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small",
    "efficientnet_b0",
    "tf_efficientnetv2_b0",
    "regnety_002",
    "resnest14d",
    "ghostnet_100",
    "levit_128s",
    "edgenext_xx_small",
    "mobilevit_s",
    "coat_tiny",
    "pit_ti_224",
    "poolformer_s12",
    "res2net50_26w_4s",
    "densenet121",
    "dla34",
    "hrnet_w18_small",
    "repvgg_a0",
    "vgg11_bn",
    "xception41",
]


def torchvision() -> list[str]:
    """The names of its classification networks."""
    from torchvision import models as theirs

    return theirs.list_models(module=theirs)


def attempt(name: str) -> dict[str, object]:
    """What can be done with a network of random weights, with the columns of coverage.csv; where something cannot, why,
    in one line."""
    torch.manual_seed(0)
    model, row = sources.build(name, CLASSES, sources.UNTRAINED), {"network": name}
    _make_unlike_new(model)
    row |= {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    images = _images(model)
    row["pixels"] = images.shape[-1]
    if repair.norms_of(model):  # by whose statistics what the image does to a new network fades away on its way
        with models.attempted():
            repair.reestimate(model, torch.randn(OF_STATISTICS, *images.shape[1:]))
    try:
        layers = importance.units(model, images[:1])
        scores = importance.score(model, [(images, None)], [CRITERION], seed=0)[CRITERION]
        row |= {"units": len(scores), "scored": "yes"}
    except (ValueError, RuntimeError) as error:
        return row | {"scored": models.first_line(error)}
    row["masked"] = _masked(model, layers, scores, images)
    return row | _shrunk(model, scores, images)


@torch.no_grad()
def _make_unlike_new(model: nn.Module) -> None:
    """Gives random values to what is all alike in a new network, such as the weights and biases of norms, layer scales
    and tables, by which mistakes would not show."""
    drawn = torch.Generator().manual_seed(0)
    for values in (*model.parameters(), *(value for value in model.buffers() if value.is_floating_point())):
        if values.numel() and values.min() == values.max():
            is_zero = values.flatten()[0] == 0
            new = torch.rand(values.shape, generator=drawn)
            values.copy_(0.4 * new - 0.2 if is_zero else new + 0.5)


def _images(model: nn.Module) -> torch.Tensor:
    for pixels in SIZES:
        images = torch.randn(IMAGES, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
        with models.attempted(), torch.no_grad():
            model(images)
            return images
    raise ValueError(f"it takes no images of {', '.join(map(str, SIZES))} pixels")


@torch.no_grad()
def _masked(model: nn.Module, layers, scores: torch.Tensor, images: torch.Tensor) -> str:
    """Whether half of the units off change the logits, and the network is as before afterwards."""
    before = model(images)
    with pruning.masked(model, pruning.order(scores), len(scores) // 2, layers):
        off = model(images)
    if models.alike(off, before):
        return "half of the units off change nothing"
    return "yes" if torch.equal(model(images), before) else "the network is another afterwards"


def _shrunk(model: nn.Module, scores: torch.Tensor, images: torch.Tensor) -> dict[str, object]:
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            traced = structure.trace(model, images[:1])
        plan = _first_plan(traced, scores)
        small = plan.apply(model)
    except (ValueError, RuntimeError) as error:
        return {"shrunk": models.first_line(error)}
    with torch.no_grad(), plan.masked(model):
        expected = model(images)
    with torch.no_grad():
        same = models.alike(small(images), expected)
    stays = (traced.groups < 0).double().mean().item()
    said = "; ".join(dict.fromkeys(str(one.message) for one in told if "all units of" in str(one.message)))
    return {"shrunk": "yes" if same else OTHERWISE, "without": plan.reached,
            "units_that_stay": stays, "said": said}  # fmt: skip


def _first_plan(traced: structure.Structure, scores: torch.Tensor):
    for budget in BUDGETS:
        try:
            return traced.plan(scores, budget=budget, of="macs")
        except ValueError as error:
            refused = error
    raise refused


def by_torch_pruning(name: str) -> dict[str, object]:
    """Whether its pruner takes half of the channels off a fresh network that then runs; whether it answers as with
    these channels off is not asked."""
    model = sources.build(name, CLASSES, sources.UNTRAINED)
    images = _images(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch_pruning import pruner

            last = [module for module in model.modules() if can_narrow(module) and widths(module)[0] == CLASSES]
            rate = pruner.importance.GroupMagnitudeImportance()
            made = pruner.MetaPruner(model, images[:1], rate, pruning_ratio=0.5, ignored_layers=last)
            before = sum(parameter.numel() for parameter in model.parameters())
            made.step()
            with torch.no_grad():
                logits = model(images)
    except Exception as error:  # whatever of its many parts meets what it does not know
        return {"torch_pruning": f"{type(error).__name__}: {models.first_line(error)}"[:120]}
    after = sum(parameter.numel() for parameter in model.parameters())
    if logits.shape != (len(images), CLASSES):
        return {"torch_pruning": "it takes logits off"}
    return {"torch_pruning": "yes" if after < before else "it takes nothing off"}


def main(words: Iterable[str] | None = None) -> int:
    """The command line; returns the exit status."""
    made = argparse.ArgumentParser(prog="python -m lib.benchmark.coverage", description=__doc__.splitlines()[0])
    made.add_argument("--library", nargs="+", choices=LIBRARIES, default=["torchvision"])
    made.add_argument("--only", nargs="+", metavar="NAME", help="these networks, timm's as timm:NAME")
    made.add_argument("--folder", type=Path, default=paths.from_here(FOLDER))
    made.add_argument("--one", help=argparse.SUPPRESS)
    made.add_argument("--ours-alone", action="store_true", help=argparse.SUPPRESS)
    asked = made.parse_args(words)
    if asked.one:
        for trial in (attempt, by_torch_pruning)[: 1 if asked.ours_alone else 2]:
            print(json.dumps(trial(asked.one)), flush=True)  # each as soon as it is done, lest the next take all memory
        return 0
    names = asked.only or [name for library in asked.library for name in _names(library)]
    if fault := _fault(names, asked.folder):
        made.error(fault)
    tried = _all(names, asked.folder / supported.FILE)
    if asked.folder == paths.from_here(FOLDER):
        readme.fill(paths.from_here("README.md"), paths.from_here("results/published"))
    print(supported.counted(tried).to_string(index=False))
    return 0


def _fault(names: Iterable[str], folder: Path) -> str:
    """Why these networks are not tried, if there is a reason."""
    if any(name.startswith("timm:") for name in names) and importlib.util.find_spec("timm") is None:
        return "timm is not installed: pip install timm, or leave its networks out"
    known = {name for library in LIBRARIES for name in _names(library)}
    others = [name for name in names if name not in known]
    if others and folder == paths.from_here(FOLDER):
        return f"{others[0]} is not among the networks that are counted there: give another --folder for it"
    return ""


def _names(library: str) -> list[str]:
    return torchvision() if library == "torchvision" else [f"timm:{name}" for name in OF_TIMM]


def _all(names: Iterable[str], path: Path) -> pandas.DataFrame:
    """The table with a row for each of `names`, saved after each."""
    installed, code = versions(PACKAGES), {"code": _code()}
    places = {name: place for place, name in enumerate(each for library in LIBRARIES for each in _names(library))}
    table = supported.read(path) if path.exists() else pandas.DataFrame(columns=["network", *installed, *code])
    for name in names:
        here = table[table["network"] == name]
        if len(here) and _has(here.iloc[0], installed | code):
            continue
        theirs = here.iloc[0].get("torch_pruning") if len(here) and _has(here.iloc[0], installed) else None
        theirs = None if pandas.isna(theirs) else theirs
        row = _in_a_process(name, theirs) | installed | code
        said = [f"{key}: {row.get(key, '–')}" for key in ("scored", "masked", "shrunk", "torch_pruning")]
        print(" | ".join([name, *said]), flush=True)
        table = pandas.concat([table[table["network"] != name], pandas.DataFrame([row])], ignore_index=True)
        table = table.sort_values("network", key=lambda column: column.map(places), kind="stable")
        records.save_table(table, path)
    return table


def _has(row: pandas.Series, values: Mapping[str, object]) -> bool:
    return all(row[key] == value for key, value in values.items())


def _code() -> str:
    """SHA-256 (hex, the first 12 digits) of the method's code."""
    digest = hashlib.sha256()
    for folder in ("network", "scoring", "masking", "shrinking", "."):
        for path in sorted((paths.ROOT / "lib" / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _in_a_process(name: str, theirs: str | None) -> dict[str, object]:
    """The row of a network; `theirs` is what torch-pruning does, where that is known."""
    words, fault = [sys.executable, "-W", "ignore", "-m", "lib.benchmark.coverage", "--one", name], ""
    words += [] if theirs is None else ["--ours-alone"]
    try:
        done = subprocess.run(words, cwd=paths.ROOT, capture_output=True, text=True, timeout=LONGEST)
        said = done.stdout
        if done.returncode:
            fault = f"ended with status {done.returncode}, as where memory is full"
            if done.returncode > 0 and done.stderr.strip():
                fault = done.stderr.strip().splitlines()[-1]
    except subprocess.TimeoutExpired as expired:
        said, fault = (expired.stdout or b"").decode(), f"not done in {LONGEST} seconds"
    found = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    found = found if theirs is None else [*(found or [{"scored": fault}]), {"torch_pruning": theirs}]
    faults = ({"scored": fault}, {"torch_pruning": fault})[len(found) :]
    return {"network": name} | {key: value for part in (*found, *faults[:1]) for key, value in part.items()}


if __name__ == "__main__":
    sys.exit(main())
