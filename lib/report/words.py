"""How numbers and names are said in sentences.

Enters: values. Leaves: text.
"""

from collections.abc import Iterable, Sequence

import pandas


def on_images(examples: Iterable[int]) -> str:
    """Numbers of images: "2 and 1,000 images"."""
    return f"{listed(f'{number:,}' for number in examples)} images"


def spread(values: pandas.Series, form: str) -> str:
    """The least and the largest: "0.020 to 0.030", or one number where both are shown alike."""
    return " to ".join(dict.fromkeys(format(value, form) for value in (values.min(), values.max())))


def signed(value: float) -> str:
    """With its sign, but for what is shown as 0: "+0.010"."""
    rounded = round(value, 3)
    return f"{rounded:+.3f}" if rounded else "0.000"


def listed(parts: Iterable[str]) -> str:
    """The parts as one lists them in words: "a, b and c"."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def capital(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]


def counted(number: int, what: str) -> str:
    """How many: "1 network", "3 networks"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def of_networks(count: int, of: int) -> str:
    """In how many trained networks: "all 3 networks", "2 of 3 networks", "none of 3 networks"."""
    if count == of > 1:
        return f"all {of} networks"
    return f"{count or 'none'} of {counted(of, 'network')}"


def alike(names: Sequence[str], count: int) -> str:
    """So many trained networks of these architectures: "3 x resnet20", "4 networks"."""
    return f"{count} x {names[0]}" if len(names) == 1 < count else names[0] if count == 1 else f"{count} networks"
