"""What is asked for: how much is to go, and how what that costs is to be got back. Either refuses what cannot be meant.

Enters: what `making.prune` is given, or a command line before it reads anything. Leaves: the same, checked.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real

import numpy
from torch import Tensor

from lib import importance, structure
from lib.network import checks
from lib.scoring.noise import MOST_SEED

BUDGETS = (*structure.BUDGETS, "latency")
HALF = 0.5  # goes where nothing else is said


@dataclass(frozen=True, eq=False)
class Aim:
    """How much is to go, of what, and by which order, as `making.prune` is told; `scored` where scores are there
    already, which no criterion needs to give then."""

    budget: float | None = None
    of: str = "macs"
    target_accuracy: float | None = None
    criterion: str = "sq:rand:norm"
    scored: bool = False
    precision: str = "float32"
    keep: Iterable[str] = ()
    at_most: float = 1.0
    multiple_of: int = 1
    per_cost: bool = False
    steps: int = 1

    def __post_init__(self):
        """Raises ValueError for what is none, and for what does not go together."""
        if self.scored and self.precision != "float32":
            raise ValueError(f"precision={self.precision!r} is of ranking: leave it out where there are scores already")
        if not self.scored and importance.parse(self.criterion).needs_labels:
            raise ValueError(
                f"criterion {self.criterion} needs labels, which images here have not: take sq:rand:norm, say"
            )
        if self.of not in BUDGETS:
            raise ValueError(f"a budget of {self.of!r} is not known: use one of {', '.join(BUDGETS)}")
        if self.budget is not None:
            checks.share("budget", self.budget)
        if self.target_accuracy is not None:
            self._check_target()
        checks.share("at_most", self.at_most, may_be_all=True)
        checks.whole("multiple_of", self.multiple_of, 1)
        _require_choice("per_cost", self.per_cost)
        checks.whole("steps", self.steps, 1)
        single = {"at_most": self.at_most != 1, "target_accuracy": self.target_accuracy is not None,
                  "of='latency'": self.of == "latency", "scores": self.scored}  # fmt: skip
        if self.steps > 1 and any(single.values()):
            name = next(name for name, given in single.items() if given)
            raise ValueError(
                f"{name} is of the whole network, but {self.steps} steps each begin with another: take steps=1"
            )

    def _check_target(self) -> None:
        target = self.target_accuracy
        if not _is_number(target) or not 0 < target <= 1:
            raise ValueError(
                f"target_accuracy={target!r} must be a share of the whole network's, above 0 and at most 1"
            )
        if self.budget is not None or self.of == "latency":
            raise ValueError("target_accuracy is met by as large a budget of units, parameters or macs as works: leave"
                             " budget out")  # fmt: skip

    @property
    def share(self) -> float:
        """That is to go of `of`, unless it is to be found for a target."""
        return HALF if self.budget is None else self.budget

    @property
    def is_searched(self) -> bool:
        """Whether the budget is to be found by trying."""
        return self.target_accuracy is not None or self.of == "latency"

    @property
    def limits(self) -> dict[str, object]:
        """What may not go, and by what the rest does, as `structure.plan` takes it."""
        return {name: getattr(self, name) for name in ("keep", "at_most", "multiple_of", "per_cost")}


@dataclass(frozen=True, eq=False)
class Recovery:
    """How what shrinking costs is to be got back, as `making.prune` is told; `tested` where there are labelled images
    to test on."""

    repair: bool = True
    distil: bool = False
    fine_tune: tuple[Tensor, Tensor] | None = None
    epochs: int | None = None
    minutes: float | None = None
    flip: bool = True
    seed: int = 0
    tested: bool = False

    def __post_init__(self):
        """Raises ValueError for what is none, and for what does not go together."""
        for name in ("repair", "distil", "flip"):
            _require_choice(name, getattr(self, name))
        if self.fine_tune is not None and not (isinstance(self.fine_tune, (tuple, list)) and len(self.fine_tune) == 2):
            raise ValueError("fine_tune must be a pair of tensors: images (M, C, H, W), normalised, and labels (M,)")
        if self.fine_tune is not None and not self.tested:
            raise ValueError("fine_tune without test: images held out of `images` may be among those that are learnt"
                             " from, so give labelled images to test on")  # fmt: skip
        trained = bool(self.distil) or self.fine_tune is not None
        given = [name for name in ("epochs", "minutes") if getattr(self, name) is not None]
        if not trained and given:
            raise ValueError(f"{given[0]} is of training: ask for distil, or fine_tune with labelled images")
        if trained and len(given) != 1:
            raise ValueError("how long to train is to be said once: give either epochs or minutes")
        if self.epochs is not None:
            checks.whole("epochs", self.epochs, 1)
        if self.minutes is not None and not (_is_number(self.minutes) and 0 < self.minutes < math.inf):
            raise ValueError(f"minutes={self.minutes!r} must be a time to train for, above 0")
        checks.whole("seed", self.seed, 0, MOST_SEED)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _require_choice(name: str, value: object) -> None:
    """Raises ValueError for what is neither yes nor no, such as the text "no", which Python takes for yes."""
    if not (isinstance(value, (Integral, numpy.bool_)) and value in (0, 1)):
        raise ValueError(f"{name}={value!r} must be True or False")
