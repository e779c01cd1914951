"""Pictures of charts, made small: PNG in at most 256 colours, which no chart here exceeds by much, SVG to a hundredth
of a point."""

import io
import re


def shrunk(png: bytes) -> bytes:
    """The picture in 256 colours or fewer, at a third of the size; the same bytes for the same picture."""
    from PIL import Image

    whole = Image.open(io.BytesIO(png)).convert("RGB")
    if whole.getcolors(256):
        how = {"method": Image.Quantize.MAXCOVERAGE}  # which keeps them as they are
    else:
        how = {"method": Image.Quantize.MEDIANCUT, "kmeans": 2}  # which alone keeps pale bands apart
    small = io.BytesIO()
    whole.quantize(256, dither=Image.Dither.NONE, **how).save(small, "PNG", optimize=True)
    return min(small.getvalue(), png, key=len)


def trimmed(svg: bytes) -> bytes:
    """The drawing with places cut to a hundredth of a point, without indentation; scales and all else as they are."""

    def to_hundredths(found: re.Match) -> bytes:
        return re.sub(rb"(\.\d\d)\d+", rb"\1", found[0])

    svg = re.sub(rb' (?:d|x|y)="[^"]*"|translate\([^)]*\)', to_hundredths, svg)
    return re.sub(rb"\n +", b"\n", svg)
