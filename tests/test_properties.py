"""Random values thrown at the public functions: each gives a right answer or one of its documented errors, on purpose.

On purpose: the error is raised by a `raise` in `lib`, in one line. What some library below happens to stumble over
does not count.
"""

import linecache
import math
import tempfile
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy
import pandas
import pytest
import torch
import toys
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lib import importance, oracle, pruning
from lib.images import datasets, networks
from lib.running import reproduce
from lib.scoring import criteria, noise
from lib.study import paths, profiles, schema, statistics

DOCUMENTED = (ValueError, FileNotFoundError, RuntimeError)
ROOT = paths.ROOT / "lib"
TOY = toys.make(toys.Plain)
LAYERS = importance.units(TOY, toys.examples(toys.Plain, 1)[0])
UNITS = sum(unit.size for unit in LAYERS)

settings.register_profile("properties", deadline=None, suppress_health_check=[HealthCheck.too_slow])
few, some, many = (settings(settings.get_profile("properties"), max_examples=n) for n in (15, 60, 200))

NUMBERS = st.floats() | st.sampled_from([0.0, -0.0, 1e-300, 1e300])
ORDINARY = st.floats(-1e6, 1e6, width=32)
TEXTS = st.text(max_size=30)


@contextmanager
def documented(*, kinds=DOCUMENTED):
    """Lets documented errors pass that are raised on purpose and say what is wrong in one line."""
    try:
        yield
    except kinds as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        assert ROOT in Path(last.filename).resolve().parents, f"not on purpose: {error!r} at {last}"
        assert linecache.getline(last.filename, last.lineno).strip().startswith("raise"), f"not on purpose: {last}"
        message = str(error)
        assert message.strip() and "\n" not in message, message


# Data


@some
@given(
    TEXTS | st.sampled_from(["digits", "digit", ".", "..", "../digits", "a/b", "-", "$(x)"]), TEXTS | st.just("test")
)
def test_loading_any_name(name, split):
    with tempfile.TemporaryDirectory() as root, documented(kinds=(ValueError, FileNotFoundError)):
        found = datasets.load(name, split, root)
        assert (name, split) == ("digits", "test") and found.images.shape == (450, 1, 8, 8)


PIXELS = st.tuples(st.sampled_from([(2, 2), (3, 2)]), st.sampled_from(["L", "RGB"]), st.integers(0, 255))
FILES = st.dictionaries(
    st.sampled_from(["0.png", "1.png", "2.bmp", "x.txt"]), PIXELS | st.binary(max_size=9), max_size=3
)
FOLDER = st.dictionaries(
    st.sampled_from(["train", "test", "more"]), st.dictionaries(st.sampled_from("abc"), FILES, max_size=2), max_size=3
)


@some
@given(FOLDER)
def test_loading_any_folder(content):
    with tempfile.TemporaryDirectory() as root:
        for split, classes in content.items():
            for name, files in classes.items():
                folder = Path(root, "own", split, name)
                folder.mkdir(parents=True)
                for file, what in files.items():
                    write(folder / file, what)
        with documented(kinds=(ValueError, FileNotFoundError)):
            found = datasets.load("own", "train", root)
            expected = {name: pictures(files) for name, files in sorted(content["train"].items())}
            assert found.classes == tuple(expected)
            assert found.labels.tolist() == [n for n, name in enumerate(expected) for _ in expected[name]]
            values = [value for name in expected for _, _, value in expected[name]]
            assert found.images[:, 0, 0, 0].tolist() == values


def write(path, what):
    if isinstance(what, bytes):
        path.write_bytes(what)
    else:
        size, mode, value = what
        Image.new(mode, size, value if mode == "L" else (value,) * 3).save(
            path, "PNG" if path.suffix == ".txt" else None
        )


def pictures(files):
    return [what for name, what in sorted(files.items()) if name != "x.txt"]


@many
@given(st.integers(-3, 40) | st.floats(0, 30) | st.none(), st.integers(-2, 2**70), st.booleans())
def test_drawing_any_number_of_examples(count, seed, stratified):
    labels = torch.arange(30) % 4
    images = datasets.ImageSet(torch.zeros(30, 1, 1, 1, dtype=torch.uint8), labels, tuple("abcd"), "made", "train")
    with documented(kinds=ValueError):
        drawn = datasets.subset(images, count, seed=seed, stratified=stratified)
        assert 1 <= count == len(drawn) == len(set(drawn.tolist())) and 0 <= min(drawn) <= max(drawn) < 30


