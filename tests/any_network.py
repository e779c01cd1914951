"""Holds every public function of `lib` against slow references on random small networks.

    python tests/any_network.py 10000 [--seed 0]     # that many networks, whose recipes have the numbers from 0 on
    python tests/any_network.py --recipe "{...}"     # one, as a failure names it

A network is right in every check, or refused in one line by every function alike. Networks come from
`tests/grammar.py`, what is right from `tests/slow.py`. The exit status is 1 if any network fails.
"""

import argparse
import random
import re
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isnan, nan

import slow
import torch
from grammar import draw
from recipes import FLAWS, WRAPPERS, Recipe, build, examples, random_values, source
from steps import Misfit
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lib import importance, oracle, pruning, structure
from lib.scoring import batches

EXAMPLES = 5
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}  # of the largest number; some are ill-conditioned
VANISHED = 1e-12  # is what the reference, in double precision, leaves of numbers that cancel
ROUNDED = 30  # times the error of the reference itself in single precision may be made by another order of sums
ENDLESS = 60  # seconds for a check that takes a tenth of one
PREFIX = re.compile(r"^(module\.|_orig_mod\.|0\.)+")  # that wrappers put before names


@dataclass(frozen=True)
class Case:
    """A network with images, and what is to be found."""

    recipe: Recipe
    faults: list[str] = field(default_factory=list)

    @cached_property
    def inner(self) -> nn.Module:
        """The network; it has run before, as anybody's has."""
        model = build(self.recipe)
        model(self.own_images[:2])
        return model

    @cached_property
    def model(self) -> nn.Module:
        return self.wrapped(self.inner)

    @torch.no_grad()
    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model in the recipe's wrapper; it has run once, which may be when it is compiled."""
        model = WRAPPERS[self.recipe.wrapper](model, self.own_images)
        model(self.own_images[:3])
        return model

    @cached_property
    def images(self) -> Tensor:
        return examples(self.recipe, EXAMPLES + self.recipe.many * batches.MINIBATCH)

    @cached_property
    def own_images(self) -> Tensor:
        """Of the network's own type, as it must be given them itself."""
        return self.images.double() if self.recipe.double else self.images

    @property
    def example(self) -> Tensor:
        return self.images[:1]

    @cached_property
    def truth(self) -> slow.Program:
        return slow.Program(self.recipe, slow.state_of(self.inner))

    @cached_property
    def logits(self) -> Tensor:
        return self.truth.run(self.images)

    @cached_property
    def labels(self) -> Tensor:
        """What the network answers, and for the last examples something else."""
        labels = self.logits.argmax(1)
        labels[-len(labels) // 3 :] = (labels[-len(labels) // 3 :] + 1) % self.logits.shape[1]
        return labels

    @property
    def batches(self) -> list[tuple[Tensor, Tensor]]:
        return [*zip(self.images.split(3), self.labels.split(3), strict=True)]

    @cached_property
    def order(self) -> Tensor:
        return torch.randperm(self.recipe.total, generator=torch.Generator().manual_seed(self.recipe.seed))

    @property
    def tolerance(self) -> float:
        return TOLERANCE[self.images.dtype]

    def off(self, k: int) -> Tensor:
        """The first k units of the order, (N,) bool."""
        return torch.zeros(self.recipe.total, dtype=torch.bool).index_fill_(0, self.order[:k], True)

    def expect(self, condition: object, fault: str) -> None:
        """Notes the fault unless the condition holds."""
        if not condition:
            self.faults.append(fault)

    def close(
        self, what: str, found: Tensor, right: Tensor, again: Callable[[slow.Program], Tensor] | None = None
    ) -> None:
        """Notes a fault unless both are the same but for rounding; `again` finds what is right by another program, as
        where terms cancel in single precision."""
        if found.shape != right.shape:
            self.expect(False, f"{what}: of shape {tuple(found.shape)}, not {tuple(right.shape)}")
            return
        largest = right.abs().max().item()
        scale = max(largest, 1e-3) if largest > VANISHED else 1e-2  # what cancels leaves rounding alone
        error = (found.double() - right).abs().max().item() / scale
        tolerance = self.tolerance
        if error > tolerance and again and self.images.dtype == torch.float32:
            tolerance = ROUNDED * (again(self.truth.single()) - right).abs().max().item() / scale
        self.expect(error <= tolerance,
                    f"{what}: wrong by {error:.1e} of the largest: {_some(found)}, not {_some(right)}")  # fmt: skip


def _some(values: Tensor) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in values.flatten()[:12].tolist()) + "]"


