"""Notebooks that tests write, and what running says."""

import json

import nbformat

PARAMETERS = "seed = 0\nname = 'digits'\nrate = 0.5\nflip = False\nseeds = None"
NOTHING_TO_DO = "14 of 14 notebooks are there\nresults/smoke/report.html\n"


def write_notebook(path, *sources, tags=("parameters",)):
    cells = [nbformat.v4.new_code_cell(source, id=f"cell-{place}") for place, source in enumerate(sources)]
    if cells:
        cells[0].metadata["tags"] = list(tags)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def outputs(path):
    cells = json.loads(path.read_text())["cells"]
    return ["".join(output.get("text", [])) for cell in cells for output in cell.get("outputs", [])]
