"""Which units of a network are worth least, by images without labels.

Enters: networks, one after the other. Leaves: scores of their units, all in one precision, which the first may choose.
"""

from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from lib import importance
from lib.importance import Choice
from lib.prune import keeping
from lib.prune.along import Along, leads
from lib.prune.asking import Aim
from lib.scoring import ranks

PRECISION = "precision.part"  # a file with what was chosen, for a run that goes on from a stopped one


class Ranking:
    """Scores by the criterion of an `Aim`, on `images` (M, C, H, W), so many at once.

    `choice` is the precision, and why, if that was chosen; nothing where scores are there already.
    """

    def __init__(self, images: Tensor, aim: Aim, along: Along, *, batch: int, seed: int):
        self.choice, self._along = Choice("" if aim.scored else aim.precision), along
        self._batches, self._count = [(part, None) for part in images.split(batch)], len(images)
        self._criterion, self._seed = aim.criterion, seed

    def scores(self, model: nn.Module) -> Tensor:
        """Of all units of `model`, (N,). Raises what `importance.score` does."""
        auto, path = self.choice.precision == "auto", self._along.file(PRECISION)
        identity = self._identity(model) if auto else ""

        def chosen(choice: Choice) -> None:
            self.choice = choice
            self._along.tell(f"precision: {choice}")
            if leads():
                keeping.keep(path, identity, asdict(choice))

        if auto and (known := ranks.told(keeping.kept(path, identity) if leads() else None)):
            chosen(Choice(**known))
        how = {"seed": self._seed, "precision": self.choice.precision, "chosen": chosen}
        how["report"] = self._along.going("ranking", self._count / ranks.place()[1])
        return importance.score(model, self._batches, self._criterion, **how)[self._criterion]

    def _identity(self, model: nn.Module) -> str:
        settings, code = [self._criterion, self._seed], [Path(importance.__file__)]
        return keeping.identity(settings, model, self._batches[0][:1], code)
