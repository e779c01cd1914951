"""lib.prune.telling: what a person reads is what was measured, and no more."""

from dataclasses import replace

import pandas
import pytest
import torch

from lib.cost import parameters
from lib.images import networks
from lib.prune import prune, searching, telling


@pytest.fixture(scope="module")
def pruned():
    images = torch.randn(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return prune(networks.build("resnet8", 10, seed=1).eval(), images)


@pytest.mark.parametrize(
    ("high", "said"),
    [(1.9, "one image takes 50% of the time."), (2.0, "whether one image takes less time could not be told")],
)
def test_times_that_overlap_are_no_gain(pruned, high, said):
    costs = pruned.costs.assign(latency_ms=[3.0, 1.5], latency_low=[2.0, 1.0], latency_high=[4.0, high])
    assert said in telling.render(replace(pruned, costs=costs), {})
    slower = pruned.costs.assign(latency_ms=[3.0, 6.0], latency_low=[2.0, 5.0], latency_high=[4.0, 7.0])
    assert "one image takes 200% of the time, which is more." in telling.render(replace(pruned, costs=slower), {})


def test_steps_are_told_with_what_they_changed_and_explained(pruned):
    quality = pandas.DataFrame(
        {"done": ["whole", "shrunk", "repaired"], "accuracy": [0.82, 0.583, 0.583], "changed": [None, 0.356, 0.382]}
    )
    said = telling.render(replace(pruned, quality=quality), {"command": "a <b>"})
    assert "Accuracy on 2 test images is 58.3%; of the whole network it is 82.0%" in said
    assert said.count("<td>58.3%</td>") == 2 and "<td>35.6%</td>" in said and "<td>38.2%</td>" in said
    assert "<i>repaired</i>" in said and "<i>distilled</i>" not in said and "a &lt;b&gt;" in said
    assert "How to use it" not in said and 'class="doubt"' not in said
    doubtful = telling.render(replace(pruned, doubts=("labels < outputs?",), tested=1), {})
    assert '<p class="doubt">labels &lt; outputs?</p>' in doubtful
    assert "Agreement with the whole network on 1 image held out is " in doubtful


SUM = "the sum of the scores of all their units"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, f"score per multiply-add, which is {SUM}, divided by the multiply-adds that go with them, the lowest"),
        ({"of": "latency"}, f"score per multiply-add, which is {SUM}, divided by the multiply-adds"),
        (
            {"of": "parameters", "per_cost": True},
            f"score per parameter, which is {SUM}, divided by the parameters that",
        ),
        (
            {"criterion": "signed:rand"},
            f"score per multiply-add, which is {SUM}, divided by (where it is below 0: times)",
        ),
        ({"criterion": "l2"}, f"{SUM}, the lowest first."),
        ({"per_cost": False}, f"{SUM}, the lowest first."),
        ({"of": "parameters"}, f"{SUM}, the lowest first."),
    ],
)
def test_the_page_says_by_what_channels_go(given, said, monkeypatch):
    monkeypatch.setattr(searching, "latency_left", lambda small, whole, _: parameters(small) / parameters(whole))
    images = torch.randn(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = prune(networks.build("resnet8", 10, seed=1).eval(), images, budget=0.2, repair=False, **given)
    page = telling.render(found, {})
    assert f"<p>Channels go by {said}" in page
    assert page.count("divided by") == said.startswith("score per")


def test_lines_that_load_it_are_shown_as_they_are(pruned):
    said = telling.render(pruned, {}, "small = load('a', \"b\")", "images (M, 3, 8, 8)")
    assert "<pre>small = load(&#x27;a&#x27;, &quot;b&quot;)</pre>" in said and "<p>images (M, 3, 8, 8)</p>" in said
