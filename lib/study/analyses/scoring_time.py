"""What does a ranking cost? The time of each criterion alone.

Enters: a profile with a trained run. Leaves: a table with a row per criterion.
"""

import time
from collections.abc import Iterable

import pandas

from lib import importance
from lib.study import devices, loading, profiles, references, sampling

SCORED = 256  # examples, at most, on which the time of a criterion is taken


def seconds(plan: profiles.Profile, criteria: Iterable[str], *, examples: int = SCORED) -> pandas.DataFrame:
    """How long each criterion alone takes on the same examples of the first run with weights: the median of three."""
    run = references.with_weights(plan)[0]
    device = devices.pick(run.device)
    data, model = sampling.Data.of(run, device), loading.model(run, device)
    batches = data.batches(min(examples, len(data.train)), "random", seed=0, size=run.settings["measuring"]["batch"])
    rows = []
    for name in criteria:
        times = []
        for _ in range(3):
            started = time.perf_counter()
            importance.score(model, batches, [name])
            times.append(time.perf_counter() - started)
        rows.append({"criterion": name, "seconds": sorted(times)[1]})
    return pandas.DataFrame(rows)
