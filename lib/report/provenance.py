"""What was run on what, as the run records tell it, and whether it belongs together.

Enters: a profile with run records and training logs. Leaves: a table with a row per run, and one of what else differs
between them; an error where they are not fit for one report; what a notebook's times are of, in words.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import pandas

from lib.report import results
from lib.report.words import listed
from lib.study import profiles
from lib.study.analyses import tested
from lib.study.columns import read_own
from lib.study.records import devices_of

SERVERS = re.compile(r"\b(EPYC|Xeon)\b")  # as processors of servers call themselves
FIELDS = ("parameters", "settings", "code", "git", "versions", "lock", "device", "threads", "begun", "seconds")


def runs(profile: profiles.Profile) -> pandas.DataFrame:
    """What was run on what: one row per run, from its records and training log.

    Columns: dataset, network, seed, trained_by, accuracy (test, nothing pruned), test_images (that its curves are on),
    epochs (0 where others trained), device, torch, training_seconds, measuring_seconds, peak_memory_mb (the larger of
    the two), commit ("+": with changes not committed; of all code that measured, and of that which checked it where it
    took up what others measured). Raises FileNotFoundError naming what is missing.
    """
    rows = []
    for run in profile.runs:
        trained, measured = (read_record(run.record(notebook)) for notebook in results.PER_RUN)
        row = {"dataset": run.dataset, "network": run.network, "seed": run.seed, "trained_by": _trainer(trained)}
        row["accuracy"] = trained["accuracy"]
        log = read_own(run, results.there(run.training))  # its times count where a training was interrupted, too
        row |= {"test_images": tested.images(run), "epochs": int(log["epoch"].max())}
        row |= {"device": _devices(measured), "torch": measured["versions"]["torch"]}
        before = sum(told["seconds"] for told in measured.get("taken_up", ()))
        row |= {"training_seconds": log["seconds"].sum(), "measuring_seconds": measured["seconds"] + before}
        peak = max(trained["peak_memory_mb"], measured["peak_memory_mb"])
        rows.append(row | {"peak_memory_mb": peak, "commit": _commit(measured)})
    return pandas.DataFrame(rows)


def check_consistent(profile: profiles.Profile) -> pandas.DataFrame:
    """Refuses to report on runs that do not belong together, and returns in what else they differ: field, value, runs.

    Raises ValueError, one line, where runs differ in code or, on one data set, in data or settings, where a checkpoint
    was measured that is not the one trained, and where an ablation covers other seeds than the profile.
    """
    records = {
        notebook: {run: read_record(run.record(notebook)) for run in profile.runs} for notebook in results.PER_RUN
    }
    for notebook, of_runs in records.items():
        _require_one(profile, f"code of {notebook}", {run.label: record["code"] for run, record in of_runs.items()})
        for dataset in profile.grid:
            here = {run.label: record for run, record in of_runs.items() if run.dataset == dataset}
            _require_one(profile, f"data of {notebook}", {label: record["data"] for label, record in here.items()})
            section = results.PER_RUN[notebook]
            settings = {
                run.label: record["settings"][section]
                for run, record in of_runs.items()
                if run.dataset == dataset
                and not (run.is_given and section == "training")  # each has weights of its own
            }
            _require_one(profile, f"settings of {notebook}", settings)
    for run in profile.runs:
        trained, measured = (of_runs[run]["checkpoint"] for of_runs in records.values())
        _require_one(profile, "checkpoint", {f"{run.label} as trained": trained, "as measured": measured})
    for notebook in profile.notebooks:
        seeds = read_record(profile.record(notebook))["parameters"]["seeds"]
        _require_one(profile, "seeds", {"the report": list(profile.seeds), notebook: seeds})
    return _differences(records)


def read_record(path: Path) -> dict:
    """The fields of a run record. Raises FileNotFoundError where it is missing, ValueError where it is damaged."""
    try:
        record = json.loads(results.there(path).read_text())
        return record | {field: record[field] for field in FIELDS}
    except (ValueError, KeyError, TypeError) as error:
        problem = f"{path} is no whole record ({type(error).__name__}: {error})"
        raise ValueError(f"{problem}: delete it and the notebook beside it, then run make again") from error


def machine(record: Mapping) -> str:
    """What a record's notebook computed on, for those who do not know the machine: "one core of a server processor (AMD
    EPYC)", "a GPU (NVIDIA H200)"."""
    return " and ".join(in_words(name, record["device"]["type"], record["threads"]) for name in devices_of(record))


