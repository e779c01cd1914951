"""What was measured before, by other code: taken up where a sample of it, measured again, agrees.

Enters: a run in whose folder `reuse` has laid earlier tables: its own that are out of date, or those of others. Leaves:
the cells of them that today's plan asks for, the oracle's units and the fine-tuned networks, with what the record says
of them: which code measured them, and on how many cells today's code, which the record names anyway, was seen to find
the same. So an edit costs minutes, not hours, and nothing of unknown origin enters a report.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import pandas
import torch

from lib.study import consistency, finetuning, measurements, profiles, records, reuse, verification
from lib.study.columns import Cell, read_own


@dataclass(frozen=True)
class Earlier:
    """Tables of what was measured before and holds; empty ones of what must be measured.

    `told` is for the record: of each code that measured some of it code, git, begun, seconds, devices, cells (that were
    taken up from its record, whichever of these codes measured them) and how they were checked: how many criteria were
    scored again and which were not, of how many cells drawn from all, which were rescored, the curves evaluated, and
    whether a network was fine-tuned again.
    """

    curves: pandas.DataFrame = field(default_factory=pandas.DataFrame)
    scores: pandas.DataFrame = field(default_factory=pandas.DataFrame)
    oracle: pandas.DataFrame = field(default_factory=pandas.DataFrame)
    finetuning: pandas.DataFrame = field(default_factory=pandas.DataFrame)
    told: tuple[dict, ...] = ()

    def lacking(self, wanted: Sequence[Cell]) -> list[Cell]:
        """The cells of `wanted` that must be measured."""
        there = set(measurements.cells_of(self.curves)) if len(self.curves) else set()
        return [cell for cell in wanted if cell not in there]

    def completed(
        self, run: profiles.Run, wanted: Sequence[Cell], device: torch.device, *measured: pandas.DataFrame
    ) -> tuple[pandas.DataFrame, ...]:
        """Curves and scores with those that were `measured`, in the order in which all would have been."""
        groups = measurements.together(wanted, run.settings["measuring"], torch.device(device)).values()
        place = {cell: number for number, cell in enumerate(cell for here in groups for cell in here)}
        both = zip((self.curves, self.scores), measured, strict=True)
        return tuple(_in_order(pair, place) for pair in both)


def _in_order(tables: Sequence[pandas.DataFrame], place: dict[Cell, int]) -> pandas.DataFrame:
    table = measurements.joined(tables)
    order = numpy.argsort([place[cell] for cell in measurements.cells_of(table)], kind="stable")
    return table.iloc[order].reset_index(drop=True)


def found(
    run: profiles.Run, wanted: Sequence[Cell], device: torch.device | str, report: Callable[[str], object] = print
) -> Earlier:
    """What lies in the run's folder of earlier measurements and agrees with a sample measured again.

    Arguments:
        report: called with a line that says what was taken up, or why nothing was.

    Raises ValueError, one line, where the measurements of others do not fit or do not agree; one's own are then left
    alone, to be made anew.
    """
    own = not run.offered.is_dir()
    at = run.earlier if own else run.offered
    if not at.is_dir():
        return Earlier()
    try:
        checked = _checked(run, wanted, at, device)
    except ValueError as error:
        if own:
            report(f"everything is measured anew: {error}")
            return Earlier()
        raise ValueError(f"{error}: start again without MEASURED (CHECKPOINTS takes networks alone)") from error
    for told in checked.told[-1:]:
        report(f"{told['cells']} cells are there already, last by code {told['code'][:7]}; {told['rescored']} of them "
               f"scored again and the curves of {told['evaluated']} evaluated again agree")  # fmt: skip
    return checked


def _checked(run: profiles.Run, wanted: Sequence[Cell], at: Path, device: torch.device | str) -> Earlier:
    reuse.require_fit(run, reuse.MEASURE, at, "as is done now")
    record = reuse.read_record(at, reuse.MEASURE)
    tables = [read_own(run, at / path.name) for path in (run.curves, run.scores, run.oracle, run.finetuning)]
    curves, scores = _asked_for(wanted, *tables[:2])
    tuned = finetuning.asked_for(run, tables[3]) if _same_recipe(run, record) else tables[3][:0]
    whole = {"curves": curves, "scores": scores, "oracle": tables[2], "finetuning": tuned}
    if strange := consistency.odd(run, whole, verification.layers_of(run, device)):
        raise ValueError(f"tables in {at} are not what they should be: {'; '.join(strange)}")
    rows = list(verification.cells(run, curves, scores, device))
    criteria, slow, odd = verification.criteria(run, curves, scores, device)
    odd += [row["differs"] for row in rows if row["differs"]] + verification.units(run, tables[2], device)
    odd += finetuning.differing(run, tuned, device) if len(tuned) else []
    if odd:
        raise ValueError(f"{at / run.curves.name} does not come out again: {'; '.join(odd)}")
    told = {name: record.get(name) for name in ("code", "git", "begun", "seconds")}
    told |= {"devices": records.devices_of(record)}
    told |= {"cells": len(set(measurements.cells_of(curves[[*Cell._fields]].drop_duplicates())))}
    told |= {"criteria": len(criteria), "not_rescored": slow}
    told |= {"rescored": sum(row["rescored"] for row in rows), "evaluated": len(rows)}
    told |= {"retrained": int(finetuning.retrained(tuned))}
    return Earlier(curves, scores, tables[2], tuned, (*record.get("taken_up", ()), told))


def _same_recipe(run: profiles.Run, record: dict) -> bool:
    """Whether networks would be fine-tuned today as they were then."""
    then, now = record["settings"], run.settings
    alike = all(then["measuring"].get(name) == now["measuring"][name] for name in reuse.DECIDE["recipe"])
    return alike and then.get("training") == now["training"] and finetuning.NOTEBOOK in run.plan.notebooks


def _asked_for(wanted: Sequence[Cell], *tables: pandas.DataFrame) -> list[pandas.DataFrame]:
    """The rows of both tables of those cells of `wanted` that both have; scores in double precision."""
    cells = [measurements.cells_of(table) for table in tables]
    there = set(wanted).intersection(*cells)
    found = [table[[cell in there for cell in here]] for table, here in zip(tables, cells, strict=True)]
    return [found[0], found[1].astype({"score": "float64"})]