# Networks, criteria, noise


@some
@given(
    TEXTS | st.sampled_from(["resnet8", "vgg8", "resnet9"]),
    st.integers(-2, 5),
    st.integers(-2, 5),
    st.integers(0, 2**63),
)
def test_building_any_network(name, classes, channels, seed):
    with documented(kinds=ValueError):
        model = networks.build(name, classes, channels, seed=seed).eval()
        with torch.no_grad():
            assert model(torch.zeros(2, channels, 8, 8)).shape == (2, classes)


PARTS = [
    "",
    "norm",
    "batch",
    "score",
    "score-layer",
    "layer",
    "@2",
    "rand@0",
    "rand@2",
    "rand@",
    "exact@2",
    "orth@9",
    " sq",
]
TOKENS = st.sampled_from([*PARTS, *criteria.REDUCTIONS, *criteria.COTANGENTS, *criteria.RIVALS]) | TEXTS
NAMES = st.lists(TOKENS, min_size=1, max_size=4).map(":".join)
USUAL = st.builds(
    lambda *parts: ":".join(filter(None, parts)),
    st.sampled_from(list(criteria.REDUCTIONS)),
    st.sampled_from(["", *criteria.COTANGENTS, "rand@3"]),
    st.sampled_from(["", *criteria.NORMALISATIONS]),
    st.sampled_from(["", "layer"]),
)


@many
@given(NAMES)
def test_parsing_any_name(name):
    with documented(kinds=ValueError):
        assert criteria.parse(str(criteria.parse(name))) == criteria.parse(name)


@many
@given(st.integers(-(2**70), 2**70), st.lists(st.integers(-5, 2**40), max_size=4), st.integers(1, 3))
def test_noise_of_any_examples(seed, indices, size):
    with documented(kinds=ValueError):
        rows = noise.Noise(seed, torch.tensor(indices, dtype=torch.int64)).normal(size)
        assert rows.shape == (len(indices), size) and rows.isfinite().all()


# Scores


@st.composite
def batches(draw):
    """Up to three batches of examples for TOY, mostly good ones."""
    found, numbered = [], draw(st.booleans())
    for _ in range(draw(st.integers(0, 3))):
        count = draw(st.integers(0, 4))
        images = toys.examples(toys.Plain, count, draw(st.integers(0, 3)))[0]
        if count and draw(st.integers(0, 9)) == 0:
            images[0, 0, 0, 0] = draw(st.sampled_from([math.nan, math.inf, 1e300]))
        other = draw(st.sampled_from([0, 0, 0, 0, 1]))
        labels = draw(
            st.none() | st.lists(st.integers(0, 2) | st.integers(-1, 3), min_size=count, max_size=count + other)
        )
        batch = (images, labels if labels is None else torch.tensor(labels, dtype=torch.int64))
        if numbered:
            batch += (
                torch.tensor(draw(st.lists(st.integers(-1, 50), min_size=count, max_size=count)), dtype=torch.int64),
            )
        found.append(batch)
    return found


@many
@given(
    batches(),
    st.lists(USUAL | USUAL | NAMES, min_size=1, max_size=3),
    st.integers(-1, 2**65) | st.just(0),
    st.booleans(),
)
def test_scoring_anything(given_batches, names, seed, training):
    TOY.train(training)
    try:
        with documented(kinds=ValueError):
            found = importance.score(TOY, given_batches, names, seed=seed)
            assert list(found) == list(dict.fromkeys(names))
            for name, scores in found.items():
                assert scores.shape == (UNITS,) and scores.dtype == torch.float64 and scores.isfinite().all()
                signed = name.startswith("signed") or criteria.parse(name).reduction in ("act-mean", "synflow", "chip")
                assert signed or (scores >= 0).all()
    finally:
        TOY.eval()


