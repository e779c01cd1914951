"""The device that a name stands for.

Enters: "auto", "cpu" or "cuda", as after DEVICE=. Leaves: a torch.device, or one line that says why there is none.
"""

NAMES = ("auto", "cpu", "cuda")


def check(name: str) -> None:
    """Raises ValueError, listing the valid ones, for an unknown device."""
    if name not in NAMES:
        raise ValueError(f"unknown device {name!r}: valid are {', '.join(NAMES)}")


def pick(name: str = "auto"):
    """The torch.device that `name` stands for. Raises ValueError for an unknown one, RuntimeError for cuda without
    CUDA."""
    import torch  # takes seconds

    check(name)
    if name == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("DEVICE=cuda, but torch sees no CUDA device: use DEVICE=cpu or auto")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")
