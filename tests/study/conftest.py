"""A run that nobody trained, for what is measured of one."""

import pytest


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose network has random weights."""
    from lib.images import networks  # imports torch
    from lib.network import saving
    from lib.study.profiles import Run

    run = Run("smoke", "digits", "resnet8", 0, "cpu", results=str(tmp_path_factory.mktemp("results")))
    saving.save(networks.build("resnet8", 10, 1, seed=0), run.checkpoint, {})
    return run