@some
@given(batches())
def test_judging_units_on_anything(given_batches):
    with documented(kinds=ValueError):
        for changes in oracle.score(TOY, given_batches).values():
            assert changes.shape == (UNITS,) and changes.isfinite().all() and (changes >= 0).all()


# Pruning


@many
@given(st.lists(NUMBERS, max_size=6))
def test_any_order(scores):
    with documented(kinds=ValueError):
        order = pruning.order(torch.tensor(scores, dtype=torch.float64)).tolist()
        assert order == sorted(range(len(scores)), key=scores.__getitem__)
        assert all(map(math.isfinite, scores))


ORDERS = st.permutations(range(UNITS)) | st.lists(st.integers(-1, UNITS), max_size=UNITS + 1)


@many
@given(ORDERS, st.integers(-2, UNITS + 2))
def test_masking_anything(order, k):
    image = torch.ones(1, *toys.Plain.SHAPE, dtype=torch.float64)
    before = TOY(image)
    with documented(kinds=ValueError):
        with pruning.masked(TOY, torch.tensor(order, dtype=torch.int64), k, LAYERS):
            TOY(image)
        assert sorted(order) == list(range(UNITS)) and 0 <= k <= UNITS
    assert torch.equal(TOY(image), before)


@few
@given(ORDERS, st.integers(-1, 6), st.integers(0, 3), st.integers(0, 3))
def test_a_curve_of_anything(order, points, images, labels):
    with documented(kinds=ValueError):
        pixels = toys.examples(toys.Plain, images)[0]
        found = pruning.curve(TOY, torch.tensor(order, dtype=torch.int64), pixels, torch.zeros(labels).long(), points)
        assert found["pruned"].tolist() == pruning.steps(UNITS, points) and found["accuracy"].between(0, 1).all()


@many
@given(st.integers(0, 10**6), st.integers(-3, 400))
def test_any_steps(total, points):
    with documented(kinds=ValueError):
        steps = pruning.steps(total, points)
        assert len(steps) == points and steps[0] == 0 and steps[-1] == total // 2 and steps == sorted(steps)


SHARES = st.floats(0, 1) | NUMBERS
SCORES = st.lists(ORDINARY, min_size=UNITS, max_size=UNITS) | st.lists(NUMBERS, max_size=UNITS + 1)


@few
@given(SCORES, SHARES, st.sampled_from(["macs", "parameters", "units", "Macs"]), st.booleans())
def test_shrinking_by_anything(scores, budget, of, training):
    model, image = toys.make(toys.Plain).train(training), torch.ones(1, *toys.Plain.SHAPE, dtype=torch.float64)
    with documented(kinds=ValueError):
        smaller = pruning.slim(model, torch.tensor(scores, dtype=torch.float64), image, budget=budget, of=of)
        conv1, _, _, _, conv2, *_ = smaller.layers
        assert smaller(image).shape == (1, 3) and min(len(conv1.weight), len(conv2.weight)) > 0
        left = {
            "units": len(conv1.weight) + len(conv2.weight),
            "parameters": sum(p.numel() for p in smaller.parameters()),
        }
        full = {"units": UNITS, "parameters": sum(p.numel() for p in model.parameters())}
        assert of == "macs" or left[of] <= (1 - budget) * full[of] + 1e-9


# Statistics

EFFECTS = st.lists(st.floats(-1e100, 1e100) | st.sampled_from([0.0, 1.0]), max_size=25) | st.lists(NUMBERS, max_size=3)


@some
@given(EFFECTS, st.integers(0, 9))
def test_any_interval_and_paired_difference(values, seed):
    with documented(kinds=ValueError), numpy.errstate(over="ignore"):
        low, high = statistics.interval(values, seed)
        mean = numpy.mean(values)
        assert (
            math.isnan(low) if len(values) == 1 else low <= mean + 1e-9 * abs(mean) and mean <= high + 1e-9 * abs(mean)
        )
        found = statistics.paired(values, seed=seed)
        assert 0 < found["p"] <= 1 and found["p"] >= found["smallest_p"] * (1 - 1e-9)


@many
@given(st.lists(st.floats(0, 1) | NUMBERS, max_size=8))
def test_holm_of_anything(p):
    with documented(kinds=ValueError):
        adjusted = statistics.holm(p)
        assert all(0 <= before <= after <= 1 for before, after in zip(p, adjusted, strict=True))
        assert not p or adjusted.min() == min(1, len(p) * min(p))


