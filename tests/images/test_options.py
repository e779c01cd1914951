"""lib.images.options: what a command line does not say of images follows from the network."""

import argparse

import numpy
import pytest
import torch
from PIL import Image
from torch import nn

from lib.images import datasets, options, public
from lib.images.folders import IMAGENET


def filled(network, *words):
    parser = argparse.ArgumentParser()
    options.add(parser)
    asked = parser.parse_args(words)
    asked.network = network
    options.fill(asked)
    return asked


def test_networks_of_torchvision_get_what_is_usual_for_them():
    asked = filled("resnet18")
    assert (asked.pixels, asked.stretch, (asked.mean, asked.std)) == (224, False, IMAGENET)


def test_public_weights_get_what_they_were_trained_with():
    asked, wanted = filled("efficientnet-lite1"), public.PUBLIC["efficientnet-lite1"].preparation
    assert (asked.pixels, asked.stretch, asked.mean, asked.std) == (240, True, wanted.mean, wanted.std)
    assert filled("efficientnet-lite1", "--pixels", "100").stretch is False  # not theirs any more
    small = filled("resnet20a", "--pixels", "32")
    assert (small.pixels, small.stretch) == (32, False)


def test_what_is_said_stays():
    asked = filled("resnet18", "--pixels", "64", "--stretch", "--mean", "0", ".1", ".2", "--std", "1", ".5", ".3")
    assert (asked.pixels, asked.stretch, asked.mean, asked.std) == (64, True, [0, 0.1, 0.2], [1, 0.5, 0.3])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mean", "2", "0", "0"], "a mean of the channels must be a number from 0 to 1, not 2.0, which is of pixels"),
        (
            ["--std", "1", "2", "3"],
            "a deviation of the channels must be a number above 0, at most 1, not 2.0, which is",
        ),
        (["--std", "0", "1", "1"], "a deviation of the channels must be a number above 0, at most 1, not 0.0"),
        (["--grey", ".5", "0"], "a deviation of the channels must be a number above 0, at most 1, not 0.0"),
        (["--pixels", "0"], "--pixels 0 must be 1 or more"),
    ],
)
def test_numbers_that_are_none_are_refused(words, message):
    with pytest.raises(ValueError) as caught:
        filled("resnet18", *words)
    assert str(caught.value).startswith(message)


def test_grey_images_have_the_moments_of_one_channel_and_no_others():
    asked = filled("mine.py:build", "--pixels", "28", "--grey", ".13", ".31")
    assert (asked.mean, asked.std, options.channels(asked)) == ([0.13], [0.31], 1)
    assert options.channels(filled("resnet18")) == 3
    with pytest.raises(ValueError, match=r"^--grey says what the one channel .*: leave --mean and --std out$"):
        filled("resnet18", "--grey", ".13", ".31", "--std", "1", "1", "1")


def test_a_network_of_other_channels_is_told_with_the_remedy():
    grey, colours = filled("mine.py:build", "--pixels", "4", "--grey", "0", "1"), filled("resnet18", "--pixels", "4")
    one, three = (nn.Sequential(nn.Flatten(), nn.Linear(16 * channels, 2)).eval() for channels in (1, 3))
    images = {1: torch.zeros(2, 1, 4, 4), 3: torch.zeros(2, 3, 4, 4)}
    assert options.answers(grey, one, images[1]).shape == options.answers(colours, three, images[3]).shape == (2, 2)
    with pytest.raises(ValueError, match=r"^resnet18 takes images of one channel: --grey MEAN STD reads them so$"):
        options.answers(colours, one, images[3])
    with pytest.raises(ValueError, match=r"^mine.py:build takes images of three channels: leave --grey out$"):
        options.answers(grey, three, images[1])
    with pytest.raises(
        ValueError,
        match=r"^Sequential does not take images of shape \(3, 2, 2\) each .*: are its images of --pixels 4\?$",
    ):
        options.answers(colours, three, images[3][:, :, :2, :2])


def test_what_networks_of_timm_want_must_be_said():
    with pytest.raises(ValueError, match=r"^--std missing: timm.get_pretrained_cfg\('vit_tiny'\) tells"):
        filled("timm:vit_tiny", "--pixels", "224", "--mean", "0", "0", "0")
    said = filled("timm:vit_tiny", "--pixels", "224", "--mean", "0", "0", "0", "--std", "1", "1", "1")
    assert (said.pixels, said.stretch) == (224, False)


def test_a_size_that_cannot_be_known_and_one_that_is_none_are_refused():
    said = r" missing: say how the images that {} was trained on were made: .*--std 0.229 0.224 0.225"
    with pytest.raises(ValueError, match=r"^--pixels --mean --std" + said.format("resnet8")):
        filled("resnet8")
    with pytest.raises(ValueError, match=r"^--pixels" + said.format("resnet20a")):  # whose moments are known
        filled("resnet20a")
    with pytest.raises(ValueError, match=r"^--mean --std" + said.format("mine.py:build")):
        filled("mine.py:build", "--pixels", "96")
    with pytest.raises(ValueError, match=r"^--pixels 0 must be 1 or more$"):
        filled("resnet18", "--pixels", "0")


def test_images_are_stretched_as_the_publishers_preparation_has_it(tmp_path):
    values = numpy.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=numpy.uint8)
    Image.fromarray(values).save(tmp_path / "one.png")
    asked = filled("efficientnet-lite0")
    (found, _, _), *_ = options.stream(asked, tmp_path)
    expected = public.PUBLIC["efficientnet-lite0"].preparation(torch.from_numpy(values).permute(2, 0, 1)[None])
    assert torch.equal(found, expected)
    asked.stretch = False
    (cropped, _, _), *_ = options.stream(asked, tmp_path)
    assert cropped.shape == found.shape and not torch.equal(cropped, found)
    assert datasets.resized(torch.zeros(1, 3, 30, 50, dtype=torch.uint8), 224).shape == found.shape


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^there is no folder .*nowhere$"):
        options.stream(filled("resnet18"), tmp_path / "nowhere")
