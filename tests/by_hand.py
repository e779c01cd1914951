"""Small tidy tables, made by hand."""

import numpy
import pandas

BLOCK = {"dataset": "digits", "network": "resnet8", "seed": 0}


def rows(columns, *values, **more):
    """A table of one run with these columns, a row per tuple; `more` are columns alike in all rows."""
    return pandas.DataFrame(values, columns=columns.split()).assign(**BLOCK | {"draw": 0, "sample": "random"} | more)


def curve(accuracy, macs, **more):
    """A pruning curve of a hundred units up to half of them; `more` are columns of other values."""
    pruned = numpy.linspace(0, 50, len(accuracy)).astype(int)
    cell = {"criterion": "sq", "examples": 10, "used": 10, "units": 100, "joint": 1.0, "emptied": 0}
    return rows("pruned accuracy macs", *zip(pruned, accuracy, macs, strict=True), **cell | more)


def panels(rows, **more):
    """The same rows for two networks."""
    both = [pandas.DataFrame(rows).assign(dataset="digits", network=network, **more) for network in ("a", "b")]
    return pandas.concat(both, ignore_index=True)
