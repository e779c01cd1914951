"""Pictures of charts, made small."""

import io

import numpy
from PIL import Image

from lib.report import pictures


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_picture_of_few_colours_keeps_every_pixel():
    colours = numpy.random.default_rng(0).integers(0, 256, (50, 3), numpy.uint8)
    pixels = colours[numpy.random.default_rng(1).integers(0, 50, (60, 80))]
    small = pictures.shrunk(png(pixels))
    assert (numpy.asarray(Image.open(io.BytesIO(small)).convert("RGB")) == pixels).all()
    assert len(small) < len(png(pixels)) and small == pictures.shrunk(png(pixels))


def test_a_picture_is_never_made_larger():
    tiny = png(numpy.zeros((1, 1, 3), numpy.uint8))
    assert len(pictures.shrunk(tiny)) <= len(tiny)


def test_pale_colours_are_kept_apart_among_many():
    bands = numpy.array([(251, 244, 232), (232, 244, 251), (250, 235, 244), (240, 240, 240)], numpy.uint8)
    noise = numpy.random.default_rng(0).integers(0, 256, (20, 80, 3), numpy.uint8)
    pixels = numpy.concatenate([bands.repeat(40, 0)[:, None].repeat(80, 1), noise])
    found = numpy.asarray(Image.open(io.BytesIO(pictures.shrunk(png(pixels)))).convert("RGB")).astype(int)
    assert abs(found[:160] - pixels[:160]).max() <= 8


def test_drawings_are_cut_short_in_their_places_and_nowhere_else():
    svg = b"""<g transform="translate(1.23456 7) scale(0.015625)">
   <path d="M 0.129 1 L 3.14159 2" style="width: 0.8125"/>
   <use x="-12.3456" y="5" xlink:href="#m0.12345"/>
</g>"""
    assert pictures.trimmed(svg) == (
        b'<g transform="translate(1.23 7) scale(0.015625)">\n<path d="M 0.12 1 L 3.14 2" style="width: 0.8125"/>'
        b'\n<use x="-12.34" y="5" xlink:href="#m0.12345"/>\n</g>'
    )
