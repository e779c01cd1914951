"""One literal table of ablations: which criteria each compares, on which examples, and so which curves it needs.

Enters: a profile or one of its runs. Leaves: the cells to measure, each (criterion, examples, draw) once, whatever the
number of ablations that ask for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from torch import Tensor

from lib import importance
from lib.scoring.rivals import WEIGHT_RIVALS
from lib.study import profiles, sampling, vocabulary
from lib.study.columns import Cell

PAPER = tuple(
    f"{reduction}{cotangent}{norm}"
    for reduction, cotangent, norm in product(
        ("taylorfo", "molchanov-bn", "molchanov-group", "abs", "sq"), ("", ":rand"), ("", ":norm")
    )
    if norm or reduction not in ("abs", "sq")
)  # the 16 criteria of the paper's Figures 1 and 2
UNNORMALISED = ("abs", "sq", "abs:rand", "sq:rand")  # which the paper should have shown too
BASELINES = ("random", "l2")
HEADLINE = ("sq:rand:norm", "abs:rand:norm", "sq:norm", "taylorfo")  # the paper's proposals, and what they answer
SOURCES = ("rand", "rand:norm", "rand-length", "sign", "pseudo", "sampled", "ggn", "mas", "top", "exact")
NO_GRADIENT = ("l1", "l2", "bn-scale", "fpgm", "lamp", "apoz", "act-mean", "act-std", "hrank", "chip", "synflow")
LABEL_FREE = (
    *(f"{r}:rand{n}" for r, n in product(("abs", "taylorfo", "molchanov-bn", "molchanov-group"), (":norm", ""))),
    *("abs-pixel:rand", "sq-pixel:rand"),
    *(f"sq:{source}" for source in SOURCES if source != "rand-length"),
    *("random", *NO_GRADIENT),
)
LEADING = (  # with two of HEADLINE the best ten of the published leaderboard (cifar, seeds 0 to 2), since then fixed
    *("sq:rand:score", "molchanov-bn:rand:norm", "sq:sign", "molchanov-bn:rand"),
    *("sq:rand:batch", "sq:rand", "abs:rand", "sq:exact"),
)


@dataclass(frozen=True)
class Ablation:
    """What one notebook compares: `criteria`, on the numbers of examples in the profile's measuring setting `examples`.

    With `repeats`, further draws of the examples are measured too, as many as the profile's `draws`, and as many
    stratified by class where there are examples for every class. With `alike`, no criterion sees more examples than
    `exact` may on a CPU. With `by_reduction`, criteria that the paper has not are left out unless the profile's
    `reductions` has theirs. `long_tailed` names the criteria that are measured on a long-tailed set of examples too,
    `on_most` those that are compared on the largest number of examples alone.
    """

    question: str
    criteria: tuple[str, ...]
    examples: str
    repeats: bool = False
    alike: bool = False
    by_reduction: bool = False
    long_tailed: tuple[str, ...] = ()
    on_most: tuple[str, ...] = ()


def _normalised(reductions: Iterable[str]) -> tuple[str, ...]:
    names = ("", ":norm", ":batch", ":score", ":score-layer", ":layer")
    everything = (f"{r}{c}{n}" for r, c, n in product(reductions, ("", ":rand"), names))
    return tuple(name for name in everything if not (name.startswith("molchanov-group") and ":score" in name))


ABLATIONS: dict[str, Ablation] = {
    "12-first-experiments": Ablation(
        "Must the gradient come from labels, and does its length matter?",
        (
            *(f"{r}{c}" for c, r in product(("", ":rand-length", ":norm", ":rand:norm"), ("taylorfo", "abs", "sq"))),
            *BASELINES,
        ),
        examples="panels",
    ),
    "15-replication": Ablation(
        "Do the paper's curves come out again?",
        (*PAPER, *UNNORMALISED, "sq:exact", *BASELINES),
        examples="panels",
    ),
    "20-normalization": Ablation(
        "Does equal weight for every example help, and does it matter where the weight is equalised?",
        _normalised(vocabulary.REDUCTIONS),
        examples="ablations",
        by_reduction=True,
        long_tailed=("abs", "abs:norm", "sq", "sq:norm", "sq:rand:norm"),
    ),
    "30-sign": Ablation(
        "What is the sign of a contribution worth?",
        (
            *("taylorfo", "signed", "pos", "neg", "abs", "sq", "abs-pixel", "sq-pixel"),
            *(
                "taylorfo:rand",
                "abs:rand",
                "sq:rand",
                "abs-pixel:rand",
                "sq-pixel:rand",
                "abs:rand-sign",
                "sq:rand-sign",
            ),
        ),
        examples="ablations",
    ),
    "40-label-scarcity": Ablation(
        "How many examples does a criterion need, and must they have labels?",
        ("taylorfo", "sq:norm", "sq:rand:norm", *BASELINES),
        examples="scarcity",
        repeats=True,
    ),
    "50-gradient-source": Ablation(
        "What must be sent back?",
        ("sq", *(f"sq:{source}" for source in SOURCES), "sq:rand@4:norm", "sq:rand@16:norm"),
        examples="ablations",
        alike=True,
    ),
    "60-rivals": Ablation(
        "Which label-free criterion?",
        (*LABEL_FREE, *(f"{name}:layer" for name in LABEL_FREE)),
        examples="ablations",
    ),
    "65-repair": Ablation(
        "What does a repair without labels give back?",
        (*HEADLINE, *BASELINES, "l2:layer", "bn-scale:layer"),
        examples="ablations",
        on_most=LEADING,  # a curve with repair takes about three times as long
    ),
}


def cells(notebook: str, settings: Mapping[str, object], labels: Tensor) -> list[Cell]:
    """The curves that the ablation `notebook` needs, with a profile's `measuring` settings and the training set's
    labels (M,).

    Raises ValueError where the settings ask for more examples than there are.
    """
    ablation, found, available = ABLATIONS.get(notebook), [], len(labels)
    if ablation is None:  # a notebook that only reads what others ask for
        return []
    counts = [available if examples == "all" else examples for examples in settings[ablation.examples]]
    for count in counts:
        criteria = (*ablation.criteria, *ablation.on_most) if count == max(counts) else ablation.criteria
        if count > available:
            raise ValueError(f"{notebook}: {count} examples asked for, but there are only {available} training images")
        if ablation.alike and settings["exact"] != "all":
            count = min(count, settings["exact"])
        draws = [(0, "random")]
        if ablation.repeats and count < available:
            kinds = ("random", "stratified") if count > labels.max() else ("random",)
            draws = [(draw, sample) for sample in kinds for draw in range(settings["draws"])]
        for name in criteria:
            if not ablation.by_reduction or _is_wanted(name, settings):
                found += of_criterion(name, count, draws, settings)
    if ablation.long_tailed:
        count = len(sampling.long_tailed(labels, 0))
        found += [Cell(name, count, 0, "long-tailed") for name in ablation.long_tailed]
    return list(dict.fromkeys(found))


def wanted(run: profiles.Run) -> list[Cell]:
    """Every curve that the ablations of the run's profile need, each once, those on the same examples together."""
    labels = sampling.labels_of(run)
    asked = [cell for name in run.plan.notebooks for cell in cells(name, run.settings["measuring"], labels)]
    return sorted(dict.fromkeys(asked), key=lambda cell: cell[1:])


def comparing(notebooks: Iterable[str], criteria: Iterable[str]) -> str | None:
    """The first of these notebooks whose ablation has all of these criteria; None where none has."""
    asked = {name: ABLATIONS[name].criteria for name in notebooks if name in ABLATIONS}
    return next((name for name, there in asked.items() if set(criteria) <= set(there)), None)


def _is_wanted(name: str, settings: Mapping[str, object]) -> bool:
    criterion = importance.parse(name)
    beyond_paper = criterion.normalisation in ("batch", "score", "score-layer") or criterion.layer
    return not beyond_paper or criterion.reduction in settings["reductions"]


def of_criterion(name: str, examples: int, draws: Iterable[Sequence], settings: Mapping[str, object]) -> list[Cell]:
    """Its cells on some draws (draw, sample) of examples; what uses none has one, and chance draws of its own."""
    reduction = importance.parse(name).reduction
    if reduction in WEIGHT_RIVALS:
        return [Cell(name, 0, draw) for draw in range(settings["chance"] if reduction == "random" else 1)]
    return [Cell(name, examples, *draw) for draw in draws]
