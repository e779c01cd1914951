"""lib.contribution_criteria: identities between criteria."""

import pytest
from scored import close, split, toy, whole

from lib.importance import score


@pytest.mark.parametrize("source", ["", ":rand", ":norm", ":rand:norm", ":batch", ":score"])
def test_within_one_minibatch_molchanov_is_taylor_squared(source):
    model, images, labels = toy(count=32)
    found = score(model, split(images, labels, 5), ["molchanov-bn" + source, "taylorfo" + source])
    close(found["molchanov-bn" + source], found["taylorfo" + source] ** 2, 1e-12)


@pytest.mark.parametrize("normalisation", ["", ":norm"])
def test_molchanov_2017_is_abs_by_layer(normalisation):
    model, images, labels = toy()
    names = ["molchanov2017" + normalisation, "abs" + normalisation + ":layer"]
    first, second = score(model, whole(images, labels), names).values()
    close(first, second, 1e-14)