# ---- checks ----------------------------------------------------------------------------------------------------------


def names_and_sizes(case: Case) -> None:
    found = importance.units(case.model, case.example)
    found = [(PREFIX.sub("", u.name), u.size, u.norm and PREFIX.sub("", u.norm), len(u.taps)) for u in found]
    right = [(layer.name, layer.size, layer.norm, len(layer.taps)) for layer in case.recipe.layers]
    case.expect(found == right, f"units: {found}, not {right}")


def scores(case: Case) -> None:
    def slowly(program: slow.Program) -> dict[str, Tensor]:
        return slow.scores(program, case.images, case.labels, 7, batches.MINIBATCH)

    right = slowly(case.truth)
    found = importance.score(case.model, case.batches, [*right, "apoz"], seed=7)
    for name, values in right.items():
        case.close(f"score {name}", found[name], values, lambda program, name=name: slowly(program)[name])
    bounds = slow.shares_positive(case.truth, case.images, 1e-12 if case.recipe.double == 1 else 1e-5)
    if bounds and found["apoz"].shape == bounds[0].shape:
        inside = (bounds[0] - 1e-9 <= found["apoz"]) & (found["apoz"] <= bounds[1] + 1e-9)
        case.expect(inside.all(), f"score apoz: {_some(found['apoz'])}, not {_some(bounds[0])}")


