"""Waiting for what another process does."""

import time
from collections.abc import Callable

import pytest


def until(condition: Callable[[], object], seconds: int = 120) -> None:
    """Returns when the condition holds; the test fails where so many seconds are not enough."""
    for _ in range(seconds * 20):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"{seconds} s were not enough")