def machines(plans: Sequence[profiles.Profile], notebook: str) -> str:
    """`machine`, of a notebook of several profiles, leaving out those that do not run it; "" where none does."""
    told = [machine(read_record(plan.record(notebook))) for plan in plans if notebook in plan.notebooks]
    return listed(dict.fromkeys(told)) if told else ""


def in_words(name: str, kind: str, threads: int) -> str:
    """A processor or GPU as `machine` says it. Arguments: kind: torch's type of it, "cpu" or "cuda"."""
    name = re.sub(r"\((R|TM|tm)\)", "", name).strip()
    if kind != "cpu":
        return f"a GPU ({name})"
    cores = "one core" if threads == 1 else f"{threads} cores"
    return f"{cores} of a {'server ' if SERVERS.search(name) else ''}processor ({name})"


def _require_one(profile: profiles.Profile, what: str, values: Mapping[str, object]) -> None:
    alike = _grouped(values)
    if len(alike) > 1:
        sides = " against ".join(", ".join(labels) for labels in alike.values())
        remedy = f"make reproduce PROFILE={profile.name} runs again what is out of date"
        raise ValueError(f"{profile.folder}: {sides} differ in the {what}: {remedy}")


def _grouped(values: Mapping[str, object]) -> dict[str, list[str]]:
    alike = {}
    for label, value in values.items():
        alike.setdefault(value if isinstance(value, str) else json.dumps(value, sort_keys=True), []).append(label)
    return alike


def _differences(records: Mapping[str, Mapping[profiles.Run, Mapping]]) -> pandas.DataFrame:
    fields: dict[str, Callable[[Mapping], object]] = {
        "device": _devices,
        "python": lambda record: record["versions"]["python"],
        "torch": lambda record: record["versions"]["torch"],
        "torchvision": lambda record: record["versions"]["torchvision"],
        "numpy": lambda record: record["versions"]["numpy"],
        "lock": lambda record: record["lock"][:7],
        "threads": lambda record: record["threads"],
        "commit": _commit,
    }
    rows = []
    labelled = {f"{run.label} {name}": record for name, of_runs in records.items() for run, record in of_runs.items()}
    for name, read in fields.items():
        alike = _grouped({label: read(record) for label, record in labelled.items()})
        if len(alike) > 1:
            rows += [{"field": name, "value": value, "runs": ", ".join(labels)} for value, labels in alike.items()]
    return pandas.DataFrame(rows, columns=["field", "value", "runs"])


def _trainer(record: Mapping) -> str:
    given = record.get("given")
    return f"{given['source']} ({given['licence']})" if given else "this study"


def _devices(record: Mapping) -> str:
    """What was computed on, that of what was taken up first."""
    each = [told.get("devices", ()) for told in record.get("taken_up", ())] + [devices_of(record)]
    return ", ".join(dict.fromkeys(chain(*each)))


def _commit(record: Mapping) -> str:
    """Of the code that measured; where others measured before, whose results it checked and took up, all of them."""
    *others, own = [_short(told["git"]) for told in (*record.get("taken_up", ()), record)]
    return f"{', '.join(dict.fromkeys(others))}, checked and completed by {own}" if others else own


def _short(git: Mapping | None) -> str:
    return git["commit"][:7] + ("+" if git["dirty"] else "") if git else "none"
