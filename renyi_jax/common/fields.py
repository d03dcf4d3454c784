"""What one field of a config takes, and how its value is spelled."""

import contextlib
import dataclasses
import math
import numbers
import re
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from renyi_jax.errors import nearest

MAX_SIDE = 2**16  # of an image, in pixels

MAX_ENTRIES = 1000  # of a tuple

MAX_BATCH = 2**24
MAX_CLASSES = 2**20

MAX_INTEGER = 2**32 - 1  # that any field takes

_CONSTANTS = {"True": True, "False": False, "None": None}


@dataclasses.dataclass(frozen=True)
class Field:
    """One field: its default, and what it takes."""

    default: Any
    expected: str  # what it takes, in words
    # gives the value in its one spelling, and raises ValueError for any other value
    parse: Callable[[Any], Any]
    # whether training depends on it, so that a run cannot resume with another value
    decides: bool = True
    # the default, or a function from the config to it, where `model.weights` are given; None if
    # they make no difference
    pretrained: Any = None


def text(default: str, **options) -> Field:
    """A string."""

    def parse(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError
        return value

    return Field(default, "a string", parse, **options)


def flag(default: bool, **options) -> Field:
    """A truth value."""

    def parse(value: Any) -> bool:
        value = {"true": True, "false": False}.get(str(value).lower(), value)
        if not isinstance(value, bool):
            raise ValueError
        return value

    return Field(default, "True or False", parse, **options)


def one_of(default: str, names: Collection[str], tagged: bool = False, **options) -> Field:
    """One of some names, which may become more; the error carries the nearest one.

    Where they are `tagged`, a dot and anything may follow.
    """

    def parse(value: Any) -> str:
        if (str(value).partition(".")[0] if tagged else value) not in names:
            raise ValueError(nearest(str(value), names))
        return value

    return Field(default, f"one of {', '.join(names)}", parse, **options)


def integer(default: int, at_least: int, at_most: int = MAX_INTEGER, **options) -> Field:
    """An integer in a range."""

    def parse(value: Any) -> int:
        if _is_a(value, numbers.Integral) and at_least <= value <= at_most:
            return int(value)
        raise ValueError

    expected = f"an integer of at least {at_least} and at most {at_most:,}"
    return Field(default, expected, parse, **options)


def number(default: float, interval: str, **options) -> Field:
    """A number in an interval, which is written as in mathematics: "(0, inf]"."""
    low, high = (float(end) for end in interval.strip("()[]").split(","))
    closed_below, closed_above = interval[0] == "[", interval[-1] == "]"

    def parse(value: Any) -> float:
        # Neither the command line's literals nor JSON have another way to write it.
        value = math.inf if value == "inf" else value
        if _is_a(value, numbers.Real) and (
            low < value < high
            or (closed_below and value == low)
            or (closed_above and value == high)
        ):
            # A float32 is read as the decimal that it is printed as: 0.7, not 0.699999988.
            with contextlib.suppress(OverflowError):  # of an integer beyond all floats
                return float(str(value)) if isinstance(value, np.floating) else float(value)
        raise ValueError

    return Field(default, f"a number in {interval}", parse, **options)


def several(default: tuple[Any, ...], item: Field, separators: str = ",", **options) -> Field:
    """A tuple of what `item` takes; alone, an entry stands for a tuple of one.

    A string is read as entries with one of the `separators` between.
    """

    def parse(value: Any) -> tuple[Any, ...]:
        value = _split(value, separators)
        values = value if isinstance(value, (tuple, list)) else (value,)
        if len(values) > MAX_ENTRIES:
            raise ValueError
        return tuple(item.parse(entry) for entry in values)

    expected = f"a tuple of at most {MAX_ENTRIES} values of which each is {item.expected}"
    return Field(default, expected, parse, **options)


def span(default: tuple[float, float], item: Field, **options) -> Field:
    """The two ends of a range, the lower one first, each of which is what `item` takes."""

    def parse(value: Any) -> tuple[float, float]:
        low, high = map(item.parse, _split(value))
        if low > high:
            raise ValueError
        return low, high

    return Field(
        default, f"two ends of a range (low, high), each {item.expected}", parse, **options
    )


def per_block(item: Field) -> Field:
    """What `item` takes, or a tuple of it with an entry for each pruned block.

    In a string, slashes stand between the blocks where commas have another meaning.
    """

    def parse(value: Any) -> Any:
        value = _split(value, ",/")
        if isinstance(value, (tuple, list)):
            return tuple(item.parse(entry) for entry in value)
        return item.parse(value)

    return Field(item.default, f"{item.expected}, or one for each pruned block", parse)


def optional(item: Field) -> Field:
    """What `item` takes, or None, the default, where something else decides."""

    def parse(value: Any) -> Any:
        return None if value is None else item.parse(value)

    return Field(None, f"{item.expected}, or None", parse, item.decides)


def image_size(**options) -> Field:
    """What `create_model` takes as the size of its images; 0 for the model's own."""
    side, positive = integer(0, 0, MAX_SIDE), integer(1, 1, MAX_SIDE)

    def parse(value: Any) -> int | tuple[int, int]:
        value = _split(value)
        if isinstance(value, (tuple, list)):
            height, width = map(positive.parse, value)
            return height, width
        return side.parse(value)

    expected = f"a side or (height, width) in pixels, at most {MAX_SIDE:,}, or 0"
    return Field(0, expected, parse, **options)


def _split(value: Any, separators: str = ",") -> Any:
    """A list from `"1,2,inf"`: what the command line leaves where it reads no Python literal."""
    separator = next((each for each in separators if isinstance(value, str) and each in value), "")
    if not separator:
        return value
    parts = value.strip("()[] ").split(separator)
    return [literal(part.strip()) for part in parts if part.strip()]


def literal(text: str) -> Any:
    """Returns the number, truth value or None that a text spells in ASCII; else the text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", text, re.IGNORECASE):
        return float(text)
    return text.strip("'\"")


def _is_a(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
