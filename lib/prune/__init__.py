"""From a trained network to a smaller one that works, without labels: rank, shrink, repair, recover.

Enters: a network and unlabelled images (with labels, where there are some to fine-tune on or to test with). Leaves: a
`Pruned`: the smaller network, what went where, and how much of the whole one's answers it gives after every step. Read
`making`, which does it as `asking` has it: `ranking` scores units, `testing` says how well a network works, `searching`
finds budgets, `narrowing` shrinks in steps, with BatchNorms by `mending`, and `recovery` trains; `along` tells whoever
waits, and `keeping` keeps what a stopped run has found. `exporting` and `telling` leave files, and the command line is
`python -m lib.prune`, which `quickstart` runs on embedded images.
"""

__all__ = ["Pruned", "prune"]


def __getattr__(name: str) -> object:
    """Of `making`, once it is asked for: Python imports this before the command line can say what Ctrl-C is to do."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lib.prune import making

    return getattr(making, name)