def contributions(case: Case) -> None:
    vectors = torch.randn(case.logits.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def slowly(program: slow.Program) -> Tensor:
        return slow.contributions(program, case.images, lambda m, z: vectors[m].to(z))[0]

    found = importance.contributions(case.model, case.images, vectors)
    case.close("contributions", found, slowly(case.truth), slowly)


@torch.no_grad()
def masks(case: Case) -> None:
    layers = importance.units(case.model, case.example)
    other = case.wrapped(_with_other_rows(case))
    for k in {0, case.recipe.total // 3, case.recipe.total // 2, case.recipe.total}:
        right = case.truth.masked(case.images, case.off(k))
        with pruning.masked(case.model, case.order, k, layers):
            case.close(f"masked {'all' if k == case.recipe.total else k}", case.model(case.own_images), right)
        if k == case.recipe.total // 2:
            with pruning.masked(other, case.order, k, layers):
                case.close("other weights of what is off", other(case.own_images), right)


def _with_other_rows(case: Case) -> nn.Module:
    """The network, with other weights and biases for half of the units, and of their BatchNorm where it is theirs."""
    model, recipe = build(case.recipe), case.recipe
    off = case.off(recipe.total // 2).split([layer.size for layer in recipe.layers])
    generator = torch.Generator().manual_seed(recipe.seed)
    for layer, rows in zip(recipe.layers, off, strict=True):
        users = [operation for operation in recipe.operations if operation.module == layer.name]
        if any(operation.use in ("functional", "twin") for operation in users) or _is_shared(recipe, layer.name):
            continue
        for full, tensor in model.named_parameters():
            name, _, rest = full.partition(".")
            own = name == layer.name or (name in _norms(recipe) and set(_uses(recipe, name)) <= set(layer.taps))
            if not own or rest == "parametrizations.weight.original":  # of spectral_norm, which divides all by one
                continue
            fresh = 5 * random_values(full, tensor, generator).to(tensor)
            if name != layer.name or not layer.name.startswith("transposed") or tensor.ndim == 1:
                tensor[rows] = fresh[rows]
            elif not rest.startswith("parametrizations"):  # of weight_norm, whose lengths are those of inputs here
                for row in rows.nonzero().flatten().tolist():
                    place = recipe.weights_of_outputs(name)[row]
                    tensor[place] = fresh[place]
    return model


def _uses(recipe: Recipe, module: str) -> list[int]:
    return [operation.number for operation in recipe.operations if operation.module == module]


def _norms(recipe: Recipe) -> set[str]:
    return {operation.module for operation in recipe.operations if operation.name == "norm"}


def _is_shared(recipe: Recipe, name: str) -> bool:
    return any(operation.use == "twin" and recipe.operations[operation.of - 1].module == name
               for operation in recipe.operations)  # fmt: skip


def curve(case: Case) -> None:
    points, total = 3, case.recipe.total
    by_values = any(operation.name == "depends" for operation in case.recipe.operations)
    with _told_of_shares(unknown=by_values):
        table = pruning.curve(case.model, case.order, case.images, case.labels, points)
    whole = slow.counted(case.truth, case.off(0))
    for k, (_, row) in zip((0, total // 4, total // 2), table.iterrows(), strict=True):
        off = case.off(k)
        emptied = sum(bool(part.all()) for part in off.split([layer.size for layer in case.recipe.layers]))
        case.expect(row["pruned"] == k, f"curve: {row['pruned']} units off, not {k}")
        case.expect(row["emptied"] == emptied, f"curve: {row['emptied']} layers emptied, not {emptied}")
        _check_accuracy(case, row["accuracy"], case.truth.masked(case.images, off), k)
        left = slow.counted(case.truth, off)
        for name in ("macs", "parameters"):
            share = left[name] / whole[name] if whole[name] and not by_values else nan
            alike = abs(row[name] - share) <= 1e-9 or (isnan(row[name]) and isnan(share))
            right = f"{left[name]}/{whole[name]}={share:.6f}"
            case.expect(alike or _is_rounding(case, off, name, row[name]),
                        f"curve: {name} left with {k} off {row[name]:.6f}, not {right}")  # fmt: skip


@contextmanager
def _told_of_shares(unknown: bool) -> Iterator[None]:
    """Lets warnings of layers on which no logit depends pass, since the shares tell whether that is true."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "shares left are without")
        if unknown:
            warnings.filterwarnings("ignore", "shares left are not known: what the network does depends on its values")
        yield


def _is_rounding(case: Case, off: Tensor, name: str, share: float) -> bool:
    """Whether it is a share where of what cancels but for rounding some is counted."""
    left, whole = ([slow.counted(case.truth, units, unseen)[name] for unseen in (slow.UNSEEN, 0)]
                   for units in (off, case.off(0)))  # fmt: skip
    least, most = left[0] / max(whole[1], 1), left[1] / max(whole[0], 1)
    return least < most and least - 1e-9 <= share <= most + 1e-9


def _check_accuracy(case: Case, found: float, logits: Tensor, k: int) -> None:
    first, second = logits.topk(2).values.T
    if (first - second).min() > 10 * case.tolerance * logits.abs().max():
        right = (logits.argmax(1) == case.labels).double().mean().item()
        case.expect(abs(found - right) <= 1e-9, f"curve: accuracy with {k} off {found}, not {right}")


def oracles(case: Case) -> None:
    found, right = oracle.score(case.model, case.batches), slow.oracle(case.truth, case.images, case.labels)
    for name, values in right.items():
        case.close(f"oracle {name}", found[name], values)


@torch.no_grad()
def slimmed(case: Case) -> None:
    rng = random.Random(case.recipe.seed)
    scores = torch.rand(case.recipe.total, generator=torch.Generator().manual_seed(case.recipe.seed))
    budget, of = rng.choice([0.1, 0.3, 0.5]), rng.choice(structure.BUDGETS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "all units of")  # which says what is left whole
        warnings.filterwarnings("ignore", ".* gives the same logits for all")  # small ones soon do
        slimming = structure.plan(case.model, scores, case.example, budget=budget, of=of)
        small = slimming.apply(case.model)
    with slimming.masked(case.model):
        masked = case.model(case.own_images)
    case.close("slim: logits", small(case.own_images), masked.double())
    few = case.own_images[: 2 if "squeeze" in _names(case.recipe) else 1]  # a single one loses an axis there
    for name, right in (("macs", _multiply_adds(small, few)), ("parameters", _size(small))):
        case.expect(slimming.after[name] == right, f"slim: says {slimming.after[name]} {name}, but has {right}")


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _multiply_adds(model: nn.Module, examples: Tensor) -> int:
    """Of weights, for one example; products of activations, as in attention, are of batches of matrices."""
    with FlopCounterMode(display=False) as counter:
        model(examples)
    found = sum(count for name, count in counter.get_flop_counts()["Global"].items() if "bmm" not in str(name))
    return found // 2 // len(examples)


CHECKS: Mapping[str, Callable[[Case], None]] = {
    "units": names_and_sizes, "score": scores, "contributions": contributions, "masked": masks, "curve": curve,
    "oracle": oracles, "slim": slimmed,
}  # fmt: skip


# ---- one network -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of the checks of a network: by name, with what words they were refused, and what went wrong."""

    recipe: Recipe
    refused: Mapping[str, str]
    failed: Mapping[str, list[str]]


def check(recipe: Recipe, names: tuple[str, ...] = tuple(CHECKS)) -> Outcome:
    """Runs the checks."""
    refused, failed = {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "None of the inputs have requires_grad")  # of a checkpoint, to its author
        warnings.filterwarnings("ignore", ".*torch.jit.trace")
        case = Case(recipe)
        _check_reference(case)
        before = _state(case)
        for name in names:
            refused[name] = _refusal(case, name)
            after = _state(case)
            changed = [key for key in before if before[key] != after[key]]
            case.expect(not changed, f"the model is not left as it was: {', '.join(changed)}")
            failed[name], before = [*case.faults], after
            case.faults.clear()
    _check_alike(case, {name: refused[name] for name in names if not failed[name]})
    failed["refusal"] = case.faults
    return Outcome(recipe, _filled(refused), _filled(failed))


def _filled(found: Mapping) -> dict:
    return {name: value for name, value in found.items() if value}


@torch.no_grad()
def _check_reference(case: Case) -> None:
    if not _names(case.recipe) & {"random", *FLAWS}:
        case.close("reference", case.inner(case.own_images), case.logits)
    if case.faults:
        raise AssertionError(f"the test's own reference is wrong: {case.faults} {case.recipe}")


def _refusal(case: Case, name: str) -> str:
    try:
        with _limit(ENDLESS):
            CHECKS[name](case)
    except ValueError as error:
        lines = str(error).splitlines() or [""]
        case.expect(len(lines) == 1, f"refused in {len(lines)} lines: {lines[0]}")
        return lines[0]
    except (Exception, Endless) as error:  # which nobody expects
        case.expect(False, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
    return ""


class Endless(BaseException):
    """Something takes too long; what passes over failures does not pass over this."""


@contextmanager
def _limit(seconds: int) -> Iterator[None]:
    def stop(*_):
        raise Endless(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


MUST_BE_REFUSED = {"random", "elsewhere", *FLAWS}
MAY_BE_REFUSED = {"jit", "compiled", "fx", "checkpoint", "reentrant", "squeeze", "no gradient", "detach"}
MAY_BE_REFUSED_IN_PART = {"squeeze", "no gradient", "detach"}  # by what needs gradients, or one image at a time


def _names(recipe: Recipe) -> set[str]:
    """All that may be a reason to refuse a network."""
    words = {word for step in recipe.steps for word in step if isinstance(word, str)}
    return words | {recipe.wrapper, recipe.flaw} | {how for *_, how in recipe.blocks}


def _check_alike(case: Case, refused: Mapping[str, str]) -> None:
    """Notes a fault unless all functions but slimming, which has reasons of its own, refuse the network, or none."""
    names, core = _names(case.recipe), {name: reason for name, reason in refused.items() if name != "slim"}
    who, others = [name for name in core if core[name]], [name for name in core if not core[name]]
    if names & MUST_BE_REFUSED:
        others += [] if refused.get("slim", "failed") else ["slim"]
        case.expect(not others, f"{names & MUST_BE_REFUSED} not refused by {', '.join(others)}")
    elif who and not names & MAY_BE_REFUSED and not (_undifferentiable(case) and "differentiated" in core[who[0]]):
        case.expect(False, f"refused by {', '.join(who)}: {core[who[0]]}")
    elif who and not names & MAY_BE_REFUSED_IN_PART:
        case.expect(not others, f"refused by {', '.join(who)}, not by {', '.join(others)}: {core[who[0]]}")


def _undifferentiable(case: Case) -> bool:
    """Whether autograd says so itself: something is overwritten that its derivative needs."""
    try:
        case.inner(case.own_images.requires_grad_()).sum().backward()
    except RuntimeError:
        return True
    finally:
        case.inner.zero_grad()
        case.own_images.requires_grad_(False)
    return False


def _state(case: Case) -> dict[str, object]:
    """All of the model that a function must leave as it is, and the random state."""
    modules = [*case.model.named_modules()]
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "weights": {name: tuple(tensor.flatten().tolist()) for name, tensor in case.model.state_dict().items()},
        "requires_grad": [parameter.requires_grad for parameter in case.model.parameters()],
        "gradients": [parameter.grad is None for parameter in case.model.parameters()],
        "modules": [(name, id(module), module.training) for name, module in modules],
        "hooks": [len(getattr(module, kind, ())) for _, module in modules for kind in hooks],
        "random state": torch.get_rng_state().tolist(),
    }


# ---- the smallest one that fails -------------------------------------------------------------------------------------


def smallest(recipe: Recipe, name: str) -> Recipe:
    """What is left of a network when as much as can be is taken away and the check `name` still fails alike."""
    names = tuple(CHECKS) if name == "refusal" else (name,)
    kinds = {_kind(fault) for fault in check(recipe, names).failed[name]}

    def fails(other: Recipe) -> bool:
        try:
            return bool(other.layers) and not kinds.isdisjoint(map(_kind, check(other, names).failed.get(name, [])))
        except Exception:  # no network at all
            return False

    while True:
        other = next(filter(fails, _smaller(recipe)), None)
        if other is None:
            return recipe
        recipe = other


def _kind(fault: str) -> str:
    """Without the numbers and names that differ from one network to the next."""
    return re.sub(r"\[.*|\b\w*\d[\w.+-]*", "#", fault)[:70]


def _smaller(recipe: Recipe) -> Iterator[Recipe]:
    plain = Recipe(recipe.seed, recipe.input, recipe.steps, double=1)
    options = [name for name in vars(plain) if getattr(recipe, name) != getattr(plain, name)]
    yield from (replace(recipe, **{name: getattr(plain, name)}) for name in options)
    for number in range(len(recipe.steps), 0, -1):
        for source_of in recipe.operations[number - 1].sources:
            try:
                other = _without(recipe, number, source_of)
                if other.shapes[-1].kind == "vector" and other.shapes[-1].channels > 1:
                    yield other
            except (Misfit, ValueError, IndexError):
                continue


def _without(recipe: Recipe, number: int, instead: int) -> Recipe:
    """Without one step, in whose place another value is taken in."""

    def renumbered(value: int) -> int:
        value = instead if value == number else value
        return value - (value > number)

    steps = []
    for operation in recipe.operations:
        if operation.number == number:
            continue
        name, rest = recipe.steps[operation.number - 1][0], recipe.steps[operation.number - 1][1:]
        count = 2 if operation.use else len(operation.sources)
        if operation.use and operation.of == number:
            raise Misfit
        steps.append((name, *map(renumbered, rest[:count]), *rest[count:]))
    blocks = [(renumbered(a) + (a == number), renumbered(b), how) for a, b, how in recipe.blocks]
    if any(first > last or first < 1 for first, last, _ in blocks):
        raise Misfit
    parametrized = [(renumbered(step), how) for step, how in recipe.parametrized if step != number]
    more = {"blocks": tuple(blocks), "parametrized": tuple(parametrized)}
    return replace(recipe, steps=tuple(steps), alias=(recipe.alias != number) * renumbered(recipe.alias), **more)


# ---- many ------------------------------------------------------------------------------------------------------------


def report(outcome: Outcome) -> str:
    """What is wrong with a network, and how to run it again."""
    lines = [f"  {name}: {fault}" for name, faults in outcome.failed.items() for fault in faults]
    return "\n".join([f'FAILED --recipe "{outcome.recipe}"', *lines])


def many(count: int, seed: int, progress: Callable[[str], object]) -> tuple[Counter, Counter, list[Outcome]]:
    """Checks networks; returns how many refusals there were by reason, failures by kind, and what failed."""
    refused, kinds, failed = Counter(), Counter(), []
    for number in range(seed, seed + count):
        outcome = check(draw(number))
        refused.update({f"{name}: {_kind(reason)}" for name, reason in outcome.refused.items()})
        if outcome.failed:
            failed.append(outcome)
            kinds.update({f"{name}: {_kind(fault)}" for name, faults in outcome.failed.items() for fault in faults})
            progress(report(outcome))
        if (number - seed) % 50 == 49:
            progress(f"{number - seed + 1} networks, {len(failed)} failed")
    return refused, kinds, failed


def one(recipe: Recipe) -> bool:
    """Prints a network and what becomes of it, with smaller ones that fail alike; whether it fails."""
    print(source(recipe))
    outcome = check(recipe)
    for name, reason in outcome.refused.items():
        print(f"refused by {name}: {reason}")
    print(report(outcome) if outcome.failed else "right")
    for name in outcome.failed:
        print(f'{name} fails alike with --recipe "{smallest(recipe, name)}"')
    return bool(outcome.failed)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Holds lib against slow references on random networks.")
    parser.add_argument("count", type=int, nargs="?", default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the number of the first network")
    parser.add_argument("--recipe", help="one network instead")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.recipe:
        return one(Recipe.parse(given.recipe))
    refused, kinds, failed = many(given.count, given.seed, lambda text: print(text, flush=True))
    for what, found in (("refused", refused), ("failed", kinds)):
        for reason, times in found.most_common():
            print(f"{times:6d} {what} {reason}")
    print(f"{given.count} networks run, {len(failed)} failed, {sum(refused.values())} refusals")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
