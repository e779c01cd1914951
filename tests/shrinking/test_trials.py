"""lib.trials: whoever makes a network wrong is found by halves."""

import pytest
import torch
from shrunk import noise
from torch import nn

from lib.shrinking.trials import culprits, outspoken


@pytest.mark.parametrize("wrong", [[], [0], [7], [3, 4], [0, 1, 2], list(range(9))])
def test_exactly_the_culprits_are_found(wrong):
    trials = []

    def is_right(parts):
        trials.append(parts)
        return not set(parts) & set(wrong)

    assert culprits(range(9), is_right) == wrong
    assert len(trials) <= 1 + 2 * 4 * len(wrong)


def test_what_is_not_cleared_in_time_counts_as_wrong():
    trials = []

    def is_right(parts):
        trials.append([*parts])
        return 0 not in parts

    assert culprits(range(8), is_right, most=3) == [0, 1, 2, 3]
    assert trials == [[*range(8)], [0, 1, 2, 3], [4, 5, 6, 7]]


def test_no_trial_of_nothing():
    assert culprits([], lambda parts: pytest.fail("tried")) == []


def test_weights_that_are_too_small_to_tell_are_drawn_anew_in_a_copy():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    model[1].weight.data *= 0.01
    nn.init.zeros_(model[2].weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = outspoken(model, noise(2, 3, 4, 4))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert found[1].weight.std().item() == pytest.approx(48**-0.5, rel=0.2)
    assert found[2].weight.min() >= 0.5 and torch.equal(found[3].weight, model[3].weight)


def test_a_network_that_gives_no_numbers_with_other_weights_is_taken_as_it_is():
    class Picky(nn.Sequential):
        def forward(self, images):
            return super().forward(images) / (self[1].weight.abs().max() < 0.1)

    model = Picky(nn.Flatten(), nn.Linear(48, 2))
    nn.init.constant_(model[1].weight, 0.01)
    assert outspoken(model, noise(2, 3, 4, 4)) is model


@pytest.mark.parametrize("shape", [(0, 8), (1, 0, 8), (0,)])
def test_tensors_without_numbers_have_nothing_to_draw(shape):
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    model.registers = nn.Parameter(torch.zeros(shape))
    assert outspoken(model, noise(2, 3, 4, 4)).registers.shape == shape


class RuledOut(nn.Sequential):
    def forward(self, images):
        return super().forward(images).masked_fill(torch.tensor([True, False]), -torch.inf)


def test_classes_that_are_ruled_out_do_not_keep_weights_from_being_drawn_anew():
    model = RuledOut(nn.Flatten(), nn.Linear(48, 2))
    model[1].weight.data *= 0.01
    found = outspoken(model, noise(2, 3, 4, 4))
    assert found is not model and found[1].weight.std() > 10 * model[1].weight.std()