ROWS = st.tuples(
    st.sampled_from("de"), st.just("n"), st.integers(0, 2), st.sampled_from("abc"), st.integers(1, 2), NUMBERS
)
COLUMNS = ["dataset", "network", "seed", "criterion", "examples", "auc_relative"]


@some
@given(
    st.lists(ROWS.map(lambda row: (*row[:-1], row[-1] if abs(row[-1]) < 1e100 else math.nan)), max_size=8),
    st.sampled_from(["a", "b", "z"]),
    st.sampled_from(["b", "c"]),
    st.sampled_from(["difference", "non-inferiority", "x"]),
    st.sampled_from([0.01, 0.0, -1.0, math.nan]),
)
def test_comparing_anything(rows, a, b, kind, margin):
    table = pandas.DataFrame(rows, columns=COLUMNS)
    with documented(kinds=ValueError):
        found = statistics.compare(table, a, b, kind=kind, margin=margin)
        both = [set(table.loc[table["criterion"] == name, "dataset"]) for name in (a, b)]
        assert found["blocks"] >= 1 and found["verdict"] in ("supported", "contradicted", "open", "too few networks")
        assert set.intersection(*both) and math.isfinite(found["effect"])


# The plan


@many
@given(
    TEXTS | st.sampled_from(["smoke", "quick", "Smoke"]),
    st.none() | st.lists(st.integers(-2, 2**70) | st.integers(0, 3) | st.floats() | st.booleans() | TEXTS, max_size=3),
    st.sampled_from(["auto", "cpu", "cuda", "gpu", ""]),
)
def test_loading_any_profile(name, seeds, device):
    with documented(kinds=ValueError):
        profile = profiles.load(name, seeds, device)
        assert name in profiles.names() and len(set(profile.seeds)) == len(profile.seeds) == len(profile.runs) / sum(
            map(len, profile.grid.values())
        )
        assert all(type(seed) is int and 0 <= seed < 2**63 for seed in profile.seeds)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.floats()
    | st.sampled_from(["all", "digits", "sq", "resnet8", "x y"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["digits", "train", "epochs", "a b"]), inner)
    ),
    max_leaves=4,
)
STUDY = yaml.safe_load((paths.ROOT / paths.STUDY).read_text())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A repository that holds a study.yaml only."""
    return tmp_path_factory.mktemp("root")


@some
@given(st.data())
def test_any_study(root, data):
    study = yaml.safe_load(yaml.safe_dump(STUDY))
    place = study
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.integers(0, 3)) == 0:
            break
        place = place[key]
    if data.draw(st.integers(0, 4)) == 0:
        place[data.draw(st.sampled_from(["epoks", "profile", "a b"]))] = place.pop(key)
    else:
        place[key] = data.draw(VALUES)
    (root / paths.STUDY).write_text(yaml.safe_dump(study))
    schema._read.cache_clear()
    with pytest.MonkeyPatch.context() as patch, documented(kinds=ValueError):
        patch.setattr(paths, "ROOT", root)
        for name in profiles.names():
            profile = profiles.load(name)
            assert profile.grid and profile.seeds
            for run in profile.runs:
                expected = schema.Given if run.is_given else schema.Training
                assert set(run.settings["training"]) == set(expected.model_fields)
    schema._read.cache_clear()


@many
@given(TEXTS | st.lists(st.integers(-1, 99).map(str) | TEXTS, max_size=4).map(" ".join))
def test_reading_any_seeds_and_jobs(text):
    with documented(kinds=ValueError):
        seeds = reproduce.parse_seeds(text)
        assert seeds is None or all(seed >= 0 for seed in seeds)
    with documented(kinds=ValueError):
        assert reproduce.parse_jobs(text, 1) >= 1


def test_what_others_stumble_over_does_not_pass():
    for stumble in (lambda: torch.zeros(2) @ torch.zeros(3), lambda: statistics.interval(["x"]), lambda: int("x")):
        with pytest.raises(AssertionError), documented():
            stumble()
    with suppress(ValueError), documented():
        profiles.load("x")
