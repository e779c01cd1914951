"""A finished profile that nobody ran: executed notebooks, records, tables and figures, all tiny."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import pandas
from PIL import Image

from lib.report import document
from lib.report.blocks import Text
from lib.report.results import FRONT, PER_RUN
from lib.study import profiles

BEGUN = "2026-01-02T03:04:05+00:00"
VERDICT = {"kind": "difference", "effect": 0.1, "low": 0.05, "high": 0.15, "ahead": 2, "blocks": 3, "close": False}
TABLE = "| criterion | relative auc |\n| --- | ---: |\n| `sq:norm` | 0.912 |"


def profile(results: Path, seeds=(0, 1), notebooks=("15-replication", "30-sign")) -> profiles.Profile:
    """The smoke profile under `results`, everything but its report made up."""
    made = replace(profiles.load("smoke", seeds, results=results), notebooks=tuple(notebooks))
    for run in made.runs:
        for notebook in PER_RUN:
            write_notebook(run.executed(notebook), [markdown("# Run")])
            write_record(run.record(notebook), run_record(run, notebook))
        pandas.DataFrame({"epoch": [1, 2, 3], "seconds": 0.5}).to_parquet(run.training)
        pandas.DataFrame({"pruned": [0], "accuracy": [0.9]}).to_parquet(run.curves)
        for path in (run.oracle, run.repaired, run.silenced, run.finetuning):
            pandas.DataFrame({"accuracy": [0.9]}).to_parquet(path)
        run.checkpoint.write_bytes(b"weights" * 100)
        pandas.DataFrame({"criterion": "sq", "unit": [0, 1], "score": [0.1, 1 / 3]}).to_parquet(run.scores)
    for notebook in notebooks:
        write_ablation(made, notebook)
    return made


def finish(made: profiles.Profile) -> None:
    """Writes the report, and what 90-report itself leaves."""
    document.write(made, [Text("# What was found"), Text("## In short\n\nNothing was run.")])
    write_notebook(made.executed(FRONT), [markdown("# Report")])
    write_record(made.record(FRONT), ablation_record(made))


def write_ablation(made: profiles.Profile, notebook: str) -> None:
    """An executed notebook with everything in it that a report takes up or leaves out."""
    save_figure = f'style.save(figure, plan.figures, "{notebook}-curves")'
    save_table = f'records.save_table(table, plan.tables / "{notebook}-auc.csv")'
    cells = [
        markdown("# Does it *work*?\n\nFirst words.\n\nSome `code` in a sentence:"),
        code('profile = "smoke"', tags=["parameters"]),
        code(save_figure, stream("noise"), shown({"image/png": encoded(png()), "text/plain": "<Figure size 1x1>"})),
        markdown("## The table"),
        code(save_table, shown({"text/markdown": TABLE, "text/plain": "bare"}), shown({"text/plain": "bare text"})),
        markdown("## A *picture* that nobody saved"),
        code("figure", shown({"image/png": encoded(png((30, 20))), "text/plain": "<Figure size 2x2>"})),
    ]
    write_notebook(made.executed(notebook), cells)
    write_record(made.record(notebook), ablation_record(made))
    for folder in (made.tables, made.figures):
        folder.mkdir(parents=True, exist_ok=True)
    (made.tables / f"{notebook}-auc.csv").write_text("criterion,auc_relative\nsq:norm,0.9123\n")
    (made.figures / f"{notebook}-curves.png").write_bytes(png())
    (made.figures / f"{notebook}-curves.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")


def run_record(run: profiles.Run, notebook: str) -> dict:
    more = {"data": "d1", "checkpoint": f"c{run.seed}", "accuracy": 0.5 + run.seed / 10, "curves": 7}
    return common(run.parameters, run.settings) | more | {"seconds": 1.5 if notebook == "00-train" else 20.25}


def ablation_record(made: profiles.Profile) -> dict:
    return common(made.parameters, {"measuring": made.measuring})


def common(parameters: dict, settings: dict) -> dict:
    return {
        "parameters": parameters,
        "settings": settings,
        "code": "abc",
        "git": {"commit": "0123456789abcdef", "dirty": True},
        "versions": {"python": "3.11.7", "torch": "2.14.1", "torchvision": "0.29.1", "numpy": "2.4.6"},
        "lock": "fedcba9876543210",
        "device": {"type": "cpu", "name": "A Processor"},
        "threads": 1,
        "begun": BEGUN,
        "seconds": 2.0,
        "peak_memory_mb": 900.0,
    }


def change(path: Path, **fields) -> None:
    """Other values in a record."""
    write_record(path, json.loads(path.read_text()) | fields)


def write_record(path: Path, fields: dict) -> None:
    path.write_text(json.dumps(fields))


def write_notebook(path: Path, cells: list[dict]) -> None:
    times = {"start_time": "2026-01-02T03:04:05.678901+00:00", "end_time": "2026-01-02T03:04:09.1+00:00"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": cells, "metadata": {"papermill": times}, "nbformat": 4, "nbformat_minor": 5}))


def markdown(source: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": source.splitlines(keepends=True)}


def code(source: str, *outputs: dict, tags=()) -> dict:
    return {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source, "outputs": list(outputs)}


def stream(text: str) -> dict:
    return {"output_type": "stream", "name": "stdout", "text": [text]}


def shown(data: dict) -> dict:
    return {"output_type": "display_data", "metadata": {}, "data": data}


def png(size=(900, 300)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, "PNG")
    return buffer.getvalue()


def encoded(picture: bytes) -> str:
    return base64.encodebytes(picture).decode()
